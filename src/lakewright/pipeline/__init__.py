"""The story, told by STAGES: source → table → features → model folder → report → decision → model version.

ingest    source → table              evaluate  model folder → report, on the test split
prepare   table → features            gate      report → decision
train     features → model folder     register  model folder → model version, if the decision is yes
"""

from __future__ import annotations

import logging
import shutil
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from types import MappingProxyType
from typing import Any, cast

from lakewright import plugins
from lakewright.data.lake.names import TableName, is_table
from lakewright.data.sources import format_of_file
from lakewright.errors import (
    LakewrightError,
    NotFound,
    ProjectError,
    UsageError,
    missing_package,
    nearest,
    of_disk,
)
from lakewright.evaluation.metrics import check_bound
from lakewright.learning.learners import check_fit, check_processes, check_workers
from lakewright.learning.processes.group import refuse_several, started
from lakewright.learning.sentence_encoders import encoders_of
from lakewright.model.tasks import corrects_prior
from lakewright.pipeline import runs, skipping
from lakewright.pipeline.bias import check_bias
from lakewright.pipeline.runs import Run
from lakewright.pipeline.skipping import Step
from lakewright.records import (
    Decision,
    Ingested,
    ModelVersion,
    Prepared,
    Record,
    Report,
    StageResult,
    Trained,
    stored_values,
)
from lakewright.settings.project import Project
from lakewright.workspace import Workspace
from lakewright.workspace.run_folder import RunFolder

LOG = logging.getLogger("lakewright")
Watch = Callable[[str, str, str], None]  # stage, "run" | "done" | "skipped" | "failed", reason
Records = Mapping[str, Record]


@dataclass(frozen=True)
class Stage:
    name: str  # lakewright.pipeline.stages.NAME holds a function NAME
    record: type[Record]
    needs: Mapping[str, str]  # stage → the argument of NAME that receives its record
    depends: Callable[[Project, Workspace], dict[str, Any]]  # beside these records: settings, and the source
    unless: Callable[[Records], str] = lambda records: ""  # why the stage is left out; empty: it runs


def _source(project: Project, workspace: Workspace) -> dict[str, Any]:
    from lakewright.pipeline.stages.ingest import fingerprint, overdue, unlabeled

    data = project.data.model_dump(mode="json", include={"source", "format", "options", "exclude", "derive", "columns"})
    settings: dict[str, Any] = {"data": data, "table": project.table}
    if project.features:
        settings["features"] = project.resolved["features"]
    if project.data.expect:
        settings["expect"] = project.resolved["data"]["expect"]
    depends = {"settings": settings, "source": fingerprint(project, workspace)}
    if late := overdue(project, workspace):
        depends["freshness of the rows"] = late
    if project.data.unlabeled is not None:
        settings["unlabeled"] = project.data.unlabeled
        depends["table of rows without a label"] = str(unlabeled(project, workspace) or "the project's own")
    return depends


def _preparation(project: Project, workspace: Workspace) -> dict[str, Any]:
    learner = plugins.LEARNERS.find(project.train.learner)
    settings = {
        "task": project.resolved["task"],
        "columns": project.resolved["data"]["columns"],
        "prepare": project.resolved["prepare"],
        "features": project.features_table,
        "learner": learner.name,
        "base": learner.recipe_depends(project.train, project.folder) | encoders_of(project),
    }
    return {"settings": settings}


def _settings(*names: str) -> Callable[[Project, Workspace], dict[str, Any]]:
    return lambda project, _: {"settings": {**{name: project.resolved[name] for name in names}, "model": project.model}}


def _refusal(records: Records) -> str:
    return "" if cast(Decision, records["gate"]).passed else "the gate refused the model"


INGESTED, PREPARED, TRAINED = {"ingest": "ingested"}, {"prepare": "prepared"}, {"train": "trained"}
REPORT, DECISION = {"evaluate": "report"}, {"gate": "decision"}
STAGES = (
    Stage("ingest", Ingested, {}, _source),
    Stage("prepare", Prepared, INGESTED, _preparation),
    Stage("train", Trained, PREPARED, _settings("train")),
    Stage("evaluate", Report, PREPARED | TRAINED, _settings("evaluate")),
    Stage("gate", Decision, PREPARED | TRAINED | REPORT, _settings("gate")),
    Stage("register", ModelVersion, PREPARED | TRAINED | REPORT | DECISION, _settings("register"), unless=_refusal),
)

SEARCHES = ("tune", "automl")
ALONE = (*SEARCHES, "score")  # what `lakewright stage` runs as well, without a run: one job of a target


def steps(project: Project, workspace: Workspace, rerun: str | None = None) -> list[Step]:
    """Each stage, whether it runs or is skipped, and why. Raises UsageError for mistakes that show before any work."""
    check(project)
    check_workers(project, workspace.profile.workers)
    check_processes(project, workspace.profile, here=workspace.profile.target.name == "local")
    planned: list[Step] = []
    records: dict[str, Record] = {}
    for stage in STAGES:
        waiting = next((need for need in stage.needs if need not in records), None)
        if waiting is not None:
            planned.append(Step(stage.name, False, f"{waiting} must run first"))
            continue
        step = step_of(stage, project, workspace, records, rerun)
        if step.record is not None:
            records[stage.name] = step.record
        planned.append(step)
    return planned


def check(project: Project) -> None:
    """Raises UsageError for settings that are valid alone but do not fit together."""
    task = plugins.TASKS.find(project.task.name)
    gate, measured = project.gate, task.measures(project.task, project.data.columns.roles)
    for metric in sorted({*gate.minimum, *gate.maximum, gate.compare_by} - {"auto", *measured}):
        raise ProjectError(
            f"gate names the metric {metric!r}, which {task.name} does not measure", nearest(metric, measured)
        )
    for kind, bounds in (("minimum", gate.minimum), ("maximum", gate.maximum)):
        for metric, bound in bounds.items():
            check_bound(metric, kind, bound)
    if project.evaluate.cost is not None and task.truth != "class":
        raise ProjectError(
            f"evaluate.cost is of errors between two classes, and {task.name} predicts none", "remove evaluate.cost"
        )
    if (unlabeled := project.data.unlabeled) is not None and not is_table(unlabeled):
        is_source = ":" in unlabeled or "/" in unlabeled or format_of_file(unlabeled) is not None
        if not is_source and not (project.folder / unlabeled).exists():
            try:
                TableName.parse(unlabeled)
            except UsageError as error:
                remedy = f"{error.remedy}; or name a file or folder of rows"
                raise ProjectError(f"data.unlabeled: {error.cause}, and there is no such file", remedy) from None
    named = getattr(project.task, "labels", None) or getattr(project.task, "order", None)
    if project.evaluate.cost is not None and named and len(named) != 2:
        raise ProjectError(
            f"evaluate.cost is of errors between two classes, and task names {len(named)}", "remove evaluate.cost"
        )
    check_bias(project)
    check_fit(project)
    for name in {"dimensions", "similarity_scale"} & type(project.train).model_fields.keys():
        default = type(project.train).model_fields[name].default
        if task.level != "vector" and getattr(project.train, name) != default:
            raise ProjectError(
                f"train.{name} has no effect on {task.name}", "remove it: it is for sentence_similarity alone"
            )
    if project.prepare.balance != "none" and not task.one_label:
        raise UsageError(
            f"prepare.balance: {project.prepare.balance} needs one label a row, which {task.name} does not have",
            "set prepare.balance: none",
        )
    if project.data.columns.weight and project.prepare.balance == "smote":
        raise UsageError(
            "prepare.balance: smote makes rows, which would have no weight in data.columns.weight",
            "set prepare.balance: weights or oversample, or remove data.columns.weight",
        )
    if project.prepare.correct_prior and project.prepare.balance in ("none", "weighted_undersample"):
        raise ProjectError(
            "prepare.correct_prior: true corrects what balancing changes, and prepare.balance: "
            f"{project.prepare.balance} leaves the labels' frequencies as they are",
            "set prepare.balance to another way, or remove prepare.correct_prior",
        )
    if project.prepare.correct_prior and not corrects_prior(task):
        raise ProjectError(
            f"prepare.correct_prior: the task {task.name} has no correction of its probabilities",
            "set prepare.correct_prior: false",
        )


def execute_from(records: Records, project: Project, workspace: Workspace, watch: Watch) -> Run:
    """The stages after those whose records are there, as one run."""
    run_id = runs.open_run(project, workspace)
    with runs.log_to(workspace, run_id) as log:
        for stage, record in records.items():
            RunFolder.of(workspace.folder, run_id).write_record(stage, record)
        return _run_stages(project, workspace, run_id, watch, None, log, records)


def execute(project: Project, workspace: Workspace, watch: Watch, rerun: str | None = None) -> Run:
    """All stages, in order. A stage's failure ends the run and is in `Run.error`, with the path of the log."""
    if rerun is not None:
        stage_named(rerun)
    refuse_several("a whole run")
    with workspace.lock(f"{project.schema_}.{project.name}"):
        planned = steps(project, workspace, rerun)
        if all(step.skip for step in planned) and runs.unfinished(project, workspace) is None:
            return _nothing_to_do(project, workspace, planned, watch)
        run_id = runs.open_run(project, workspace)
        with runs.log_to(workspace, run_id) as log:
            try:
                return _run_stages(project, workspace, run_id, watch, rerun, log)
            except KeyboardInterrupt:  # run.json is unchanged: the next `lakewright run` continues this run
                with suppress(LakewrightError):
                    workspace.tracking.finish(run_id, "KILLED", {}, {})
                raise


def _run_stages(
    project: Project,
    workspace: Workspace,
    run_id: str,
    watch: Watch,
    rerun: str | None,
    log: str,
    made: Records = MappingProxyType({}),
) -> Run:
    results: dict[str, StageResult] = {}
    records: dict[str, Record] = dict(made)
    error: LakewrightError | None = None
    for stage in STAGES:
        if stage.name in made:
            continue
        began = time.monotonic()
        try:
            step = step_of(stage, project, workspace, records, rerun)
            if not step.skip:
                watch(stage.name, "run", step.why)
                LOG.info("%s: %s", stage.name, step.why)
            record = _record(stage, step, project, workspace, run_id, records)
            if record is not None:
                records[stage.name] = record
            result = StageResult(
                status="skipped" if step.skip else "done", seconds=time.monotonic() - began, why=step.why
            )
        except (Exception, SystemExit) as failure:  # a user's source may call sys.exit
            LOG.exception("%s failed", stage.name)
            error = _explained(failure, stage.name, log)
            result = StageResult(status="failed", seconds=time.monotonic() - began, why=error.cause)
        results[stage.name] = result
        LOG.info("%s: %s in %.1f s", stage.name, result.status, result.seconds)
        watch(stage.name, result.status, f"in {result.seconds:.1f} s" if result.status == "done" else result.why)
        if error is not None:
            break
    run = Run(run_id, results, records, error)
    _close(run, project, workspace, log)
    return run


def _close(run: Run, project: Project, workspace: Workspace, log: str) -> None:
    report = cast(Report | None, run.records.get("evaluate"))
    metrics = {name: metric.value for name, metric in report.metrics.items()} if report else {}
    tags = {"lakewright.log": log}
    if run.model_version is not None:
        tags["lakewright.model_version"] = str(run.model_version)
    try:
        workspace.tracking.finish(run.run_id, "FAILED" if run.error else "FINISHED", metrics, tags)
    except LakewrightError as failure:
        if run.error is None:  # the run stays unfinished, and the next `lakewright run` closes it
            failure.log = log
            raise
        LOG.warning("MLflow did not receive the status FAILED of the run: %s", failure.cause)
    runs.close_run(project, workspace, run.run_id, "failed" if run.error else "done")
    workspace.send()


def _record(
    stage: Stage, step: Step, project: Project, workspace: Workspace, run_id: str, records: Records
) -> Record | None:
    """The stage's record, a kept or a new one, also written to the run's folder; None if the stage is left out."""
    if step.skip and step.record is None:
        return None
    record = executed(stage, step, project, workspace, run_id, records)
    RunFolder.of(workspace.folder, run_id).write_record(stage.name, record)
    workspace.send()
    return record


def executed(
    stage: Stage,
    step: Step,
    project: Project,
    workspace: Workspace,
    run_id: str,
    records: Records,
    title: str | None = None,
) -> Record:
    """The stage's record for a step that is not left out: a kept one, or a new one, which is kept under its key.

    `title`: the name of the run nested in `run_id`, by default the stage's.
    """
    if step.record is not None:
        return _up_to_date(step.record, workspace)
    work = skipping.work_folder(workspace, stage.name, step.key)
    work.mkdir(parents=True, exist_ok=True)
    function = getattr(import_module(f"lakewright.pipeline.stages.{stage.name}"), stage.name)
    needed = {argument: records[name] for name, argument in stage.needs.items()}
    for place in (place for record in needed.values() for place in record.places):
        workspace.bring(place)
    try:
        with workspace.tracking.stage(run_id, title or stage.name) as log:
            record: Record = function(project, workspace.at_stage(run_id, work, log, again=step.again), **needed)
    except KeyboardInterrupt:
        LOG.warning("%s was stopped", stage.name)
        raise
    skipping.keep(step, record, run_id, project, workspace)
    shutil.rmtree(work)
    return record


def _up_to_date(record: Record, workspace: Workspace) -> Record:
    if isinstance(record, ModelVersion):  # aliases move: it may be approved since, or no longer the champion
        from lakewright.registry.versions import resolve

        return resolve(workspace.tracking, record.at)
    return record


def step_of(stage: Stage, project: Project, workspace: Workspace, records: Records, rerun: str | None = None) -> Step:
    """Whether the stage runs on these records of earlier stages, and why."""
    left_out = stage.unless(records)
    if left_out:
        return Step(stage.name, True, left_out)
    depends = {
        **stage.depends(project, workspace),
        "inputs": {need: stored_values(records[need], workspace.folder) for need in stage.needs},
    }
    step = skipping.look_up(stage.name, depends, stage.record, project, workspace)
    names = [each.name for each in STAGES]
    if rerun is None or names.index(stage.name) < names.index(rerun):
        return step
    why = f"rerun from {rerun}" if step.skip else step.why
    return Step(stage.name, False, why, step.key, step.depends, again=True)


def _nothing_to_do(project: Project, workspace: Workspace, planned: list[Step], watch: Watch) -> Run:
    records: dict[str, Record] = {}
    for stage, step in zip(STAGES, planned, strict=True):
        if step.record is not None:
            records[stage.name] = _up_to_date(step.record, workspace)
        watch(stage.name, "skipped", step.why)
    same = runs.runs_of(project, workspace)
    run_id = same[0].run_id if same else next(step.run_id for step in reversed(planned) if step.run_id)
    return Run(
        run_id, {step.stage: StageResult(status="skipped", seconds=0.0, why=step.why) for step in planned}, records
    )


def run_stage(name: str, project: Project, workspace: Workspace, run: str) -> Record | None:
    """Run one stage of a run on the records of the earlier stages. Targets execute this.

    `run` is the id of an existing run, or a name (a platform's own id of its execution): the first stage begins the run
    of this name, and the last stage ends it. Returns None if the stage is left out (register, below the gate).
    Raises NotFound if the run does not exist or an earlier stage has not run.
    """
    stage = stage_named(name)
    if name == "train":
        check_processes(project, workspace.profile, here=True)
        if started()[0]:  # beside the first process, which does all that one process does
            return _trained_beside(stage, project, workspace, run)
    else:
        refuse_several(f"the stage {name}")
    with workspace.lock(f"{project.schema_}.{project.name}"):
        run_id, records = _needed(stage, project, workspace, run)
        with runs.log_to(workspace, run_id) as log:
            try:
                step = step_of(stage, project, workspace, records)
                record = _record(stage, step, project, workspace, run_id, records)
            except (Exception, SystemExit) as failure:
                LOG.exception("%s failed", name)
                error = _explained(failure, name, log)
                _close(Run(run_id, {}, records, error), project, workspace, log)
                raise error from failure
            if stage == STAGES[-1] or (isinstance(record, Decision) and not record.passed):
                records |= {name: record} if record is not None else {}
                _close(Run(run_id, {}, records), project, workspace, log)
        return record


def _needed(stage: Stage, project: Project, workspace: Workspace, run: str) -> tuple[str, dict[str, Record]]:
    """The run's id, and its records so far. Raises NotFound where one that the stage needs is missing."""
    run_id = _run_id(stage, project, workspace, run)
    records = records_of(workspace, run_id)
    for need in stage.needs:
        if need not in records:
            raise NotFound(
                f"run {run} has no record of {need}, which {stage.name} needs", f"run the stage {need} first"
            )
    return run_id, records


def _trained_beside(stage: Stage, project: Project, workspace: Workspace, run: str) -> Record | None:
    from lakewright.pipeline.stages.train import take_part

    run_id, records = _needed(stage, project, workspace, run)
    step = step_of(stage, project, workspace, records)
    if not step.skip:
        for place in records["prepare"].places:
            workspace.bring(place)
        work = skipping.work_folder(workspace, stage.name, step.key)
        take_part(project, workspace.at_stage(run_id, work, None), cast(Prepared, records["prepare"]))
    return None


def _run_id(stage: Stage, project: Project, workspace: Workspace, run: str) -> str:
    notes = runs.runs_of(project, workspace)
    run_id = next((note.run_id for note in notes if run in (note.run_id, note.name)), None)
    if run_id is not None:
        return run_id
    if stage != STAGES[0]:
        raise NotFound(
            f"{workspace.profile.workspace} has no run {run} of this project with these settings",
            f"`lakewright run` begins one, and so does the stage {STAGES[0].name}; "
            + nearest(run, [name for note in notes for name in (note.run_id, note.name)]),
        )
    return runs.open_run(project, workspace, run)


def records_of(workspace: Workspace, run_id: str) -> dict[str, Record]:
    """The records that a run has so far, by stage; a damaged record counts as missing."""
    folder = RunFolder.of(workspace.folder, run_id)
    records: dict[str, Record] = {}
    for stage in STAGES:
        try:
            records[stage.name] = folder.read_record(stage.name, stage.record)
        except FileNotFoundError:
            continue
        except ValueError:
            LOG.warning("%s is damaged and left out", folder.record(stage.name))
    return records


def stage_named(name: str) -> Stage:
    stage = next((each for each in STAGES if each.name == name), None)
    if stage is None:
        raise UsageError(f"there is no stage {name!r}", nearest(name, [each.name for each in STAGES]))
    return stage


def _explained(failure: BaseException, stage: str, log: str) -> LakewrightError:
    missing = missing_package(failure) if isinstance(failure, ImportError) else None
    full = of_disk(failure, Path(log).parent)
    error: LakewrightError
    if full is not None:
        error = full
    elif isinstance(failure, LakewrightError):
        error = failure
    elif missing is not None:
        error = missing
    else:
        remedy = "read the traceback in the log; run the same command again to continue from here"
        error = LakewrightError(f"{stage} failed: {type(failure).__name__}: {failure}", remedy)
    error.log = log
    return error
