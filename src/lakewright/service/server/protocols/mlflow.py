"""MLflow's scoring protocol: `/invocations`, `/ping`, `/version`. Databricks, SageMaker and Azure ML use it too.
Beyond it, `/invocations` reads and gives columns as an Arrow stream.

https://mlflow.org/docs/latest/ml/deployment/deploy-model-locally/ ("Inference server specification")
"""

# No postponed annotations here: FastAPI evaluates those of handlers, and their names are local to `routes`.

import csv
import io
import math
import re
from collections.abc import Mapping, Sequence
from itertools import islice
from typing import TYPE_CHECKING, Any

from pydantic_core import to_json

import lakewright
from lakewright.data.rows.kinds import Kind, Prediction
from lakewright.service.server import documents
from lakewright.service.server.protocols import (
    LINES,
    accepts,
    an_object,
    arrow,
    check_rows,
    media_type,
    of_columns,
    parsed,
)
from lakewright.service.server.refusals import Refused, WrongType

if TYPE_CHECKING:
    from fastapi import FastAPI

    from lakewright.service.server.answering import Answering

FORMS = ("dataframe_split", "dataframe_records", "instances", "inputs")
NUMBER = re.compile(r"[+-]?(\d+(\.\d*)?|\.\d+)([eE][+-]?\d+)?", re.ASCII)  # float() reads NaN, 1_0 and ٣ as well


def kind_of(content_type: str) -> str:
    """`json`, `csv`, `lines` or `arrow`. Raises WrongType."""
    kind = media_type(content_type) or "application/json"
    if kind in LINES:
        return "lines"
    if kind == arrow.STREAM:
        return "arrow"
    if kind not in ("application/json", "text/csv"):
        known = f"send application/json, text/csv, {LINES[0]} or {arrow.STREAM}"
        raise WrongType(f"the content type {kind!r} cannot be read", known)
    return kind.rpartition("/")[2]


def read(body: bytes, kind: str, inputs: Mapping[str, Kind], most: int) -> list[Any]:
    """The rows in a request's body, `most` at most. Raises Refused."""
    if kind == "csv":
        return _csv(_text(body), inputs, most)
    if kind == "lines":
        lines = [(at, line) for at, line in enumerate(body.splitlines()) if line.strip()]
        check_rows(len(lines), most)
        if not lines:
            raise Refused("the body is empty", 'send a line for each row, for example {"features": ["a text"]}')
        return [_features(_parsed_line(line, at), at) for at, line in lines]
    values = an_object(body, *FORMS, "params")
    forms = [form for form in FORMS if form in values]
    if len(forms) != 1:
        raise Refused(f"the body has {' and '.join(forms) or 'none'} of {', '.join(FORMS)}", "send exactly one of them")
    if values.get("params"):
        raise Refused("the model has no params", "leave params out, or send {}")
    value = values[forms[0]]
    if forms[0] == "dataframe_split":
        return _split(value, most)
    if forms[0] == "inputs" and isinstance(value, dict):
        columns = {name: column if isinstance(column, list) else [column] for name, column in value.items()}
        return of_columns(columns, most)
    if forms[0] == "inputs" and isinstance(value, str):
        return [value]
    if not isinstance(value, list):
        raise Refused(f"{forms[0]} is {type(value).__name__}, not a list", "send a list of rows")
    if forms[0] == "dataframe_records" and not all(isinstance(row, dict) for row in value):
        raise Refused("a row of dataframe_records is not an object", 'send [{"text": "…"}]')
    return value


def _parsed_line(line: bytes, at: int) -> Any:
    try:
        return parsed(line)
    except Refused as refused:
        raise Refused(f"line {at + 1}: {refused.cause}", refused.remedy) from None


def line(prediction: Prediction) -> dict[str, Any]:
    """The answer to a JSON line with SageMaker's keys; the whole prediction if it has not one label."""
    if "label" not in prediction:
        return prediction
    return {"probability": prediction["confidence"], "predicted_label": prediction["label"]}


def _text(body: bytes) -> str:
    try:
        return body.decode("utf-8-sig")  # spreadsheets write a byte order mark first
    except UnicodeDecodeError as failure:
        raise Refused(
            f"the body is not UTF-8: {failure.reason} at byte {failure.start}", "encode the body as UTF-8"
        ) from None


def _csv(text: str, inputs: Mapping[str, Kind], most: int) -> list[dict[str, Any]]:
    """The rows; the first line names the columns; an empty number is null."""
    try:
        header, *lines = list(islice(csv.reader(io.StringIO(text, newline=""), strict=True), most + 2)) or [[]]
    except csv.Error as failure:
        raise Refused(
            f"the body is not CSV: {failure}", "quote values, and name the columns in the first line"
        ) from None
    if not header or len(set(header)) < len(header):
        raise Refused("the first line does not name each column once", f"for example: {','.join(inputs)}")
    if not inputs.keys() & set(header):
        names = ", ".join(header)
        raise Refused(f"the first line names none of the model's inputs: {names[:80]}", f"write: {','.join(inputs)}")
    check_rows(len(lines), most)
    rows = []
    for at, values in enumerate(lines):
        if not values and len(header) > 1:
            continue
        values = values or [""]  # with one column, a blank line is a row
        if len(values) != len(header):
            raise Refused(
                f"line {at + 2} has {len(values)} values, the first {len(header)}", "quote values with commas"
            )
        rows.append({name: _value(value, inputs.get(name), at) for name, value in zip(header, values, strict=True)})
    return rows


def _value(value: str, kind: Kind | None, at: int) -> Any:
    if kind != "number":
        return value if value or kind in (None, "text") else None
    if not value.strip():
        return None
    if not NUMBER.fullmatch(value.strip()):
        raise Refused(f"line {at + 2}: {value[:40]!r} is not a number", "write a number, or leave it empty")
    if math.isinf(number := float(value)):
        raise Refused(
            f"line {at + 2}: the number {value[:40]} is too large for a float, whose range ends at ±1.8e308",
            "write a number within that range, or leave it empty",
        )
    return number


def _split(value: Any, most: int) -> list[Any]:
    columns, data = (value.get("columns"), value.get("data")) if isinstance(value, dict) else (None, None)
    if not isinstance(columns, list) or not isinstance(data, list):
        raise Refused("dataframe_split lacks its columns or data", 'send {"columns": ["text"], "data": [["…"]]}')
    names = [str(name) for name in columns]
    if len(set(names)) < len(names):
        raise Refused("dataframe_split names a column twice", "name each column once")
    check_rows(len(data), most)
    for at, row in enumerate(data):
        if not isinstance(row, Sequence) or isinstance(row, str) or len(row) != len(names):
            raise Refused(f"row {at} of dataframe_split does not have {len(names)} values", "send one for each column")
    return [dict(zip(names, row, strict=True)) for row in data]


def _features(value: Any, at: int) -> Any:
    """SageMaker's JSON lines: {"features": ["the text"]}; or an object of the model's inputs."""
    if isinstance(value, dict) and "features" not in value:
        return value
    features = value.get("features") if isinstance(value, dict) else None
    if not isinstance(features, list) or len(features) != 1:
        raise Refused(f'line {at + 1} is not {{"features": ["a text"]}}', "send one object in each line, with one text")
    return features[0]


def routes(app: "FastAPI", answering: "Answering") -> None:
    from fastapi import Request, Response

    from lakewright.service.server.answering import as_json

    service = answering.service

    @app.post("/invocations", **documents.invocations(service), tags=["MLflow"])
    async def invocations(request: Request) -> Response:
        """MLflow's protocol in JSON or CSV, JSON lines with one row each, and columns as an Arrow stream. The answer is
        an Arrow stream if Accept names it."""
        served = answering.variant(request)
        kind = kind_of(request.headers.get("content-type", ""))
        body, most = await request.body(), service.serve.request_rows
        rows: Any
        if kind == "arrow":
            rows = arrow.read(body, served.model.columns, most, service.serve.request_bytes)
        else:
            rows = read(body, kind, served.model.columns, most)
        if accepts(request.headers.get("accept", ""), arrow.STREAM):
            table = await answering.predict_table(request, served, rows)
            return Response(arrow.answer(table), media_type=arrow.STREAM)
        predictions = await answering.predict(request, served, rows)
        if kind == "lines":
            lines = b"".join(to_json(line(one)) + b"\n" for one in predictions)
            return Response(lines, media_type=LINES[0])
        return as_json({"predictions": predictions})

    @app.head("/ping", include_in_schema=False)
    @app.get("/ping", **documents.empty(), tags=["MLflow"])
    async def ping() -> Response:
        """200 while requests are answered (SageMaker's and MLflow's health check)."""
        service.batches.check_open()
        return Response(b"\n", media_type="application/json")

    @app.get("/version", **documents.text("Lakewright's version", lakewright.__version__), tags=["MLflow"])
    async def version() -> Response:
        """The version of the server's program."""
        return Response(lakewright.__version__, media_type="text/plain")
