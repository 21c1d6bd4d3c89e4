"""The first hour with Lakewright: what a command waits for, what long work shows, where things are looked for."""

from __future__ import annotations

import json
import os
import pty
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterable
from importlib.metadata import requires
from pathlib import Path
from typing import Any

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

import lakewright as lw
from conftest import one_object, sentences, write_csv
from lakewright.errors import ProfileError
from lakewright.settings.profile import load_profile
from lakewright.settings.project import load_project
from lakewright.system import progress

ROOT = Path(__file__).parents[2]
MODEL = "models:/main.demo.things@champion"
UNCHANGED = ["--set", "gate.champion=false", "--set", "train.C=10"]  # what `registered` ran last
LOADED = """
import atexit, json, sys
heavy = set(json.loads(sys.argv.pop(1)))
atexit.register(lambda: print("imported:", *sorted(heavy & set(sys.modules)), file=sys.stderr))
from lakewright.cli import main
main()
"""


def linear_project(folder: Path) -> Path:
    """A project that takes seconds, in a folder of its own."""
    write_csv(folder / "things.csv", sentences(120))
    project = {
        "name": "things",
        "schema": "main.demo",
        "task": "text_classification",
        "data": {"source": "things.csv", "columns": {"text": "text", "label": "label", "id": "id"}},
        "train": {"learner": "linear"},
        "evaluate": {"resamples": 100},
    }
    path = folder / "project.yml"
    path.write_text(yaml.safe_dump(project))
    return path


@pytest.fixture(scope="module")
def registered(tmp_path_factory: pytest.TempPathFactory, mlflow_template: Path) -> Path:
    """The folder of a project with two finished runs and a champion."""
    folder = tmp_path_factory.mktemp("registered")
    (folder / ".lakewright").mkdir()
    (folder / ".lakewright" / "mlflow.db").write_bytes(mlflow_template.read_bytes())
    path = linear_project(folder)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        for strength in (1, 10):
            assert lw.run(path, settings=["gate.champion=false", f"train.C={strength}"]).model_version is not None
    return folder


@pytest.mark.slow
@pytest.mark.parametrize(
    ("command", "allowed"),
    [
        (["plan", *UNCHANGED], set()),
        (["run", *UNCHANGED], set()),
        (["models", "list"], set()),
        (["runs"], set()),
        (["tables"], set()),
        (["compare"], {"matplotlib"}),
        (["predict", MODEL, "the dog is here"], set()),
        # pyarrow imports pandas, where it is installed, to make an array of a list
        (["score", "--model", MODEL, "--input", "main.demo.things"], {"pandas"}),
    ],
    ids=lambda value: value[0] if isinstance(value, list) else "",
)
def test_a_command_that_tracks_nothing_imports_no_library_of_training(
    command: list[str], allowed: set[str], registered: Path
) -> None:
    heavy = {"mlflow", "sqlalchemy", "torch", "transformers", "sklearn", "scipy", "pandas", "matplotlib"} - allowed
    line = [sys.executable, "-c", LOADED, json.dumps(sorted(heavy)), *command]
    done = subprocess.run(line, cwd=registered, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stderr.splitlines()[-1] == "imported:"


def pins(file: str) -> dict[str, str]:
    """Package → version. Every line is an exact pin."""
    lines = (ROOT / file).read_text(encoding="utf-8").splitlines()
    found = [re.fullmatch(r"([\w.-]+)==([\w.]+)", line) for line in lines]
    assert all(found), lines
    return {canonicalize_name(pin[1]): pin[2] for pin in found if pin}


def needed(name: str, extras: Iterable[str] = (), found: frozenset[str] = frozenset()) -> frozenset[str]:
    """The packages that installing `name[extras]` brings here, itself among them."""
    for text in requires(name) or ():
        package = Requirement(text)
        applies = package.marker is None or any(package.marker.evaluate({"extra": extra}) for extra in [*extras, ""])
        key = f"{canonicalize_name(package.name)}[{','.join(sorted(package.extras))}]"
        if applies and key not in found:
            found = needed(package.name, package.extras, found | {key})
    return found


@pytest.mark.parametrize(("file", "extra"), [("constraints-demo.txt", "demo"), ("constraints.txt", "dev")])
def test_the_pins_are_all_that_an_environment_needs(file: str, extra: str) -> None:
    packages = {key.partition("[")[0] for key in needed("lakewright", [extra])}
    seeded = {"lakewright", "pip", "setuptools"}  # `pip freeze` leaves out what a virtual environment begins with
    assert packages - seeded == pins(file).keys()


def test_the_demo_is_a_part_of_the_whole_and_torch_is_the_one_that_make_installs() -> None:
    demo, whole = pins("constraints-demo.txt"), pins("constraints.txt")
    assert demo.items() < whole.items()
    torch = re.search(r"^TORCH := torch==(\S+)$", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE)
    assert torch and demo["torch"] == torch[1]


def test_a_program_that_cannot_be_installed_is_named_with_the_reason_and_what_goes_without_it(tmp_path: Path) -> None:
    for name in ("sh", "tail"):
        (tmp_path / name).symlink_to(str(shutil.which(name)))
    (tmp_path / "apt-get").write_text("#!/bin/sh\necho 'E: some word' >&2\necho 'E: no network' >&2\nexit 100\n")
    (tmp_path / "apt-get").chmod(0o755)
    line = [str(shutil.which("make")), "--silent", "-f", ROOT / "Makefile", "chromium", "curl"]
    done = subprocess.run(line, env={**os.environ, "PATH": str(tmp_path)}, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    browser, curl = done.stdout.splitlines()
    assert browser.startswith("chromium is not here") and browser.endswith("will be skipped (E: no network)")
    assert curl.startswith("curl is not here")


IMPATIENT = """
import sys
from lakewright.system import progress
from lakewright.errors import ProfileError
from lakewright.settings.profile import load_profile
from lakewright.settings.project import load_project
from lakewright.cli import main
progress.SECONDS, sys.modules["lakewright.cli.app"].PATIENCE = 0.1, 0.5
main()
"""
SLOW = """
import time
from pathlib import Path

import pyarrow as pa


def streamed():
    def batches():
        for number in range(600):
            yield pa.record_batch({"text": [f"a dog {number}"], "label": ["animal"]})
            Path("begun").touch()
            time.sleep(0.1)

    return pa.RecordBatchReader.from_batches(next(batches()).schema, batches())


def opened():
    Path("begun").touch()
    time.sleep(60)
"""


def stopped(folder: Path, mlflow: Path, function: str, number: signal.Signals) -> tuple[int, str, str, str]:
    """Exit code, stdout, stderr and log of a run that tells its progress often and gets the signal in its source."""
    (folder / ".lakewright").mkdir()
    (folder / ".lakewright" / "mlflow.db").write_bytes(mlflow.read_bytes())
    path = linear_project(folder)
    project = yaml.safe_load(path.read_text())
    project["data"] = {"source": f"python:source:{function}", "columns": {"text": "text", "label": "label"}}
    path.write_text(yaml.safe_dump(project))
    (folder / "source.py").write_text(SLOW)
    line = [sys.executable, "-c", IMPATIENT, "run", "--json"]
    process = subprocess.Popen(line, cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    try:
        for _ in range(600):
            if (folder / "begun").exists() or process.poll() is not None:
                break
            time.sleep(0.1)
        time.sleep(0.5)
        process.send_signal(number)
        stdout, stderr = process.communicate(timeout=50)
    finally:
        process.kill()
    (log,) = (folder / ".lakewright" / "runs").glob("*/log.txt")
    return process.returncode, stdout, stderr, log.read_text()


@pytest.mark.slow
def test_without_a_terminal_long_work_prints_lines_and_ctrl_c_ends_native_code(
    tmp_path: Path, mlflow_template: Path
) -> None:
    code, stdout, stderr, log = stopped(tmp_path, mlflow_template, "streamed", signal.SIGINT)
    assert code == 130 and stdout == "", stderr
    assert "\nstopping; a second signal ends the command at once\n" in stderr
    assert stderr.splitlines()[-2:] == [
        "error: stopped by Ctrl-C; the finished stages and the last checkpoint of training are kept",
        "  → run the same command again: it continues from there",
    ]
    line = r"writing main\.demo\.things: \d+, [\d.]+/s, 0:00:\d\d so far$"
    assert re.search(f"^{line}", stderr, re.MULTILINE), stderr
    assert re.search(f"INFO {line}", log, re.MULTILINE), log


@pytest.mark.slow
def test_sigterm_is_noted_in_the_log_and_told_as_json(tmp_path: Path, mlflow_template: Path) -> None:
    code, stdout, stderr, log = stopped(tmp_path, mlflow_template, "opened", signal.SIGTERM)
    assert code == 143, stderr
    assert one_object(stdout)["error"]["cause"].startswith(
        "stopped by SIGTERM; the finished stages and the last checkpoint"
    )
    assert "WARNING ingest was stopped" in log


def test_in_a_terminal_there_is_a_bar_and_no_line() -> None:
    ours, theirs = pty.openpty()
    code = (
        "import time; from lakewright.system import progress; progress.SECONDS = 0.01\n"
        "with progress.bar('train', 4) as advance: advance(1, 'loss 0.5'); time.sleep(0.3)"
    )
    try:
        subprocess.run([sys.executable, "-c", code], stderr=theirs, env={**os.environ, "TERM": "xterm"}, check=True)
        shown = os.read(ours, 1 << 16).decode()
    finally:
        os.close(ours)
        os.close(theirs)
    assert "━" in shown and "loss 0.5" in shown and "left" not in shown


@pytest.mark.parametrize(
    ("work", "expected"),
    [
        (("train", 120, 300, 60, 30.0, "loss 0.5"), "train: 120 of 300, 2/s, 0:01:30 left; loss 0.5"),
        (("train", 300, 300, 300, 30.0, ""), "train: 300 of 300, 10/s, 0:00:00 left"),
        (("score", 50_000, 7_200_000, 25_000, 12.5, ""), "score: 50,000 of 7,200,000, 2,000/s, 0:59:35 left"),
        (("int8", 0, 3, 0, 90.0, ""), "int8: 0 of 3, 0:01:30 so far"),
        (("train", 120, 300, 0, 30.0, ""), "train: 120 of 300, 0:00:30 so far"),  # nothing since it was resumed
        (("probe", 3, None, 3, 300.0, "penalty 1"), "probe: 3, 0.01/s, 0:05:00 so far; penalty 1"),
    ],
)
def test_a_line_says_how_far_how_fast_and_how_long(work: tuple[Any, ...], expected: str) -> None:
    assert progress.line(*work) == expected


@pytest.fixture
def places(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A repository in a folder that has a profiles.yml, with a project two folders down; the current one is another."""
    (tmp_path / "repository" / "projects" / "churn").mkdir(parents=True)
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "profiles.yml").write_text("profiles: {outside: {}}")
    monkeypatch.chdir(tmp_path / "elsewhere")
    return tmp_path.resolve()


@pytest.mark.parametrize("kind", ["folder", "file"])  # a clone's, or a worktree's and a submodule's
@pytest.mark.parametrize("above", ["", "projects", "projects/churn"])
def test_profiles_are_looked_for_up_to_the_root_of_the_repository(places: Path, above: str, kind: str) -> None:
    repository = places / "repository"
    (repository / ".git").mkdir() if kind == "folder" else (repository / ".git").touch()
    (places / "elsewhere" / "profiles.yml").write_text("profiles: {ours: {workspace: of-the-current-folder}}")
    (repository / above / "profiles.yml").write_text("profiles: {ours: {workspace: nearest}}")
    found = load_profile("ours", repository / "projects" / "churn")
    assert found.workspace == str(repository / above / "nearest")
    assert found.folder == repository / above


def test_the_current_folder_comes_after_and_is_left_upwards_as_well(
    places: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    repository = places / "repository"
    (repository / ".git").mkdir()
    (repository / "profiles.yml").write_text("profiles: {ours: {}}")
    monkeypatch.chdir(repository / "projects")
    assert load_profile("ours").folder == repository
    assert load_profile("ours", places / "elsewhere").folder == repository


def test_nothing_above_the_repository_is_read_and_the_message_says_where_it_looked(places: Path) -> None:
    repository = places / "repository"
    (repository / ".git").mkdir()
    with pytest.raises(ProfileError) as caught:
        load_profile("outside", repository / "projects" / "churn")
    looked = [repository / "projects" / "churn", repository / "projects", repository, places / "elsewhere"]
    assert caught.value.remedy.endswith(f"looked in {', '.join(map(str, looked))}")


def test_without_a_repository_only_the_two_folders_are_looked_in(places: Path) -> None:
    (places / "repository" / "projects" / "profiles.yml").write_text("profiles: {ours: {}}")
    with pytest.raises(ProfileError) as caught:
        load_profile("ours", places / "repository" / "projects" / "churn")
    looked = f"{places / 'repository' / 'projects' / 'churn'}, {places / 'elsewhere'}"
    assert caught.value.remedy.endswith(f"looked in {looked}")


def test_an_example_finds_the_examples_profiles_from_anywhere(places: Path) -> None:
    project = load_project(ROOT / "examples" / "icd10_chapters" / "project.yml")
    for name in ("databricks", "sagemaker", "azureml"):
        assert load_profile(name, project.folder).folder == ROOT / "examples"
    assert load_profile(None, project.folder).workspace == str(ROOT / ".lakewright")
