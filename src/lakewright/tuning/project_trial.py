"""One trial of a project: its stages up to train, by the pipeline's own steps, in whichever process it is computed."""

from __future__ import annotations

import logging
import os
import shutil
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import fmean
from typing import Any, cast

from lakewright.errors import DiskError, LakewrightError, missing_package, of_disk
from lakewright.evaluation.metrics import higher_is_better
from lakewright.learning.examples import read_split
from lakewright.model.predictor import Predictor
from lakewright.pipeline import check, executed, stage_named, step_of
from lakewright.pipeline.runs import log_into
from lakewright.pipeline.skipping import work_folder
from lakewright.records import Prepared, Record, Trained
from lakewright.settings.project import Project, changed
from lakewright.spaces import Choice, Option, Parameter, PChoice, Point, Space, fill
from lakewright.tuning.loop import Proposal
from lakewright.tuning.nested_runs import name_of
from lakewright.tuning.pruning import RULES, Pruned, Watched, worse_over_folds
from lakewright.tuning.trials import Trial, TrialFolder
from lakewright.workspace import Workspace

LOG = logging.getLogger("lakewright")
OWN = 0  # the number of the trial with the project's own settings
FEW = 50  # rows that are enough to see a task's primary metric
_OPENED: dict[tuple[int, str], Workspace] = {}  # (process, folder of the search) → its workspace


@dataclass(frozen=True)
class ProjectTrial:
    """Computes a trial. It can be sent to another process, which opens the workspace for itself."""

    project: Project
    space: Space
    metric: str  # auto: the task's primary one
    open_workspace: Callable[[], Workspace]
    folder: TrialFolder
    run_id: str
    threads: int
    prune: str  # as tune.prune
    folds: int  # 0: the project's own validation split
    zero: float  # where the search's clock stood at 0, by time.monotonic

    def __call__(self, proposal: Proposal) -> Trial:
        workspace, elsewhere = self._workspace()
        began = time.monotonic()
        values = values_of(self.project, self.space, proposal)
        watched = Watched(RULES.get(self.prune), proposal.number)
        with log_into(self.folder.path / "log.txt", workspace) if elsewhere else nullcontext():
            try:
                trial = self._tried(proposal, values, workspace, watched)
            except Pruned as pruned:
                results = {"curve": watched.recorded, "learner": self._learner(proposal.number, values)}
                trial = Trial(proposal.number, proposal.point, values, "pruned", reason=pruned.cause, results=results)
            except (Exception, SystemExit) as failure:
                reason = _reason(failure)
                if not isinstance(failure, LakewrightError):
                    LOG.exception("trial %d failed", proposal.number)
                trial = Trial(proposal.number, proposal.point, values, "fail", reason=reason)
        return self.finish(trial, time.monotonic() - began, workspace)

    def finish(self, trial: Trial, seconds: float, workspace: Workspace) -> Trial:
        """The trial, recorded in its folder and in MLflow."""
        finished = replace(trial, seconds=seconds, ended=time.monotonic() - self.zero)
        reached = {f"validation_{name}": value for name, value in finished.results.get("metrics", {}).items()}
        workspace.tracking.nested(
            self.run_id,
            name_of(finished.number),
            "FAILED" if finished.status == "fail" else "FINISHED",
            params={"trial": finished.values},
            metrics={**reached, "trial_seconds": seconds},
            tags={"lakewright.reason": finished.reason} if finished.reason else {},
        )
        self.folder.record(finished)
        return finished

    def trained(
        self,
        number: int,
        values: Mapping[str, Any],
        workspace: Workspace,
        watch: Callable[[float, float], None] | None = None,
        fold: int = 0,
    ) -> tuple[Project, Prepared, Trained, bool]:
        """The trial's project and records, kept or new ones, and whether its model was trained now; of a fold from 1,
        or of the project's own split."""
        own = {} if number == OWN else dict(values)
        project = changed(self.project, own | ({"prepare.split.fold": f"{fold}/{self.folds}"} if fold else {}))
        check(project)
        records: dict[str, Record] = {}
        for name in ("ingest", "prepare"):
            stage = stage_named(name)
            # Both write tables: one process after another, and who comes second finds the record of the first.
            with workspace.turn(f"{project.schema_}.{project.name}.{name}"):
                step = step_of(stage, project, workspace, records)
                records[name] = executed(stage, step, project, workspace, self.run_id, records)
        stage = stage_named("train")
        step = step_of(stage, project, workspace, records)
        try:
            watched = replace(workspace, watch=watch, shared=shared_folder(workspace, self.folder))
            title = f"{name_of(number)} fold {fold}" if fold else name_of(number)
            trained = executed(stage, step, project, watched, self.run_id, records, title=title)
        except Pruned:
            shutil.rmtree(work_folder(workspace, stage.name, step.key))  # nothing goes on from there
            raise
        return project, cast(Prepared, records["prepare"]), cast(Trained, trained), step.record is None

    def _tried(self, proposal: Proposal, values: Mapping[str, Any], workspace: Workspace, watched: Watched) -> Trial:
        if self.folds:
            return self._over_folds(proposal, values, workspace)
        watched.earlier = (proposal.earlier or {}).get(self._learner(proposal.number, values), ())
        _, prepared, trained, now = self.trained(proposal.number, values, workspace, watched)
        metric = self.metric if self.metric != "auto" else primary_of(workspace, prepared, trained)
        results: dict[str, Any] = {
            "metrics": trained.validation,
            "digest": trained.digest,
            "trained": now,
            "metric": metric,
        }
        if not now:  # for the estimate of how long a trial takes
            results["training_seconds"] = trained.details.get("training_seconds", 0.0)
        results |= {"learner": trained.learner} | ({"curve": watched.recorded} if watched.curve else {})
        if metric not in trained.validation:
            why = f"{metric} is not defined on the validation rows"
            return Trial(proposal.number, proposal.point, values, "fail", reason=why, results=results)
        value = trained.validation[metric]
        loss = -value if higher_is_better(metric) else value
        return Trial(proposal.number, proposal.point, values, "ok", loss=loss, metric=value, results=results)

    def _over_folds(self, proposal: Proposal, values: Mapping[str, Any], workspace: Workspace) -> Trial:
        """The mean of the folds' metrics; their models are deleted."""
        measured: list[dict[str, float]] = []
        metric = self.metric
        for fold in range(1, self.folds + 1):
            _, prepared, trained, now = self.trained(proposal.number, values, workspace, fold=fold)
            metric = metric if metric != "auto" else primary_of(workspace, prepared, trained)
            measured.append(trained.validation)
            if now:
                shutil.rmtree(trained.model_folder)
            if fold < self.folds and (why := self._worse(measured, metric, proposal)):
                so_far = {"metric": metric, "learner": trained.learner, "folds": [each[metric] for each in measured]}
                reason = f"ended after fold {fold} of {self.folds}: {why}"
                return Trial(proposal.number, proposal.point, values, "pruned", reason=reason, results=so_far)
        shared = set.intersection(*({*each} for each in measured))
        means = {name: fmean(each[name] for each in measured) for name in measured[0] if name in shared}
        results: dict[str, Any] = {"metrics": means, "metric": metric, "learner": trained.learner}
        if metric not in means:
            why = f"{metric} is not defined on the validation rows of every fold"
            return Trial(proposal.number, proposal.point, values, "fail", reason=why, results=results)
        results["folds"] = [each[metric] for each in measured]
        loss = -means[metric] if higher_is_better(metric) else means[metric]
        return Trial(proposal.number, proposal.point, values, "ok", loss=loss, metric=means[metric], results=results)

    def _worse(self, measured: Sequence[Mapping[str, float]], metric: str, proposal: Proposal) -> str:
        """Why no more folds are needed; empty where they are."""
        if self.prune != "wilcoxon" or not proposal.earlier or not all(metric in each for each in measured):
            return ""
        sign = 1 if higher_is_better(metric) else -1
        return worse_over_folds([sign * each[metric] for each in measured], [sign * each for each in proposal.earlier])

    def _learner(self, number: int, values: Mapping[str, Any]) -> str:
        return changed(self.project, {} if number == OWN else values).train.learner

    def _workspace(self) -> tuple[Workspace, bool]:
        """The workspace, and whether this is another process than the one that searches."""
        key = (os.getpid(), str(self.folder.path))
        elsewhere = key not in _OPENED
        workspace = self.open_workspace() if elsewhere else _OPENED[key]
        if elsewhere:
            _OPENED[key] = workspace
            _ELSEWHERE.add(key)
        profile = workspace.profile.model_copy(update={"threads": self.threads})
        return replace(workspace, profile=profile), key in _ELSEWHERE


def shared_folder(workspace: Workspace, folder: TrialFolder) -> Path:
    """What the trainings of a search share, until it ends: never sent to where the workspace lies."""
    return workspace.folder / "work" / f"tune-{folder.path.name}"


_ELSEWHERE: set[tuple[int, str]] = set()


def is_here(folder: Path, workspace: Workspace) -> None:
    """From now on trials in this process use this opened workspace."""
    _OPENED[os.getpid(), str(folder)] = workspace


def primary_of(workspace: Workspace, prepared: Prepared, trained: Trained) -> str:
    """The primary metric of the task, by which the gate compares models, too."""
    predictor = Predictor.open(Path(trained.model_folder), threads=workspace.threads)
    rows = read_split(workspace.lake, prepared.features, "validation", ["inputs", "truth"]).slice(0, FEW)
    inputs = rows["inputs"].to_pylist()
    return predictor.task.scorer(rows["truth"].to_pylist(), predictor.predict(inputs), inputs).primary


def values_of(project: Project, space: Space, proposal: Proposal) -> dict[str, Any]:
    """The settings of a trial; of the first, what the project has at the settings of the space."""
    if proposal.number != OWN:
        return dict(fill(space, proposal.point))
    return {key: value for key in _keys(space) if (value := _setting(project, key)) is not None}


def own_point(project: Project, space: Mapping[str, Parameter]) -> Point:
    """Where the project's own settings lie in the space; empty where one of them lies outside."""
    point: Point = {}
    for key, parameter in space.items():
        value, distribution = _setting(project, key), parameter.distribution
        if isinstance(distribution, Choice | PChoice):
            values = [each.value if isinstance(each, Option) else each for each in distribution.options]
            if value not in values:
                return {}
            point[parameter.label] = values.index(value)
            option = distribution.options[values.index(value)]
            if isinstance(option, Option):
                inner = own_point(project, option.beside)
                if not inner:
                    return {}
                point |= inner
        elif distribution.holds(value):
            point[parameter.label] = value
        else:
            return {}
    return point


def _keys(space: Mapping[str, Parameter]) -> list[str]:
    keys = []
    for key, parameter in space.items():
        keys.append(key)
        if isinstance(parameter.distribution, Choice | PChoice):
            for option in parameter.distribution.options:
                keys += _keys(option.beside) if isinstance(option, Option) else []
    return list(dict.fromkeys(keys))


def _setting(project: Project, key: str) -> Any:
    inner: Any = project.resolved
    for part in key.split("."):
        inner = inner.get(part) if isinstance(inner, dict) else None
    return inner


def _reason(failure: BaseException) -> str:
    """Raises DiskError where the disk is full: that is no fault of the trial's settings."""
    if (full := of_disk(failure, "the workspace")) is not None:
        raise full from failure
    if isinstance(failure, DiskError):
        raise failure
    if isinstance(failure, ImportError) and (missing := missing_package(failure)) is not None:
        return f"{missing.cause}: {missing.remedy}"
    return failure.cause if isinstance(failure, LakewrightError) else f"{type(failure).__name__}: {failure}"
