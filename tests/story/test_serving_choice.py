"""Which network serves is measured where the model is made, told in the folder, and what predicts."""

from __future__ import annotations

import json
import os
import random
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from subprocess import CompletedProcess
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
from safetensors.numpy import load_file

import lakewright as lw
from conftest import sentences
from conftest import serving as served
from lakewright.learning.learners.encoder import serving
from lakewright.model.folder import seal
from lakewright.model.predictor import Predictor

AT_ONCE = """
import sys, threading
import numpy as np
from pathlib import Path
from lakewright.model.predictor import Predictor

sys.setswitchinterval(1e-6)  # threads take turns as often as they can
predictor = Predictor.open(Path(sys.argv[1]), "openvino", 2)
encoded = predictor.recipe.encode([{"text": "we saw a dog today"}])
inputs, gate = predictor.recipe.batch(encoded, np.array([0])), threading.Barrier(8)

def compute():
    gate.wait()
    predictor.runtime.compute(inputs)
    sys.stdout.write("computed\\n")

threads = [threading.Thread(target=compute) for _ in range(8)]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
"""


@pytest.fixture
def run(project: Path) -> lw.Run:
    return lw.run(project, settings=["train.quantize=auto", "train.num_train_epochs=3", "gate.minimum={}"])


def test_each_use_has_the_fastest_of_what_is_as_good_as_fp32(
    run: lw.Run, lakewright: Callable[..., CompletedProcess[str]], tmp_path: Path
) -> None:
    folder = Path(run.model_folder)
    told = json.loads((folder / "serving.json").read_text())
    details = json.loads((folder / "training.json").read_text())["details"]
    assert set(told) == {"throughput", "latency"}
    significant = {name for name in ("int8", "openvino") if details[f"{name}_difference_p"] < 0.05}
    for chosen in told.values():
        times = chosen["seconds_per_row"]
        assert set(times) == {"fp32", "int8", "openvino"} and min(times.values()) > 0
        fast = min((name for name in times if name not in significant), key=times.__getitem__)
        if chosen["runtime"] == "openvino":
            assert fast == "openvino"
    assert (folder / "openvino.xml").exists() == any(chosen["runtime"] == "openvino" for chosen in told.values())
    assert not (folder / "model.int8.onnx").exists()

    # Each use opens its own, and both say nearly the same.
    rows = [{"text": text} for text in pq.read_table(run.report.test_rows)["text"].to_pylist()]
    many, single = Predictor.open(folder), Predictor.open(folder, use="latency")
    same = [a["label"] == b["label"] for a, b in zip(many.predict(rows), single.predict(rows), strict=True)]
    assert np.mean(same) > 0.9
    if told["throughput"]["runtime"] != told["latency"]["runtime"]:
        assert run.report.single_row_metrics.keys() <= run.report.metrics.keys()

    # A machine without OpenVINO says so, and what to do; it never takes another runtime by itself.
    copy = tmp_path / "folder"
    shutil.copytree(folder, copy)
    told["throughput"]["runtime"] = "openvino"
    (copy / "serving.json").write_text(json.dumps(told))
    seal(copy)
    (tmp_path / "hidden").mkdir()
    (tmp_path / "hidden" / "openvino.py").write_text("raise ImportError('hidden')\n")
    without = {**os.environ, "PYTHONPATH": f"{tmp_path / 'hidden'}{os.pathsep}{os.environ.get('PYTHONPATH', '')}"}
    refused = lakewright("predict", str(copy), "one text", env=without)
    assert refused.returncode == 1 and "lakewright[openvino]" in refused.stderr
    assert lakewright("predict", str(copy), "one text", "--runtime", "onnx", env=without).returncode == 0

    # The first rows that it ever sees may come from several threads at once.
    at_once = subprocess.run([sys.executable, "-c", AT_ONCE, str(folder)], capture_output=True, timeout=60, check=True)
    assert at_once.stdout.split() == [b"computed"] * 8


def test_what_is_significantly_worse_or_cannot_be_computed_never_serves(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    quantise = serving.int8.quantise

    def broken(full: Path, into: Path, known: dict[str, tuple[float, float]]) -> None:
        """int8 whose scales went wrong: the head's bias gives one class for all. With a scale a token it is right."""
        import onnx
        from onnx import numpy_helper

        quantise(full, into, known)
        if not known:
            return
        model = onnx.load(str(into))
        for weight in model.graph.initializer:
            if weight.name == "head.bias":
                values = numpy_helper.to_array(weight).copy()
                values[0] += 100
                weight.CopyFrom(numpy_helper.from_array(values, weight.name))
        onnx.save(model, str(into))

    def unknown_processor(*_: object) -> None:
        raise RuntimeError("Supported primitive descriptors list is empty\nfor node Softmax")

    monkeypatch.setattr(serving.int8, "quantise", broken)
    monkeypatch.setattr(serving, "_calibrated", unknown_processor)
    run = lw.run(project, settings=["train.quantize=auto", "train.num_train_epochs=3", "gate.minimum={}"])
    folder = Path(run.model_folder)
    details = json.loads((folder / "training.json").read_text())["details"]
    assert details["int8_difference"] < 0 and details["int8_difference_p"] < 0.05
    assert details["int8_by_token_difference_p"] > 0.05
    assert details["openvino_left_out"] == "Supported primitive descriptors list is empty for node Softmax"
    log = next(project.parent.glob(".lakewright/runs/*/log.txt")).read_text()
    assert "openvino is left out: this machine cannot compute it" in log
    choice = json.loads((folder / "serving.json").read_text())
    assert all(chosen["runtime"] == "onnx" for chosen in choice.values())
    assert {path.name for path in folder.glob("*.onnx")} == {"model.onnx"}
    texts = pq.read_table(run.report.test_rows)["text"].to_pylist()
    labels = {row["label"] for row in Predictor.open(folder, "onnx").predict(texts)}
    assert len(labels) > 1  # the broken network gives one label for all


def test_a_head_on_a_frozen_encoder_learns_from_int8(
    project: Path, tiny_base: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(serving, "_timed", _int8_is_faster)
    folder, plain = (_embedded(project, tiny_base, quantize) for quantize in ("static", "never"))
    details = json.loads((folder / "training.json").read_text())["details"]
    assert (details["precision"], details["int8_unlike"] < 0.1) == ("int8", True)
    assert not (folder / "model.int8.onnx").exists()
    head, other = (load_file(each / "model.safetensors")["head.weight"] for each in (folder, plain))
    assert not np.array_equal(head, other) and np.corrcoef(head.ravel(), other.ravel())[0, 1] > 0.9
    texts = [row["text"] for row in sentences(60, seed=5)]
    rounded, exact = (Predictor.open(folder, runtime).predict(texts) for runtime in ("onnx", "torch"))
    assert np.mean([a["label"] == b["label"] for a, b in zip(rounded, exact, strict=True)]) > 0.9


def test_a_head_learns_from_fp32_where_int8_says_something_else(
    project: Path, tiny_base: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(full: Path, into: Path, known: object) -> None:
        import onnx
        from onnx import numpy_helper

        model = onnx.load(str(full))
        for weight in model.graph.initializer:
            if weight.name.endswith("embeddings.LayerNorm.weight"):
                zeros = np.zeros_like(numpy_helper.to_array(weight))
                weight.CopyFrom(numpy_helper.from_array(zeros, weight.name))
        onnx.save(model, str(into))

    monkeypatch.setattr(serving, "_timed", _int8_is_faster)
    monkeypatch.setattr(serving.int8, "quantise", broken)
    folders = [_embedded(project, tiny_base, quantize) for quantize in ("static", "never")]
    heads = [load_file(folder / "model.safetensors")["head.weight"] for folder in folders]
    assert np.array_equal(*heads)


def test_an_answer_under_load_is_the_one_that_a_text_has_alone(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(serving, "_timed", _int8_is_faster)
    settings = ["train.quantize=static", "train.num_train_epochs=1", "gate.minimum={}"]
    folder = Path(lw.run(project, settings=settings).model_folder)
    assert json.loads((folder / "serving.json").read_text())["latency"]["precision"] == "int8"
    draw = random.Random(3)
    words = [row["text"] for row in sentences(60, seed=5)]
    texts = [" ".join(draw.choices(words, k=draw.choice([1, 1, 2, 5]))) for _ in range(40)]
    requests = [draw.sample(texts, draw.choice([1, 1, 3, 20])) for _ in range(150)]
    with served(folder, "--set", "cache_rows=0", folder=project.parent) as server:

        def predictions(some: list[str]) -> list[dict[str, Any]]:
            while (answer := server.ask("POST", "/predict", {"texts": some, "probabilities": True})).status == 429:
                time.sleep(0.1)  # a busy machine
            assert answer.status == 200
            found: list[dict[str, Any]] = answer.json["predictions"]
            return found

        alone = {text: predictions([text])[0] for text in texts}
        with ThreadPoolExecutor(16) as pool:
            loaded = list(pool.map(predictions, requests))
    for some, answers in zip(requests, loaded, strict=True):
        for text, answer in zip(some, answers, strict=True):
            assert answer["probabilities"] == pytest.approx(alone[text]["probabilities"], abs=5e-3)


def _embedded(project: Path, base: Path, quantize: str) -> Path:
    train = f"train={{learner: embedding, base_model: {base}, quantize: {quantize}}}"
    return Path(lw.run(project, settings=[train, "gate.minimum={}"]).model_folder)


def _int8_is_faster(entries: Sequence[serving.Entry], training: Any) -> Any:
    seconds = {entry.candidate.name: 1.0 if entry.candidate.name == "fp32" else 0.5 for entry in entries}
    return dict.fromkeys(serving.USES, seconds)
