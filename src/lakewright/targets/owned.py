"""The owner of a thing on a platform: a name may belong to another project, whose things must not be changed."""

from __future__ import annotations

from collections.abc import Collection

from lakewright.errors import ProfileError
from lakewright.settings.project import Project

TAG = "lakewright.project"


def full_name(project: Project) -> str:
    return f"{project.schema_}.{project.name}"


def refuse_foreign(
    thing: str, owner: str | None, project: Project, remedy: str, *, serves: Collection[str] = (), model: str = ""
) -> None:
    """Raises ProfileError if an existing thing belongs to another project: by its owner (the tag), or without an owner
    by the models that it serves, of which `model` is this project's."""
    if owner == full_name(project) or (owner is None and {*serves} == {model}):
        return
    reasons = [f"serves {', '.join(sorted({*serves}))}"] if any(serves) else []
    reasons += [f"is of the project {owner}"] if owner is not None else []
    raise ProfileError(f"the {thing} {' and '.join(reasons) or 'was not made by Lakewright'}", remedy)
