"""Correlations are scipy's under any whole weights; ranks are those of a slow reading with sorting."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from sklearn import metrics as sk

from lakewright.errors import DataError, ModelError
from lakewright.evaluation.bootstrap import intervals
from lakewright.evaluation.metrics import METRICS
from lakewright.evaluation.scorers import similarity
from lakewright.evaluation.scorers.similarity import SimilarityScorer, retrieval_ranks
from lakewright.evaluation.significance import compare
from lakewright.evaluation.slices import by_slice


@st.composite
def scored(draw: st.DrawFn) -> tuple[SimilarityScorer, np.ndarray]:
    """Scores with many ties, and how often each row is drawn."""
    rows = draw(st.integers(1, 25))
    score = st.one_of(st.sampled_from([0.0, 2.5, 5.0]), st.floats(0, 5).map(lambda value: round(value, 2)))
    sides = [np.array(draw(st.lists(score, min_size=rows, max_size=rows))) for _ in range(2)]
    times = np.array(draw(st.lists(st.integers(0, 3), min_size=rows, max_size=rows).filter(any)))
    return SimilarityScorer(*sides), times


@given(scored())
@settings(max_examples=200, deadline=None)
def test_weights_are_repeated_rows_and_the_numbers_scipys(case: tuple[SimilarityScorer, np.ndarray]) -> None:
    scorer, times = case
    found = scorer.metrics(times)
    truth, scores = np.repeat(scorer.truth, times), np.repeat(scorer.scores, times)
    assert found["mae"] == pytest.approx(sk.mean_absolute_error(truth, scores))
    assert found["rmse"] == pytest.approx(sk.root_mean_squared_error(truth, scores))
    if len(set(truth)) > 1 and len(set(scores)) > 1:
        assert found["spearman"] == pytest.approx(stats.spearmanr(truth, scores).statistic, abs=1e-9)
        assert found["pearson"] == pytest.approx(stats.pearsonr(truth, scores).statistic, abs=1e-9)
    else:
        assert math.isnan(found["spearman"]) and math.isnan(found["pearson"])
    part = scorer.where(times > 0)
    assert part.metrics(times[times > 0]) == pytest.approx(found, abs=1e-9, nan_ok=True)
    assert scorer.correct() is None


@st.composite
def pairs(draw: st.DrawFn) -> tuple[np.ndarray, np.ndarray, list[str], int]:
    """left, right [n, 3] with repeated right texts, their names, and the cells of a block."""
    rows, texts = draw(st.integers(1, 15)), draw(st.integers(1, 6))
    whole = st.lists(st.integers(-3, 3), min_size=3, max_size=3).filter(any)
    right = np.array(draw(st.lists(whole, min_size=texts, max_size=texts)), dtype=np.float32)
    left = np.array(draw(st.lists(whole, min_size=rows, max_size=rows)), dtype=np.float32)
    which = draw(st.lists(st.integers(0, texts - 1), min_size=rows, max_size=rows))
    return left, right[which], [f"text {text}" for text in which], draw(st.sampled_from([1, 40, 1 << 20]))


@given(pairs())
@settings(max_examples=200, deadline=None)
def test_ranks_are_those_of_sorting_with_the_wrong_ones_first(
    case: tuple[np.ndarray, np.ndarray, list[str], int],
) -> None:
    left, right, names, cells = case
    cosines = sk.pairwise.cosine_similarity(left, right).round(5)
    expected = []
    for row, name in zip(cosines, names, strict=True):
        placed = sorted(range(len(names)), key=lambda i: (-row[i], names[i] == name))
        expected.append(1 + [names[i] == name for i in placed].index(True))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(similarity, "_BLOCK", cells)
        assert retrieval_ranks(left, right, names).tolist() == expected


def test_retrieval_by_hand_keeps_the_corpus_whole() -> None:
    # The first two anchors share their text, the third's is placed second, the fourth's last of five.
    right = np.array([[1, 0], [1, 0], [0, 1], [1, 1], [-1, 0]], dtype=np.float32)
    left = np.array([[3, 0], [1, 0], [1, 2], [-1, -0.5], [-2, 0]], dtype=np.float32)
    names = ["x", "x", "y", "xy", "-x"]
    scorer = SimilarityScorer(None, np.ones(5), left, right, names)
    assert scorer.ranks is not None and scorer.ranks.tolist() == [1, 1, 2, 5, 1]
    assert scorer.correct() is not None and scorer.correct().tolist() == [True, True, False, False, True]
    assert scorer.metrics(np.ones(5)) == pytest.approx(
        {"mrr": (3 + 1 / 2 + 1 / 5) / 5, "recall_at_1": 3 / 5, "recall_at_5": 1, "recall_at_10": 1}
    )
    mask = np.array([False, False, True, True, False])
    part = scorer.where(mask)
    assert part.metrics(np.ones(2)) == scorer.metrics(mask)
    assert part.metrics(np.ones(2))["mrr"] == pytest.approx((1 / 2 + 1 / 5) / 2)
    frozen = SimilarityScorer(None, np.ones(5), ranks=scorer.ranks)
    assert frozen.metrics(np.ones(5)) == scorer.metrics(np.ones(5))
    alone = SimilarityScorer(None, np.ones(5), left, right)  # without names a repeated text is a rival
    assert alone.ranks is not None and alone.ranks.tolist() == [2, 2, 2, 5, 1]


def test_one_vector_for_every_text_earns_nothing() -> None:
    same = np.random.default_rng(0).normal(size=(1, 64)).astype(np.float32).repeat(50, axis=0)
    assert (retrieval_ranks(same, same) == 50).all()
    assert (retrieval_ranks(0 * same, same) == 50).all()


def test_names_intervals_slices_and_comparisons() -> None:
    random = np.random.default_rng(0)
    truth = random.uniform(0, 5, 150)
    good, bad = (SimilarityScorer(truth, truth + random.normal(0, noise, 150)) for noise in (0.5, 5))
    right = random.normal(size=(150, 16)).astype(np.float32)
    sides = [right + random.normal(0, noise, right.shape).astype(np.float32) for noise in (0.2, 2)]
    found, lost = (SimilarityScorer(None, np.ones(150), left, right) for left in sides)
    for better, worse in ((good, bad), (found, lost)):
        values = better.metrics(np.ones(150))
        assert better.primary in values and values.keys() <= METRICS.keys()
        nothing = better.metrics(np.zeros(150))
        assert nothing.keys() == values.keys() and all(map(math.isnan, nothing.values()))
        assert intervals(worse, resamples=50, seed=0).keys() == values.keys()
        parts = by_slice(worse, {"kind": ["a", "b", "b"] * 50}, resamples=20, seed=0)["kind"]
        assert parts["a"]["rows"].value == 50
        told = compare(worse, better, better.primary, resamples=100, seed=0)
        assert told.significantly_worse and told.method == "paired bootstrap"
    assert compare(bad, good, "rmse", resamples=100, seed=0).significantly_worse
    assert compare(lost, found, "recall_at_1", resamples=100, seed=0).method == "McNemar"


def test_what_does_not_fit_is_refused_and_named() -> None:
    two, three = np.ones((2, 4), dtype=np.float32), np.ones((3, 4), dtype=np.float32)
    with pytest.raises(DataError, match="true scores"):
        SimilarityScorer(np.ones(3), np.ones(2))
    with pytest.raises(DataError, match=r"rows \[1\]"):
        SimilarityScorer(np.array([1, math.nan]), np.ones(2))
    with pytest.raises(DataError, match="without embeddings"):
        SimilarityScorer(None, np.ones(2))
    with pytest.raises(DataError, match="right embeddings"):
        SimilarityScorer(None, np.ones(2), two, three)
    with pytest.raises(DataError, match="groups"):
        SimilarityScorer(None, np.ones(2), two, two, ["x"])
    with pytest.raises(DataError, match="embeddings or ranks"):
        SimilarityScorer(None, np.ones(2), three, three)
    with pytest.raises(ModelError, match=r"embeddings of rows \[0, 1\]"):
        SimilarityScorer(None, np.ones(2), two * math.nan, two)
