"""Several labels of a row, by one ensemble of trees for each: served as one network, with reasons for each label."""

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
from lakewright.model.predictor import Predictor

ROWS = 600


def tickets() -> pa.Table:
    """Who a ticket goes to: billing by its words, urgent by the customer's age, abroad by the country; or to none."""
    draw = np.random.default_rng(6)
    money, age = draw.random(ROWS) < 0.4, draw.gamma(3, 4, ROWS)
    country = draw.choice(["here", "there", "elsewhere"], ROWS)
    texts = [f"my {draw.choice(['invoice', 'refund'] if yes else ['screen', 'cable'])} is wrong" for yes in money]
    flips = draw.random((3, ROWS)) < 0.05
    told = {"billing": money ^ flips[0], "urgent": (age < 8) ^ flips[1], "abroad": (country == "there") ^ flips[2]}
    return pa.table(
        {
            "text": [f"{text}, ticket {i}" for i, text in enumerate(texts)],
            "age": [None if i % 17 == 0 else float(each) for i, each in enumerate(age)],
            "country": country,
            "labels": [[name for name, each in told.items() if each[i]] for i in range(ROWS)],
        }
    )


@pytest.mark.parametrize("learner", ["trees", "xgboost", "linear"])
def test_who_a_ticket_goes_to(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, learner: str) -> None:
    monkeypatch.chdir(tmp_path)
    pq.write_table(tickets(), "tickets.parquet")
    columns = {"text": "text", "labels": "labels", "numbers": ["age"], "categories": ["country"]}
    project = {
        "name": "tickets",
        "schema": "main.desk",
        "task": "multilabel_classification",
        "data": {"source": "tickets.parquet", "columns": columns},
        "prepare": {"duplicates": "keep"},
        "train": {"learner": learner},
        "evaluate": {"resamples": 100},
        "gate": {},
    }
    Path("project.yml").write_text(yaml.safe_dump(project))
    run = lw.run("project.yml")
    assert run.report.metrics["micro_f1"].value > 0.8
    rows: list[dict[str, Any]] = [
        {"text": "my invoice is wrong", "age": 2.0, "country": "there"},
        {"text": "my cable is wrong", "age": 30.0, "country": "here"},
        {"text": " ", "age": 30.0, "country": "here"},
    ]
    predictor = Predictor.open(run.model_folder)
    every, none, blank = predictor.explain(rows, predictor.predict(rows), 1)
    assert {*every["labels"]} == {"billing", "urgent", "abroad"} and none["labels"] == [] and blank["labels"] is None
    expected = {"billing": "text", "urgent": "age", "abroad": "country"}
    assert {each["label"]: each["input"] for each in every["reasons"]} == expected
    assert all(each["weight"] > 0 for each in every["reasons"])
    (against,) = none["reasons"]
    assert against["label"] == max(none["probabilities"], key=none["probabilities"].get) and against["weight"] < 0
    assert blank["reasons"] == [] and every["method"] == ("leave_one_out" if learner == "linear" else "tree_shap")
    if learner == "trees":
        table = pa.Table.from_pylist(rows)
        lake = lw.Workspace.open(lw.load_profile()).lake
        lake.write("main.desk.new", table)
        lw.score(run.model_folder, "main.desk.new", explain=1)
        scored = lake.read(lake.version("main.desk.new_predictions")).to_pylist()
        assert {each["label"]: each["input"] for each in scored[0]["reasons"]} == expected
        assert scored[2]["reasons"] is None
        with serving(run.model_folder, folder=tmp_path) as server:
            answers = server.ask("POST", "/predict", {"rows": rows[:2], "explain": 1}).json["predictions"]
            assert [each["reasons"] for each in answers] == [every["reasons"], none["reasons"]]
    assert 'id="reasons"' in Path(run.report.html).read_text()
