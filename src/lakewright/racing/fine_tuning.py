"""Encoders that a search fine-tunes: each is trained once on train, as a project of its own, and judged on validation.

A short start on a few rows shows what an epoch costs. How many layers and epochs are trained follows from the time that
is left, and an encoder that does not fit is not begun. What was chosen lies in the search's folder before training
begins, so that a search that was killed goes on with the same training, from its last checkpoint.

automl/NAME/fine_tuned/
  start.json       what the short start showed
  NNN/plan.json    the section `train`, and the estimate
  NNN/outcome.json how long it took, and why it failed if it did
  NNN/held.npy     what it predicts of validation
"""

from __future__ import annotations

import json
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import numpy as np
from numpy.typing import NDArray

from lakewright import plugins
from lakewright.errors import LakewrightError, TrainingError
from lakewright.learning.learners import Training
from lakewright.learning.planning import as_prepared
from lakewright.model.predictor import Predictor
from lakewright.model.recipe import Recipe
from lakewright.model.tasks.classification import softmax
from lakewright.pipeline import check, executed, stage_named, step_of
from lakewright.pipeline.stages.train import examples_of
from lakewright.records import Prepared, Record, Trained
from lakewright.settings.project import Project, changed
from lakewright.system import jsonfile
from lakewright.system.files import whole, write_whole

if TYPE_CHECKING:
    from lakewright.learning.learners import Examples
    from lakewright.workspace import Workspace

FAILURES = (LakewrightError, ImportError, MemoryError, RuntimeError, ValueError)  # of a candidate, not of the search
FIRST = 901  # the number of the first: the race's candidates have lower ones
START, PLAN, OUTCOME, HELD = "start.json", "plan.json", "outcome.json", "held.npy"
SAMPLE_TOKENS, LEAST_ROWS, MOST_ROWS = 3000, 16, 96  # of train, in the short start; a third of it of validation
PASSES = 8  # forward passes over validation behind the epochs: between start and end, int8
FORWARD = 1 / 3  # of a step's time, about
TOP_LAYERS = 2
LEAST_OF_TOP = 0.5  # of a pass over all layers: an epoch of the top ones takes more
RATE_OF_TOP = 8e-4  # for a hidden size of 384 (examples/banking77)
SERVES = ("pooling", "bf16", "quantize")
SLACK = 1.3  # a training may take so much longer than its estimate


@dataclass(frozen=True, eq=False)
class FineTuned:
    """An encoder that was trained; or, with `failure`, was not."""

    number: int
    settings: Mapping[str, Any]  # the section `train`
    seconds: float = 0.0
    failure: str = ""  # why there is none, or why it was not begun
    project: Project | None = None
    records: Mapping[str, Record] = field(default_factory=dict)  # of ingest, prepare and train
    held: NDArray[np.float64] = field(default_factory=lambda: np.empty((0, 0)))  # [rows of validation, outputs]


@dataclass(frozen=True)
class Start:
    """What a short start showed."""

    token: float  # seconds, of one in an epoch over all layers
    once: float  # seconds, whatever is trained
    rows: int  # of train
    train: float  # tokens
    validation: float


class _Overran(TrainingError):
    pass


def missing_packages() -> str:
    """What an encoder needs and is not installed; empty if nothing."""
    lacking = [name for name in ("torch", "transformers") if find_spec(name) is None]
    return " and ".join(lacking)


def fine_tune(
    plain: Project, base_model: str, workspace: Workspace, folder: Path, run_id: str, left: float
) -> tuple[list[FineTuned], bool]:
    """The encoders for which `left` seconds are enough, and those of earlier attempts, whose time counts; and whether
    Ctrl-C ended it. `plain` is the project that is searched. A training that fails is an outcome."""
    home, began = folder / "fine_tuned", time.monotonic()
    done: list[FineTuned] = []
    try:
        for number in _planned(home):
            done.append(_resumed(plain, home / f"{number}", workspace, run_id, left))
            left -= done[-1].seconds
        began = time.monotonic()
        own = _project(plain, encoder_of(plain, base_model))
        for number, layers in _numbered(done):
            begun = time.monotonic()
            start = _started(home, own, workspace, run_id)
            settings, estimate = _plan(layers, start, own, left - (time.monotonic() - began))
            if not settings:
                why = f"not begun: {estimate}"
                done.append(FineTuned(number, _settings(layers, own), time.monotonic() - begun, why))
                continue
            place = home / f"{number}"
            place.mkdir(parents=True, exist_ok=True)
            write_whole(place / PLAN, jsonfile.text({"train": settings, "estimate": estimate}))
            done.append(_resumed(plain, place, workspace, run_id, left - (time.monotonic() - began)))
    except FAILURES as failure:
        done += [_failed(plain, base_model, number, failure) for number, _ in _numbered(done)[:1]]
    except KeyboardInterrupt:
        return done, True
    return done, False


def out_of_reach(plain: Project, base_model: str, rows: int, seconds: float, left: float) -> list[FineTuned]:
    """An entry that says so, where no encoder of `rows` rows of train can end in `left` seconds, and nothing needs to
    be tried to see it: a pass over train takes `seconds` a row, and half of the epochs are the least."""
    try:
        own = _project(plain, encoder_of(plain, base_model))
    except FAILURES as failure:
        return [_failed(plain, base_model, FIRST, failure)]
    epochs = int(np.ceil(own.train.epochs(rows) / 2))  # type: ignore[attr-defined]
    least = rows * seconds * (1 + epochs * LEAST_OF_TOP)
    if least <= left:
        return []
    why = f"not begun: {epochs} epochs of {rows:,} rows take more than {least:.0f} s, and it could have {left:.0f} s"
    return [FineTuned(FIRST, _settings("all", own), failure=why)]


def records_of(plain: Project, settings: Mapping[str, Any], workspace: Workspace) -> tuple[Project, dict[str, Record]]:
    """The project of an encoder that was trained, and its records: none of train where the record is gone."""
    project = _project(plain, settings)
    records: dict[str, Record] = {}
    for name in ("ingest", "prepare", "train"):
        step = step_of(stage_named(name), project, workspace, records)
        if step.record is None:
            break
        records[name] = step.record
    return project, records


def _numbered(done: Sequence[FineTuned]) -> list[tuple[int, str]]:
    """The encoders that are left to try: the number, and the layers that are trained."""
    known = {each.number for each in done}
    return [(number, layers) for number, layers in enumerate(("all", "top"), start=FIRST) if number not in known]


def _failed(plain: Project, base_model: str, number: int, failure: Exception) -> FineTuned:
    return FineTuned(number, encoder_of(plain, base_model), failure=_why(failure))


def _planned(home: Path) -> list[int]:
    return sorted(int(path.parent.name) for path in home.glob(f"*/{PLAN}"))


def encoder_of(plain: Project, base_model: str) -> dict[str, Any]:
    """What is not searched of an encoder: its base model, and its form, as the project has it if it names one."""
    own = plain.train.model_dump(mode="json", include=plain.train.model_fields_set & {*SERVES})
    return {"learner": "encoder", "base_model": base_model, "quantize": "static", **own}  # static: in seconds


def _project(plain: Project, settings: Mapping[str, Any]) -> Project:
    """With these settings of `train` alone: another learner between takes the project's own away."""
    other = changed(plain, {"train.learner": "linear"})
    project = changed(other, {f"train.{name}": value for name, value in settings.items()})
    check(project)
    return project


def _prepared(project: Project, workspace: Workspace, run_id: str) -> dict[str, Record]:
    records: dict[str, Record] = {}
    for name in ("ingest", "prepare"):
        step = step_of(stage_named(name), project, workspace, records)
        records[name] = executed(stage_named(name), step, project, workspace, run_id, records, f"{name} of encoders")
    return records


def _training(project: Project, prepared: Prepared, workspace: Workspace) -> Training[Any]:
    """With the rows of train and validation, and no folder yet."""
    project = as_prepared(project, prepared)
    task, recipe = plugins.TASKS.find(project.task.name).open(prepared.task), Recipe.open(Path(prepared.recipe))
    train, validation = (examples_of(prepared, split, task, recipe, workspace) for split in ("train", "validation"))
    nowhere = Path()
    return Training(
        task, project.train, recipe, train, validation, nowhere, nowhere, project.folder, workspace.device,
        workspace.threads, kinds=project.encoded_kinds,
    )  # fmt: skip


def _started(home: Path, project: Project, workspace: Workspace, run_id: str) -> Start:
    """What the short start showed, now or in an earlier attempt."""
    if not (home / START).exists():
        records = _prepared(project, workspace, run_id)
        start = _short_start(_training(project, cast(Prepared, records["prepare"]), workspace))
        write_whole(home / START, jsonfile.text(asdict(start)))
    return Start(**_read(home / START))


def _short_start(training: Training[Any]) -> Start:
    """Trains all layers on a few rows for two epochs: the second shows what a token costs, the rest what comes once."""
    train, validation = _some(training.train, SAMPLE_TOKENS), _some(training.validation, SAMPLE_TOKENS / 3)
    settings = training.settings.model_copy(update={"num_train_epochs": 2.0, "early_stopping_patience": None})
    at = [time.monotonic()]
    with tempfile.TemporaryDirectory(prefix="lakewright-start-") as scratch:
        short = replace(
            training, settings=settings, train=train, validation=validation, folder=Path(scratch) / "model",
            checkpoints=Path(scratch), watch=lambda *_: at.append(time.monotonic()),
        )  # fmt: skip
        short.folder.mkdir()
        plugins.LEARNERS.find(settings.learner).fit(short)
    at.append(time.monotonic())
    epoch = at[2] - at[1] if len(at) == 4 else (at[-1] - at[0]) / 2
    tokens = _tokens(train) + FORWARD * _tokens(validation)
    once = max(0.0, at[-1] - at[0] - 2 * epoch)
    return Start(epoch / tokens, once, len(training.train), _tokens(training.train), _tokens(training.validation))


def _some(examples: Examples, tokens: float) -> Examples:
    rows = int(np.clip(tokens / max(1.0, _tokens(examples) / len(examples)), LEAST_ROWS, MOST_ROWS))
    return examples.take(np.unique(np.linspace(0, len(examples) - 1, rows).astype(np.int64)))


def _tokens(examples: Examples) -> float:
    return float(examples.encoded.lengths.sum())


def _plan(layers: str, start: Start, project: Project, left: float) -> tuple[dict[str, Any], str]:
    """The section `train` of an encoder that ends in time, and the estimate; empty, with the reason, if none does."""
    wanted = project.train.epochs(start.rows)  # type: ignore[attr-defined]
    share = 1.0 if layers == "all" else _share_of_top(project)
    train, validation = start.train * start.token, start.validation * start.token
    epoch = share * train + FORWARD * validation
    once = start.once + FORWARD * (train + PASSES * validation)
    epochs = int(min(wanted, (left - once) / max(epoch, 1e-9)))
    least = int(np.ceil(wanted / 2))
    if epochs < least:
        return {}, f"{least} epochs of {start.rows:,} rows take about {once + least * epoch:.0f} s, and " + (
            f"{max(left, 0):.0f} s are left"
        )
    return _settings(layers, project) | {"num_train_epochs": epochs}, f"about {once + epochs * epoch:.0f} s"


def _settings(layers: str, project: Project) -> dict[str, Any]:
    settings: dict[str, Any] = project.train.model_dump(mode="json", include=project.train.model_fields_set)
    if layers == "top":
        rate = RATE_OF_TOP * 384 / _described(project).get("hidden_size", 384)
        settings |= {"train_layers": TOP_LAYERS, "learning_rate": round(rate, 8), "dropout": 0.0}
    return settings


def _share_of_top(project: Project) -> float:
    """Of an epoch's time, if only the top layers are trained and what is below them is computed once."""
    described = _described(project)
    count = next((described[key] for key in ("num_hidden_layers", "n_layers") if key in described), TOP_LAYERS)
    return min(1.0, 1.25 * TOP_LAYERS / count)


def _described(project: Project) -> dict[str, Any]:
    from lakewright.learning.learners.encoder.base import base_folder

    path = base_folder(project.train.base_model, project.folder) / "config.json"  # type: ignore[attr-defined]
    described: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return described


def _resumed(plain: Project, place: Path, workspace: Workspace, run_id: str, left: float) -> FineTuned:
    """The planned training, which goes on where an earlier attempt ended."""
    number = int(place.name)
    planned = json.loads((place / PLAN).read_text(encoding="utf-8"))
    outcome = _read(place / OUTCOME)
    earlier = float(outcome.get("seconds", 0.0))
    if outcome.get("failure"):
        return FineTuned(number, planned["train"], earlier, outcome["failure"])
    began = time.monotonic()

    def spent() -> float:
        return earlier + time.monotonic() - began

    def note(epoch: float, _: float) -> None:
        write_whole(place / OUTCOME, jsonfile.text({"seconds": spent()}))
        if spent() > SLACK * left:
            raise _Overran(
                f"ended after epoch {epoch:g}: it took {spent():.0f} s, longer than its short start showed",
                "give the search more minutes",
            )

    failure, held = "", np.empty((0, 0))
    project, records = _project(plain, planned["train"]), dict[str, Record]()
    try:
        records |= _prepared(project, workspace, run_id)
        records["train"] = _trained(project, records, replace(workspace, watch=note), run_id, number)
        held = _held(place, cast(Prepared, records["prepare"]), cast(Trained, records["train"]), project, workspace)
    except _Overran as error:  # with more minutes it goes on
        return FineTuned(number, planned["train"], spent(), error.cause)
    except FAILURES as error:
        failure = _why(error)
    seconds = earlier if outcome.get("done") else spent()
    write_whole(place / OUTCOME, jsonfile.text({"seconds": seconds, "done": not failure, "failure": failure}))
    return FineTuned(number, planned["train"], seconds, failure, project, records, held)


def _trained(project: Project, records: Mapping[str, Record], workspace: Workspace, run_id: str, number: int) -> Record:
    step = step_of(stage_named("train"), project, workspace, records)
    return executed(stage_named("train"), step, project, workspace, run_id, records, f"candidate {number}")


def _held(
    place: Path, prepared: Prepared, trained: Trained, project: Project, workspace: Workspace
) -> NDArray[np.float64]:
    """[rows, outputs] Probabilities of classes, or numbers."""
    kept = place / HELD
    if kept.exists():
        return cast("NDArray[np.float64]", np.load(kept))
    predictor = Predictor.open(Path(trained.model_folder), threads=workspace.threads)
    rows = examples_of(prepared, "validation", predictor.task, predictor.recipe, workspace)
    logits = np.stack(predictor.logits(rows.encoded))
    values = softmax(logits) if predictor.task.truth == "class" else logits.astype(np.float64)
    with whole(kept) as draft, draft.open("wb") as file:
        np.save(file, values)
    return values


def _why(failure: Exception) -> str:
    if isinstance(failure, LakewrightError):
        return f"{failure.cause}; {failure.remedy}"
    return f"{type(failure).__name__}: {failure}"


def _read(path: Path) -> dict[str, Any]:
    return json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
