"""Which model a search over texts recommends: that of the race, or an encoder that it fine-tuned.

An encoder is trained once, on train, and the networks of the race on folds of train and validation. So they are
compared on the rows of validation, which neither learned from: by log loss, of probabilities that were calibrated for
both, or by squared error. The encoder is recommended where it is significantly better, since a row costs it more.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from lakewright.errors import TrainingError
from lakewright.evaluation.metrics import higher_is_better
from lakewright.learning.blending import calibrated, log_losses, squared_errors
from lakewright.learning.examples import read_split
from lakewright.model.tasks.classification import softmax
from lakewright.racing import units
from lakewright.racing.fine_tuning import FineTuned
from lakewright.racing.leaderboard import Entry, mean_of, metric_error, scorer_of
from lakewright.racing.race import Candidate
from lakewright.racing.selection import SURE, Found
from lakewright.racing.shared import Shared
from lakewright.records import Prepared, Trained
from lakewright.workspace import Workspace

Z = 1.959964  # standard errors of a 95 % interval
SOURCE = "fine-tuned"


@dataclass(frozen=True, eq=False)
class Verdict:
    """Of the best encoder beside the model of the race, on the rows of validation."""

    candidate: int
    rows: int
    gain: float  # by which the encoder's mean loss is smaller, …
    low: float
    high: float  # … with its interval of 95 %
    better: bool
    why: str


@dataclass(frozen=True, eq=False)
class _Validation:
    """The rows of validation."""

    shared: Shared
    truth: NDArray[Any]
    weights: NDArray[np.float64]

    @classmethod
    def of(cls, folder: Path) -> _Validation:
        shared = Shared.open(folder / "shared")
        weights = np.asarray(shared.examples.weights, np.float64)[shared.train :]
        return cls(shared, units.truths(shared)[shared.train :], weights)

    def losses(self, values: NDArray[np.float64]) -> NDArray[np.float64]:
        losses_of: Any = log_losses if self.shared.task.truth == "class" else squared_errors
        losses: NDArray[np.float64] = losses_of(values, self.truth)
        return losses

    def calibrated(self, values: NDArray[np.float64]) -> NDArray[np.float64]:
        if self.shared.task.truth != "class":
            return values
        return softmax(calibrated(values, self.truth, self.weights).logits(values))


def judge(folder: Path, found: Found, tuned: Sequence[FineTuned]) -> Verdict | None:
    """None: no encoder was trained."""
    rows = _Validation.of(folder)
    trained = [each for each in tuned if not each.failure]
    if not trained:
        return None
    of_race = rows.losses(rows.calibrated(of_validation(folder, found)))
    losses = {each.number: rows.losses(rows.calibrated(each.held)) for each in trained}
    number = min(losses, key=lambda each: float(np.average(losses[each], weights=rows.weights)))
    share = rows.weights / rows.weights.sum()
    gaps = of_race - losses[number]
    gain = float(share @ gaps)
    error = float(np.sqrt((share**2) @ (gaps - gain) ** 2))
    better = gain > SURE * error
    loss = "log loss" if rows.shared.task.truth == "class" else "squared error"
    low, high = gain - Z * error, gain + Z * error
    shown = f"its {loss} on the {len(gaps):,} rows of validation is smaller by {gain:.3g} ({low:.3g} to {high:.3g})"
    other = "the race's model stays" if not better else "a significant gain"
    return Verdict(number, len(gaps), gain, low, high, better, f"the fine-tuned encoder {number}: {shown}: {other}")


def recommended(found: Found, verdict: Verdict, tuned: Sequence[FineTuned]) -> Found:
    """The same search, with the encoder as what it recommends."""
    chosen = next(each for each in tuned if each.number == verdict.candidate)
    candidate = Candidate(chosen.number, dict(chosen.settings), SOURCE)
    return replace(found, members=[candidate], weights=(1.0,), why=verdict.why, ensemble={})


def with_encoders(
    folder: Path, metric: str, entries: Sequence[Entry], tuned: Sequence[FineTuned], verdict: Verdict | None
) -> tuple[Entry, ...]:
    """The leaderboard with the encoders in it. Where one is recommended, no candidate of the race has a share, and none
    ties with it: their mean is significantly worse."""
    rows = _Validation.of(folder)
    best = next((each for each in tuned if verdict is not None and each.number == verdict.candidate), None)
    whole = [_entry(each, rows, metric, best if verdict is not None and verdict.better else None) for each in tuned]
    if verdict is not None and verdict.better and best is not None:
        entries = [replace(each, weight=0.0, tied=False) for each in entries]
        whole = [replace(each, weight=1.0) if each.number == best.number else each for each in whole]
    sign = -1.0 if higher_is_better(metric) else 1.0
    order = sorted([*entries, *whole], key=lambda one: (metric not in one.metrics, sign * one.metrics.get(metric, 0.0)))
    return tuple(order)


def of_validation(folder: Path, found: Found) -> NDArray[np.float64]:
    """[rows of validation, outputs] What the race's model predicts, by networks that did not learn from the row."""
    shared, folds = Shared.open(folder / "shared"), tuple(range(found.folds))
    held = np.concatenate([units.rows_of(shared, fold, found.folds)[1] for fold in folds])
    order = np.argsort(held)
    return mean_of(folder, found, folds)[order][held[order] >= shared.train]


def metrics_of(folder: Path, held: NDArray[np.float64]) -> dict[str, float]:
    """Of what an encoder predicts of validation."""
    rows = _Validation.of(folder)
    metrics = scorer_of(rows.shared.task, rows.truth, held).metrics(rows.weights)
    return {name: value for name, value in metrics.items() if value == value}


def check_rows(race: Prepared, tuned: Sequence[FineTuned], workspace: Workspace) -> None:
    """Raises TrainingError where an encoder's rows of validation are not those of the race."""

    def ids(prepared: Prepared) -> Any:
        return read_split(workspace.lake, prepared.features, "validation", ["record_id"])["record_id"]

    for each in tuned:
        if not each.failure and ids(cast(Prepared, each.records["prepare"])) != ids(race):
            raise TrainingError(
                f"candidate {each.number} was judged on other rows of validation than the race",
                "report this: it is a fault of ours",
            )


def _entry(tuned: FineTuned, rows: _Validation, metric: str, best: FineTuned | None) -> Entry:
    if tuned.failure:
        return Entry(
            tuned.number, str(tuned.settings["learner"]), tuned.settings, SOURCE, 0, None, {}, round(tuned.seconds, 2),
            0.0, None, tuned.failure,
        )  # fmt: skip
    scorer = scorer_of(rows.shared.task, rows.truth, tuned.held)
    metrics = {name: value for name, value in scorer.metrics(rows.weights).items() if value == value}
    loss = float(np.average(rows.losses(tuned.held), weights=rows.weights))
    size = sum(path.stat().st_size for path in Path(cast(Trained, tuned.records["train"]).model_folder).glob("*.onnx"))
    return Entry(
        tuned.number,
        str(tuned.settings["learner"]),
        tuned.settings,
        SOURCE,
        0,
        loss,
        metrics,
        round(tuned.seconds, 2),
        0.0,
        None,
        "",
        metric_error(scorer, metric, rows.weights) if metric in metrics else None,
        best is not None and tuned.number == best.number,
        size,
    )
