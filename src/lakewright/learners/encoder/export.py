"""The trained network as ONNX, and in int8 where that pays: faster on this machine and not significantly worse."""

from __future__ import annotations

import contextlib
import io
import logging
import time
import warnings
from pathlib import Path

import numpy as np
import torch

from lakewright.evaluation.significance import compare
from lakewright.learners import Training
from lakewright.learners.encoder.network import EncoderNetwork
from lakewright.runtimes.onnx import load
from lakewright.runtimes.predictor import Predictor

OPSET = 17


def export(network: EncoderNetwork, folder: Path) -> None:
    """model.onnx: input_ids, attention_mask int64 [rows, tokens] → logits float.

    The TorchScript exporter with eager attention: the dynamo one is slower and its graph does not quantise.
    """
    network = network.cpu().eval()
    implementation = network.encoder.config._attn_implementation
    network.encoder.set_attn_implementation("eager")
    inputs = (torch.randint(5, 10, (2, 9)), torch.ones(2, 9, dtype=torch.long))
    axes = {0: "rows", 1: "tokens"}
    outputs = {0: "rows"} if network.level == "row" else axes
    with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()), torch.inference_mode():
        warnings.simplefilter("ignore")  # the tracer warns of every shape that it reads
        torch.onnx.export(
            network,
            inputs,
            str(folder / "model.onnx"),
            input_names=["input_ids", "attention_mask"],
            output_names=["logits"],
            dynamic_axes={"input_ids": axes, "attention_mask": axes, "logits": outputs},
            opset_version=OPSET,
            dynamo=False,
        )
    network.encoder.set_attn_implementation(implementation)


def quantize_if_it_pays(training: Training, max_rows: int = 512) -> dict[str, float | int | str]:
    """Replaces model.onnx by its int8 version (dynamic, per channel) if that is faster and as good on validation.

    Speed is the median over three interleaved passes over at most `max_rows` validation rows, the token ids at hand.
    """
    from onnxruntime.quantization import QuantType, quantize_dynamic

    full = training.folder / "model.onnx"
    small = training.folder / "model.int8.onnx"
    logging.disable(logging.WARNING)  # it advises graph fusion, which measured worse
    quantize_dynamic(full, small, per_channel=True, weight_type=QuantType.QInt8)
    logging.disable(logging.NOTSET)
    predictors = {
        name: Predictor(training.folder, "", training.task, training.encoding, load(path, training.threads))
        for name, path in {"fp32": full, "int8": small}.items()
    }
    timed = training.encoding.encode(training.validation.texts[:max_rows])
    seconds: dict[str, list[float]] = {"fp32": [], "int8": []}
    for _ in range(3):
        for name, predictor in predictors.items():
            began = time.perf_counter()
            predictor.logits(timed)
            seconds[name].append(time.perf_counter() - began)
    speedup = float(np.median(seconds["fp32"]) / np.median(seconds["int8"]))
    validation = training.validation
    scorers = {}
    for name, predictor in predictors.items():
        predictions = training.task.decode(predictor.logits(validation.encoded), validation.encoded, validation.texts)
        scorers[name] = training.task.scorer(validation.truths, predictions)
    comparison = compare(scorers["int8"], scorers["fp32"], scorers["fp32"].primary, seed=training.settings.seed)
    keep = speedup > 1.0 and not comparison.significantly_worse
    if keep:
        small.replace(full)
    else:
        small.unlink()
    return {
        "precision": "int8" if keep else "fp32",
        "int8_speedup": round(speedup, 3),
        "int8_difference": round(comparison.difference, 5),
        "int8_difference_p": round(comparison.p, 5),
    }
