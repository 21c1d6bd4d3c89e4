"""A picture of what a model predicts as one input changes."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import TYPE_CHECKING

import numpy as np

from lakewright.data.rows.columns import number_of
from lakewright.pages.pictures.canvas import INK, MORE, drawable, new_figure, short

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from lakewright.records import Dependence


def dependence(curves: Sequence[Dependence], title: str) -> Figure:
    """A panel for each input, all with one scale, so that the input with the flattest curve counts least; a line for
    each class. `title` names what is drawn upwards."""
    import matplotlib.dates as dates

    across = min(3, len(curves))
    down = -(-len(curves) // across)
    figure, places = new_figure(2.9 * across + 0.5, 2.5 * down + 0.3, rows=down, columns=across)
    panels = list(np.atleast_1d(places).flat)
    lines = [np.array(means) for curve in curves for means in curve.means.values()]
    drawn, unit = drawable(*lines)
    heights_of = iter(drawn)
    low, high = min(float(line.min()) for line in drawn), max(float(line.max()) for line in drawn)
    margin = 0.06 * (high - low) or 0.5
    for place, (axes, curve) in enumerate(zip(panels, curves, strict=False)):
        order = _category_order(curve.values) if curve.kind == "category" else []
        x, of_input = np.empty(0), ""
        if curve.kind == "number":
            (x,), of_input = drawable(np.array(curve.values, np.float64))
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
        axes.set_title(f"{short(curve.input)}{of_input}", fontsize=9, parse_math=False)
        axes.tick_params(labelleft=place % across == 0)
        if place % across == 0:
            axes.set_ylabel(f"{title}{unit}", parse_math=False)
    for axes in panels[len(curves) :]:
        axes.set_visible(False)
    if len(curves[0].means) > 1:
        handles, names = panels[0].get_legend_handles_labels()
        legend = figure.legend(
            handles, map(short, names), loc="outside lower center", ncols=3, frameon=False, labelcolor=INK, fontsize=8
        )
        for text in legend.get_texts():
            text.set_parse_math(False)
    return figure


def _brief(label: str) -> str:
    """As `short`, for a narrow panel."""
    return label if len(label) <= 14 else f"{label[:13].rstrip()}…"


def _category_order(values: Sequence[float | str]) -> list[int]:
    """Where to draw each: by size where all are numbers, else as they come."""
    numbers = [number_of(str(value)) for value in values]
    return (
        sorted(range(len(values)), key=numbers.__getitem__) if np.isfinite(numbers).all() else list(range(len(values)))
    )
