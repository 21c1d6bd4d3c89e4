"""Several learners as one model: the weighted mean of their predictions, in one network.

Each member is trained once for each fold, on the rows outside it, and all of these networks predict. So every row of
train and validation has a prediction by networks that did not learn from it; these choose the members' weights and the
calibration (`learning/blending.py`), and are what the task tunes its thresholds and intervals by. With `folds: 0` the
members are trained once on train, and validation chooses.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, SerializeAsAny, field_validator

from lakewright import plugins
from lakewright.errors import ProjectError, TrainingError, UsageError
from lakewright.learning.blending import Calibration, calibrated, log_losses, shares, squared_errors
from lakewright.learning.examples import joined
from lakewright.learning.learners import Examples, Fitted, Learner, Training, on_workers
from lakewright.learning.members import Member, held_out, member_of, predicted, rows_of
from lakewright.model.predictor import Predictor
from lakewright.model.tasks.classification import softmax
from lakewright.settings.sections import LearnerSettings, validated
from lakewright.system.progress import bar

if TYPE_CHECKING:
    from lakewright.data.rows.kinds import Kind

LOG = logging.getLogger("lakewright")
DEFAULT: list[dict[str, Any]] = [
    {"learner": "trees"},
    {"learner": "forest", "extra": True, "n_estimators": 100, "min_samples_leaf": 5},
    {"learner": "linear"},
]
NEAR = 1e-4  # between the members' mean and the joined graph's, as probabilities or relative


def _member(value: object) -> object:
    if isinstance(value, str):
        value = {"learner": value}
    return validated(_settings_of, value)


def _settings_of(values: dict[str, Any]) -> tuple[type[LearnerSettings], dict[str, Any]]:
    if "learner" not in values:
        raise UsageError("a member of an ensemble names its learner", "write {learner: trees, …}")
    return plugins.LEARNERS.find(str(values["learner"])).settings, values


class EnsembleSettings(LearnerSettings):
    learner: Literal["ensemble"] = "ensemble"
    members: list[SerializeAsAny[LearnerSettings]] = Field(
        default=DEFAULT,
        validate_default=True,
        min_length=1,
        description="learners, each by its name or as a mapping of its name and settings",
        json_schema_extra={"items": {"type": ["string", "object"]}},
    )
    folds: Literal[0, 2, 3, 4, 5, 6, 7, 8] = Field(
        default=5,
        description="parts of train and validation, each predicted by members that did not learn from it; "
        "0: members learn from train, and validation chooses their weights",
    )
    weights: list[float] | None = Field(
        default=None, description="one for each member, in their order; null: chosen by their predictions"
    )
    without: list[list[str]] | None = Field(
        default=None,
        description="for each member, in their order, the steps of the recipe that it does not read; null: each reads "
        "its learner's own steps, and those that are no learner's own",
    )
    calibrate: bool = Field(default=True, description="scale the probabilities by the same predictions")

    @field_validator("members", mode="before")
    @classmethod
    def _of_their_learners(cls, members: object) -> object:
        return [_member(each) for each in members] if isinstance(members, list) else members

    @field_validator("weights")
    @classmethod
    def _shares(cls, weights: list[float] | None) -> list[float] | None:
        if weights is not None and (min(weights, default=0) < 0 or not sum(weights) > 0):
            raise ValueError("weights are not below 0, and one is above it")
        return weights


class Ensemble:
    name = "ensemble"
    settings = EnsembleSettings
    sizes: Mapping[str, Mapping[str, Any]] = {}
    reads: Mapping[Kind, str] = {
        **dict.fromkeys(("text", "optional text"), "text_scores"),
        **dict.fromkeys(("number", "category"), "native"),
        "time": "part_of",
    }
    truths = ("class", "number")
    gaps: Mapping[str, str] = {
        "labels": "not-yet: the mean of each label's probability",
        **dict.fromkeys(("spans", "answers"), "never: two networks need not agree where a span begins"),
        "likeness": "never: vectors of two networks have nothing in common",
    }
    needs: tuple[Kind, ...] = ()
    vocabulary = None

    def recipe_depends(self, settings: EnsembleSettings, base: Path) -> dict[str, Any]:
        return {"members": sorted({each.learner for each in settings.members})}

    def members(self, settings: EnsembleSettings) -> list[tuple[Learner, LearnerSettings]]:
        """Raises ProjectError for a learner that cannot be a member, and for weights that are not one for each."""
        if settings.weights is not None and len(settings.weights) != len(settings.members):
            raise ProjectError(
                f"train.weights names {len(settings.weights)} weights, and there are {len(settings.members)} members",
                "give one for each member, in their order, or leave weights out",
            )
        if settings.without is not None and len(settings.without) != len(settings.members):
            raise ProjectError(
                f"train.without has {len(settings.without)} lists of steps, and there are {len(settings.members)} "
                "members",
                "give a list for each member, in their order, or leave without out",
            )
        members = [(plugins.LEARNERS.find(each.learner), each) for each in settings.members]
        for learner, _ in members:
            if learner.vocabulary is not None or isinstance(learner, Ensemble) or on_workers(learner):
                raise ProjectError(
                    f"train.members names the learner {learner.name}, which cannot be a member of an ensemble",
                    "name learners that read columns, such as trees, forest, xgboost and linear",
                )
        return members

    def fit(self, training: Training[EnsembleSettings]) -> Fitted:
        from lakewright.learning import joined_graph

        settings, task = training.settings, training.task
        members = [
            member_of(number, each, training, without)
            for number, (each, without) in enumerate(
                zip(settings.members, settings.without or [[]] * len(settings.members), strict=True), start=1
            )
        ]
        whole = joined(training.train, training.validation)
        rounds = _rounds(training, whole)
        judged = np.sort(np.concatenate([held for _, held in rounds]))
        truth = whole.targets.values[judged].astype(np.int64 if task.truth == "class" else np.float64)
        weights = whole.weights[judged].astype(np.float64)
        each_of = []
        with bar("ensemble", len(members) * len(rounds)) as advance:
            for member in members:
                own, kept = member.view(whole), np.zeros((len(whole), task.outputs))
                for place, (learn, held) in enumerate(rounds):
                    folder = training.checkpoints / f"{member.name}_{place}"
                    part = replace(training, train=own.take(learn), validation=own.take(held), folder=folder)
                    kept[held] = held_out(part, member)
                    advance(1, member.name)
                each_of.append(kept[judged])
        share = np.array(settings.weights or shares(each_of, truth, weights), np.float64)
        share = share / share.sum()
        mean = np.tensordot(share, np.stack(each_of), axes=1)
        calibration = None
        if task.truth == "class":
            unchanged = Calibration(1.0, np.zeros(task.outputs))
            calibration = calibrated(mean, truth, weights) if settings.calibrate else unchanged
        networks = [
            joined_graph.Member(
                training.checkpoints / f"{member.name}_{place}" / "model.onnx", member.places, weight / len(rounds)
            )
            for member, weight in zip(members, share.tolist(), strict=True)
            for place in range(len(rounds))
            if weight > 0
        ]
        example = training.recipe.batch(training.train.encoded.take(np.array([0])), np.array([0]))
        joined_graph.leave(networks, example, calibration, training.folder / "model.onnx")
        _leave_weights(training.folder, share, calibration)
        _check(training, members, share, len(rounds), calibration)
        logits = mean if calibration is None else calibration.logits(mean)
        validation_logits = list(logits[judged >= len(training.train)].astype(np.float32))
        return Fitted(
            details=_details(members, share, each_of, mean, truth, weights, calibration), validation=validation_logits
        )


def _rounds(training: Training[EnsembleSettings], whole: Examples) -> list[tuple[NDArray[np.int64], NDArray[np.int64]]]:
    """For each fold the rows to learn from, and those to predict. Raises TrainingError where rows have no fold, and
    where a fold is empty."""
    folds = training.settings.folds
    if folds and whole.parts is None:
        raise TrainingError(
            "the rows have no folds: they were split by time, or made by prepare.balance: smote",
            "set train.folds: 0, and validation chooses the weights",
        )
    rounds = [rows_of(whole, len(training.train), fold, folds or 1) for fold in range(folds or 1)]
    if folds and not all(len(learn) and len(held) for learn, held in rounds):
        raise TrainingError(
            f"{len(whole)} rows are too few for {folds} folds: one is empty", "set fewer train.folds, or 0"
        )
    return rounds


def _check(
    training: Training[EnsembleSettings],
    members: Sequence[Member],
    share: NDArray[np.float64],
    rounds: int,
    calibration: Calibration | None,
) -> None:
    """Raises TrainingError where the joined graph does not give the mean of its members for rows of validation."""
    rows = training.validation.take(np.arange(min(len(training.validation), 256)))
    if not len(rows):
        return
    mean = np.zeros((len(rows), training.task.outputs))
    for member, weight in zip(members, share.tolist(), strict=True):
        for place in range(rounds if weight > 0 else 0):
            folder = training.checkpoints / f"{member.name}_{place}"
            mean += weight / rounds * predicted(folder, member, training.task, member.view(rows), training.threads)
    network = plugins.RUNTIMES.find("onnx")(training.folder, training.threads, "throughput")
    logits = np.stack(Predictor(training.folder, "", training.task, training.recipe, network).logits(rows.encoded))
    if calibration is None:
        difference = np.abs(logits - mean) / np.maximum(np.abs(mean), 1.0)
    else:
        difference = np.abs(softmax(logits) - softmax(calibration.logits(mean)))
    if not difference.max() < NEAR:
        raise TrainingError(
            f"the joined network differs from its members by {difference.max():.1e}",
            "report this: it is a fault of ours",
        )


def _leave_weights(folder: Path, share: NDArray[np.float64], calibration: Calibration | None) -> None:
    from safetensors.numpy import save_file

    weights = {"weights": share}
    if calibration is not None:
        weights |= {"slope": np.array([calibration.slope]), "shift": calibration.shift}
    save_file(weights, folder / "model.safetensors")


def _details(
    members: Sequence[Member],
    share: NDArray[np.float64],
    kept: Sequence[NDArray[np.float64]],
    mean: NDArray[np.float64],
    truth: NDArray[Any],
    weights: NDArray[np.float64],
    calibration: Calibration | None,
) -> dict[str, float | int | str]:
    """Each member's share and its loss alone, and the mean's, of the rows that chose."""
    losses_of: Any = log_losses if calibration is not None else squared_errors
    details: dict[str, float | int | str] = {}
    for member, own, each in zip(members, share.tolist(), kept, strict=True):
        details[f"weight_{member.name}"] = round(own, 4)
        details[f"loss_{member.name}"] = float(np.average(losses_of(each, truth), weights=weights))
    details["loss_ensemble"] = float(np.average(losses_of(mean, truth), weights=weights))
    if calibration is not None:
        details["loss_calibrated"] = float(
            np.average(log_losses(softmax(calibration.logits(mean)), truth), weights=weights)
        )
    return details


LEARNER: Learner = Ensemble()
