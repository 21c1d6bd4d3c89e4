"""OpenVINO on the CPU: int8 with calibrated activations where the model folder has such a network, else model.onnx.

Needs the `openvino` extra, and neither torch nor transformers.
"""

from __future__ import annotations

import sys
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from lakewright.errors import MissingPackage
from lakewright.runtimes import Runtime

NETWORK = "openvino.xml"  # its weights in openvino.bin


def load(path: Path, threads: int | None = None) -> Runtime:
    """The network in `path`, a model folder or a file in ONNX or OpenVINO format; `threads` None: one a core.

    Raises MissingPackage where OpenVINO is not installed.
    """
    openvino = without_telemetry()
    file = path
    if path.is_dir():
        file = calibrated if (calibrated := path / NETWORK).exists() else path / "model.onnx"
    settings: dict[str, Any] = {"PERFORMANCE_HINT": "LATENCY", "INFERENCE_NUM_THREADS": threads or 0}
    if file.suffix == ".onnx":
        settings["INFERENCE_PRECISION_HINT"] = "f32"  # it would take bf16 where the processor has it
    network = openvino.Core().compile_model(str(file), "CPU", settings)
    requests = threading.local()  # one computes one thing at a time

    def compute(inputs: Mapping[str, NDArray[Any]]) -> NDArray[Any]:
        if not hasattr(requests, "mine"):
            requests.mine = network.create_infer_request()
        logits: NDArray[Any] = requests.mine.infer(dict(inputs))[0].copy()  # its memory is used again
        return logits

    return compute


def without_telemetry() -> Any:
    """The package, kept from sending its maker what it is used for. Raises MissingPackage."""
    sys.modules.setdefault("openvino_telemetry", None)  # type: ignore[arg-type]  # OpenVINO and NNCF do without it then
    try:
        import openvino
    except ImportError:
        raise MissingPackage("openvino", "openvino") from None
    return openvino
