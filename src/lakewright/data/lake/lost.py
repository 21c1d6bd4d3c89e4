"""Tables and versions whose files are gone or damaged: which files, why, and which version can be read instead."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote, urlsplit

import pyarrow as pa

from lakewright.data.lake.scan import cause_of
from lakewright.errors import DataError, NotFound
from lakewright.records import TableVersion

if TYPE_CHECKING:
    from deltalake import DeltaTable

_CHECKED = 50  # versions to check for a readable one
ERASED = "lakewright.erased"  # a property of a commit that removed the files of all versions before the one it names
_REWRITTEN = {  # a property of a commit: how its rows are written anew
    "lakewright.fingerprint": " (lakewright run --rerun ingest)",
    "lakewright.table": " (lakewright run --rerun prepare)",
    "lakewright.sql": ' (lakewright sql "create or replace table …")',
}


def lost(delta: DeltaTable) -> list[str]:
    """The version's files in the table's folder that are gone or damaged: of another size than in the log, or, on this
    machine, without a Parquet footer. (Object stores keep checksums of their own.)"""
    return _lost(delta, files_in(delta))


def is_parquet(path: str | Path) -> bool:
    """Whether the footer can be read; the rows before it are not checked."""
    import pyarrow.parquet as pq

    try:
        pq.read_metadata(path)
    except (OSError, pa.ArrowException):
        return False
    return True


def unreadable(
    table: TableVersion, delta: DeltaTable, failure: Exception, at_version: Callable[[int | None], DeltaTable]
) -> DataError:
    """The error for a version whose rows could not be read; `at_version` opens another one, or the latest (None)."""
    sizes = files_in(delta)
    missing = _lost(delta, sizes)
    commits = at_version(None).history()
    remedy = _remedy(table, sizes, at_version, commits)
    if not missing:
        return DataError(f"{table} cannot be read: {cause_of(failure)}", remedy)
    damaged = next((path for path in missing if path in sizes), None)
    if damaged is not None:
        size = sizes[damaged]
        reason = (
            "its footer is not Parquet"
            if size == _sizes(delta)[damaged]
            else f"it has {size:,} bytes, which is not the size in its commit"
        )
        return DataError(f"the file {damaged} of {table} is damaged: {reason}", remedy)
    if (erased := erased_since(table, commits)) is not None:
        return NotFound(f"the files of {table} are gone: rows of it were erased with v{erased}", remedy)
    emptied = next((commit for commit in commits if "VACUUM" in commit.get("operation", "")), None)
    reason = f" (VACUUM, v{emptied['version']})" if emptied else f": {missing[0]} and {len(missing) - 1} more"
    return NotFound(f"the files of {table} are gone{reason}", remedy)


def erased_since(table: TableVersion, commits: Sequence[Mapping[str, Any]]) -> int | None:
    """The version before which files were removed because rows were erased, where it is later than this one."""
    return min((v for each in commits if (v := int(each.get("lakewright.erased", 0))) > table.version), default=None)


def check_commits(folder: str) -> None:
    """Raises DataError if a local table's last commit is empty, as after a crash of the machine: delta-rs would skip
    it."""
    newest = max(_commits(folder), default=None)
    if newest is not None and not newest.stat().st_size and (damaged := damaged_log(folder)) is not None:
        raise damaged


def damaged_log(folder: str) -> DataError | None:
    """The error for the newest commit of a local table that is not JSON, if there is one."""
    newest_first = sorted(_commits(folder), reverse=True)
    for path in newest_first:
        try:
            if [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]:
                continue
        except ValueError:  # neither JSON nor text
            pass
        before = int(path.stem) - 1
        last = path == newest_first[0] and before >= 0
        instead = (
            f"move it away: the table is then at v{before}" if last else "remove the table's folder, and ingest again"
        )
        return DataError(f"the commit {path} is damaged", f"restore it, or {instead}")
    return None


def _commits(folder: str) -> list[Path]:
    return [] if "://" in folder else [p for p in Path(folder, "_delta_log").glob("*.json") if p.stem.isdecimal()]


def _remedy(
    table: TableVersion,
    sizes: Mapping[str, int],
    at_version: Callable[[int | None], DeltaTable],
    commits: Sequence[Mapping[str, Any]],
) -> str:
    latest = at_version(None).version()
    candidates = [version for version in range(latest, max(-1, latest - _CHECKED), -1) if version != table.version]
    readable = [f"@v{version}" for version in candidates if not _lost(at_version(version), sizes)]
    commit = next((commit for commit in commits if commit["version"] == table.version), {})
    command = next((command for key, command in _REWRITTEN.items() if key in commit), "")
    again = f"write it again{command}"
    return f"read {table.name}{', '.join(readable)}, or {again}" if readable else f"restore its files, or {again}"


def files_in(delta: DeltaTable) -> dict[str, int]:
    """The files in the table's folder, with their sizes in bytes."""
    from deltalake.fs import DeltaStorageHandler
    from pyarrow.fs import FileSelector, PyFileSystem

    files = PyFileSystem(DeltaStorageHandler.from_table(delta._table))
    return {info.path: info.size for info in files.get_file_info(FileSelector("", recursive=True)) if info.is_file}


def _lost(delta: DeltaTable, sizes: Mapping[str, int]) -> list[str]:
    uri = urlsplit(delta.table_uri)
    folder = Path(unquote(uri.path)) if uri.scheme == "file" else None
    return [
        path
        for path, size in _sizes(delta).items()
        if sizes.get(path) != size or (folder is not None and not is_parquet(folder / path))
    ]


def _sizes(delta: DeltaTable) -> dict[str, int]:
    """The version's files in the table's folder, with their sizes in bytes from the log."""
    added = delta.get_add_actions(flatten=True)  # unchanged: pa.table would import pandas
    paths, sizes = added["path"].to_pylist(), added["size_bytes"].to_pylist()
    return {unquote(path): size for path, size in zip(paths, sizes, strict=True) if "://" not in path}
