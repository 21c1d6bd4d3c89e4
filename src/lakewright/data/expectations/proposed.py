"""Expectations that a profiled table satisfies, for a person to choose from."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.compute as pc
import yaml

if TYPE_CHECKING:
    from lakewright.data.lake.tables import Lake
    from lakewright.data.profile.columns import ColumnProfile
    from lakewright.records import TableVersion

MOST_VALUES = 20  # of a category whose values are listed
REPEATED = 2  # rows for each of its values, on average, at least
FEWER = 2  # the table may shrink to one half

HEAD = """\
# What {table} satisfies.
# Keep the lines that you mean, and move them to the data section of project.yml. A row that violates one is counted in
# a finding; severity: drop leaves it out of the table, and severity: fail ends the run.
data:
  expect:
"""


def proposed(lake: Lake, table: TableVersion, columns: Sequence[ColumnProfile]) -> list[dict[str, Any]]:
    """Entries of data.expect: not null where no value is null, unique ids, ranges (of times their beginning alone),
    the values of categories with few of them, and half of the rows."""
    entries: list[dict[str, Any]] = []
    if filled := [each.name for each in columns if not each.null]:
        entries.append({"not_null": filled})
    ids = [each.name for each in columns if "id-like" in each.flags and not each.missing]
    entries += [{"unique": name} for name in ids]
    found = _found(lake, table, [each for each in columns if each.name not in ids])
    entries += [entry for entry in found if entry]
    if table.rows >= FEWER:
        entries.append({"row_count": {"min": table.rows // FEWER}})
    return entries


def as_yaml(entries: Sequence[dict[str, Any]], table: TableVersion) -> str:
    lines = [
        yaml.safe_dump(entry, default_flow_style=True, width=math.inf, sort_keys=False, allow_unicode=True).strip()
        for entry in entries
    ]
    return HEAD.format(table=table) + "".join(f"    - {line}\n" for line in lines)


def _found(lake: Lake, table: TableVersion, columns: Sequence[ColumnProfile]) -> Iterator[dict[str, Any]]:
    """The ranges and the values, exactly: a profile shows rounded ones."""
    ranges = [each.name for each in columns if each.kind in ("number", "time") and each.quantiles and not each.infinite]
    ranges = [each.name for each in columns if each.name in ranges and not each.nan]
    few = [
        each.name
        for each in columns
        if each.kind == "category" and 0 < each.distinct <= MOST_VALUES and each.rows >= REPEATED * each.distinct
    ]
    if not ranges and not few:
        return
    reader = lake.scan(table, [*ranges, *few])
    ends = {name: pa.array([], reader.schema.field(name).type) for name in ranges}
    values = {name: pa.array([], reader.schema.field(name).type) for name in few}
    for batch in reader:
        for name, before in ends.items():
            both = pc.min_max(batch[name])
            ends[name] = pa.concat_arrays([before, pa.array([both["min"].as_py(), both["max"].as_py()], before.type)])
        for name, before in values.items():
            values[name] = pc.unique(pa.concat_arrays([before, batch[name]]))
    for name, both in ends.items():
        low, high = pc.min_max(both).values()
        is_time = pa.types.is_date(both.type) or pa.types.is_timestamp(both.type)
        limits = {"min": _plain(low.as_py(), -math.inf)} | ({} if is_time else {"max": _plain(high.as_py(), math.inf)})
        yield {"range": {name: limits}}
    for name, different in values.items():
        listed = sorted(value for value in different.to_pylist() if value is not None)
        yield {"allowed": {name: listed}} if len(listed) <= MOST_VALUES else {}


def _plain(value: Any, outwards: float) -> Any:
    """A decimal as a float that is not inside of it."""
    if not isinstance(value, Decimal):
        return value
    number = float(value)
    inside = Decimal(repr(number)) > value if outwards < 0 else Decimal(repr(number)) < value
    return math.nextafter(number, outwards) if inside else number
