"""Runtimes compute the logits of a model folder. Each is one file, loaded through the entry points
`lakewright.runtimes`.

An entry point is a function `load(path, threads, use)` that opens a network for many rows (`throughput`) or for single
ones (`latency`). All agree to within rounding: docs/models.md states the limits, and a contract test checks them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from numpy.typing import NDArray

Use = Literal["throughput", "latency"]
GPU_TOKENS = 65_536  # padded tokens at once on a GPU
Compute = Callable[[Mapping[str, NDArray[Any]]], NDArray[Any]]


@dataclass(frozen=True)
class Runtime:
    compute: Compute
    """The recipe's named inputs → logits float32 [rows, outputs] or [rows, tokens, outputs]."""
    streams: int = 1
    """The number of parts worth computing at once, each in its own thread."""
    tokens: int = 1024
    """Padded tokens in a part: more is slower on a processor (docs/experiments.md) and costs memory."""
