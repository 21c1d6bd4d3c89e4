"""A small project of the learner `linear`, one that has run to copy, and the command in this process."""

from __future__ import annotations

import csv
import json
import random
import shutil
import sys
from collections.abc import Callable, Mapping, Sequence
from contextlib import chdir
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml

import lakewright as lw
from conftest import sentences
from lakewright import cli

T = "main.h.t"  # the table of the project


@dataclass(frozen=True)
class Ended:
    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)


Call = Callable[..., Ended]


@pytest.fixture
def call(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Call:
    """The command, in this process."""

    def called(*arguments: str) -> Ended:
        monkeypatch.setattr(sys, "argv", ["lakewright", *arguments])
        capsys.readouterr()
        with pytest.raises(SystemExit) as ended:
            cli.main()
        printed = capsys.readouterr()
        return Ended(int(ended.value.code or 0), printed.out, printed.err)

    return called


def write_rows(path: Path, rows: Sequence[Mapping[str, Any]]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)


def write_linear_project(folder: Path, source: str = "m.csv", rows: int = 60) -> Path:
    """A project of the learner `linear`, and its rows."""
    folder.mkdir(parents=True, exist_ok=True)
    write_rows(folder / "m.csv", [{**row, "n": i} for i, row in enumerate(sentences(rows))])
    project = {
        "name": "t",
        "schema": "main.h",
        "task": "text_classification",
        "data": {"source": source, "columns": {"text": "text", "label": "label"}},
        "train": {"learner": "linear"},
        "evaluate": {"resamples": 100},
        "gate": {"minimum": {"accuracy": 0.0}},
    }
    path = folder / "project.yml"
    path.write_text(yaml.safe_dump(project, sort_keys=False), encoding="utf-8")
    return path


def write_project_of_columns(folder: Path, rows: int, **sections: Any) -> Path:
    """A project of a number and a category, and its rows, whose labels follow from the number and from chance."""
    draw = random.Random(3)
    given = [{"size": draw.gauss(0, 1), "kind": draw.choice("abc")} for _ in range(rows)]
    write_rows(
        folder / "rows.csv", [{**row, "label": str(row["size"] + draw.gauss(0, 1) > 0).lower()} for row in given]
    )
    project = {
        "name": "kinds",
        "schema": "main.demo",
        "task": "classification",
        "data": {"source": "rows.csv", "columns": {"label": "label"}},
        "train": {"learner": "linear"},
        **sections,
    }
    path = folder / "project.yml"
    path.write_text(yaml.safe_dump(project), encoding="utf-8")
    return path


@pytest.fixture(scope="session")
def ran_once(tmp_path_factory: pytest.TempPathFactory, mlflow_template: Path) -> Path:
    """A project that has run, to copy."""
    folder = tmp_path_factory.mktemp("ran")
    (folder / ".lakewright").mkdir()
    shutil.copy(mlflow_template, folder / ".lakewright" / "mlflow.db")
    with chdir(folder):
        assert lw.run(write_linear_project(folder)).exit_code == 0
    return folder


@pytest.fixture
def ran(ran_once: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The project file of a project that has run. MLflow's files stay where they are: it keeps whole paths of them."""
    folder = tmp_path / "copy"
    shutil.copytree(ran_once, folder, ignore=shutil.ignore_patterns("artifacts"))
    monkeypatch.chdir(folder)
    return folder / "project.yml"
