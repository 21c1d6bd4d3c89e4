"""Models behind HTTP: `lakewright serve`.

app        a route for each way to ask        protocols/   a file for each: what it reads, what it answers
door       what every request passes first    access       keys, tokens, rates
service    the models, the queue, the answers kept          batching, cache, model: one each
endpoint   which versions answer, in a file that servers follow        alias: follows the registry
"""

from __future__ import annotations

import json
import logging
import os
import signal
import socket
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

from lakewright.errors import UsageError
from lakewright.profile import load_profile, serving
from lakewright.serving import alias, endpoint
from lakewright.serving.access import Access, is_public
from lakewright.serving.endpoint import Endpoint
from lakewright.workspace import Workspace

if TYPE_CHECKING:
    from starlette.types import ASGIApp

LOG = logging.getLogger(__name__)
GIVEN = "LAKEWRIGHT_SERVER"  # what a worker process is to do, as JSON


@dataclass(frozen=True)
class Server:
    """One server process, or several that share a port."""

    endpoint: str
    profile: str | None
    settings: tuple[str, ...]
    host: str
    port: int
    workers: int
    runtime: str
    began: float  # time.time() when the command was started


def serve(
    model: str,
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
) -> None:
    """Serve `model` (models:/NAME@alias, models:/NAME/3 or a model folder) until the process is told to stop.

    Raises UsageError before anything is opened where host, keys and split do not fit; and as `endpoint.one` does.
    """
    import uvicorn
    from uvicorn.supervisors import Multiprocess

    workspace = Workspace.open(load_profile(profile))
    options = serving(workspace.profile, settings)
    keys = keys_file(workspace)
    if is_public(host) and not Access(keys, options.oidc).needed:
        raise UsageError(
            f"{host} can be reached by others, and no key is needed",
            "make one (lakewright keys add NAME), set serve.oidc in profiles.yml, or listen at 127.0.0.1",
        )
    named = model.startswith("models:/")
    registered = model.removeprefix("models:/").partition("@")[0].partition("/")[0]
    if (split or follow_alias) and not named:
        raise UsageError("a model folder has no aliases", "serve models:/NAME@alias")
    if follow_alias and split is None and "@" not in model:
        raise UsageError(f"{model} is one version for good: there is no alias to follow", "serve models:/NAME@alias")
    variants = endpoint.several(registered, endpoint.split(split), profile) if split else [endpoint.one(model, profile)]
    called = name or (registered if named else Path(model).resolve().name)
    with workspace.lock(f"serve.{called}.{port}", f"serving {called} at port {port}"):
        there = endpoint.place(workspace, called)
        earlier = endpoint.parse(there).before if there.exists() else ()
        endpoint.write(workspace, called, Endpoint(variants=tuple(variants), before=earlier))
        if follow_alias:
            alias.follow(workspace, called, profile, options.poll_seconds)
        server = Server(called, profile, tuple(settings), host, port, workers, runtime, _began())
        with _listening(host, port) as listening, TemporaryDirectory(prefix="lakewright-metrics-") as shared:
            config = partial(
                uvicorn.Config,
                log_config=None,
                access_log=False,
                server_header=False,
                timeout_graceful_shutdown=options.drain_seconds,
                timeout_keep_alive=75,  # longer than nginx's, which then never sends into a connection that closes
                workers=workers,
            )
            if workers == 1:
                only = uvicorn.Server(config(_application(server)))
                for each in (signal.SIGTERM, signal.SIGINT):  # uvicorn stops gracefully, then raises them again
                    signal.signal(each, lambda *_: sys.exit(0))
                only.run(sockets=[listening])
            else:
                os.environ["PROMETHEUS_MULTIPROC_DIR"] = shared
                os.environ[GIVEN] = json.dumps(asdict(server))
                Multiprocess(config(f"{__name__}:worker", factory=True), sockets=[listening]).run()


def worker() -> ASGIApp:
    """The application of one of several worker processes."""
    return _application(Server(**json.loads(os.environ[GIVEN])))


def keys_file(workspace: Workspace) -> Path:
    return Path(workspace.profile.serve.keys or workspace.folder / "keys.json")


def _listening(host: str, port: int) -> socket.socket:
    """Raises UsageError where nothing can listen there."""
    try:
        family, _, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[0]
        return socket.create_server(address[:2], family=family, backlog=2048)
    except OSError as failure:
        why = failure.strerror or failure
        raise UsageError(f"nothing can listen at {host}:{port}: {why}", "name another --port or --host") from None


def _application(server: Server) -> ASGIApp:
    from lakewright.serving.app import make_app
    from lakewright.serving.requestlog import RequestLog, redaction
    from lakewright.serving.service import Service

    logging.basicConfig(format="%(asctime)s %(levelname)s %(message)s", stream=sys.stderr)
    sys.setswitchinterval(0.001)  # the threads that predict give way to the one that answers
    workspace = Workspace.open(load_profile(server.profile))
    options = serving(workspace.profile, server.settings)
    redact = redaction(options.redact)
    service = Service(endpoint.place(workspace, server.endpoint), options, server.runtime, workspace.threads)
    log = None
    if options.log_table is not None:
        log = RequestLog(
            workspace.lake,
            options.log_table,
            options.log_share,
            options.log_seconds,
            redact,
            lambda outcome, rows: service.metrics.logged.labels(outcome).inc(rows),
        )
    app = make_app(service, Access(keys_file(workspace), options.oidc), log)
    address = f"http://{server.host}:{server.port}"
    what = ", ".join(f"{one.model.name} {one.model.version} ({one.percent} %)" for one in service.variants)
    print(
        f"serving {what} at {address}, ready in {time.time() - server.began:.2f} s; try {address}/docs", file=sys.stderr
    )
    return app


def _began() -> float:
    """When this process was started."""
    try:
        ticks = int(Path("/proc/self/stat").read_text().rpartition(")")[2].split()[19])
        up = float(Path("/proc/uptime").read_text().split()[0])
        return time.time() - up + ticks / os.sysconf("SC_CLK_TCK")
    except (OSError, ValueError):  # not Linux
        return time.time()
