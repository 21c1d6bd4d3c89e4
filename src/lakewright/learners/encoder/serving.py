"""Which network serves, and in which runtime: measured on this machine, and never significantly worse than fp32.

onnx      int8, dynamic and per channel, in model.onnx's place; else model.onnx stays as it is, fp32
openvino  int8 with activations calibrated on validation (post-training quantisation by NNCF); where it is installed

Both may do without some neurons (pruning.py); fp32 has them all, and stays the measure.

serving.json tells the choice for each use: `throughput` (many rows) and `latency` (one row).
"""

from __future__ import annotations

import contextlib
import io
import logging
import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from importlib.util import find_spec
from pathlib import Path

import numpy as np

from lakewright import jsonfile, plugins
from lakewright.encodings import network_inputs
from lakewright.evaluation.significance import compare
from lakewright.learners import Fitted, Training, tuned
from lakewright.learners.encoder import packed
from lakewright.learners.encoder.export import export
from lakewright.learners.encoder.network import EncoderNetwork
from lakewright.learners.encoder.pruning import pruned
from lakewright.progress import bar
from lakewright.runtimes import Use
from lakewright.runtimes.folder import SERVING
from lakewright.runtimes.openvino import NETWORK, without_telemetry
from lakewright.runtimes.predictor import Predictor
from lakewright.tasks import Logits

TIMED, SINGLE, PASSES = 32, 16, 2  # rows at once (a thread), rows one by one, interleaved passes over both
CALIBRATION = 128  # sequences
INT8 = "model.int8.onnx"  # until it is known whether it takes model.onnx's place


@dataclass(frozen=True)
class Candidate:
    name: str
    runtime: str
    precision: str
    file: Path


def leave(network: EncoderNetwork, training: Training) -> Fitted:
    """Everything that serves, in the model folder; what was measured is told."""
    network.save(training.folder)
    full = training.folder / "model.onnx"
    export(network, full)
    settings, details = training.settings, dict[str, float | int | str]()
    if settings.quantize == "never":
        return Fitted()
    if settings.prune_error:
        before = packed.neurons(network.encoder)
        network = pruned(network, training, settings.prune_error)
        details["pruned"] = round(1 - packed.neurons(network.encoder) / before, 4)
        full = full.with_name("pruned.onnx")
        export(network, full)
    dynamic(full, training.folder / INT8)
    if settings.prune_error:
        full.unlink()
    left = choose(network, training)
    return replace(left, details={**details, **left.details})


def choose(network: EncoderNetwork, training: Training, said: Mapping[str, Logits] = {}) -> Fitted:
    """Keeps the networks that are the fastest for one use or the other, of those as good as fp32 on validation; `said`:
    what a candidate says there, where that is known already. model.onnx and INT8 are in the model folder."""
    folder = training.folder
    full = Candidate("fp32", "onnx", "fp32", folder / "model.onnx")
    candidates = [full, Candidate("int8", "onnx", "int8", folder / INT8)]
    if training.settings.quantize == "auto" and find_spec("openvino") and find_spec("nncf"):
        candidates.append(Candidate("openvino", "openvino", "int8", _calibrated(network, training, folder / NETWORK)))

    def opened(use: Use) -> dict[str, Predictor]:
        networks = {c.name: plugins.find("runtimes", c.runtime)(c.file, training.threads, use) for c in candidates}
        return {
            name: Predictor(folder, "", training.task, training.encoding, network) for name, network in networks.items()
        }

    predictors, all_are_asked = opened("throughput"), not said
    # Where all are asked, that is also how long they take for many rows: few rows differ in length, which costs
    # OpenVINO more than it does ONNX Runtime.
    seconds = _timed({} if all_are_asked else predictors, opened("latency"), training)
    details: dict[str, float | int | str] = {}
    allowed, rows = [full], training.validation
    with bar("int8", len(candidates)) as advance:
        said = dict(said)
        for name in [candidate.name for candidate in candidates if candidate.name not in said]:
            for _ in range(1 if name == "fp32" else 2):  # OpenVINO takes its time for shapes that it has not met yet
                began = time.perf_counter()
                said[name] = predictors[name].logits(rows.encoded)
            if all_are_asked:
                seconds["throughput"][name] = (time.perf_counter() - began) / len(rows)
        task, full_scorer = tuned(training, said["fp32"])
        advance(1, "")
        for candidate in candidates[1:]:
            predictions = task.decode(said[candidate.name], rows.encoded, rows.rows)
            scorer = task.scorer(rows.truths, predictions, rows.rows)
            found = compare(scorer, full_scorer, full_scorer.primary, seed=training.settings.seed)
            advance(1, f"{candidate.name} {found.difference:+.4f} {full_scorer.primary}")
            details[f"{candidate.name}_speedup"] = round(
                seconds["throughput"]["fp32"] / seconds["throughput"][candidate.name], 3
            )
            details[f"{candidate.name}_difference"] = round(found.difference, 5)
            details[f"{candidate.name}_difference_p"] = round(found.p, 5)
            if not found.significantly_worse:
                allowed.append(candidate)

    # onnx has one network: the faster one where many rows are scored.
    onnx = min((c for c in allowed if c.runtime == "onnx"), key=lambda c: seconds["throughput"][c.name])
    best = {
        use: min((c for c in allowed if c.runtime != "onnx" or c is onnx), key=lambda c: of[c.name])
        for use, of in seconds.items()
    }
    if onnx is not full:
        onnx.file.replace(full.file)
    for candidate in candidates[1:]:
        if candidate is not onnx and candidate not in best.values():
            candidate.file.unlink()
            candidate.file.with_suffix(".bin").unlink(missing_ok=True)
    chosen = {
        use: {"runtime": candidate.runtime, "precision": candidate.precision, "seconds_per_row": seconds[use]}
        for use, candidate in best.items()
    }
    (folder / SERVING).write_text(jsonfile.text(chosen), encoding="utf-8")
    serves = best["throughput"]
    return Fitted([], {"runtime": serves.runtime, "precision": serves.precision, **details}, said[serves.name])


def _timed(
    for_many: Mapping[str, Predictor], for_one: Mapping[str, Predictor], training: Training
) -> dict[Use, dict[str, float]]:
    """use → candidate → seconds a row: the median of interleaved passes over validation rows, token ids at hand."""
    rows = training.validation.rows
    many = training.task.encode(training.encoding, rows[: TIMED * training.threads])
    one = training.task.encode(training.encoding, rows[:SINGLE])
    singles = [network_inputs(training.encoding, one, np.array([i])) for i in range(len(one.ids))]
    uses: tuple[Use, ...] = ("throughput", "latency")
    candidates = (for_many, for_one)
    found: dict[Use, dict[str, list[float]]] = {
        use: {name: [] for name in of} for use, of in zip(uses, candidates, strict=True)
    }
    for _ in range(PASSES):
        for name, predictor in for_many.items():
            began = time.perf_counter()
            predictor.logits(many)
            found["throughput"][name].append((time.perf_counter() - began) / len(many))
        for name, predictor in for_one.items():
            for inputs in singles:
                began = time.perf_counter()
                predictor.runtime.compute(inputs)
                found["latency"][name].append(time.perf_counter() - began)
    return {use: {name: float(np.median(times)) for name, times in of.items()} for use, of in found.items()}


def dynamic(full: Path, into: Path) -> None:
    """int8 weights per channel; activations are scaled as they come."""
    from onnxruntime.quantization import QuantType, quantize_dynamic

    logging.disable(logging.WARNING)  # it advises graph fusion, which measured worse
    quantize_dynamic(full, into, per_channel=True, weight_type=QuantType.QInt8)
    logging.disable(logging.NOTSET)


def _calibrated(network: EncoderNetwork, training: Training, into: Path) -> Path:
    """int8 weights and activations, these scaled by what they are on validation.

    Sequences of one length go together, and biases stay as they are: their correction takes as long as all the rest,
    and what it changes was too little to measure (docs/experiments.md).
    """
    openvino = without_telemetry()
    import nncf

    encoded = training.validation.encoded
    drawn = np.random.default_rng(training.settings.seed).permutation(len(encoded.ids))[:CALIBRATION]
    lengths = encoded.lengths[drawn]
    alike = [network_inputs(training.encoding, encoded, drawn[lengths == length]) for length in np.unique(lengths)]
    logging.getLogger("nncf").setLevel(logging.ERROR)  # its own function changes whatever handlers it finds
    full = into.with_name("padded.onnx")
    export(network, full, padded=True)
    with contextlib.redirect_stdout(io.StringIO()):  # its progress bars
        calibrated = nncf.quantize(
            openvino.Core().read_model(str(full)),
            nncf.Dataset(alike),
            model_type=nncf.ModelType.TRANSFORMER,
            subset_size=len(alike),
            advanced_parameters=nncf.AdvancedQuantizationParameters(disable_bias_correction=True),
        )
    openvino.save_model(calibrated, str(into), compress_to_fp16=False)
    full.unlink()
    return into
