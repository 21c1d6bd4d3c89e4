"""What the page says of each kind of task, one file a kind. Any other scorer has the sections that all have."""

from __future__ import annotations

from typing import TYPE_CHECKING

from lakewright.evaluation.scorers.answers import AnswersScorer
from lakewright.evaluation.scorers.classification import ClassificationScorer
from lakewright.evaluation.scorers.entities import EntityScorer
from lakewright.evaluation.scorers.multilabel import MultilabelScorer
from lakewright.evaluation.scorers.similarity import SimilarityScorer
from lakewright.pages.parts import Section, classes_section
from lakewright.pages.report.sections import answers, classification, entities, multilabel, similarity, words

if TYPE_CHECKING:
    from lakewright.evaluation.scorers import Scorer
    from lakewright.pages.report.context import ReportContext
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
    return found[:at] + words.sections(scorer, context) + found[at:]
