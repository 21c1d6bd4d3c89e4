"""Rows without a label: which of them `prepare` keeps, what it says of the others, and who may learn from them."""

from __future__ import annotations

import random
from contextlib import chdir
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
import yaml

import lakewright as lw
from conftest import sentences
from lakewright.data.rows import reading, unlabeled
from lakewright.errors import DataError, NotFound, ProjectError, UsageError
from lakewright.learning.examples import read_split
from lakewright.pipeline import check
from lakewright.pipeline.stages.ingest import ingest
from lakewright.pipeline.stages.prepare import prepare
from lakewright.pipeline.stages.train import examples_of
from lakewright.racing.project_search import check_race
from lakewright.records import Ingested, Prepared
from lakewright.settings.project import Project

OWN, OTHER = "main.demo.things", "main.demo.unread"
Rows = list[dict[str, Any]]


class Place:
    """A folder with a project over tables of its own, and its workspace."""

    def __init__(self, folder: Path, base: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.folder, self.base = folder, base
        with chdir(folder):
            opened = lw.Workspace.open(lw.load_profile())
        self.workspace = replace(opened, work=folder / "work", run_id="a run")

    def write(self, name: str, rows: Rows) -> None:
        self.workspace.lake.write(name, pa.Table.from_pylist(rows))

    def project(self, unread: str | None = OTHER, **sections: Any) -> Project:
        columns = sections.pop("columns", {"text": "text", "label": "label"})
        values = {
            "name": "things",
            "schema": "main.demo",
            "task": "text_classification",
            "data": {"table": OWN, "unlabeled": unread, "columns": columns},
            "train": {"learner": "encoder", "base_model": str(self.base)},
            **sections,
        }
        (self.folder / "project.yml").write_text(yaml.safe_dump(values), encoding="utf-8")
        return lw.load_project(self.folder / "project.yml")

    def prepared(self, project: Project) -> Prepared:
        check(project)
        ingested = ingest(project, self.workspace)
        return prepare(project, self.workspace, ingested=ingested)

    def kept(self, record: Prepared) -> Rows:
        rows = self.workspace.lake.read(record.features, predicate="split = 'unlabeled'").to_pylist()
        return sorted(rows, key=lambda row: int(row["row"]))


@pytest.fixture
def place(tmp_path: Path, tiny_base: Path) -> Place:
    made = Place(tmp_path / "here", tiny_base)
    made.write(OWN, sentences(60))
    return made


def found(record: Prepared) -> dict[str, int]:
    return {each.name: each.count for each in record.findings if each.name.startswith("unlabeled")}


def test_what_is_known_blank_or_repeated_is_left_out_and_counted(place: Place) -> None:
    labelled = sentences(60)
    whole = place.prepared(place.project(None))
    splits = {
        name: read_split(place.workspace.lake, whole.features, name, ["inputs"])["inputs"].to_pylist()
        for name in ("train", "validation", "test")
    }
    known = [splits[name][0]["text"] for name in splits] + [f"  {splits['test'][1]['text'].upper()} "]
    new = ["an oak by the river", "one more rose"]
    place.write(OTHER, [{"text": each} for each in [*known, "", "  ", None, *new, "One  MORE rose", new[0]]])
    record = place.prepared(place.project())
    assert found(record) == {"unlabeled_blank": 3, "unlabeled_known": 4, "unlabeled_repeated": 2}
    assert record.unlabeled_rows == 2 and str(record.unlabeled) == f"{OTHER}@v0"
    told = {each.name: each for each in record.findings}
    assert "test and validation must stay unseen" in told["unlabeled_known"].detail
    assert told["unlabeled_blank"].rows[0].startswith("row 4")
    kept = place.kept(record)
    assert {each["inputs"]["text"].casefold() for each in kept} == {*new}
    assert all(each["truth"] is None and each["target"] == [] and len(each["ids"]) > 2 for each in kept)
    for name, inputs in splits.items():  # nobody who reads a split sees them
        rows = read_split(place.workspace.lake, record.features, name, ["inputs"])["inputs"].to_pylist()
        assert rows == inputs and len(labelled) == sum(record.splits.values())


def test_a_train_stage_reads_them_apart(place: Place) -> None:
    place.write(OTHER, [{"text": f"an oak number {at}"} for at in range(9)])
    record = place.prepared(place.project())
    from lakewright import plugins
    from lakewright.model.recipe import Recipe

    task = plugins.TASKS.find("text_classification").open(record.task)
    recipe = Recipe.open(Path(record.recipe))
    examples = examples_of(record, "unlabeled", task, recipe, place.workspace)
    assert len(examples) == 9 and len(examples.targets.values) == 0 and examples.parts is None
    again = recipe.encode([*examples.rows])
    assert np.array_equal(examples.encoded.ids.values, again.ids.values)


@pytest.mark.parametrize("size", [7, 10_000])
def test_neither_the_order_of_rows_nor_where_batches_end_matters(
    place: Place, monkeypatch: pytest.MonkeyPatch, size: int
) -> None:
    """At most 20 are kept, the same of 60 in any order, though some differ by their case alone."""
    monkeypatch.setattr(unlabeled, "MOST", 20)
    rows = [{"text": f"an oak number {at}", "place": at} for at in range(50)]
    rows += [{"text": f"AN OAK number {at}", "place": 50 + at} for at in range(0, 50, 5)]
    kept, alike = [], ("row", "inputs", "truth", "target", "ids", "weight", "part")
    for seed in (None, 1, 2):
        if seed is not None:
            random.Random(seed).shuffle(rows)
            monkeypatch.setattr(reading, "ROWS", size)
        place.write(OTHER, rows)
        record = place.prepared(place.project())
        assert found(record) == {"unlabeled_repeated": 10, "unlabeled_not_drawn": 30} and record.unlabeled_rows == 20
        kept.append([{name: each[name] for name in alike} for each in place.kept(record)])
    assert kept[0] == kept[1] == kept[2]
    other = place.prepared(place.project(prepare={"split": {"seed": 14}}))
    assert [each["inputs"] for each in place.kept(other)] != [each["inputs"] for each in kept[0]]


def test_of_the_projects_own_table_the_rows_without_a_label_count(place: Place) -> None:
    rows = [{**row, "label": row["label"] if at < 60 else ["", None][at % 2]} for at, row in enumerate(sentences(80))]
    place.write(OWN, rows)
    record = place.prepared(place.project(OWN))
    assert {each["inputs"]["text"] for each in place.kept(record)} == {row["text"] for row in rows[60:]}
    assert found(record) == {} and record.unlabeled == record.table
    told = next(each for each in record.findings if each.name == "missing_label")
    assert told.count == 20 and "data.unlabeled reads them" in told.detail


def test_columns_beside_the_text_are_read_as_those_of_labelled_rows(place: Place) -> None:
    rows = [{**row, "length": len(row["text"])} for row in sentences(60)]
    place.write(OWN, rows)
    place.write(OTHER, [{"text": f"an oak number {at}", "length": str(at), "label": 3} for at in range(9)])
    columns = {"text": "text", "label": "label", "numbers": ["length"]}
    record = place.prepared(place.project(columns=columns))
    kept = place.kept(record)
    assert {each["inputs"]["length"] for each in kept} == {float(at) for at in range(9)}
    place.write(OTHER, [{"text": f"an oak number {at}", "length": None if at % 2 else at} for at in range(9)])
    record = place.prepared(place.project(columns=columns, prepare={"drop_missing": ["length"]}))
    assert found(record) == {"unlabeled_incomplete": 4} and record.unlabeled_rows == 5


def test_when_nothing_is_left_it_is_said(place: Place) -> None:
    place.write(OTHER, [{"text": sentences(3)[2]["text"]}])
    record = place.prepared(place.project())
    assert found(record) == {"unlabeled_known": 1, "unlabeled_none": 1} and record.unlabeled_rows == 0


def test_a_table_or_a_column_that_is_not_there(place: Place) -> None:
    with pytest.raises(NotFound, match=r"data\.unlabeled: there is no table main\.demo\.unread") as missing:
        place.prepared(place.project())
    assert (
        "did you mean 'main.demo.things'" in missing.value.remedy or "known: main.demo.things" in missing.value.remedy
    )
    assert "remove data.unlabeled" in missing.value.remedy
    place.write(OTHER, [{"texts": "an oak"}])
    with pytest.raises(DataError, match=r"data\.unlabeled: main\.demo\.unread@v0 has no column 'text'") as column:
        place.prepared(place.project())
    assert "did you mean 'texts'" in column.value.remedy and "lakewright sql" in column.value.remedy
    with pytest.raises(ProjectError, match=r"data\.unlabeled: 'unread' is not the name of a table"):
        check(place.project("unread"))


@pytest.mark.parametrize(
    ("sections", "cause"),
    [
        ({"train": {"learner": "linear"}}, "the learner linear does not learn from rows without a label"),
        ({"train": {"learner": "embedding"}}, "the learner embedding does not learn from"),
        (
            {"task": "multilabel_classification", "columns": {"text": "text", "labels": "label"}},
            "no learner learns multilabel_classification from rows without a label",
        ),
        ({"task": "regression", "columns": {"text": "text", "label": "place"}}, "no learner learns regression"),
    ],
)
def test_who_has_no_use_for_them_is_refused(place: Place, sections: dict[str, Any], cause: str) -> None:
    with pytest.raises(ProjectError, match=cause) as refused:
        check(place.project(**sections))
    assert "remove data.unlabeled" in refused.value.remedy
    check(place.project(None, **sections))
    if "train" in sections:
        assert "encoder" in refused.value.remedy


def test_a_search_over_learners_refuses_them(place: Place) -> None:
    with pytest.raises(UsageError, match="automl does not search with rows without a label") as refused:
        check_race(place.project())
    assert "--set data.unlabeled=null" in refused.value.remedy


def test_a_new_version_is_prepared_again_and_a_pinned_one_is_not(place: Place) -> None:
    place.write(OTHER, [{"text": f"an oak number {at}"} for at in range(9)])
    place.project()

    def stages(unread: str) -> tuple[bool, str, str]:
        """Whether ingest has nothing to do, and the versions of both tables that the two stages end with."""
        settings = [f"data.unlabeled={unread}"]
        with chdir(place.folder):
            skipped = lw.plan("project.yml", settings=settings)[0].skip
            for name in ("ingest", "prepare"):
                record = lw.stage(name, "project.yml", "once", settings=settings)
        assert isinstance(record, Prepared)
        return skipped, str(record.unlabeled), str(record.features).rpartition("@")[2]

    assert stages(OTHER) == (False, f"{OTHER}@v0", "v0")
    assert stages(OTHER) == (True, f"{OTHER}@v0", "v0")
    assert stages(f"{OTHER}@v0") == (False, f"{OTHER}@v0", "v0")  # the same version by another name: nothing prepared
    place.write(OTHER, [{"text": "an oak"}])
    assert stages(f"{OTHER}@v0") == (True, f"{OTHER}@v0", "v0")
    assert stages(OTHER) == (False, f"{OTHER}@v1", "v1")


def test_records_from_before_still_open(place: Place) -> None:
    record = place.prepared(place.project(None))
    stored = record.model_dump(mode="json", exclude={"unlabeled", "unlabeled_rows"})
    assert Prepared.from_stored(stored, place.workspace.folder) == record
    table = stored["table"]
    assert Ingested.from_stored({"table": table, "source": "", "fingerprint": ""}, place.workspace.folder)
    project = place.project(None)
    assert "unlabeled" not in project.resolved["data"]
