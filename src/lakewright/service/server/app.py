"""The HTTP application, assembled: the routes of each protocol, over one service, behind the door.

FastAPI does the routing and the pages at /docs. Lakewright reads bodies and writes answers itself: a request costs less
than a millisecond, and models of bodies would be half of that.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Any

from fastapi import FastAPI, Request, Response
from fastapi.routing import APIRoute
from starlette.exceptions import HTTPException
from starlette.middleware.cors import CORSMiddleware
from starlette.types import ASGIApp
from uvicorn.middleware.proxy_headers import ProxyHeadersMiddleware

from lakewright.errors import DataError
from lakewright.service.server import documents, operations
from lakewright.service.server.access import Access
from lakewright.service.server.answering import Answering
from lakewright.service.server.connection import Bounds, Room, connections_allowed
from lakewright.service.server.door import Door, refusal
from lakewright.service.server.protocols import mlflow, open_inference, openai, plain
from lakewright.service.server.refusals import Refused, Unknown, WrongMethod
from lakewright.service.server.requestlog import RequestLog
from lakewright.service.server.service import Service

REQUEST_HEADERS = ("X-Request-Id", "X-Request-Timeout-Ms", "X-Variant")  # headers that callers may send


def make_app(service: Service, access: Access, log: RequestLog | None) -> ASGIApp:
    """The application. On shutdown it still answers the requests that it accepted."""
    serve = service.serve
    room = Room(serve.held_bytes)
    bounds = Bounds(
        room,
        connections_allowed(serve.connections),
        serve.read_seconds,
        serve.deadline_seconds,
        lambda reason: service.metrics.closed.labels(reason).inc(),
    )

    @asynccontextmanager
    async def running(app: FastAPI) -> AsyncIterator[dict[str, Any]]:
        following = asyncio.create_task(service.follow())
        yield {"bounds": bounds}
        following.cancel()
        with suppress(asyncio.CancelledError):
            await following
        await service.batches.close()
        if log is not None:
            await asyncio.to_thread(log.close)

    first = service.model
    app = FastAPI(
        title=first.name,
        version=first.version,
        description=documents.description(first),
        lifespan=running,
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,  # a redirect would go to the host that the request names
        openapi_url="/openapi.json",
    )

    answering = Answering(service, log)
    for protocol in (plain, mlflow, open_inference, openai, operations):
        protocol.routes(app, answering)

    async def refused(request: Request, failure: Exception) -> Response:
        return refusal(failure, request.scope["incoming"])

    async def not_routed(request: Request, failure: HTTPException) -> Response:
        problem = f"{request.method} is not answered here" if failure.status_code == 405 else "there is nothing"
        kind = {404: Unknown, 405: WrongMethod}.get(failure.status_code, Refused)
        answer = await refused(request, kind(f"{problem}: {request.url.path}", "see /docs"))
        answer.headers.update(failure.headers or {})
        return answer

    app.add_exception_handler(DataError, refused)
    app.add_exception_handler(Exception, refused)  # else it would be answered in plain text before the door sees it
    app.add_exception_handler(HTTPException, not_routed)  # type: ignore[arg-type]
    posts = [each for each in app.routes if isinstance(each, APIRoute) and "POST" in (each.methods or ())]
    straight = {each.path: each.endpoint for each in posts if not each.param_convertors}
    door: ASGIApp = Door(app, straight, service, access, room)
    if serve.proxies:
        door = ProxyHeadersMiddleware(door, serve.proxies)  # type: ignore[assignment, arg-type]
    if not serve.origins:
        return door
    return CORSMiddleware(  # outside the door: browsers send the preflight request without a key
        door,
        allow_origins=serve.origins,
        allow_methods=["GET", "POST"],
        allow_headers=["Authorization", "Content-Type", "X-API-Key", *REQUEST_HEADERS],
        expose_headers=["X-Request-Id", "X-Model-Version", "X-Variant", "Retry-After"],
    )
