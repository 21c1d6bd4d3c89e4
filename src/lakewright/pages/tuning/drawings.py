"""The drawings of tune.html."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from lakewright.evaluation.leaderboard import pareto_front
from lakewright.pages.pictures.canvas import INK, RIGHT, new_figure

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from lakewright.pages.tuning import TriedParameter

BEST = 0.1  # share of the trials that are drawn in blue


def history(trials: Sequence[Mapping[str, Any]], metric: str, better: int) -> Figure:
    """Each trial's metric, in their order, and the best so far as a line."""
    figure, axes = new_figure(7.6, 3.2)
    numbers = [trial["number"] for trial in trials]
    values = np.array([trial["metric"] for trial in trials])
    axes.scatter(numbers, values, s=14, color=INK, alpha=0.45, linewidth=0)
    axes.step(numbers, better * np.maximum.accumulate(better * values), where="post", color=RIGHT, linewidth=1.4)
    axes.set(xlabel="trial", ylabel=metric)
    return figure


def parallel_coordinates(parameters: Sequence[TriedParameter], ranked: Sequence[Mapping[str, Any]]) -> Figure:
    """A line a trial through the places of its settings, the best tenth in blue; it is broken where a trial lacks a
    parameter."""
    figure, axes = new_figure(max(4.0, 1.5 * len(parameters) + 1), 3.6)
    best = max(1, round(BEST * len(ranked)))
    for rank, trial in reversed(list(enumerate(ranked))):
        heights = [each.places.get(trial["number"], np.nan) for each in parameters]
        style = {"color": RIGHT, "alpha": 0.9, "linewidth": 1.4} if rank < best else {"color": INK, "alpha": 0.18}
        axes.plot(range(len(parameters)), heights, **{"linewidth": 0.8, "marker": ".", "markersize": 4, **style})
    for place, each in enumerate(parameters):
        axes.axvline(place, color=INK, linewidth=0.6, alpha=0.5)
        axes.annotate(each.low, (place, 0), xytext=(3, -2), textcoords="offset points", va="top", color=INK, fontsize=8)
        axes.annotate(each.high, (place, 1), xytext=(3, 2), textcoords="offset points", color=INK, fontsize=8)
    names = [each.name.removeprefix("train.").removeprefix("prepare.recipe.") for each in parameters]
    axes.set_xticks(range(len(parameters)), names, rotation=20 if len(names) > 3 else 0)
    axes.set(yticks=[], ylim=(-0.08, 1.08), xlim=(-0.3, len(parameters) - 0.4))
    axes.spines["left"].set_visible(False)
    return figure


def metric_by_seconds(trials: Sequence[Mapping[str, Any]], metric: str, better: int) -> Figure:
    """Blue and numbered: on the Pareto front, no other trial being as good and as fast and better in one of the two."""
    figure, axes = new_figure(7.6, 3.2)
    seconds, values = (np.array([trial[key] for trial in trials]) for key in ("seconds", "metric"))
    front = np.array(pareto_front([(float(s), float(-better * v)) for s, v in zip(seconds, values, strict=True)]))
    axes.scatter(seconds, values, s=18, color=INK, alpha=0.35, linewidth=0)
    axes.scatter(seconds[front], values[front], s=34, color=RIGHT, alpha=0.8, linewidth=0)
    for trial, on_front in zip(trials, front, strict=True):
        if on_front:
            at = (trial["seconds"], trial["metric"])
            axes.annotate(str(trial["number"]), at, xytext=(5, 4), textcoords="offset points", color=INK, fontsize=8)
    axes.set(xlabel="seconds", ylabel=metric)
    axes.margins(0.08)
    return figure
