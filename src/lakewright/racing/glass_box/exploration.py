"""The data exploration: the table's profile, as a page and as a notebook that runs."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from lakewright.data.profile import measured, roles_of
from lakewright.data.profile.notebook import write_notebook
from lakewright.learning.planning import as_prepared, column_uses
from lakewright.records import as_json
from lakewright.system.files import write_whole

if TYPE_CHECKING:
    from lakewright.records import Prepared
    from lakewright.settings.project import Project
    from lakewright.workspace import Workspace


def explore(project: Project, prepared: Prepared, workspace: Workspace, profile: str | None, folder: Path) -> Path:
    """Writes exploration/profile.html, profile.json and profile.ipynb; returns the notebook."""
    from lakewright.pages.profile import write_page
    from lakewright.settings.project import changed

    base = as_prepared(changed(project, {"train.learner": "ensemble"}), prepared)
    roles = roles_of(workspace.lake.scan(prepared.table).schema, base, (), (), None)
    uses = column_uses(base, prepared.table, workspace.lake)
    place = folder / "exploration"
    place.mkdir()
    table = measured(
        workspace.lake, prepared.table, base, roles,
        bias=(), counter=None, base=None, round_trip=None, uses=uses, folder=place,
    )  # fmt: skip
    write_whole(Path(table.json_file), as_json(table))
    write_page(table)
    write_notebook(table, workspace, profile, project.folder, facets=())
    return Path(table.notebook)
