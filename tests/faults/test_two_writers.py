"""A table that two processes make at once is made by one of them: no row comes twice, and no half of either is lost."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from threading import Thread
from typing import Any, Literal

import pyarrow as pa
import pytest

import lakewright as lw
from lakewright import Workspace, load_profile
from lakewright.data.lake.catalogs.sqlite import SqliteCatalog
from lakewright.data.lake.tables import Lake
from lakewright.errors import Busy
from lakewright.model.folder import seal
from lakewright.service.scoring import Scored
from lakewright.service.scoring.work import Done, Work

NAME = "main.demo.new"
SCHEMA = pa.schema({"i": pa.int64()})


def meanwhile(what: Callable[[], Any]) -> None:
    """In a thread of its own: delta-rs, which waits for the rows, is not to be called from within itself."""
    thread = Thread(target=what)
    thread.start()
    thread.join()


def interrupted(by: Callable[[], Any]) -> pa.RecordBatchReader:
    """Rows in whose midst another writer comes and goes."""

    def batches() -> Iterator[pa.RecordBatch]:
        yield pa.record_batch({"i": [1]})
        meanwhile(by)
        yield pa.record_batch({"i": [2]})

    return pa.RecordBatchReader.from_batches(SCHEMA, batches())


def two_writers(
    root: str, folder: Path, mode: Literal["append", "overwrite"], transactions: Any, options: Mapping[str, str]
) -> None:
    """Each has a catalog of its own, as two workspaces with one lake have."""
    first, second = (Lake(SqliteCatalog(folder / f"{name}.sqlite"), root, options) for name in ("a", "b"))
    theirs = pa.table({"i": [10, 20]})
    with pytest.raises(Busy, match="another process wrote"):
        rows = interrupted(lambda: second.write(NAME, theirs, mode=mode, transactions=transactions))
        first.write(NAME, rows, mode=mode, transactions=transactions)
    stands = second.version(NAME)
    assert (stands.version, sorted(second.read(stands)["i"].to_pylist())) == (0, [10, 20])
    if not transactions:  # it goes on from the table that there is now
        written = first.write(NAME, pa.table({"i": [1, 2]}), mode="append")
        assert (written.version, written.rows) == (1, 4)
    else:
        with pytest.raises(Busy):
            first.write(NAME, pa.table({"i": [1, 2]}), mode=mode, transactions=transactions)


@pytest.mark.parametrize("transactions", [{}, {"app": (None, 1)}], ids=["rows", "transactions"])
@pytest.mark.parametrize("mode", ["append", "overwrite"])
def test_one_of_two_makes_a_table(tmp_path: Path, mode: Any, transactions: Any) -> None:
    two_writers(str(tmp_path / "tables"), tmp_path, mode, transactions, {})


def test_one_of_two_makes_a_table_in_an_object_store(tmp_path: Path, s3: dict[str, str]) -> None:
    two_writers(f"s3://lake/{tmp_path.name}", tmp_path, "append", {"app": (None, 1)}, s3)


def test_a_table_that_another_process_made_between_two_looks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    lake = Lake(SqliteCatalog(tmp_path / "catalog.sqlite"), str(tmp_path / "tables"))
    look, looks = Lake._delta, 0

    def first_look(self: Lake, *given: Any) -> Any:
        nonlocal looks
        found, looks = look(self, *given), looks + 1
        if looks == 1:
            lake.write(NAME, pa.table({"i": [10]}))
        return found

    monkeypatch.setattr(Lake, "_delta", first_look)
    with pytest.raises(Busy):
        lake.write(NAME, pa.table({"i": [1]}), mode="append")
    assert lake.version(NAME).rows == 1


def test_two_scorers_of_two_workspaces_into_a_new_table(
    greeter: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = Path(shutil.copytree(greeter, tmp_path / "model"))
    project = json.loads((model / "project.json").read_text())
    (model / "project.json").write_text(json.dumps({**project, "data": {"columns": {"text": "text", "id": "id"}}}))
    seal(model)
    monkeypatch.chdir(tmp_path)
    profiles = {name: {"workspace": name, "lake": "tables"} for name in ("one", "other")}
    (tmp_path / "profiles.yml").write_text(json.dumps({"default": "one", "profiles": profiles}))
    lake = Workspace.open(load_profile("one")).lake
    ids = [f"r{i}" for i in range(50)]
    lake.write("main.demo.posts", pa.table({"id": ids, "text": ["good morning"] * 50}))

    def score(profile: str) -> Scored:
        return lw.score(model, "main.demo.posts", commit_rows=20, profile=profile)

    call = Work.__call__

    def another_first(self: Work, *given: Any, **options: Any) -> Done:
        monkeypatch.setattr(Work, "__call__", call)
        meanwhile(lambda: score("other"))
        return call(self, *given, **options)

    monkeypatch.setattr(Work, "__call__", another_first)
    with pytest.raises(Busy):
        score("one")
    assert score("one").rows == 0
    rows = lake.read(lake.version("main.demo.posts_predictions"))["record_id"].to_pylist()
    assert sorted(rows) == sorted(ids)
