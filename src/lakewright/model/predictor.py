"""The predictor: a model folder and a runtime. Evaluation, the server and batch scoring all predict through it.

To serve, it needs numpy, tokenizers and the runtime's own library; never torch, transformers or mlflow.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

import numpy as np
from numpy.typing import NDArray

from lakewright import plugins
from lakewright.data.rows.gathered import Gathered
from lakewright.data.rows.kinds import TEXTS, Kind, Row, requires_text
from lakewright.data.rows.request import lacks, read_row
from lakewright.errors import DataError, ModelError
from lakewright.model.folder import (
    MODEL,
    PROJECT,
    SERVING,
    TRAIN_AGAIN,
    describe,
    open_recipe,
    project_of,
    serving,
    verify,
    working,
)
from lakewright.model.recipe import Recipe
from lakewright.model.recipe.encoded import Encoded
from lakewright.model.recipe.ragged import longest_first
from lakewright.model.runtimes import Runtime, Use
from lakewright.model.tasks import Logits, no_prediction
from lakewright.system.files import cores

if TYPE_CHECKING:
    import pyarrow as pa

    from lakewright.data.rows.kinds import Prediction
    from lakewright.model.reasons import Reasons
    from lakewright.model.tasks import Task

CHUNK = 8192  # rows encoded at once


@dataclass(frozen=True)
class Predictor:
    folder: Path
    digest: str
    task: Task
    recipe: Recipe
    runtime: Runtime

    @classmethod
    def open(
        cls, folder: Path, runtime: str = "auto", threads: int | None = None, use: Use = "throughput"
    ) -> Predictor:
        """Checks every file's hash, then loads, and predicts the task's sample rows. `runtime` auto: the one that the
        folder names for this use; `threads` None: one a core. For throughput, parts of many rows are computed in
        parallel, one thread each; for latency, all threads compute one row.

        Raises ModelError if the folder is damaged, is not a model folder or has parts that do not fit together,
        UsageError for an unknown `runtime`, and MissingPackage if the runtime is not installed.
        """
        digest = verify(folder)
        with working(folder):
            described, recipe = describe(folder)["task"], open_recipe(folder)
            task = plugins.TASKS.named_in(folder / MODEL, described["name"]).open(described)
            predictor = cls(folder, digest, task, recipe, _network(folder, runtime, threads, use))
            predictor._check()
        return predictor

    def reopened(self, runtime: str, threads: int | None, use: Use) -> Predictor:
        """The same model for another use, without a second check of its files."""
        with working(self.folder):
            return replace(self, runtime=_network(self.folder, runtime, threads, use))

    def sample_rows(self) -> list[dict[str, Any]]:
        """The task's neutral rows, each with a value for every input."""
        return self.recipe.sample_rows(self.task.sample_rows())

    def _check(self) -> None:
        """Checks that recipe, network and task fit together: sample rows pass all three and give finite numbers."""
        labels, outputs = self.task.labels, self.task.outputs
        if not all(isinstance(label, str) for label in labels) or len(set(labels)) < len(labels):
            raise ModelError(f"the labels in {self.folder / 'model.json'} are not distinct texts", TRAIN_AGAIN)
        names = {name for name, kind in self.task.inputs.items() if kind in get_args(Kind)}
        if len(names) < len(self.task.inputs) or not {*self.recipe.inputs} <= names:
            raise ModelError(f"the inputs in {self.folder / 'model.json'} are not those of its recipe", TRAIN_AGAIN)
        rows = [read_row(self.task.inputs, row, at) for at, row in enumerate(self.sample_rows())]
        encoded = self.recipe.encode(rows)
        logits = self.logits(encoded)
        widths = {np.shape(values)[-1] for values in logits}
        if outputs and widths != {outputs}:
            raise ModelError(f"the network in {self.folder} has {widths} outputs, its task {outputs}", TRAIN_AGAIN)
        if not all(np.isfinite(values).all() for values in logits):
            raise ModelError(f"the network in {self.folder} computes no finite number for a sample row", TRAIN_AGAIN)
        self.task.decode(logits, encoded, rows)

    def predict(
        self,
        rows: Sequence[Row | str],
        progress: Callable[[int], None] = lambda rows: None,
        numbers: Sequence[int] | None = None,
    ) -> list[Prediction]:
        """One JSON-ready prediction a row, in the rows' order; `no_prediction` if a text is blank. A row is a mapping
        of the task's inputs, or a text if a row needs no other input; a text may have its column's name in the table
        that was learned from. `progress` is called with the number of rows
        predicted since its last call. `numbers` are the rows' numbers in messages; by default 0, 1, 2, ….

        Raises DataError, which names the first row that lacks an input.
        """
        if hasattr(rows, "columns"):
            raise DataError(
                f"rows is a {type(rows).__name__}, and they are a list of mappings",
                "of pandas: predict(rows.to_dict('records')), or predict_table(pyarrow.Table.from_pandas(rows)); "
                "mlflow.pyfunc.load_model(MODEL).predict(rows) takes it as it is",
            )
        parsed = self._read(rows, numbers)
        blank = [lacks(self.task.inputs, row) for row in parsed]
        complete = [row for row, nothing in zip(parsed, blank, strict=True) if not nothing]
        results = iter(self._computed(complete, progress))
        return [no_prediction(self.task) if nothing else next(results) for nothing in blank]

    def _computed(self, rows: Sequence[Row], progress: Callable[[int], None] = lambda rows: None) -> list[Prediction]:
        """Predictions of rows that `read_row` read, whatever they lack."""
        predictions: list[Prediction] = []
        for start in range(0, len(rows), CHUNK):
            chunk = rows[start : start + CHUNK]
            with working(self.folder):
                encoded = self.recipe.encode(chunk)
                predictions += self.task.decode(self.logits(encoded), encoded, chunk)
            progress(len(chunk))
        return predictions

    def _read(self, rows: Sequence[Row | str], numbers: Sequence[int] | None) -> list[dict[str, Any]]:
        numbered = zip(range(len(rows)) if numbers is None else numbers, rows, strict=True)
        return [self._read_one(row, number) for number, row in numbered]

    def _read_one(self, row: Row | str, number: int) -> dict[str, Any]:
        if isinstance(row, Mapping):
            for name, column in self._renamed.items():
                if name not in row and column in row:
                    row = {**row, name: row[column]}
        return read_row(self.task.inputs, row, number)

    @cached_property
    def _renamed(self) -> dict[str, str]:
        """Text → the column of the table that it was learned from, where that has another name: a row may name it so,
        too. One text of several may be lacking, and under an unknown name it would be lost in silence."""
        inputs = self.task.inputs
        kinds = ("text",) if requires_text(inputs) else TEXTS
        texts = [name for name, kind in inputs.items() if kind in kinds]
        if not texts or not (self.folder / PROJECT).exists():  # a folder is whole once it is sealed
            return {}
        data = project_of(self.folder).get("data")
        columns = data.get("columns") if isinstance(data, Mapping) else None
        if not isinstance(columns, Mapping):  # a folder that no run of ours made
            return {}
        named = {name: columns.get(name) for name in texts}
        return {name: column for name, column in named.items() if isinstance(column, str) and column not in inputs}

    def explain(
        self,
        rows: Sequence[Row | str],
        predictions: Sequence[Prediction],
        most: int,
        numbers: Sequence[int] | None = None,
    ) -> list[Prediction]:
        """These predictions of these rows, each with `reasons`, the `most` inputs that weigh most, and with the
        `method` that weighs them (`model/reasons`). Raises UsageError if the model has none."""
        read = self._read(rows, numbers)
        reasons = self.reasons.of(read, predictions, most)
        method = self.reasons.method
        return [{**each, "reasons": own, "method": method} for each, own in zip(predictions, reasons, strict=True)]

    @cached_property
    def lack_of_reasons(self) -> str:
        """Why the model has no reasons; empty if it has."""
        from lakewright.model.reasons import lack_of_reasons

        read = {name: self.task.inputs[name] for name in self.recipe.inputs}
        with working(self.folder):
            return lack_of_reasons(self.task, self.folder, read, lambda: self.predict(self.sample_rows()[:1])[0])

    @cached_property
    def reasons(self) -> Reasons:
        """Raises UsageError if the model has none."""
        from lakewright.model.reasons import open_reasons

        with working(self.folder):
            return open_reasons(self.folder, self.recipe, self.task, self._computed, self.lack_of_reasons)

    @property
    def reads_columns(self) -> bool:
        """Whether `predict_table` computes with whole columns. Decided here alone: every input is a number, a category
        or a time, every encoding gives numbers, and the task decodes an array of logits."""
        from lakewright.model.tasks.tables import decodes_tables

        kinds: set[Kind] = {"number", "category", "time"}
        numbers = all(step.gives == "numbers" for step in self.recipe.encodings)
        return {*self.task.inputs.values()} <= kinds and numbers and decodes_tables(self.task)

    def predict_table(
        self,
        rows: pa.RecordBatch | pa.Table,
        progress: Callable[[int], None] = lambda rows: None,
        first: int = 0,
    ) -> pa.RecordBatch:
        """What `predict` gives for the rows as mappings, to the last bit, as columns: those of
        `task.prediction_columns()`, and `confidence`, null where the task knows none. One row each, in the rows' order;
        null in all columns of the task if `predict` gives `no_prediction`. A column that is no input is ignored, and
        of two with one name the last one is read.

        Numbers, categories and times of a task with one output a row are read and computed as arrays (`reads_columns`);
        all other rows pass through `predict`. `progress` is called as by `predict`. Beside the predictions, it holds
        8192 rows at a time. `first` is the number of the first row in messages. Needs pyarrow.

        Raises DataError, which names the first row that lacks an input or holds a wrong value; and if the predictions
        are too large for one record batch.
        """
        from lakewright.model.tasks.tables import complete, decodes_tables, of_predictions

        task = self.task
        if not (self.reads_columns and decodes_tables(task)):
            from lakewright.data.lake.types import python_rows

            return of_predictions(task, self.predict(python_rows(rows), progress, range(first, first + rows.num_rows)))
        from lakewright.data.rows.arrays import complete_rows

        lacking = np.zeros(rows.num_rows, np.bool_)
        parts = []
        for values in complete_rows(task.inputs, rows, CHUNK, lacking, first):
            with working(self.folder):
                encoded = self._encoded(values)
                parts.append(task.decode_table(self.row_logits(encoded)))
            progress(len(encoded))
        return complete(task, parts, lacking)

    def predict_gathered(self, rows: Gathered) -> list[Prediction]:
        """What `predict` gives for the same rows, to the last bit. Needs `reads_columns`."""
        predictions = [no_prediction(self.task) for _ in range(len(rows))]
        for part in _parts(rows.lacking):
            with working(self.folder):
                encoded = self._encoded({name: each[part] for name, each in rows.values.items()})
                none: list[Row] = [{}] * len(part)  # a task that decodes tables decodes logits alone
                decoded = self.task.decode(list(self.row_logits(encoded)), encoded, none)
            for at, prediction in zip(part.tolist(), decoded, strict=True):
                predictions[at] = prediction
        return predictions

    def predict_gathered_table(self, rows: Gathered) -> pa.RecordBatch:
        """What `predict_table` gives for the same rows, to the last bit. Needs `reads_columns` and pyarrow."""
        from lakewright.model.tasks.tables import complete, decodes_tables

        task = self.task
        assert decodes_tables(task), "the task decodes no tables"
        decoded = []
        for part in _parts(rows.lacking):
            with working(self.folder):
                encoded = self._encoded({name: each[part] for name, each in rows.values.items()})
                decoded.append(task.decode_table(self.row_logits(encoded)))
        return complete(task, decoded, rows.lacking)

    def _encoded(self, values: Mapping[str, Any]) -> Encoded:
        """Rows, at least one, that have a value each."""
        return self.recipe.encode_values({name: values[name] for name in self.recipe.inputs})

    def embed(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Unit vectors [texts, width]. Raises ModelError if the model was not trained for sentence_similarity."""
        if self.task.level != "vector":
            raise ModelError(
                f"the model learned {self.task.name}, which gives no embeddings",
                "name a model whose task is sentence_similarity",
            )
        vectors: Logits = []
        for start in range(0, len(texts), CHUNK):
            with working(self.folder):
                vectors += self.logits(self.recipe.encode([{"text": text} for text in texts[start : start + CHUNK]]))
        return np.stack(vectors) if vectors else np.empty((0, 0), dtype=np.float32)

    def logits(self, encoded: Encoded) -> Logits:
        """The network's logits: [outputs] a row, the mean of its sequences' (level "row"); else [tokens, outputs] or
        [width] a sequence. Longest sequences first, so that padding is short; equal ones are computed once."""
        if self.task.level == "row" and encoded.numbers_alone and len(encoded):
            return list(self.row_logits(encoded))
        lengths, first = encoded.ids.lengths, encoded.first_alike()
        results: list[Any] = [None] * len(lengths)

        def compute(sequences: NDArray[np.int64]) -> None:
            computed = self.runtime.compute(self.recipe.batch(encoded, sequences))
            for sequence, values in zip(sequences, computed, strict=True):
                results[sequence] = values[: lengths[sequence]] if self.task.level == "token" else values

        self._each(compute, list(longest_first(np.unique(first), lengths, self.runtime.tokens)))
        results = [results[i] for i in first]
        if self.task.level == "row" and encoded.rows is not None:
            return [np.mean(results[start:end], axis=0) for start, end in pairwise(encoded.rows)]
        return results

    def row_logits(self, encoded: Encoded) -> NDArray[np.float32]:
        """The network's logits [rows, outputs] of rows with only numbers, at least one, of a task of level "row"."""
        rows, at_once = len(encoded), self.runtime.tokens
        results: dict[int, NDArray[np.float32]] = {}

        def compute(part: NDArray[np.int64]) -> None:
            results[int(part[0])] = self.runtime.compute(self.recipe.batch(encoded, part))

        self._each(compute, [np.arange(start, min(start + at_once, rows)) for start in range(0, rows, at_once)])
        return np.concatenate([results[start] for start in sorted(results)])

    def _each(self, compute: Callable[[NDArray[np.int64]], None], parts: Sequence[NDArray[np.int64]]) -> None:
        """Computes the parts, several at once if the runtime does."""
        if self.runtime.streams == 1 or len(parts) == 1:
            for part in parts:
                compute(part)
        else:
            with ThreadPoolExecutor(self.runtime.streams) as pool:
                for _ in pool.map(compute, parts):  # raises a part's exception
                    pass


def _parts(lacking: NDArray[np.bool_]) -> Iterator[NDArray[np.int64]]:
    """The rows that have a prediction, so many at once as `predict` encodes."""
    kept = np.flatnonzero(~lacking)
    for start in range(0, len(kept), CHUNK):
        yield kept[start : start + CHUNK]


def _network(folder: Path, runtime: str, threads: int | None, use: Use) -> Runtime:
    if runtime == "auto":
        load = plugins.RUNTIMES.named_in(folder / SERVING, serving(folder, use)[0])
    else:
        load = plugins.RUNTIMES.find(runtime)
    return load(folder, threads or cores(), use)
