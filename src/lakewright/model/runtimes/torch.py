"""torch in fp32 on the CPU: the reference that the other runtimes are held against."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from lakewright import plugins
from lakewright.model.folder import MODEL, describe
from lakewright.model.runtimes import Runtime, Use


def load(path: Path, threads: int = 1, use: Use = "latency") -> Runtime:
    """The network of the model folder `path`."""
    import torch

    learner = plugins.LEARNERS.named_in(path / MODEL, describe(path)["learner"])
    network = learner.network(path).eval()
    torch.set_num_threads(threads)

    def compute(inputs: Mapping[str, NDArray[Any]]) -> NDArray[Any]:
        with torch.inference_mode():
            tensors = {name: torch.from_numpy(values) for name, values in inputs.items()}
            logits: NDArray[Any] = network(**tensors).numpy()
        return logits

    return Runtime(compute)
