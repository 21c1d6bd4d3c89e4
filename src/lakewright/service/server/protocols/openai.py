"""Embeddings in the shape of OpenAI's API, so that its clients can use this server.

https://platform.openai.com/docs/api-reference/embeddings
"""

# No postponed annotations here: FastAPI evaluates those of handlers, and their names are local to `routes`.

import asyncio
import base64
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from lakewright.service.server import documents
from lakewright.service.server.protocols import an_object
from lakewright.service.server.refusals import Refused

if TYPE_CHECKING:
    from fastapi import FastAPI

    from lakewright.service.server.answering import Answering


def read(body: bytes) -> tuple[list[str], bool, int | None]:
    """The texts, whether the vectors are requested in base64, and the number of dimensions. Raises Refused."""
    values = an_object(body, "input", "model", "encoding_format", "dimensions", "user")
    texts = [values["input"]] if isinstance(values.get("input"), str) else values.get("input")
    if not isinstance(texts, list) or not texts or not all(isinstance(text, str) for text in texts):
        raise Refused("input is neither a text nor a list of texts", 'send {"input": ["…"]}; token ids are not read')
    if not isinstance(values.get("model", ""), str) or not isinstance(values.get("user", ""), str):
        raise Refused("model or user is not a string", "leave them out: this server has one model")
    form, dimensions = values.get("encoding_format", "float"), values.get("dimensions")
    if form not in ("float", "base64"):
        raise Refused(f"the encoding_format {str(form)[:40]!r} is unknown", "known: float, base64")
    if isinstance(dimensions, float) and dimensions.is_integer():  # JSON Schema counts 8.0 as a whole number
        dimensions = int(dimensions)
    if dimensions is not None and (type(dimensions) is not int or dimensions < 1):
        raise Refused("dimensions is not a whole number above 0", "leave it out for all dimensions")
    return texts, form == "base64", dimensions


def answer(
    name: str, vectors: Sequence[Sequence[float] | None], tokens: int, as_base64: bool, dimensions: int | None
) -> dict[str, Any]:
    """Shortened vectors have the length 1 again; null stays null. Raises Refused for more dimensions than there are."""

    def encoded(vector: Sequence[float] | None) -> Any:
        if vector is None:  # of a blank text
            return None
        values = np.array(vector, dtype=np.float32)
        if dimensions is not None:
            if dimensions > len(values):
                raise Refused(f"the model has {len(values)} dimensions, not {dimensions}", "request fewer")
            values = values[:dimensions]
            values = values / np.maximum(np.linalg.norm(values), 1e-12)
        return base64.b64encode(values.tobytes()).decode() if as_base64 else values.tolist()

    return {
        "object": "list",
        "data": [
            {"object": "embedding", "index": at, "embedding": encoded(vector)} for at, vector in enumerate(vectors)
        ],
        "model": name,
        "usage": {"prompt_tokens": tokens, "total_tokens": tokens},
    }


def routes(app: "FastAPI", answering: "Answering") -> None:
    from fastapi import Request, Response

    from lakewright.service.server.answering import as_json

    service = answering.service

    if service.model.single.task.level == "vector":

        @app.post("/v1/embeddings", **documents.embeddings(service), tags=["OpenAI"])
        async def embeddings(request: Request) -> Response:
            """A unit vector for each text."""
            texts, as_base64, dimensions = read(await request.body())
            served = answering.variant(request)
            rows = [{"text": text} for text in texts]
            predictions = await answering.predict(request, served, rows)
            encoded = await asyncio.to_thread(served.model.single.recipe.encode, rows)  # takes seconds for long texts
            tokens = int(encoded.ids.lengths.sum())
            vectors = [one["embedding"] for one in predictions]
            return as_json(answer(served.model.name, vectors, tokens, as_base64, dimensions))
