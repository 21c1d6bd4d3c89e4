"""What a report says of numbers."""

from __future__ import annotations

from typing import Any

from lakewright.pages.parts import Section
from lakewright.pages.report.sections import TruthPage
from orchard.scorer import NumberScorer, worst


def sections(scorer: NumberScorer, report: Any, context: Any) -> list[Section]:
    words = f"The prediction that is furthest from its truth is {scorer.distances()[worst(scorer)]:.3f} away."
    return [Section("orchard", "Residuals", "How far predictions are from the truth", words, [])]


PAGE = TruthPage(sections)
