"""A table's rows encoded part by part, wherever the workers are: into the files of the features table, or only to see
what is lost of them."""

from __future__ import annotations

import socket
import tempfile
import threading
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from lakewright.data.lake.parts import Written
from lakewright.data.lake.portions import Portion, Portions
from lakewright.data.lake.types import cast, storable, within_years
from lakewright.data.rows.choosing import LEFT_OUT, Chosen
from lakewright.data.rows.columns import as_times
from lakewright.data.rows.lost import Shortfalls
from lakewright.data.rows.reading import NoLake
from lakewright.data.rows.splits import SPLITS, Method
from lakewright.learning.examples import as_columns
from lakewright.learning.planning import Plan, encoded
from lakewright.learning.recipes import FittedRecipe
from lakewright.model.recipe import Recipe

if TYPE_CHECKING:
    from lakewright.data.lake.parts import Part
    from lakewright.data.lake.tables import Lake
    from lakewright.data.rows.reading import Batch, Reading
    from lakewright.model.recipe import Encoding
    from lakewright.model.recipe.encoded import Encoded
    from lakewright.model.recipe.ragged import Ragged
    from lakewright.model.tasks import Task
    from lakewright.settings.sections import Columns
    from lakewright.system.progress import Advance
    from lakewright.workers import Workers

OPENING = threading.Lock()  # some workers are threads of one process


@dataclass(frozen=True, eq=False)
class Decided:
    """What was decided of rows, [rows] each."""

    split: npt.NDArray[np.int8]
    parts: npt.NDArray[np.int16]
    weights: npt.NDArray[np.float32]
    times: npt.NDArray[np.int32]  # copies of the row; 0: none

    @classmethod
    def to_stay(cls, chosen: Chosen) -> Decided:
        """Each row that stays, once."""
        stay = (chosen.split != LEFT_OUT).astype(np.int32)
        return cls(chosen.split, chosen.parts, np.ones(len(stay), np.float32), stay)

    def of(self, part: Part) -> Decided:
        rows = slice(part.first, part.first + part.rows)
        return Decided(self.split[rows], self.parts[rows], self.weights[rows], self.times[rows])


@dataclass(frozen=True, eq=False)
class Done:
    file: Written | None  # None: no row of the part stays
    schema: pa.Schema | None
    host: str
    shortfalls: Shortfalls = field(default_factory=Shortfalls)


@dataclass(eq=False, kw_only=True)
class _PartEncoder:
    """Encodes the rows of parts. Sent to another process, it opens the recipe there."""

    reading: Reading  # without a lake
    task: Task
    recipe: Callable[[], Path]  # its folder, on the machine that computes
    folds: Mapping[int, tuple[Encoding, ...]]  # as in FittedRecipe
    opened: FittedRecipe | None = None

    @classmethod
    def of(cls, planned: Plan, recipe: Callable[[], Path], **more: Any) -> Self:
        """Of rows that a plan has decided on; `recipe` gives the folder of its recipe."""
        reading = planned.reading
        return cls(
            reading=replace(reading, lake=NoLake(), selection=None),
            task=planned.task,
            recipe=recipe,
            folds=planned.fitted.folds,
            opened=planned.fitted,
            **more,
        )

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "opened": None}

    @property
    def fitted(self) -> FittedRecipe:
        with OPENING:
            if self.opened is None:
                self.opened = FittedRecipe(Recipe.open(self.recipe()), np.empty(0, np.int32), self.folds)
        return self.opened

    def encoded(
        self, portion: Portion[Decided], shortfalls: Shortfalls, advance: Advance | None
    ) -> Iterator[tuple[Batch, Encoded, Ragged]]:
        """As `planning.encoded`, of the part's rows that stay."""
        given = portion.decided
        reading = self.reading.of_part(portion, advance).only(given.times > 0)
        return encoded(reading, self.task, self.fitted, given.split, given.parts, shortfalls)


@dataclass(eq=False, kw_only=True)
class RoundTrip(_PartEncoder):
    """What is lost of a part's rows."""

    def __call__(self, portion: Portion[Decided], advance: Advance | None) -> Shortfalls:
        shortfalls = Shortfalls()
        for _ in self.encoded(portion, shortfalls, advance):
            pass
        return shortfalls


def round_trip(planned: Plan, lake: Lake, workers: Workers) -> Shortfalls:
    """What is lost of the rows that stay, where a recipe encodes them."""
    with tempfile.TemporaryDirectory(prefix="lakewright-") as folder:
        planned.recipe.save(Path(folder))
        work = RoundTrip.of(planned, workers.bring(Path(folder)))
        reading, decided, lost = planned.reading, Decided.to_stay(planned.chosen), Shortfalls()
        shape = lake.shape(reading.table, reading.columns)
        portions = Portions(lake, reading.table, shape, workers, decided.of)
        for each in portions.computed(work, f"encoding {reading.table}"):
            lost.merge(each)
    return lost


@dataclass(eq=False, kw_only=True)
class Features(_PartEncoder):
    """A part's rows, as a file of the features table."""

    columns: Columns
    method: Method

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

        file = portion.write(within_years(fitting()), schema)
        return Done(file, schema, socket.gethostname(), shortfalls)

    def _batches(
        self, portion: Portion[Decided], shortfalls: Shortfalls, advance: Advance | None
    ) -> Iterator[pa.RecordBatch]:
        columns, splits, given = self.columns, pa.array(SPLITS), portion.decided
        for batch, made, targets in self.encoded(portion, shortfalls, advance):
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
