"""The suite for a model folder that a learner left, after a whole run: it opens, predicts, and is the same in every
runtime."""

from __future__ import annotations

import json
import math
import shutil
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from lakewright import plugins
from lakewright.data.rows.kinds import Row
from lakewright.data.rows.request import lacks, read_row
from lakewright.errors import ModelError, UsageError
from lakewright.evaluation.changes import by_rows
from lakewright.model.changed import ChangedRows
from lakewright.model.folder import MANIFEST, MODEL, ONNX, describe, sample_rows, samples_of, serving, verify
from lakewright.model.predictor import Predictor
from lakewright.model.runtimes import Runtime

SAFE = {".json", ".safetensors", ".onnx", ".xml", ".bin"}
PICKLES = (b"\x80\x02", b"\x80\x04", b"\x80\x05", b"PK")  # how a pickle, or an archive of one, begins


@dataclass(frozen=True)
class FolderCase:
    folder: Path
    rows: Sequence[Row]  # six or more that the model can predict, short and long, and any others
    tolerance: float = 1e-4  # the largest difference of a logit between two runtimes in fp32; docs/models.md
    gpu_tolerance: float = 0.1  # the same between fp32 and a GPU in bf16

    def open(self, runtime: str = "auto") -> Predictor:
        return Predictor.open(self.folder, runtime)

    def read(self, predictor: Predictor) -> list[dict[str, Any]]:
        return [read_row(predictor.task.inputs, row, at) for at, row in enumerate(self.rows)]

    @property
    def has_network(self) -> bool:
        """Whether the learner declares a network in torch, for the runtimes torch and cuda."""
        return hasattr(plugins.LEARNERS.named_in(self.folder / MODEL, describe(self.folder)["learner"]), "network")

    @property
    def computes_trees(self) -> bool:
        """Whether the network holds trees, which ONNX Runtime alone computes."""
        return b"TreeEnsemble" in (self.folder / ONNX).read_bytes()

    @property
    def runtimes(self) -> list[str]:
        """The runtimes that compute this folder on a processor in fp32."""
        served = (serving(self.folder, "throughput"), serving(self.folder, "latency"))
        int8 = {name for name, precision in served if precision == "int8"}
        lacking = {"cuda"} if self.has_network else {"cuda", "torch"}
        if self.computes_trees:
            lacking.add("openvino")
        return [name for name in plugins.RUNTIMES.names() if name not in lacking | int8]


class FolderSuite:
    """Subclass it as Test…, with a fixture `case` that gives a FolderCase."""

    def test_runtimes_agree(self, case: FolderCase) -> None:
        import pytest

        reference, *others = [case.open(runtime) for runtime in case.runtimes]
        if not others and case.computes_trees:
            pytest.skip("one runtime alone computes trees")
        assert others, "there is no second runtime to compare with"
        encoded = reference.recipe.encode(case.read(reference))
        logits = reference.logits(encoded)
        for other in others:
            assert distance(logits, other.logits(encoded)) < case.tolerance

    def test_a_gpu_computes_nearly_the_same(self, case: FolderCase) -> None:
        import pytest
        import torch

        if not torch.cuda.is_available():
            pytest.skip("needs a GPU")
        if not case.has_network:
            pytest.skip("the learner has no network in torch")
        reference, gpu = case.open("torch"), case.open("cuda")
        encoded = reference.recipe.encode(case.read(reference))
        assert distance(reference.logits(encoded), gpu.logits(encoded)) < case.gpu_tolerance

    def test_the_order_and_company_of_rows_change_nothing(self, case: FolderCase) -> None:
        predictor = case.open()
        together = predictor.predict(case.rows)
        backwards = predictor.predict(case.rows[::-1])[::-1]
        alone = [predictor.predict([row])[0] for row in case.rows[:5]]
        assert near(backwards, together, 1e-5)
        assert near(alone, together[:5], 1e-5)
        assert predictor.predict([]) == []

    def test_rows_that_stand_often_are_predicted_alike_and_computed_once(self, case: FolderCase) -> None:
        predictor = case.open()
        once = [row for row in case.read(predictor) if not lacks(predictor.task.inputs, row)][:6]
        assert len(once) == 6, "the case has too few rows that can be predicted"
        encoded = predictor.recipe.encode(once)
        tokens_alone = encoded.weights is None and encoded.columns is None  # what is computed once
        computed: list[int] = []

        def counting(inputs: Any) -> Any:
            logits = predictor.runtime.compute(inputs)
            computed.append(len(logits))
            return logits

        replace(predictor, runtime=Runtime(counting)).predict(once * 3)
        different = len(np.unique(encoded.first_alike()))
        assert sum(computed) == (different if tokens_alone else 3 * len(encoded.ids))
        assert near(predictor.predict(once * 3), predictor.predict(once) * 3, 0.0 if tokens_alone else 1e-6)

    def test_rows_with_other_values_of_an_input_are_predicted_as_such_rows(self, case: FolderCase) -> None:
        """What the importance of inputs and the dependence on them are made of, each number to the last bit."""
        predictor, draw = case.open(), np.random.default_rng(0)
        rows = case.read(predictor)
        fast, plain = ChangedRows.of(predictor, rows), by_rows(predictor.predict, rows)
        for name, kind in predictor.task.inputs.items():
            values = [row[name] for row in rows]
            others = [value for value in values if value is not None][:2] + [None] * (kind not in ("text", "words"))
            for of in (values, others):
                places = draw.integers(0, len(of), 3 * len(rows))
                assert fast.with_values(name, of)(places) == plain(name, of)(places), name

    def test_reasons_are_of_the_row_alone_and_the_heaviest_first(self, case: FolderCase) -> None:
        import pytest

        predictor = case.open()
        rows = case.read(predictor)
        predictions = predictor.predict(rows)
        if predictor.lack_of_reasons:
            with pytest.raises(UsageError, match="the model has no reasons"):
                predictor.explain(rows, predictions, 3)
            return
        explained = predictor.explain(rows, predictions, 3)
        every = predictor.explain(rows, predictions, len(rows[0]) + 9)
        assert any(each["reasons"] for each in every)
        for at, (row, prediction, each, whole) in enumerate(zip(rows, predictions, explained, every, strict=True)):
            assert {key: each[key] for key in prediction} == prediction
            assert each["method"] == predictor.reasons.method
            for own in _by_label(whole["reasons"]).values():
                weights = [abs(reason["weight"]) for reason in own]
                assert weights == sorted(weights, reverse=True) and all(weights)
                assert _by_label(each["reasons"])[own[0].get("label")] == own[:3]
            if at < 5:
                (alone,) = predictor.explain([row], [prediction], len(row) + 9)
                assert near(_weights(alone), _weights(whole), 1e-4)
            json.dumps(whole)

    def test_mlflow_predicts_the_same(self, case: FolderCase) -> None:
        import pandas as pd

        from lakewright.model.pyfunc import OUTPUT, TABLE, _load_pyfunc

        rows = sample_rows(case.folder)
        table = _load_pyfunc(str(case.folder)).predict(pd.DataFrame(rows), {OUTPUT: TABLE})
        assert isinstance(table, pd.DataFrame)
        assert table.to_dict("records") == case.open().predict(rows)

    def test_samples_are_predicted_as_they_were_sealed(self, case: FolderCase) -> None:
        samples = samples_of(case.folder)
        served = dict((serving(case.folder, "throughput"), serving(case.folder, "latency")))
        reference = {"torch"} if "int8" in served.values() else set()
        assert samples.predictions.keys() == served.keys() | {"onnx"} | reference
        for runtime, predictions in samples.predictions.items():
            assert near(case.open(runtime).predict(samples.rows), predictions, 1e-6), runtime

    def test_a_server_opens_it_in_every_runtime_that_it_names(self, case: FolderCase) -> None:
        from lakewright.service.server.model import Model

        for runtime in ("auto", *samples_of(case.folder).predictions):
            assert Model.open(case.folder, None, runtime, threads=2).samples

    def test_a_changed_file_is_refused(self, case: FolderCase, tmp_path: Path) -> None:
        import pytest

        copy = tmp_path / "model"
        shutil.copytree(case.folder, copy)
        for name in json.loads((copy / MANIFEST).read_text()):
            content = (copy / name).read_bytes()
            verify(copy)
            (copy / name).write_bytes(content + b" ")
            with pytest.raises(ModelError, match="hash differs"):
                Predictor.open(copy)
            (copy / name).write_bytes(content)

    def test_nothing_in_it_is_a_pickle(self, case: FolderCase) -> None:
        for path in case.folder.rglob("*"):
            if path.is_file():
                assert path.suffix in SAFE, path
                assert not path.read_bytes().startswith(PICKLES), path


def _by_label(reasons: Sequence[dict[str, Any]]) -> dict[str | None, list[dict[str, Any]]]:
    labels: dict[str | None, list[dict[str, Any]]] = {}
    for reason in reasons:
        labels.setdefault(reason.get("label"), []).append(reason)
    return labels


def _weights(explained: dict[str, Any]) -> dict[str, float]:
    """Of all but those that are no more than rounding."""
    named = {f"{each.get('label')}/{each['input']}": each["weight"] for each in explained["reasons"]}
    return {name: weight for name, weight in named.items() if abs(weight) > 1e-4}


def distance(first: Sequence[Any], second: Sequence[Any]) -> float:
    """The largest difference of a logit."""
    return max(float(np.abs(a - b).max()) for a, b in zip(first, second, strict=True))


def near(first: Any, second: Any, by: float) -> bool:
    """Whether predictions are the same but for rounding: numbers may differ by `by`, nothing else may differ."""
    if isinstance(first, dict):
        return (
            isinstance(second, dict)
            and first.keys() == second.keys()
            and all(near(first[k], second[k], by) for k in first)
        )
    if isinstance(first, list):
        return (
            isinstance(second, list) and len(first) == len(second) and all(map(near, first, second, [by] * len(first)))
        )
    if isinstance(first, float) and isinstance(second, float):
        return math.isclose(first, second, rel_tol=by, abs_tol=by)
    return bool(first == second)
