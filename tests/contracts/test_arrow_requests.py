"""A request's rows are answered alike as JSON, as CSV and as an Arrow stream, and whatever a stream holds, it is
answered or refused, in bounded memory."""

from __future__ import annotations

import asyncio
import io
import json
import math
import os
import resource
import struct
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import pairwise
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.csv
import pytest
import requests
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from lakewright.data.lake.types import python_rows
from lakewright.data.rows.gathered import gathered
from lakewright.data.rows.kinds import Kind
from lakewright.data.rows.request import read_row
from lakewright.errors import DataError
from lakewright.model.predictor import Predictor
from lakewright.service.server.answering import Answering
from lakewright.service.server.protocols import accepts, arrow
from lakewright.service.server.protocols.arrow import MESSAGES, STREAM
from lakewright.service.server.refusals import Refused, TooLarge
from lakewright.service.server.requestlog import Answered, table
from lakewright.service.server.service import PART, Service
from lakewright.settings.profile import Serve
from lakewright.testing.folders import near
from served_models import SAMPLES, answering, make
from table_models import INPUTS, TASKS, model, rows_of

EXAMPLES = int(os.environ.get("EXAMPLES", "100"))
some = settings(
    max_examples=EXAMPLES,
    derandomize="EXAMPLES" not in os.environ,
    database=None,
    deadline=None,
    suppress_health_check=list(HealthCheck),
)
MOST = 3000  # rows of a request
ARROW = {"Content-Type": STREAM}


def stream(rows: pa.Table, chunk: int | None = None, **options: Any) -> bytes:
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, rows.schema, **options) as writer:
        writer.write_table(rows, chunk)
    written: bytes = sink.getvalue().to_pybytes()
    return written


@dataclass(frozen=True)
class Served:
    predictor: Predictor
    address: str
    service: Service

    def ask(self, body: Any, **headers: str) -> requests.Response:
        """What is not bytes is sent as JSON."""
        sent = body if isinstance(body, bytes) else json.dumps(body).encode()
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        return requests.post(f"{self.address}/invocations", data=sent, headers=named, timeout=60)

    def predictions(self, body: Any, **headers: str) -> list[Any]:
        answer = self.ask(body, **headers)
        assert answer.status_code == 200, answer.text
        found: list[Any] = answer.json()["predictions"]
        return found

    def refused(self, body: Any, **headers: str) -> tuple[int, str, str]:
        answer = self.ask(body, **headers)
        said = answer.json()
        return answer.status_code, said["error"], said["remedy"]


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory, tiny_base: Path) -> Iterator[Callable[[str, str], Served]]:
    opened: dict[tuple[str, str], Served] = {}
    with ExitStack() as stack:

        def open(learner: str, task: str) -> Served:
            """`learner` "": the model of served_models.py that `task` names."""
            if (learner, task) not in opened:
                at = tmp_path_factory.mktemp("served")
                folder = model(learner, TASKS[task], at).folder if learner else make(task, at / "model", tiny_base)
                place = tmp_path_factory.mktemp("endpoint")
                port, service = stack.enter_context(answering(folder, place, Serve(request_rows=MOST)))
                opened[learner, task] = Served(Predictor.open(folder, threads=1), f"http://127.0.0.1:{port}", service)
            return opened[learner, task]

        yield open


def as_json(rows: pa.Table) -> list[dict[str, Any]]:
    shown: list[dict[str, Any]] = json.loads(json.dumps(python_rows(rows), default=lambda time: time.isoformat()))
    return shown


# -- the same answers --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("task", TASKS)
@pytest.mark.parametrize("learner", ["trees", "forest"])
def test_every_form_is_answered_alike(served: Callable[[str, str], Served], learner: str, task: str) -> None:
    """Rows of columns alone, each number to the last bit, in one part or in several, missing values among them."""
    on = served(learner, task)
    rows = rows_of(PART + 100, seed=3)
    mappings = as_json(rows)
    expected = json.loads(json.dumps(on.predictor.predict(mappings)))
    assert None in [each.get("label", each.get("value")) for each in expected]
    assert on.predictions({"dataframe_records": mappings}) == expected
    split = {"columns": list(INPUTS), "data": [[row[name] for name in INPUTS] for row in mappings]}
    assert on.predictions({"dataframe_split": split}) == expected
    assert on.predictions({"inputs": {name: [row[name] for row in mappings] for name in INPUTS}}) == expected
    for row, alone in zip(mappings[:20], expected, strict=False):  # by rows, as few are
        assert near(on.predictions({"instances": [row]}), [alone], 1e-6)  # the network rounds by the number of rows
    for of in (rows, rows.slice(7), rows.combine_chunks()):
        body = stream(of, 300)
        assert on.predictions(body, **ARROW) == expected[-of.num_rows :]
        answer = on.ask(body, Accept=f"application/json;q=0.5, {STREAM}", **ARROW)
        assert answer.headers["content-type"] == STREAM and answer.headers["x-model-version"]
        columns = pa.ipc.open_stream(answer.content).read_all().combine_chunks()
        assert columns.equals(pa.Table.from_batches([on.predictor.predict_table(of)]))
    csv = io.BytesIO()
    has_text = pa.compute.invert(pa.compute.equal(rows["place"], ""))  # CSV cannot tell it from none
    kept = rows.filter(pa.compute.fill_null(has_text, True))
    pa.csv.write_csv(kept, csv, pa.csv.WriteOptions(quoting_style="needed"))
    of_kept = on.predictor.predict(as_json(kept))
    assert on.predictions(csv.getvalue(), Content_Type="text/csv") == json.loads(json.dumps(of_kept))


@pytest.mark.parametrize("name", SAMPLES)
def test_texts_and_all_other_tasks_are_answered_alike(served: Callable[[str, str], Served], name: str) -> None:
    on = served("", name)
    rows = [{n: row.get(n) for n in on.predictor.task.inputs} for row in SAMPLES[name]]
    kept = [{n: value for n, value in row.items() if value is not None or name == "table"} for row in rows]
    columns = pa.Table.from_pylist(rows)
    expected = on.predictions({"dataframe_records": rows if name not in ("words", "similarity") else kept})
    few = columns.slice(0, 1) if name == "similarity" else columns  # a text_pair of none is refused
    assert on.predictions(stream(few), **ARROW) == expected[: few.num_rows]
    coded = few
    for at, each in enumerate(few.schema):
        if pa.types.is_string(each.type):
            coded = coded.set_column(at, each.name, few[each.name].dictionary_encode())
    assert on.predictions(stream(coded), **ARROW) == expected[: few.num_rows]
    answer = on.ask(stream(few), Accept=STREAM, **ARROW)
    assert pa.ipc.open_stream(answer.content).read_all().schema == on.predictor.predict_table(few).schema
    in_json = on.ask({"dataframe_records": as_json(few)}, Accept=STREAM)
    assert in_json.content == answer.content


def test_few_and_no_rows(served: Callable[[str, str], Served]) -> None:
    on = served("trees", "four")
    for rows in (rows_of(1), rows_of(0), rows_of(0).drop_columns(["age"])):
        expected = json.loads(json.dumps(on.predictor.predict(python_rows(rows))))
        assert on.predictions(stream(rows), **ARROW) == expected
        answer = pa.ipc.open_stream(on.ask(stream(rows), Accept=STREAM, **ARROW).content).read_all()
        assert answer.num_rows == len(expected) and "probabilities" in answer.schema.names
    sink = pa.BufferOutputStream()
    pa.ipc.new_stream(sink, rows_of(1).schema).close()
    assert on.predictions(sink.getvalue().to_pybytes(), **ARROW) == []


def test_a_form_is_chosen_by_accept() -> None:
    for accept in (STREAM, STREAM.upper(), f"*/*, {STREAM}", f"{STREAM};q=0.1", f"{STREAM} ; q=1.0"):
        assert accepts(accept, STREAM)
    for accept in ("", "*/*", "application/json", f"{STREAM};q=0", f"{STREAM};q=0.00", f"{STREAM}x"):
        assert not accepts(accept, STREAM)


def test_metrics_and_the_log_count_a_stream(served: Callable[[str, str], Served]) -> None:
    on = served("trees", "four")
    rows = rows_of(50, seed=4)

    def counted() -> dict[str, float]:
        registry = on.service.metrics._registry
        found = [each for one in registry.collect() if one.name == "lakewright_predicted" for each in one.samples]
        return {each.labels["label"]: each.value for each in found if each.name.endswith("_total")}

    steps = [counted()]
    for headers in ({}, {"Accept": STREAM}):
        on.ask(stream(rows), **ARROW, **headers)
        steps.append(counted())
    first, second = ({n: b[n] - a.get(n, 0.0) for n in b} for a, b in pairwise(steps))
    assert first == second and sum(first.values()) == 50 - on.predictor.predict_table(rows).column("label").null_count


def test_a_log_keeps_the_rows_of_a_stream_as_those_of_json(served: Callable[[str, str], Served]) -> None:
    service = served("trees", "four").service
    rows = rows_of(30, seed=6).combine_chunks().to_batches()[0]
    logged: list[Answered] = []

    class Log:
        add = staticmethod(logged.append)

    async def ask(values: Any) -> pa.RecordBatch:
        incoming = SimpleNamespace(served=None, seconds_left=30.0, id="1", caller="", milliseconds=1.0)
        request: Any = SimpleNamespace(scope={"incoming": incoming})
        log: Any = Log()
        return await Answering(service, log).predict_table(request, service.variants[0], values)

    for values in (rows, python_rows(rows), *(python_rows(rows.slice(at, 1)) for at in range(30))):
        table_of = asyncio.run(ask(values))
        assert table_of.schema.names[-1] == "confidence" and table_of.num_rows == len(values)
    stream_, json_, *singly = logged
    read = [read_row(INPUTS, row, at) for at, row in enumerate(python_rows(rows))]
    assert list(stream_.rows) == list(json_.rows) == [row for one in singly for row in one.rows] == read
    assert stream_.predictions == json_.predictions and stream_.abstained == json_.abstained
    assert near(list(stream_.predictions), [each for one in singly for each in one.predictions], 1e-6)


def test_the_document_names_the_type(served: Callable[[str, str], Served]) -> None:
    on = served("trees", "four")
    route = requests.get(f"{on.address}/openapi.json", timeout=60).json()["paths"]["/invocations"]["post"]
    assert STREAM in route["requestBody"]["content"] and STREAM in route["responses"]["200"]["content"]


def test_rows_with_times_can_be_logged() -> None:
    row = {"made": datetime(2026, 1, 31, tzinfo=UTC), "age": 3.0}
    answered = Answered("1", datetime.now(UTC), "", "m", "1", "v", [row], [{"label": "a"}], [False], 1.0)
    (logged,) = table([answered], None).to_pylist()
    assert json.loads(logged["inputs"]) == {"made": "2026-01-31T00:00:00+00:00", "age": 3.0}


# -- the same refusals -------------------------------------------------------------------------------------------------


def changed(rows: pa.Table, name: str, values: Sequence[Any]) -> pa.Table:
    return rows.drop_columns([name]).append_column(name, pa.array(values))


def test_what_is_wrong_is_told_in_the_same_words(served: Callable[[str, str], Served]) -> None:
    """Of few rows, which are read one by one, and of many."""
    on = served("trees", "four")
    for count in (3, 40):
        rows = rows_of(count, seed=5).cast(pa.schema({**dict(zip(INPUTS, rows_of(1).schema.types, strict=True))}))
        texts, rest = ["3"] * (count - 1), [None] * (count - 1)
        wrong = [
            rows.drop_columns(["size"]),
            rows.rename_columns(["age", "sise", "place", "code", "made"]),
            changed(rows, "age", [None, *texts]),
            changed(rows, "made", [None, *["soon"] * (count - 1)]),
            changed(rows, "made", [*rest, "31.1.2026"]),
            changed(rows, "place", ["x" * 100_001, *rest]),
            changed(rows, "place", [*rest, "é" * 200_000]),
        ]
        for each in wrong:
            refused = on.refused({"dataframe_records": as_json(each)})
            assert on.refused(stream(each), **ARROW) == refused and refused[0] in (400, 413)
            assert "row" in refused[1]
    many = rows_of(MOST + 1)
    told = on.refused(stream(many), **ARROW)
    assert told == on.refused({"inputs": {name: [None] * many.num_rows for name in INPUTS}}) and told[0] == 413
    assert on.refused({"dataframe_records": as_json(many)})[0] == 413
    body = stream(rows_of(10))
    assert on.ask(body, Content_Type=STREAM, Content_Encoding="gzip").status_code == 415
    assert on.ask(b"0" * (9 << 20), **ARROW).status_code == 413
    assert "application/vnd.apache.arrow.stream" in on.refused(body, Content_Type="application/x-arrow")[2]


TEXT_INPUTS: dict[str, Kind] = {"text": "text", "place": "category", "tokens": "words", "age": "number"}


def refusals() -> dict[str, tuple[bytes, str]]:
    number = pa.table({"age": [1.0, 2.0]})
    long, places = pa.array(["x" * 90_000]), pa.array([0] * 1000, pa.int8())
    coded = pa.DictionaryArray.from_arrays(places, long)
    view = struct.pack("<i4sii", 90_000, b"xxxx", 0, 0)
    views = pa.Array.from_buffers(pa.string_view(), 1000, [None, pa.py_buffer(view * 1000), long.buffers()[2]])
    sink = pa.BufferOutputStream()
    with pa.ipc.new_file(sink, number.schema) as writer:
        writer.write_table(number)
    twice = pa.Table.from_arrays([pa.array([1.0]), pa.array([2.0])], names=["age", "age"])
    empty = pa.table({"age": pa.array([], pa.float64())})
    many = pa.BufferOutputStream()
    with pa.ipc.new_stream(many, empty.schema) as writer:
        for _ in range(MESSAGES + 1):
            writer.write_batch(pa.record_batch({"age": pa.array([], pa.float64())}))
    tensor = pa.BufferOutputStream()
    pa.ipc.write_tensor(pa.Tensor.from_numpy(np.zeros(3)), tensor)
    whole = stream(number)
    compressed = {kind: stream(number, options=pa.ipc.IpcWriteOptions(compression=kind)) for kind in ("lz4", "zstd")}
    ragged = pa.table({"age": pa.array([[1.0], [2.0]])})
    return {
        "nothing": (b"", "is empty"),
        "a file": (sink.getvalue().to_pybytes(), "an Arrow file"),
        "text": (b"age\n1\n2\n", "not a whole Arrow stream"),
        "JSON": (b'{"dataframe_records": []}', "not a whole Arrow stream"),
        "half": (whole[: len(whole) // 2], "not a whole Arrow stream"),
        "two streams": (whole + whole, "ends after"),
        "a byte more": (whole + b"\0", "ends after"),
        "no schema": (whole[whole.index(b"\xff\xff\xff\xff", 4) :], "begin with its one schema"),
        "a giant head": (b"\xff\xff\xff\xff\xff\xff\xff\x7f", "not a whole Arrow stream"),
        "a tensor": (tensor.getvalue().to_pybytes(), "begin with its one schema"),
        "lz4": (compressed["lz4"], "is compressed"),
        "zstd": (compressed["zstd"], "is compressed"),
        "a compressed dictionary": (
            stream(pa.table({"place": coded}), options=pa.ipc.IpcWriteOptions(compression="lz4")),
            "is compressed",
        ),
        "one name twice": (stream(twice), "names the column 'age' twice"),
        "many batches": (many.getvalue().to_pybytes(), f"more than {MESSAGES:,} record batches"),
        "a long dictionary": (stream(pa.table({"place": coded})), "take 90,000,000 bytes"),
        "many views of a text": (stream(pa.table({"place": views})), "take 90,000,000 bytes"),
        "lists": (stream(ragged), "which is not read"),
        "structs": (stream(pa.table({"age": pa.array([{"a": 1}])})), "which is not read"),
        "maps": (stream(pa.table({"place": pa.array([[("a", 1)]], pa.map_(pa.string(), pa.int64()))})), "not read"),
        "runs": (stream(pa.table({"age": pa.RunEndEncodedArray.from_arrays([1000], [0.5])})), "which is not read"),
        "unions": (
            stream(pa.table({"age": pa.UnionArray.from_sparse(pa.array([0], pa.int8()), [pa.array([1])])})),
            "which is not read",
        ),
        "an extension": (stream(pa.table({"place": pa.array([b"0" * 16], pa.uuid())})), "which is not read"),
        "lists of bits": (stream(pa.table({"tokens": pa.array([[True] * 10])})), "which is not read"),
        "lists of nothing": (stream(pa.table({"tokens": pa.array([[None] * 10], pa.list_(pa.null()))})), "not read"),
        **{
            f"the zone {zone[:9]!r}": (
                stream(pa.table({"place": pa.array([0], pa.timestamp("us")).cast(pa.timestamp("us", zone))})),
                "which is not known here",
            )
            for zone in ("No/Where", "../../etc/passwd", "x" * 5000, "\u0000", "+99:99")
        },
        "a dictionary of views": (
            stream(pa.table({"place": pa.DictionaryArray.from_arrays([0], pa.array(["a"], pa.string_view()))})),
            "which is not read",
        ),
    }  # fmt: skip


@pytest.mark.parametrize("name", refusals())
def test_a_hostile_stream_is_refused(name: str) -> None:
    body, why = refusals()[name]
    with pytest.raises(Refused, match=why) as refused:
        arrow.read(body, TEXT_INPUTS, 1000, 8 << 20)
    assert refused.value.status in (400, 413) and refused.value.remedy


def test_declared_rows_are_counted_before_they_are_read() -> None:
    """A column of nulls has no bytes, whatever its length."""
    body = bytearray(stream(pa.table({"age": pa.nulls(77)})))
    places = [at for at in range(0, len(body) - 8, 8) if struct.unpack_from("<q", body, at)[0] == 77]
    assert places
    refused = 0
    for place in places:  # of the batch, of its column and of that column's nulls
        for declared in (2**62, 1001, -1):
            lying = bytearray(body)
            struct.pack_into("<q", lying, place, declared)
            try:
                assert arrow.read(bytes(lying), TEXT_INPUTS, 1000, 8 << 20).num_rows == 77
            except Refused:
                refused += 1
    assert refused >= 5
    for place in places:
        struct.pack_into("<q", body, place, 2**62)
    with pytest.raises(TooLarge, match="more than 1,000 rows"):
        arrow.read(bytes(body), TEXT_INPUTS, 1000, 8 << 20)


def test_columns_that_are_no_inputs_are_not_decoded() -> None:
    coded = pa.array(["a", "b", None]).dictionary_encode()
    rows = pa.table(
        {
            "before": coded,
            "inner": pa.StructArray.from_arrays([coded, pa.array([1, 2, 3])], ["x", "y"]),
            "place": coded,
            "runs": pa.RunEndEncodedArray.from_arrays([3], [0.5]),
            "made": pa.array([0, None, 1], pa.timestamp("ns", "Europe/Berlin")),
            "places": pa.array([["a"], None, []]),
        }
    )
    read = arrow.read(stream(rows), MIXED_INPUTS, 1000, 8 << 20)
    assert read.schema.names == rows.schema.names
    assert read.column("place").to_pylist() == ["a", "b", None]
    assert read.column("made").to_pylist() == rows["made"].to_pylist()
    assert all(pa.types.is_null(read.column(name).type) for name in ("before", "inner", "runs", "places"))


def test_dictionaries_that_grow_or_are_replaced_are_read() -> None:
    parts = [pa.array(of).dictionary_encode() for of in (["a", "b"], ["c", None], ["a", "d"])]
    batches = [pa.record_batch({"place": each}) for each in parts]
    for deltas in (False, True):
        sink = pa.BufferOutputStream()
        options = pa.ipc.IpcWriteOptions(emit_dictionary_deltas=deltas)
        with pa.ipc.new_stream(sink, batches[0].schema, options=options) as writer:
            for each in batches:
                writer.write_batch(each)
        rows = arrow.read(sink.getvalue().to_pybytes(), {"place": "category"}, 1000, 8 << 20)
        assert rows.column("place").to_pylist() == ["a", "b", "c", None, "a", "d"]


# -- whatever is sent --------------------------------------------------------------------------------------------------

MIXED = pa.table(
    {
        "age": [1.0, None, 3.0, 4.0],
        "text": ["long text here " * 3, "é", None, "q"],
        "tokens": pa.array([["a", "b"], None, [], ["c"]]),
        "place": pa.array(["north", None, "south", "north"]).dictionary_encode(),
        "made": pa.array([0, 1, None, 3], pa.timestamp("us")),
        "view": pa.array(["a text of a view that is long", "s", None, "x"], pa.string_view()),
        "other": pa.array([{"x": 1}, None, {"x": 2}, {"x": 3}]),
    }
)
MIXED_INPUTS: dict[str, Kind] = {**TEXT_INPUTS, "made": "time", "view": "category"}
BODIES = [
    stream(MIXED, 3),
    *(stream(MIXED.select(names)) for names in (["age", "place"], ["view"], ["tokens", "text"])),
]
EXTREMES = [0, 1, -1, 7, 8, 1000, 2**31 - 1, -(2**31), 2**31, 2**62, 2**63 - 1, -(2**63)]


@st.composite
def damaged(draw: st.DrawFn) -> bytes:
    body = bytearray(draw(st.sampled_from(BODIES)))
    for _ in range(draw(st.integers(1, 4))):
        at, value = (
            draw(st.integers(0, len(body) - 8)),
            draw(st.sampled_from(EXTREMES) | st.integers(-(2**63), 2**63 - 1)),
        )
        width = draw(st.sampled_from([1, 4, 8]))
        at -= at % width
        body[at : at + width] = (value % 2**64).to_bytes(8, "little")[:width]
    return bytes(body[: draw(st.sampled_from([len(body), len(body), draw(st.integers(0, len(body)))]))])


@pytest.mark.slow
def test_a_damaged_stream_is_read_or_refused() -> None:
    """Arrow's own reader alone would end the process, for example by the view of a null."""
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss

    @settings(some, max_examples=20 * EXAMPLES)
    @given(damaged())
    @example(b"")
    def read(body: bytes) -> None:
        try:
            rows = arrow.read(body, MIXED_INPUTS, 1000, 8 << 20)
        except Refused as refused:
            assert refused.status in (400, 413) and refused.remedy
        else:
            assert rows.num_rows <= 1000
            for at, row in enumerate(python_rows(rows)):
                try:
                    read_row(MIXED_INPUTS, row, at)
                except DataError as failure:
                    assert f"row {at}" in failure.cause

    read()
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 200 << 10  # KiB


def test_a_server_answers_or_refuses_a_damaged_stream(served: Callable[[str, str], Served]) -> None:
    on = served("", "table")

    @some
    @given(damaged(), st.sampled_from(["", STREAM]))
    def ask(body: bytes, accept: str) -> None:
        answer = on.ask(body, Accept=accept, **ARROW)
        assert answer.status_code in (200, 400, 413), answer.text

    ask()
    assert on.predictions(stream(pa.Table.from_pylist(SAMPLES["table"])), **ARROW)


# -- many rows of JSON as columns --------------------------------------------------------------------------------------

scalars = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.sampled_from([10**400, 2**63, -0.0, "", "north", "2026-01-31", "2026-01-31T14:00:00+02:00", "\ud800", "soon"])
    | st.text(max_size=3)
)
fitting: dict[Kind, st.SearchStrategy[Any]] = {
    "number": st.none() | st.booleans() | st.integers(-(2**70), 2**70) | st.floats(allow_infinity=False),
    "category": scalars,
    "time": st.none() | st.datetimes().map(datetime.isoformat) | st.dates().map(lambda day: day.isoformat()),
}
odd = st.dictionaries(st.sampled_from([*INPUTS, "other"]), scalars | st.lists(scalars, max_size=1)) | scalars
plain = st.fixed_dictionaries({name: fitting[kind] for name, kind in INPUTS.items()})


@given(st.lists(plain, min_size=1, max_size=4) | st.lists(plain | odd, min_size=1, max_size=4))
@settings(some, max_examples=4 * EXAMPLES)
def test_rows_are_gathered_as_they_are_read(rows: list[Any]) -> None:
    """Or not at all: then they are read one by one."""
    columns = gathered(INPUTS, rows)
    try:
        read: list[Mapping[str, Any]] = [read_row(INPUTS, row, at) for at, row in enumerate(rows)]
    except DataError:
        assert columns is None
        return
    if columns is not None:
        assert len(columns) == len(rows)
        exact = [[(type(value), repr(value)) for value in row.values()] for row in read]
        assert [[(type(value), repr(value)) for value in row.values()] for row in columns.rows()] == exact
        assert columns.part(1, len(rows)).rows() == columns.rows()[1:]
        assert columns.lacking.tolist() == [all(value is None for value in row.values()) for row in read]
    if all(isinstance(row, dict) and row.keys() >= INPUTS.keys() for row in rows):
        assert columns is not None or not _plain(rows)


def _plain(rows: Sequence[Mapping[str, Any]]) -> bool:
    """Whether all values are of the types that JSON's columns mostly hold."""
    numbers = all(isinstance(row[name], float) and math.isfinite(row[name]) for row in rows for name in ("age", "size"))
    texts = all(isinstance(row[name], str) and row[name].isascii() for row in rows for name in ("place", "code"))
    return numbers and texts and all(row["made"] is None for row in rows)
