"""One suite over every learner and every task it does: its folder opens, predicts, and is the same in every runtime."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml

from conftest import sentences, small_project
from lakewright import plugins
from lakewright.errors import ModelError, UsageError
from lakewright.learning.learners import gap
from lakewright.model.folder import sample_rows, serving, verify
from lakewright.model.predictor import Predictor
from lakewright.model.runtimes import Runtime
from lakewright.model.tasks import Task
from lakewright.service.server.model import Model

PAIRS = [(learner, task) for learner in plugins.LEARNERS.names() for task in plugins.TASKS.names()]
TOLERANCE = 1e-4  # largest difference of a logit between torch and onnx, both fp32; stated in docs/models.md


LAYOUT: dict[str, Any] = {  # every task at least once with windows, or with what it reads beside the text
    "text_classification": {"max_length": 8, "long_texts": "windows", "stride": 2},
    "multilabel_classification": {"max_length": 8, "long_texts": "head_tail"},
    "token_classification": {"max_length": 8, "stride": 3},
    "question_answering": {"max_length": 16, "stride": 4},
}


def task_rows(task: str, rows: list[dict[str, str]]) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    """The rows as this task reads them, and data.columns."""
    made: list[dict[str, Any]] = []
    for i, row in enumerate(rows):
        text, label = row["text"], row["label"]
        word = text.split()[-1]
        start = len(text) - len(word)
        other = rows[(i + 1) % len(rows)]
        made.append(
            {
                "text": text,
                "label": label,
                "length": len(text) if i % 7 else None,
                "place": row["place"],
                "labels": sorted({label, other["label"]} if i % 5 else set()),
                "spans": [{"start": start, "end": len(text), "label": "place"}],
                "question": f"what {label}",
                "answers": [{"text": word, "answer_start": start}] if i % 4 else [],
                "text_pair": other["text"],
                "score": 5.0 * (label == other["label"]) + i % 2,
            }
        )
    columns: dict[str, dict[str, Any]] = {
        "text_classification": {"text": "text", "label": "label", "numbers": ["length"], "categories": ["place"]},
        "multilabel_classification": {"text": "text", "text_pair": "text_pair", "labels": "labels"},
        "token_classification": {"text": "text", "spans": "spans"},
        "question_answering": {"question": "question", "context": "text", "answers": "answers"},
        "sentence_similarity": {"text": "text", "text_pair": "text_pair", "score": "score"},
    }
    wanted = columns[task]
    used = {name for given in wanted.values() for name in (given if isinstance(given, list) else [given])}
    return [{name: row[name] for name in used} for row in made], wanted


@pytest.fixture(scope="module")
def folders(
    tiny_base: Path, mlflow_template: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[dict[tuple[str, str], Path]]:
    """One trained model folder per pair of learner and task, made by a whole run each."""
    import lakewright as lw

    made: dict[tuple[str, str], Path] = {}
    with pytest.MonkeyPatch.context() as patch:
        for learner, task in PAIRS:
            if gap(plugins.LEARNERS.find(learner), plugins.TASKS.find(task)):
                continue
            folder = tmp_path_factory.mktemp(f"{learner}-{task}")
            patch.chdir(folder)
            (folder / ".lakewright").mkdir()
            shutil.copy(mlflow_template, folder / ".lakewright" / "mlflow.db")
            rows, columns = task_rows(task, sentences(200))
            described = small_project(tiny_base) | {"task": task}
            described["data"] = {"source": "things.json", "columns": columns}
            described["train"] = {"learner": learner}
            if learner != "linear":
                described["train"] |= {"base_model": str(tiny_base), "quantize": "never"}
            if learner == "encoder":
                described["train"] |= {"num_train_epochs": 2}
            described["prepare"] = {"recipe": {"tokens": LAYOUT.get(task, {})}} if learner != "linear" else {}
            described |= {"gate": {}, "evaluate": {"resamples": 100}}
            (folder / "things.json").write_text("\n".join(json.dumps(row) for row in rows))
            (folder / "project.yml").write_text(yaml.safe_dump(described))
            made[learner, task] = lw.run("project.yml").model_folder
        yield made


def test_a_gap_says_whether_it_will_be_filled() -> None:
    for name in plugins.LEARNERS.names():
        learner = plugins.LEARNERS.find(name)
        assert not {*learner.gaps} & {*learner.truths}
        for truth, why in learner.gaps.items():
            assert truth in {plugins.TASKS.find(task).truth for task in plugins.TASKS.names()}
            assert why.startswith(("never: ", "not-yet: ", "not-implemented: "))


def test_every_pair_is_learned_or_a_declared_gap(folders: dict[tuple[str, str], Path]) -> None:
    gaps = {(name, task) for name, task in PAIRS if gap(plugins.LEARNERS.find(name), plugins.TASKS.find(task))}
    assert set(folders) | gaps == set(PAIRS)


def inputs_of(task: Task, texts: list[str]) -> list[dict[str, Any]]:
    """A row of every input for each text."""
    other = {"text": None, "optional text": "who is here", "words": None, "number": 3.0, "category": "here"}
    rows = []
    for text in texts:
        row = {name: other[kind] for name, kind in task.inputs.items()}
        rows.append({**row, **{name: text for name, kind in task.inputs.items() if kind == "text"}})
    return rows


def test_runtimes_agree(folders: dict[tuple[str, str], Path]) -> None:
    texts = [row["text"] for row in sentences(40, seed=9)] + ["", "😀", "x" * 500]
    for folder in folders.values():
        names = [name for name in plugins.RUNTIMES.names() if name != "cuda"]  # the gap: it needs a GPU, and says so
        predictors = [Predictor.open(folder, runtime) for runtime in names]
        task = predictors[0].task
        encoded = predictors[0].recipe.encode(inputs_of(task, texts))
        first, *others = [predictor.logits(encoded) for predictor in predictors]
        for other in others:
            assert max(float(np.abs(a - b).max()) for a, b in zip(first, other, strict=True)) < TOLERANCE


def test_the_order_and_company_of_rows_change_nothing(folders: dict[tuple[str, str], Path]) -> None:
    texts = [row["text"] * (1 + i % 3) for i, row in enumerate(sentences(30, seed=4))]
    for folder in folders.values():
        predictor = Predictor.open(folder)
        rows = inputs_of(predictor.task, texts)
        together = predictor.predict(rows)
        for row, said in zip(rows[:5], together, strict=False):
            (alone,) = predictor.predict([row])
            assert alone.keys() == said.keys()
            sure = predictor.task.confidence
            assert sure(alone) == pytest.approx(sure(said), abs=1e-5)
        assert predictor.predict([]) == []


def test_a_text_that_stands_often_is_computed_once(folders: dict[tuple[str, str], Path]) -> None:
    texts = [row["text"] for row in sentences(6, seed=4)]
    for (learner, _), folder in folders.items():
        predictor = Predictor.open(folder)
        once, often = inputs_of(predictor.task, texts), inputs_of(predictor.task, texts * 3)
        encoded = predictor.recipe.encode(often)
        computed: list[int] = []

        def counting(inputs: Any, compute: Any = predictor.runtime.compute, computed: list[int] = computed) -> Any:
            logits = compute(inputs)
            computed.append(len(logits))
            return logits

        if learner != "linear" and encoded.columns is None:
            replace(predictor, runtime=Runtime(counting)).predict(often)
            alone = predictor.recipe.encode(once)
            assert sum(computed) == len(np.unique(alone.first_alike()))
        assert predictor.predict(often) == predictor.predict(once) * 3


def test_mlflow_predicts_the_same(folders: dict[tuple[str, str], Path]) -> None:
    import pandas as pd

    from lakewright.model.pyfunc import _load_pyfunc

    for folder in folders.values():
        predictor = Predictor.open(folder)
        rows = sample_rows(folder)
        table = _load_pyfunc(str(folder)).predict(pd.DataFrame(rows))
        assert table.to_dict("records") == predictor.predict(rows)


def test_samples_are_predicted_as_they_were_sealed(folders: dict[tuple[str, str], Path]) -> None:
    for folder in folders.values():
        sealed = json.loads((folder / "samples.json").read_text())
        served = dict(serving(folder, use) for use in ("throughput", "latency"))
        reference = {"torch"} if "int8" in served.values() else set()
        assert sealed["predictions"].keys() == served.keys() | {"onnx"} | reference
        for runtime, then in sealed["predictions"].items():
            predictor = Predictor.open(folder, runtime)
            sure = predictor.task.confidence
            now = predictor.predict(sealed["rows"])
            assert [sure(row) for row in now] == pytest.approx([sure(row) for row in then], abs=1e-6)


def test_a_server_opens_each_in_every_runtime_that_it_names(folders: dict[tuple[str, str], Path]) -> None:
    for folder in folders.values():
        for runtime in ("auto", *json.loads((folder / "samples.json").read_text())["predictions"]):
            assert Model.open(folder, None, runtime, threads=2).samples


def test_a_changed_file_is_refused(folders: dict[tuple[str, str], Path], tmp_path: Path) -> None:
    for number, folder in enumerate(folders.values()):
        for name in ("model.onnx", "model.safetensors", "recipe/recipe.json", "model.json"):
            copy = tmp_path / f"{number}-{name.replace('/', '-')}"
            shutil.copytree(folder, copy)
            verify(copy)
            with (copy / name).open("ab") as file:
                file.write(b" ")
            with pytest.raises(ModelError, match="hash differs"):
                Predictor.open(copy)


def test_nothing_in_a_folder_is_a_pickle(folders: dict[tuple[str, str], Path]) -> None:
    for folder in folders.values():
        for path in folder.rglob("*"):
            if path.is_file():
                assert path.suffix in {".json", ".safetensors", ".onnx", ".xml", ".bin"}, path
                assert not path.read_bytes().startswith((b"\x80\x02", b"\x80\x04", b"\x80\x05", b"PK")), path


@pytest.mark.skipif(torch.cuda.is_available(), reason="needs a machine without a GPU")
def test_no_processor_in_place_of_a_gpu(folders: dict[tuple[str, str], Path]) -> None:
    with pytest.raises(UsageError, match="needs an NVIDIA GPU"):
        Predictor.open(next(iter(folders.values())), "cuda")


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_the_gpu_says_nearly_what_the_processor_says(folders: dict[tuple[str, str], Path]) -> None:
    texts = [row["text"] for row in sentences(40, seed=9)]
    for (learner, _), folder in folders.items():
        if learner != "linear":
            there, here = (Predictor.open(folder, runtime) for runtime in ("cuda", "torch"))
            encoded = here.recipe.encode(inputs_of(here.task, texts))
            pairs = zip(there.logits(encoded), here.logits(encoded), strict=True)
            assert max(float(np.abs(a - b).max()) for a, b in pairs) < 0.1
