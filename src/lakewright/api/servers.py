"""Servers: start one, change what it answers with, and the keys that it takes."""

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
    LakewrightError where the model or the port cannot be had.
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
    """Called by name in each process of `serve --workers`. It stands here since such a process inherits nothing and
    has to open a workspace of its own, which no module below `api` does."""
    from lakewright.service import server

    return server.worker(opened)


def traffic(endpoint: str, *, split: str | None = None, rollback: bool = False, profile: str | None = None) -> Endpoint:
    """The versions that an endpoint's servers answer with, after a change where one is asked for: another `split`, or
    `rollback` to the one before. Raises NotFound for an endpoint that was never served."""
    from lakewright.service.server.endpoint import change

    return change(opened(profile), endpoint, split, rollback)


def keys(*, profile: str | None = None) -> list[Key]:
    """The API keys that servers take; of each, its name and its hash."""
    from lakewright.service.server.access import read_keys

    return read_keys(_file(profile))


def add_key(name: str, *, profile: str | None = None) -> str:
    """A new API key, which only this call knows: its hash is kept. Raises UsageError where the name has one."""
    from lakewright.service.server import access

    return access.add_key(_file(profile), name)


def remove_key(name: str, *, profile: str | None = None) -> None:
    """Take an API key away. Raises UsageError where there is none of the name."""
    from lakewright.service.server import access

    access.remove_key(_file(profile), name)


def _file(profile: str | None) -> Path:
    from lakewright.service.server import keys_file

    return keys_file(opened(profile))
