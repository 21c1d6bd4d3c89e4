"""ONNX Runtime on the CPU: what serves. Needs neither torch nor transformers."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from lakewright.runtimes import Runtime, Use


def load(path: Path, threads: int = 1, use: Use = "latency") -> Runtime:
    """The network in `path`, a model folder or an ONNX file."""
    import onnxruntime

    streams = threads if use == "throughput" else 1
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads // streams
    options.log_severity_level = 3
    file = path / "model.onnx" if path.is_dir() else path
    session = onnxruntime.InferenceSession(str(file), options, providers=["CPUExecutionProvider"])

    def compute(inputs: Mapping[str, NDArray[Any]]) -> NDArray[Any]:
        logits: NDArray[Any] = session.run(["logits"], dict(inputs))[0]
        return logits

    return Runtime(compute, streams)
