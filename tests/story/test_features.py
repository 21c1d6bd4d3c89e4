"""What prepare leaves: the features table, by every way to split and to balance."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import pytest

import lakewright as lw
from conftest import sentences, write_csv
from lakewright.errors import UsageError
from lakewright.records import Prepared

LINEAR = "train={learner: linear}"


def features(*settings: str) -> tuple[Prepared, list[dict[str, Any]]]:
    run = lw.run("project.yml", settings=[LINEAR, "gate.minimum={}", *settings])
    prepared = run.records["prepare"]
    assert isinstance(prepared, Prepared)
    return prepared, lw.Workspace.open(lw.load_profile()).lake.read(prepared.features).to_pylist()


def train_labels(rows: list[dict[str, Any]]) -> Counter[str]:
    return Counter(row["truth"] for row in rows if row["split"] == "train")


def unbalanced(project: Path) -> None:
    rows = [row for i, row in enumerate(sentences(400)) if row["label"] != "stone" or i % 4 == 0]
    write_csv(project.parent / "things.csv", rows)


def test_the_features_table(project: Path) -> None:
    prepared, rows = features()
    assert set(rows[0]) == {
        "record_id", "event_time", "split", "row", "inputs", "truth", "ids", "weights", "target", "weight", "part",
    }  # fmt: skip
    assert sum(prepared.splits.values()) == len(rows) == 300
    assert prepared.splits["test"] == pytest.approx(45, abs=2)
    assert sum(count for *_, count in prepared.length_histogram) == prepared.splits["train"]
    source = {row["id"]: row for row in sentences(300)}
    assert all(source[row["record_id"]]["text"] == row["inputs"]["text"] for row in rows)
    assert all(len(row["ids"]) == len(row["weights"]) for row in rows)


@pytest.mark.parametrize("balance", ["oversample", "undersample", "weights"])
def test_balancing_touches_train_alone(project: Path, balance: str) -> None:
    unbalanced(project)
    _, plain = features()
    _, rows = features(f"prepare.balance={balance}")
    others = [row["record_id"] for row in rows if row["split"] != "train"]
    assert sorted(others) == sorted(row["record_id"] for row in plain if row["split"] != "train")
    before, after = train_labels(plain), train_labels(rows)
    if balance == "weights":
        assert after == before
        weight = {label: sum(row["weight"] for row in rows if row["split"] == "train" and row["truth"] == label)
                  for label in after}  # fmt: skip
        assert len({round(value, 3) for value in weight.values()}) == 1
        assert {row["weight"] for row in rows if row["split"] != "train"} == {1.0}
    else:
        wanted = max(before.values()) if balance == "oversample" else min(before.values())
        assert set(after.values()) == {wanted}


def test_grouped_by_time_and_predefined(project: Path) -> None:
    rows = [{**row, "day": f"2026-01-{1 + i // 12:02d}", "split": ("train", "test", "dev")[i % 3]}
            for i, row in enumerate(sentences(300))]  # fmt: skip
    write_csv(project.parent / "things.csv", rows)
    _, found = features("data.columns.group=day", "prepare.split.method=grouped")
    days = {row["id"]: row["day"] for row in rows}
    places: dict[str, set[str]] = {}
    for row in found:
        places.setdefault(days[row["record_id"]], set()).add(row["split"])
    assert all(len(splits) == 1 for splits in places.values())

    _, found = features("data.columns.event_time=day", "prepare.split.method=time")
    latest = {name: max(days[row["record_id"]] for row in found if row["split"] == name) for name in ("train", "test")}
    earliest = min(days[row["record_id"]] for row in found if row["split"] == "test")
    assert latest["train"] < earliest
    assert all(str(row["event_time"])[:10] == days[row["record_id"]] for row in found)

    _, found = features()  # the table has a column `split`
    published = {row["id"]: row["split"].replace("dev", "validation") for row in rows}
    assert all(row["split"] == published[row["record_id"]] for row in found)


def test_a_text_of_test_stays_out_of_train(project: Path) -> None:
    rows = [{**row, "split": "test" if i < 60 else "train"} for i, row in enumerate(sentences(300))]
    leaked = [
        {**row, "id": f"again-{row['id']}", "text": f"  {row['text'].upper()} ", "split": "train"} for row in rows[:5]
    ]
    write_csv(project.parent / "things.csv", rows + leaked)
    prepared, found = features()
    assert not any(row["record_id"].startswith("again-") for row in found)
    assert sum(row["split"] == "test" for row in found) == 60
    assert {finding.name: finding.count for finding in prepared.findings}["leakage"] == 5
    _, kept = features("prepare.duplicates=keep")
    assert sum(row["record_id"].startswith("again-") for row in kept) == 5


def test_max_length_and_what_it_cuts(project: Path, tiny_base: Path) -> None:
    encoder = f"train={{learner: encoder, base_model: {tiny_base}, num_train_epochs: 1}}"
    run = lw.run("project.yml", settings=[encoder, "gate.minimum={}", "prepare.recipe.tokens.max_length=6"])
    prepared = run.records["prepare"]
    assert isinstance(prepared, Prepared) and prepared.max_length == 6
    findings = {finding.name: finding for finding in prepared.findings}
    assert findings["truncated"].count == 300
    assert findings["suggested_max_length"].count % 8 == 0
    with pytest.raises(UsageError, match="reads 3 to 64 tokens"):
        lw.run("project.yml", settings=[encoder, "prepare.recipe.tokens.max_length=65"])
    for setting in ("prepare.recipe.tokens.max_length=8", "prepare.recipe.tokens.long_texts=windows"):
        with pytest.raises(UsageError, match="linear reads texts by the step terms, not by tokens"):
            features(setting)
    for setting in ("train.dimensions=8", "train.similarity_scale=10"):
        with pytest.raises(UsageError, match="has no effect on text_classification"):
            lw.run("project.yml", settings=[encoder, setting])
