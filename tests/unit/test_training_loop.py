"""The loop: exact resume, the same step in smaller parts when memory runs out, batches of like length."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from conftest import sentences
from lakewright.errors import TrainingError
from lakewright.learning.learners import Examples, Training
from lakewright.learning.learners.encoder import loop
from lakewright.learning.learners.encoder.base import load_encoder
from lakewright.learning.learners.encoder.batches import epoch_batches
from lakewright.learning.learners.encoder.frozen import remember
from lakewright.learning.learners.encoder.network import EncoderNetwork
from lakewright.learning.learners.encoder.optimizer import make_optimizer, rate_at
from lakewright.learning.learners.encoder.probe import fit_head
from lakewright.learning.learners.encoder.settings import EncoderSettings
from lakewright.learning.learners.units import in_deviations
from lakewright.model.recipe import Recipe
from lakewright.model.recipe.ragged import longest_first
from lakewright.model.tasks import Loss
from lakewright.model.tasks.classification import TextClassification
from lakewright.model.tasks.regression import Regression
from recipes import tokens


def training(base: Path, folder: Path, truth: str = "class", **settings: Any) -> Training:
    recipe = Recipe((tokens(base, 32),))
    numbers = {"animal": 1e6, "plant": 2e6, "stone": 4e6}
    task: Any = TextClassification(("animal", "plant", "stone"))
    if truth == "number":
        task = Regression({"text": "text"})

    def examples(seed: int) -> Examples:
        rows = sentences(60, seed=seed)
        texts, truths = [row["text"] for row in rows], [row["label"] for row in rows]
        if truth == "number":
            truths = [numbers[label] for label in truths]
        encoded = recipe.encode([{"text": text} for text in texts])
        ones = np.ones(len(texts), dtype=np.float32)
        return Examples(encoded, task.targets(truths, encoded, texts), ones, texts, truths)

    chosen = {"base_model": str(base), "num_train_epochs": 3, "per_device_train_batch_size": 8, **settings}
    made = Training(
        task=task,
        settings=EncoderSettings(**chosen),
        recipe=recipe,
        train=examples(1),
        validation=examples(2),
        folder=folder,
        checkpoints=folder,
        base=base,
        device="cpu",
        threads=1,
    )
    return in_deviations(made)


def network(base: Path, dropout: float = 0.1, truth: str = "class") -> EncoderNetwork:
    torch.manual_seed(1)
    outputs, exact = (1, True) if truth == "number" else (3, False)
    return EncoderNetwork(load_encoder(base, dropout, 1), outputs, "row", "mean", dropout, exact=exact)


def weights(of: EncoderNetwork) -> torch.Tensor:
    return torch.cat([value.flatten() for value in of.state_dict().values() if value.is_floating_point()])


@pytest.mark.parametrize("truth", ["class", "number"])
@pytest.mark.parametrize("killed_at", [1, 5, 8, 13])
def test_a_resumed_run_ends_with_the_same_weights(
    tiny_base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, killed_at: int, truth: str
) -> None:
    """With dropout, a checkpoint after every step, and the process gone in the middle of step `killed_at`."""
    whole, parted = tmp_path / "whole", tmp_path / "parted"
    whole.mkdir()
    parted.mkdir()
    undisturbed = network(tiny_base, truth=truth)
    expected = loop.train(undisturbed, training(tiny_base, whole, truth, save_seconds=1e-9))

    backward, calls = loop._backward, 0

    def dies(*arguments: Any) -> float:
        nonlocal calls
        calls += 1
        if calls == killed_at:
            raise KeyboardInterrupt
        return backward(*arguments)

    monkeypatch.setattr(loop, "_backward", dies)
    with pytest.raises(KeyboardInterrupt):
        loop.train(network(tiny_base, truth=truth), training(tiny_base, parted, truth, save_seconds=1e-9))
    monkeypatch.setattr(loop, "_backward", backward)
    resumed = network(tiny_base, truth=truth)
    state = loop.train(resumed, training(tiny_base, parted, truth, save_seconds=1e-9))
    assert state.step == expected.step and state.best == expected.best
    assert [entry["step"] for entry in state.history] == [entry["step"] for entry in expected.history]
    assert torch.equal(weights(resumed), weights(undisturbed))


def test_out_of_memory_halves_the_parts_and_keeps_the_step(
    tiny_base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A machine that cannot hold more than 40 padded tokens: found by halving, and the steps stay the same."""
    (tmp_path / "large").mkdir()
    (tmp_path / "small").mkdir()
    large, small = network(tiny_base, 0.0), network(tiny_base, 0.0)
    expected = loop.train(large, training(tiny_base, tmp_path / "large", dropout=0.0))
    forward = EncoderNetwork.forward

    def limited(self: EncoderNetwork, input_ids: torch.Tensor, attention_mask: torch.Tensor) -> torch.Tensor:
        if self.training and input_ids.numel() > 40:
            raise torch.OutOfMemoryError("not enough memory: you tried to allocate …")
        return forward(self, input_ids, attention_mask)

    monkeypatch.setattr(EncoderNetwork, "forward", limited)
    state = loop.train(small, training(tiny_base, tmp_path / "small", dropout=0.0))
    assert state.max_tokens <= 40
    # Not the weights: where a gradient is all rounding, Adam's step is of a random sign.
    losses = [[entry["loss"] for entry in each.history if "loss" in entry] for each in (state, expected)]
    assert losses[0] == pytest.approx(losses[1], abs=2e-3)


def test_memory_too_small_for_one_row_says_so(tiny_base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def never(self: EncoderNetwork, input_ids: torch.Tensor, attention_mask: torch.Tensor) -> torch.Tensor:
        raise torch.OutOfMemoryError("not enough memory")

    monkeypatch.setattr(EncoderNetwork, "forward", never)
    with pytest.raises(TrainingError, match="one row of"):
        loop.train(network(tiny_base), training(tiny_base, tmp_path))


def test_frozen_layers_are_computed_once_and_learn_the_same(tiny_base: Path, tmp_path: Path) -> None:
    """Two layers, the lower frozen: the weights are the same to rounding, and the validation scores too."""
    (tmp_path / "every").mkdir()
    (tmp_path / "once").mkdir()
    every, once = network(tiny_base, 0.0), network(tiny_base, 0.0)
    settings: dict[str, Any] = {"dropout": 0.0, "freeze_layers": 2, "bf16": False}
    expected = loop.train(every, training(tiny_base, tmp_path / "every", **settings))
    remembered = remember(once, training(tiny_base, tmp_path / "once", **settings))
    assert once.frozen == 2 and remembered.validation.encoded.hidden is not None
    state = loop.train(once, remembered)
    assert torch.allclose(weights(once), weights(every), atol=1e-5)
    scores = [[entry.get("validation_log_loss", 0.0) for entry in each.history] for each in (state, expected)]
    assert scores[0] == pytest.approx(scores[1], abs=1e-5)
    again = remember(once, training(tiny_base, tmp_path / "once", **settings))  # as a resumed run does
    assert np.array_equal(again.train.encoded.hidden, remembered.train.encoded.hidden)


@pytest.mark.parametrize(
    ("dropout", "settings"), [(0.1, {"freeze_layers": 2}), (0.0, {"freeze_layers": 1}), (0.0, {"lora_rank": 2})]
)
def test_what_changes_is_not_remembered(
    tiny_base: Path, tmp_path: Path, dropout: float, settings: dict[str, Any]
) -> None:
    made, given = network(tiny_base, dropout), training(tiny_base, tmp_path, dropout=dropout, **settings)
    assert remember(made, given) is given and made.frozen == 0


def test_a_probe_of_a_few_rows_is_the_probe_of_those_rows(tiny_base: Path, tmp_path: Path) -> None:
    whole = training(tiny_base, tmp_path)
    few = whole.train.take(np.sort(np.random.default_rng(3).permutation(len(whole.train))[:20]))
    heads = []
    for examples, most in ((whole.train, 20), (few, None), (whole.train, None)):
        probed = network(tiny_base, dropout=0)
        fit_head(probed, replace(whole, train=examples), Loss("cross_entropy"), 3, most)
        heads.append(probed.head.weight.detach())
    assert torch.allclose(heads[0], heads[1], atol=1e-4)
    assert not torch.allclose(heads[0], heads[2], atol=1e-2)


def test_divergence_is_an_error_that_names_the_rate(tiny_base: Path, tmp_path: Path) -> None:
    broken = network(tiny_base)
    with torch.no_grad():
        broken.head.bias.fill_(float("nan"))
    with pytest.raises(TrainingError) as caught:
        loop.train(broken, training(tiny_base, tmp_path))
    assert "train.learning_rate" in caught.value.remedy


def test_gradient_accumulation_is_a_larger_batch(tiny_base: Path, tmp_path: Path) -> None:
    """Four batches of 8 a step are one of 32: the loss of each step is the mean over all its rows."""
    batches = epoch_batches(np.arange(60) % 7 + 3, 8, 1, 0)
    setting = training(tiny_base, tmp_path, dropout=0.0)
    one, four = network(tiny_base, 0.0), network(tiny_base, 0.0)
    off = torch.autocast("cpu", dtype=torch.bfloat16, enabled=False)
    inputs = loop.inputs_of(setting.recipe, setting.train.encoded, torch.device("cpu"))
    loop._backward(four, setting, inputs, batches[:4], 4096, off)
    loop._backward(one, setting, inputs, [np.concatenate(batches[:4])], 4096, off)
    for a, b in zip(one.parameters(), four.parameters(), strict=True):
        if a.grad is not None and b.grad is not None:
            assert torch.allclose(a.grad, b.grad, atol=1e-6)


def test_an_undefined_metric_keeps_the_first_epoch(
    tiny_base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Such as the correlation of predictions that are all the same: training once ended without any weights."""

    class Undefined:
        primary, rows = "spearman", 60

        def metrics(self, weights: Any) -> dict[str, float]:
            return {"spearman": float("nan")}

        def undefined(self, metric: str) -> str:
            return "all predictions are the same"

    monkeypatch.setattr(loop, "tuned", lambda training, logits: (training.task, Undefined()))
    state = loop.train(network(tiny_base), training(tiny_base, tmp_path))
    assert state.best_step == 8 and (tmp_path / "best.pt").exists()
    assert "spearman is not defined on validation: all predictions are the same" in caplog.text


def test_early_stopping_keeps_the_best_epoch(tiny_base: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    setting = training(tiny_base, tmp_path, num_train_epochs=40, early_stopping_patience=1, learning_rate=1e-9)
    with caplog.at_level("INFO", "lakewright"):
        state = loop.train(network(tiny_base), setting)
    assert state.step < 40 * 8
    scores = [entry["validation_macro_f1"] for entry in state.history if "epoch" in entry]
    assert state.best == max(scores)
    told = [message for message in caplog.messages if message.startswith("epoch ")]
    assert len(told) == len(scores)
    loss = np.mean([entry["loss"] for entry in state.history[:8]])
    assert told[0].startswith(f"epoch 1, step 8 of 320: loss {loss:.4f}; validation ")
    assert f"macro_f1 {scores[0]:.4f}" in told[0]


@given(st.lists(st.integers(1, 60), min_size=1, max_size=200), st.integers(1, 16), st.integers(0, 5))
def test_an_epoch_is_every_row_once(lengths: list[int], batch_size: int, epoch: int) -> None:
    of = np.array(lengths)
    batches = epoch_batches(of, batch_size, 13, epoch)
    assert sorted(np.concatenate(batches).tolist()) == list(range(len(of)))
    assert max(map(len, batches)) <= batch_size
    again = epoch_batches(of, batch_size, 13, epoch)
    assert all(np.array_equal(a, b) for a, b in zip(batches, again, strict=True))
    for batch in batches:
        parts = list(longest_first(batch, of, 64))
        assert sorted(np.concatenate(parts).tolist()) == sorted(batch.tolist())
        assert all(len(part) == 1 or len(part) * of[part].max() <= 64 for part in parts)


def test_little_is_padded() -> None:
    lengths = np.random.default_rng(0).gamma(2.0, 8.0, 5000).astype(int) + 3
    batches = epoch_batches(lengths, 32, 13, 0)
    padded = sum(len(batch) * lengths[batch].max() for batch in batches)
    assert padded / lengths.sum() < 1.1


def test_rates_by_depth_and_freezing(tiny_base: Path) -> None:
    settings = EncoderSettings(learning_rate=1e-4, head_learning_rate=1e-3, layerwise_lr_decay=0.5, freeze_layers=2)
    optimizer = make_optimizer(model := network(tiny_base), settings)
    assert sorted({group["lr"] for group in optimizer.param_groups}) == [1e-4, 1e-3]
    frozen = {name for name, parameter in model.named_parameters() if not parameter.requires_grad}
    assert all("embeddings" in name or ".layer.0." in name for name in frozen) and len(frozen) > 10
    decayed = make_optimizer(network(tiny_base), replace_settings(settings, freeze_layers=0))
    rates = sorted({group["lr"] for group in decayed.param_groups})
    assert rates == pytest.approx([2.5e-5, 5e-5, 1e-4, 1e-3])


def replace_settings(settings: EncoderSettings, **changes: Any) -> EncoderSettings:
    return settings.model_copy(update=changes)


@pytest.mark.parametrize(("kind", "end"), [("linear", 0.0), ("cosine", 0.0), ("constant", 1.0)])
def test_schedules(kind: str, end: float) -> None:
    settings = EncoderSettings(lr_scheduler_type=kind, warmup_ratio=0.1)
    rates = [rate_at(step, 100, settings) for step in range(100)]
    assert rates[0] == pytest.approx(0.1) and rates[9] == pytest.approx(1.0) and max(rates) <= 1.0
    assert rates[-1] == pytest.approx(end, abs=0.02)


def test_training_carries_no_test_split() -> None:
    from dataclasses import fields

    assert not any("test" in each.name for each in fields(Training))
