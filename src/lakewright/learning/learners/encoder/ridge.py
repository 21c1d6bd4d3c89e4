"""Ridge regression in closed form (Hoerl & Kennard 1970): the linear head of a number whose loss is the squared error.

An iteration that ends before its minimum ends elsewhere in another unit of the truth, by its rounding; this does not.
"""

from __future__ import annotations

import torch

PART = 8192  # rows in float64 at once


class Ridge:
    """Rows to learn from, as their sums: each penalty is then one system of as many equations as there are inputs."""

    def __init__(self, inputs: torch.Tensor, targets: torch.Tensor, weights: torch.Tensor) -> None:
        """inputs [rows, width], targets [rows, outputs], weights [rows]."""
        total = weights.double().sum()
        shares = [part.double()[:, None] / total for part in weights.split(PART)]
        parts = [*zip(inputs.split(PART), targets.split(PART), shares, strict=True)]
        self._inputs = torch.stack([(part * share).sum(dim=0) for part, _, share in parts]).sum(dim=0)  # their means
        self._targets = torch.stack([(part * share).sum(dim=0) for _, part, share in parts]).sum(dim=0)
        width = inputs.shape[1]
        self._spread = torch.zeros(width, width, dtype=torch.float64)
        self._together = torch.zeros(width, targets.shape[1], dtype=torch.float64)
        for part, numbers, share in parts:
            about = part.double() - self._inputs
            self._spread += about.T @ (about * share)
            self._together += about.T @ ((numbers.double() - self._targets) * share)

    def head(self, penalty: float) -> tuple[torch.Tensor, torch.Tensor]:
        """weight [outputs, width] and bias [outputs] of the least mean squared error + penalty · |weight|² ÷ 2."""
        system = self._spread + torch.eye(len(self._spread), dtype=torch.float64) * penalty / 2
        weight = torch.linalg.solve(system, self._together).T
        return weight.float(), (self._targets - weight @ self._inputs).float()
