"""Pictures of predicted numbers and scores beside the true ones."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from lakewright.pages.pictures.canvas import INK, RIGHT, drawable, new_figure

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from numpy.typing import NDArray


def score_scatter(truth: NDArray[np.float64], scores: NDArray[np.float64], *, limit: int = 800) -> Figure:
    """Predicted by true scores, against the diagonal. Of more than `limit` rows every so manieth is drawn."""
    figure, axes = new_figure(4.6, 4.2)
    step = max(1, -(-len(truth) // limit))
    axes.scatter(truth[::step], scores[::step], s=12, color=RIGHT, alpha=0.35, linewidth=0)
    ends = [min(truth.min(), scores.min()), max(truth.max(), scores.max())]
    axes.plot(ends, ends, "--", color=INK, alpha=0.55, linewidth=1)
    axes.set(xlabel="true score", ylabel="predicted score")
    if step > 1:
        axes.set(title=f"{len(truth[::step]):,} of {len(truth):,} rows")
    return figure


def score_errors(errors: NDArray[np.float64]) -> Figure:
    """The histogram of predicted − true scores."""
    figure, axes = new_figure(4.6, 2.4)
    axes.hist(errors, bins=31, color=RIGHT, alpha=0.7)
    axes.axvline(0, color=INK, alpha=0.55, linewidth=1, linestyle="--")
    axes.set(xlabel="predicted − true score", ylabel="rows")
    return figure


def predicted_by_true(truth: NDArray[np.float64], predicted: NDArray[np.float64]) -> Figure:
    """Both [n], on equal axes with the diagonal: a point for each row, or of more than 800 hexagons, the darker the
    more rows."""
    figure, axes = new_figure(4.6, 4.6)
    (truth, predicted), unit = drawable(truth, predicted)
    _density(axes, truth, predicted)
    low, high = min(truth.min(), predicted.min()), max(truth.max(), predicted.max())
    margin = 0.04 * (high - low) or 0.5
    ends = (low - margin, high + margin)
    axes.plot(ends, ends, "--", color=INK, alpha=0.55, linewidth=1)
    axes.set(xlabel=f"true{unit}", ylabel=f"predicted{unit}", xlim=ends, ylim=ends, aspect="equal")
    return figure


def residuals(predicted: NDArray[np.float64], errors: NDArray[np.float64]) -> Figure:
    """Predicted − true by the prediction, both [n]: points, or hexagons where there are more than 800."""
    figure, axes = new_figure(4.6, 3.2)
    (predicted,), unit = drawable(predicted)
    (errors,), error_unit = drawable(errors)
    _density(axes, predicted, errors)
    axes.axhline(0, color=INK, alpha=0.55, linewidth=1, linestyle="--")
    axes.set(xlabel=f"predicted{unit}", ylabel=f"predicted − true{error_unit}")
    return figure


def residual_histogram(errors: NDArray[np.float64]) -> Figure:
    """Rows by predicted − true [n]. Of more than 100 rows the outermost 1 % at most are counted in the bars at the
    ends, if the picture would else be more than three times as wide; the title says so."""
    figure, axes = new_figure(4.6, 2.6)
    (errors,), unit = drawable(errors)
    low, high = np.quantile(errors, [0.005, 0.995])
    beyond = int(((errors < low) | (errors > high)).sum())
    if len(errors) > 100 and 0 < high - low < (errors.max() - errors.min()) / 3:
        errors = np.clip(errors, low, high)
        axes.set(title=f"{beyond:,} row{'s' * (beyond != 1)} farther out in the bars at the ends")
    axes.hist(errors, bins=31, color=RIGHT, alpha=0.7)
    axes.axvline(0, color=INK, alpha=0.55, linewidth=1, linestyle="--")
    axes.set(xlabel=f"predicted − true{unit}", ylabel="rows")
    return figure


def interval_coverage(shares: Sequence[float], rows: Sequence[int], level: float) -> Figure:
    """The share of truths inside their interval, by group of rows, with Wilson's 95 % interval (1927), against the
    level that the intervals should hold."""
    figure, axes = new_figure(4.6, 2.8)
    places, share, count = np.arange(1, len(shares) + 1), np.array(shares), np.array(rows, dtype=np.float64)
    z = 1.959964
    middle = (share + z**2 / (2 * count)) / (1 + z**2 / count)
    half = z / (1 + z**2 / count) * np.sqrt(share * (1 - share) / count + z**2 / (4 * count**2))
    axes.vlines(places, middle - half, middle + half, color=RIGHT, alpha=0.4, linewidth=6)
    axes.plot(places, share, "o", color=RIGHT, markersize=5)
    axes.axhline(level, color=INK, alpha=0.55, linewidth=1, linestyle="--")
    axes.set(xlabel="tenth of the predictions, the smallest first", ylabel="truths inside", ylim=(0, 1.02))
    axes.set_xticks(places)
    return figure


def _density(axes: Any, x: NDArray[np.float64], y: NDArray[np.float64]) -> None:
    """Points, or of more than 800 hexagons whose shade is the logarithm of their rows."""
    from matplotlib.colors import LinearSegmentedColormap, to_rgba

    if len(x) <= 800:
        axes.scatter(x, y, s=12, color=RIGHT, alpha=0.35, linewidth=0)
        return
    shades = LinearSegmentedColormap.from_list("rows", [to_rgba(RIGHT, 0.25), to_rgba(RIGHT, 1.0)])
    axes.hexbin(x, y, gridsize=32, mincnt=1, bins="log", cmap=shades, linewidths=0.1)
