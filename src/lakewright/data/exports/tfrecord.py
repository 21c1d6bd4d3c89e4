"""TensorFlow's records of `tf.train.Example`, written without TensorFlow.

A record is the length of its bytes, the length's checksum, the bytes and their checksum
(https://www.tensorflow.org/tutorials/load_data/tfrecord). The bytes are a message of Protocol Buffers
(https://protobuf.dev/programming-guides/encoding/), by tensorflow/core/example/feature.proto:

    Example {features = 1}     Features {map<string, Feature> feature = 1}
    Feature {bytes_list = 1 | float_list = 2 | int64_list = 3}, each of which has `repeated value = 1`
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from lakewright.data.exports.crc32c import crc32c, masked
from lakewright.data.exports.formats import Lost, bytes_of, lost
from lakewright.data.exports.texts import plain
from lakewright.errors import DataError, shown

FIRST, SECOND, THIRD = b"\x0a", b"\x12", b"\x1a"  # the tags of fields 1, 2 and 3 that have a length
Lengths = npt.NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Message:
    """The same part of each row's message: pieces that follow one another, and how long they are together."""

    pieces: tuple[bytes | pa.Array, ...]
    length: int | Lengths  # the same for all rows, or each row's

    def within(self, tag: bytes) -> Message:
        """As a field of a message around it."""
        if isinstance(self.length, int):
            head = tag + _varint(self.length)
            return Message((head, *self.pieces), len(head) + self.length)
        lengths, sizes = _varints(self.length.astype(np.uint64))
        return Message((tag, lengths, *self.pieces), len(tag) + sizes + self.length)

    def joined(self) -> pa.Array:
        return pc.binary_join_element_wise(*self.pieces, b"")


@dataclass(frozen=True)
class TfRecord:
    rounded: bool = False  # doubles to the nearest float, which a float_list holds

    endings = (".tfrecord", ".tfrecords")

    def check(self, schema: pa.Schema) -> None:
        for field in schema:
            kind = field.type.value_type if pa.types.is_list(field.type) else field.type
            if pa.types.is_nested(kind):
                raise DataError(
                    f"column {field.name!r} is of type {shown(field.type)}, and a feature of tf.train.Example is one "
                    "list of numbers or of texts",
                    f"make it a text in SQL: to_json({field.name}); or leave it out; or export to jsonl",
                )

    def lost(self, rows: pa.RecordBatch) -> Iterator[Lost]:
        for name, column in zip(rows.schema.names, rows.columns, strict=True):
            parents, values = np.arange(len(column)), column
            if pa.types.is_list(column.type):
                parents, values = pc.list_parent_indices(column).to_numpy(), column.flatten()
                remedy = f"leave them out in SQL: list_filter({name}, lambda x: x is not null)"
                rows_of = np.zeros(len(column), np.bool_)
                rows_of[parents[values.is_null().to_numpy(zero_copy_only=False)]] = True
                yield from lost(name, "a list with a null, which a feature lacks", remedy, rows_of)
            if pa.types.is_float64(values.type):
                rows_of = np.zeros(len(column), np.bool_)
                rows_of[parents[_not_floats(values, self.rounded)]] = True
                yield from lost(
                    name,
                    "a number beyond the range of 32 bits" if self.rounded else "a number that 32 bits do not hold",
                    f"make them null in SQL: try_cast({name} as float)"
                    if self.rounded
                    else "round them to the nearest one of 32 bits: --float32; or export to tsv or jsonl",
                    rows_of,
                )

    def head(self, schema: pa.Schema) -> bytes:
        return b""

    def encoded(self, rows: pa.RecordBatch) -> pa.Buffer:
        features = [_entry(name, column) for name, column in zip(rows.schema.names, rows.columns, strict=True)]
        length: int | Lengths = sum((each.length for each in features), 0)
        whole = Message(tuple(piece for each in features for piece in each.pieces), length).within(FIRST)
        lengths = np.broadcast_to(np.asarray(whole.length, np.uint64), rows.num_rows)
        # a row without pieces of its own, and one of constants alone, would be no array
        examples = Message((_fixed(np.zeros((rows.num_rows, 0), np.uint8)), *whole.pieces), 0).joined()
        head, checked = _fixed(_bytes(lengths)), _bytes(masked(crc32c(examples)))
        pieces = (head, _fixed(_bytes(masked(crc32c(head)))), examples, _fixed(checked))
        return bytes_of(Message(pieces, 0).joined())


def _entry(name: str, column: pa.Array) -> Message:
    """The map's entry of each row: none where the value is null."""
    there = column.drop_null() if column.null_count else column
    key = name.encode()
    value = _feature(there).within(SECOND)
    named = FIRST + _varint(len(key)) + key
    entry = Message((named, *value.pieces), len(named) + value.length).within(FIRST)
    if not column.null_count:
        return entry
    present = np.flatnonzero(column.is_valid().to_numpy(zero_copy_only=False))
    lengths = np.zeros(len(column), np.int64)
    lengths[present] = entry.length
    data = bytes_of(Message((_fixed(np.zeros((len(there), 0), np.uint8)), *entry.pieces), 0).joined())
    return Message((_cut(data, lengths),), lengths)


def _feature(column: pa.Array) -> Message:
    """Whole numbers and truth values as int64_list, dates as days and times as microseconds since 1970 too; other
    numbers as float_list; texts, binary and the digits of decimals as bytes_list."""
    lists = pa.types.is_list(column.type)
    values = column.flatten() if lists else column
    kind = values.type
    if pa.types.is_floating(kind):
        held = _fixed(_bytes(values.cast(pa.float32(), safe=False).to_numpy(zero_copy_only=False)))
        return _grouped(column, held, lists).within(FIRST).within(SECOND)
    if pa.types.is_string(kind) or pa.types.is_binary(kind) or pa.types.is_decimal(kind):
        texts = (plain(values) if pa.types.is_decimal(kind) else values).cast(pa.binary())
        each = Message((texts,), _lengths(texts)).within(FIRST)
        return (_grouped(column, each.joined(), lists) if lists else each).within(FIRST)
    if pa.types.is_date(kind):
        values = values.cast(pa.int32())
    numbers = values.cast(pa.int64()).to_numpy(zero_copy_only=False)
    held, _ = _varints(numbers.view(np.uint64))
    return _grouped(column, held, lists).within(FIRST).within(THIRD)


def _grouped(column: pa.Array, values: pa.Array, lists: bool) -> Message:
    """The values of each row, one after the other."""
    if not lists:
        return Message((values,), _lengths(values))
    counts = pc.list_value_length(column).to_numpy(zero_copy_only=False)
    ends = np.concatenate([[0], np.cumsum(counts)])
    offsets = np.frombuffer(values.buffers()[1], np.int32)
    lengths = np.diff(offsets[ends].astype(np.int64))
    return Message((_cut(bytes_of(values), lengths),), lengths)


def _not_floats(values: pa.Array, rounded: bool) -> npt.NDArray[np.bool_]:
    given = values.fill_null(0.0).to_numpy(zero_copy_only=False)
    with np.errstate(over="ignore"):
        held = given.astype(np.float32)
    if rounded:
        beyond: npt.NDArray[np.bool_] = np.isinf(held) & ~np.isinf(given)
        return beyond
    differs: npt.NDArray[np.bool_] = (held != given) & ~np.isnan(given)
    return differs


def _lengths(strings: pa.Array) -> int | Lengths:
    lengths = pc.binary_length(strings).to_numpy().astype(np.int64)
    same = len(lengths) > 0 and bool((lengths == lengths[0]).all())
    return int(lengths[0]) if same else lengths


def _varint(number: int) -> bytes:
    written = bytearray()
    while number > 127:
        written.append(number & 127 | 128)
        number >>= 7
    written.append(number)
    return bytes(written)


def _varints(numbers: npt.NDArray[np.uint64]) -> tuple[pa.Array, Lengths]:
    """Each in seven bits a byte, the lowest first; a byte that another one follows has its eighth bit set."""
    sizes = np.ones(len(numbers), np.int64)
    for at in range(1, 10):
        more = numbers >= np.uint64(1 << 7 * at)
        if not more.any():
            break
        sizes += more
    ends = np.cumsum(sizes)
    begins, data = ends - sizes, np.empty(int(ends[-1]) if len(ends) else 0, np.uint8)
    for at in range(int(sizes.max(initial=0))):
        longer = np.flatnonzero(sizes > at) if at else slice(None)
        byte = ((numbers[longer] >> np.uint64(7 * at)) & np.uint64(127)).astype(np.uint8)
        byte |= np.where(sizes[longer] > at + 1, np.uint8(128), np.uint8(0))
        data[begins[longer] + at] = byte
    return _cut(pa.py_buffer(data), sizes), sizes


def _bytes(numbers: npt.NDArray[np.generic]) -> npt.NDArray[np.uint8]:
    """[rows, bytes of a number]: little-endian."""
    plain = np.ascontiguousarray(numbers)
    return plain.view(np.uint8).reshape(len(plain), plain.itemsize)


def _fixed(rows: npt.NDArray[np.uint8]) -> pa.Array:
    return _cut(pa.py_buffer(rows.reshape(-1)), np.full(len(rows), rows.shape[1]))


def _cut(data: pa.Buffer, lengths: Lengths) -> pa.Array:
    """The bytes as binary strings of these lengths."""
    offsets = np.zeros(len(lengths) + 1, np.int32)
    np.cumsum(lengths, out=offsets[1:])
    return pa.Array.from_buffers(pa.binary(), len(lengths), [None, pa.py_buffer(offsets), data])
