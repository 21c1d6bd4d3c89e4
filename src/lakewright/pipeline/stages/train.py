"""features → model folder: the learner fits on train, measures on validation, and never reads test."""

from __future__ import annotations

import logging
import shutil
import time
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, cast

import numpy as np

from lakewright import plugins
from lakewright.data.rows.objects import Objects
from lakewright.data.rows.splits import UNLABELED
from lakewright.learning.examples import from_columns, mapped_split, read_split
from lakewright.learning.learners import (
    Examples,
    Fitted,
    Training,
    check_workers,
    is_divided,
    on_workers,
    scored,
    tuned,
)
from lakewright.learning.planning import as_prepared
from lakewright.learning.processes.group import attempt, joined, own_device, started
from lakewright.learning.processes.launch import together
from lakewright.learning.synthetic import with_synthetic
from lakewright.model.folder import (
    Samples,
    seal,
    serving,
    write_description,
    write_project,
    write_samples,
    write_training,
)
from lakewright.model.predictor import Predictor
from lakewright.model.recipe import Recipe
from lakewright.model.tasks import Task
from lakewright.pipeline.runs import log_into
from lakewright.records import Prepared, Trained
from lakewright.settings.project import Project
from lakewright.system.files import put_in_place
from lakewright.system.progress import hide
from lakewright.workspace import Workspace

CHECKPOINTS = "checkpoints"
LOG = logging.getLogger("lakewright")


def train(project: Project, workspace: Workspace, *, prepared: Prepared) -> Trained:
    if (processes := _to_start(project, workspace)) > 1:
        log = None if workspace.log is None else workspace.log.run_id
        started_there = partial(_in_process, workspace.opener, workspace.run_id, workspace.work, log)
        function = partial(started_there, project, prepared)
        return cast(Trained, together(function, processes, workspace.work / "processes"))
    project = as_prepared(project, prepared)
    task = plugins.TASKS.find(project.task.name).open(prepared.task)
    learner = plugins.LEARNERS.find(project.train.learner)
    recipe = Recipe.open(Path(prepared.recipe))
    folder = workspace.work / "model"
    shutil.rmtree(folder, ignore_errors=True)  # of a killed attempt; its checkpoints are in the folder beside it
    folder.mkdir(parents=True)
    checkpoints = workspace.work / CHECKPOINTS
    checkpoints.mkdir(exist_ok=True)
    if workspace.log is not None:
        workspace.log.params({"train": project.train.model_dump(mode="json"), "device": workspace.device})
        workspace.log.table(prepared.features, "training")

    mapped = workspace.work / "examples"
    held = examples_of(prepared, "validation", task, recipe, workspace, mapped / "validation")
    files: Sequence[str] = ()
    if on_workers(learner):  # which read train themselves
        check_workers(project, workspace.profile.workers)
        examples, files = held.take(np.empty(0, np.int64)), workspace.lake.uris(prepared.features)
    else:
        examples = examples_of(prepared, "train", task, recipe, workspace, mapped / "train")
    made: dict[str, float | int | str] = {}
    if project.prepare.balance == "smote":
        ids = Objects(read_split(workspace.lake, prepared.features, "train", ["record_id"])["record_id"])
        real, examples = len(examples), with_synthetic(examples, recipe.columns, ids, project.prepare.split.seed)
        made = {"synthetic_rows": len(examples) - real}
        LOG.info("train: %d synthetic rows beside %d real ones", len(examples) - real, real)
    if prepared.unlabeled is not None and not prepared.unlabeled_rows:  # the finding unlabeled_none
        made |= {"unlabeled_rows": 0, "unlabeled_used": 0, "unlabeled_unused": "prepare left out every row"}
        LOG.warning("train: prepare left out every row of %s (data.unlabeled)", prepared.unlabeled)
    training = _training(project, workspace, prepared, task, recipe, examples, held, files)
    began = time.monotonic()
    with joined(workspace.device) as (group, device):
        fitted: Fitted = learner.fit(replace(training, group=group, device=device))
    details = {**fitted.details, **made, "training_seconds": round(time.monotonic() - began, 1)}

    # The thresholds and scales of the task are fitted on the validation logits of the network that will serve.
    runtime_name, _ = serving(folder, "throughput")
    network = plugins.RUNTIMES.find(runtime_name)(folder, workspace.threads, "throughput")
    predictor = Predictor(folder, "", task, recipe, network)
    logits = predictor.logits(training.validation.encoded) if fitted.validation is None else fitted.validation
    if fitted.task is None:
        task, scorer = tuned(training, logits)
    else:
        task, scorer = fitted.task, scored(fitted.task, training.validation, logits)
    predictor = replace(predictor, task=task)
    validation = scorer.metrics(np.ones(scorer.rows))

    (folder / "recipe").mkdir()
    recipe.save(folder / "recipe")
    write_description(
        folder,
        name=project.model,
        task=task.describe(),
        learner=learner.name,
        table=str(prepared.table),
        features=str(prepared.features),
        unlabeled=None if prepared.unlabeled is None else str(prepared.unlabeled),
        run=workspace.run_id,
        lookups=_lookups(project, workspace),
    )
    write_project(folder, project.resolved)
    write_training(folder, fitted.history, details)
    samples = predictor.sample_rows()
    precisions = dict(serving(folder, use) for use in ("throughput", "latency"))  # by runtime
    # If int8 serves, the fp32 predictions are torch's: torch and cuda are compared with them.
    reference = {"torch"} if {*precisions.values()} != {"fp32"} else set()
    sample_predictions = {}
    for name in sorted({"onnx", *precisions, *reference}):
        runtime = (
            network if name == runtime_name else plugins.RUNTIMES.find(name)(folder, workspace.threads, "throughput")
        )
        sample_predictions[name] = replace(predictor, runtime=runtime).predict(samples)
    write_samples(folder, Samples(samples, sample_predictions))
    digest = seal(folder)

    sealed = workspace.folder / "models" / digest[:16]
    put_in_place(folder, sealed)
    if workspace.log is not None:
        workspace.log.metrics({f"best_validation_{name}": value for name, value in validation.items()})
        workspace.log.params({"fitted": details})
        if len(fitted.history) > 1:
            from lakewright.pages.pictures.of_training import learning_curve

            workspace.log.picture(learning_curve(fitted.history), "learning_curve")
    shutil.rmtree(checkpoints)
    shutil.rmtree(mapped)
    return Trained(
        model_folder=str(sealed),
        digest=digest,
        learner=learner.name,
        validation={name: value for name, value in validation.items() if value == value},
        details=details,
    )


def _lookups(project: Project, workspace: Workspace) -> list[dict[str, Any]]:
    """What the model folder says of them: whoever has a row's key can look its values up."""
    from lakewright.data.features.joining import Lookup

    described = []
    for each in project.features:
        lookup = Lookup.of(workspace.lake, each.table, each.keys, each.values)
        table = lookup.table
        described.append(
            {
                "table": str(lookup.version),
                "keys": dict(lookup.keys),
                "values": dict(lookup.values),
                "event_time": table.event_time,
                "known_at": table.known_at,
                "ttl_seconds": None if table.ttl is None else table.ttl.total_seconds(),
            }
        )
    return described


def take_part(project: Project, workspace: Workspace, prepared: Prepared) -> None:
    """What a process beside the first one does: it learns with it, and leaves nothing."""
    LOG.setLevel(logging.ERROR)
    hide()
    project = as_prepared(project, prepared)
    task = plugins.TASKS.find(project.task.name).open(prepared.task)
    recipe = Recipe.open(Path(prepared.recipe))
    mapped = workspace.work / f"examples-{started()[0]}"
    examples, held = (
        examples_of(prepared, split, task, recipe, workspace, mapped / split) for split in ("train", "validation")
    )
    training = _training(project, workspace, prepared, task, recipe, examples, held)
    with joined(workspace.device) as (group, device):
        own = training.checkpoints  # the first one's, where it is a process of this machine
        if group.machine:
            own = own.with_name(f"{CHECKPOINTS}-{group.machine}")
        own.mkdir(parents=True, exist_ok=True)
        learner = plugins.LEARNERS.find(project.train.learner)
        learner.fit(replace(training, group=group, device=device, checkpoints=own))
    shutil.rmtree(mapped)
    if group.machine and group.first_here:
        shutil.rmtree(own)


def _training(
    project: Project,
    workspace: Workspace,
    prepared: Prepared,
    task: Task,
    recipe: Recipe,
    examples: Examples,
    held: Examples,
    files: Sequence[str] = (),
) -> Training[Any]:
    return Training(
        task=task,
        settings=project.train,
        recipe=recipe,
        train=examples,
        validation=held,
        unlabeled=examples_of(prepared, UNLABELED, task, recipe, workspace) if prepared.unlabeled_rows else None,
        folder=workspace.work / "model",
        checkpoints=workspace.work / CHECKPOINTS,
        base=project.folder,
        device=workspace.device,
        threads=workspace.threads,
        log=workspace.log,
        kinds=project.encoded_kinds,
        watch=workspace.watch,
        shared=workspace.shared,
        workers=workspace.profile.workers,
        files=files,
    )


def _to_start(project: Project, workspace: Workspace) -> int:
    """How many processes are to be started here; 1: none, as this one trains, alone or in a group that is there."""
    processes = workspace.profile.training.processes
    if processes == 1 or started()[1] > 1:
        return 1
    if workspace.watch is not None or not is_divided(project):  # a run refuses such a learner before it begins
        LOG.info("train: a search trains each model in one process; training.processes is for runs")
        return 1
    own_device(workspace.device, 0, processes)
    return processes


def _in_process(
    open_workspace: Callable[[], Workspace],
    run_id: str,
    work: Path,
    log: str | None,
    project: Project,
    prepared: Prepared,
) -> Trained | None:
    """One of the processes that `train` starts; the first one leaves what the stage leaves."""
    workspace = open_workspace().at_stage(run_id, work, None)
    if started()[0]:
        take_part(project, workspace, prepared)
        return None
    with log_into(workspace.run_folder.log, workspace):
        if attempt():
            LOG.warning("train: a training process died; all go on from the last checkpoint, attempt %d", attempt() + 1)
        with nullcontext() if log is None else workspace.tracking.beside(log) as of_stage:
            return train(project, replace(workspace, log=of_stage), prepared=prepared)


def examples_of(
    prepared: Prepared, split: str, task: Task, recipe: Recipe, workspace: Workspace, folder: Path | None = None
) -> Examples:
    """The examples of a split: in memory, or in files of the folder, which memory maps."""
    names = workspace.lake.scan(prepared.features).schema.names
    unread = {"record_id", "event_time", "split", "row"}
    columns = [name for name in names if name not in unread]
    if folder is None:
        table = read_split(workspace.lake, prepared.features, split, columns)
    else:
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        table = mapped_split(workspace.lake, prepared.features, split, columns, folder)
    rows = Objects(table["inputs"])
    encoded, targets = from_columns(table, task.level == "token", folder)
    if task.level == "token" and split != "train":
        encoded = recipe.encode(rows)  # decoding needs each piece's place in the text
    return Examples(
        encoded=encoded,
        targets=targets,
        weights=table["weight"].to_numpy().astype(np.float32),
        rows=rows,
        truths=Objects(table["truth"]),
        parts=table["part"].to_numpy() if "part" in names and not table["part"].null_count else None,
    )
