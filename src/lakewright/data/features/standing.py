"""What a feature table holds now: how many rows and keys, how fresh they are, and what is missing."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any

from lakewright.data.features import FeatureTable
from lakewright.data.lake.duck import listed, session
from lakewright.data.lake.names import quoted
from lakewright.records import Finding, TableVersion

if TYPE_CHECKING:
    from lakewright.data.features.online import Published
    from lakewright.data.lake.tables import Lake

SCARCE = 0.5  # share of rows without a value from which a finding says so


@dataclass(frozen=True)
class Standing:
    table: TableVersion
    rows: int
    keys: int  # distinct ones
    first_event: datetime | None
    last_event: datetime | None
    last_known: datetime | None  # when the newest value was known
    expired: int  # keys whose newest values are older than the table's time to live
    missing: Mapping[str, float]  # value → share of the rows that are without it
    online: Published | None  # what the online store holds; None: the table was not published
    findings: Sequence[Finding]

    def as_json(self) -> dict[str, Any]:
        return {
            **asdict(self),
            "table": str(self.table),
            "online": None if self.online is None else self.online.model_dump(),
            "findings": [each.model_dump() for each in self.findings],
            **{name: _iso(getattr(self, name)) for name in ("first_event", "last_event", "last_known")},
        }


def standing(lake: Lake, table: FeatureTable, now: datetime, online: Published | None) -> Standing:
    version = lake.version(table.name)
    event = quoted(table.event_time)
    known = event if table.known_at is None else f"greatest({event}, {quoted(table.known_at)})"
    missing = ", ".join(f"count(*) - count({quoted(each)})" for each in table.values)
    with session() as connection:
        connection.register("stored", lake.scan(version))
        connection.execute(
            f"CREATE TEMP TABLE of_key AS SELECT {listed(table.keys)}, count(*) AS rows, min({event}) AS first, "
            f"max({event}) AS last, max({known}) AS known, [{missing}] AS missing FROM stored GROUP BY ALL"
        )
        ((rows, keys, first, last, last_known),) = connection.execute(
            "SELECT coalesce(sum(rows), 0), count(*), min(first), max(last), max(known) FROM of_key"
        ).fetchall()
        counts = [
            int(connection.execute(f"SELECT coalesce(sum(missing[{at}]), 0) FROM of_key").fetchall()[0][0])
            for at in range(1, len(table.values) + 1)
        ]
        expired = 0
        if table.ttl is not None:
            oldest = (now - table.ttl).isoformat()
            ((expired,),) = connection.execute(
                f"SELECT count(*) FROM of_key WHERE last < TIMESTAMPTZ '{oldest}'"
            ).fetchall()
    absent = dict(zip(table.values, counts, strict=True))
    return Standing(
        table=version,
        rows=int(rows),
        keys=int(keys),
        first_event=first,
        last_event=last,
        last_known=last_known,
        expired=int(expired),
        missing={name: count / rows if rows else 0.0 for name, count in absent.items()},
        online=online,
        findings=[*_findings(int(rows), int(keys), int(expired), absent), *_behind(version, online)],
    )


def _behind(version: TableVersion, online: Published | None) -> list[Finding]:
    if online is None or online.version == version.version:
        return []
    detail = (
        f"The online store holds {online.table}@v{online.version}, as of {online.as_of}, and the table is at version "
        f"{version.version}. Publish it: lakewright features publish {online.table}."
    )
    return [Finding(name="online_behind", count=version.version - online.version, detail=detail)]


def _findings(rows: int, keys: int, expired: int, absent: Mapping[str, int]) -> list[Finding]:
    findings = []
    if expired:
        detail = (
            f"the newest values of {expired:,} of {keys:,} keys are older than the table's time to live: they are null "
            "today. Write newer ones, or make the time to live longer."
        )
        findings.append(Finding(name="expired_keys", count=expired, detail=detail))
    for name, count in absent.items():
        if rows and count / rows >= SCARCE:
            detail = f"{count:,} of {rows:,} rows are without {name!r}."
            findings.append(Finding(name="scarce_value", count=count, detail=detail, rows=[name]))
    return findings


def _iso(time: datetime | None) -> str | None:
    return None if time is None else time.isoformat()
