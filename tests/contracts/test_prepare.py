"""Every task's features are the same wherever the batches end in which its table is streamed."""

from __future__ import annotations

from contextlib import chdir
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
from test_learners import LAYOUT, task_rows

import lakewright as lw
from conftest import sentences
from lakewright import plugins
from lakewright.data.lake import parts
from lakewright.data.lake.tables import Lake
from lakewright.data.rows import reading
from lakewright.data.rows.objects import Objects
from lakewright.errors import DataError, DiskError
from lakewright.learning.examples import read_split
from lakewright.pipeline.stages.prepare import prepare
from lakewright.records import Ingested, Prepared

Rows = list[dict[str, Any]]


def prepared(
    folder: Path, rows: Rows, columns: dict[str, Any], task: Any, train: dict[str, str], **settings: Any
) -> tuple[Prepared, lw.Workspace]:
    """The stage alone, over a table of these rows, in a workspace of its own."""
    folder.mkdir(exist_ok=True)
    project = {"name": "things", "schema": "main.demo", "task": task, "train": train, "prepare": settings}
    project["data"] = {"table": "main.demo.things", "columns": columns}
    (folder / "project.yml").write_text(yaml.safe_dump(project))
    with chdir(folder):
        loaded, workspace = lw.load_project("project.yml"), lw.Workspace.open(lw.load_profile())
    workspace = replace(workspace, work=workspace.folder / "work" / "prepare", run_id="a run")
    workspace.work.mkdir(parents=True)
    table = workspace.lake.write("main.demo.things", pa.Table.from_pylist(rows))
    record = prepare(loaded, workspace, ingested=Ingested(table=table, source="", fingerprint=""))
    assert isinstance(record, Prepared)
    return record, workspace


def outcome(folder: Path, *given: Any, **settings: Any) -> tuple[dict[str, Any], Rows]:
    """The record, without what names the workspace, and the features, sorted."""
    record, workspace = prepared(folder, *given, **settings)
    told = record.model_dump(exclude={"table", "features", "parts"})
    told["recipe"] = Path(record.recipe).name  # its files' hash
    features = workspace.lake.read(record.features).to_pylist()
    return told, sorted(features, key=lambda row: (row["split"], row["row"]))


@pytest.fixture
def in_both(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """The outcome in parts and batches of 7 rows, once it is found to be that in one of 10,000."""

    def compared(*given: Any, **settings: Any) -> tuple[dict[str, Any], Rows]:
        found = []
        for size in (7, 10_000):
            monkeypatch.setattr(reading, "ROWS", size)
            monkeypatch.setattr(parts, "ROWS", size)
            found.append(outcome(tmp_path / str(size), *given, **settings))
        assert found[0] == found[1]
        return found[0]

    return compared


@pytest.mark.slow
@pytest.mark.parametrize("task", plugins.TASKS.names())
def test_where_batches_end_changes_nothing(task: str, in_both: Any, tiny_base: Path) -> None:
    rows, columns = task_rows(task, sentences(150))
    rows += (
        [rows[3], {**rows[4], "text": f" {rows[4]['text'].upper()} "}] if task != "token_classification" else rows[:2]
    )
    learner = {"learner": "encoder", "base_model": str(tiny_base)}
    told, features = in_both(rows, columns, task, learner, **LAYOUT.get(task, {}))
    assert sum(told["splits"].values()) == len(features) == 150
    assert {"exact_duplicates"} <= {finding["name"] for finding in told["findings"]}


@pytest.mark.parametrize(("duplicates", "fate"), [("drop", ": dropped, and the first"), ("keep", ": all stay, as")])
def test_the_findings_on_duplicates_say_what_becomes_of_them(duplicates: str, fate: str, tmp_path: Path) -> None:
    rows, columns = task_rows("text_classification", sentences(60))
    rows += [rows[3], {**rows[4], "text": f" {rows[4]['text'].upper()} "}]
    told, features = outcome(
        tmp_path / "w", rows, columns, "text_classification", {"learner": "linear"}, duplicates=duplicates
    )
    found = {finding["name"]: finding["detail"] for finding in told["findings"]}
    assert fate in found["exact_duplicates"] and fate in found["normalised_duplicates"]
    assert len(features) == (60 if duplicates == "drop" else 62)


@pytest.mark.slow
@pytest.mark.parametrize("balance", ["weights", "oversample", "undersample"])
def test_nor_does_it_change_what_is_balanced_grouped_and_left_out(balance: str, in_both: Any) -> None:
    rows: Rows = [
        {**row, "age": i if i % 3 else None} for i, row in enumerate(sentences(200)) if row["label"] != "stone" or i % 3
    ]
    rows[20]["text"], rows[30]["text"], rows[31]["label"], rows[40]["text"] = "", None, None, "plant"
    columns = {"text": "text", "label": "label", "id": "id", "group": "place", "numbers": ["age"]}
    columns |= {"categories": ["place"]}
    told, features = in_both(rows, columns, "text_classification", {"learner": "linear"}, balance=balance)
    found = {finding["name"]: finding for finding in told["findings"]}
    assert found["empty_text"]["rows"] == [f"row 20: {rows[20]['label']}", f"row 30: {rows[30]['label']}"]
    assert found["text_equals_label"]["count"] == (rows[40]["label"] == "plant")
    assert len({row["row"] for row in features} & {20, 30, 31}) == 0


@pytest.mark.parametrize("balance", ["oversample", "undersample"])
@pytest.mark.parametrize("method", ["random", "grouped"])
def test_records_that_have_an_id_are_drawn_by_it(method: str, balance: str, tmp_path: Path) -> None:
    """In another order they stand in the same split, and as often, by another seed they do not."""
    rows: Rows = [{**row, "pair": i // 2} for i, row in enumerate(sentences(200)) if row["label"] != "stone" or i % 3]
    columns = {"text": "text", "label": "label", "id": "id", "group": "pair"}
    drawn = []
    for name, table, seed in (("as they are", rows, 13), ("in another order", rows[::-1], 13), ("anew", rows, 14)):
        split = {"method": method, "seed": seed}
        _, features = outcome(
            *(tmp_path / name, table, columns, "text_classification", {"learner": "linear"}),
            balance=balance,
            split=split,
        )
        drawn.append(sorted((row["record_id"], row["split"]) for row in features))
    assert drawn[0] == drawn[1] != drawn[2]


def test_what_is_wrong_is_counted_over_the_whole_table(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reading, "ROWS", 7)
    columns = {"text": "text", "spans": "spans"}
    rows: Rows = [{"text": row["text"], "spans": []} for row in sentences(60)]
    for i in (3, 20, 50):
        rows[i]["spans"] = [{"start": 500, "end": 501, "label": "far"}]
    rows[10]["spans"] = [{"start": 0, "end": 1, "label": "near"}]
    with pytest.raises(DataError, match=r"'spans'.* is wrong in 3 places:\n  row 3: .*\n  row 20: .*\n  row 50: "):
        prepared(tmp_path / "a", rows, columns, "token_classification", {"learner": "encoder"})
    scored: Rows = [{"text": row["text"], "other": row["id"], "score": 3.0} for row in sentences(60)]
    columns = {"text": "text", "text_pair": "other", "score": "score"}
    with pytest.raises(DataError, match="the same score in every row"):
        prepared(tmp_path / "b", scored, columns, "sentence_similarity", {"learner": "encoder"})


def test_a_split_is_read_in_the_tables_order(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    workspace = lw.Workspace.open(lw.load_profile())
    rows = np.random.default_rng(0).permutation(np.repeat(np.arange(500), 2))
    texts = [f"text {row}" for row in rows]
    split = np.where(rows % 2, "train", "test")
    ids = pa.array([[int(row)] * int(row % 3) for row in rows], pa.list_(pa.int32()))
    table = pa.table({"row": rows, "split": split, "inputs": pa.array([{"text": t} for t in texts]), "ids": ids})
    features = workspace.lake.write("main.demo.features", table.to_reader(100), ordered=False)
    read = read_split(workspace.lake, features, "train", ["inputs", "ids"])
    assert read["row"].to_pylist() == sorted(row for row in rows.tolist() if row % 2)
    assert list(Objects(read["inputs"])) == [{"text": f"text {row}"} for row in read["row"].to_pylist()]
    assert read["ids"].to_pylist() == [[row] * (row % 3) for row in read["row"].to_pylist()]


@given(st.lists(st.lists(st.text(max_size=3), max_size=5), max_size=4), st.slices(12), st.integers(-30, 30))
def test_values_are_those_of_a_list(chunks: list[list[str]], part: slice, at: int) -> None:
    plain = [value for chunk in chunks for value in chunk]
    values = Objects(pa.chunked_array(chunks, pa.string()))
    assert len(values) == len(plain) and list(values) == plain and values[part] == plain[part]
    if -len(plain) <= at < len(plain):
        assert values[at] == plain[at]
    else:
        with pytest.raises(IndexError):
            values[at]


def test_a_failure_after_the_commit_leaves_the_features_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The files are the table's by then: who reads the version finds all its rows."""
    rows, columns = task_rows("text_classification", sentences(150))
    given = (rows, columns, "text_classification", {"learner": "linear"})
    record, _ = prepared(tmp_path / "undisturbed", *given)

    def fails(self: Lake, *given: Any, **more: Any) -> Any:
        add(self, *given, **more)
        raise DiskError("the disk is full", "free some space")

    add = Lake.add_files
    with monkeypatch.context() as patched, pytest.raises(DiskError):
        patched.setattr(Lake, "add_files", fails)
        prepared(tmp_path / "failed", *given)
    with chdir(tmp_path / "failed"):
        lake = lw.Workspace.open(lw.load_profile()).lake
    assert lake.read(lake.version("main.demo.things_features")).num_rows == record.features.rows
