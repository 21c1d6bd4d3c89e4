"""The examples of a search as files, which every process of it maps into memory: rows are held once for all."""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from lakewright import plugins
from lakewright.data.rows.objects import Objects
from lakewright.learning.learners import Examples, Training
from lakewright.model.recipe import Recipe
from lakewright.model.recipe.encoded import Encoded
from lakewright.model.recipe.ragged import Ragged
from lakewright.system import jsonfile
from lakewright.system.files import write_whole

if TYPE_CHECKING:
    from lakewright.data.rows.kinds import Kind
    from lakewright.model.tasks import Task

ARRAYS = ("columns", "targets", "weights", "parts", "ids", "offsets", "terms")


@dataclass(frozen=True, eq=False)
class Shared:
    """Rows that a search learns from and is judged by, without their texts: those of train, then of validation."""

    task: Task
    recipe: Recipe
    kinds: dict[str, Kind]  # of the inputs that the recipe's encodings read
    examples: Examples
    train: int  # rows of train

    @classmethod
    def open(cls, folder: Path) -> Self:
        return _opened(str(folder))  # type: ignore[return-value]

    def training(self, folder: Path) -> Training[Any]:
        """For one thread, without rows: whoever trains puts them in."""
        return Training(
            task=self.task,
            settings=None,
            recipe=self.recipe,
            train=self.examples,
            validation=self.examples,
            folder=folder,
            checkpoints=folder,
            base=folder,
            device="cpu",
            threads=1,
            kinds=self.kinds,
        )


def save(task: Task, recipe: Path, kinds: dict[str, Kind], examples: Examples, train: int, folder: Path) -> None:
    """Writes the examples of `train` rows and of validation after them; `recipe` is the recipe's folder."""
    encoded = examples.encoded
    arrays: dict[str, NDArray[Any] | None] = {
        "columns": encoded.columns,
        "targets": examples.targets.values.reshape(len(examples), -1),
        "weights": examples.weights,
        "parts": examples.parts,
    }
    if encoded.weights is not None:
        arrays |= {"ids": encoded.ids.values, "offsets": encoded.ids.offsets, "terms": encoded.weights.values}
    folder.mkdir(parents=True, exist_ok=True)
    for name, values in arrays.items():
        if values is not None:
            np.save(folder / f"{name}.npy", values)
    described = {"task": task.describe(), "recipe": str(recipe), "kinds": kinds, "train": train, "rows": len(examples)}
    write_whole(folder / "shared.json", jsonfile.text(described))


@lru_cache(maxsize=1)
def _opened(folder: str) -> Shared:
    place = Path(folder)
    described = json.loads((place / "shared.json").read_text(encoding="utf-8"))
    arrays = {
        name: np.load(place / f"{name}.npy", mmap_mode="r") for name in ARRAYS if (place / f"{name}.npy").exists()
    }
    rows = described["rows"]
    if "ids" in arrays:
        ids = Ragged(arrays["ids"], arrays["offsets"])
        encoded = Encoded(ids, weights=Ragged(arrays["terms"], arrays["offsets"]), columns=arrays.get("columns"))
    else:
        encoded = Encoded.of_columns(arrays["columns"])
    targets = arrays["targets"]
    nothing = Objects(pa.chunked_array([pa.nulls(rows)]))
    examples = Examples(
        encoded=encoded,
        targets=Ragged(targets.reshape(-1), np.arange(rows + 1) * targets.shape[1]),
        weights=arrays["weights"],
        rows=nothing,
        truths=nothing,
        parts=arrays.get("parts"),
    )
    task = plugins.TASKS.find(described["task"]["name"]).open(described["task"])
    return Shared(task, Recipe.open(Path(described["recipe"])), described["kinds"], examples, described["train"])
