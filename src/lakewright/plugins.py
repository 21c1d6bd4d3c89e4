"""How a name in a project file becomes code: installed entry points, ours and anybody's alike.

A new source, task, learner, step, runtime, target or catalog is one file plus one line under
`[project.entry-points."lakewright.<seam>"]` in its package's pyproject.toml.
"""

from __future__ import annotations

from functools import cache
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from typing import Any, Literal

from lakewright.errors import ModelError, UsageError, nearest

Seam = Literal["sources", "tasks", "learners", "steps", "runtimes", "targets", "catalogs", "sections", "metrics"]


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


def named_in(place: Path, seam: Seam, name: object) -> Any:
    """The implementation that a file of a model folder names. Raises ModelError where there is none of that name."""
    if not isinstance(name, str) or name not in _installed(seam):
        raise ModelError(
            f"{place} names the {seam.removesuffix('s')} {str(name)[:80]!r}, which is not installed here",
            f"install the package that brings it, or use the lakewright that made the folder; "
            f"{nearest(str(name)[:80], names(seam))}",
        )
    return find(seam, name)
