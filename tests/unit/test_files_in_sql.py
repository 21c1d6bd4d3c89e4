"""Files as tables in SQL: those below the project's folder, the lake and `data_roots` are read, and no others."""

from __future__ import annotations

import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from deltalake import write_deltalake

import lakewright as lw
from lakewright.errors import DataError, LakewrightError, NotFound, UsageError

ROWS = [{"id": 1, "name": "ann"}, {"id": 2, "name": "bob's"}, {"id": 3, "name": None}]


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A project's folder with files, another project's folder beside it, and a folder for data."""
    table = pa.Table.from_pylist(ROWS)
    for folder in (tmp_path / "own", tmp_path / "other", tmp_path / "data"):
        (folder / "rows").mkdir(parents=True)
        pq.write_table(table, folder / "rows" / "people.parquet")
        (folder / "rows" / "people.csv").write_text("id,name\n1,ann\n2,bob's\n3,\n")
        (folder / "rows" / "people.json").write_text("\n".join(map(json.dumps, ROWS)))
        write_deltalake(str(folder / "table"), table)
    own = tmp_path / "own"
    (own / "profiles.yml").write_text("profiles:\n  local: {}\n  more:\n    data_roots: [../data, s3://lent/rows]\n")
    monkeypatch.chdir(own)
    return own


def rows(query: str, profile: str | None = None) -> list[dict[str, object]]:
    found = lw.sql(query, profile=profile)
    assert isinstance(found, pa.Table)
    return found.to_pylist()


@pytest.mark.parametrize(
    "table",
    [
        "parquet.`rows/people.parquet`",
        "CSV . `./rows/people.csv`",
        "json.`rows/people.json`",
        "delta.`table`",
        "read_parquet('rows/people.parquet')",
        "READ_CSV( 'rows/people.csv' )",
        "read_json('rows/people.json')",
    ],
)
def test_the_rows_of_a_file(place: Path, table: str) -> None:
    assert rows(f"select * from {table} order by id") == ROWS
    assert rows(f"select a.name from {table} as a join {table} b using (id) where id = 2") == [{"name": "bob's"}]
    whole = table.replace("./", "").replace("rows/", f"{place}/rows/").replace("`table`", f"`{place}/table`")
    assert rows(f"with q as (from {whole}) select count(*) n, '{table.replace(chr(39), '')}' t from q")[0]["n"] == 3


def test_a_file_beside_tables_and_into_tables(place: Path) -> None:
    lw.sql("create table main.shop.people as select * from csv.`rows/people.csv` where id < 3")
    lw.sql("insert into main.shop.people select * from parquet.`rows/people.parquet` where id = 3")
    lw.sql("update main.shop.people t set name = 'x' from json.`rows/people.json` s where s.id = t.id and s.id = 1")
    lw.sql(
        "merge into main.shop.people t using (select id + 2 as id, name from read_csv('rows/people.csv')) s "
        "on t.id = s.id when not matched then insert when matched then update"
    )
    found = rows("select id, name from main.shop.people order by id")
    assert found == [{"id": i + 1, "name": name} for i, name in enumerate(["x", "bob's", "ann", "bob's", None])]
    assert "csv.`rows/people.csv`" in lw.history("main.shop.people")[-1]["properties"]["sql"]
    lake_file = f"delta.`{place}/.lakewright/tables/main/shop/people`"
    assert rows(f"select count(*) n from {lake_file}") == [{"n": 5}]


def test_folders_that_the_profile_names(place: Path) -> None:
    beside = place.parent / "data" / "rows" / "people.csv"
    with pytest.raises(UsageError, match="SQL may not read"):
        rows(f"select * from csv.`{beside}`")
    assert rows(f"select * from csv.`{beside}` order by id", "more") == ROWS


@pytest.mark.parametrize(
    ("table", "kind", "message"),
    [
        ("csv.`/etc/passwd`", UsageError, "SQL may not read /etc/passwd"),
        ("read_csv('/etc/passwd')", UsageError, "SQL may not read /etc/passwd"),
        ("parquet.`{other}/rows/people.parquet`", UsageError, "SQL may not read"),
        ("delta.`{other}/table`", UsageError, "SQL may not read"),
        ("csv.`../other/rows/people.csv`", UsageError, "without .."),
        ("csv.`rows/../rows/people.csv`", UsageError, "without .."),
        ("csv.`~/people.csv`", UsageError, "SQL may not read"),
        ("csv.`file:///etc/passwd`", UsageError, "SQL may not read"),
        ("csv.`https://example.org/x.csv`", UsageError, "SQL may not read"),
        ("parquet.`s3://other/x.parquet`", UsageError, "SQL may not read"),
        ("parquet.`s3://lent/rowsandmore/x.parquet`", UsageError, "SQL may not read"),
        ("parquet.`s3://lent/rows/../x.parquet`", UsageError, "without .."),
        ("csv.`rows/*.csv`", UsageError, "is a pattern"),
        ("csv.`rows/people.cs?`", UsageError, "is a pattern"),
        ("csv.`rows/link.csv`", UsageError, "SQL may not read rows/link.csv"),
        ("csv.`linked/people.csv`", UsageError, "SQL may not read linked/people.csv"),
        ("csv.`mixed`", UsageError, "SQL may not read"),
        ("delta.`cloned`", UsageError, "names a file of another folder"),
        ("delta.`cloned2`", UsageError, "names a file of another folder"),
        ("delta.`cloned3`", UsageError, "names a file of another folder"),
        ("csv.`profiles.yml`", UsageError, "SQL may not read profiles.yml"),
        ("csv.`.env`", UsageError, "SQL may not read .env"),
        ("json.`.lakewright/keys.json`", UsageError, "SQL may not read"),
        ("csv.``", UsageError, "not the path of a file"),
        ("csv.`rows/none.csv`", NotFound, "there is no file rows/none.csv"),
        ("parquet.`rows/people.csv`", DataError, "people.csv"),
        ("delta.`plain`", NotFound, "not a Delta table"),
        ("read_csv('rows/people.csv', header = false)", UsageError, "nothing else here"),
        ("read_csv(['rows/people.csv'])", UsageError, "nothing else here"),
        ("read_csv_auto('rows/people.csv')", UsageError, "disabled"),
        ("read_text('rows/people.csv')", UsageError, "disabled"),
        ("'rows/people.csv'", UsageError, "not the name of a table"),
        ("glob('rows/*')", UsageError, "disabled"),
        ("lakewright_file_0", UsageError, "not the name of a table"),
    ],
)
def test_what_is_not_read(
    place: Path, table: str, kind: type[LakewrightError], message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = place.parent / "other"
    monkeypatch.setenv("HOME", str(other))
    (other / "people.csv").write_text("id\n1\n")
    (place / "rows" / "link.csv").symlink_to(other / "people.csv")
    (place / "linked").symlink_to(other / "rows")
    (place / "mixed").mkdir()
    (place / "plain").mkdir()
    (place / "mixed" / "a.csv").write_text("id\n1\n")
    (place / "mixed" / "b.csv").symlink_to(other / "people.csv")
    (place / ".env").write_text("id\n1\n")
    for name, path in (("cloned", f"file://{other}/%s"), ("cloned2", f"{other}/%s"), ("cloned3", "../other/%s")):
        write_deltalake(str(place / name), pa.Table.from_pylist(ROWS))
        commit = place / name / "_delta_log" / f"{0:020}.json"
        (added,) = (json.loads(line)["add"]["path"] for line in commit.read_text().splitlines() if '"add"' in line)
        (place / name / added).rename(other / added)
        commit.write_text(commit.read_text().replace(added, path % added))
    with pytest.raises(kind, match=message) as caught:
        rows(f"select * from {table.format(other=other)}", "more")
    assert type(caught.value) is kind and caught.value.remedy


def test_a_name_in_quotes_or_a_comment_is_no_file(place: Path) -> None:
    name = "read_csv('/etc/passwd')"
    query = f'select \'csv.`/etc/passwd`\' a, "{name}" b /* csv.`/etc/passwd` */ from (select 1 as "{name}") -- csv.`x`'
    assert rows(query) == [{"a": "csv.`/etc/passwd`", "b": 1}]


def test_the_root_of_the_disk_is_no_project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from lakewright.settings.profile import Profile
    from lakewright.workspace import Workspace

    monkeypatch.chdir("/")
    workspace = Workspace.open(Profile(workspace=str(tmp_path / "w")))
    with pytest.raises(UsageError, match="SQL may not read"):
        workspace.sql("select * from csv.`/etc/passwd`")
