"""The page of a search: which parameters it draws, and how much each matters."""

from __future__ import annotations

import math
from typing import Any

import pytest

from lakewright import spaces
from lakewright.pages.tuning import page
from lakewright.tune import minimize
from lakewright.tuning.importance import tried_parameters

SPACE = {
    "train.C": {"loguniform": [0.01, 100]},
    "train.idle": {"uniform": [0, 1]},
    "train.kind": {"choice": ["a", {"<b>": {"train.D": {"randint": [1, 3]}}}]},
    "train.fixed": {"choice": [7]},
}


def objective(values: dict[str, Any]) -> float:
    if values["train.C"] > 60:
        raise ValueError("too <much>")
    return abs(math.log(values["train.C"])) + 0.01 * values.get("train.D", 0)


@pytest.fixture(scope="module")
def found() -> Any:
    return minimize(objective, SPACE, max_evals=40, algo="random", progress=False)


def test_each_parameter_has_the_places_of_its_trials_and_its_importance(found: Any) -> None:
    parameters = {each.name: each for each in tried_parameters(spaces.read(SPACE), found.trials)}
    assert [*parameters] == [
        "train.C",
        "train.idle",
        "train.kind",
        "train.kind=<b>/train.D",
    ]  # the fixed one is left out
    c, inner = parameters["train.C"], parameters["train.kind=<b>/train.D"]
    assert (c.low, c.high) == ("0.01", "100") and parameters["train.kind"].low == "a"
    for trial in found.trials:
        assert c.places[trial.number] == pytest.approx((math.log10(trial.point["train.C"]) + 2) / 4)
    assert {*inner.places} == {trial.number for trial in found.trials if trial.point["train.kind"] == 1}
    assert c.importance is not None and c.importance > 0.9
    assert parameters["train.idle"].importance is not None and parameters["train.idle"].importance < 0.1
    assert inner.importance is None  # only some trials have it


def test_with_few_trials_there_is_no_importance(found: Any) -> None:
    assert {each.importance for each in tried_parameters(spaces.read(SPACE), found.trials[:5])} == {None}


def test_the_page_escapes_what_it_shows(found: Any) -> None:
    trials = [{**trial.as_json, "metric": trial.loss} for trial in found.trials]
    search = {"name": "t", "metric": "rmse", "trials": trials, "verdict": {"sentence": "<i>better</i>"}}
    text = page(search, tried_parameters(spaces.read(SPACE), found.trials))
    assert "<b>" not in text and "<i>" not in text and "<much>" not in text
    assert "&lt;much&gt;" in text and "fail" in text and "Importance" in text
    assert text.count("<svg") == 3
    assert "Importance" not in page(search, [])
