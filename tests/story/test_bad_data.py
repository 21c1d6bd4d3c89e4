"""Bad input is an error that names the column, the rows and the remedy; nothing half-written stays, mending helps."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import lakewright as lw
from conftest import sentences, write_csv
from lakewright.errors import Busy, DataError, LakewrightError, ProjectError

LINEAR = "train={learner: linear}"
Rows = list[dict[str, str]]


def without(name: str) -> Callable[[Rows], Rows]:
    return lambda rows: [{key: value for key, value in row.items() if key != name} for row in rows]


def each(**changes: str) -> Callable[[Rows], Rows]:
    return lambda rows: [{**row, **changes} for row in rows]


def one(at: int, **changes: str) -> Callable[[Rows], Rows]:
    return lambda rows: [{**row, **changes} if i == at else row for i, row in enumerate(rows)]


CASES: dict[str, tuple[Callable[[Rows], Rows], list[str], list[str], list[str]]] = {
    # what is done to the rows, extra settings, what the cause names, what the remedy names
    "missing column": (without("label"), [], ["'label'", "data.columns.label"], ["known:"]),
    "a role's column is missing": (lambda rows: rows, ["data.columns.group=nope"], ["'nope'"], ["known:"]),
    "wrong type": (each(label="0.5"), ["data.options={types: {label: double}}"], ["'label'", "0.5"], ["classes"]),
    "empty table": (lambda rows: [], [], ["no rows"], []),
    "one class only": (each(label="animal"), [], ["'label'", "one label only", "'animal'"], ["other labels"]),
    "no text at all": (each(text=""), [], ["'text'", "empty"], ["data.columns"]),
    "duplicate ids": (one(7, id="r3"), [], ["'id'", "'r3'", "rows 3 and 7"], ["unique"]),
    "label unseen in train": (
        lambda rows: [
            {**row, "split": "test" if i >= 240 else "train", "label": "rare" if i == 299 else row["label"]}
            for i, row in enumerate(rows)
        ],
        [],
        ["'label'", "'rare'", "1 in test"],
        ["merge"],
    ),
    "an unknown split": (
        lambda rows: [{**row, "split": "holdout"} for row in rows],
        [],
        ["'split'", "'holdout'"],
        [],
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_the_error_names_what_is_wrong(case: str, project: Path) -> None:
    change, settings, causes, remedies = CASES[case]
    path = project.parent / "things.csv"
    rows = change(sentences(300))
    if rows:
        write_csv(path, rows)
    else:
        path.write_text("id,text,label,place\n")
    with pytest.raises(DataError) as caught:
        lw.run("project.yml", settings=[LINEAR, *settings])
    for named in causes:
        assert named in caught.value.cause, caught.value.cause
    for named in remedies:
        assert named in caught.value.remedy, caught.value.remedy
    assert caught.value.log is not None and Path(caught.value.log).exists()
    features = project.parent / ".lakewright" / "tables" / "main" / "demo" / "things_features"
    assert not features.exists()

    if case == "duplicate ids":  # mended, the same run goes on
        write_csv(path, sentences(300))
        mended = lw.run("project.yml", settings=[LINEAR])
        assert mended.exit_code == 0


def test_undecodable_bytes_name_the_line(project: Path) -> None:
    path = project.parent / "things.csv"
    path.write_bytes(path.read_bytes() + b"r300,caf\xe9 dog,animal,north\n")
    with pytest.raises(DataError) as caught:
        lw.run("project.yml", settings=[LINEAR])
    assert "things.csv" in caught.value.cause and "302" in caught.value.cause
    assert "encoding" in caught.value.remedy
    assert not (project.parent / ".lakewright" / "tables" / "main").exists()
    assert lw.run("project.yml", settings=[LINEAR, "data.options={encoding: latin-1}"]).exit_code == 0


def test_a_misspelt_metric_is_found_before_any_work(project: Path) -> None:
    with pytest.raises(ProjectError) as caught:
        lw.run("project.yml", settings=[LINEAR, "gate.minimum={acuracy: 0.5}"])
    assert "did you mean 'accuracy'?" in caught.value.remedy
    assert not (project.parent / ".lakewright" / "runs").exists()


def test_a_learner_that_does_not_do_the_task(project: Path) -> None:
    with pytest.raises(LakewrightError, match="never: ") as caught:
        lw.run(
            "project.yml",
            settings=[
                LINEAR,
                "task=token_classification",
                "data.columns={text: text, spans: spans}",
                "gate.minimum={}",
            ],
        )
    assert "encoder" in caught.value.remedy


def test_two_at_once_on_one_project(project: Path) -> None:
    workspace = lw.Workspace.open(lw.load_profile())
    with workspace.lock("main.demo.things"), pytest.raises(Busy, match="another process"):
        lw.run("project.yml", settings=[LINEAR])


def test_a_failed_run_is_json_too(project: Path, lakewright: Callable[..., Any]) -> None:
    import json

    write_csv(project.parent / "things.csv", each(label="animal")(sentences(50)))
    failed = lakewright("run", "--json")
    assert failed.returncode == 1
    found = json.loads(failed.stdout)
    assert found["stages"]["ingest"]["status"] == "done" and found["stages"]["prepare"]["status"] == "failed"
    assert "one label only" in found["error"]["cause"] and found["model_version"] is None
    assert "error: " in failed.stderr and "log: " in failed.stderr
