"""The glass box: what a search did, as code that people run and change without Lakewright.

automl/NAME/notebooks/
  exploration/             profile.html and profile.ipynb of the table
  data.parquet, folds.parquet   the rows of train and validation: inputs; truth, weight, fold
  features.parquet, terms.parquet   columns and terms that no plain code makes, where candidates read them
  NNN_learner.py           each complete candidate as a script, …
  NNN_learner.ipynb        as a notebook of Jupyter, …
  databricks/NNN_learner.py  and of Databricks
  NNN_encoder.parquet      the rows of an encoder's script
  leaderboard.html
"""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import numpy as np

from lakewright.errors import LakewrightError
from lakewright.learning.examples import read_split
from lakewright.learning.learners.mlp import BEST_EPOCH
from lakewright.learning.members import member_of
from lakewright.model.trees import Trees
from lakewright.racing import units
from lakewright.racing.fine_tuning import records_of
from lakewright.racing.glass_box.encoder_script import encoder_cells, write_rows
from lakewright.racing.glass_box.encoding import encoding_of
from lakewright.racing.glass_box.notebooks import write_databricks, write_notebook, write_script
from lakewright.racing.glass_box.rows import inputs_of
from lakewright.racing.glass_box.scripts import LEARNERS, Cell, Subject, cells
from lakewright.racing.judging import SOURCE
from lakewright.racing.portfolio import learner_of
from lakewright.racing.shared import Shared
from lakewright.racing.units import unit_folder
from lakewright.records import Prepared, Trained

if TYPE_CHECKING:
    from lakewright.racing.leaderboard import Entry
    from lakewright.racing.project_search import Recommended
    from lakewright.settings.project import Project
    from lakewright.workspace import Workspace


@dataclass(frozen=True)
class GlassBox:
    folder: Path
    page: Path
    exploration: Path | None  # a notebook; None: the notes say why not
    scripts: Mapping[int, Path] = field(default_factory=dict)  # candidate → its script
    notebooks: Mapping[int, Path] = field(default_factory=dict)
    notes: Sequence[str] = ()  # what has no notebook, and why
    seconds: float = 0.0

    def as_json(self) -> dict[str, Any]:
        return {
            "folder": str(self.folder),
            "page": str(self.page),
            "exploration": None if self.exploration is None else str(self.exploration),
            "scripts": {number: str(path) for number, path in self.scripts.items()},
            "notebooks": {number: str(path) for number, path in self.notebooks.items()},
            "notes": [*self.notes],
            "seconds": round(self.seconds, 1),
        }


def write(project: Project, found: Recommended, workspace: Workspace, profile: str | None) -> GlassBox:
    """Writes all of it anew; `profile` is the name of the workspace's profile."""
    from lakewright.pages.automl import write_page
    from lakewright.racing.glass_box.exploration import explore

    began = time.monotonic()
    folder = found.folder / "notebooks"
    shutil.rmtree(folder, ignore_errors=True)
    (folder / "databricks").mkdir(parents=True)
    shared = Shared.open(found.folder / "shared")
    scripts: dict[int, Path] = {}
    notebooks: dict[int, Path] = {}
    notes: list[str] = []
    files: set[int] = set()
    sequences = False
    complete = [entry for entry in found.entries if entry.complete]
    for entry in complete:
        if entry.source == SOURCE:
            name = f"{entry.number:03d}_{entry.learner}"
            own, records = records_of(project, entry.settings, workspace)
            if "train" not in records:
                notes.append(f"candidate {entry.number} has no script: its model is gone")
                continue
            prepared, trained = cast(Prepared, records["prepare"]), cast(Trained, records["train"])
            write_rows(prepared, workspace, folder / f"{name}.parquet")
            parts = encoder_cells(found.name, entry, own, prepared, trained, workspace.threads)
            scripts[entry.number], notebooks[entry.number] = _write_cells(parts, folder, name)
            continue
        if entry.learner not in LEARNERS:
            continue
        settings, without = learner_of(entry.settings)
        member = member_of(entry.number, settings, shared.training(folder), without)
        encoding = encoding_of(shared.recipe, member)
        names = [column.name for column in member.recipe.columns]
        subject = _subject(entry, found, shared, settings.model_dump(mode="json"), names)
        if not all(subject.epochs):
            notes.append(f"candidate {entry.number} has no script: an older Lakewright trained its networks")
            continue
        parts = cells(subject, shared.task, encoding)
        name = f"{entry.number:03d}_{entry.learner}"
        scripts[entry.number], notebooks[entry.number] = _write_cells(parts, folder, name)
        files |= {*encoding.features}
        sequences |= encoding.sequences
    _write_rows(found, shared, workspace, folder, sorted(files), sequences)
    for path in folder.glob("*.parquet"):  # a notebook of Databricks looks beside itself, too
        _link(path, folder / "databricks" / path.name)
    exploration = None
    try:
        exploration = explore(project, cast(Prepared, found.run.records["prepare"]), workspace, profile, folder)
    except LakewrightError as failure:  # the search has ended, and its model stands
        notes.append(f"the data exploration was not written: {failure.cause}; {failure.remedy}")
    missing = sorted({entry.learner for entry in complete if entry.learner not in LEARNERS and entry.source != SOURCE})
    notes += [f"candidates of {name} have no script: only Lakewright trains them" for name in missing]
    page = folder / "leaderboard.html"
    write_page(found.as_json(), [entry.as_json() for entry in found.entries], page)
    workspace.send()
    return GlassBox(folder, page, exploration, scripts, notebooks, notes, time.monotonic() - began)


def _write_cells(cells: Sequence[Cell], folder: Path, name: str) -> tuple[Path, Path]:
    """The script and the notebook; a notebook of Databricks lies below."""
    script, notebook = folder / f"{name}.py", folder / f"{name}.ipynb"
    write_script(cells, script)
    write_notebook(cells, notebook)
    write_databricks(cells, folder / "databricks" / f"{name}.py")
    return script, notebook


def _subject(
    entry: Entry, found: Recommended, shared: Shared, settings: dict[str, Any], columns: Sequence[str]
) -> Subject:
    folds = range(found.found.folds)
    trees: list[int] = []
    bases: list[list[float]] = []
    epochs: list[int] = []
    if entry.learner == "mlp":
        epochs = [_best_epoch(unit_folder(found.folder, entry.number, fold)) for fold in folds]
    if entry.learner in ("trees", "xgboost"):
        classes = shared.task.outputs if shared.task.truth == "class" and shared.task.outputs > 2 else 1
        for fold in folds:
            grown = Trees.open(unit_folder(found.folder, entry.number, fold) / "model.safetensors")
            trees.append(len(grown.root) // classes)
            bases.append(grown.base.tolist())
    return Subject(
        found.name, entry.number, entry.learner, settings, entry.why, entry.metrics, found.found.folds, trees, bases,
        epochs, columns,
    )  # fmt: skip


def _best_epoch(folder: Path) -> int:
    from safetensors import safe_open

    with safe_open(folder / "model.safetensors", "numpy") as file:
        return int((file.metadata() or {}).get(BEST_EPOCH, 0))


def _write_rows(
    found: Recommended, shared: Shared, workspace: Workspace, folder: Path, files: Sequence[int], sequences: bool
) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    prepared = found.prepared
    splits = [
        read_split(workspace.lake, prepared.features, split, ["inputs", "truth"]) for split in ("train", "validation")
    ]
    rows = pa.concat_tables(splits)
    pq.write_table(pa.table(inputs_of(rows)), folder / "data.parquet")
    fold = np.full(rows.num_rows, -1, np.int16)
    for number in range(found.found.folds):
        fold[units.rows_of(shared, number, found.found.folds)[1]] = number
    weights = np.asarray(shared.examples.weights)
    pq.write_table(pa.table({"truth": rows["truth"], "weight": weights, "fold": fold}), folder / "folds.parquet")
    encoded = shared.examples.encoded
    if files and encoded.columns is not None:
        table = {str(place): np.ascontiguousarray(encoded.columns[:, place]) for place in files}
        pq.write_table(pa.table(table), folder / "features.parquet")
    if sequences and encoded.weights is not None:
        offsets = pa.array(np.asarray(encoded.ids.offsets), pa.int64())
        lists = {"ids": encoded.ids.values, "weights": encoded.weights.values}
        columns = {name: pa.LargeListArray.from_arrays(offsets, np.asarray(values)) for name, values in lists.items()}
        pq.write_table(pa.table(columns), folder / "terms.parquet")


def _link(path: Path, other: Path) -> None:
    try:
        os.link(path, other)
    except OSError:  # a disk without links
        shutil.copy2(path, other)
