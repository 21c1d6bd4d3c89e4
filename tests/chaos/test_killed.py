"""Killed at any point and run again, a command leaves what it would have left undisturbed."""

from __future__ import annotations

import json
import random
import re
import shutil
import subprocess
import time
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from http.client import HTTPException
from pathlib import Path
from typing import Any
from urllib.error import URLError
from urllib.request import Request, urlopen

import pytest

from conftest import free_port
from forked import call, start
from lakewright.api.places import opener
from lakewright.errors import NotFound
from projects import T, write_linear_project

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        shutil.which("strace") is None or subprocess.run(["strace", "true"], capture_output=True).returncode != 0,
        reason="strace, which kills at a system call, is not here or may not trace",
    ),
]
# They change a file or a folder. An open that makes a file is not among them, as strace cannot tell it from others:
# its file is there as well when the next of these calls is entered.
CALLS = (
    "write,pwrite64,writev,pwritev,pwritev2,copy_file_range,sendfile,ftruncate,fsync,fdatasync,"
    "rename,renameat,renameat2,link,linkat,symlink,unlink,unlinkat,mkdir,mkdirat,rmdir"
)
TEXT = "the dog is here"
MODEL = f"models:/{T}@champion"
RUN = ["run"]
MANUAL = ["run", "--set", "register.approval=manual"]
SCORE = ["score", "--model", MODEL, "--input", T, "--commit-rows", "25"]
CREATE = ["sql", f"create table main.h.few as select * from {T} where n < 40"]
INSERT = ["sql", f"insert into main.h.few select * from {T} where n >= 40"]
MORE = ["sql", f"insert into {T} select * from {T} where n < 30"]


@dataclass(frozen=True)
class Scene:
    before: Sequence[Sequence[str]]  # what was run before
    command: Sequence[str]
    calls: int  # how many system calls it is killed at
    times: int  # how often it is killed at a moment
    doubles: bool = False  # whether a second time it writes its rows again


SCENES = {
    "run": Scene([], RUN, 26, 4),
    "run after a change": Scene([RUN], [*RUN, "--set", "train.C=0.5"], 18, 3),
    "approve": Scene([MANUAL], ["models", "approve", f"models:/{T}/1"], 8, 1),
    "score": Scene([RUN], SCORE, 12, 2),
    "score new rows": Scene([RUN, SCORE, MORE], SCORE, 8, 1),
    "create": Scene([RUN], CREATE, 10, 1),
    "insert once": Scene([RUN, CREATE], [*INSERT, "--once", "rest"], 10, 1),
    "insert": Scene([RUN, CREATE], INSERT, 6, 1, doubles=True),
}
POINTS = [(name, point) for name, scene in SCENES.items() for point in range(scene.calls + scene.times)]


@dataclass(frozen=True)
class Undisturbed:
    """A scene and how it goes without a kill."""

    scene: Scene
    place: Path  # always the same, as MLflow keeps whole paths
    pristine: Path
    points: Sequence[tuple[str, int]]  # system call, and which of them
    seconds: float
    ends: Sequence[tuple[int, list[str]]]  # exit code and what there is, after once and after twice


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Undisturbed]:
    """The scene of this name, which is gone through once."""
    return cache(lambda name: go_through(SCENES[name], tmp_path_factory.mktemp("killed")))


def go_through(scene: Scene, folder: Path) -> Undisturbed:
    place, pristine, calls = folder / "place", folder / "pristine", folder / "calls"
    write_linear_project(place)
    for command in scene.before:
        code, output = start(command, place).ended()
        assert code in (0, 4), output
    shutil.copytree(place, pristine)
    began = time.monotonic()
    code, output = start(scene.command, place).ended()
    assert code == 0, output
    seconds, ends = time.monotonic() - began, [(code, call(look, place)), again(scene, place)]
    assert (ends[0][1] == ends[1][1]) != scene.doubles
    put_back(pristine, place)
    start(scene.command, place, ["-y", "-o", str(calls), "-e", f"trace={CALLS}"]).ended()
    points = changes(calls.read_text(), place)
    spread = [points[at * len(points) // scene.calls] for at in range(scene.calls)]
    return Undisturbed(scene, place, pristine, spread, seconds, ends)


def again(scene: Scene, place: Path) -> tuple[int, list[str]]:
    code, output = start(scene.command, place).ended()
    assert "Traceback" not in output and "should not happen" not in output, output
    return code, call(look, place)


def put_back(pristine: Path, place: Path) -> None:
    shutil.rmtree(place)
    shutil.copytree(pristine, place)


def changes(calls: str, folder: Path) -> list[tuple[str, int]]:
    """Where to kill, from strace's lines: the calls on files of the folder, each by its number among those of its
    thread, which is how strace counts; of a series of one call, the first. What another thread has come to before
    cannot be met."""
    counts, met, last = Counter[tuple[str, str]](), set[tuple[str, int]](), ""
    found = []
    for thread, name, arguments in re.findall(r"^(\d+) +(\w+)\((.*)$", calls, re.MULTILINE):
        counts[thread, name] += 1
        point = name, counts[thread, name]
        if point not in met:
            met.add(point)
            if f"{folder}/" in arguments and name != last:
                found.append(point)
            last = name
    return found


def look() -> list[str]:
    """All that there is, opened and read, a line each: without what differs between any two runs."""
    import lakewright as lw
    from lakewright.model.predictor import Predictor
    from lakewright.plugins import TARGETS
    from lakewright.registry.versions import list_models

    profile = lw.load_profile()
    workspace = lw.Workspace.open(profile)
    found: list[Any] = []
    for name in (entry["full_name"] for entry in workspace.lake.list()):
        for row in workspace.lake.read(workspace.lake.version(name)).to_pylist():
            found.append([name, {key: row[key] for key in row if key not in ("scored_at", "model_digest")}])
    for folder in (workspace.folder / "models").glob("*"):
        Predictor.open(folder).predict([TEXT])
    for version in list_models(workspace.tracking):
        found.append([str(version), version.aliases, lw.load(version.at).predict([TEXT])])
    with workspace.tracking.client() as client:
        for experiment in client.search_experiments():
            if not experiment.name.endswith(" scoring"):  # a note of what was scored is lost with a kill
                for run in client.search_runs([experiment.experiment_id]):
                    found.append([run.info.run_name, run.info.status, run.data.metrics.get("accuracy")])
    found += [
        each.status
        for each in TARGETS.find("local").executions(lw.load_project("project.yml"), profile, opener(profile))
    ]
    return sorted(map(str, found))


@pytest.mark.parametrize(("name", "point"), POINTS)
def test_killed_and_run_again(name: str, point: int, undisturbed: Callable[[str], Undisturbed]) -> None:
    how = undisturbed(name)
    if point < len(how.points):
        kill_on_entering(*how.points[point], how)
    else:
        kill_at_a_moment(random.Random(point), how)
    if point % 2:  # looking also writes a lost entry of the catalog
        call(look, how.place)
    code, found = again(how.scene, how.place)
    assert (code, found) in how.ends, (code, sorted(set(found) ^ set(how.ends[0][1])))


def kill_on_entering(name: str, number: int, how: Undisturbed) -> None:
    """Threads do not make the same calls each time: where this one does not come, one before it is tried."""
    calls = how.place.with_name("killed")
    while number:
        put_back(how.pristine, how.place)
        options = ["-o", str(calls), "-e", f"trace={name}", "-e", f"inject={name}:signal=KILL:when={number}"]
        code, output = start(how.scene.command, how.place, options).ended()
        if code == -9:
            return
        if "killed by SIGKILL" in calls.read_text():  # a process that it started: the one which writes MLflow's note
            assert code == 0 and "MLflow did not log it completely" in output, output
            return
        number //= 2
    pytest.fail(f"it never came to {name}")


def kill_at_a_moment(draw: random.Random, how: Undisturbed) -> None:
    put_back(how.pristine, how.place)
    started = start(how.scene.command, how.place)
    time.sleep(draw.uniform(0, how.seconds))
    started.kill()
    started.ended()


ENTERING = [("linkat", 1), ("unlink", 1), ("linkat", 2), ("unlink", 3)]  # of Delta's commits and the catalog's


@pytest.mark.parametrize("point", range(len(ENTERING) + 4))
def test_a_server_killed_while_it_answers_and_logs(
    point: int, undisturbed: Callable[[str], Undisturbed], tmp_path: Path
) -> None:
    how, port = undisturbed("score"), free_port()
    put_back(how.pristine, how.place)
    options = ["--port", str(port), "--set", "log_table=main.h.asked", "--set", "log_seconds=0.1"]
    trace, draw = list[str](), random.Random(point)
    if point < len(ENTERING):
        name, number = ENTERING[point]
        trace = ["-o", str(tmp_path / "calls"), "-e", f"trace={name}", "-e", f"inject={name}:signal=KILL:when={number}"]
    server = start(["serve", MODEL, *options], how.place, trace)
    answers = [ask(port, "0", 30)]
    ends = time.monotonic() + (draw.uniform(0.1, 1) if not trace else 30)
    with suppress(OSError, HTTPException):
        while time.monotonic() < ends:
            answers.append(ask(port, str(len(answers))))
    server.kill()
    assert server.ended()[0] == -9
    assert not trace or time.monotonic() < ends  # else it was not killed on entering the call
    assert all(answer == answers[0] for answer in answers)

    before = call(asked, how.place)
    assert len(before) == len(set(before)) and set(before) <= set(map(str, range(len(answers) + 1)))
    server = start(["serve", MODEL, *options], how.place)
    assert ask(port, "again", 30) == answers[0]
    server.process.terminate()
    code, output = server.ended()
    assert code in (0, -15) and "Traceback" not in output, output
    assert sorted(call(asked, how.place)) == sorted([*before, "again"])


def ask(port: int, name: str, patience: float = 0) -> Any:
    """The answer to a request of this id; so many seconds are given to a server that does not listen yet."""
    body = json.dumps({"texts": [TEXT]}).encode()
    headers = {"Content-Type": "application/json", "X-Request-Id": name}
    began = time.monotonic()
    while True:
        try:
            with urlopen(Request(f"http://127.0.0.1:{port}/predict", body, headers), timeout=30) as answer:
                return json.load(answer)["predictions"]
        except URLError:
            if time.monotonic() - began > patience:
                raise
            time.sleep(0.05)


def asked() -> list[str]:
    """The ids of the requests that were logged: each has one row."""
    import lakewright as lw

    lake = lw.Workspace.open(lw.load_profile()).lake
    try:
        found: list[str] = lake.read(lake.version("main.h.asked"), ["request_id"])["request_id"].to_pylist()
    except NotFound:
        return []
    return found
