"""Neurons left out of a feed-forward layer: which, what the others then say, and where it ends."""

from __future__ import annotations

import json
from pathlib import Path
from shutil import copy

import numpy as np
import pytest
import torch
from transformers import AlbertConfig, AlbertModel

import lakewright as lw
from lakewright.errors import ProjectError
from lakewright.learning.learners.encoder import packed, pruning, serving
from lakewright.learning.learners.encoder.network import EncoderNetwork
from lakewright.model.runtimes.onnx import load

TOKENS, NEURONS, WIDTH = 4000, 240, 8  # ten neurons go at once


def layer(copies: int) -> tuple[packed.Layer, torch.Tensor]:
    """A feed-forward layer, and what its neurons said: the last `copies` of them what others say, mixed."""
    torch.manual_seed(3)
    up, down = torch.nn.Linear(WIDTH, NEURONS), torch.nn.Linear(NEURONS, WIDTH)
    free = torch.randn(TOKENS, NEURONS - copies)
    said = torch.cat([free, free @ torch.randn(NEURONS - copies, copies) / 10 + 2], dim=1)
    none = torch.nn.Identity()
    return packed.Layer(*[none] * 5, up, none, down, none, 1, 0.0, 0.0), said


def outputs(of: packed.Layer, said: torch.Tensor, kept: torch.Tensor | None = None) -> torch.Tensor:
    with torch.inference_mode():
        return of.down(said if kept is None else said[:, kept])


def test_what_others_say_too_is_left_out_and_nothing_changes() -> None:
    of, said = layer(copies=60)
    before, rows = outputs(of, said), of.up.weight.detach().clone()
    pruning._narrow(of, said, 1e-3)
    assert of.up.out_features == of.down.in_features == NEURONS - 60
    kept = torch.tensor([int((rows == row).all(dim=1).nonzero()) for row in of.up.weight])
    lost = outputs(of, said, kept) - before
    assert float(lost.square().mean() / before.var()) < 1e-3  # ridge: not to rounding


def test_the_error_is_what_least_squares_leaves_and_stays_below_what_is_allowed() -> None:
    of, said = layer(copies=0)
    with torch.no_grad():
        of.down.weight[:, 100:] /= 100  # neurons that hardly count
    before, rows = outputs(of, said), of.up.weight.detach().clone()
    pruning._narrow(of, said, 0.01)
    assert of.up.out_features == 100  # another step would take ten that count
    kept = torch.tensor([int((rows == row).all(dim=1).nonzero()) for row in of.up.weight])
    assert set(range(100)) <= set(kept.tolist())
    lost = float((outputs(of, said, kept) - before).square().sum())
    known = torch.cat([said[:, kept], torch.ones(TOKENS, 1)], dim=1).double()
    least = float((before.double() - known @ torch.linalg.lstsq(known, before.double()).solution).square().sum())
    # `lost` comes from float32 sums over 32,000 outputs, whose rounding differs between processors by some 1e-7 of it.
    assert (1 - 1e-5) * least <= lost < 1.01 * least + 1e-6
    assert lost / float((before - before.mean(dim=0)).square().sum()) < 0.01


def test_int8_is_made_of_the_pruned_network_and_the_whole_one_is_kept(
    project: Path, tiny_base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made, quantise = tmp_path / "int8.onnx", serving.int8.quantise

    def kept_too(full: Path, into: Path, known: dict[str, tuple[float, float]]) -> None:
        quantise(full, into, known)
        if known:
            copy(into, made)  # whichever network is chosen afterwards

    monkeypatch.setattr(serving.int8, "quantise", kept_too)
    settings = ["train.quantize=auto", "train.prune_error=0.05", "train.num_train_epochs=3", "gate.minimum={}"]
    folder = Path(lw.run(project, settings=settings).model_folder)
    details = json.loads((folder / "training.json").read_text())["details"]
    assert 0 < details["pruned"] < 1
    whole = EncoderNetwork.open(folder)
    assert whole.encoder.config.intermediate_size == whole.encoder.encoder.layer[0].intermediate.dense.out_features
    assert not list(folder.glob("p*d.onnx"))  # what int8 was made from
    ids = {"input_ids": np.array([[2, 7, 9, 3]]), "attention_mask": np.ones((1, 4), dtype=np.int64)}
    said = load(made).compute(ids)
    with torch.inference_mode():
        meant = whole(**{name: torch.from_numpy(values) for name, values in ids.items()}).numpy()
    assert 0 < np.abs(said - meant).max() < 0.5 * np.abs(meant).max()


def test_what_cannot_be_pruned_is_refused(project: Path, tiny_base: Path, tmp_path: Path) -> None:
    with pytest.raises(ProjectError, match="prune_error has no effect with quantize: never"):
        lw.plan(project, settings=["train.quantize=never", "train.prune_error=0.001"])
    base = tmp_path / "albert"  # whose layers share their weights
    shape = {"embedding_size": 16, "hidden_size": 32, "intermediate_size": 64, "num_attention_heads": 2}
    AlbertModel(AlbertConfig(vocab_size=500, num_hidden_layers=1, **shape)).save_pretrained(base)
    copy(tiny_base / "tokenizer.json", base)
    settings = ["train.quantize=static", "train.prune_error=0.001", f"train.base_model={base}"]
    with pytest.raises(ProjectError, match="prune_error cannot prune an encoder of the family albert"):
        lw.run(project, settings=settings)
