"""`predict_table` gives what `predict` gives for the same rows as mappings: each float to the last bit, each error."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from datetime import date, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from conftest import greeting_model
from lakewright.data.lake.types import python_rows
from lakewright.data.rows.arrays import read_columns
from lakewright.data.rows.coded import Coded
from lakewright.data.rows.kinds import Prediction
from lakewright.data.rows.request import read_row
from lakewright.errors import DataError
from lakewright.model.predictor import CHUNK, Predictor
from lakewright.model.recipe import Recipe
from lakewright.model.recipe.categories import Category
from lakewright.model.recipe.values import categories, times
from lakewright.model.tasks.classification import Classification
from lakewright.model.tasks.regression import Regression
from lakewright.service.scoring import predictions as scoring
from served_models import make
from table_models import BEGIN, INPUTS, LEARNERS, MODELS, TASKS, model, rows_of


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str, str], Predictor]:
    opened: dict[tuple[str, str], Predictor] = {}

    def open(learner: str, task: str) -> Predictor:
        if (learner, task) not in opened:
            opened[learner, task] = model(learner, TASKS[task], tmp_path_factory.mktemp("model"))
        return opened[learner, task]

    return open


@pytest.fixture(scope="module")
def linear(models: Callable[[str, str], Predictor]) -> Predictor:
    return models("linear", "four")


def exact(value: Any) -> Any:
    """Equal only if all numbers are the same to the last bit, and mappings in their order, too."""
    if isinstance(value, float):
        return value.hex()
    if isinstance(value, dict):
        return exact([*value.items()])
    return [exact(each) for each in value] if isinstance(value, list | tuple) else value


def as_rows(predictor: Predictor, predictions: list[Prediction]) -> list[Any]:
    names = predictor.task.prediction_columns().names
    return [exact([*(each.get(name) for name in names), predictor.task.confidence(each)]) for each in predictions]


def agree(predictor: Predictor, rows: pa.RecordBatch | pa.Table) -> pa.RecordBatch | None:
    """The predictions, if both ways give the same; None if both raise the same error."""
    try:
        expected = predictor.predict(python_rows(rows))
    except DataError as error:
        with pytest.raises(DataError) as refused:
            predictor.predict_table(rows)
        assert (refused.value.cause, refused.value.remedy) == (error.cause, error.remedy)
        return None
    predictions = predictor.predict_table(rows)
    assert predictions.schema == predictor.task.prediction_columns().append(pa.field("confidence", pa.float64()))
    predictions.validate(full=True)
    own = [exact([*row.values()]) for row in predictions.to_pylist()]
    assert own == as_rows(predictor, expected)
    return predictions


@pytest.mark.parametrize(("learner", "task"), MODELS)
def test_columns_are_predicted_as_rows_are(models: Callable[[str, str], Predictor], learner: str, task: str) -> None:
    predictor = models(learner, task)
    assert predictor.reads_columns
    rows = rows_of(400, seed=2)
    predictions = agree(predictor, rows)
    assert predictions is not None and 0 < predictions.column(0).null_count < 40
    assert len(set(predictions.column(0).to_pylist())) > 2


@pytest.mark.slow
@pytest.mark.parametrize("learner", LEARNERS)
def test_more_rows_than_are_computed_at_once(models: Callable[[str, str], Predictor], learner: str) -> None:
    """Rows without values among them shift the others, so that parts begin in the middle of what is read at once."""
    assert agree(models(learner, "four"), rows_of(2 * CHUNK + 1500, seed=3)) is not None


def test_few_rows(linear: Predictor) -> None:
    rows = rows_of(60, seed=4)
    (batch,) = rows.to_batches()
    full = agree(linear, batch)
    assert full is not None
    for part in (batch.slice(0, 0), batch.slice(0, 1), batch.slice(59), batch.slice(7, 20), rows.slice(3, 11)):
        agree(linear, part)
    assert linear.predict_table(batch.slice(0, 0)).num_rows == 0
    nothing = agree(linear, pa.table({name: pa.nulls(3) for name in INPUTS}))
    assert nothing is not None and nothing.column("label").null_count == 3
    assert nothing.column("confidence").to_pylist() == [0.0] * 3
    agree(linear, pa.concat_tables([rows.slice(0, 5), rows.slice(20, 1), rows.slice(30)]))


def test_rows_of_no_column(linear: Predictor) -> None:
    agree(linear, pa.table({"age": [3.0, None, float("nan")]}))
    agree(linear, pa.table({"unknown": [1]}))
    agree(linear, rows_of(5).drop_columns(["place"]))
    agree(linear, rows_of(5).rename_columns(["age", "size", "plaace", "code", "made"]))
    agree(linear, rows_of(5).append_column("unknown", pa.array([[1]] * 5)))
    agree(linear, pa.record_batch([pa.array([1.0]), pa.array([50.0])], ["age", "age"]))
    agree(linear, rows_of(0).drop_columns(["place"]))


D = Decimal
NUMBERS: list[pa.Array] = [
    *(pa.array([0, 1, None, 100], kind) for kind in (pa.int8(), pa.int16(), pa.int32(), pa.uint8(), pa.uint32())),
    pa.array([2**63 - 1, -(2**63), None, 2**53 + 1], pa.int64()),
    pa.array([2**64 - 1, 2**53 + 1, None, 0], pa.uint64()),
    *(pa.array([0.1, -0.0, None, math.nan], kind) for kind in (pa.float16(), pa.float32(), pa.float64())),
    pa.array([1e308, 5e-324, -1e300, 0.0]),
    pa.array([True, False, None, True]),
    pa.array([D("0.1"), D("-12345.6789012345"), None, D("0.3")], pa.decimal128(15, 10)),
    pa.array([D("0.1"), D("9" * 28 + "." + "3" * 10), None, D("-0.3")], pa.decimal128(38, 10)),
    pa.array([D("1E+5"), D("-12E+5"), None, D(0)], pa.decimal128(5, -5)),
    pa.array([D("0.1"), D("1.07"), None, D("-0.3")], pa.decimal256(40, 2)),
    pa.array([D("0.1"), D("1.07"), None, D("-0.3")], pa.decimal64(10, 2)),
    pa.array([3, 5, None, 3]).dictionary_encode(),
    pa.DictionaryArray.from_arrays(pa.array([0, 1, None, 2]), pa.array([0.5, None, math.nan])),
    pa.DictionaryArray.from_arrays(pa.array([0, 1, None, 0]), pa.array([0.5, 0.25, math.inf])),  # unused
    pa.RunEndEncodedArray.from_arrays([2, 4], [0.5, None]),
    pa.nulls(4),
    pa.nulls(4, pa.decimal128(5, 2)),
]
TEXTS = ["north", None, "é", "nowhere"]
CATEGORIES: list[pa.Array] = [
    *(pa.array(TEXTS, kind) for kind in (pa.string(), pa.large_string(), pa.string_view())),
    pa.array(TEXTS).dictionary_encode(),
    pa.array(TEXTS, pa.large_string()).dictionary_encode(),
    pa.DictionaryArray.from_arrays(pa.array([0, 1, None, 0]), pa.array(["north", None])),
    pa.DictionaryArray.from_arrays(pa.array([0, 2, 1, 0], pa.uint8()), pa.array([1, 2, 3])),
    pa.array([1, 2, None, 5]),
    pa.array([1.0, 0.1, math.nan, math.inf]),
    pa.array([1.0, 0.1, -0.0, 1e22], pa.float32()),
    pa.array([1.0, None, 0.0, 2.5], pa.float16()),
    pa.array([True, None, False, True]),
    pa.array([D("1.00"), None, D("0.10"), D(3)], pa.decimal128(5, 2)),
    pa.array([D("1.00"), None, D("0.10"), D(3)], pa.decimal32(5, 2)),
    pa.array([date(2026, 1, 31), None, date.min, date.max]),
    pa.array([BEGIN, None, BEGIN, BEGIN], pa.timestamp("s", "Europe/Berlin")),
    pa.array([timedelta(1), None, timedelta(2), timedelta(0)], pa.duration("us")),
    pa.array([b"a", None, b"\xff", b""]),
    pa.RunEndEncodedArray.from_arrays([2, 4], ["north", None]),
    pa.nulls(4),
]
PLAIN = [datetime(2026, 1, 31, 14, 30, 1, 999_999), None, datetime.min, datetime.max]
TIMES: list[pa.Array] = [
    pa.array(PLAIN, pa.timestamp("us")),
    pa.array(PLAIN, pa.timestamp("us", "UTC")),
    pa.array([BEGIN, None, BEGIN, BEGIN], pa.timestamp("ms", "Asia/Kolkata")),
    pa.array([1, None, -1, 10**9], pa.timestamp("s", "America/New_York")),
    pa.array([1999, None, -1, -1999], pa.timestamp("ns")),
    pa.array([1999, None, -1001, 2**62], pa.timestamp("ns", "Europe/Berlin")),
    pa.array([2**63 - 1001, None, -(2**63) + 1001, 0], pa.timestamp("ns", "Europe/Berlin")),  # too late for pandas
    pa.array([date(2026, 1, 31), None, date.min, date.max], pa.date32()),
    pa.array([date(2026, 1, 31), None, date.min, date.max], pa.date64()),
    pa.array(["2026-01-31", None, "2026-01-31T14:00:00Z", "20260131T140000+0530"]),
    pa.array(["2026-01-31 14:00", None, "2026-W05-6", "2026-01-31T14:00:00.123456-08:00"], pa.large_string()),
    pa.array(["2026-01-31", None, "2026-01-31", None]).dictionary_encode(),
    pa.nulls(4),
]
WRONG: list[tuple[str, pa.Array]] = [
    ("age", pa.array([1.0, math.inf, None, -math.inf])),
    ("age", pa.array([None, 1.0, None, math.inf], pa.float32())),
    ("age", pa.array([None, None, "3", "4"])),
    ("age", pa.array([None, "3", None, None]).dictionary_encode()),
    ("age", pa.array([None, date(2026, 1, 1), None, None])),
    ("age", pa.array([None, BEGIN, None, None], pa.timestamp("us", "UTC"))),
    ("age", pa.array([None, b"3", None, None])),
    ("age", pa.array([None, [3.0], None, None])),
    ("age", pa.array([None, {"a": 1}, None, None])),
    ("age", pa.array([None, timedelta(1), None, None])),
    ("place", pa.array([None, ["north"], None, None])),
    ("place", pa.array([None, {"a": 1}, None, None])),
    ("place", pa.array([None, [("a", 1)], None, None], pa.map_(pa.string(), pa.int64()))),
    ("made", pa.array([None, 3, None, None])),
    ("made", pa.array([None, 0.5, math.nan, None])),
    ("made", pa.array([None, True, None, None])),
    ("made", pa.array(["2026-01-31", "", None, "soon"])),
    ("made", pa.array(["2026-01-31", None, " 2026-01-31", None], pa.large_string())),
    ("made", pa.array(["2026-01-31", None, "31.1.2026", None]).dictionary_encode()),
    ("made", pa.array(["2026-01-31", "0001-01-01T00:00:00+05:00", None, None])),
    ("made", pa.array([None, b"2026-01-31", None, None])),
    ("made", pa.array([0, 3 * 10**17, None, None], pa.timestamp("us"))),  # a year beyond 9999
    ("made", pa.array([0, None, -(2**63), None], pa.timestamp("us", "UTC"))),  # NaT in numpy
    ("made", pa.array([0, 2**62, None, None], pa.timestamp("s"))),
    ("made", pa.array([0, 10**7, None, None], pa.date32())),
    ("made", pa.array([0, -(10**6), None, None], pa.date32())),
]


@pytest.mark.parametrize(
    ("name", "column"),
    [
        *(("age", each) for each in NUMBERS),
        *(("place", each) for each in CATEGORIES),
        *(("made", each) for each in TIMES),
    ],
    ids=lambda each: each if isinstance(each, str) else str(each.type),
)
def test_columns_of_every_type(linear: Predictor, name: str, column: pa.Array) -> None:
    rows = rows_of(4, seed=5).drop_columns([name]).append_column(name, column)
    assert agree(linear, rows) is not None
    for start in range(4):
        agree(linear, rows.slice(start))
        agree(linear, rows.combine_chunks().to_batches()[0].slice(start, 2))
    alone = {each: pa.nulls(4) for each in INPUTS} | {name: column}  # rows that lack this lack all
    assert agree(linear, pa.table(alone)) is not None


@pytest.mark.parametrize(("name", "column"), WRONG, ids=lambda each: each if isinstance(each, str) else str(each.type))
def test_wrong_values_are_refused_with_the_same_words(linear: Predictor, name: str, column: pa.Array) -> None:
    rows = rows_of(4, seed=5).drop_columns([name]).append_column(name, column)
    assert agree(linear, rows) is None
    assert agree(linear, rows.slice(1)) is None
    first = rows_of(CHUNK + 4, seed=5).drop_columns([name]).append_column(name, pa.nulls(CHUNK + 4, column.type))
    with pytest.raises(DataError, match=rf"row {CHUNK + 4 + first_refused(rows)}: '{name}' is"):
        linear.predict_table(pa.concat_tables([first.select(rows.column_names), rows]))


def first_refused(rows: pa.Table) -> int:
    """The first row that is refused."""
    for at in range(rows.num_rows):
        try:
            read_row(INPUTS, python_rows(rows.slice(at, 1))[0], at)
        except DataError:
            return at
    raise AssertionError("no row is refused")


def test_the_first_wrong_row_is_named_whatever_its_column(linear: Predictor) -> None:
    rows = rows_of(4, seed=5).drop_columns(["age", "place"])
    rows = rows.append_column("age", pa.array([1.0, 2.0, math.inf, math.inf]))
    rows = rows.append_column("place", pa.array([None, ["x"], ["x"], None]))
    with pytest.raises(DataError, match="row 1: 'place'"):
        linear.predict_table(rows)
    assert agree(linear, rows) is None


def test_dictionaries_that_differ_from_chunk_to_chunk(linear: Predictor) -> None:
    one, other = rows_of(5, seed=6), rows_of(7, seed=7)
    tables = [
        each.set_column(2, "place", each["place"].dictionary_encode()).set_column(3, "code", each["code"])
        for each in (one, other)
    ]
    agree(linear, pa.concat_tables(tables))


NUMBER_TYPES = (pa.float64(), pa.float32(), pa.int64(), pa.decimal128(12, 3), pa.decimal128(30, 7), pa.bool_())
TEXT = st.text(st.characters(exclude_categories=("Cs",)), max_size=4)
VALUES: dict[Any, st.SearchStrategy[Any]] = {
    pa.float64(): st.floats(),
    pa.float32(): st.floats(width=32),
    pa.int64(): st.integers(-(2**63), 2**63 - 1),
    pa.decimal128(12, 3): st.decimals(-(10**8), 10**8, places=3),
    pa.decimal128(30, 7): st.decimals(-(10**20), 10**20, places=7),
    pa.bool_(): st.booleans(),
    pa.string(): TEXT | st.sampled_from(["north", "south", "2026-01-31", "2026-01-31T14:00:00Z"]),
    pa.timestamp("us"): st.datetimes(),
    pa.timestamp("us", "UTC"): st.datetimes(),
    pa.timestamp("ns", "Europe/Berlin"): st.integers(-(2**63) + 2, 2**63 - 2),
    pa.timestamp("s"): st.integers(-(10**12), 10**12),
    pa.date32(): st.integers(-(10**6), 10**7),
    pa.list_(pa.int64()): st.lists(st.integers(0, 3), max_size=2),
}


@st.composite
def columns(draw: st.DrawFn, rows: int) -> pa.Array:
    kind = draw(st.sampled_from(list(VALUES)))
    values = draw(st.lists(st.none() | VALUES[kind], min_size=rows, max_size=rows))
    column = pa.array(values, kind)
    return column.dictionary_encode() if draw(st.booleans()) and not pa.types.is_nested(kind) else column


def test_the_first_and_last_nanoseconds_do_not_wrap() -> None:
    moments = [-(2**63) + 1, -(2**63) + 998, -(2**63) + 1808, -1, 0, 2**63 - 2, None]
    table = pa.table({"made": pa.array(moments, pa.timestamp("ns", "UTC"))})
    known = [None if moment is None else np.datetime64(moment // 1000, "us") for moment in moments]
    read = read_columns({"made": "time"}, table)["made"]
    assert [None if np.isnat(each) else each for each in np.asarray(read)] == known


@given(st.data())
def test_odd_values(linear: Predictor, data: st.DataObject) -> None:
    rows = data.draw(st.integers(0, 4))
    names = data.draw(st.lists(st.sampled_from([*INPUTS, "other"]), unique=True, min_size=1))
    table = pa.table({name: data.draw(columns(rows), name) for name in names})
    start = data.draw(st.integers(0, rows))
    agree(linear, table.slice(start))


@given(st.data())
def test_odd_values_of_fitting_types(linear: Predictor, data: st.DataObject) -> None:
    """Most of these are accepted; of the values alone, what the recipe reads is the same, too."""
    rows = data.draw(st.integers(1, 5))
    kinds = {"number": NUMBER_TYPES, "category": (pa.string(), *NUMBER_TYPES), "time": (pa.timestamp("us"),)}
    table = pa.table(
        {
            name: pa.array(data.draw(st.lists(st.none() | VALUES[of], min_size=rows, max_size=rows), name), of)
            for name, kind in INPUTS.items()
            for of in [data.draw(st.sampled_from(kinds[kind]))]
        }
    )
    if agree(linear, table) is not None:
        own = read_columns(INPUTS, table)
        read = [read_row(INPUTS, row, at) for at, row in enumerate(table.to_pylist())]
        for name, kind in INPUTS.items():
            values = [row[name] for row in read]
            if kind == "category":
                assert list(own[name]) == values == categories(own[name]).tolist()
            elif kind == "time":
                assert np.array_equal(times(own[name]), times(values), equal_nan=True)
            else:
                assert exact([*own[name].tolist()]) == exact([math.nan if value is None else value for value in values])


def test_times_alike_are_one_time(linear: Predictor) -> None:
    """As dates, as text, with and without a zone."""
    rows = rows_of(1).drop_columns(["made"])
    made = [
        pa.array([date(2026, 1, 31)]),
        pa.array(["2026-01-31"]),
        pa.array(["2026-01-31T02:00+02:00"]),
        pa.array([datetime(2026, 1, 31)], pa.timestamp("ms")),
        pa.array([datetime(2026, 1, 31)], pa.timestamp("us", "Asia/Tokyo")),
    ]
    predictions = [linear.predict_table(rows.append_column("made", each)) for each in made]
    assert all(each.equals(predictions[0]) for each in predictions)
    other = linear.predict_table(rows.append_column("made", pa.array(["2025-06-30"])))
    assert not other.equals(predictions[0])


def test_only_a_part_of_the_rows_is_held_at_once(linear: Predictor, monkeypatch: pytest.MonkeyPatch) -> None:
    encode, sizes, steps = Recipe.encode_values, list[int](), list[int]()

    def recorded(self: Recipe, values: Any) -> Any:
        sizes.append(len(values["age"]))
        return encode(self, values)

    monkeypatch.setattr(Recipe, "encode_values", recorded)
    rows = rows_of(2 * CHUNK + 1000, seed=8)
    lacking = sum(all(value is None for value in row.values()) for row in rows.to_pylist())
    linear.predict_table(rows, steps.append)
    assert sizes == steps == [CHUNK, CHUNK, 1000 - lacking] if lacking <= 1000 else [CHUNK, 2 * CHUNK - lacking]
    assert sum(sizes) == rows.num_rows - lacking


@pytest.mark.parametrize("name", ["text", "pair", "columns", "several"])
def test_tasks_with_texts_pass_through_rows(name: str, tmp_path: Path) -> None:
    predictor = Predictor.open(greeting_model(tmp_path) if name == "text" else make(name, tmp_path, tmp_path))
    assert not predictor.reads_columns
    rows = [*predictor.sample_rows(), {**predictor.sample_rows()[0], "text": ""}]
    steps: list[int] = []
    assert agree(predictor, pa.Table.from_pylist(rows)) is not None
    agree(predictor, pa.Table.from_pylist(rows).slice(0, 0))
    predictor.predict_table(pa.Table.from_pylist(rows), steps.append)
    assert sum(steps) > 0
    agree(predictor, pa.table({"txet": ["a"]}))


class Shy(Classification):
    """Somebody else's: it changes what `decode` gives, and knows nothing of `decode_table`."""

    def decode(self, *arguments: Any) -> list[Prediction]:
        return [{**each, "label": "?"} for each in super().decode(*arguments)]


def test_a_decode_of_ones_own_is_not_passed_over(linear: Predictor) -> None:
    assert isinstance(linear.task, Classification)
    shy = replace(linear, task=Shy(linear.task.labels, inputs=INPUTS))
    assert not shy.reads_columns
    predictions = agree(shy, rows_of(5, seed=9))
    assert predictions is not None and "?" in predictions.column("label").to_pylist()


@pytest.mark.parametrize("task", TASKS)
def test_scoring_writes_the_same_either_way(models: Callable[[str, str], Predictor], task: str) -> None:
    """Also of rows whose numbers are all NaN, which are no rows without values to a table."""
    predictor = models("trees", task)
    rows = rows_of(300, seed=10)
    nothing = {"age": pa.array([math.nan] * 2), "size": pa.array([None, None], pa.int64())}
    odd = pa.table({**{name: pa.nulls(2, rows.schema.field(name).type) for name in INPUTS}, **nothing})
    table = pa.concat_tables([rows, odd]).combine_chunks()
    inputs = {name: table[name].chunk(0) for name in INPUTS}
    least = 0.0 if isinstance(predictor.task, Regression) else 0.5
    job = scoring.Scoring(predictor, scoring.Columns({n: n for n in INPUTS}, None, ()), least)
    by_column, by_row = job._predict_columns(inputs), job._predict_rows(inputs)
    assert all(one.equals(other) for one, other in zip(by_column, by_row, strict=True))
    assert by_row[2].true_count < by_row[1].true_count


def test_coded_is_a_list_of_texts() -> None:
    coded = Coded(np.array([1, 0, 2, 0]), np.array(["a", None, "é"], dtype=object))
    assert list(coded) == [None, "a", "é", "a"] == [coded[at] for at in range(4)] == np.asarray(coded).tolist()
    assert list(coded[1:3]) == ["a", "é"] and list(coded[coded.is_missing]) == [None]
    assert list(Coded.joined([coded, Coded.of(["x"])])) == [*coded, "x"]
    category = Category("place", ("a", "b"))
    assert category.places(coded).tolist() == category.places(list(coded)).tolist() == [-1, 0, -1, 0]
    assert category.shortfall(coded, "dense") is not None
