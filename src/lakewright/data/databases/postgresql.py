"""PostgreSQL, by ADBC's driver: rows come and go as Arrow, in the server's own binary COPY."""

from __future__ import annotations

import re
from collections.abc import Generator, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from typing import Any, ClassVar, Self
from urllib.parse import quote, urlencode

import pyarrow as pa

from lakewright.data.databases.address import AGAIN, Address
from lakewright.data.databases.types import (
    Column,
    Read,
    as_declared,
    cannot_be_read,
    nested_as_json,
    schema_of,
    selected,
)
from lakewright.errors import Busy, DataError, LakewrightError, MissingPackage, NoStore, NotFound

# As the server sends them; any other type is read as the text that the server writes.
_EXACT = {
    "bool": pa.bool_(),
    "int2": pa.int16(),
    "int4": pa.int32(),
    "int8": pa.int64(),
    "float4": pa.float32(),
    "float8": pa.float64(),
    "text": pa.string(),
    "varchar": pa.string(),
    "bytea": pa.binary(),
    "date": pa.date32(),
    "time": pa.time64("us"),
    "timestamp": pa.timestamp("us"),
    "timestamptz": pa.timestamp("us", "UTC"),
}
_WRITTEN = {
    pa.bool_(): "boolean",
    pa.int8(): "smallint",
    pa.int16(): "smallint",
    pa.int32(): "integer",
    pa.int64(): "bigint",
    pa.float32(): "real",
    pa.float64(): "double precision",
    pa.string(): "text",
    pa.binary(): "bytea",
    pa.date32(): "date",
    pa.timestamp("us"): "timestamp without time zone",
    pa.timestamp("us", "UTC"): "timestamp with time zone",
}
_TIMES = ("date", "timestamp", "timestamptz")
_AS_TEXT = {"TimeZone": "UTC", "DateStyle": "ISO, YMD", "IntervalStyle": "postgres", "bytea_output": "hex"}
_TYPMOD = 4  # bytes of a header before a numeric's precision and scale
# Of the servers' messages: https://www.postgresql.org/docs/current/errcodes-appendix.html
_LOST = ("08", "57P", "58")
_LOST_TEXT = re.compile(
    r"server closed the connection|no connection to the server|[Cc]onnection (refused|reset|timed out|not open)"
    r"|terminating connection|could not (connect|translate|receive|send)|timeout expired|No such file or directory"
    r"|is (starting up|shutting down|not yet accepting)|SSL SYSCALL|Broken pipe"
)


class PostgreSQL:
    statement_options: ClassVar[Mapping[str, str]] = {}
    text: ClassVar[str] = "text"  # the type of a text of any length

    def __init__(self, address: Address, secrets: Mapping[str, str]) -> None:
        credentials = address.credentials(secrets)  # libpq reads its environment and ~/.pgpass, too
        self.address, self._password = address, credentials.get("password", "")
        parameters = {**dict(address.parameters), **credentials}
        try:
            import adbc_driver_postgresql.dbapi as dbapi
        except ImportError as missing:
            raise MissingPackage("adbc-driver-postgresql", "databases") from missing
        uri = f"postgresql://{address.server}/{quote(address.database, safe='')}"
        with self._explained():
            self.connection = dbapi.connect(f"{uri}?{urlencode(parameters, quote_via=quote)}")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *failure: object) -> None:
        from adbc_driver_manager import Error

        try:
            self.connection.close()  # rolls back what is not committed
        except Error:  # the server is gone, and so is the transaction
            return

    def quoted(self, *names: str) -> str:
        return ".".join('"' + name.replace('"', '""') + '"' for name in names)

    def tables(self) -> list[str]:
        self._snapshot()  # a statement may have failed, and its transaction with it
        names = "select table_schema || '.' || table_name from information_schema.tables"
        return [
            name for (name,) in self.rows(f"{names} where table_schema not in ('pg_catalog', 'information_schema')")
        ]

    def key(self, table: Sequence[str]) -> list[str]:
        of_table = f"to_regclass({_literal(self.quoted(*table))})"
        return [
            name
            for (name,) in self.rows(
                "select a.attname::text from pg_index i join pg_attribute a on a.attrelid = i.indrelid "
                f"and a.attnum = any(i.indkey) where i.indisprimary and i.indrelid = {of_table} order by a.attnum"
            )
        ]

    def describe(self, rows: str) -> list[Column]:
        self._snapshot()
        with self._cursor() as cursor, self._explained(rows):
            cursor.execute(f"select * from {rows} as rows limit 0")
            return [_column(field) for field in cursor.fetch_record_batch().schema]

    def read(
        self, rows: str, columns: Sequence[Column], order_by: Sequence[str]
    ) -> tuple[pa.Schema, Generator[pa.RecordBatch, None, None]]:
        reads = [self._read(column) for column in columns]
        schema = schema_of(reads, self._survey(rows, reads))
        names = selected(reads, [self.quoted(read.name) for read in reads])
        order = f" order by {', '.join(map(self.quoted, order_by))}" if order_by else ""
        return schema, as_declared(self._stream(f"select {names} from {rows} as rows{order}"), schema)

    def state(self, rows: str, columns: Sequence[Column], changed: str | None) -> list[Any]:
        if changed is not None:
            measure = f"max({self.quoted(changed)})::text"
        else:
            measure = "sum(hashtextextended(rows::text, 0)::numeric)::text"
        names = ", ".join(self.quoted(column.name) for column in columns)
        return list(self.rows(f"select count(*), {measure} from (select {names} from {rows} as rows) as rows")[0])

    # Statements --------------------------------------------------------------------------------------------------

    def rows(self, statement: str, *values: Any) -> list[tuple[Any, ...]]:
        """Of a query with few of them."""
        with self._cursor() as cursor, self._explained():
            cursor.execute(statement, values or None)
            found: list[tuple[Any, ...]] = cursor.fetchall()
            return found

    def change(self, statement: str, *values: Any) -> int:
        """How many rows the statement changed."""
        with self._cursor() as cursor, self._explained():
            cursor.execute(statement, values or None)
            return int(cursor.rowcount)

    def place(self, number: int) -> str:
        return f"${number}"

    def columns(self, table: Sequence[str]) -> dict[str, str]:
        of_table = "from information_schema.columns where table_schema = $1 and table_name = $2"
        return dict(
            self.rows(f"select column_name::text, data_type::text {of_table} order by ordinal_position", *table)
        )

    def declared(self, schema: pa.Schema, *key: str) -> dict[str, str]:
        return {field.name: _written_as(field.type) for field in schema}

    def create(self, table: Sequence[str], schema: pa.Schema, *key: str) -> None:
        columns = ", ".join(f"{self.quoted(name)} {kind}" for name, kind in self.declared(schema).items())
        self.change(f"create table {self.quoted(*table)} ({columns}, primary key ({', '.join(map(self.quoted, key))}))")

    def upsert(self, table: Sequence[str], rows: pa.Table, *key: str) -> int:
        with self._cursor() as cursor, self._explained():
            cursor.adbc_ingest("lakewright_rows", nested_as_json(rows), mode="create", temporary=True)
        keys = ", ".join(map(self.quoted, key))
        ((there,),) = self.rows(f"select count(*) from {self.quoted(*table)} join lakewright_rows using ({keys})")
        names = ", ".join(map(self.quoted, rows.schema.names))
        declared = self.declared(rows.schema).items()
        values = ", ".join(f"{self.quoted(name)}::{kind}" for name, kind in declared)
        changes = ", ".join(f"{name} = excluded.{name}" for name in map(self.quoted, rows.schema.names))
        self.change(
            f"insert into {self.quoted(*table)} ({names}) select {values} from lakewright_rows "
            f"on conflict ({keys}) do update set {changes}"
        )
        self.change("drop table lakewright_rows")
        return int(there)

    def commit(self) -> None:
        with self._explained():
            self.connection.commit()

    @contextmanager
    def _cursor(self) -> Iterator[Any]:
        with closing(self.connection.cursor()) as cursor:
            if self.statement_options:
                cursor.adbc_statement.set_options(**self.statement_options)
            yield cursor

    def _snapshot(self) -> None:
        """Begins the transaction whose queries all see one state of the data, and write nothing."""
        with self._explained():
            self.connection.rollback()
        self.change("set transaction isolation level repeatable read, read only")
        settings = ", ".join(f"set_config('{name}', '{value}', true)" for name, value in _AS_TEXT.items())
        self.rows(f"select {settings}")

    def _stream(self, statement: str, *values: Any) -> Generator[pa.RecordBatch, None, None]:
        with self._cursor() as cursor, self._explained():
            cursor.execute(statement, values or None)
            yield from cursor.fetch_record_batch()

    # Columns -----------------------------------------------------------------------------------------------------

    def _read(self, column: Column) -> Read:
        name, kind = self.quoted(column.name), column.type
        if kind == "numeric":
            not_numbers = {"NaN or infinite numbers": f"{name}::text in ('NaN', 'Infinity', '-Infinity')"}
            fits = column.digits is not None and column.digits[0] <= 38 and 0 <= column.digits[1] <= column.digits[0]
            exact = pa.decimal128(*column.digits) if fits and column.digits is not None else None
            return Read(column.name, f"{name}::{self.text}", exact, not_numbers)
        if kind in _TIMES:
            return Read(column.name, name, _EXACT[kind], {"infinite times": f"not isfinite({name})"})
        if kind in _EXACT:
            return Read(column.name, name, _EXACT[kind])
        if kind.startswith("_"):
            several = {"arrays of several dimensions": f"array_ndims({name}) > 1"}
            element = kind.removeprefix("_")
            if element in _EXACT and element != "time":
                return Read(column.name, name, pa.list_(_EXACT[element]), several)
            return Read(column.name, f"{name}::text[]", pa.list_(pa.string()), several)
        return Read(column.name, f"{name}::{self.text}", pa.string())

    def _survey(self, rows: str, reads: Sequence[Read]) -> dict[str, tuple[int, int]]:
        """The digits of decimals that have any number of them. Raises DataError for what cannot be read."""
        checks = [(read.name, what, condition) for read in reads for what, condition in read.checks.items()]
        decimals = [read.name for read in reads if read.kind is None]
        measures = [f"count(*) filter (where {condition})" for _, _, condition in checks]
        for name in map(self.quoted, decimals):
            whole = f"length(ltrim(split_part(abs({name})::text, '.', 1), '0'))"
            measures += [f"coalesce(max({each}), 0)::int8" for each in (whole, f"scale({name})")]
        if not measures:
            return {}
        (found,) = self.rows(f"select {', '.join(measures)} from {rows} as rows")
        for (name, what, _), count in zip(checks, found, strict=False):
            if count:
                raise cannot_be_read(name, what, count)
        digits = iter(found[len(checks) :])
        return {name: (next(digits), next(digits)) for name in decimals}

    # Failures ----------------------------------------------------------------------------------------------------

    @contextmanager
    def _explained(self, rows: str = "") -> Iterator[None]:
        from adbc_driver_manager import Error

        try:
            yield
        except (Error, OSError, pa.ArrowException) as failure:  # the last two are those of a stream that breaks off
            raise self._error(str(failure), getattr(failure, "sqlstate", None) or "", rows) from None

    def _error(self, text: str, state: str, rows: str) -> LakewrightError:
        if self._password:
            text = text.replace(self._password, "***").replace(quote(self._password, safe=""), "***")
        server, why = f"{self.address.kind}://{self.address.server}", _message(text)
        if ("password" in text.lower() and "connect" in text) or state.startswith("28"):
            return DataError(
                f"{server} refuses the user: {why}",
                f"write the user into the address and the password into profiles.yml: "
                f"{self.address.remedy}, or into ~/.pgpass",
            )
        if state.startswith(_LOST) or _LOST_TEXT.search(text):
            return NoStore(
                f"the database {server} does not answer: {why}",
                AGAIN,
            )
        if state == "42P01":
            return NotFound(f"{self.address}: {why}", "name the table as SCHEMA.TABLE, as it is spelled there")
        if state in ("40001", "40P01", "23505", "55P03"):
            return Busy(f"another process wrote to {self.address} at the same time: {why}", "run the command again")
        if rows.startswith("(") and state.startswith(("42", "0A")):
            return DataError(
                f"the server refuses data.options.query: {why}", "correct it; it is one statement, select … from …"
            )
        if state == "42501":
            return DataError(f"{self.address}: {why}", "ask its owner for the privilege (grant … to …)")
        return DataError(f"{self.address}: {why}", "correct the value, the table or the address that it names")


def _column(field: pa.Field) -> Column:
    noted = {key.decode(): value.decode() for key, value in (field.metadata or {}).items()}
    kind, modifier = noted.get("POSTGRESQL:type", ""), int(noted.get("POSTGRESQL:typmod", -1)) - _TYPMOD
    if kind != "numeric" or modifier < 0:
        return Column(field.name, kind)
    scale = (modifier & 0x7FF) - ((modifier & 0x400) << 1)  # eleven bits, of which one is its sign
    return Column(field.name, kind, (modifier >> 16 & 0xFFFF, scale))


def _written_as(kind: pa.DataType) -> str:
    return "numeric" if pa.types.is_decimal(kind) else _WRITTEN.get(kind, "jsonb")


def _literal(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"


def _message(text: str) -> str:
    """What the server says, without the driver's words around it, and without the values of a row."""
    found = re.search(r"(?:ERROR|FATAL): +(.*?)(?:\n|$|\. SQLSTATE)", text) or re.search(
        r"(?:\[libpq\] )?(?:Failed to [\w ]+: )?(.*?)(?:\n|$|\. SQLSTATE)", text.partition(": ")[2] or text
    )
    return found[1] if found else text
