"""Which unit a search tries next: a race by folds.

Every candidate of the portfolio is tried on the first folds. What is known then says which of them deserve all folds:
those that share in the best mean, and the best of each learner. Later TPE proposes more candidates, by the losses on
the first folds. So a short search has a little of everything, and a long one goes deep where that pays. Units are small
on purpose: whole candidates would waste half of a short search on what ends too late.

This decides, and computes nothing: no process, no clock, no file.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Sequence, Set
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from lakewright.learning.blending import shares
from lakewright.racing.portfolio import Settings, Ways, bounded, family_of, portfolio, propose

if TYPE_CHECKING:
    import optuna

    from lakewright.racing.units import Outcome

MARGIN = 1.15  # a unit may take so much longer than the learner's last one
PROBING = 0.3  # share of the time in which new candidates of the portfolio go before all else
NEAR = 2.0  # standard deviations of the candidates' losses within which the best of a learner is near the best of all
TRIES = 8  # of TPE, until it proposes a learner for which there is time

Held = Callable[[int, int], NDArray[np.float64]]  # candidate, fold → what it predicted of the fold
Unit = tuple["Candidate", int]


@dataclass(eq=False)
class Candidate:
    number: int
    settings: Settings
    source: str  # "portfolio" or "tpe"
    losses: dict[int, float] = field(default_factory=dict)  # by fold
    started: set[int] = field(default_factory=set)
    seconds: dict[int, float] = field(default_factory=dict)
    failure: str = ""
    trial: optuna.trial.Trial | None = None  # of a proposal whose loss the study does not know yet
    proposal: dict[str, Any] = field(default_factory=dict)  # JSON-ready: its parameters, and what they were drawn from

    @property
    def learner(self) -> str:
        return str(self.settings["learner"])

    @property
    def family(self) -> str:
        return family_of(self.settings)

    def has(self, folds: Sequence[int]) -> bool:
        return not self.failure and all(fold in self.losses for fold in folds)

    def loss(self, folds: Sequence[int]) -> float:
        return float(np.mean([self.losses[fold] for fold in folds])) if self.has(folds) else np.inf


class Race:
    """`truth_of` and `weights_of` give a fold's rows, `held` what a candidate predicted of them."""

    def __init__(
        self,
        learners: Sequence[str],
        folds: int,
        first: int,
        processes: int,
        held: Held,
        truth_of: Callable[[int], NDArray[Any]],
        weights_of: Callable[[int], NDArray[np.float64]],
        seed: int,
        most: int | None = None,
        ways: Ways = MappingProxyType({}),
        outputs: int = 1,
        terms: bool = False,
    ) -> None:
        self.learners, self.processes, self.most, self.ways = learners, processes, most, ways
        self.all, self.first = tuple(range(folds)), tuple(range(min(first, folds)))
        self.held, self.truth_of, self.weights_of = held, truth_of, weights_of
        self.rows_judged = sum(len(truth_of(fold)) for fold in self.all)
        self.candidates = [
            Candidate(number, bounded({**each}, self.rows_judged, folds), "portfolio")
            for number, each in enumerate(portfolio(learners, ways, outputs, terms)[:most])
        ]
        self.cost: dict[str, float] = {}  # family → seconds of its last unit
        self.seed, self.study = seed, _study(seed)
        self._deep: tuple[int, list[Candidate]] = (-1, [])

    def next(self, left: float, spent: float) -> Unit | None:
        """A unit for which `left` seconds are enough; `spent` is the share of the time that has passed. None: there is
        none, now."""
        first = (self._probe, self._deepen) if spent < PROBING else (self._deepen, self._probe)
        ways = (*first, self._propose, self._complete_others, self._probe_more)
        unit = next((unit for way in ways if (unit := way(left)) is not None), None)
        if unit is not None:
            unit[0].started.add(unit[1])
        return unit

    def tell(self, outcome: Outcome) -> None:
        candidate = self.candidates[outcome.candidate]
        candidate.started.add(outcome.fold)
        candidate.seconds[outcome.fold] = self.cost[candidate.family] = outcome.seconds
        if outcome.failure:
            candidate.failure = outcome.failure
        else:
            candidate.losses[outcome.fold] = outcome.loss
        self._tell_study(candidate)

    def give_back(self, unit: Unit) -> None:
        """The unit was not computed."""
        unit[0].started.discard(unit[1])

    def complete(self) -> list[Candidate]:
        """The candidates that predicted every fold, the best first."""
        return sorted((each for each in self.candidates if each.has(self.all)), key=lambda each: each.loss(self.all))

    def predictions(self, candidates: Sequence[Candidate], folds: Sequence[int]) -> list[NDArray[np.float64]]:
        """What each predicted of these folds, one after the other."""
        return [np.concatenate([self.held(each.number, fold) for fold in folds]) for each in candidates]

    def rows(self, folds: Sequence[int]) -> tuple[NDArray[Any], NDArray[np.float64]]:
        """The truths and weights of these folds, in the same order."""
        return np.concatenate([*map(self.truth_of, folds)]), np.concatenate([*map(self.weights_of, folds)])

    def _affords(self, candidate: Candidate, folds: int, left: float) -> bool:
        seconds = [*candidate.seconds.values()] or [self.cost.get(candidate.family, 0.0)]
        return float(np.mean(seconds)) * MARGIN * max(1.0, folds / self.processes) < left

    def _probe(self, left: float) -> Unit | None:
        """One unit shows what a family costs: two at once of a slow one could take half of a short search."""
        return self._probe_but(
            {each.family for each in self.candidates if each.started and each.family not in self.cost}, left
        )

    def _probe_more(self, left: float) -> Unit | None:
        """For processes that would be idle until the costs are known."""
        return self._probe_but(set(), left)

    def _probe_but(self, families: Set[str], left: float) -> Unit | None:
        for candidate in self.candidates:
            if candidate.failure or candidate.source != "portfolio" or candidate.family in families:
                continue
            for fold in self.first:
                whole = self.cost.get(candidate.family, 0.0) * len(self.all) / self.processes
                if fold not in candidate.started and self._affords(candidate, 1, left) and whole < left / 2:
                    return candidate, fold
        return None

    def _deepen(self, left: float) -> Unit | None:
        return self._rest_of(self._worth_all(), left)

    def _complete_others(self, left: float) -> Unit | None:
        """For the seconds at the end in which nothing new comes to its end."""
        pool = [each for each in self.candidates if each.has(self.first)]
        return self._rest_of(sorted(pool, key=lambda each: each.loss(self.first)), left)

    def _rest_of(self, candidates: Sequence[Candidate], left: float) -> Unit | None:
        """The next fold of the first of these that can come to its end."""
        for candidate in candidates:
            todo = [fold for fold in self.all if fold not in candidate.started]
            begun = len(candidate.started) > len(self.first)
            if todo and not candidate.failure and (begun or self._affords(candidate, len(todo), left)):
                return candidate, todo[0]
        return None

    def _worth_all(self) -> list[Candidate]:
        """The candidates that deserve all folds, by the first ones."""
        pool = [each for each in self.candidates if each.has(self.first)]
        if self._deep[0] == len(pool):
            return self._deep[1]
        worth: list[Candidate] = []
        if pool:
            share = shares(self.predictions(pool, self.first), *self.rows(self.first))
            in_order = sorted(
                zip(share.tolist(), pool, strict=True), key=lambda each: (-each[0], each[1].loss(self.first))
            )
            worth = [candidate for own, candidate in in_order if own > 0]
            losses = [each.loss(self.first) for each in pool]
            bound = min(losses) + NEAR * float(np.std(losses))
            for name in dict.fromkeys(each.family for each in pool):
                own_pool = [each for each in pool if each.family == name]
                best = min(own_pool, key=lambda each: each.loss(self.first))
                if best.loss(self.first) <= bound:
                    worth.append(best)
        self._deep = (len(pool), [*dict.fromkeys(worth)])
        return self._deep[1]

    def _propose(self, left: float) -> Unit | None:
        for candidate in self.candidates:  # one that was proposed before, on its next first fold
            if candidate.source == "tpe" and not candidate.failure and self._affords(candidate, 1, left):
                for fold in self.first:
                    if fold not in candidate.started:
                        return candidate, fold
        if self.most is not None and len(self.candidates) >= self.most:
            return None
        affordable = [name for name, cost in self.cost.items() if cost * len(self.all) * MARGIN / self.processes < left]
        known = [each.settings for each in self.candidates]
        for settings, trial in self._proposals(TRIES if affordable else 0):
            if family_of(settings) in affordable and settings not in known:
                candidate = Candidate(len(self.candidates), settings, "tpe", trial=trial, proposal=_described(trial))
                self.candidates.append(candidate)
                return candidate, self.first[0]
            self.study.tell(trial, state=_failed())
        return None

    def _proposals(self, times: int) -> Iterator[tuple[Settings, optuna.trial.Trial]]:
        for _ in range(times):
            trial = self.study.ask()
            yield bounded(propose(trial, self.learners, self.ways), self.rows_judged, len(self.all)), trial

    def restore(self, settings: Settings, proposal: dict[str, Any], outcomes: Sequence[Outcome]) -> None:
        """A proposal of an earlier attempt, and what its units gave."""
        candidate = Candidate(len(self.candidates), settings, "tpe", proposal=proposal)
        self.candidates.append(candidate)
        for outcome in outcomes:
            self.tell(outcome)
        if candidate.has(self.first):
            self.study.add_trial(_trial_of(proposal, candidate.loss(self.first)))
        # With the seed of the earlier attempt it would draw what that drew
        self.study.sampler = _sampler(self.seed + len(self.candidates))

    def _tell_study(self, candidate: Candidate) -> None:
        if candidate.trial is None:
            return
        if candidate.failure:
            self.study.tell(candidate.trial, state=_failed())
            candidate.trial = None
        elif candidate.has(self.first):
            self.study.tell(candidate.trial, candidate.loss(self.first))
            candidate.trial = None


def _study(seed: int) -> optuna.Study:
    import optuna

    optuna.logging.set_verbosity(optuna.logging.ERROR)
    return optuna.create_study(direction="minimize", sampler=_sampler(seed))


def _sampler(seed: int) -> optuna.samplers.TPESampler:
    import optuna

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that `group` may change its form
        return optuna.samplers.TPESampler(
            seed=seed, multivariate=True, group=True, constant_liar=True, n_startup_trials=5
        )


def _described(trial: optuna.trial.Trial) -> dict[str, Any]:
    from optuna.distributions import distribution_to_json

    drawn = {name: distribution_to_json(each) for name, each in trial.distributions.items()}
    return {"params": trial.params, "distributions": drawn}


def _trial_of(proposal: dict[str, Any], loss: float) -> optuna.trial.FrozenTrial:
    from optuna.distributions import json_to_distribution
    from optuna.trial import create_trial

    drawn = {name: json_to_distribution(each) for name, each in proposal["distributions"].items()}
    return create_trial(params=proposal["params"], distributions=drawn, value=loss)


def _failed() -> optuna.trial.TrialState:
    import optuna

    return optuna.trial.TrialState.FAIL
