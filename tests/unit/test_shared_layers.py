"""What frozen layers say is computed once for all trainings of a search, and never taken for another one's."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from test_training_loop import network, training

from lakewright.learning.learners.encoder import frozen, shared_layers
from lakewright.learning.learners.encoder.frozen import remember

FROZEN: dict[str, Any] = {"dropout": 0.0, "freeze_layers": 2, "bf16": False}


@pytest.fixture
def computed(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The files that were computed, by name."""
    names: list[str] = []
    real = frozen._write

    def write(*arguments: Any) -> None:
        names.append(Path(arguments[3].filename).name)
        real(*arguments)

    monkeypatch.setattr(frozen, "_write", write)
    return names


def sharing(tiny_base: Path, tmp_path: Path, name: str, **settings: Any) -> Any:
    (tmp_path / name).mkdir()
    return replace(training(tiny_base, tmp_path / name, **{**FROZEN, **settings}), shared=tmp_path / "shared")


def test_a_second_training_finds_what_the_first_computed(tiny_base: Path, tmp_path: Path, computed: list[str]) -> None:
    first = remember(network(tiny_base, 0.0), sharing(tiny_base, tmp_path, "first"))
    assert len(computed) == 2 and not list((tmp_path / "first").glob("frozen-*"))
    other = sharing(tiny_base, tmp_path, "second", learning_rate=0.1, num_train_epochs=7)
    second = remember(network(tiny_base, 0.0), other)
    assert len(computed) == 2
    alone = remember(network(tiny_base, 0.0), replace(sharing(tiny_base, tmp_path, "alone"), shared=None))
    for one in (second, alone):
        assert np.array_equal(one.train.encoded.hidden, first.train.encoded.hidden)
        assert np.array_equal(one.validation.encoded.hidden, first.validation.encoded.hidden)


def test_other_rows_weights_or_layers_have_files_of_their_own(
    tiny_base: Path, tmp_path: Path, computed: list[str]
) -> None:
    remember(network(tiny_base, 0.0), sharing(tiny_base, tmp_path, "first"))
    rows = sharing(tiny_base, tmp_path, "rows")
    remember(network(tiny_base, 0.0), replace(rows, train=rows.train.take(np.arange(30))))
    assert len(computed) == 3  # validation is the same
    other = network(tiny_base, 0.0)
    with torch.no_grad():
        next(other.encoder.parameters()).add_(1e-3)
    remember(other, sharing(tiny_base, tmp_path, "weights"))
    assert len(computed) == 5
    remember(network(tiny_base, 0.0), sharing(tiny_base, tmp_path, "layers", freeze_layers=3))
    assert len(computed) == 7


def test_what_was_used_last_stays_within_the_limit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shared_layers, "LIMIT", 100)
    for at, name in enumerate(("a.f32", "b.f32")):
        path = shared_layers.place_in(tmp_path, name, 40)
        assert path is not None
        path.write_bytes(bytes(40))
        os.utime(path, (at, at))
    assert shared_layers.place_in(tmp_path, "a.f32", 40) == tmp_path / "a.f32"  # used again
    assert shared_layers.place_in(tmp_path, "c.f32", 40) == tmp_path / "c.f32"
    assert [path.name for path in tmp_path.iterdir()] == ["a.f32"]
    assert shared_layers.place_in(tmp_path, "d.f32", 101) is None and (tmp_path / "a.f32").exists()
