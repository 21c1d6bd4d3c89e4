"""ONNX Runtime on the CPU, the default for serving. Needs neither torch nor transformers."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from lakewright.model.folder import ONNX
from lakewright.model.runtimes import Runtime, Use


def load(path: Path, threads: int = 1, use: Use = "latency") -> Runtime:
    """The network in `path`, a model folder or an ONNX file."""
    streams = threads if use == "throughput" else 1
    file = path / ONNX if path.is_dir() else path
    opened = session(str(file), threads // streams)

    def compute(inputs: Mapping[str, NDArray[Any]]) -> NDArray[Any]:
        logits: NDArray[Any] = opened.run(["logits"], dict(inputs))[0]
        return logits

    return Runtime(compute, streams)


def session(model: str | bytes, threads: int) -> Any:
    """An onnxruntime.InferenceSession for a file's path or a model's bytes."""
    os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")  # else it stores data for its maker in the user's home
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.log_severity_level = 3
    # Otherwise its threads wait for the next row in a busy loop, on cores that others need.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    # With a fallback, it would report an unreadable network on stdout, which is for results, and try again.
    return onnxruntime.InferenceSession(model, options, ["CPUExecutionProvider"], enable_fallback=0)
