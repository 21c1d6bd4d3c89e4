"""The files of a project's folder that are sent with it to another machine."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from lakewright.errors import UsageError
from lakewright.system.paths import stays_inside
from lakewright.targets.files import REQUESTS

IGNORE = ".lakewrightignore"  # as .gitignore, in the project's folder
NAME_IT = f"name it in {IGNORE} if no stage needs it"
NEVER = (".*", "__pycache__/", "*.py[co]", "*.egg-info/", "node_modules/", "mlruns/")
MARKS = (".writable", REQUESTS, "pyvenv.cfg")  # of a workspace, of a folder of `deploy --out`, of an environment
MOST_BYTES, MOST_FILES = 256 << 20, 10_000


@dataclass(frozen=True)
class Shipped:
    files: Mapping[str, Path]  # relative path → file
    left_out: Mapping[str, str]  # relative path → why, of files that a user may miss

    def read(self) -> dict[str, bytes]:
        """Relative path → content. Raises UsageError if that is more than code, or cannot be read."""
        try:
            sizes = {name: path.stat().st_size for name, path in self.files.items()}
            if sum(sizes.values()) <= MOST_BYTES and len(sizes) <= MOST_FILES:
                return {name: path.read_bytes() for name, path in self.files.items()}
        except OSError as failure:
            raise UsageError(f"{failure.filename} cannot be read: {failure.strerror}", NAME_IT) from None
        raise UsageError(
            f"the project's folder has {sum(sizes.values()) >> 20} MiB in {len(sizes):,} files, and every step "
            f"would get them; the limits are {MOST_BYTES >> 20} MiB and {MOST_FILES:,} files, and the largest file is "
            f"{max(sizes, key=sizes.__getitem__)}",
            f"keep data elsewhere (data.source: s3://…), and name files that no stage needs in {IGNORE}",
        )


def shipped(folder: Path, suffix: str = "") -> Shipped:
    """The files that end in `suffix`, except hidden files, caches, environments, workspaces, folders of `deploy --out`,
    and the names in .lakewrightignore. A link is followed only to a file that is sent itself.

    Raises UsageError if a folder or .lakewrightignore cannot be read.
    """
    root = folder.resolve()
    ignored = _ignored(root)
    files: dict[str, Path] = {}
    links: dict[str, Path] = {}
    left_out: dict[str, str] = {}
    folders = [root]
    while folders:
        for path in _listed(folders.pop()):
            name = path.relative_to(root).as_posix()
            if ignored(f"{name}/" if path.is_dir() else name):
                continue
            if path.is_dir() and not path.is_symlink():
                if not any((path / mark).exists() for mark in MARKS):
                    folders.append(path)
            elif not stays_inside(name):
                left_out[name] = "has a name that not every machine can write"
            elif path.is_symlink():
                links[name] = path
            elif name.endswith(suffix):
                files[name] = path
    left_out |= {name: "is not a file" for name, path in files.items() if not path.is_file()}
    files = {name: path for name, path in files.items() if name not in left_out}
    for name, path in links.items():
        real = Path(os.path.realpath(path))
        if not real.is_relative_to(root):
            left_out[name] = "is a link to a place outside the project's folder"
        elif real.relative_to(root).as_posix() in files and name.endswith(suffix):
            files[name] = path
        elif name.endswith(suffix) or path.is_dir():
            left_out[name] = "is a link to a folder" if path.is_dir() else "is a link to a file that is not sent"
    return Shipped(dict(sorted(files.items())), dict(sorted(left_out.items())))


def _ignored(root: Path) -> Callable[[str], bool]:
    """Whether a relative path is ignored; a folder's path ends in a slash."""
    from pathspec import GitIgnoreSpec

    file = root / IGNORE
    try:
        lines = file.read_text(encoding="utf-8").splitlines() if file.is_file() else []
        return GitIgnoreSpec.from_lines([*NEVER, *lines]).match_file
    except (OSError, ValueError) as failure:  # ValueError: not UTF-8, or not a pattern
        raise UsageError(
            f"{file} cannot be read: {failure}", "write it as a .gitignore: one pattern in each line"
        ) from None


def _listed(folder: Path) -> list[Path]:
    try:
        return sorted(folder.iterdir())
    except OSError as failure:
        raise UsageError(f"{folder} cannot be read: {failure.strerror}", NAME_IT) from None
