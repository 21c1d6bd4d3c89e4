"""Files written whole or not at all, and the folder of this user's cache."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from uuid import uuid4


def user_cache() -> Path:
    """The folder for files that may be deleted at any time: $XDG_CACHE_HOME/lakewright, or ~/.cache/lakewright."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "lakewright"


@contextmanager
def whole(path: Path, draft: Path | None = None) -> Iterator[Path]:
    """Yields a draft path to write to; when the block ends, the draft becomes the file or folder `path`, whole and on
    disk.

    The draft lies beside `path` unless the caller names a `draft`: in another place, or with the same name every time,
    so that the next attempt writes over the rest of a killed one. A block that raises leaves nothing.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = draft or path.with_name(f".{path.name}.{uuid4().hex[:8]}.partial")
    try:
        yield draft
        put_in_place(draft, path)
    except BaseException:
        with suppress(OSError):  # the block's own error is the one to show
            _remove(draft)
        raise


def put_in_place(draft: Path, path: Path) -> None:
    """Rename the file or folder once all of it is on disk.

    A file replaces an earlier one. A folder's name identifies its content: if another process was first, its folder
    stays and the draft is deleted.
    """
    for file in [draft] if draft.is_file() else [inner for inner in draft.rglob("*") if inner.is_file()]:
        descriptor = os.open(file, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        draft.replace(path)
    except OSError:
        if not (draft.is_dir() and path.is_dir()):
            raise
        _remove(draft)


def write_whole(path: Path, text: str) -> None:
    """Writes the text to a file, whole or not at all; it is on disk when this returns."""
    with whole(path) as draft:
        draft.write_text(text, encoding="utf-8")


def remove_folder(folder: Path) -> None:
    """Removes it whole: a kill leaves the folder as it is, or a rest of it under a hidden name."""
    rest = folder.with_name(f".{folder.name}.{uuid4().hex[:8]}.removed")
    folder.replace(rest)
    shutil.rmtree(rest)


def _remove(draft: Path) -> None:
    if draft.is_dir():
        shutil.rmtree(draft)
    else:
        draft.unlink(missing_ok=True)


def cores() -> int:
    """The processor cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
