"""Which network serves, and in which runtime: measured on this machine, and never significantly worse than fp32.

onnx      int8 in model.onnx's place (int8.py): with scales from rows of train, or, where that is significantly worse,
          with a scale for each token; else model.onnx stays as it is, fp32
openvino  int8 with activations calibrated on the same rows (post-training quantisation by NNCF), where it is installed

Both may do without some neurons (pruning.py); fp32 has them all, and stays the measure. In all of them a row's
prediction depends on the row alone.

serving.json tells the choice for each use: `throughput` (many rows) and `latency` (one row).
"""

from __future__ import annotations

import contextlib
import io
import logging
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from importlib.util import find_spec
from pathlib import Path

import numpy as np

from lakewright import plugins
from lakewright.evaluation.metrics import meaning, signed
from lakewright.evaluation.significance import compare
from lakewright.learning.learners import Examples, Fitted, Training, tuned
from lakewright.learning.learners.encoder import int8, packed
from lakewright.learning.learners.encoder.export import export
from lakewright.learning.learners.encoder.network import EncoderNetwork
from lakewright.learning.learners.encoder.pruning import pruned
from lakewright.learning.learners.encoder.settings import PretrainedSettings
from lakewright.model.folder import Choice, write_serving
from lakewright.model.predictor import Predictor
from lakewright.model.runtimes import Use
from lakewright.model.runtimes.openvino import NETWORK, without_telemetry
from lakewright.model.tasks import Logits
from lakewright.system.files import put_in_place
from lakewright.system.progress import bar

TIMED, SINGLE, PASSES = 32, 16, 2  # rows at once (a thread), rows one by one, interleaved passes over both
CALIBRATION, PART = 128, 1024  # sequences of train; padded tokens computed at once
INT8, BY_TOKEN = "model.int8.onnx", "model.token.onnx"  # until it is known whether one takes model.onnx's place
PRUNED = "pruned.onnx"  # fp32; int8 is made of it, and nothing serves it
USES: tuple[Use, ...] = ("throughput", "latency")

LOG = logging.getLogger("lakewright")


@dataclass(frozen=True)
class Candidate:
    name: str
    runtime: str
    precision: str
    file: Path


def leave(network: EncoderNetwork, training: Training[PretrainedSettings]) -> Fitted:
    """Everything that serves, in the model folder; the details say what was measured."""
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
        export(network, full.with_name(PRUNED))
    details["int8_saturated"] = quantise(training)
    fitted = choose(network, training)
    return replace(fitted, details={**details, **fitted.details})


def quantise(training: Training[PretrainedSettings]) -> float:
    """INT8 beside the fp32 network of the model folder; the share of values on validation that its scales cut."""
    full, into = _source(training.folder), training.folder / INT8
    input_ranges = int8.ranges(full, calibration(training, training.train))
    int8.quantise(full, into, input_ranges)
    return round(int8.saturated(full, input_ranges, calibration(training, training.validation)), 6)


def calibration(training: Training[PretrainedSettings], examples: Examples) -> list[int8.Batch]:
    """The inputs of some sequences, drawn at random; those of one length go together, so that nothing is padded."""
    encoded = replace(examples.encoded, hidden=None)
    lengths = encoded.ids.lengths
    drawn = np.random.default_rng(training.settings.seed).permutation(len(lengths))[:CALIBRATION]
    parts = []
    for length in np.unique(lengths[drawn]):
        alike = drawn[lengths[drawn] == length]
        size = max(1, PART // max(1, int(length)))
        parts += [alike[start : start + size] for start in range(0, len(alike), size)]
    return [training.recipe.batch(encoded, part) for part in parts]


@dataclass(frozen=True, eq=False)
class Entry:
    """A candidate that this machine computes."""

    candidate: Candidate
    opened: Mapping[Use, Predictor]
    logits: Logits  # on validation
    seconds: float | None  # a row, all of validation at once; None where the logits were known already


def choose(
    network: EncoderNetwork, training: Training[PretrainedSettings], computed: Mapping[str, Logits] = {}
) -> Fitted:
    """Keeps the networks that are the fastest for one use or the other, of those as good as fp32 on validation.

    `computed`: a candidate's logits on validation, if they were computed before. model.onnx and INT8 are in the model
    folder. A candidate that this machine cannot open or compute is left out, with a note in the log and the details.
    """
    folder, rows = training.folder, training.validation
    full = _entry(Candidate("fp32", "onnx", "fp32", folder / "model.onnx"), training, computed)
    task, full_scorer = tuned(training, full.logits)
    entries, allowed, details = [full], [full.candidate], dict[str, float | int | str]()

    def enter(name: str, runtime: str, file: str, make: Callable[[Path], object] | None = None) -> bool:
        """Whether the candidate, made first where it is not there yet, is as good as fp32."""
        candidate = Candidate(name, runtime, "int8", folder / file)
        try:
            if make is not None:
                make(candidate.file)
            entry = _entry(candidate, training, computed)
        except Exception as failure:  # each runtime raises its own, for instance for a processor that it does not know
            LOG.warning("%s is left out: this machine cannot compute it: %s", name, failure)
            details[f"{name}_left_out"] = " ".join(str(failure).split())[:200]
            return False
        predictions = task.decode(entry.logits, rows.encoded, rows.rows)
        scorer = task.scorer(rows.truths, predictions, rows.rows)
        comparison = compare(scorer, full_scorer, full_scorer.primary, seed=training.settings.seed)
        primary, difference = full_scorer.primary, comparison.difference
        # In the truth's own unit nobody knows which decimals count.
        rounded = round(difference, 5) if meaning(primary).to_one else float(f"{difference:.5g}")
        details[f"{name}_difference"] = rounded
        details[f"{name}_difference_p"] = round(comparison.p, 5)
        entries.append(entry)
        if not comparison.significantly_worse:
            allowed.append(candidate)
        advance(1, f"{name} {signed(primary, difference, 4)} {primary}")
        return not comparison.significantly_worse

    with bar("int8", None) as advance:
        if not enter("int8", "onnx", INT8):
            enter("int8_by_token", "onnx", BY_TOKEN, lambda into: int8.quantise(_source(folder), into, {}))
        if training.settings.quantize == "auto" and find_spec("openvino") and find_spec("nncf"):
            enter("openvino", "openvino", NETWORK, lambda into: _calibrated(network, training, into))
    seconds = _timed(entries, training)
    for entry in entries[1:]:
        name = entry.candidate.name
        details[f"{name}_speedup"] = round(seconds["throughput"]["fp32"] / seconds["throughput"][name], 3)

    # onnx has one network: the faster one where many rows are scored.
    onnx = min((c for c in allowed if c.runtime == "onnx"), key=lambda c: seconds["throughput"][c.name])
    best = {
        use: min((c for c in allowed if c.runtime != "onnx" or c is onnx), key=lambda c: of[c.name])
        for use, of in seconds.items()
    }
    if onnx is not full.candidate:
        put_in_place(onnx.file, full.candidate.file)
    served = {full.candidate.file, *(candidate.file for candidate in best.values())}
    for file in {folder / name for name in (INT8, BY_TOKEN, PRUNED, NETWORK)} - served:
        file.unlink(missing_ok=True)
        file.with_suffix(".bin").unlink(missing_ok=True)
    write_serving(folder, {use: Choice(of.runtime, of.precision, seconds[use]) for use, of in best.items()})
    serves = best["throughput"]
    logits = next(entry.logits for entry in entries if entry.candidate is serves)
    return Fitted([], {"runtime": serves.runtime, "precision": serves.precision, **details}, logits)


def _source(folder: Path) -> Path:
    """The fp32 network that int8 is made of."""
    return file if (file := folder / PRUNED).exists() else folder / "model.onnx"


def _entry(candidate: Candidate, training: Training[PretrainedSettings], computed: Mapping[str, Logits]) -> Entry:
    load = plugins.RUNTIMES.find(candidate.runtime)
    opened = {
        use: Predictor(training.folder, "", training.task, training.recipe, load(candidate.file, training.threads, use))
        for use in USES
    }
    if candidate.name in computed:
        return Entry(candidate, opened, computed[candidate.name], None)
    rows = training.validation
    for _ in range(1 if candidate.precision == "fp32" else 2):  # OpenVINO takes its time for shapes that it meets first
        began = time.perf_counter()
        logits = opened["throughput"].logits(rows.encoded)
        seconds = time.perf_counter() - began
    return Entry(candidate, opened, logits, seconds / len(rows))


def _timed(entries: Sequence[Entry], training: Training[PretrainedSettings]) -> dict[Use, dict[str, float]]:
    """use → candidate → seconds a row: the median of interleaved passes over validation rows, token ids at hand. Where
    all of validation was computed by each candidate, that is its time for many rows: few rows differ in length, which
    costs OpenVINO more than it does ONNX Runtime."""
    rows = training.validation.rows
    many_rows = training.recipe.encode(rows[: TIMED * training.threads])
    single_rows = training.recipe.encode(rows[:SINGLE])
    singles = [training.recipe.batch(single_rows, np.array([i])) for i in range(len(single_rows.ids))]
    all_are_timed = all(entry.seconds is not None for entry in entries)
    times: dict[Use, dict[str, list[float]]] = {use: {entry.candidate.name: [] for entry in entries} for use in USES}
    for _ in range(PASSES):
        for entry in entries:
            throughput, latency = (times[use][entry.candidate.name] for use in USES)
            if all_are_timed:
                throughput.append(entry.seconds or 0.0)
            else:
                began = time.perf_counter()
                entry.opened["throughput"].logits(many_rows)
                throughput.append((time.perf_counter() - began) / len(many_rows))
            for inputs in singles:
                began = time.perf_counter()
                entry.opened["latency"].runtime.compute(inputs)
                latency.append(time.perf_counter() - began)
    return {use: {name: float(np.median(of)) for name, of in by_name.items()} for use, by_name in times.items()}


def _calibrated(network: EncoderNetwork, training: Training[PretrainedSettings], into: Path) -> None:
    """int8 weights and activations, these scaled by what they are on rows of train.

    Biases stay as they are: their correction takes as long as all the rest, and what it changes was too little to
    measure (docs/experiments.md).
    """
    openvino = without_telemetry()
    import nncf

    parts = calibration(training, training.train)
    logging.getLogger("nncf").setLevel(logging.ERROR)  # its own function changes whatever handlers it finds
    full = into.with_name("padded.onnx")
    export(network, full, padded=True)
    try:
        with contextlib.redirect_stdout(io.StringIO()):  # its progress bars
            calibrated = nncf.quantize(
                openvino.Core().read_model(str(full)),
                nncf.Dataset(parts),
                model_type=nncf.ModelType.TRANSFORMER,
                subset_size=len(parts),
                advanced_parameters=nncf.AdvancedQuantizationParameters(disable_bias_correction=True),
            )
        openvino.save_model(calibrated, str(into), compress_to_fp16=False)
    finally:
        full.unlink()
