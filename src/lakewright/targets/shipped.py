"""Which files of a project's folder go with it to another machine."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from lakewright.targets.written import REQUESTS

MARKS = (".writable", REQUESTS)  # of a workspace, of what `deploy --out` wrote


def files_of(folder: Path) -> Iterator[Path]:
    """All but hidden files, caches, workspaces and what was written out."""
    for path in sorted(folder.iterdir()):
        if path.name.startswith(".") or path.name == "__pycache__":
            continue
        if path.is_file():
            yield path
        elif path.is_dir() and not any((path / mark).exists() for mark in MARKS):
            yield from files_of(path)


def python_of(folder: Path) -> dict[str, Path]:
    """Relative path → file: the modules and packages that `python:` sources are made of."""
    return {path.relative_to(folder).as_posix(): path for path in files_of(folder) if path.suffix == ".py"}
