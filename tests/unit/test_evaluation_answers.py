"""Answers are judged as SQuAD's own script judges them: its rules by hand, one after the other."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lakewright.errors import DataError, ModelError
from lakewright.evaluation.bootstrap import intervals
from lakewright.evaluation.metrics import METRICS
from lakewright.evaluation.scorers.answers import AnswersScorer, normalised
from lakewright.evaluation.significance import compare


@pytest.mark.parametrize(
    ("truth", "prediction", "em", "f1"),
    [
        (["Denver Broncos"], "denver broncos", 1, 1),
        (["the Eiffel  Tower!"], "Eiffel Tower", 1, 1),
        (["U.S."], "US", 1, 1),  # punctuation goes, and leaves no space
        (["twenty-one"], "twenty one", 0, 0),
        (["theatre"], "atre", 0, 0),  # "the" only as a word
        (["Denver Broncos"], "The Broncos", 0, 2 / 3),  # precision 1, recall 1/2
        (["Saint Bernadette Soubirous"], "Bernadette", 0, 1 / 2),  # precision 1, recall 1/3
        (["ha ha ha"], "ha", 0, 1 / 2),  # a word counts as often as both sides have it
        (["ha"], "ha ha ha", 0, 1 / 2),
        (["in Paris", "Paris"], "Paris", 1, 1),  # the best of the true answers
        (["in the north of Paris", "London"], "Paris", 0, 2 / 5),
        (["Paris"], "", 0, 0),
        ([], "", 1, 1),
        ([], "the", 1, 1),  # nothing is left of it
        ([], "Paris", 0, 0),
        (["A"], "A", 1, 1),  # nothing is left on either side
        (["A", "Paris"], "", 0, 0),  # an answer of which nothing is left is passed over where there is another
        (["東京"], "東京", 1, 1),
    ],
)
def test_squads_rules(truth: list[str], prediction: str, em: float, f1: float) -> None:
    scorer = AnswersScorer([truth], [prediction], [0.5])
    assert scorer.em.tolist() == [em]
    assert scorer.f1.tolist() == pytest.approx([f1])
    assert scorer.correct().tolist() == [em == 1]


@given(st.text())
def test_no_article_and_no_spare_space_is_left(text: str) -> None:
    once = normalised(text)
    assert once == " ".join(once.split())
    assert not {"a", "an", "the"} & set(once.split())


def scorer() -> AnswersScorer:
    truths = [["Paris"], ["Denver Broncos"], [], [], ["Rome"]]
    return AnswersScorer(truths, ["paris", "Broncos", "", "Berlin", ""], [0.9, 0.8, 0.7, 0.6, 0.5])


def test_metrics_are_means_over_the_weighted_rows() -> None:
    some = scorer()
    assert some.metrics(np.ones(5)) == pytest.approx({
        "exact_match": 2 / 5, "qa_f1": (1 + 2 / 3 + 1) / 5, "answer_f1": (1 + 2 / 3) / 3, "no_answer_accuracy": 1 / 2
    })  # fmt: skip
    assert some.metrics(np.array([1.0, 0, 2, 1, 0])) == pytest.approx(
        {"exact_match": 3 / 4, "qa_f1": 3 / 4, "answer_f1": 1, "no_answer_accuracy": 2 / 3}
    )
    part = some.where(np.array([True, True, False, False, True]))
    answerable = {"exact_match": 1 / 3, "qa_f1": 5 / 9, "answer_f1": 5 / 9, "no_answer_accuracy": math.nan}
    assert part.metrics(np.ones(3)) == pytest.approx(answerable, nan_ok=True)
    assert part.confidence.tolist() == [0.9, 0.8, 0.5]
    assert all(math.isnan(value) for value in some.metrics(np.zeros(5)).values())
    assert some.primary in answerable and answerable.keys() <= METRICS.keys()
    assert intervals(some, resamples=20, seed=0).keys() == answerable.keys()
    assert intervals(part, resamples=20, seed=0).keys() == answerable.keys() - {"no_answer_accuracy"}


def test_a_model_that_says_one_word_too_many_is_worse() -> None:
    truths = [[f"name {i}"] for i in range(100)]
    names = [truth for (truth,) in truths]
    good = AnswersScorer(truths, names, [1.0] * 100)
    bad = AnswersScorer(truths, [f"{name} too" if i % 3 else name for i, name in enumerate(names)], [1.0] * 100)
    for metric, method in ((good.primary, "paired bootstrap"), ("exact_match", "McNemar")):
        found = compare(bad, good, metric, resamples=100, seed=0)
        assert found.significantly_worse and found.method == method


def test_what_does_not_fit_is_refused_and_named() -> None:
    with pytest.raises(DataError, match="2 predictions"):
        AnswersScorer([["a"]], ["a", "b"], [0.5])
    with pytest.raises(ModelError, match=r"rows \[1\]"):
        AnswersScorer([[], []], ["", ""], [0.5, math.nan])
