"""State that was damaged, made twice at once or moved: tables, keys, timers, MLflow's database, records."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from lakewright.data.lake import sql
from lakewright.data.lake.catalogs.sqlite import SqliteCatalog
from lakewright.data.lake.tables import Lake
from lakewright.errors import UsageError
from projects import Call, T

# Tables --------------------------------------------------------------------------------------------------------------


def zeros(whole: bytes) -> bytes:
    return bytes(len(whole))


def without_footer(whole: bytes) -> bytes:
    return whole[:-200] + bytes(196) + whole[-4:]


def without_rows(whole: bytes) -> bytes:
    """The footer is as it was, so only reading the rows tells."""
    return whole[:4] + bytes(b ^ 0x5A for b in whole[4 : len(whole) // 2]) + whole[len(whole) // 2 :]


def damage(table: Path, how: Callable[[bytes], bytes]) -> None:
    for path in table.glob("*.parquet"):
        path.write_bytes(how(path.read_bytes()))


def rows_of(call: Call, table: str = T) -> int:
    return len(call("sql", f"select * from {table}", "--json").json["rows"])


@pytest.mark.parametrize(("table", "stage", "how"), [("t", "ingest", zeros), ("t_features", "prepare", without_footer)])
def test_a_damaged_file_of_the_same_size_is_written_anew(
    table: str, stage: str, how: Any, ran: Path, call: Call
) -> None:
    damage(ran.parent / ".lakewright" / "tables" / "main" / "h" / table, how)
    read = call("sql", f"select * from main.h.{table}")
    assert read.code == 1
    assert "is damaged: its footer is no Parquet" in read.err
    assert f"lakewright run --rerun {stage}" in read.err
    planned = {each["stage"]: each for each in call("plan", "--json").json["stages"]}
    assert planned[stage] == {
        "stage": stage,
        "action": "run",
        "why": f"the files of main.h.{table}@v0 are gone or damaged",
    }
    assert call("run").code == 0
    assert rows_of(call, f"main.h.{table}") == 60


def test_a_rerun_writes_rows_anew_that_cannot_be_read(ran: Path, call: Call) -> None:
    damage(ran.parent / ".lakewright" / "tables" / "main" / "h" / "t", without_rows)
    failed = call("run", "--rerun", "prepare")
    assert failed.code == 1
    assert "(lakewright run --rerun ingest)" in failed.err
    assert call("run", "--rerun", "ingest").code == 0
    assert rows_of(call) == 60


# Two at once ---------------------------------------------------------------------------------------------------------


def test_one_of_many_creates_a_table(tmp_path: Path) -> None:
    def create(number: int) -> Any:
        lake = Lake(SqliteCatalog(tmp_path / "catalog.sqlite"), str(tmp_path / "tables"))
        try:
            return sql.run_sql(lake, f"create table main.h.one as select {number} as n")
        except UsageError as error:
            return error

    lake = Lake(SqliteCatalog(tmp_path / "catalog.sqlite"), str(tmp_path / "tables"))
    with ThreadPoolExecutor(4) as threads:
        ended = list(threads.map(create, range(4)))
    refused = [error.cause for error in ended if isinstance(error, UsageError)]
    assert refused == ["the table main.h.one is there already"] * 3
    made = lake.version("main.h.one")
    (winner,) = (number for number, table in enumerate(ended) if table == made)
    assert (made.version, lake.read(made)["n"].to_pylist()) == (0, [winner])


def test_a_table_that_was_made_while_the_query_ran_is_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    lake = Lake(SqliteCatalog(tmp_path / "catalog.sqlite"), str(tmp_path / "tables"))
    lake.write(T, pa.table({"n": [1]}))
    monkeypatch.setattr(sql, "_exists", lambda *_: False)  # as it was when the statement began
    with pytest.raises(UsageError, match="is there already"):
        sql.run_sql(lake, f"create table {T} as select 2 as n")
    assert lake.read(lake.version(T))["n"].to_pylist() == [1]
    sql.run_sql(lake, f"create or replace table {T} as select 3 as n")
    assert lake.read(lake.version(T))["n"].to_pylist() == [3]
