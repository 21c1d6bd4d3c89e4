"""What candidates of a search read of texts that have vectors, as the steps that they leave out."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import optuna
import pytest

from lakewright.racing.portfolio import family_of, learner_of, portfolio, propose, ways_to_read

LEARNERS = ("trees", "linear", "mlp")


def recipe(*steps: str) -> Any:
    return SimpleNamespace(steps=tuple(SimpleNamespace(name=name) for name in steps))


BOTH = recipe("terms", "text_scores", "sentence_embeddings", "native")


def test_without_vectors_nothing_is_left_out() -> None:
    assert ways_to_read(LEARNERS, recipe("terms", "text_scores"), 2) == {}
    assert ways_to_read(LEARNERS, recipe("sentence_embeddings", "native"), 2) == {}  # the project's own way
    assert all("without" not in each for each in portfolio(LEARNERS, {}, 2))


def test_each_candidate_leaves_out_a_step_that_its_learner_would_read() -> None:
    ways = ways_to_read(LEARNERS, BOTH, 2)
    tried = portfolio(LEARNERS, ways, 2)
    assert tried[0] == {"learner": "linear", "C": 10.0, "without": ["terms"]}
    assert {tuple(each["without"]) for each in tried if each["learner"] == "linear"} == {
        ("terms",), ("sentence_embeddings",), ()
    }  # fmt: skip
    of_trees = [each for each in tried if each["learner"] == "trees"]
    assert {tuple(each["without"]) for each in of_trees} == {("sentence_embeddings",), ()}
    assert len({family_of(each) for each in tried}) == 3 + 2 + 2


def test_trees_of_many_classes_come_last_and_read_no_vectors() -> None:
    tried = portfolio(LEARNERS, ways_to_read(LEARNERS, BOTH, 77), 77)
    assert all(each["without"] == ["sentence_embeddings"] for each in tried if each["learner"] == "trees")
    learners = [each["learner"] for each in tried]
    assert learners.index("trees") > max(at for at, name in enumerate(learners) if name != "trees")


@pytest.mark.parametrize("seed", range(5))
def test_a_proposal_is_a_candidate_of_a_known_family(seed: int) -> None:
    ways = ways_to_read(LEARNERS, BOTH, 2)
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=seed))
    known = {family_of({"learner": name, "without": [*steps]}) for name, own in ways.items() for steps in own.values()}
    for _ in range(20):
        settings = propose(study.ask(), LEARNERS, ways)
        own, without = learner_of(settings)
        assert family_of(settings) in known and own.learner == settings["learner"] and without == settings["without"]
