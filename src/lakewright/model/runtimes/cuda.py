"""torch on an NVIDIA GPU in bf16, attention without padding: for many rows, if there is such a GPU."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from lakewright.errors import UsageError
from lakewright.model.runtimes import GPU_TOKENS, Runtime, Use
from lakewright.model.runtimes.torch import network_of


def load(path: Path, threads: int = 1, use: Use = "latency") -> Runtime:
    """The network of the model folder `path`. Raises UsageError if torch finds no GPU."""
    import torch

    if not torch.cuda.is_available():
        raise UsageError(
            "the runtime cuda needs an NVIDIA GPU, and torch finds none",
            "name another one (--runtime auto, onnx, openvino or torch), or install torch for CUDA and its driver",
        )
    torch.set_num_threads(threads)
    network = network_of(path).to("cuda").eval()

    def compute(inputs: Mapping[str, NDArray[Any]]) -> NDArray[Any]:
        with torch.inference_mode(), torch.autocast("cuda", torch.bfloat16):
            tensors = {name: torch.from_numpy(values).to("cuda") for name, values in inputs.items()}
            logits: NDArray[Any] = network(**tensors).float().cpu().numpy()
        return logits

    return Runtime(compute, tokens=GPU_TOKENS)
