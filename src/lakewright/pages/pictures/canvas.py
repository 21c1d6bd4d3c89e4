"""A Figure, and what becomes of it: `svg` turns it into a string for the page, `png` into a file.

In the SVG the text stays text in the page's own font, and the ink is `currentColor`, so one picture serves the light
page and the dark one and stays a few kilobytes.
"""

from __future__ import annotations

import io
import re
import warnings
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from numpy.typing import NDArray

INK = "#1b1c1a"  # replaced by currentColor in the page
RIGHT = "#3d7edb"
WRONG = "#e0672f"
MORE = ["#3d7edb", "#c07a1f", "#3f9f6f", "#a566c4", "#cc4f6c", "#3d8fa3"]


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


def new_figure(width: float, height: float, *, rows: int = 1, columns: int = 1, **grid: Any) -> tuple[Figure, Any]:
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


def drawable(*series: NDArray[np.float64]) -> tuple[list[NDArray[np.float64]], str]:
    """The series divided by one power of ten, and that power for the name of the axis: " (1e300)". Both as they come
    where matplotlib can draw them: it squares widths, and takes very small ones for none."""
    most = max(float(np.abs(values).max(initial=0.0)) for values in series)
    if most == 0 or 1e-9 <= most < 1e12:
        return list(series), ""
    power = int(np.floor(np.log10(most)))
    half = power // 2  # 10.0**-power may be no float64
    return [values / 10.0**half / 10.0 ** (power - half) for values in series], f" (1e{power})"


def short(label: str) -> str:
    return label if len(label) <= 26 else f"{label[:16].rstrip()}…{label[-9:].lstrip()}"
