"""Models behind HTTP: `lakewright serve`.

connection what callers hold, within bounds   refusals     why a request is not answered
app        puts the application together      protocols/   a file for each way to ask: its routes, what it reads
answering  what all routes share              operations   metrics, and the page about the routes
door       what every request passes first    access       keys, tokens, rates
service    the models, the queue, the answers kept          batching, answers, model: one each
endpoint   which versions answer, in a file that servers follow        alias: follows the registry
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

GIVEN = "LAKEWRIGHT_SERVER"  # what a worker process is to do, as JSON


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
    """Once it is, it stays so: also for a worker process that is started when the file of keys is gone."""


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
    """Serve `model` until the process is told to stop; `api.serve` says what the options mean.

    Each of several workers is a process of its own, which calls `worker` (module:function) for its application.
    Raises UsageError before anything is opened where host, keys and split do not fit; and as `endpoint.one` does.
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
            f"{host} can be reached by others, and no key is needed",
            "make one (lakewright keys add NAME), set serve.oidc in profiles.yml, or listen at 127.0.0.1",
        )
    named = model.startswith("models:/")
    registered = model.removeprefix("models:/").partition("@")[0].partition("/")[0]
    if (split or follow_alias) and not named:
        raise UsageError("a model folder has no aliases", "serve models:/NAME@alias")
    if follow_alias and split is None and "@" not in model:
        raise UsageError(f"{model} is one version for good: there is no alias to follow", "serve models:/NAME@alias")
    called = name or (registered if named else Path(model).resolve().name)
    file, shares = endpoint.place(workspace, called), endpoint.split(split) if split else None
    variants: Sequence[endpoint.Variant]
    try:
        variants = endpoint.several(workspace, registered, shares) if shares else [endpoint.one(workspace, model)]
    except (UsageError, DataError, ModelError):
        raise
    except LakewrightError as failure:  # the registry does not answer
        variants = endpoint.recalled(file, model, shares)
        if not variants:
            raise
        told = ", ".join(one.at for one in variants)
        print(f"{failure.cause}, so what was served last is: {told}", file=sys.stderr)
    with (
        workspace.lock(f"serve.{called}.{port}", f"serving {called} at port {port}", writes=False),
        _listening(host, port) as listening,
    ):
        started = endpoint.started(file, variants)
        if not endpoint.same(started.variants, variants):
            told = ", ".join(f"{one.name} {one.percent} %" for one in started.variants)
            print(f"{called} was split or rolled back since, and stays so: {told}", file=sys.stderr)
        server = Server(called, workspace.profile.name, tuple(settings), host, port, runtime, key_needed)
        config = partial(
            uvicorn.Config,
            http=connection.Connection,
            ws="none",
            log_config=None,
            access_log=False,
            server_header=False,
            proxy_headers=False,  # serve.proxies says whose are believed
            timeout_graceful_shutdown=options.drain_seconds,
            timeout_keep_alive=75,  # longer than nginx's, which then never sends into a connection that closes
            workers=workers,
        )
        if workers == 1:
            only = connection.Server(config(_application(workspace, server, started)))
            if follow_alias:
                alias.follow(workspace, called, options.poll_seconds)
            for each in (signal.SIGTERM, signal.SIGINT):  # uvicorn stops gracefully, then raises them again
                signal.signal(each, lambda *_: sys.exit(0))
            only.run(sockets=[listening])
            return
        _check(server, started)
        endpoint.write(file, started)
        if follow_alias:
            alias.follow(workspace, called, options.poll_seconds)
        with TemporaryDirectory(prefix="lakewright-metrics-") as shared:
            os.environ["PROMETHEUS_MULTIPROC_DIR"] = shared
            os.environ[GIVEN] = json.dumps(asdict(server))
            _run_workers(config(worker, factory=True), listening)


def _run_workers(config: uvicorn.Config, listening: socket.socket) -> None:
    """Until this process is told to stop."""
    from prometheus_client.multiprocess import mark_process_dead
    from uvicorn.supervisors import multiprocess

    from lakewright.service.server.connection import Worker

    multiprocess.Process = Worker  # type: ignore[misc]  # uvicorn cannot be told otherwise

    class Workers(multiprocess.Multiprocess):
        def terminate_all(self) -> None:
            listening.close()  # else who connects while the last ones are answered would be cut off at the end
            super().terminate_all()

        def keep_subprocess_alive(self) -> None:
            before = {process.pid for process in self.processes}
            super().keep_subprocess_alive()
            for dead in before - {process.pid for process in self.processes}:
                mark_process_dead(dead)  # type: ignore[no-untyped-call]  # nothing waits there any more; what it counted stays counted

    Workers(config, sockets=[listening]).run()


def worker(open_workspace: Callable[[str], Workspace]) -> ASGIApp:
    """The application of one of several worker processes, which ends with the process that started it.

    `open_workspace` opens that of the profile of this name.
    """
    parent = os.getppid()

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(0.5)
        os.kill(os.getpid(), signal.SIGTERM)

    threading.Thread(target=watch, name="parent", daemon=True).start()
    server = Server(**json.loads(os.environ[GIVEN]))
    return _application(open_workspace(server.profile), server)


def keys_file(workspace: Workspace, options: Serve | None = None) -> Path:
    return Path((options or workspace.profile.serve).keys or workspace.folder / "keys.json")


def _listening(host: str, port: int) -> socket.socket:
    """Raises UsageError where nothing can listen there."""
    from lakewright.service.server.connection import BACKLOG

    try:
        family, _, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[0]
        return socket.create_server(address[:2], family=family, backlog=BACKLOG)
    except OSError as failure:
        why = failure.strerror or failure
        raise UsageError(f"nothing can listen at {host}:{port}: {why}", "name another --port or --host") from None


def _check(server: Server, started: Endpoint) -> None:
    """Opens the models once. Raises ModelError where a worker process could not serve one."""
    from lakewright.service.server.model import Model

    for one in started.variants:
        Model.open(Path(one.folder), one.version, server.runtime, 1)


def _application(workspace: Workspace, server: Server, started: Endpoint | None = None) -> ASGIApp:
    from lakewright.service.server.service import Service

    logging.basicConfig(format="%(asctime)s %(levelname)s %(message)s", stream=sys.stderr)
    logging.getLogger("lakewright").setLevel(logging.INFO)
    sys.setswitchinterval(0.001)  # the threads that predict give way to the one that answers
    options = serving(workspace.profile, server.settings)
    redact = requestlog.redaction(options.redact)
    file = endpoint.place(workspace, server.endpoint)
    with ThreadPoolExecutor(1) as beside:  # hashing the model's files and importing the web framework: a core each
        opening = beside.submit(Service, file, options, server.runtime, workspace.threads, started)
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
    what = ", ".join(f"{one.model.name} {one.model.version} ({one.percent} %)" for one in service.variants)
    at = f"http://{f'[{server.host}]' if ':' in server.host else server.host}:{server.port}"
    print(f"serving {what} at {at}, ready in {time.time() - _began():.2f} s; try {at}/docs", file=sys.stderr)
    return app


def _began() -> float:
    """When this process was started."""
    try:
        ticks = int(Path("/proc/self/stat").read_text().rpartition(")")[2].split()[19])
        up = float(Path("/proc/uptime").read_text().split()[0])
        return time.time() - up + ticks / os.sysconf("SC_CLK_TCK")
    except (OSError, ValueError):  # not Linux
        return time.time()
