"""The classification metrics are scikit-learn's, for any weights, and cost what a thousand resamples can afford."""

from __future__ import annotations

import math
import time

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn import metrics as sk

from lakewright.errors import DataError, ModelError
from lakewright.evaluation.bootstrap import intervals
from lakewright.evaluation.metrics import METRICS
from lakewright.evaluation.scorers.classification import ClassificationScorer


@st.composite
def predictions(draw: st.DrawFn) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """truth [n], probabilities [n, C] with many ties, weights [n] with zeros."""
    classes, rows = draw(st.integers(2, 5)), draw(st.integers(1, 30))
    truth = draw(st.lists(st.integers(0, classes - 1), min_size=rows, max_size=rows))
    coarse = st.lists(st.integers(0, 4), min_size=classes, max_size=classes).filter(any)
    scores = np.array(draw(st.lists(coarse, min_size=rows, max_size=rows)), dtype=float)
    weight = st.one_of(st.just(0.0), st.just(1.0), st.floats(0.01, 10))
    weights = draw(st.lists(weight, min_size=rows, max_size=rows).filter(any))
    return np.array(truth), scores / scores.sum(axis=1, keepdims=True), np.array(weights)


def scikit_learn(truth: np.ndarray, probabilities: np.ndarray, weights: np.ndarray) -> dict[str, float]:
    held = weights > 0
    truth, probabilities, weights = truth[held], probabilities[held], weights[held]
    classes = probabilities.shape[1]
    predicted = probabilities.argmax(axis=1)
    found = {"accuracy": sk.accuracy_score(truth, predicted, sample_weight=weights)}
    for average in ("macro", "micro", "weighted"):
        scores = sk.precision_recall_fscore_support(
            truth, predicted, average=average, sample_weight=weights, zero_division=0
        )
        found |= dict(zip((f"{average}_precision", f"{average}_recall", f"{average}_f1"), scores, strict=False))
    scored = [1] if classes == 2 else range(classes)
    present = [c for c in scored if (truth == c).sum() > 0]
    roc = [
        sk.roc_auc_score(truth == c, probabilities[:, c], sample_weight=weights)
        for c in present
        if (truth == c).sum() < len(truth)
    ]
    pr = [sk.average_precision_score(truth == c, probabilities[:, c], sample_weight=weights) for c in present]
    found["roc_auc"] = float(np.mean(roc)) if roc else math.nan
    found["pr_auc"] = float(np.mean(pr)) if pr else math.nan
    found["log_loss"] = sk.log_loss(truth, probabilities, sample_weight=weights, labels=range(classes))
    if classes == 2:
        found["brier"] = sk.brier_score_loss(truth == 1, probabilities[:, 1], sample_weight=weights)
    else:
        found["brier"] = sk.brier_score_loss(truth, probabilities, sample_weight=weights, labels=list(range(classes)))
    return found


@given(predictions())
@settings(max_examples=60, deadline=None)
@pytest.mark.filterwarnings("ignore")
def test_every_metric_is_scikit_learns(case: tuple[np.ndarray, np.ndarray, np.ndarray]) -> None:
    truth, probabilities, weights = case
    scorer = ClassificationScorer(truth, probabilities, [str(i) for i in range(probabilities.shape[1])])
    ours, theirs = scorer.metrics(weights), scikit_learn(truth, probabilities, weights)
    assert ours.keys() == theirs.keys() | {"ece"}
    for name, value in theirs.items():
        assert ours[name] == pytest.approx(value, abs=1e-9, nan_ok=True), name


@given(predictions())
@settings(max_examples=60, deadline=None)
def test_a_weight_of_two_is_the_row_twice_and_a_mask_is_where(case: tuple[np.ndarray, np.ndarray, np.ndarray]) -> None:
    truth, probabilities, weights = case
    labels = [str(i) for i in range(probabilities.shape[1])]
    scorer = ClassificationScorer(truth, probabilities, labels)
    counts = np.ceil(weights).astype(int)
    repeated = np.repeat(np.arange(len(truth)), counts)
    twice = ClassificationScorer(truth[repeated], probabilities[repeated], labels)
    expected = pytest.approx(twice.metrics(np.ones(twice.rows)), abs=1e-9, nan_ok=True)
    assert scorer.metrics(counts) == expected
    mask = weights > 0
    part = scorer.where(mask)
    assert part.metrics(counts[mask]) == expected
    assert part.classes(np.ones(part.rows)) == scorer.classes(mask)


@given(predictions())
@settings(max_examples=60, deadline=None)
def test_confusion_and_classes_are_scikit_learns(case: tuple[np.ndarray, np.ndarray, np.ndarray]) -> None:
    truth, probabilities, weights = case
    every = list(range(probabilities.shape[1]))
    scorer = ClassificationScorer(truth, probabilities, [str(i) for i in every])
    predicted = probabilities.argmax(axis=1)
    expected = sk.confusion_matrix(truth, predicted, labels=every, sample_weight=weights)
    np.testing.assert_allclose(scorer.confusion(weights), expected, atol=1e-9)
    columns = sk.precision_recall_fscore_support(truth, predicted, labels=every, sample_weight=weights, zero_division=0)
    for i, row in enumerate(scorer.classes(weights).values()):
        ours = [row[name] for name in ("precision", "recall", "f1", "support")]
        assert ours == pytest.approx([column[i] for column in columns], abs=1e-9)
    assert (scorer.correct() == (predicted == truth)).all()


def test_ece_by_hand() -> None:
    # Two rows at 0.9, one of them right; two at 0.7, both right: |0.5 − 0.9| / 2 + |1 − 0.7| / 2.
    probabilities = np.array([[0.9, 0.1], [0.9, 0.1], [0.3, 0.7], [0.3, 0.7]])
    scorer = ClassificationScorer(np.array([0, 1, 1, 1]), probabilities, ["no", "yes"])
    assert scorer.metrics(np.ones(4))["ece"] == pytest.approx(0.35)
    assert scorer.metrics(np.array([1.0, 0, 1, 1]))["ece"] == pytest.approx((0.1 + 2 * 0.3) / 3)


def test_every_name_has_a_meaning_and_the_primary_is_one_of_them() -> None:
    scorer = ClassificationScorer(np.array([0, 1]), np.eye(2), ["a", "b"])
    values = scorer.metrics(np.ones(2))
    assert values.keys() <= METRICS.keys()
    assert scorer.primary in values
    assert scorer.metrics(np.zeros(2)).keys() == values.keys()
    assert all(math.isnan(value) for value in scorer.metrics(np.zeros(2)).values())


def test_what_does_not_fit_is_refused_and_named() -> None:
    good = np.full((3, 2), 0.5)
    with pytest.raises(DataError, match=r"rows \[2\]"):
        ClassificationScorer(np.array([0, 1, 2]), good, ["a", "b"])
    with pytest.raises(ModelError, match=r"rows \[1\]"):
        ClassificationScorer(np.array([0, 1, 0]), np.array([[0.5, 0.5], [math.nan, 1], [1, 0]]), ["a", "b"])
    with pytest.raises(ModelError, match="shape"):
        ClassificationScorer(np.array([0, 1]), good, ["a", "b"])
    with pytest.raises(DataError, match="two labels"):
        ClassificationScorer(np.array([0]), np.ones((1, 1)), ["a"])


@pytest.mark.parametrize(("rows", "classes"), [(3000, 77), (25_000, 2)])
def test_a_thousand_resamples_take_seconds(rows: int, classes: int) -> None:
    random = np.random.default_rng(0)
    truth = random.integers(0, classes, rows)
    probabilities = random.dirichlet(np.ones(classes), rows)
    scorer = ClassificationScorer(truth, probabilities, [str(i) for i in range(classes)])
    start = time.process_time()
    metrics = intervals(scorer, resamples=100, seed=0)
    seconds = time.process_time() - start
    assert metrics["roc_auc"].low < 0.5 < metrics["roc_auc"].high
    assert seconds < 1.0  # about 0.1 s and 0.15 s on one quiet core: a thousand take under 2 s
