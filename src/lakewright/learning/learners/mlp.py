"""A small neural network over columns: a multilayer perceptron whose numbers also come as waves.

A number as one input bends a network slowly; cosines of it, with frequencies that are learned, let it bend where the
data do (Gorishniy, Rubachev & Babenko, "On Embeddings for Numerical Features in Tabular Deep Learning", NeurIPS 2022).
It errs elsewhere than trees do, so it is worth most as a member of an ensemble.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from lakewright.learning.learners import Examples, Fitted, TorchLearner, Training
from lakewright.learning.learners.trees import BoostedTrees, matrix_of
from lakewright.learning.learners.units import in_deviations
from lakewright.model.tasks import Loss
from lakewright.settings.sections import LearnerSettings
from lakewright.system.progress import bar

if TYPE_CHECKING:
    import torch

    from lakewright.data.rows.kinds import Kind

BEST_EPOCH = "best_epoch"  # in the metadata of model.safetensors
WARMUP = 50  # steps
OF_WAVES = 4  # numbers that the waves of one input become
AT_ONCE = 8192  # rows predicted at once
MEDIUM, MANY = 5_000, 20_000  # rows
LOOKED_AT = 2000  # rows that tell which columns are numbers


class MlpSettings(LearnerSettings):
    learner: Literal["mlp"] = "mlp"
    width: int = Field(default=256, ge=1, le=8192, description="units of a layer")
    layers: int = Field(default=2, ge=1, le=16, description="hidden layers")
    dropout: float = Field(default=0.15, ge=0, lt=1)
    waves: int = Field(default=8, ge=0, le=256, description="frequencies of each number; 0: numbers come as they are")
    sigma: float = Field(default=0.3, gt=0, description="spread of the frequencies before they are learned")
    learning_rate: float = Field(default=2e-3, gt=0)
    weight_decay: float = Field(default=0.01, ge=0)
    batch_size: int | Literal["auto"] = Field(default="auto", description="auto: 128, 256 or 512, by the rows")
    num_train_epochs: int | Literal["auto"] = Field(default="auto", description="at most; auto: 40, or 16 of many rows")
    early_stopping_patience: int = Field(
        default=8, ge=0, description="epochs without a better loss on validation that end the training; 0: never"
    )
    loss: Literal["auto", "cross_entropy", "l2", "l1", "huber"] = "auto"
    seed: int = 13


class Mlp:
    name = "mlp"
    settings = MlpSettings
    sizes: Mapping[str, Mapping[str, Any]] = {}
    reads: Mapping[Kind, str] = {
        **dict.fromkeys(("text", "optional text"), "text_scores"),
        **dict.fromkeys(("number", "category"), "dense"),
        "time": "part_of",
    }
    truths = ("class", "number")
    losses: Mapping[str, tuple[str, ...]] = {"class": ("cross_entropy",), "number": ("l2", "l1", "huber")}
    gaps: Mapping[str, str] = {**BoostedTrees.gaps, "labels": "not-yet: one output for each label"}
    needs: tuple[Kind, ...] = ()
    vocabulary = None

    def recipe_depends(self, settings: MlpSettings, base: Path) -> dict[str, Any]:
        return {}

    def fit(self, training: Training[MlpSettings]) -> Fitted:
        import torch
        from safetensors.torch import save_file

        if training.task.truth == "number":
            training = in_deviations(training)
            assert training.unit is not None
            held = training.unit.inside(training.validation.targets)
            training = replace(training, validation=replace(training.validation, targets=held))
        threads = torch.get_num_threads()
        torch.set_num_threads(1)  # sums over threads would make another network on another machine
        try:
            with torch.random.fork_rng(devices=[]):
                torch.manual_seed(training.settings.seed)
                network, history, best = _fitted(training)
        finally:
            torch.set_num_threads(threads)
        if training.unit is not None:
            training.unit.fold_into(network.head)
        weights = {name: values.detach().contiguous() for name, values in network.state_dict().items()}
        save_file(weights, training.folder / "model.safetensors", {BEST_EPOCH: str(best)})
        _export({name: values.numpy() for name, values in weights.items()}, training.folder / "model.onnx")
        return Fitted(history, {"epochs": len(history), "weights": sum(each.numel() for each in weights.values())})

    def network(self, folder: Path) -> torch.nn.Module:
        from safetensors.torch import load_file

        weights = load_file(folder / "model.safetensors")
        network = _network(weights)
        network.load_state_dict(weights)
        return network


def in_double(weights: Mapping[str, NDArray[Any]], columns: NDArray[np.float32]) -> NDArray[np.float64]:
    """[rows, outputs] The network's logits, its sums in double: so they depend neither on a kernel nor on the number of
    rows, and plain code gives the same again."""
    own = {name: values.astype(np.float64) for name, values in weights.items() if name != "numbers"}
    if len(columns) > AT_ONCE:
        return np.concatenate(
            [in_double(weights, columns[at : at + AT_ONCE]) for at in range(0, len(columns), AT_ONCE)]
        )
    hidden = columns.astype(np.float64)
    if own["frequencies"].size:
        waves = np.cos(hidden[:, weights["numbers"], None] * own["frequencies"] + own["phases"])
        mixed = np.maximum(np.einsum("rnw,nwm->rnm", waves, own["mixing"]), 0.0)
        hidden = np.concatenate([hidden, mixed.reshape(len(hidden), -1)], axis=1)
    for layer in _layers(weights):
        summed = hidden @ own[f"{layer}.weight"].T + own[f"{layer}.bias"]
        hidden = summed / (1 + np.exp(-summed))
    logits: NDArray[np.float64] = hidden @ own["head.weight"].T + own["head.bias"]
    return logits


def _fitted(training: Training[MlpSettings]) -> tuple[Any, list[dict[str, float]], int]:
    """The network of the best epoch on validation, the losses of every epoch, and the best one's number."""
    import torch

    settings, rows = training.settings, len(training.train)
    columns, targets, weights = _tensors(training.train)
    numbers = _numbers(matrix_of(training.train))
    network = _made(columns.shape[1], numbers, training.task.outputs, settings)
    batch = (
        settings.batch_size if settings.batch_size != "auto" else 128 if rows < 5000 else 256 if rows < 20000 else 512
    )
    epochs = settings.num_train_epochs if settings.num_train_epochs != "auto" else 40 if rows < 20000 else 16
    steps, at = epochs * math.ceil(rows / batch), 0
    optimizer = torch.optim.AdamW(
        network.parameters(), lr=settings.learning_rate, weight_decay=settings.weight_decay, foreach=True
    )
    loss = Loss(training.task.losses[0] if settings.loss == "auto" else settings.loss)
    draw = torch.Generator().manual_seed(settings.seed)
    best, state, waited = math.inf, copy.deepcopy(network.state_dict()), 0
    history: list[dict[str, float]] = []
    chosen = 0
    with bar("mlp", epochs) as advance:
        for epoch in range(epochs):
            network.train()
            total = 0.0
            for places in torch.randperm(rows, generator=draw).split(batch):
                at += 1
                rate = min(1.0, at / WARMUP) * (0.5 + 0.5 * math.cos(math.pi * at / steps))
                for group in optimizer.param_groups:
                    group["lr"] = settings.learning_rate * rate
                optimizer.zero_grad(set_to_none=True)
                losses = training.task.loss(network(columns=columns[places]), targets[places], loss)
                mean = (losses * weights[places]).mean()
                mean.backward()
                optimizer.step()
                total += float(mean.detach()) * len(places)
            history.append({"step": float(epoch + 1), "loss": total / rows})
            if len(training.validation):
                held = _validation_loss(network, training, loss)
                history[-1]["validation_loss"] = held
                better = held < best
                best, waited = min(best, held), 0 if better else waited + 1
            else:
                better = True
            if better:
                state, chosen = copy.deepcopy(network.state_dict()), epoch + 1
            advance(1, " ".join(f"{name} {value:.4g}" for name, value in history[-1].items() if name != "step"))
            if settings.early_stopping_patience and waited >= settings.early_stopping_patience:
                break
    network.load_state_dict(state)
    network.eval()
    return network, history, chosen


def _tensors(examples: Examples) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Columns [rows, columns], targets [rows, 1] and weights [rows]; copies, since rows may be mapped from a file."""
    import torch

    targets = torch.from_numpy(np.array(examples.targets.values))[:, None]
    targets = targets if targets.is_floating_point() else targets.long()
    return torch.from_numpy(np.array(matrix_of(examples))), targets, torch.from_numpy(np.array(examples.weights))


def _validation_loss(network: Any, training: Training[MlpSettings], loss: Loss) -> float:
    import torch

    network.eval()
    columns, targets, weights = _tensors(training.validation)
    with torch.no_grad():
        parts = [network(columns=part) for part in columns.split(AT_ONCE)]
        losses = training.task.loss(torch.cat(parts), targets, loss)
        return float((losses * weights).sum() / weights.sum())


def _numbers(columns: NDArray[np.float32]) -> NDArray[np.int64]:
    """The places of the columns with more than two values: the others are marks of a category or of a missing value."""
    several = [place for place in range(columns.shape[1]) if len(np.unique(columns[:LOOKED_AT, place])) > 2]
    return np.array(several, np.int64)


def _made(columns: int, numbers: NDArray[np.int64], outputs: int, settings: MlpSettings) -> Any:
    import torch

    waves, of_numbers = settings.waves, len(numbers)
    width = columns + (OF_WAVES * of_numbers if waves else 0)
    shapes: dict[str, tuple[int, ...]] = {"numbers": (of_numbers,), "frequencies": (of_numbers, waves)}
    shapes |= {"phases": (of_numbers, waves), "mixing": (of_numbers, waves, OF_WAVES)}
    for layer in range(settings.layers):
        shapes |= {f"layers.{layer}.weight": (settings.width, width if layer == 0 else settings.width)}
    shapes |= {"head.weight": (outputs, settings.width)}
    network = _network({name: torch.empty(shape) for name, shape in shapes.items()}, settings.dropout)
    with torch.no_grad():
        network.numbers.copy_(torch.from_numpy(numbers))
        network.frequencies.copy_(torch.randn(of_numbers, waves) * settings.sigma * 2 * math.pi)
        network.phases.copy_(torch.rand(of_numbers, waves) * 2 * math.pi)
        network.mixing.copy_(torch.randn(of_numbers, waves, OF_WAVES) / max(waves, 1) ** 0.5)
    return network


def _network(weights: Mapping[str, torch.Tensor], dropout: float = 0.0) -> Any:
    """An empty network whose parts have the shapes of these weights."""
    import torch

    nn = torch.nn

    class Network(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.register_buffer("numbers", torch.zeros(weights["numbers"].shape, dtype=torch.int64))
            self.frequencies = nn.Parameter(torch.zeros(weights["frequencies"].shape))
            self.phases = nn.Parameter(torch.zeros(weights["phases"].shape))
            self.mixing = nn.Parameter(torch.zeros(weights["mixing"].shape))
            shapes = [weights[f"{name}.weight"].shape for name in _layers(weights)]
            self.layers = nn.ModuleList(nn.Linear(inner, outer) for outer, inner in shapes)
            self.head = nn.Linear(weights["head.weight"].shape[1], weights["head.weight"].shape[0])

        def forward(self, columns: torch.Tensor) -> torch.Tensor:
            hidden = columns
            if self.frequencies.numel():
                waves = torch.cos(columns[:, self.numbers, None] * self.frequencies + self.phases)
                mixed = torch.relu((waves[:, :, None, :] @ self.mixing)[:, :, 0, :])
                hidden = torch.cat([columns, mixed.flatten(1)], dim=1)
            for layer in self.layers:
                hidden = nn.functional.silu(layer(hidden))
                hidden = nn.functional.dropout(hidden, dropout, self.training)
            logits: torch.Tensor = self.head(hidden)
            return logits

    return Network()


def _layers(weights: Mapping[str, Any]) -> list[str]:
    """The names of the hidden layers, in order."""
    places = sorted(int(name.split(".")[1]) for name in weights if name.startswith("layers.") and "weight" in name)
    return [f"layers.{place}" for place in places]


def _export(weights: Mapping[str, NDArray[Any]], path: Path) -> None:
    """The network as an ONNX graph: `columns` float32 [rows, width] → `logits` float32 [rows, outputs]."""
    import onnx
    from onnx import TensorProto, helper, numpy_helper

    layers = _layers(weights)
    width = weights["layers.0.weight"].shape[1]
    columns = width - (OF_WAVES * len(weights["numbers"]) if weights["frequencies"].size else 0)
    constants: dict[str, NDArray[Any]] = {}
    nodes, hidden = [], "columns"
    if weights["frequencies"].size:
        constants |= {name: weights[name] for name in ("numbers", "frequencies", "phases", "mixing")}
        constants |= {"last": np.array([2]), "flat": np.array([0, -1])}
        nodes += [
            helper.make_node("Gather", ["columns", "numbers"], ["chosen"], axis=1),
            helper.make_node("Unsqueeze", ["chosen", "last"], ["column"]),
            helper.make_node("Mul", ["column", "frequencies"], ["angles"]),
            helper.make_node("Add", ["angles", "phases"], ["shifted"]),
            helper.make_node("Cos", ["shifted"], ["waves"]),
            helper.make_node("Unsqueeze", ["waves", "last"], ["wave_rows"]),
            helper.make_node("MatMul", ["wave_rows", "mixing"], ["mixed_rows"]),
            helper.make_node("Squeeze", ["mixed_rows", "last"], ["mixed"]),
            helper.make_node("Relu", ["mixed"], ["bent"]),
            helper.make_node("Reshape", ["bent", "flat"], ["beside"]),
            helper.make_node("Concat", ["columns", "beside"], ["inputs"], axis=1),
        ]
        hidden = "inputs"
    for layer in layers:
        constants |= {f"{layer}.weight": weights[f"{layer}.weight"].T.copy(), f"{layer}.bias": weights[f"{layer}.bias"]}
        nodes += [
            helper.make_node("MatMul", [hidden, f"{layer}.weight"], [f"{layer}.product"]),
            helper.make_node("Add", [f"{layer}.product", f"{layer}.bias"], [f"{layer}.sum"]),
            helper.make_node("Sigmoid", [f"{layer}.sum"], [f"{layer}.gate"]),
            helper.make_node("Mul", [f"{layer}.sum", f"{layer}.gate"], [f"{layer}.out"]),
        ]
        hidden = f"{layer}.out"
    constants |= {"head.weight": weights["head.weight"].T.copy(), "head.bias": weights["head.bias"]}
    nodes += [
        helper.make_node("MatMul", [hidden, "head.weight"], ["head.product"]),
        helper.make_node("Add", ["head.product", "head.bias"], ["logits"]),
    ]
    graph = helper.make_graph(
        nodes,
        "mlp",
        [helper.make_tensor_value_info("columns", TensorProto.FLOAT, ["rows", columns])],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["rows", len(weights["head.bias"])])],
        [numpy_helper.from_array(values, name) for name, values in constants.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.checker.check_model(model)
    onnx.save(model, path)


LEARNER: TorchLearner = Mlp()
