"""MySQL and MariaDB, by PyMySQL: values come as the texts that the server writes, and are cast to their types."""

from __future__ import annotations

import re
from collections.abc import Generator, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, Self
from urllib.parse import unquote, urlsplit

import pyarrow as pa

from lakewright.data.databases.address import AGAIN, Address
from lakewright.data.databases.types import Column, Read, as_declared, nested_as_json, schema_of, selected
from lakewright.errors import Busy, DataError, LakewrightError, MissingPackage, NoStore, NotFound, UsageError

ROWS = 8192  # of a batch
_PARAMETERS = ("unix_socket", "connect_timeout", "ssl_ca", "ssl_verify_cert", "ssl_verify_identity")
# Beside its values being text: numbers of a type that holds unsigned ones too. Any other type is text, or binary.
_NUMBERS = {
    "TINY": pa.int16(),
    "SHORT": pa.int32(),
    "INT24": pa.int32(),
    "LONG": pa.int64(),
    "LONGLONG": pa.int64(),
    "YEAR": pa.int16(),
    "DOUBLE": pa.float64(),
}
_OTHERS = {
    "FLOAT": ("({} + 0e0)", pa.float32()),  # the server writes a float with six digits, and a double with all
    "BIT": ("({} + 0)", pa.int64()),
    "DATE": ("{}", pa.date32()),
    "NEWDATE": ("{}", pa.date32()),
    "DATETIME": ("{}", pa.timestamp("us")),
    "TIMESTAMP": ("concat({}, 'Z')", pa.timestamp("us", "UTC")),  # the session's zone is UTC
    "GEOMETRY": ("st_astext({})", pa.string()),
}
_DECIMALS = ("DECIMAL", "NEWDECIMAL")
_WRITTEN = {
    pa.bool_(): "tinyint",
    pa.int8(): "tinyint",
    pa.int16(): "smallint",
    pa.int32(): "int",
    pa.int64(): "bigint",
    pa.float32(): "double",  # a float would come back with six digits
    pa.float64(): "double",
    pa.string(): "longtext",
    pa.binary(): "longblob",
    pa.date32(): "date",
    pa.timestamp("us"): "datetime(6)",
    pa.timestamp("us", "UTC"): "datetime(6)",
}
_KEY = "varchar(255)"  # a key has a length
# https://dev.mysql.com/doc/mysql-errors/en/server-error-reference.html
_LOST = (1040, 1053, 1077, 1079, 1152, 1158, 1159, 1160, 1161, 1205, 1927, 2002, 2003, 2006, 2013, 2055)
_REFUSED = (1044, 1045, 1130, 1142, 1143, 1227, 1698, 2059, 2061)
_AT_ONCE = (1050, 1062, 1213)
_OF_SYNTAX = (1052, 1054, 1060, 1064, 1305, 1630)


class MySQL:
    def __init__(self, address: Address, secrets: Mapping[str, str]) -> None:
        try:
            import pymysql
            from pymysql.converters import conversions
        except ImportError as missing:
            raise MissingPackage("pymysql", "databases") from missing
        for name, _ in address.parameters:
            if name not in _PARAMETERS:
                raise UsageError(
                    f"{address.kind} has no parameter {name!r} of a connection", f"known: {', '.join(_PARAMETERS)}"
                )
        self.address, server = address, urlsplit(f"//{address.server}")
        user = {"user": unquote(server.username)} if server.username else {}
        credentials = address.credentials(secrets)
        self._password = credentials.get("password", "")
        with self._explained():
            self.connection = pymysql.connect(
                **{
                    **{name: int(value) if value.isdigit() else value for name, value in address.parameters},
                    **user,
                    **credentials,
                },
                host=server.hostname or "localhost",
                port=server.port or 3306,
                database=address.database,
                charset="utf8mb4",
                conv={key: value for key, value in conversions.items() if not isinstance(key, int)},  # none of values
                init_command="set time_zone = '+00:00', sql_mode = 'TRADITIONAL,NO_ENGINE_SUBSTITUTION', "
                "net_write_timeout = 3600",
            )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *failure: object) -> None:
        if self.connection.open:
            self.connection.close()  # rolls back what is not committed

    def quoted(self, *names: str) -> str:
        return ".".join("`" + name.replace("`", "``") + "`" for name in names)

    def tables(self) -> list[str]:
        of_database = "from information_schema.tables where table_schema = database()"
        return [name for (name,) in self.rows(f"select table_name {of_database}")]

    def key(self, table: Sequence[str]) -> list[str]:
        of_key = "table_schema = database() and table_name = %s and constraint_name = 'PRIMARY'"
        columns = f"select column_name from information_schema.key_column_usage where {of_key}"
        return [name for (name,) in self.rows(f"{columns} order by ordinal_position", *table)]

    def describe(self, rows: str) -> list[Column]:
        from pymysql.constants import FIELD_TYPE

        codes = {name: code for name, code in vars(FIELD_TYPE).items() if isinstance(code, int)}
        types = {code: name for name, code in reversed(codes.items())}  # the first name of each: TINY, and not CHAR
        with self._explained(rows), self.connection.cursor() as cursor:
            self.connection.rollback()
            cursor.execute("set transaction isolation level repeatable read")
            cursor.execute("start transaction with consistent snapshot, read only")
            cursor.execute(f"select * from {rows} as listed limit 0")
            described = [(each[0], types.get(each[1], ""), each[5]) for each in cursor.description]
        texts = [name for name, kind, _ in described if kind not in (*_NUMBERS, *_OTHERS, *_DECIMALS)]
        charsets = ", ".join(f"charset({self.quoted(name)})" for name in texts)
        found = self.rows(f"select {charsets} from {rows} as listed limit 1") if texts else []
        binary = {name for name, charset in zip(texts, found[0], strict=True) if charset == "binary"} if found else ()
        return [
            Column(name, "BINARY" if name in binary and kind not in ("TIME", "JSON") else kind, (38, scale))
            for name, kind, scale in described
        ]

    def read(
        self, rows: str, columns: Sequence[Column], order_by: Sequence[str]
    ) -> tuple[pa.Schema, Generator[pa.RecordBatch, None, None]]:
        reads = [self._read(column) for column in columns]
        schema = schema_of(reads, {})
        order = f" order by {', '.join(map(self.quoted, order_by))}" if order_by else ""
        names = selected(reads, [self.quoted(read.name) for read in reads])
        return schema, as_declared(self._stream(f"select {names} from {rows} as listed{order}", schema), schema)

    def state(self, rows: str, columns: Sequence[Column], changed: str | None) -> list[Any]:
        if changed is not None:
            measure = f"max({self.quoted(changed)})"
        else:
            values = ", ".join(f"quote({self._read(column).sql})" for column in columns)
            measure = f"sum(cast(conv(left(md5(concat_ws(',', {values})), 15), 16, 10) as unsigned))"
        return list(self.rows(f"select count(*), {measure} from {rows} as listed")[0])

    # What is written ---------------------------------------------------------------------------------------------

    def place(self, number: int) -> str:
        return "%s"

    def rows(self, statement: str, *values: Any) -> list[tuple[Any, ...]]:
        with self._explained(), self.connection.cursor() as cursor:
            cursor.execute(statement, values or None)
            return list(cursor.fetchall())

    def change(self, statement: str, *values: Any) -> int:
        with self._explained(), self.connection.cursor() as cursor:
            return int(cursor.execute(statement, values or None))

    def columns(self, table: Sequence[str]) -> dict[str, str]:
        of_table = "from information_schema.columns where table_schema = database() and table_name = %s"
        described = self.rows(f"select column_name, column_type {of_table}", *table)
        return {name: re.sub(r"^(\w*int)\(\d+\)$", r"\1", kind) for name, kind in described}  # MariaDB: bigint(20)

    def declared(self, schema: pa.Schema, *key: str) -> dict[str, str]:
        return {field.name: _KEY if field.name in key else _written_as(field.type) for field in schema}

    def create(self, table: Sequence[str], schema: pa.Schema, *key: str) -> None:
        columns = ", ".join(f"{self.quoted(name)} {kind}" for name, kind in self.declared(schema, *key).items())
        self.change(
            f"create table {self.quoted(*table)} ({columns}, primary key ({', '.join(map(self.quoted, key))})) "
            "engine InnoDB character set utf8mb4 collate utf8mb4_bin"
        )

    def upsert(self, table: Sequence[str], rows: pa.Table, *key: str) -> int:
        quoted = [self.quoted(name).replace("%", "%%") for name in rows.schema.names]
        changes = ", ".join(f"{name} = values({name})" for name in quoted)
        statement = (
            f"insert into {self.quoted(*table)} ({', '.join(quoted)}) values ({', '.join(['%s'] * len(quoted))}) "
            f"on duplicate key update {changes}"
        )
        values = [tuple(row.values()) for row in nested_as_json(rows).to_pylist()]
        with self._explained(), self.connection.cursor() as cursor:
            return int(cursor.executemany(statement, values)) - len(rows)  # a row that is changed counts twice

    def commit(self) -> None:
        with self._explained():
            self.connection.commit()

    # How -----------------------------------------------------------------------------------------------------------

    def _stream(self, statement: str, schema: pa.Schema) -> Generator[pa.RecordBatch, None, None]:
        from pymysql.cursors import SSCursor

        with self._explained():
            cursor = self.connection.cursor(SSCursor)
            cursor.execute(statement)
            kinds = [pa.binary() if pa.types.is_binary(field.type) else pa.string() for field in schema]
            while rows := cursor.fetchmany(ROWS):
                columns = [pa.array(each, kind) for each, kind in zip(zip(*rows, strict=True), kinds, strict=True)]
                yield pa.RecordBatch.from_arrays(columns, names=schema.names)

    def _read(self, column: Column) -> Read:
        name, kind = self.quoted(column.name), column.type
        if kind in _NUMBERS:
            return Read(column.name, name, _NUMBERS[kind])
        if kind in _DECIMALS and column.digits is not None:
            return Read(column.name, name, pa.decimal128(*column.digits))
        if kind in _OTHERS:
            sql, of_values = _OTHERS[kind]
            return Read(column.name, sql.format(name), of_values)
        return Read(column.name, name, pa.binary() if kind == "BINARY" else pa.string())

    @contextmanager
    def _explained(self, rows: str = "") -> Iterator[None]:
        from pymysql.err import Error

        try:
            yield
        except (Error, RuntimeError) as failure:
            code, *said = failure.args if len(failure.args) > 1 else (0, str(failure))
            text = str(said[0]).replace(self._password, "***") if self._password else str(said[0])
            raise self._error(code, text, rows) from None

    def _error(self, code: int, why: str, rows: str) -> LakewrightError:
        server = f"{self.address.kind}://{self.address.server}"
        if code in _REFUSED:
            return DataError(
                f"{server} refuses the user: {why}",
                f"write the user into the address and the password into profiles.yml: {self.address.remedy}; or ask "
                "its owner for the privilege (grant … to …)",
            )
        if code in _LOST:
            return NoStore(f"the database {server} does not answer: {why}", AGAIN)
        if code == 1146:
            return NotFound(f"{self.address}: {why}", "name the table as it is spelled there")
        if code in _AT_ONCE:
            return Busy(f"another process wrote to {self.address} at the same time: {why}", "run the command again")
        if rows.startswith("(") and code in _OF_SYNTAX:
            return DataError(
                f"the server refuses data.options.query: {why}", "correct it; it is one statement, select … from …"
            )
        return DataError(f"{self.address}: {why}", "correct the value, the table or the address that it names")


def _written_as(kind: pa.DataType) -> str:
    if pa.types.is_decimal(kind):
        return f"decimal({kind.precision},{kind.scale})"
    return _WRITTEN.get(kind, "longtext")
