"""A model from few rows: it learns from train and validation both, and folds of them make its choices.

Of a few hundred rows a validation split is a few dozen: which epoch, penalty or threshold is best there is chance, and
its rows are missing where every row counts. So the rows are cut into folds, and each is predicted by an encoder and a
head that did not learn from it. By the log loss of these predictions the head is chosen (logistic or least squares, and
the penalty), and how many batches of pairs teach the encoder first, if any (contrastive.py). The task's thresholds and
the validation metrics are theirs too. Then encoder and head learn once more, in the chosen way, from all rows: the
model.

Where there are rows without a label, the head learns also from those of whose class it is sure (sure.py), unless the
folds' log loss rises by that.

That model is measured by the test split alone; the folds measure the way it is made, from two rows in three.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from lakewright.errors import TrainingError
from lakewright.learning.blending import temperature
from lakewright.learning.examples import joined
from lakewright.learning.learners import Examples, Training
from lakewright.learning.learners.encoder import packed
from lakewright.learning.learners.encoder.batches import padded
from lakewright.learning.learners.encoder.contrastive import contrast
from lakewright.learning.learners.encoder.frozen import remember
from lakewright.learning.learners.encoder.network import EncoderNetwork
from lakewright.learning.learners.encoder.probe import Choice, Probe, features_of
from lakewright.learning.learners.encoder.settings import EncoderSettings
from lakewright.learning.learners.encoder.sure import LEAST, RIGHT, Sure, probe_beside
from lakewright.model.tasks import Logits, Loss, Task
from lakewright.model.tasks.classification import softmax
from lakewright.system.files import whole
from lakewright.system.progress import bar

FEW = 2000  # rows of train and validation
FOLDS = 3
USUAL = 5  # batches of pairs, where the rows are too few to tell
BATCHES = (USUAL, 10, 20, 40)  # one after another while the folds' log loss falls
PENALTIES = (3.0, 0.5, 0.1, 0.02, 0.004, 0.0008)  # of the squared weights, until the folds' log loss clearly rises
STRONGER = (60.0, 12.0)  # tried before them for classes: thresholds of several labels need probabilities that differ
UNSURE = 2  # standard errors: a head that is worse by less may be as good
KINDS = ("logistic", "ridge")  # heads, of which the second is for classes

LOG = logging.getLogger("lakewright")
Features = NDArray[np.float32]  # [rows, width]
SureRows = tuple[Features, NDArray[np.int64]]  # of rows without a label, and their classes [rows]


@dataclass(frozen=True, eq=False)
class Learned:
    """What the folds decided. The network holds the model."""

    task: Task  # its thresholds fitted on the rows' predictions by folds
    validation: Logits  # those of validation's rows
    history: list[dict[str, float]]  # the contrastive loss of each batch
    details: dict[str, float | int | str]


@dataclass(frozen=True, eq=False)
class _Way:
    """One way to learn, measured by folds."""

    losses: NDArray[np.float64]  # [rows], the task's × the row's weight, each of a head that did not learn from the row
    choice: Choice
    logits: NDArray[np.float32]  # [rows, outputs]

    @property
    def loss(self) -> float:
        return float(self.losses.mean())


def folds_of(training: Training[EncoderSettings]) -> int:
    """How many folds make the choices; 0: validation makes them. Raises TrainingError where pairs or folds are set and
    cannot be."""
    settings = training.settings
    no_pairs, no_folds = _no_pairs(training), _no_folds(training)
    if isinstance(settings.contrastive, int) and no_pairs:
        raise TrainingError(f"train.contrastive cannot be {settings.contrastive}: {no_pairs}", "leave it out")
    if settings.folds == "auto":
        return 0 if why_no_folds(training) else FOLDS
    if settings.folds and (why := no_pairs or no_folds):
        raise TrainingError(f"train.folds cannot be {settings.folds}: {why}", "set train.folds: 0")
    return settings.folds


def why_no_folds(training: Training[EncoderSettings]) -> str:
    """Why validation makes the choices, where train.folds is auto or 0; empty: folds do."""
    settings, rows = training.settings, len(training.train) + len(training.validation)
    if settings.folds == 0:
        return "train.folds is 0"
    if settings.num_train_epochs != "auto" or settings.head_start == "random" or settings.lora_rank:
        return "train sets num_train_epochs, lora_rank or head_start: random"
    if rows > FEW:
        return f"train and validation have {rows:,} rows, and {FEW:,} are few"
    if why := _no_pairs(training) or _no_folds(training):
        return why
    return "" if _sizes(training, FOLDS).min() > 0 else f"of {rows} rows one of {FOLDS} folds is empty"


def _no_pairs(training: Training[EncoderSettings]) -> str:
    task = training.task
    if task.truth not in ("class", "labels") or task.level != "row":
        return f"{task.name} has neither classes nor several labels of a row"
    return "" if training.train.encoded.rows is None else "a row may be several sequences (long_texts: windows)"


def _no_folds(training: Training[EncoderSettings]) -> str:
    if training.train.parts is not None and training.validation.parts is not None:
        return ""
    return "the rows have no folds: they were split by time, or made by prepare.balance: smote"


def _sizes(training: Training[EncoderSettings], folds: int) -> NDArray[np.int64]:
    """[folds] The rows of each."""
    parts = [each.parts % folds for each in (training.train, training.validation) if each.parts is not None]
    return np.bincount(np.concatenate(parts), minlength=folds)


def thrifty(training: Training[EncoderSettings], network: EncoderNetwork) -> Training[EncoderSettings]:
    """The training as few rows want it: the lower half of the encoder frozen, unless the settings say what is trained.
    What it says of each row is then the same in every fold, and computed once (frozen.py)."""
    settings = training.settings
    if settings.freeze_layers or settings.train_layers != "all" or not packed.is_packed(network.encoder):
        return training
    layers = int(network.encoder.config.num_hidden_layers)
    return replace(training, settings=settings.model_copy(update={"freeze_layers": 1 + layers // 2}))


def learn(network: EncoderNetwork, training: Training[EncoderSettings], folds: int) -> Learned:
    """Leaves the model in the network. Raises TrainingError where a fold is empty."""
    settings, rows = training.settings, joined(training.train, training.validation)
    remembered = remember(network, replace(training, train=rows))
    examples, unlabeled = remembered.train, remembered.unlabeled
    assert examples.parts is not None
    of_row = examples.parts % folds
    if _sizes(training, folds).min() == 0:
        raise TrainingError(
            f"{len(examples)} rows are too few for {folds} folds: one is empty", "set fewer train.folds, or 0"
        )
    start = {name: value.clone() for name, value in network.state_dict().items()}

    def taught(fold: int, batches: int, of: Examples, pairs: str = "pairs") -> Features:
        """The rows' features by an encoder that learned from pairs of the rows outside the fold."""
        network.load_state_dict(start)
        if batches:
            learn = examples.take(np.flatnonzero(of_row != fold))
            contrast(network, training, learn, batches, training.checkpoints / f"{pairs}_{fold}.pt")
        return _features(network, training, of)

    def by_folds(name: str, batches: int, of: Examples, pairs: str = "pairs") -> list[Features]:
        features = [
            _kept(training.checkpoints / f"{name}_{fold}_{batches}.npy", partial(taught, fold, batches, of, pairs))
            for fold in (range(folds) if batches else range(1))
        ]
        return features if batches else features * folds

    def way(batches: int) -> _Way:
        measured = _measured(training, examples, by_folds("features", batches, examples), of_row)
        kind, penalty = KINDS[measured.choice.ridge], measured.choice.penalty
        LOG.info("%d batches of pairs: log loss by folds %.4f, %s, penalty %g", batches, measured.loss, kind, penalty)
        return measured

    automatic = settings.contrastive == "auto"
    ways = {0: way(0)}
    for batches in BATCHES if automatic else filter(None, [settings.contrastive_batches(0)]):
        ways[batches] = way(batches)
        if ways[batches].loss > min(each.loss for each in ways.values()):
            break  # more of them only lead further away
    chosen = _chosen(ways) if automatic else max(ways)
    LOG.info(
        "%d rows are few: validation is learned from, too, and folds choose %d batches of pairs", len(examples), chosen
    )
    taken, beside = ways[chosen], _Beside({})
    if unlabeled is not None:
        pairs = "pairs" if chosen == max(ways) else "chosen"  # those of most batches lie in pairs_FOLD.pt
        of_unlabeled = partial(by_folds, "unlabeled", chosen, unlabeled, pairs)
        of_labelled = by_folds("features", chosen, examples)
        beside = _beside(training, examples, taken, of_labelled, len(unlabeled), of_unlabeled, of_row)
    network.load_state_dict(start)
    losses = contrast(network, training, examples, chosen, training.checkpoints / "pairs.pt") if chosen else []
    inputs = _features(network, training, examples)
    weight, bias = _head(training, examples, inputs, taken.choice)
    if beside.sure is not None and beside.way is not None and unlabeled is not None:
        more = _kept(training.checkpoints / "unlabeled.npy", partial(_features, network, training, unlabeled))
        places, classes = beside.sure.of(more @ weight.numpy().T + bias.numpy())
        if len(places):
            choice, labelled = beside.way.choice, (inputs, _targets(examples), examples.weights)
            probe, share = probe_beside(training, choice.ridge, labelled, (more[places], classes))
            weight, bias = choice.scaled(probe.head(choice.penalty * share))
            taken, beside.details["unlabeled_used"] = beside.way, len(places)
            LOG.info("%d of %d rows without a label are learned from, too", len(places), len(unlabeled))
        else:
            beside = _not_used(beside.details, "of no row the head is sure")
    with torch.no_grad():
        network.head.weight.copy_(weight)
        network.head.bias.copy_(bias)
    if training.log is not None:
        for step, loss in enumerate(losses, start=1):
            training.log.metrics({"contrastive_loss": loss}, step)
    return Learned(
        *_tuned(training, examples, taken),
        [{"step": step, "contrastive_loss": loss} for step, loss in enumerate(losses, start=1)],
        {
            "folds": folds,
            "rows_of_folds": len(examples),
            "contrastive_batches": chosen,
            **{f"log_loss_after_{batches}": round(each.loss, 5) for batches, each in ways.items()},
            "head": KINDS[taken.choice.ridge],
            "probe_penalty": taken.choice.penalty,
            **beside.details,
        },
    )


@dataclass(frozen=True, eq=False)
class _Beside:
    """What the folds say of rows without a label."""

    details: dict[str, float | int | str]
    way: _Way | None = None  # with them; None: they are not learned from
    sure: Sure | None = None


def _beside(
    training: Training[EncoderSettings],
    examples: Examples,
    way: _Way,
    features: Sequence[Features],
    rows: int,
    unlabeled: Callable[[], Sequence[Features]],
    of_row: NDArray[np.int16],
) -> _Beside:
    """The way with the `rows` without a label of whose class a head is sure. Both features [folds]: by the encoder that
    did not learn from the fold; those of `unlabeled` are computed if they are needed. Two numbers alone come from all
    folds: the slope and the threshold of `Sure`."""
    targets = _targets(examples)
    sure = Sure.by(way.logits, targets[:, 0].numpy(), examples.weights)
    details: dict[str, float | int | str] = {"unlabeled_rows": rows, "unlabeled_used": 0}
    if sure.threshold is None:
        why = f"at no confidence {RIGHT:.0%} of {LEAST} labelled rows or more are right"
        return _not_used(details, why)
    details["unlabeled_threshold"] = round(sure.threshold, 4)
    more: list[SureRows] = []
    with bar("rows without a label", len(features)) as advance:
        for fold, (inputs, others) in enumerate(zip(features, unlabeled(), strict=True)):
            learn = np.flatnonzero(of_row != fold)
            weight, bias = _head(training, examples.take(learn), inputs[learn], way.choice)
            places, classes = sure.of(others @ weight.numpy().T + bias.numpy())
            more.append((others[places], classes))
            advance(1, f"{len(places)} of {len(others)}")
    beside = _measured(training, examples, features, of_row, more)
    details["log_loss_with_unlabeled"] = round(beside.loss, 5)
    if not _no_worse(beside, way, UNSURE):
        return _not_used(details, f"with them the log loss by folds rises from {way.loss:.4f} to {beside.loss:.4f}")
    return _Beside(details, beside, sure)


def _not_used(details: Mapping[str, float | int | str], why: str) -> _Beside:
    LOG.warning("rows without a label are not learned from: %s", why)
    return _Beside({**details, "unlabeled_unused": why})


def _chosen(ways: Mapping[int, _Way]) -> int:
    """The number of batches with the least log loss, but USUAL where that is within one standard error of the least:
    which is the best of a few dozen rows is chance."""
    best = min(ways, key=lambda batches: ways[batches].loss)
    return USUAL if _no_worse(ways[USUAL], ways[best], 1) else best


def _kept(path: Path, compute: Callable[[], Features]) -> Features:
    """What a resumed run need not compute again."""
    if not path.exists():
        with whole(path, path.with_suffix(".partial")) as draft, draft.open("wb") as file:
            np.save(file, compute())
    features: Features = np.load(path)
    return features


def _features(network: EncoderNetwork, training: Training[EncoderSettings], examples: Examples) -> Features:
    return np.stack(features_of(network, training, examples, None))


def _probe(training: Training[EncoderSettings], examples: Examples, features: Features, ridge: bool = False) -> Probe:
    weights, loss = torch.from_numpy(examples.weights), training.settings.loss_of(training.task)
    inputs, targets = torch.from_numpy(features), _targets(examples)
    return Probe(inputs, targets, weights, training, loss, training.task.outputs, ridge)


def _head(
    training: Training[EncoderSettings], examples: Examples, features: Features, choice: Choice
) -> tuple[torch.Tensor, torch.Tensor]:
    return choice.scaled(_probe(training, examples, features, choice.ridge).head(choice.penalty))


def _measured(
    training: Training[EncoderSettings],
    examples: Examples,
    features: Sequence[Features],
    of_row: NDArray[np.int16],
    more: Sequence[SureRows] | None = None,
) -> _Way:
    """The best head by the log loss of rows that heads did not learn from. `features` [folds]: all rows' by the encoder
    that did not learn from the fold; `more` [folds]: rows that its heads learn from beside.

    Of classes, each head's logits are first multiplied by what makes their log loss least: a strong penalty keeps the
    direction that few rows show but makes all probabilities alike, and least squares has logits of no scale. And of the
    heads that are no worse than the best as far as the folds can tell, the one of the strongest penalty is taken, least
    squares before logistic: which is the best of a few dozen rows is chance.
    """
    usual = training.settings.loss == "auto" and training.settings.label_smoothing_factor == 0
    ridges = (True, False) if training.task.truth == "class" and usual else (False,)
    heads = [each for ridge in ridges for each in _heads(training, examples, features, of_row, ridge, more)]
    best = min(heads, key=lambda each: each.loss)
    if training.task.truth != "class":
        return best
    heads.sort(key=lambda each: -each.choice.penalty)  # stable: ridge stays before logistic
    return next(each for each in heads if _no_worse(each, best, UNSURE))


def _no_worse(way: _Way, best: _Way, errors: float) -> bool:
    """Whether its mean loss is at most so many standard errors of the difference above the best."""
    worse = way.losses - best.losses
    return bool(worse.mean() <= errors * worse.std() / np.sqrt(len(worse)))


def _heads(
    training: Training[EncoderSettings],
    examples: Examples,
    features: Sequence[Features],
    of_row: NDArray[np.int16],
    ridge: bool,
    more: Sequence[SureRows] | None,
) -> list[_Way]:
    """Of one kind, one for each penalty, the strongest first."""
    sides = [(np.flatnonzero(of_row != fold), np.flatnonzero(of_row == fold)) for fold in range(len(features))]
    probes: list[tuple[Probe, float]] = []
    for fold, (inputs, (learn, _)) in enumerate(zip(features, sides, strict=True)):
        of_fold = examples.take(learn)
        if more is None:
            probes.append((_probe(training, of_fold, inputs[learn], ridge), 1.0))
        else:
            labelled = inputs[learn], _targets(of_fold), of_fold.weights
            probes.append(probe_beside(training, ridge, labelled, more[fold]))
    classes = training.task.truth == "class"
    ways: list[_Way] = []
    for penalty in (*STRONGER, *PENALTIES) if classes else PENALTIES:
        logits = np.zeros((len(examples), training.task.outputs), np.float32)
        for (probe, share), inputs, (_, held) in zip(probes, features, sides, strict=True):
            weight, bias = (part.numpy() for part in probe.head(penalty * share))
            logits[held] = inputs[held] @ weight.T + bias
        choice = Choice(penalty, ridge)
        if classes:
            choice = replace(choice, slope=_slope(logits, _targets(examples)[:, 0].numpy(), examples.weights))
            logits *= np.float32(choice.slope)
        ways.append(_Way(_losses(training, examples, logits), choice, logits))
        if not _no_worse(ways[-1], min(ways, key=lambda way: way.loss), UNSURE):
            break  # weaker ones only fit closer to what was learned from, and take the most steps
    return ways


def _losses(
    training: Training[EncoderSettings], examples: Examples, logits: NDArray[np.float32]
) -> NDArray[np.float64]:
    loss, weights = Loss(training.task.losses[0]), examples.weights.astype(np.float64)
    each = training.task.loss(torch.from_numpy(logits), _targets(examples), loss).double().numpy()
    weighted: NDArray[np.float64] = each * weights / weights.mean()
    return weighted


def _slope(logits: NDArray[np.float32], classes: NDArray[np.int64], weights: NDArray[np.float32]) -> float:
    """What the logits [rows, classes], of any scale, are multiplied by so that their log loss is least."""
    spread = max(float(logits.std()), 1e-6)
    return temperature(softmax(logits / spread), classes, weights.astype(np.float64)) / spread


def _targets(examples: Examples) -> torch.Tensor:
    return torch.from_numpy(padded(examples.targets, np.arange(len(examples))))


def _tuned(training: Training[EncoderSettings], examples: Examples, way: _Way) -> tuple[Task, Logits]:
    logits: Logits = [*way.logits]
    task = training.task.tune(logits, examples.encoded, examples.rows, examples.truths)
    return task, logits[len(training.train) :]
