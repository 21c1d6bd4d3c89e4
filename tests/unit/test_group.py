"""Processes that train together learn what one learns, go on bit by bit where one is killed, and end as one."""

from __future__ import annotations

import hashlib
import math
import os
import signal
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from conftest import sentences
from lakewright.errors import ProfileError, ProjectError, TrainingError, UsageError, WorkerDied
from lakewright.learning.learners import Examples, Training
from lakewright.learning.learners.encoder import loop
from lakewright.learning.learners.encoder.base import load_encoder
from lakewright.learning.learners.encoder.network import EncoderNetwork
from lakewright.learning.learners.encoder.settings import EncoderSettings
from lakewright.learning.processes.group import GOLDEN, Group, joined, own_device, refuse_several, started
from lakewright.learning.processes.launch import together
from lakewright.model.recipe import Recipe
from lakewright.model.tasks.similarity import SentenceSimilarity
from recipes import tokens
from test_training_loop import network, training, weights

ROUNDING = 2e-6  # relative, L2, of the weights after forty steps in fp32


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


@pytest.mark.parametrize("kind", ["class", "number", "vector"])
def test_two_learn_what_one_learns(tiny_base: Path, tmp_path: Path, kind: str) -> None:
    """Forty steps; the losses and what validation says, too."""
    one = run(tiny_base, tmp_path / "one", kind, 1, learning_rate=1e-4)
    two = run(tiny_base, tmp_path / "two", kind, 2, learning_rate=1e-4)
    assert two.state.step == one.state.step == 40
    assert 0 < away(one, two) <= ROUNDING
    assert len(one.state.history) == len(two.state.history)
    for ours, theirs in zip(one.state.history, two.state.history, strict=True):
        assert ours == pytest.approx(theirs, rel=1e-4)
    begun = weights(set_up(tiny_base, tmp_path / "begun", kind, {})[0])
    assert away(one, replace(one, weights=begun)) > 100 * ROUNDING  # something was learned
