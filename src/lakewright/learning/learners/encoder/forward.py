"""Rows through the network: their sequences computed together, what belongs to one row brought back together, and how
precise the numbers are in between."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from lakewright.model.recipe.tokens import Tokens
from lakewright.model.runtimes import GPU_TOKENS, Runtime

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from lakewright.learning.learners.encoder.network import EncoderNetwork
    from lakewright.learning.learners.encoder.settings import PretrainedSettings
    from lakewright.model.recipe import Recipe
    from lakewright.model.recipe.encoded import Encoded


InputsOf = Callable[["NDArray[np.int64]"], dict[str, torch.Tensor]]  # sequences → the network's inputs, on its device
SPARED = 0.5  # of a GPU's free memory is left to the network


def through(network: EncoderNetwork, inputs_of: InputsOf, encoded: Encoded, rows: NDArray[np.int64]) -> torch.Tensor:
    """level "row": logits [rows, outputs], the mean over a row's windows. "vector": [rows, sequences a row, width].
    "token": [sequences, tokens, outputs] of all the rows' sequences."""
    sequences, counts = encoded.sequences(rows), encoded.counts[rows]
    device = next(network.parameters()).device
    outputs: torch.Tensor = network(**inputs_of(sequences))
    if network.level == "vector":
        return outputs.reshape(len(rows), -1, outputs.shape[-1])
    if network.level == "row" and encoded.rows is not None:
        windows = torch.from_numpy(counts).to(device)
        row_of = torch.repeat_interleave(torch.arange(len(rows), device=device), windows)
        summed = torch.zeros(len(rows), outputs.shape[1], dtype=outputs.dtype, device=device).index_add(
            0, row_of, outputs
        )
        return summed / windows[:, None].to(outputs.dtype)
    return outputs


def inputs_of(recipe: Recipe, encoded: Encoded, device: torch.device) -> InputsOf:
    """On a GPU word pieces are kept there for all epochs, where they leave it half of its memory: a batch is then put
    together there, and all that a step has to send are the numbers of its sequences."""
    tokens = next((step for step in recipe.steps if isinstance(step, Tokens)), None)
    if device.type == "cuda" and tokens is not None and encoded.hidden is None:
        bytes_a_piece = 4 if encoded.types is None else 8
        if len(encoded.ids.values) * bytes_a_piece < (1 - SPARED) * torch.cuda.mem_get_info(device)[0]:
            return resident(tokens, encoded, device)
    return lambda sequences: on_device(recipe.batch(encoded, sequences), device)


def resident(tokens: Tokens, encoded: Encoded, device: torch.device) -> InputsOf:
    """The same as `Recipe.batch`, from values that are on the device already."""
    ragged = {"input_ids": (encoded.ids, tokens.pad_id)}
    if encoded.types is not None:
        ragged["token_type_ids"] = encoded.types, 0
    tensors = {name: (torch.from_numpy(of.values).to(device), fill) for name, (of, fill) in ragged.items()}
    lengths = encoded.ids.lengths
    starts = torch.from_numpy(encoded.ids.offsets[:-1]).to(device)
    sizes = torch.from_numpy(lengths).to(device)
    rows = None if encoded.rows is None else np.repeat(np.arange(len(encoded)), encoded.counts)
    columns = None if encoded.columns is None else torch.from_numpy(encoded.columns).to(device)

    def inputs(sequences: NDArray[np.int64]) -> dict[str, torch.Tensor]:
        chosen = torch.from_numpy(sequences).to(device, non_blocking=True)
        # The width is known here: asking the device for it would wait until it had computed all before.
        place = torch.arange(max(1, int(lengths[sequences].max(initial=0))), device=device)
        real = place < sizes[chosen, None]
        at = torch.where(real, starts[chosen, None] + place, 0)
        batch = {name: torch.where(real, values[at].long(), fill) for name, (values, fill) in tensors.items()}
        batch["attention_mask"] = real.long()
        if columns is not None:
            row_of = chosen if rows is None else torch.from_numpy(rows[sequences]).to(device)
            batch["columns"] = columns[row_of]
        return batch

    return inputs


def on_device(inputs: Mapping[str, Any], device: torch.device) -> dict[str, torch.Tensor]:
    return {name: torch.from_numpy(values).to(device) for name, values in inputs.items()}


def as_runtime(function: Callable[..., torch.Tensor], settings: PretrainedSettings, device: torch.device) -> Runtime:
    """What a network says, or a part of it, while it is not being trained: as precise as it trains."""
    autocast = mixed_precision(settings, device)

    def compute(inputs: Mapping[str, Any]) -> NDArray[Any]:
        with torch.inference_mode(), autocast:
            outputs: NDArray[Any] = function(**on_device(inputs, device)).float().cpu().numpy()
        return outputs

    return Runtime(compute) if device.type == "cpu" else Runtime(compute, tokens=GPU_TOKENS)


def mixed_precision(settings: PretrainedSettings, device: torch.device) -> torch.autocast:
    return torch.autocast(device.type, dtype=torch.bfloat16, enabled=use_bf16(settings, device))


def use_bf16(settings: PretrainedSettings, device: torch.device) -> bool:
    if settings.bf16 != "auto":
        return bool(settings.bf16)
    if device.type == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    flags = Path("/proc/cpuinfo")
    return flags.exists() and ("avx512_bf16" in (text := flags.read_text()) or "amx_bf16" in text)
