"""Follows aliases: when one moves to another model version, so does the endpoint. A thread asks the registry."""

from __future__ import annotations

import logging
import threading
import time

from lakewright.errors import LakewrightError
from lakewright.registry.lookup import alias_version, reader
from lakewright.serving import endpoint
from lakewright.workspace import Workspace

LOG = logging.getLogger(__name__)


def follow(workspace: Workspace, name: str, profile: str | None, seconds: float) -> None:
    """Starts the thread; it ends with the process. A registry that cannot be asked is asked again."""
    threading.Thread(target=_run, args=(workspace, name, profile, seconds), name="alias", daemon=True).start()


def _run(workspace: Workspace, name: str, profile: str | None, seconds: float) -> None:
    meant = {one.name: _version(one) for one in endpoint.read(workspace, name).variants}
    while True:
        time.sleep(seconds)
        try:
            move(workspace, name, profile, meant)
        except (LakewrightError, OSError) as failure:
            LOG.warning("the registry could not be asked, what is served stays: %s", failure)


def move(workspace: Workspace, name: str, profile: str | None, meant: dict[str, int]) -> None:
    """Writes the endpoint anew where an alias means another version than in `meant`, which is brought up to date. What
    was served before is remembered, so that it can be rolled back; a rollback stays until an alias moves again."""
    standing, registry = endpoint.read(workspace, name), reader(workspace.tracking)
    variants, moved = list(standing.variants), False
    for at, one in enumerate(variants):
        if one.version is None or one.name not in meant:
            continue
        if registry is not None and alias_version(registry, one.version.name, one.name) == meant[one.name]:
            continue
        found = endpoint.one(f"models:/{one.version.name}@{one.name}", profile)
        if _version(found) != meant[one.name]:
            meant[one.name], moved = _version(found), True
            variants[at] = found.model_copy(update={"percent": one.percent})
    if moved:
        endpoint.write(workspace, name, standing.replaced(variants))


def _version(one: endpoint.Variant) -> int:
    return one.version.version if one.version else 0
