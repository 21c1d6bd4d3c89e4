"""The suite for model folders over every learner and every task it does."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml

from conftest import sentences, small_project
from lakewright import plugins
from lakewright.errors import UsageError
from lakewright.learning.learners import gap, on_workers
from lakewright.model.folder import describe
from lakewright.model.predictor import Predictor
from lakewright.testing import FolderCase, FolderSuite

# Those that train on a cluster: test_spark_learners.py
LEARNERS = [name for name in plugins.LEARNERS.names() if not on_workers(plugins.LEARNERS.find(name))]
PAIRS = [(learner, task) for learner in LEARNERS for task in plugins.TASKS.names()]

PRETRAINED = ("embedding", "encoder")  # learners that begin with a base model

LAYOUT: dict[str, Any] = {  # every task at least once with windows, or with what it reads beside the text
    "text_classification": {"max_length": 8, "long_texts": "windows", "stride": 2},
    "multilabel_classification": {"max_length": 8, "long_texts": "head_tail"},
    "token_classification": {"max_length": 8, "stride": 3},
    "question_answering": {"max_length": 16, "stride": 4},
    "regression": {"max_length": 8, "long_texts": "windows", "stride": 2},
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
                "made": f"2026-{1 + i % 12:02}-{1 + i % 28:02}T0{i % 10}:30:00Z",
            }
        )
    columns: dict[str, dict[str, Any]] = {
        "text_classification": {"text": "text", "label": "label", "numbers": ["length"], "categories": ["place"]},
        "multilabel_classification": {"text": "text", "text_pair": "text_pair", "labels": "labels"},
        "token_classification": {"text": "text", "spans": "spans"},
        "question_answering": {"question": "question", "context": "text", "answers": "answers"},
        "sentence_similarity": {"text": "text", "text_pair": "text_pair", "score": "score"},
        "classification": {"label": "label"},
        "regression": {"label": "score"},
    }
    wanted = columns[task]
    used = {name for given in wanted.values() for name in (given if isinstance(given, list) else [given])}
    if task in ("classification", "regression"):  # of any columns
        used |= {"text", "length", "place", "made"}
    return [{name: row[name] for name in used} for row in made], wanted


LEARNED = [
    (learner, task) for learner, task in PAIRS if not gap(plugins.LEARNERS.find(learner), plugins.TASKS.find(task))
]


def small_run(folder: Path, learner: str, task: str, base: Path, mlflow_template: Path) -> None:
    """project.yml of a pair and its rows, in the folder."""
    (folder / ".lakewright").mkdir()
    shutil.copy(mlflow_template, folder / ".lakewright" / "mlflow.db")
    rows, columns = task_rows(task, sentences(200))
    described = small_project(base) | {"task": task}
    described["data"] = {"source": "things.json", "columns": columns}
    described["train"] = {"learner": learner}
    if learner in PRETRAINED:
        described["train"] |= {"base_model": str(base), "quantize": "never"}
    if learner == "encoder":
        described["train"] |= {"num_train_epochs": 2}
    described["prepare"] = {"recipe": {"tokens": LAYOUT.get(task, {})}} if learner in PRETRAINED else {}
    described |= {"gate": {}, "evaluate": {"resamples": 100}}
    (folder / "things.json").write_text("\n".join(json.dumps(row) for row in rows))
    (folder / "project.yml").write_text(yaml.safe_dump(described))


@pytest.fixture(scope="module")
def folders(
    tiny_base: Path, mlflow_template: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[dict[tuple[str, str], Path]]:
    """One trained model folder per pair of learner and task."""
    import lakewright as lw

    made: dict[tuple[str, str], Path] = {}
    with pytest.MonkeyPatch.context() as patch:
        for learner, task in LEARNED:
            folder = tmp_path_factory.mktemp(f"{learner}-{task}")
            patch.chdir(folder)
            small_run(folder, learner, task, tiny_base, mlflow_template)
            for stage in ("ingest", "prepare", "train"):
                record = lw.stage(stage, "project.yml", "run")
            made[learner, task] = Path(record.model_folder)  # type: ignore[attr-defined]
        yield made


@pytest.mark.slow
@pytest.mark.parametrize(("learner", "task"), LEARNED)
def test_a_whole_run_of_every_pair(
    learner: str, task: str, tiny_base: Path, mlflow_template: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import lakewright as lw

    monkeypatch.chdir(tmp_path)
    small_run(tmp_path, learner, task, tiny_base, mlflow_template)
    run = lw.run("project.yml")
    assert run.error is None and "register" in run.records


def test_a_gap_says_whether_it_will_be_filled() -> None:
    for name in plugins.LEARNERS.names():
        learner = plugins.LEARNERS.find(name)
        assert not {*learner.gaps} & {*learner.truths}
        for truth, why in learner.gaps.items():
            assert truth in {plugins.TASKS.find(task).truth for task in plugins.TASKS.names()}
            assert why.startswith(("never: ", "not-yet: ", "not-implemented: "))


@pytest.mark.slow
def test_every_pair_is_learned_or_a_declared_gap(folders: dict[tuple[str, str], Path]) -> None:
    gaps = {(name, task) for name, task in PAIRS if gap(plugins.LEARNERS.find(name), plugins.TASKS.find(task))}
    assert set(folders) | gaps == set(PAIRS)


def inputs_of(folder: Path, texts: list[str]) -> list[dict[str, Any]]:
    """A row of every input for each text."""
    other = {
        "text": None,
        "optional text": "who is here",
        "words": None,
        "number": 3.0,
        "category": "here",
        "time": "2026-01-31",
    }
    described = describe(folder)["task"]
    inputs = plugins.TASKS.find(described["name"]).open(described).inputs
    rows = []
    for text in texts:
        row = {name: other[kind] for name, kind in inputs.items()}
        rows.append({**row, **{name: text for name, kind in inputs.items() if kind == "text"}})
    return rows


class TestFolder(FolderSuite):
    @pytest.fixture(params=LEARNED, ids="-".join)
    def case(self, request: pytest.FixtureRequest, folders: dict[tuple[str, str], Path]) -> FolderCase:
        texts = [row["text"] * (1 + i % 3) for i, row in enumerate(sentences(40, seed=9))] + ["", "😀", "x" * 500]
        folder = folders[request.param]
        return FolderCase(folder, inputs_of(folder, texts))

    def test_a_gpu_computes_nearly_the_same(self, case: FolderCase) -> None:
        if describe(case.folder)["learner"] not in PRETRAINED:
            pytest.skip("no limit in bf16 is known for it")
        super().test_a_gpu_computes_nearly_the_same(case)

    def test_it_is_compared_in_all_runtimes_of_a_processor(self, case: FolderCase) -> None:
        every = [name for name in plugins.RUNTIMES.names() if name != "cuda"]
        assert case.runtimes == (["onnx"] if case.computes_trees else every)

    def test_a_runtime_that_cannot_compute_it_is_an_error_that_leads_out(self, case: FolderCase) -> None:
        if case.computes_trees:
            with pytest.raises(UsageError, match="OpenVINO cannot compute"):
                case.open("openvino")

    def test_rows_that_stand_often_are_predicted_the_same_to_the_bit(self, case: FolderCase) -> None:
        predictor = case.open()
        assert predictor.predict([*case.rows[:6]] * 3) == predictor.predict(case.rows[:6]) * 3


@pytest.mark.skipif(torch.cuda.is_available(), reason="needs a machine without a GPU")
def test_no_processor_in_place_of_a_gpu(folders: dict[tuple[str, str], Path]) -> None:
    with pytest.raises(UsageError, match="needs an NVIDIA GPU"):
        Predictor.open(next(iter(folders.values())), "cuda")
