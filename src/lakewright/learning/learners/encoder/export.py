"""The trained network as ONNX: what serving starts from."""

from __future__ import annotations

import contextlib
import io
import warnings
from pathlib import Path

import numpy as np
import torch

from lakewright.errors import ModelError
from lakewright.learning.learners.encoder.network import EncoderNetwork
from lakewright.model.runtimes.onnx import load

OPSET = 17
ROUNDING = 1e-6  # of a sum in float32, a few units in the last place


def export(network: EncoderNetwork, path: Path, *, padded: bool = False) -> None:
    """An ONNX file: the network's inputs (int64 [rows, tokens]; columns float [rows, columns]) → logits float.

    Linear layers see no padding where the family has such a forward (packed.py); `padded`: by transformers' forward all
    the same, whose attention OpenVINO recognises and computes as one.
    The TorchScript exporter with eager attention: the dynamo one is slower and its graph does not quantise.
    Raises ModelError where ONNX Runtime does not say what torch says on shapes other than the traced one.
    """
    network = network.cpu().eval()
    implementation, way = network.encoder.config._attn_implementation, network.packed
    network.encoder.set_attn_implementation("eager")
    network.packed = way and not padded
    rows, tokens = {0: "rows"}, {0: "rows", 1: "tokens"}
    axes = {name: rows if name == "columns" else tokens for name in network.inputs}
    with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()), torch.inference_mode():
        warnings.simplefilter("ignore")  # the tracer warns of every shape that it reads
        torch.onnx.export(
            network,
            (),
            str(path),
            kwargs=_example(network, 2, 9),
            input_names=network.inputs,
            output_names=["logits"],
            dynamic_axes={**axes, "logits": tokens if network.level == "token" else rows},
            opset_version=OPSET,
            dynamo=False,
        )
    network.encoder.set_attn_implementation(implementation)
    network.packed = way
    _share_weights(path)
    _compare_with_torch(network, path)


def _share_weights(path: Path) -> None:
    """Lets every user of a weight name the weight itself.

    The exporter hands a weight with several users (ALBERT's layers, DeBERTa's projections) on through Identity nodes,
    and the quantiser leaves in fp32 what comes from a node.
    """
    import onnx

    model = onnx.load(str(path))
    weight_of = {weight.name: weight.name for weight in model.graph.initializer}
    nodes = []
    for node in model.graph.node:  # sorted: what a node reads stands above it
        if node.op_type == "Identity" and node.input[0] in weight_of:
            weight_of[node.output[0]] = weight_of[node.input[0]]
            continue
        node.input[:] = [weight_of.get(name, name) for name in node.input]
        nodes.append(node)
    if len(nodes) == len(model.graph.node):
        return
    del model.graph.node[:]
    model.graph.node.extend(nodes)
    onnx.save(model, str(path))


def _example(network: EncoderNetwork, rows: int, tokens: int) -> dict[str, torch.Tensor]:
    """Inputs to trace and to compare: the first row is whole, the others half padding."""
    mask = torch.ones(rows, tokens, dtype=torch.long)
    mask[1:, tokens // 2 :] = 0
    types = torch.zeros(rows, tokens, dtype=torch.long)
    types[:, tokens // 3 :] = 1
    columns = torch.randn(rows, network.columns)
    ids = torch.randint(5, 10, (rows, tokens))
    inputs = {"input_ids": ids, "attention_mask": mask, "token_type_ids": types, "columns": columns}
    return {name: inputs[name] for name in network.inputs}


def _compare_with_torch(network: EncoderNetwork, path: Path, tolerance: float = 1e-3) -> None:
    """A trace can hold on to the shape that it saw. So: fewer tokens, and more tokens and rows."""
    compute = load(path).compute
    for rows, tokens in ((1, 3), (3, 24)):
        inputs = _example(network, rows, tokens)
        with torch.inference_mode():
            expected = network(**inputs).numpy()
        try:
            difference = np.abs(expected - compute({name: values.numpy() for name, values in inputs.items()}))
        except Exception as failure:  # ONNX Runtime's have no base class of their own
            raise _not_exportable(network, f"does not run on {rows} × {tokens} tokens: {failure}") from None
        if network.level == "token":  # what is said of padding is not read
            difference = difference[inputs["attention_mask"].numpy().astype(bool)]
        worst, greatest = float(difference.max()), float(np.abs(expected).max())
        allowed = tolerance * max(1.0, greatest)
        if network.exact and isinstance(network.head, torch.nn.Linear):  # in any unit, far from 0 perhaps
            allowed = tolerance * float(network.head.weight.detach().norm()) + ROUNDING * greatest
        if not worst <= allowed:
            raise _not_exportable(network, f"is off by {worst:.2g} on {rows} × {tokens} tokens")


def _not_exportable(network: EncoderNetwork, problem: str) -> ModelError:
    return ModelError(
        f"the network of a {network.encoder.config.model_type} encoder, exported to ONNX, {problem}",
        "choose another train.base_model, and report this one with its config.json",
    )
