"""Files: whole or not at all, and where this user's cache lies."""

from __future__ import annotations

import os
from pathlib import Path


def user_cache() -> Path:
    """What may be deleted at any time lies here: $XDG_CACHE_HOME/lakewright, or ~/.cache/lakewright."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "lakewright"


def write_whole(path: Path, text: str) -> None:
    """Whole or not at all, and on disk before this returns."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
    with partial.open("w", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    partial.replace(path)


def cores() -> int:
    """The processor cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
