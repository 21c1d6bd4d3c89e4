"""The HTTP application: a route for each way to ask, over one service.

FastAPI is asked for routing and for the pages at /docs; bodies are read and answers are written here, since a request
costs less than a millisecond and models of bodies would be half of that.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from typing import Any

from fastapi import FastAPI, Request, Response
from fastapi.openapi.docs import get_swagger_ui_html
from fastapi.routing import APIRoute
from pydantic_core import to_json
from starlette.exceptions import HTTPException
from starlette.middleware.cors import CORSMiddleware
from starlette.staticfiles import StaticFiles
from starlette.types import ASGIApp
from uvicorn.middleware.proxy_headers import ProxyHeadersMiddleware

import lakewright
from lakewright.data.rows.kinds import Prediction
from lakewright.errors import DataError, nearest
from lakewright.model.tasks import abstains
from lakewright.service.server import documents
from lakewright.service.server.access import Access
from lakewright.service.server.connection import Bounds, Room, connections_allowed
from lakewright.service.server.door import PAGE, Asked, Door, refusal
from lakewright.service.server.protocols import mlflow, open_inference, openai, plain
from lakewright.service.server.refusals import Refused, Unknown, WrongMethod
from lakewright.service.server.requestlog import Answered, RequestLog, now
from lakewright.service.server.service import Served, Service

ASKED = ("X-Request-Id", "X-Request-Timeout-Ms", "X-Variant")  # headers that callers may send


def make_app(service: Service, access: Access, log: RequestLog | None) -> ASGIApp:
    """The application; it serves what the service has until it is shut down, and then answers what it took."""
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
        redirect_slashes=False,  # a redirect would go to whichever host the request names
        openapi_url="/openapi.json",
    )

    async def answered(request: Request, served: Served, given: Sequence[Any]) -> list[Prediction]:
        """The predictions; counted, and logged with their confidence."""
        asked: Asked = request.scope["asked"]
        asked.served = served
        model = served.model
        rows, predictions = await service.predict(model, given, asked.seconds_left)
        service.metrics.count(model.version, predictions)
        if log is not None and rows:
            sure = [model.single.task.confidence(one) for one in predictions]
            abstained = [abstains(model.single.task, one, serve.least_confidence) for one in predictions]
            log.add(
                Answered(
                    asked.id, now(), asked.caller, model.name, model.version, served.name, rows,
                    [{**one, "confidence": c} for one, c in zip(predictions, sure, strict=True)], abstained,
                    asked.milliseconds,
                )
            )  # fmt: skip
        return predictions

    def chosen(request: Request) -> Served:
        """The variant that X-Variant names, else the one that has this request."""
        asked: Asked = request.scope["asked"]
        wanted = asked.headers.get(b"x-variant", b"").decode("latin-1")
        if not wanted:
            return service.variant(asked.id)
        there = {served.name: served for served in service.variants}
        if wanted not in there:
            raise Refused(f"there is no variant {wanted[:40]!r}", nearest(wanted[:40], there))
        return there[wanted]

    @app.post("/predict", **documents.predict(service), tags=["predict"])
    async def predict(request: Request) -> Response:
        """Rows in, predictions out: texts alone, or rows where the model reads more than a text."""
        given, probabilities, least = plain.read(await request.body())
        served = chosen(request)
        predictions = await answered(request, served, given)
        limit = serve.least_confidence if least is None else least
        said = plain.answer(served.model.single.task, predictions, probabilities, limit)
        service.metrics.abstained.labels(served.model.version).inc(sum(one["abstain"] for one in said))
        milliseconds = request.scope["asked"].milliseconds
        return _json({"predictions": said, "model_version": served.model.version, "latency_ms": milliseconds})

    @app.post("/invocations", **documents.invocations(service), tags=["MLflow"])
    async def invocations(request: Request) -> Response:
        """MLflow's protocol, in JSON or CSV; and JSON lines, a row each."""
        served = chosen(request)
        kind = mlflow.kind_of(request.headers.get("content-type", ""))
        given = mlflow.read(await request.body(), kind, served.model.inputs, serve.request_rows)
        predictions = await answered(request, served, given)
        if kind == "lines":
            lines = b"".join(to_json(mlflow.line(one)) + b"\n" for one in predictions)
            return Response(lines, media_type=mlflow.LINES[0])
        return _json({"predictions": predictions})

    @app.head("/ping", include_in_schema=False)
    @app.get("/ping", **documents.empty(), tags=["MLflow"])
    async def ping() -> Response:
        """200 where requests are answered (SageMaker's and MLflow's health check)."""
        service.batches.check_open()
        return Response(b"\n", media_type="application/json")

    @app.get("/version", **documents.text("Lakewright's version", lakewright.__version__), tags=["MLflow"])
    async def version() -> Response:
        """The version of the server's program."""
        return Response(lakewright.__version__, media_type="text/plain")

    app.mount("/swagger", StaticFiles(packages=[("fastapi_swagger", "resources")]))

    @app.get("/", include_in_schema=False)
    @app.get("/docs", include_in_schema=False)
    async def page() -> Response:
        """Swagger's page, all of it from here: it works without the internet, and no other site gets to see a key."""
        bundle, style, icon = (path.removeprefix("/") for path in PAGE)
        return get_swagger_ui_html(
            openapi_url="openapi.json",
            title=first.name,
            swagger_js_url=bundle,
            swagger_css_url=style,
            swagger_favicon_url=icon,
        )

    @app.get("/model", **documents.model(service), tags=["predict"])
    async def about() -> Response:
        """What answers: name, version, labels, metrics, the table it was trained on; and each variant's share."""
        variants = [
            {"variant": served.name, "version": served.model.version, "percent": served.percent}
            for served in service.variants
        ]
        return _json({**service.model.about, "variants": variants, "refused": service.refused})

    @app.get("/metrics", **documents.text("Prometheus", "# HELP …"), tags=["operations"])
    async def metrics() -> Response:
        """What Prometheus reads."""
        service.metrics.waiting.set(service.batches.depth)
        return Response(await asyncio.to_thread(service.metrics.page), media_type="text/plain; version=1.0.0")

    @app.get("/v2", **documents.anything(), tags=["Open Inference"])
    async def server() -> Response:
        """The server's name and version."""
        return _json({"name": "lakewright", "version": lakewright.__version__, "extensions": []})

    @app.head("/v2/health/live", include_in_schema=False)
    @app.get("/v2/health/live", **documents.anything(), tags=["Open Inference"])
    async def live() -> Response:
        """200 while the process is well."""
        return _json({"live": True})

    @app.head("/v2/health/ready", include_in_schema=False)
    @app.get("/v2/health/ready", **documents.anything(), tags=["Open Inference"])
    async def ready() -> Response:
        """200 while requests are taken, 503 once the server is stopping."""
        service.batches.check_open()
        return _json({"ready": True})

    def named(name: str, version: str | None, request: Request) -> Served:
        """Raises Unknown."""
        if name != service.model.name:
            raise Unknown(f"there is no model {name!r} here", f"this server has {service.model.name}")
        if version is None:
            return chosen(request)
        for served in service.variants:
            if served.model.version == version:
                return served
        known = ", ".join(served.model.version for served in service.variants)
        raise Unknown(f"there is no version {version!r} of {name} here", f"this server has {known}")

    @app.get("/v2/models/{name}", **documents.anything(), tags=["Open Inference"])
    @app.get("/v2/models/{name}/versions/{version}", **documents.anything(), tags=["Open Inference"])
    async def metadata(request: Request, name: str, version: str | None = None) -> Response:
        """The tensors that the model reads and gives."""
        model = named(name, version, request).model
        versions = [served.model.version for served in service.variants]
        return _json(open_inference.metadata(name, versions, model.single.task))

    @app.get("/v2/models/{name}/ready", **documents.anything(), tags=["Open Inference"])
    @app.get("/v2/models/{name}/versions/{version}/ready", **documents.anything(), tags=["Open Inference"])
    async def model_ready(request: Request, name: str, version: str | None = None) -> Response:
        """200 where the model is served."""
        named(name, version, request)
        return _json({"name": name, "ready": True})

    @app.post("/v2/models/{name}/infer", **documents.infer(service), tags=["Open Inference"])
    @app.post("/v2/models/{name}/versions/{version}/infer", **documents.infer(service), tags=["Open Inference"])
    async def infer(request: Request, name: str, version: str | None = None) -> Response:
        """Tensors in, tensors out."""
        served = named(name, version, request)
        task = served.model.single.task
        known = open_inference.outputs(task)
        body = await request.body()
        rows, id, wanted = open_inference.read(body, served.model.inputs, known, serve.request_rows)
        predictions = await answered(request, served, rows)
        said = plain.answer(task, predictions, True, 0.0)
        return _json(open_inference.answer(name, served.model.version, id, known, wanted, said))

    if first.single.task.level == "vector":

        @app.post("/v1/embeddings", **documents.embeddings(service), tags=["OpenAI"])
        async def embeddings(request: Request) -> Response:
            """A unit vector for each text."""
            texts, as_base64, dimensions = openai.read(await request.body())
            served = chosen(request)
            rows = [{"text": text} for text in texts]
            predictions = await answered(request, served, rows)
            encoded = await asyncio.to_thread(served.model.single.recipe.encode, rows)  # seconds, of long texts
            tokens = int(encoded.ids.lengths.sum())
            vectors = [one["embedding"] for one in predictions]
            return _json(openai.answer(served.model.name, vectors, tokens, as_base64, dimensions))

    async def refused(request: Request, failure: Exception) -> Response:
        return refusal(failure, request.scope["asked"])

    async def not_routed(request: Request, failure: HTTPException) -> Response:
        what = f"{request.method} is not answered here" if failure.status_code == 405 else "there is nothing"
        kind = {404: Unknown, 405: WrongMethod}.get(failure.status_code, Refused)
        answer = await refused(request, kind(f"{what}: {request.url.path}", "see /docs"))
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
    return CORSMiddleware(  # outside: browsers ask without a key whether they may ask
        door,
        allow_origins=serve.origins,
        allow_methods=["GET", "POST"],
        allow_headers=["Authorization", "Content-Type", "X-API-Key", *ASKED],
        expose_headers=["X-Request-Id", "X-Model-Version", "X-Variant", "Retry-After"],
    )


def _json(value: Any) -> Response:
    return Response(to_json(value, inf_nan_mode="null"), media_type="application/json")
