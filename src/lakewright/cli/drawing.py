"""A chart as text, as wide as the terminal: blocks for bars and bins, braille dots for points and lines."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np

from lakewright.cli.show import visible
from lakewright.pages.pictures.of_rows import Chart, Series, moment

if TYPE_CHECKING:
    from numpy.typing import NDArray

_EIGHTHS = " ▏▎▍▌▋▊▉█"
_DOTS = ((0x01, 0x08), (0x02, 0x10), (0x04, 0x20), (0x40, 0x80))  # of a braille character, by its row and column
_LINES = 14  # of a panel
_LABEL = 24  # characters at most


def drawn(chart: Chart, width: int) -> str:
    """Lines of at most `width` characters, from 40 on."""
    width = max(width, 40)
    match chart.kind:
        case "bar":
            lines = _bars(_labelled(chart), width)
        case "hist":
            lines = _bins(chart, width)
        case "box":
            lines = _boxes(chart, width)
        case _:
            lines = (line for series in chart.series for line in _points(chart, series, width))
    return visible("\n".join(line.rstrip() for line in lines))


def _labelled(chart: Chart) -> list[tuple[str, float]]:
    """The bars of the first label, each by its series, then of the second."""
    rows = []
    for number, series in enumerate(chart.series):
        assert series.x is not None, "it has one beside each value"
        for x, value in zip(series.x, series.values, strict=True):
            label = _short(chart.labels[int(x)])
            label = label if len(chart.series) == 1 else f"{label} {_short(series.name, 12)}"
            rows.append((float(x), number, label, float(value)))
    return [(label, value) for _, _, label, value in sorted(rows)]


def _short(text: str, length: int = _LABEL) -> str:
    text = " ".join(text.split())
    return text if len(text) <= length else text[: length - 1] + "…"


def _number(value: float) -> str:
    return f"{value:,.0f}" if value == round(value) and abs(value) < 1e15 else f"{value:.4g}"


def _bars(rows: list[tuple[str, float]], width: int) -> Iterator[str]:
    labels, numbers = [label for label, _ in rows], [_number(value) for _, value in rows]
    at, of = max(map(len, labels)), max(map(len, numbers))
    room = max(width - at - of - 4, 8)
    low, high = min(0.0, *(value for _, value in rows), 0.0), max(0.0, *(value for _, value in rows), 0.0)
    scale = room / (high / 2 - low / 2) / 2 if high > low else 0.0  # halves: their difference may be no float64
    zero = round(-low * scale)
    for label, number, (_, value) in zip(labels, numbers, rows, strict=True):
        yield f"{label:>{at}} │{_bar(value * scale, zero, room)} {number}"


def _bar(length: float, zero: int, room: int) -> str:
    """From `zero`, to the right or the left."""
    if length < 0:
        whole = min(round(-length), zero)
        return " " * (zero - whole) + "█" * whole
    eighths = min(round(length * 8), (room - zero) * 8)
    return " " * zero + "█" * (eighths // 8) + _EIGHTHS[eighths % 8].strip()


def _bins(chart: Chart, width: int) -> Iterator[str]:
    edges = chart.edges()
    for series in chart.series:
        counts, _ = np.histogram(series.values, edges)
        yield f"{_short(series.name, width)}: rows by value"
        ranges = [f"{_number(a)} – {_number(b)}" for a, b in pairwise(edges)]
        yield from _bars(list(zip(ranges, map(float, counts), strict=True)), width)


def _boxes(chart: Chart, width: int) -> Iterator[str]:
    """Smallest and largest value, the quartiles, and the median between them."""
    labels = [_short(series.name) for series in chart.series]
    at = max(map(len, labels))
    room = width - at - 3
    low = min(float(series.values.min()) for series in chart.series)
    high = max(float(series.values.max()) for series in chart.series)
    for label, series in zip(labels, chart.series, strict=True):
        first, lower, middle, upper, last = _places(
            np.quantile(series.values, [0, 0.25, 0.5, 0.75, 1]), low, high, room
        )
        line = [" "] * room
        line[first : last + 1] = "─" * (last + 1 - first)
        line[lower : upper + 1] = "▒" * (upper + 1 - lower)
        line[first], line[last] = "├", "┤"
        line[middle] = "┃"
        yield f"{label:>{at}} │{''.join(line)}"
    yield f"{'':>{at}} └{'─' * room}"
    yield f"{'':>{at}}  {_ends(_number(low), _number(high), room)}"
    yield "├ smallest  ▒ middle half  ┃ median  ┤ largest"


def _points(chart: Chart, series: Series, width: int) -> Iterator[str]:
    assert series.x is not None, "it has one beside each value"
    low, high = float(series.values.min()), float(series.values.max())
    left, right = float(series.x.min()), float(series.x.max())
    top, bottom = _number(high), _number(low)
    at = max(len(top), len(bottom))
    room = width - at - 2
    columns = _places(series.x, left, right, room * 2)
    rows = [_LINES * 4 - 1 - row for row in _places(series.values, low, high, _LINES * 4)]
    cells = np.zeros((_LINES, room), np.uint8)
    points = zip(columns, rows, strict=True)
    for column, row in _joined(list(points)) if chart.kind == "line" else points:
        cells[row // 4, column // 2] |= _DOTS[row % 4][column % 2]
    yield _short(series.name, width)
    for number, line in enumerate(cells):
        label = top if number == 0 else bottom if number == _LINES - 1 else ""
        yield f"{label:>{at}} │{''.join(chr(0x2800 + int(cell)) if cell else ' ' for cell in line)}"
    yield f"{'':>{at}} └{'─' * room}"
    first, last = (
        (str(moment(left)), str(moment(right)))
        if chart.times
        else (chart.labels[int(left)], chart.labels[int(right)])
        if chart.labels
        else (_number(left), _number(right))
    )
    yield f"{'':>{at}}  {_ends(_short(first), _short(last), room, _short(chart.x))}"


def _places(values: NDArray[np.float64], low: float, high: float, room: int) -> list[int]:
    """Where the values lie among `room` places; in the middle where all are one value."""
    span = high / 2 - low / 2  # halves: the difference may be no float64
    if span <= 0:
        return [room // 2] * len(values)
    return [min(round(float((value / 2 - low / 2) / span) * (room - 1)), room - 1) for value in values]


def _joined(points: list[tuple[int, int]]) -> Iterator[tuple[int, int]]:
    """The points, and dots on the lines between each and the next."""
    yield points[0]
    for (x, y), (to_x, to_y) in pairwise(points):
        steps = max(abs(to_x - x), abs(to_y - y), 1)
        for step in range(1, steps + 1):
            yield round(x + (to_x - x) * step / steps), round(y + (to_y - y) * step / steps)


def _ends(first: str, last: str, room: int, middle: str = "") -> str:
    between = room - len(first) - len(last)
    return f"{first}{middle:^{between}}{last}" if between > len(middle) else f"{first} … {last}"
