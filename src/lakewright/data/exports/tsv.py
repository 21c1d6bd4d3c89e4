r"""Texts between tabs, in PostgreSQL's COPY text format (https://www.postgresql.org/docs/current/sql-copy.html), with a
line of names: `\N` is null; `\b \f \n \r \t \v \\` stand for these characters; nothing is quoted."""

from __future__ import annotations

from collections.abc import Iterator

import pyarrow as pa
import pyarrow.compute as pc

from lakewright.data.exports.formats import Lost, bytes_of, lost
from lakewright.data.exports.texts import as_json, escaped, plain

ESCAPES = dict(zip("\\\b\f\n\r\t\v", ("\\" + each for each in "\\bfnrtv"), strict=True))


class Tsv:
    endings = (".tsv",)

    def check(self, schema: pa.Schema) -> None:
        """It has every type."""

    def lost(self, rows: pa.RecordBatch) -> Iterator[Lost]:
        for name, column in zip(rows.schema.names, rows.columns, strict=True):
            if pa.types.is_string(column.type) and b"\0" in bytes_of(column).to_pybytes():
                holds = pc.match_substring(column, "\0").fill_null(False).to_numpy(zero_copy_only=False)
                remedy = f"remove it in SQL: replace({name}, chr(0), '')"
                yield from lost(name, "the character NUL, which the COPY text format lacks", remedy, holds)

    def head(self, schema: pa.Schema) -> bytes:
        names = escaped(pa.array(schema.names, pa.string()), ESCAPES).to_pylist()
        return ("\t".join(names) + "\n").encode()

    def encoded(self, rows: pa.RecordBatch) -> pa.Buffer:
        parts: list[pa.Array | str] = []
        for column in rows.columns:
            parts += ["\t" if parts else "", escaped(_text(column), ESCAPES)]
        return bytes_of(pc.binary_join_element_wise(*parts, "\n", "", null_handling="replace", null_replacement="\\N"))


def _text(column: pa.Array) -> pa.Array:
    r"""Lists, maps and structs are JSON, and binary has PostgreSQL's hex form, \x6869."""
    if pa.types.is_binary(column.type):
        return pa.array([None if each is None else f"\\x{each.hex()}" for each in column.to_pylist()], pa.string())
    return as_json(column) if pa.types.is_nested(column.type) else plain(column)


FORMAT = Tsv()
