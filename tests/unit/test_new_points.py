"""A search over a project tries no settings twice: another point comes in place of a repeated one, and then the end."""

from __future__ import annotations

from typing import Any

import pytest

from lakewright import spaces
from lakewright.tuning.samplers import sampler_of
from lakewright.tuning.trials import Trial

SMALL = {"a": {"choice": ["x", "y", "z"]}, "b": {"randint": [1, 4]}}
OWN = {"a": 1, "b": 3}
# half of all draws are the option that has no settings of its own
UNEVEN = {"kind": {"choice": ["one", {"other": {"C": {"uniform": [0, 1]}}}]}}


def proposed(name: str, space: Any, most: int, seed: int = 13, queue: int = 1) -> list[dict[str, Any]]:
    read = spaces.read(space)
    sampler = sampler_of(name, read, seed, [OWN], may_repeat=False)
    points = [OWN if space is SMALL else {}]
    for number in range(1, most):
        seen = max(0, number - queue + 1)
        ended = [Trial(at, point, {}, "ok", loss=float(sum(point.values()))) for at, point in enumerate(points[:seen])]
        point = sampler.propose(number, ended, points[seen:])
        if point is None:
            break
        points.append(point)
    return points


@pytest.mark.parametrize("queue", [1, 3])
@pytest.mark.parametrize("name", ["tpe", "random", "grid"])
def test_every_point_is_tried_once_and_then_it_ends(name: str, queue: int) -> None:
    points = proposed(name, SMALL, 40, queue=queue)
    assert len(points) == 12 == len({tuple(sorted(point.items())) for point in points})
    assert points == proposed(name, SMALL, 40, queue=queue)
    if name != "grid":
        assert points != proposed(name, SMALL, 40, seed=5, queue=queue)


def test_a_grid_keeps_its_order_without_the_points_that_were_tried() -> None:
    assert proposed("grid", SMALL, 40)[1:] == [point for point in spaces.grid(spaces.read(SMALL)) if point != OWN]


@pytest.mark.parametrize("name", ["tpe", "random"])
def test_an_option_without_settings_is_tried_once(name: str) -> None:
    points = proposed(name, UNEVEN, 20)
    assert len(points) == 20 and sum(point.get("kind") == 0 for point in points) == 1
