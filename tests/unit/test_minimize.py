"""`tune.minimize` and `tune.fmin`: what they find, that they go on where they were, what they say of wrong input."""

from __future__ import annotations

import json
import math
import os
import signal
import subprocess
import sys
import time
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import pytest

from lakewright import spaces, tune
from lakewright.errors import LakewrightError, UsageError
from lakewright.tune import STATUS_FAIL, STATUS_OK, SparkTrials, Trials, fmin, hp, minimize, rand, space_eval, tpe
from lakewright.workspace.tracking import Tracking

SPACE = {
    "x": {"uniform": [-5, 5]},
    "kind": {"choice": ["flat", {"bowl": {"C": {"loguniform": [0.01, 100]}, "n": {"normal": [0, 3]}}}]},
    "p": {"pchoice": [[0.3, 1], [0.7, 2]]},
    "q": {"quniform": [0, 10, 2]},
    "i": {"randint": [1, 4]},
    "l": {"qlognormal": [0, 1, 0.5]},
}


def bowl(values: dict[str, Any]) -> float:
    shape = 3 if values["kind"] == "flat" else abs(math.log(values["C"])) + values["n"] ** 2 / 9
    return (values["x"] - 2) ** 2 + shape + values["q"] / 10 + values["p"] + abs(values["i"] - 3) + values["l"]


def points(found: tune.Minimum) -> list[Any]:
    return [trial.point for trial in found.trials]


def quiet(*arguments: Any, **named: Any) -> tune.Minimum:
    return minimize(*arguments, progress=False, **named)


@pytest.mark.parametrize("workers", [1, 2])
def test_four_lines_find_a_known_minimum(workers: int) -> None:
    space = {"x": {"uniform": [-10, 10]}, "y": {"uniform": [-10, 10]}}
    found = quiet(
        lambda v: (v["x"] - 1) ** 2 + (v["y"] + 2) ** 2, space, max_evals=120, max_queue_len=2, workers=workers
    )
    assert found.loss < 0.5
    assert found.values == pytest.approx({"x": 1, "y": -2}, abs=0.7)
    assert found.loss == min(trial.loss for trial in found.trials if trial.loss is not None)


@pytest.mark.slow
@pytest.mark.parametrize("algo", ["tpe", "random"])
def test_the_trials_do_not_depend_on_the_number_of_processes(algo: str) -> None:
    one = quiet(bowl, SPACE, algo=algo, max_evals=30, max_queue_len=3)
    two = quiet(bowl, SPACE, algo=algo, max_evals=30, max_queue_len=3, workers=2)
    assert [(t.point, t.loss, t.values) for t in one.trials] == [(t.point, t.loss, t.values) for t in two.trials]


def test_the_seed_decides() -> None:
    one, again, other = (quiet(bowl, SPACE, max_evals=25, seed=seed) for seed in (1, 1, 2))
    assert points(one) == points(again) != points(other)


def test_every_point_lies_in_the_space_and_every_option_is_tried() -> None:
    space = spaces.read(SPACE)
    found = quiet(bowl, SPACE, max_evals=60)
    for trial in found.trials:
        assert spaces.point_in(space, trial.point) == trial.point
        assert spaces.fill(space, trial.point) == trial.values
    assert {trial.point["kind"] for trial in found.trials} == {0, 1}


def test_tpe_is_no_later_than_random_search() -> None:
    best = {
        algo: median(quiet(bowl, SPACE, algo=algo, max_evals=60, seed=seed).loss for seed in range(5))
        for algo in ("tpe", "random")
    }
    assert best["tpe"] < best["random"]


def test_a_search_goes_on_where_it_was(tmp_path: Path) -> None:
    whole = quiet(bowl, SPACE, max_evals=30, max_queue_len=3)
    calls = 0

    def counted(values: dict[str, Any]) -> float:
        nonlocal calls
        calls += 1
        return bowl(values)

    for most in (7, 19, 30, 30):
        found = quiet(counted, SPACE, max_evals=most, max_queue_len=3, folder=tmp_path / "search")
        assert len(found.trials) == most
    assert calls == 30
    assert points(found) == points(whole)
    (tmp_path / "search" / "trials" / "00004.json").write_text("{")  # damaged: tried again
    (tmp_path / "search" / "trials" / "00029.json").unlink()
    assert points(quiet(counted, SPACE, max_evals=30, max_queue_len=3, folder=tmp_path / "search")) == points(whole)
    assert calls == 32


def test_another_search_does_not_go_on_in_a_folder(tmp_path: Path) -> None:
    quiet(bowl, SPACE, max_evals=2, folder=tmp_path / "a")
    for other in (
        {"algo": "random"},
        {"seed": 3},
        {"points": [spaces.sample(spaces.read(SPACE), np.random.default_rng(1))]},
    ):
        with pytest.raises(UsageError, match="trials of another search"):
            quiet(bowl, SPACE, max_evals=2, folder=tmp_path / "a", **other)
    with pytest.raises(UsageError, match="trials of another search: space changed"):
        quiet(bowl, {**SPACE, "i": {"randint": [1, 5]}}, max_evals=2, folder=tmp_path / "a")


SCRIPT = """
import sys, time
sys.path.insert(0, sys.argv[3])
from test_minimize import SPACE, bowl
from lakewright.tune import minimize

def slow(values):
    time.sleep(0.15)
    return bowl(values)

minimize(slow, SPACE, max_evals=24, max_queue_len=3, workers=int(sys.argv[1]), folder=sys.argv[2], progress=False)
"""


@pytest.mark.slow
@pytest.mark.parametrize("workers", [1, 2])
def test_a_kill_loses_only_the_trials_under_way(workers: int, tmp_path: Path) -> None:
    script, folder = tmp_path / "script.py", tmp_path / "search"
    script.write_text(SCRIPT)
    command = [sys.executable, str(script), str(workers), str(folder), str(Path(__file__).parent)]
    for kept in (4, 13):
        process = subprocess.Popen(command, stderr=subprocess.DEVNULL)
        while len(list(folder.glob("trials/[0-9]*.json"))) < kept:
            assert process.poll() is None
            time.sleep(0.02)
        process.send_signal(signal.SIGKILL)
        process.wait()
    before = {path: path.stat().st_mtime_ns for path in folder.glob("trials/[0-9]*.json")}
    assert subprocess.run(command, check=False).returncode == 0
    assert all(path.stat().st_mtime_ns == when for path, when in before.items())  # not tried again
    trials = [json.loads((folder / "trials" / f"{at:05d}.json").read_text()) for at in range(24)]
    assert [trial["point"] for trial in trials] == points(quiet(bowl, SPACE, max_evals=24, max_queue_len=3))


def test_ctrl_c_ends_it_and_keeps_the_trials(tmp_path: Path) -> None:
    script, folder = tmp_path / "script.py", tmp_path / "search"
    script.write_text(SCRIPT)
    command = [sys.executable, str(script), "2", str(folder), str(Path(__file__).parent)]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    while len(list(folder.glob("trials/[0-9]*.json"))) < 3:
        time.sleep(0.02)
    process.send_signal(signal.SIGINT)
    _, message = process.communicate(timeout=30)
    assert process.returncode != 0 and "KeyboardInterrupt" in message
    assert not list(folder.rglob("*.partial"))


def test_a_trial_that_raises_or_has_no_loss_failed() -> None:
    def of(value: float) -> Any:
        if value < -3:
            raise ZeroDivisionError("by hand")
        if value < 0:
            return math.nan
        if value < 1:
            return {"status": STATUS_FAIL}
        return {"loss": np.float64(value), "status": STATUS_OK, "attachment": np.arange(3)}

    found = quiet(of, spaces.Uniform(-5, 5), max_evals=30)
    reasons = {trial.reason.split(":")[0] for trial in found.trials if trial.status == "fail"}
    assert reasons == {
        "ZeroDivisionError",
        "the loss is nan, not a finite number",
        "the objective returned the status 'fail'",
    }
    assert found.best.results["attachment"].tolist() == [0, 1, 2] and found.values >= 1
    assert {trial.status for trial in found.trials if trial.loss is not None} == {"ok"}


def test_if_every_trial_failed_it_is_an_error(caplog: pytest.LogCaptureFixture) -> None:
    with pytest.raises(LakewrightError, match=r"all 3 trials failed; the first, with x=.*: RuntimeError: no"):
        quiet(refuse, {"x": {"uniform": [0, 1]}}, max_evals=3)
    assert caplog.text.count("failed: RuntimeError: no") == 3


def refuse(values: Any) -> float:
    raise RuntimeError("no")


def kill_at_two(values: dict[str, Any]) -> float:
    if values["n"] == 2:
        os.kill(os.getpid(), signal.SIGKILL)
    return float(values["n"])


def test_a_trial_that_kills_its_process_failed(tmp_path: Path) -> None:
    found = quiet(kill_at_two, {"n": {"randint": [1, 4]}}, algo="grid", workers=2, folder=tmp_path / "s")
    assert [trial.status for trial in found.trials] == ["ok", "fail", "ok", "ok"]
    assert "killed by signal 9" in found.trials[1].reason
    assert json.loads((tmp_path / "s" / "trials" / "00001.json").read_text())["status"] == "fail"


def test_a_grid_ends_by_itself() -> None:
    found = quiet(lambda v: v["a"] * v["b"], {"a": {"choice": [3, 1]}, "b": {"randint": [1, 3]}}, algo="grid")
    assert [tuple(trial.values.values()) for trial in found.trials] == [(3, 1), (3, 2), (3, 3), (1, 1), (1, 2), (1, 3)]


def test_points_are_tried_first() -> None:
    first = [{"x": 1.5, "kind": 0}, {"x": 2.0, "kind": 1}]
    space = {"x": {"uniform": [-5, 5]}, "kind": {"choice": ["a", "b"]}}
    found = quiet(lambda v: abs(v["x"]), space, max_evals=5, points=first)
    assert points(found)[:2] == first and len(found.trials) == 5
    for wrong, what in (
        ({"x": 9.0, "kind": 0}, "not in the space"),
        ({"x": 1.0}, "no value"),
        ({"z": 1}, "no parameter"),
    ):
        with pytest.raises(UsageError, match=what):
            quiet(bowl, space, max_evals=5, points=[wrong])


def test_it_ends_in_time_or_at_a_loss() -> None:
    began = time.monotonic()
    found = quiet(lambda v: time.sleep(0.05) or v["x"], {"x": {"uniform": [0, 1]}}, timeout=0.6)
    assert 2 <= len(found.trials) <= 13 and time.monotonic() - began < 5
    found = quiet(lambda v: v["x"], {"x": {"uniform": [0, 1]}}, loss_threshold=0.2)
    assert found.loss <= 0.2 < min([trial.loss for trial in found.trials[:-1]], default=1.0)  # type: ignore[type-var]


@pytest.mark.parametrize(
    ("named", "what"),
    [
        ({}, "has no end"),
        ({"max_evals": 0}, "max_evals is 0"),
        ({"max_evals": 3, "max_queue_len": 0}, "max_queue_len is 0"),
        ({"max_evals": 3, "algo": "tpee"}, "no sampler 'tpee'"),
        ({"algo": "grid"}, "any number of values"),
    ],
)
def test_what_means_nothing_is_refused(named: dict[str, Any], what: str) -> None:
    with pytest.raises(UsageError, match=what):
        quiet(bowl, SPACE, **named)


@pytest.mark.parametrize("space", [{}, {"x": 3}, 7, {"x": {"choice": []}}])
def test_a_space_of_nothing_is_refused(space: Any) -> None:
    with pytest.raises(UsageError, match=r"no parameter|no options"):
        quiet(bowl, space, max_evals=3)


def test_a_full_disk_is_an_error_and_what_was_recorded_stays(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder, real = tmp_path / "s", os.fsync

    def full(descriptor: int) -> None:
        if len(list(folder.glob("trials/0*.json"))) >= 3:
            raise OSError(28, "No space left on device", str(folder))
        real(descriptor)

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(LakewrightError, match=r"disk of .* is full"):
        quiet(bowl, SPACE, max_evals=9, folder=folder)
    assert len(list(folder.glob("trials/*"))) == 3
    monkeypatch.undo()
    assert points(quiet(bowl, SPACE, max_evals=9, folder=folder)) == points(quiet(bowl, SPACE, max_evals=9))


def test_mlflow_has_a_run_of_the_search_and_one_of_each_trial(tracking: Tracking, tmp_path: Path) -> None:
    def of(values: dict[str, Any]) -> dict[str, Any]:
        if values["n"] == 2:
            raise ValueError("two")
        return {"loss": values["n"], "status": "ok", "accuracy": 0.5}

    search = partial(
        quiet, of, {"n": {"randint": [1, 3]}}, algo="grid", experiment="numbers", tracking=tracking.tracking_uri,
        folder=tmp_path / "s",
    )  # fmt: skip
    for _ in range(2):  # the second time nothing is added
        search()
    with tracking.client() as client:
        experiment = client.get_experiment_by_name("numbers")
        runs = client.search_runs([experiment.experiment_id])
    (parent,) = (run for run in runs if "mlflow.parentRunId" not in run.data.tags)
    children = {run.info.run_name: run for run in runs if run is not parent}
    assert parent.info.status == "FINISHED" and parent.data.metrics["best_loss"] == 1
    assert parent.data.params["method"] == "grid" and parent.data.params["space.n.randint"] == "[1, 3]"
    assert {name: run.info.status for name, run in children.items()} == {
        "trial 00000": "FINISHED", "trial 00001": "FAILED", "trial 00002": "FINISHED",
    }  # fmt: skip
    assert {run.data.tags["mlflow.parentRunId"] for run in children.values()} == {parent.info.run_id}
    assert children["trial 00002"].data.params == {"n": "3"}
    assert children["trial 00002"].data.metrics.items() >= {"loss": 3.0, "accuracy": 0.5}.items()
    assert children["trial 00001"].data.tags["lakewright.reason"] == "ValueError: two"


# With Hyperopt's names


def test_fmin_has_hyperopts_conventions() -> None:
    space = {
        "lr": hp.loguniform("lr", math.log(1e-5), math.log(1e-1)),
        "n": hp.randint("n", 5),
        "model": hp.choice(
            "kind", [{"k": "svm", "C": hp.lognormal("C", 0, 1)}, {"k": "tree", "depth": hp.quniform("d", 1, 9, 1)}]
        ),
    }
    seen = []

    def of(values: dict[str, Any]) -> dict[str, Any]:
        seen.append(values)
        loss = abs(math.log10(values["lr"]) + 3) + values["n"] + (values["model"]["k"] == "svm")
        return {"loss": loss, "status": STATUS_OK, "k": values["model"]["k"]}

    trials = Trials()
    best = fmin(
        of,
        space,
        algo=tpe.suggest,
        max_evals=50,
        trials=trials,
        rstate=np.random.default_rng(1),
        show_progressbar=False,
    )
    assert best is not None and best.keys() == {"lr", "n", "kind", "d"}
    assert best["kind"] == 1 and best["n"] == 0 and 1e-4 < best["lr"] < 1e-2
    assert all(1e-5 <= values["lr"] <= 1e-1 and values["n"] in range(5) for values in seen)
    assert space_eval(space, best) == {"lr": best["lr"], "n": 0, "model": {"k": "tree", "depth": best["d"]}}
    assert len(trials) == 50 and trials.argmin == best
    assert trials.best_trial["result"]["loss"] == min(loss for loss in trials.losses() if loss is not None)
    assert trials.best_trial["misc"]["vals"]["kind"] == [1] and trials.results[0]["status"] == "ok"
    assert len(trials.vals["lr"]) == 50 and {*trials.statuses()} == {"ok"} and len(seen) == 50
    again = fmin(of, space, algo=rand.suggest, max_evals=55, trials=trials, show_progressbar=False)  # goes on
    assert len(seen) == 55 and len(trials) == 55 and again is not None


def test_fmin_takes_one_parameter_and_what_hyperopt_takes() -> None:
    x = hp.uniform("x", -10, 10)
    best = fmin(lambda x: (x - 3) ** 2, x, algo=partial(tpe.suggest, n_startup_jobs=5), max_evals=60, verbose=False)
    assert best is not None and space_eval(x, best) == best["x"] == pytest.approx(3, abs=1)
    first = fmin(lambda x: x * x, x, max_evals=1, points_to_evaluate=[{"x": 0.5}], verbose=False)
    assert first == {"x": 0.5}
    near = fmin(lambda x: abs(x), x, max_evals=500, loss_threshold=1.0, verbose=False, return_argmin=False)
    assert abs(near) <= 1.0  # the objective's argument, as Hyperopt returns it
    with pytest.raises(UsageError, match="algo is"):
        fmin(lambda x: x, x, algo="anneal", max_evals=2)


def test_a_folder_keeps_no_losses_of_another_objective(tmp_path: Path) -> None:
    """The same code goes on, wherever it stands; other code is refused, unless nothing of it was kept."""
    space = {"x": {"uniform": [0, 1]}}
    folder = tmp_path / "kept"

    def near(values: dict[str, float]) -> float:
        return abs(values["x"]) + ("a" in {"b", "c"})

    first = minimize(near, space, max_evals=4, folder=folder)
    assert minimize(near, space, max_evals=4, folder=folder) == first
    with pytest.raises(UsageError, match="the losses of 4 trials, and the objective is another function") as refused:
        minimize(lambda values: 100 + values["x"], space, max_evals=4, folder=folder)
    assert '"code"' in refused.value.remedy
    with pytest.raises(UsageError, match="another function"):
        fmin(lambda x: -x, hp.uniform("x", 0, 1), max_evals=4, trials_save_file=folder_of(tmp_path), verbose=False)


def folder_of(tmp_path: Path) -> Path:
    fmin(lambda x: x, hp.uniform("x", 0, 1), max_evals=3, trials_save_file=tmp_path / "fmin", verbose=False)
    return tmp_path / "fmin"


def test_failed_trials_are_tried_again_once_their_cause_is_corrected(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    space, data = {"x": {"uniform": [0, 1]}}, tmp_path / "data.txt"

    def reads(values: dict[str, float]) -> float:
        return values["x"] + float(data.read_text())

    with pytest.raises(LakewrightError, match="all 3 trials failed"):
        minimize(reads, space, max_evals=3, folder=tmp_path / "kept")
    data.write_text("1")
    found = minimize(reads, space, max_evals=3, folder=tmp_path / "kept")
    assert [trial.status for trial in found.trials] == ["ok"] * 3
    assert "3 trials of an earlier call failed, and are tried again" in caplog.text
    assert found.trials[0].point == minimize(reads, space, max_evals=3).trials[0].point


def test_names_of_hyperopt_that_are_not_offered_name_others() -> None:
    from lakewright import tune

    with pytest.raises(ImportError, match=r"take algo=tpe\.suggest"):
        from lakewright.tune import anneal  # noqa: F401
    with pytest.raises(AttributeError, match="no attribute 'minimise'"):
        _ = tune.minimise
    trials = Trials()
    fmin(lambda x: x, hp.uniform("x", 1, 2), max_evals=3, trials=trials, verbose=False)
    trials.refresh()
    assert trials.average_best_error() == min(loss for loss in trials.losses() if loss is not None)


def test_spark_trials_run_here_and_say_so() -> None:
    with pytest.warns(UserWarning, match="SparkTrials runs 2 processes of this machine"):
        trials = SparkTrials(parallelism=2)
    processes = fmin(
        lambda x: {"loss": x, "status": "ok", "pid": os.getpid()},
        hp.uniform("x", 0, 1),
        max_evals=12,
        trials=trials,
        verbose=False,
    )
    assert processes is not None
    assert os.getpid() not in {result["pid"] for result in trials.results}
    assert trials.tids == [*range(12)]
