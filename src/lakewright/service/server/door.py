"""The checks of every request before it is read, and the headers of every answer: an ASGI application around another.

A request gets an id; the caller, the rate, the size and the free room are checked. A refusal is cheap here, so that an
overloaded server keeps its time for the requests that it accepted.
"""

from __future__ import annotations

import asyncio
import logging
import re
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from random import getrandbits

from starlette.requests import Request
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from lakewright.errors import DataError
from lakewright.service.server.access import Access, Rates
from lakewright.service.server.connection import Room
from lakewright.service.server.protocols import media_type
from lakewright.service.server.refusals import Failed, Refused, TooLarge, TooSlow, WrongType, as_json
from lakewright.service.server.service import Served, Service

LOG = logging.getLogger(__name__)
ID = re.compile(rb"[\w.:/+=@-]{1,128}")
PAGE = ("/swagger/swagger-ui-bundle.js", "/swagger/swagger-ui.css", "/swagger/favicon-32x32.png")
Handler = Callable[[Request], Awaitable[Response]]
OPEN = {"/ping", "/v2/health/live", "/v2/health/ready"}  # to everybody; they reveal nothing about the model
ADDRESS = 64  # characters of a caller's address that are kept; a proxy may send anything


@dataclass
class Incoming:
    """A request that is being answered, at scope["incoming"]."""

    id: str
    headers: Mapping[bytes, bytes]
    began: float = field(default_factory=time.perf_counter)
    seconds: float = 0.0
    """The deadline, from `began` on and with the transfer of the body."""
    caller: str = ""
    may_see_model: bool = False
    """Whether the caller may see the model's name."""
    body_bytes: int = 0
    """Bytes of its body, in the room that all requests share."""
    served: Served | None = None
    """The variant that answers it, once that is decided."""

    @property
    def milliseconds(self) -> float:
        return round((time.perf_counter() - self.began) * 1000, 3)

    @property
    def seconds_left(self) -> float:
        return self.began + self.seconds - time.perf_counter()


class Door:
    """`straight` are the handlers of POST by path, which are called from here: the application's own way to them costs
    as much as all other work for a short text (docs/experiments.md)."""

    def __init__(
        self, app: ASGIApp, straight: Mapping[str, Handler], service: Service, access: Access, room: Room
    ) -> None:
        self._app, self._straight, self._service, self._access, self._room = app, straight, service, access, room
        self._serve = serve = service.serve
        self._rates = Rates(serve.rate, serve.burst) if serve.rate else None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        headers = dict(scope["headers"])
        request_id = headers.get(b"x-request-id", b"")
        incoming = Incoming(
            request_id.decode("ascii") if ID.fullmatch(request_id) else f"{getrandbits(128):032x}", headers
        )
        scope["incoming"] = incoming
        status, began = 500, False

        async def answer(message: Message) -> None:
            nonlocal status, began
            if message["type"] == "http.response.start":
                status, began = message["status"], True
                extra = [(b"x-request-id", incoming.id.encode())]
                if incoming.may_see_model:
                    model = incoming.served.model if incoming.served else self._service.model
                    extra.append((b"x-model-version", f"{model.name}/{model.version}".encode()))
                if incoming.served:
                    extra.append((b"x-variant", incoming.served.name.encode()))
                message["headers"] = [*message["headers"], *extra]
            await send(message)

        try:
            await self._check(scope, incoming)
            counted = self._counted(receive, incoming)
            if scope["method"] == "POST" and (handler := self._straight.get(scope["path"])):
                response = await handler(Request(scope, counted))
                await response(scope, counted, answer)
            else:
                await self._app(scope, counted, answer)
        except Exception as failure:
            if began:
                raise
            await refusal(failure, incoming)(scope, receive, answer)
        finally:
            self._room.used -= incoming.body_bytes
            path = self._template(scope, status)
            self._service.metrics.requests.labels(path, str(status)).inc()
            self._service.metrics.seconds.labels(path).observe(time.perf_counter() - incoming.began)

    async def _check(self, scope: Scope, incoming: Incoming) -> None:
        """Raises Refused for a caller, a head or a size that is not accepted."""
        if scope["path"] in OPEN:
            return
        incoming.caller = await self._access.who(incoming.headers)
        incoming.may_see_model = True
        if incoming.headers.get(b"content-encoding", b"identity").lower() != b"identity":
            raise WrongType("the body is compressed", "send it without compression")
        media_type(incoming.headers.get(b"content-type", b"").decode("latin-1"))
        length = int(incoming.headers.get(b"content-length", 0))  # the parser accepts only a number
        if length > self._serve.request_bytes:
            raise self._too_large()
        incoming.seconds = _seconds(incoming, self._serve.deadline_seconds)
        if scope["method"] == "POST":
            self._service.batches.check()
            self._room.check(length, whole=True)
            if self._rates is not None:
                self._rates.take(incoming.caller or (scope.get("client") or ("",))[0][:ADDRESS])

    def _counted(self, receive: Receive, incoming: Incoming) -> Receive:
        """The body's parts, counted on arrival; raises TooSlow or TooLarge at the limits."""

        async def counted() -> Message:
            try:
                async with asyncio.timeout(min(self._serve.read_seconds, incoming.seconds_left)):
                    message = await receive()
            except TimeoutError:
                raise TooSlow(
                    f"the body stopped after {incoming.body_bytes:,} bytes", "send all of it at once"
                ) from None
            if message["type"] == "http.disconnect":  # the caller is gone, and nothing in the server failed
                raise Refused("the connection ended before the body was complete", "send the whole body")
            more = len(message.get("body", b""))
            if incoming.body_bytes + more > self._serve.request_bytes:
                raise self._too_large()
            self._room.check(more, whole=not message.get("more_body", False))
            self._room.used += more
            incoming.body_bytes += more
            return message

        return counted

    def _template(self, scope: Scope, status: int) -> str:
        """The route, not the path, so that a caller cannot create metrics; an early refusal has no route yet."""
        if scope["path"] in self._straight or scope["path"] in OPEN:
            return str(scope["path"])
        return getattr(scope.get("route"), "path", "") or ("(unknown)" if status == 404 else "(refused)")

    def _too_large(self) -> TooLarge:
        return TooLarge(f"the body is larger than {self._serve.request_bytes:,} bytes", "send fewer rows at once")


def _seconds(incoming: Incoming, most: float) -> float:
    """The request's deadline in seconds. Raises Refused if its header is not a number."""
    milliseconds = incoming.headers.get(b"x-request-timeout-ms")
    if milliseconds is None:
        return most
    if not milliseconds.isdigit() or len(milliseconds) > 9 or not int(milliseconds):
        raise Refused("X-Request-Timeout-Ms is not a whole number above 0", "for example X-Request-Timeout-Ms: 500")
    return min(most, int(milliseconds) / 1000)


def refusal(failure: Exception, incoming: Incoming) -> Response:
    """The failure as JSON, with its status; an unexpected one is a 500 that names only the request's id in the log."""
    if isinstance(failure, DataError):
        refused = failure if isinstance(failure, Refused) else Refused(failure.cause, failure.remedy)
    else:
        LOG.error("request %s failed", incoming.id, exc_info=failure)
        refused = Failed("the server failed", f"look for the request {incoming.id} in the server's log")
    return Response(as_json(refused, incoming.id), refused.status, refused.headers, "application/json")
