"""The features table: its rows encoded part by part, each part into one file, wherever the workers are."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from lakewright.data.lake.parts import Shape, Written, write
from lakewright.data.lake.portions import Portion
from lakewright.data.lake.types import cast, storable, within_years
from lakewright.data.rows.columns import as_times
from lakewright.data.rows.lost import Shortfalls
from lakewright.data.rows.splits import SPLITS, Method
from lakewright.learning.examples import as_columns
from lakewright.learning.planning import encoded
from lakewright.learning.recipes import FittedRecipe
from lakewright.model.recipe import Recipe

if TYPE_CHECKING:
    from lakewright.data.lake.parts import Part
    from lakewright.data.rows.reading import Reading
    from lakewright.model.recipe import Encoding
    from lakewright.model.tasks import Task
    from lakewright.settings.sections import Columns
    from lakewright.system.progress import Advance

OPENING = threading.Lock()  # some workers are threads of one process


@dataclass(frozen=True, eq=False)
class Decided:
    """What was decided of rows, [rows] each."""

    split: npt.NDArray[np.int8]
    parts: npt.NDArray[np.int16]
    weights: npt.NDArray[np.float32]
    times: npt.NDArray[np.int32]  # copies of the row; 0: none

    def of(self, part: Part) -> Decided:
        rows = slice(part.first, part.first + part.rows)
        return Decided(self.split[rows], self.parts[rows], self.weights[rows], self.times[rows])


@dataclass(frozen=True, eq=False)
class Done:
    file: Written | None  # None: no row of the part stays
    schema: pa.Schema | None
    host: str
    shortfalls: Shortfalls = field(default_factory=Shortfalls)


@dataclass(eq=False)
class Features:
    """Encodes parts. Sent to another process, it opens the recipe there."""

    reading: Reading  # without a lake
    shape: Shape
    task: Task
    recipe: Callable[[], Path]  # its folder, on the machine that computes
    folds: Mapping[int, tuple[Encoding, ...]]  # as in FittedRecipe
    columns: Columns
    method: Method
    opened: FittedRecipe | None = None

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "opened": None}

    @property
    def fitted(self) -> FittedRecipe:
        with OPENING:
            if self.opened is None:
                self.opened = FittedRecipe(Recipe.open(self.recipe()), np.empty(0, np.int32), self.folds)
        return self.opened

    def __call__(self, portion: Portion[Decided], advance: Advance | None) -> Done:
        shortfalls = Shortfalls()
        batches = self._batches(portion, shortfalls, advance)
        first = next(batches, None)
        if first is None:
            return Done(None, None, socket.gethostname(), shortfalls)
        schema = storable(first.schema)

        def fitting() -> Iterator[pa.RecordBatch]:
            yield cast(first, schema)
            for batch in batches:
                yield cast(batch, schema)

        assert portion.target is not None
        file = write(within_years(fitting()), schema, portion.target)
        return Done(file, schema, socket.gethostname(), shortfalls)

    def _batches(
        self, portion: Portion[Decided], shortfalls: Shortfalls, advance: Advance | None
    ) -> Iterator[pa.RecordBatch]:
        columns, splits, given = self.columns, pa.array(SPLITS), portion.decided
        reading = self.reading.of_part(portion.part, self.shape, portion.source, advance).only(given.times > 0)
        for batch, made, targets in encoded(reading, self.task, self.fitted, given.split, given.parts, shortfalls):
            here = batch.rows - portion.part.first
            ids = batch.table[columns.id].to_pylist() if columns.id else batch.rows.tolist()
            no_time, no_part = pa.nulls(len(here), pa.timestamp("us", "UTC")), pa.nulls(len(here), pa.int16())
            table = pa.table(
                {
                    "record_id": pa.array(map(str, ids), pa.string()),
                    "event_time": as_times(batch.table[columns.event_time]) if columns.event_time else no_time,
                    "split": splits.take(pa.array(given.split[here])),
                    "row": pa.array(batch.rows),
                    "inputs": batch.task_columns.drop_columns("truth").to_struct_array(),
                    "truth": batch.task_columns["truth"],
                    **as_columns(made, targets),
                    "weight": pa.array(given.weights[here]),
                    # of a split by time a fold could show a learner the truth of later rows
                    "part": no_part if self.method == "time" else pa.array(given.parts[here]),
                }
            )
            if (given.times[here] > 1).any():
                table = table.take(pa.array(np.repeat(np.arange(len(here)), given.times[here])))
            yield from table.combine_chunks().to_batches()
