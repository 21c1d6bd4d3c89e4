"""Whether the best trial is better than the project's own settings, or only seems so because many were tried."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path

from lakewright.errors import LakewrightError
from lakewright.evaluation.metrics import meaning, signed, written
from lakewright.evaluation.scorers import Scorer
from lakewright.evaluation.significance import Difference, mcnemar, paired_bootstrap
from lakewright.learning.examples import read_split
from lakewright.model.predictor import Predictor
from lakewright.records import Prepared, Trained
from lakewright.settings.project import Project
from lakewright.workspace import Workspace


@dataclass(frozen=True)
class Verdict:
    """`difference` is the best's metric minus that of the project's own settings, on the same validation rows; `p` is
    two-sided and corrected. Both are None where there is nothing to compare."""

    sentence: str
    difference: Difference | None = None
    p: float | None = None
    significant: bool = False


def compare(
    best: tuple[Prepared, Trained],
    own: tuple[Prepared, Trained],
    metric: str,
    tried: int,
    project: Project,
    workspace: Workspace,
) -> Verdict:
    """Compares two models row by row on validation: McNemar's test for a metric that is a share of right rows, the
    paired bootstrap for any other.

    The best was chosen among `tried` others because it is the best, so its p is multiplied by their number: the
    correction of Bonferroni (Dunn, "Multiple Comparisons Among Means", 1961), which for the least p of several is that
    of Holm (1979), too. Early stopping and thresholds saw the same rows, so that both values are a little too good.
    """
    rows, others = _rows(best[0], workspace), _rows(own[0], workspace)
    if rows["record_id"].to_pylist() != others["record_id"].to_pylist():
        return Verdict("It is not compared with the project's own settings: their validation rows are not the same.")
    try:
        ours, theirs = (_scorer(trained, table, workspace) for (_, trained), table in ((best, rows), (own, others)))
        level = 1 - project.evaluate.confidence
        # The least possible p depends on the resamples: it must stay well below the level once it is corrected.
        resamples = max(project.evaluate.resamples, math.ceil(4 * tried / level))
        difference = paired_bootstrap(
            ours,
            theirs,
            metric,
            resamples=resamples,
            seed=project.evaluate.seed,
            confidence=project.evaluate.confidence,
        )
    except LakewrightError as error:
        return Verdict(f"It is not compared with the project's own settings: {error.cause}.")
    p = difference.p
    right, also_right = ours.correct(), theirs.correct()
    if meaning(metric).share_of_rows and right is not None and also_right is not None:
        p = mcnemar(right, also_right)
    corrected = min(1.0, p * tried)
    significant = corrected < level
    return Verdict(
        f"Its {metric} differs from that of the project's own settings by {signed(metric, difference.value)} "
        f"({project.evaluate.confidence:.0%} interval {signed(metric, difference.low)} to "
        f"{signed(metric, difference.high)}, {ours.rows:,} validation rows): "
        f"{'significant' if significant else 'not significant'} (p {corrected:.2g}, corrected by Bonferroni for "
        f"{tried} {'trial' if tried == 1 else 'trials'}).",
        difference,
        corrected,
        significant,
    )


def value(metric: str, number: float | None) -> str:
    return "" if number is None else written(metric, number, 4)


def _rows(prepared: Prepared, workspace: Workspace):  # type: ignore[no-untyped-def]
    return read_split(workspace.lake, prepared.features, "validation", ["record_id", "inputs", "truth"])


def _scorer(trained: Trained, rows, workspace: Workspace) -> Scorer:  # type: ignore[no-untyped-def]
    predictor = Predictor.open(Path(trained.model_folder), threads=workspace.threads)
    inputs = rows["inputs"].to_pylist()
    return predictor.task.scorer(rows["truth"].to_pylist(), predictor.predict(inputs), inputs)
