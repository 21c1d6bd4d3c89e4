"""The types of values in DuckDB, in Spark, and in Arrow between them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import pyarrow as pa

from lakewright.errors import UsageError

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection
    from duckdb.sqltypes import DuckDBPyType

WITH_DUCKDB = "write it in another way, or let DuckDB run it (profiles.yml: sql: duckdb)"
WHOLE = ("tinyint", "smallint", "integer", "bigint")  # each has room for those before it
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
        return id_of(self.of)

    @property
    def is_nested(self) -> bool:
        return bool(pa.types.is_nested(self.carried))


@dataclass(frozen=True)
class Computed:
    """A function that DuckDB computes in the workers, of rows or (`grouped`) of lists of a group's rows."""

    name: str
    text: str  # of DuckDB's SQL, over the columns lw0, lw1, …
    arguments: tuple[Kind, ...]
    result: Kind
    grouped: bool


def refused(what: str, remedy: str = WITH_DUCKDB) -> UsageError:
    return UsageError(f"Spark does not run this statement with DuckDB's answers: {what}", remedy)


def kind_of(of: DuckDBPyType, connection: DuckDBPyConnection) -> Kind:
    """Raises UsageError for a type that Spark lacks."""
    name = "INTEGER" if id_of(of) == "sqlnull" else str(of)
    spark = spark_type(of)
    arrow = connection.sql(f"SELECT NULL::{name} AS v").to_arrow_table().schema.types[0]
    return Kind(of, name, spark, arrow, _carried(of))


def lacking(of: DuckDBPyType) -> Kind:
    """Of a value that Spark never sees: within an expression that DuckDB computes."""
    return Kind(of, str(of), "", pa.null(), pa.null())


def id_of(of: DuckDBPyType) -> str:
    return "sqlnull" if str(of) == '"NULL"' else str(of.id)


def carries_all(kind: Kind) -> bool:
    """Whether Spark's values of the type are DuckDB's, also in their order."""
    return kind.id not in ("enum", "uhugeint", "hugeint") and kind.spark != "MAP"


def spark_type(of: DuckDBPyType) -> str:
    """Spark's type; fields of structs go by their places, since their names may be any text."""
    if id_of(of) == "decimal":
        (_, precision), (_, scale) = of.children
        return f"DECIMAL({precision}, {scale})"
    if id_of(of) in ("list", "array"):
        return f"ARRAY<{spark_type(dict(of.children)['child'])}>"
    if id_of(of) in ("struct", "tuple"):
        return f"STRUCT<{', '.join(f'f{at}: {spark_type(each)}' for at, (_, each) in enumerate(of.children))}>"
    if id_of(of) == "map":
        (_, key), (_, value) = of.children
        return f"MAP<{spark_type(key)}, {spark_type(value)}>"
    if id_of(of) not in _SCALARS:
        raise refused(f"it has values of the type {of}, which Spark lacks", f"cast them, to varchar; or {WITH_DUCKDB}")
    return _SCALARS[id_of(of)]


def _carried(of: DuckDBPyType) -> pa.DataType:
    """The Arrow type of `_spark`."""
    if id_of(of) in ("list", "array"):
        return pa.list_(pa.field("element", _carried(dict(of.children)["child"])))
    if id_of(of) in ("struct", "tuple"):
        return pa.struct([pa.field(f"f{at}", _carried(each)) for at, (_, each) in enumerate(of.children)])
    if id_of(of) == "map":
        (_, key), (_, value) = of.children
        return pa.map_(_carried(key), _carried(value))
    name = spark_type(of)
    if name.startswith("DECIMAL"):
        return pa.decimal128(*map(int, name[8:-1].split(",")))
    return _ARROW[name]


def first_line(error: BaseException) -> str:
    lines = str(error).splitlines() or ["it is too deep"]
    return lines[0][:200]
