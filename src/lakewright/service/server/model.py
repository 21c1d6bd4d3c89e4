"""A model that answers requests: its folder opened for single rows and for many, and what is known about it."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lakewright.data.rows.kinds import Kind, Prediction, Row
from lakewright.errors import DataError, ModelError
from lakewright.model.folder import SAMPLES, TRAIN_AGAIN, describe, project_of, samples_of, serving, working
from lakewright.model.predictor import Predictor
from lakewright.records import ModelVersion

FEW = 2  # rows that all threads compute together; more are computed in parts, a thread each
TOLERANCE = 0.05  # by which int8 networks differ between processors


@dataclass(frozen=True, eq=False)
class Model:
    name: str
    version: str
    single: Predictor
    many: Predictor
    about: Mapping[str, Any]
    """What `/model` says of it."""
    samples: Sequence[Row]

    @classmethod
    def open(cls, folder: Path, version: ModelVersion | None, runtime: str, threads: int) -> Model:
        """Raises ModelError where the folder is damaged, or does not say of its sample rows what it said when made."""
        # One runtime for both: another network's answer to a row must not depend on whether others happen to wait.
        name = serving(folder, "latency")[0] if runtime == "auto" else runtime
        single = Predictor.open(folder, name, threads, "latency")
        if version is not None and single.digest != version.digest:
            raise ModelError(
                f"{folder} is not what was registered as {version}: its digest is {single.digest}",
                "do not serve it; start the server again with the version's name, or register the model again",
            )
        many = single.reopened(name, threads, "throughput")
        with working(folder):
            samples, project = samples_of(folder), project_of(folder)
            by = samples.predictions  # torch's, fp32, where another network serves
            expected = by[next(one for one in (name, "torch", "onnx") if one in by)]
            for predictor in (single, many):
                _check(predictor, samples.rows, expected)
            name = version.name if version else f"{project['schema']}.{project['name']}"
            base_model = project["train"].get("base_model")
        number = str(version.version) if version else single.digest[:12]
        tags = version.tags if version else {}
        about = {
            "name": name,
            "version": number,
            "aliases": version.aliases if version else [],
            "digest": single.digest,
            "task": single.task.name,
            "labels": list(single.task.labels),
            "inputs": dict(single.task.inputs),
            "learner": describe(folder)["learner"],
            "base_model": base_model,
            "metrics": {key.removeprefix("metric."): float(tags[key]) for key in tags if key.startswith("metric.")},
            "table": tags.get("lakewright.table"),
        }
        return cls(name, number, single, many, about, samples.rows)

    @property
    def digest(self) -> str:
        return self.single.digest

    @property
    def inputs(self) -> Mapping[str, Kind]:
        return self.single.task.inputs

    def predict(self, rows: Sequence[Row], alone: bool) -> list[Prediction]:
        return (self.single if alone and len(rows) <= FEW else self.many).predict(rows)


def _check(predictor: Predictor, rows: Sequence[Row], expected: Sequence[Prediction]) -> None:
    """The golden requests, alone and in company: the predictions are those of when the folder was sealed."""
    try:
        answers = [prediction for row in rows for prediction in predictor.predict([row])] + predictor.predict(rows)
    except DataError as failure:
        raise ModelError(f"{predictor.folder / SAMPLES}: {failure.cause}", TRAIN_AGAIN) from None
    for row, then, now in zip([*rows, *rows], [*expected, *expected], answers, strict=True):
        if not alike(predictor, then, now):
            raise ModelError(
                f"{predictor.folder} says {_short(now)} of {_short(row)}, and said {_short(then)} when it was made",
                "do not serve it here: the runtime or the processor computes something else",
            )


def alike(predictor: Predictor, then: Prediction, now: Prediction) -> bool:
    """Whether two predictions are the same to rounding. A neutral row may lie between two labels, so that the label
    is compared by how probable it is, where that is known."""
    if "probabilities" in then:
        return _near(then["probabilities"], now["probabilities"])
    before, after = predictor.task.confidence(then), predictor.task.confidence(now)
    sure = before is not None and after is not None and abs(before - after) <= TOLERANCE
    return sure or _near(then, now)


def _near(then: Any, now: Any) -> bool:
    if isinstance(then, Mapping):
        return isinstance(now, Mapping) and then.keys() == now.keys() and all(_near(then[k], now[k]) for k in then)
    if isinstance(then, list):
        return isinstance(now, list) and len(then) == len(now) and all(map(_near, then, now))
    if isinstance(then, float) and isinstance(now, float):
        return math.isclose(then, now, rel_tol=TOLERANCE, abs_tol=TOLERANCE)
    return bool(then == now)


def _short(value: Any) -> str:
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= 120 else text[:119] + "…"
