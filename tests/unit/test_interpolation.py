"""The weights between start and end: the best on validation stay, and none where the end is best."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
import torch

from lakewright.learning.learners.encoder import interpolation
from lakewright.learning.learners.encoder.loop import Validated
from lakewright.learning.processes.group import ALONE


class Line(torch.nn.Module):
    def __init__(self, at: float) -> None:
        super().__init__()
        self.at = torch.nn.Parameter(torch.tensor([at]))
        self.register_buffer("places", torch.tensor([3]))


@pytest.mark.parametrize(("metric", "sign"), [("accuracy", 1), ("rmse", -1)])  # more is better, less is
@pytest.mark.parametrize(
    ("best_at", "share"), [(0.72, 0.7), (0.5, 0.5), (1.0, 1.0), (2.0, 1.0), (0.3, 0.4), (0.1, 0.0), (0.0, 0.0)]
)
def test_the_best_between_stays(
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    best_at: float,
    share: float,
    metric: str,
    sign: int,
) -> None:
    network, start = Line(1.0), Line(0.0).state_dict()

    def validate(of: Line, training: object) -> Validated:
        score = -abs(float(of.at.detach()) - best_at)
        return Validated({metric: sign * score}, metric, score, "")

    monkeypatch.setattr(interpolation, "validate", validate)
    training: Any = SimpleNamespace(unit=None, group=ALONE)
    found = interpolation.interpolate(network, start, training, -abs(1 - best_at))
    assert found["interpolated"] == share
    assert float(network.at.detach()) == pytest.approx(share)
    assert found["interpolated_validation"] == pytest.approx(sign * -abs(share - best_at))
    assert ("training did not help" in caplog.text) == (share == 0)
