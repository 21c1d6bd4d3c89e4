"""SQL over the lake: DuckDB runs the query, delta-rs reads and writes the tables.

DuckDB 2.0 has no Delta extension, so each `catalog.schema.table` in a statement (also `…@v3` and `… VERSION AS OF 3`)
is replaced by a registered Arrow stream of that version. DuckDB itself sees no file, no network and no other setting.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import sqlglot
from sqlglot import exp
from sqlglot.dialects.duckdb import DuckDB
from sqlglot.errors import SqlglotError

from lakewright.errors import DataError, NotFound, UsageError
from lakewright.lake.names import TableName
from lakewright.records import TableVersion

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection

    from lakewright.lake.tables import Lake

SUPPORTED = (
    "one statement is supported: select …, create [or replace] table catalog.schema.table as select …, "
    "or insert into catalog.schema.table select …; files come in by `lakewright run`"
)
_FIRST_WORDS = {"select", "with", "from", "values", "(", "create", "insert"}


class _LakeSQL(DuckDB):
    class Tokenizer(DuckDB.Tokenizer):
        IDENTIFIERS = ['"', "`"]  # noqa: RUF012 - sqlglot's way of declaring a dialect


def run_sql(lake: Lake, query: str) -> pa.Table | TableVersion:
    """The rows of a select, or the table version that a `create table … as` or `insert into … select` wrote.

    Every table is read at one version throughout the statement. `insert` matches columns by position, as SQL does.
    Raises UsageError for anything else or for SQL that does not parse or bind, NotFound for unknown tables, DataError
    for values that the query cannot work on.
    """
    statement = _parse(query)
    if isinstance(statement, exp.Create):
        target = _target(statement, statement.this)
        if not statement.args.get("replace") and _exists(lake, target):
            raise UsageError(f"the table {target} is there already", "write: create or replace table … as select …")
        with _Session(lake, statement.expression) as session:
            return lake.write(str(target), session.stream(), properties={"sql": query})
    if isinstance(statement, exp.Insert):
        target = _target(statement, statement.this)
        columns = lake.scan(lake.version(str(target))).schema.names
        with _Session(lake, _with_ctes(statement)) as session:
            rows = _by_position(session.stream(), columns, target)
            return lake.write(str(target), rows, mode="append", properties={"sql": query})
    with _Session(lake, statement) as session:
        return session.table()


def _parse(query: str) -> exp.Expr:
    dialect = _LakeSQL()
    try:
        tokens = dialect.tokenize(query)
        if not tokens:
            raise UsageError("the statement is empty", SUPPORTED)
        if tokens[0].text.lower() not in _FIRST_WORDS:
            raise UsageError(f"{tokens[0].text!r} statements are not supported", SUPPORTED)
        # a.b.c@v3 is not SQL, a.b.c VERSION AS OF 3 is
        for before, at, version in reversed(list(zip(tokens, tokens[1:], tokens[2:], strict=False))):
            touching = before.end + 1 == at.start and at.end + 1 == version.start
            if at.token_type == sqlglot.TokenType.PARAMETER and touching and before.text.isidentifier():
                if not _is_version(version.text):
                    raise UsageError(f"'@{version.text}' is not a version of a table", "write catalog.schema.table@v3")
                query = f"{query[: at.start]} VERSION AS OF {version.text[1:]}{query[version.end + 1 :]}"
        statements = [statement for statement in sqlglot.parse(query, dialect=dialect) if statement is not None]
    except SqlglotError as error:
        raise UsageError(f"this is not SQL: {_said(error)}", SUPPORTED) from error
    if len(statements) != 1:
        raise UsageError(f"{len(statements)} statements were given", SUPPORTED)
    statement = statements[0]
    inner = statement.expression if isinstance(statement, exp.Create | exp.Insert) else statement
    if not isinstance(inner, exp.Query | exp.Values) or any(inner.find_all(exp.DML, exp.DDL, exp.Command, exp.Into)):
        raise UsageError(f"this kind of statement is not supported: {query.strip()[:80]}", SUPPORTED)
    return statement


def _said(error: SqlglotError) -> str:
    """What the parser found, without the terminal's colours in which it shows the place."""
    found = getattr(error, "errors", None)
    if not found:
        return str(error)
    return "; ".join(f"{one['description'].rstrip('.')} near {one['highlight']!r}" for one in found[:2])


def _is_version(text: str) -> bool:
    return text[:1] in "vV" and text[1:].isdecimal()


def _target(statement: exp.Expr, table: exp.Expr) -> TableName:
    """The table that a create or insert writes; refuses every clause that would be dropped in silence."""
    understood = {"this", "expression", "kind", "replace", "with_", "is_function"}
    clauses = sorted(name.rstrip("_") for name, value in statement.args.items() if value and name not in understood)
    if clauses or statement.args.get("kind") not in (None, "TABLE") or not isinstance(table, exp.Table):
        raise UsageError(f"not supported here: {', '.join(clauses) or table.sql(_LakeSQL)}", SUPPORTED)
    name, version = _reference(table)
    if version is not None or table.alias:
        raise UsageError(f"{table.sql(_LakeSQL)} cannot be written to", SUPPORTED)
    return name


def _reference(table: exp.Table) -> tuple[TableName, int | None]:
    written = ".".join(part.name for part in table.parts)
    name, _ = TableName.parse(written)
    version = table.args.get("version")
    if table.args.get("when"):
        raise UsageError("AT (…) is not supported", f"write {written}@v3 or {written} VERSION AS OF 3")
    if version is None:
        return name, None
    if version.name != "VERSION" or not isinstance(version.expression, exp.Literal) or not version.expression.is_int:
        raise UsageError(f"not supported: {version.sql(_LakeSQL)}", f"write {written}@v3 or {written} VERSION AS OF 3")
    return name, int(version.expression.name)


def _exists(lake: Lake, table: TableName) -> bool:
    try:
        lake.version(str(table))
    except NotFound:
        return False
    return True


def _with_ctes(insert: exp.Insert) -> exp.Expr:
    """The query of `with q as (…) insert into t select … from q`, with what stands before the insert."""
    query: exp.Expr = insert.expression
    if (ctes := insert.args.get("with_")) is None:
        return query
    if query.args.get("with_"):
        raise UsageError("WITH stands both before and after INSERT", "write: insert into … with … select …")
    query.set("with_", ctes)
    return query


def _by_position(rows: pa.RecordBatchReader, columns: list[str], table: TableName) -> pa.RecordBatchReader:
    if len(rows.schema) != len(columns):
        raise DataError(
            f"{table} has {len(columns)} columns ({', '.join(columns)}), the query gives {len(rows.schema)}",
            "select one value for each column, in this order",
        )
    schema = pa.schema([field.with_name(name) for field, name in zip(rows.schema, columns, strict=True)])
    return pa.RecordBatchReader.from_batches(
        schema, (pa.RecordBatch.from_arrays(batch.columns, schema=schema) for batch in rows)
    )


class _Rows:
    """One version of a table, in the columns `wanted`, as an Arrow stream that DuckDB can read again and again."""

    def __init__(self, lake: Lake, table: TableVersion, wanted: set[str] | None) -> None:
        schema = lake.scan(table).schema
        named = [name for name in schema.names if wanted is None or name.lower() in wanted]
        self.lake, self.table, self.columns = lake, table, named or schema.names[:1]
        self.schema = pa.schema([schema.field(name) for name in self.columns])

    def __arrow_c_stream__(self, requested_schema: object = None) -> object:
        def batches() -> Iterator[pa.RecordBatch]:
            # DuckDB also asks for a stream only to look at its columns: the scan begins with the first batch.
            yield from self.lake.scan(self.table, self.columns)

        return pa.RecordBatchReader.from_batches(self.schema, batches()).__arrow_c_stream__(requested_schema)


class _Session:
    """A DuckDB connection in which one query, and nothing else, can run."""

    def __init__(self, lake: Lake, query: exp.Expr) -> None:
        self.views: dict[str, _Rows] = {}
        self.query = self._rewrite(lake, query.copy()).sql(dialect=_LakeSQL)
        self.spill = tempfile.TemporaryDirectory(prefix="lakewright-sql-")

    def __enter__(self) -> _Session:
        import duckdb

        self.connection: DuckDBPyConnection = duckdb.connect(config={"temp_directory": self.spill.name})
        for name, rows in self.views.items():
            self.connection.register(name, rows)
        for setting in ("enable_external_access", "python_enable_replacements"):
            self.connection.execute(f"SET {setting} = false")
        self.connection.execute("SET lock_configuration = true")
        return self

    def __exit__(self, *_: object) -> None:
        self.connection.close()
        self.spill.cleanup()

    def table(self) -> pa.Table:
        return self._explained(lambda: self.connection.sql(self.query).to_arrow_table())

    def stream(self) -> pa.RecordBatchReader:
        reader = self._explained(lambda: self.connection.sql(self.query).to_arrow_reader())

        def batches() -> Iterator[pa.RecordBatch]:
            while (batch := self._explained(lambda: next(reader, None))) is not None:
                yield batch

        return pa.RecordBatchReader.from_batches(reader.schema, batches())

    def _explained(self, step: Any) -> Any:
        import duckdb

        try:
            return step()
        except (duckdb.ParserException, duckdb.BinderException, duckdb.CatalogException) as error:
            raise UsageError(str(error), "correct the statement") from error
        except duckdb.PermissionException as error:
            raise UsageError(str(error), SUPPORTED) from error
        except (duckdb.Error, pa.ArrowInvalid, OSError) as error:
            raise DataError(f"the query failed: {error}", "correct the statement or the rows it reads") from error

    def _rewrite(self, lake: Lake, query: exp.Expr) -> exp.Expr:
        """The query over registered streams: one for each table and version, with the columns the query can name."""
        wanted = _column_names(query)
        versions: dict[tuple[TableName, int | None], str] = {}
        for table in list(query.find_all(exp.Table)):
            if not isinstance(table.this, exp.Identifier):
                continue  # a table function; DuckDB refuses those that read files
            if len(table.parts) == 1 and _is_cte(table):
                continue
            name, version = key = _reference(table)
            if key not in versions:
                pinned = lake.version(str(name) if version is None else f"{name}@v{version}")
                versions[key] = f"table_{len(versions)}"
                self.views[versions[key]] = _Rows(lake, pinned, wanted)
            alias = table.args.get("alias") or exp.TableAlias(this=exp.to_identifier(name.table, quoted=True))
            if not alias.this:
                alias.set("this", exp.to_identifier(name.table, quoted=True))
            table.set("alias", alias)
            table.set("this", exp.to_identifier(versions[key]))
            for part in ("db", "catalog", "version"):
                table.set(part, None)
        for column in query.find_all(exp.Column):
            if column.args.get("catalog"):  # a.b.c.x: the table goes by c now
                column.set("db", None)
                column.set("catalog", None)
        return query


def _is_cte(table: exp.Table) -> bool:
    name = table.name.lower()
    node: exp.Expr | None = table
    while (node := node.parent if node else None) is not None:
        if any(cte.alias.lower() == name for cte in (node.args.get("with_") or exp.With()).expressions):
            return True
    return False


def _column_names(query: exp.Expr) -> set[str] | None:
    """All names in the query, in lower case; None where it can also mean columns that it does not name."""
    unnamed = [star for star in query.find_all(exp.Star) if not isinstance(star.parent, exp.Count)]
    if unnamed or query.find(exp.Pivot, exp.Columns) or any(j.method == "NATURAL" for j in query.find_all(exp.Join)):
        return None
    tables = {table.alias_or_name.lower() for table in query.find_all(exp.Table)}
    if any(not column.table and column.name.lower() in tables for column in query.find_all(exp.Column)):
        return None  # a table's name as a value is the whole row
    return {identifier.name.lower() for identifier in query.find_all(exp.Identifier)}
