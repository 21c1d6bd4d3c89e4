"""The arguments of `fmin` that code written for Hyperopt passes: each does what it did there, or says what to do."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lakewright.errors import LakewrightError, UsageError
from lakewright.tune import STATUS_OK, Trials, fmin, hp, no_progress_loss, rand

X = hp.uniform("x", 0, 1)


def refuse_high(x: float) -> float:
    if x > 0.5:
        raise ZeroDivisionError("too high")
    return x


def test_an_objective_that_raises_ends_the_search_where_exceptions_are_not_caught() -> None:
    trials = Trials()
    with pytest.raises(ZeroDivisionError, match="too high"):
        fmin(refuse_high, X, algo=rand.suggest, max_evals=50, trials=trials, rstate=3, catch_eval_exceptions=False)
    assert trials.statuses() == ["ok"] * len(trials) and len(trials) < 50  # what ended before is kept
    fmin(refuse_high, X, algo=rand.suggest, max_evals=50, trials=trials, rstate=3, verbose=False)
    assert len(trials) == 50 and {*trials.statuses()} == {"ok", "fail"}


@pytest.mark.parametrize(
    ("losses", "most", "percent", "ended"),
    [
        ([1.0] * 20, 5, 0.0, 5),  # the first counts
        ([3.0, 2.0, 1.0] + [1.0] * 20, 4, 0.0, 7),
        ([100.0, 99.5, 99.0, 98.5, 98.2] + [98.2] * 20, 4, 1.0, 8),  # 98.5 alone is better by 1 %
        ([-1.0, -1.05, -1.2, -1.2, -1.2, -1.2], 3, 10.0, 6),
    ],
)
def test_no_progress_ends_it(losses: list[float], most: int, percent: float, ended: int) -> None:
    trials, left = Trials(), iter(losses)
    fmin(lambda _: next(left), X, trials=trials, early_stop_fn=no_progress_loss(most, percent), verbose=False)
    assert len(trials) == ended


def test_an_early_stop_function_gets_what_it_returned() -> None:
    seen: list[tuple[int, int]] = []

    def stop(trials: Trials, count: int = 0) -> tuple[bool, list[int]]:
        seen.append((len(trials), count))
        return count == 3, [count + 1]

    fmin(lambda x: x, X, max_evals=9, early_stop_fn=stop, verbose=False)
    assert seen == [(1, 0), (2, 1), (3, 2), (4, 3)]


def test_what_hyperopt_would_pass_to_an_objective_is_refused() -> None:
    def marked(expr: Any, memo: Any, ctrl: Any) -> float:
        return 0.0

    marked.fmin_pass_expr_memo_ctrl = True  # type: ignore[attr-defined]
    with pytest.raises(UsageError, match="no expression, memo and ctrl"):
        fmin(marked, X, max_evals=2)
    with pytest.raises(UsageError, match="no expression, memo and ctrl"):
        fmin(lambda x: x, X, max_evals=2, pass_expr_memo_ctrl=True)


@pytest.mark.parametrize("loss", [np.float32(0.5), np.array(0.5), np.array([0.5]), np.array([[0.5]]), np.int64(2)])
def test_a_loss_is_a_number_in_any_form(loss: Any) -> None:
    trials = Trials()
    fmin(lambda _: {"loss": loss, "status": STATUS_OK}, X, max_evals=1, trials=trials, verbose=False)
    assert trials.losses() == [float(np.asarray(loss).item())] and type(trials.losses()[0]) is float


def test_an_array_of_several_is_no_loss() -> None:
    with pytest.raises(LakewrightError, match="not a finite number"):
        fmin(lambda _: np.array([0.5, 0.6]), X, max_evals=1, verbose=False)


@pytest.mark.parametrize("make", [np.random.default_rng, np.random.RandomState, int, np.int64])
def test_any_form_of_seed_decides(make: Any) -> None:
    one, same, other = (fmin(lambda x: x, X, max_evals=1, rstate=make(s), verbose=False) for s in (1, 1, 2))
    assert one == same != other


def test_trials_are_written_as_hyperopt_writes_them() -> None:
    space = hp.choice("kind", [{"k": 0, "C": hp.uniform("C", 0, 1)}, {"k": 1, "depth": hp.randint("depth", 5)}])
    trials = Trials()
    best = fmin(lambda v: v["k"], space, max_evals=8, trials=trials, algo=rand.suggest, verbose=False)
    assert {*trials.vals} == {*trials.idxs} == {"kind", "C", "depth"}
    for document in trials:
        vals = document["misc"]["vals"]
        drawn = "C" if vals["kind"] == [0] else "depth"
        assert {label for label, value in vals.items() if value} == {"kind", drawn}  # else an empty list
    assert trials.idxs["C"] == [number for number, loss in enumerate(trials.losses()) if loss == 0]
    assert (
        best
        == trials.argmin
        == {label: value[0] for label, value in trials.best_trial["misc"]["vals"].items() if value}
    )
    assert trials.miscs[3]["idxs"]["kind"] == [3]


def test_a_save_file_is_a_folder_from_which_the_same_call_goes_on(tmp_path: Path) -> None:
    calls = 0

    def of(x: float) -> float:
        nonlocal calls
        calls += 1
        return x

    for most in (4, 9):
        fmin(of, X, max_evals=most, rstate=np.random.default_rng(1), trials_save_file=tmp_path / "t.pkl", verbose=False)
    assert calls == 9
    (tmp_path / "old.pkl").write_bytes(b"\x80\x05")
    with pytest.raises(UsageError, match="a pickle of Hyperopt's is not read"):
        fmin(of, X, max_evals=2, trials_save_file=str(tmp_path / "old.pkl"))


@pytest.mark.parametrize(
    ("named", "what"),
    [
        ({"trials": [1]}, "trials is a list"),
        ({"points_to_evaluate": {"x": 0.5}}, "write a list of points"),
        ({"rstate": "13"}, "rstate is '13'"),
        ({"max_evals": "9"}, "max_evals is '9'"),
        ({"max_evals": None}, "early_stop_fn"),
    ],
)
def test_what_is_none_of_these_is_refused(named: dict[str, Any], what: str) -> None:
    with pytest.raises(UsageError) as refused:
        fmin(lambda x: x, X, **{"max_evals": 2, **named})
    assert what in str(refused.value)
