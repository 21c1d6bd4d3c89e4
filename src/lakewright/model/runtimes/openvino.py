"""OpenVINO on the CPU: int8 with calibrated activations if the model folder has such a network, else model.onnx.

Needs the `openvino` extra, and neither torch nor transformers.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Mapping
from pathlib import Path
from queue import SimpleQueue
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lakewright.errors import MissingPackage, UsageError
from lakewright.model.folder import ONNX, holds, most_tokens
from lakewright.model.runtimes import Runtime, Use

PART = 1024  # padded tokens at once
NETWORK = "openvino.xml"  # its weights in openvino.bin


def load(path: Path, threads: int = 1, use: Use = "latency") -> Runtime:
    """The network in `path`, a model folder or a file in ONNX or OpenVINO format.

    Raises MissingPackage if OpenVINO is not installed, UsageError for a network with an operator that it does not know,
    such as an ensemble of trees.
    """
    openvino = without_telemetry()
    streams = threads if use == "throughput" else 1
    file = path
    if path.is_dir():
        file = path / (NETWORK if holds(path, NETWORK) else ONNX)
    settings: dict[str, Any] = {
        "INFERENCE_NUM_THREADS": threads,
        "NUM_STREAMS": streams,
        # The default is bf16 if the processor has it, also between products in int8: then a row's logits vary with the
        # padding of its batch by as much as their own size (docs/experiments.md).
        "INFERENCE_PRECISION_HINT": "f32",
    }
    try:
        network = openvino.Core().compile_model(str(file), "CPU", settings)
    except RuntimeError as failure:
        unknown = re.search(r"No conversion rule found for operations: (\S+)", str(failure))
        if unknown is None:
            raise
        raise UsageError(f"OpenVINO cannot compute {unknown[1]}, which {file} has", "choose the runtime onnx") from None
    # Its bindings set up NumPy support at the first array. Two threads that do so at once deadlock: one waits for
    # Python's lock, and the other, which holds it, for the first.
    openvino.Tensor(np.zeros(1, np.float32)).data.sum()
    idle: SimpleQueue[Any] = SimpleQueue()  # a request can compute only one part at a time
    for _ in range(streams):
        idle.put(network.create_infer_request())

    longest = most_tokens(path)

    def compute(inputs: Mapping[str, NDArray[Any]]) -> NDArray[Any]:
        padded = fitted(inputs, longest)
        request = idle.get()
        try:
            logits: NDArray[Any] = request.infer(padded)[0][: _rows(inputs)].copy()  # the request reuses its memory
        finally:
            idle.put(request)
        return logits

    return Runtime(compute, streams, PART)


def fitted(inputs: Mapping[str, NDArray[Any]], longest: int) -> dict[str, NDArray[Any]]:
    """The inputs padded to one of few shapes, with masked rows and tokens; never more than `longest` tokens. OpenVINO
    keeps about 3 MB for each new shape in each of its streams, and needs 6 to 15 ms for it: a server of short texts
    grew by gigabytes (docs/experiments.md). A full part of many rows, of which there is one shape for each length,
    stays unchanged."""
    if "attention_mask" not in inputs or not longest:
        return dict(inputs)
    rows, tokens = inputs["attention_mask"].shape
    if rows == PART // tokens:
        return dict(inputs)
    more_rows = (1 << (rows - 1).bit_length() if rows <= 16 else -(-rows // 8) * 8) - rows
    step = 4 if tokens <= 32 else 8 if tokens <= 64 else 16
    more_tokens = max(0, min(-(-tokens // step) * step, longest) - tokens)
    filled = {}
    for name, values in inputs.items():
        beside = (0, 0) if name == "columns" else (0, more_tokens)
        filled[name] = np.pad(values, ((0, more_rows), beside), mode="edge")
    filled["attention_mask"][:, tokens:] = 0
    return filled


def _rows(inputs: Mapping[str, NDArray[Any]]) -> int:
    return len(next(iter(inputs.values())))


def without_telemetry() -> Any:
    """The package, with telemetry to its maker turned off. Raises MissingPackage."""
    sys.modules.setdefault("openvino_telemetry", None)  # type: ignore[arg-type]  # OpenVINO and NNCF work without it
    try:
        import openvino
    except ImportError:
        raise MissingPackage("openvino", "openvino") from None
    return openvino
