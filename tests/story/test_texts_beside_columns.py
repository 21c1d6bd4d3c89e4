"""A table of texts beside columns becomes a served model, by trees too; a row without one is predicted by the rest."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml

import lakewright as lw
from conftest import serving
from lakewright.errors import DataError
from lakewright.model.folder import describe
from lakewright.model.predictor import Predictor

ROWS = 700
BETTER = ["bright and quiet", "newly painted with a view", "sunny with a large garden"]
WORSE = ["dark and loud", "in need of repair at the road", "damp with a small yard"]


def flats() -> pa.Table:
    """Whether a flat is taken follows its remark, its seller and its size; what it costs follows the same."""
    draw = np.random.default_rng(9)
    size, seller = draw.gamma(4, 20, ROWS), draw.integers(0, 60, ROWS)
    liked = draw.random(ROWS) < 0.5
    remarks = [f"{draw.choice(BETTER if yes else WORSE)}, flat number {i} here" for i, yes in enumerate(liked)]
    price = 3 * size + 60 * liked + 40 * (seller % 2) + draw.normal(0, 10, ROWS)
    return pa.table(
        {
            "remark": [None if i % 9 == 0 else " " if i % 31 == 0 else each for i, each in enumerate(remarks)],
            "size": size,
            "seller": [f"seller {each}" for each in seller],
            "price": price,
            "taken": price > np.median(price),
        }
    )


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    pq.write_table(flats(), tmp_path / "flats.parquet")
    return tmp_path


def project(folder: Path, task: str, learner: str, **more: Any) -> Path:
    label, other = ("taken", "price") if task == "classification" else ("price", "taken")
    described = {
        "name": "flats",
        "schema": "main.homes",
        "task": task,
        "data": {"source": "flats.parquet", "columns": {"label": label}, "exclude": [other]},
        "prepare": {"recipe": {"target_mean": {"inputs": ["seller"]}}},
        "train": {"learner": learner},
        "evaluate": {"resamples": 100},
        **more,
    }
    file = folder / "flats.yml"
    file.write_text(yaml.safe_dump(described))
    return file


SAMPLES: list[dict[str, Any]] = [
    {"text": "bright and quiet, flat number 5 here", "size": 80.0, "seller": "seller 1"},
    {"text": "dark and loud, flat number 5 here", "size": 80.0, "seller": "seller 1"},
    {"text": None, "size": 80.0, "seller": "seller 1"},
    {"text": " ", "size": 80.0, "seller": None},
    {"text": None, "size": None, "seller": None},
]


def test_whether_a_flat_is_taken(here: Path) -> None:
    """The whole way by `trees`, with nothing named but the label: table, report, reasons, array, table, server."""
    import mlflow

    run = lw.run(project(here, "classification", "trees"))
    assert run.report.metrics["roc_auc"].value > 0.9
    described = describe(run.model_folder)["task"]
    assert described["inputs"] == {"text": "optional text", "size": "number", "seller": "category"}
    assert sum(run.records["prepare"].splits.values()) == ROWS  # type: ignore[attr-defined]
    worth = {each.input: each.value for each in run.report.importances}
    assert worth["text"] > 0 and {*worth} == {"text", "size", "seller"}

    predictor = Predictor.open(run.model_folder)
    liked, disliked, without, blank, nothing = predictor.predict(SAMPLES)
    assert liked["probabilities"]["true"] > without["probabilities"]["true"] > disliked["probabilities"]["true"]
    assert blank["label"] is not None and nothing["label"] is None and nothing["abstain"]
    together = predictor.predict_table(pa.Table.from_pylist(SAMPLES)).to_pylist()
    assert [row["label"] for row in together] == [row["label"] for row in predictor.predict(SAMPLES)]
    assert [row["confidence"] for row in together[:4]] == [
        each["confidence"] for each in (liked, disliked, without, blank)
    ]
    (explained,) = predictor.explain(SAMPLES[:1], [liked], 3)
    reasons = {each["input"]: each for each in explained["reasons"]}
    assert reasons["text"]["value"] == SAMPLES[0]["text"] and reasons["text"]["weight"] > 0
    assert predictor.recipe.cost(SAMPLES[0]) == len(SAMPLES[0]["text"])

    for row, cause in (
        ({"size": 80.0, "seller": "seller 1"}, "row 0 has no 'text'"),
        ({"text": None, "size": 80.0}, "row 0 has no 'seller'"),
        ({"txet": "a", "size": 80.0, "seller": "seller 1"}, "has 'txet', which is not an input, and has no 'text'"),
    ):
        with pytest.raises(DataError, match=cause):
            predictor.predict([row])
    with pytest.raises(DataError, match="rows is a DataFrame") as refused:
        predictor.predict(pa.Table.from_pylist(SAMPLES).to_pandas())
    assert "to_dict('records')" in refused.value.remedy
    by_column = {"remark" if name == "text" else name: value for name, value in SAMPLES[0].items()}
    assert predictor.predict([by_column]) == predictor.predict(SAMPLES[:1])  # as the table calls it
    assert predictor.predict([SAMPLES[0]["text"]]) == predictor.predict([{"text": SAMPLES[0]["text"]}])

    model = mlflow.pyfunc.load_model(run.records["register"].uri)  # type: ignore[attr-defined]
    frame = pa.Table.from_pylist(SAMPLES[:4]).to_pandas()
    assert model.predict(frame).tolist() == [each["label"] == "true" for each in (liked, disliked, without, blank)]
    lw.score(run.model_folder, "main.homes.flats")
    lake = lw.Workspace.open(lw.load_profile()).lake
    table = lake.read(lake.version("main.homes.flats_predictions"))
    assert table.num_rows == ROWS and table["label"].null_count == 0

    with serving(run.model_folder, folder=here) as server:
        answer = server.ask("POST", "/predict", {"rows": SAMPLES, "explain": 2})
        assert answer.status == 200
        answers = answer.json["predictions"]
        assert [each["label"] for each in answers] == [row["label"] for row in together]
        assert {each["input"] for each in answers[0]["reasons"]} <= {"text", "size", "seller"}
        assert server.ask("POST", "/predict", {"rows": [{"size": 1.0, "seller": "a"}]}).status == 400


@pytest.mark.parametrize("learner", ["forest", "xgboost", "linear"])
def test_what_a_flat_costs(here: Path, learner: str) -> None:
    run = lw.run(project(here, "regression", learner))
    assert run.report.metrics["r2"].value > 0.8
    predictor = Predictor.open(run.model_folder)
    values = [each["value"] for each in predictor.predict(SAMPLES)]
    assert values[0] - 20 > values[1] and np.isfinite(values[:4]).all() and values[4] is None


def test_a_column_of_texts_without_a_text_is_refused(here: Path) -> None:
    table = flats()
    pq.write_table(table.set_column(0, "remark", pa.nulls(ROWS, pa.string())), here / "flats.parquet")
    file = project(here, "classification", "trees")
    described = yaml.safe_load(file.read_text())
    described["data"]["columns"]["text"] = "remark"
    file.write_text(yaml.safe_dump(described))
    with pytest.raises(DataError, match="'remark'"):
        lw.run(file)


def with_headlines() -> pa.Table:
    """The flats, whose headline alone tells whether one is taken."""
    table = flats()
    draw = np.random.default_rng(3)
    headlines = [
        None if i % 13 == 0 else f"{'a gem' if taken else 'a wreck'} for {draw.integers(900)} days on the market"
        for i, taken in enumerate(table["taken"].to_pylist())
    ]
    return table.append_column("headline", pa.array(headlines))


@pytest.mark.parametrize("learner", ["linear", "trees"])
def test_every_column_of_texts_is_read(here: Path, learner: str) -> None:
    pq.write_table(with_headlines(), here / "flats.parquet")
    run = lw.run(project(here, "classification", learner))
    inputs = {"text": "optional text", "headline": "optional text", "size": "number", "seller": "category"}
    assert describe(run.model_folder)["task"]["inputs"] == inputs
    assert run.report.metrics["roc_auc"].value > 0.98
    predictor = Predictor.open(run.model_folder)
    row = {"text": None, "headline": "a gem for 9 days on the market", "size": 60.0, "seller": "seller 1"}
    gem, wreck = predictor.predict([row, {**row, "headline": "a wreck for 9 days on the market"}])
    assert (gem["label"], wreck["label"]) == ("true", "false")
    without = {name: row[name] for name in row if name != "text"}
    by_column, by_name = {"remark": "sunny", **without}, {"text": "sunny", **without}
    assert predictor.predict([by_column]) == predictor.predict([by_name]) != predictor.predict([row])
    lw.score(run.model_folder, "main.homes.flats")
    lake = lw.Workspace.open(lw.load_profile()).lake
    scored = lake.read(lake.version("main.homes.flats_predictions"))
    taken = lake.read(lake.version("main.homes.flats"), ["taken"])["taken"].to_pylist()
    assert (
        np.mean([(each == "true") == was for each, was in zip(scored["label"].to_pylist(), taken, strict=True)]) > 0.9
    )


def test_an_encoder_reads_two_columns_of_texts_as_a_pair(here: Path, tiny_base: Path) -> None:
    table = with_headlines()
    third = pa.array([f"{each} and so on" for each in table["headline"].to_pylist()])
    pq.write_table(table.append_column("third", third), here / "flats.parquet")
    train = {"learner": "encoder", "base_model": str(tiny_base), "num_train_epochs": 1, "quantize": "never"}
    file = project(here, "classification", "encoder", train=train, prepare={})
    for stage in ("ingest", "prepare", "train"):
        record = lw.stage(stage, str(file), "once")
        if stage == "prepare":
            findings = {each.name: each.rows for each in record.findings}
    assert findings["other_texts"] == ["headline"]
    predictor = Predictor.open(Path(record.model_folder))
    assert predictor.recipe.steps[0].inputs == ("text", "remark")  # "third" has the most words, and leads
    assert {*predictor.task.inputs} == {"text", "remark", "size", "seller"}
