"""The files that were appended to a Delta table after one of its versions, from its log, commit by commit.

A commit that only adds files adds rows. One that rearranges them (OPTIMIZE: `dataChange` is false) changes none. One
that takes files away with their rows (DELETE, UPDATE, MERGE, overwrite) does not say which rows are new.
https://github.com/delta-io/delta/blob/master/PROTOCOL.md#add-file-and-remove-file
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from lakewright.data.lake.parts import File, rows_of
from lakewright.errors import DataError

if TYPE_CHECKING:
    from deltalake import DeltaTable
    from pyarrow.fs import PyFileSystem

    from lakewright.data.lake.catalogs import Location

REMEDY = "read all rows of the version instead"


class Rewritten(DataError):
    """The log does not show which rows are new."""


def appended(delta: DeltaTable, since: int, location: Location) -> list[File]:
    """The files that were appended after version `since`, always in the same order, up to the version of `delta`.

    Raises Rewritten if a commit in between did more than append, or is no longer in the log.
    """
    from deltalake.fs import DeltaStorageHandler
    from pyarrow.fs import PyFileSystem

    files = PyFileSystem(DeltaStorageHandler.from_table(delta._table))
    actions = [action for commit in range(since + 1, delta.version() + 1) for action in _appended(files, commit)]
    return [
        File(
            action["path"],
            rows_of(location, action["path"], json.loads(action.get("stats") or "{}").get("numRecords")),
            action["size"],
            action.get("partitionValues") or {},
        )
        for action in actions
    ]


def _appended(files: PyFileSystem, commit: int) -> list[dict[str, Any]]:
    """The files that a commit added with their rows, by path."""
    try:
        with files.open_input_stream(f"_delta_log/{commit:020}.json") as opened:
            actions = [json.loads(line) for line in opened.read().decode("utf-8").splitlines() if line.strip()]
    except FileNotFoundError:
        raise Rewritten(f"version {commit} is no longer in its log", REMEDY) from None
    of = {kind: [action[kind] for action in actions if kind in action] for kind in ("add", "remove", "commitInfo")}
    new = [file for file in of["add"] if file.get("dataChange", True)]
    if any(file.get("dataChange", True) for file in of["remove"]) or any("deletionVector" in file for file in new):
        operation = next((info.get("operation") for info in of["commitInfo"]), None) or "a commit"
        raise Rewritten(f"version {commit} changed rows ({operation})", REMEDY)
    return sorted(new, key=lambda file: str(file["path"]))
