"""Slices of the test rows by a column's values (categories one by one, numbers and dates by quartile), with metrics."""

from __future__ import annotations

import bisect
import datetime
from collections.abc import Callable, Mapping, Sequence
from decimal import Decimal
from typing import Any

import numpy as np

from lakewright.evaluation.bootstrap import slice_intervals
from lakewright.evaluation.scorers import Mask, Scorer
from lakewright.records import Metric

MISSING = "(missing)"
OTHER = "(other)"

Rows = list[int]


def slices(values: Any, *, limit: int = 20) -> dict[str, Mask]:
    """A column's values [rows] (Arrow array, NumPy array or list; None and NaN are missing) → name → mask [rows].

    Every row is in exactly one mask. Beyond `limit` categories the most frequent ones stay, the rest is "(other)".
    Numbers, dates and times with more than ten different values are cut at their quartiles; each part's name is its
    least and greatest value: "3 to 12". Missing values, if any, come last.
    """
    column = _plain(values)
    present = [row for row, value in enumerate(column) if value is not None]
    ordered = _ordered([column[row] for row in present])
    parts = _quartiles(column, present) if ordered else _categories(column, present, limit)
    if len(present) < len(column):
        parts.setdefault(MISSING, []).extend(row for row, value in enumerate(column) if value is None)
    return {name: _mask(rows, len(column)) for name, rows in parts.items()}


def by_slice(
    scorer: Scorer,
    columns: Mapping[str, Any],
    *,
    resamples: int = 1000,
    confidence: float = 0.95,
    seed: int,
    progress: Callable[[int], None] | None = None,
) -> dict[str, dict[str, dict[str, Metric]]]:
    """Column → slice → metric, as in `Report.slices`; the metric "rows" is the slice's number of rows."""
    measured: dict[str, dict[str, dict[str, Metric]]] = {}
    for column, values in columns.items():
        masks = slices(values)
        metrics = slice_intervals(
            scorer, masks, resamples=resamples, confidence=confidence, seed=seed, progress=progress
        )
        measured[column] = {}
        for name, mask in masks.items():
            rows = float(mask.sum())
            measured[column][name] = {"rows": Metric(value=rows, low=rows, high=rows), **metrics[name]}
    return measured


def _plain(values: Any) -> list[Any]:
    """Python values; None for missing ones."""
    column = values.to_pylist() if hasattr(values, "to_pylist") else np.asarray(values, dtype=object).tolist()
    return [None if value is None or value != value else value for value in column]


def _ordered(present: Sequence[Any]) -> bool:
    """Whether this is a scale with too many points for one slice each."""
    for kind in ((int, float, Decimal), datetime.datetime, datetime.date):
        if all(isinstance(value, kind) and not isinstance(value, bool) for value in present):
            return len(set(present)) > 10
    return False


def _quartiles(column: list[Any], present: Rows) -> dict[str, Rows]:
    ranked = sorted(present, key=lambda row: column[row])
    cuts = sorted({column[ranked[-(-len(ranked) * quarter // 4) - 1]] for quarter in (1, 2, 3)})
    parts: list[Rows] = [[] for _ in range(len(cuts) + 1)]
    for row in ranked:
        parts[bisect.bisect_left(cuts, column[row])].append(row)  # equal values stay together
    ends = [(column[rows[0]], column[rows[-1]]) for rows in parts if rows]
    names = [_range(low, high, _short) for low, high in ends]
    if len(set(names)) < len(names):  # equal after rounding
        names = [_range(low, high, str) for low, high in ends]
    return dict(zip(names, filter(None, parts), strict=True))


def _range(low: Any, high: Any, text: Callable[[Any], str]) -> str:
    return text(low) if low == high else f"{text(low)} to {text(high)}"


def _short(value: Any) -> str:
    if isinstance(value, datetime.datetime):
        return value.isoformat(sep=" ", timespec="minutes")
    if isinstance(value, int | datetime.date):
        return str(value)
    return f"{value:.4g}" if abs(value) < 10_000 else f"{value:.0f}"


def _categories(column: list[Any], present: Rows, limit: int) -> dict[str, Rows]:
    parts: dict[str, Rows] = {}
    for row in present:
        parts.setdefault(_name(column[row]), []).append(row)
    by_size = sorted(parts.items(), key=lambda part: -len(part[1]))
    largest = dict(by_size[:limit])
    for _, rows in by_size[limit:]:
        largest.setdefault(OTHER, []).extend(rows)
    return largest


def _name(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    return str(value) or "(empty)"


def _mask(rows: Rows, size: int) -> Mask:
    mask = np.zeros(size, dtype=np.bool_)
    mask[rows] = True
    return mask
