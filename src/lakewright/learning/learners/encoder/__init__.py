"""Fine-tune a pretrained encoder of the BERT family: any checkpoint of BERT, DistilBERT, RoBERTa, MiniLM and the like.

settings   the hyperparameters           base      where the base model comes from
network    encoder and head              forward   rows through it
probe      the head that it starts from  lora      small updates in the weights' place
ridge      the same of a number
packed     the forward without padding   frozen    what frozen layers say, once
batches    which rows are together       optimizer rates, freezing, schedule
loop       the training loop             interpolation  a part of the way back
export     ONNX                          pruning   fewer neurons for int8
serving    int8 where it pays, and in which runtime
rounded    a head that learns from int8
few_rows   the choices by folds where rows are few
contrastive  pairs of rows before the head
sure       rows without a label beside few rows
"""

from __future__ import annotations

import logging
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lakewright.errors import ProjectError
from lakewright.learning.learners import Fitted, Learner, Training
from lakewright.learning.learners.encoder.settings import SMALL, EncoderSettings, PretrainedSettings
from lakewright.system.memory import keep_memory

if TYPE_CHECKING:
    import torch

    from lakewright.data.rows.kinds import Kind
    from lakewright.learning.learners.encoder.network import EncoderNetwork
    from lakewright.model.recipe.tokens import Vocabulary


LOG = logging.getLogger("lakewright")


class Encoder:
    name = "encoder"
    watched = True
    settings: type[PretrainedSettings] = EncoderSettings
    # Sentence encoders all: what they say as they are is worth a probe to start from.
    sizes: Mapping[str, Mapping[str, Any]] = {
        "small": {"base_model": SMALL},
        "base": {"base_model": "sentence-transformers/all-mpnet-base-v2"},
        "large": {"base_model": "sentence-transformers/all-roberta-large-v1"},
    }
    reads: Mapping[Kind, str] = {
        **dict.fromkeys(("text", "optional text", "words"), "tokens"),
        **dict.fromkeys(("number", "category"), "dense"),
    }
    unlabeled: Collection[str] = ("class",)
    divided = True
    truths: Collection[str] = ("class", "labels", "number", "spans", "answers", "likeness")
    losses: Mapping[str, Sequence[str]] = {"number": ("l2", "l1", "huber")}
    gaps: Mapping[str, str] = {}
    needs: tuple[Kind, ...] = ("text", "optional text")

    def recipe_depends(self, settings: PretrainedSettings, base: Path) -> dict[str, Any]:
        from lakewright.learning.learners.encoder.base import identity

        return identity(settings.base_model, base)

    def vocabulary(self, settings: PretrainedSettings, base: Path) -> Vocabulary:
        from lakewright.learning.learners.encoder.base import base_folder, vocabulary_of

        return vocabulary_of(base_folder(settings.base_model, base), settings.base_model)

    @keep_memory()
    def fit(self, training: Training[Any]) -> Fitted:
        """Of several processes (`Training.group`), all divide the steps of the loop and every validation. The rest is
        work that cannot be divided, or not for its worth: the first one does it alone, and the others wait or have
        ended. Pairs compare a whole batch and are few; a head is fitted by L-BFGS, each step of which needs the last;
        few rows are 2,000; what serves is measured with all threads. What frozen layers say is computed by one process
        of each machine, whose file the others read."""
        import torch

        from lakewright.learning.learners.encoder.contrastive import contrast
        from lakewright.learning.learners.encoder.few_rows import folds_of, why_no_folds
        from lakewright.learning.learners.encoder.forward import use_bf16
        from lakewright.learning.learners.encoder.frozen import remember
        from lakewright.learning.learners.encoder.interpolation import SHARES, interpolate
        from lakewright.learning.learners.encoder.loop import save_whole, train
        from lakewright.learning.learners.encoder.lora import add_lora, merge
        from lakewright.learning.learners.encoder.optimizer import body_rate
        from lakewright.learning.learners.encoder.probe import fit_head
        from lakewright.learning.learners.encoder.serving import leave
        from lakewright.learning.learners.units import in_deviations

        settings: EncoderSettings = training.settings
        group = training.group
        torch.set_num_threads(training.threads)
        if folds := folds_of(training):
            if group.size > 1:
                LOG.info("train: the rows are few, and one process of %d learns from them", group.size)
            return _from_few_rows(training, folds) if group.first else Fitted()
        unused = _unused(training, why_no_folds(training))
        training = replace(training, unlabeled=None)
        network = untrained(training, settings.dropout).to(training.device)
        learning = remember(network, in_deviations(training)) if group.first_here else in_deviations(training)
        group.meet()
        if not group.first_here:
            learning = remember(network, learning)
        results: dict[str, float | int | str] = {}
        probe = settings.head_start == "probe" or (
            settings.head_start == "auto" and training.task.counted != "sequences"
        )
        at_start = training.checkpoints / "start.pt"
        if group.first and not at_start.exists():
            if batches := settings.contrastive_batches(0):
                contrast(network, learning, learning.train, batches, training.checkpoints / "pairs.pt")
            if probe and training.task.level != "vector":
                loss = settings.loss_of(training.task)
                results, _ = fit_head(network, learning, loss, settings.seed, settings.head_start_rows)
            save_whole(at_start, network.state_dict())
        group.meet()
        if group.first:
            network.load_state_dict(torch.load(at_start, map_location=training.device, weights_only=True))
        add_lora(network.encoder, settings)
        state = train(network, learning)
        trained = sum(parameter.numel() for parameter in network.parameters() if parameter.requires_grad)
        merge(network.encoder)
        start = torch.load(at_start, map_location=training.device, weights_only=True) if group.first else {}
        sensible = probe or training.task.level == "vector"  # between it and the end, too
        shares = SHARES if settings.interpolate == "auto" and sensible else ()
        results |= interpolate(network, start, learning, state.best, shares)
        group.meet()  # the last that all do
        if not group.first:
            return Fitted()
        torch.set_num_threads(training.threads)
        details: dict[str, float | int | str] = {
            **results,
            **unused,
            "learning_rate": body_rate(network, settings),
            "num_train_epochs": settings.epochs(len(training.train)),
            "steps": state.step,
            "best_step": state.best_step,
            "samples_per_second": round(state.samples / max(state.seconds, 1e-9), 2),
            "parameters": sum(parameter.numel() for parameter in network.parameters()),
            "trained_parameters": trained,
            "bf16": str(use_bf16(settings, torch.device(training.device))),
        }
        if learning.unit is not None:
            learning.unit.fold_into(network.head)
        fitted = leave(network, training)
        return Fitted(state.history, details | fitted.details, fitted.validation)

    def network(self, folder: Path) -> torch.nn.Module:
        from lakewright.learning.learners.encoder.network import EncoderNetwork

        return EncoderNetwork.open(folder)


def _unused(training: Training[Any], why: str) -> dict[str, float | int | str]:
    """The details on rows without a label that nothing is learned from."""
    if training.unlabeled is None:
        return {}
    why = f"they are learned from beside few rows alone, and {why}"
    LOG.warning("rows without a label are not learned from: %s", why)
    return {"unlabeled_rows": len(training.unlabeled), "unlabeled_used": 0, "unlabeled_unused": why}


def _from_few_rows(training: Training[EncoderSettings], folds: int) -> Fitted:
    from lakewright.learning.learners.encoder.few_rows import learn, thrifty
    from lakewright.learning.learners.encoder.serving import leave

    network = untrained(training, training.settings.dropout or 0.0).to(training.device)
    learned = learn(network, thrifty(training, network), folds)
    served = leave(network, training)
    details = learned.details | served.details
    return Fitted(learned.history, details, learned.validation, learned.task)


def untrained(training: Training[PretrainedSettings], dropout: float | None) -> EncoderNetwork:
    """The base model with a random head of the task's shape; `dropout` None: as the base model has it.

    Raises ProjectError where it is of a family that cannot be pruned, and should be.
    """
    import torch

    from lakewright.learning.learners.encoder import packed
    from lakewright.learning.learners.encoder.base import base_folder, load_encoder
    from lakewright.learning.learners.encoder.network import EncoderNetwork

    settings = training.settings
    encoder = load_encoder(base_folder(settings.base_model, training.base), dropout, settings.seed)
    if settings.prune_error and not packed.is_packed(encoder):
        raise ProjectError(
            f"train.prune_error cannot prune an encoder of the family {encoder.config.model_type}",
            f"remove it, or choose a base model of {', '.join(sorted(packed.PACKED))}",
        )
    torch.manual_seed(settings.seed)
    task, columns = training.task, training.train.encoded.columns
    return EncoderNetwork(
        encoder,
        task.outputs,
        task.level,
        settings.pooling,
        float(getattr(encoder.config, "hidden_dropout_prob", 0.1)) if dropout is None else dropout,
        types=training.train.encoded.types is not None,
        columns=0 if columns is None else columns.shape[1],
        dimensions=settings.dimensions,
        exact=task.truth == "number",
    )


LEARNER: Learner = Encoder()
