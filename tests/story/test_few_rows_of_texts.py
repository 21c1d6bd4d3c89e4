"""A project without a setting for it: few rows are learned from by folds, and its record says how."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import yaml

import lakewright as lw
from conftest import sentences, write_csv


@pytest.mark.parametrize("truth", ["class", "labels"])
def test_few_rows_need_no_setting(project: Path, truth: str) -> None:
    values = yaml.safe_load(project.read_text(encoding="utf-8"))
    values["train"] = {name: values["train"][name] for name in ("learner", "base_model", "learning_rate", "quantize")}
    values["gate"] = {"minimum": {}}  # a random encoder learns little from so few
    rows = sentences(120)
    if truth == "labels":
        values["task"] = "multilabel_classification"
        values["data"]["columns"] = {"text": "text", "labels": "label", "id": "id"}
        rows = [{**row, "label": json.dumps([row["label"]])} for row in rows]
    write_csv(project.with_name("things.csv"), rows)
    project.write_text(yaml.safe_dump(values), encoding="utf-8")
    run = lw.run(project)
    trained = run.records["train"].details  # type: ignore[attr-defined]
    assert trained["folds"] == 3 and "log_loss_after_0" in trained
    assert f"log_loss_after_{trained['contrastive_batches']}" in trained
    described = json.loads((run.model_folder / "training.json").read_text(encoding="utf-8"))
    assert len(described["history"]) == trained["contrastive_batches"]
    assert run.decision.passed and lw.load(run.model_folder).predict(["the dog is here"])
