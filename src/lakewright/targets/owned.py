"""Whose something on a platform is: a name may be another project's, which must not be changed."""

from __future__ import annotations

from collections.abc import Collection

from lakewright.errors import ProfileError
from lakewright.settings.project import Project

TAG = "lakewright.project"


def full_name(project: Project) -> str:
    return f"{project.schema_}.{project.name}"


def refuse_foreign(
    what: str, owner: str | None, project: Project, remedy: str, *, serves: Collection[str] = (), model: str = ""
) -> None:
    """Raises ProfileError for what is there and of another project: by its owner (the tag), or, where nobody is noted,
    by the models that it serves, of which this project's is `model`."""
    if owner == full_name(project) or (owner is None and {*serves} == {model}):
        return
    whose = [f"serves {', '.join(sorted({*serves}))}"] if any(serves) else []
    whose += [f"is of the project {owner}"] if owner is not None else []
    raise ProfileError(f"the {what} {' and '.join(whose) or 'was not made by Lakewright'}", remedy)
