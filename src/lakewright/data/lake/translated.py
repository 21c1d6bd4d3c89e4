"""A statement in DuckDB's SQL as one of Spark's, with DuckDB's answers.

Spark reads, joins, groups and sorts. Of values it computes by itself only those that it computes as DuckDB does, bit
for bit: comparisons and sums of plain numbers, texts and dates (`_Plan.native`). All others, and every function, are
computed by DuckDB in Spark's workers (`Computed`), in the types that DuckDB gives them over empty tables. What neither
way makes equal is refused.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import pyarrow as pa
from sqlglot import exp, parse_one
from sqlglot.dialects.duckdb import DuckDB
from sqlglot.errors import SqlglotError
from sqlglot.optimizer.qualify import qualify

from lakewright.errors import UsageError

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection
    from duckdb.sqltypes import DuckDBPyType

    Probe = Callable[[str], "Kind"]

WITH_DUCKDB = "write it in another way, or let DuckDB run it (profiles.yml: sql: duckdb)"
# Their values depend on the order in which rows come, which Spark does not keep.
_IN_ORDER = {
    *("any_value", "arbitrary", "arg_max", "arg_max_null", "arg_min", "arg_min_null", "array_agg", "first", "last"),
    *("group_concat", "list", "listagg", "max_by", "min_by", "mode", "string_agg", "approx_quantile", "approx_top_k"),
    *("reservoir_quantile", "argmax", "argmin", "histogram_exact", "fsum", "kahan_sum", "sumkahan", "favg"),
}
# Each call has another value, or they mean this connection.
_VOLATILE = {
    *("random", "rand", "setseed", "uuid", "gen_random_uuid", "uuidv4", "uuidv7", "nextval", "currval", "txid_current"),
    *("getvariable", "current_setting", "current_database", "current_schema", "current_schemas", "current_query"),
    *("current_catalog", "current_user", "session_user", "pg_sleep", "query", "query_table", "version", "getenv"),
    *("get_current_time", "current_localtime", "localtime", "current_localtimestamp", "localtimestamp", "current_time"),
    *("transaction_timestamp", "get_current_timestamp", "current_role", "user", "age", "sleep_ms", "icu_collate"),
}
_NOW = {"now": "now()", "today": "today()", "current_date": "today()", "current_timestamp": "now()"}
_SCALARS = {  # DuckDB's type → Spark's
    "boolean": "BOOLEAN", "tinyint": "TINYINT", "smallint": "SMALLINT", "integer": "INT", "bigint": "BIGINT",
    "utinyint": "SMALLINT", "usmallint": "INT", "uinteger": "BIGINT", "ubigint": "DECIMAL(20, 0)",
    "hugeint": "DECIMAL(38, 0)", "uhugeint": "DECIMAL(38, 0)", "float": "FLOAT", "double": "DOUBLE",
    "varchar": "STRING", "enum": "STRING", "uuid": "STRING", "blob": "BINARY", "date": "DATE",
    "timestamp": "TIMESTAMP_NTZ", "timestamp with time zone": "TIMESTAMP", "sqlnull": "INT",
}  # fmt: skip
_ARROW = {
    "BOOLEAN": pa.bool_(), "TINYINT": pa.int8(), "SMALLINT": pa.int16(), "INT": pa.int32(), "BIGINT": pa.int64(),
    "FLOAT": pa.float32(), "DOUBLE": pa.float64(), "STRING": pa.string(), "BINARY": pa.binary(), "DATE": pa.date32(),
    "TIMESTAMP_NTZ": pa.timestamp("us"), "TIMESTAMP": pa.timestamp("us", "UTC"),
}  # fmt: skip
_WHOLE = ("tinyint", "smallint", "integer", "bigint")
_COMPARED = (exp.EQ, exp.NEQ, exp.LT, exp.LTE, exp.GT, exp.GTE, exp.NullSafeEQ, exp.NullSafeNEQ)
_WINDOWS = ("row_number", "rank", "dense_rank", "percent_rank", "cume_dist", "ntile")
_OF_ROWS = ("lag", "lead", "first_value", "last_value", "nth_value")


class Plain(DuckDB):
    """DuckDB's dialect, with functions as they are written: sqlglot would write some as others that are alike."""

    class Parser(DuckDB.Parser):
        FUNCTIONS = {  # noqa: RUF012
            name: DuckDB.Parser.FUNCTIONS[name]
            for name in (
                *("COALESCE", "COLUMNS", "COUNT", "GROUPING", "UNNEST"),
                *("FIRST_VALUE", "LAG", "LAST_VALUE", "LEAD", "NTH_VALUE"),  # with IGNORE NULLS
            )
        }
        FUNCTION_PARSERS = {  # noqa: RUF012
            name: DuckDB.Parser.FUNCTION_PARSERS[name]
            for name in ("CAST", "EXTRACT", "OVERLAY", "POSITION", "SUBSTRING", "TRIM", "TRY_CAST")
        }
        NO_PAREN_FUNCTION_PARSERS = {  # noqa: RUF012
            name: parser for name, parser in DuckDB.Parser.NO_PAREN_FUNCTION_PARSERS.items() if name != "IF"
        }

    class Generator(DuckDB.Generator):
        MULTI_ARG_DISTINCT = True

    def to_json_path(self, path: exp.Expr | None) -> exp.Expr | None:
        return path


@dataclass(frozen=True)
class Kind:
    """A type, as DuckDB names it, as Spark does, and in Arrow from DuckDB and to Spark."""

    of: DuckDBPyType
    name: str
    spark: str
    arrow: pa.DataType
    carried: pa.DataType

    @property
    def id(self) -> str:
        return _id(self.of)

    @property
    def is_nested(self) -> bool:
        return pa.types.is_nested(self.carried)


@dataclass(frozen=True)
class Computed:
    """A function that DuckDB computes in the workers, of rows or (`grouped`) of lists of a group's rows."""

    name: str
    text: str  # of DuckDB's SQL, over the columns lw0, lw1, …
    arguments: tuple[Kind, ...]
    result: Kind
    grouped: bool


@dataclass(frozen=True)
class Translated:
    text: str  # of Spark's SQL
    functions: list[Computed]


def refused(what: str, remedy: str = WITH_DUCKDB) -> UsageError:
    return UsageError(f"Spark does not run this statement with DuckDB's answers: {what}", remedy)


def translated(
    text: str,
    connection: DuckDBPyConnection,
    tables: Mapping[tuple[str, str, str], tuple[str, Mapping[str, str]]],
) -> Translated:
    """The statement for Spark. `connection` has the tables' columns, without rows, under their names in `text` and as
    views; `tables` name the view of each table (catalog, schema, name) and its columns' types.

    Raises UsageError for what Spark cannot do, or would do in another way.
    """
    try:
        tree = parse_one(text, dialect=Plain)
    except (SqlglotError, RecursionError) as error:
        raise refused(f"it cannot be translated ({_first_line(error)})") from None
    _check_meaning(text, tree.sql(Plain), connection)
    probed = _Probed(connection)
    try:
        tree = _with_views(tree, tables)
        tree = _prepared(tree, probed)
        schema: dict[str, object] = {view: dict(columns) for view, columns in tables.values()}
        tree = qualify(tree, schema=schema, dialect=Plain)
        tree = _expanded(tree)
    except (SqlglotError, RecursionError) as error:
        raise refused(f"it cannot be translated ({_first_line(error)})") from None
    wanted = [str(kind).lower() for kind in connection.sql(text).types]
    if [str(kind).lower() for kind in probed.types(tree.sql(Plain))] != wanted:
        raise refused("its columns have other types once its names are resolved")
    shown = [each.this for each in tree.expressions] if isinstance(tree, exp.Select) else []
    if any(not any(each is one for one in shown) for each in tree.find_all(exp.TableColumn)) and text != text.lower():
        raise refused("a whole row is a value, whose names sqlglot writes in lower case", "name its columns")
    plan = _Plan(probed)
    query = plan.query(tree)
    return Translated(query.sql("spark"), list(plan.functions.values()))


def kind_of(of: DuckDBPyType, connection: DuckDBPyConnection) -> Kind:
    """Raises UsageError for a type that Spark lacks."""
    name = "INTEGER" if _id(of) == "sqlnull" else str(of)
    spark = _spark(of)
    arrow = connection.sql(f"SELECT NULL::{name} AS v").to_arrow_table().schema.types[0]
    return Kind(of, name, spark, arrow, _carried(of))


def _lacking(of: DuckDBPyType) -> Kind:
    """Of a value that Spark never sees: within an expression that DuckDB computes."""
    return Kind(of, str(of), "", pa.null(), pa.null())


# Types ---------------------------------------------------------------------------------------------------------------


def _id(of: DuckDBPyType) -> str:
    return "sqlnull" if str(of) == '"NULL"' else str(of.id)


def _spark(of: DuckDBPyType) -> str:
    """Spark's type; fields of structs go by their places, since their names may be any text."""
    if _id(of) == "decimal":
        (_, precision), (_, scale) = of.children
        return f"DECIMAL({precision}, {scale})"
    if _id(of) in ("list", "array"):
        return f"ARRAY<{_spark(dict(of.children)['child'])}>"
    if _id(of) in ("struct", "tuple"):
        return f"STRUCT<{', '.join(f'f{at}: {_spark(each)}' for at, (_, each) in enumerate(of.children))}>"
    if _id(of) == "map":
        (_, key), (_, value) = of.children
        return f"MAP<{_spark(key)}, {_spark(value)}>"
    if _id(of) not in _SCALARS:
        raise refused(f"it has values of the type {of}, which Spark lacks", f"cast them, to varchar; or {WITH_DUCKDB}")
    return _SCALARS[_id(of)]


def _carried(of: DuckDBPyType) -> pa.DataType:
    """The Arrow type of `_spark`."""
    if _id(of) in ("list", "array"):
        return pa.list_(pa.field("element", _carried(dict(of.children)["child"])))
    if _id(of) in ("struct", "tuple"):
        return pa.struct([pa.field(f"f{at}", _carried(each)) for at, (_, each) in enumerate(of.children)])
    if _id(of) == "map":
        (_, key), (_, value) = of.children
        return pa.map_(_carried(key), _carried(value))
    name = _spark(of)
    if name.startswith("DECIMAL"):
        return pa.decimal128(*map(int, name[8:-1].split(",")))
    return _ARROW[name]


# The statement as sqlglot reads it -----------------------------------------------------------------------------------


def _check_meaning(text: str, again: str, connection: DuckDBPyConnection) -> None:
    """Raises UsageError unless DuckDB reads the text that sqlglot wrote as it reads the statement."""

    def read(query: str) -> Any:
        ((serialized,),) = connection.execute("SELECT json_serialize_sql(?)", [query]).fetchall()
        tree = json.loads(serialized)
        return None if tree["error"] else _meaning(tree["statements"])

    found = read(text)
    if found is None or found != read(again):
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


def _first_line(error: BaseException) -> str:
    lines = str(error).splitlines() or ["it is too deep"]
    return lines[0][:200]


def _with_views(
    tree: exp.Expr, tables: Mapping[tuple[str, str, str], tuple[str, Mapping[str, str]]]
) -> exp.Expr:
    """The tables' views in place of their names; a table's name of three parts before a column becomes its alias."""
    views = {tuple(part.lower() for part in key): view for key, (view, _) in tables.items()}
    for table in list(tree.find_all(exp.Table)):
        view = views.get((table.catalog.lower(), table.db.lower(), table.name.lower()))
        if view is None:
            continue
        if table.args.get("sample") or table.args.get("pivots"):
            continue
        alias = table.args.get("alias") or exp.TableAlias(this=exp.to_identifier(table.name, quoted=True))
        if not alias.args.get("this"):
            alias.set("this", exp.to_identifier(table.name, quoted=True))
        table.replace(exp.Table(this=exp.to_identifier(view, quoted=True), alias=alias, joins=table.args.get("joins")))
    for column in list(tree.find_all(exp.Column)):
        if column.args.get("catalog") and (column.catalog.lower(), column.text("db").lower(), column.table.lower()) in views:
            column.set("catalog", None)
            column.set("db", None)
    return tree


_NOT_TRANSLATED = {
    exp.Pivot: "PIVOT and UNPIVOT", exp.TableSample: "a sample", exp.Describe: "DESCRIBE", exp.Summarize: "SUMMARIZE",
    exp.Command: "this command", exp.Parameter: "a parameter",
    exp.Placeholder: "a parameter", exp.Fetch: "FETCH",
}  # fmt: skip


def _prepared(tree: exp.Expr, probed: _Probed) -> exp.Expr:
    """In forms that sqlglot resolves the names of."""
    for node in tree.walk():
        for refused_form, form in _NOT_TRANSLATED.items():
            if isinstance(node, refused_form):
                raise refused(f"{form} is not translated")
        if isinstance(node, exp.Join) and node.args.get("method") in ("ASOF", "POSITIONAL"):
            raise refused(f"{node.args['method']} JOIN is not translated")
        if isinstance(node, exp.With):
            for cte in node.expressions:
                cte.set("materialized", None)
    if isinstance(tree, exp.Values):
        tree = exp.select("*").from_(_of_values(tree, named=False))
    for values in list(tree.find_all(exp.Values)):
        values.replace(_of_values(values))
    for table in list(tree.find_all(exp.Table)):
        if isinstance(table.this, exp.Func) and table.this.name.lower() in ("range", "generate_series"):
            table.replace(_of_series(table, table.this))
    for node in list(tree.find_all(exp.Comprehension)):
        _as_lambdas(node)
    for node in list(tree.find_all(exp.Func)):
        name = (node.name if isinstance(node, exp.Anonymous) else node.sql_name()).lower()
        if name in _NOW and not node.expressions and not node.this or (isinstance(node, exp.Anonymous) and name in _NOW):
            node.replace(probed.constant(_NOW[name]))
    tree = _all(tree, exp.Select, lambda each: _of_names(each, probed))
    return _all(tree, exp.SetOperation, lambda each: _by_place(each, probed))


def _all(tree: exp.Expr, kind: type[exp.Expr], change: Callable[[Any], exp.Expr]) -> exp.Expr:
    """The tree, with each node of the kind changed, the inner ones first."""
    for node in reversed(list(tree.find_all(kind))):
        made = change(node)
        if made is node:
            continue
        if node is tree:
            tree = made
        else:
            node.replace(made)
    return tree


def _of_values(values: exp.Values, named: bool = True) -> exp.Subquery:
    rows = values.expressions
    alias = values.args.get("alias")
    width = len(rows[0].expressions) if isinstance(rows[0], exp.Tuple) else 1
    columns = [each.name for each in alias.columns] if alias is not None else []
    columns += [f"col{at}" for at in range(len(columns), width)]

    def of(row: exp.Expr) -> exp.Expr:
        cells = row.expressions if isinstance(row, exp.Tuple) else [row]
        return exp.Select(
            expressions=[_aliased(cell.copy(), name) for cell, name in zip(cells, columns, strict=True)]
        )

    def joined(some: list[exp.Expr]) -> exp.Expr:
        if len(some) == 1:
            return of(some[0])
        middle = len(some) // 2  # so that the tree is not deep
        return exp.Union(this=joined(some[:middle]), expression=joined(some[middle:]), distinct=False)

    name = alias.name if alias is not None and alias.name else "valueslist"
    return exp.Subquery(this=joined(rows), alias=exp.TableAlias(this=exp.to_identifier(name, quoted=True)))


def _of_series(table: exp.Table, series: exp.Func) -> exp.Subquery:
    function = series.name.lower()
    alias = table.args.get("alias")
    column = alias.columns[0].name if alias is not None and alias.columns else function
    name = alias.name if alias is not None and alias.name else function
    inner = exp.Select(expressions=[exp.alias_(exp.Explode(this=series.copy()), column, quoted=True)])
    of = exp.TableAlias(this=exp.to_identifier(name, quoted=True))
    return exp.Subquery(this=inner, alias=of, joins=table.args.get("joins"))


def _as_lambdas(node: exp.Comprehension) -> None:
    name, each, where = node.args["expression"].sql(Plain), node.this.sql(Plain), node.args.get("condition")
    iterated = node.args["iterator"].sql(Plain)
    if where is not None:
        iterated = f"list_filter({iterated}, lambda {name} : {where.sql(Plain)})"
    made = parse_one(f"list_transform({iterated}, lambda {name} : {each})", dialect=Plain)
    place = node.parent if isinstance(node.parent, exp.Array) else node
    place.replace(made)


def _of_names(select: exp.Select, probed: _Probed) -> exp.Select:
    """With a WINDOW's text for its name, the names of COLUMNS('…'), and USING for NATURAL."""
    windows = {each.name.lower(): each for each in select.args.get("windows") or ()}
    for window in list(select.find_all(exp.Window)) if windows else ():
        named = windows.get(window.args["alias"].name.lower()) if window.args.get("alias") else None
        if named is None or window in windows.values():
            continue
        window.set("alias", None)
        for key in ("partition_by", "order", "spec"):
            if named.args.get(key) and not window.args.get(key):
                value = named.args[key]
                window.set(key, [each.copy() for each in value] if isinstance(value, list) else value.copy())
    select.set("windows", None)
    source = _from(select)
    for at, projection in enumerate(list(select.expressions)):
        if isinstance(projection, exp.Columns):
            names = probed.names(f"SELECT {projection.sql(Plain)} FROM {source}", select)
            select.expressions[at].replace([exp.column(name, quoted=True) for name in names])
        elif projection.find(exp.Columns):
            raise refused("COLUMNS(…) within an expression is not translated")
    for place in [each for each in _inside_of(select) if isinstance(each, exp.PositionalColumn)]:
        names = probed.names(f"SELECT * FROM {source}", select)
        if not 0 < int(place.name) <= len(names):
            raise refused(f"there is no column #{place.name}")
        place.replace(exp.column(names[int(place.name) - 1], quoted=True))
    joins = select.args.get("joins") or []
    for at, join in enumerate(joins):
        if join.args.get("method") != "NATURAL":
            continue
        before = exp.Select(from_=select.args["from_"].copy(), joins=[each.copy() for each in joins[:at]])
        left = probed.names(f"SELECT * FROM {_from(before)}", select)
        right = {name.lower() for name in probed.names(f"SELECT * FROM {join.this.sql(Plain)}", select)}
        join.set("method", None)
        join.set("using", [exp.to_identifier(name, quoted=True) for name in left if name.lower() in right])
    return select


def _by_place(union: exp.SetOperation, probed: _Probed) -> exp.SetOperation:
    """BY NAME as by place."""
    if not union.args.get("by_name"):
        return union
    sides = [union.this, union.expression]
    names = [probed.names(each.sql(Plain), union) for each in sides]
    known = [{name.lower() for name in each} for each in names]
    wanted = names[0] + [name for name in names[1] if name.lower() not in known[0]]
    for key, side, there in zip(("this", "expression"), sides, known, strict=True):
        query = side.unnest() if isinstance(side, exp.Subquery) else side
        columns = [
            exp.alias_(exp.column(name, quoted=True) if name.lower() in there else exp.Null(), name, quoted=True)
            for name in wanted
        ]
        union.set(key, exp.Select(expressions=columns).from_(query.copy().subquery("lw_side")))
    union.set("by_name", None)
    return union


def _from(select: exp.Select, of_all: bool = False) -> str:
    """The text after FROM; `of_all`: also with the names of tables whose rows are only looked for."""
    if not select.args.get("from_"):
        return "(SELECT 1)"
    rest = [each.copy() for each in (*(select.args.get("joins") or ()), *(select.args.get("laterals") or ()))]
    for join in rest if of_all else ():
        if join.args.get("kind") in ("SEMI", "ANTI"):
            join.set("kind", None)
    return " ".join([select.args["from_"].this.sql(Plain), *(each.sql(Plain) for each in rest)])


def _expanded(tree: exp.Expr) -> exp.Expr:
    """With all that ALL means, and QUALIFY and DISTINCT ON as windows in a subquery."""
    for select in list(tree.find_all(exp.Select)):
        names = _distinct_aliases(select)
        group, order = select.args.get("group"), select.args.get("order")
        if group is not None and group.args.get("all"):
            keys = [each.unalias().copy() for each in select.expressions if not _aggregates(each)]
            select.set("group", exp.Group(expressions=keys) if keys else None)
        _expand_order(order, names)
    for union in list(tree.find_all(exp.SetOperation)):
        _expand_order(union.args.get("order"), [each.alias_or_name for each in union.selects])
    return _all(tree, exp.Select, _without_qualify)


def _aliased(node: exp.Expr, name: str) -> exp.Alias:
    """Also for a subquery, to which `exp.alias_` would give the name."""
    if isinstance(node, exp.Subquery):
        node.set("alias", None)
    return exp.Alias(this=node, alias=exp.to_identifier(name, quoted=True))


def _distinct_aliases(select: exp.Select) -> list[str]:
    names: list[str] = []
    for at, projection in enumerate(list(select.expressions)):
        name = projection.alias_or_name or f"_col_{at}"
        if name.lower() in (each.lower() for each in names):  # nothing refers to the second one
            name = f"{name}_lw{at}"
            projection.replace(_aliased(projection.unalias().copy(), name))
        elif not isinstance(projection, exp.Alias):
            projection.replace(_aliased(projection.copy(), name))
        names.append(name)
    return names


def _expand_order(order: exp.Order | None, names: list[str]) -> None:
    for each in list(order.expressions) if order is not None else ():
        if isinstance(each.this, exp.Var | exp.Column) and not each.this.text("table") and each.this.name.upper() == "ALL":
            if each.this.name.upper() in (name.upper() for name in names):
                continue
            made = []
            for name in names:
                ordered = each.copy()
                ordered.set("this", exp.column(name, quoted=True))
                made.append(ordered)
            each.replace(made)


def _aggregates(node: exp.Expr) -> bool:
    return any(_is_aggregate(each) for each in _inside(node))


def _without_qualify(select: exp.Select) -> exp.Select:
    """A select over the rows that it keeps, by a row's number or by QUALIFY."""
    condition, distinct = select.args.get("qualify"), select.args.get("distinct")
    on = distinct.args.get("on") if distinct is not None else None
    if condition is None and on is None:
        return select
    aliases = [each.alias for each in select.expressions]
    by_alias = {each.alias.lower(): each.this for each in select.expressions}

    def resolved(node: exp.Expr) -> exp.Expr:
        def change(each: exp.Expr) -> exp.Expr:
            if isinstance(each, exp.Column) and not each.table and each.name.lower() in by_alias:
                return by_alias[each.name.lower()].copy()
            return each

        return node.copy().transform(change)

    order = select.args.get("order")
    if on is not None:
        if order is None:
            raise refused("DISTINCT ON without ORDER BY keeps any of the rows", "add ORDER BY")
        if condition is not None:
            raise refused("DISTINCT ON and QUALIFY together are not translated")
        keys = on.expressions if isinstance(on, exp.Tuple) else [on]
        made: exp.Expr = exp.Window(
            this=exp.RowNumber(),
            partition_by=[resolved(each) for each in keys],
            order=resolved(order),
        )
        select.set("distinct", None)
    else:
        assert condition is not None
        made = resolved(condition.this)
    outer = exp.Select(
        expressions=[exp.alias_(exp.column(name, "lw_kept", quoted=True), name, quoted=True) for name in aliases],
        distinct=select.args.get("distinct"),
    )
    extra = []
    for each in order.expressions if order is not None else ():
        if not (isinstance(each.this, exp.Column) and not each.this.table):
            extra.append(exp.alias_(each.this.copy(), f"lw_order{len(extra)}", quoted=True))
            each.set("this", exp.column(f"lw_order{len(extra) - 1}", "lw_kept", quoted=True))
    for key in ("order", "limit", "offset", "with_"):
        outer.set(key, select.args.get(key))
        select.set(key, None)
    select.set("qualify", None)
    select.set("distinct", None)
    select.set("expressions", [*select.expressions, *extra, exp.alias_(made, "lw_keep", quoted=True)])
    kept: exp.Expr = exp.column("lw_keep", "lw_kept", quoted=True)
    if on is not None:
        kept = exp.EQ(this=kept, expression=exp.Literal.number(1))
    outer.set("where", exp.Where(this=kept))
    inner = exp.Subquery(this=select.copy(), alias=exp.TableAlias(this=exp.to_identifier("lw_kept", quoted=True)))
    outer.set("from_", exp.From(this=inner))
    return outer


# What a node is ------------------------------------------------------------------------------------------------------


def _inside(node: exp.Expr) -> Iterator[exp.Expr]:
    """The node and those below it, but not those of a query within, nor of a window."""
    yield node
    if isinstance(node, exp.Query | exp.Window | exp.Exists) or (isinstance(node, exp.In) and node.args.get("query")):
        return
    for each in node.iter_expressions():
        yield from _inside(each)


def _inside_of(select: exp.Select) -> list[exp.Expr]:
    return [each for part in select.iter_expressions() for each in _inside(part)]


_AGGREGATES: set[str] = set()


def _name(node: exp.Expr) -> str:
    """Of a function, as DuckDB calls it."""
    if isinstance(node, exp.Anonymous | exp.AnonymousAggFunc):
        return str(node.name).lower()
    return node.sql(Plain).partition("(")[0].strip().lower() if isinstance(node, exp.Func) else ""


def _arguments(node: exp.Expr) -> list[exp.Expr]:
    return list(node.expressions if isinstance(node, exp.Anonymous) else node.iter_expressions())


def _is_aggregate(node: exp.Expr) -> bool:
    if isinstance(node, exp.Filter | exp.WithinGroup | exp.IgnoreNulls | exp.RespectNulls):
        return _is_aggregate(node.this)
    if isinstance(node, exp.Grouping):
        return True
    return isinstance(node, exp.Func) and _name(node) in _AGGREGATES


def _is_predicate(node: exp.Expr) -> bool:
    return isinstance(node, exp.Exists) or (isinstance(node, exp.In) and bool(node.args.get("query")))


def _is_special(node: exp.Expr) -> bool:
    return isinstance(node, exp.Window | exp.Query) or _is_aggregate(node) or _is_predicate(node)


def _leaves(node: exp.Expr, keys: tuple[exp.Expr, ...] = ()) -> Iterator[exp.Expr]:
    """The outermost nodes that Spark computes: columns, aggregates, windows, queries, and a group's keys."""
    if _is_leaf(node, keys):
        yield node
        return
    for each in node.iter_expressions():
        yield from _leaves(each, keys)


class _Probed:
    """What DuckDB says of a query over the empty tables."""

    def __init__(self, connection: DuckDBPyConnection) -> None:
        self.connection = connection
        self.kinds: dict[str, Kind] = {}
        self.constants: dict[str, str] = {}
        if not _AGGREGATES:
            found = connection.execute(
                "SELECT DISTINCT function_name FROM duckdb_functions() WHERE function_type = 'aggregate'"
            ).fetchall()
            _AGGREGATES.update(name.lower() for (name,) in found)

    def types(self, query: str) -> list[DuckDBPyType]:
        import duckdb

        try:
            return list(self.connection.sql(query).types)
        except duckdb.Error as error:
            raise refused(f"it cannot be translated ({_first_line(error)})") from None

    def names(self, query: str, within: exp.Expr) -> list[str]:
        import duckdb

        try:
            return list(self.connection.sql(_ctes_around(within) + query).columns)
        except duckdb.Error as error:
            raise refused(f"it cannot be translated ({_first_line(error)})") from None

    def kind(self, of: DuckDBPyType) -> Kind:
        if str(of) not in self.kinds:
            try:
                self.kinds[str(of)] = kind_of(of, self.connection)
            except UsageError:
                self.kinds[str(of)] = _lacking(of)
        return self.kinds[str(of)]

    def constant(self, call: str) -> exp.Expr:
        """The same throughout a statement."""
        if call not in self.constants:
            relation = self.connection.sql(f"SELECT {call} AS v, v::varchar AS t")
            ((_, text),) = relation.fetchall()
            self.constants[call] = f"CAST('{text}' AS {relation.types[0]})"
        return parse_one(self.constants[call], dialect=Plain)


def _ctes_around(node: exp.Expr | None) -> str:
    ctes: dict[str, exp.Expr] = {}
    recursive = False
    inside: exp.Expr | None = None
    while node is not None:
        with_ = node.args.get("with_")
        if with_ is not None:
            recursive = recursive or bool(with_.args.get("recursive"))
            own = {}
            for cte in with_.expressions:
                if cte is inside and not with_.args.get("recursive"):
                    break
                own[cte.alias.lower()] = cte
                if cte is inside:
                    break
            ctes = {**own, **ctes}
        if isinstance(node, exp.CTE):
            inside = node
        node = node.parent
    if not ctes:
        return ""
    return f"WITH {'RECURSIVE ' * recursive}{', '.join(cte.sql(Plain) for cte in ctes.values())} "


# The plan ------------------------------------------------------------------------------------------------------------


@dataclass
class _Plan:
    """Makes Spark's tree of DuckDB's; `select` is the one that an expression belongs to."""

    probed: _Probed
    functions: dict[str, Computed] = field(default_factory=dict)
    outer: list[exp.Select] = field(default_factory=list)  # those around a query in an expression
    keys: tuple[exp.Expr, ...] = ()  # what the rows are grouped by, above the grouping

    # Types

    def kind(self, node: exp.Expr, select: exp.Select) -> Kind:
        if isinstance(node, exp.Paren):
            return self.kind(node.this, select)
        if isinstance(node, exp.Column) and not node.table:  # a column of the result, in ORDER BY
            (named,) = [each for each in select.expressions if each.alias.lower() == node.name.lower()] or [None]
            if named is None:
                raise refused(f"the column {node.name} cannot be resolved")
            return self.kind(named.this, select)
        if isinstance(node, exp.Grouping):
            return self.probed.kind(self.probed.types("SELECT 1::BIGINT")[0])
        text = self._typed(node, select)
        source = _from(select, of_all=True)
        columns = [each.table.lower() for each in node.find_all(exp.Column) if each.table]
        known = {each.alias_or_name.lower() for each in _sources(select)}
        for around in reversed(self.outer):
            if any(name not in known for name in columns):
                source += f", {_from(around, of_all=True)}"
                known |= {each.alias_or_name.lower() for each in _sources(around)}
        (of,) = self.probed.types(f"{_ctes_around(select)}SELECT {text} FROM {source}")
        return self.probed.kind(of)

    def _typed(self, node: exp.Expr, select: exp.Select) -> str:
        """The node's text, of which DuckDB tells the type: NULLs of their types for windows and aggregates in it."""
        if isinstance(node, exp.Query) or _is_predicate(node):
            return node.sql(Plain)
        changed = {}
        own = list[exp.Expr]()  # a window's function, which belongs to it
        inner = node.this if isinstance(node, exp.Window) else node if _is_aggregate(node) else None
        while isinstance(inner, exp.Expr):
            own.append(inner)
            inner = None if isinstance(inner, exp.Func) else inner.this
        for each in node.walk(prune=lambda n: n is not node and _is_special(n) and n not in own):
            if any(each is one for one in own):
                continue
            if each is not node and (_is_special(each) or (isinstance(each, exp.Column) and not each.table)):
                if not isinstance(each, exp.Query) and not _is_predicate(each):
                    changed[id(each)] = self.kind(each, select).name
        copy = node.copy()
        places = list(zip(node.walk(bfs=False), copy.walk(bfs=False), strict=True))
        for each, place in places:
            if id(each) in changed:
                place.replace(parse_one(f"CAST(NULL AS {changed[id(each)]})", dialect=Plain))
        return copy.sql(Plain)

    # Queries

    def query(self, node: exp.Expr) -> exp.Expr:
        if isinstance(node, exp.Subquery):
            made: exp.Expr = exp.Subquery(this=self.query(node.this), alias=_copied(node, "alias"))
            if node.args.get("order") or node.args.get("limit") or node.args.get("joins"):
                raise refused("ORDER BY or LIMIT behind brackets is not translated")
        elif isinstance(node, exp.SetOperation):
            made = self._set_operation(node)
        elif isinstance(node, exp.Select):
            made = self._select(node)
        else:
            raise refused(f"{node.key} is not translated")
        with_ = node.args.get("with_")
        if with_ is not None:
            ctes = []
            for cte in with_.expressions:
                with self._apart():
                    ctes.append(exp.CTE(this=self.query(cte.this), alias=_copied(cte, "alias")))
            made.set("with_", exp.With(expressions=ctes, recursive=with_.args.get("recursive")))
        return made

    @contextmanager
    def _apart(self) -> Iterator[None]:
        before = self.outer, self.keys
        self.outer, self.keys = [], ()
        yield
        self.outer, self.keys = before

    @contextmanager
    def _above(self, keys: tuple[exp.Expr, ...]) -> Iterator[None]:
        before, self.keys = self.keys, keys
        yield
        self.keys = before

    def _inner(self, node: exp.Expr, select: exp.Select) -> exp.Expr:
        """A query within an expression of the select."""
        before = self.outer, self.keys
        self.outer, self.keys = [*self.outer, select], ()
        made = self.query(node)
        self.outer, self.keys = before
        return made

    def _set_operation(self, node: exp.SetOperation) -> exp.Expr:
        if node.args.get("side") or node.args.get("kind") or node.args.get("on"):
            raise refused("this form of a set operation is not translated")
        wanted = self._kinds(node)
        distinct = node.args.get("distinct") or not isinstance(node, exp.Union)
        if distinct and any("MAP" in kind.spark for kind in wanted):
            raise refused("rows with maps are compared")
        sides = []
        for side in (node.this, node.expression):
            found = self._kinds(side)
            query = self.query(side)
            if [kind.name for kind in found] != [kind.name for kind in wanted]:
                query = self._cast_columns(side, query, found, wanted)
            sides.append(query)
        made = type(node)(this=sides[0], expression=sides[1], distinct=node.args.get("distinct"))
        order = node.args.get("order")
        if order is not None:
            names = [each.alias_or_name.lower() for each in node.selects]
            ordered = []
            for each in order.expressions:
                if not isinstance(each.this, exp.Column) or each.this.name.lower() not in names:
                    raise refused("a set operation is ordered by an expression", "order by its columns")
                kind = wanted[names.index(each.this.name.lower())]
                ordered.append(self._ordered(each, each.this.copy(), kind))
            made.set("order", exp.Order(expressions=ordered))
        return self._limited(made, node)

    def _kinds(self, query: exp.Expr) -> list[Kind]:
        text = query.unnest().sql(Plain) if isinstance(query, exp.Subquery) else query.sql(Plain)
        around = _ctes_around(query.parent if query.args.get("with_") else query)
        if query.args.get("with_"):
            around, text = "", f"SELECT * FROM ({text})" if not around else f"SELECT * FROM ({text})"
            around = _ctes_around(query.parent)
        return [self.probed.kind(of) for of in self.probed.types(f"{around}SELECT * FROM ({text})")]

    def _cast_columns(
        self, side: exp.Expr, query: exp.Expr, found: list[Kind], wanted: list[Kind]
    ) -> exp.Expr:
        names = [each.alias_or_name for each in side.selects]
        columns = []
        for name, kind, other in zip(names, found, wanted, strict=True):
            column: exp.Expr = exp.column(name, "lw_side", quoted=True)
            if kind.name != other.name:
                column = self._as(column, kind, other)
            columns.append(_aliased(column, name))
        inner = query.unnest() if isinstance(query, exp.Subquery) else query
        return exp.Select(expressions=columns).from_(inner.subquery("lw_side"))

    def _as(self, made: exp.Expr, kind: Kind, other: Kind) -> exp.Expr:
        """A value of Spark's as one of another type, as DuckDB casts it."""
        if kind.id == "sqlnull" or (kind.id in _WHOLE and other.id in (*_WHOLE, "double")):
            return _spark_cast(made, other)
        return self._call(f"CAST(lw0 AS {other.name})", [made], [kind], other)

    def _select(self, select: exp.Select) -> exp.Expr:
        for key in ("laterals", "connect", "match", "sort", "cluster", "into", "locks", "prewhere", "sample", "settings"):
            if select.args.get(key):
                raise refused(f"{key} is not translated")
        made = exp.Select()
        if select.args.get("from_"):
            made.set("from_", exp.From(this=self._source(select.args["from_"].this, select)))
        joins = []
        for join in select.args.get("joins") or ():
            if join.args.get("using"):
                raise refused("USING with columns that are not named is not translated")
            on = join.args.get("on")
            joins.append(
                exp.Join(
                    this=self._source(join.this, select),
                    on=self._condition(on, select) if on is not None else None,
                    **{key: join.args.get(key) for key in ("side", "kind", "method")},
                )
            )
        made.set("joins", joins)
        where = select.args.get("where")
        if where is not None:
            made.set("where", exp.Where(this=self._condition(where.this, select)))
        keys = self._group(select, made)
        with self._above(keys):
            self._above_groups(select, made)
        return self._limited(made, select)

    def _group(self, select: exp.Select, made: exp.Select) -> tuple[exp.Expr, ...]:
        group = select.args.get("group")
        if group is None:
            return ()
        keys = list[exp.Expr]()

        def key(node: exp.Expr) -> exp.Expr:
            if isinstance(node, exp.Tuple):
                return exp.Tuple(expressions=[key(each) for each in node.expressions])
            if isinstance(node, exp.Paren):
                return exp.Paren(this=key(node.this))
            if isinstance(node, exp.Rollup | exp.Cube | exp.GroupingSets):
                return type(node)(expressions=[key(each) for each in node.expressions])
            kind = self.kind(node, select)
            if "MAP" in kind.spark:
                raise refused("rows are grouped by a map")
            keys.append(node)
            return self.value(node, select)

        args: dict[str, Any] = {"expressions": [key(each) for each in group.expressions]}
        for form in ("rollup", "cube", "grouping_sets"):
            args[form] = [
                type(each)(expressions=[key(one) for one in each.expressions]) for each in group.args.get(form) or ()
            ]
        made.set("group", exp.Group(**args))
        return tuple(each for each in keys if not isinstance(each, exp.Column))

    def _above_groups(self, select: exp.Select, made: exp.Select) -> None:
        having = select.args.get("having")
        if having is not None:
            made.set("having", exp.Having(this=self._condition(having.this, select)))
        distinct = select.args.get("distinct")
        unnested = 0
        projections = []
        for projection in select.expressions:
            value = projection.this
            if isinstance(value, exp.Explode | exp.Unnest):
                unnested += 1
                projections.append(_aliased(self._unnested(value, select), projection.alias))
                continue
            if any(isinstance(each, exp.Explode | exp.Unnest) for each in _inside(value)):
                raise refused("UNNEST within an expression", "unnest in a subquery first")
            kind = self.kind(value, select)
            if distinct is not None and "MAP" in kind.spark:
                raise refused("rows with maps are compared")
            planned = self.value(value, select)
            if kind.id in ("decimal", "sqlnull") and not isinstance(value, exp.Column):
                planned = _spark_cast(planned, kind)
            projections.append(_aliased(planned, projection.alias))
        if unnested > 1:
            raise refused("two lists are unnested side by side", "unnest each in a subquery")
        if unnested and (select.args.get("group") or any(_aggregates(each) for each in select.expressions)):
            raise refused("a list is unnested where rows are grouped", "unnest it in a subquery first")
        made.set("expressions", projections)
        if distinct is not None:
            made.set("distinct", exp.Distinct())
        order = select.args.get("order")
        if order is not None:
            made.set("order", exp.Order(expressions=[self._order(each, select) for each in order.expressions]))

    def _limited(self, made: exp.Expr, node: exp.Expr) -> exp.Expr:
        for key in ("limit", "offset"):
            limit = node.args.get(key)
            if limit is not None:
                if not (isinstance(limit.expression, exp.Literal) and not limit.expression.is_string):
                    raise refused(f"{key.upper()} is not a number")
                if not limit.expression.name.isdecimal() or limit.args.get("limit_options"):
                    raise refused(f"{key.upper()} is not a whole number")
                made.set(key, limit.copy())
        return made

    def _source(self, node: exp.Expr, select: exp.Select) -> exp.Expr:
        if isinstance(node, exp.Table):
            if node.args.get("joins"):
                raise refused("joins in brackets are not translated")
            if not isinstance(node.this, exp.Identifier):
                raise refused(f"the table function {_name(node.this) or node.this.key} is not translated")
            return exp.Table(this=node.this.copy(), alias=_copied(node, "alias"))
        if isinstance(node, exp.Subquery):
            with self._apart():
                return self.query(node)
        if isinstance(node, exp.Unnest):
            alias = node.args["alias"]
            if node.args.get("offset") or len(node.expressions) != 1 or len(alias.columns) > 1:
                raise refused("UNNEST of several lists, or with their places")
            columns = alias.columns or [exp.to_identifier("unnest", quoted=True)]
            exploded = exp.Anonymous(this="explode", expressions=[self._list(node.expressions[0], select)])
            return exp.Lateral(
                this=exploded,
                alias=exp.TableAlias(this=alias.this.copy(), columns=[each.copy() for each in columns]),
            )
        raise refused(f"{node.key} in FROM is not translated")

    def _unnested(self, node: exp.Expr, select: exp.Select) -> exp.Expr:
        (of,) = [node.this] if isinstance(node, exp.Explode) else node.expressions
        if node.expressions and isinstance(node, exp.Explode):
            raise refused("UNNEST with options is not translated")
        return exp.Anonymous(this="explode", expressions=[self._list(of, select)])

    def _list(self, node: exp.Expr, select: exp.Select) -> exp.Expr:
        if self.kind(node, select).id not in ("list", "array"):
            raise refused("UNNEST of what is not a list")
        return self.value(node, select)

    def _order(self, ordered: exp.Ordered, select: exp.Select) -> exp.Expr:
        return self._ordered(ordered, self.value(ordered.this, select), self.kind(ordered.this, select))

    def _ordered(self, ordered: exp.Ordered, made: exp.Expr, kind: Kind) -> exp.Expr:
        down, nulls_first = bool(ordered.args.get("desc")), bool(ordered.args.get("nulls_first"))
        if kind.is_nested:  # Spark compares lists and structs in another way, and maps not at all
            key = f"create_sort_key(lw0, '{'DESC' if down else 'ASC'} NULLS {'FIRST' if nulls_first else 'LAST'}')"
            blob = self.probed.kind(self.probed.types("SELECT ''::BLOB")[0])
            made, down, nulls_first = self._call(key, [made], [kind], blob), False, False
        return exp.Ordered(this=made, desc=down, nulls_first=nulls_first)

    # Values

    def _condition(self, node: exp.Expr, select: exp.Select) -> exp.Expr:
        """Of WHERE, ON and HAVING. Its parts that DuckDB computes are one part: each may rely on the one before."""
        parts = list(node.flatten()) if isinstance(node, exp.And) else [node]
        own, others = [], []
        for part in parts:
            part = part.unnest()
            made = self.native(part, select)
            if made is None and any(_is_predicate(each) for each in _inside(part)):
                made = self.value(part, select)
            if made is None and isinstance(part, exp.EQ):
                sides = [self.kind(part.this, select), self.kind(part.expression, select)]
                if sides[0].name == sides[1].name and not sides[0].is_nested and _carries_all(sides[0]):
                    made = exp.EQ(this=self.value(part.this, select), expression=self.value(part.expression, select))
            if made is None:
                others.append(part)
            else:
                own.append(made)
        if others:
            rest = others[0] if len(others) == 1 else exp.and_(*others, copy=True, dialect=Plain)
            own.append(self.value(rest, select))
        return exp.and_(*(exp.Paren(this=each) for each in own), copy=False) if len(own) > 1 else own[0]

    def value(self, node: exp.Expr, select: exp.Select) -> exp.Expr:
        """The expression for Spark: its own, or a function that DuckDB computes."""
        if _is_key(node, self.keys):
            with self._above(()):
                return self.value(node, select)
        made = self.native(node, select)
        if made is not None:
            return made
        node = node.unnest()
        if isinstance(node, exp.And | exp.Or | exp.Not) and any(_is_predicate(each) for each in _inside(node)):
            return type(node)(
                **{key: exp.Paren(this=self.value(each, select)) for key, each in node.args.items() if each is not None}
            )
        _check_functions(node)
        leaves = {leaf.sql(Plain): leaf for leaf in _leaves(node, self.keys)}
        numbers = {text: at for at, text in enumerate(leaves)}

        def change(each: exp.Expr) -> exp.Expr:
            at = numbers.get(each.sql(Plain)) if _is_leaf(each, self.keys) else None
            return each if at is None else exp.column(f"lw{at}")

        text = _changed(node, change).sql(Plain)
        arguments = [self.value(leaf, select) for leaf in leaves.values()]
        return self._call(text, arguments, [self.kind(leaf, select) for leaf in leaves.values()], self.kind(node, select))

    def _call(
        self, text: str, arguments: list[exp.Expr], kinds: list[Kind], result: Kind, grouped: bool = False
    ) -> exp.Expr:
        for kind in (*kinds, result):
            _spark(kind.of)  # raises, where Spark lacks it
        of = "\0".join([text, *(kind.name for kind in kinds), result.name, str(grouped)])
        name = f"lw_{hashlib.sha256(of.encode()).hexdigest()[:16]}"
        self.functions[name] = Computed(name, text, tuple(kinds), result, grouped)
        return exp.Anonymous(this=name, expressions=arguments or [exp.Literal.number(1)])

    def native(self, node: exp.Expr, select: exp.Select) -> exp.Expr | None:
        """The expression, where Spark computes it as DuckDB does; else None."""
        if _is_key(node, self.keys):
            return self.value(node, select)
        if isinstance(node, exp.Paren):
            inner = self.native(node.this, select)
            return None if inner is None else exp.Paren(this=inner)
        if _is_special(node):
            return self._special(node, select)
        if isinstance(node, exp.Column):
            _spark(self.kind(node, select).of)  # raises, where Spark lacks it
            return node.copy()
        if isinstance(node, exp.TableColumn):  # a whole row
            fields: list[exp.Expr] = []
            for at, (name, _) in enumerate(self.kind(node, select).of.children):
                fields += [exp.Literal.string(f"f{at}"), exp.column(name, node.name, quoted=True)]
            return exp.Anonymous(this="named_struct", expressions=fields)
        if isinstance(node, exp.Literal):
            if node.is_string or (node.name.isdecimal() and int(node.name) < 2**63):
                return node.copy()
            return None
        if isinstance(node, exp.Boolean):
            return node.copy()
        if isinstance(node, exp.Null):
            return node.copy()
        if isinstance(node, exp.Cast) and not isinstance(node, exp.TryCast):
            return self._native_cast(node, select)
        if isinstance(node, exp.And | exp.Or):
            return self._rebuilt(node, (node.this, node.expression), select)
        if isinstance(node, exp.Not):
            return self._rebuilt(node, (node.this,), select)
        if isinstance(node, exp.Is) and isinstance(node.expression, exp.Null):
            made = self.native(node.this, select)
            return None if made is None else exp.Is(this=made, expression=exp.Null())
        if isinstance(node, _COMPARED):
            return self._compared(node, (node.this, node.expression), select)
        if isinstance(node, exp.Between) and not node.args.get("symmetric"):
            return self._compared(node, (node.this, node.args["low"], node.args["high"]), select)
        if isinstance(node, exp.In) and node.expressions and not node.args.get("unnest"):
            return self._compared(node, (node.this, *node.expressions), select)
        if isinstance(node, exp.Add | exp.Sub | exp.Mul):
            return self._arithmetic(node, select)
        if isinstance(node, exp.Case | exp.Coalesce):
            return self._chosen(node, select)
        return None

    def _rebuilt(self, node: exp.Expr, parts: tuple[exp.Expr, ...], select: exp.Select) -> exp.Expr | None:
        made = [self.native(each, select) for each in parts]
        if any(each is None for each in made) or any(self.kind(each, select).id != "boolean" for each in parts):
            return None
        keys = ("this", "expression")
        return type(node)(**{key: exp.Paren(this=each) for key, each in zip(keys, made, strict=False)})

    def _compared(self, node: exp.Expr, parts: tuple[exp.Expr, ...], select: exp.Select) -> exp.Expr | None:
        kinds = [self.kind(each, select) for each in parts]
        if not all(kind.spark for kind in kinds):
            return None
        names = {kind.id for kind in kinds if kind.id != "sqlnull"}
        has_double = "double" in names
        if has_double:  # plain 0.5 is a decimal, which both compare as a double
            names -= {"decimal"} if all(
                isinstance(each.unnest(), exp.Literal) for each, kind in zip(parts, kinds, strict=True) if kind.id == "decimal"
            ) else set()
        equal = len(names) <= 1 or names <= {*_WHOLE} or (has_double and names <= {*_WHOLE, "double"})
        if not equal or names & {"enum", "uuid", "uhugeint", "hugeint", "ubigint"} or any(k.is_nested for k in kinds):
            return None
        if "decimal" in names and len({kind.name for kind in kinds}) > 1:
            return None
        made = []
        for each, kind in zip(parts, kinds, strict=True):
            one = _double(each) if has_double and kind.id == "decimal" else self.native(each, select)
            if one is None:
                return None
            made.append(one)
        if isinstance(node, exp.In):
            return exp.In(this=made[0], expressions=made[1:])
        keys = ("this", "low", "high") if isinstance(node, exp.Between) else ("this", "expression")
        return type(node)(**dict(zip(keys, made, strict=True)))

    def _arithmetic(self, node: exp.Binary, select: exp.Select) -> exp.Expr | None:
        result = self.kind(node, select).id
        parts = (node.this, node.expression)
        kinds = [self.kind(each, select).id for each in parts]
        if result not in ("integer", "bigint", "double"):
            return None
        made = []
        for each, kind in zip(parts, kinds, strict=True):
            if kind == "decimal" and result == "double" and isinstance(each.unnest(), exp.Literal):
                one: exp.Expr | None = _double(each)
            elif kind in ("integer", "bigint") or (kind == "double" and result == "double"):
                one = self.native(each, select)
            else:
                return None
            if one is None:
                return None
            made.append(one)
        if result == "integer" and kinds != ["integer", "integer"]:
            return None
        return type(node)(this=exp.Paren(this=made[0]), expression=exp.Paren(this=made[1]))

    def _native_cast(self, node: exp.Cast, select: exp.Select) -> exp.Expr | None:
        of, to = self.kind(node.this, select), self.kind(node, select)
        if isinstance(node.this, exp.Literal) and node.this.is_string and to.id == "date":
            parts = node.this.name.split("-")
            if [len(each) for each in parts] == [4, 2, 2] and all(each.isdecimal() for each in parts):
                return _spark_cast(node.this.copy(), to)
            return None
        wider = of.id in _WHOLE and to.id in _WHOLE and _WHOLE.index(of.id) <= _WHOLE.index(to.id)
        if wider or (of.id in (*_WHOLE, "float") and to.id == "double") or (of.name == to.name and of.id != "varchar"):
            made = self.native(node.this, select)
            return None if made is None else _spark_cast(made, to)
        return None

    def _chosen(self, node: exp.Expr, select: exp.Select) -> exp.Expr | None:
        result = self.kind(node, select)
        if isinstance(node, exp.Coalesce):
            parts: list[exp.Expr] = [node.this, *node.expressions]
        else:
            if node.args.get("this"):
                return None
            parts = [each.args["true"] for each in node.args["ifs"]]
            parts += [node.args["default"]] if node.args.get("default") else []
        if result.is_nested or any(self.kind(each, select).name not in (result.name,) and not isinstance(each, exp.Null) for each in parts):
            return None
        made = [self.native(each, select) for each in parts]
        if any(each is None for each in made):
            return None
        if isinstance(node, exp.Coalesce):
            return exp.Coalesce(this=made[0], expressions=made[1:])
        conditions = [self.native(each.this, select) for each in node.args["ifs"]]
        if any(each is None for each in conditions):
            return None
        if any(self.kind(each.this, select).id != "boolean" for each in node.args["ifs"]):
            return None
        ifs = [exp.If(this=one, true=each) for one, each in zip(conditions, made, strict=False)]
        return exp.Case(ifs=ifs, default=made[len(ifs)] if len(made) > len(ifs) else None)

    # What Spark computes of several rows

    def _special(self, node: exp.Expr, select: exp.Select) -> exp.Expr:
        if isinstance(node, exp.Window):
            return self._window(node, select)
        if isinstance(node, exp.Exists):
            return exp.Exists(this=self._inner(node.this.unnest(), select))
        if isinstance(node, exp.In):
            query = node.args["query"].unnest()
            (other,) = self._kinds_of_inner(query, select)
            own = self.kind(node.this, select)
            if own.is_nested or (own.name != other.name and not {own.id, other.id} <= {*_WHOLE}):
                raise refused(f"IN compares {own.name} with {other.name}", "cast one of them")
            return exp.In(this=self.value(node.this, select), query=exp.Subquery(this=self._inner(query, select)))
        if isinstance(node, exp.Query):
            return exp.Subquery(this=self._inner(node.unnest() if isinstance(node, exp.Subquery) else node, select))
        return self._aggregate(node, select)

    def _kinds_of_inner(self, query: exp.Expr, select: exp.Select) -> list[Kind]:
        if isinstance(query, exp.Select):
            before = self.outer
            self.outer = [*self.outer, select]
            kinds = [self.kind(each.this, query) for each in query.expressions]
            self.outer = before
            return kinds
        return self._kinds(query)

    def _aggregate(self, node: exp.Expr, select: exp.Select, window: bool = False) -> exp.Expr:
        with self._above(()):
            return self._aggregated(node, select)

    def _aggregated(self, node: exp.Expr, select: exp.Select) -> exp.Expr:
        if isinstance(node, exp.Grouping):
            columns = [each.copy() for each in node.expressions]
            if len(columns) == 1:
                return exp.Cast(this=exp.Anonymous(this="grouping", expressions=columns), to=exp.DataType.build("bigint"))
            raise refused("GROUPING of several columns", "name one in each")
        where, inner = None, node
        if isinstance(inner, exp.Filter):
            where, inner = self._condition(inner.expression.this, select), inner.this
        kind = self.kind(inner, select)
        parts = _arguments(inner)
        distinct = len(parts) == 1 and isinstance(parts[0], exp.Distinct)
        parts = parts[0].expressions if distinct else parts
        plain = isinstance(inner, exp.Func) and not inner.find(exp.Order) and len(parts) == 1
        name = _name(inner)

        def kept(value: exp.Expr) -> exp.Expr:
            """NULL, which counts for nothing, where FILTER does not hold."""
            return value if where is None else exp.Case(ifs=[exp.If(this=where.copy(), true=value)])

        def called(function: str, value: exp.Expr) -> exp.Expr:
            arguments = [exp.Distinct(expressions=[value])] if distinct else [value]
            return exp.Anonymous(this=function, expressions=arguments)

        if name == "count" and (not parts or isinstance(parts[0], exp.Star)):
            return exp.Anonymous(this="count", expressions=[kept(exp.Literal.number(1))])
        if plain and name in ("count", "sum", "avg", "mean", "min", "max", "bool_and", "bool_or"):
            of = self.kind(parts[0], select)
            value = self.value(parts[0], select)
            if name == "count" and not (distinct and (of.is_nested or not _carries_all(of))):
                return called("count", kept(value))
            if name == "sum" and (of.id in _WHOLE or of.id == "decimal"):
                return _spark_cast(called("sum", kept(_spark_cast(value, kind))), kind)
            if name == "sum" and of.id in ("double", "float"):
                return called("sum", kept(_spark_cast(value, kind)))
            if name in ("avg", "mean") and of.id in (*_WHOLE, "double", "float"):
                return called("avg", kept(_spark_cast(value, kind)))
            if name in ("min", "max") and not of.is_nested and _carries_all(of):
                return called(name, kept(value))
            if name in ("bool_and", "bool_or") and of.id == "boolean":
                return called(name, kept(value))
        return self._by_lists(inner, kept, kind, select)

    def _by_lists(
        self, inner: exp.Expr, kept: Callable[[exp.Expr], exp.Expr], kind: Kind, select: exp.Select
    ) -> exp.Expr:
        """An aggregate that DuckDB computes, of the list of a group's rows."""
        func = inner.this if isinstance(inner, exp.WithinGroup | exp.IgnoreNulls | exp.RespectNulls) else inner
        name = _name(func)
        if name in _IN_ORDER and not inner.find(exp.Order):
            raise refused(
                f"{name}(…) depends on the order of rows, which Spark does not keep", f"write {name}(… order by …)"
            )
        _check_functions(inner)
        inside = {leaf.sql(Plain): leaf for part in inner.iter_expressions() for leaf in _leaves(part)}
        numbers = {text: at for at, text in enumerate(inside)}

        def change(each: exp.Expr) -> exp.Expr:
            at = numbers.get(each.sql(Plain)) if _is_leaf(each, ()) else None
            return each if at is None else exp.column(f"lw{at}")

        text = inner.copy().transform(change).sql(Plain)
        fields: list[exp.Expr] = []
        for at, leaf in enumerate(inside.values()):
            fields += [exp.Literal.string(f"f{at}"), self.value(leaf, select)]
        row = exp.Anonymous(this="named_struct", expressions=fields or [exp.Literal.string("f0"), exp.Literal.number(1)])
        listed = exp.Anonymous(this="collect_list", expressions=[kept(row)])
        kinds = [self.kind(leaf, select) for leaf in inside.values()]
        return self._call(text, [listed], kinds, kind, grouped=True)

    def _window(self, node: exp.Window, select: exp.Select) -> exp.Expr:
        kind = self.kind(node, select)
        partition = [self.value(each, select) for each in node.args.get("partition_by") or ()]
        if any("MAP" in self.kind(each, select).spark for each in node.args.get("partition_by") or ()):
            raise refused("a window is divided by a map")
        order = node.args.get("order")
        ordered = [self._order(each, select) for each in order.expressions] if order is not None else []
        spec = node.args.get("spec")
        if spec is not None:
            spec = spec.copy()
            frame = str(spec.args.get("kind")).upper()
            bounds = [spec.args.get("start"), spec.args.get("end")]
            if spec.args.get("exclude") or frame not in ("ROWS", "RANGE"):
                raise refused("a window with GROUPS or EXCLUDE")
            if frame == "RANGE" and any(isinstance(each, exp.Expr) for each in bounds):
                raise refused("a window with a RANGE of values", "write ROWS")
            if any(isinstance(each, exp.Expr) and not isinstance(each, exp.Literal) for each in bounds):
                raise refused("a window's bound that is not a number")
            spec.set("kind", frame)
        inner = node.this
        nulls = type(inner) if isinstance(inner, exp.IgnoreNulls | exp.RespectNulls) else None
        function = inner.this if nulls else inner
        name = _name(function)
        if name in (*_WINDOWS, *_OF_ROWS):
            if not ordered:
                raise refused(f"{name}() over rows without an order", f"write {name}() over (order by …)")
            made: exp.Expr = self._of_rows(function, name, select, kind)
            if spec is not None and name not in ("first_value", "last_value", "nth_value"):
                spec = None  # it means nothing to them
            if name in ("lag", "lead", *_WINDOWS) and function.find(exp.Order):
                raise refused(f"{name} with an order of its own")
            made = nulls(this=made) if nulls else made
        elif _is_aggregate(inner) and _name(inner.this if isinstance(inner, exp.Filter) else inner) not in _IN_ORDER:
            made = self._aggregated(inner, select)
        else:
            raise refused(f"{name or inner.key} over a window")
        # A cast, or the function of a list, goes around the window.
        around: list[exp.Expr] = []
        while isinstance(made, exp.Cast) or (isinstance(made, exp.Anonymous) and made.name in self.functions):
            around.append(made)
            made = made.this if isinstance(made, exp.Cast) else made.expressions[0]
        over: exp.Expr = exp.Window(
            this=made,
            partition_by=partition,
            order=exp.Order(expressions=ordered) if ordered else None,
            spec=spec,
        )
        for each in reversed(around):
            if isinstance(each, exp.Cast):
                over = exp.Cast(this=over, to=each.to)
            else:
                over = exp.Anonymous(this=each.this, expressions=[over])
        return _spark_cast(over, kind) if name in _WINDOWS else over

    def _of_rows(self, function: exp.Expr, name: str, select: exp.Select, kind: Kind) -> exp.Expr:
        if name in ("row_number", "rank", "dense_rank", "percent_rank", "cume_dist"):
            return exp.Anonymous(this=name)
        parts = _arguments(function)
        if name == "ntile":
            if len(parts) != 1 or not isinstance(parts[0], exp.Literal):
                raise refused("ntile of what is not a number")
            return exp.Anonymous(this=name, expressions=[parts[0].copy()])
        nulls = type(parts[0]) if isinstance(parts[0], exp.IgnoreNulls | exp.RespectNulls) else None
        parts = [parts[0].this if nulls else parts[0], *parts[1:]]
        first = self.value(parts[0], select)
        if self.kind(parts[0], select).name != kind.name:
            first = self._as(first, self.kind(parts[0], select), kind)
        arguments = [first]
        if len(parts) > 1:
            if not isinstance(parts[1], exp.Literal) or not parts[1].name.isdecimal():
                raise refused(f"{name} with an offset that is not a number")
            arguments.append(parts[1].copy())
        if len(parts) > 2:
            default = self.kind(parts[2], select)
            third = self.value(parts[2], select)
            arguments.append(third if default.name == kind.name else self._as(third, default, kind))
        made = exp.Anonymous(this=name, expressions=arguments)
        return nulls(this=made) if nulls else made


def _copied(node: exp.Expr, key: str) -> exp.Expr | None:
    value = node.args.get(key)
    return None if value is None else value.copy()


def _sources(select: exp.Select) -> list[exp.Expr]:
    first = [select.args["from_"].this] if select.args.get("from_") else []
    return [*first, *(join.this for join in select.args.get("joins") or ())]


def _is_key(node: exp.Expr, keys: tuple[exp.Expr, ...]) -> bool:
    return any(node == key for key in keys)


def _is_leaf(node: exp.Expr, keys: tuple[exp.Expr, ...]) -> bool:
    return _is_special(node) or isinstance(node, exp.Column | exp.TableColumn) or _is_key(node, keys)


def _changed(node: exp.Expr, change: Callable[[exp.Expr], exp.Expr]) -> exp.Expr:
    return node.copy().transform(change)


def _double(literal: exp.Expr) -> exp.Expr:
    return exp.Cast(this=literal.unnest().copy(), to=exp.DataType.build("double"))


def _spark_cast(made: exp.Expr, kind: Kind) -> exp.Expr:
    return exp.Cast(this=made, to=exp.DataType.build(kind.spark, dialect="spark"))


def _carries_all(kind: Kind) -> bool:
    """Whether Spark's values of the type are DuckDB's, also in their order."""
    return kind.id not in ("enum", "uhugeint", "hugeint") and kind.spark != "MAP"


def _check_functions(node: exp.Expr) -> None:
    for each in node.find_all(exp.Func):
        name = _name(each)
        if name in _VOLATILE or (isinstance(each, exp.Anonymous) and name in _VOLATILE):
            raise refused(f"{name}(…) has another value at each call, or in each worker")
