"""The race of automl on a Spark cluster: units are parts, and a worker that dies costs its unit alone."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml
from test_places import processes_of, stop_sessions

import clusters
import lakewright as lw
from lakewright import automl
from lakewright.errors import UsageError
from projects import write_project_of_columns

pytestmark = [pytest.mark.slow, pytest.mark.skipif(bool(clusters.why_not()), reason=clusters.why_not())]


@pytest.fixture(scope="module")
def master(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with clusters.standalone(tmp_path_factory.mktemp("cluster")) as url:
        yield url
        stop_sessions()


def project_in(folder: Path, url: str, seconds: float, rows: int = 400) -> Path:
    project = write_project_of_columns(folder, rows, automl={"minutes": seconds / 60})
    workers = {"name": "spark", "url": url}
    profiles = {"profiles": {"local": {"workspace": "all", "workers": workers, "threads": 2}}}
    (folder / "profiles.yml").write_text(yaml.safe_dump(profiles), encoding="utf-8")
    return project


def test_units_are_trained_by_the_workers(master: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    project = project_in(tmp_path, master, 40)
    monkeypatch.chdir(tmp_path)
    seen: set[int] = set()
    ended = threading.Event()

    def watch() -> None:
        while not ended.wait(0.2):
            seen.update(processes_of(master, "python"))

    watching = threading.Thread(target=watch, daemon=True)
    watching.start()
    found = automl.search(project)
    ended.set()
    watching.join()
    done = [each for each in found.entries if each.metrics]
    assert len(done) >= 3 and found.run.error is None and seen
    assert len([*(found.folder / "units").rglob("outcome.json")]) >= 9
    assert len(lw.predict(found.run.records["train"].model_folder, [{"size": 3.0, "kind": "a"}])) == 1  # type: ignore[attr-defined]


def test_a_worker_that_is_killed_costs_its_unit_alone(
    master: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    project = project_in(tmp_path, master, 60, rows=3000)
    monkeypatch.chdir(tmp_path)
    killed: list[int] = []

    def kill() -> None:
        time.sleep(25)
        for victim in processes_of(master, "python"):
            os.kill(victim, signal.SIGKILL)
            killed.append(victim)

    killing = threading.Thread(target=kill, daemon=True)
    killing.start()
    found = automl.search(project)
    killing.join()
    assert killed and found.run.error is None and len([each for each in found.entries if each.metrics]) >= 2


def test_a_workspace_that_they_do_not_see(master: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from lakewright.workers import spark

    project = project_in(tmp_path, master, 20)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(spark, "_sees", lambda files, _: ("elsewhere", False))
    with pytest.raises(UsageError, match="on elsewhere do not see the folder"):
        automl.search(project)
