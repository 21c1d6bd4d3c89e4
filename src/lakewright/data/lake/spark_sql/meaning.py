"""DuckDB's statements as sqlglot reads them, and whether it reads them as DuckDB does."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from sqlglot import exp, parse_one
from sqlglot.dialects.duckdb import DuckDB
from sqlglot.errors import SqlglotError
from sqlglot.generators.duckdb import DuckDBGenerator
from sqlglot.parsers.duckdb import DuckDBParser

from lakewright.data.lake.spark_sql.kinds import first_line, refused

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection


class Plain(DuckDB):
    """DuckDB's dialect, with functions as they are written: sqlglot would write some as others that are alike."""

    class Parser(DuckDBParser):
        FUNCTIONS = {  # noqa: RUF012
            name: DuckDBParser.FUNCTIONS[name]
            for name in (
                *("COALESCE", "COLUMNS", "COUNT", "GROUPING", "UNNEST"),
                *("FIRST_VALUE", "LAG", "LAST_VALUE", "LEAD", "NTH_VALUE"),  # with IGNORE NULLS
            )
        }
        FUNCTION_PARSERS = {  # noqa: RUF012
            name: DuckDBParser.FUNCTION_PARSERS[name]
            for name in ("CAST", "EXTRACT", "OVERLAY", "POSITION", "SUBSTRING", "TRIM", "TRY_CAST")
        }
        NO_PAREN_FUNCTION_PARSERS = {  # noqa: RUF012
            name: parser for name, parser in DuckDBParser.NO_PAREN_FUNCTION_PARSERS.items() if name != "IF"
        }

    class Generator(DuckDBGenerator):
        MULTI_ARG_DISTINCT = True

    def to_json_path(self, path: exp.Expr | None) -> exp.Expr | None:
        return path


def parsed(text: str) -> exp.Expr:
    try:
        return parse_one(text, dialect=Plain)
    except (SqlglotError, RecursionError) as error:
        raise refused(f"it cannot be translated ({first_line(error)})") from None


def check_meaning(text: str, again: str, connection: DuckDBPyConnection) -> None:
    """Raises UsageError unless DuckDB reads the text that sqlglot wrote as it reads the statement."""

    def read(query: str) -> Any:
        ((serialized,),) = connection.execute("SELECT json_serialize_sql(?)", [query]).fetchall()
        tree = json.loads(serialized)
        return None if tree["error"] else _meaning(tree["statements"])

    meaning = read(text)
    if meaning is None or meaning != read(again):
        raise refused("it has a form that sqlglot, which translates it, reads in another way than DuckDB")


_SAME = {
    "list": "array_agg", "len": "length", "max_by": "arg_max", "min_by": "arg_min", "listagg": "string_agg",
    "group_concat": "string_agg", "text": "varchar", "string": "varchar", "int128": "hugeint", "int": "integer",
    "int4": "integer", "int8": "bigint", "float8": "double", "float4": "float", "real": "float", "bool": "boolean",
    "argmax": "arg_max", "argmin": "arg_min", "datepart": "date_part", "datetrunc": "date_trunc", "numeric": "decimal",
    "datediff": "date_diff", "char_length": "length", "character_length": "length", "ceiling": "ceil", "pow": "power",
    "list_apply": "list_transform", "array_transform": "list_transform", "apply": "list_transform", "log10": "log",
    "lcase": "lower", "ucase": "upper", "substring": "substr", "timestamptz": "timestamp with time zone",
    "array_length": "length", "str_split": "string_split", "split": "string_split", "string_to_array": "string_split",
    "list_has": "list_contains", "array_contains": "list_contains", "array_has": "list_contains", "bytea": "blob",
    "regexp_split_to_array": "string_split_regex", "str_split_regex": "string_split_regex", "long": "bigint",
    "stddev": "stddev_samp", "variance": "var_samp", "json_extract": "->", "json_extract_string": "->>",
    "json_extract_path": "->", "json_extract_path_text": "->>", "prefix": "starts_with", "^@": "starts_with",
    "list_value": "list_pack", "struct_pack": "struct_pack", "**": "power", "^": "power", "row": "struct_pack",
    "filter": "list_filter", "array_filter": "list_filter", "array_sort": "list_sort", "xor": "bit_xor",
    "list_distinct": "array_distinct", "position": "strpos", "instr": "strpos", "short": "smallint",
    "varbinary": "blob", "binary": "blob", "int2": "smallint", "int1": "tinyint", "logical": "boolean",
    "array_slice": "list_slice", "list_cat": "list_concat", "array_concat": "list_concat", "array_cat": "list_concat",
    "editdist3": "levenshtein", "sha": "sha256", "list_aggr": "list_aggregate", "dayofmonth": "day",
    "array_reverse_sort": "list_reverse_sort", "dec": "decimal", "bpchar": "varchar", "char": "varchar",
}  # fmt: skip


def _meaning(node: Any, of_dates: bool = False) -> Any:
    """DuckDB's tree without places, and with one name for those that are the same."""
    if isinstance(node, list):
        return [_meaning(each, of_dates) for each in node]
    if isinstance(node, str):
        return _SAME.get(node.lower(), node.lower())
    if not isinstance(node, dict):
        return node
    if node.get("class") == "CONSTANT":
        # an interval's number may be a text, and the parts of dates have no case
        text = node.get("literal", node.get("value"))
        text = text.get("text", text) if isinstance(text, dict) else text
        return str(text).lower() if of_dates else json.dumps(text)
    if node.get("type") == "OPERATOR_CAST" and "BOOLEAN" in json.dumps(node.get("type_expr", node.get("cast_type"))):
        child = node["child"]
        if child.get("class") in ("COMPARISON", "CONJUNCTION"):  # it is one already
            return _meaning(child)
    if (interval := _interval(node)) is not None:
        return interval
    child = (node.get("children") or [{}])[0]
    if node.get("type") == "OPERATOR_NOT" and child.get("type") == "OPERATOR_IS_NULL":
        return _meaning({**child, "type": "OPERATOR_IS_NOT_NULL", "alias": node.get("alias")})
    if node.get("type") == "JOIN" and _meaning(node.get("condition")) in ('"true"', "true"):
        node = {**node, "condition": None, "ref_type": "CROSS"}
    if str(node.get("null_order")).replace("_", " ") == "NULLS LAST":  # DuckDB's default
        node = {**node, "null_order": "ORDER_DEFAULT"}
    path = (node.get("qualified_name") or {}).get("path") or [node.get("function_name", "")]
    name = str(path[-1]).lower()
    if node.get("class") == "FUNCTION":
        of_dates = name.startswith(("date", "to_")) or name in ("epoch", "extract", "time_bucket")
    dropped = ("query_location", "query_location_length", "is_operator", "catalog", "schema", "is_implicit")
    return {key: _meaning(value, of_dates) for key, value in node.items() if key not in dropped and value}


def _interval(node: Any) -> str | None:
    """INTERVAL '1 day' and INTERVAL 1 DAY as one text."""
    path = (node.get("qualified_name") or node.get("type_expr", {}).get("qualified_name") or {}).get("path") or [""]
    name, constant = str(path[-1]).lower(), node
    if node.get("class") == "CAST" and name == "interval" and node["child"].get("class") == "CONSTANT":
        number, _, unit = str(node["child"]["literal"]["text"]).partition(" ")
        return f"interval {number} {unit.lower().rstrip('s')}" if number.isdecimal() and unit.isalpha() else None
    if node.get("class") != "FUNCTION" or not name.startswith("to_"):
        return None
    while constant.get("class") in ("FUNCTION", "CAST"):
        inner = constant["arguments"] if constant["class"] == "FUNCTION" else [{"expression": constant["child"]}]
        if len(inner) != 1:
            return None
        constant = inner[0]["expression"]
    if constant.get("class") != "CONSTANT":
        return None
    return f"interval {constant['literal']['text']} {name.removeprefix('to_').rstrip('s')}"
