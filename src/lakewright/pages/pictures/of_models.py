"""Pictures of several models beside each other."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from lakewright.pages.pictures.canvas import INK, RIGHT, new_figure

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from numpy.typing import NDArray

    from lakewright.evaluation.leaderboard import Leaderboard


def trade_off(leaderboard: Leaderboard) -> Figure:
    """The metric, with its interval, by the seconds for 1,000 rows; the area is the size. The numbers are the places in
    the leaderboard, ★ the recommended one. Blue: a tie with the best; ringed: on the Pareto front of metric, seconds
    and size."""
    from matplotlib.ticker import FuncFormatter, LogLocator, NullLocator

    figure, axes = new_figure(7.6, 4.4)
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

    figure, axes = new_figure(7.6, 4.0)
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
