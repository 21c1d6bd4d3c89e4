"""torch in fp32 on the CPU: the reference for the other runtimes."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from numpy.typing import NDArray

from lakewright import plugins
from lakewright.errors import UsageError
from lakewright.model.folder import MODEL, describe
from lakewright.model.runtimes import Runtime, Use

if TYPE_CHECKING:
    import torch


def network_of(path: Path) -> torch.nn.Module:
    """The network of the model folder. Raises UsageError if its learner has none in torch."""
    learner = plugins.LEARNERS.named_in(path / MODEL, describe(path)["learner"])
    if not hasattr(learner, "network"):
        raise UsageError(
            f"the learner {learner.name} has no network in torch", "name another runtime, such as onnx or auto"
        )
    network: torch.nn.Module = learner.network(path)
    return network


def load(path: Path, threads: int = 1, use: Use = "latency") -> Runtime:
    """The network of the model folder `path`."""
    import torch

    network = network_of(path).eval()
    torch.set_num_threads(threads)

    def compute(inputs: Mapping[str, NDArray[Any]]) -> NDArray[Any]:
        with torch.inference_mode():
            tensors = {name: torch.from_numpy(values) for name, values in inputs.items()}
            logits: NDArray[Any] = network(**tensors).numpy()
        return logits

    return Runtime(compute)
