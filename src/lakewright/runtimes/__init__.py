"""What computes the logits of a model folder. One file a runtime, found through the entry points `lakewright.runtimes`.

A runtime is a function from the encoding's named inputs to logits; its file has `load(path, threads, streams)`, which
opens one that may be called `streams` times at once, each with its share of the threads. All agree to within rounding:
docs/models.md states how far, and a contract test holds it.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any, Protocol

from numpy.typing import NDArray


class Runtime(Protocol):
    def __call__(self, inputs: Mapping[str, NDArray[Any]]) -> NDArray[Any]:
        """Logits float32 [rows, outputs] or [rows, tokens, outputs]."""


def cores() -> int:
    """The processor cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
