"""How a name in a project file becomes code: through installed entry points, ours and everybody's alike.

A new source, task, learner, step, runtime, target, catalog, online store or kind of workers is one file plus one line
under `[project.entry-points."lakewright.<seam>"]` in its package's pyproject.toml. All seams are in this file, each
with the protocol that its implementations follow, because settings and data also look up tasks and learners, whose
wings they may not import.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from lakewright.errors import ModelError, UsageError, nearest

if TYPE_CHECKING:
    from lakewright.data.features.online import OnlineStore
    from lakewright.data.lake.catalogs import Catalog
    from lakewright.data.sources import Source
    from lakewright.evaluation.metrics import Meaning
    from lakewright.learning.learners import Learner
    from lakewright.model.recipe import Step
    from lakewright.model.runtimes import Runtime, Use
    from lakewright.model.tasks import Task
    from lakewright.pages.report.sections import TruthPage
    from lakewright.targets import Target
    from lakewright.workers import Workers

T = TypeVar("T")


@dataclass(frozen=True)
class Seam(Generic[T]):
    """A place for plug-ins, each of which is a T."""

    name: str  # implementations are entry points of the group lakewright.NAME

    def names(self) -> list[str]:
        return sorted(_installed(self.name))

    def find(self, name: str) -> T:
        """The implementation registered under `name`; raises UsageError naming the nearest one."""
        if name not in _installed(self.name):
            raise UsageError(f"there is no {self._singular} named {name!r}", nearest(name, self.names()))
        implementation: T = _loaded(self.name, name)
        return implementation

    def named_in(self, place: Path, name: object) -> T:
        """The implementation that a file of a model folder names. Raises ModelError if no implementation has that
        name."""
        if not isinstance(name, str) or name not in _installed(self.name):
            raise ModelError(
                f"{place} names the {self._singular} {str(name)[:80]!r}, which is not installed here",
                f"install the package that provides it, or use the lakewright that made the folder; "
                f"{nearest(str(name)[:80], self.names())}",
            )
        return self.find(name)

    @property
    def _singular(self) -> str:
        return "kind of workers" if self.name == "workers" else self.name.removesuffix("s")


@cache
def _installed(seam: str) -> dict[str, EntryPoint]:
    return {point.name: point for point in entry_points(group=f"lakewright.{seam}")}


@cache
def _loaded(seam: str, name: str) -> Any:
    return _installed(seam)[name].load()


SOURCES: Seam[Source] = Seam("sources")
CATALOGS: Seam[type[Catalog]] = Seam("catalogs")
WORKERS: Seam[type[Workers]] = Seam("workers")
STORES: Seam[type[OnlineStore]] = Seam("stores")
TASKS: Seam[type[Task]] = Seam("tasks")
LEARNERS: Seam[Learner] = Seam("learners")
STEPS: Seam[type[Step]] = Seam("steps")
RUNTIMES: Seam[Callable[[Path, int, Use], Runtime]] = Seam("runtimes")
TARGETS: Seam[Target] = Seam("targets")
SECTIONS: Seam[TruthPage] = Seam("sections")
METRICS: Seam[Mapping[str, Meaning]] = Seam("metrics")
