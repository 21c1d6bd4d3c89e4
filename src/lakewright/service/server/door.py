"""What every request passes before it is read, and every answer on its way out: an ASGI application around another.

A request gets an id; who asks is checked, how often, how much, and whether there is room for it. Refusing costs little
here, so that a server that is asked too much still has its time for what it took.
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
OPEN = {"/ping", "/v2/health/live", "/v2/health/ready"}  # to everybody; they say nothing of the model
ADDRESS = 64  # characters of one; a proxy may pass on anything


@dataclass
class Asked:
    """A request on its way, at scope["asked"]."""

    id: str
    headers: Mapping[bytes, bytes]
    began: float = field(default_factory=time.perf_counter)
    seconds: float = 0.0
    """That it may take, with the sending of its body."""
    caller: str = ""
    may_know: bool = False
    """Whether the caller may know which model is here."""
    held: int = 0
    """Bytes of its body, in the room that all requests share."""
    served: Served | None = None
    """What answers it, once that is known."""

    @property
    def milliseconds(self) -> float:
        return round((time.perf_counter() - self.began) * 1000, 3)

    @property
    def seconds_left(self) -> float:
        return self.began + self.seconds - time.perf_counter()


class Door:
    """`straight` are the handlers that are called from here, by path, for a POST: the application's own way to them
    costs as much as all else that is done for a short text (docs/experiments.md)."""

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
        given = headers.get(b"x-request-id", b"")
        asked = Asked(given.decode("ascii") if ID.fullmatch(given) else f"{getrandbits(128):032x}", headers)
        scope["asked"] = asked
        status, began = 500, False

        async def answer(message: Message) -> None:
            nonlocal status, began
            if message["type"] == "http.response.start":
                status, began = message["status"], True
                told = [(b"x-request-id", asked.id.encode())]
                if asked.may_know:
                    model = asked.served.model if asked.served else self._service.model
                    told.append((b"x-model-version", f"{model.name}/{model.version}".encode()))
                if asked.served:
                    told.append((b"x-variant", asked.served.name.encode()))
                message["headers"] = [*message["headers"], *told]
            await send(message)

        try:
            await self._check(scope, asked)
            counted = self._counted(receive, asked)
            if scope["method"] == "POST" and (handler := self._straight.get(scope["path"])):
                response = await handler(Request(scope, counted))
                await response(scope, counted, answer)
            else:
                await self._app(scope, counted, answer)
        except Exception as failure:
            if began:
                raise
            await refusal(failure, asked)(scope, receive, answer)
        finally:
            self._room.held -= asked.held
            path = self._template(scope, status)
            self._service.metrics.requests.labels(path, str(status)).inc()
            self._service.metrics.seconds.labels(path).observe(time.perf_counter() - asked.began)

    async def _check(self, scope: Scope, asked: Asked) -> None:
        """Raises Refused."""
        if scope["path"] in OPEN:
            return
        asked.caller = await self._access.who(asked.headers)
        asked.may_know = True
        if asked.headers.get(b"content-encoding", b"identity").lower() != b"identity":
            raise WrongType("the body is compressed", "send it as it is")
        media_type(asked.headers.get(b"content-type", b"").decode("latin-1"))
        length = int(asked.headers.get(b"content-length", 0))  # the parser has seen to it that it is a number
        if length > self._serve.request_bytes:
            raise self._too_large()
        asked.seconds = _seconds(asked, self._serve.deadline_seconds)
        if scope["method"] == "POST":
            self._service.batches.check()
            self._room.check(length, whole=True)
            if self._rates is not None:
                self._rates.take(asked.caller or (scope.get("client") or ("",))[0][:ADDRESS])

    def _counted(self, receive: Receive, asked: Asked) -> Receive:
        """The body, counted as it comes and no longer waited for than is allowed."""

        async def counted() -> Message:
            try:
                async with asyncio.timeout(min(self._serve.read_seconds, asked.seconds_left)):
                    message = await receive()
            except TimeoutError:
                raise TooSlow(f"the body stopped after {asked.held:,} bytes", "send all of it at once") from None
            if message["type"] == "http.disconnect":  # nobody is left to be told, and nothing of ours failed
                raise Refused("the connection ended before the body did", "send all of it")
            more = len(message.get("body", b""))
            if asked.held + more > self._serve.request_bytes:
                raise self._too_large()
            self._room.check(more, whole=not message.get("more_body", False))
            self._room.held += more
            asked.held += more
            return message

        return counted

    def _template(self, scope: Scope, status: int) -> str:
        """The route, not the path, so that a caller cannot make up metrics; an early refusal knows no route yet."""
        if scope["path"] in self._straight or scope["path"] in OPEN:
            return str(scope["path"])
        return getattr(scope.get("route"), "path", "") or ("(unknown)" if status == 404 else "(refused)")

    def _too_large(self) -> TooLarge:
        return TooLarge(f"the body is larger than {self._serve.request_bytes:,} bytes", "send fewer rows at once")


def _seconds(asked: Asked, most: float) -> float:
    """The request's deadline. Raises Refused where it says one that is none."""
    given = asked.headers.get(b"x-request-timeout-ms")
    if given is None:
        return most
    if not given.isdigit() or len(given) > 9 or not int(given):
        raise Refused("X-Request-Timeout-Ms is not a whole number above 0", "for example X-Request-Timeout-Ms: 500")
    return min(most, int(given) / 1000)


def refusal(failure: Exception, asked: Asked) -> Response:
    """The failure as JSON, with its status; what nobody foresaw is a 500 that says nothing but where the log has it."""
    if isinstance(failure, DataError):
        refused = failure if isinstance(failure, Refused) else Refused(failure.cause, failure.remedy)
    else:
        LOG.error("request %s failed", asked.id, exc_info=failure)
        refused = Failed("the server failed", f"look for the request {asked.id} in its log")
    return Response(as_json(refused, asked.id), refused.status, refused.headers, "application/json")
