"""Rows as an Arrow IPC stream, `application/vnd.apache.arrow.stream`: columns in, columns out.

https://arrow.apache.org/docs/format/Columnar.html#ipc-streaming-format

A stranger may send anything, and Arrow's own reader believes what a stream declares. So its messages are counted before
they are decoded, compressed ones are refused (eight bytes can declare any size), and every column that the model reads
is validated in full: then its offsets and indices lie in its buffers, and its texts are UTF-8. Of types that hold more
values than their bytes show (dictionaries, views) the plain size is computed first, and nested ones are refused.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from lakewright.data.rows.kinds import Kind
from lakewright.errors import shown
from lakewright.service.server.protocols import check_rows
from lakewright.service.server.refusals import Refused, TooLarge

if TYPE_CHECKING:
    import pyarrow as pa

STREAM = "application/vnd.apache.arrow.stream"
FILE = b"ARROW1"  # how the other form of Arrow IPC, a file, begins
MESSAGES = 1024  # most record batches and dictionaries of a request
HOW = "write it by pyarrow.ipc.new_stream(sink, table.schema), without compression"


def read(body: bytes, inputs: Mapping[str, Kind], most: int, size: int) -> pa.RecordBatch:
    """The rows, `most` at most, in plain types: every column of an input, and for each other name a column of nulls.

    `size`: most bytes of the columns without dictionaries. Raises Refused, TooLarge.
    """
    import pyarrow as pa

    if body.startswith(FILE):
        raise Refused("the body is an Arrow file, not a stream", HOW)
    try:
        count = _count(body, most)
        with pa.ipc.open_stream(pa.py_buffer(body)) as stream:
            schema = stream.schema
        _check_names(schema)
        wanted = [at for at, field in enumerate(schema) if field.name in inputs]
        for at in wanted:
            _check_type(schema.field(at), inputs[schema.names[at]])
        options = pa.ipc.IpcReadOptions(included_fields=wanted, use_threads=False)
        parts: dict[str, list[pa.Array]] = {schema.names[at]: [] for at in wanted}
        if wanted:
            with pa.ipc.open_stream(pa.py_buffer(body), options=options) as stream:
                left = size
                for batch in stream:
                    for name, column in zip(batch.schema.names, batch.columns, strict=True):
                        left -= _checked(name, column, left)
                        parts[name].append(_plain(column))
        columns = {
            field.name: pa.concat_arrays(parts[field.name]) if parts.get(field.name) else pa.nulls(count)
            for field in schema
        }
        if any(len(column) != count for column in columns.values()):
            raise Refused("the columns of the Arrow stream differ in length", HOW)
        return pa.RecordBatch.from_arrays([*columns.values()], names=[*columns])
    except (pa.ArrowException, OSError, ValueError, struct.error, IndexError, OverflowError) as failure:
        raise Refused(f"the body is not a whole Arrow stream: {shown(failure)}", HOW) from None


def answer(predictions: pa.RecordBatch) -> bytes:
    import pyarrow as pa

    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, predictions.schema) as writer:
        writer.write_batch(predictions)
    written: bytes = sink.getvalue().to_pybytes()
    return written


def _count(body: bytes, most: int) -> int:
    """The rows that the stream's messages declare. Raises Refused for one that is compressed or not of a table,
    TooLarge for too many rows or messages, and as Arrow does for one that is damaged."""
    import pyarrow as pa

    source = pa.BufferReader(pa.py_buffer(body))
    messages, rows, count = pa.ipc.MessageReader.open_stream(source), 0, 0
    while True:
        try:
            message = messages.read_next_message()
        except StopIteration:
            break
        if (message.type == "schema") != (count == 0):
            raise Refused("the Arrow stream does not begin with its one schema", HOW)
        if count > MESSAGES:
            raise TooLarge(
                f"the Arrow stream has more than {MESSAGES:,} record batches and dictionaries",
                "send larger record batches: table.combine_chunks()",
            )
        count += 1
        if message.type in ("record batch", "dictionary"):
            length, compressed = _described(memoryview(message.metadata), message.type == "dictionary")
            if compressed:
                raise Refused("the Arrow stream is compressed", HOW)
            if message.type == "record batch":
                rows += length
                check_rows(rows, most)
        elif message.type != "schema":
            raise Refused(f"the Arrow stream holds a {message.type}, not a table", HOW)
    if not count:
        raise Refused("the body is empty", f"send an Arrow stream: {HOW}")
    if source.tell() < len(body):
        raise Refused(f"the Arrow stream ends after {source.tell():,} of {len(body):,} bytes", "send one stream alone")
    return rows


def _described(metadata: memoryview, dictionary: bool) -> tuple[int, bool]:
    """The rows of a record batch, or of the batch in a dictionary, and whether its buffers are compressed: by
    Message.fbs of the format. Arrow has verified the flatbuffer."""
    (root,) = struct.unpack_from("<I", metadata)
    header = _referred(metadata, _place(metadata, root, 2))
    if dictionary:
        header = _referred(metadata, _place(metadata, header, 1))
    at = _place(metadata, header, 0)
    (length,) = struct.unpack_from("<q", metadata, at) if at else (0,)
    if length < 0:
        raise Refused("the Arrow stream declares a record batch of less than no rows", HOW)
    return length, _place(metadata, header, 3) > 0


def _place(metadata: memoryview, table: int, slot: int) -> int:
    """Where a table's field stands; 0: it has its default."""
    (back,) = struct.unpack_from("<i", metadata, table)
    entry = table - back + 4 + 2 * slot
    (size,) = struct.unpack_from("<H", metadata, table - back)
    if 4 + 2 * slot >= size:
        return 0
    (offset,) = struct.unpack_from("<H", metadata, entry)
    return table + offset if offset else 0


def _referred(metadata: memoryview, place: int) -> int:
    (offset,) = struct.unpack_from("<I", metadata, place)
    return int(place + offset)


def _check_names(schema: pa.Schema) -> None:
    seen = set[str]()
    for name in schema.names:
        if name in seen:
            raise Refused(f"the Arrow stream names the column {shown(name)} twice", "name each column once")
        seen.add(name)


def _check_type(field: pa.Field, kind: Kind) -> None:
    import pyarrow as pa

    types, of = pa.types, field.type
    lists = types.is_list(of) or types.is_large_list(of)
    words = lists and _is_text(of.value_type) and not types.is_string_view(of.value_type)
    if types.is_dictionary(of) and not types.is_string_view(of.value_type):
        of = of.value_type
    flat = types.is_primitive(of) or types.is_decimal(of) or types.is_null(of) or types.is_binary(of) or _is_text(of)
    if not (words if kind == "words" and types.is_nested(of) else flat) or isinstance(of, pa.BaseExtensionType):
        wanted = "a list of strings" if kind == "words" else "numbers, strings, dates, times, or a dictionary of these"
        raise Refused(
            f"the column {shown(field.name)} has the type {shown(field.type)}, which is not read", f"send {wanted}"
        )
    if types.is_timestamp(of) and of.tz:
        try:
            pa.scalar(0, of).as_py()
        except Exception:  # a stranger's text is looked up among the files of time zones: it may fail in any way
            zone = f"the column {shown(field.name)} has the time zone {shown(of.tz)}, which is not known here"
            raise Refused(zone, "send UTC, or a name such as Europe/Berlin") from None


def _is_text(kind: pa.DataType) -> bool:
    import pyarrow as pa

    return bool(pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind))


def _checked(name: str, column: pa.Array, size: int) -> int:
    """The bytes of the column's texts, each as often as it stands in a row; the column is validated. Raises TooLarge if
    they are more than `size`."""
    import pyarrow as pa
    import pyarrow.compute as pc

    column.validate(full=True)
    if pa.types.is_dictionary(column.type):
        column.dictionary.validate(full=True)
        lengths = _lengths(column.dictionary)
        lengths = None if lengths is None else lengths.take(column.indices)
    else:
        lengths = _lengths(column.flatten() if pa.types.is_nested(column.type) else column)
    total: int = (pc.sum(lengths).as_py() or 0) if lengths is not None else 0
    if total > size:
        raise TooLarge(f"the texts of the column {shown(name)} take {total:,} bytes", "send fewer rows at once")
    return total


def _lengths(column: pa.Array) -> pa.Array | None:
    """Bytes of each value; None for types whose values have one size, of which there are few bytes a row."""
    import numpy as np
    import pyarrow as pa
    import pyarrow.compute as pc

    if pa.types.is_string_view(column.type):  # Arrow has no `binary_length` of views; each begins with its length
        views = column.buffers()[1]
        read: Any = np.frombuffer(views, "<i4")[4 * column.offset :: 4][: len(column)] if views else np.zeros(0, "<i4")
        return pa.array(read.astype(np.int64), mask=column.is_null().to_numpy(zero_copy_only=False))
    if _is_text(column.type) or pa.types.is_binary(column.type):
        return pc.cast(pc.binary_length(column), pa.int64())
    return None


def _plain(column: pa.Array) -> pa.Array:
    """Without dictionary and views."""
    import pyarrow as pa

    if pa.types.is_dictionary(column.type):
        column = column.dictionary_decode()
    if pa.types.is_string_view(column.type):  # a cast would follow the views of nulls, which nothing has validated
        column = pa.array(column.to_pylist(), pa.large_string())
    return column
