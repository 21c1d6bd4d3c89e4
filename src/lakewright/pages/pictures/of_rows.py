"""The rows of a statement as a picture: what of them is drawn, and matplotlib's drawing of that."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, get_args

import numpy as np

from lakewright.errors import DataError, MissingPackage, UsageError, nearest
from lakewright.pages.pictures.canvas import MORE, drawable, new_figure, short

if TYPE_CHECKING:
    import pyarrow as pa
    from matplotlib.figure import Figure
    from numpy.typing import NDArray

Kind = Literal["bar", "line", "scatter", "hist", "box"]
ENDINGS = (".svg", ".png")
BARS, POINTS, SERIES, BINS = 60, 20_000, len(MORE), 20


@dataclass(frozen=True)
class Series:
    """Points, or bars, with their values; of hist and box the values alone. No null, NaN or infinity among them."""

    name: str
    values: NDArray[np.float64]
    x: NDArray[np.float64] | None = None  # numbers; seconds since 1970; places among the labels


@dataclass(frozen=True)
class Chart:
    kind: Kind
    series: tuple[Series, ...]
    x: str = ""  # its column
    labels: tuple[str, ...] = ()  # of bars, and of a line over texts: one for each place
    times: bool = False  # x are times
    notes: tuple[str, ...] = ()  # what is not drawn

    def edges(self) -> NDArray[np.float64]:
        """Of the bins of all series together."""
        values = np.concatenate([each.values for each in self.series])
        edges = np.histogram_bin_edges(values, min(BINS, max(1, round(len(values) ** 0.5))))
        return np.asarray(edges, np.float64)


def check_plot(kind: str, out: Path | None) -> None:
    """Raises UsageError for another kind of picture or file, MissingPackage without matplotlib for a file."""
    if kind not in get_args(Kind):
        raise UsageError(f"there is no plot {kind!r}", nearest(kind, get_args(Kind)))
    if out is not None:
        if out.suffix.lower() not in ENDINGS:
            raise UsageError(f"{out} is no file for a picture", f"name one that ends in {', '.join(ENDINGS)}")
        try:
            import matplotlib  # noqa: F401
        except ImportError:
            raise MissingPackage("matplotlib", "train") from None


def chart_of(rows: pa.Table, kind: Kind) -> Chart:
    """bar, line and scatter: the first column is x, each other one a series. hist and box: the values of each column;
    box by the values of the first column where that has no numbers. Raises DataError for rows that give no picture."""
    if not rows.num_rows:
        raise DataError("the statement gives no rows to draw", "look at them without --plot")
    over_x = kind in ("bar", "line", "scatter")
    grouped = kind == "box" and rows.num_columns == 2 and not _is_number(rows.schema[0].type)
    names = rows.column_names[1:] if over_x or grouped else rows.column_names
    if not names:
        raise DataError(f"{kind} needs a column of numbers beside {rows.column_names[0]!r}", "select x, y from …")
    for name in names:
        if not _is_number(rows.schema.field(name).type):
            raise DataError(
                f"the column {name!r} is {rows.schema.field(name).type}, and {kind} draws numbers",
                f"leave it out, or cast it ({name}::double)",
            )
    if len(names) > SERIES:
        raise DataError(f"the rows have {len(names)} columns to draw, and {SERIES} can be told apart", "select fewer")
    values = {name: np.asarray(rows[name].cast("float64").to_numpy(), np.float64) for name in names}
    if grouped:
        return _boxes(rows, values[names[0]])
    if not over_x:
        kept = {name: each[np.isfinite(each)] for name, each in values.items()}
        notes = tuple(note for name, each in values.items() if (note := _not_drawn(name, len(kept[name]), len(each))))
        return Chart(kind, tuple(Series(name, _some(name, each)) for name, each in kept.items()), notes=notes)
    return _over_x(rows, kind, values)


def _over_x(rows: pa.Table, kind: Kind, values: Mapping[str, NDArray[np.float64]]) -> Chart:
    import pyarrow as pa

    first, type_of_x = rows.column_names[0], rows.schema[0].type
    numbers = _is_number(type_of_x)
    times = pa.types.is_timestamp(type_of_x) or pa.types.is_date(type_of_x)
    if kind == "scatter" and not numbers and not times:
        raise DataError(f"the column {first!r} is {type_of_x}, and scatter needs numbers or times", "use --plot bar")
    if kind == "bar" and rows.num_rows * len(values) > BARS:
        raise DataError(
            f"the picture would have {rows.num_rows * len(values):,} bars, and {BARS} can be read",
            "group the rows, or take the first (order by … limit 20), or use --plot line",
        )
    labels: tuple[str, ...] = ()
    if kind != "bar" and numbers:
        x = np.asarray(rows[0].cast("float64").to_numpy(), np.float64)
    elif kind != "bar" and times:
        moments = rows[0].cast(pa.timestamp("us", getattr(type_of_x, "tz", None)))
        x = np.asarray(moments.cast("int64").cast("float64", safe=False).to_numpy(), np.float64) / 1e6
    else:
        labels = tuple("null" if each is None else str(each) for each in rows[0].to_pylist())
        x = np.arange(rows.num_rows, dtype=np.float64)
    series, notes = [], []
    for name, each in values.items():
        finite = np.isfinite(each) & np.isfinite(x)
        notes.append(_not_drawn(name, int(finite.sum()), len(each)))
        at, of = x[finite], _some(name, each[finite])
        if kind == "line":
            order = np.argsort(at, kind="stable")
            at, of = at[order], of[order]
        step = -(-len(of) // POINTS)
        if step > 1:
            notes.append(f"{name}: {len(of[::step]):,} of {len(of):,} points are drawn, one of each {step}")
        series.append(Series(name, of[::step], at[::step]))
    return Chart(kind, tuple(series), first, labels, times and kind != "bar", tuple(filter(None, notes)))


def _boxes(rows: pa.Table, values: NDArray[np.float64]) -> Chart:
    groups: dict[str, list[int]] = {}
    for row, each in enumerate(rows[0].to_pylist()):
        groups.setdefault("null" if each is None else str(each), []).append(row)
    if len(groups) > BARS:
        raise DataError(f"the picture would have {len(groups):,} boxes, and {BARS} can be read", "group the rows")
    finite = {name: values[at][np.isfinite(values[at])] for name, at in groups.items()}
    kept = {name: each for name, each in finite.items() if len(each)}
    column = rows.column_names[1]
    _some(column, np.concatenate([*finite.values()]))
    notes = [_not_drawn(column, sum(map(len, finite.values())), len(values))]
    notes += [f"{name}: no value to draw" for name in groups if name not in kept]
    return Chart(
        "box", tuple(Series(name, each) for name, each in kept.items()), rows.column_names[0],
        notes=tuple(filter(None, notes)),
    )  # fmt: skip


def _is_number(kind: pa.DataType) -> bool:
    import pyarrow as pa

    return bool(pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_decimal(kind))


def _some(name: str, values: NDArray[np.float64]) -> NDArray[np.float64]:
    if not len(values):
        raise DataError(f"the column {name!r} has no number to draw", "select another one")
    return values


def _not_drawn(name: str, drawn: int, rows: int) -> str:
    """A note of the rows that are not drawn; empty if all are."""
    return f"{name}: {rows - drawn:,} of {rows:,} rows are null, NaN or infinite, and not drawn" if drawn < rows else ""


def moment(seconds: float) -> datetime:
    return datetime.fromtimestamp(seconds, UTC).replace(tzinfo=None)


def write_plot(chart: Chart, path: Path) -> None:
    """Raises UsageError for a file that cannot be written."""
    from matplotlib import rc_context

    from lakewright.system.files import whole

    figure = _drawn(chart)
    try:
        with whole(path) as draft, rc_context({"svg.hashsalt": "lakewright"}):
            kind = path.suffix.lower()[1:]
            figure.savefig(
                draft, format=kind, dpi=144, facecolor="white", metadata={"Date": None} if kind == "svg" else None
            )
    except OSError as failure:
        raise UsageError(f"{path} cannot be written: {failure.strerror or failure}", "name another file") from None


def _drawn(chart: Chart) -> Figure:
    figure, axes = new_figure(7.2, 4.0)
    scaled, power = drawable(*(each.values for each in chart.series))
    names = [short(each.name.replace("$", r"\$")) for each in chart.series]  # matplotlib reads $…$ as mathematics
    axes.set(xlabel=chart.x.replace("$", r"\$"), ylabel=(names[0] if len(names) == 1 else "") + power)
    if chart.kind == "hist":
        axes.hist(scaled, bins=BINS, label=names, color=MORE[: len(names)])
        axes.set(xlabel=(names[0] if len(names) == 1 else "") + power, ylabel="rows")
    elif chart.kind == "box":
        axes.boxplot(scaled, tick_labels=names)
        axes.set(ylabel=power.strip())
    else:
        _over_axes(axes, chart, scaled, names)
    if len(names) > 1 and chart.kind != "box":
        axes.legend(frameon=False)
    return figure


def _over_axes(axes: Any, chart: Chart, scaled: list[NDArray[np.float64]], names: list[str]) -> None:
    for number, (each, values) in enumerate(zip(chart.series, scaled, strict=True)):
        assert each.x is not None, "it has one beside each value"
        x: Any = [moment(seconds) for seconds in each.x] if chart.times else each.x
        look = {"label": names[number], "color": MORE[number]}
        if chart.kind == "bar":
            width = 0.8 / len(names)
            axes.bar(each.x - 0.4 + width * (number + 0.5), values, width, **look)
        elif chart.kind == "line":
            axes.plot(x, values, linewidth=1.4, **look)
        else:
            axes.scatter(x, values, s=12, alpha=0.5, linewidth=0, **look)
    if chart.labels:
        places = range(0, len(chart.labels), 1 if chart.kind == "bar" else max(1, len(chart.labels) // 12))
        texts = [chart.labels[at] for at in places]
        axes.set_xticks(places, [short(text.replace("$", r"\$")) for text in texts], rotation=40, ha="right")
