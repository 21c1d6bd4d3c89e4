"""The training loop, top to bottom: steps, schedule, validation, early stopping, checkpoints, exact resume.

Every random draw of a step comes from (seed, step) and every epoch's batches from (seed, epoch), so a run that was
killed and resumed from a checkpoint ends with the same weights as one that was not.

Several processes (`Training.group`) divide each batch and add up their gradients. The first one reads and writes the
checkpoints; what ends the training or changes it, every process learns from the first.
"""

from __future__ import annotations

import logging
import math
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from lakewright.errors import ProjectError, TrainingError
from lakewright.learning.learners import Training, merit, tuned
from lakewright.learning.learners.encoder import packed
from lakewright.learning.learners.encoder.batches import Rows, epoch_batches, padded
from lakewright.learning.learners.encoder.forward import (
    InputsOf,
    as_runtime,
    inputs_of,
    mixed_precision,
    through,
    use_bf16,
)
from lakewright.learning.learners.encoder.network import EncoderNetwork
from lakewright.learning.learners.encoder.optimizer import make_optimizer, rate_at
from lakewright.learning.learners.encoder.settings import EncoderSettings
from lakewright.learning.learners.units import digits
from lakewright.model.predictor import Predictor
from lakewright.model.recipe.ragged import longest_first
from lakewright.model.runtimes import GPU_TOKENS
from lakewright.model.tasks import IGNORED, Logits
from lakewright.system.files import whole
from lakewright.system.progress import bar

LOG = logging.getLogger("lakewright")


@dataclass
class State:
    """Where a run stands, beside the weights and the optimizer's moments."""

    step: int = 0
    best: float = -math.inf  # by `merit`: more is better
    best_step: int = 0
    epochs_without_better: int = 0
    max_tokens: int = 0  # shrinks when memory runs out
    samples: int = 0  # rows trained on so far, and the seconds that their steps took
    seconds: float = 0.0
    history: list[dict[str, float]] = field(default_factory=list)


@dataclass(frozen=True)
class Validated:
    """What the network scores on validation."""

    scores: dict[str, float]
    primary: str
    score: float  # of the primary one, by `merit`: more is better
    undefined: str  # why there is none, where it is not a number


def train(network: EncoderNetwork, training: Training[EncoderSettings]) -> State:
    """Trains in place and leaves the weights that were best on validation. Raises TrainingError when it diverges."""
    settings, group = training.settings, training.group
    device = torch.device(training.device)
    torch.set_num_threads(group.threads(training.threads))
    network.to(device)
    if settings.gradient_checkpointing:
        network.encoder.activation_checkpointing_enable()
    if settings.torch_compile:
        if not packed.is_packed(network.encoder):
            raise ProjectError(
                f"train.torch_compile cannot compile an encoder of the family {network.encoder.config.model_type}",
                f"remove it, or choose a base model of {', '.join(sorted(packed.PACKED))}",
            )
        network.through = torch.compile(packed.through_layer, dynamic=True)
    autocast = mixed_precision(settings, device)
    if use_bf16(settings, device) and device.type == "cpu":
        # The fused attention's backward is slow there (docs/experiments.md).
        network.encoder.set_attn_implementation("eager")
    optimizer = make_optimizer(network, settings)
    base_rates = [parameters["lr"] for parameters in optimizer.param_groups]
    limit = settings.max_tokens_per_batch
    state = State(max_tokens=limit if limit != "auto" else 2048 if device.type == "cpu" else GPU_TOKENS)
    _resume(training, network, optimizer, state)

    lengths = training.train.encoded.lengths
    inputs = inputs_of(training.recipe, training.train.encoded, device)
    # A loss that compares the rows of a batch has to meet all kinds of rows there, not those of one length alone.
    alike = np.zeros_like(lengths) if training.task.level == "vector" else lengths
    batches_an_epoch = math.ceil(len(training.train) / settings.per_device_train_batch_size)
    steps_an_epoch = math.ceil(batches_an_epoch / settings.gradient_accumulation_steps)
    total_steps = max(1, math.ceil(settings.epochs(len(training.train)) * steps_an_epoch))
    saved_at = time.monotonic()
    stopped = _out_of_patience(state, settings)

    with bar("train", total_steps, state.step) as advance:
        while state.step < total_steps and not stopped:
            epoch, first = divmod(state.step, steps_an_epoch)
            batches = epoch_batches(alike, settings.per_device_train_batch_size, settings.seed, epoch)
            per_step = settings.gradient_accumulation_steps
            steps = [batches[i : i + per_step] for i in range(0, len(batches), per_step)]
            for step_batches in steps[first : total_steps - epoch * steps_an_epoch]:
                began = time.monotonic()
                for parameters, base_rate in zip(optimizer.param_groups, base_rates, strict=True):
                    parameters["lr"] = base_rate * rate_at(state.step, total_steps, settings)
                torch.manual_seed(group.seed(settings.seed * 1_000_003 + state.step))
                network.train()
                own_loss = _backward_within_memory(network, training, inputs, step_batches, state, autocast)
                loss = group.add_gradients(network.parameters(), own_loss)
                if not math.isfinite(loss):
                    raise TrainingError(
                        f"the loss became {loss}: training diverged",
                        f"lower train.learning_rate (now {settings.learning_rate}), or raise train.warmup_ratio",
                    )
                torch.nn.utils.clip_grad_norm_(network.parameters(), settings.max_grad_norm)
                optimizer.step()
                optimizer.zero_grad(set_to_none=True)
                state.step += 1

                seconds = time.monotonic() - began
                rows = np.concatenate(step_batches)
                samples, tokens = len(rows) / seconds, int(lengths[rows].sum()) / seconds
                state.samples, state.seconds = state.samples + len(rows), state.seconds + seconds
                state.history.append({"step": state.step, "loss": loss})
                if training.log is not None:
                    rate = optimizer.param_groups[0]["lr"]
                    speed = {"samples_per_second": samples, "tokens_per_second": tokens}
                    training.log.metrics({"loss": loss, "learning_rate": rate, **speed}, state.step)
                advance(1, f"{samples:.0f} samples/s  {tokens:.0f} tokens/s  loss {loss:.3f}")
                # Not at an epoch's last step: a run resumed from there would pass over the epoch's validation.
                between = state.step % steps_an_epoch != 0 and state.step < total_steps
                if group.first and between and time.monotonic() - saved_at > settings.save_seconds:
                    _save(training.checkpoints, network, optimizer, state)
                    saved_at = time.monotonic()

            validated = validate(network, training)
            scores, score = validated.scores, validated.score
            at_epoch = {"step": state.step, "epoch": state.step / steps_an_epoch}
            state.history.append({**at_epoch, **{f"validation_{name}": value for name, value in scores.items()}})
            losses = [
                entry["loss"] for entry in state.history if entry["step"] > epoch * steps_an_epoch and "loss" in entry
            ]
            LOG.info(
                "epoch %.3g, step %d of %d: loss %.4f; validation %s",
                at_epoch["epoch"],
                state.step,
                total_steps,
                np.mean(losses),
                ", ".join(f"{name} {digits(training.unit, name, value)}" for name, value in scores.items()),
            )
            if training.log is not None:
                training.log.metrics({f"validation_{name}": value for name, value in scores.items()}, state.step)
            if math.isnan(score):
                LOG.warning("%s is not defined on validation: %s", validated.primary, validated.undefined)
            if score > state.best or not state.best_step:  # the first is kept whatever it scores
                state.best = state.best if math.isnan(score) else score
                state.best_step, state.epochs_without_better = state.step, 0
                if group.first:
                    save_whole(training.checkpoints / "best.pt", network.state_dict())
            else:
                state.epochs_without_better += 1
            if group.first:
                _save(training.checkpoints, network, optimizer, state)
            saved_at = time.monotonic()
            stopped = _out_of_patience(state, settings)
            if training.watch is not None and not math.isnan(score):
                training.watch(at_epoch["epoch"], score)

    if group.first:
        best = torch.load(training.checkpoints / "best.pt", map_location=device, weights_only=True)
        network.load_state_dict(best)
    group.same(network.state_dict().values())
    return state


def _backward_within_memory(
    network: EncoderNetwork,
    training: Training[EncoderSettings],
    inputs: InputsOf,
    batches: list[Rows],
    state: State,
    autocast: torch.autocast,
) -> float:
    """One step's gradients. Out of memory: the same rows again in parts half as large, so the step stays the same."""
    while True:
        try:
            return _backward(network, training, inputs, batches, state.max_tokens, autocast)
        except RuntimeError as failure:
            if not is_out_of_memory(failure):
                raise
            longest = max(int(training.train.encoded.lengths[rows].max()) for rows in batches)
            whole = training.task.level == "vector"  # its loss compares the rows of a batch with each other
            if whole or state.max_tokens <= longest:
                raise TrainingError(
                    f"memory ran out at step {state.step} with "
                    + ("a whole batch" if whole else f"one row of {longest} tokens at a time"),
                    "lower prepare.recipe.tokens.max_length, set train.gradient_checkpointing: true, or freeze layers"
                    + (", or lower train.per_device_train_batch_size" if whole else ""),
                ) from None
        # Outside the except: the failed graph is held by the exception until here.
        network.zero_grad(set_to_none=True)
        if training.device != "cpu":
            torch.cuda.empty_cache()
        state.max_tokens = max(1, state.max_tokens // 2)


def is_out_of_memory(failure: RuntimeError) -> bool:
    text = str(failure)
    return isinstance(failure, torch.OutOfMemoryError) or "can't allocate memory" in text or "not enough memory" in text


def _backward(
    network: EncoderNetwork,
    training: Training[EncoderSettings],
    inputs: InputsOf,
    batches: list[Rows],
    max_tokens: int,
    autocast: torch.autocast,
) -> float:
    """Adds one step's gradients and returns its loss: the weighted mean over all targets of all its batches. Of several
    processes, each its rows' part of both."""
    examples, task, device, group = training.train, training.task, torch.device(training.device), training.group
    encoded, options = examples.encoded, training.settings.loss_of(task)
    rows = np.concatenate(batches)
    total = float((examples.weights[rows] * _units(training, rows)).sum()) or 1.0
    compares = task.level == "vector"  # the rows of a batch with each other: every process has the loss of all of them
    loss = 0.0
    for batch in batches:
        shares = group.shares(batch, encoded.lengths)
        if compares and len(batch) < group.size:  # an epoch's last rows
            shares = [batch] if group.first else []
        own = shares[group.rank] if shares else batch[:0]
        for part in filter(len, [own] if compares else longest_first(own, encoded.lengths, max_tokens)):
            with autocast:
                logits = through(network, inputs, encoded, part)
            if compares:
                logits, part = group.whole(logits, shares), np.concatenate(shares)
            beside = encoded.sequences(part) if len(examples.targets) == len(encoded.ids) else part
            targets = torch.from_numpy(padded(examples.targets, beside)).to(device)
            losses = task.loss(logits, targets, options)
            counts = encoded.counts[part] if len(losses) != len(part) else 1
            weights = torch.from_numpy(np.repeat(examples.weights[part], counts)).to(device)
            part_loss = (losses.reshape(len(losses), -1).sum(dim=1) * weights).sum() / total
            part_loss.backward()
            if group.first or not compares:
                loss += float(part_loss.detach())
    return loss


def _units(training: Training[EncoderSettings], rows: Rows) -> NDArray[np.int64]:
    """How many losses each of these rows has, [rows]: what a step's loss is the mean over."""
    examples = training.train
    if training.task.counted == "rows":
        return np.ones(len(rows), dtype=np.int64)
    counts = examples.encoded.counts[rows]
    if training.task.counted == "sequences":
        return counts
    targets = examples.targets.take(examples.encoded.sequences(rows))
    starts = targets.offsets[np.cumsum(counts) - counts]
    return np.add.reduceat(targets.values != IGNORED, starts)


def validate(network: EncoderNetwork, training: Training[EncoderSettings]) -> Validated:
    """What the tuned task scores on validation, from the network as it stands and as precise as it trains; in the
    truth's unit. Several processes divide the rows."""
    network.eval()
    group, encoded = training.group, training.validation.encoded
    runtime = as_runtime(network, training.settings, torch.device(training.device))
    predictor = Predictor(training.folder, "", training.task, training.recipe, runtime)
    if group.size == 1:
        return _validated(training, predictor.logits(encoded))
    shares = group.shares(np.arange(len(encoded)), encoded.lengths)
    computed = group.to_first(predictor.logits(encoded.take(shares[group.rank])) if len(shares[group.rank]) else [])

    def scored() -> Validated:
        order = np.concatenate(shares)
        if training.task.level != "row":  # logits are those of sequences
            order = encoded.sequences(order)
        values = [value for logits in computed for value in logits]
        return _validated(training, [values[place] for place in np.argsort(order)])

    return group.from_first(scored)


def _validated(training: Training[EncoderSettings], logits: Logits) -> Validated:
    scorer = tuned(training, logits if training.unit is None else training.unit.outside(logits))[1]
    scores, primary = scorer.metrics(np.ones(scorer.rows)), scorer.primary
    score = merit(scorer, scores)
    return Validated(scores, primary, score, scorer.undefined(primary) if math.isnan(score) else "")


def _out_of_patience(state: State, settings: EncoderSettings) -> bool:
    patience = settings.early_stopping_patience
    return patience is not None and state.epochs_without_better >= patience


def _resume(
    training: Training[EncoderSettings], network: EncoderNetwork, optimizer: torch.optim.Optimizer, state: State
) -> None:
    """From the first process's checkpoint, which alone has to have one. Without one, all begin with its weights."""
    path = training.checkpoints / "checkpoint.pt"
    device = training.device if training.group.size == 1 else "cpu"  # what is sent names the sender's GPU

    def read() -> dict[str, Any] | None:
        return torch.load(path, map_location=device, weights_only=True) if path.exists() else None

    saved = training.group.from_first(read)
    if saved is None:
        training.group.same(network.state_dict().values())
        return
    network.load_state_dict(saved["network"])
    optimizer.load_state_dict(saved["optimizer"])
    for name, value in saved["state"].items():
        setattr(state, name, value)


def _save(folder: Path, network: EncoderNetwork, optimizer: torch.optim.Optimizer, state: State) -> None:
    saved = {"network": network.state_dict(), "optimizer": optimizer.state_dict(), "state": dict(vars(state))}
    save_whole(folder / "checkpoint.pt", saved)


def save_whole(path: Path, saved: object) -> None:
    """A kill in the middle leaves the file before."""
    with whole(path, path.with_suffix(".partial")) as draft, draft.open("wb") as file:
        torch.save(saved, file)
