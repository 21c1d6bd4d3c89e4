"""One contract for every catalog: the lake's tables by their names, wherever these are kept.

SQLite in a folder; Unity Catalog by databricks-sdk against a strict stand-in; Glue by boto3 against moto. The tables of
the latter two are on an S3 that takes the catalog's keys alone (`platforms/unity.py`).
"""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import pyarrow as pa
import pytest

from lakewright import plugins
from lakewright.data.lake.catalogs import Denied
from lakewright.data.lake.catalogs.glue import GlueCatalog, GlueSettings
from lakewright.data.lake.catalogs.sqlite import SqliteCatalog
from lakewright.data.lake.catalogs.unity import UnityCatalog, UnitySettings
from lakewright.data.lake.names import TableName
from lakewright.data.lake.parts import parts_of, read
from lakewright.data.lake.tables import Lake
from lakewright.errors import Busy, DataError, MissingPackage, NotFound, ProfileError
from lakewright.settings.profile import load_profile
from lakewright.workspace import Workspace

if TYPE_CHECKING:
    from platforms.unity import Guarded, Unity

pytest_plugins = ["platforms.unity"]

ROWS = pa.table({"id": [1, 2, 3], "Text": ["a", "ü", None], "tags": [["x"], [], None]})
CATALOGS = ["glue", "sqlite", "unity"]


@dataclass(frozen=True)
class Kept:
    """A lake, and what differs between catalogs beside their names."""

    kind: str
    another: Callable[[], Lake]  # the same lake, as another process opens it
    schema: str  # main.…, of this test alone
    lacks: Callable[[str], Lake]  # the lake of one who may not: read, write, add

    @property
    def lake(self) -> Lake:
        return self.another()

    def name(self, table: str = "reviews") -> str:
        return f"main.{self.schema}.{table}"


@pytest.fixture(params=CATALOGS)
def kept(request: pytest.FixtureRequest, tmp_path: Path) -> Kept:
    schema = f"demo_{uuid4().hex[:8]}"
    if request.param == "sqlite":

        def here() -> Lake:
            return Lake(SqliteCatalog(tmp_path / "catalog.sqlite"), str(tmp_path / "tables"))

        return Kept("sqlite", here, schema, lambda _: pytest.skip("never: whoever has the folder may do all"))

    guarded: Guarded = request.getfixturevalue("guarded")
    if request.param == "unity":
        unity: Unity = request.getfixturevalue("unity")
        settings = UnitySettings.model_validate({"host": unity.address, "token": unity.token})

        def with_unity() -> Lake:
            return Lake(UnityCatalog(settings), f"{unity.external_location}/tables", guarded.options)

        def lacks(what: str) -> Lake:
            unity.lacks({"read": "EXTERNAL USE SCHEMA", "write": "EXTERNAL USE LOCATION", "add": "CREATE TABLE"}[what])
            return with_unity()

        return Kept("unity", with_unity, schema, lacks)

    root = f"s3://{guarded.bucket}/{schema}"

    def with_glue(*without: str) -> Lake:
        actions = {"read": "glue:GetTable", "write": "s3:PutObject", "add": "glue:CreateTable"}
        statements = [{"Effect": "Allow", "Action": ["glue:*", "s3:*"], "Resource": "*"}]
        denied = [{"Effect": "Deny", "Action": [actions[each] for each in without], "Resource": "*"}] if without else []
        keys = guarded.session([*statements, *denied])
        options = {
            **guarded.options,
            "AWS_ACCESS_KEY_ID": keys["AccessKeyId"],
            "AWS_SECRET_ACCESS_KEY": keys["SecretAccessKey"],
            "AWS_SESSION_TOKEN": keys["SessionToken"],
        }
        return Lake(GlueCatalog(GlueSettings(endpoint=guarded.address), options), root, options)

    return Kept("glue", with_glue, schema, with_glue)


def test_every_catalog_is_in_this_suite() -> None:
    assert plugins.CATALOGS.names() == CATALOGS


def test_versions_are_written_appended_and_read_pinned(kept: Kept) -> None:
    lake, name = kept.lake, kept.name()
    first = lake.write(name, ROWS, properties={"fingerprint": "f1"}, comment="what people say")
    second = lake.write(name, ROWS.slice(0, 1), mode="append")
    third = lake.write(name, pa.table({"n": [7]}))
    assert [table.version for table in (first, second, third)] == [0, 1, 2]
    assert [table.rows for table in (first, second, third)] == [3, 4, 1]

    other = kept.another()
    assert other.read(first).equals(ROWS)
    assert other.read(other.version(f"{name}@v1")).num_rows == 4
    assert other.version(name) == third
    assert other.read(third, predicate="n > 6").to_pydict() == {"n": [7]}
    assert other.find_commit(name, "fingerprint", "f1") == first
    assert [commit["version"] for commit in other.history(name)] == [2, 1, 0]
    files = other.files(second, 0)
    (part,) = parts_of(files)
    batches = read(part, other.shape(second, ["id"]), other.place(second))
    assert part.rows == 1 and [batch.to_pydict() for batch in batches] == [{"id": [1]}]
    assert other.transactions(name, ["app"]) == {"app": None}
    with pytest.raises(NotFound, match="no version 9"):
        other.version(f"{name}@v9")


def test_a_table_is_shown_as_its_log_has_it(kept: Kept) -> None:
    table = kept.lake.write(kept.name(), ROWS, comment="what people say")
    shown = kept.another().show(kept.name())
    assert (shown["full_name"], shown["version"], shown["rows"]) == (kept.name(), 0, 3)
    assert (shown["comment"], shown["storage_location"]) == ("what people say", table.uri)
    assert shown["table_id"] and shown["created_at"] <= shown["updated_at"]
    columns = [(column["name"], column["type_text"], column["type_name"]) for column in shown["columns"]]
    assert columns == [("id", "bigint", "LONG"), ("Text", "string", "STRING"), ("tags", "array<string>", "ARRAY")]


def test_tables_are_listed_by_name(kept: Kept) -> None:
    lake = kept.lake
    for table in ("b", "a", "c"):
        lake.write(kept.name(table), ROWS)
    catalog = kept.another().catalog
    here = [entry["full_name"] for entry in catalog.list_tables("main", kept.schema)]
    assert here == [kept.name(table) for table in ("a", "b", "c")]
    assert set(here) <= {entry["full_name"] for entry in catalog.list_tables()}
    assert set(here) <= {entry["full_name"] for entry in catalog.list_tables("main")}
    assert catalog.list_tables("main", "no_such_schema") == []
    listed = {entry["full_name"]: entry for entry in lake.list()}
    assert listed[kept.name("a")]["storage_location"] == lake.version(kept.name("a")).uri
    assert listed[kept.name("a")]["rows"] == (None if kept.kind == "unity" else 3)  # its API cannot be told of changes
    entry = catalog.get_table(TableName("main", kept.schema, "a"))
    assert entry is not None and entry["data_source_format"] == "DELTA"
    assert [column["name"].lower() for column in entry["columns"]] == ["id", "text", "tags"]
    assert [column["type_name"] for column in entry["columns"]] == ["LONG", "STRING", "ARRAY"]


def test_a_dropped_table_keeps_its_files_and_is_entered_again(kept: Kept) -> None:
    lake = kept.lake
    table, name = lake.write(kept.name(), ROWS), TableName("main", kept.schema, "reviews")
    assert lake.catalog.drop_table(name)
    assert not lake.catalog.drop_table(name)
    assert lake.catalog.get_table(name) is None
    assert lake.version(kept.name()) == table
    assert lake.catalog.get_table(name) is not None


def test_capital_letters_mean_the_same_table(kept: Kept) -> None:
    table = kept.lake.write(f"MAIN.{kept.schema.upper()}.Reviews", ROWS)
    assert table.name == kept.name()
    other = kept.another()
    assert other.version(f"Main.{kept.schema.title()}.REVIEWS") == table
    assert other.read(table, ["Text"])["Text"].to_pylist() == ["a", "ü", None]
    assert [entry["full_name"] for entry in other.catalog.list_tables("main", kept.schema)] == [kept.name()]


def test_sql_reads_and_writes(kept: Kept) -> None:
    lake = kept.lake
    lake.write(kept.name(), ROWS)
    made = lake.sql(f"create table {kept.name('eyes')} as select id, upper(Text) as t from {kept.name()} where id < 3")
    assert not isinstance(made, pa.Table) and made.name == kept.name("eyes")
    found = kept.another().sql(
        f"select r.id, e.t from {kept.name()} r join {kept.name('eyes')} e using (id) order by 1"
    )
    assert isinstance(found, pa.Table) and found.to_pydict() == {"id": [1, 2], "t": ["A", "Ü"]}


def test_an_unknown_table_is_named_with_the_nearest(kept: Kept) -> None:
    lake = kept.lake
    lake.write(kept.name(), ROWS)
    with pytest.raises(NotFound, match="no table") as caught:
        lake.version(kept.name("revews"))
    assert f"did you mean {kept.name()!r}?" in caught.value.remedy
    assert lake.find_commit(kept.name("revews"), "a", "b") is None


def test_writers_at_once_lose_nothing(kept: Kept) -> None:
    failures: list[BaseException] = []

    def append(writer: int) -> None:
        lake = kept.another()
        try:
            for i in range(3):
                while True:
                    try:
                        lake.write(kept.name(), pa.table({"n": [10 * writer + i]}), mode="append")
                        break
                    except Busy:  # it says: run the command again
                        continue
        except BaseException as failure:
            failures.append(failure)

    writers = [threading.Thread(target=append, args=(writer,)) for writer in range(2)]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()
    assert failures == []
    lake = kept.another()
    table = lake.version(kept.name())
    assert (table.version, sorted(lake.read(table)["n"].to_pylist())) == (5, [0, 1, 2, 10, 11, 12])
    assert [entry["full_name"] for entry in lake.catalog.list_tables("main", kept.schema)] == [kept.name()]


@pytest.mark.parametrize(
    ("what", "named"),
    [("read", ["EXTERNAL USE SCHEMA", "glue:GetTable"]), ("add", ["CREATE TABLE", "glue:CreateTable"])],
)
def test_what_one_may_not_do_is_named(what: str, named: list[str], kept: Kept) -> None:
    def do(lake: Lake) -> Any:
        table = lake.version(kept.name()) if what == "read" else lake.write(kept.name("other"), ROWS)
        return lake.read(table)

    kept.lake.write(kept.name(), ROWS)
    lake = kept.lacks(what)
    with pytest.raises(Denied) as caught:
        do(lake)
    assert any(privilege in caught.value.cause for privilege in named)
    assert any(privilege in caught.value.remedy for privilege in named)


def test_nothing_is_written_where_one_may_not_write(kept: Kept) -> None:
    lake = kept.lacks("write")
    with pytest.raises((Denied, DataError), match=r"EXTERNAL USE LOCATION|privileges|403"):
        lake.write(kept.name(), ROWS)
    assert kept.another().catalog.list_tables("main", kept.schema) == []


@pytest.mark.parametrize(
    ("catalog", "line", "said"),
    [
        ("uniti", 3, "did you mean 'unity'?"),
        ("{name: unity, hots: https://x}", 3, "did you mean 'host'?"),
        ("{name: glue, region: 7}", 3, "region"),
    ],
)
def test_a_profile_names_its_catalog_strictly(
    catalog: str, line: int, said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "profiles.yml").write_text(f"profiles:\n  team:\n    catalog: {catalog}\n")
    with pytest.raises(ProfileError, match=f"profiles.yml:{line}") as caught:
        load_profile("team")
    assert said in str(caught.value)


@pytest.mark.parametrize(
    ("catalog", "kind"),
    [("sqlite", SqliteCatalog), ("{name: unity, host: https://x}", UnityCatalog), ("glue", GlueCatalog)],
)
def test_a_profiles_catalog_is_the_lakes(
    catalog: str, kind: type, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "profiles.yml").write_text(f"profiles:\n  team:\n    catalog: {catalog}\n")
    assert isinstance(Workspace.open(load_profile("team")).lake.catalog, kind)
    assert isinstance(Workspace.open(load_profile()).lake.catalog, SqliteCatalog)


@pytest.mark.parametrize(
    ("catalog", "package", "extra"), [("unity", "databricks", "databricks"), ("glue", "boto3", "aws")]
)
def test_a_package_that_is_missing_is_named_with_its_extra(
    catalog: str, package: str, extra: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, package, None)
    kind = plugins.CATALOGS.find(catalog)
    with pytest.raises(MissingPackage, match=package) as caught:
        kind.open(kind.settings(), tmp_path, {})
    assert f"lakewright[{extra}]" in caught.value.remedy
