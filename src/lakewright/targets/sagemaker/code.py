"""The project's own files, which every step gets: under a prefix named by their content, so that an execution which
is under way keeps what it began with."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path

from lakewright.errors import UsageError
from lakewright.profile import Profile
from lakewright.project import Project
from lakewright.runtimes.folder import file_hash
from lakewright.targets.sagemaker.names import name_of, store_of

MOST_BYTES = 256 << 20


def project_files(project: Project, profile: Profile) -> dict[str, Path]:
    """Relative path → file: the project file's folder without hidden files, caches and workspaces; and profiles.yml.

    Raises UsageError where that is more than code.
    """
    found = {path.relative_to(project.folder).as_posix(): path for path in _files(project.folder)}
    if profile.folder is not None:
        found["profiles.yml"] = profile.folder / "profiles.yml"
    size = sum(path.stat().st_size for path in found.values())
    if size > MOST_BYTES:
        raise UsageError(
            f"{project.folder} has {size >> 20} MiB of files, which every step would be given",
            "keep data elsewhere (data.source: s3://…) and the project file in a folder of its own",
        )
    return dict(sorted(found.items()))


def prefix(files: dict[str, Path], project: Project, profile: Profile) -> str:
    """The S3 prefix of the files: s3://…/code/NAME/DIGEST."""
    told = "\n".join(f"{name} {file_hash(path)}" for name, path in files.items())
    return f"{store_of(profile)}/code/{name_of(project)}/{hashlib.sha256(told.encode()).hexdigest()[:16]}"


def _files(folder: Path) -> Iterator[Path]:
    for path in folder.iterdir():
        if path.name.startswith(".") or path.name == "__pycache__":
            continue
        if path.is_file():
            yield path
        elif path.is_dir() and not (path / ".writable").exists():  # which every workspace has
            yield from _files(path)
