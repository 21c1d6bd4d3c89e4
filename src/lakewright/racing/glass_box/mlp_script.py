"""The code of a candidate of `mlp`: the same network, trained by torch alone, its sums of predictions in double."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping

    from lakewright.model.tasks import Task

IMPORTS = ["import math", "", "import torch"]
NAMED = ("width", "layers", "dropout", "waves", "sigma", "learning_rate", "weight_decay", "seed")


def settings_of(settings: Mapping[str, Any]) -> dict[str, Any]:
    """The numbers by which it is trained; those that are `auto` follow from the rows, in the code."""
    return {name: settings[name] for name in (*NAMED, "batch_size", "num_train_epochs")}


def training_of(settings: Mapping[str, Any], task: Task) -> str:
    loss = settings["loss"] if settings["loss"] != "auto" else task.losses[0]
    call = {
        "cross_entropy": 'cross_entropy(logits, goal[places, 0], reduction="none")',
        "l2": 'mse_loss(logits[:, 0], goal[places, 0], reduction="none")',
        "l1": 'l1_loss(logits[:, 0], goal[places, 0], reduction="none")',
        "huber": 'huber_loss(logits[:, 0], goal[places, 0], reduction="none")',
    }[loss]
    number = task.truth == "number"
    body = _CODE.replace("LOSS", f"torch.nn.functional.{call}").replace("OUTPUTS", str(task.outputs))
    body = body.replace("GOAL", _GOAL_OF_NUMBER if number else _GOAL_OF_CLASSES)
    return body.replace("UNIT", _UNIT if number else "")


_GOAL_OF_CLASSES = "    goal = torch.from_numpy(truth[learn].astype(np.int64))"

_GOAL_OF_NUMBER = """\
    known = truth[learn].astype(np.float64)
    mean, deviation = (known[0], 1.0) if known.min() == known.max() else (known.mean(), known.std())
    goal = torch.from_numpy(((known - mean) / deviation).astype(np.float32))"""

_UNIT = """\
    with torch.no_grad():  # the head answers in the truth's unit
        network.head.weight.copy_((network.head.weight.double() * deviation).float())
        network.head.bias.copy_((network.head.bias.double() * deviation + mean).float())
"""

_CODE = """\
torch.set_num_threads(1)  # sums over threads would make another network


class Network(torch.nn.Module):
    def __init__(self, columns, numbers):
        super().__init__()
        waves = SETTINGS["waves"]
        self.register_buffer("numbers", torch.from_numpy(numbers))
        self.frequencies = torch.nn.Parameter(torch.zeros(len(numbers), waves))
        self.phases = torch.nn.Parameter(torch.zeros(len(numbers), waves))
        self.mixing = torch.nn.Parameter(torch.zeros(len(numbers), waves, 4))
        widths = [columns + (4 * len(numbers) if waves else 0)] + [SETTINGS["width"]] * SETTINGS["layers"]
        self.layers = torch.nn.ModuleList(torch.nn.Linear(a, b) for a, b in zip(widths, widths[1:]))
        self.head = torch.nn.Linear(SETTINGS["width"], OUTPUTS)

    def forward(self, columns):
        hidden = columns
        if self.frequencies.numel():  # numbers as cosines of learned frequencies, beside the numbers
            waves = torch.cos(columns[:, self.numbers, None] * self.frequencies + self.phases)
            mixed = torch.relu((waves[:, :, None, :] @ self.mixing)[:, :, 0, :])
            hidden = torch.cat([columns, mixed.flatten(1)], dim=1)
        for layer in self.layers:
            hidden = torch.nn.functional.silu(layer(hidden))
            hidden = torch.nn.functional.dropout(hidden, SETTINGS["dropout"], self.training)
        return self.head(hidden)


def fitted(number, learn):
    rows = len(learn)
    x, w = torch.from_numpy(columns[learn]), torch.from_numpy(weight[learn])
GOAL
    goal = goal[:, None]
    numbers = np.array([c for c in range(x.shape[1]) if len(np.unique(columns[learn[:2000], c])) > 2], np.int64)
    torch.manual_seed(SETTINGS["seed"])
    network = Network(x.shape[1], numbers)
    with torch.no_grad():
        shape = network.frequencies.shape
        network.frequencies.copy_(torch.randn(*shape) * SETTINGS["sigma"] * 2 * math.pi)
        network.phases.copy_(torch.rand(*shape) * 2 * math.pi)
        network.mixing.copy_(torch.randn(*shape, 4) / max(SETTINGS["waves"], 1) ** 0.5)
    batch, epochs = SETTINGS["batch_size"], SETTINGS["num_train_epochs"]
    if batch == "auto":
        batch = 128 if rows < 5000 else 256 if rows < 20000 else 512
    if epochs == "auto":
        epochs = 40 if rows < 20000 else 16
    optimizer = torch.optim.AdamW(
        network.parameters(), lr=SETTINGS["learning_rate"], weight_decay=SETTINGS["weight_decay"], foreach=True
    )
    draw = torch.Generator().manual_seed(SETTINGS["seed"])
    steps, at = epochs * math.ceil(rows / batch), 0
    network.train()
    for epoch in range(BEST[number]):
        for places in torch.randperm(rows, generator=draw).split(batch):
            at += 1
            rate = min(1.0, at / 50) * (0.5 + 0.5 * math.cos(math.pi * at / steps))
            for group in optimizer.param_groups:
                group["lr"] = SETTINGS["learning_rate"] * rate
            optimizer.zero_grad(set_to_none=True)
            logits = network(x[places])
            losses = LOSS
            (losses * w[places]).mean().backward()
            optimizer.step()
UNIT    return {name: values.detach().numpy() for name, values in network.state_dict().items()}


def logits_of(number, learn, held):
    weights = fitted(number, learn)
    own = {name: values.astype(np.float64) for name, values in weights.items() if name != "numbers"}
    hidden = columns[held].astype(np.float64)
    if own["frequencies"].size:
        waves = np.cos(hidden[:, weights["numbers"], None] * own["frequencies"] + own["phases"])
        mixed = np.maximum(np.einsum("rnw,nwm->rnm", waves, own["mixing"]), 0.0)
        hidden = np.concatenate([hidden, mixed.reshape(len(hidden), -1)], axis=1)
    for layer in range(SETTINGS["layers"]):
        summed = hidden @ own[f"layers.{layer}.weight"].T + own[f"layers.{layer}.bias"]
        hidden = summed / (1 + np.exp(-summed))
    return hidden @ own["head.weight"].T + own["head.bias"]"""
