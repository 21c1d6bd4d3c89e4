"""Every example runs to its gate: those whose data are packages as they stand, the others on a part of a public set.

EXAMPLES_DATA is a folder that holds these sets, a folder of parquet files each (FOLDERS), as the examples' headers and
the benchmarks read them. EXAMPLES_PYTHON is the Python of another environment, in which the examples are to run:
`make test-demo` gives that of one with nothing but [demo].
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

EXAMPLES = Path(__file__).parents[2] / "examples"
PYTHON = os.environ.get("EXAMPLES_PYTHON", sys.executable)
DATA = os.environ.get("EXAMPLES_DATA")
FOLDERS = {
    "banking77": "banking77",
    "clothing_reviews": "womens_clothing_reviews",
    "clothing_recommended": "womens_clothing_reviews",
    "imdb": "imdb",
    "squad": "squad_v1.1",
    "stsb": "stsb_en",
    "tweet_emotions": "semeval2018_ec_en",
    "wnut17": "wnut17",
    "wine": "wine_quality",
    "diamonds": "diamonds",
    "flights": "flights",
}
LABELS = {"diamonds": "target"}  # a set's own name for the label
COLUMNS = ("clothing_recommended", "diamonds", "flights", "wine")  # of tables, learned without epochs
PROJECTS = sorted(str(path.relative_to(EXAMPLES)) for path in EXAMPLES.glob("*/*.yml"))
ROWS = 1000  # of each file
DONE, BELOW_THE_GATE = 0, 3  # exit codes

pytestmark = pytest.mark.slow


def part(folder: Path, into: Path) -> Path:
    """Some rows of each file, drawn the same each time."""
    into.mkdir()
    for file in sorted(folder.glob("*.parquet")):
        table = pq.read_table(file)
        rows = np.random.default_rng(13).permutation(len(table))[:ROWS]
        pq.write_table(table.take(np.sort(rows)), into / file.name)
    return into


@pytest.mark.parametrize("project", PROJECTS)
def test_an_example_runs_to_its_gate(project: str, tmp_path: Path) -> None:
    name = Path(project).parent.name
    settings, allowed = [], {DONE}
    if name in FOLDERS:
        if DATA is None or not (Path(DATA) / FOLDERS[name]).exists():
            pytest.skip(f"its data are no package: set EXAMPLES_DATA to a folder that holds {FOLDERS[name]}/*.parquet")
        data = part(Path(DATA) / FOLDERS[name], tmp_path / "data")
        settings = ["--set", f"data.source={data}"]
        settings += [] if name in COLUMNS else ["--set", "train.num_train_epochs=1"]
        settings += ["--set", f"data.columns.label={LABELS[name]}"] if name in LABELS else []
        allowed = {DONE, BELOW_THE_GATE}  # so few rows
    shutil.copytree(EXAMPLES / name, tmp_path / name)
    line = [PYTHON, "-m", "lakewright.cli", "run", str(tmp_path / project), "--json", *settings]
    done = subprocess.run(line, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode in allowed, done.stderr
    found = json.loads(done.stdout)
    assert found["decision"]["passed"] is (done.returncode == DONE)
    assert Path(found["report"]).exists()
