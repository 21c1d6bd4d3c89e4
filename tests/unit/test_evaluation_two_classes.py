"""Two classes: the cost of errors by the threshold, the threshold itself, gain and lift, and their part of the page."""

from __future__ import annotations

import re
from html import unescape
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from lakewright.errors import DataError
from lakewright.evaluation.bootstrap import intervals
from lakewright.evaluation.costs import cost_by_threshold, costs_of, least_costly
from lakewright.evaluation.gain import by_tenth, gains
from lakewright.evaluation.scorers.classification import ClassificationScorer
from lakewright.evaluation.scorers.ordinal import OrdinalScorer
from lakewright.pages.report import write_html
from lakewright.pages.report.context import ReportContext
from lakewright.records import Costs, Report
from lakewright.settings.sections import Cost, Evaluate

PROBABILITY = np.array([0.1, 0.2, 0.2, 0.6, 0.9])
TRUTH = np.array([False, False, True, False, True])
FIVE = Cost(false_positive=1, false_negative=5)
DRAWING = {"resamples": 200, "confidence": 0.95, "seed": 3}


def scorer_of(
    probability: np.ndarray, truth: np.ndarray, threshold: float | None = None, kind: type = ClassificationScorer
) -> ClassificationScorer:
    return kind(truth.astype(int), np.stack([1 - probability, probability], axis=1), ["no", "yes <&>"], threshold)


cases = st.integers(1, 25).flatmap(
    lambda rows: st.tuples(
        st.lists(st.sampled_from([0.0, 0.1, 0.25, 0.3, 0.5, 0.7, 1.0]), min_size=rows, max_size=rows).map(np.array),
        st.lists(st.booleans(), min_size=rows, max_size=rows).map(np.array),
    )
)


# cost


def test_the_cost_of_each_threshold_by_hand() -> None:
    """Up to 0.1 all five are “yes”: three wrongly, 3 of 5 rows. Then two wrongly; one wrongly and one missed, 6; one
    missed, 5; two missed, 10."""
    values, costs = cost_by_threshold(PROBABILITY, TRUTH, FIVE)
    assert values.tolist() == [0.1, 0.2, 0.6, 0.9]
    assert costs.tolist() == [600, 400, 1200, 1000, 2000]
    assert least_costly(PROBABILITY, TRUTH, FIVE) == (0.15, 400)


def test_of_thresholds_that_cost_the_same_the_one_nearest_to_elkans() -> None:
    probability, truth = np.array([0.2, 0.4, 0.7, 0.8]), np.array([False, True, False, True])
    even = Cost(false_positive=1, false_negative=1)
    assert cost_by_threshold(probability, truth, even)[1].tolist() == [500, 250, 500, 250, 500]
    assert least_costly(probability, truth, even)[0] == 0.3  # 0.4 is nearer to 0.5 than 0.7 is


@pytest.mark.parametrize(
    ("probability", "truth", "cost", "threshold"),
    [
        ([1.0, 1.0], [False, False], (1, 1), 0.5),  # no threshold is above 1
        ([0.0], [True], (1, 1), 0.0),
        ([0.3, 0.4], [False, False], (1, 5), 0.7),  # never
        ([0.3, 0.4], [True, True], (1, 5), 0.15),  # always
        ([0.3, 0.4], [True, False], (0, 1), 0.15),
        ([0.5, np.nextafter(0.5, 1)], [False, True], (1, 1), np.nextafter(0.5, 1)),  # no other number lies between
    ],
)
def test_thresholds_of_few_rows(
    probability: list[float], truth: list[bool], cost: tuple[float, float], threshold: float
) -> None:
    prices = Cost(false_positive=cost[0], false_negative=cost[1])
    assert least_costly(np.array(probability), np.array(truth), prices)[0] == threshold


@given(cases, st.integers(0, 9), st.integers(1, 9))
def test_no_threshold_costs_less(case: tuple[np.ndarray, np.ndarray], wrongly: int, missed: int) -> None:
    probability, truth = case
    cost = Cost(false_positive=wrongly, false_negative=missed)

    def cost_at(threshold: float) -> float:
        predicted = probability >= threshold
        return 1000 * float(np.mean(wrongly * (predicted & ~truth) + missed * (truth & ~predicted)))

    threshold, least = least_costly(probability, truth, cost)
    assert 0 <= threshold <= 1 and cost_at(threshold) == pytest.approx(least)
    assert least == pytest.approx(min(map(cost_at, np.linspace(0, 1, 101))))


def test_the_threshold_is_validations_and_the_test_rows_measure_it() -> None:
    validation = scorer_of(PROBABILITY, TRUTH)
    test = scorer_of(np.array([0.16, 0.14, 0.16, 0.7]), np.array([True, True, False, True]))
    costs = costs_of(validation, test, FIVE, **DRAWING)  # type: ignore[arg-type]
    assert (costs.threshold, costs.validation_rows, costs.validation_cost) == (0.15, 5, 400)
    # 0.15: one wrongly, one missed, 6 of 4 rows; 0.5: two missed; always: one wrongly; never: three missed.
    assert {name: choice.cost.value for name, choice in costs.choices.items()} == {
        "least": 1500, "present": 2500, "always": 250, "never": 3750,
    }  # fmt: skip
    assert costs.saved.value == 1000 and costs.saved.low <= 1000 <= costs.saved.high
    least, present = costs.choices["least"], costs.choices["present"]
    assert (least.precision, least.recall) == (2 / 3, 2 / 3) and (present.precision, present.recall) == (1, 1 / 3)
    assert np.isnan(costs.choices["never"].precision) and costs.choices["always"].recall == 1
    assert least.cost.low < 1500 < least.cost.high
    decided = costs_of(validation, scorer_of(PROBABILITY, TRUTH, 0.9), FIVE, **DRAWING)  # type: ignore[arg-type]
    assert decided.choices["present"].threshold == 0.9
    assert decided.choices["present"].cost.value == 1000  # by the scorer's own threshold
    assert Costs.model_validate_json(costs.model_dump_json()).choices.keys() == costs.choices.keys()


def test_costs_that_mean_nothing_are_refused() -> None:
    for wrong in ({"false_positive": -1, "false_negative": 1}, {"false_positive": 0, "false_negative": 0}):
        with pytest.raises(ValidationError):
            Evaluate(cost=wrong)  # type: ignore[arg-type]
    with pytest.raises(ValidationError, match="false_negative"):
        Evaluate(cost={"false_positive": 1})  # type: ignore[arg-type]


# a scorer with a threshold


def test_a_threshold_decides_in_place_of_the_most_probable() -> None:
    scorer = scorer_of(PROBABILITY, TRUTH, 0.2)
    assert scorer.predicted.tolist() == [0, 1, 1, 1, 1]
    assert scorer.confidence.tolist() == [0.9, 0.2, 0.2, 0.6, 0.9]
    metrics, usual = (each.metrics(np.ones(5)) for each in (scorer, scorer_of(PROBABILITY, TRUTH)))
    assert metrics["accuracy"] == 3 / 5 and usual["accuracy"] == 3 / 5
    assert scorer.classes(np.ones(5))["yes <&>"]["recall"] == 1
    assert metrics["roc_auc"] == usual["roc_auc"] and metrics["log_loss"] == usual["log_loss"]
    assert scorer.where(TRUTH).predicted.tolist() == [1, 1]
    ordered = scorer_of(PROBABILITY, TRUTH, 0.2, OrdinalScorer)
    assert ordered.metrics(np.ones(5))["mae"] == 2 / 5
    with pytest.raises(DataError, match="between two labels, not 3"):
        ClassificationScorer(np.array([0]), np.array([[1.0, 0, 0]]), ["a", "b", "c"], 0.5)


# gain


def test_gain_by_hand_where_probabilities_are_equal() -> None:
    probability, truth = np.array([0.9, 0.5, 0.9, 0.1, 0.5]), np.array([True, True, False, False, True])
    rows, positives = gains(probability, truth)
    assert (rows.tolist(), positives.tolist()) == ([0, 2, 4, 5], [0, 1, 3, 3])
    parts = by_tenth(probability, truth, groups=5)
    assert [part.rows for part in parts] == [1] * 5
    assert [part.positives for part in parts] == [0.5, 0.5, 1, 1, 0]
    assert [part.lift for part in parts] == pytest.approx([5 / 6, 5 / 6, 5 / 3, 5 / 3, 0])
    assert [part.cumulative for part in parts] == pytest.approx([1 / 6, 1 / 3, 2 / 3, 1, 1])
    assert by_tenth(probability, np.zeros(5, bool)) == []


@given(cases, st.randoms(use_true_random=False))
def test_gain_does_not_depend_on_the_order_of_rows(case: tuple[np.ndarray, np.ndarray], random: object) -> None:
    probability, truth = case
    order = list(range(len(truth)))
    random.shuffle(order)  # type: ignore[attr-defined]
    parts = by_tenth(probability, truth)
    assert parts == by_tenth(probability[order], truth[order])
    if parts:
        assert sum(part.rows for part in parts) == len(truth) and len(parts) == min(10, len(truth))
        assert sum(part.positives for part in parts) == pytest.approx(truth.sum())
        assert parts[-1].cumulative == pytest.approx(1)


# the page


def page_of(path: Path, scorer: ClassificationScorer, costs: Costs | None) -> str:
    report = Report(
        metrics=intervals(scorer, resamples=20, seed=0),
        primary=scorer.primary,
        rows=scorer.rows,
        kind=scorer.kind,
        classes=scorer.classes(np.ones(scorer.rows)),
        costs=costs,
        test_rows="rows.parquet",
        html=str(path),
        json_file="evaluation.json",
        runtime="onnx",
        model_bytes=1,
        seconds_per_1000_rows=1.0,
    )
    write_html(path, title="t", report=report, scorer=scorer, context=ReportContext())
    return path.read_text(encoding="utf-8")


def section(page: str, name: str) -> str:
    (text,) = re.findall(rf'<section id="{name}">(.*?)</section>', page, flags=re.DOTALL)
    return re.sub(r"\s+", " ", unescape(re.sub(r"<[^>]+>", " ", text)).replace("\N{NO-BREAK SPACE}", " "))


@pytest.mark.parametrize("kind", [ClassificationScorer, OrdinalScorer])
def test_the_page_shows_cost_and_gain(tmp_path: Path, kind: type) -> None:
    scorer = scorer_of(PROBABILITY, TRUTH, kind=kind)
    costs = costs_of(scorer, scorer, FIVE, **DRAWING)  # type: ignore[arg-type]
    page = page_of(tmp_path / "report.html", scorer, costs)
    text = section(page, "threshold")
    assert "“yes <&>” costs 1 where “no” is true, and “no” 5 where “yes <&>” is true." in text
    assert "On the 5 validation rows the cost is least, 400.0 for 1,000 rows" in text
    assert "it saves 800.0 for 1,000 rows (95 % interval" in text
    assert "threshold: 0.15" in re.findall(r"<pre.*?>(.*?)</pre>", page) and "as the model decides now: 0.5" in text
    rows = re.findall(r'<th scope="row">([^<]+)</th>(.*?)</tr>', page[page.index('id="threshold"') :], flags=re.DOTALL)
    shown = {name: re.findall(r'data-v="([^"]*)"', cells) for name, cells in rows[:4]}
    assert shown["the least cost on validation"][:2] == ["0.15", "400.0"]
    assert shown["the least cost on validation"][-2:] == ["0.5", "1.0"]  # precision, recall
    assert shown["as the model decides now"][:2] == ["0.5", "1200.0"]
    assert shown["always answer it"][0] == "600.0" and shown["never answer it"][0] == "2000.0"
    assert "beside 40.0 % of all rows" in section(page, "gain") and page.count("share of the class by share") == 1


def test_the_page_of_a_model_that_decides_so_already(tmp_path: Path) -> None:
    scorer = scorer_of(PROBABILITY, TRUTH, 0.15)
    page = page_of(tmp_path / "report.html", scorer, costs_of(scorer, scorer, FIVE, **DRAWING))  # type: ignore[arg-type]
    assert "decides by this threshold already" in section(page, "threshold") and "<pre" not in page


@pytest.mark.parametrize("truth", [[False], [True], [False, False, False], [True, True, True]])
def test_the_page_of_one_row_and_of_one_class(tmp_path: Path, truth: list[bool]) -> None:
    scorer = scorer_of(np.linspace(0.2, 0.8, len(truth)), np.array(truth))
    costs = costs_of(scorer, scorer, FIVE, **DRAWING)  # type: ignore[arg-type]
    page = page_of(tmp_path / "report.html", scorer, Costs.model_validate_json(costs.model_dump_json()))
    assert ('id="gain"' in page) == any(truth) and 'id="threshold"' in page


def test_more_classes_and_no_cost_have_no_such_sections(tmp_path: Path) -> None:
    assert 'id="threshold"' not in page_of(tmp_path / "two.html", scorer_of(PROBABILITY, TRUTH), None)
    three = ClassificationScorer(np.array([0, 1, 2]), np.eye(3), ["a", "b", "c"])
    assert 'id="gain"' not in page_of(tmp_path / "three.html", three, None)


def test_a_long_curve_stays_small(tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    probability = random.random(20_000)
    scorer = scorer_of(probability, random.random(20_000) < probability)
    costs = costs_of(scorer, scorer, FIVE, resamples=100, confidence=0.9, seed=0)
    assert 0.1 < costs.threshold < 0.25  # Elkan's is 1/6
    assert len(page_of(tmp_path / "report.html", scorer, costs)) < 300_000
