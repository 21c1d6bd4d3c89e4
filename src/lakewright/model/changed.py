"""Predictions of the same rows over and over, each time with other values of one input.

The rows are checked and read once. Of the recipe, only the steps that the changed input reaches are computed again;
what the others made of the rows is repeated. A row's numbers depend on the row alone, so the predictions are those of
`Predictor.predict` for the same rows as mappings, to the last bit.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from lakewright.data.rows.coded import Coded
from lakewright.data.rows.kinds import TEXTS, Kind, Prediction, Row, requires_text
from lakewright.data.rows.request import lacks, read_row
from lakewright.model.folder import working
from lakewright.model.predictor import CHUNK, Predictor
from lakewright.model.recipe import Encoding, is_transform
from lakewright.model.recipe.encoded import Encoded
from lakewright.model.recipe.values import numbers, times
from lakewright.model.tasks import no_prediction
from lakewright.model.tasks.tables import decodes_tables


@dataclass(frozen=True)
class ChangedRows:
    predictor: Predictor
    rows: Sequence[Row]  # as they came
    read: Sequence[Mapping[str, Any]]  # as `read_row` reads them
    lacking: Mapping[str, NDArray[np.bool_]]  # of a table without required texts: input → [rows], whether it is missing
    complete: NDArray[np.int64]  # the rows of the arrays below: all, or, of required texts, those that have them
    before: Sequence[Mapping[str, Any]]  # for each step of the recipe, the values that it sees; and those of the end
    encoded: Mapping[int, Encoded]  # of each encoding, by its `id`: not every step can be hashed

    @classmethod
    def of(cls, predictor: Predictor, rows: Sequence[Row]) -> Self:
        """Raises DataError, which names the first row that lacks an input."""
        inputs = predictor.task.inputs
        read = [read_row(inputs, row, at) for at, row in enumerate(rows)]
        complete, lacking = np.arange(len(read)), dict[str, NDArray[np.bool_]]()
        if requires_text(inputs):
            complete = complete[[not lacks(inputs, row) for row in read]]
        else:
            lacking = {name: _lacking(kind, [row[name] for row in read]) for name, kind in inputs.items()}
        if not _repeats(predictor) or not len(complete):
            return cls(predictor, rows, read, lacking, complete, [], {})
        recipe = predictor.recipe
        with working(predictor.folder):
            values = {name: _array(inputs[name], [read[at][name] for at in complete]) for name in recipe.inputs}
            before = [values]
            for step in recipe.steps:
                if is_transform(step):
                    values = {**values, **step.apply(values)}
                before.append(values)
            encoded = {id(step): step.encode(values) for step in recipe.encodings}
        return cls(predictor, rows, read, lacking, complete, before, encoded)

    def with_values(self, name: str, values: Sequence[Any]) -> Callable[[NDArray[np.int64]], list[Prediction]]:
        """Of `places` [times · rows] the predictions [times · rows] of the rows, one time after another, where the
        value of the input `name` is in each row `values[place]`. Raises DataError for a value that the input cannot
        have."""
        inputs = self.predictor.task.inputs
        kind = inputs[name]
        if not self.encoded or (requires_text(inputs) and kind in TEXTS):  # to read that text is what takes the time
            return lambda places: self._by_rows(name, values, places)
        read = [read_row({name: kind}, {name: value}, at)[name] for at, value in enumerate(values)]
        column = _Column(name, read, _array(kind, read), {})
        lacking = np.zeros(len(values), np.bool_) if requires_text(inputs) else _lacking(kind, read)

        def predicted(places: NDArray[np.int64]) -> list[Prediction]:
            kept, base = self._kept(name, lacking, places)
            predictions: list[Prediction] = []
            for start in range(0, len(kept), CHUNK):  # the parts of `Predictor.predict`
                part = slice(start, start + CHUNK)
                predictions += self._predicted(column, places[kept[part]], base[part])
            if len(kept) == len(places):
                return predictions
            answers = [no_prediction(self.predictor.task) for _ in places]
            for at, prediction in zip(kept.tolist(), predictions, strict=True):
                answers[at] = prediction
            return answers

        return predicted

    def _by_rows(self, name: str, values: Sequence[Any], places: NDArray[np.int64]) -> list[Prediction]:
        count = len(self.rows)
        return self.predictor.predict(
            [{**self.rows[at % count], name: values[place]} for at, place in enumerate(places.tolist())]
        )

    def _kept(
        self, name: str, lacking: NDArray[np.bool_], places: NDArray[np.int64]
    ) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Those of `places` whose rows have a prediction, and the place of each one's row in the arrays. `lacking`:
        [values], whether a value is missing."""
        count = len(self.rows)
        if not self.lacking:  # the texts decide, and they stay
            own = np.full(count, -1)
            own[self.complete] = np.arange(len(self.complete))
            own = np.tile(own, len(places) // count)
            kept = np.flatnonzero(own >= 0)
            return kept, own[kept]
        others = np.ones(count, np.bool_)
        for other, missing in self.lacking.items():
            if other != name:
                others &= missing
        kept = np.flatnonzero(~(np.tile(others, len(places) // count) & lacking[places]))
        return kept, kept % count

    def _predicted(self, column: _Column, places: NDArray[np.int64], base: NDArray[np.int64]) -> list[Prediction]:
        """Of the rows `base` of the arrays, with these places of the column."""
        predictor = self.predictor
        with working(predictor.folder):
            encoded = self._encoded(column, places, base)
            rows: list[Row] = [self.read[at] for at in self.complete[base].tolist()]
            if not decodes_tables(predictor.task):  # it may read the rows
                own = zip(rows, places.tolist(), strict=True)
                rows = [{**row, column.name: column.read[place]} for row, place in own]
            return predictor.task.decode(predictor.logits(encoded), encoded, rows)

    def _encoded(self, column: _Column, places: NDArray[np.int64], base: NDArray[np.int64]) -> Encoded:
        itself = _taken(column.values, places)
        changed = {column.name: itself}

        def seen(names: Sequence[str], at: int) -> dict[str, Any]:
            return {each: changed[each] if each in changed else _taken(self.before[at][each], base) for each in names}

        for at, step in enumerate(self.predictor.recipe.steps):
            if is_transform(step):
                if changed.keys() & {*step.inputs}:
                    changed |= step.apply(seen(step.inputs, at))
                else:  # it may make an input of the same name anew
                    changed = {each: of for each, of in changed.items() if each not in step.made}

        def encode(step: Encoding) -> Encoded:
            if not changed.keys() & {*step.inputs}:
                return self.encoded[id(step)].take(base)
            if step.inputs == (column.name,) and changed[column.name] is itself:
                if id(step) not in column.encoded:
                    column.encoded[id(step)] = step.encode({column.name: column.values})
                return column.encoded[id(step)].take(places)
            return step.encode(seen(step.inputs, -1))

        return self.predictor.recipe.joined(encode)


@dataclass(frozen=True)
class _Column:
    """The other values of an input."""

    name: str
    read: Sequence[Any]
    values: Any  # the same as an array
    encoded: dict[int, Encoded]  # of each encoding that reads this input alone, as soon as that is needed


def _repeats(predictor: Predictor) -> bool:
    """Whether the values of an input are read by themselves: words would also make a text."""
    return predictor.task.level == "row" and "words" not in predictor.task.inputs.values()


def _lacking(kind: Kind, values: Sequence[Any]) -> NDArray[np.bool_]:
    """[values], whether a row of a table that has this input alone would lack all."""
    return np.array([lacks({"value": kind}, {"value": value}) for value in values], np.bool_)


def _array(kind: Kind, values: Sequence[Any]) -> Any:
    """In the form that is fast to take rows of; texts as a list."""
    if kind == "number":
        return numbers(values)
    if kind == "time":
        return times(values)
    if kind == "category":
        distinct = list(dict.fromkeys(values))
        places = {value: place for place, value in enumerate(distinct)}
        texts = np.empty(len(distinct), dtype=object)
        texts[:] = distinct
        return Coded(np.array([places[value] for value in values], np.int64), texts)
    return list(values)


def _taken(values: Any, places: NDArray[np.int64]) -> Any:
    return [values[at] for at in places.tolist()] if isinstance(values, list) else values[places]
