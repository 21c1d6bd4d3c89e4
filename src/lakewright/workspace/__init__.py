"""Where a run's state lies: the lake, the tracking server, and one folder for runs, records and checkpoints.

catalog.sqlite   names of tables, schemas, models (Unity Catalog's shape), unless `catalog` names another keeper
tables/          Delta tables, unless the profile's `lake` says elsewhere
mlflow.db        MLflow's runs and models, unless `tracking` says elsewhere
artifacts/       MLflow's files
records/         one JSON a finished stage, by the hash of all it depended on
work/            a stage's files while it works: checkpoints, half-made folders
models/          sealed model folders            recipes/     fitted recipes
runs/RUN_ID/     what a run left (run_folder.py)
online.sqlite    feature values by key, unless `online` names another store
indexes/         vector indexes for search, one a table version and model; may be deleted
ledger/          a JSON file for every read of a test split
tune/NAME/       a search: its trials, and what it found

A workspace may lie elsewhere (s3://…, abfss://…, file://… for a mounted folder): then this machine works in a copy of
it (mirror.py), and tables and tracking are elsewhere too.
"""

from __future__ import annotations

import hashlib
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from lakewright import plugins
from lakewright.errors import Busy, ProfileError, UsageError, of_disk
from lakewright.settings.profile import Profile
from lakewright.system.files import cores, user_cache
from lakewright.workspace.mirror import SEND_ORDER, Mirror
from lakewright.workspace.run_folder import RunFolder

if TYPE_CHECKING:
    import pyarrow as pa

    from lakewright.data.features.online import OnlineStore
    from lakewright.data.lake.sql import RunsSql
    from lakewright.data.lake.tables import Lake
    from lakewright.records import TableVersion
    from lakewright.workers import Workers
    from lakewright.workspace.tracking import StageLog, Tracking


@dataclass(frozen=True)
class Workspace:
    folder: Path
    profile: Profile
    lake: Lake
    tracking: Tracking
    run_id: str = ""
    work: Path = Path()  # this stage's own folder; it survives a kill
    log: StageLog | None = None  # this stage's own MLflow run
    again: bool = False  # this stage is to do its work anew, whatever is there
    watch: Callable[[float, float], None] | None = None  # of a training: learning/learners/__init__.py
    shared: Path | None = None  # of the trainings of a search, as there
    mirror: Mirror | None = None  # where the workspace lies elsewhere, and this folder is a copy

    @classmethod
    def open(cls, profile: Profile) -> Workspace:
        from lakewright.data.lake.names import check_folder
        from lakewright.data.lake.tables import Lake
        from lakewright.data.sources.readable import Readable
        from lakewright.workspace.moved import move_places
        from lakewright.workspace.tracking import Tracking

        elsewhere = "://" in profile.workspace
        folder = copy_of(profile.workspace) if elsewhere else Path(profile.workspace)
        tables = profile.lake or (f"{profile.workspace.rstrip('/')}/tables" if elsewhere else str(folder / "tables"))
        for place in (tables,) if profile.tracking else (str(folder), tables):
            check_folder(place)
        try:
            folder.mkdir(parents=True, exist_ok=True)
            (folder / ".writable").touch()
        except OSError as failure:
            full = of_disk(failure, folder)
            if full is None:
                raise UsageError(
                    f"{folder} cannot be a workspace: {failure.strerror or failure}",
                    "change to a folder that you may write to, or name one in profiles.yml (workspace: FOLDER)",
                ) from None
            if not (folder / "tables").is_dir():  # else there is something to read
                raise full from None
        mirror = Mirror(profile.workspace.rstrip("/"), folder, profile.secrets()) if elsewhere else None
        if mirror is not None:
            if profile.tracking is None:
                raise ProfileError(
                    f"several machines share the workspace {profile.workspace}, and they cannot share a database",
                    "name the tracking server in profiles.yml (tracking: https://…, databricks)",
                )
            from pyarrow import ArrowException

            try:
                mirror.bring_small()
            except (OSError, ArrowException) as failure:
                raise ProfileError(
                    f"{profile.where('workspace')}: the workspace {mirror.uri} cannot be read: {failure}",
                    "check its address, the network and the keys (storage_options, or those of the machine's role)",
                ) from None
        catalog = plugins.CATALOGS.find(profile.catalog.name).open(profile.catalog, folder, profile.secrets())
        base = profile.folder or Path.cwd()
        roots = [*([] if base == Path(base.anchor) else [str(base)]), tables, *profile.data_roots]
        files = Readable(base, roots, profile.secrets())
        lake = Lake(catalog, tables, profile.secrets(), files, profile.default_catalog)
        tracking = profile.tracking or f"sqlite:///{folder / 'mlflow.db'}"
        if not profile.tracking and not profile.artifacts:
            move_places(folder / "mlflow.db", folder / "artifacts")
        # A tracking server elsewhere keeps files where it says, unless the profile says.
        artifacts = profile.artifacts or ("" if profile.tracking else str(folder / "artifacts"))
        return cls(folder, profile, lake, Tracking(tracking, profile.registry, artifacts), mirror=mirror)

    def at_stage(self, run_id: str, work: Path, log: StageLog | None, again: bool = False) -> Workspace:
        return replace(self, run_id=run_id, work=work, log=log, again=again)

    def bring(self, place: str) -> Path:
        """The file or folder, on this machine."""
        if self.mirror is not None and Path(place).is_relative_to(self.folder):
            self.mirror.bring(Path(place))
        return Path(place)

    def has(self, place: str) -> bool:
        """Whether the file or folder is there, on this machine or where the workspace lies."""
        return Path(place).exists() or (
            self.mirror is not None and Path(place).is_relative_to(self.folder) and self.mirror.has(Path(place))
        )

    def send(self, *tops: str) -> None:
        """What is new, in these folders or in all, to where the workspace lies."""
        if self.mirror is not None:
            self.mirror.send(tops or SEND_ORDER)

    @property
    def run_folder(self) -> RunFolder:
        """Of the run that this stage belongs to."""
        return RunFolder.of(self.folder, self.run_id)

    @property
    def opener(self) -> Callable[[], Workspace]:
        """Opens it in another process."""
        return partial(type(self).open, self.profile)

    @property
    def threads(self) -> int:
        return self.profile.threads or cores()

    def workers(self) -> Workers:
        """Those of the profile. Raises UsageError where they cannot be reached."""
        settings = self.profile.workers
        return plugins.WORKERS.find(settings.name).open(settings, self.threads)

    def online(self) -> OnlineStore:
        """The profile's store of published feature values. Raises NoStore where it cannot be opened."""
        settings = self.profile.online
        return plugins.STORES.find(settings.name).open(settings, self.folder)

    def sql(self, query: str) -> pa.Table | TableVersion:
        """Run one SQL statement where the profile says: see `lakewright.data.lake.sql.run_sql`."""
        from lakewright.data.lake.sql import run_sql

        return run_sql(self.lake, query, self.runs_sql())

    def runs_sql(self) -> RunsSql:
        """DuckDB, or the profile's Spark cluster. Raises UsageError where that cannot be reached."""
        from lakewright.data.lake.sql import IN_DUCKDB

        if self.profile.sql == "duckdb":
            return IN_DUCKDB
        from lakewright.data.lake.spark_sql import OnSpark
        from lakewright.workers.spark import SparkWorkers

        workers = SparkWorkers.open(self.profile.workers, self.threads)
        if not workers.opens_files:
            raise UsageError(
                "sql: spark has the workers read the tables, and they open no file (workers: reads: rows)",
                "set sql: duckdb in the profile",
            )
        return OnSpark(workers)

    @property
    def device(self) -> str:
        """The torch device. Raises UsageError when a GPU is asked for and there is none: no silent CPU in its place."""
        requested = self.profile.device
        if requested == "cpu" or (requested == "auto" and not _may_have_gpu()):
            return "cpu"
        import torch

        if torch.cuda.is_available():
            return "cuda" if requested == "auto" else requested
        if requested != "auto":
            raise UsageError(
                f"the profile requests the device {requested}, but torch finds no GPU", "set device: auto or cpu"
            )
        return "cpu"

    def is_locked(self, name: str) -> bool:
        """Whether a process of this machine holds the lock."""
        import fcntl

        path = self.folder / "locks" / name
        if not path.exists():
            return False
        with path.open() as file:
            try:
                fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
            except BlockingIOError:
                return True
        return False

    @contextmanager
    def lock(self, name: str, doing: str = "running this project", writes: bool = True) -> Iterator[None]:
        """Held by one process; the system lets go of it when that process ends, however it ends. Raises Busy.

        Without `writes`, a disk on which no lock can be made is no hindrance.
        """
        import fcntl

        path = self.folder / "locks" / name
        try:
            path.parent.mkdir(exist_ok=True)
            opened = path.open("a+")
        except OSError as failure:
            if writes or of_disk(failure, path) is None:
                raise
            yield
            return
        with opened as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                file.seek(0)
                holder = file.read().strip() or "unknown"
                raise Busy(
                    f"another process (pid {holder}) is {doing} in {self.folder}",
                    "wait for it to end, or use another workspace (--profile)",
                ) from None
            with suppress(OSError):  # on a full disk, nobody learns whose it is
                file.truncate(0)
                os.write(file.fileno(), str(os.getpid()).encode())
            yield

    @contextmanager
    def turn(self, name: str) -> Iterator[None]:
        """As `lock`, but waits until the other process has ended its turn."""
        import fcntl

        path = self.folder / "locks" / name
        path.parent.mkdir(exist_ok=True)
        with path.open("a+") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            yield


def copy_of(uri: str) -> Path:
    """The folder in which the copy of the workspace at `uri` lies."""
    return user_cache() / hashlib.sha256(uri.rstrip("/").encode()).hexdigest()[:16]


def _may_have_gpu() -> bool:
    """Whether it is worth the seconds that torch's import takes: on Linux a GPU that torch can use has a file in /dev,
    of NVIDIA's driver (servers, Jetson), AMD's, or Windows' below WSL."""
    if find_spec("torch") is None:
        return False
    names = ("nvidia*", "nvhost*", "nvgpu*", "kfd", "dxg")
    return sys.platform != "linux" or any(any(Path("/dev").glob(name)) for name in names)
