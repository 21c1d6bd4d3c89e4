"""Pictures of predicted classes and labels beside the true ones."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from lakewright.evaluation.calibration import Reliability, ece
from lakewright.pages.pictures.canvas import INK, RIGHT, WRONG, new_figure, short

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from numpy.typing import NDArray


def confusion_matrix(counts: NDArray[np.float64], labels: Sequence[str], *, limit: int = 25) -> Figure:
    """`counts` [C, C], row = truth. Cells are shaded by their share of the row: blue is right, orange wrong.

    Of more than `limit` classes only those with the most mistakes, made or attracted, are drawn; the title says so.
    """
    counts = np.asarray(counts)
    wrong = counts - np.diag(np.diag(counts))
    share = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    title = ""
    if len(labels) > limit:
        indices = np.sort(np.argsort(-(wrong.sum(axis=0) + wrong.sum(axis=1)), kind="stable")[:limit])
        title = f"the {limit} most confused of {len(labels)} classes"
        counts, share, labels = (
            counts[np.ix_(indices, indices)],
            share[np.ix_(indices, indices)],
            [labels[i] for i in indices],
        )
    figure, axes = _matrix(labels)
    for truth, predicted in np.argwhere(counts > 0):
        right = truth == predicted
        alpha = 0.1 + 0.5 * float(share[truth, predicted]) ** (1.0 if right else 0.6)
        _cell(axes, truth, predicted, f"{counts[truth, predicted]:.0f}", RIGHT if right else WRONG, alpha)
    axes.set(title=title)
    axes.set_xlabel("predicted")
    axes.set_ylabel("true")
    return figure


def co_occurrence(truth: NDArray[np.bool_], labels: Sequence[str], *, limit: int = 20) -> Figure:
    """`truth` [n, L] → of the rows with the label of a row of the picture, the percentage that also has the label of
    the column. Of more than `limit` labels the most frequent ones are drawn, and the title says so."""
    title = ""
    if len(labels) > limit:
        indices = np.sort(np.argsort(-truth.sum(axis=0), kind="stable")[:limit])
        title = f"the {limit} most frequent of {len(labels)} labels"
        truth, labels = truth[:, indices], [labels[i] for i in indices]
    hot = truth.astype(np.float64)
    together = hot.T @ hot
    share = together / np.maximum(np.diag(together)[:, None], 1)
    figure, axes = _matrix(labels)
    for row, column in np.argwhere(share >= 0.005):
        if row == column:
            _cell(axes, row, column, "", INK, 0.08)
        else:
            _cell(axes, row, column, f"{100 * share[row, column]:.0f}", RIGHT, 0.05 + 0.55 * float(share[row, column]))
    axes.set(title=title)
    axes.set_xlabel("also has")
    axes.set_ylabel("of the rows with")
    return figure


def reliability_diagram(
    bins: Reliability, *, right: str = "share right", sure: str = "confidence", counted: str = "rows"
) -> Figure:
    """Accuracy by confidence against the diagonal, over the histogram of the confidences. The words name the axes."""
    figure, (above, below) = new_figure(5.2, 5.0, rows=2, height_ratios=[3, 1])
    middle, width = (bins.edges[:-1] + bins.edges[1:]) / 2, float(bins.edges[1])
    filled = bins.count > 0
    above.bar(middle[filled], bins.accuracy[filled], width * 0.92, color=RIGHT, alpha=0.55, label=right)
    above.plot(bins.confidence[filled], bins.accuracy[filled], "o", color=RIGHT, markersize=4)
    above.plot([0, 1], [0, 1], "--", color=INK, alpha=0.55, linewidth=1, label="perfect calibration")
    above.set(xlim=(0, 1), ylim=(0, 1), ylabel=right, title=f"expected calibration error {ece(bins):.3f}")
    above.legend(frameon=False, labelcolor=INK, fontsize=8, loc="upper left")
    below.bar(middle, bins.count, width * 0.92, color=INK, alpha=0.35)
    below.set(xlim=(0, 1), xlabel=sure, ylabel=counted)
    return figure


def gain(share_of_rows: NDArray[np.float64], share_of_positives: NDArray[np.float64], share: float) -> Figure:
    """The share of all rows of a class among the rows that are most probably of it, both [m + 1] from 0 to 1, between
    the diagonal and the curve of an order without a mistake. `share` of the rows are of the class."""
    figure, axes = new_figure(4.6, 3.6)
    axes.plot([0, share, 1], [0, 1, 1], color=INK, alpha=0.55, linewidth=1, label="perfect order")
    axes.plot(share_of_rows, share_of_positives, color=RIGHT, linewidth=1.8, label="by probability")
    axes.plot([0, 1], [0, 1], "--", color=INK, alpha=0.55, linewidth=1, label="any order")
    axes.set(
        xlim=(0, 1), ylim=(0, 1.02), xlabel="share of the rows, the most probable first", ylabel="share of the class"
    )
    axes.legend(frameon=False, labelcolor=INK, fontsize=8, loc="lower right")
    return figure


def cost_by_threshold(
    values: NDArray[np.float64], costs: NDArray[np.float64], marks: Mapping[str, tuple[float, float]]
) -> Figure:
    """`costs` [m + 1] of the thresholds up to the first of the `values` [m], from there to the second …, beyond the
    last; `marks` are named points (threshold, cost)."""
    figure, axes = new_figure(5.6, 3.2)
    # A step that is narrower than a pixel is not seen.
    axes.stairs(*_coarser(costs, np.concatenate([[0.0], values, [1.0]]), 400), baseline=None, color=INK, alpha=0.6)
    for colour, marker, (name, (threshold, cost)) in zip((RIGHT, WRONG), ("o", "D"), marks.items(), strict=False):
        axes.plot([threshold], [cost], marker, color=colour, markersize=7, label=name)
    axes.set(xlim=(-0.02, 1.02), xlabel="threshold", ylabel="cost of 1,000 rows")
    axes.set_ylim(0, float(costs.max()) * 1.06 or 1.0)
    axes.legend(frameon=False, labelcolor=INK, fontsize=8)
    return figure


def labels_a_row(true: NDArray[np.integer], predicted: NDArray[np.integer]) -> Figure:
    """How many rows truly have, and are said to have, 0, 1, 2 … labels."""
    figure, axes = new_figure(5.2, 2.6)
    largest = int(max(true.max(initial=0), predicted.max(initial=0)))
    places = np.arange(largest + 1)
    axes.bar(places - 0.2, np.bincount(true, minlength=largest + 1), 0.38, color=INK, alpha=0.4, label="true")
    axes.bar(
        places + 0.2, np.bincount(predicted, minlength=largest + 1), 0.38, color=RIGHT, alpha=0.75, label="predicted"
    )
    axes.set(xlabel="labels a row", ylabel="rows")
    axes.yaxis.get_major_locator().set_params(integer=True)
    axes.set_xticks(places)
    axes.legend(frameon=False, labelcolor=INK, fontsize=8)
    return figure


def error_distance(steps: NDArray[np.integer]) -> Figure:
    """Rows by how many places the prediction is above (or below) the truth in the labels' order."""
    figure, axes = new_figure(4.6, 2.6)
    largest = int(np.abs(steps).max(initial=1))
    places = np.arange(-largest, largest + 1)
    counts = np.bincount(steps + largest, minlength=2 * largest + 1)
    bars = axes.bar(places, counts, 0.85, color=[RIGHT if place == 0 else WRONG for place in places], alpha=0.75)
    axes.bar_label(bars, [f"{count:,}" if count else "" for count in counts], fontsize=8, color=INK)
    axes.set(xlabel="places above the truth", ylabel="rows")
    if largest <= 10:
        axes.set_xticks(places, [f"{place:+d}" if place else "0" for place in places])
    return figure


def expected_by_truth(truth: NDArray[np.integer], expected: NDArray[np.float64], labels: Sequence[str]) -> Figure:
    """For each true label the mean expected place in the order, and where the middle 80 % of its rows lie."""
    figure, axes = new_figure(4.6, 3.2)
    places = np.arange(len(labels))
    axes.plot(places, places, "--", color=INK, alpha=0.55, linewidth=1, label="truth")
    for place in places:
        values = expected[truth == place]
        if len(values):
            low, high = np.quantile(values, [0.1, 0.9])
            axes.plot([place, place], [low, high], color=RIGHT, alpha=0.4, linewidth=7, solid_capstyle="round")
            axes.plot(
                [place], [values.mean()], "o", color=RIGHT, markersize=6, label="mean" if place == truth[0] else None
            )
    axes.set_xlabel("true")
    axes.set_ylabel("expected")
    names = [short(label) for label in labels]
    axes.set_xticks(places, names, rotation=0 if max(map(len, names)) < 4 else 30, parse_math=False)
    axes.set_yticks(places, names, parse_math=False)
    axes.legend(frameon=False, labelcolor=INK, fontsize=8, loc="upper left")
    return figure


def _coarser(
    heights: NDArray[np.float64], edges: NDArray[np.float64], limit: int
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Stairs of heights [n] between edges [n + 1] with at most `limit` steps: of neighbours the lowest stays."""
    if len(heights) <= limit:
        return heights, edges
    groups = np.array_split(np.arange(len(heights)), limit)
    lowest = np.array([heights[group].min() for group in groups])
    return lowest, np.append(edges[[group[0] for group in groups]], edges[-1])


def _matrix(labels: Sequence[str]) -> tuple[Figure, Any]:
    """Empty axes with the labels along both sides."""
    names, size = [short(label) for label in labels], len(labels)
    side = max(2.0, 0.27 * size)
    margin = 0.085 * max(map(len, names))
    figure, axes = new_figure(side + margin + 0.5, side + margin + 0.6)
    axes.set(xlim=(-0.5, size - 0.5), ylim=(size - 0.5, -0.5), aspect="equal")
    # A label may hold "$", which would otherwise start a formula.
    axes.set_xticks(range(size), names, rotation=90, parse_math=False)
    axes.set_yticks(range(size), names, parse_math=False)
    return figure, axes


def _cell(axes: Any, row: int, column: int, text: str, colour: str, alpha: float) -> None:
    axes.add_patch(_rectangle(column - 0.5, row - 0.5, colour, alpha))
    room = max(2.0, 0.27 * len(axes.get_xticks())) / len(axes.get_xticks())  # inches
    fontsize = 9.0 if room > 0.4 else 7.0 if len(text) < 4 else 5.5
    axes.text(column, row, text, ha="center", va="center", color=INK, fontsize=fontsize)


def _rectangle(x: float, y: float, colour: str, alpha: float) -> Any:
    from matplotlib.patches import Rectangle

    return Rectangle((x, y), 1, 1, facecolor=colour, alpha=alpha, linewidth=0)
