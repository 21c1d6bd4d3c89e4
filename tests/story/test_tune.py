"""A project is tuned by the command: what is found, what stays, that it goes on after a kill, and wrong input."""

from __future__ import annotations

import html
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

import lakewright as lw
from conftest import one_object
from lakewright import plugins
from lakewright.errors import LakewrightError, UsageError
from lakewright.registry.versions import list_models
from lakewright.tune import Trial
from projects import Call, write_linear_project

SPACE = {"train.C": {"loguniform": [0.001, 100]}, "train.max_iter": {"choice": [3, 1000]}}


@pytest.fixture
def tuned(ran: Path) -> Path:
    """A project that has run, with a section tune."""
    return with_tune(ran, trials=6, space=SPACE)


def with_tune(path: Path, **tune: Any) -> Path:
    text = path.read_text()
    section = yaml.safe_dump({"tune": tune}, sort_keys=False)
    path.write_text(f"# the project of a test\n{text}{section}")
    return path


def searched(call: Call, *arguments: str) -> dict[str, Any]:
    ended = call("tune", "--json", *arguments)
    assert ended.code == 0, ended.err
    return one_object(ended.out)


def essence(found: dict[str, Any]) -> list[Any]:
    return [(trial["point"], trial["metric"], trial["status"]) for trial in found["trials"]]


def nested(run_id: str) -> dict[str, Any]:
    """The runs nested in it, by name."""
    tracking = lw.Workspace.open(lw.load_profile()).tracking
    with tracking.client() as client:
        experiment = client.get_run(run_id).info.experiment_id
        runs = client.search_runs([experiment], f"tags.`mlflow.parentRunId` = '{run_id}'")
    return {run.info.run_name: run for run in runs}


def test_it_finds_settings_and_leaves_an_ordinary_project(tuned: Path, call: Call) -> None:
    workspace = tuned.parent / ".lakewright"
    ledger, models = sorted((workspace / "ledger").iterdir()), {*(workspace / "models").iterdir()}
    ended = call("tune", "--json", "--set", "tune.keep=2", "--out", "found.yml")
    assert ended.code == 0, ended.err
    found = one_object(ended.out)
    trials = found["trials"]
    assert [trial["number"] for trial in trials] == [*range(6)]
    assert found["metric"] == "macro_f1" and trials[0]["values"] == {"train.C": 10.0, "train.max_iter": 1000}
    for trial in trials:
        assert trial["status"] == "ok" and -trial["loss"] == trial["metric"] == trial["results"]["metrics"]["macro_f1"]
    assert trials[found["best"]]["metric"] == max(trial["metric"] for trial in trials)

    assert sorted((workspace / "ledger").iterdir()) == ledger, "the test split was read"
    stages = re.findall(r"[–✓] (\w+) +(skipped|done)", ended.err)
    assert stages == [("ingest", "skipped"), ("prepare", "skipped")]  # nothing of them is done again
    assert not trials[0]["results"]["trained"]  # `run` trained it
    best = sorted(trials, key=lambda trial: (trial["loss"], trial["number"]))[:2]
    kept = {workspace / "models" / trial["results"]["digest"][:16] for trial in best}
    assert {*(workspace / "models").iterdir()} == models | kept

    runs = nested(found["run_id"])
    assert {name for name in runs if name.startswith("trial")} == {f"trial {at:05d}" for at in range(6)}
    for trial in trials:
        run = runs[f"trial {trial['number']:05d}"]
        assert run.info.status == "FINISHED"
        assert run.data.params["trial.train.C"] == str(trial["values"]["train.C"])
        assert run.data.metrics["validation_macro_f1"] == pytest.approx(trial["metric"])

    text = (tuned.parent / "found.yml").read_text()
    assert text == Path(found["project"]).read_text() and "# the project of a test" in text
    best_project = lw.load_project(tuned.parent / "found.yml")
    for name, value in found["settings"].items():
        assert best_project.resolved["train"][name.removeprefix("train.")] == value
    assert best_project.tune is not None
    plan = {step.stage: step for step in lw.plan(tuned.parent / "found.yml")}
    assert plan["train"].skip, plan["train"].why  # the trial's model is the run's
    page = Path(found["page"]).read_text()
    assert found["verdict"]["sentence"] in html.unescape(page) and page.count("<svg") == 3
    assert "src=" not in page and "http" not in page.replace("http://www.w3.org", "")  # nothing is fetched
    shown = json.loads((Path(found["project"]).parent / "trials.json").read_text())
    assert shown["trials"] == trials and shown["verdict"] == found["verdict"]


def test_run_again_it_adds_nothing_and_more_trials_go_on(tuned: Path, call: Call) -> None:
    first = searched(call)
    written = {path: path.stat().st_mtime_ns for path in tuned.parent.rglob("tune/*/trials/*.json")}
    assert searched(call) == first
    assert {path: path.stat().st_mtime_ns for path in tuned.parent.rglob("tune/*/trials/*.json")} == written
    more = searched(call, "--set", "tune.trials=8")
    assert essence(more)[:6] == essence(first) and len(more["trials"]) == 8 and more["name"] == first["name"]
    other = searched(call, "--set", "tune.seed=5")
    assert other["name"] != first["name"] and essence(other) != essence(first)


def test_a_run_is_as_before_with_a_section_tune(tuned: Path, call: Call) -> None:
    """Nothing runs again because a project gained `tune`, and its run is the same one."""
    assert lw.load_project(tuned).tune is not None and "tune" not in lw.load_project(tuned).resolved
    assert all(step.skip for step in lw.plan(tuned))
    digest = lw.load_project(tuned).digest
    assert lw.load_project(tuned, ["tune.trials=3"]).digest == digest


@pytest.mark.slow
def test_a_learner_of_its_own_in_each_branch(tuned: Path, call: Call) -> None:
    path = tuned.parent / "branches.yml"
    values = yaml.safe_load(tuned.read_text())
    values["train"] = {"learner": "linear", "C": 3}
    values["tune"] = {
        "trials": 7,
        "metric": "log_loss",
        "space": {
            "train.learner": {
                "choice": [
                    {"linear": {"train.C": {"loguniform": [0.01, 10]}}},
                    {
                        "forest": {
                            "train.n_estimators": {"randint": [5, 9]},
                            "prepare.recipe.text_scores.min_df": {"choice": [1, 2]},
                        }
                    },
                ]
            }
        },
    }
    path.write_text(yaml.safe_dump(values))
    found = searched(call, "branches.yml")
    trials = found["trials"]
    assert {trial["values"]["train.learner"] for trial in trials} == {"linear", "forest"}
    assert all(trial["status"] == "ok" for trial in trials), [trial["reason"] for trial in trials]
    assert trials[0]["values"]["train.C"] == 3.0 and trials[0]["loss"] == trials[0]["metric"]  # less is better
    assert found["best"] == min(trials, key=lambda trial: trial["loss"])["number"]
    for trial in trials:
        if trial["values"]["train.learner"] == "forest":
            assert set(trial["values"]) == {"train.learner", "train.n_estimators", "prepare.recipe.text_scores.min_df"}
    best = lw.load_project(found["project"])
    assert best.train.learner == trials[found["best"]]["values"]["train.learner"]


def test_a_failed_trial_is_a_failed_run_and_the_search_goes_on(tuned: Path, call: Call, tmp_path: Path) -> None:
    """Half of the draws fail: a base model that is not there, of which nothing is known before it is read."""
    choice = {"choice": ["linear", {"embedding": {"train.base_model": {"choice": [str(tmp_path / "none")]}}}]}
    ended = call(
        "tune", "--json", "--set", "tune.space=" + json.dumps({"train.learner": choice}), "--set", "tune.trials=5"
    )
    assert ended.code == 0, ended.err
    found = one_object(ended.out)
    failed = [trial for trial in found["trials"] if trial["status"] == "fail"]
    assert failed and all("none" in trial["reason"] for trial in failed)
    run = nested(found["run_id"])[f"trial {failed[0]['number']:05d}"]
    assert run.info.status == "FAILED" and "none" in run.data.tags["lakewright.reason"]
    assert "failed: " in ended.err


def test_if_every_trial_fails_the_first_cause_is_shown(tuned: Path, call: Call) -> None:
    ended = call("tune", "--set", "train={learner: embedding, base_model: ./none}", "--set",
                 "tune={trials: 3, space: {train.seed: {randint: [1, 9]}}}")  # fmt: skip
    assert ended.code != 0 and "none" in ended.err and "log:" in ended.err


@pytest.mark.slow
def test_two_processes_give_the_trials_of_one(tuned: Path, call: Call, tmp_path: Path) -> None:
    (tuned.parent / "profiles.yml").write_text("profiles: {local: {workers: {name: local, processes: 1}}}")
    one = searched(call, "--set", "tune.queue=2")
    again = tmp_path / "again"
    shutil.copytree(tuned.parent, again, ignore=shutil.ignore_patterns("tune"))
    (again / "profiles.yml").write_text("profiles: {local: {workers: {name: local, processes: 2}}}")
    os.chdir(again)
    two = searched(call, "--set", "tune.queue=2")
    assert essence(two) == essence(one)
    assert two["note"] == ""
    alone = searched(call, "--set", "tune.trials=3")["note"]
    assert "1 of 2 processes had nothing to do: tune.queue is 1" in alone and "tune.queue: 2 uses all" in alone
    assert {name for name in nested(two["run_id"]) if name.startswith("trial")} >= {
        f"trial {at:05d}" for at in range(6)
    }


SLOW = {"train.C": {"loguniform": [0.001, 100]}, "train.seed": {"randint": [1, 1000]}}


def start(folder: Path) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "lakewright.cli", "tune", "--json"]
    return subprocess.Popen(command, cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def trials_in(folder: Path) -> list[Path]:
    return sorted(folder.glob(".lakewright/tune/*/trials/[0-9]*.json"))


def until(folder: Path, count: int, process: subprocess.Popen[str]) -> None:
    while len(trials_in(folder)) < count:
        assert process.poll() is None, process.communicate()
        time.sleep(0.02)


@pytest.mark.parametrize("processes", [1, pytest.param(2, marks=pytest.mark.slow)])
def test_after_kill_9_it_goes_on(processes: int, ran: Path, tmp_path: Path, call: Call) -> None:
    """Twice, at different trials: the trials are those of a search that nothing disturbed."""
    with_tune(ran, trials=9, queue=2, space=SLOW)
    undisturbed = tmp_path / "undisturbed"
    shutil.copytree(ran.parent, undisturbed)
    (ran.parent / "profiles.yml").write_text(
        f"profiles: {{local: {{workers: {{name: local, processes: {processes}}}}}}}"
    )
    for kept in (2, 5):
        process = start(ran.parent)
        until(ran.parent, kept, process)
        process.kill()
        process.communicate()
    before = {path: path.stat().st_mtime_ns for path in trials_in(ran.parent)}
    found = searched(call)
    assert all(path.stat().st_mtime_ns == when for path, when in before.items())
    os.chdir(undisturbed)
    assert essence(found) == essence(searched(call))
    runs = {name: run for name, run in nested_of(ran.parent, found["run_id"]).items() if name.startswith("trial")}
    assert {run.info.status for run in runs.values()} == {"FINISHED"} and len(runs) == 9


def nested_of(folder: Path, run_id: str) -> dict[str, Any]:
    os.chdir(folder)
    return nested(run_id)


@pytest.mark.slow
def test_ctrl_c_leaves_the_best_so_far(ran: Path, call: Call) -> None:
    with_tune(ran, trials=40, space=SLOW)
    process = start(ran.parent)
    until(ran.parent, 3, process)
    process.send_signal(signal.SIGINT)
    _, message = process.communicate(timeout=60)
    assert process.returncode == 130 and "the trials that ended are kept" in message
    (home,) = ran.parent.glob(".lakewright/tune/*")
    so_far = json.loads((home / "trials.json").read_text())
    assert so_far["best"] is not None and len(so_far["trials"]) >= 3
    assert lw.load_project(home / "best.yml").train.learner == "linear"
    assert len(searched(call, "--set", "tune.trials=5")["trials"]) == 5


def test_it_says_whether_the_best_differs_significantly(ran: Path, call: Call) -> None:
    """Against settings that learn nothing it does, and against the best themselves there is nothing to say."""
    with_tune(ran, trials=6, space={"train.C": {"loguniform": [1, 100]}})
    ended = call("tune", "--set", "train.C=0.0001")
    assert ended.code == 0, ended.err
    assert re.search(
        r"best: trial [1-5]\. Its macro_f1 differs .* by \+0\.\d+ .* corrected by Bonferroni for 5 trials", ended.out
    )
    assert "lakewright run project.yml --set train.C=0.0001 --set train.C=" in ended.out
    found = searched(call, "--set", "train.C=0.0001")
    difference, verdict = found["verdict"]["difference"], found["verdict"]
    assert difference["low"] <= difference["value"] <= difference["high"]
    assert verdict["p"] == pytest.approx(min(1.0, 5 * difference["p"]))
    assert verdict["significant"] == (verdict["p"] < 0.05)
    assert (": significant (p" in verdict["sentence"]) == verdict["significant"]


def test_run_again_it_trains_nothing(ran: Path, call: Call) -> None:
    """Not even what the comparison with the project's own settings needs, whose model is not kept."""
    (ran.parent / "profiles.yml").write_text("profiles: {local: {workers: {name: local, processes: 1}}}")
    with_tune(ran, trials=5, keep=1, sampler="grid", space={"train.C": {"choice": [0.001, 0.01, 5, 50]}})
    bad = ("--set", "train.C=0.0001")
    first = searched(call, *bad)
    models = {path: path.stat().st_mtime_ns for path in (ran.parent / ".lakewright" / "models").iterdir()}
    own = first["trials"][0]
    assert own["results"]["trained"] and first["best"] in (3, 4)
    assert own["results"]["digest"][:16] not in {path.name for path in models}
    assert searched(call, *bad) == first
    assert {path: path.stat().st_mtime_ns for path in (ran.parent / ".lakewright" / "models").iterdir()} == models


def test_minutes_end_it(ran: Path, call: Call) -> None:
    with_tune(ran, minutes=0.15, space=SLOW)
    began = time.monotonic()
    found = searched(call)
    assert 1 < len(found["trials"]) < 200
    assert time.monotonic() - began < 30
    slowest = max(trial["seconds"] for trial in found["trials"])
    assert max(trial["ended"] for trial in found["trials"]) <= 9 + slowest
    assert len(searched(call)["trials"]) <= len(found["trials"]) + 2  # the clock goes on, too


def test_a_plateau_ends_it(ran: Path, call: Call) -> None:
    with_tune(ran, until={"plateau": 3}, space={"train.seed": {"randint": [1, 9]}})  # nothing can be better
    assert len(searched(call)["trials"]) == 4


def test_a_grid_is_searched(ran: Path, call: Call) -> None:
    (ran.parent / "profiles.yml").write_text("profiles: {local: {workers: {name: local, processes: 1}}}")
    with_tune(ran, sampler="grid", space={"train.C": {"choice": [0.1, 1]}, "train.max_iter": {"choice": [3, 100]}})
    values = [tuple(trial["values"].values()) for trial in searched(call)["trials"]]
    assert values == [(10.0, 1000), (0.1, 3), (0.1, 100), (1, 3), (1, 100)]


@pytest.mark.slow
def test_an_encoder_is_measured_at_each_epoch(project: Path, call: Call) -> None:
    with_tune(project, trials=2, prune="median", space={"train.learning_rate": {"loguniform": [1e-3, 1e-2]}})
    found = searched(call, "--set", "train.num_train_epochs=3")
    for trial in found["trials"]:
        assert trial["status"] == "ok", trial["reason"]
        assert [at for at, _ in trial["results"]["curve"]] == [1.0, 2.0, 3.0]
        assert trial["metric"] == pytest.approx(max(value for _, value in trial["results"]["curve"]), abs=0.1)


def test_a_metric_over_folds(ran: Path, call: Call) -> None:
    (ran.parent / "profiles.yml").write_text("profiles: {local: {workers: {name: local, processes: 1}}}")
    with_tune(ran, trials=3, metric={"name": "accuracy", "folds": 3}, space={"train.C": {"loguniform": [0.01, 10]}})
    assert all(step.skip for step in lw.plan(ran))  # of the run without folds
    workspace = ran.parent / ".lakewright"
    ledger, models = sorted((workspace / "ledger").iterdir()), {*(workspace / "models").iterdir()}
    found = searched(call)
    assert found["metric"] == "accuracy"
    for trial in found["trials"]:
        folds = trial["results"]["folds"]
        assert len(folds) == 3 and trial["metric"] == pytest.approx(sum(folds) / 3) == -trial["loss"]
    assert len({*(workspace / "models").iterdir()} - models) <= 1  # the best, on the project's own split
    assert Path(found["model_folder"]).exists() and lw.load(found["model_folder"]).predict(["the dog is here"])
    assert "fold" not in lw.load_project(found["project"]).resolved["prepare"]["split"]
    if found["best"]:
        assert found["verdict"]["sentence"].startswith("On the project's own validation split")
    assert sorted((workspace / "ledger").iterdir()) == ledger
    assert searched(call) == found


def test_from_python(tuned: Path) -> None:
    seen: list[tuple[Trial, Trial | None]] = []
    found = lw.tune.search(tuned, settings=["tune.trials=4"], report=lambda trial, best: seen.append((trial, best)))
    assert [trial.number for trial, _ in seen] == [0, 1, 2, 3] and seen[-1][1] == found.best
    assert found.trials[0].number == 0 and found.metric == "macro_f1"
    assert lw.load_project(found.project, ["tune.trials=4"]).name == "t"
    assert lw.load(str(found.model_folder)).predict(["the dog is here"])
    assert found.ranked[0] == found.best


@pytest.mark.slow
def test_a_folder_that_a_run_names_stays(tuned: Path, call: Call) -> None:
    """The second-best trial is run and registered; a search that goes on leaves its model alone."""
    first = searched(call, "--set", "tune.keep=6")
    second = sorted(first["trials"], key=lambda trial: (trial["loss"], trial["number"]))[-1]
    sets = [word for name, value in second["values"].items() for word in ("--set", f"{name}={value}")]
    assert call("run", "--set", "gate.champion=false", *sets).code == 0
    workspace = lw.Workspace.open(lw.load_profile())
    named = {version.digest for version in list_models(workspace.tracking)}
    assert second["results"]["digest"] in named
    searched(call, "--set", "tune.keep=1", "--set", "tune.trials=8")
    left = {path.name for path in (workspace.folder / "models").iterdir()}
    assert {digest[:16] for digest in named} <= left
    others = {trial["results"]["digest"][:16] for trial in first["trials"]} - {digest[:16] for digest in named}
    assert len(left & others) <= 1


# Wrong input

WRONG = {
    "metric": ({"metric": "rmse"}, "tune.metric: text_classification has no metric 'rmse'", "macro_f1"),
    "metric's name": ({"metric": "macro_f2"}, "no metric 'macro_f2'", "did you mean 'macro_f1'"),
    "setting": (
        {"space": {"train.D": {"uniform": [0, 1]}}},
        "project.yml:19: 'train.D' is not a known key",
        "known: C",
    ),
    "section": ({"space": {"trian.C": {"uniform": [0, 1]}}}, "'trian' is not a known key", "did you mean 'train'"),
    "distribution": (
        {"space": {"train.C": {"unifrm": [0, 1]}}},
        "project.yml:19: tune.space: train.C: there is no",
        "'uniform'",
    ),
    "empty": ({"space": {}}, "the space has no parameter", "at least one line"),
    "no option": ({"space": {"train.C": {"choice": []}}}, "choice has no options", "at least one"),
    "reversed": ({"space": {"train.C": {"uniform": [2, 1]}}}, "the bounds are reversed", "[1, 2]"),
    "twice": ({"space": {"train.C": {"choice": [1, 1]}}}, "has the option 1 twice", "once"),
    "limit": (
        {"space": {"train.C": {"uniform": [0, 1]}}},
        "project.yml:19: train.C: Input should be greater than 0",
        "schema",
    ),
    "kind": (
        {"space": {"train.max_iter": {"uniform": [1, 9]}}},
        "train.max_iter: Input should be a valid integer",
        "schema",
    ),
    "learner": (
        {"space": {"train.C": {"uniform": [1, 2]}, "train.learner": {"choice": ["linear", "embedding"]}}},
        "'train.C' is not a known key",
        "base_model",
    ),
    "learner's name": ({"space": {"train.learner": {"choice": ["lineer"]}}}, "no learner named 'lineer'", "'linear'"),
    "rows": (
        {"space": {"prepare.split.seed": {"randint": [1, 2]}}},
        "tune.space names prepare.split.seed",
        "train or prepare",
    ),
    "nothing learned": ({"space": {"evaluate.seed": {"randint": [1, 2]}}}, "names evaluate.seed", "train or prepare"),
    "grid": ({"sampler": "grid"}, "any number of values", "choice"),
    "key": ({"trails": 3}, "'tune.trails' is not a known key", "did you mean 'trials'"),
    "one trial": ({"trials": 1}, "tune.trials", ""),
    "minutes": ({"minutes": 0}, "tune.minutes", ""),
    "folds by time": (
        {"metric": {"name": "auto", "folds": 3}, "space": {"train.C": {"uniform": [1, 2]}}, "by_time": True},
        "rows are split by time",
        "tune.metric: NAME",
    ),
    "pruned folds": ({"metric": {"folds": 3}, "prune": "median"}, "over folds is not ended early", "wilcoxon"),
    "few folds": ({"metric": {"folds": 4}, "prune": "wilcoxon"}, "needs 5 folds or more", "folds: 5"),
    "one fold": ({"metric": {"folds": 1}}, "tune.metric", ""),
    "pruning": ({"prune": "median"}, "tune.prune: linear cannot be ended early", "remove tune.prune"),
}


@pytest.mark.parametrize("name", WRONG)
def test_a_search_that_means_nothing_is_refused(name: str, ran: Path, call: Call) -> None:
    wrong, cause, remedy = WRONG[name]
    wrong = {**wrong}
    options = ["--set", "prepare.split.method=time"] if wrong.pop("by_time", False) else []
    with_tune(ran, **({"space": {"train.C": {"loguniform": [0.01, 100]}}} | wrong))
    ended = call("tune", *options)
    assert ended.code == 2, ended.err
    assert cause in ended.err and remedy in ended.err, ended.err
    assert not (ran.parent / ".lakewright" / "tune").exists()


def test_without_a_section_tune_it_says_what_to_write(ran: Path, call: Call) -> None:
    ended = call("tune")
    assert ended.code == 2 and "has no section tune" in ended.err and "lakewright params linear" in ended.err


def test_a_budget_too_small_for_a_trial_says_what_fits(ran: Path, call: Call) -> None:
    with_tune(ran, minutes=0.0001, space=SLOW)
    ended = call("tune")
    assert ended.code == 2
    assert re.search(
        r"tune.minutes is 0.0001, which fits the project's own settings \([\d.]+ s\) and no other", ended.err
    )
    assert re.search(r"set tune.minutes to [\d.e-]+ for one more trial", ended.err)


def test_nothing_is_started_elsewhere_while_check_finds_an_error(tuned: Path, call: Call) -> None:
    (tuned.parent / "profiles.yml").write_text("profiles: {far: {target: {name: databricks}}}")
    ended = call("tune", "--profile", "far")
    assert ended.code == 2 and "which machines cannot share" in ended.err
    assert not list((tuned.parent / ".lakewright").glob("tune"))


def test_while_a_run_works_on_the_project_it_waits_for_nobody(tuned: Path, call: Call) -> None:
    workspace = lw.Workspace.open(lw.load_profile())
    with workspace.lock("main.h.t"):
        ended = call("tune")
    assert ended.code == 1 and "another process" in ended.err


@pytest.fixture
def disk(tmp_path: Path, ran_once: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A small file system of its own, with a project that has run."""
    folder = tmp_path / "disk"
    folder.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=96m", "tmpfs", str(folder)], check=False).returncode:
        pytest.skip("mounting takes root")
    try:
        shutil.copytree(ran_once, folder, dirs_exist_ok=True)
        monkeypatch.chdir(folder)
        yield folder
    finally:
        monkeypatch.undo()
        subprocess.run(["umount", "--lazy", str(folder)], check=True)


@pytest.mark.slow
def test_a_full_disk_ends_it_and_nothing_is_lost(disk: Path, call: Call) -> None:
    with_tune(disk / "project.yml", trials=7, space=SLOW)
    first = searched(call, "--set", "tune.trials=3")
    with (disk / "filler").open("wb", buffering=0) as file:
        try:
            while True:
                file.write(bytes(4096))
        except OSError:
            pass
    ended = call("tune")
    assert ended.code == 1 and re.search(r"error: the disk of .+ is full\n  → free space", ended.err), ended.err
    assert "Traceback" not in ended.err
    (disk / "filler").unlink()
    again = searched(call)
    assert essence(again)[:3] == essence(first) and len(again["trials"]) == 7
    assert {trial["status"] for trial in again["trials"]} == {"ok"}


def test_the_parameters_of_a_learner(call: Call) -> None:
    ended = call("params", "trees", "--json")
    found = {each["name"]: each for each in one_object(ended.out)["parameters"]}
    assert found["learning_rate"] == {
        "name": "learning_rate",
        "type": "float",
        "default": 0.03,
        "range": "> 0, ≤ 1",
        "choices": None,
        "description": "",
    }
    assert found["loss"]["choices"][0] == "auto" and "learner" not in found
    encoder = {each["name"]: each for each in lw.params("encoder")}
    assert (encoder["learning_rate"]["type"], encoder["learning_rate"]["range"]) == ("str | float", "> 0")
    assert encoder["dropout"]["type"] == "float | null" and encoder["dropout"]["default"] is None
    shown = call("params", "linear").out
    assert "inverse strength of the L2 penalty" in shown
    assert call("params", "tree").code == 2
    for name in plugins.LEARNERS.names():
        assert lw.params(name)


@pytest.fixture
def columns(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, mlflow_template: Path) -> Path:
    """A project of trees over a csv file, that was never run."""
    import random

    monkeypatch.chdir(tmp_path)
    (tmp_path / ".lakewright").mkdir()
    shutil.copy(mlflow_template, tmp_path / ".lakewright" / "mlflow.db")
    rng = random.Random(1)
    lines = ["a,b,c,y"]
    for _ in range(400):
        a, b, c = rng.random(), rng.random(), rng.choice("xyz")
        lines.append(f"{a},{b},{c},{3 * a * b + (c == 'x') + rng.gauss(0, 0.1):.4f}")
    (tmp_path / "rows.csv").write_text("\n".join(lines))
    project = {
        "name": "t",
        "schema": "main.h",
        "task": "regression",
        "data": {"source": "rows.csv", "columns": {"label": "y"}},
        "train": {"learner": "trees", "n_estimators": 60},
    }
    (tmp_path / "project.yml").write_text(yaml.safe_dump(project))
    return tmp_path / "project.yml"


@pytest.mark.slow
def test_a_project_of_columns(columns: Path, call: Call) -> None:
    space = {"train.num_leaves": {"quniform": [4, 16, 4]}, "train.learning_rate": {"loguniform": [0.01, 0.3]}}
    with_tune(columns, trials=5, space=space)
    found = searched(call)
    assert found["metric"] == "rmse" and all(trial["metric"] == trial["loss"] for trial in found["trials"])
    assert {type(trial["values"]["train.num_leaves"]) for trial in found["trials"]} == {int}
    assert not (columns.parent / ".lakewright" / "ledger").exists()
    assert found["verdict"]["sentence"]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("prune", "why"), [("median", "half of 4 earlier trainings"), ("hyperband", "the 6th of 6, and 2 go on")]
)
def test_a_training_far_behind_is_ended_early(columns: Path, call: Call, prune: str, why: str) -> None:
    rates = [0.1, 0.12, 0.15, 0.2, 0.0001, 0.3]
    with_tune(columns, sampler="grid", prune=prune, space={"train.learning_rate": {"choice": rates}})
    (columns.parent / "profiles.yml").write_text("profiles: {local: {workers: {name: local, processes: 1}}}")
    found = searched(call)
    by_rate = {trial["values"]["train.learning_rate"]: trial for trial in found["trials"]}
    pruned, whole = by_rate[0.0001], by_rate[0.2]
    assert (pruned["status"], pruned["metric"], pruned["loss"]) == ("pruned", None, None)
    assert why in pruned["reason"] or why.replace("4", "5") in pruned["reason"]
    assert len(pruned["results"]["curve"]) < len(whole["results"]["curve"]) and whole["status"] == "ok"
    run = nested(found["run_id"])[f"trial {pruned['number']:05d}"]
    assert run.info.status == "FINISHED" and run.data.tags["lakewright.reason"] == pruned["reason"]
    assert not list((columns.parent / ".lakewright" / "work").glob("train-*"))
    assert by_rate[0.3]["status"] in ("ok", "pruned") and found["trials"][found["best"]]["status"] == "ok"
    assert searched(call) == found


@pytest.mark.slow
def test_a_trial_whose_folds_are_worse_ends_after_the_fourth(ran: Path, call: Call) -> None:
    metric, space = {"name": "log_loss", "folds": 6}, {"train.C": {"choice": [1e8, 10, 1]}}
    with_tune(ran, sampler="grid", prune="wilcoxon", metric=metric, space=space)
    found = searched(call)
    own, worse, third = found["trials"]
    assert own["status"] == "ok" and len(own["results"]["folds"]) == 6
    assert (worse["status"], worse["metric"], worse["values"]) == ("pruned", None, {"train.C": 1e8})
    assert len(worse["results"]["folds"]) == 4
    assert worse["reason"].startswith("ended after fold 4 of 6: 4 folds are worse than the best trial's")
    assert third["number"] == 2
    assert searched(call) == found


def test_errors_are_raised_from_python(ran: Path) -> None:
    with pytest.raises(UsageError, match="no section tune"):
        lw.tune.search(ran)
    with pytest.raises(LakewrightError):
        lw.tune.search(write_linear_project(ran.parent / "none").parent / "nothing.yml")


@pytest.mark.slow
def test_a_small_space_is_tried_once_and_the_end_is_told(ran: Path, call: Call) -> None:
    space = {"train.C": {"choice": [0.1, 10]}, "train.max_iter": {"choice": [30, 1000]}}
    with_tune(ran, metric={"name": "macro_f1", "folds": 2}, trials=30, space=space)
    found = searched(call)
    values = [tuple(trial["values"].values()) for trial in found["trials"]]
    assert values[0] == (10.0, 1000) and len(values) == 4 == len({*values})
    assert found["note"] == "the space holds no other settings: the search ended after 4 of 30 trials"
    grid = searched(call, "--set", "tune.sampler=grid", "--set", "tune.trials=null")
    assert [tuple(trial["values"].values()) for trial in grid["trials"]] == [
        (10.0, 1000), (0.1, 30), (0.1, 1000), (10, 30),
    ]  # fmt: skip
    assert grid["note"] == ""
