"""Several learners as one model, from the project file to predictions of one network."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

import lakewright as lw
from lakewright.errors import LakewrightError, ProjectError, TrainingError
from lakewright.model.predictor import Predictor

ROWS = 600


def rows(seed: int = 0, number: bool = False) -> list[dict[str, Any]]:
    draw = np.random.default_rng(seed)
    made = []
    for at in range(ROWS):
        a, b, kind = draw.normal(), draw.normal(), draw.choice(["x", "y", "z"])
        score = a + 1.5 * (kind == "x") + (b > 0) * (kind == "y") + draw.normal(scale=0.5)
        truth: Any = round(float(10 + score), 3) if number else ("high" if score > 0.6 else "low")
        when = f"2026-{1 + at % 12:02d}-{1 + at % 28:02d}"
        made.append({"a": float(a), "b": None if at % 9 == 0 else float(b), "kind": kind, "when": when, "label": truth})
    return made


def project(tmp: Path, train: dict[str, Any], **more: Any) -> Path:
    (tmp / "rows.json").write_text("\n".join(json.dumps(row) for row in rows(number="number" in more)))
    described = {
        "name": "together",
        "schema": "main.demo",
        "task": "regression" if more.pop("number", False) else "classification",
        "data": {"source": "rows.json", "columns": {"label": "label"}},
        "train": {"learner": "ensemble", **train},
        "evaluate": {"resamples": 100},
        **more,
    }
    (tmp / "project.yml").write_text(yaml.safe_dump(described))
    return tmp / "project.yml"


SMALL: list[Any] = [
    {"learner": "trees", "n_estimators": 40},
    {"learner": "forest", "n_estimators": 20, "min_samples_leaf": 5},
    "linear",
]


@pytest.mark.slow
@pytest.mark.parametrize("number", [False, True])
def test_one_network_predicts_the_mean_and_every_member_is_told(
    number: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    run = lw.run(project(tmp_path, {"members": SMALL, "folds": 3}, **({"number": True} if number else {})))
    trained, report = run.records["train"], run.records["evaluate"]
    shares = [trained.details[f"weight_{name}"] for name in ("1_trees", "2_forest", "3_linear")]
    assert sum(shares) == pytest.approx(1, abs=1e-3) and trained.details["loss_ensemble"] <= min(
        trained.details[f"loss_{name}"] for name in ("1_trees", "2_forest", "3_linear")
    )
    assert report.metrics["r2" if number else "roc_auc"].value > (0.6 if number else 0.8)
    assert not [*Path(trained.model_folder).rglob("*.pkl")]
    predictor = Predictor.open(Path(trained.model_folder))
    asked = [{"a": 2.0, "b": 1.0, "kind": "x", "when": "2026-03-01"}, {"a": -2.0, "b": None, "kind": "?", "when": None}]
    high, low = predictor.predict(asked)
    if number:
        assert high["value"] > low["value"] + 1 and high["low"] < high["value"] < high["high"]
    else:
        assert (high["label"], low["label"]) == ("high", "low")


@pytest.mark.slow
def test_a_killed_run_goes_on_with_the_members_that_are_trained(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for place in ("whole", "killed"):
        (tmp_path / place).mkdir()
        project(tmp_path / place, {"members": SMALL, "folds": 2})
    monkeypatch.chdir(tmp_path / "whole")
    network = Path(lw.run("project.yml").records["train"].model_folder, "model.onnx").read_bytes()
    monkeypatch.chdir(tmp_path / "killed")
    code = (
        "import os, lakewright as lw\n"
        "from lakewright.learning.learners import ensemble\n"
        "real, seen = ensemble.held_out, []\n"
        "def held_out(*given):\n"
        "    seen.append(1)\n"
        "    if len(seen) == 4: os.kill(os.getpid(), 9)\n"
        "    return real(*given)\n"
        "ensemble.held_out = held_out\n"
        "lw.run('project.yml')\n"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True).returncode == -9
    done = sorted(path.parent.name for path in Path(".lakewright", "work").rglob("held.npy"))
    assert done == ["1_trees_0", "1_trees_1", "2_forest_0"]
    from lakewright.learning.learners.trees import BoostedTrees

    def again(*_: Any) -> Any:
        raise AssertionError("a member was trained a second time")

    monkeypatch.setattr(BoostedTrees, "fit", again)
    trained = lw.run("project.yml").records["train"]
    assert Path(trained.model_folder, "model.onnx").read_bytes() == network


def test_weights_are_taken_as_they_are_given_and_folds_may_be_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    chosen = {"members": SMALL, "weights": [3, 0, 1], "folds": 0, "calibrate": False}
    details = lw.run(project(tmp_path, chosen)).records["train"].details
    assert [details[f"weight_{name}"] for name in ("1_trees", "2_forest", "3_linear")] == [0.75, 0.0, 0.25]
    assert details["loss_calibrated"] == pytest.approx(details["loss_ensemble"], abs=1e-9)


def test_rows_without_folds_say_what_to_set(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    by_time = {"prepare": {"split": {"method": "time"}}}
    path = project(tmp_path, {"members": SMALL}, **by_time)
    described = yaml.safe_load(path.read_text())
    described["data"]["columns"]["event_time"] = "when"
    path.write_text(yaml.safe_dump(described))
    with pytest.raises(LakewrightError, match="rows have no folds") as refused:
        raise lw.run(path).error or AssertionError("the run did not fail")
    assert isinstance(refused.value, TrainingError) and "train.folds: 0" in refused.value.remedy
    assert lw.run(path, settings=["train.folds=0"]).error is None


@pytest.mark.parametrize(
    ("train", "cause"),
    [
        ({"members": []}, "members"),
        ({"members": ["tree"]}, "tree"),
        ({"members": [{"n_estimators": 3}]}, "names its learner"),
        ({"members": [{"learner": "trees", "leaves": 3}]}, "leaves"),
        ({"members": ["encoder"]}, "cannot be a member"),
        ({"members": ["ensemble"]}, "cannot be a member"),
        ({"members": SMALL, "weights": [1]}, "1 weights, and there are 3 members"),
        ({"members": SMALL, "weights": [0, 0, 0]}, "one is above it"),
        ({"members": SMALL, "folds": 1}, "folds"),
        ({"members": [{"learner": "trees", "loss": "poisson"}]}, "poisson"),
    ],
)
def test_settings_that_mean_nothing_are_refused(
    train: dict[str, Any], cause: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ProjectError, match=cause):
        lw.plan(project(tmp_path, train))


@pytest.mark.slow
@pytest.mark.parametrize("weights", [[1, 0], [1, 1], [0, 1], None])
def test_a_member_that_alone_reads_the_text_may_have_any_weight(
    weights: list[int] | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    path = project(tmp_path, {"members": [SMALL[0], "linear"], "weights": weights, "folds": 2})
    written = [{**row, "text": f"a thing of {row['kind']} and {at}"} for at, row in enumerate(rows())]
    (tmp_path / "rows.json").write_text("\n".join(json.dumps(row) for row in written))
    described = yaml.safe_load(path.read_text())
    described["data"]["columns"]["text"] = "text"
    path.write_text(yaml.safe_dump(described))
    run = lw.run(path)
    row = {"a": 1.0, "b": 1.0, "kind": "x", "when": None, "text": "a thing of x"}
    assert Predictor.open(Path(run.model_folder)).predict([row])[0]["label"] == "high"


def test_a_member_leaves_out_the_steps_that_it_is_told_to(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    members = [{"learner": "linear"}, {"learner": "linear"}]
    recipe = {"prepare": {"recipe": {"one_hot": {"inputs": ["kind"]}}}}
    ran = lw.run(project(tmp_path, {"members": members, "folds": 2, "without": [["dense"], []]}, **recipe))
    details = ran.records["train"].details  # type: ignore[attr-defined]
    assert details["loss_1_linear"] > details["loss_2_linear"] + 0.05  # the first sees less
    for without, cause in (
        ([["dense"]], "train.without has 1 lists of steps, and there are 2 members"),
        ([["dence"], []], "train.without names the step 'dence'"),
        ([["dense", "one_hot"], []], "reads nothing without dense, one_hot"),
    ):
        with pytest.raises(ProjectError, match=cause):
            lw.run(project(tmp_path, {"members": members, "folds": 2, "without": without}, **recipe))
