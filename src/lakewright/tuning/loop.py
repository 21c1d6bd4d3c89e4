"""The loop of every search: propose, compute, tell. One process proposes and is told, workers compute.

Trials are told in the order of their numbers, and a proposal sees those that were told `ahead` numbers before, so that
the trials do not depend on how many processes there are, nor on where an earlier run of the search was stopped.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from typing import Any

from lakewright.errors import WorkerDied
from lakewright.spaces import Point
from lakewright.tuning.samplers import Sampler
from lakewright.tuning.trials import Trial
from lakewright.workers import Workers


@dataclass(frozen=True)
class Proposal:
    number: int
    point: Point
    earlier: Any = None  # what the trial may know of those before it


def ahead_of(sampler: Sampler, workers: Workers, queue: int, prunes: bool = False) -> int:
    """How many trials are proposed ahead: where neither proposals nor the ends of trials depend on earlier ones, enough
    for all processes."""
    return queue if sampler.learns or prunes else max(queue, workers.processes)


def run_trials(
    sampler: Sampler,
    compute: Callable[[Proposal], Trial],
    *,
    workers: Workers,
    ahead: int,
    more: Callable[[int, Sequence[Trial]], bool],
    first: Sequence[Point] = (),
    recorded: Mapping[int, Trial],
    died: Callable[[Proposal, str], Trial],
    known: Callable[[Sequence[Trial]], Any] = lambda trials: None,
    note: Callable[[Trial], None] = lambda trial: None,
) -> list[Trial]:
    """The trials, in order. `more(number, trials)`: whether the trial of this number is to start; `first`: the points
    before the sampler's; `recorded`: the trials of an earlier run; `died` makes the trial of a proposal whose workers
    died; `known`: what a trial gets to know of those that its proposal saw; `note` is called with each trial at its
    turn.

    Raises what `compute` raises.
    """
    ended: list[Trial] = []
    drawn: list[Proposal] = []

    def tell(trial: Trial) -> None:
        ended.append(trial)
        note(trial)

    def propose(number: int) -> Proposal | None:
        if number in recorded:
            return Proposal(number, recorded[number].point)
        seen = max(0, number - ahead + 1)
        if number < len(first):
            return Proposal(number, first[number], known(ended[:seen]))
        point = sampler.propose(number, ended[:seen], [each.point for each in drawn[seen:number]])
        return None if point is None else Proposal(number, point, known(ended[:seen]))

    while len(ended) in recorded and more(len(ended), ended):
        drawn.append(Proposal(len(ended), recorded[len(ended)].point))
        tell(recorded[len(ended)])

    def proposals() -> Iterator[Proposal]:
        while more(len(drawn), ended) and (proposal := propose(len(drawn))) is not None:
            drawn.append(proposal)
            yield proposal

    later = {number: trial for number, trial in recorded.items() if number >= len(ended)}

    def computed(proposal: Proposal) -> Trial:
        return later[proposal.number] if proposal.number in later else compute(proposal)

    with closing(workers.map(computed, proposals(), ahead=ahead)) as results:
        while True:
            try:
                trial: Any = next(results)
            except StopIteration:
                return ended
            except WorkerDied as death:
                trial = died(drawn[len(ended)], death.cause)
            tell(trial)
