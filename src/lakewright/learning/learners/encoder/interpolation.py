"""Between where training began and where it ended: the weights on that line which are best on validation.

A fine-tuned encoder has forgotten some of what the base model knew; a part of the way back recovers it (WiSE-FT,
Wortsman et al. 2022). It needs a start that makes sense by itself: the base model's embeddings, or a probed head. The
start is always a candidate: a trained network is never worse on validation than the one that training began with.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence

import torch

from lakewright.learning.learners import Training, direction
from lakewright.learning.learners.encoder.loop import Validated, validate
from lakewright.learning.learners.encoder.network import EncoderNetwork
from lakewright.learning.learners.encoder.settings import EncoderSettings
from lakewright.learning.learners.units import digits
from lakewright.system.progress import bar

SHARES = (0.8, 0.7, 0.6, 0.5, 0.4)  # of the way, from the end back; 1 is the end itself
PATIENCE = 2  # shares in a row that are no better: the score rises and falls once along the way
Weights = dict[str, torch.Tensor]

LOG = logging.getLogger("lakewright")


def interpolate(
    network: EncoderNetwork,
    start: Weights,
    training: Training[EncoderSettings],
    end_score: float,
    shares: Sequence[float] = SHARES,
) -> dict[str, float | int | str]:
    """Leaves the best weights in the network; returns the share of the way that they are at, and validation scores.

    `end_score` is the validation score (`merit`) of the network as it comes; `shares` are tried between it and the
    start, which the first of several processes alone has to have.
    """
    end = {name: value.clone() for name, value in network.state_dict().items()}

    group = training.group

    def validated_at(share: float) -> Validated:
        if group.first:
            network.load_state_dict(_between(start, end, share))
        group.same(network.state_dict().values())
        validated = validate(network, training)
        text = digits(training.unit, validated.primary, validated.scores[validated.primary])
        advance(1, f"{share:.0%} of the way  validation {validated.primary} {text}")
        return validated

    best_share, best_score, worse = 1.0, end_score, 0
    with bar("interpolate", len(shares) + 1) as advance:
        for share in shares:
            score = validated_at(share).score
            if score > best_score:
                best_share, best_score, worse = share, score, 0
            elif (worse := worse + 1) == PATIENCE:
                break
        at_start = validated_at(0.0)
    sign, start_score = direction(at_start.primary), at_start.score
    if start_score > best_score:
        best_share, best_score = 0.0, start_score
        LOG.warning(
            "training did not help: validation %s before it, %s after it; the weights from before it stay. Set "
            "a lower train.learning_rate, more epochs, or train.learner: embedding, which makes this model faster",
            *(digits(training.unit, at_start.primary, sign * score) for score in (start_score, end_score)),
        )
    if group.first:  # which leaves the model
        network.load_state_dict(_between(start, end, best_share) if best_share < 1 else end)
    return {
        "interpolated": best_share,
        "interpolated_validation": sign * best_score,
        "start_validation": sign * start_score,
    }


def _between(start: Weights, end: Weights, share: float) -> Weights:
    return {
        name: torch.lerp(start[name].to(value), value, share) if value.is_floating_point() else value
        for name, value in end.items()
    }
