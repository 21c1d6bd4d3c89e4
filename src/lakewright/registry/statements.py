"""A statement of SQL over a workspace's tables, whatever it does; what runs and models name stays, unless the caller
says otherwise."""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING

from lakewright.data.lake import upkeep
from lakewright.data.lake.changes import change, is_change, without_values
from lakewright.data.lake.upkeep import is_upkeep, parse_upkeep
from lakewright.data.lake.views import create_view, drop_view, is_view_statement, parse_view_statement
from lakewright.errors import UsageError
from lakewright.records import Changed, TableVersion
from lakewright.registry.in_use import Use, uses_of
from lakewright.workspace import Workspace

if TYPE_CHECKING:
    import pyarrow as pa

NOT_REBUILDABLE = "lakewright.not_rebuildable"  # the tag of a model version whose rows were erased
_SHOWN = 5


def run_statement(
    workspace: Workspace, query: str, *, even_if_used: bool = False, erase: bool = False
) -> pa.Table | TableVersion | Changed:
    """As `api.sql` explains."""
    changes, of_view = is_change(query), is_view_statement(query)
    keeps_up = not of_view and is_upkeep(query)
    if erase and not changes:
        raise UsageError("--erase needs a statement that changes rows", "write: delete from … where …")
    if even_if_used and not keeps_up and not of_view:
        raise UsageError("--even-if-used needs drop table", "leave it out")
    if of_view:
        return _view(workspace, query, even_if_used)
    if changes:
        if workspace.profile.sql == "spark":
            raise UsageError(
                "update, delete and merge do not run on Spark",
                "name a profile with sql: duckdb; the same tables, read and written by this machine",
            )
        return _erased(workspace, query) if erase else change(workspace.lake, query)
    return _kept_up(workspace, query, even_if_used) if keeps_up else workspace.sql(query)


def _view(workspace: Workspace, query: str, even_if_used: bool) -> Changed:
    statement = parse_view_statement(query, workspace.lake.default_catalog)
    if statement.drops:
        if not even_if_used:
            _check_unused(workspace, statement.view)
        return drop_view(workspace.lake, statement)
    if even_if_used:
        raise UsageError("--even-if-used needs drop table or drop view", "leave it out")
    return create_view(workspace.lake, statement)


def _check_unused(workspace: Workspace, name: str) -> None:
    if uses := uses_of(workspace, name):
        raise UsageError(
            f"{name} is in use: {_listed(uses)}",
            "leave it, or drop it all the same (--even-if-used): these cannot be made again then, nor these views read",
        )


def _kept_up(workspace: Workspace, query: str, even_if_used: bool) -> Changed:
    lake = workspace.lake
    statement = parse_upkeep(query, lake.default_catalog)
    if even_if_used and statement.verb != "drop":
        raise UsageError("--even-if-used needs drop table", "leave it out")
    match statement.verb:
        case "optimize":
            return upkeep.optimize(lake, statement, query)
        case "restore":
            return upkeep.restore(lake, statement, query)
        case "drop":
            if not even_if_used:
                _check_unused(workspace, statement.table)
            return upkeep.drop(lake, statement)
        case "vacuum":
            users = defaultdict[int, list[str]](list)
            for use in uses_of(workspace, statement.table):
                if use.version is not None:
                    users[use.version].append(use.by)
            changed = upkeep.vacuum(lake, statement, query, users)
            kept = {f"v{version}": users[version] for version in sorted(users) if version != changed.version}
            return changed.model_copy(update={"kept": kept})


def _erased(workspace: Workspace, query: str) -> Changed:
    """The files of older versions go also where no row matches: those versions may hold it."""
    lake, noted = workspace.lake, without_values(query)
    changed = change(lake, query, noted)
    assert changed.version is not None, "the table is there"
    files = upkeep.erase_before(lake, changed.table, changed.version, noted)
    latest = changed.version
    uses = [use for use in uses_of(workspace, changed.table) if use.version is not None and use.version < latest]
    versions = {use.version: lake.version(f"{changed.table}@v{use.version}") for use in uses}
    lost = {number for number, version in versions.items() if lake.is_lost(version)}
    hit = [use for use in uses if use.version in lost]
    if models := dict.fromkeys(use.model for use in hit if use.model is not None):
        with workspace.tracking.client() as client:
            for name, number in models:
                reason = f"rows of {changed.table} were erased in v{changed.version}"
                client.set_model_version_tag(name, str(number), NOT_REBUILDABLE, reason)
    return changed.model_copy(
        update={
            "version": lake.version(changed.table).version,
            "did": "erased",
            "files_removed": files,
            "not_rebuildable": list(dict.fromkeys(use.by for use in hit)),
        }
    )


def _listed(uses: list[Use]) -> str:
    texts = list(dict.fromkeys(map(str, uses)))
    more = f", and {len(texts) - _SHOWN} more" if len(texts) > _SHOWN else ""
    return ", ".join(texts[:_SHOWN]) + more
