"""Routes beside the predictions: metrics, and the page about the routes."""

from __future__ import annotations

import asyncio

from fastapi import FastAPI, Response
from fastapi.openapi.docs import get_swagger_ui_html
from starlette.staticfiles import StaticFiles

from lakewright.service.server import documents
from lakewright.service.server.answering import Answering
from lakewright.service.server.door import PAGE


def routes(app: FastAPI, answering: Answering) -> None:
    service = answering.service
    app.mount("/swagger", StaticFiles(packages=[("fastapi_swagger", "resources")]))

    @app.get("/", include_in_schema=False)
    @app.get("/docs", include_in_schema=False)
    async def page() -> Response:
        """Swagger's page with all its files: it works without the internet, and no other site sees a key."""
        bundle, style, icon = (path.removeprefix("/") for path in PAGE)
        return get_swagger_ui_html(
            openapi_url="openapi.json",
            title=app.title,
            swagger_js_url=bundle,
            swagger_css_url=style,
            swagger_favicon_url=icon,
        )

    @app.get("/metrics", **documents.text("Prometheus", "# HELP …"), tags=["operations"])
    async def metrics() -> Response:
        """The metrics that Prometheus reads."""
        service.metrics.waiting.set(service.batches.depth)
        return Response(await asyncio.to_thread(service.metrics.page), media_type="text/plain; version=1.0.0")
