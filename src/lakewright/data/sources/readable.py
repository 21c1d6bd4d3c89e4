"""The files that SQL may read: below the project's folder, the lake and the profile's `data_roots`, and no others."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import unquote

from lakewright import plugins
from lakewright.data.lake.file_names import FileName
from lakewright.errors import NotFound, UsageError

if TYPE_CHECKING:
    import pyarrow as pa

_GLOB = re.compile(r"[*?\[\]{}]")


@dataclass(frozen=True)
class Readable:
    base: Path  # of relative paths: the project's folder
    roots: Sequence[str]  # folders and URIs
    storage_options: Mapping[str, str] = field(default_factory=dict, repr=False)

    def open(self, file: FileName) -> pa.RecordBatchReader:
        """Raises UsageError for a file that SQL may not read, NotFound for one that is not there, and the errors of the
        source."""
        if _GLOB.search(file.path):
            raise UsageError(f"{file.path!r} is a pattern", "name one file, or the folder that holds the files")
        if ".." in re.split(r"[/\\]", file.path) or not file.path.strip() or "\0" in file.path:
            raise UsageError(
                f"{file.path!r} is not the path of a file", "write it without .., from the project's folder"
            )
        if "://" not in file.path:
            place = str(self._inside(self.base / Path(file.path).expanduser(), file))
        elif self._is_address(file.path):
            place = file.path
        else:
            raise self._refused(file)
        if file.format == "delta":
            self._check_table(place, file)
        return plugins.SOURCES.find(file.format).open(place, {}, self.storage_options)

    def _inside(self, path: Path, file: FileName) -> Path:
        """The file or folder, all links followed."""
        real = path.resolve()
        if not self._may_read(real):
            raise self._refused(file)
        if not real.exists():
            raise NotFound(f"there is no file {file.path}", f"paths are from {self.base}")
        for inner in real.rglob("*") if real.is_dir() else ():
            if inner.is_symlink() and not self._may_read(inner.resolve()):
                raise self._refused(FileName(file.format, str(inner)))
        return real

    def _check_table(self, place: str, file: FileName) -> None:
        """The log of a table may name files of other folders."""
        from deltalake import DeltaTable
        from deltalake.exceptions import DeltaError

        try:
            actions = DeltaTable(place, storage_options=dict(self.storage_options)).get_add_actions(flatten=True)
        except DeltaError:
            return  # the source says what is wrong with it
        for path in actions["path"].to_pylist():
            parts = re.split(r"[/\\]", unquote(path))
            if parts[0] == "" or ":" in parts[0] or ".." in parts:
                raise UsageError(
                    f"SQL may not read {file.path}: its log names a file of another folder, {path}",
                    "read that folder's own table, or ingest this one (lakewright run)",
                )

    def _may_read(self, real: Path) -> bool:
        """Hidden files and profiles.yml may hold keys."""
        for root in self._folders():
            if real.is_relative_to(root):
                parts = real.relative_to(root).parts
                if real.name != "profiles.yml" and not any(part.startswith(".") for part in parts):
                    return True
        return False

    def _folders(self) -> Iterator[Path]:
        for root in self.roots:
            if "://" not in root:
                yield (self.base / Path(root).expanduser()).resolve()

    def _is_address(self, uri: str) -> bool:
        """Whether SQL may read what lies at s3://…."""
        roots = [root.rstrip("/") + "/" for root in self.roots if "://" in root]
        return ".." not in uri.split("/") and uri.startswith(tuple(roots))

    def _refused(self, file: FileName) -> UsageError:
        return UsageError(
            f"SQL may not read {file.path}",
            f"it reads files below {', '.join(self.roots)}; name more folders in profiles.yml (data_roots: [FOLDER])",
        )
