"""optimize, vacuum, restore and drop: the rows that there are, and the versions that can be read, afterwards."""

from __future__ import annotations

from pathlib import Path

import pytest

from lakewright.data.lake.changes import change
from lakewright.data.lake.tables import Lake
from lakewright.data.lake.upkeep import drop, erase_before, is_upkeep, optimize, parse_upkeep, restore, vacuum
from lakewright.errors import DataError, NotFound, UsageError
from lakewright.records import Changed
from sql_statements import ORDERS, P, T, lake_in


@pytest.fixture
def lake(tmp_path: Path) -> Lake:
    return lake_in(tmp_path)


def run(lake: Lake, query: str, *keep: int) -> Changed:
    statement = parse_upkeep(query)
    match statement.verb:
        case "optimize":
            return optimize(lake, statement, query)
        case "vacuum":
            return vacuum(lake, statement, query, keep)
        case "restore":
            return restore(lake, statement, query)
        case "drop":
            return drop(lake, statement)


def ids(lake: Lake, table: str = T) -> list[int]:
    return sorted(lake.read(lake.version(table), ["id"])["id"].to_pylist())


def test_small_files_become_one_with_the_same_rows(lake: Lake) -> None:
    changed = run(lake, f"optimize {T}")
    assert (changed.did, changed.files_added, changed.files_removed, changed.version) == ("optimized", 1, 2, 2)
    assert ids(lake) == list(range(1, 9)) and len(lake.uris(lake.version(T))) == 1
    assert run(lake, f"OPTIMIZE {T};").did == "nothing"
    assert lake.history(T)[0]["properties"]["sql"] == f"optimize {T}"
    near = run(lake, f"optimize {T} zorder by (`Customer`, day)")
    assert near.did == "optimized" and ids(lake) == list(range(1, 9))
    with pytest.raises(DataError, match="no column 'nothing'"):
        run(lake, f"optimize {T} zorder by (nothing)")


def test_vacuum_removes_what_no_version_to_keep_needs(lake: Lake) -> None:
    change(lake, f"delete from {T} where id = 1")  # v2
    change(lake, f"delete from {T} where id = 2")  # v3
    assert run(lake, f"vacuum {T}").files_removed == 0  # a week has not passed
    assert run(lake, f"vacuum {T} retain 0 hours dry run").note == "3 files would be removed"
    assert ids(lake, f"{T}@v0") == [1, 2, 3, 4, 5]
    changed = run(lake, f"vacuum {T} retain 0 hours", 0)
    assert (changed.did, changed.files_removed) == ("vacuumed", 2)
    assert ids(lake, f"{T}@v0") == [1, 2, 3, 4, 5] and ids(lake) == list(range(3, 9))
    for gone in (1, 2):
        with pytest.raises(NotFound, match="VACUUM"):
            ids(lake, f"{T}@v{gone}")


def test_an_old_version_comes_back_as_a_new_one(lake: Lake) -> None:
    change(lake, f"delete from {T}")
    changed = run(lake, f"restore table {T} to version as of 0")
    assert (changed.did, changed.version, ids(lake)) == ("restored", 3, [1, 2, 3, 4, 5])
    assert lake.catalog.list_tables()[1]["properties"]["spark.sql.statistics.numRows"] == "5"
    assert run(lake, f"restore {T} to version as of 3").did == "nothing"
    with pytest.raises(NotFound, match="has no version 9"):
        run(lake, f"restore {T} to version as of 9")
    run(lake, f"vacuum {T} retain 0 hours")
    before = lake.version(T)
    with pytest.raises(NotFound, match="are gone"):
        run(lake, f"restore {T} to version as of 1")
    assert lake.version(T) == before


def test_a_dropped_table_is_gone_and_its_name_is_free(lake: Lake, tmp_path: Path) -> None:
    assert run(lake, f"drop table {T}").did == "dropped"
    assert {entry["full_name"] for entry in lake.list()} == {P, "main.shop.kinds"}
    assert sorted(path.name for path in (tmp_path / "tables" / "main" / "shop").iterdir()) == ["kinds", "people"]
    with pytest.raises(NotFound, match="no table"):
        run(lake, f"drop table {T}")
    assert run(lake, f"drop table if exists {T}").did == "nothing"
    assert lake.write(T, ORDERS).version == 0


def test_a_damaged_table_and_an_entry_without_a_table_can_be_dropped(lake: Lake, tmp_path: Path) -> None:
    place = tmp_path / "tables" / "main" / "shop"
    (place / "orders" / "_delta_log" / f"{1:020}.json").write_text("")
    assert run(lake, f"drop table {T}").did == "dropped"
    (place / "people").rename(tmp_path / "away")
    assert run(lake, f"drop table {P}").did == "dropped"
    assert [entry["full_name"] for entry in lake.list()] == ["main.shop.kinds"]


def test_a_drop_that_was_killed_can_be_run_again(lake: Lake, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Between its two steps the table is as it was; its entry is written again when it is next used."""
    with monkeypatch.context() as patched, pytest.raises(KeyboardInterrupt):
        patched.setattr(
            "lakewright.data.lake.upkeep.remove_folder", lambda folder: (_ for _ in ()).throw(KeyboardInterrupt)
        )
        run(lake, f"drop table {T}")
    assert ids(lake) == list(range(1, 9))
    assert T in [entry["full_name"] for entry in lake.list()]
    run(lake, f"drop table {T}")
    assert not (tmp_path / "tables" / "main" / "shop" / "orders").exists()


def test_erased_rows_are_in_no_file(lake: Lake, tmp_path: Path) -> None:
    query = f"delete from {T} where customer = 'ann'"
    (tmp_path / "tables" / "main" / "shop" / "orders" / "left-by-a-kill.parquet").write_bytes(b"ann")
    changed = change(lake, query, "noted")
    assert changed.version == 2
    assert erase_before(lake, T, 2, "noted") == 3
    files = list((tmp_path / "tables" / "main" / "shop" / "orders").glob("*.parquet"))
    assert len(files) == 1 and b"ann" not in files[0].read_bytes()
    with pytest.raises(NotFound, match="rows of it were erased with v2"):
        ids(lake, f"{T}@v0")
    old = lake.version(f"{T}@v0")
    assert lake.erased_in(old) == 2 and lake.erased_in(lake.version(T)) is None
    assert {commit["properties"].get("sql") for commit in lake.history(T)} == {None, "noted"}


@pytest.mark.parametrize(
    "query",
    [
        "drop table a.b.c; drop table a.b.d",
        "drop view a.b.c",
        "drop table a.b.c cascade",
        "drop table a",
        "drop table a.b.c@v1",
        "drop table a.b.c version as of 1",
        "drop table 'a.b.c'",
        "vacuum",
        "vacuum a.b.c retain -1 hours",
        "vacuum a.b.c retain 1.5 hours",
        "vacuum a.b.c@v0",
        "optimize a.b.c where x = 1",
        "optimize '../x'",
        "restore table a.b.c to version as of -1",
        "restore table a.b.c to timestamp as of '2026-01-01'",
        "restore a.b.c",
    ],
)
def test_what_is_refused(lake: Lake, query: str) -> None:
    assert is_upkeep(query)
    with pytest.raises(UsageError) as caught:
        parse_upkeep(query)
    assert caught.value.remedy


@pytest.mark.parametrize(
    "query", ["optimize main.shop.x", "vacuum main.shop.x", "restore main.shop.x to version as of 0"]
)
def test_a_table_that_is_not_there(lake: Lake, query: str) -> None:
    with pytest.raises(NotFound, match="no table"):
        run(lake, query)
