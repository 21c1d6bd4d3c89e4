"""Projects: run one, plan a run, run one stage, compare finished runs."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lakewright.api.places import located, opened, opener
from lakewright.errors import NotFound, UsageError, nearest

if TYPE_CHECKING:
    from lakewright.data.rows.inputs import ColumnUse
    from lakewright.pipeline import Watch
    from lakewright.pipeline.runs import Run
    from lakewright.pipeline.skipping import Step
    from lakewright.records import Record, Searched
    from lakewright.service.scoring import Scored
    from lakewright.settings.profile import Profile
    from lakewright.settings.project import Project
    from lakewright.workspace import Workspace


def run(
    project: str | Path,
    *,
    settings: Sequence[str] = (),
    profile: str | None = None,
    rerun: str | None = None,
    watch: Watch = lambda *_: None,
) -> Run:
    """Run the project file on its profile's target; finished stages are skipped.

    `settings` are `a.b=c` and override the file; `rerun` names a stage that runs again, with the stages after it;
    `watch` is called with each stage, its status and a reason. Below the gate, `decision.passed` of the run is False
    and nothing is registered. Raises LakewrightError when a stage fails; the same call again resumes the run.
    """
    finished = execute(*located(project, settings, profile), rerun=rerun, watch=watch)
    if finished.error is not None:
        raise finished.error
    return finished


def execute(project: Project, profile: Profile, *, rerun: str | None, watch: Watch) -> Run:
    """As `run`, for a loaded project and profile; a stage's failure is in `Run.error`."""
    from lakewright import plugins

    return plugins.TARGETS.find(profile.target.name).run(project, profile, opener(profile), watch, rerun)


def plan(project: str | Path, *, settings: Sequence[str] = (), profile: str | None = None) -> list[Step]:
    """The stages that `run` would run or skip now, each with the reason. Nothing is run."""
    from lakewright.pipeline import steps

    loaded, place = located(project, settings, profile)
    return steps(loaded, opener(place)())


def uses(project: str | Path, *, settings: Sequence[str] = (), profile: str | None = None) -> list[ColumnUse]:
    """What each column of the project's table is to its model: an input and of which kind, a role, or left out, and
    why. Nothing is run.

    Raises NotFound if the table is not written yet, or is older than its source.
    """
    from lakewright.learning.planning import column_uses
    from lakewright.pipeline import steps
    from lakewright.records import Ingested

    loaded, place = located(project, settings, profile)
    workspace = opener(place)()
    ingested = steps(loaded, workspace)[0].record
    if isinstance(ingested, Ingested):
        table = ingested.table
    elif loaded.data.source is None and not loaded.features:
        table = workspace.lake.version(loaded.table)
    else:
        raise NotFound(f"{loaded.table} is not written yet, or is older than what it is made of", "lakewright run")
    return column_uses(loaded, table, workspace.lake)


def stage(
    name: str,
    project: str | Path,
    run: str | None = None,
    *,
    settings: Sequence[str] = (),
    profile: str | None = None,
    workers: str | None = None,
    before: Callable[[], object] = lambda: None,
) -> Record | None:
    """Run one stage of the run called `run`, an id or a platform's own name; `ingest` begins a run. Returns None if the
    stage is left out, below the gate. `workers` is the address of a Spark cluster (`spark://…`, `databricks`) that
    computes the parts, in place of the profile's workers. `before` is called after the files are read and before the
    stage runs.

    `tune` and `automl` run the search of the project's section on this machine, whatever the profile's target, and
    `score` the scoring of its `target.score`; they have no run. The same call goes on with what was stopped. Raises
    UsageError without a run for any other stage, NotFound if the run does not exist or an earlier stage has not run.
    """
    from lakewright import plugins
    from lakewright.learning.processes.group import refuse_several, started
    from lakewright.pipeline import ALONE, run_stage

    if (run is None) != (name in ALONE):
        raise UsageError(
            f"the stage {name} belongs to a run, and none is named" if run is None else f"{name} has no run",
            "name the run: --run RUN" if run is None else "leave --run out",
        )
    loaded, place = located(project, settings, profile)
    if workers is not None:
        of_spark: Any = plugins.WORKERS.find("spark").settings
        place = place.model_copy(update={"workers": of_spark(name="spark", url=workers)})
    workspace = opener(place)()
    before()
    if run is not None:
        record = run_stage(name, loaded, workspace, run)
    else:
        refuse_several(f"the stage {name}")
        record = _scored(loaded, workspace) if name == "score" else _searched(name, loaded, place, workspace)
    if started()[0] == 0:  # of processes that train together, the first one
        plugins.TARGETS.find(place.target.name).note(name, record, workspace)
    return record


def _scored(project: Project, workspace: Workspace) -> Scored:
    from lakewright.service.scoring import score
    from lakewright.targets.scoring import scoring_of

    profile = workspace.profile
    scoring = scoring_of(profile)
    if scoring is None:
        raise UsageError(
            f"the target of the profile {profile.name} has no section score",
            "add target.score: {input: catalog.schema.table} (docs/targets.md)",
        )
    return score(
        workspace,
        scoring.model_of(project),
        scoring.input,
        scoring.output,
        full=scoring.full,
        columns=scoring.columns,
        id=scoring.id,
        keep=scoring.keep,
        least_confidence=scoring.least_confidence,
        probabilities=scoring.probabilities,
        explain=scoring.explain,
    )


def _searched(name: str, project: Project, place: Profile, workspace: Workspace) -> Searched:
    from lakewright.records import Searched

    if name == "tune":
        from lakewright.tuning.search import search

        tuned = search(project, workspace, opener(place))
        return Searched(
            search=name,
            name=tuned.name,
            metric=tuned.metric,
            best=tuned.settings,
            why=tuned.verdict.sentence,
            project=str(tuned.project),
            model_folder=str(tuned.model_folder),
        )
    from lakewright.racing.glass_box import write
    from lakewright.racing.project_search import automl

    recommended = automl(project, workspace)
    write(project, recommended, workspace, place.name)
    workspace.send()
    return Searched(
        search=name,
        name=recommended.name,
        metric=recommended.metric,
        best={"members": [each.settings for each in recommended.found.members]},
        why=recommended.found.why,
        project=str(recommended.project),
        model_folder=str(recommended.run.model_folder),
    )


def compare(
    runs: Sequence[str] = (), *, by: str = "auto", out: str | Path | None = None, profile: str | None = None
) -> dict[str, Any]:
    """Rank finished runs, separate ties from differences, recommend the cheapest that is not significantly worse.

    `runs` are run ids, `models:/NAME/3` or projects; none: all runs on the newest run's test rows. Writes
    comparison.html and comparison.json into `out`. Raises NotFound if a run does not exist, DataError if fewer than two
    can be compared.
    """
    from lakewright.pipeline.comparison import compare as ranked

    return ranked(opened(profile), runs, by=by, out=out)


def shown_run(run_id: str, *, profile: str | None = None) -> dict[str, Any]:
    """A run of this workspace: its note, what each stage made, and on which machines the parts of that were computed.

    Raises NotFound for a run that the workspace does not hold, DataError where its note is damaged.
    """
    from lakewright.pipeline.one_run import shown

    return shown(run_id, opened(profile))


def schema(of: str = "project") -> dict[str, Any]:
    """The JSON Schema of project.yml, or of profiles.yml (`profiles`), for the parts that are installed."""
    from lakewright.settings import profile, project

    schemas = {"project": project.json_schema, "profiles": profile.json_schema}
    if of not in schemas:
        raise UsageError(f"there is no schema of {of!r}", nearest(of, schemas))
    return schemas[of]()
