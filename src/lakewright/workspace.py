"""Where a run's state lies: the lake, the tracking server, and one folder for runs, records and checkpoints.

catalog.sqlite   names of tables, schemas, models (Unity Catalog's shape)
tables/          Delta tables, unless the profile's `lake` says elsewhere
mlflow.db        MLflow's runs and models, unless `tracking` says elsewhere
artifacts/       MLflow's files
records/         one JSON a finished stage, by the hash of all it depended on
work/            a stage's files while it works: checkpoints, half-made folders
models/          sealed model folders            encodings/   what prepare fitted
runs/RUN_ID/     run.json, log.txt, records, report.html, evaluation.json, decision.json
indexes/         vector indexes for search, one a table version and model; may be deleted
ledger.jsonl     every read of a test split
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from lakewright.errors import Busy, UsageError
from lakewright.profile import Profile
from lakewright.runtimes import cores

if TYPE_CHECKING:
    from lakewright.lake.tables import Lake
    from lakewright.tracking import StageLog, Tracking


@dataclass(frozen=True)
class Workspace:
    folder: Path
    profile: Profile
    lake: Lake
    tracking: Tracking
    run_id: str = ""
    work: Path = Path()  # this stage's own folder; it survives a kill
    log: StageLog | None = None  # this stage's own MLflow run

    @classmethod
    def open(cls, profile: Profile) -> Workspace:
        from lakewright.lake.catalog import Catalog
        from lakewright.lake.tables import Lake
        from lakewright.tracking import Tracking

        folder = Path(profile.workspace)
        try:
            folder.mkdir(parents=True, exist_ok=True)
            (folder / ".writable").touch()
        except OSError as failure:
            raise UsageError(
                f"{folder} cannot be a workspace: {failure.strerror or failure}",
                "go to a folder you may write to, or name one in profiles.yml (workspace: FOLDER)",
            ) from None
        lake = Lake(Catalog(folder / "catalog.sqlite"), profile.lake or str(folder / "tables"), profile.secrets())
        tracking = profile.tracking or f"sqlite:///{folder / 'mlflow.db'}"
        # A tracking server elsewhere keeps files where it says, unless the profile says.
        artifacts = profile.artifacts or ("" if profile.tracking else str(folder / "artifacts"))
        return cls(folder, profile, lake, Tracking(tracking, profile.registry, artifacts))

    def at_stage(self, run_id: str, work: Path, log: StageLog | None) -> Workspace:
        return replace(self, run_id=run_id, work=work, log=log)

    @property
    def run_folder(self) -> Path:
        return self.folder / "runs" / self.run_id

    @property
    def threads(self) -> int:
        return self.profile.threads or cores()

    @property
    def device(self) -> str:
        """The torch device. Raises UsageError when a GPU is asked for and there is none: no silent CPU in its place."""
        wanted = self.profile.device
        if wanted == "cpu":
            return wanted
        import torch

        if torch.cuda.is_available():
            return "cuda" if wanted == "auto" else wanted
        if wanted != "auto":
            raise UsageError(f"the profile asks for device {wanted}, but torch sees no GPU", "set device: auto or cpu")
        return "cpu"

    @contextmanager
    def lock(self, name: str, doing: str = "running this project") -> Iterator[None]:
        """Held by one process; the system lets go of it when that process ends, however it ends. Raises Busy."""
        import fcntl

        path = self.folder / "locks" / name
        path.parent.mkdir(exist_ok=True)
        with path.open("a+") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                file.seek(0)
                holder = file.read().strip() or "unknown"
                raise Busy(
                    f"another process (pid {holder}) is {doing} in {self.folder}",
                    "wait for it to end, or use another workspace (--profile)",
                ) from None
            file.truncate(0)
            file.write(str(os.getpid()))
            file.flush()
            yield


def write_whole(path: Path, text: str) -> None:
    """Whole or not at all, and on disk before this returns."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
    with partial.open("w", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    partial.replace(path)


def note_test_read(workspace: Workspace, table: str, rows: int, why: str) -> int:
    """Adds a line to the ledger of test-split reads, and returns how often this table version was read before."""
    from datetime import UTC, datetime

    path = workspace.folder / "ledger.jsonl"
    earlier = 0
    if path.exists():
        needle = json.dumps({"table": table})[1:-1]  # as text: a line that a full disk cut short still counts
        earlier = sum(needle in line for line in path.read_text(encoding="utf-8").splitlines())
    entry = {"time": datetime.now(UTC).isoformat(), "table": table, "rows": rows, "run": workspace.run_id, "why": why}
    with path.open("a", encoding="utf-8") as file:
        file.write(json.dumps(entry) + "\n")
    return earlier
