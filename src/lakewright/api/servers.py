"""Servers: start one, divide its traffic among versions, manage its API keys."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from lakewright.api.places import opened

if TYPE_CHECKING:
    from starlette.types import ASGIApp

    from lakewright.service.server.access import Key
    from lakewright.service.server.endpoint import Endpoint


def serve(
    model: str | Path,
    *,
    name: str | None = None,
    split: str | None = None,
    follow_alias: bool = False,
    host: str = "127.0.0.1",
    port: int = 8000,
    workers: int = 1,
    profile: str | None = None,
    settings: Sequence[str] = (),
    runtime: str = "auto",
    guarded: bool = False,
) -> None:
    """Answer predictions over HTTP until the process is stopped.

    `split` is `champion=90,challenger=10`: versions side by side and their shares in percent; `name` is the endpoint's,
    for `traffic` (default: the model's); `settings` are `name=value`, of the profile's `serve`. `guarded`: only a
    platform that knows its callers can reach the host (a SageMaker endpoint), so no key is needed. Raises
    LakewrightError if the model cannot be opened or the port is in use.
    """
    from lakewright.service import server

    server.serve(
        opened(profile),
        str(model),
        name=name,
        split=split,
        follow_alias=follow_alias,
        host=host,
        port=port,
        workers=workers,
        settings=settings,
        runtime=runtime,
        guarded=guarded,
        worker=f"{__name__}:{worker.__name__}",
    )


def worker() -> ASGIApp:
    """The application of each process of `serve --workers`, called by its name. It is in this module because such a
    process inherits nothing and must open its own workspace, and no module below `api` opens one."""
    from lakewright.service import server

    return server.worker(opened)


def traffic(endpoint: str, *, split: str | None = None, rollback: bool = False, profile: str | None = None) -> Endpoint:
    """The versions that an endpoint's servers answer with, after the change if one is requested: another `split`, or a
    `rollback` to the one before. Raises NotFound if the endpoint was never served."""
    from lakewright.service.server.endpoint import change

    return change(opened(profile), endpoint, split, rollback)


def keys(*, profile: str | None = None) -> list[Key]:
    """The API keys that servers accept, each with its name and its hash."""
    from lakewright.service.server.access import read_keys

    return read_keys(_file(profile))


def add_key(name: str, *, profile: str | None = None) -> str:
    """A new API key. Only its hash is kept. Raises UsageError if the name has a key."""
    from lakewright.service.server import access

    return access.add_key(_file(profile), name)


def remove_key(name: str, *, profile: str | None = None) -> None:
    """Remove an API key. Raises UsageError if the name has no key."""
    from lakewright.service.server import access

    access.remove_key(_file(profile), name)


def _file(profile: str | None) -> Path:
    from lakewright.service.server import keys_file

    return keys_file(opened(profile))
