"""The linear probe: the head that is best on the encoder as it is, by L-BFGS on the loss of the task; of a number's
squared error in closed form (ridge.py).

It is the whole of the `embedding` learner, and what the `encoder` learner's head starts from: a head that is right
already does not pull the encoder away while it learns (Kumar et al. 2022, LP-FT).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from lakewright.learning.learners import Examples, Training, merit, tuned
from lakewright.learning.learners.encoder.batches import padded
from lakewright.learning.learners.encoder.forward import as_runtime
from lakewright.learning.learners.encoder.network import EncoderNetwork
from lakewright.learning.learners.encoder.ridge import Ridge
from lakewright.learning.learners.encoder.settings import PretrainedSettings
from lakewright.learning.learners.units import digits
from lakewright.model.predictor import Predictor
from lakewright.model.runtimes import Runtime
from lakewright.model.tasks import IGNORED, Logits, Loss
from lakewright.system.progress import bar

# Of the squared weights; each fit starts from the last. Stronger ones where none of the weaker ones is better.
PENALTY, WEAKER, STRONGER = 1e-2, (1e-3, 1e-4, 1e-5), (1e-1, 1.0)
STRONGEST = (10.0, 100.0)  # of a number, too: an error of one deviation counts more than a wrong class
MOST_TOKENS = 200_000  # of a tagging task, drawn from train


@dataclass(frozen=True, eq=False)
class _Head:
    score: float  # on validation, more is better
    penalty: float
    weight: torch.Tensor
    bias: torch.Tensor
    primary: float
    logits: Logits  # of validation


@dataclass(frozen=True)
class Choice:
    """A head that is chosen by rows which it did not learn from."""

    penalty: float
    ridge: bool = False
    slope: float = 1.0  # its logits are multiplied by it: how sure they may be

    def scaled(self, head: tuple[torch.Tensor, torch.Tensor]) -> tuple[torch.Tensor, torch.Tensor]:
        return head[0] * self.slope, head[1] * self.slope


class Probe:
    """Rows that heads learn from, one head for each penalty; each fit starts from the last."""

    def __init__(
        self,
        inputs: torch.Tensor,
        targets: torch.Tensor,
        weights: torch.Tensor,
        training: Training[PretrainedSettings],
        loss: Loss,
        outputs: int,
        ridge: bool = False,
    ) -> None:
        """inputs [n, width], targets [n, numbers] (of tokens: [n]), weights [n].

        `ridge`: of classes, least squares of 0 and 1 for each class (ridge.py) in place of the loss; its logits are of
        no scale."""
        self._mean, self._scale = inputs.mean(dim=0), inputs.std(dim=0).mean().clamp(min=1e-6)
        self._inputs, self._targets, self._weights = (inputs - self._mean) / self._scale, targets, weights
        self._task, self._loss = training.task, loss
        self._weight = torch.zeros(outputs, inputs.shape[1], requires_grad=True)
        self._bias = torch.zeros(outputs, requires_grad=True)
        numbers = torch.nn.functional.one_hot(targets[:, 0], outputs) if ridge else targets
        squared = ridge or (training.unit is not None and loss.name == "l2")
        self._ridge = Ridge(self._inputs, numbers, weights) if squared else None

    def head(self, penalty: float) -> tuple[torch.Tensor, torch.Tensor]:
        """weight [outputs, width] and bias [outputs] of the least mean loss + penalty · |weight|² ÷ 2, the weight there
        that of inputs scaled to a deviation of 1."""
        if self._ridge is not None:
            least, offset = self._ridge.head(penalty)
        else:
            least, offset = self._weight, self._bias
            optimizer = torch.optim.LBFGS([least, offset], max_iter=50, line_search_fn="strong_wolfe")
            optimizer.step(lambda: self._objective(penalty, optimizer))
        with torch.no_grad():
            weight = least / self._scale
            return weight, offset - weight @ self._mean

    def _objective(self, penalty: float, optimizer: torch.optim.Optimizer) -> torch.Tensor:
        optimizer.zero_grad()
        logits, targets = self._inputs @ self._weight.T + self._bias, self._targets
        # A tagging task's loss is over the tokens of a sequence: here all of them are one.
        losses = (
            self._task.loss(logits[None], targets[None], self._loss)[0]
            if self._task.level == "token"
            else self._task.loss(logits, targets, self._loss)
        )
        mean = (losses * self._weights).sum() / self._weights.sum()
        value: torch.Tensor = mean + penalty * self._weight.square().sum() / 2
        value.backward()
        return value


def fit_head(
    network: EncoderNetwork,
    training: Training[PretrainedSettings],
    loss: Loss,
    seed: int,
    limit: int | None = None,
    reader: Runtime | None = None,
) -> tuple[dict[str, float | int | str], Logits]:
    """Sets the head's weights, with the penalty that scores best on validation. Returns both, and what it says there,
    in the truth's unit; the head's is the training's.

    `limit`: rows of train, drawn from all. `reader` computes what the head reads; None: the network, as precise as it
    trains. Not for heads that choose a place in a sequence (question_answering), nor where there is no head.
    """
    task, examples, unit = training.task, training.train, training.unit
    if limit is not None and limit < len(examples):
        examples = examples.take(np.sort(np.random.default_rng(seed).permutation(len(examples))[:limit]))
    features = features_of(network, training, examples, reader)
    rows = _stacked(features, examples, task.level == "token", seed)
    validation = features_of(network, training, training.validation, reader)
    probe = Probe(*rows, training, loss, network.head.out_features)

    def fitted(penalty: float) -> _Head:
        head = probe.head(penalty)
        logits: Logits = [values @ head[0].numpy().T + head[1].numpy() for values in validation]
        if unit is not None:
            logits = unit.outside(logits)
        _, scorer = tuned(training, logits)
        metrics = scorer.metrics(np.ones(scorer.rows))
        primary = metrics[scorer.primary]
        advance(1, f"penalty {penalty:g}  validation {scorer.primary} {digits(unit, scorer.primary, primary)}")
        # By log loss where there are probabilities: the primary metric cannot tell a sure head from a wild one.
        score = -metrics["log_loss"] if "log_loss" in metrics else merit(scorer, metrics)
        return _Head(score if unit is None else score / unit.deviation, penalty, *head, primary, logits)

    with bar("probe", None) as advance:
        best = fitted(PENALTY)
        for ways in (WEAKER, STRONGER if unit is None else STRONGER + STRONGEST):
            for penalty in ways:
                head = fitted(penalty)
                if head.score < best.score - 0.01:  # those that follow only fit train closer, or less
                    break
                best = max(best, head, key=lambda candidate: candidate.score)
            if best.penalty != PENALTY:
                break
    with torch.no_grad():
        network.head.weight.copy_(best.weight)
        network.head.bias.copy_(best.bias)
    return {"probe_validation": best.primary, "probe_penalty": best.penalty}, best.logits


def features_of(
    network: EncoderNetwork, training: Training[PretrainedSettings], examples: Examples, reader: Runtime | None
) -> list[NDArray[np.float32]]:
    """What the head reads of each row [width], or of each sequence [tokens, width]."""
    network.eval()
    runtime = reader or as_runtime(network.features, training.settings, next(network.parameters()).device)
    with bar("features", len(examples.encoded.ids)) as advance:

        def compute(inputs: Mapping[str, NDArray[Any]]) -> NDArray[Any]:
            values = runtime.compute(inputs)
            advance(len(values), "")
            return values

        counted = replace(runtime, compute=compute)
        return Predictor(training.folder, "", training.task, training.recipe, counted).logits(examples.encoded)


def _stacked(
    features: list[NDArray[np.float32]], examples: Examples, tokens: bool, seed: int
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """inputs [n, width], targets [n, numbers] (of tokens: [n]), weights [n]: n rows, or n tokens with a target."""
    if not tokens:
        targets = padded(examples.targets, np.arange(len(examples)))
        return torch.from_numpy(np.stack(features)), torch.from_numpy(targets), torch.from_numpy(examples.weights)
    places = np.flatnonzero(examples.targets.values != IGNORED)
    if len(places) > MOST_TOKENS:
        places = np.sort(np.random.default_rng(seed).choice(places, MOST_TOKENS, replace=False))
    inputs, targets = np.concatenate(features)[places], examples.targets.values[places].astype(np.int64)
    return torch.from_numpy(inputs), torch.from_numpy(targets), torch.ones(len(places))
