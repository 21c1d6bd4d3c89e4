"""The ledger: a file for every read of a test split."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from lakewright.system.files import write_whole

if TYPE_CHECKING:
    from lakewright.workspace import Workspace


def note_test_read(workspace: Workspace, table: str, rows: int, reason: str) -> int:
    """Notes a read of a test split in the ledger, and returns how often this table version was read before.

    A read is a file: a folder of them can be added to from several machines at once.
    """
    from datetime import UTC, datetime
    from uuid import uuid4

    folder, now = workspace.folder / "ledger", datetime.now(UTC)
    needle = json.dumps({"table": table})[1:-1]
    earlier = sum(needle in path.read_text(encoding="utf-8") for path in folder.glob("*.json"))
    entry = {"time": now.isoformat(), "table": table, "rows": rows, "run": workspace.run_id, "why": reason}
    write_whole(folder / f"{now:%Y%m%dT%H%M%S.%f}-{uuid4().hex[:8]}.json", json.dumps(entry) + "\n")
    return earlier
