"""A fine-tuned encoder as cells of code. Lakewright trains it: what is plain here is the project, with every number.

The script's project has the rows beside it as its source, and the rows of validation a second time as test: evaluated
there, the encoder has the metrics of the leaderboard. No row of the search's own test split is beside it.
"""

from __future__ import annotations

import pprint
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lakewright.learning.examples import read_split
from lakewright.learning.planning import as_prepared
from lakewright.racing.glass_box.rows import inputs_of
from lakewright.racing.glass_box.scripts import Cell, shown

if TYPE_CHECKING:
    from lakewright.racing.leaderboard import Entry
    from lakewright.records import Prepared, Trained
    from lakewright.settings.project import Project
    from lakewright.workspace import Workspace

# Columns of the rows; `truth` is no input's name, a column `split` is none either, and the last has one of three words
TRUTH, SPLIT, WEIGHT = "truth", "split", "weight in loss"


def encoder_cells(
    search: str, entry: Entry, project: Project, prepared: Prepared, trained: Trained, threads: int
) -> list[Cell]:
    """The rows of the script are those of `write_rows`, in a file of its name."""
    number, rows = entry.number, f"{entry.number:03d}_{entry.learner}.parquet"
    title = (
        f"# Candidate {number} of {search}: {entry.learner}\n\n"
        f"Why it was tried: {entry.why}. It needs lakewright[train]. Beside this file lies {rows}: the rows of train "
        "and validation, inputs and truth."
    )
    described = pprint.pformat(_project(number, project, prepared, trained, rows), width=110, sort_dicts=False)
    return [
        Cell(title, _START.replace("ROWS", rows)),
        Cell(
            "## The project\n\nAs trained, every setting; no search is left. Rows of validation stand for those of "
            "test.",
            f"PROJECT = {described}\nTHREADS = {threads}  # as in the search: sums over threads round in another order",
        ),
        Cell(f"## Training, and validation\n\nThe leaderboard has {shown(entry.metrics)}.", _RUN.replace("ROWS", rows)),
        Cell(
            "## As a model\n\n"
            f"`lakewright candidate {search} {number}` evaluates this candidate on test, and registers it."
        ),
    ]


def write_rows(prepared: Prepared, workspace: Workspace, path: Path) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    parts = []
    for split in ("train", "validation"):
        table = read_split(workspace.lake, prepared.features, split, ["inputs", "truth", "weight"])
        marks = pa.array([split] * table.num_rows)
        parts.append(pa.table({**inputs_of(table), TRUTH: table["truth"], SPLIT: marks, WEIGHT: table["weight"]}))
    pq.write_table(pa.concat_tables(parts), path)


def _project(number: int, project: Project, prepared: Prepared, trained: Trained, rows: str) -> dict[str, Any]:
    closed = as_prepared(project, prepared)
    resolved = closed.resolved
    kept = ("text", "texts", "text_pair", "numbers", "categories", "times")
    columns: dict[str, Any] = {role: name for role, name in closed.data.columns.roles.items() if role in kept}
    columns |= {role: role for role in ("text", "text_pair") if role in columns}
    if "others" in type(closed.data.columns).model_fields:
        columns["others"] = False
    train = dict(resolved["train"])
    if trained.details.get("precision") == "fp32":
        train["quantize"] = "never"  # int8 was no gain on this machine
    return {
        "name": f"candidate_{number}",
        "task": {key: value for key, value in resolved["task"].items() if key != "merge"},
        "data": {"source": rows, "columns": {**columns, "label": TRUTH, "split": SPLIT, "weight": WEIGHT}},
        "prepare": {
            "split": {"method": "predefined"},
            "duplicates": "keep",
            "balance": "none",  # repeated rows stand in the file as often, and weights beside them
            "recipe": resolved["prepare"]["recipe"],
        },
        "train": train,
        "evaluate": {"resamples": 100},
    }


_START = """\
import tempfile
from pathlib import Path

import pandas as pd
import yaml

import lakewright as lw

HERE = Path(__file__).parent if "__file__" in globals() else Path.cwd()
rows = pd.read_parquet(HERE / "ROWS")
print(rows.shape)
print(rows["split"].value_counts())"""

_RUN = """\
with tempfile.TemporaryDirectory() as place:
    held = rows[rows["split"] == "validation"].assign(split="test")
    pd.concat([rows, held]).to_parquet(Path(place) / "ROWS", index=False)
    (Path(place) / "project.yml").write_text(yaml.safe_dump(PROJECT))
    (Path(place) / "profiles.yml").write_text(
        f"default: here\\nprofiles:\\n  here: {{workspace: workspace, threads: {THREADS}}}\\n"
    )
    run = lw.run(Path(place) / "project.yml")
    for name, metric in run.report.metrics.items():
        print(f"{name} {metric.value:.15g}")"""
