"""One suite over every learner and every task it does: its folder opens, predicts, and is the same in every runtime."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import yaml

from conftest import sentences, small_project, write_csv
from lakewright import plugins
from lakewright.errors import ModelError
from lakewright.runtimes.folder import verify
from lakewright.runtimes.predictor import Predictor

PAIRS = [(learner, task) for learner in plugins.names("learners") for task in plugins.names("tasks")]
TOLERANCE = 1e-4  # largest difference of a logit between torch and onnx, both fp32; stated in docs/models.md


@pytest.fixture(scope="module")
def folders(tiny_base: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[tuple[str, str], Path]]:
    """One trained model folder per pair of learner and task, made by a whole run each."""
    import lakewright as lw

    made: dict[tuple[str, str], Path] = {}
    with pytest.MonkeyPatch.context() as patch:
        for learner, task in PAIRS:
            if task in plugins.find("learners", learner).gaps:
                continue
            folder = tmp_path_factory.mktemp(f"{learner}-{task}")
            patch.chdir(folder)
            rows = sentences(200)
            described = small_project(tiny_base)
            described["train"] = {"learner": learner}
            if learner == "encoder":
                described["train"] |= {"base_model": str(tiny_base), "num_train_epochs": 2, "quantize": "never"}
            if task == "token_classification":
                for row in rows:
                    word = row["text"].split()[-1]
                    start = len(row["text"]) - len(word)
                    row["spans"] = json.dumps([{"start": start, "end": len(row["text"]), "label": "place"}])
                described |= {"task": task}
                described["data"] = {"source": "things.csv", "columns": {"text": "text", "spans": "spans"}}
            described["gate"] = {}
            write_csv(folder / "things.csv", rows)
            (folder / "project.yml").write_text(yaml.safe_dump(described))
            made[learner, task] = lw.run("project.yml").model_folder
        yield made


def test_a_gap_says_whether_it_will_be_filled() -> None:
    for name in plugins.names("learners"):
        for task, why in plugins.find("learners", name).gaps.items():
            assert task in plugins.names("tasks")
            assert why.startswith(("never: ", "not-yet: ", "not-implemented: "))


def test_every_pair_is_learned_or_a_declared_gap(folders: dict[tuple[str, str], Path]) -> None:
    gaps = {(name, task) for name in plugins.names("learners") for task in plugins.find("learners", name).gaps}
    assert set(folders) | gaps == set(PAIRS)


def test_runtimes_agree(folders: dict[tuple[str, str], Path]) -> None:
    texts = [row["text"] for row in sentences(40, seed=9)] + ["", "😀", "x" * 500]
    for folder in folders.values():
        predictors = [Predictor.open(folder, runtime) for runtime in plugins.names("runtimes")]
        encoded = predictors[0].encoding.encode(texts)
        first, *others = [predictor.logits(encoded) for predictor in predictors]
        for other in others:
            assert max(float(np.abs(a - b).max()) for a, b in zip(first, other, strict=True)) < TOLERANCE


def test_the_order_and_company_of_rows_change_nothing(folders: dict[tuple[str, str], Path]) -> None:
    texts = [row["text"] * (1 + i % 3) for i, row in enumerate(sentences(30, seed=4))]
    for folder in folders.values():
        predictor = Predictor.open(folder)
        together = predictor.predict(texts)
        for text, row in zip(texts[:5], together, strict=False):
            (alone,) = predictor.predict([{"text": text}])
            assert alone.keys() == row.keys()
            assert alone["confidence"] == pytest.approx(row["confidence"], abs=1e-5)
        assert predictor.predict([]) == []


def test_samples_are_predicted_as_they_were_sealed(folders: dict[tuple[str, str], Path]) -> None:
    for folder in folders.values():
        sealed = json.loads((folder / "samples.json").read_text())
        again = Predictor.open(folder).predict(sealed["rows"])
        assert [row["confidence"] for row in again] == pytest.approx(
            [row["confidence"] for row in sealed["predictions"]], abs=1e-6
        )


def test_a_changed_file_is_refused(folders: dict[tuple[str, str], Path], tmp_path: Path) -> None:
    import shutil

    for number, folder in enumerate(folders.values()):
        for name in ("model.onnx", "model.safetensors", "encoding/encoding.json", "model.json"):
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
                assert path.suffix in {".json", ".safetensors", ".onnx"}, path
                assert not path.read_bytes().startswith((b"\x80\x02", b"\x80\x04", b"\x80\x05", b"PK")), path
