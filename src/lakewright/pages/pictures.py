"""The report's pictures. Each function draws a Figure; `svg` turns it into a string for the page, `png` into a file.

In the SVG the text stays text in the page's own font, and the ink is `currentColor`, so one picture serves the light
page and the dark one and stays a few kilobytes.
"""

from __future__ import annotations

import io
import re
import warnings
from collections.abc import Mapping, Sequence
from datetime import datetime
from html import escape
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from lakewright.data.rows.columns import number_of
from lakewright.evaluation.calibration import Reliability, ece

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from numpy.typing import NDArray

    from lakewright.evaluation.leaderboard import Leaderboard
    from lakewright.records import Dependence

INK = "#1b1c1a"  # replaced by currentColor in the page
RIGHT = "#3d7edb"
WRONG = "#e0672f"
FOLLOWED = (
    *("accuracy", "macro_f1", "entity_f1", "exact_match", "jaccard", "quadratic_weighted_kappa", "qa_f1"),
    *("spearman", "mrr", "r2"),
)
"""The metrics worth a line in the learning curve; the others follow them or are on another scale."""
MORE = ["#3d7edb", "#c07a1f", "#3f9f6f", "#a566c4", "#cc4f6c", "#3d8fa3"]


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
    figure, (above, below) = _figure(5.2, 5.0, rows=2, height_ratios=[3, 1])
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
    figure, axes = _figure(4.6, 3.6)
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
    figure, axes = _figure(5.6, 3.2)
    # A step that is narrower than a pixel is not seen.
    axes.stairs(*_coarser(costs, np.concatenate([[0.0], values, [1.0]]), 400), baseline=None, color=INK, alpha=0.6)
    for colour, marker, (name, (threshold, cost)) in zip((RIGHT, WRONG), ("o", "D"), marks.items(), strict=False):
        axes.plot([threshold], [cost], marker, color=colour, markersize=7, label=name)
    axes.set(xlim=(-0.02, 1.02), xlabel="threshold", ylabel="cost of 1,000 rows")
    axes.set_ylim(0, float(costs.max()) * 1.06 or 1.0)
    axes.legend(frameon=False, labelcolor=INK, fontsize=8)
    return figure


def dependence(curves: Sequence[Dependence], title: str) -> Figure:
    """A panel for each input, all with one scale, so that the input with the flattest curve counts least; a line for
    each class. `title` names what is drawn upwards."""
    import matplotlib.dates as dates

    across = min(3, len(curves))
    down = -(-len(curves) // across)
    figure, places = _figure(2.9 * across + 0.5, 2.5 * down + 0.3, rows=down, columns=across)
    panels = list(np.atleast_1d(places).flat)
    lines = [np.array(means) for curve in curves for means in curve.means.values()]
    drawn, unit = _drawable(*lines)
    heights_of = iter(drawn)
    low, high = min(float(line.min()) for line in drawn), max(float(line.max()) for line in drawn)
    margin = 0.06 * (high - low) or 0.5
    for place, (axes, curve) in enumerate(zip(panels, curves, strict=False)):
        order = _category_order(curve.values) if curve.kind == "category" else []
        x, of_input = np.empty(0), ""
        if curve.kind == "number":
            (x,), of_input = _drawable(np.array(curve.values, np.float64))
        elif curve.kind == "time":
            x = np.array([dates.date2num(datetime.fromisoformat(str(value))) for value in curve.values])
        for colour, name in zip(MORE, curve.means, strict=False):
            heights = next(heights_of)
            if curve.kind == "category":
                axes.plot(range(len(heights)), heights[order], "o", color=colour, markersize=5, label=name)
                continue
            axes.plot(x, heights, "o-", color=colour, markersize=2.5, linewidth=1.4, label=name)
        if curve.kind == "category":
            names = [_brief(str(curve.values[at])) for at in order]
            turned = {"rotation": 40, "ha": "right", "rotation_mode": "anchor"} if max(map(len, names)) > 3 else {}
            axes.set_xticks(range(len(names)), names, parse_math=False, **turned)
            axes.set_xlim(-0.5, len(names) - 0.5)
        elif curve.kind == "time":
            if all("0100" < str(value) < "9900" for value in curve.values):
                locator = dates.AutoDateLocator(minticks=3, maxticks=7)  # so, one interval fits any span
                axes.xaxis.set_major_locator(locator)
                axes.xaxis.set_major_formatter(dates.ConciseDateFormatter(locator))
            else:  # matplotlib knows no dates beyond the years 1 and 9999, where its margins may lie
                axes.set_xticks(x[[0, -1]], [str(curve.values[at])[:10] for at in (0, -1)])
        else:
            axes.locator_params(axis="x", nbins=5)
        axes.set_ylim(low - margin, high + margin)
        axes.set_title(f"{_short(curve.input)}{of_input}", fontsize=9, parse_math=False)
        axes.tick_params(labelleft=place % across == 0)
        if place % across == 0:
            axes.set_ylabel(f"{title}{unit}", parse_math=False)
    for axes in panels[len(curves) :]:
        axes.set_visible(False)
    if len(curves[0].means) > 1:
        handles, names = panels[0].get_legend_handles_labels()
        legend = figure.legend(
            handles, map(_short, names), loc="outside lower center", ncols=3, frameon=False, labelcolor=INK, fontsize=8
        )
        for text in legend.get_texts():
            text.set_parse_math(False)
    return figure


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
    figure, places = _figure(4.2 * max(len(panels), 1), 3.0, columns=max(len(panels), 1))
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
    figure, axes = _figure(5.2, 2.4)
    shortest, longest, rows = np.array(bins).reshape(-1, 3).T
    axes.bar((shortest + longest) / 2, rows, width=longest - shortest + 1, color=RIGHT, alpha=0.7)
    if max_length is not None:
        axes.axvline(max_length + 0.5, color=WRONG, linewidth=1.5)
        axes.set_title(f"cut at max_length {max_length}", fontsize=8, loc="right")
    axes.set(xlabel="encoded length", ylabel="texts of train")
    axes.xaxis.get_major_locator().set_params(integer=True)
    return figure


def labels_a_row(true: NDArray[np.integer], predicted: NDArray[np.integer]) -> Figure:
    """How many rows truly have, and are said to have, 0, 1, 2 … labels."""
    figure, axes = _figure(5.2, 2.6)
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
    figure, axes = _figure(4.6, 2.6)
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
    figure, axes = _figure(4.6, 3.2)
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
    names = [_short(label) for label in labels]
    axes.set_xticks(places, names, rotation=0 if max(map(len, names)) < 4 else 30, parse_math=False)
    axes.set_yticks(places, names, parse_math=False)
    axes.legend(frameon=False, labelcolor=INK, fontsize=8, loc="upper left")
    return figure


def score_scatter(truth: NDArray[np.float64], scores: NDArray[np.float64], *, limit: int = 800) -> Figure:
    """Predicted by true scores, against the diagonal. Of more than `limit` rows every so manieth is drawn."""
    figure, axes = _figure(4.6, 4.2)
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
    figure, axes = _figure(4.6, 2.4)
    axes.hist(errors, bins=31, color=RIGHT, alpha=0.7)
    axes.axvline(0, color=INK, alpha=0.55, linewidth=1, linestyle="--")
    axes.set(xlabel="predicted − true score", ylabel="rows")
    return figure


def predicted_by_true(truth: NDArray[np.float64], predicted: NDArray[np.float64]) -> Figure:
    """Both [n], on equal axes with the diagonal: a point for each row, or of more than 800 hexagons, the darker the
    more rows."""
    figure, axes = _figure(4.6, 4.6)
    (truth, predicted), unit = _drawable(truth, predicted)
    _density(axes, truth, predicted)
    low, high = min(truth.min(), predicted.min()), max(truth.max(), predicted.max())
    margin = 0.04 * (high - low) or 0.5
    ends = (low - margin, high + margin)
    axes.plot(ends, ends, "--", color=INK, alpha=0.55, linewidth=1)
    axes.set(xlabel=f"true{unit}", ylabel=f"predicted{unit}", xlim=ends, ylim=ends, aspect="equal")
    return figure


def residuals(predicted: NDArray[np.float64], errors: NDArray[np.float64]) -> Figure:
    """Predicted − true by the prediction, both [n]: points, or hexagons where there are more than 800."""
    figure, axes = _figure(4.6, 3.2)
    (predicted,), unit = _drawable(predicted)
    (errors,), error_unit = _drawable(errors)
    _density(axes, predicted, errors)
    axes.axhline(0, color=INK, alpha=0.55, linewidth=1, linestyle="--")
    axes.set(xlabel=f"predicted{unit}", ylabel=f"predicted − true{error_unit}")
    return figure


def residual_histogram(errors: NDArray[np.float64]) -> Figure:
    """Rows by predicted − true [n]. Of more than 100 rows the outermost 1 % at most are counted in the bars at the
    ends, if the picture would else be more than three times as wide; the title says so."""
    figure, axes = _figure(4.6, 2.6)
    (errors,), unit = _drawable(errors)
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
    figure, axes = _figure(4.6, 2.8)
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


def rank_histogram(ranks: NDArray[np.integer]) -> Figure:
    """Rows by the rank of their right text: 1, 2, 3–5, 6–10, 11–20 …"""
    bounds = [0, 1, 2, 5, 10, 20, 50, 100, 1000, max(1001, int(ranks.max(initial=1)))]
    counts, _ = np.histogram(ranks, bins=np.array(bounds) + 0.5)
    names = [f"{low + 1:,}" if low + 1 == high else f"{low + 1:,}–{high:,}" for low, high in pairwise(bounds)]
    last = int(np.flatnonzero(counts).max(initial=0))
    figure, axes = _figure(4.6, 2.6)
    bars = axes.bar(range(last + 1), counts[: last + 1], 0.85, color=[RIGHT] + [WRONG] * last, alpha=0.75)
    axes.bar_label(bars, [f"{count:,}" if count else "" for count in counts[: last + 1]], fontsize=8, color=INK)
    axes.set_xticks(range(last + 1), names[: last + 1])
    axes.set(xlabel="rank of the right text", ylabel="rows")
    return figure


def recall_curve(ranks: NDArray[np.integer], *, limit: int = 100) -> Figure:
    """The share of rows whose right text is among the first k, by k."""
    from matplotlib.ticker import FuncFormatter, NullLocator

    figure, axes = _figure(4.6, 2.6)
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
    figure, axes = _figure(4.6, 2.6)
    k = np.arange(1, len(exact) + 1)
    axes.plot(k, exact, "o-", color=RIGHT, markersize=4, linewidth=1.4, label="exact match")
    axes.plot(k, overlap, "o-", color=MORE[1], markersize=4, linewidth=1.4, label="F1")
    axes.set(xlabel="number of answers", ylim=(0, 1.02))
    axes.set_xticks(k)
    axes.legend(frameon=False, labelcolor=INK, fontsize=8)
    return figure


def trade_off(leaderboard: Leaderboard) -> Figure:
    """The metric, with its interval, by the seconds for 1,000 rows; the area is the size. The numbers are the places in
    the leaderboard, ★ the recommended one. Blue: a tie with the best; ringed: on the Pareto front of metric, seconds
    and size."""
    from matplotlib.ticker import FuncFormatter, LogLocator, NullLocator

    figure, axes = _figure(7.6, 4.4)
    places = leaderboard.places
    seconds = np.array([place.entry.seconds for place in places])
    values = np.array([place.entry.metric.value for place in places])
    sizes = np.array([place.entry.bytes for place in places], dtype=np.float64)
    areas = np.maximum(700 * sizes / sizes.max(), 16)  # in points²; a smaller one could not be seen
    for x, area, place in zip(seconds, areas, places, strict=True):
        metric, colour = place.entry.metric, RIGHT if place.tied else INK
        axes.plot([x, x], [metric.low, metric.high], color=colour, alpha=0.55, linewidth=1.2)
        axes.scatter([x], [metric.value], s=area, color=colour, alpha=0.45 if place.tied else 0.3, linewidth=0)
        if place.on_front:
            axes.scatter([x], [metric.value], s=area, facecolor="none", edgecolor=INK, linewidth=1.3)
    # So wide at least that one of 1, 2, 5, 10 … is within.
    axes.set(xscale="log", xlim=(seconds.min() / 1.7, seconds.max() * 1.7))
    axes.margins(y=0.15)  # a large point at the top is not cut
    axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda x, _: f"{x:g}"))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.set_xlabel("seconds for 1,000 rows")
    axes.set_ylabel(leaderboard.metric)
    figure.draw_without_rendering()  # lays the axes out, so that data have a place in points
    centres = axes.transData.transform(np.column_stack([seconds, values])) * 72 / figure.dpi
    offsets = _label_offsets(centres, np.sqrt(areas) / 2)
    for number, (place, offset) in enumerate(zip(places, offsets, strict=True), start=1):
        axes.annotate(
            f"{number}★" if place is leaderboard.recommended else str(number),
            (place.entry.seconds, place.entry.metric.value),
            xytext=tuple(offset),
            textcoords="offset points",
            ha="center",
            va="center",
            color=INK,
            in_layout=False,
        )
    return figure


def metric_by_seconds(
    metric: str,
    numbers: Sequence[int],
    seconds: Sequence[float],
    values: Sequence[float],
    halves: Sequence[float],
    tied: Sequence[bool],
) -> Figure:
    """The metric of each candidate, ± half its interval, by the seconds that it took. Blue: tied with the best."""
    from matplotlib.ticker import FuncFormatter

    figure, axes = _figure(7.6, 4.0)
    for number, x, y, half, tie in zip(numbers, seconds, values, halves, tied, strict=True):
        if not np.isfinite(y):
            continue
        at, colour = max(x, 0.01), RIGHT if tie else INK
        axes.plot([at, at], [y - half, y + half], color=colour, alpha=0.35, linewidth=1.2)
        axes.plot([at], [y], "o", color=colour, markersize=5, alpha=0.8)
        axes.annotate(
            str(number), (at, y), xytext=(7, 0), textcoords="offset points", va="center", color=INK, in_layout=False
        )
    axes.set(xscale="log", xlabel="seconds of all folds", ylabel=metric)
    axes.margins(x=0.1, y=0.12)
    axes.xaxis.set_major_formatter(FuncFormatter(lambda x, _: f"{x:g}"))
    return figure


def _label_offsets(centres: NDArray[np.float64], radii: NDArray[np.float64]) -> list[NDArray[np.float64]]:
    """How far from its point's centre each label stands: beside the point, or round it, or further off, where it
    covers neither a point nor a label before it. In points; `centres` is [n, 2], `radii` is [n]."""
    half = 8.0  # of a label of two digits, either way
    directions = np.array([(1, 0), (-1, 0), (1, 1), (1, -1), (-1, 1), (-1, -1), (0, 1), (0, -1)])
    blocked = list(zip(centres, radii, strict=True))
    offsets = []
    for centre, radius in zip(centres, radii, strict=True):
        candidates = [direction * (radius + half + gap) for gap in (1, 8, 16, 24, 32) for direction in directions]
        free = (
            offset
            for offset in candidates
            if all(np.abs(centre + offset - point).max() >= half + room for point, room in blocked)
        )
        offsets.append(next(free, candidates[0]))
        blocked.append((centre + offsets[-1], half))
    return offsets


def svg(figure: Figure, description: str) -> str:
    """One <svg> element to put into a page; `description` is what a screen reader says."""
    import matplotlib

    buffer = io.StringIO()
    with matplotlib.rc_context({"svg.fonttype": "none", "svg.hashsalt": "lakewright"}), warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph")  # the page's font draws it, whatever matplotlib's lacks
        figure.savefig(buffer, format="svg", transparent=True, metadata={"Date": None})
    text = buffer.getvalue()
    text = text[text.index("<svg") :]
    text = re.sub(r"\s*<metadata>.*?</metadata>", "", text, flags=re.DOTALL)
    text = re.sub(r"\s*<!--.*?-->", "", text, flags=re.DOTALL)
    text = re.sub(r' id="[a-zA-Z]+[0-9]*_[0-9]+"', "", text)  # groups' names, the same in every picture of a page
    text = re.sub(r"font: ([0-9.]+px) [^;\"]*", r"font-size: \1; font-family: inherit", text)
    text = text.replace(INK, "currentColor")
    text = re.sub(r">\s+<", "><", text)
    return text.replace("<svg", f'<svg role="img" aria-label="{escape(description)}"', 1)


def png(figure: Figure, path: Path) -> None:
    figure.savefig(path, format="png", dpi=144, facecolor="white")


def _figure(width: float, height: float, *, rows: int = 1, columns: int = 1, **grid: Any) -> tuple[Figure, Any]:
    """A Figure of its own, apart from pyplot's global state and its windows, and its empty axes."""
    import matplotlib
    from matplotlib.figure import Figure

    look = {
        "font.size": 9,
        "axes.titlesize": 9,
        "text.color": INK,
        "axes.labelcolor": INK,
        "axes.edgecolor": INK,
        "xtick.color": INK,
        "ytick.color": INK,
        "axes.spines.top": False,
        "axes.spines.right": False,
        "axes.linewidth": 0.6,
    }
    with matplotlib.rc_context(look):
        figure = Figure(figsize=(width, height), layout="constrained")
        return figure, figure.subplots(rows, columns, gridspec_kw=grid or None)


def _density(axes: Any, x: NDArray[np.float64], y: NDArray[np.float64]) -> None:
    """Points, or of more than 800 hexagons whose shade is the logarithm of their rows."""
    from matplotlib.colors import LinearSegmentedColormap, to_rgba

    if len(x) <= 800:
        axes.scatter(x, y, s=12, color=RIGHT, alpha=0.35, linewidth=0)
        return
    shades = LinearSegmentedColormap.from_list("rows", [to_rgba(RIGHT, 0.25), to_rgba(RIGHT, 1.0)])
    axes.hexbin(x, y, gridsize=32, mincnt=1, bins="log", cmap=shades, linewidths=0.1)


def _drawable(*series: NDArray[np.float64]) -> tuple[list[NDArray[np.float64]], str]:
    """The series divided by one power of ten, and that power for the name of the axis: " (1e300)". Both as they come
    where matplotlib can draw them: it squares widths, and takes very small ones for none."""
    most = max(float(np.abs(values).max(initial=0.0)) for values in series)
    if most == 0 or 1e-9 <= most < 1e12:
        return list(series), ""
    power = int(np.floor(np.log10(most)))
    half = power // 2  # 10.0**-power may be no float64
    return [values / 10.0**half / 10.0 ** (power - half) for values in series], f" (1e{power})"


def _brief(label: str) -> str:
    """As `_short`, for a narrow panel."""
    return label if len(label) <= 14 else f"{label[:13].rstrip()}…"


def _category_order(values: Sequence[float | str]) -> list[int]:
    """Where to draw each: by size where all are numbers, else as they come."""
    numbers = [number_of(str(value)) for value in values]
    return (
        sorted(range(len(values)), key=numbers.__getitem__) if np.isfinite(numbers).all() else list(range(len(values)))
    )


def _coarser(
    heights: NDArray[np.float64], edges: NDArray[np.float64], limit: int
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Stairs of heights [n] between edges [n + 1] with at most `limit` steps: of neighbours the lowest stays."""
    if len(heights) <= limit:
        return heights, edges
    groups = np.array_split(np.arange(len(heights)), limit)
    lowest = np.array([heights[group].min() for group in groups])
    return lowest, np.append(edges[[group[0] for group in groups]], edges[-1])


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


def _short(label: str) -> str:
    return label if len(label) <= 26 else f"{label[:16].rstrip()}…{label[-9:].lstrip()}"


def _matrix(labels: Sequence[str]) -> tuple[Figure, Any]:
    """Empty axes with the labels along both sides."""
    names, size = [_short(label) for label in labels], len(labels)
    side = max(2.0, 0.27 * size)
    margin = 0.085 * max(map(len, names))
    figure, axes = _figure(side + margin + 0.5, side + margin + 0.6)
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
