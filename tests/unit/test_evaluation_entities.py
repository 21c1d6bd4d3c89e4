"""Entity scores against a naive reading with sets, and what each kind of error is called."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lakewright.errors import DataError
from lakewright.evaluation.metrics import METRICS
from lakewright.evaluation.scorers.entities import EntityScorer, Span, outcomes

LABELS = ["LOC", "ORG", "PER"]
spans = st.lists(
    st.builds(
        lambda start, length, label: (start, start + length, label),
        st.integers(0, 8),
        st.integers(1, 4),
        st.sampled_from(LABELS),
    ),
    max_size=5,
)
documents = st.lists(st.tuples(spans, spans, st.integers(0, 3)), min_size=1, max_size=8)


def f1(correct: int, true: int, found: int) -> float:
    return 2 * correct / (true + found) if true + found else math.nan


@given(documents)
@settings(max_examples=200, deadline=None)
def test_metrics_are_those_of_sets_of_spans(rows: list[tuple[list[Span], list[Span], int]]) -> None:
    scorer = EntityScorer([true for true, _, _ in rows], [found for _, found, _ in rows], LABELS)
    weights = np.array([times for _, _, times in rows], dtype=float)
    true = {(i, n, *span) for i, (spans, _, times) in enumerate(rows) for n in range(times) for span in spans}
    found = {(i, n, *span) for i, (_, spans, times) in enumerate(rows) for n in range(times) for span in spans}
    metrics = scorer.metrics(weights)
    nothing = not true and not found
    assert metrics["entity_f1"] == pytest.approx(f1(len(true & found), len(true), len(found)), nan_ok=True)
    by_hand = math.nan if nothing else len(true & found) / len(found) if found else 0.0
    assert metrics["entity_precision"] == pytest.approx(by_hand, nan_ok=True)
    by_hand = math.nan if nothing else len(true & found) / len(true) if true else 0.0
    assert metrics["entity_recall"] == pytest.approx(by_hand, nan_ok=True)
    of_type = [
        f1(*(sum(span[-1] == label for span in part) for part in (true & found, true, found))) for label in LABELS
    ]
    seen = [score for score in of_type if not math.isnan(score)]
    assert metrics["macro_f1"] == pytest.approx(sum(seen) / len(seen) if seen else math.nan, nan_ok=True)
    right = [set(true) == set(found) for true, found, _ in rows]
    assert scorer.correct().tolist() == right
    exact = float(weights @ np.array(right) / weights.sum()) if weights.any() else math.nan
    assert metrics["exact_match"] == pytest.approx(exact, nan_ok=True)


@given(documents)
@settings(max_examples=100, deadline=None)
def test_the_outcomes_account_for_every_span(rows: list[tuple[list[Span], list[Span], int]]) -> None:
    scorer = EntityScorer([true for true, _, _ in rows], [found for _, found, _ in rows], LABELS)
    weights = np.array([times for _, _, times in rows], dtype=float)
    classes = scorer.classes(weights)
    for row in classes.values():
        told = row["correct"] + row["type_errors"] + row["boundary_errors"] + row["missed"]
        assert told == row["support"]
    all_told = sum(
        row[name] for row in classes.values() for name in ("correct", "type_errors", "boundary_errors", "spurious")
    )
    assert all_told == sum(row["predicted"] for row in classes.values())
    mask = weights > 0
    assert scorer.where(mask).metrics(weights[mask]) == pytest.approx(scorer.metrics(weights), nan_ok=True)
    for true, found, _ in rows:
        told = list(outcomes(true, found))
        assert sorted(span for _, span, _ in told if span) == sorted(set(true))
        assert sorted(span for _, _, span in told if span) == sorted(set(found))


def test_each_kind_of_error_has_its_name() -> None:
    true = [(0, 4, "PER"), (10, 14, "PER"), (20, 28, "ORG"), (40, 44, "LOC")]
    found = [(0, 4, "PER"), (10, 14, "ORG"), (20, 24, "ORG"), (60, 64, "LOC"), (42, 50, "PER")]
    assert list(outcomes(true, found)) == [
        ("correct", (0, 4, "PER"), (0, 4, "PER")),
        ("type", (10, 14, "PER"), (10, 14, "ORG")),
        ("boundary", (20, 28, "ORG"), (20, 24, "ORG")),
        ("missed", (40, 44, "LOC"), None),
        ("spurious", None, (42, 50, "PER")),
        ("spurious", None, (60, 64, "LOC")),
    ]
    classes = EntityScorer([true], [found], LABELS).classes(np.ones(1))
    assert classes["PER"] == pytest.approx({
        "precision": 1 / 2, "recall": 1 / 2, "f1": 1 / 2, "support": 2, "predicted": 2,
        "correct": 1, "type_errors": 1, "boundary_errors": 0, "missed": 0, "spurious": 1,
    })  # fmt: skip


def test_names_have_meanings() -> None:
    scorer = EntityScorer([[]], [[]], LABELS)
    values = scorer.metrics(np.ones(1))
    assert values.keys() <= METRICS.keys()
    assert scorer.primary in values
    assert math.isnan(values["entity_f1"])
    assert values["exact_match"] == 1.0


def test_what_does_not_fit_is_refused_and_named() -> None:
    with pytest.raises(DataError, match="row 1 has a predicted span of the unknown type 'PERS'"):
        EntityScorer([[], []], [[], [(0, 1, "PERS")]], LABELS)
    with pytest.raises(DataError, match="row 0 has a true LOC span from 3 to 3"):
        EntityScorer([[(3, 3, "LOC")]], [[]], LABELS)
    with pytest.raises(DataError, match="1 rows"):
        EntityScorer([[]], [[], []], LABELS)
