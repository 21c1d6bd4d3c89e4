"""A workspace that lies elsewhere (s3://, abfss://, a mounted folder), and the copy of it that a stage works in.

What a stage needs is brought before it runs, and what it left is sent after. Places to send to are object stores, or
folders that look like one (a Unity Catalog volume, a blobfuse mount): no appending, no locks, so no database lies
there, and a file, once sent, changes only as a whole. Records go last: what a record names is there before it.
"""

from __future__ import annotations

import logging
import os
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

from lakewright.errors import UsageError
from lakewright.system.files import whole
from lakewright.system.paths import stays_inside

if TYPE_CHECKING:
    from pyarrow.fs import FileInfo, FileSystem

LOG = logging.getLogger("lakewright")
SEND_ORDER = ("recipes", "models", "ledger", "tune", "automl", "runs", "records")
SMALL = ("ledger", "runs", "records")  # whose JSON files are brought at once
CHUNK = 1 << 24


@dataclass(frozen=True)
class Mirror:
    """The workspace at `uri`, of which `folder` is a copy, in part."""

    uri: str
    folder: Path
    storage_options: Mapping[str, str] = field(default_factory=dict)
    _stamps: dict[str, tuple[int, int]] = field(default_factory=dict)  # relative path → size and time, as in the store

    def bring(self, place: Path) -> None:
        """The file or folder of the copy, as it is in the store."""
        system, root = self._store()
        inside = place.relative_to(self.folder).as_posix()
        for info in _files(system, f"{root}/{inside}"):
            self._download(system, info, root)

    def bring_small(self) -> None:
        """What other processes noted: runs, records, reads of the test split."""
        system, root = self._store()
        for top in SMALL:
            for info in _files(system, f"{root}/{top}"):
                if info.path.endswith(".json"):
                    self._download(system, info, root)

    def has(self, place: Path) -> bool:
        system, root = self._store()
        return bool(_files(system, f"{root}/{place.relative_to(self.folder).as_posix()}"))

    def send(self, tops: Sequence[str] = SEND_ORDER) -> None:
        """What is new or changed in these folders of the copy."""
        system, root = self._store()
        for top in tops:
            stamps = {path.relative_to(self.folder).as_posix(): _stamp(path) for path in _paths(self.folder / top)}
            new = {inside: stamp for inside, stamp in stamps.items() if self._stamps.get(inside) != stamp}
            remote = {info.path: info for info in _files(system, f"{root}/{top}")} if new else {}
            # Within runs, records last as well
            for inside, stamp in sorted(new.items(), key=lambda item: "/records/" in item[0]):
                stored = remote.get(f"{root}/{inside}")
                if stored is None or stored.size != stamp[0] or stored.mtime_ns < stamp[1]:
                    if _linked(system, root, inside):
                        raise UsageError(
                            f"{self.uri}/{inside} is behind a link, which may lead anywhere",
                            "replace the link with a folder",
                        )
                    _put(system, self.folder / inside, f"{root}/{inside}")
                self._stamps[inside] = stamp

    def _store(self) -> tuple[FileSystem, str]:
        from lakewright.data.sources.files import file_system

        system, root = file_system(self.uri, self.storage_options)
        return system, root.rstrip("/")

    def _download(self, system: FileSystem, info: FileInfo, root: str) -> None:
        """A key is whatever somebody wrote into the store: one that would leave the copy's folder is passed over."""
        inside = info.path.removeprefix(f"{root}/")
        path = self.folder / inside
        if not stays_inside(inside):
            LOG.warning("%r is left out: no file of the workspace's copy can have that name", f"{self.uri}/{inside}")
            return
        if _linked(system, root, inside):
            LOG.warning("%r is left out: it is behind a link, which may lead anywhere", f"{self.uri}/{inside}")
            return
        if path.is_dir() or any(folder.is_file() for folder in path.parents):  # the store has `a` and `a/b`
            LOG.warning("%r is left out: another key is its folder, or is in it", f"{self.uri}/{inside}")
            return
        millionth = 1000  # of a second: finer than any store's clock
        if path.exists():
            size, time = _stamp(path)
            if (size, time // millionth) == (info.size, info.mtime_ns // millionth):
                return
        # Not beside it: what a killed process leaves would lie in a model folder, which holds nothing but its files.
        with whole(path, self.folder / f".{path.name}.{os.getpid()}.partial") as draft:
            with system.open_input_stream(info.path) as source, draft.open("wb") as file:
                while chunk := source.read(CHUNK):
                    file.write(chunk)
            os.utime(draft, ns=(info.mtime_ns, info.mtime_ns))
        self._stamps[inside] = _stamp(path)


def _put(system: FileSystem, path: Path, target: str) -> None:
    """Whole or not at all: an object store keeps nothing of a stream that was not closed; a folder needs a rename."""
    from pyarrow.fs import LocalFileSystem

    folder = isinstance(system, LocalFileSystem)
    if folder:
        system.create_dir(str(PurePosixPath(target).parent), recursive=True)
    draft = f"{target}.{os.getpid()}.partial" if folder else target
    with path.open("rb") as file, system.open_output_stream(draft) as out:
        while chunk := file.read(CHUNK):
            out.write(chunk)
    if folder:
        system.move(draft, target)


def _linked(system: FileSystem, root: str, inside: str) -> bool:
    """Whether a link lies on the way from the root, where that is a folder, to what is in it."""
    from pyarrow.fs import LocalFileSystem

    local = isinstance(system, LocalFileSystem)
    return local and os.path.realpath(f"{root}/{inside}") != f"{os.path.realpath(root)}/{inside}"


def _files(system: FileSystem, path: str) -> list[FileInfo]:
    """The files at or under the path; none where there is no such path."""
    from pyarrow.fs import FileSelector, FileType, LocalFileSystem

    info = system.get_file_info(path)
    if info.type == FileType.File:
        return [info]
    if isinstance(system, LocalFileSystem):  # its selector follows links, and goes in circles
        names = [f"{folder}/{name}" for folder, _, names in os.walk(path) for name in names]
        infos = system.get_file_info([name for name in names if not re.search("[\ud800-\udfff]", name)])  # no text
    else:
        infos = system.get_file_info(FileSelector(path, recursive=True, allow_not_found=True))
    return [info for info in infos if info.type == FileType.File and not info.path.endswith(".partial")]


def _paths(top: Path) -> Iterable[Path]:
    return (path for path in top.rglob("*") if path.is_file() and not path.name.endswith(".partial"))


def _stamp(path: Path) -> tuple[int, int]:
    stat = path.stat()
    return stat.st_size, stat.st_mtime_ns
