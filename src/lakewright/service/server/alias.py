"""Follows aliases: when one moves to another model version, so does the endpoint. A thread reads the registry."""

from __future__ import annotations

import logging
import threading
import time

from lakewright.errors import LakewrightError
from lakewright.registry.without_mlflow import alias_version, reader
from lakewright.service.server import endpoint
from lakewright.workspace import Workspace

LOG = logging.getLogger(__name__)


def follow(workspace: Workspace, name: str, seconds: float) -> None:
    """Starts the thread; it ends with the process. If the registry does not answer, the thread tries again."""
    threading.Thread(target=_run, args=(workspace, name, seconds), name="alias", daemon=True).start()


def _run(workspace: Workspace, name: str, seconds: float) -> None:
    while True:
        time.sleep(seconds)
        try:
            move(workspace, name)
        except (LakewrightError, OSError) as failure:
            LOG.warning("the registry did not answer, the served versions stay: %s", failure)


def move(workspace: Workspace, name: str) -> None:
    """Writes the endpoint again if an alias now names another version. The earlier versions stay in the file for a
    rollback; a rollback stays until an alias moves again."""
    current, registry = endpoint.read(workspace, name), reader(workspace.tracking)
    moved: dict[str, endpoint.Variant] = {}
    for one in current.meant:
        if one.version is None or not one.is_alias:
            continue
        if registry is not None and alias_version(registry, one.version.name, one.name) == one.version.version:
            continue
        variant = endpoint.one(workspace, f"models:/{one.version.name}@{one.name}")
        if variant.at != one.at:
            moved[one.name] = variant
    if moved:
        variants, meant = (
            [moved[one.name].model_copy(update={"percent": one.percent}) if one.name in moved else one for one in of]
            for of in (current.variants, current.meant)
        )
        endpoint.write(
            endpoint.place(workspace, name), current.replaced(variants).model_copy(update={"meant": tuple(meant)})
        )
