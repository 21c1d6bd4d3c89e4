"""Where predictions are written, with the note of how far their input is scored: a table of the lake, or of a database.

Either way the rows and the note are one commit.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Protocol

import pyarrow as pa
import pyarrow.parquet as pq

from lakewright.data.databases import connect
from lakewright.data.databases.address import Address, is_database
from lakewright.data.lake.names import TableName
from lakewright.data.lake.parts import Written, remove
from lakewright.errors import Busy, NotFound, UsageError
from lakewright.records import Record, TableVersion
from lakewright.service.scoring import ledger
from lakewright.service.scoring.ledger import Progress

if TYPE_CHECKING:
    from lakewright.data.databases import Database
    from lakewright.data.lake.tables import Lake

KEY = "record_id"
LEDGER = "lakewright_scored"  # the table beside those of predictions
OF_LEDGER = pa.schema({"output": pa.string(), "application": pa.string(), "progress": pa.string()})


class DatabaseTable(Record):
    """A table of a database, and the rows that it holds."""

    address: str
    rows: int

    def __str__(self) -> str:
        return self.address


@dataclass(frozen=True)
class Wave:
    """Files of predictions that become one commit."""

    files: Sequence[Written]
    schema: pa.Schema
    replaces: bool  # all rows that are there
    application: str
    before: Progress | None
    after: Progress
    comment: str
    features: Sequence[TableVersion]  # that the rows were joined with


class Output(Protocol):
    @property
    def name(self) -> str: ...

    @property
    def table(self) -> str | None:
        """Of the lake, whose folder workers write files into; None: files come back, in hand."""

    def progress(self, application: str) -> Progress | None:
        """How far the input is scored into it; None: not at all."""

    def columns(self) -> dict[str, str]:
        """Column → type; none where there is no table yet."""

    def described(self, schema: pa.Schema) -> dict[str, str]:
        """The same of predictions that are to be written."""

    def check(self, schema: pa.Schema) -> None:
        """Raises UsageError where no predictions with these columns can be written, not even to replace all."""

    def rows(self) -> int: ...

    def ids(self) -> Iterator[str]:
        """The record ids that it holds."""

    def commit(self, wave: Wave) -> int:
        """Writes the rows and the note, or nothing. Returns how many of them replaced a row. Raises Busy where another
        process went on from the same note."""

    def discard(self, files: Sequence[Written]) -> None:
        """Files that are in no commit."""

    def written(self) -> TableVersion | DatabaseTable: ...


@dataclass(frozen=True)
class LakeOutput:
    lake: Lake
    table: str

    @property
    def name(self) -> str:
        return self.table

    def progress(self, application: str) -> Progress | None:
        return ledger.read(self.lake, self.table, application)

    def columns(self) -> dict[str, str]:
        try:
            return self.described(self.lake.scan(self.lake.version(self.table)).schema)
        except NotFound:
            return {}

    def described(self, schema: pa.Schema) -> dict[str, str]:
        return {field.name: str(field.type) for field in schema}

    def check(self, schema: pa.Schema) -> None:
        pass  # its columns may change where all rows do

    def rows(self) -> int:
        return self.lake.version(self.table).rows

    def ids(self) -> Iterator[str]:
        for batch in self.lake.scan(self.lake.version(self.table), ["record_id"]):
            yield from batch[0].to_pylist()

    def commit(self, wave: Wave) -> int:
        self.lake.add_files(
            self.table,
            wave.schema,
            wave.files,
            mode="overwrite" if wave.replaces else "append",
            comment=wave.comment,
            properties={"features": ", ".join(map(str, wave.features))} if wave.features else {},
            transactions=ledger.step(wave.application, wave.before, wave.after),
        )
        return 0

    def discard(self, files: Sequence[Written]) -> None:
        remove(files, self.lake.place_to_write(self.table))

    def written(self) -> TableVersion:
        return self.lake.version(self.table)


@dataclass(frozen=True)
class DatabaseOutput:
    """A connection is open while something is read or written, and not while predictions are computed."""

    address: Address
    secrets: Mapping[str, str] = field(repr=False)
    table: None = None

    @property
    def name(self) -> str:
        return str(self.address)

    def progress(self, application: str) -> Progress | None:
        with self._connected() as database:
            return self._progress(database, application) if database.columns(self._ledger) else None

    def columns(self) -> dict[str, str]:
        with self._connected() as database:
            return dict(sorted(database.columns(self.address.table).items()))

    def described(self, schema: pa.Schema) -> dict[str, str]:
        with self._connected() as database:
            return dict(sorted(database.declared(schema, KEY).items()))

    def check(self, schema: pa.Schema) -> None:
        existing, needed = self.columns(), self.described(schema)
        with self._connected() as database:
            key = database.key(self.address.table) if existing else [KEY]
        if differing := set(existing.items()) ^ set(needed.items()) if existing else set():
            names = ", ".join(sorted(f"{name}: {kind}" for name, kind in differing))
            raise UsageError(
                f"the table {self.name} has other columns than these options and this model write: {names}",
                "name another table (--output), or drop this one: it is made anew",
            )
        if key != [KEY]:
            raise UsageError(
                f"{KEY} is not the primary key of the table {self.name}, so a row could be there twice",
                f"alter table {self.address.name} add primary key ({KEY}), or name another table (--output)",
            )

    def rows(self) -> int:
        with self._connected() as database:
            ((rows,),) = database.rows(f"select count(*) from {database.quoted(*self.address.table)}")
        return int(rows)

    def ids(self) -> Iterator[str]:
        with self._connected() as database:
            table = database.quoted(*self.address.table)
            for batch in database.read(table, [each for each in database.describe(table) if each.name == KEY], [])[1]:
                yield from batch[0].to_pylist()

    def commit(self, wave: Wave) -> int:
        rows = pa.concat_tables(_rows(each, wave.schema) for each in wave.files)
        distinct = _last_of_each_id(rows)
        with self._connected() as database:
            self._make(database, wave.schema)
            self._note(database, wave)
            if wave.replaces:
                database.change(f"delete from {database.quoted(*self.address.table)}")
            replaced = database.upsert(self.address.table, distinct, KEY)
            database.commit()
        return replaced + len(rows) - len(distinct)

    def discard(self, files: Sequence[Written]) -> None:
        pass  # they are in memory

    def written(self) -> DatabaseTable:
        return DatabaseTable(address=self.name, rows=self.rows())

    @property
    def _ledger(self) -> tuple[str, ...]:
        return (*self.address.table[:-1], LEDGER)

    def _connected(self) -> Database:
        return connect(self.address, self.secrets)

    def _make(self, database: Database, schema: pa.Schema) -> None:
        """The tables, where they are missing."""
        if not database.columns(self._ledger):
            database.create(self._ledger, OF_LEDGER, "output", "application")
        if not database.columns(self.address.table):
            database.create(self.address.table, schema, KEY)

    def _progress(self, database: Database, application: str, lock: str = "") -> Progress | None:
        output, input = database.place(1), database.place(2)
        noted = database.rows(
            f"select progress from {database.quoted(*self._ledger)} where output = {output} and application = {input}"
            + lock,
            self.address.table[-1],
            application,
        )
        return Progress(**json.loads(noted[0][0])) if noted else None

    def _note(self, database: Database, wave: Wave) -> None:
        if self._progress(database, wave.application, " for update") != wave.before:
            raise Busy(f"another process wrote {self.name} at the same time", "run the command again")
        table, output = database.quoted(*self._ledger), self.address.table[-1]
        kept = f"output = {database.place(1)} and application <> {database.place(2)}"
        if wave.replaces:  # nothing of other inputs is left
            database.change(f"delete from {table} where {kept}", output, wave.application)
        noted = {"output": [output], "application": [wave.application], "progress": [json.dumps(asdict(wave.after))]}
        database.upsert(self._ledger, pa.table(noted, OF_LEDGER), "output", "application")


def output_of(name: str, lake: Lake, secrets: Mapping[str, str]) -> Output:
    """Raises UsageError for a name that no predictions can be written to."""
    if is_database(name):
        address = Address.parse(name)
        if address.kind == "redshift":
            raise UsageError(
                f"predictions cannot be written to {address}: Redshift has no insert that replaces a row by its key",
                "write them to a table of the lake, and load that (copy … from … format parquet)",
            )
        if len(address.table) != (1 if address.kind == "mysql" else 2):
            raise UsageError(
                f"predictions cannot be written to {address}, which names no table",
                "name it: postgresql://HOST/DATABASE/SCHEMA.TABLE, mysql://HOST/DATABASE/TABLE",
            )
        return DatabaseOutput(address, secrets)
    table, version = TableName.parse(name)
    if version is not None:
        raise UsageError(f"predictions cannot be written to {name}", "name another table, without a version")
    return LakeOutput(lake, str(table))


def _rows(file: Written, schema: pa.Schema) -> pa.Table:
    return pq.read_table(pa.BufferReader(file.content)).cast(schema)


def _last_of_each_id(rows: pa.Table) -> pa.Table:
    numbered = rows.select([KEY]).append_column("row", pa.array(range(len(rows))))
    last = numbered.group_by(KEY).aggregate([("row", "max")])["row_max"]
    return rows if len(last) == len(rows) else rows.take(last.sort())
