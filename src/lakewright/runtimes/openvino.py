"""OpenVINO on the CPU: int8 with calibrated activations where the model folder has such a network, else model.onnx.

Needs the `openvino` extra, and neither torch nor transformers.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path
from queue import SimpleQueue
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lakewright.errors import MissingPackage
from lakewright.runtimes import Runtime, Use

NETWORK = "openvino.xml"  # its weights in openvino.bin


def load(path: Path, threads: int = 1, use: Use = "latency") -> Runtime:
    """The network in `path`, a model folder or a file in ONNX or OpenVINO format.

    Raises MissingPackage where OpenVINO is not installed.
    """
    openvino = without_telemetry()
    streams = threads if use == "throughput" else 1
    file = path
    if path.is_dir():
        file = calibrated if (calibrated := path / NETWORK).exists() else path / "model.onnx"
    settings: dict[str, Any] = {"INFERENCE_NUM_THREADS": threads, "NUM_STREAMS": streams}
    if file.suffix == ".onnx":
        settings["INFERENCE_PRECISION_HINT"] = "f32"  # it would take bf16 where the processor has it
    network = openvino.Core().compile_model(str(file), "CPU", settings)
    # Its bindings learn to read NumPy's arrays when they first meet one. Two threads that do so at once deadlock: one
    # waits for Python's lock, and the other, which holds it, for the first.
    openvino.Tensor(np.zeros(1, np.float32)).data.sum()
    idle: SimpleQueue[Any] = SimpleQueue()  # one request computes one thing at a time
    for _ in range(streams):
        idle.put(network.create_infer_request())

    def compute(inputs: Mapping[str, NDArray[Any]]) -> NDArray[Any]:
        request = idle.get()
        try:
            logits: NDArray[Any] = request.infer(dict(inputs))[0].copy()  # its memory is used again
        finally:
            idle.put(request)
        return logits

    return Runtime(compute, streams)


def without_telemetry() -> Any:
    """The package, kept from sending its maker what it is used for. Raises MissingPackage."""
    sys.modules.setdefault("openvino_telemetry", None)  # type: ignore[arg-type]  # OpenVINO and NNCF do without it then
    try:
        import openvino
    except ImportError:
        raise MissingPackage("openvino", "openvino") from None
    return openvino
