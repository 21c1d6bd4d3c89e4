"""Labels that are balanced by synthetic rows, and probabilities that are corrected, from the table to a prediction."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml

import lakewright as lw
from lakewright.data.rows import reading
from lakewright.errors import DataError, ProjectError, UsageError
from lakewright.model.folder import describe
from lakewright.model.predictor import Predictor
from lakewright.records import Prepared, Trained

ROWS = 600
SMALL = {
    "trees": {"n_estimators": 60, "learning_rate": 0.1},
    "xgboost": {"n_estimators": 40, "learning_rate": 0.1},
    "forest": {"n_estimators": 30},
    "linear": {},
}


def visits() -> pa.Table:
    """About 12 % of the visitors buy: those who stay long, more of them from the north; some lengths are not known."""
    draw = np.random.default_rng(3)
    length, place = draw.gamma(2, 5, ROWS), draw.choice(["north", "south", "east"], ROWS)
    score = length + 6 * (place == "north") + draw.normal(0, 5, ROWS)
    return pa.table(
        {
            "visit": [f"V{i:04}" for i in range(ROWS)],
            "length": [None if i % 9 == 0 else float(value) for i, value in enumerate(length)],
            "pages": draw.poisson(4, ROWS),
            "member": draw.random(ROWS) < 0.3,
            "place": [None if i % 14 == 0 else str(value) for i, value in enumerate(place)],
            "bought": np.where(score > np.quantile(score, 0.88), "yes", "no"),
        }
    )


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    pq.write_table(visits(), tmp_path / "visits.parquet")
    return tmp_path


def write(folder: Path, learner: str = "trees", task: Any = "classification", **prepare: Any) -> Path:
    described = {
        "name": "visits",
        "schema": "main.shop",
        "task": task,
        "data": {"source": "visits.parquet", "columns": {"label": "bought", "id": "visit"}},
        "prepare": prepare,
        "train": {"learner": learner, **SMALL.get(learner, {})},
        "evaluate": {"resamples": 100},
        "gate": {"champion": False},
    }
    file = folder / "project.yml"
    file.write_text(yaml.safe_dump(described))
    return file


@pytest.mark.parametrize("learner", SMALL)
def test_synthetic_rows_and_the_corrected_prior(learner: str, here: Path) -> None:
    run = lw.run(write(here, learner, balance="smote", correct_prior=True))
    prepared, trained = run.records["prepare"], run.records["train"]
    assert isinstance(prepared, Prepared) and isinstance(trained, Trained) and run.error is None
    counts = prepared.label_counts["train"]
    (finding,) = (each for each in prepared.findings if each.name == "synthetic_rows")
    assert trained.details["synthetic_rows"] == finding.count == counts["no"] - counts["yes"]
    assert f"{finding.count:,} of 'yes'" in finding.detail
    features = lw.Workspace.open(lw.load_profile()).lake.read(prepared.features).to_pylist()
    assert Counter(row["truth"] for row in features if row["split"] == "train") == counts
    assert {row["record_id"] for row in features} <= {*visits()["visit"].to_pylist()}

    task = describe(run.model_folder)["task"]
    shift = dict(zip(task["labels"], task["prior_shift"], strict=True))
    assert shift["yes"] - shift["no"] == pytest.approx(np.log(counts["yes"] / counts["no"]))
    assert run.report.metrics["roc_auc"].value > 0.75
    test = [row for row in features if row["split"] == "test"]
    rows, truths = [row["inputs"] for row in test], [row["truth"] for row in test]
    corrected = Predictor.open(run.model_folder)
    plain = replace(corrected, task=replace(corrected.task, shift=()))  # type: ignore[type-var]
    shares, before = ([each["probabilities"]["yes"] for each in model.predict(rows)] for model in (corrected, plain))
    odds = [share / (1 - share) * counts["yes"] / counts["no"] for share in before]
    assert shares == pytest.approx([each / (1 + each) for each in odds], abs=1e-9)
    table = corrected.predict_table(pa.Table.from_pylist(rows))
    assert [dict(row)["yes"] for row in table["probabilities"].to_pylist()] == shares
    metrics = corrected.task.scorer(truths, corrected.predict(rows), rows).metrics(np.ones(len(rows)))
    uncorrected = plain.task.scorer(truths, plain.predict(rows), rows).metrics(np.ones(len(rows)))
    assert metrics["log_loss"] == pytest.approx(run.report.metrics["log_loss"].value)
    assert metrics["log_loss"] < uncorrected["log_loss"] and metrics["brier"] < uncorrected["brier"]


def test_the_correction_after_every_way_to_balance(here: Path) -> None:
    """Not unless it is set: what was learned before stays as it was."""
    ways = (("weights", False), ("weights", True), ("undersample", True))
    runs = [lw.run(write(here, "linear", balance=balance, correct_prior=correct)) for balance, correct in ways]
    tasks = [describe(run.model_folder)["task"] for run in runs]
    assert ["prior_shift" in task for task in tasks] == [False, True, True]
    assert tasks[1] == tasks[2] and tasks[1]["prior_shift"][0] > 0 > tasks[1]["prior_shift"][1]  # no, yes
    weights = [Path(run.model_folder, "model.safetensors").read_bytes() for run in runs]
    assert weights[0] == weights[1], "the same network, whose logits are shifted"


def test_fewer_rows_with_their_weights_need_no_correction(here: Path) -> None:
    """The rows of each label are as many, and stand for as many as there were; the correction is refused."""
    prepared, losses = {}, {}
    for balance in ("none", "undersample", "weighted_undersample"):
        run = lw.run(write(here, "linear", balance=balance))
        prepared[balance], losses[balance] = run.records["prepare"], run.report.metrics["log_loss"].value
    lake = lw.Workspace.open(lw.load_profile()).lake
    train = [row for row in lake.read(prepared["weighted_undersample"].features).to_pylist() if row["split"] == "train"]
    rows, weights = Counter(row["truth"] for row in train), Counter[str]()
    for row in train:
        weights[row["truth"]] += row["weight"]
    assert rows["yes"] == rows["no"]
    assert weights == pytest.approx(prepared["none"].label_counts["train"], rel=1e-5)
    assert losses["weighted_undersample"] < losses["undersample"]
    with pytest.raises(ProjectError, match="leaves the labels' frequencies as they are"):
        lw.run(write(here, "linear", balance="weighted_undersample", correct_prior=True))


def test_where_batches_end_does_not_change_synthetic_rows(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = []
    for size in (50, 10_000):
        monkeypatch.setattr(reading, "ROWS", size)
        run = lw.run(write(here, "linear", balance="smote"), rerun="prepare")
        found.append(Path(run.model_folder, "model.safetensors").read_bytes())
    other = lw.run(write(here, "linear", balance="smote", split={"seed": 14}))
    assert found[0] == found[1] != Path(other.model_folder, "model.safetensors").read_bytes()


def refused(file: Path, error: type[Exception], *parts: str) -> None:
    with pytest.raises(error) as caught:
        run = lw.run(file)
        if run.error is not None:
            raise run.error
    for part in parts:
        assert part in str(caught.value)


def test_what_cannot_be_balanced_so_is_refused(here: Path) -> None:
    refused(write(here, "encoder", balance="smote"), ProjectError, "encoder reads texts", "oversample")
    refused(write(here, correct_prior=True), ProjectError, "prepare.balance: none leaves the labels")
    refused(write(here, task="regression", balance="smote"), UsageError, "needs one label a row")
    texts = visits().append_column("remark", pa.array([f"{i} {'good' if i % 3 else 'bad'} words" for i in range(ROWS)]))
    pq.write_table(texts, here / "visits.parquet")
    file = write(here, "linear", balance="smote")
    described = yaml.safe_load(file.read_text())
    described["data"]["columns"] |= {"text": "remark", "others": False}
    file.write_text(yaml.safe_dump(described))
    refused(file, ProjectError, "the step terms reads text", "oversample")
    assert not (here / ".lakewright" / "lake" / "main").exists(), "before any work"
    described["data"]["columns"] = {"label": "bought"}  # prepare sees that there is a text
    file.write_text(yaml.safe_dump(described))
    refused(file, ProjectError, "the step terms reads text")


def test_a_label_with_one_row_in_train_is_refused(here: Path) -> None:
    table = visits()
    labels = ["rare" if i == 5 else label for i, label in enumerate(table["bought"].to_pylist())]
    split = ["train" if i % 5 else ("test", "validation")[i // 5 % 2] for i in range(ROWS)]
    split[5] = "train"
    table = table.set_column(table.schema.get_field_index("bought"), "bought", pa.array(labels))
    pq.write_table(table.append_column("split", pa.array(split)), here / "visits.parquet")
    refused(write(here, balance="smote"), DataError, "one row of 'rare'", "task.merge")
