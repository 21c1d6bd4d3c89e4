"""Projects: run them, see what would run, run a stage of one, compare what was run."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lakewright.api.places import located, opened, opener
from lakewright.errors import UsageError, nearest

if TYPE_CHECKING:
    from lakewright.pipeline import Watch
    from lakewright.pipeline.runs import Run
    from lakewright.pipeline.skipping import Step
    from lakewright.records import Record
    from lakewright.settings.profile import Profile
    from lakewright.settings.project import Project


def run(
    project: str | Path,
    *,
    settings: Sequence[str] = (),
    profile: str | None = None,
    rerun: str | None = None,
    watch: Watch = lambda *_: None,
) -> Run:
    """Run the project file on its profile's target; finished stages are skipped.

    `settings` are `a.b=c`, laid over the file; `rerun` names a stage that runs again, with those after it; `watch` is
    called with each stage, what becomes of it and why. Below the gate, the run is returned with `decision.passed` False
    and nothing registered. Raises LakewrightError when a stage fails; run again to resume.
    """
    finished = execute(*located(project, settings, profile), rerun=rerun, watch=watch)
    if finished.error is not None:
        raise finished.error
    return finished


def execute(project: Project, profile: Profile, *, rerun: str | None, watch: Watch) -> Run:
    """As `run`, of what is read already; a stage's failure is in `Run.error`."""
    from lakewright import plugins

    return plugins.TARGETS.find(profile.target.name).run(project, profile, opener(profile), watch, rerun)


def plan(project: str | Path, *, settings: Sequence[str] = (), profile: str | None = None) -> list[Step]:
    """What `run` would do now, stage by stage, and why. Nothing is run."""
    from lakewright.pipeline import steps

    loaded, place = located(project, settings, profile)
    return steps(loaded, opener(place)())


def stage(
    name: str,
    project: str | Path,
    run: str,
    *,
    settings: Sequence[str] = (),
    profile: str | None = None,
    before: Callable[[], object] = lambda: None,
) -> Record | None:
    """Run one stage of the run that is named, by an id or a platform's own name; `ingest` begins one. None: the stage
    is left out, below the gate. `before` is called when all is read and nothing is done.

    Raises NotFound for a run that is not there, or where a stage before has not run.
    """
    from lakewright import plugins
    from lakewright.pipeline import run_stage

    loaded, place = located(project, settings, profile)
    workspace = opener(place)()
    before()
    record = run_stage(name, loaded, workspace, run)
    plugins.TARGETS.find(place.target.name).note(name, record, workspace)
    return record


def compare(
    runs: Sequence[str] = (), *, by: str = "auto", out: str | Path | None = None, profile: str | None = None
) -> dict[str, Any]:
    """Rank finished runs, tell ties from differences, recommend the cheapest that is not significantly worse.

    `runs` are run ids, `models:/NAME/3` or projects; none: all runs on the newest one's test rows. Writes
    comparison.html and comparison.json into `out`. Raises NotFound for a run that is not there, DataError where fewer
    than two can be compared.
    """
    from lakewright.pipeline.comparison import compare as ranked

    return ranked(opened(profile), runs, by=by, out=out)


def schema(of: str = "project") -> dict[str, Any]:
    """The JSON Schema of project.yml, or of profiles.yml (`profiles`), for the parts that are installed."""
    from lakewright.settings import profile, project

    schemas = {"project": project.json_schema, "profiles": profile.json_schema}
    if of not in schemas:
        raise UsageError(f"there is no schema of {of!r}", nearest(of, schemas))
    return schemas[of]()
