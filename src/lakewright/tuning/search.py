"""The search over a project: which settings of train and prepare are best on validation.

tune/NAME/            of the workspace; NAME tells the project and what is searched
  search.json         what is searched
  trials/00007.json   a trial, as it ended; a search that is run again begins with these
  trials.json         all of them, and the verdict
  best.yml            the project file with the best settings
  tune.html           a page that shows what was tried
  log.txt             what Lakewright logged

The test split is never read. What trial needs from ingest and prepare is made once for all trials that agree in it.
"""

from __future__ import annotations

import hashlib
import json
import logging
import shutil
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import lakewright
from lakewright import plugins
from lakewright.errors import LakewrightError, ProjectError, UsageError, nearest, of_disk
from lakewright.evaluation.significance import Difference
from lakewright.learning.learners import on_workers
from lakewright.pages.tuning import page
from lakewright.pipeline import Watch, check, executed, stage_named, step_of
from lakewright.pipeline.runs import log_into
from lakewright.records import Record
from lakewright.settings.edited import edited
from lakewright.settings.project import Project, brings_learner, changed, corners
from lakewright.settings.sections import Tune
from lakewright.settings.yamlfile import Key, value_of
from lakewright.spaces import read
from lakewright.system import jsonfile
from lakewright.tuning.importance import tried_parameters
from lakewright.tuning.loop import Proposal, ahead_of, run_trials
from lakewright.tuning.minimize import none_succeeded
from lakewright.tuning.model_folders import ModelFolders
from lakewright.tuning.project_trial import OWN, ProjectTrial, is_here, own_point, shared_folder, values_of
from lakewright.tuning.pruning import KNOWN, RULES
from lakewright.tuning.samplers import sampler_of
from lakewright.tuning.trials import Trial, TrialFolder, best_of, plain
from lakewright.tuning.verdict import Verdict, compare
from lakewright.workers import Workers
from lakewright.workers.local import LocalWorkers
from lakewright.workspace import Workspace

LOG = logging.getLogger("lakewright")
HOW = {"fail": "failed", "pruned": "was ended early"}
SEPARATE = ("queue", "keep", "trials", "minutes", "until")  # of tune: a search goes on when they change
Report = Callable[[Trial, Trial | None], None]  # a trial that ended, and the best so far


@dataclass(frozen=True)
class Found:
    """What a search of a project found."""

    name: str  # of the search, in the workspace and in MLflow
    run_id: str  # in MLflow
    metric: str
    trials: tuple[Trial, ...]  # the first has the project's own settings
    best: Trial
    verdict: Verdict
    folder: Path
    project: Path  # best.yml: the project file with the best settings
    model_folder: Path  # of the best trial
    note: str = ""  # where processes had nothing to do, or the space had no other settings

    @property
    def page(self) -> Path:
        return self.folder / "tune.html"

    @property
    def settings(self) -> dict[str, Any]:
        """The best settings; none where the project's own are the best."""
        return {} if self.best.number == OWN else dict(self.best.values)

    @property
    def ranked(self) -> list[Trial]:
        """The best first, those that failed last."""
        finished = sorted((each for each in self.trials if each.loss is not None), key=lambda each: each.loss or 0.0)
        return [*finished, *(each for each in self.trials if each.loss is None)]

    def as_json(self) -> dict[str, Any]:
        """The object that `--json` prints, and trials.json holds."""
        return {
            **_summary(self.name, self.run_id, self.metric, self.trials),
            "settings": self.settings,
            "verdict": asdict(self.verdict),
            "note": self.note,
            "project": str(self.project),
            "page": str(self.page),
            "model_folder": str(self.model_folder),
        }


def search(
    project: Project,
    workspace: Workspace,
    open_workspace: Callable[[], Workspace],
    *,
    watch: Watch = lambda *_: None,
    report: Report = lambda *_: None,
) -> Found:
    """Search `tune.space` of the project; trials that ended before are not tried again.

    `open_workspace` opens it in another process. `watch` is called with the stages that all trials share, as by `run`;
    `report` with each trial. Raises UsageError for a search that means nothing or has no time, and LakewrightError if
    every trial failed.
    """
    tune = project.tune
    if tune is None:
        raise UsageError(
            f"{project.path.name} has no section tune",
            "add one: tune: {trials: 20, space: {train.SETTING: {loguniform: [0.01, 100]}}}; `lakewright params "
            f"{project.train.learner}` lists the settings",
        )
    check_search(project, tune)
    with workspace.lock(f"{project.schema_}.{project.name}", "running or tuning this project"):
        ingest = step_of(stage_named("ingest"), project, workspace, {})
        identity = _identity(project, tune, ingest.key)
        digest = hashlib.sha256(json.dumps(identity, sort_keys=True, default=str).encode()).hexdigest()
        name = f"{project.name}-{digest[:8]}"
        folder = TrialFolder(workspace.folder / "tune" / name)
        workspace.bring(str(folder.path))
        folder.begin(identity)
        about = {"lakewright.kind": "tune", "lakewright.version": lakewright.__version__}
        run_id = workspace.tracking.start(f"{project.schema_}.{project.name}", f"tune-{name}", about)
        with log_into(folder.path / "log.txt", workspace) as log:
            is_here(folder.path, workspace)
            underway = _Search(project, tune, workspace, folder, name, run_id, report, [])
            try:
                workspace.tracking.params(run_id, {"tune": tune.model_dump(mode="json")})
                _shared_stages(project, workspace, run_id, watch)
                found = underway.run(open_workspace)
            except BaseException as failure:
                stopped = isinstance(failure, KeyboardInterrupt)
                with suppress(LakewrightError, OSError):
                    underway.write()
                with suppress(LakewrightError):
                    workspace.tracking.finish(run_id, "KILLED" if stopped else "FAILED", {}, {})
                if isinstance(failure, LakewrightError):
                    failure.log = failure.log or log
                elif (full := of_disk(failure, folder.path)) is not None:
                    raise full from None
                raise
        shutil.rmtree(shared_folder(workspace, folder), ignore_errors=True)
    workspace.send()
    return found


@dataclass
class _Search:
    """A search that is under way."""

    project: Project
    tune: Tune
    workspace: Workspace
    folder: TrialFolder
    name: str
    run_id: str
    report: Report
    ended: list[Trial]

    def run(self, open_workspace: Callable[[], Workspace]) -> Found:
        tune, workspace = self.tune, self.workspace
        space = read(tune.space)
        recorded, earlier = self.folder.read(), self._earlier()
        clock = max((trial.ended for trial in recorded.values()), default=0.0)
        zero = time.monotonic() - clock
        workers = workers_of(workspace)
        workers.reach(workspace.folder)
        own = Proposal(OWN, own_point(self.project, space))
        sampler = sampler_of(tune.sampler, space, tune.seed, [own.point], may_repeat=False)
        ahead = ahead_of(sampler, workers, tune.queue, tune.prune != "none")
        compute = ProjectTrial(
            self.project,
            space,
            tune.metric_name,
            open_workspace,
            self.folder,
            self.run_id,
            workspace.threads,
            tune.prune,
            tune.folds,
            zero,
        )
        if OWN not in recorded:  # alone: how long a trial takes is known before others start
            recorded[OWN] = compute(own)
        metric = str(recorded[OWN].results.get("metric") or tune.metric_name)
        folders = ModelFolders.of(workspace, tune.keep)

        def died(proposal: Proposal, cause: str) -> Trial:
            values = values_of(self.project, space, proposal)
            return compute.finish(Trial(proposal.number, proposal.point, values, "fail", reason=cause), 0.0, workspace)

        def more(number: int, ended: Sequence[Trial]) -> bool:
            best = best_of(ended)
            until = tune.until.plateau if tune.until is not None else None
            return (
                (tune.most_trials is None or number < tune.most_trials)
                and (until is None or best is None or len(ended) - 1 - best.number < until)
                and (number in recorded or self._has_time(time.monotonic() - zero, ended))
            )

        def note(trial: Trial) -> None:
            self.ended.append(trial)
            best = best_of(self.ended)
            if trial.status != "ok":
                LOG.warning("trial %d %s: %s", trial.number, HOW[trial.status], trial.reason)
            if best is trial:  # what there is so far, even if the process is ended at once
                self._write_project(trial)
                self.write()
            folders.tidy(self.ended, besides=[recorded[OWN]])
            if trial.number not in recorded:
                workspace.send("tune")  # so that another machine goes on from here
            self.report(trial, best)

        run_trials(
            sampler,
            replace(compute, metric=metric, threads=workers.threads(ahead)),
            workers=workers,
            ahead=ahead,
            more=more,
            first=[own.point],
            recorded=recorded,
            died=died,
            known=KNOWN.get(tune.prune, lambda trials: None),
            note=note,
        )
        best = best_of(self.ended)
        if best is None:
            raise none_succeeded(self.ended)
        exhausted = more(len(self.ended), self.ended)  # a trial more was wanted, and the sampler had none
        if len(self.ended) == 1 and tune.minutes is not None and not exhausted:
            own_results = self.ended[0].results
            raise self._too_short(max(self.ended[0].seconds, own_results.get("training_seconds", 0.0)))
        metric = str(best.results["metric"])
        _, prepared, trained, _ = compute.trained(best.number, best.values, workspace)
        now = json.loads(jsonfile.text([trial.as_json for trial in self.ended], default=plain))
        verdict = earlier.get("verdict") if earlier.get("trials") == now else None
        if not isinstance(verdict, Verdict):
            verdict = self._verdict(best, metric, compute, (prepared, trained))
        folders.tidy(self.ended)
        found = Found(
            self.name,
            self.run_id,
            metric,
            tuple(self.ended),
            best,
            verdict,
            self.folder.path,
            self.folder.path / "best.yml",
            Path(trained.model_folder),
            _note(
                _idle(workers.processes, ahead) if "processes" in workspace.profile.workers.model_fields_set else "",
                _exhausted(len(self.ended), tune) if exhausted else "",
            ),
        )
        self._write_project(best)
        text = jsonfile.text(found.as_json(), default=plain)
        self.folder.write(self.folder.path / "trials.json", text)
        self.folder.write(found.page, page(json.loads(text), tried_parameters(space, self.ended)))
        assert best.metric is not None
        summary = {f"best_validation_{metric}": best.metric, "best_trial": best.number, "trials": len(self.ended)}
        workspace.tracking.finish(self.run_id, "FINISHED", summary, {"lakewright.verdict": verdict.sentence})
        return found

    def write(self) -> None:
        """What there is so far, of a search that was stopped."""
        if not self.ended:
            return
        metric = str(self.ended[0].results.get("metric") or self.tune.metric_name)
        summary = _summary(self.name, self.run_id, metric, self.ended)
        self.folder.write(self.folder.path / "trials.json", jsonfile.text(summary, default=plain))

    def _earlier(self) -> dict[str, Any]:
        """What this search found before, if it came to its end: a verdict takes trainings that may be gone."""
        try:
            found = json.loads((self.folder.path / "trials.json").read_text(encoding="utf-8"))
            difference = found["verdict"]["difference"]
            verdict = Verdict(**{**found["verdict"], "difference": difference and Difference(**difference)})
        except (OSError, ValueError, KeyError, TypeError):
            return {}
        return {"trials": found.get("trials"), "verdict": verdict}

    def _has_time(self, spent: float, ended: Sequence[Trial]) -> bool:
        if self.tune.minutes is None:
            return True
        slowest = max((max(each.seconds, each.results.get("training_seconds", 0.0)) for each in ended), default=0.0)
        return spent + slowest <= self.tune.minutes * 60

    def _too_short(self, seconds: float) -> UsageError:
        needed = (2.2 * seconds) / 60
        return UsageError(
            f"tune.minutes is {self.tune.minutes:g}, which fits the project's own settings ({seconds:.3g} s) and no "
            "other trial",
            f"set tune.minutes to {needed:.2g} for one more trial, to {20 * seconds / 60:.2g} for about 20; a smaller "
            "learner, or fewer rows, takes less",
        )

    def _verdict(self, best: Trial, metric: str, compute: ProjectTrial, of_best: Any) -> Verdict:
        own = self.ended[OWN]
        tried = sum(trial.loss is not None for trial in self.ended[1:])
        if best.number == OWN:
            return Verdict(f"No trial is better than the project's own settings, of {tried} that were measured.")
        if own.loss is None:
            return Verdict(f"The project's own settings failed ({own.reason}), so there is nothing to compare with.")
        _, prepared, trained, now = compute.trained(OWN, {}, self.workspace)
        verdict = compare(of_best, (prepared, trained), metric, tried, self.project, self.workspace)
        if now:
            shutil.rmtree(trained.model_folder)
        if not self.tune.folds:
            return verdict
        return replace(verdict, sentence=f"On the project's own validation split: {verdict.sentence}")

    def _write_project(self, best: Trial) -> None:
        text = self.project.path.read_text(encoding="utf-8")
        self.folder.write(self.folder.path / "best.yml", edited(text, best_values(self.project, best)))


def best_values(project: Project, best: Trial) -> dict[Key, Any]:
    """What has to be set in the project's file: its overrides, and the trial's settings."""
    overrides = [setting.partition("=") for setting in project.overrides]
    values: dict[Key, Any] = {tuple(name.strip().split(".")): value_of(text) for name, _, text in overrides}
    if best.number == OWN:
        return values
    if brings_learner(project, best.values):
        values = {key: value for key, value in values.items() if key[0] != "train"} | {("train",): {}}
    return values | {tuple(name.split(".")): value for name, value in best.values.items()}


def workers_of(workspace: Workspace) -> Workers:
    """The profile's workers. A workspace elsewhere has one copy on this machine, which one process works in."""
    if workspace.mirror is not None:
        return LocalWorkers(1, workspace.threads)
    return workspace.workers()


def check_search(project: Project, tune: Tune) -> None:
    """Raises UsageError for what can be known before anything runs."""
    task = plugins.TASKS.find(project.task.name)
    measures = task.measures(project.task, project.data.columns.roles)
    metric = tune.metric_name
    if metric not in ("auto", *measures):
        raise ProjectError(f"tune.metric: {task.name} has no metric {metric!r}", nearest(metric, ("auto", *measures)))
    if tune.folds and project.prepare.split.method == "time":
        raise ProjectError(
            "tune.metric has folds, and the rows are split by time: a model would learn from rows that are later than "
            "those it is measured on",
            "name the metric alone: tune.metric: NAME",
        )
    check(project)
    learners = {project.train.learner}
    for settings, places in corners(project):
        try:
            other = changed(project, settings, places)
            learners.add(other.train.learner)
            check(other)
        except UsageError as error:
            shown = ", ".join(f"{name}={value}" for name, value in settings.items())
            raise ProjectError(f"tune.space, with {shown}: {error.cause}", error.remedy) from None
    if there := [name for name in sorted(learners) if on_workers(plugins.LEARNERS.find(name))]:
        raise ProjectError(
            f"tune: {there[0]} trains on the profile's workers by itself, and a trial would run on one of them",
            "search with a learner of one process (xgboost has the settings of xgboost_spark), or let spark_ml search: "
            "train.grid",
        )
    if tune.prune in RULES and not any(getattr(plugins.LEARNERS.find(name), "watched", False) for name in learners):
        raise ProjectError(
            f"tune.prune: {' and '.join(sorted(learners))} cannot be ended early: nothing is measured while it learns",
            "remove tune.prune",
        )


def _idle(processes: int, ahead: int) -> str:
    if processes <= ahead:
        return ""
    return (
        f"{processes - ahead} of {processes} processes had nothing to do: tune.queue is {ahead}, so that no more "
        f"trials are proposed at once; tune.queue: {processes} uses all, and tpe knows less when it proposes"
    )


def _exhausted(trials: int, tune: Tune) -> str:
    if (tune.most_trials, tune.minutes, tune.until) == (None, None, None):
        return ""  # the end of a grid
    of = f" of {tune.most_trials}" if tune.most_trials is not None else ""
    return f"the space holds no other settings: the search ended after {trials}{of} trials"


def _note(*notes: str) -> str:
    return "; ".join(filter(None, notes))


def _identity(project: Project, tune: Tune, source: str) -> dict[str, Any]:
    """What a search must agree in with an earlier one to go on from its trials."""
    searched = tune.model_dump(mode="json", exclude={*SEPARATE})
    return {"project": project.digest, "tune": searched, "source": source, "lakewright": lakewright.__version__}


def _shared_stages(project: Project, workspace: Workspace, run_id: str, watch: Watch) -> None:
    """What the project's own settings need of ingest and prepare; trials with the same settings there find it."""
    records: dict[str, Record] = {}
    for name in ("ingest", "prepare"):
        began = time.monotonic()
        stage = stage_named(name)
        step = step_of(stage, project, workspace, records)
        if not step.skip:
            watch(name, "run", step.why)
        records[name] = executed(stage, step, project, workspace, run_id, records)
        watch(
            name, "skipped" if step.skip else "done", step.why if step.skip else f"in {time.monotonic() - began:.1f} s"
        )


def _summary(name: str, run_id: str, metric: str, trials: Sequence[Trial]) -> dict[str, Any]:
    best = best_of(trials)
    return {
        "name": name,
        "run_id": run_id,
        "metric": metric,
        "best": None if best is None else best.number,
        "trials": [trial.as_json for trial in trials],
    }
