"""The story: source → table → features → model folder → report → decision → model version.

A stage is skipped when a record of it exists for exactly the settings and inputs at hand and what the record names is
still there. That one rule is also how a killed run resumes: the stages that finished are skipped, the one that was
interrupted runs again (training from its last checkpoint), under the same run.
"""

from __future__ import annotations

import hashlib
import json
import logging
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path
from typing import Any, cast

import lakewright
from lakewright import plugins
from lakewright.errors import LakewrightError, NotFound, UsageError, nearest
from lakewright.profile import load_profile
from lakewright.project import Project, load_project
from lakewright.records import (
    Decision,
    Ingested,
    ModelVersion,
    Prepared,
    Record,
    Report,
    StageResult,
    TableVersion,
    Trained,
    as_json,
    plain,
)
from lakewright.runtimes.folder import verify
from lakewright.runtimes.predictor import Predictor
from lakewright.workspace import Workspace, write_whole

LOG = logging.getLogger("lakewright")
Watch = Callable[[str, str, str], None]  # stage, "run" | "done" | "skipped" | "failed", why


@dataclass(frozen=True)
class Stage:
    name: str  # lakewright.stages.NAME holds a function NAME
    record: type[Record]
    needs: tuple[str, ...]
    settings: Callable[[Project], dict[str, Any]]  # all of the project that the stage depends on


def _encoding(project: Project) -> dict[str, Any]:
    learner = plugins.find("learners", project.train.learner)
    return {"learner": learner.name, **learner.encoding_depends(project.train, project.folder)}


STAGES = (
    Stage("ingest", Ingested, (), lambda p: {
        "data": p.data.model_dump(mode="json", include={"source", "format", "options"}), "table": p.table,
    }),
    Stage("prepare", Prepared, ("ingest",), lambda p: {
        "task": p.task, "columns": p.resolved["data"]["columns"], "prepare": p.resolved["prepare"],
        "features": p.features_table, "encoding": _encoding(p),
    }),
    Stage("train", Trained, ("prepare",), lambda p: {
        "task": p.task, "train": p.resolved["train"], "model": p.model,
    }),
    Stage("evaluate", Report, ("prepare", "train"), lambda p: {"evaluate": p.resolved["evaluate"]}),
    Stage("gate", Decision, ("train", "evaluate"), lambda p: {"gate": p.resolved["gate"], "model": p.model}),
    Stage("register", ModelVersion, ("prepare", "train", "evaluate", "gate"), lambda p: {
        "register": p.resolved["register"], "model": p.model,
    }),
)  # fmt: skip


@dataclass(frozen=True)
class Run:
    """One execution of a project: how each stage ended and what it left."""

    run_id: str
    stages: dict[str, StageResult] = field(default_factory=dict)
    records: dict[str, Record] = field(default_factory=dict)
    error: LakewrightError | None = None

    @property
    def report(self) -> Report:
        return cast(Report, self._record("evaluate"))

    @property
    def decision(self) -> Decision:
        return cast(Decision, self._record("gate"))

    @property
    def model_version(self) -> ModelVersion | None:
        return cast(ModelVersion | None, self.records.get("register"))

    @property
    def model_folder(self) -> Path:
        return Path(cast(Trained, self._record("train")).model_folder)

    @property
    def exit_code(self) -> int:
        """0 done, 1 failed (2 wrong usage), 3 below the gate, 4 waiting for approval."""
        if self.error is not None:
            return self.error.exit_code
        if not self.decision.passed:
            return 3
        return 0 if self.model_version is None or "champion" in self.model_version.aliases else 4

    def _record(self, stage: str) -> Record:
        if stage not in self.records:
            raise NotFound(f"run {self.run_id} has no record of {stage}", "it did not get that far; read its log")
        return self.records[stage]

    def as_json(self) -> dict[str, Any]:
        """What `--json` prints; a part is null where the run did not get that far."""
        report, trained = cast(Report | None, self.records.get("evaluate")), cast(Trained | None, self.records.get("train"))
        decision, version = cast(Decision | None, self.records.get("gate")), self.model_version
        shown: dict[str, Any] = {
            "run_id": self.run_id,
            "stages": {name: plain(result) for name, result in self.stages.items()},
            "metrics": {name: plain(metric) for name, metric in report.metrics.items()} if report else {},
            "decision": plain(decision) if decision else None,
            "model_version": plain(version) if version else None,
            "model_folder": trained.model_folder if trained else None,
            "report": report.html if report else None,
        }
        if self.error is not None:
            shown["error"] = {"cause": self.error.cause, "remedy": self.error.remedy, "log": self.error.log}
        return shown


def run(
    project: str | Path, *, settings: Sequence[str] = (), profile: str | None = None, rerun: str | None = None
) -> Run:
    """Run the project file on its profile's target: `lakewright run`, from Python.

    Below the gate, the run is returned with `decision.passed` False and nothing registered. Raises LakewrightError when
    a stage fails; run again to resume.
    """
    loaded = load_project(project, settings)
    place = load_profile(profile, loaded.folder)
    finished: Run = plugins.find("targets", place.target).run(loaded, place, lambda *_: None, rerun)
    if finished.error is not None:
        raise finished.error
    return finished


def load(uri: str, *, profile: str | None = None, runtime: str = "onnx") -> Predictor:
    """The predictor of a model version (`models:/NAME@alias`, `models:/NAME/3`) or of a model folder's path."""
    if not uri.startswith("models:/"):
        return Predictor.open(Path(uri), runtime)
    from lakewright.registry.versions import download, resolve

    workspace = Workspace.open(load_profile(profile))
    version = resolve(workspace.tracking, uri)
    return Predictor.open(download(workspace.tracking, version, workspace.folder / "downloads"), runtime)


def execute(project: Project, workspace: Workspace, watch: Watch, rerun: str | None = None) -> Run:
    """All stages, in order. A stage's failure ends the run and is in `Run.error`, with the path of the log."""
    if rerun is not None:
        _stage(rerun)
    with workspace.lock(f"{project.schema_}.{project.name}"):
        planned = _plan(project, workspace, rerun)
        if all(step.envelope is not None for step in planned):
            return _nothing_to_do(project, workspace, planned, watch)
        run_id = _open_run(project, workspace)
        with _log_file(workspace, run_id):
            return _run_stages(project, workspace, run_id, watch, rerun)


def _run_stages(project: Project, workspace: Workspace, run_id: str, watch: Watch, rerun: str | None) -> Run:
    results: dict[str, StageResult] = {}
    records: dict[str, Record] = {}
    forced = False
    error: LakewrightError | None = None
    for stage in STAGES:
        began = time.monotonic()
        if stage.name == "register" and not cast(Decision, records["gate"]).passed:
            results[stage.name] = StageResult(status="skipped", seconds=0.0, why="the gate refused the model")
            watch(stage.name, "skipped", results[stage.name].why)
            continue
        forced = forced or stage.name == rerun
        try:
            step = _step(stage, project, workspace, records, forced)
            if step.envelope is None:
                watch(stage.name, "run", step.why)
                LOG.info("%s: %s", stage.name, step.why)
                records[stage.name] = _do(stage, step, project, workspace, run_id, records)
                results[stage.name] = StageResult(status="done", seconds=time.monotonic() - began, why=step.why)
            else:
                records[stage.name] = stage.record.model_validate(step.envelope["record"])
                results[stage.name] = StageResult(status="skipped", seconds=time.monotonic() - began, why=step.why)
            write_whole(workspace.folder / "runs" / run_id / "records" / f"{stage.name}.json", as_json(records[stage.name]))
        except Exception as failure:
            LOG.exception("%s failed", stage.name)
            error = _explained(failure, stage.name, workspace, run_id)
            results[stage.name] = StageResult(status="failed", seconds=time.monotonic() - began, why=error.cause)
        result = results[stage.name]
        LOG.info("%s: %s in %.1f s", stage.name, result.status, result.seconds)
        watch(stage.name, result.status, result.why)
        if error is not None:
            break
    finished = Run(run_id, results, records, error)
    _close_run(finished, project, workspace)
    return finished


def _do(
    stage: Stage, step: Step, project: Project, workspace: Workspace, run_id: str, records: Mapping[str, Record]
) -> Record:
    import shutil

    work = workspace.folder / "work" / f"{stage.name}-{step.key[:16]}"
    work.mkdir(parents=True, exist_ok=True)
    function = getattr(import_module(f"lakewright.stages.{stage.name}"), stage.name)
    with workspace.tracking.stage(run_id, stage.name) as log:
        inputs = {name: records[name] for name in stage.needs}
        record: Record = function(inputs, project, workspace.at_stage(run_id, work, log))
    envelope = {"stage": stage.name, "run": run_id, "depends": step.depends, "record": plain(record)}
    write_whole(_records(project, workspace) / f"{stage.name}-{step.key}.json", json.dumps(envelope, indent=2) + "\n")
    shutil.rmtree(work)
    return record


# What is done already


@dataclass(frozen=True)
class Step:
    """What is to be done about one stage; without an envelope, it is to be run."""

    stage: str
    why: str
    key: str = ""
    depends: dict[str, Any] = field(default_factory=dict)
    envelope: dict[str, Any] | None = None


def plan(project: str | Path, *, settings: Sequence[str] = (), profile: str | None = None) -> list[Step]:
    """What `run` would do now, stage by stage, and why. Nothing is written."""
    loaded = load_project(project, settings)
    return _plan(loaded, Workspace.open(load_profile(profile, loaded.folder)))


def _plan(project: Project, workspace: Workspace, rerun: str | None = None) -> list[Step]:
    steps: list[Step] = []
    records: dict[str, Record] = {}
    forced = False
    for stage in STAGES:
        forced = forced or stage.name == rerun
        waiting = next((name for name in stage.needs if name not in records), None)
        if waiting is not None:
            steps.append(Step(stage.name, f"{waiting} is to run first"))
            continue
        decision = records.get("gate")
        if stage.name == "register" and isinstance(decision, Decision) and not decision.passed:
            steps.append(Step(stage.name, "the gate refused the model", envelope={}))
            continue
        step = _step(stage, project, workspace, records, forced)
        if step.envelope is not None:
            records[stage.name] = stage.record.model_validate(step.envelope["record"])
        steps.append(step)
    return steps


def _step(stage: Stage, project: Project, workspace: Workspace, records: Mapping[str, Record], forced: bool) -> Step:
    depends = {
        "lakewright": lakewright.__version__,
        "settings": stage.settings(project),
        "inputs": {name: plain(records[name]) for name in stage.needs},
    }
    if stage.name == "ingest":
        from lakewright.stages.ingest import fingerprint

        depends["source"] = fingerprint(project, workspace)
    key = hashlib.sha256(json.dumps(depends, sort_keys=True).encode()).hexdigest()
    if forced:
        return Step(stage.name, "asked to run again", key, depends)
    path = _records(project, workspace) / f"{stage.name}-{key}.json"
    if not path.exists():
        if (workspace.folder / "work" / f"{stage.name}-{key[:16]}").exists():
            return Step(stage.name, "was interrupted; goes on where it stopped", key, depends)
        return Step(stage.name, _what_changed(stage, depends, _records(project, workspace)), key, depends)
    envelope = json.loads(path.read_text(encoding="utf-8"))
    gone = _gone(stage.record.model_validate(envelope["record"]), workspace)
    if gone:
        return Step(stage.name, gone, key, depends)
    return Step(stage.name, f"unchanged since run {envelope['run'][:8]}", key, depends, envelope)


def _records(project: Project, workspace: Workspace) -> Path:
    return workspace.folder / "records" / f"{project.schema_}.{project.name}"


def _what_changed(stage: Stage, depends: dict[str, Any], folder: Path) -> str:
    earlier = sorted(folder.glob(f"{stage.name}-*.json"), key=lambda path: path.stat().st_mtime_ns)
    if not earlier:
        return "has not run yet"
    before = dict(_leaves(json.loads(earlier[-1].read_text(encoding="utf-8"))["depends"]))
    now = dict(_leaves(depends))
    changed = [name for name in sorted({*before, *now}) if before.get(name) != now.get(name)]
    settings = [name for name in changed if name.startswith("settings.")]
    if settings:
        name = settings[0]
        more = f" and {len(settings) - 1} more" if len(settings) > 1 else ""
        return f"{name.removeprefix('settings.')} changed from {before.get(name)} to {now.get(name)}{more}"
    if changed and changed[0].startswith("inputs."):
        return f"{changed[0].split('.')[1]} gave something new"
    return "the source changed" if "source" in changed else f"{changed[0]} changed"


def _leaves(value: Any, at: str = "") -> Iterator[tuple[str, Any]]:
    if isinstance(value, dict) and value:
        for name, inner in value.items():
            yield from _leaves(inner, f"{at}.{name}" if at else name)
    else:
        yield at, value


def _gone(record: Record, workspace: Workspace) -> str:
    """Why a record no longer holds: what it names is not there any more. Empty where all is there."""
    for value in vars(record).values():
        if isinstance(value, TableVersion):
            try:
                workspace.lake.version(str(value))
            except NotFound:
                return f"{value} is gone"
    if isinstance(record, Prepared) and not Path(record.encoding).is_dir():
        return "the encoding is gone"
    if isinstance(record, Trained):
        try:
            verify(Path(record.model_folder))
        except LakewrightError as error:
            return error.cause
    if isinstance(record, Report):
        missing = [path for path in (record.html, record.json_file, record.test_rows) if not Path(path).exists()]
        return f"{missing[0]} is gone" if missing else ""
    return ""


# Runs


def _open_run(project: Project, workspace: Workspace) -> str:
    """The id of this project's unfinished run, or of a new one."""
    same = _runs(project, workspace)
    for run_id, noted in same:
        if noted["status"] != "done":
            _note(workspace, run_id, project, "running")
            return run_id
    name = f"{project.name}-{project.digest[:8]}-{len(same) + 1}"
    tags = {"lakewright.project": project.digest, "lakewright.version": lakewright.__version__}
    run_id = workspace.tracking.start(f"{project.schema_}.{project.name}", name, tags)
    _note(workspace, run_id, project, "running")
    return run_id


def _close_run(finished: Run, project: Project, workspace: Workspace) -> None:
    report = finished.records.get("evaluate")
    metrics = {name: metric.value for name, metric in report.metrics.items()} if isinstance(report, Report) else {}
    tags = {"lakewright.log": str(workspace.folder / "runs" / finished.run_id / "log.txt")}
    if finished.model_version is not None:
        tags["lakewright.model_version"] = str(finished.model_version)
    workspace.tracking.finish(finished.run_id, "FAILED" if finished.error else "FINISHED", metrics, tags)
    _note(workspace, finished.run_id, project, "failed" if finished.error else "done")


def _note(workspace: Workspace, run_id: str, project: Project, status: str) -> None:
    path = workspace.folder / "runs" / run_id / "run.json"
    noted = {"project": project.digest, "name": project.name, "status": status, "resolved": project.resolved}
    write_whole(path, json.dumps(noted, indent=2) + "\n")


def _runs(project: Project, workspace: Workspace) -> list[tuple[str, dict[str, Any]]]:
    """This very project's runs, newest first."""
    paths = sorted((workspace.folder / "runs").glob("*/run.json"), key=lambda path: -path.stat().st_mtime_ns)
    noted = [(path.parent.name, json.loads(path.read_text(encoding="utf-8"))) for path in paths]
    return [(run_id, note) for run_id, note in noted if note["project"] == project.digest]


def _nothing_to_do(project: Project, workspace: Workspace, planned: list[Step], watch: Watch) -> Run:
    records = {}
    for stage, step in zip(STAGES, planned, strict=True):
        if step.envelope:
            records[stage.name] = stage.record.model_validate(step.envelope["record"])
        watch(stage.name, "skipped", step.why)
    same = _runs(project, workspace)
    run_id = same[0][0] if same else next(step.envelope["run"] for step in reversed(planned) if step.envelope)
    results = {step.stage: StageResult(status="skipped", seconds=0.0, why=step.why) for step in planned}
    return Run(run_id, results, records)


def run_stage(name: str, project: Project, workspace: Workspace, run_id: str) -> Record:
    """One stage of a run, from the records that the stages before it left: what targets execute."""
    stage = _stage(name)
    folder = workspace.folder / "runs" / run_id / "records"
    records: dict[str, Record] = {}
    for needed in stage.needs:
        path = folder / f"{needed}.json"
        if not path.exists():
            raise NotFound(f"run {run_id} has no record of {needed}, which {name} needs", f"run stage {needed} first")
        records[needed] = _stage(needed).record.model_validate_json(path.read_text(encoding="utf-8"))
    step = _step(stage, project, workspace, records, forced=False)
    if step.envelope is None:
        record = _do(stage, step, project, workspace, run_id, records)
    else:
        record = stage.record.model_validate(step.envelope["record"])
    write_whole(folder / f"{name}.json", as_json(record))
    return record


def _stage(name: str) -> Stage:
    found = next((stage for stage in STAGES if stage.name == name), None)
    if found is None:
        raise UsageError(f"there is no stage {name!r}", nearest(name, [stage.name for stage in STAGES]))
    return found


def _explained(failure: Exception, stage: str, workspace: Workspace, run_id: str) -> LakewrightError:
    if isinstance(failure, LakewrightError):
        error = failure
    else:
        remedy = "the log has the whole traceback; run again to go on from here"
        error = LakewrightError(f"{stage} failed: {type(failure).__name__}: {failure}", remedy)
        error.__cause__ = failure
    error.log = str(workspace.folder / "runs" / run_id / "log.txt")
    return error


@contextmanager
def _log_file(workspace: Workspace, run_id: str) -> Iterator[None]:
    path = workspace.folder / "runs" / run_id / "log.txt"
    path.parent.mkdir(parents=True, exist_ok=True)
    handler = logging.FileHandler(path, encoding="utf-8")
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(message)s"))
    before = LOG.level
    LOG.addHandler(handler)
    LOG.setLevel(logging.INFO)
    try:
        yield
    finally:
        LOG.removeHandler(handler)
        LOG.setLevel(before)
        handler.close()
