"""How a name in a project file becomes code: installed entry points, ours and anybody's alike.

A new source, task, learner, encoding, runtime, target or catalog is one file plus one line under
`[project.entry-points."lakewright.<seam>"]` in its package's pyproject.toml.
"""

from __future__ import annotations

from functools import cache
from importlib.metadata import EntryPoint, entry_points
from typing import Any, Literal

from lakewright.errors import UsageError, nearest

Seam = Literal["sources", "tasks", "learners", "encodings", "runtimes", "targets", "catalogs"]


@cache
def _installed(seam: Seam) -> dict[str, EntryPoint]:
    return {point.name: point for point in entry_points(group=f"lakewright.{seam}")}


def names(seam: Seam) -> list[str]:
    return sorted(_installed(seam))


@cache
def find(seam: Seam, name: str) -> Any:
    """The implementation registered under `name`; raises UsageError naming the nearest one."""
    points = _installed(seam)
    if name not in points:
        raise UsageError(f"there is no {seam.removesuffix('s')} named {name!r}", nearest(name, points))
    return points[name].load()
