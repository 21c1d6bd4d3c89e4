"""Rows through the network: their sequences computed together, and what belongs to one row brought back together."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from lakewright.encodings import network_inputs

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from lakewright.encodings import Encoded, Encoding
    from lakewright.learners.encoder.network import EncoderNetwork


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
