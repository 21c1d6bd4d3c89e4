"""The Open Inference Protocol, version 2: tensors by name. A text is an element of a BYTES tensor.

https://github.com/kserve/open-inference-protocol/blob/main/specification/protocol/inference_rest.md
"""

# No postponed annotations here: FastAPI evaluates those of handlers, and their names are local to `routes`.

import json
import sys
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import lakewright
from lakewright.data.rows.kinds import Kind, Prediction
from lakewright.model.tasks import Task
from lakewright.service.server import documents
from lakewright.service.server.protocols import an_object, of_columns, plain
from lakewright.service.server.refusals import Refused

if TYPE_CHECKING:
    from fastapi import FastAPI

    from lakewright.service.server.answering import Answering

LARGEST = {"FP64": sys.float_info.max, "FP32": 3.4028234663852886e38, "FP16": 65504.0}
WHOLE = {f"INT{bits}": (-(2 ** (bits - 1)), 2 ** (bits - 1) - 1) for bits in (8, 16, 32, 64)} | {
    f"UINT{bits}": (0, 2**bits - 1) for bits in (8, 16, 32, 64)
}
NUMBERS = (*LARGEST, *WHOLE)


def tensors(name: str, versions: Sequence[str], task: Task) -> dict[str, Any]:
    def tensor(of: str, datatype: str) -> dict[str, Any]:
        return {"name": of, "datatype": datatype, "shape": [-1]}

    return {
        "name": name,
        "versions": list(versions),
        "platform": "lakewright",
        "inputs": [tensor(of, "FP64" if kind == "number" else "BYTES") for of, kind in task.inputs.items()],
        "outputs": [tensor(of, datatype) for of, datatype in outputs(task).items()],
    }


def outputs(task: Task) -> dict[str, str]:
    """The output tensors: numbers as FP64, all else as BYTES (texts as they are, the rest as JSON)."""
    import pyarrow as pa

    return {
        **{field.name: "FP64" if pa.types.is_floating(field.type) else "BYTES" for field in task.prediction_columns()},
        "confidence": "FP64",
    }


def read(
    body: bytes, inputs: Mapping[str, Kind], datatypes: Mapping[str, str], most: int
) -> tuple[list[dict[str, Any]], str | None, list[str]]:
    """The rows (`most` at most), the request's id, and the names of the requested outputs. Raises Refused."""
    values = an_object(body, "id", "parameters", "inputs", "outputs")
    id, tensors, outputs = values.get("id"), values.get("inputs"), values.get("outputs")
    if id is not None and not isinstance(id, str):
        raise Refused("the id is not a string", "leave it out, or send a string")
    if not isinstance(values.get("parameters"), dict | None):
        raise Refused("parameters is not an object", "leave it out, or send {}")
    if not isinstance(tensors, list) or not tensors:
        raise Refused("the body has no list of inputs", 'send {"inputs": [{"name": …, "shape": [1], …}]}')
    columns: dict[str, list[Any]] = {}
    for at, tensor in enumerate(tensors):
        name = tensor.get("name") if isinstance(tensor, dict) else None
        if not isinstance(name, str) or name in columns:
            raise Refused(f"inputs[{at}] has no unique name", "each needs name, shape, datatype and data")
        columns[name] = _flat(tensor, name, inputs.get(name))
    listed = outputs if isinstance(outputs, list) else [] if outputs is None else [None]
    requested = [str(one.get("name")) if isinstance(one, dict) else "" for one in listed] or list(datatypes)
    if not datatypes.keys() >= set(requested):
        raise Refused("outputs names a tensor that the model does not have", f"known: {', '.join(datatypes)}")
    if len(set(requested)) < len(requested):
        raise Refused("outputs names a tensor twice", "name each tensor once")
    return of_columns(columns, most), id, requested


def _flat(tensor: Mapping[str, Any], name: str, kind: Kind | None) -> list[Any]:
    datatype, shape, data = tensor.get("datatype"), tensor.get("shape"), tensor.get("data")
    if kind is not None and datatype not in (NUMBERS if kind == "number" else ("BYTES",)):
        raise Refused(
            f"the input {name[:40]!r} has the datatype {str(datatype)[:40]!r}",
            f"send {'FP64' if kind == 'number' else 'BYTES'}",
        )
    if not isinstance(data, list):
        raise Refused(
            f"the input {name!r} has no list of data", "send the values as JSON: binary tensors are not supported"
        )
    flat = [value for row in data for value in (row if isinstance(row, list) and kind != "words" else [row])]
    if shape not in ([len(flat)], [len(flat), 1]) or any(isinstance(size, bool) for size in shape):
        raise Refused(f"the input {name!r} has {len(flat)} values and another shape", f"send the shape [{len(flat)}]")
    if (
        kind == "number"
        and (wrong := next((value for value in flat if not _fits(value, str(datatype))), None)) is not None
    ):
        raise Refused(f"the input {name!r} holds {wrong!r}, which is not {datatype}", "send FP64")
    return flat


def _fits(value: Any, datatype: str) -> bool:
    """Whether the datatype holds this number; True for other values, which the model's inputs refuse."""
    if not isinstance(value, int | float):
        return True
    if datatype in LARGEST:
        return abs(value) <= LARGEST[datatype]
    low, high = WHOLE[datatype]
    return low <= value <= high and value == int(value)


def answer(
    name: str,
    version: str,
    id: str | None,
    datatypes: Mapping[str, str],
    requested: Sequence[str],
    predictions: Sequence[Prediction],
) -> dict[str, Any]:
    tensors = []
    for of in requested:
        values = [prediction.get(of) for prediction in predictions]
        if datatypes[of] == "BYTES":
            values = [
                value if value is None or isinstance(value, str) else json.dumps(value, ensure_ascii=False)
                for value in values
            ]
        tensors.append({"name": of, "datatype": datatypes[of], "shape": [len(values)], "data": values})
    document = {"model_name": name, "model_version": version, "outputs": tensors}
    return {**document, "id": id} if id is not None else document


def routes(app: "FastAPI", answering: "Answering") -> None:
    from fastapi import Request, Response

    from lakewright.service.server.answering import as_json

    service = answering.service

    @app.get("/v2", **documents.anything(), tags=["Open Inference"])
    async def server() -> Response:
        """The server's name and version."""
        return as_json({"name": "lakewright", "version": lakewright.__version__, "extensions": []})

    @app.head("/v2/health/live", include_in_schema=False)
    @app.get("/v2/health/live", **documents.anything(), tags=["Open Inference"])
    async def live() -> Response:
        """200 while the process runs."""
        return as_json({"live": True})

    @app.head("/v2/health/ready", include_in_schema=False)
    @app.get("/v2/health/ready", **documents.anything(), tags=["Open Inference"])
    async def ready() -> Response:
        """200 while requests are accepted, 503 once the server is stopping."""
        service.batches.check_open()
        return as_json({"ready": True})

    @app.get("/v2/models/{name}", **documents.anything(), tags=["Open Inference"])
    @app.get("/v2/models/{name}/versions/{version}", **documents.anything(), tags=["Open Inference"])
    async def metadata(request: Request, name: str, version: str | None = None) -> Response:
        """The input and output tensors of the model."""
        model = answering.named(name, version, request).model
        versions = [served.model.version for served in service.variants]
        return as_json(tensors(name, versions, model.single.task))

    @app.get("/v2/models/{name}/ready", **documents.anything(), tags=["Open Inference"])
    @app.get("/v2/models/{name}/versions/{version}/ready", **documents.anything(), tags=["Open Inference"])
    async def model_ready(request: Request, name: str, version: str | None = None) -> Response:
        """200 if the model is served."""
        answering.named(name, version, request)
        return as_json({"name": name, "ready": True})

    @app.post("/v2/models/{name}/infer", **documents.infer(service), tags=["Open Inference"])
    @app.post("/v2/models/{name}/versions/{version}/infer", **documents.infer(service), tags=["Open Inference"])
    async def infer(request: Request, name: str, version: str | None = None) -> Response:
        """Tensors in, tensors out."""
        served = answering.named(name, version, request)
        task = served.model.single.task
        datatypes = outputs(task)
        body = await request.body()
        rows, id, requested = read(body, served.model.inputs, datatypes, service.serve.request_rows)
        predictions = await answering.predict(request, served, rows)
        answers = plain.answer(task, predictions, True, 0.0)
        return as_json(answer(name, served.model.version, id, datatypes, requested, answers))
