"""optimize, vacuum, restore and drop: statements about a table's files and versions, not about its rows.

They are plain operations: what names a table or one of its versions elsewhere (a run, a model) is for who calls them to
know.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, Literal, cast

from lakewright.data.lake.lost import files_in
from lakewright.data.lake.names import TableName, with_catalog
from lakewright.data.lake.parts import local, store_of
from lakewright.data.lake.statements import MAIN
from lakewright.data.lake.tables import ERASED
from lakewright.data.lake.tokens import text_of, tokens_of
from lakewright.errors import DataError, NotFound, UsageError
from lakewright.records import Changed
from lakewright.system.files import remove_folder

if TYPE_CHECKING:
    from deltalake import CommitProperties, DeltaTable

    from lakewright.data.lake.tables import Lake

Verb = Literal["optimize", "vacuum", "restore", "drop"]
FORMS: dict[Verb, str] = {
    "optimize": "optimize catalog.schema.table [zorder by (column, …)]",
    "vacuum": "vacuum catalog.schema.table [retain 48 hours] [dry run]",
    "restore": "restore table catalog.schema.table to version as of 3",
    "drop": "drop table [if exists] catalog.schema.table",
}
_PATTERNS = {
    "optimize": r"optimize (?P<name>\S+)(?: zorder by \( (?P<columns>.+) \))?",
    "vacuum": r"vacuum (?P<name>\S+)(?: retain (?P<hours>\d{1,6}) hours?)?(?P<dry> dry run)?",
    "restore": r"restore (?:table )?(?P<name>\S+) to version as of (?P<version>\d{1,18})",
    "drop": r"drop table (?P<maybe>if exists )?(?P<name>\S+)",
}


@dataclass(frozen=True)
class Upkeep:
    verb: Verb
    table: str
    columns: tuple[str, ...] = ()  # to order rows by
    hours: int | None = None  # for which files of old versions stay; None: as the table says, else a week
    dry: bool = False
    version: int = 0
    if_exists: bool = False


def is_upkeep(query: str) -> bool:
    """Whether the text begins as one of these statements."""
    first = re.match(r"\s*(\w+)", query)
    return first is not None and first[1].lower() in FORMS


def parse_upkeep(query: str, catalog: str = MAIN) -> Upkeep:
    """Raises UsageError unless the text is one of these statements."""
    tokens = tokens_of(text_of(query))
    verb = cast(Verb, tokens[0].word)
    text = re.sub(r" ?\. ?", ".", " ".join(token.text for token in tokens)).rstrip("; ")
    matched = re.fullmatch(_PATTERNS[verb], text, re.IGNORECASE)
    if matched is None:
        raise UsageError(f"not supported here: {query.strip()[:80]}", f"write one statement: {FORMS[verb]}")
    found = matched.groupdict()
    table, version = TableName.parse(with_catalog(found["name"], catalog))
    if version is not None:
        raise UsageError(f"{table}@v{version} is one version of a table", f"write: {FORMS[verb]}")
    return Upkeep(
        verb,
        str(table),
        columns=tuple(each.strip(' "`') for each in (found.get("columns") or "").split(",") if each.strip()),
        hours=None if found.get("hours") is None else int(found["hours"]),
        dry=bool(found.get("dry")),
        version=int(found.get("version") or 0),
        if_exists=bool(found.get("maybe")),
    )


def optimize(lake: Lake, statement: Upkeep, query: str) -> Changed:
    """Write many small files as a few large ones, with the same rows; with columns, near rows beside each other."""
    names = lake.schema(lake.version(statement.table)).names
    by_lower = {name.lower(): name for name in names}
    if unknown := [each for each in statement.columns if each.lower() not in by_lower]:
        raise DataError(f"{statement.table} has no column {unknown[0]!r}", f"its columns: {', '.join(names)}")
    columns = [by_lower[each.lower()] for each in statement.columns]

    def compacted(delta: DeltaTable, commit: CommitProperties) -> dict[str, Any]:
        work = partial(delta.optimize.z_order, columns) if columns else delta.optimize.compact
        return dict(work(commit_properties=commit))

    after, metrics = lake.commit(statement.table, compacted, {"sql": query}, retries=True)
    added, removed = int(metrics["numFilesAdded"]), int(metrics["numFilesRemoved"])
    did = "optimized" if added or removed else "nothing"
    return Changed(table=after.name, version=after.version, did=did, files_added=added, files_removed=removed)


def vacuum(lake: Lake, statement: Upkeep, query: str, keep: Collection[int] = ()) -> Changed:
    """Remove the files of old versions, but for those of versions to `keep`."""
    version, files = _vacuumed(lake, statement, {"sql": query}, keep=keep)
    return Changed(
        table=statement.table,
        version=version,
        did="vacuumed" if files and not statement.dry else "nothing",
        files_removed=0 if statement.dry else files,
        note=f"{files} files would be removed" if statement.dry else "",
    )


def erase_before(lake: Lake, table: str, version: int, query: str) -> int:
    """Remove all files that the table's present version does not hold: of the versions before this one, of killed
    writes, and of writes that another process has not committed yet. The log notes it. Returns their number."""
    return _vacuumed(lake, Upkeep("vacuum", table, hours=0), {"sql": query, ERASED: str(version)}, full=True)[1]


def _vacuumed(
    lake: Lake, statement: Upkeep, properties: Mapping[str, str], *, keep: Collection[int] = (), full: bool = False
) -> tuple[int, int]:
    """The version that there is now, and the number of files."""
    logged = {commit["version"] for commit in lake.history(statement.table)}

    def vacuumed(delta: DeltaTable, commit: CommitProperties) -> set[str]:
        there = {_name(path) for path in files_in(delta)}
        removed = delta.vacuum(
            statement.hours,
            dry_run=statement.dry,
            enforce_retention_duration=False,
            commit_properties=commit,
            full=full,
            keep_versions=sorted(logged & {*keep}) or None,
        )
        return there & {_name(path) for path in removed}  # delta-rs lists those that are gone already as well

    after, files = lake.commit(statement.table, vacuumed, properties, retries=True)
    return after.version, len(files)


def _name(path: str) -> str:
    return path.rpartition("/")[2]


def restore(lake: Lake, statement: Upkeep, query: str) -> Changed:
    """Make the rows and columns of an old version those of the next one. Raises NotFound where that version is not
    there, or its files are gone."""
    latest, old = lake.version(statement.table), lake.version(f"{statement.table}@v{statement.version}")
    if old.version == latest.version:
        return Changed(table=latest.name, version=latest.version, did="nothing")
    if lake.is_lost(old):
        raise lake.explained(old, FileNotFoundError(old.uri))
    after, metrics = lake.commit(
        statement.table,
        lambda delta, commit: dict(delta.restore(old.version, commit_properties=commit)),
        {"sql": query},
    )
    return Changed(
        table=after.name,
        version=after.version,
        did="restored",
        files_added=int(metrics["numRestoredFile"]),
        files_removed=int(metrics["numRemovedFile"]),
    )


def drop(lake: Lake, statement: Upkeep) -> Changed:
    """Take the table's name out of the catalog, and remove its files, all versions, if the lake made the table.

    Raises NotFound where there is none, unless the statement is `drop table if exists`.
    """
    name, _ = TableName.parse(statement.table)
    place = lake.place_to_write(statement.table)
    if lake.view(statement.table) is not None:
        raise UsageError(f"{name} is a view, not a table", f"write: drop view {name}")
    entry = lake.catalog.get_table(name)
    try:
        lake.version(statement.table)
    except NotFound:
        if entry is None:
            if statement.if_exists:
                return Changed(table=statement.table, version=None, did="nothing")
            raise
    except DataError:  # damaged: it can go all the same
        pass
    lake.catalog.drop_table(name)  # first: the log alone decides what exists, and would enter it again
    if not lake.is_own(statement.table, place):
        return Changed(table=statement.table, version=None, did="dropped", note=f"its files stay in {place.uri}")
    folder = local(place)
    if folder is not None:
        if folder.exists():
            remove_folder(folder)
    else:
        from pyarrow.fs import FileSelector

        store = store_of(place)
        store.delete_dir("_delta_log")  # without it there is no table
        for info in store.get_file_info(FileSelector("", recursive=True)):
            if info.is_file:
                store.delete_file(info.path)
    return Changed(table=statement.table, version=None, did="dropped")
