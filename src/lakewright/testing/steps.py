"""The suites for steps: stored and opened a step is the same, it computes a row alone as in company, and its SQL gives
the same values bit for bit."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, Generic, TypeVar

import numpy as np
import pyarrow as pa

from lakewright import plugins
from lakewright.model.recipe import Encoding, Recipe, Step, Transform, Values, sql
from lakewright.model.recipe.encoded import Encoded
from lakewright.model.recipe.values import times

S = TypeVar("S", bound=Step)


@dataclass(frozen=True)
class StepCase(Generic[S]):
    step: S
    values: Values  # of each input that the step reads, the values of two rows or more
    ulps: int = 0  # units in the last place by which a transform's numbers in SQL may differ from its own

    @property
    def rows(self) -> int:
        return len(next(iter(self.values.values())))

    def row(self, at: int) -> Values:
        return {name: column[at : at + 1] for name, column in self.values.items()}


class StepSuite:
    """For an encoding. Subclass it as Test…, with a fixture `case` that gives a StepCase."""

    def test_stored_and_opened_it_is_the_same(self, case: StepCase[Encoding], tmp_path: Path) -> None:
        again = reopened(case.step, tmp_path)
        assert (again.name, again.inputs, again.columns) == (case.step.name, case.step.inputs, case.step.columns)
        assert same(case.step.encode(case.values), again.encode(case.values))

    def test_a_row_is_encoded_alone_as_in_company(self, case: StepCase[Encoding]) -> None:
        together = case.step.encode(case.values)
        assert len(together) == case.rows
        for row in range(case.rows):
            alone = case.step.encode(case.row(row))
            assert same(alone, together.take(np.array([row]))), f"row {row} is encoded differently when it is alone"

    def test_it_gives_sequences_or_numbers_as_it_declares(self, case: StepCase[Encoding]) -> None:
        step, encoded = case.step, case.step.encode(case.values)
        sequences = step.gives == "sequences"
        assert (encoded.columns is None) == sequences == (not encoded.numbers_alone)
        assert encoded.columns is None or encoded.columns.shape == (case.rows, len(step.columns))
        assert {column.input for column in step.columns} <= {*step.inputs}
        assert bool(step.batch(encoded, np.array([0]))) == sequences
        batch = Recipe((step,)).batch(encoded, np.array([0, 1]))
        assert batch and {len(part) for part in batch.values()} == {2}

    def test_shortfalls_are_of_every_row(self, case: StepCase[Encoding]) -> None:
        shortfalls = case.step.shortfalls(case.step.encode(case.values), case.values)
        assert {(len(shortfall.lost), len(shortfall.of)) for shortfall in shortfalls} <= {(case.rows, case.rows)}

    def test_a_neutral_row_can_be_encoded(self, case: StepCase[Encoding]) -> None:
        recipe = Recipe((case.step,))
        texts = {name: "a" for name in case.step.inputs if name not in case.step.neutral()}
        (row,) = recipe.sample_rows([texts])
        assert len(recipe.encode([row])) == 1

    def test_its_sql_gives_the_same_numbers(self, case: StepCase[Encoding]) -> None:
        expressions = case.step.sql()
        if expressions is None:
            return
        assert [*expressions] == [column.name for column in case.step.columns]
        encoded = case.step.encode(case.values).columns
        assert encoded is not None
        for at, computed in enumerate(in_duckdb(expressions, case.values)):
            column = computed.to_numpy(zero_copy_only=False).astype(np.float32)
            assert np.array_equal(column, encoded[:, at], equal_nan=True), case.step.columns[at].name


class TransformSuite:
    """For a transform. Subclass it as Test…, with a fixture `case` that gives a StepCase."""

    def test_stored_and_opened_it_is_the_same(self, case: StepCase[Transform], tmp_path: Path) -> None:
        again = reopened(case.step, tmp_path)
        assert (again.name, again.inputs, again.made) == (case.step.name, case.step.inputs, case.step.made)
        assert alike(case.step.apply(case.values), again.apply(case.values))

    def test_it_makes_what_it_declares(self, case: StepCase[Transform]) -> None:
        made = case.step.apply(case.values)
        assert {*made} == {*case.step.made} and {len(values) for values in made.values()} == {case.rows}

    def test_a_row_is_computed_alone_as_in_company(self, case: StepCase[Transform]) -> None:
        together = case.step.apply(case.values)
        for row in range(case.rows):
            there = {name: values[row : row + 1] for name, values in together.items()}
            assert alike(case.step.apply(case.row(row)), there), f"row {row} is computed differently when it is alone"

    def test_a_neutral_row_can_be_computed(self, case: StepCase[Transform]) -> None:
        neutral = dict.fromkeys(case.step.inputs, "a") | case.step.neutral()
        assert case.step.apply({name: [value] for name, value in neutral.items()})

    def test_its_sql_gives_the_same_values(self, case: StepCase[Transform]) -> None:
        expressions = case.step.sql()
        if expressions is None:
            return
        assert {*expressions} == {*case.step.made}
        computed = dict(zip(expressions, in_duckdb(expressions, case.values), strict=True))
        made = case.step.apply(case.values)
        assert alike(made, {name: values.to_pylist() for name, values in computed.items()}, case.ulps)


def reopened(step: S, folder: Path) -> S:
    """The step, written as a model folder has it, and read again through its entry point."""
    described = json.loads(json.dumps(step.save(folder)))
    opened: Any = plugins.STEPS.find(step.name).open(described, folder)
    assert isinstance(opened, type(step))
    return opened


def in_duckdb(expressions: Mapping[str, str], values: Values) -> list[pa.Array]:
    """The expressions over the inputs' values, each one array."""
    import duckdb

    with duckdb.connect() as connection:
        connection.register("given", pa.table({name: _as_arrow(column) for name, column in values.items()}))
        written = ", ".join(f"{each} AS {sql.name(name)}" for name, each in expressions.items())
        result = connection.sql(f"SELECT {written} FROM given").to_arrow_table()
    return [column.combine_chunks() for column in result.columns]


def _as_arrow(values: Any) -> pa.Array:
    if any(isinstance(value, datetime | np.datetime64) for value in values):
        return pa.array(times(values), pa.timestamp("us"))
    return pa.array(values, from_pandas=False)


def alike(one: Mapping[str, Any], other: Mapping[str, Any], ulps: int = 0) -> bool:
    """Whether both hold the same values under the same names, numbers to within some units in the last place; a missing
    number, None or NaN, is one value."""
    return one.keys() == other.keys() and all(_same_values(one[name], other[name], ulps) for name in one)


def _same_values(one: Iterable[Any], other: Iterable[Any], ulps: int) -> bool:
    return all(_same_value(*pair, ulps) for pair in zip(one, other, strict=True))


def _same_value(one: Any, other: Any, ulps: int) -> bool:
    missing = one is None or one != one
    if missing or other is None or other != other:
        return bool(missing and (other is None or other != other))
    near = ulps > 0 and isinstance(one, float) and math.isfinite(one)
    return bool(one == other or (near and abs(one - other) <= ulps * math.ulp(one)))


def same(first: Encoded, second: Encoded) -> bool:
    """Whether two encodings hold the same ids, weights and numbers."""
    pairs = [(first.ids.values, second.ids.values), (first.ids.offsets, second.ids.offsets)]
    if first.weights is not None and second.weights is not None:
        pairs.append((first.weights.values, second.weights.values))
    if first.columns is not None and second.columns is not None:
        pairs.append((first.columns, second.columns))
    alike = (first.weights is None, first.columns is None) == (second.weights is None, second.columns is None)
    return alike and all(np.array_equal(*pair, equal_nan=pair[0].dtype.kind == "f") for pair in pairs)
