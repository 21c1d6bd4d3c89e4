"""The weights between start and end: the best on validation stay, and none where the end is best."""

from __future__ import annotations

import pytest
import torch

from lakewright.learners.encoder import interpolation
from lakewright.learners.encoder.network import EncoderNetwork


class Line(torch.nn.Module):
    def __init__(self, at: float) -> None:
        super().__init__()
        self.at = torch.nn.Parameter(torch.tensor([at]))
        self.register_buffer("places", torch.tensor([3]))


@pytest.mark.parametrize(("best_at", "share"), [(0.72, 0.7), (0.5, 0.5), (1.0, 1.0), (2.0, 1.0), (0.0, 0.5)])
def test_the_best_between_stays(monkeypatch: pytest.MonkeyPatch, best_at: float, share: float) -> None:
    network, start = Line(1.0), Line(0.0).state_dict()

    def score(of: EncoderNetwork, training: object) -> tuple[float, str]:
        return -abs(float(of.at.detach()) - best_at), "accuracy"  # type: ignore[arg-type]

    monkeypatch.setattr(interpolation, "_score", score)
    found = interpolation.interpolate(network, start, None)  # type: ignore[arg-type]
    assert found["interpolated"] == share
    assert float(network.at.detach()) == pytest.approx(share)
    assert found["interpolated_validation"] == pytest.approx(-abs(share - best_at))
