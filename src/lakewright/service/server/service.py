"""The parts behind the protocols: the models that answer, their queue, the cache of answers.

An endpoint's file names the models. When it changes, the new models are opened and checked with their sample rows while
the old ones still answer; only then they replace the old ones.
"""

from __future__ import annotations

import asyncio
import logging
import zlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from lakewright.data.rows.coded import Coded
from lakewright.data.rows.gathered import Gathered, gathered
from lakewright.data.rows.kinds import Prediction, Row
from lakewright.data.rows.request import read_row
from lakewright.errors import LakewrightError, NoStore, NotFound, of_disk
from lakewright.service.server import endpoint
from lakewright.service.server.answers import Answers, key_of
from lakewright.service.server.batching import Batches
from lakewright.service.server.endpoint import Endpoint
from lakewright.service.server.model import Model, Part
from lakewright.service.server.prometheus import Metrics
from lakewright.service.server.refusals import NoValues, TooLarge
from lakewright.settings.profile import Serve

if TYPE_CHECKING:
    import pyarrow as pa

    from lakewright.data.features.online import OnlineStore
    from lakewright.data.features.online.lookups import Lookups

V = TypeVar("V")  # a request's rows: mappings, or columns
LOG = logging.getLogger(__name__)
LOOK = 0.5  # seconds between two looks at the endpoint's file
COLUMNS_FROM = 17  # rows of a JSON request: more than one batch of rows, by the default of serve.batch_rows
PART = 1024  # rows computed at once as columns
AGAIN = 2.0  # seconds until a model that could not be served is tried again: it may have been repaired


@dataclass(frozen=True)
class Served:
    """A variant of the endpoint, opened."""

    name: str
    model: Model
    percent: int
    lookups: Lookups | None  # None: the model reads no feature table


class Service:
    def __init__(
        self,
        file: Path,
        serve: Serve,
        runtime: str,
        threads: int,
        online: Callable[[], OnlineStore],
        started: Endpoint | None = None,
    ) -> None:
        """Opens the models that the endpoint's file names, or those of `started`, which is written to the file after
        the models passed their check. `online` opens the store of feature values, if a model looks some up. Raises
        ModelError if one cannot be served."""
        self.serve, self.metrics = serve, Metrics()
        self._online = online
        self._file, self._runtime, self._threads = file, runtime, threads
        self._changed = 0 if started else file.stat().st_mtime_ns
        self.variants = self._opened(started or endpoint.parse(file), ())
        if started is not None:
            try:
                endpoint.write(file, started)
            except OSError as failure:
                if (full := of_disk(failure, file)) is None:
                    raise
                LOG.warning("%s: the endpoint cannot be split or rolled back until a restart", full.cause)
            self._changed = file.stat().st_mtime_ns if file.exists() else 0
        self.refused: str | None = None
        """The reason if the models in the endpoint's file cannot be served; else None."""
        self._answers: Answers[Prediction] = Answers(serve.cache_rows, serve.cache_bytes)
        self.batches: Batches[Model, Row, Prediction] = Batches(
            Model.compute,
            max(variant.model.many.runtime.streams for variant in self.variants),
            batch_rows=serve.batch_rows,
            queue_rows=serve.queue_rows,
            queue_seconds=serve.queue_seconds,
            wait_seconds=serve.wait_ms / 1000,
            observe=self._computed,
        )

    @property
    def model(self) -> Model:
        """The model that answers most requests."""
        return max(self.variants, key=lambda variant: variant.percent).model

    def variant(self, request_id: str) -> Served:
        """The variant that answers a request: the same for the same id."""
        place = zlib.crc32(request_id.encode()) % 100
        for variant in self.variants:
            place -= variant.percent
            if place < 0:
                return variant
        return self.variants[-1]

    async def completed(self, served: Served, values: V) -> tuple[V, Mapping[int, list[str]]]:
        """The rows of a request with the feature values that they leave out, looked up by their keys, and by row the
        inputs of which no value is known. Raises DataError for a key that is none, NoValues if the store is away."""
        lookups = served.lookups
        if lookups is None:
            return values, {}
        if isinstance(values, Sequence):
            if not lookups.lacks(values):
                return values, {}
            self._check_rows(len(values))
            look_up: Callable[[], Any] = partial(lookups.completed, values)
        else:
            look_up = partial(lookups.completed_table, values)
        try:
            completed, unknown = await asyncio.to_thread(look_up) if lookups.store.remote else look_up()
        except NoStore as failure:
            LOG.error("%s", failure.cause)
            raise NoValues("the store of feature values does not answer", "try again, or send all inputs") from failure
        except NotFound as failure:
            raise NoValues(failure.cause, failure.remedy) from failure
        for names in unknown.values():
            for name in names:
                self.metrics.unknown_values.labels(served.model.version, name).inc()
        return completed, unknown

    def read(self, model: Model, values: Sequence[Any] | pa.RecordBatch) -> list[Row] | Gathered:
        """The rows of a request: from what a protocol reads, or from columns; as columns where the model computes them
        and there are many. Raises DataError for a row that cannot be read, TooLarge."""
        self._check_rows(len(values))
        if not isinstance(values, Sequence):
            if len(values) and model.reads_columns:
                from lakewright.data.rows.arrays import read_columns

                rows = Gathered(read_columns(model.inputs, values))
                self._check_categories(rows)
                return rows
            from lakewright.data.lake.types import python_rows

            values = python_rows(values)
        elif model.reads_columns and len(values) >= COLUMNS_FROM:
            columns = gathered(model.inputs, values)
            if columns is not None:
                self._check_categories(columns)
                return columns
        read: list[Row] = [read_row(model.inputs, row, at) for at, row in enumerate(values)]
        self._check_texts(read)
        return read

    async def predict(self, model: Model, rows: Sequence[Row] | Gathered, seconds: float) -> list[Prediction]:
        """One prediction for each row of `read`. Raises Busy, Draining, Late."""
        if isinstance(rows, Gathered):
            parts: list[list[Prediction]] = await self._computed_by_columns(model, rows, False, seconds)
            return [prediction for part in parts for prediction in part]
        if not rows:
            return []
        lengths = [model.single.recipe.cost(row) for row in rows]
        if not (self.serve.cache_rows and self.serve.cache_bytes):
            return await self.batches.ask(model, rows, max(lengths), seconds)
        keys = [key_of(model.digest, row) for row in rows]
        answers = [self._answers.get(key) for key in keys]
        missing = [at for at, answer in enumerate(answers) if answer is None]
        self.metrics.cached.labels("yes").inc(len(rows) - len(missing))
        self.metrics.cached.labels("no").inc(len(missing))
        if missing:
            uncached = [rows[at] for at in missing]
            computed = await self.batches.ask(model, uncached, max(lengths[at] for at in missing), seconds)
            for at, answer in zip(missing, computed, strict=True):
                answers[at] = answer
                self._answers.put(keys[at], answer)
        return [answer for answer in answers if answer is not None]

    async def predict_table(self, model: Model, rows: Gathered, seconds: float) -> pa.RecordBatch:
        """The predictions as `Predictor.predict_table` gives them. Raises Busy, Draining, Late."""
        import pyarrow as pa

        return pa.concat_batches(await self._computed_by_columns(model, rows, True, seconds))

    async def _computed_by_columns(self, model: Model, rows: Gathered, as_table: bool, seconds: float) -> list[Any]:
        starts = range(0, len(rows), PART)
        parts = [Part(rows.part(start, min(start + PART, len(rows))), as_table) for start in starts]
        return await self.batches.ask_whole(model, parts, seconds)

    async def follow(self) -> None:
        """Serves the variants of the endpoint's file, whenever it changes."""
        while True:
            await asyncio.sleep(LOOK)
            try:
                changed = self._file.stat().st_mtime_ns
                if changed == self._changed:
                    continue
                self.variants = await asyncio.to_thread(self._opened, endpoint.parse(self._file), self.variants)
            except (LakewrightError, OSError) as failure:
                if str(failure) != self.refused:
                    self.refused = str(failure)
                    self.metrics.switches.labels("refused").inc()
                    LOG.error(
                        "the endpoint's new variants cannot be served, the old ones stay: %s",
                        " → ".join(str(failure).splitlines()),
                    )
                await asyncio.sleep(AGAIN)
            else:
                self._changed, self.refused = changed, None
                self.metrics.switches.labels("done").inc()
                LOG.info(
                    "now serving %s", ", ".join(f"{v.name} ({v.model.version}) {v.percent} %" for v in self.variants)
                )

    def _opened(self, target: Endpoint, current: Sequence[Served]) -> tuple[Served, ...]:
        models = {str(variant.model.single.folder): variant.model for variant in current}
        opened = []
        for one in target.variants:
            model = models.get(one.folder) or Model.open(Path(one.folder), one.version, self._runtime, self._threads)
            opened.append(Served(one.name, model, one.percent, self._lookups(model)))
        return tuple(opened)

    def _lookups(self, model: Model) -> Lookups | None:
        if not model.lookups:
            return None
        from lakewright.data.features.online.lookups import Lookups, lookups_in

        lookups = Lookups(lookups_in(model.lookups, model.inputs), self._online(), model.inputs)
        try:
            lookups.check()
        except LakewrightError as failure:  # a request that has all inputs is answered
            LOG.warning("%s %s: %s; %s", model.name, model.version, failure.cause, failure.remedy)
        return lookups

    def _computed(self, rows: int) -> None:
        self.metrics.batch_rows.observe(rows)
        self.metrics.waiting.set(self.batches.depth)

    def _check_rows(self, count: int) -> None:
        if count > (most := self.serve.request_rows):
            raise TooLarge(
                f"the request has {count:,} rows", f"send at most {most:,} at once, or score a table (lakewright score)"
            )

    def _check_categories(self, rows: Gathered) -> None:
        for values in rows.values.values():
            if isinstance(values, Coded) and any(self._is_long(text) for text in values.texts.tolist()):
                self._check_texts(rows.rows())

    def _is_long(self, value: Any) -> bool:
        return isinstance(value, str) and len(value) > self.serve.text_characters

    def _check_texts(self, rows: Sequence[Row]) -> None:
        for at, row in enumerate(rows):
            for name, value in row.items():
                if self._is_long(value):
                    raise TooLarge(
                        f"row {at}: {name!r} has {len(value):,} characters",
                        f"send at most {self.serve.text_characters:,}",
                    )
