"""Steps that learn from the truth never show a row of train its own truth, and serve as they are stored."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from test_prepare import Rows, outcome, prepared

from lakewright.data.rows import reading
from lakewright.data.rows.folds import FOLDS
from lakewright.errors import DataError, ProjectError
from lakewright.model.recipe import Recipe

TREES = {"learner": "trees"}


def rows_of(count: int) -> Rows:
    """Whether a row is sold follows its place; `code` is another one for each row and tells nothing, and neither does
    the last word of the text, while its first one does."""
    draw = np.random.default_rng(3)
    places = draw.integers(0, 12, count)
    sold = draw.random(count) < np.where(places % 2, 0.85, 0.15)
    return [
        {
            "id": f"r{i}",
            "size": float(draw.normal()),
            "place": f"p{place}" if i % 17 else None,
            "code": f"c{i} and c{i} again",
            "text": f"{'good' if place % 2 else 'bad'} house number{i}",
            "price": float(place) + float(draw.normal()) / 10,
            "label": "yes" if yes else "no",
        }
        for i, (place, yes) in enumerate(zip(places, sold, strict=True))
    ]


def columns(label: str, **more: Any) -> dict[str, Any]:
    return {"label": label, "id": "id", "numbers": ["size"], "categories": ["place", "code"], "others": False, **more}


RECIPE: dict[str, Any] = {"target_mean": {"inputs": ["place", "code"], "smoothing": 1.0}}


def encoded(features: Rows, split: str) -> np.ndarray[Any, Any]:
    return np.array([row["columns"] for row in features if row["split"] == split], dtype=np.float32)


def test_what_tells_nothing_does_not_predict_the_truth_of_train(tmp_path: Path) -> None:
    """In the fold, a code of its own for each row is the row's truth. Out of fold it is nothing at all."""
    record, workspace = prepared(tmp_path / "a", rows_of(600), columns("label"), "classification", TREES, recipe=RECIPE)
    features = sorted(workspace.lake.read(record.features).to_pylist(), key=lambda row: row["row"])
    recipe = Recipe.open(Path(record.recipe))
    names = [column.name for column in recipe.columns]
    place, code = names.index("place: mean of yes"), names.index("code: mean of yes")
    train = [row for row in features if row["split"] == "train"]
    truth = np.array([row["target"][0] for row in train])
    there = encoded(features, "train")
    assert (there[:, code] == 0).all()
    assert np.corrcoef(there[:, place], truth)[0, 1] > 0.5
    in_fold = recipe.encode([row["inputs"] for row in train]).columns
    assert in_fold is not None and np.corrcoef(in_fold[:, code], truth)[0, 1] > 0.99
    assert np.array_equal(in_fold[:, names.index("size")], there[:, names.index("size")])
    # A value of train is encoded in as many ways as there are folds
    of_place = [row["columns"][place] for row in train if row["inputs"]["place"] == "p3"]
    assert 1 < len({*of_place}) <= FOLDS


@pytest.mark.parametrize(("task", "label"), [("classification", "label"), ("regression", "price")])
def test_rows_that_train_does_not_hold_are_encoded_by_the_step_that_serves(
    task: str, label: str, tmp_path: Path
) -> None:
    record, workspace = prepared(tmp_path / "a", rows_of(300), columns(label, text="text"), task, TREES, recipe=RECIPE)
    features = workspace.lake.read(record.features).to_pylist()
    recipe = Recipe.open(Path(record.recipe))
    assert {step.name for step in recipe.steps} == {"native", "target_mean", "text_scores"}
    for split in ("validation", "test"):
        served = recipe.encode([row["inputs"] for row in features if row["split"] == split]).columns
        assert np.array_equal(served, encoded(features, split), equal_nan=True)
    train = recipe.encode([row["inputs"] for row in features if row["split"] == "train"]).columns
    assert not np.array_equal(train, encoded(features, "train"), equal_nan=True)


@pytest.mark.parametrize("balance", ["none", "oversample"])
def test_where_batches_end_changes_nothing(balance: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = [row for i, row in enumerate(rows_of(300)) if row["label"] == "yes" or i % 3]
    found = []
    for size in (7, 10_000):
        monkeypatch.setattr(reading, "ROWS", size)
        folder = tmp_path / str(size)
        given = (folder, rows, columns("label", text="text"), "classification", TREES)
        found.append(outcome(*given, recipe=RECIPE, balance=balance))
    assert found[0] == found[1]
    by_row: dict[int, set[tuple[float, ...]]] = {}
    for row in found[0][1]:
        by_row.setdefault(row["row"], set()).add(tuple(row["columns"]))
    assert {len(copies) for copies in by_row.values()} == {1}
    assert (len(by_row) < len(found[0][1])) == (balance == "oversample")


def test_copies_of_a_row_are_in_one_fold_and_show_each_other_nothing(tmp_path: Path) -> None:
    """Every row stands twice, with another id: if the copies were in two folds, its code would tell its truth."""
    rows = [{**row, "id": f"{row['id']}-{copy}"} for row in rows_of(300) for copy in (0, 1)]
    given = (tmp_path / "a", rows, columns("label"), "classification", TREES)
    _, features = outcome(*given, recipe=RECIPE, duplicates="keep", split={"method": "random"})
    train = [row for row in features if row["split"] == "train"]
    codes = [row["inputs"]["code"] for row in train]
    assert len({*codes}) < len(codes)
    assert {row["columns"][1] for row in train} == {0.0}


def test_rows_that_are_appended_move_no_other_to_another_fold(tmp_path: Path) -> None:
    """A category of one value is encoded by the rows outside the fold alone: rows of one number share a fold."""
    rows = [{**row, "place": "here", "split": "train"} for row in rows_of(300)]
    held = [{**row, "id": f"h{i}", "code": f"held {i}", "split": split} for i, (row, split) in enumerate(
        zip(rows_of(20), ["validation", "test"] * 10, strict=True)
    )]  # fmt: skip
    parts: list[list[set[int]]] = []
    for name, some in (("some", rows[:200]), ("more", rows)):
        given = (tmp_path / name, some + held, columns("label", split="split"), "classification", TREES)
        _, features = outcome(*given, recipe=RECIPE)
        by_number: dict[tuple[Any, ...], set[int]] = {}
        for row in features:
            if row["split"] == "train" and int(row["record_id"][1:]) < 200:
                by_number.setdefault(tuple(row["columns"][:2]), set()).add(int(row["record_id"][1:]))
        parts.append(sorted(by_number.values(), key=min))
    assert len(parts[0]) > 1 and parts[0] == parts[1]


def test_train_in_one_fold_is_refused(tmp_path: Path) -> None:
    rows = [{**row, "house": "one"} for row in rows_of(60)]
    for i, row in enumerate(rows):
        row["split"] = ("train", "validation", "test")[i % 3]
    with pytest.raises(DataError, match="all rows of train are in one of 5 folds"):
        prepared(
            tmp_path / "a", rows, columns("label", group="house"), "classification", TREES, recipe=RECIPE,
            split={"method": "predefined"},
        )  # fmt: skip


def test_a_truth_without_numbers_is_refused(tmp_path: Path, tiny_base: Path) -> None:
    rows: Rows = [{"text": row["text"], "spans": [{"start": 0, "end": 3, "label": "a"}]} for row in rows_of(60)]
    train = {"learner": "encoder", "base_model": str(tiny_base)}
    recipe = {"tokens": {"inputs": ["text"]}, "text_scores": {"inputs": ["text"]}}
    with pytest.raises(ProjectError, match="the step text_scores learns from the truth"):
        prepared(tmp_path / "a", rows, {"text": "text", "spans": "spans"}, "token_classification", train, recipe=recipe)
