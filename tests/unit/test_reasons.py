"""What a prediction loses without one input, of predictors whose answer is known."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import pytest

from lakewright.data.rows.kinds import Kind, Prediction, Row
from lakewright.model.reasons import leave_one_out
from lakewright.model.reasons.leave_one_out import LeaveOneOut, is_weighable

INPUTS: Mapping[str, Kind] = {"age": "number", "city": "category", "sold": "time", "note": "optional text"}
ROW: Row = {"age": 2.0, "city": "north", "sold": None, "note": "good"}


def logit(row: Row) -> float:
    """3 a year, 5 off in the north, 1 for a note that says good; the note's absence is known."""
    return 3 * (row["age"] or 0.0) - 5 * (row["city"] == "north") + (row["note"] == "good") - 2 * (row["note"] == "")


def number(rows: Sequence[Row]) -> list[Prediction]:
    return [{"value": 1e6 + logit(row)} for row in rows]


def classes(rows: Sequence[Row]) -> list[Prediction]:
    shares = [{"yes": 1 / (1 + math.exp(-logit(row))), "no": 1 / (1 + math.exp(logit(row)))} for row in rows]
    return [{"label": max(each, key=lambda name: each[name]), "probabilities": each} for each in shares]


def labels(rows: Sequence[Row]) -> list[Prediction]:
    """`other` follows the city alone."""
    made = [
        (one["probabilities"]["yes"], 0.9 if row["city"] else 0.2) for one, row in zip(classes(rows), rows, strict=True)
    ]
    named = [dict(zip(("yes", "other"), each, strict=True)) for each in made]
    return [{"labels": [name for name, p in each.items() if p > 0.95], "probabilities": each} for each in named]


def weights(predict: Callable[[Sequence[Row]], list[Prediction]], row: Row = ROW, most: int = 9) -> dict[Any, float]:
    (reasons,) = LeaveOneOut(INPUTS, predict).of([row], predict([row]), most)
    return {(each["label"], each["input"]) if "label" in each else each["input"]: each["weight"] for each in reasons}


def test_a_number_loses_what_the_input_brings() -> None:
    """The heaviest first; what the row lacks weighs nothing; a text is left out as an empty one."""
    assert [*weights(number).items()] == [("age", 6.0), ("city", -5.0), ("note", 3.0)]
    assert [*weights(number, most=1)] == ["age"]
    assert weights(number, {**ROW, "note": " ", "city": None}) == {"age": 6.0}


@pytest.mark.parametrize("years", [2.0, 30.0, 200.0])
def test_a_label_loses_log_odds_however_sure_it_is(years: float) -> None:
    row = {**ROW, "age": years, "city": None}
    sure = weights(classes, row)
    assert sure["note"] == pytest.approx(3.0)
    against = weights(classes, {**ROW, "age": 0.5})
    assert against == pytest.approx({"city": 5.0, "note": -3.0, "age": -1.5})


def test_each_predicted_label_has_reasons_and_without_one_the_most_probable() -> None:
    both = weights(labels, {**ROW, "age": 5.0})
    assert both == pytest.approx({("yes", "age"): 15.0, ("yes", "city"): -5.0, ("yes", "note"): 3.0})
    none = weights(labels, {**ROW, "age": 1.0})
    assert none == pytest.approx({("other", "city"): math.log(0.9 / 0.1) - math.log(0.2 / 0.8)})


def test_rounding_is_no_reason() -> None:
    def noisy(rows: Sequence[Row]) -> list[Prediction]:
        return [{"value": 100.0 + 1e-5 * (row["age"] is None) + (row["city"] is None)} for row in rows]

    assert weights(noisy) == {"city": -1.0}


def test_rows_without_a_prediction_have_none_and_parts_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    rows = [{**ROW, "age": float(at)} for at in range(1, 8)]
    predictions = number(rows)
    predictions[2] = {"value": None}
    whole = LeaveOneOut(INPUTS, number).of(rows, predictions, 3)
    assert whole[2] == [] and all(whole[:2]) and LeaveOneOut(INPUTS, number).of([], [], 3) == []
    monkeypatch.setattr(leave_one_out, "AT_ONCE", 1)
    assert LeaveOneOut(INPUTS, number).of(rows, predictions, 3) == whole


def test_what_can_be_weighed() -> None:
    assert all(is_weighable(predict([ROW])[0]) for predict in (number, classes, labels))
    assert not is_weighable({"label": "a"}) and not is_weighable({"answer": "a"})
