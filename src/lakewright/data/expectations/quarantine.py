"""The table of the rows that expectations dropped: `{table}_quarantine`, written just before the table itself.

It holds those of the table's own version and no others. Its commit comes first, and both have the fingerprint of the
source: a process that is killed in between leaves a table without that fingerprint, and the next one writes both.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Literal

from lakewright.data.lake.names import TableName, is_table
from lakewright.data.lake.parts import Written
from lakewright.data.lake.tables import FINGERPRINT
from lakewright.errors import DataError, NotFound

if TYPE_CHECKING:
    import pyarrow as pa

    from lakewright.data.lake.tables import Lake
    from lakewright.data.sources.arrivals import Adding
    from lakewright.records import TableVersion

OF = "quarantine_of"  # the property of its commits: the table


def name_of(table: str) -> str:
    return f"{_unpinned(table)}_quarantine"


def existing(lake: Lake, table: str) -> TableVersion | None:
    """The quarantine of this table at its latest version; None: there is none."""
    name = name_of(table)
    try:
        latest = lake.version(name) if is_table(name) else None  # the table's own name may be as long as a name can be
    except NotFound:
        latest = None
    is_ours = latest is not None and lake.find_commit(name, OF, _unpinned(table)) is not None
    return latest if is_ours else None


def check_name(lake: Lake, table: str) -> None:
    """Raises DataError where another table has the quarantine's name."""
    try:
        latest = lake.version(name_of(table))
    except NotFound:
        return
    if existing(lake, table) is None:
        raise DataError(
            f"{latest} is no quarantine of {table}, and rows that expectations drop would replace its own",
            "rename it, or name another table in data.table",
        )


def put(
    lake: Lake, table: str, schema: pa.Schema, files: Sequence[Written], fingerprint: str, adding: Adding
) -> TableVersion | None:
    """The rows of these files as the quarantine of the table, which has this fingerprint next: alone, or beside those
    that belong to the table as it is, where rows are appended to it. None where there are none, and were none."""
    latest = existing(lake, table)
    if adding.mode == "overwrite" or latest is None:
        return _commit(lake, table, schema, files, fingerprint) if files else empty(lake, table, fingerprint)
    commits = lake.history(name_of(table))
    ours = max(each["version"] for each in commits if OF in each["properties"])
    if ours > (-1 if adding.quarantine is None else adding.quarantine):  # of a process that was killed after it
        held = [] if adding.quarantine is None else lake.files(lake.version(f"{name_of(table)}@v{adding.quarantine}"))
        return _commit(
            lake, table, schema, [*(Written(each.path, each.rows, each.size) for each in held), *files], fingerprint
        )
    return _commit(lake, table, schema, files, fingerprint, "append") if files else latest


def empty(lake: Lake, table: str, fingerprint: str) -> TableVersion | None:
    """Its version without a row, if there is a quarantine."""
    latest = existing(lake, table)
    if latest is None or not latest.rows:
        return latest
    return _commit(lake, table, lake.schema(latest), [], fingerprint)


def _commit(
    lake: Lake,
    table: str,
    schema: pa.Schema,
    files: Sequence[Written],
    fingerprint: str,
    mode: Literal["overwrite", "append"] = "overwrite",
) -> TableVersion:
    properties = {FINGERPRINT: fingerprint, OF: _unpinned(table)}
    return lake.add_files(name_of(table), schema, files, mode=mode, properties=properties)


def stands(lake: Lake, quarantine: str) -> bool:
    """Whether the table still holds the rows of this version, and no others."""
    try:
        fingerprint = lake.history(quarantine)[0]["properties"][FINGERPRINT]
    except NotFound:
        return False
    return lake.ingested(quarantine.partition("@")[0], fingerprint) is not None


def _unpinned(table: str) -> str:
    return str(TableName.parse(table)[0])
