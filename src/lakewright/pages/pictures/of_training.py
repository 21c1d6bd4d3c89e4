"""Pictures of a training and of its texts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from lakewright.pages.pictures.canvas import INK, MORE, RIGHT, WRONG, new_figure

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from numpy.typing import NDArray

FOLLOWED = (
    *("accuracy", "macro_f1", "entity_f1", "exact_match", "jaccard", "quadratic_weighted_kappa", "qa_f1"),
    *("spearman", "mrr", "r2"),
)
"""The metrics worth a line in the learning curve; the others follow them or are on another scale."""


def learning_curve(history: Sequence[Mapping[str, float]]) -> Figure:
    """Entries with "step" (or "epoch") and any of: keys that end in "loss", drawn left; the metrics in `FOLLOWED`, with
    or without "validation_" before, drawn right. Other keys are left alone; an entry need not hold every key. Of more
    than 300 points the means of neighbours are drawn.

    A loss of more than 40 points is drawn faintly, under its moving mean. The axis of the metrics begins at 0, or at
    the lowest value below it, and ends at 1, so that noise looks flat; their best values are in the legend."""
    along = "step" if any("step" in entry for entry in history) else "epoch"
    curves: dict[str, list[tuple[float, float]]] = {}
    for entry in history:
        for key, value in entry.items():
            followed = key.endswith("loss") or key.removeprefix("validation_") in FOLLOWED
            if along in entry and followed and np.isfinite(value):
                curves.setdefault(key, []).append((float(entry[along]), float(value)))
    panels = [
        panel
        for panel in (
            ("loss", {key: points for key, points in curves.items() if key.endswith("loss")}),
            ("validation", {key: points for key, points in curves.items() if not key.endswith("loss")}),
        )
        if panel[1]
    ]
    figure, places = new_figure(4.2 * max(len(panels), 1), 3.0, columns=max(len(panels), 1))
    for axes, (title, lines) in zip(np.atleast_1d(places), panels, strict=False):
        for colour, (key, points) in zip(MORE * (len(lines) // len(MORE) + 1), lines.items(), strict=False):
            line, label = np.array(points), key
            marker = "o" if len(line) <= 40 else ""
            if title == "loss" and not marker:
                axes.plot(*_thinned(line, 300).T, color=colour, alpha=0.35, linewidth=0.8)
                near = len(line) // 40
                line, label = _smoothed(line, near), f"{key}, mean of {2 * near + 1}"
            if title == "validation":
                label = f"{key}, best {line[:, 1].max():.3f}"
            axes.plot(*_thinned(line, 300).T, color=colour, marker=marker, markersize=3, linewidth=1.4, label=label)
        if title == "validation":
            lowest = min(value for points in lines.values() for _, value in points)
            axes.set_ylim(min(0, lowest), 1.02)
        axes.set(xlabel=along, title=title)
        axes.legend(frameon=False, labelcolor=INK, fontsize=8)
    return figure


def length_histogram(bins: Sequence[tuple[int, int, int]], max_length: int | None = None) -> Figure:
    """Rows by encoded length, and where they are cut, if they are. A bin is (shortest, longest, rows)."""
    figure, axes = new_figure(5.2, 2.4)
    shortest, longest, rows = np.array(bins).reshape(-1, 3).T
    axes.bar((shortest + longest) / 2, rows, width=longest - shortest + 1, color=RIGHT, alpha=0.7)
    if max_length is not None:
        axes.axvline(max_length + 0.5, color=WRONG, linewidth=1.5)
        axes.set_title(f"cut at max_length {max_length}", fontsize=8, loc="right")
    axes.set(xlabel="encoded length", ylabel="texts of train")
    axes.xaxis.get_major_locator().set_params(integer=True)
    return figure


def _thinned(points: NDArray[np.float64], limit: int) -> NDArray[np.float64]:
    """[n, 2] → at most [limit, 2]: a run of thousands of steps would make a page of megabytes."""
    if len(points) <= limit:
        return points
    return np.array([group.mean(axis=0) for group in np.array_split(points, limit)])


def _smoothed(points: NDArray[np.float64], near: int) -> NDArray[np.float64]:
    """[n, 2] → [n, 2]: the mean of each value and of `near` neighbours either way, of fewer at the ends."""
    weights = np.ones(2 * near + 1)
    sums, counts = (np.convolve(values, weights, "same") for values in (points[:, 1], np.ones(len(points))))
    return np.column_stack([points[:, 0], sums / counts])
