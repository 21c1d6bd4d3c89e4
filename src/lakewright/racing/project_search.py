"""The search over a project: rows are prepared once, the race runs, and what it recommends becomes an ordinary run.

automl/NAME/            of the workspace; NAME tells the project and what is searched
  search.json           what is searched
  vectors.json          whether a frozen encoder makes vectors of the texts, and why not
  shared/ units/        the examples, and each candidate's networks and predictions by fold
  fine_tuned/           encoders of the texts, as fine_tuning.py has them
  leaderboard.json      all candidates, and the recommendation
  best.yml              the project file with the recommended learners
  origin.json           the project file that was searched, and what overrode it
  log.txt               what Lakewright logged

The run that follows trains nothing again: it takes the networks that the race made, evaluates them on test, and passes
the gate. `lakewright run best.yml` makes the same from the rows.
"""

from __future__ import annotations

import hashlib
import json
import shutil
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any, cast

import lakewright
from lakewright import plugins
from lakewright.errors import LakewrightError, NotFound, ProjectError, UsageError, nearest, nearest_number, of_disk
from lakewright.evaluation.metrics import higher_is_better
from lakewright.learning.examples import joined
from lakewright.learning.planning import as_prepared
from lakewright.model.recipe import Recipe
from lakewright.pipeline import Watch, check, execute_from, stage_named, step_of
from lakewright.pipeline.runs import Run, log_into
from lakewright.pipeline.stages.train import examples_of
from lakewright.racing.as_project import Work, as_project, prepare_rows, train_of, write_project
from lakewright.racing.fine_tuning import (
    FIRST,
    FineTuned,
    encoder_of,
    fine_tune,
    missing_packages,
    out_of_reach,
    records_of,
)
from lakewright.racing.judging import SOURCE, Verdict, check_rows, judge, metrics_of, recommended, with_encoders
from lakewright.racing.leaderboard import Entry, cheapest, leaderboard, out_of_fold
from lakewright.racing.new_project import LEADERBOARD, ORIGIN, digest_of
from lakewright.racing.on_workers import OnWorkers
from lakewright.racing.portfolio import families
from lakewright.racing.processes import Processes, warm_up
from lakewright.racing.race import Candidate
from lakewright.racing.search import search
from lakewright.racing.selection import Found, TooShort
from lakewright.racing.shared import save
from lakewright.racing.vectors import base_model_of, decide, noted, recipe_of, wants, with_steps
from lakewright.records import Ingested, Prepared, Record
from lakewright.settings.project import Project, changed
from lakewright.settings.sections import AutoML
from lakewright.system import jsonfile
from lakewright.system.files import cores, write_whole
from lakewright.workers.local import LocalSettings
from lakewright.workspace import Workspace

LONGER = ("minutes", "trials")  # of automl: a search goes on when they change
SHARE_OF_RACE = 0.4  # of the minutes, before encoders are fine-tuned; what these leave is the race's again
LEAST_LEFT = 5.0  # seconds for which a race is worth its start
OF_TEXTS = ("embedding", "encoder")  # learners that read texts alone, beside the race's


@dataclass(frozen=True, eq=False)
class Recommended:
    """What automl found, and the run of the recommended model."""

    name: str  # of the search, in the workspace and in MLflow
    run_id: str  # of the search, in MLflow
    metric: str
    entries: tuple[Entry, ...]  # the best first
    found: Found
    folder: Path
    project: Path  # best.yml
    run: Run
    out_of_fold: Mapping[str, float]  # the metrics of the recommended model on the folds, before it is calibrated
    prepared: Prepared  # the rows that the race read
    verdict: Verdict | None = None  # of the best encoder beside the race's model
    notes: tuple[str, ...] = ()  # what was not tried, and why
    candidate_runs: Mapping[int, str] = field(default_factory=dict)  # candidate → its run in MLflow

    @property
    def cheapest(self) -> Entry | None:
        """The smallest candidate that is not significantly worse than the recommended model; None: all are."""
        return cheapest(self.entries)

    def as_json(self) -> dict[str, Any]:
        """The object that `--json` prints, and leaderboard.json holds."""
        return {
            "name": self.name,
            "run_id": self.run_id,
            "metric": self.metric,
            "folds": self.found.folds,
            "why": self.found.why,
            "interrupted": self.found.interrupted,
            "seconds": round(self.found.seconds + self.found.earlier, 1),
            "members": [
                {"candidate": each.number, "weight": round(weight, 4)}
                for each, weight in zip(self.found.members, self.found.weights, strict=True)
            ],
            "out_of_fold": dict(self.out_of_fold),
            "cheapest": None if self.cheapest is None else self.cheapest.number,
            "encoder": None if self.verdict is None else asdict(self.verdict),
            "notes": [*self.notes],
            "candidates": [each.as_json() for each in self.entries],
            "project": str(self.project),
        }


def automl(project: Project, workspace: Workspace, *, watch: Watch = lambda *_: None) -> Recommended:
    """Search for the best model of the project's rows, and run it as a project.

    What an earlier call with the same settings did is kept, and its time counts. Raises UsageError for a search that
    means nothing, and TrainingError if no candidate came to its end.
    """
    settings, learners, base = check_race(project)
    pool_of = _pool(workspace)  # workers that cannot be reached are an error before anything is read
    with workspace.lock(f"{project.schema_}.{project.name}", "running or searching this project"):
        name, identity = _name(project, base, settings, learners, workspace)
        folder = workspace.folder / "automl" / name
        workspace.bring(str(folder))
        folder.mkdir(parents=True, exist_ok=True)
        write_whole(folder / "search.json", jsonfile.text(identity))
        digest = digest_of(project.path.read_text(encoding="utf-8"))
        origin = {"project": str(project.path), "settings": [*project.overrides], "digest": digest}
        write_whole(folder / ORIGIN, jsonfile.text(origin))
        about = {"lakewright.kind": "automl", "lakewright.version": lakewright.__version__}
        run_id = workspace.tracking.start(f"{project.schema_}.{project.name}", f"automl-{name}", about)
        with log_into(folder / "log.txt", workspace) as log:
            try:
                workspace.tracking.params(run_id, {"automl": settings.model_dump(mode="json")})
                records = prepare_rows(base, workspace, run_id, watch, ("ingest",))
                vectors = decide(project, base, settings, cast(Ingested, records["ingest"]).table, workspace, folder)
                whole = with_steps(base, recipe_of(base, vectors)) if vectors.made else base
                records = prepare_rows(whole, workspace, run_id, watch, ("prepare",), records)
                work = Work(project, base, vectors, settings, learners, workspace, folder, run_id, watch, pool_of)
                recommended = _searched(work, whole, records)
            except BaseException as failure:
                stopped = isinstance(failure, KeyboardInterrupt)
                with suppress(LakewrightError):
                    workspace.tracking.finish(run_id, "KILLED" if stopped else "FAILED", {}, {})
                if isinstance(failure, LakewrightError):
                    failure.log = failure.log or log
                elif (full := of_disk(failure, folder)) is not None:
                    raise full from None
                raise
    workspace.send()
    return recommended


def run_candidate(
    project: Project, name: str, number: int, workspace: Workspace, *, watch: Watch = lambda *_: None
) -> Run:
    """Run one candidate of a search as a project of its own, with the networks that the search trained: it is
    evaluated, passes the gate or not, and is registered. A stage's failure is in `Run.error`.

    `project` is the one that was searched. Raises NotFound for a candidate that does not exist, UsageError for one that
    did not predict every fold, and if the project or its rows have changed since.
    """
    settings, learners, base = check_race(project)
    folder = workspace.folder / "automl" / name
    with workspace.lock(f"{project.schema_}.{project.name}", "running or searching this project"):
        if _name(project, base, settings, learners, workspace)[0] != name:
            raise UsageError(
                f"the project of {name}, or its rows, changed since the search",
                f"search again: lakewright automl {project.path.name}",
            )
        shown = json.loads((folder / LEADERBOARD).read_text(encoding="utf-8"))
        entries = {each["number"]: each for each in shown["candidates"]}
        if number not in entries:
            raise NotFound(f"{name} has no candidate {number}", nearest_number(number, entries))
        if entries[number]["loss"] is None:
            why = entries[number]["failure"] or f"it predicted {entries[number]['folds']} of {shown['folds']} folds"
            raise UsageError(
                f"candidate {number} of {name} is not complete: {why}",
                "choose one with a metric in the leaderboard, or give the search more time",
            )
        chosen = Candidate(number, entries[number]["settings"], entries[number]["source"])
        if chosen.source == SOURCE:
            best, records = records_of(project, chosen.settings, workspace)
            return execute_from(records, best, workspace, watch)
        vectors = noted(folder)
        whole = with_steps(base, recipe_of(base, vectors)) if vectors.made else base
        records = {}
        for stage in ("ingest", "prepare"):
            step = step_of(stage_named(stage), whole, workspace, records)
            if step.record is None:
                raise UsageError(
                    f"the prepared rows of {name} are not there: {step.why}",
                    f"run the search again, which prepares them: lakewright automl {project.path.name}",
                )
            records[stage] = step.record
        work = Work(project, base, vectors, settings, learners, workspace, folder, shown["run_id"], watch)
        best, records = as_project(work, records, [chosen], (1.0,), shown["folds"])
        return execute_from(records, best, workspace, watch)


def check_race(project: Project) -> tuple[AutoML, tuple[str, ...], Project]:
    """The settings of the search, its learners, and the project that it prepares. Raises UsageError for a search that
    means nothing."""
    settings = project.automl or AutoML()
    if project.data.unlabeled is not None:
        raise UsageError(
            "automl does not search with rows without a label (data.unlabeled)",
            "search without them (--set data.unlabeled=null), and name them again for the learner encoder",
        )
    learners = _learners(project, settings)
    return settings, learners, _base(project, learners)


def _base(project: Project, learners: Sequence[str]) -> Project:
    base = changed(project, {"train.learner": "ensemble", "train.members": [*learners]})
    check(base)
    return base


def _name(
    project: Project, base: Project, settings: AutoML, learners: Sequence[str], workspace: Workspace
) -> tuple[str, dict[str, Any]]:
    """The search's name, and what it tells."""
    ingest = step_of(stage_named("ingest"), base, workspace, {})
    identity = _identity(project, settings, learners, ingest.key)
    digest = hashlib.sha256(json.dumps(identity, sort_keys=True, default=str).encode()).hexdigest()
    return f"{project.name}-{digest[:8]}", identity


def _learners(project: Project, settings: AutoML) -> tuple[str, ...]:
    task = plugins.TASKS.find(project.task.name)
    if task.truth not in ("class", "number"):
        raise UsageError(
            f"automl searches for models of classes and numbers, and the task is {task.name}",
            "use `lakewright tune` with a space over train.learner",
        )
    measures = task.measures(project.task, project.data.columns.roles)
    if settings.metric not in ("auto", *measures):
        raise ProjectError(
            f"automl.metric: {task.name} has no metric {settings.metric!r}", nearest(settings.metric, measures)
        )
    if settings.metric != "auto":
        higher_is_better(settings.metric)
    able = [*families(task, None, ()), *OF_TEXTS]
    for key, names in (("learners", settings.learners or ()), ("without", settings.without)):
        for name in names:
            if name not in able:
                raise ProjectError(f"automl.{key} names {name!r}, which it does not try here", nearest(name, able))
    learners = families(task, settings.learners, settings.without)
    if not learners:
        raise ProjectError("automl has no learner to race", f"leave one of {', '.join(families(task, None, ()))} in")
    return learners


def _identity(project: Project, settings: AutoML, learners: Sequence[str], source: str) -> dict[str, Any]:
    """What a search must agree in with an earlier one to go on from it."""
    searched = settings.model_dump(mode="json", exclude={*LONGER})
    resolved = {name: value for name, value in project.resolved.items() if name not in ("train", "gate", "register")}
    versions = {"lakewright": lakewright.__version__, "learners": [*learners]}
    encoder = encoder_of(project, base_model_of(project, settings))
    return {"project": resolved, "automl": searched, "source": source, "encoder": encoder, **versions}


def _searched(work: Work, whole: Project, records: dict[str, Record]) -> Recommended:
    """`whole` is the project of the race, with vectors or without, and `records` are those of its rows."""
    folder, settings, workspace, watch = work.folder, work.settings, work.workspace, work.watch
    prepared = cast(Prepared, records["prepare"])
    _share(whole, prepared, workspace, folder)
    encoders, notes = _of_encoders(work)
    tuned: list[FineTuned] = []
    if encoders:
        seconds, left = work.vectors.seconds * len(work.vectors.inputs), (1 - SHARE_OF_RACE) * settings.minutes * 60
        tuned = out_of_reach(work.project, work.vectors.base_model, prepared.splits["train"], seconds, left)
        encoders = [] if tuned else encoders
    watch("automl", "run", f"{settings.minutes:g} minutes over {', '.join([*work.learners, *encoders])}")
    began = time.monotonic()
    try:
        found = _raced(work, SHARE_OF_RACE if encoders else 1.0)
    except TooShort:
        if not encoders:
            raise
        encoders, notes = [], ["no encoder of texts is tried: the race needed all the time"]
        found = _raced(work, 1.0)
    if encoders and not found.interrupted:
        left = settings.minutes * 60 - found.seconds - found.earlier
        begun = time.monotonic()
        tuned, stopped = fine_tune(work.project, work.vectors.base_model, workspace, folder, work.run_id, left)
        spent = max(time.monotonic() - begun, sum(each.seconds for each in tuned))  # of earlier attempts, too
        if not stopped and left - spent > LEAST_LEFT:
            found = _raced(work, 1.0, spent)
        found = replace(found, seconds=found.seconds + spent, interrupted=stopped or found.interrupted)
    check_rows(prepared, tuned, workspace)
    verdict = judge(folder, found, tuned)
    metric, entries = leaderboard(folder, found, settings.metric)
    entries = (*with_encoders(folder, metric, entries, tuned, verdict), *_without_vectors(work))
    measured = out_of_fold(folder, found)
    if verdict is not None and verdict.better:
        winner = next(each for each in tuned if each.number == verdict.candidate)
        assert winner.project is not None, "it was trained"
        found, measured = recommended(found, verdict, tuned), metrics_of(folder, winner.held)
        best, records = winner.project, dict(winner.records)
        write_project(work, dict(winner.settings), {})
    else:
        best, records = as_project(work, records, found.members, found.weights, found.folds)
        recipe = work.recipe_for(found.members)
        write_project(work, train_of(found.members, found.weights, found.folds, recipe), recipe)
    watch("automl", "done", f"in {time.monotonic() - began:.1f} s: {found.why}")
    run = execute_from(records, best, workspace, watch)
    result = Recommended(
        folder.name, work.run_id, metric, entries, found, folder, folder / "best.yml", run, measured, prepared,
        verdict, tuple(notes),
    )  # fmt: skip
    write_whole(folder / LEADERBOARD, jsonfile.text(result.as_json()))
    result = replace(result, candidate_runs=_track(result, workspace))
    if run.error is not None:
        raise run.error
    return result


def _raced(work: Work, share: float, spent: float = 0.0) -> Found:
    """The race, until this share of the minutes has passed; `spent` seconds of them went elsewhere."""
    assert work.pool is not None
    return search(
        work.folder,
        work.learners,
        share * work.settings.minutes * 60 - spent,
        pool=work.pool(),
        folds=work.settings.folds,
        trials=work.settings.trials,
        seed=work.settings.seed,
    )


def _of_encoders(work: Work) -> tuple[list[str], list[str]]:
    """The learners of encoders that are tried beside the race, and what is not tried of texts, and why."""
    if not work.vectors.inputs:
        return [], []
    if missing := missing_packages():
        return [], [f"no encoder of texts is tried: {missing} is not installed (pip install 'lakewright[train]')"]
    return ["encoder"] if wants("encoder", work.settings) else [], []


def _without_vectors(work: Work) -> list[Entry]:
    """Where an encoder's vectors were wanted and could not be made, an entry that says why."""
    if work.vectors.made or not work.vectors.why or missing_packages() or not wants("embedding", work.settings):
        return []
    settings = {"learner": "embedding", "base_model": work.vectors.base_model}
    return [Entry(FIRST - 1, "embedding", settings, "vectors", 0, None, {}, 0.0, 0.0, None, work.vectors.why)]


def _share(base: Project, prepared: Prepared, workspace: Workspace, folder: Path) -> None:
    """The examples as the race's processes read them; they are written once for one version of the features."""
    note, version = folder / "shared" / "features", str(prepared.features)
    if note.exists() and note.read_text(encoding="utf-8") == version:
        return
    for stale in ("shared", "units"):
        shutil.rmtree(folder / stale, ignore_errors=True)
    for stale in ("folds.json", "spent.json", "proposals.json"):
        (folder / stale).unlink(missing_ok=True)
    project = as_prepared(base, prepared)
    task = plugins.TASKS.find(project.task.name).open(prepared.task)
    recipe = Recipe.open(Path(prepared.recipe))
    train, validation = (examples_of(prepared, split, task, recipe, workspace) for split in ("train", "validation"))
    save(task, Path(prepared.recipe), project.encoded_kinds, joined(train, validation), len(train), folder / "shared")
    write_whole(note, version)


def _pool(workspace: Workspace) -> Callable[[], Processes | OnWorkers]:
    """Makes the processes that a race takes: of this machine, or the profile's other workers. Raises UsageError where
    these cannot be reached, or do not see the workspace."""
    settings = workspace.profile.workers
    if not isinstance(settings, LocalSettings):
        workers = workspace.workers()
        workers.reach(workspace.folder)
        return partial(OnWorkers, workers)
    warm_up()
    wanted = settings.processes
    processes = min(workspace.threads, cores()) if wanted == "auto" else wanted
    memory = None if settings.memory is None else int(settings.memory * 1e9 / processes)  # of each
    return partial(Processes, processes, memory)


def _track(recommended: Recommended, workspace: Workspace) -> dict[int, str]:
    """Each candidate's run in MLflow."""
    runs = {}
    for entry in recommended.entries:
        runs[entry.number] = workspace.tracking.nested(
            recommended.run_id,
            f"{entry.number:03d} {entry.learner}",
            "FAILED" if entry.failure else "FINISHED" if entry.metrics else "KILLED",
            params={"train": entry.settings},
            metrics={**entry.metrics, "seconds": entry.seconds},
            tags={"lakewright.source": entry.source, "lakewright.reason": entry.failure},
        )
    tags = {"lakewright.best_run": recommended.run.run_id, "lakewright.why": recommended.found.why}
    workspace.tracking.finish(recommended.run_id, "FINISHED", {"loss": recommended.found.loss}, tags)
    return runs
