"""Eight commands at once in one workspace: each does its work, or says that it is another's turn and does it then."""

from __future__ import annotations

import random
import shutil
import time
from pathlib import Path
from typing import Any

import pytest

from forked import call, start
from lakewright.api.places import opener
from projects import T, write_linear_project

pytestmark = pytest.mark.slow
BEFORE = [["run"], ["sql", f"create table main.h.few as select * from {T} where n < 40"]]
REST = ["sql", f"insert into main.h.few select * from {T} where n >= 40", "--once", "rest"]
SCORE = ["score", "--model", f"models:/{T}/1", "--input", T, "--commit-rows", "20", "--keep", "n"]
READ = ["sql", f"select count(*) as n from {T}"]
OTHER = ["run", "--set", "name=other"]
AT_ONCE = [["run", "--set", "train.C=0.5"], ["run", "--set", "train.C=2"], OTHER, REST, REST, SCORE, SCORE, READ]


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project that has run, in a folder to put back: MLflow keeps whole paths."""
    place = tmp_path_factory.mktemp("at_once") / "place"
    write_linear_project(place)
    for command in BEFORE:
        code, output = start(command, place).ended()
        assert code == 0, output
    shutil.copytree(place, place.with_name("pristine"))
    return place


@pytest.mark.parametrize("seed", range(3))
def test_eight_at_once(seed: int, place: Path) -> None:
    shutil.rmtree(place)
    shutil.copytree(place.with_name("pristine"), place)
    draw, waiting = random.Random(seed), list(AT_ONCE)
    for _ in range(20):
        draw.shuffle(waiting)
        started = []
        for command in waiting:
            started.append((command, start(command, place)))
            time.sleep(draw.uniform(0, 0.2))
        waiting = []
        for command, process in started:
            code, output = process.ended()
            assert "Traceback" not in output, output
            if code != 0:
                assert code == 1 and "another process" in output and "\n  → " in output, output
                waiting.append(command)
        if not waiting:
            break
    assert not waiting
    found = call(look, place)
    assert found["few"] == found["scored"] == found["rows"]
    assert found["versions"] == [["main.h.other", 1], [T, 3], [T, 2], [T, 1]]
    assert set(found["runs"]) == {"FINISHED"} and found["statuses"] == ["done"] * 3


def look() -> dict[str, Any]:
    import lakewright as lw
    from lakewright.plugins import TARGETS
    from lakewright.registry.versions import list_models

    profile = lw.load_profile()
    workspace = lw.Workspace.open(profile)
    lake = workspace.lake

    def values(table: str, column: str) -> list[str]:
        return sorted(map(str, lake.read(lake.version(table), [column])[column].to_pylist()))

    with workspace.tracking.client() as client:
        experiments = [experiment.experiment_id for experiment in client.search_experiments()]
        runs = [run.info.status for run in client.search_runs(experiments)]
    return {
        "rows": values(T, "n"),
        "few": values("main.h.few", "n"),
        "scored": values(f"{T}_predictions", "n"),
        "versions": [[version.name, version.version] for version in list_models(workspace.tracking)],
        "runs": runs,
        "statuses": [
            each.status
            for each in TARGETS.find("local").executions(lw.load_project("project.yml"), profile, opener(profile))
        ],
    }
