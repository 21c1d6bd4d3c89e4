"""What layers that never change say of every row, computed once for all epochs.

With the embeddings and the lower layers frozen, and no dropout in them, each epoch would compute the same numbers
again. They are kept in a file as wide as the network and as long as all tokens, mapped into memory.
"""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from lakewright.learning.learners import Examples, Training
from lakewright.learning.learners.encoder import packed, shared_layers
from lakewright.learning.learners.encoder.forward import mixed_precision, on_device, use_bf16
from lakewright.learning.learners.encoder.network import EncoderNetwork
from lakewright.learning.learners.encoder.optimizer import lowest_trained
from lakewright.learning.learners.encoder.settings import EncoderSettings
from lakewright.model.recipe.encoded import Encoded
from lakewright.model.recipe.ragged import longest_first
from lakewright.system.files import whole
from lakewright.system.progress import bar

TOKENS = 4096  # computed at once
DISK = 0.5  # of what is free may be taken


def remember(network: EncoderNetwork, training: Training[EncoderSettings]) -> Training[EncoderSettings]:
    """The training with what its frozen layers say of all its rows; the network then begins above them.

    Unchanged where that would not be the same (dropout below, LoRA), would not pay (no layer is frozen, but perhaps the
    embeddings), or would not fit on the disk.
    """
    settings = training.settings
    frozen = lowest_trained(network, settings)
    layers = int(network.encoder.config.num_hidden_layers)
    parts = {"train": training.train, "validation": training.validation}
    if training.unlabeled is not None:
        parts["unlabeled"] = training.unlabeled
    tokens = sum(len(examples.encoded.ids.values) for examples in parts.values())
    size = 4 * tokens * int(network.encoder.config.hidden_size)
    exact = packed.is_packed(network.encoder) and not settings.lora_rank and _without_dropout(network)
    if not exact or not 2 <= frozen <= layers + 1 or size > DISK * shutil.disk_usage(training.checkpoints).free:
        return training
    network.frozen = frozen
    with bar("frozen layers", tokens) as advance:
        remembered = {
            name: _remembered(network, training, examples, _place(network, training, name, examples), advance)
            for name, examples in parts.items()
        }
    return replace(
        training,
        train=remembered["train"],
        validation=remembered["validation"],
        unlabeled=remembered.get("unlabeled"),
    )


def _place(network: EncoderNetwork, training: Training[EncoderSettings], name: str, examples: Examples) -> Path:
    """In the folder that trainings share, if there is one; else with this training's checkpoints."""
    own = training.checkpoints / f"frozen-{name}.f32"
    if training.shared is None or own.exists():
        return own
    device = next(network.parameters()).device
    precision = "bf16" if use_bf16(training.settings, device) else "fp32"
    file = shared_layers.name_of(network.encoder, examples.encoded, network.frozen, device.type, precision)
    size = 4 * len(examples.encoded.ids.values) * int(network.encoder.config.hidden_size)
    return shared_layers.place_in(training.shared, file, size) or own


def _without_dropout(network: EncoderNetwork) -> bool:
    config = network.encoder.config
    names = ("hidden_dropout_prob", "attention_probs_dropout_prob", "dropout", "attention_dropout")
    return all(getattr(config, name, 0.0) == 0.0 for name in names)


def _remembered(
    network: EncoderNetwork, training: Training[EncoderSettings], examples: Examples, path: Path, advance: Any
) -> Examples:
    encoded = examples.encoded
    shape = (len(encoded.ids.values), int(network.encoder.config.hidden_size))
    if not path.exists():  # a resumed run has it
        with whole(path, path.with_suffix(".partial") if path.parent == training.checkpoints else None) as draft:
            _write(network, training, encoded, np.memmap(draft, np.float32, "w+", shape=shape), advance)
    return replace(examples, encoded=replace(encoded, hidden=np.memmap(path, np.float32, "r", shape=shape)))


def _write(
    network: EncoderNetwork, training: Training[EncoderSettings], encoded: Encoded, into: Any, advance: Any
) -> None:
    device = next(network.parameters()).device
    autocast = mixed_precision(training.settings, device)
    offsets, lengths = encoded.ids.offsets, encoded.ids.lengths
    network.eval()
    for sequences in longest_first(np.arange(len(lengths)), lengths, TOKENS):
        inputs: Mapping[str, torch.Tensor] = on_device(training.recipe.batch(encoded, sequences), device)
        with torch.inference_mode(), autocast:
            hidden = packed.lowest(
                network.encoder,
                inputs["input_ids"],
                inputs["attention_mask"],
                inputs.get("token_type_ids"),
                network.frozen,
            )
        ends = np.cumsum(lengths[sequences])
        values = hidden.float().cpu().numpy()
        for sequence, end in zip(sequences, ends, strict=True):
            into[offsets[sequence] : offsets[sequence + 1]] = values[end - lengths[sequence] : end]
        advance(int(ends[-1]), "")
    into.flush()
