"""Rows through the network: their sequences computed together, what belongs to one row brought back together, and how
precise the numbers are in between."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from lakewright.encodings import network_inputs
from lakewright.runtimes import GPU_TOKENS, Runtime

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from lakewright.encodings import Encoded, Encoding
    from lakewright.learners.encoder.network import EncoderNetwork
    from lakewright.learners.encoder.settings import PretrainedSettings


def through(network: EncoderNetwork, encoding: Encoding, encoded: Encoded, rows: NDArray[np.int64]) -> torch.Tensor:
    """level "row": logits [rows, outputs], the mean over a row's windows. "vector": [rows, sequences a row, width].
    "token": [sequences, tokens, outputs] of all the rows' sequences."""
    sequences, counts = encoded.sequences(rows), encoded.counts[rows]
    inputs = network_inputs(encoding, encoded, sequences)
    device = next(network.parameters()).device
    found: torch.Tensor = network(**on_device(inputs, device))
    if network.level == "vector":
        return found.reshape(len(rows), -1, found.shape[-1])
    if network.level == "row" and encoded.rows is not None:
        windows = torch.from_numpy(counts).to(device)
        row_of = torch.repeat_interleave(torch.arange(len(rows), device=device), windows)
        summed = torch.zeros(len(rows), found.shape[1], dtype=found.dtype, device=device).index_add(0, row_of, found)
        return summed / windows[:, None].to(found.dtype)
    return found


def on_device(inputs: Mapping[str, Any], device: torch.device) -> dict[str, torch.Tensor]:
    return {name: torch.from_numpy(values).to(device) for name, values in inputs.items()}


def as_runtime(says: Callable[..., torch.Tensor], settings: PretrainedSettings, device: torch.device) -> Runtime:
    """What a network says, or a part of it, while it is not being trained: as precise as it trains."""
    autocast = mixed_precision(settings, device)

    def compute(inputs: Mapping[str, Any]) -> NDArray[Any]:
        with torch.inference_mode(), autocast:
            said: NDArray[Any] = says(**on_device(inputs, device)).float().cpu().numpy()
        return said

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
