"""Which files of a project's folder go with it to another machine."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from lakewright.errors import UsageError
from lakewright.paths import stays_inside
from lakewright.targets.written import REQUESTS

IGNORE = ".lakewrightignore"  # as .gitignore, in the project's folder
NEVER = (".*", "__pycache__/", "*.py[co]", "*.egg-info/", "node_modules/", "mlruns/")
MARKS = (".writable", REQUESTS, "pyvenv.cfg")  # of a workspace, of what `deploy --out` wrote, of an environment
MOST_BYTES, MOST_FILES = 256 << 20, 10_000


@dataclass(frozen=True)
class Shipped:
    files: Mapping[str, Path]  # relative path → file
    left_out: Mapping[str, str]  # relative path → why, of what nobody would miss in silence

    def read(self) -> dict[str, bytes]:
        """Relative path → content. Raises UsageError where that is more than code, or cannot be read."""
        sizes = {name: path.stat().st_size for name, path in self.files.items()}
        whole = sum(sizes.values())
        if whole > MOST_BYTES or len(sizes) > MOST_FILES:
            raise UsageError(
                f"the project's folder has {whole >> 20} MiB of files, {len(sizes):,} of them, which every step would be "
                f"given, and {MOST_BYTES >> 20} MiB and {MOST_FILES:,} are the most; the largest file is "
                f"{max(sizes, key=sizes.__getitem__)}",
                f"keep data elsewhere (data.source: s3://…), and name in {IGNORE} what no stage needs",
            )
        try:
            return {name: path.read_bytes() for name, path in self.files.items()}
        except OSError as failure:
            raise UsageError(f"{failure.filename} cannot be read: {failure.strerror}", _NAME_IT) from None


def shipped(folder: Path, suffix: str = "") -> Shipped:
    """The files that end in `suffix`: all but hidden files, caches, environments, workspaces, what was written out, and
    what .lakewrightignore names. A link is followed to a file that goes along itself, and to nothing else.

    Raises UsageError for a folder, or a .lakewrightignore, that cannot be read.
    """
    root = folder.resolve()
    ignored = _ignored(root)
    files: dict[str, Path] = {}
    left_out: dict[str, str] = {}
    folders = [root]
    while folders:
        for path in _listed(folders.pop()):
            name = path.relative_to(root).as_posix()
            if ignored(name, path.is_dir()):
                continue
            if path.is_dir() and not path.is_symlink():
                if not any((path / mark).exists() for mark in MARKS):
                    folders.append(path)
            elif path.suffix.endswith(suffix) or path.is_dir():
                why = _why_not(path, name, root, ignored)
                if why:
                    left_out[name] = why
                else:
                    files[name] = path
    return Shipped(dict(sorted(files.items())), dict(sorted(left_out.items())))


_NAME_IT = f"name it in {IGNORE} where no stage needs it"


def _ignored(root: Path) -> Callable[[str, bool], bool]:
    """Whether a relative path, of a folder or of a file, is left out by itself."""
    from pathspec import GitIgnoreSpec

    file = root / IGNORE
    try:
        lines = file.read_text(encoding="utf-8").splitlines() if file.is_file() else []
        spec = GitIgnoreSpec.from_lines([*NEVER, *lines])
    except (OSError, ValueError) as failure:  # no UTF-8, and no pattern, are ValueErrors
        raise UsageError(f"{file} cannot be read: {failure}", "write it as a .gitignore: a pattern a line") from None
    return lambda name, is_folder: spec.match_file(f"{name}/" if is_folder else name)


def _listed(folder: Path) -> list[Path]:
    try:
        return sorted(folder.iterdir())
    except OSError as failure:
        raise UsageError(f"{folder} cannot be read: {failure.strerror}", _NAME_IT) from None


def _why_not(path: Path, name: str, root: Path, ignored: Callable[[str, bool], bool]) -> str:
    if not stays_inside(name):
        return "has a name that not every machine can write"
    if not path.is_symlink():
        return "" if path.is_file() else "is no file"
    real = Path(os.path.realpath(path))
    if not real.is_relative_to(root):
        return "is a link that leads out of the project's folder"
    if not real.is_file():
        return "is a link to a folder" if real.is_dir() else "is a link to nothing"
    inside = PurePosixPath(real.relative_to(root).as_posix())
    hidden = any(ignored(str(part), True) for part in inside.parents if part.name) or ignored(str(inside), False)
    return "is a link to a file that is left out" if hidden else ""
