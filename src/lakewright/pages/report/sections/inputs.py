"""What each input of a row is worth."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from lakewright.evaluation.importance import ROWS, SHUFFLES
from lakewright.evaluation.metrics import meaning
from lakewright.pages.parts import Cell, Column, Section, Table

if TYPE_CHECKING:
    from lakewright.records import Report

MOST = 30  # inputs in the table


def sections(report: Report) -> list[Section]:
    if not report.importances:
        return []
    strongest = max(report.importances[0].value, 1e-300)
    kind: Literal["number", "quantity"] = "number" if meaning(report.primary).to_one else "quantity"
    columns = [
        Column("input", "name"),
        Column("beside the strongest", "bar"),
        Column(f"loss of {report.primary}", kind),
        Column("least", kind),
        Column("most", kind),
    ]
    rows: list[list[Cell]] = [
        [each.input, max(each.value, 0.0) / strongest, each.value, each.low, each.high]
        for each in report.importances[:MOST]
    ]
    more = len(report.importances) - MOST
    words = (
        f"How much worse {report.primary} gets on at most {ROWS:,} test rows when an input's values are shuffled among "
        f"them: the mean of {SHUFFLES} shuffles, and the least and the most of them. An input at about 0 can be left "
        "out, unless another one says the same: then each hides the other."
        + (f" {more} weaker inputs are not shown." if more > 0 else "")
    )
    return [Section("inputs", "Inputs", "What each input is worth", words, [Table(columns, rows)])]
