"""What a search tries next, with invented outcomes: no process, no clock, no file."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from lakewright.racing.portfolio import FAMILIES, PORTFOLIO, families
from lakewright.racing.race import Candidate, Race, Unit
from lakewright.racing.units import Outcome

ROWS = 60
LEARNERS = ("trees", "linear", "forest")


class World:
    """Rows of four folds, and candidates whose predictions are as good as their quality."""

    def __init__(self, folds: int = 4, quality: Any = lambda number: 1.0 + (number % 5)) -> None:
        draw = np.random.default_rng(3)
        self.truth = [draw.integers(0, 2, ROWS) for _ in range(folds)]
        self.noise = draw.normal(size=(400, folds, ROWS))
        self.quality, self.folds = quality, folds

    def held(self, candidate: int, fold: int) -> NDArray[np.float64]:
        margin = self.quality(candidate) * (2 * self.truth[fold] - 1) + self.noise[candidate, fold]
        share = 1 / (1 + np.exp(-margin))
        return np.column_stack([1 - share, share])

    def race(self, first: int = 2, processes: int = 2, most: int | None = None, learners: Any = LEARNERS) -> Race:
        truth, ones = self.truth, np.ones(ROWS)
        return Race(learners, self.folds, first, processes, self.held, truth.__getitem__, lambda _: ones, 13, most)

    def outcome(self, unit: Unit, seconds: float = 1.0) -> Outcome:
        candidate, fold = unit
        shares = self.held(candidate.number, fold)[np.arange(ROWS), self.truth[fold]]
        return Outcome(candidate.number, fold, seconds, float(-np.log(np.maximum(shares, 1e-15)).mean()))


def run(race: Race, world: World, units: int, left: float = 1e6, spent: float = 0.1) -> list[tuple[int, int]]:
    """So many units, one after the other."""
    seen = []
    for _ in range(units):
        unit = race.next(left, spent)
        if unit is None:
            break
        seen.append((unit[0].number, unit[1]))
        race.tell(world.outcome(unit))
    return seen


def test_no_unit_is_given_twice() -> None:
    world = World()
    race = world.race()
    seen = run(race, world, 150)
    assert len(seen) == len({*seen}) == 150
    assert all(fold in range(4) for _, fold in seen)


def test_units_under_way_are_not_given_again() -> None:
    race = World().race()
    under_way = [race.next(1e6, 0.1) for _ in range(10)]
    assert len({(unit[0].number, unit[1]) for unit in under_way if unit}) == 10


def test_a_unit_that_is_given_back_comes_again() -> None:
    world = World()
    race = world.race()
    first = race.next(1e6, 0.1)
    assert first is not None
    race.give_back(first)
    again = race.next(1e6, 0.1)
    assert again is not None and (again[0].number, again[1]) == (first[0].number, first[1])


def test_the_portfolio_is_probed_first_on_the_first_folds() -> None:
    world = World()
    race = world.race()
    known = [each for each in PORTFOLIO if each["learner"] in LEARNERS]
    seen = run(race, world, 2 * len(known))
    assert seen == [(number, fold) for number in range(len(known)) for fold in (0, 1)]


def test_what_is_good_gets_all_folds_before_new_candidates_when_time_passes() -> None:
    world = World(quality=lambda number: 6.0 if number == 1 else 0.5)
    race = world.race()
    run(race, world, 8)
    unit = race.next(1e6, 0.5)
    assert unit is not None and unit[0].number == 1 and unit[1] in (2, 3)


def test_the_best_is_first_among_the_complete() -> None:
    world = World(quality=lambda number: 8.0 - number)
    race = world.race()
    run(race, world, 120, spent=0.5)
    complete = race.complete()
    assert complete and complete[0].number == 0
    losses = [each.loss(race.all) for each in complete]
    assert losses == sorted(losses)


def test_nothing_is_begun_for_which_there_is_no_time() -> None:
    world = World()
    race = world.race()
    run(race, world, 6)  # each took a second
    for left in (0.0, 0.5, 1.0):
        unit = race.next(left, 0.9)
        assert unit is None or unit[0].learner not in race.cost


def test_candidates_are_proposed_when_the_portfolio_is_done_and_only_affordable_ones() -> None:
    world = World()
    race = world.race(learners=("trees", "linear"))
    run(race, world, 200, spent=0.5)
    proposed = [each for each in race.candidates if each.source == "tpe"]
    assert proposed and all(each.proposal["params"] for each in proposed)
    for _ in range(8):
        race.cost["trees"] = 1e5
        unit = race.next(100.0, 0.9)
        if unit is None:
            break
        begun = bool(unit[0].losses)  # its own folds showed what one costs
        race.tell(world.outcome(unit))
        assert unit[0].learner == "linear" or begun


def test_what_was_begun_is_completed_where_nothing_new_can_end() -> None:
    world = World()
    race = world.race(most=4)
    run(race, world, 200, spent=0.5)
    assert len(race.complete()) == len(race.candidates) == 4


def test_most_candidates_are_kept_to() -> None:
    world = World()
    race = world.race(most=3)
    run(race, world, 100, spent=0.5)
    assert len(race.candidates) == 3 and race.next(1e6, 0.5) is None


def test_a_failed_candidate_is_left_alone() -> None:
    world = World()
    race = world.race()
    unit = race.next(1e6, 0.1)
    assert unit is not None
    race.tell(Outcome(unit[0].number, unit[1], 0.1, failure="ValueError: no"))
    assert unit[0].failure and unit[0] not in race.complete()
    seen = run(race, world, 60)
    assert unit[0].number not in {number for number, _ in seen}


def resumed(world: World, race: Race, told: list[Outcome]) -> Race:
    """A race that was told the same, as a search that goes on tells it."""
    again = world.race()
    for candidate in [*again.candidates]:
        for outcome in told:
            if outcome.candidate == candidate.number:
                again.tell(outcome)
    for each in race.candidates:
        if each.proposal:
            again.restore(each.settings, each.proposal, [one for one in told if one.candidate == each.number])
    return again


@pytest.mark.parametrize("units", [1, 7, 16, 30, 60])
def test_a_search_that_goes_on_gives_the_same_next_unit(units: int) -> None:
    """Of the portfolio; what TPE proposes next may differ, because its draws begin anew."""
    world = World()
    race = world.race()
    told = []
    for _ in range(units):
        unit = race.next(1e6, 0.1)
        assert unit is not None
        told.append(world.outcome(unit))
        race.tell(told[-1])
    again = resumed(world, race, told)
    assert [each.losses for each in again.candidates] == [each.losses for each in race.candidates]
    one, other = race.next(1e6, 0.1), again.next(1e6, 0.1)
    assert one is not None and other is not None
    if one[0].source == "portfolio" or one[0].number < len(again.candidates) - 1:
        assert (one[0].number, one[1]) == (other[0].number, other[1])
    assert (other[0].number, other[1]) not in {(each.candidate, each.fold) for each in told}


def test_a_loss_needs_all_folds() -> None:
    candidate = Candidate(0, {"learner": "trees"}, "portfolio", losses={0: 0.5})
    assert candidate.loss((0,)) == 0.5 and candidate.loss((0, 1)) == np.inf


def test_families_are_those_that_can_learn_the_truth_here() -> None:
    from lakewright import plugins

    task = plugins.TASKS.find("regression")
    every = families(task, None, ())
    assert {"trees", "linear", "forest"} <= {*every} <= {*FAMILIES}
    assert families(task, ("linear", "trees"), ("trees",)) == ("linear",)
    assert families(plugins.TASKS.find("token_classification"), None, ()) == ()
