"""Models behind HTTP: `lakewright serve`.

connection a caller's connection and its limits    refusals     why a request is not answered
app        assembles the application               protocols/   one file for each protocol: routes and bodies
answering  shared by all routes                    operations   metrics, and the page about the routes
door       the checks before a request is read     access       keys, tokens, rates
service    the models, the queue, the cache; one file each: model, batching, answers
endpoint   the versions that answer, in a file that servers follow; alias: follows the registry
"""

from __future__ import annotations

import json
import logging
import os
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

from lakewright.errors import DataError, LakewrightError, ModelError, UsageError
from lakewright.service.server import alias, endpoint, requestlog
from lakewright.service.server.access import Access, is_public
from lakewright.service.server.endpoint import Endpoint
from lakewright.settings.profile import Serve, serving

if TYPE_CHECKING:
    import uvicorn
    from starlette.types import ASGIApp

    from lakewright.workspace import Workspace

SERVER = "LAKEWRIGHT_SERVER"  # the Server of a worker process, as JSON


@dataclass(frozen=True)
class Server:
    """One server process, or several that share a port."""

    endpoint: str
    profile: str
    settings: tuple[str, ...]
    host: str
    port: int
    runtime: str
    key_needed: bool
    """Once true, it stays true, also for a worker process that starts when the file of keys is gone."""


def serve(
    workspace: Workspace,
    model: str,
    *,
    name: str | None,
    split: str | None,
    follow_alias: bool,
    host: str,
    port: int,
    workers: int,
    settings: Sequence[str],
    runtime: str,
    guarded: bool,
    worker: str,
) -> None:
    """Serve `model` until the process is stopped; `api.serve` explains the options.

    Each of several workers is a separate process, which calls `worker` (module:function) for its application.
    Raises UsageError before anything is opened if host, keys and split do not fit; also raises as `endpoint.one`.
    """
    import uvicorn

    from lakewright.service.server import connection

    options = serving(workspace.profile, settings)
    keys = keys_file(workspace, options)
    if options.keys is not None and not keys.exists():
        raise UsageError(f"there is no file {keys} of keys (serve.keys)", "make a key: lakewright keys add NAME")
    if options.log_table is not None:
        requestlog.check(workspace.lake, options.log_table)
    key_needed = Access(keys, options.oidc).needed
    if is_public(host) and not guarded and not key_needed:
        raise UsageError(
            f"other machines can reach {host}, and no key is needed",
            "make a key (lakewright keys add NAME), set serve.oidc in profiles.yml, or listen at 127.0.0.1",
        )
    in_registry = model.startswith("models:/")
    registered = model.removeprefix("models:/").partition("@")[0].partition("/")[0]
    if (split or follow_alias) and not in_registry:
        raise UsageError("a model folder has no aliases", "serve models:/NAME@alias")
    if follow_alias and split is None and "@" not in model:
        raise UsageError(f"{model} names a fixed version: there is no alias to follow", "serve models:/NAME@alias")
    endpoint_name = name or (registered if in_registry else Path(model).resolve().name)
    file, shares = endpoint.place(workspace, endpoint_name), endpoint.split(split) if split else None
    variants: Sequence[endpoint.Variant]
    try:
        variants = endpoint.several(workspace, registered, shares) if shares else [endpoint.one(workspace, model)]
    except (UsageError, DataError, ModelError):
        raise
    except LakewrightError as failure:  # the registry does not answer
        variants = endpoint.recalled(file, model, shares)
        if not variants:
            raise
        versions = ", ".join(each.at for each in variants)
        print(f"{failure.cause}; serving the versions that were served last: {versions}", file=sys.stderr)
    with (
        workspace.lock(f"serve.{endpoint_name}.{port}", f"serving {endpoint_name} at port {port}", writes=False),
        _listening(host, port) as listening,
    ):
        started = endpoint.started(file, variants)
        if not endpoint.same(started.variants, variants):
            traffic = ", ".join(f"{each.name} {each.percent} %" for each in started.variants)
            print(f"{endpoint_name} keeps its last split or rollback: {traffic}", file=sys.stderr)
        server = Server(endpoint_name, workspace.profile.name, tuple(settings), host, port, runtime, key_needed)
        config = partial(
            uvicorn.Config,
            http=connection.Connection,
            ws="none",
            log_config=None,
            access_log=False,
            server_header=False,
            proxy_headers=False,  # serve.proxies names the proxies that are trusted
            timeout_graceful_shutdown=options.drain_seconds,
            timeout_keep_alive=75,  # longer than nginx's, so that nginx never sends into a connection that closes
            workers=workers,
        )
        if workers == 1:
            only = connection.Server(config(_application(workspace, server, started)))
            if follow_alias:
                alias.follow(workspace, endpoint_name, options.poll_seconds)
            for each in (signal.SIGTERM, signal.SIGINT):  # uvicorn stops gracefully, then raises them again
                signal.signal(each, lambda *_: sys.exit(0))
            only.run(sockets=[listening])
            return
        _check(server, started)
        endpoint.write(file, started)
        if follow_alias:
            alias.follow(workspace, endpoint_name, options.poll_seconds)
        with TemporaryDirectory(prefix="lakewright-metrics-") as shared:
            os.environ["PROMETHEUS_MULTIPROC_DIR"] = shared
            os.environ[SERVER] = json.dumps(asdict(server))
            _run_workers(config(worker, factory=True), listening)


def _run_workers(config: uvicorn.Config, listening: socket.socket) -> None:
    """Run the workers until this process is stopped."""
    from prometheus_client.multiprocess import mark_process_dead
    from uvicorn.supervisors import multiprocess

    from lakewright.service.server.connection import Worker

    multiprocess.Process = Worker  # type: ignore[misc]  # uvicorn has no setting for it

    class Workers(multiprocess.Multiprocess):
        def terminate_all(self) -> None:
            listening.close()  # else callers that connect during the last answers would be cut off
            super().terminate_all()

        def keep_subprocess_alive(self) -> None:
            previous = {process.pid for process in self.processes}
            super().keep_subprocess_alive()
            for dead in previous - {process.pid for process in self.processes}:
                mark_process_dead(dead)  # type: ignore[no-untyped-call]  # its gauges end, its counters stay

    Workers(config, sockets=[listening]).run()


def worker(open_workspace: Callable[[str], Workspace]) -> ASGIApp:
    """The application of one of several worker processes, which ends with the process that started it.

    `open_workspace` opens the workspace of the profile of this name.
    """
    parent = os.getppid()

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(0.5)
        os.kill(os.getpid(), signal.SIGTERM)

    threading.Thread(target=watch, name="parent", daemon=True).start()
    server = Server(**json.loads(os.environ[SERVER]))
    return _application(open_workspace(server.profile), server)


def keys_file(workspace: Workspace, options: Serve | None = None) -> Path:
    return Path((options or workspace.profile.serve).keys or workspace.folder / "keys.json")


def _listening(host: str, port: int) -> socket.socket:
    """A socket that listens. Raises UsageError if the address or the port is not free."""
    from lakewright.service.server.connection import BACKLOG

    try:
        family, _, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[0]
        return socket.create_server(address[:2], family=family, backlog=BACKLOG)
    except OSError as failure:
        why = failure.strerror or failure
        raise UsageError(f"{host}:{port} cannot be listened at: {why}", "name another --port or --host") from None


def _check(server: Server, started: Endpoint) -> None:
    """Opens the models once. Raises ModelError if a worker process could not serve one."""
    from lakewright.service.server.model import Model

    for each in started.variants:
        Model.open(Path(each.folder), each.version, server.runtime, 1)


def _application(workspace: Workspace, server: Server, started: Endpoint | None = None) -> ASGIApp:
    from lakewright.service.server.service import Service

    logging.basicConfig(format="%(asctime)s %(levelname)s %(message)s", stream=sys.stderr)
    logging.getLogger("lakewright").setLevel(logging.INFO)
    sys.setswitchinterval(0.001)  # the threads that predict give way to the thread that answers
    options = serving(workspace.profile, server.settings)
    redact = requestlog.redaction(options.redact)
    file = endpoint.place(workspace, server.endpoint)
    with ThreadPoolExecutor(1) as pool:  # hash the model's files and import the web framework, one core each
        opening = pool.submit(Service, file, options, server.runtime, workspace.threads, workspace.online, started)
        from lakewright.service.server.app import make_app

        service = opening.result()
    log = None
    if options.log_table is not None:
        log = requestlog.RequestLog(
            workspace.lake,
            options.log_table,
            options.log_share,
            options.log_seconds,
            redact,
            lambda outcome, rows: service.metrics.logged.labels(outcome).inc(rows),
        )
    app = make_app(service, Access(keys_file(workspace, options), options.oidc, server.key_needed), log)
    models = ", ".join(f"{each.model.name} {each.model.version} ({each.percent} %)" for each in service.variants)
    at = f"http://{f'[{server.host}]' if ':' in server.host else server.host}:{server.port}"
    print(f"serving {models} at {at}, ready in {time.time() - _began():.2f} s; try {at}/docs", file=sys.stderr)
    return app


def _began() -> float:
    """The time at which this process started, in seconds since 1970."""
    try:
        ticks = int(Path("/proc/self/stat").read_text().rpartition(")")[2].split()[19])
        up = float(Path("/proc/uptime").read_text().split()[0])
        return time.time() - up + ticks / os.sysconf("SC_CLK_TCK")
    except (OSError, ValueError):  # not Linux
        return time.time()
