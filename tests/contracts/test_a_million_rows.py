"""A million rows: the same tables here and on a cluster, and a training whose memory hardly grows with them."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
import yaml
from test_places import stop_sessions

import clusters
import lakewright as lw
from lakewright import Workspace, load_profile

ROWS = 1_000_000
TABLE = "main.demo.rows"
WORDS = ["dog", "rose", "granite", "morning", "cat", "river", "iron", "evening", "old", "good", "here", "the", "my"]
pytestmark = pytest.mark.slow


def rows_of(rows: int) -> pa.Table:
    """Texts of 3 to 12 words, a number, a category, and a label that follows from them."""
    draw = np.random.default_rng(7)
    counts = draw.integers(3, 13, rows)
    words = np.array(WORDS, dtype=object)[draw.integers(0, len(WORDS), counts.sum())]
    ends = np.cumsum(counts)
    texts = [
        f"{' '.join(words[end - count : end])} {row}" for row, (end, count) in enumerate(zip(ends, counts, strict=True))
    ]
    sizes, places = draw.normal(size=rows), draw.integers(0, 5, rows)
    firsts = words[ends - counts]
    labels = np.where(sizes + places > 2, firsts, "none")
    return pa.table(
        {
            "id": [f"r{row}" for row in range(rows)],
            "text": texts,
            "size": sizes,
            "place": [f"place {place}" for place in places],
            "label": labels.astype(str),
        }
    )


def project_of(folder: Path, learner: str, base: Path, table: str = TABLE) -> Path:
    """A project file of one of three models: of the texts, of their terms, of the other columns."""
    columns = {"label": "label", "id": "id"}
    columns |= {"numbers": ["size"], "categories": ["place"]} if learner == "trees" else {"text": "text"}
    train: dict[str, Any] = {"learner": learner}
    if learner == "encoder":
        train |= {"base_model": str(base), "num_train_epochs": 0.003, "head_start": "random", "interpolate": "never"}
    project = {
        "name": learner,
        "schema": "main.demo",
        "task": "classification" if learner == "trees" else "text_classification",
        "data": {"table": table, "columns": columns},
        "prepare": {"split": {"validation": 0.005, "test": 0.005}},
        "train": train,
    }
    file = folder / f"{learner}.yml"
    file.write_text(yaml.safe_dump(project))
    return file


@pytest.fixture(scope="module")
def table() -> pa.Table:
    return rows_of(ROWS)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory, table: pa.Table) -> Iterator[Path]:
    """Two workspaces with the same table, each with its profile."""
    folder = tmp_path_factory.mktemp("million")
    with clusters.standalone(folder / "cluster") as url, pytest.MonkeyPatch.context() as patch:
        workers = {"here": {"name": "local", "processes": 1}, "there": {"name": "spark", "url": url}}
        profiles = {name: {"workspace": name, "workers": each, "threads": 1} for name, each in workers.items()}
        (folder / "profiles.yml").write_text(yaml.safe_dump({"default": "here", "profiles": profiles}))
        patch.chdir(folder)
        for name in workers:
            Workspace.open(load_profile(name)).lake.write(TABLE, table)
        yield folder
        stop_sessions()


def read(profile: str, name: str, key: str) -> pa.Table:
    lake = Workspace.open(load_profile(profile)).lake
    return lake.read(lake.version(name)).sort_by(key)


@pytest.mark.skipif(bool(clusters.why_not()), reason=clusters.why_not())
def test_features_are_those_of_one_process(folder: Path, tiny_base: Path) -> None:
    project = project_of(folder, "encoder", tiny_base)
    for profile in ("here", "there"):
        for stage in ("ingest", "prepare"):
            lw.stage(stage, project, "a run", profile=profile)
    here, there = (read(profile, "main.demo.encoder_features", "row") for profile in ("here", "there"))
    assert here.equals(there) and 0.99 * ROWS < len(here) <= ROWS


@pytest.mark.skipif(bool(clusters.why_not()), reason=clusters.why_not())
@pytest.mark.parametrize("learner", ["linear", "trees"])
def test_predictions_are_those_of_one_process(folder: Path, tiny_base: Path, table: pa.Table, learner: str) -> None:
    few = Workspace.open(load_profile("here")).lake.write("main.demo.few", table.slice(0, 5000))
    trained = lw.run(project_of(folder, learner, tiny_base, few.name), profile="here").records["train"]
    assert isinstance(trained, lw.records.Trained)
    options, output = {"id": "id", "probabilities": True}, f"main.demo.{learner}_predictions"
    scored = [lw.score(trained.model_folder, TABLE, output, profile=each, **options) for each in ("here", "there")]
    assert [each.rows for each in scored] == [ROWS, ROWS]
    here, there = (read(profile, output, "record_id").drop_columns("scored_at") for profile in ("here", "there"))
    assert here.equals(there) and len(set(here["record_id"].to_pylist())) == ROWS


UNTIL_IT_LEARNS = """
import os, sys, threading, time
from pathlib import Path
import lakewright as lw
from lakewright.learning.learners.encoder import Encoder
from lakewright.learning.learners.encoder.batches import epoch_batches

peak = 0

def watch():
    global peak
    while True:
        own = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("RssAnon"))
        peak = max(peak, int(own.split()[1]) * 1024)
        time.sleep(0.01)

def fit(self, training):
    batches = epoch_batches(training.train.encoded.lengths, 32, 13, 0)
    time.sleep(0.1)
    print(peak, flush=True)
    os._exit(0)

Encoder.fit = fit
threading.Thread(target=watch, daemon=True).start()
lw.stage("train", sys.argv[1], "a run")
"""


def test_training_reads_its_rows_from_the_disk(
    tmp_path: Path, tiny_base: Path, table: pa.Table, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Until the first step, memory grows by less than 80 bytes a row at its peak, without the files that it maps; the
    ids, targets and texts alone have 200."""
    monkeypatch.chdir(tmp_path)
    peaks = []
    for rows in (ROWS // 10, ROWS):
        profile = {"workspace": f"rows {rows}", "threads": 2}
        Path("profiles.yml").write_text(yaml.safe_dump({"default": "one", "profiles": {"one": profile}}))
        Workspace.open(load_profile()).lake.write(TABLE, table.slice(0, rows))
        project = project_of(tmp_path, "encoder", tiny_base)
        for stage in ("ingest", "prepare"):
            lw.stage(stage, project, "a run")
        command = [sys.executable, "-c", UNTIL_IT_LEARNS, str(project)]
        peaks.append(int(subprocess.run(command, stdout=subprocess.PIPE, check=True).stdout))
    assert (peaks[1] - peaks[0]) / (0.9 * ROWS) < 80, peaks
