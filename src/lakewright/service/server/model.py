"""A model that answers requests: its folder opened for single rows and for many, and its description."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lakewright.data.rows.gathered import Gathered
from lakewright.data.rows.kinds import Kind, Prediction, Row
from lakewright.errors import DataError, ModelError
from lakewright.model.folder import (
    SAMPLES,
    TRAIN_AGAIN,
    describe,
    lookups_of,
    project_of,
    samples_of,
    serving,
    working,
)
from lakewright.model.predictor import Predictor
from lakewright.records import ModelVersion

if TYPE_CHECKING:
    import pyarrow as pa

FEW = 2  # rows that all threads compute together; more rows are computed in parts, one thread each
TOLERANCE = 0.05  # difference of int8 networks between processors


@dataclass(frozen=True, eq=False)
class Part:
    """A part of a request's rows as columns."""

    rows: Gathered
    as_table: bool
    """Whether the predictions are wanted as columns, too."""

    def __len__(self) -> int:
        return len(self.rows)


@dataclass(frozen=True, eq=False)
class Model:
    name: str
    version: str
    single: Predictor
    many: Predictor
    about: Mapping[str, Any]
    """The values that `/model` shows."""
    samples: Sequence[Row]
    reads_columns: bool
    lookups: Sequence[Mapping[str, Any]]
    """Feature tables whose values a row may leave out: `model.folder.lookups_of`."""

    @classmethod
    def open(cls, folder: Path, version: ModelVersion | None, runtime: str, threads: int) -> Model:
        """Raises ModelError if the folder is damaged, or if its predictions of the sample rows have changed."""
        # One runtime for both: a row's answer must not depend on whether other rows wait.
        name = serving(folder, "latency")[0] if runtime == "auto" else runtime
        single = Predictor.open(folder, name, threads, "latency")
        if version is not None and single.digest != version.digest:
            raise ModelError(
                f"{folder} is not the model folder that was registered as {version}: its digest is {single.digest}",
                "do not serve it; start the server again with the version's name, or register the model again",
            )
        many = single.reopened(name, threads, "throughput")
        with working(folder):
            samples, project = samples_of(folder), project_of(folder)
            predictions = samples.predictions  # by runtime; torch's, fp32, if an int8 network serves
            expected = predictions[next(each for each in (name, "torch", "onnx") if each in predictions)]
            for predictor in (single, many):
                _check(predictor, samples.rows, expected)
            name = version.name if version else f"{project['schema']}.{project['name']}"
            base_model = project["train"].get("base_model")
            lookups = lookups_of(folder)
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
            **({"lookups": lookups} if lookups else {}),
        }
        return cls(name, number, single, many, about, samples.rows, many.reads_columns, lookups)

    @property
    def digest(self) -> str:
        return self.single.digest

    @property
    def inputs(self) -> Mapping[str, Kind]:
        return self.single.task.inputs

    @property
    def columns(self) -> Mapping[str, Kind]:
        """What a row may hold: the inputs, and the keys by which some are looked up."""
        keys: dict[str, Kind] = {column: "category" for each in self.lookups for column in each["keys"].values()}
        return {**keys, **self.inputs}

    def compute(self, rows: Sequence[Row] | Part, alone: bool) -> list[Prediction] | pa.RecordBatch:
        if isinstance(rows, Part):
            predict = self.many.predict_gathered_table if rows.as_table else self.many.predict_gathered
            return predict(rows.rows)
        return (self.single if alone and len(rows) <= FEW else self.many).predict(rows)


def _check(predictor: Predictor, rows: Sequence[Row], expected: Sequence[Prediction]) -> None:
    """Predicts the sample rows, one by one and together. Raises ModelError if a prediction is not the sealed one."""
    try:
        answers = [prediction for row in rows for prediction in predictor.predict([row])] + predictor.predict(rows)
    except DataError as failure:
        raise ModelError(f"{predictor.folder / SAMPLES}: {failure.cause}", TRAIN_AGAIN) from None
    for row, then, now in zip([*rows, *rows], [*expected, *expected], answers, strict=True):
        if not alike(predictor, then, now):
            raise ModelError(
                f"{predictor.folder} predicts {_short(now)} for {_short(row)}, "
                f"and predicted {_short(then)} when it was made",
                "do not serve it here: the runtime or the processor computes other values",
            )


def alike(predictor: Predictor, then: Prediction, now: Prediction) -> bool:
    """Whether two predictions are equal up to rounding. A row may be on the border of two labels, so labels are
    compared by their probabilities or confidence, if the task has them."""
    if "probabilities" in then:
        return _near(then["probabilities"], now["probabilities"])
    earlier, current = predictor.task.confidence(then), predictor.task.confidence(now)
    near = earlier is not None and current is not None and abs(earlier - current) <= TOLERANCE
    return near or _near(then, now)


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
