"""The multi-label and the ordinal metrics are scikit-learn's, for any weights."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn import metrics as sk

from lakewright.errors import DataError, ModelError
from lakewright.evaluation.bootstrap import intervals
from lakewright.evaluation.metrics import METRICS
from lakewright.evaluation.scorers.multilabel import MultilabelScorer
from lakewright.evaluation.scorers.ordinal import OrdinalScorer
from lakewright.evaluation.scorers.ranking import Ranking
from lakewright.evaluation.significance import compare

weight = st.one_of(st.just(0.0), st.just(1.0), st.floats(0.01, 10))


@st.composite
def decisions(draw: st.DrawFn) -> tuple[MultilabelScorer, np.ndarray]:
    """Rows with many ties, many without labels; thresholds that differ; weights [n] with zeros."""
    labels, rows = draw(st.integers(1, 4)), draw(st.integers(1, 20))

    def table(cell: st.SearchStrategy[float]) -> np.ndarray:
        return np.array(draw(st.lists(st.lists(cell, min_size=labels, max_size=labels), min_size=rows, max_size=rows)))

    probabilities = table(st.sampled_from([0.0, 0.1, 0.3, 0.6, 1.0]))
    thresholds = np.array(draw(st.lists(st.sampled_from([0.2, 0.5, 2.0]), min_size=labels, max_size=labels)))
    weights = np.array(draw(st.lists(weight, min_size=rows, max_size=rows).filter(any)))
    truth = table(st.booleans())
    return MultilabelScorer(truth, probabilities, probabilities > thresholds, [f"l{i}" for i in range(labels)]), weights


def scikit_learn(scorer: MultilabelScorer, weights: np.ndarray) -> dict[str, float]:
    held = weights > 0
    truth, found = scorer.truth[held].astype(int), scorer.predicted[held].astype(int)
    probabilities, weights = scorer.probabilities[held], weights[held]
    seen = np.flatnonzero((truth | found).any(axis=0))
    values = {}
    for average in ("micro", "macro"):
        scores = (math.nan,) * 3
        if len(seen):
            # A spare label that nothing has keeps one label alone from being read as a binary problem.
            spare = np.zeros((len(truth), 1), dtype=int)
            scores = sk.precision_recall_fscore_support(
                *(np.hstack([table, spare]) for table in (truth, found)),
                labels=seen, average=average, sample_weight=weights, zero_division=0,
            )  # fmt: skip
        values |= dict(zip((f"{average}_precision", f"{average}_recall", f"{average}_f1"), scores, strict=False))
    right = {"precision": [], "recall": [], "f1": [], "jaccard": []}
    for true, said in zip(truth, found, strict=True):
        for name, scores in right.items():
            score = getattr(sk, f"{name}_score")
            scores.append(score(true, said, zero_division=0) if (true | said).any() else 1.0)
    values |= {f"samples_{name}": np.average(right[name], weights=weights) for name in ("precision", "recall", "f1")}
    values["jaccard"] = np.average(right["jaccard"], weights=weights)
    values["exact_match"] = np.average((truth == found).all(axis=1), weights=weights)
    flat, repeated = truth.ravel(), np.repeat(weights, truth.shape[1])
    values["hamming_loss"] = sk.zero_one_loss(flat, found.ravel(), sample_weight=repeated)
    values["log_loss"] = sk.log_loss(flat, probabilities.ravel(), sample_weight=repeated, labels=[0, 1])
    values["brier"] = sk.brier_score_loss(flat, probabilities.ravel(), sample_weight=repeated, pos_label=1)
    columns = [(truth[:, i], probabilities[:, i]) for i in range(truth.shape[1]) if truth[:, i].any()]
    roc = [sk.roc_auc_score(*column, sample_weight=weights) for column in columns if not column[0].all()]
    pr = [sk.average_precision_score(*column, sample_weight=weights) for column in columns]
    return values | {"roc_auc": np.mean(roc) if roc else math.nan, "pr_auc": np.mean(pr) if pr else math.nan}


@given(decisions())
@settings(max_examples=60, deadline=None)
@pytest.mark.filterwarnings("ignore")
def test_every_metric_is_scikit_learns(case: tuple[MultilabelScorer, np.ndarray]) -> None:
    scorer, weights = case
    ours, theirs = scorer.metrics(weights), scikit_learn(scorer, weights)
    assert ours.keys() == theirs.keys() | {"ece"}
    for name, value in theirs.items():
        assert ours[name] == pytest.approx(value, abs=1e-9, nan_ok=True), name


@given(decisions())
@settings(max_examples=60, deadline=None)
@pytest.mark.filterwarnings("ignore")
def test_classes_are_scikit_learns_and_a_mask_is_where(case: tuple[MultilabelScorer, np.ndarray]) -> None:
    scorer, weights = case
    classes = scorer.classes(weights)
    for i, label in enumerate(scorer.labels):
        truth, found = scorer.truth[:, i], scorer.predicted[:, i]
        columns = sk.precision_recall_fscore_support(
            truth, found, labels=[True], sample_weight=weights, zero_division=0
        )
        expected = dict(zip(("precision", "recall", "f1", "support"), (float(c[0]) for c in columns), strict=True))
        expected["predicted"] = float(weights @ found)
        if 0 < truth[weights > 0].sum() < (weights > 0).sum():
            expected["roc_auc"] = sk.roc_auc_score(truth, scorer.probabilities[:, i], sample_weight=weights)
        assert classes[label] == pytest.approx(expected, abs=1e-9)
    mask = weights > 0
    part = scorer.where(mask)
    assert part.metrics(np.ones(part.rows)) == pytest.approx(scorer.metrics(mask), abs=1e-9, nan_ok=True)
    assert (part.correct() == scorer.correct()[mask]).all()


def test_rows_without_labels_and_ece_by_hand() -> None:
    truth = np.array([[0, 0], [1, 0], [0, 0], [1, 1]], dtype=bool)
    probabilities = np.array([[0.1, 0.1], [0.1, 0.1], [0.9, 0.1], [0.9, 0.9]])
    scorer = MultilabelScorer(truth, probabilities, probabilities > 0.5, ["a", "b"])
    found = scorer.metrics(np.ones(4))
    assert scorer.correct().tolist() == [True, False, False, True]
    assert found["jaccard"] == found["samples_precision"] == 0.5  # 1 where nothing is true or predicted
    assert found["micro_f1"] == pytest.approx(2 * 2 / (3 + 3))
    # Of five decisions at 0.1 one is true, of three at 0.9 two are.
    assert found["ece"] == pytest.approx(5 / 8 * (1 / 5 - 0.1) + 3 / 8 * (0.9 - 2 / 3))
    nothing = scorer.metrics(np.array([1.0, 0, 0, 0]))
    assert math.isnan(nothing["micro_f1"]) and math.isnan(nothing["macro_f1"]) and nothing["jaccard"] == 1


def test_a_ranking_of_many_labels_in_blocks_is_that_of_each_alone() -> None:
    random = np.random.default_rng(0)
    truth, scores = random.random((60_000, 5)) < 0.2, random.random((60_000, 5)).round(2)  # two labels a block
    weights = random.integers(0, 3, 60_000).astype(float)
    alone = [Ranking(truth[:, [i]], scores[:, [i]]).areas(weights) for i in range(5)]
    np.testing.assert_allclose(Ranking(truth, scores).areas(weights), np.hstack(alone), atol=1e-9)


def test_names_intervals_and_a_comparison() -> None:
    random = np.random.default_rng(0)
    truth = random.random((200, 3)) < 0.3

    def scorer(noise: float) -> MultilabelScorer:
        probabilities = np.clip(truth * 0.6 + 0.2 + random.normal(0, noise, truth.shape), 0, 1)
        return MultilabelScorer(truth, probabilities, probabilities > 0.5, ["a", "b", "c"])

    good, bad = scorer(0.1), scorer(1.0)
    values = good.metrics(np.ones(200))
    assert good.primary in values and values.keys() <= METRICS.keys()
    assert good.metrics(np.zeros(200)).keys() == values.keys()
    assert all(math.isnan(value) for value in good.metrics(np.zeros(200)).values())
    assert intervals(bad, resamples=50, seed=0).keys() == values.keys()
    worse = compare(bad, good, good.primary, resamples=100, seed=0)
    assert worse.significantly_worse and worse.method == "paired bootstrap"
    assert compare(bad, good, "exact_match", resamples=100, seed=0).method == "McNemar"


def test_what_does_not_fit_is_refused_and_named() -> None:
    truth, good = np.array([[True], [False]]), np.full((2, 1), 0.5)
    with pytest.raises(DataError, match="labels"):
        MultilabelScorer(truth, good, truth, ["a", "b"])
    with pytest.raises(ModelError, match="predictions of shape"):
        MultilabelScorer(truth, good, truth[:1], ["a"])
    for strange in (math.nan, 1.5):
        with pytest.raises(ModelError, match=r"rows \[1\]"):
            MultilabelScorer(truth, np.array([[0.5], [strange]]), truth, ["a"])


# ordinal


@st.composite
def ratings(draw: st.DrawFn) -> tuple[OrdinalScorer, np.ndarray, np.ndarray]:
    """The scorer, the labels' numbers and weights [n] with zeros."""
    labels = draw(st.sampled_from([["1", "2", "3", "4"], ["0", "0.5", "4"], ["low", "middle", "high"]]))
    numbers = np.array([float(label) for label in labels]) if labels[0] != "low" else np.arange(3.0)
    rows = draw(st.integers(1, 20))
    truth = np.array(draw(st.lists(st.integers(0, len(labels) - 1), min_size=rows, max_size=rows)))
    said = np.array(draw(st.lists(st.integers(0, len(labels) - 1), min_size=rows, max_size=rows)))
    weights = np.array(draw(st.lists(weight, min_size=rows, max_size=rows).filter(any)))
    return OrdinalScorer(truth, np.eye(len(labels))[said], labels), numbers, weights


@given(ratings())
@settings(max_examples=60, deadline=None)
@pytest.mark.filterwarnings("ignore")
def test_ordinal_metrics_are_scikit_learns(case: tuple[OrdinalScorer, np.ndarray, np.ndarray]) -> None:
    scorer, numbers, weights = case
    found, truth, said = scorer.metrics(weights), scorer.truth, scorer.predicted
    assert found["mae"] == pytest.approx(sk.mean_absolute_error(numbers[truth], numbers[said], sample_weight=weights))
    assert found["within_one"] == pytest.approx(np.average(abs(truth - said) <= 1, weights=weights))
    every = list(range(len(numbers)))
    if len({*truth[weights > 0], *said[weights > 0]}) > 1:
        kappa = sk.cohen_kappa_score(truth, said, labels=every, weights="quadratic", sample_weight=weights)
        assert found["quadratic_weighted_kappa"] == pytest.approx(kappa, abs=1e-9)
    else:
        assert math.isnan(found["quadratic_weighted_kappa"])
    assert found["accuracy"] == pytest.approx(np.average(truth == said, weights=weights))
    part = scorer.where(weights > 0)
    assert part.metrics(np.ones(part.rows)) == pytest.approx(scorer.metrics(weights > 0), abs=1e-9, nan_ok=True)
    nothing = scorer.metrics(np.zeros(scorer.rows))
    assert nothing.keys() == found.keys() <= METRICS.keys() and all(map(math.isnan, nothing.values()))


def test_a_rating_far_off_is_worse_than_one_next_to_it() -> None:
    truth = np.tile(np.arange(5), 40)
    near = np.where(np.arange(200) % 4 == 0, np.minimum(truth + 1, 4), truth)
    far = np.where(near == truth, truth, (truth + 3) % 5)
    a, b = (OrdinalScorer(truth, np.eye(5)[said], list("12345")) for said in (far, near))
    assert a.metrics(np.ones(200))["quadratic_weighted_kappa"] < b.metrics(np.ones(200))["quadratic_weighted_kappa"]
    assert b.metrics(np.ones(200))["within_one"] == 1
    assert compare(a, b, a.primary, resamples=100, seed=0).significantly_worse
