"""Pairs of rows teach the encoder before a head does: rows of like truth come near each other, others move apart.

A few rows are many pairs, so an encoder learns more from pairs than from the rows one by one (SetFit, Tunstall et al.
2022). Here a batch is compared as a whole: the supervised contrastive loss (Khosla et al. 2020) takes every pair of its
rows, and a pair of rows with several labels counts by the share of labels that they have in common (Jaccard). The
number of batches is fixed beforehand, and bounds the time: pairs grow with the square of the rows, batches do not.

As in the loop (loop.py) every draw comes from (seed, step), so a run that was killed and resumed ends with the same
weights as one that was not.
"""

from __future__ import annotations

import math
import time
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from lakewright.errors import TrainingError
from lakewright.learning.learners import Examples, Training
from lakewright.learning.learners.encoder.batches import Rows, padded
from lakewright.learning.learners.encoder.forward import inputs_of, mixed_precision
from lakewright.learning.learners.encoder.loop import is_out_of_memory, save_whole
from lakewright.learning.learners.encoder.network import EncoderNetwork
from lakewright.learning.learners.encoder.optimizer import make_optimizer
from lakewright.learning.learners.encoder.settings import EncoderSettings
from lakewright.system.progress import bar

TEMPERATURE = 0.1  # cosines are divided by it, as in the paper
WARM = 5  # batches until the rate has risen to its full value


def contrast(
    network: EncoderNetwork, training: Training[EncoderSettings], examples: Examples, batches: int, path: Path
) -> list[float]:
    """Trains the encoder in place on so many batches of the examples; returns each batch's loss. The head stays as it
    is.

    `path` is the checkpoint: what lies there is resumed from, and it stays, so that a second call goes on from a first
    one with fewer batches. The rate is constant after a warm-up: whatever comes later, the first batches are the same.
    The truths are classes or several labels, of rows of one sequence each. Raises TrainingError when training diverges.
    """
    settings, device = training.settings, torch.device(training.device)
    inputs = inputs_of(training.recipe, examples.encoded, device)
    targets = padded(examples.targets, np.arange(len(examples)))
    width = int(network.encoder.config.hidden_size)
    autocast = mixed_precision(settings, device)
    optimizer = make_optimizer(network, settings)
    base_rates = [group["lr"] for group in optimizer.param_groups]
    losses: list[float] = []
    if path.exists():
        saved = torch.load(path, map_location=device, weights_only=True)
        network.load_state_dict(saved["network"])
        optimizer.load_state_dict(saved["optimizer"])
        losses = saved["losses"]
    saved_at = time.monotonic()
    with bar("pairs of rows", batches, len(losses)) as advance:
        for step in range(len(losses), batches):
            for group, base_rate in zip(optimizer.param_groups, base_rates, strict=True):
                group["lr"] = base_rate * min(1.0, (step + 1) / WARM)
            rows = drawn(targets, settings.per_device_train_batch_size, settings.seed, step)
            torch.manual_seed(settings.seed * 1_000_003 + step)
            network.train()
            try:
                with autocast:
                    vectors = network.features(**inputs(rows))[:, :width]
                weights = torch.from_numpy(examples.weights[rows]).to(device)
                loss = contrastive_loss(vectors.float(), torch.from_numpy(alike(targets[rows])).to(device), weights)
                value = float(loss.detach())
                loss.backward()
            except RuntimeError as failure:
                if not is_out_of_memory(failure):
                    raise
                raise TrainingError(
                    f"memory ran out in batch {step + 1} of pairs, which compares {len(rows)} rows with each other",
                    "lower train.per_device_train_batch_size or prepare.recipe.tokens.max_length, or freeze layers",
                ) from None
            if not math.isfinite(value):
                raise TrainingError(
                    f"the contrastive loss became {value}: training diverged",
                    f"lower train.learning_rate (now {settings.learning_rate}), or set train.contrastive: never",
                )
            torch.nn.utils.clip_grad_norm_(network.parameters(), settings.max_grad_norm)
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
            losses.append(value)
            advance(1, f"loss {value:.3f}")
            if time.monotonic() - saved_at > settings.save_seconds or step + 1 == batches:
                saved = {"network": network.state_dict(), "optimizer": optimizer.state_dict(), "losses": losses}
                save_whole(path, saved)
                saved_at = time.monotonic()
    return losses


def drawn(targets: NDArray[np.int64], size: int, seed: int, step: int) -> Rows:
    """The rows of one batch: at most `size`, or 4. Of classes (targets [rows, 1]) as many of each class as of every
    other, and two at least where a class has them: rows drawn from all would seldom meet their like."""
    random = np.random.default_rng([seed, step])
    if targets.shape[1] > 1:
        return np.sort(random.permutation(len(targets))[:size])
    classes = random.permutation(np.unique(targets))
    classes = classes[: max(2, size // 2)]
    each = max(2, size // len(classes))
    rows = [random.permutation(np.flatnonzero(targets[:, 0] == one))[:each] for one in classes]
    return np.sort(np.concatenate(rows))


def alike(targets: NDArray[np.int64]) -> NDArray[np.float32]:
    """[rows, rows] How alike the truths of two rows are, 0 to 1: of classes (targets [rows, 1]) whether they are the
    same; of several labels (0 and 1, [rows, labels]) the share of labels in common, 1 for two rows without any."""
    if targets.shape[1] == 1:
        same: NDArray[np.float32] = (targets == targets.T).astype(np.float32)
        return same
    hot = targets.astype(np.float32)
    both = hot @ hot.T
    either = hot.sum(axis=1)[:, None] + hot.sum(axis=1) - both
    share: NDArray[np.float32] = np.where(either > 0, both / np.maximum(either, 1), 1).astype(np.float32)
    return share


def contrastive_loss(vectors: torch.Tensor, alike: torch.Tensor, weights: torch.Tensor) -> torch.Tensor:
    """The weighted mean over rows of −log p(another row of like truth), where p is the softmax of the row's cosines to
    all others ÷ TEMPERATURE (Khosla et al. 2020, their L_out). Rows that are like no other count in the others' alone.

    vectors [rows, width], alike [rows, rows] in 0 … 1, weights [rows].
    """
    vectors = torch.nn.functional.normalize(vectors, dim=1)
    itself = torch.eye(len(vectors), dtype=torch.bool, device=vectors.device)
    cosines = (vectors @ vectors.T / TEMPERATURE).masked_fill(itself, -torch.inf)
    log_p = torch.log_softmax(cosines, dim=1).masked_fill(itself, 0.0)
    alike = alike.masked_fill(itself, 0.0)
    total = alike.sum(dim=1)
    each = -(log_p * alike).sum(dim=1) / total.clamp(min=1e-6)
    weights = weights * (total > 0)
    return (each * weights).sum() / weights.sum().clamp(min=1e-6)
