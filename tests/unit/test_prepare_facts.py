"""The facts that prepare keeps of rows are the same in every process: parts of a table may be read in several."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
import yaml

import lakewright as lw
from conftest import sentences

GATHER = """
import sys, hashlib
import lakewright as lw
from lakewright import plugins
from lakewright.data.rows.facts import gather
from lakewright.data.rows.reading import Reading
from lakewright.workers.local import LocalWorkers
project = lw.load_project("project.yml")
lake, columns = lw.Workspace.open(lw.load_profile()).lake, project.data.columns
table = lake.version("main.demo.things")
kind = plugins.TASKS.find(project.task.name)
names = [name for _, name in columns.names]
inputs = kind.inputs_of(columns.roles)
reading = Reading(lake, table, kind, project.task, columns.roles, inputs, names)
facts, _ = gather(reading, columns, "grouped", lake, LocalWorkers(1, 1))
for name in sys.argv[1:]:
    print(name, len(getattr(facts, name)), hashlib.sha256(getattr(facts, name).tobytes()).hexdigest())
print(facts.names)
"""
NAMES = ("rows", "text", "labels", "truth", "ids", "group")
TASKS: dict[str, dict[str, Any]] = {
    "text_classification": {"label": "label"},
    "multilabel_classification": {"labels": "labels"},
    "token_classification": {"spans": "spans"},
}


@pytest.mark.parametrize("task", TASKS)
def test_facts_do_not_depend_on_hash_randomisation(task: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    columns = {"id": "id", "text": "text", "group": "place", **TASKS[task]}
    data = {"table": "main.demo.things", "columns": columns}
    project = {"name": "things", "schema": "main.demo", "task": task, "train": {"learner": "encoder"}, "data": data}
    Path("project.yml").write_text(yaml.safe_dump(project))
    rows = [
        {**row, "labels": [row["label"], row["place"]], "spans": [{"start": 0, "end": 3, "label": row["label"]}]}
        for row in sentences(50)
    ]
    lw.Workspace.open(lw.load_profile()).lake.write("main.demo.things", pa.Table.from_pylist(rows))
    seen = {
        subprocess.run(
            [sys.executable, "-c", GATHER, *NAMES],
            env={**os.environ, "PYTHONHASHSEED": seed, "PYTHONPATH": os.pathsep.join(sys.path)},
            check=True,
            capture_output=True,
            text=True,
        ).stdout
        for seed in ("1", "2")
    }
    assert len(seen) == 1
    lines = seen.pop().splitlines()
    assert [line.split()[:2] for line in lines[:-1]] == [[name, "50"] for name in NAMES]
