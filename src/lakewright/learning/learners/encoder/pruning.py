"""A narrower network to be quantised: neurons are left out whose say the others can take over.

Between the two products of a feed-forward layer stand some four times as many neurons as the layer is wide, and these
products are two thirds of what a network computes. Which neurons to leave out, and how the weights of the others change
for it, tells the optimal brain surgeon (Hassibi and Stork 1993), here for a neuron's whole column of weights, as in
ZipLM (Kurtić, Frantar and Alistarh 2023): that which costs the least error in what the layer says of training rows,
once the other columns were fitted anew by least squares. Nothing is trained.
"""

from __future__ import annotations

from collections.abc import Sequence
from copy import deepcopy
from dataclasses import replace

import numpy as np
import torch
from torch import nn

from lakewright.learning.learners import Training
from lakewright.learning.learners.encoder import packed
from lakewright.learning.learners.encoder.network import EncoderNetwork
from lakewright.learning.learners.encoder.settings import PretrainedSettings
from lakewright.model.recipe.ragged import longest_first

TOKENS, PART = 16_384, 2048  # of train, to look at: in all, and at once
STEPS = 24  # in which all would go: of BERT's kin 64 neurons at once, or a multiple, which products like
RIDGE = 1e-4  # of the neurons' mean variance: columns fitted anew stay moderate


def pruned(network: EncoderNetwork, training: Training[PretrainedSettings], error: float) -> EncoderNetwork:
    """A copy in which each layer has lost as many neurons as cost at most the share `error` of its output's variance.

    The network is one whose layers are known (`packed.is_packed`), on the processor.
    """
    narrow: EncoderNetwork = deepcopy(network).eval()
    encoder = narrow.encoder
    with torch.inference_mode():
        batches = _batches(training)
        hidden = [packed.lowest(encoder, *batch, 1) for batch in batches]
        layouts = [packed.layout_of(batch[1], 1) for batch in batches]
        for layer in packed.layers(encoder):
            activations: list[torch.Tensor] = []
            watch = layer.down.register_forward_pre_hook(
                lambda _, inputs, activations=activations: activations.append(inputs[0])
            )
            for before, layout in zip(hidden, layouts, strict=True):
                packed.through_layer(layer, before, layout, False)
            watch.remove()
            _narrow(layer, torch.cat(activations), error)
            # The layers above learn from what this one says now.
            hidden = [
                packed.through_layer(layer, before, layout, False)
                for before, layout in zip(hidden, layouts, strict=True)
            ]
    return narrow


def _batches(
    training: Training[PretrainedSettings],
) -> Sequence[tuple[torch.Tensor, torch.Tensor, torch.Tensor | None]]:
    """input_ids, attention_mask, token_type_ids of train's sequences, drawn at random."""
    encoded = replace(training.train.encoded, hidden=None)
    lengths = encoded.ids.lengths
    drawn = np.random.default_rng(training.settings.seed).permutation(len(lengths))
    drawn = drawn[: max(1, int(np.searchsorted(np.cumsum(lengths[drawn]), TOKENS)))]
    batches = []
    for sequences in longest_first(drawn, lengths, PART):
        inputs = {name: torch.from_numpy(values) for name, values in training.recipe.batch(encoded, sequences).items()}
        batches.append((inputs["input_ids"], inputs["attention_mask"], inputs.get("token_type_ids")))
    return batches


def _narrow(layer: packed.Layer, activations: torch.Tensor, error: float) -> None:
    """`activations` [tokens, neurons] is what the layer's neurons said."""
    weight = layer.down.weight.detach().double()  # [width, neurons]
    mean = activations.mean(dim=0)
    about = activations - mean
    spread = (about.T @ about).double() / len(about)
    allowed = error * float(((weight @ spread) * weight).sum())
    offset = layer.down.bias.detach().double() + weight @ mean.double()

    spread.diagonal().add_(RIDGE * spread.diagonal().mean())
    inverse = torch.linalg.inv(spread)
    neurons, step = torch.arange(len(mean)), max(1, len(mean) // STEPS)
    while len(neurons) > step:
        cost = weight.square().sum(dim=0) / inverse.diagonal()
        leaving = torch.zeros(len(neurons), dtype=torch.bool)
        leaving[cost.topk(step, largest=False).indices] = True
        # How the columns that stay make up for those that leave, and what that does not mend.
        transfer = torch.linalg.solve(inverse[leaving][:, leaving], inverse[leaving][:, ~leaving])
        residual = torch.linalg.solve(inverse[leaving][:, leaving], weight[:, leaving].T)
        allowed -= float((residual * weight[:, leaving].T).sum())
        if allowed < 0:
            break
        weight = weight[:, ~leaving] - weight[:, leaving] @ transfer
        inverse = inverse[~leaving][:, ~leaving] - inverse[~leaving][:, leaving] @ transfer
        neurons = neurons[~leaving]

    layer.down.weight = nn.Parameter(weight.float(), requires_grad=False)
    layer.down.bias = nn.Parameter((offset - weight @ mean[neurons].double()).float(), requires_grad=False)
    layer.up.weight = nn.Parameter(layer.up.weight[neurons], requires_grad=False)
    layer.up.bias = nn.Parameter(layer.up.bias[neurons], requires_grad=False)
    layer.up.out_features = layer.down.in_features = len(neurons)
