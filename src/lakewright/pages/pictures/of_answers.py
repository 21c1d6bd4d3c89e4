"""Pictures of answers and of what a search finds: ranks and spans."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np

from lakewright.pages.pictures.canvas import INK, MORE, RIGHT, WRONG, new_figure

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from numpy.typing import NDArray


def rank_histogram(ranks: NDArray[np.integer]) -> Figure:
    """Rows by the rank of their right text: 1, 2, 3–5, 6–10, 11–20 …"""
    bounds = [0, 1, 2, 5, 10, 20, 50, 100, 1000, max(1001, int(ranks.max(initial=1)))]
    counts, _ = np.histogram(ranks, bins=np.array(bounds) + 0.5)
    names = [f"{low + 1:,}" if low + 1 == high else f"{low + 1:,}–{high:,}" for low, high in pairwise(bounds)]
    last = int(np.flatnonzero(counts).max(initial=0))
    figure, axes = new_figure(4.6, 2.6)
    bars = axes.bar(range(last + 1), counts[: last + 1], 0.85, color=[RIGHT] + [WRONG] * last, alpha=0.75)
    axes.bar_label(bars, [f"{count:,}" if count else "" for count in counts[: last + 1]], fontsize=8, color=INK)
    axes.set_xticks(range(last + 1), names[: last + 1])
    axes.set(xlabel="rank of the right text", ylabel="rows")
    return figure


def recall_curve(ranks: NDArray[np.integer], *, limit: int = 100) -> Figure:
    """The share of rows whose right text is among the first k, by k."""
    from matplotlib.ticker import FuncFormatter, NullLocator

    figure, axes = new_figure(4.6, 2.6)
    k = np.arange(1, max(2, min(limit, len(ranks))) + 1)
    axes.plot(k, [(ranks <= at).mean() for at in k], color=RIGHT, linewidth=1.6)
    axes.set(xscale="log", xlabel="k", ylabel="recall at k", ylim=(0, 1.02), xlim=(1, k[-1]))
    axes.set_xticks([at for at in (1, 2, 5, 10, 20, 50, 100) if at <= k[-1]])
    axes.xaxis.set_major_formatter(FuncFormatter(lambda x, _: f"{x:g}"))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.grid(axis="y", alpha=0.25, linewidth=0.6)
    return figure


def coverage(exact: Sequence[float], overlap: Sequence[float]) -> Figure:
    """Exact match and F1 of the best among the first 1, 2, 3 … answers."""
    figure, axes = new_figure(4.6, 2.6)
    k = np.arange(1, len(exact) + 1)
    axes.plot(k, exact, "o-", color=RIGHT, markersize=4, linewidth=1.4, label="exact match")
    axes.plot(k, overlap, "o-", color=MORE[1], markersize=4, linewidth=1.4, label="F1")
    axes.set(xlabel="number of answers", ylim=(0, 1.02))
    axes.set_xticks(k)
    axes.legend(frameon=False, labelcolor=INK, fontsize=8)
    return figure
