"""JSON: an array of objects, or objects one after another, on one line each (jsonl, ndjson) or on several."""

from __future__ import annotations

import io
import json
import re
from collections.abc import Callable, Iterator, Mapping
from itertools import chain, islice
from typing import TYPE_CHECKING, Any

from lakewright.data.sources import AS_IT_IS, Intake, check_options, checked, declared_types, files
from lakewright.data.sources.text import LONGEST_LINE, check_marks, decoding, encoding_of, endless, undecodable
from lakewright.data.sources.words import OPTION, words_in
from lakewright.errors import DataError, shown

if TYPE_CHECKING:
    import pyarrow as pa

_CHARACTERS = 1 << 20
# An error this close to the end of the text read so far may only mean that the rest is missing.
_NEAR_END = 16
_BETWEEN = re.compile(r"[\s,]*")


class JsonSource:
    """Options: encoding (utf-8), types (column → SQL type; string keeps any value as its JSON text), missing (words
    that mean null in a column of numbers; by default words such as NA)."""

    def open(
        self, uri: str, options: Mapping[str, Any], storage_options: Mapping[str, str], intake: Intake = AS_IT_IS
    ) -> pa.RecordBatchReader:
        from lakewright.data.sources.rows import from_rows

        check_options(options, {"encoding", "types", OPTION, *files.OPTIONS}, "json")
        words = words_in(options)
        source_files = files.find(uri, storage_options, "json", options, intake.files)
        encoding = encoding_of(options, intake.notice)
        types = declared_types(options)
        more = files.from_names(source_files, intake)
        number = _Number if "string" in types.values() else float
        rows = (
            row
            for at, file in enumerate(source_files.files)
            for row in _rows(
                source_files, file, encoding, {name: column[at].as_py() for name, column in more.items()}, number
            )
        )
        several: Iterator[tuple[str, Any]] = rows if len(source_files.files) > 1 else _several(rows)
        return checked(*from_rows(several, types, intake, words), uri, intake)

    def listing(self, uri: str, options: Mapping[str, Any], storage_options: Mapping[str, str]) -> files.Files:
        return files.find(uri, storage_options, "json", options)

    def fingerprint(
        self, uri: str, options: Mapping[str, Any], storage_options: Mapping[str, str], intake: Intake = AS_IT_IS
    ) -> str:
        source_files = files.find(uri, storage_options, "json", options, intake.files)
        return files.fingerprint(source_files, options, intake.as_written)


def _rows(
    source_files: files.Files,
    file: files.SourceFile,
    encoding: str,
    more: Mapping[str, Any],
    number: Callable[[str], float],
) -> Iterator[tuple[str, Any]]:
    """The file's rows, each with its place and with the values from the file's name."""
    check_marks(source_files, file, encoding)
    with source_files.open(file) as stream:
        text = io.TextIOWrapper(stream, encoding=decoding(encoding))
        try:
            for line, row in _objects(text, file.name, number):
                if more and isinstance(row, dict):
                    for name in file.partition.keys() & row.keys() & more.keys():
                        raise files.column_conflict(name, file)
                    row |= {name: value for name, value in more.items() if name not in row}
                yield f"{file.name} line {line}", row
        except UnicodeError as error:
            raise undecodable(source_files, file, encoding) from error


def _several(rows: Iterator[tuple[str, Any]]) -> Iterator[tuple[str, Any]]:
    """The rows of a file. Raises DataError if the file is one object that holds all of them."""
    first = list(islice(rows, 2))
    if len(first) == 1 and isinstance(first[0][1], dict) and first[0][1]:
        place, row = first[0]
        name = place.rpartition(" line ")[0]
        values = list(row.values())
        inside = [key for key, value in row.items() if _is_rows(value)]
        if all(isinstance(value, dict) for value in values) or (
            all(isinstance(value, list) for value in values) and ("data" in row or len(set(map(len, values))) == 1)
        ):
            raise DataError(
                f"{name} is one object of columns ({_names(row)}), not of rows",
                'write it with orient="records" (DataFrame.to_json), or as one object a row',
            )
        if len(inside) == 1:
            raise DataError(
                f"{name} is one object whose key {shown(inside[0])} holds a list of {len(row[inside[0]]):,} objects",
                f"if they are the rows, write that list alone (jq '.{inside[0]}' FILE), or one object a row",
            )
    return chain(first, rows)


def _is_rows(value: Any) -> bool:
    return isinstance(value, list) and len(value) > 1 and all(isinstance(each, dict) for each in value)


def _names(row: Mapping[str, Any]) -> str:
    return ", ".join(map(shown, islice(row, 5))) + ", …" * (len(row) > 5)


class _Number(float):
    """A number with its original text."""

    written: str

    def __new__(cls, written: str) -> _Number:
        number = super().__new__(cls, written)
        number.written = written
        return number


def _objects(text: io.TextIOBase, name: str, number: Callable[[str], float] = float) -> Iterator[tuple[int, Any]]:
    """The file's objects, each with the number of its first line; holds one piece of the file at a time."""

    def unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        row = dict(pairs)
        if len(row) < len(pairs):
            keys = [key for key, _ in pairs]
            repeated = next(key for key in keys if keys.count(key) > 1)
            raise DataError(f"{name} line {line}: the key {repeated!r} occurs twice in one object", "keep one of them")
        return row

    decode = json.JSONDecoder(object_pairs_hook=unique, parse_float=number).raw_decode
    piece, position, line, size = text.read(_CHARACTERS), 0, 1, _CHARACTERS
    start = _BETWEEN.match(piece).end()  # type: ignore[union-attr]
    in_array = piece[start : start + 1] == "["
    if in_array:
        line, position = 1 + piece.count("\n", 0, start), start + 1
    while True:
        after = _BETWEEN.match(piece, position).end()  # type: ignore[union-attr]
        line += piece.count("\n", position, after)
        position = after
        complete = None
        if position < len(piece) and not (in_array and piece[position] == "]"):
            try:
                complete = decode(piece, position)
            except (ValueError, RecursionError) as error:
                if not isinstance(error, json.JSONDecodeError):
                    brackets = isinstance(error, RecursionError)
                    cause = "its values are nested too deeply" if brackets else "a number has more than 4,300 digits"
                    raise DataError(f"{name} line {line}: {cause}", "correct the line") from error
                cut = error.pos > len(piece) - _NEAR_END or error.msg.startswith("Unterminated string")
                if cut and len(piece) - position > LONGEST_LINE:
                    raise endless(name, line) from None
                more = text.read(size) if cut else ""
                if not more:
                    raise DataError(
                        f"{name} line {line + piece.count(chr(10), position, error.pos)}: {error.msg}"
                        + f" {shown(piece[error.pos :])}" * error.msg.endswith(" at"),
                        "correct the line; if the file was cut short, write it again"
                        if piece[position] in "{[" or in_array
                        else "if these are not JSON objects, name the format: data.format: csv",
                    ) from error
                piece, position, size = piece[position:] + more, 0, size * 2
                continue
        elif position == len(piece):
            piece, position, size = text.read(_CHARACTERS), 0, _CHARACTERS
            if piece:
                continue
            if in_array:
                raise DataError(f"{name}: the array is not closed", "the file was cut short: write it again")
            return
        else:
            if rest := (piece[position + 1 :] + text.read(_CHARACTERS)).strip():
                raise DataError(f"{name} line {line}: {rest[:20]!r} comes after the array", "keep one array in a file")
            return
        row, end = complete
        size = _CHARACTERS  # pieces grow only for one long object
        yield line, row
        line += piece.count("\n", position, end)
        position = end


SOURCE = JsonSource()
