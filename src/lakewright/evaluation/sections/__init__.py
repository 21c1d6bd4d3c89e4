"""What the page says of each kind of task, one file a kind. Any other scorer has the sections that all have."""

from __future__ import annotations

from typing import TYPE_CHECKING

from lakewright.evaluation.answers import AnswersScorer
from lakewright.evaluation.classification import ClassificationScorer
from lakewright.evaluation.entities import EntityScorer
from lakewright.evaluation.multilabel import MultilabelScorer
from lakewright.evaluation.sections import answers, attribution, classification, entities, multilabel, similarity
from lakewright.evaluation.sections.parts import Section, classes_section
from lakewright.evaluation.similarity import SimilarityScorer

if TYPE_CHECKING:
    from lakewright.evaluation.report import ReportContext
    from lakewright.evaluation.scorer import Scorer
    from lakewright.records import Report


def sections(scorer: Scorer, report: Report, context: ReportContext) -> list[Section]:
    """In the page's order. A section without content is left out."""
    if isinstance(scorer, ClassificationScorer):
        found = classification.sections(scorer, report, context)
    elif isinstance(scorer, MultilabelScorer):
        found = multilabel.sections(scorer, report, context)
    elif isinstance(scorer, EntityScorer):
        found = entities.sections(scorer, report, context)
    elif isinstance(scorer, AnswersScorer):
        found = answers.sections(scorer, report, context)
    elif isinstance(scorer, SimilarityScorer):
        found = similarity.sections(scorer, report, context)
    else:
        found = classes_section(report)
    at = next((place for place, section in enumerate(found) if section.name == "calibration"), len(found))
    return found[:at] + attribution.sections(scorer, context) + found[at:]
