"""The catalog: Unity Catalog's names, kept through concurrent processes."""

from __future__ import annotations

import sqlite3
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from lakewright.data.lake.catalogs.sqlite import VERSION, SqliteCatalog
from lakewright.data.lake.names import TableName
from lakewright.errors import LakewrightError

NAME = TableName("main", "default", "reviews")
COLUMN = {"name": "id", "type_text": "bigint", "type_name": "LONG", "position": 0, "nullable": True, "comment": ""}
# The fields of unitycatalog/unitycatalog api/all.yaml that a table, a schema and the others are made of.
UNITY = {
    "catalogs": {
        "id",
        "name",
        "comment",
        "properties",
        "owner",
        "created_at",
        "created_by",
        "updated_at",
        "updated_by",
    },
    "schemas": {"schema_id", "name", "catalog_name", "full_name", "comment", "properties", "owner", "created_at"},
    "tables": {"name", "catalog_name", "schema_name", "table_type", "data_source_format", "columns", "storage_location"}
    | {"comment", "properties", "owner", "created_at", "created_by", "updated_at", "updated_by", "table_id"},
    "volumes": {"volume_id", "name", "catalog_name", "schema_name", "full_name", "volume_type", "storage_location"},
    "registered_models": {"id", "name", "catalog_name", "schema_name", "full_name", "storage_location", "comment"},
    "grants": {"principal", "privilege", "securable_type", "securable_full_name"},
}


def register(catalog: SqliteCatalog, name: TableName = NAME, **changes: Any) -> None:
    values: dict[str, Any] = {"table_id": "t1", "storage_location": "/lake/main/default/reviews", "columns": [COLUMN]}
    catalog.register_table(name, **{**values, **changes})


def test_objects_have_unity_catalogs_fields(tmp_path: Path) -> None:
    SqliteCatalog(tmp_path / "catalog.sqlite")
    connection = sqlite3.connect(tmp_path / "catalog.sqlite")
    for table, fields in UNITY.items():
        assert fields <= {row[1] for row in connection.execute(f"PRAGMA table_info({table})")}, table
    assert connection.execute("PRAGMA user_version").fetchone() == (VERSION,)
    assert connection.execute("PRAGMA journal_mode").fetchone() == ("delete",)
    connection.close()


def test_a_table_is_registered_updated_and_dropped(tmp_path: Path) -> None:
    catalog = SqliteCatalog(tmp_path / "deep" / "catalog.sqlite")
    assert catalog.get_table(NAME) is None
    before = time.time_ns() // 1_000_000
    register(catalog, comment="what people say", properties={"delta.lastUpdateVersion": "0"})
    first = catalog.get_table(NAME)
    assert first is not None
    assert first["full_name"] == "main.default.reviews"
    assert first["columns"] == [COLUMN]
    assert first["table_type"] == "MANAGED"
    assert first["data_source_format"] == "DELTA"
    assert before <= first["created_at"] == first["updated_at"] <= time.time_ns() // 1_000_000

    time.sleep(0.002)
    register(
        SqliteCatalog(tmp_path / "deep" / "catalog.sqlite"), columns=[], properties={"delta.lastUpdateVersion": "1"}
    )
    second = catalog.get_table(NAME)
    assert second is not None
    assert second["columns"] == []
    assert second["properties"] == {"delta.lastUpdateVersion": "1"}
    assert second["comment"] == "what people say"
    assert second["created_at"] == first["created_at"] < second["updated_at"]

    assert catalog.drop_table(NAME)
    assert not catalog.drop_table(NAME)
    assert catalog.list_tables() == []


def test_listing_by_catalog_and_schema(tmp_path: Path) -> None:
    catalog = SqliteCatalog(tmp_path / "catalog.sqlite")
    catalog.ensure_schema("main", "default")
    names = ["dev.default.a", "main.default.b", "main.default.c", "main.other.a"]
    for name in reversed(names):
        register(catalog, TableName.parse(name)[0])

    def listed(*scope: str) -> list[str]:
        return [entry["full_name"] for entry in catalog.list_tables(*scope)]

    assert listed() == names
    assert listed("main") == names[1:]
    assert listed("main", "default") == names[1:3]
    assert listed("none") == []


def test_a_failed_transaction_leaves_nothing(tmp_path: Path) -> None:
    catalog = SqliteCatalog(tmp_path / "catalog.sqlite")
    with pytest.raises(sqlite3.IntegrityError):
        register(catalog, table_id=None)
    assert catalog.list_tables() == []
    connection = sqlite3.connect(tmp_path / "catalog.sqlite")
    assert connection.execute("SELECT count(*) FROM catalogs").fetchone() == (0,)
    connection.close()


def test_another_layout_is_refused(tmp_path: Path) -> None:
    SqliteCatalog(tmp_path / "catalog.sqlite")
    connection = sqlite3.connect(tmp_path / "catalog.sqlite")
    connection.execute(f"PRAGMA user_version = {VERSION + 1}")
    connection.close()
    with pytest.raises(LakewrightError, match=f"layout {VERSION + 1}"):
        SqliteCatalog(tmp_path / "catalog.sqlite")


def test_many_processes_open_and_write_one_new_catalog(tmp_path: Path) -> None:
    code = f"""
import sys
from pathlib import Path
from lakewright.data.lake.catalogs.sqlite import SqliteCatalog
from lakewright.data.lake.names import TableName
print("ready", flush=True)
sys.stdin.readline()
catalog = SqliteCatalog(Path({str(tmp_path / "catalog.sqlite")!r}))
for i in range(10):
    name = TableName("main", "default", f"t_{{sys.argv[1]}}_{{i}}")
    catalog.register_table(name, table_id="t", storage_location="/x", columns=[])
    assert catalog.get_table(name) is not None
"""
    processes = [
        subprocess.Popen([sys.executable, "-c", code, str(i)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        for i in range(6)
    ]
    for process in processes:
        assert process.stdout and process.stdout.readline() == "ready\n"
    for process in processes:
        assert process.stdin
        process.stdin.write("\n")
        process.stdin.flush()
    assert [process.wait(60) for process in processes] == [0] * 6
    assert len(SqliteCatalog(tmp_path / "catalog.sqlite").list_tables()) == 60
    for process in processes:
        process.communicate()


def test_a_file_that_is_no_catalog_says_what_to_do(tmp_path: Path) -> None:
    (tmp_path / "catalog.sqlite").write_text("this is not a database, and long enough to be looked at" * 50)
    with pytest.raises(LakewrightError, match="is damaged") as caught:
        SqliteCatalog(tmp_path / "catalog.sqlite")
    assert "move it away" in caught.value.remedy
