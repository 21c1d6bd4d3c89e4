"""The project's own files, which every step gets: under a prefix named by their content, so that an execution which
is under way keeps what it began with."""

from __future__ import annotations

import hashlib

from lakewright.errors import UsageError
from lakewright.profile import Profile
from lakewright.project import Project
from lakewright.targets.sagemaker.names import name_of, store_of
from lakewright.targets.shipped import files_of
from lakewright.targets.written import as_yaml

MOST_BYTES = 256 << 20


def project_files(project: Project, profile: Profile) -> dict[str, bytes]:
    """Relative path → content: the project file's folder without hidden files, caches, workspaces and what
    `deploy --out` wrote; and profiles.yml with this profile alone.

    Raises UsageError where that is more than code.
    """
    paths = {path.relative_to(project.folder).as_posix(): path for path in files_of(project.folder)}
    size = sum(path.stat().st_size for path in paths.values())
    if size > MOST_BYTES:
        raise UsageError(
            f"{project.folder} has {size >> 20} MiB of files, which every step would be given",
            "keep data elsewhere (data.source: s3://…) and the project file in a folder of its own",
        )
    found = {name: path.read_bytes() for name, path in paths.items()}
    found["profiles.yml"] = as_yaml(profile.as_sent).encode()
    return dict(sorted(found.items()))


def prefix(files: dict[str, bytes], project: Project, profile: Profile) -> str:
    """The S3 prefix of the files: s3://…/code/NAME/DIGEST."""
    told = "\n".join(f"{name} {hashlib.sha256(content).hexdigest()}" for name, content in files.items())
    return f"{store_of(profile)}/code/{name_of(project)}/{hashlib.sha256(told.encode()).hexdigest()[:16]}"
