"""SQL over the lake: DuckDB runs the statement as it is written, delta-rs reads and writes the tables.

DuckDB 2.0 has no Delta extension, and allows no catalog called `main`. So each version that a statement reads is a view
over an Arrow stream, in a catalog of DuckDB's that has its name (`main@v3`), and only the first part of the tables'
names changes in the statement's text; so it does in the text of the lake's own views, which are DuckDB's views over
these. DuckDB itself has access to no file, no network and no other setting.
"""

from __future__ import annotations

import hashlib
import tempfile
from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Any, Literal, Protocol

import pyarrow as pa

from lakewright.data.lake.duck import lock
from lakewright.data.lake.file_names import FORMS, FileName
from lakewright.data.lake.names import TableName
from lakewright.data.lake.statements import Statement, column_names, mentions, parse
from lakewright.data.lake.types import cast
from lakewright.data.lake.writing import already_exists, keep_failure
from lakewright.errors import Busy, DataError, NotFound, UsageError
from lakewright.records import TableVersion

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection
    from duckdb.sqltypes import DuckDBPyType

    from lakewright.data.lake.tables import Lake

_ZONED = "TIME WITH TIME ZONE"  # DuckDB's name of the type
DEFAULT_CATALOG = "view.default_catalog"  # a view's property: of the names of two parts in its text


class RunsSql(Protocol):
    """What runs a statement: DuckDB in this process (`InDuckDB`), or Spark (spark_sql/)."""

    def rows(self, lake: Lake, statement: Statement) -> pa.Table: ...

    def write(
        self,
        lake: Lake,
        statement: Statement,
        *,
        mode: Literal["overwrite", "create", "append"],
        properties: Mapping[str, str],
        transactions: Mapping[str, tuple[int | None, int]] = {},
    ) -> TableVersion:
        """Its rows as the next version of its target, in one commit."""


class InDuckDB:
    def rows(self, lake: Lake, statement: Statement) -> pa.Table:
        with Session(lake, statement) as session:
            rows = session.stream()
            return pa.Table.from_batches(list(rows), rows.schema)

    def write(
        self,
        lake: Lake,
        statement: Statement,
        *,
        mode: Literal["overwrite", "create", "append"],
        properties: Mapping[str, str],
        transactions: Mapping[str, tuple[int | None, int]] = {},
    ) -> TableVersion:
        table = str(statement.target)
        columns = lake.scan(lake.version(table)).schema.names if mode == "append" else None
        with Session(lake, statement) as session:
            rows = session.stream()
            if columns is not None:
                rows = _renamed(rows, by_position(rows.schema, columns, table))
            return lake.write(table, rows, mode=mode, properties=properties, transactions=transactions)


IN_DUCKDB = InDuckDB()


def run_sql(lake: Lake, query: str, by: RunsSql = IN_DUCKDB) -> pa.Table | TableVersion:
    """The rows of a select, or the table version that a `create table … as` or `insert into … select` wrote.

    Every table is read at one version throughout the statement. `insert` matches columns by position, as SQL does.
    Whole numbers of 128 bits, the type of DuckDB's sums, become bigint; of two columns `n` the second becomes `n_1`.
    Raises UsageError for other statements and for SQL that does not parse or bind, NotFound for unknown tables,
    DataError for values that the query cannot process.
    """
    statement = parse(query, lake.default_catalog)
    if statement.target is None:
        return by.rows(lake, statement)
    if statement.inserts:
        return by.write(lake, statement, mode="append", properties={"sql": query})
    lake.check_no_view(str(statement.target))
    if not statement.replaces and _exists(lake, str(statement.target)):
        raise already_exists(statement.target)  # before the query runs; `create` checks again
    return by.write(lake, statement, mode="overwrite" if statement.replaces else "create", properties={"sql": query})


def insert_once(lake: Lake, query: str, name: str, by: RunsSql = IN_DUCKDB) -> tuple[TableVersion, bool]:
    """The version that an `insert into … select` wrote under this name, and whether this call wrote it.

    The rows are written once, even if the statement runs under the name many times or in several processes at once: the
    name is an application transaction of Delta's, in the commit that adds the rows.
    Raises UsageError for other statements, and if another statement's rows were written under the name.
    """
    statement = parse(query, lake.default_catalog)
    if statement.target is None or not statement.inserts:
        raise UsageError("--once needs insert into … select …", "leave --once out")
    if not name.strip():
        raise UsageError("--once has no name", "name these rows: --once NAME (is a variable unset?)")
    table, application = str(statement.target), f"lakewright.sql.{name}"
    number = int(hashlib.sha256(query.encode()).hexdigest()[:15], 16)
    recorded = lake.transactions(table, [application])[application]
    if recorded is None:
        once = {application: (None, number)}
        try:
            properties = {"sql": query, "once": name}
            return by.write(lake, statement, mode="append", properties=properties, transactions=once), True
        except Busy:
            recorded = lake.transactions(table, [application])[application]
            if recorded is None:  # another process wrote other rows
                raise
    if recorded != number:
        raise UsageError(f"{table} holds rows of another statement under the name {name!r}", "choose another name")
    return lake.find_commit(table, "once", name) or lake.version(table), False


def _exists(lake: Lake, table: str) -> bool:
    try:
        return lake.view(table) is not None or bool(lake.version(table))
    except (NotFound, UsageError):  # no such table, or not a table's name
        return False


def by_position(schema: pa.Schema, columns: list[str], table: str) -> pa.Schema:
    """The query's columns under the names of the table's. Raises DataError where it has others than so many."""
    if len(schema) != len(columns):
        raise DataError(
            f"{table} has {len(columns)} columns ({', '.join(columns)}), the query gives {len(schema)}",
            "select one value for each column, in this order",
        )
    return pa.schema([field.with_name(name) for field, name in zip(schema, columns, strict=True)])


def _renamed(rows: pa.RecordBatchReader, schema: pa.Schema) -> pa.RecordBatchReader:
    return pa.RecordBatchReader.from_batches(
        schema, (pa.RecordBatch.from_arrays(batch.columns, schema=schema) for batch in rows)
    )


class Rows:
    """One version of a table, in the columns `names`, as an Arrow stream that DuckDB can read again and again."""

    def __init__(self, lake: Lake, table: TableVersion, names: set[str] | None, empty: bool = False) -> None:
        schema = lake.scan(table).schema
        included = [name for name in schema.names if names is None or name.lower() in names]
        self.lake, self.table, self.columns, self.empty = lake, table, included or schema.names[:1], empty
        self.schema = pa.schema([schema.field(name) for name in self.columns])
        self.failures: list[BaseException] = []  # DuckDB turns them into text

    def __arrow_c_stream__(self, requested_schema: object = None) -> object:
        def batches() -> Iterator[pa.RecordBatch]:
            # DuckDB also opens a stream only to read its columns: the scan begins with the first batch.
            if not self.empty:
                yield from self.lake.scan(self.table, self.columns, any_year=True)

        rows = keep_failure(batches(), self.failures)
        return pa.RecordBatchReader.from_batches(self.schema, rows).__arrow_c_stream__(requested_schema)


class FileRows:
    """The rows of a file, as an Arrow stream that DuckDB can read again and again."""

    def __init__(self, lake: Lake, file: FileName, empty: bool) -> None:
        if lake.readable is None:
            raise UsageError(f"no file can be read here: {file.path}", "write its rows into a table first")
        self.files, self.file, self.empty = lake.readable, file, empty
        self.schema = self.files.open(file).schema
        self.failures: list[BaseException] = []  # DuckDB turns them into text

    def __arrow_c_stream__(self, requested_schema: object = None) -> object:
        def batches() -> Iterator[pa.RecordBatch]:
            if not self.empty:
                yield from self.files.open(self.file)

        rows = keep_failure(batches(), self.failures)
        return pa.RecordBatchReader.from_batches(self.schema, rows).__arrow_c_stream__(requested_schema)


class Session:
    """A DuckDB connection that can run one query and nothing else; over `empty` tables, to learn what it gives."""

    def __init__(
        self,
        lake: Lake,
        statement: Statement,
        *,
        empty: bool = False,
        prefix: str = "table_",
        changed: tuple[str, TableName] | None = None,
        view: TableName | None = None,
    ) -> None:
        self.prefix = prefix
        self.changed = changed  # the one of which DuckDB has a copy
        self.files = {name: FileRows(lake, file, empty) for name, file in statement.files.items()}
        self.named: dict[str, str] = {}  # the lake's views that the statement reads → their text
        self._of_views: dict[tuple[str, TableName], str] = {}  # and in DuckDB, those first that others read
        self._tables: dict[tuple[str, TableName], TableVersion] = {}
        self._columns: dict[tuple[str, TableName], set[str] | None] = {}
        self.query = self._placed(lake, statement, () if view is None else (view,))
        self.views = {  # by their catalog and their table
            place: Rows(lake, table, self._columns[place], empty) for place, table in self._tables.items()
        }

    def __enter__(self) -> Session:
        import duckdb

        self.spill = tempfile.TemporaryDirectory(prefix="lakewright-sql-")
        self.connection: DuckDBPyConnection = duckdb.connect(config={"temp_directory": self.spill.name})
        for catalog in dict.fromkeys(catalog for catalog, _ in (*self.views, *self._of_views)):
            self.connection.execute(f"ATTACH ':memory:' AS \"{catalog}\"")
        for file, of_file in self.files.items():
            self.connection.register(file, of_file)
        for number, (place, rows) in enumerate(self.views.items()):
            self.connection.register(f"{self.prefix}{number}", rows)
            self._make("TABLE" if place == self.changed else "VIEW", place, f"FROM {self.prefix}{number}")
        for place, text in self._of_views.items():
            try:
                self._make("VIEW", place, text)
            except UsageError as error:
                raise UsageError(
                    f"the view {place[1]} cannot be read: {error.cause}",
                    f"write it anew (create or replace view {place[1]} as …), or correct what it reads",
                ) from error
        lock(self.connection)
        return self

    def _make(self, kind: str, place: tuple[str, TableName], query: str) -> None:
        name = placed(*place)
        self.connection.execute(f"CREATE SCHEMA IF NOT EXISTS {name.rpartition('.')[0]}")
        try:
            self.explained(lambda: self.connection.execute(f"CREATE {kind} {name} AS {query}"))
        except BaseException:
            self.__exit__()
            raise

    def __exit__(self, *_: object) -> None:
        self.connection.close()
        self.spill.cleanup()

    def stream(self, query: str | None = None) -> pa.RecordBatchReader:
        """The rows of the statement, or of another query."""
        relation = self.explained(lambda: self.connection.sql(query or self.query))
        names = list(_distinct(relation.columns))
        kinds = [str(kind) for kind in relation.types]
        if any(_ZONED in kind for kind in kinds):  # as text: Arrow's times of a day have no zone
            casts = [f"::{kind.replace(_ZONED, 'VARCHAR')}" if _ZONED in kind else "" for kind in kinds]
            relation = relation.project(", ".join(f"#{at}{cast}" for at, cast in enumerate(casts, start=1)))
        reader: pa.RecordBatchReader = self.explained(relation.to_arrow_reader)
        types = map(_stored, relation.types, reader.schema.types)
        schema = pa.schema([pa.field(name, kind) for name, kind in zip(names, types, strict=True)])

        def batches() -> Iterator[pa.RecordBatch]:
            while (batch := self.explained(lambda: next(reader, None))) is not None:
                yield cast(batch.rename_columns(names), schema)

        return pa.RecordBatchReader.from_batches(schema, batches())

    def explained(self, step: Callable[[], Any]) -> Any:
        import duckdb

        try:
            return step()
        except (duckdb.ParserException, duckdb.BinderException, duckdb.CatalogException) as error:
            raise UsageError(str(error), "correct the statement") from error
        except duckdb.PermissionException as error:
            raise UsageError(str(error), f"a file is read as {FORMS}, below the folders that SQL may read") from error
        except (duckdb.Error, pa.ArrowInvalid, OSError) as error:
            streams: list[Rows | FileRows] = [*self.views.values(), *self.files.values()]
            for rows in streams:
                if rows.failures:
                    raise rows.failures.pop() from None
            raise DataError(f"the query failed: {error}", "correct the statement or the rows it reads") from error

    def _placed(self, lake: Lake, statement: Statement, within: tuple[TableName, ...]) -> str:
        """The query over views: one for each table and version, with the columns that the query can name, and one for
        each of the lake's views. `within`: the text of these views, each read by the one before it."""
        names, text = column_names(statement), statement.text
        mentioned = mentions(statement, lambda table: _exists(lake, table))
        for each in sorted(mentioned, key=lambda each: each.catalog.start, reverse=True):
            version = "" if each.version is None else f"v{each.version}"
            catalog = f"{each.table.catalog}@{version}"
            place = catalog, each.table
            if each.table in within:
                circle = " → ".join(map(str, (*within[within.index(each.table) :], each.table)))
                raise UsageError(f"the view {each.table} reads itself: {circle}", "take it out of one of these views")
            if place in self._tables:
                columns = self._columns[place]
                self._columns[place] = None if names is None or columns is None else columns | names
            elif place not in self._of_views:
                view = lake.view(str(each.table))
                if view is None:
                    self._tables[place] = lake.version(f"{each.table}@{version}".removesuffix("@"))
                    self._columns[place] = names
                elif version:
                    raise UsageError(f"{each.table} is a view, which has no versions", f"write {each.table}")
                else:
                    inner = parse(view["view_definition"], view["properties"][DEFAULT_CATALOG])
                    self._of_views[place] = self._placed(lake, inner, (*within, each.table))
                    self.named[str(each.table)] = view["view_definition"]
            first = f'"{catalog}"' if each.catalog.text else f'"{catalog}".'
            text = text[: each.catalog.start] + first.encode() + text[each.catalog.end :]
        return text.decode()


def placed(catalog: str, table: TableName) -> str:
    """A table's name in DuckDB, in the catalog of its version."""
    return f'"{catalog}"."{table.schema}"."{table.table}"'


def _distinct(names: list[str]) -> Iterator[str]:
    """The names made distinct as DuckDB does it: n, n_1, n_2; upper and lower case are the same."""
    used_names = set[str]()
    for name in names:
        distinct, number = name, 0
        while distinct.lower() in used_names:
            number += 1
            distinct = f"{name}_{number}"
        used_names.add(distinct.lower())
        yield distinct


def _stored(kind: DuckDBPyType, arrow: pa.DataType) -> pa.DataType:
    """The Arrow type with bigint for DuckDB's whole numbers of 128 bits, which it returns as decimals."""
    if kind.id in ("hugeint", "uhugeint"):
        return pa.int64()
    if kind.id == "struct":
        fields = zip(arrow, kind.children, strict=True)
        return pa.struct([field.with_type(_stored(inner, field.type)) for field, (_, inner) in fields])
    if kind.id == "map":
        (_, key), (_, value) = kind.children
        return pa.map_(_stored(key, arrow.key_type), _stored(value, arrow.item_type))
    if kind.id in ("list", "array"):
        element = arrow.value_field.with_type(_stored(dict(kind.children)["child"], arrow.value_type))
        return pa.list_(element, arrow.list_size if kind.id == "array" else -1)
    return arrow
