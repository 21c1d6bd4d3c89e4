"""The project's own files, which every step gets: under a prefix named by their content, so that an execution which
is under way keeps what it began with."""

from __future__ import annotations

import hashlib

from lakewright.settings.profile import Profile
from lakewright.settings.project import Project
from lakewright.targets.files import as_yaml
from lakewright.targets.project_files import shipped
from lakewright.targets.sagemaker.names import name_of, store_of


def project_files(project: Project, profile: Profile) -> dict[str, bytes]:
    """Relative path → content: what of the project file's folder is shipped, and profiles.yml with this profile alone.

    Raises UsageError where that is more than code.
    """
    found = shipped(project.folder).read()
    found["profiles.yml"] = as_yaml(profile.as_sent).encode()
    return dict(sorted(found.items()))


def prefix(files: dict[str, bytes], project: Project, profile: Profile) -> str:
    """The S3 prefix of the files: s3://…/code/NAME/DIGEST."""
    told = "\n".join(f"{name} {hashlib.sha256(content).hexdigest()}" for name, content in files.items())
    return f"{store_of(profile)}/code/{name_of(project)}/{hashlib.sha256(told.encode()).hexdigest()[:16]}"
