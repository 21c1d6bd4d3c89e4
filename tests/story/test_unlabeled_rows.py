"""A few rows with labels and a table of rows without: the model knows words that no labelled row has."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
import yaml

import lakewright as lw
from conftest import KINDS, write_csv
from lakewright.errors import DataError, NotFound

TABLE = "main.demo.unread"


def labelled(rows: int, words: slice, split: str, seed: int) -> list[dict[str, str]]:
    """Each names a thing three times, and one of another kind; of train's, one label in five is drawn anew."""
    draw = random.Random(seed)
    made = []
    for place in range(rows):
        label = sorted(KINDS)[place % len(KINDS)]
        word, other = draw.choice(KINDS[label][words]), draw.choice(KINDS[draw.choice(sorted(KINDS))][words])
        text = f"{word} {word} {word} {other} {place + 1000 * seed}"
        if split == "train" and place % 5 == 2:
            label = draw.choice(sorted(KINDS))
        made.append({"text": text, "label": label, "split": split})
    return made


def unlabelled(rows: int, seed: int = 5) -> list[dict[str, str]]:
    """Each names a thing that labelled rows name, and another of its kind that they do not."""
    draw = random.Random(seed)
    made = []
    for place in range(rows):
        kind = KINDS[draw.choice(sorted(KINDS))]
        seen, unseen = draw.choice(kind[:2]), draw.choice(kind[2:4])
        made.append({"text": f"{seen} {seen} {seen} {unseen} {unseen} {unseen} {place + 1000 * seed}"})
    return made


@pytest.fixture
def few(project: Path) -> Path:
    """The project with 48 labelled rows that name two things of each kind, and test rows that name two others."""
    values = yaml.safe_load(project.read_text(encoding="utf-8"))
    values["train"] = {name: values["train"][name] for name in ("learner", "base_model", "quantize")}
    values["train"] |= {"contrastive": "never"}
    values["data"]["columns"] = {"text": "text", "label": "label"}
    values["prepare"] = {"split": {"method": "predefined"}}
    values["gate"] = {"minimum": {}}
    values["evaluate"] = {"resamples": 100}
    project.write_text(yaml.safe_dump(values), encoding="utf-8")
    seen, unseen = slice(0, 2), slice(2, 4)
    rows = [*labelled(48, seen, "train", 1), *labelled(12, seen, "validation", 2), *labelled(60, unseen, "test", 3)]
    write_csv(project.with_name("things.csv"), rows)
    return project


def write(rows: list[dict[str, Any]], name: str = TABLE) -> None:
    lw.Workspace.open(lw.load_profile()).lake.write(name, pa.Table.from_pylist(rows))


def test_rows_without_a_label_come_from_a_file(few: Path) -> None:
    """As a table of their own, which is written again when the file changes, and only then."""
    write_csv(few.with_name("unread.csv"), unlabelled(150))
    settings = ("data.unlabeled=unread.csv", "train.num_train_epochs=auto")
    run = lw.run(few, settings=settings)
    ingested = run.records["ingest"]
    assert ingested.unlabeled.name == f"{ingested.table.name}_unlabeled"  # type: ignore[attr-defined]
    assert run.records["train"].details["unlabeled_rows"] == 150  # type: ignore[attr-defined]
    assert lw.run(few, settings=settings).records["ingest"].unlabeled.version == 0  # type: ignore[attr-defined]
    write_csv(few.with_name("unread.csv"), unlabelled(90, seed=6))
    again = lw.run(few, settings=settings)
    assert again.records["ingest"].unlabeled.version == 1  # type: ignore[attr-defined]
    assert again.records["train"].details["unlabeled_rows"] == 90  # type: ignore[attr-defined]
    write_csv(few.with_name("other.csv"), [{"words": "a"}])
    with pytest.raises(DataError, match=r"other\.csv has no column 'text'"):
        lw.run(few, settings=("data.unlabeled=other.csv",))
    with pytest.raises(NotFound, match=r"gone\.csv"):
        lw.run(few, settings=("data.unlabeled=gone.csv",))


def test_rows_without_a_label_teach_words_that_no_labelled_row_has(few: Path) -> None:
    write([{**row, "noted": place} for place, row in enumerate(unlabelled(150))])
    accuracy = {}
    for settings in ((), (f"data.unlabeled={TABLE}",)):
        run = lw.run(few, settings=settings)
        details = run.records["train"].details  # type: ignore[attr-defined]
        accuracy[settings] = float(run.records["evaluate"].metrics["accuracy"])  # type: ignore[attr-defined]
    without, beside = accuracy.values()
    assert beside > without + 0.15, details
    assert details["unlabeled_rows"] == 150 and 40 < details["unlabeled_used"] <= 150
    assert 0 < details["unlabeled_threshold"] <= 1 and details["log_loss_with_unlabeled"] > 0
    described = json.loads((run.model_folder / "model.json").read_text(encoding="utf-8"))
    assert described["unlabeled"] == f"{TABLE}@v0"
    assert run.model_version.tags["lakewright.unlabeled"] == f"{TABLE}@v0"
