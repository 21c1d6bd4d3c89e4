"""JSON: an array of objects, or objects one after another, on one line each (jsonl, ndjson) or on several."""

from __future__ import annotations

import io
import json
import re
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from lakewright.errors import DataError
from lakewright.lake.sources import checked, files, known_options

if TYPE_CHECKING:
    import pyarrow as pa

_CHARACTERS = 1 << 20
# An error this close to the end of what has been read may only mean that the rest is still to come.
_NEAR_END = 16
_BETWEEN = re.compile(r"[\s,]*")


class JsonSource:
    """Options: encoding (utf-8), types (column → SQL type; string keeps any value as its JSON text)."""

    def open(self, uri: str, options: Mapping[str, Any], storage_options: Mapping[str, str]) -> pa.RecordBatchReader:
        from lakewright.lake.columns import named
        from lakewright.lake.sources.rows import from_rows

        known_options(options, {"encoding", "types", "split"}, "json")
        found = files.find(uri, storage_options, "json", options.get("split"))
        encoding = options.get("encoding", "utf-8")
        types = {name: named(text) for name, text in options.get("types", {}).items()}
        rows = (row for file in found.files for row in _rows(found, file, encoding))
        return checked(*from_rows(rows, types), uri)

    def fingerprint(self, uri: str, options: Mapping[str, Any], storage_options: Mapping[str, str]) -> str:
        return files.fingerprint(files.find(uri, storage_options, "json", options.get("split")), options)


def _rows(found: files.Files, file: files.SourceFile, encoding: str) -> Iterator[tuple[str, Any]]:
    with found.open(file) as stream:
        text = io.TextIOWrapper(stream, encoding=files.without_mark(encoding))
        try:
            for line, row in _objects(text, file.name):
                if file.split is not None and isinstance(row, dict):
                    row.setdefault("split", file.split)
                yield f"{file.name} line {line}", row
        except UnicodeError as error:
            raise files.undecodable(found, file, encoding) from error


def _objects(text: io.TextIOBase, name: str) -> Iterator[tuple[int, Any]]:
    """The file's objects, each with the number of the line it begins on, holding one piece of the file at a time."""

    def unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        row = dict(pairs)
        if len(row) < len(pairs):
            keys = [key for key, _ in pairs]
            twice = next(key for key in keys if keys.count(key) > 1)
            raise DataError(f"{name} line {line}: the key {twice!r} stands twice in one object", "keep one of them")
        return row

    decode = json.JSONDecoder(object_pairs_hook=unique).raw_decode
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
            except json.JSONDecodeError as error:
                cut = error.pos > len(piece) - _NEAR_END or error.msg.startswith("Unterminated string")
                more = text.read(size) if cut else ""
                if not more:
                    raise DataError(
                        f"{name} line {line + piece.count(chr(10), position, error.pos)}: {error.msg}",
                        "correct the line; a file cut short while it was written has to be written again",
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
        size = _CHARACTERS  # pieces grow for one long object only
        yield line, row
        line += piece.count("\n", position, end)
        position = end


SOURCE = JsonSource()
