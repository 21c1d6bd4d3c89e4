"""Workers that do not see the workspace's folder: recipes and model folders come to them through Spark.

They run with an empty folder in its place, as on other machines; the lake they see.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pytest
import yaml
from test_learners import task_rows
from test_pieces import WRITERS, project
from test_places import HERE, made_to_score, rows_like, small_parts, stop_sessions
from test_prepare import prepared
from tests.unit.test_feature_tables import added, daily, joined, orders

import clusters
import lakewright as lw
from conftest import sentences
from lakewright import Workspace, load_profile
from lakewright.data.features import joining
from lakewright.data.lake.tables import Lake
from lakewright.data.sources import pieces
from lakewright.errors import UsageError
from lakewright.model import on_workers
from lakewright.model.predictor import Predictor
from lakewright.pipeline.stages.ingest import ingest
from served_models import SAMPLES

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(bool(clusters.why_not()), reason=clusters.why_not()),
    pytest.mark.skipif(bool(clusters.cannot_hide()), reason=clusters.cannot_hide()),
]
INPUT = "main.demo.rows"


@pytest.fixture(scope="module")
def hidden(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("hidden")


@pytest.fixture(scope="module")
def master(hidden: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with clusters.standalone(tmp_path_factory.mktemp("cluster"), hidden=hidden) as url:
        yield url


@pytest.fixture(scope="module", params=["standalone", pytest.param("connect", marks=pytest.mark.connect)])
def url(request: pytest.FixtureRequest, master: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    if request.param == "standalone":
        yield master
    else:
        with clusters.connect_server(tmp_path_factory.mktemp("connect"), master) as server:
            yield server
            stop_sessions()
    stop_sessions()


def profiles(folder: Path, workspace: str, url: str) -> None:
    """Three in a folder: with parts here, on the cluster, and there with rows in the place of files."""
    common = {"workspace": workspace, "lake": str(folder / "lake"), "threads": 2}
    if "://" in workspace:
        common["tracking"] = f"sqlite:///{folder / 'mlflow.db'}"
    there = {"name": "spark", "url": url}
    each = {"here": HERE, "there": there, "rows": {**there, "reads": "rows"}}
    whole = {name: {**common, "workers": workers} for name, workers in each.items()}
    (folder / "profiles.yml").write_text(yaml.safe_dump({"default": "here", "profiles": whole}))


@pytest.mark.parametrize("kind", ["text", "columns"])
def test_predictions(
    url: str, hidden: Path, tmp_path: Path, tiny_base: Path, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = made_to_score(kind, hidden / f"{url.partition(':')[0]} {kind}", tiny_base)
    profiles(tmp_path, str(hidden / "workspace"), url)
    monkeypatch.chdir(tmp_path)
    lake = Workspace.open(load_profile("here")).lake
    lake.write(INPUT, rows_like(SAMPLES[kind], 3000))
    tables = []
    for place in ("here", "there"):
        scored = lw.score(str(model), INPUT, f"main.demo.{place}", id="id", profile=place, commit_rows=1000)
        assert sum(scored.parts.values()) == 3
        tables.append(lake.read(scored.output).sort_by("record_id").drop_columns(["scored_at"]))
    assert tables[0].equals(tables[1]) and len(tables[0]) == 3000


def test_predictions_of_an_evaluation(
    url: str, hidden: Path, tmp_path: Path, tiny_base: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = made_to_score("table", hidden / f"{url.partition(':')[0]} evaluated", tiny_base)
    profiles(tmp_path, str(hidden / "workspace"), url)
    predictor, rows = Predictor.open(model, threads=1), rows_like(SAMPLES["table"], 500).to_pylist()
    monkeypatch.setattr(on_workers, "ROWS", 90)
    workers = Workspace.open(load_profile("there", tmp_path)).workers
    assert on_workers.predict(predictor, rows, workers, 1)[0] == predictor.predict(rows)


@pytest.mark.parametrize("elsewhere", [False, True])
def test_features(
    url: str, hidden: Path, tmp_path: Path, tiny_base: Path, elsewhere: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also of a workspace that is an address, of which this machine has a copy."""
    small_parts(monkeypatch)
    monkeypatch.setenv("XDG_CACHE_HOME", str(hidden / "cache"))
    rows, columns = task_rows("text_classification", sentences(300))
    train = {"learner": "encoder", "base_model": str(tiny_base)}
    tables: list[pa.Table] = []
    for place in ("here", "there"):
        folder = tmp_path / place
        folder.mkdir()
        workspace = str(hidden / f"{tmp_path.name} {place}")
        profiles(folder, f"file://{workspace}" if elsewhere else workspace, url)
        file = folder / "profiles.yml"
        file.write_text(yaml.safe_dump({**yaml.safe_load(file.read_text()), "default": place}))
        record, opened = prepared(folder, rows, columns, "text_classification", train, max_length=8)
        assert sum(record.parts.values()) > 3
        tables.append(opened.lake.read(record.features).sort_by("row"))
    assert tables[0].equals(tables[1]) and len(tables[0]) >= 250


@pytest.mark.parametrize("kind", WRITERS)
@pytest.mark.parametrize("seen", [True, False])
def test_pieces_of_a_source(
    url: str, hidden: Path, tmp_path: Path, kind: str, seen: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where they do not see the source, its rows are read here."""
    monkeypatch.setattr(pieces, "ROWS", 80)
    source = (tmp_path if seen else hidden) / f"{tmp_path.name} source"
    WRITERS[kind](source)
    tables = []
    for place in ("here", "there"):
        folder = tmp_path / place
        folder.mkdir()
        loaded, _ = project(folder, 1, str(source))
        profiles(folder, str(hidden / f"{tmp_path.name} {place}"), url)
        workspace = Workspace.open(load_profile(place, folder))
        record = ingest(loaded, workspace)
        assert sum(record.parts.values()) > 10
        tables.append(workspace.lake.read(record.table))
    assert tables[0].equals(tables[1])


def test_rows_joined_with_feature_tables(
    url: str, hidden: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Workers that open no file are refused: each part reads the feature tables."""
    profiles(tmp_path, str(hidden / tmp_path.name), url)
    monkeypatch.setattr(joining, "ROWS", 130)
    lake = Workspace.open(load_profile("here", tmp_path)).lake
    table = daily(lake)
    added(lake, table, [(key, day, day + key % 3, float(day), None) for key in range(20) for day in range(20)])
    orders(lake, [(row % 23, (row * 7 % 200) / 10) for row in range(1000)])
    here, there, rows = (Workspace.open(load_profile(place, tmp_path)).workers() for place in ("here", "there", "rows"))
    assert joined(lake, table, here).equals(joined(lake, table, there))
    with pytest.raises(UsageError, match="open no file"):
        joined(lake, table, rows)


@pytest.mark.parametrize("kind", ["text", "columns"])
def test_predictions_in_a_lake_that_they_do_not_see(
    url: str, hidden: Path, tmp_path: Path, tiny_base: Path, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Rows go with each part, files come back."""
    model = made_to_score(kind, hidden / f"{tmp_path.name} {url.partition(':')[0]} {kind}", tiny_base)
    lake = in_hiding(tmp_path, hidden, url)
    monkeypatch.chdir(tmp_path)
    lake.write(INPUT, rows_like(SAMPLES[kind], 6000))
    tables = []
    for place in ("here", "rows"):
        output = f"main.demo.scored_{place}"
        scored = lw.score(str(model), INPUT, output, id="id", profile=place, commit_rows=2500)
        assert sum(scored.parts.values()) == 3
        tables.append(lake.read(scored.output).sort_by("record_id").drop_columns(["scored_at"]))
    assert tables[0].equals(tables[1]) and len(tables[0]) == 6000


def in_hiding(folder: Path, hidden: Path, url: str) -> Lake:
    """The lake of profiles whose workers see neither it nor the workspace."""
    profiles(folder, str(hidden / f"{folder.name} workspace"), url)
    file = folder / "profiles.yml"
    file.write_text(file.read_text().replace(str(folder / "lake"), str(hidden / f"{folder.name} lake")))
    return Workspace.open(load_profile("here", folder)).lake


def test_features_in_a_lake_that_they_do_not_see(
    url: str, hidden: Path, tmp_path: Path, tiny_base: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    small_parts(monkeypatch)
    rows, columns = task_rows("text_classification", sentences(300))
    train = {"learner": "encoder", "base_model": str(tiny_base)}
    tables: list[pa.Table] = []
    for place in ("here", "rows"):
        folder = tmp_path / f"{place} features"
        folder.mkdir()
        in_hiding(folder, hidden, url)
        file = folder / "profiles.yml"
        file.write_text(yaml.safe_dump({**yaml.safe_load(file.read_text()), "default": place}))
        record, opened = prepared(folder, rows, columns, "text_classification", train, max_length=8)
        assert sum(record.parts.values()) > 3
        tables.append(opened.lake.read(record.features).sort_by("row"))
    assert tables[0].equals(tables[1]) and len(tables[0]) >= 250


def test_work_that_needs_files_is_refused_where_they_open_none(url: str, hidden: Path, tmp_path: Path) -> None:
    in_hiding(tmp_path, hidden, url)
    file = tmp_path / "profiles.yml"
    workspace = Workspace.open(load_profile("rows", tmp_path))
    with pytest.raises(UsageError, match=r"open no file.*reads: rows"):
        workspace.workers().reach(tmp_path)
    written = yaml.safe_load(file.read_text())
    written["profiles"]["rows"]["sql"] = "spark"
    file.write_text(yaml.safe_dump(written))
    with pytest.raises(UsageError, match="sql: spark has the workers read the tables"):
        Workspace.open(load_profile("rows", tmp_path)).sql("select 1")


def test_a_lake_that_they_do_not_see(url: str, hidden: Path, tmp_path: Path, tiny_base: Path) -> None:
    profiles(tmp_path, str(hidden / "workspace"), url)
    file = tmp_path / "profiles.yml"
    file.write_text(file.read_text().replace(str(tmp_path / "lake"), str(hidden / "lake")))
    workspace = Workspace.open(load_profile("there", tmp_path))
    workspace.lake.write(INPUT, rows_like(SAMPLES["text"], 50))
    model = made_to_score("text", hidden / f"{url.partition(':')[0]} unseen", tiny_base)
    with pytest.MonkeyPatch.context() as patch, pytest.raises(UsageError, match="do not see the folder"):
        patch.chdir(tmp_path)
        lw.score(str(model), INPUT, "main.demo.unseen", id="id", profile="there")
