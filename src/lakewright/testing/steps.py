"""The suites for steps: stored and opened a step is the same, it computes a row alone as in company, and its SQL gives
the same values bit for bit. A step that learns from the truth is fitted here as prepare fits it, on parts of rows."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from pathlib import Path
from typing import Any, Generic, Literal, TypeVar

import numpy as np
import pyarrow as pa
import pytest
from numpy.typing import NDArray

from lakewright import plugins
from lakewright.data.rows.kinds import Kind
from lakewright.errors import ProjectError
from lakewright.model.recipe import Encoding, Recipe, Step, Transform, Truth, Values, Wanted, learns_truth, sql
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


@dataclass(frozen=True)
class TruthCase(StepCase[S]):
    """Of an encoding that learns from the truth. Make it with `fitted`."""

    kinds: Mapping[str, Kind] = field(default_factory=dict)  # of the inputs
    settings: Any = None
    truth: Truth | None = None
    numbers: NDArray[np.float64] = field(default_factory=lambda: np.empty((0, 1)))  # [rows, names of the truth]

    @classmethod
    def fitted(
        cls,
        step: type[S],
        values: Values,
        kinds: Mapping[str, Kind],
        numbers: NDArray[np.float64],
        kind: Literal["class", "labels", "number"] = "class",
        names: tuple[str, ...] = ("yes",),
        **settings: Any,
    ) -> TruthCase[S]:
        """The step, fitted on these rows. `numbers` [rows, names] are their truths as `Truth` explains them: for a
        class of two, 1 for the second; of more, a column for each."""
        own = step.settings.model_validate({"step": step.name, **settings})
        case: TruthCase[Any] = cls(None, values, 0, kinds, own, Truth(kind, names, lambda: [numbers]), numbers)  # type: ignore[arg-type]
        made = case.fit(step, [np.arange(len(numbers))])
        return replace(case, step=made)

    def fit(self, step: type[S], batches: Sequence[NDArray[np.int64]], numbers: NDArray[np.float64] | None = None) -> S:
        """The step, fitted on these rows in these batches; with other numbers than theirs, if some are given."""
        assert self.truth is not None
        known = self.numbers if numbers is None else numbers
        train = [{name: [column[row] for row in rows] for name, column in self.values.items()} for rows in batches]
        truth = replace(self.truth, batches=lambda: [known[rows] for rows in batches])
        return step.fit(train, self.kinds, self.settings, Wanted("row", truth=truth))[0]


class TruthSuite(StepSuite):
    """For an encoding that learns from the truth. Subclass it as Test…, with a fixture `case` that gives a
    TruthCase of ten rows or more, whose truth follows the inputs."""

    def test_it_declares_that_it_learns_the_truth(self, case: TruthCase[Encoding]) -> None:
        assert learns_truth(case.step)

    def test_where_batches_end_changes_nothing(self, case: TruthCase[Encoding]) -> None:
        rows = np.arange(case.rows)
        in_parts = case.fit(type(case.step), [rows[:1], rows[1:4], rows[4:]])
        assert same(case.step.encode(case.values), in_parts.encode(case.values))

    def test_its_columns_are_the_same_whichever_rows_it_sees(self, case: TruthCase[Encoding]) -> None:
        rows = np.arange(case.rows)
        for some in (rows[::2], rows[:1], rows[-1:]):
            assert case.fit(type(case.step), [some]).columns == case.step.columns

    def test_another_truth_makes_another_step(self, case: TruthCase[Encoding]) -> None:
        other = case.fit(type(case.step), [np.arange(case.rows)], case.numbers[::-1])
        assert not same(case.step.encode(case.values), other.encode(case.values))

    def test_a_truth_that_is_no_number_is_refused(self, case: TruthCase[Encoding]) -> None:
        with pytest.raises(ProjectError, match=f"the step {case.step.name} learns from the truth"):
            type(case.step).fit([case.values], case.kinds, case.settings, Wanted("token"))


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
