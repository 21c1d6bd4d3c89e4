"""Columns as texts: plain, and as JSON. A null stays one."""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from lakewright.data.exports.formats import bytes_of

JSON_ESCAPES = {
    "\\": "\\\\",
    '"': '\\"',
    **{chr(code): json.dumps(chr(code))[1:-1] for code in range(32)},
}


def plain(column: pa.Array) -> pa.Array:
    """Numbers in the fewest digits that give them back, times in ISO 8601 (Z: UTC), true and false; NaN, Infinity."""
    kind = column.type
    if pa.types.is_string(kind):
        return column
    written = column.cast(pa.string())
    if pa.types.is_timestamp(kind):
        return pc.replace_substring(written, " ", "T", max_replacements=1)
    if pa.types.is_floating(kind) and not _all_finite(column):
        for name, better in {"nan": "NaN", "inf": "Infinity", "-inf": "-Infinity"}.items():
            written = pc.if_else(pc.equal(written, name), better, written)
    return written


def as_json(column: pa.Array) -> pa.Array:
    """The values as JSON. Whole numbers have all their digits, and other numbers a point or an exponent; decimals are
    texts, since most readers make doubles of numbers; binary is base64; of a map it is a list of [key, value]."""
    kind = column.type
    if pa.types.is_list(kind):
        return _list(column)
    if pa.types.is_map(kind):
        pairs = pa.list_(pa.struct([("key", kind.key_type), ("value", kind.item_type)]))
        return _list(column.cast(pairs), pair=True)
    if pa.types.is_struct(kind):
        names = [f"{json.dumps(field.name, ensure_ascii=False)}:" for field in kind]
        return pc.if_else(column.is_valid(), joined("{", names, column.flatten(), "}"), None)
    if pa.types.is_binary(kind):
        texts = [None if each is None else base64.b64encode(each).decode() for each in column.to_pylist()]
        return _in_quotes(pa.array(texts, pa.string()))
    written = plain(column)
    if pa.types.is_string(kind):
        return _in_quotes(escaped(written, JSON_ESCAPES))
    if pa.types.is_floating(kind):
        whole = pc.invert(pc.match_substring_regex(written, r"[.eNI]"))
        return pc.if_else(whole, pc.binary_join_element_wise(written, ".0", ""), written)
    return written if pa.types.is_integer(kind) or pa.types.is_boolean(kind) else _in_quotes(written)


def joined(begin: str, names: list[str], columns: list[pa.Array], end: str) -> pa.Array:
    """Each row's values as JSON, each behind its name."""
    parts: list[pa.Array | str] = []
    for at, (name, column) in enumerate(zip(names, columns, strict=True)):
        parts += [f"{',' if at else begin}{name}", as_json(column)]
    return pc.binary_join_element_wise(*parts, end, "", null_handling="replace", null_replacement="null")


def escaped(column: pa.Array, escapes: Mapping[str, str]) -> pa.Array:
    """With the characters that `escapes` has replaced, in their order; nearly all columns have none of them."""
    data = bytes_of(column).to_pybytes()
    for character, replacement in escapes.items():
        if character.encode() in data:
            column = pc.replace_substring(column, character, replacement)
    return column


def _list(column: pa.Array, pair: bool = False) -> pa.Array:
    values = column.flatten()
    texts = joined("[", ["", ""], values.flatten(), "]") if pair else as_json(values).fill_null("null")
    lengths = pc.list_value_length(column).fill_null(0).to_numpy()
    bounds = pa.array(np.concatenate([[0], np.cumsum(lengths)]), pa.int32())
    within = pc.binary_join(pa.ListArray.from_arrays(bounds, texts), ",")
    return pc.if_else(column.is_valid(), pc.binary_join_element_wise("[", within, "]", ""), None)


def _in_quotes(texts: pa.Array) -> pa.Array:
    return pc.binary_join_element_wise('"', texts, '"', "")


def _all_finite(column: pa.Array) -> bool:
    return bool(pc.all(pc.is_finite(column)).as_py() is not False)
