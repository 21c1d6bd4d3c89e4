"""profile.html: one page that a person reads, with nothing fetched. All texts and names are escaped."""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lakewright.pages import rendered
from lakewright.system.files import write_whole

if TYPE_CHECKING:
    from lakewright.data.profile import TableProfile
    from lakewright.data.rows.inputs import ColumnUse


def write_page(profile: TableProfile) -> None:
    filters = {"percent": _percent, "number": number}  # of data, which has more digits than a metric needs
    uses = {each.column: use_of(each) for each in profile.uses}
    page = rendered("page.html.j2", __name__, filters, profile=profile, verdict=verdict(profile), uses=uses)
    write_whole(Path(profile.page), page)


def verdict(profile: TableProfile) -> str:
    """How much there is, and how much of it deserves a look."""
    size = f"{profile.table.rows:,} rows in {len(profile.columns)} columns"
    cells = sum(column.rows for column in profile.columns)
    missing = sum(column.missing for column in profile.columns)
    if cells:
        size += f", {_percent(missing / cells)} of the values missing" if missing else ", nothing missing"
    findings = len(profile.findings)
    return f"{size}. " + (f"{findings} finding{'s' * (findings != 1)}." if findings else "No findings.")


def number(value: Any) -> str:
    """Four digits that count; times and texts as they are."""
    if value is None:
        return "–"
    if isinstance(value, str):
        return value
    if not math.isfinite(value):  # the deviation of numbers beyond 1e154
        return str(value)
    if value == int(value) and abs(value) < 1e15:
        return f"{int(value):,}"
    return f"{value:,.4g}" if 1e-4 <= abs(value) < 1e6 else f"{value:.3e}"


def _percent(share: float) -> str:
    percent = 100 * share
    digits = 1 if percent == 0 or percent >= 0.1 else 3
    return f"{percent:.{digits}f}\N{NO-BREAK SPACE}%"


def use_of(use: ColumnUse) -> str:
    return f"{use.kind}: {use.why}" if use.use == "input" else f"{use.use}: {use.why}"


def summary(profile: TableProfile) -> list[dict[str, str]]:
    """A line a column, as a terminal shows it."""
    lines = []
    uses = {each.column: each for each in profile.uses}
    for column in profile.columns:
        quantiles = column.quantiles
        middle = (
            f"{number(quantiles['min'])} … {number(quantiles['p50'])} … {number(quantiles['max'])}" if quantiles else ""
        )
        common = column.top[0] if column.top and column.distinct < column.rows - column.missing else None
        frequent = f"{common.value[:40]!r} ({_percent(common.share)})" if common is not None and not quantiles else ""
        lines.append(
            {
                "column": column.name,
                "type": f"{column.type[:30]} ({column.kind})",
                "missing": _percent(column.missing_share) if column.missing else "",
                "distinct": f"{column.distinct:,}",
                "min … median … max, or most frequent": middle or frequent,
                "flags": ", ".join(column.flags),
                **({"to the model": use_of(uses[column.name])} if column.name in uses else {}),
            }
        )
    return lines
