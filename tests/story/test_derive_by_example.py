"""A column that a few examples call for: from `lakewright derive` over a table to a model that makes it by itself."""

from __future__ import annotations

import json
import os
import pty
import subprocess
import sys
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml
from typer.testing import CliRunner

import lakewright as lw
from lakewright.cli import app
from lakewright.errors import Ambiguous, DataError, NotFound, UsageError

ROWS = 400
TABLE = "main.mail.contacts"


def contacts() -> pa.Table:
    """Whether somebody answers follows the domain of the address and the price of a piece."""
    draw = np.random.default_rng(3)
    domain = draw.choice(["x.org", "mail.com", "y.co"], ROWS)
    quantity, piece = draw.integers(1, 9, ROWS), draw.gamma(3, 10, ROWS).round(2)
    score = 2.0 * (domain == "x.org") + (piece > 30) + draw.normal(0, 0.3, ROWS)
    return pa.table(
        {
            "mail": [f"{'abo'[i % 3 :]}{i}@{each}" for i, each in enumerate(domain)],
            "price": (piece * quantity).round(2),
            "quantity": quantity,
            "at": [datetime(2024, 1, 1 + i % 28, i % 24) for i in range(ROWS)],
            "answers": score > 1,
        }
    )  # fmt: skip


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    lake = lw.Workspace.open(lw.load_profile()).lake
    lake.write(TABLE, contacts())
    pq.write_table(contacts(), tmp_path / "contacts.parquet")
    return tmp_path


def call(*arguments: str) -> Any:
    return CliRunner().invoke(app, ["derive", TABLE, *arguments])


def test_from_examples_to_predictions(here: Path) -> None:
    """The lines that `derive` prints are pasted into a project, which trains; its model makes the input by itself."""
    two = ["--example", "a0@x.org -> x.org", "--example", "bo7@mail.com -> mail.com"]
    done = call("--input", "mail", *two, "--name", "domain")
    assert done.exit_code == 0, done.stderr
    expression, _, lines = done.stdout.partition("\n\n# project.yml\n")
    assert expression == "split_part(mail, '@', 2)"
    described = {
        "name": "answers",
        "schema": "main.mail",
        "task": "classification",
        "data": {"source": "contacts.parquet", "columns": {"label": "answers"}},
        "train": {"learner": "trees"},
        "evaluate": {"resamples": 100},
    }
    pasted = yaml.safe_load(lines)
    described["data"]["columns"] |= pasted["data"]["columns"]  # type: ignore[index]
    described["prepare"] = pasted["prepare"]
    (here / "project.yml").write_text(yaml.safe_dump(described))
    run = lw.run("project.yml")
    assert run.report.metrics["roc_auc"].value > 0.8
    steps = lw.recipe(run.model_folder, table="contacts")
    assert steps["steps"][0]["columns"] == {"domain": expression} and "split_part" in steps["sql"]
    row = {"mail": "new@x.org", "price": 80.0, "quantity": 8, "at": "2024-05-01"}
    other = {**row, "mail": "new@y.co"}
    yes, no = lw.predict(run.model_folder, [row, other])
    assert str(yes["label"]).lower() == "true" and yes["label"] != no["label"]  # no address of train is among them


def test_from_python(here: Path) -> None:
    derived = lw.derive(TABLE, examples=[{"price": 12.0, "quantity": 4, "want": 3.0}], name="piece")
    assert derived.expression == "price / quantity" and derived.type == "number" and derived.table == f"{TABLE}@v0"
    assert derived.settings["data"] == {"columns": {"numbers": ["price", "quantity"]}}
    assert lw.derive(TABLE, examples=[{"at": "2024-01-01", "want": 1}, {"at": "2024-01-07", "want": 7}],
                     ask=lambda question: question.candidates[-1]).type == "number"  # fmt: skip
    with pytest.raises(NotFound):
        lw.derive("main.mail.nothing", examples=[{"mail": "a@b.c", "want": "b.c"}])
    with pytest.raises(UsageError, match="cannot be called 'price'"):
        lw.derive(TABLE, examples=[{"mail": "a@b.c", "want": "b.c"}], name="price")
    with pytest.raises(UsageError, match="called 'want'"):
        lw.derive(TABLE, inputs=["want"], examples=[])
    with pytest.raises(UsageError, match="no input is named"):
        lw.derive(TABLE, examples=[{"want": "b.c"}])


def test_examples_of_a_file_and_json(here: Path) -> None:
    (here / "examples.csv").write_text("price,quantity,want\n10,4,2.5\n9,3,3\n")
    done = call("--examples", "examples.csv", "--json", "--name", "piece")
    assert done.exit_code == 0, done.stderr
    printed = json.loads(done.stdout)
    assert printed["expression"] == "price / quantity"
    assert printed["settings"]["prepare"]["recipe"]["piece"]["columns"] == {"piece": "price / quantity"}


def test_without_a_terminal_the_rows_are_listed(here: Path) -> None:
    done = call("--input", "price", "--example", "500 -> true", "--example", "1 -> false")
    assert isinstance(done.exception, Ambiguous) and done.stdout == ""
    assert "price > 100" in done.exception.candidates and "add an example" in done.exception.remedy
    command = [sys.executable, "-m", "lakewright.cli", "derive", TABLE, "--input", "price", "--json"]
    command += ["--example", "500 -> true", "--example", "1 -> false"]
    ended = subprocess.run(command, capture_output=True, text=True, check=False, stdin=subprocess.DEVNULL)
    error = json.loads(ended.stdout)["error"]
    assert ended.returncode == 2 and error["rows"][0]["row"].keys() == {"price"}
    assert len(error["rows"][0]["values"]) == len(error["candidates"]) > 1


def test_in_a_terminal_it_asks(here: Path) -> None:
    """A real terminal: two answers, the second of which takes an expression by its number."""
    command = [sys.executable, "-m", "lakewright.cli", "derive", TABLE, "--input", "price"]
    command += ["--example", "500 -> true", "--example", "1 -> false"]
    keyboard, terminal = pty.openpty()
    running = subprocess.Popen(command, stdin=terminal, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    os.write(keyboard, b"true\n#1\n")
    out, err = running.communicate(timeout=120)
    os.close(keyboard), os.close(terminal)
    assert running.returncode == 0, err
    assert err.count("What is wanted of price: ") == 2 and "#2 " in err and "→ #1 false" in err
    assert out.startswith("price >") and "# project.yml" in out


@pytest.mark.parametrize(
    ("arguments", "kind", "cause"),
    [
        (["--input", "mail"], UsageError, "no example"),
        (["--example", "a -> b"], UsageError, "which of 0 inputs"),
        (["--input", "mail", "--example", "a => b"], UsageError, "has no arrow"),
        (["--input", "mial", "--example", "a -> b"], UsageError, "no column 'mial'"),
        (["--input", "price", "--example", "cheap -> b"], UsageError, "'price' is str, not a number"),
        (["--input", "at", "--example", "soon -> b"], UsageError, "not a time"),
        (["--examples", "none.csv"], NotFound, "no file none.csv"),
        (["--input", "mail", "--example", "a@b -> b", "--type", "date"], UsageError, "no type 'date'"),
        (["--input", "mail", "--example", "a -> b", "--example", "c -> dd"], UsageError, "no expression"),
    ],
)  # fmt: skip
def test_what_the_command_refuses(arguments: list[str], kind: type, cause: str, here: Path) -> None:
    done = call(*arguments)
    assert isinstance(done.exception, kind) and cause in done.exception.cause, done.exception
    assert done.exception.remedy


def test_a_column_that_no_expression_reads(here: Path) -> None:
    lake = lw.Workspace.open(lw.load_profile()).lake
    lake.write("main.mail.lists", pa.table({"tags": [["a"]]}))
    with pytest.raises(DataError, match="column 'tags'"):
        lw.derive("main.mail.lists", inputs=["tags"], examples=[{"tags": "a", "want": "b"}])
