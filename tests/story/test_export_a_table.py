"""A table as a file for other programs: the command, from Python, what each remedy is worth, and a kill."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pytest

import lakewright as lw
from lakewright.errors import NotFound

Lakewright = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def written(rows: pa.Table) -> None:
    lw.Workspace.open(lw.load_profile()).lake.write("main.shop.rows", rows)


def test_a_feature_table_as_a_file(folder: Path, lakewright: Lakewright) -> None:
    lw.features.create("main.shop.daily", keys={"id": "bigint"}, event_time="day", values={"spend": "double"})
    lw.features.write(
        "main.shop.daily", "select 1 as id, timestamptz '2024-01-31 00:00:00+00' as day, 0.1::double as spend"
    )
    told = lakewright("tables", "export", "main.shop.daily", "daily.tsv")
    assert (told.returncode, told.stdout) == (0, "1 rows of main.shop.daily@v1 → daily.tsv (47 bytes)\n"), told.stderr
    assert (folder / "daily.tsv").read_text() == "id\tday\tspend\n1\t2024-01-31T00:00:00.000000Z\t0.1\n"

    packed = lakewright("tables", "export", "main.shop.daily@v1", "daily.jsonl.gz", "--json")
    assert json.loads(packed.stdout) == {
        "table": "main.shop.daily@v1",
        "file": "daily.jsonl.gz",
        "format": "jsonl",
        "rows": 1,
        "bytes": (folder / "daily.jsonl.gz").stat().st_size,
        "findings": [],
    }

    refused = lakewright("tables", "export", "main.shop.daily", "daily.tfrecord")
    assert refused.returncode == 1 and "→ round them to the nearest one of 32 bits: --float32" in refused.stderr
    assert not (folder / "daily.tfrecord").exists()
    rounded = lakewright("tables", "export", "main.shop.daily", "daily.tfrecord", "--float32")
    assert rounded.returncode == 0 and "was rounded to 32 bits in 1 rows" in rounded.stdout
    assert lakewright("tables", "export", "main.shop.daily", "daily.csv").returncode == 2
    with pytest.raises(NotFound, match="no version 7"):
        lw.export("main.shop.daily@v7", "daily.tsv")


@pytest.mark.parametrize(
    ("column", "remedy", "file"),
    [
        (pa.array(["a", "b\0c"]), "replace(x, chr(0), '')", "rows.tsv"),
        (pa.array([1.0, float("nan")]), "case when isfinite(x) then x end", "rows.jsonl"),
        (pa.array([[1, None]]), "list_filter(x, lambda x: x is not null)", "rows.tfrecord"),
        (pa.array([[[1]]]), "to_json(x)", "rows.tfrecord"),
        (pa.array([1e300]), "try_cast(x as float)", "rows.tfrecord"),
    ],
)
def test_each_remedy_helps(column: pa.Array, remedy: str, file: str) -> None:
    written(pa.table({"x": column}))
    with pytest.raises(lw.LakewrightError) as failure:
        lw.export("main.shop.rows", file, float32=remedy.startswith("try_cast"))
    assert remedy in failure.value.remedy
    lw.sql(f"create table main.shop.better as select {remedy} as x from main.shop.rows")
    assert lw.export("main.shop.better", file).rows == len(column)


def test_killed_there_is_no_file(folder: Path) -> None:
    written(pa.table({"id": pa.array(range(400_000)), "text": ["some words of a row"] * 400_000}))
    command = [sys.executable, "-m", "lakewright.cli", "tables", "export", "main.shop.rows", "out/rows.tsv"]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    while not (begun := [each for each in folder.glob("out/.rows.tsv.*") if each.stat().st_size]):
        assert process.poll() is None, "it ended before it was killed"
        time.sleep(0.001)
    process.kill()
    process.wait()
    assert begun and not (folder / "out" / "rows.tsv").exists()
    assert lw.export("main.shop.rows", "out/rows.tsv").rows == 400_000
