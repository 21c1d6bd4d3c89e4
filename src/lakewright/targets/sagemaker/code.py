"""The project's own files, which every step gets. Their prefix names their content, so that a running execution keeps
the files with which it began."""

from __future__ import annotations

import hashlib

from lakewright.settings.profile import Profile
from lakewright.settings.project import Project
from lakewright.targets.files import as_yaml
from lakewright.targets.project_files import shipped
from lakewright.targets.sagemaker.names import name_of, store_of


def project_files(project: Project, profile: Profile) -> dict[str, bytes]:
    """Relative path → content: the files of the project's folder, and profiles.yml with this profile alone.

    Raises UsageError if that is more than code.
    """
    files = shipped(project.folder).read()
    files["profiles.yml"] = as_yaml(profile.as_sent).encode()
    return dict(sorted(files.items()))


def prefix(files: dict[str, bytes], project: Project, profile: Profile) -> str:
    """The S3 prefix of the files: s3://…/code/NAME/DIGEST."""
    listing = "\n".join(f"{name} {hashlib.sha256(content).hexdigest()}" for name, content in files.items())
    return f"{store_of(profile)}/code/{name_of(project)}/{hashlib.sha256(listing.encode()).hexdigest()[:16]}"
