"""Candidates of a search as an ordinary project: its file, the rows as its recipe reads them, and the race's networks
where its training finds them."""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from types import MappingProxyType
from typing import Any, cast

from lakewright import plugins
from lakewright.errors import TrainingError
from lakewright.learning.members import member_of
from lakewright.learning.planning import as_prepared
from lakewright.model.recipe import Recipe
from lakewright.pipeline import Watch, executed, skipping, stage_named, step_of
from lakewright.racing.on_workers import OnWorkers
from lakewright.racing.portfolio import VECTORS, learner_of
from lakewright.racing.processes import Processes
from lakewright.racing.race import Candidate
from lakewright.racing.shared import Shared
from lakewright.racing.units import unit_folder
from lakewright.racing.vectors import Vectors, recipe_of, with_steps
from lakewright.records import Prepared, Record
from lakewright.settings.edited import edited
from lakewright.settings.project import Project, changed
from lakewright.settings.sections import AutoML
from lakewright.settings.yamlfile import Key, value_of
from lakewright.system.files import write_whole
from lakewright.workspace import Workspace


@dataclass(frozen=True, eq=False)
class Work:
    """A search that is under way."""

    project: Project  # as it was named
    base: Project  # the same with the learner `ensemble`
    vectors: Vectors
    settings: AutoML
    learners: Sequence[str]
    workspace: Workspace
    folder: Path
    run_id: str
    watch: Watch
    pool: Callable[[], Processes | OnWorkers] | None = None  # of a race; None: nothing is trained

    def recipe_for(self, members: Sequence[Candidate]) -> dict[str, dict[str, Any]]:
        """The steps that read the texts for these members, as `prepare.recipe` names them: a model would compute any
        other for every row, and for nothing. Empty where no member reads vectors: its learners' own steps are right."""
        if not self.vectors.made:
            return {}
        read = set[str]()
        for each in members:
            own = plugins.LEARNERS.find(each.learner).reads["text"]
            read |= {own, VECTORS} - {*each.settings.get("without", ())}
        steps = recipe_of(self.base, self.vectors)
        return {name: step for name, step in steps.items() if name in read} if VECTORS in read else {}


def prepare_rows(
    project: Project,
    workspace: Workspace,
    run_id: str,
    watch: Watch,
    stages: Sequence[str],
    before: Mapping[str, Record] = MappingProxyType({}),
) -> dict[str, Record]:
    records = {**before}
    for name in stages:
        began, stage = time.monotonic(), stage_named(name)
        step = step_of(stage, project, workspace, records)
        if not step.skip:
            watch(name, "run", step.why)
        records[name] = executed(stage, step, project, workspace, run_id, records)
        took = f"in {time.monotonic() - began:.1f} s"
        watch(name, "skipped" if step.skip else "done", step.why if step.skip else took)
    return records


def as_project(
    work: Work,
    records: Mapping[str, Record],
    members: Sequence[Candidate],
    weights: Sequence[float],
    folds: int,
) -> tuple[Project, dict[str, Record]]:
    """The project of these candidates and the records of its rows, with the race's networks where its training finds
    them. Its recipe has the steps that they read."""
    recipe = work.recipe_for(members)
    train = train_of(members, weights, folds, recipe)
    base = with_steps(work.base, recipe)
    if work.vectors.made and len(recipe) < len(recipe_of(work.base, work.vectors)):
        records = prepare_rows(
            base, work.workspace, work.run_id, work.watch, ("prepare",), {"ingest": records["ingest"]}
        )
        _check_columns(work, members, cast(Prepared, records["prepare"]), base)
    best = changed(base, {f"train.{name}": value for name, value in train.items()})
    _bring_networks(best, members, folds, records, work.workspace, work.folder)
    return best, dict(records)


def _check_columns(work: Work, members: Sequence[Candidate], narrow: Prepared, base: Project) -> None:
    """Raises TrainingError where a network would read other columns of a recipe with fewer steps than it learned
    from."""
    shared = Shared.open(work.folder / "shared").training(work.folder)
    own = replace(shared, recipe=Recipe.open(Path(narrow.recipe)), kinds=as_prepared(base, narrow).encoded_kinds)
    steps = {step.name for step in own.recipe.steps}
    for each in members:
        settings, without = learner_of(each.settings)
        kept = [name for name in without if name in steps]
        before = member_of(each.number, settings, shared, without).recipe.columns
        if before != member_of(each.number, settings, own, kept).recipe.columns:
            raise TrainingError(
                f"candidate {each.number} learned from other columns than those of {narrow.recipe}",
                "report this: it is a fault of ours",
            )


def write_project(work: Work, train: Mapping[str, Any], recipe: Mapping[str, Any]) -> None:
    """best.yml: the project's own file with the section `train`, these steps more, and what overrode it."""
    overrides = [setting.partition("=") for setting in work.project.overrides]
    kept: dict[Key, Any] = {tuple(name.strip().split(".")): value_of(text) for name, _, text in overrides}
    kept = {key: value for key, value in kept.items() if key[0] not in ("train", "automl")}
    text = work.project.path.read_text(encoding="utf-8")
    steps: dict[Key, Any] = {("prepare", "recipe", name): step for name, step in recipe.items()}
    write_whole(work.folder / "best.yml", edited(text, kept | {("train",): dict(train)} | steps))


def train_of(
    members: Sequence[Candidate], weights: Sequence[float], folds: int, recipe: Collection[str]
) -> dict[str, Any]:
    """The section train of these candidates as one model; `recipe`: the steps that it names for their texts."""
    train = {
        "learner": "ensemble",
        "members": [{key: value for key, value in each.settings.items() if key != "without"} for each in members],
        "weights": [round(weight, 6) for weight in weights],
        "folds": 0 if folds == 1 else folds,
    }
    without = [[name for name in each.settings.get("without", []) if name in recipe] for each in members]
    return train | ({"without": without} if recipe else {})


def _bring_networks(
    best: Project,
    members: Sequence[Candidate],
    folds: int,
    records: Mapping[str, Record],
    workspace: Workspace,
    folder: Path,
) -> None:
    """Puts the race's networks where the learner `ensemble` finds those that are trained."""
    step = step_of(stage_named("train"), best, workspace, records)
    if step.skip:
        return
    work = skipping.work_folder(workspace, "train", step.key)
    checkpoints = work / "checkpoints"
    for number, candidate in enumerate(members, start=1):
        for fold in range(folds):
            place = checkpoints / f"{number}_{candidate.learner}_{fold}"
            shutil.rmtree(place, ignore_errors=True)
            shutil.copytree(unit_folder(folder, candidate.number, fold), place, copy_function=_link)
    write_whole(work / skipping.BROUGHT, "the search trained its networks")


def _link(source: str, target: str) -> None:
    try:
        os.link(source, target)
    except OSError:  # another disk, or a disk without links
        shutil.copy2(source, target)
