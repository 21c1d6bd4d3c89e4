"""The description of each route for /docs and the OpenAPI document: bodies, refusals, and the model's sample rows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from lakewright.data.rows.kinds import Kind, requires_text
from lakewright.service.server.protocols import LINES
from lakewright.service.server.protocols.arrow import STREAM

if TYPE_CHECKING:
    from lakewright.service.server.model import Model
    from lakewright.service.server.service import Service

Document = dict[str, Any]
REFUSAL = {
    "type": "object",
    "required": ["error", "remedy", "request_id"],
    "properties": {name: {"type": "string"} for name in ("error", "remedy", "request_id")},
}
WHY = {
    400: "The body or a row cannot be read",
    401: "A key is needed",
    404: "There is no such model or version",
    408: "The rest of the request did not arrive",
    413: "Too many rows, bytes or characters",
    415: "Another content type, charset or encoding is needed",
    429: "Too many requests or rows: try again after the seconds of Retry-After",
    503: "The server is stopping, or the store of feature values does not answer",
    504: "The deadline passed",
}
POSTED = (400, 401, 408, 413, 415, 429, 503, 504)
STRING: Document = {"type": "string"}
OBJECT: Document = {"type": "object"}
BINARY: Document = {"type": "string", "format": "binary"}


def description(model: Model) -> str:
    text = f"{model.about['task']}, version {model.version}. Served by [Lakewright](/version); `/model` shows more."
    return text + " If the server has keys, each request needs `Authorization: Bearer KEY`."


def predict(service: Service) -> Document:
    model = service.model
    example: Document = {"rows": [dict(row) for row in model.samples]}
    forms = [_object({"rows": _list(_row(model), service)}, ["rows"])]
    if _text_alone(model):
        example = {"texts": [next(iter(row.values())) for row in model.samples]}
        forms.insert(0, _object({"texts": _list(_text(service), service)}, ["texts"]))
    for form in forms:
        form["properties"] |= {
            "probabilities": {"type": "boolean"},
            "least_confidence": {"type": ["number", "null"], "minimum": 0, "maximum": 1},
        }
        if not model.single.lack_of_reasons:
            form["properties"]["explain"] = {"type": "integer", "minimum": 0, "maximum": 100}
    predictions = {"type": "array", "items": OBJECT}
    answer = {"predictions": predictions, "model_version": STRING, "latency_ms": {"type": "number"}}
    return _route({"application/json": ({"anyOf": forms}, example)}, _object(answer, list(answer)))


def invocations(service: Service) -> Document:
    model = service.model
    names = list(model.inputs)
    rows = [dict(row) for row in model.samples]
    split = {"columns": names, "data": [[row.get(name) for name in names] for row in rows]}
    table = _object({"columns": {"type": "array", "items": STRING}, "data": {"type": "array"}}, ["columns", "data"])
    table["additionalProperties"] = True  # pandas also writes its index
    forms = [
        _object({"dataframe_split": table}, ["dataframe_split"]),
        _object({"dataframe_records": _list(_row(model), service)}, ["dataframe_records"]),
        _object({"instances": _list(_row(model), service)}, ["instances"]),
        _object({"inputs": _list(_row(model), service)}, ["inputs"]),
    ]
    for form in forms:
        form["properties"]["params"] = {"type": "object", "maxProperties": 0}
    header = ",".join(names)
    bodies: dict[str, tuple[Document, Any]] = {
        "application/json": ({"anyOf": forms}, {"dataframe_split": split}),
        "text/csv": (STRING, f"{header}\n" + "\n".join(_csv(row, names) for row in rows) + "\n"),
    }
    if _text_alone(model):
        bodies[LINES[0]] = (STRING, '{"features": ["a text"]}\n')
    bodies[STREAM] = (BINARY, None)
    answer = _object({"predictions": {"type": "array", "items": OBJECT}}, ["predictions"])
    return _route(bodies, answer, others={LINES[0]: STRING, STREAM: BINARY})


def infer(service: Service) -> Document:
    model = service.model
    tensors = [
        {"name": name, "datatype": "FP64" if kind == "number" else "BYTES", "shape": [len(model.samples)],
         "data": [row.get(name) for row in model.samples]}
        for name, kind in model.inputs.items()
        if any(row.get(name) is not None for row in model.samples)
    ]  # fmt: skip
    tensor = _object(
        {
            "name": STRING,
            "datatype": STRING,
            "shape": {"type": "array", "items": {"type": "integer"}},
            "data": {"type": "array"},
        },
        ["name", "datatype", "shape", "data"],
    )
    outputs = {"type": "array", "items": _object({"name": STRING, "parameters": OBJECT}, ["name"])}
    inputs = {"type": "array", "items": tensor, "minItems": 1}
    body = _object(
        {"id": {"type": ["string", "null"]}, "parameters": OBJECT, "inputs": inputs, "outputs": outputs}, ["inputs"]
    )
    answer = {
        "model_name": STRING,
        "model_version": STRING,
        "id": STRING,
        "outputs": {"type": "array", "items": OBJECT},
    }
    return _route(
        {"application/json": (body, {"inputs": tensors})},
        _object(answer, ["model_name", "model_version", "outputs"]),
        404,
    )


def embeddings(service: Service) -> Document:
    most = int(service.model.single.embed([""]).shape[1])
    texts = {"type": "array", "items": _text(service), "minItems": 1, "maxItems": service.serve.request_rows}
    body = _object(
        {
            "input": {"anyOf": [_text(service), texts]},
            "model": STRING,
            "encoding_format": {"enum": ["float", "base64"]},
            "dimensions": {"type": ["integer", "null"], "minimum": 1, "maximum": most},
            "user": STRING,
        },
        ["input"],
    )
    data = {"type": "array", "items": OBJECT}
    answer = _object(
        {"object": STRING, "data": data, "model": STRING, "usage": OBJECT}, ["object", "data", "model", "usage"]
    )
    example = {"input": [str(row["text"]) for row in service.model.samples]}
    return _route({"application/json": (body, example)}, answer)


def model(service: Service) -> Document:
    return {
        "responses": {200: _response("The model that answers", OBJECT, dict(service.model.about)), **_refusals((401,))}
    }


def anything() -> Document:
    return {"responses": {200: _response("Yes", OBJECT, None), **_refusals((401, 404, 503))}}


def empty() -> Document:
    return {"responses": {200: {"description": "Yes"}, **_refusals((503,))}}


def text(description: str, example: str) -> Document:
    response = {"description": description, "content": {"text/plain": {"schema": STRING, "example": example}}}
    return {"responses": {200: response, **_refusals((401,))}}


def _route(
    bodies: dict[str, tuple[Document, Any]],
    answer: Document,
    *refusals: int,
    others: Mapping[str, Document] = MappingProxyType({}),
) -> Document:
    """`others`: further forms of the answer."""
    content = {
        kind: {"schema": schema} | ({} if example is None else {"example": example})
        for kind, (schema, example) in bodies.items()
    }
    response = _response("A prediction for each row, in their order", answer, None)
    response["content"] |= {kind: {"schema": schema} for kind, schema in others.items()}
    return {
        "openapi_extra": {"requestBody": {"required": True, "content": content}},
        "responses": {200: response, **_refusals(sorted({*POSTED, *refusals}))},
    }


def _response(description: str, schema: Document, example: Any) -> Document:
    content: Document = {"schema": schema}
    if example is not None:
        content["example"] = example
    return {"description": description, "content": {"application/json": content}}


def _refusals(statuses: Sequence[int]) -> dict[int, Document]:
    return {status: _response(WHY[status], REFUSAL, None) for status in statuses}


def _object(properties: Document, required: list[str]) -> Document:
    return {"type": "object", "properties": properties, "required": required, "additionalProperties": False}


def _list(items: Document, service: Service) -> Document:
    return {"type": "array", "items": items, "maxItems": service.serve.request_rows}


def _text(service: Service) -> Document:
    return {"type": "string", "maxLength": service.serve.text_characters}


def _text_alone(model: Model) -> bool:
    return sum(kind == "text" for kind in model.inputs.values()) == 1 and not _needed(
        model, ("number", "category", "time")
    )


def _needed(model: Model, kinds: Sequence[str]) -> list[str]:
    return [name for name, kind in model.inputs.items() if kind in kinds]


def _row(model: Model) -> Document:
    kinds: dict[Kind, Document] = {
        "text": STRING,
        "optional text": {"type": ["string", "null"]},
        "words": {"type": ["array", "null"], "items": STRING},
        "number": {"type": ["number", "boolean", "null"]},  # true is 1, as in a table
        "category": {"type": ["string", "number", "boolean", "null"]},
        "time": {"type": ["string", "null"], "format": "date-time"},
    }
    words = _needed(model, ("words",))
    texts = _needed(model, ("optional text",))
    needed = [] if words else _needed(model, ("text",))
    if not requires_text(model.inputs) and not texts:  # a row of a table has every input
        needed = list(model.inputs)
    keys: Document = {column: {} for lookup in model.lookups for column in lookup["keys"].values()}
    if keys:  # with which the values may be left out
        looked_up = {name for lookup in model.lookups for name in lookup["values"].values()}
        needed = [name for name in needed if name not in looked_up]
    row = _object({**keys, **{name: kinds[kind] for name, kind in model.inputs.items()}}, needed)
    if not requires_text(model.inputs) and texts:  # or a text, beside which others may be left out
        alone = [{"required": [name], "properties": {name: STRING}} for name in texts]
        row["anyOf"] = [{"required": list(model.inputs)}, *alone]
    if words:  # they replace the text
        alternatives = [{"required": [name], "properties": {name: {"type": "array"}}} for name in words]
        row["anyOf"] = [{"required": ["text"]}, *alternatives]
    return row


def _csv(row: Any, names: Sequence[str]) -> str:
    values = ["" if row.get(name) is None else str(row[name]) for name in names]
    return ",".join('"' + value.replace('"', '""') + '"' for value in values)
