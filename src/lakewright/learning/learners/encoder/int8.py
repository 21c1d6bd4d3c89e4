"""int8 for ONNX Runtime: weights per channel, the inputs of each product by a scale that no other row can change.

A scale that is computed from all values at hand (dynamic quantisation) ties a row's prediction to the rows beside it.
Here an input's scale comes from the range that it had over rows of train, or, at the price of speed, from the token
alone. Embeddings are int8 with a scale for each of their rows. The head's product stays fp32: it is small, and numbers
beside the text may lie far outside of any range.

The product is com.microsoft's MatMulIntegerToFloat: uint8 × int8, the scales and the bias within one kernel.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

Batch = Mapping[str, NDArray[Any]]
Range = tuple[float, float]

SMALLEST_TABLE = 1024  # rows of an embedding that are worth rounding
EPSILON = 1e-12  # no scale is 0, whatever was observed


@dataclass(frozen=True, eq=False)
class _Product:
    """A linear layer in the graph: one node, or a MatMul and the Add of its bias."""

    input: str
    weight: str
    transposed: bool  # the weight is [outputs, inputs], else [inputs, outputs]
    bias: str | None
    output: str
    nodes: tuple[str, ...]  # by their first outputs


def ranges(network: Path, batches: Iterable[Batch]) -> dict[str, Range]:
    """Tensor → its least and greatest value over the batches: the inputs of all products that `quantise` makes int8."""
    import onnx

    model = onnx.load(str(network))
    names = _inputs(model)
    outputs = []
    for name in names:
        outputs += [_watch(model, "ReduceMin", name), _watch(model, "ReduceMax", name)]
    least, greatest = np.full(len(names), np.inf), np.full(len(names), -np.inf)
    for values in _computed(model, outputs, batches):
        least, greatest = np.minimum(least, values[0::2]), np.maximum(greatest, values[1::2])
    return {name: (float(low), float(high)) for name, low, high in zip(names, least, greatest, strict=True)}


def saturated(network: Path, input_ranges: Mapping[str, Range], batches: Iterable[Batch]) -> float:
    """The share of values that lie outside of the known ranges, and so are cut; the mean over the products' inputs."""
    import onnx
    from onnx import helper, numpy_helper

    model = onnx.load(str(network))
    outputs = []
    for name, bounds in input_ranges.items():
        least, greatest = f"{name}.least", f"{name}.greatest"
        for limit, bound in zip((least, greatest), bounds, strict=True):
            model.graph.initializer.append(numpy_helper.from_array(np.asarray(bound, np.float32), limit))
        model.graph.node.extend(
            [
                helper.make_node("Less", [name, least], [f"{name}.below"]),
                helper.make_node("Greater", [name, greatest], [f"{name}.above"]),
                helper.make_node("Or", [f"{name}.below", f"{name}.above"], [f"{name}.cut"]),
                helper.make_node("Cast", [f"{name}.cut"], [f"{name}.outside"], to=1),
            ]
        )
        outputs.append(_watch(model, "ReduceMean", f"{name}.outside"))
    shares = [values.mean() for values in _computed(model, outputs, batches)]
    return float(np.mean(shares)) if shares else 0.0


def quantise(network: Path, into: Path, input_ranges: Mapping[str, Range]) -> None:
    """Writes `network`, an ONNX file in fp32, with its products in int8. An input without a range has a scale for each
    token."""
    import onnx
    from onnx import helper

    model = onnx.load(str(network))
    graph = model.graph
    constants = _Constants(graph)
    products = {name: product for product in _products(model) for name in product.nodes}
    nodes, rounded = [], set[str]()
    for node in graph.node:
        product = products.get(node.output[0])
        if product is None:
            nodes += _rounded_embedding(node, constants) or [node]
        elif product.output == node.output[0]:  # the last of its nodes: all that it reads stands above
            nodes += _rounded_product(product, input_ranges.get(product.input), constants, rounded)
    del graph.node[:]
    graph.node.extend(nodes)
    constants.drop_unused()
    model.opset_import.append(helper.make_opsetid("com.microsoft", 1))
    onnx.save(model, str(into))


def _rounded_product(
    product: _Product, input_range: Range | None, constants: _Constants, rounded_names: set[str]
) -> list[Any]:
    """`rounded_names`: tensors that are rounded already, for several products may read the same one."""
    from onnx import helper

    x, nodes = product.input, []
    weight, scales = constants.by_channel(product.weight, product.transposed)
    rounded, scale, zero = f"{x}.uint8", f"{x}.scale", f"{x}.zero"
    if input_range is not None:
        if x not in rounded_names:
            low, high = min(input_range[0], 0.0), max(input_range[1], 0.0)
            step = max((high - low) / 255, EPSILON)
            constants.add(scale, np.float32(step))
            constants.add(zero, np.uint8(round(-low / step)))
            nodes.append(helper.make_node("QuantizeLinear", [x, scale, zero], [rounded]))
    else:
        for name, value in (("one", 1), ("per_step", 1 / 127), ("epsilon", EPSILON)):
            constants.add(name, np.float32(value))
        constants.add("middle", np.uint8(128))
        if x not in rounded_names:
            nodes += [
                helper.make_node("Abs", [x], [f"{x}.size"]),
                helper.make_node("ReduceMax", [f"{x}.size"], [f"{x}.most"], axes=[-1], keepdims=1),
                helper.make_node("Mul", [f"{x}.most", "per_step"], [f"{x}.steps"]),
                helper.make_node("Max", [f"{x}.steps", "epsilon"], [scale]),
                helper.make_node("Div", [x, scale], [f"{x}.scaled"]),
                helper.make_node("QuantizeLinear", [f"{x}.scaled", "one", "middle"], [rounded]),
            ]
    rounded_names.add(x)
    zeros = constants.add(f"{weight}.zeros", np.zeros(len(constants.values(scales)), np.int8))
    bias = [product.bias] if product.bias else []
    if input_range is not None:
        inputs = [rounded, weight, scale, scales, zero, zeros, *bias]
        return [*nodes, _integer_product(inputs, product.output)]
    # The kernel takes one scale for all tokens: each token's own is put on behind it, and then the bias.
    whole = f"{product.output}.whole"
    nodes.append(_integer_product([rounded, weight, "one", scales, "middle", zeros], whole))
    if not bias:
        return [*nodes, helper.make_node("Mul", [whole, scale], [product.output])]
    nodes.append(helper.make_node("Mul", [whole, scale], [f"{whole}.scaled"]))
    return [*nodes, helper.make_node("Add", [f"{whole}.scaled", *bias], [product.output])]


def _integer_product(inputs: list[str], output: str) -> Any:
    from onnx import helper

    return helper.make_node("MatMulIntegerToFloat", inputs, [output], domain="com.microsoft")


def _rounded_embedding(node: Any, constants: _Constants) -> list[Any]:
    """A Gather of an embedding's rows in int8; empty for any other node."""
    from onnx import helper

    is_table = node.op_type == "Gather" and not any(a.name == "axis" and a.i for a in node.attribute)
    if not is_table or not constants.is_matrix(node.input[0]) or len(constants.values(node.input[0])) < SMALLEST_TABLE:
        return []
    table, scales = constants.by_row(node.input[0])
    output, places = node.output[0], node.input[1]
    return [
        helper.make_node("Gather", [table, places], [f"{output}.int8"]),
        helper.make_node("Cast", [f"{output}.int8"], [f"{output}.steps"], to=1),
        helper.make_node("Gather", [scales, places], [f"{output}.scale"]),
        helper.make_node("Mul", [f"{output}.steps", f"{output}.scale"], [output]),
    ]


class _Constants:
    """The graph's initializers by name; those in int8 are made once, however many nodes read them."""

    def __init__(self, graph: Any) -> None:
        self._graph = graph
        self._by_name = {tensor.name: tensor for tensor in graph.initializer}

    def values(self, name: str) -> NDArray[Any]:
        from onnx import numpy_helper

        array: NDArray[Any] = numpy_helper.to_array(self._by_name[name])
        return array

    def is_matrix(self, name: str) -> bool:
        return name in self._by_name and len(self._by_name[name].dims) == 2

    def add(self, name: str, values: Any) -> str:
        from onnx import numpy_helper

        if name not in self._by_name:
            self._by_name[name] = numpy_helper.from_array(np.asarray(values), name)
        return name

    def by_channel(self, name: str, transposed: bool) -> tuple[str, str]:
        """int8 [inputs, outputs] and its scales [outputs]."""
        rounded = f"{name}.{'transposed' if transposed else 'plain'}.int8"
        if rounded not in self._by_name:
            weight = self.values(name).T if transposed else self.values(name)
            scales = np.maximum(np.abs(weight).max(axis=0) / 127, EPSILON).astype(np.float32)
            self.add(rounded, np.ascontiguousarray(np.rint(weight / scales).astype(np.int8)))
            self.add(f"{rounded}.scales", scales)
        return rounded, f"{rounded}.scales"

    def by_row(self, name: str) -> tuple[str, str]:
        """int8 [rows, width] and its scales [rows, 1]."""
        rounded = f"{name}.rows.int8"
        if rounded not in self._by_name:
            table = self.values(name)
            scales = np.maximum(np.abs(table).max(axis=1, keepdims=True) / 127, EPSILON).astype(np.float32)
            self.add(rounded, np.rint(table / scales).astype(np.int8))
            self.add(f"{rounded}.scales", scales)
        return rounded, f"{rounded}.scales"

    def drop_unused(self) -> None:
        used = {name for node in self._graph.node for name in node.input}
        del self._graph.initializer[:]
        self._graph.initializer.extend(tensor for name, tensor in self._by_name.items() if name in used)


def _products(model: Any) -> Iterator[_Product]:
    """Linear layers with a constant weight, the head's left out."""
    graph = model.graph
    dims = {tensor.name: len(tensor.dims) for tensor in graph.initializer}
    results = {output.name for output in graph.output}
    readers: dict[str, list[Any]] = {}
    for node in graph.node:
        for name in node.input:
            readers.setdefault(name, []).append(node)
    for node in graph.node:
        if len(node.input) < 2 or dims.get(node.input[1]) != 2 or node.input[0] in dims:
            continue
        output = node.output[0]
        if node.op_type == "Gemm":
            settings = {attribute.name: attribute.f or attribute.i for attribute in node.attribute}
            bias = node.input[2] if len(node.input) > 2 else None
            plain = settings.get("alpha", 1) == settings.get("beta", 1) == 1 and not settings.get("transA")
            if plain and output not in results and (bias is None or dims.get(bias) == 1):
                transposed = bool(settings.get("transB"))
                yield _Product(node.input[0], node.input[1], transposed, bias, output, (output,))
        elif node.op_type == "MatMul" and output not in results:
            users = readers.get(output, [])
            added = users[0] if len(users) == 1 and users[0].op_type == "Add" else None
            bias = next((name for name in added.input if dims.get(name) == 1), None) if added else None
            if added is None or bias is None:
                yield _Product(node.input[0], node.input[1], False, None, output, (output,))
            elif added.output[0] not in results:
                total = added.output[0]
                yield _Product(node.input[0], node.input[1], False, bias, total, (output, total))


def _inputs(model: Any) -> list[str]:
    return list(dict.fromkeys(product.input for product in _products(model)))


def _watch(model: Any, kind: str, name: str) -> str:
    """Adds an output: the tensor's `kind` (ReduceMin …), one number."""
    from onnx import helper

    output = f"{name}.{kind}"
    model.graph.node.append(helper.make_node(kind, [name], [output], keepdims=0))
    model.graph.output.append(helper.make_tensor_value_info(output, 1, []))
    return output


def _computed(model: Any, outputs: list[str], batches: Iterable[Batch]) -> Iterator[NDArray[np.float64]]:
    from lakewright.model.runtimes.onnx import session

    opened = session(model.SerializeToString(), threads=1)
    for batch in batches:
        yield np.array(opened.run(outputs, dict(batch)), dtype=np.float64)
