"""What the page says of each kind of truth: one file a kind, found by the scorer's kind.

A kind is a file with a `TruthPage` and a line under the entry points `lakewright.sections`; a scorer of any other kind
has the sections that all have.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from lakewright import plugins
from lakewright.pages.parts import Section, classes_section
from lakewright.pages.report.phrases import Phrases

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from lakewright.pages.report.context import ReportContext
    from lakewright.records import Report


@dataclass(frozen=True)
class TruthPage:
    sections: Callable[[Any, Report, ReportContext], list[Section]]  # of a scorer, in the page's order
    figures: Callable[[Any], dict[str, Figure]] = lambda scorer: {}  # a scorer's pictures by name, for MLflow, too
    verdict: Callable[[Phrases], str] = lambda phrases: ""  # the first sentence; none: the primary metric alone
    baseline: Callable[[Any], str] = lambda scorer: ""  # what the verdict is to be read against
    classes: str = "classes"  # what those of `report.classes` are called


OTHER = TruthPage(lambda scorer, report, context: classes_section(report))


def page_of(kind: str) -> TruthPage:
    if kind not in plugins.SECTIONS.names():
        return OTHER
    return plugins.SECTIONS.find(kind)
