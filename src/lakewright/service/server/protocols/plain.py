"""The plain protocol: POST /predict {"texts": ["…"]} or {"rows": [{…}]}."""

# No postponed annotations here: FastAPI evaluates those of handlers, and their names are local to `routes`.

from asyncio import to_thread
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from lakewright.data.rows.kinds import Prediction
from lakewright.model.predictor import Predictor
from lakewright.model.tasks import Task, abstains
from lakewright.service.server import documents
from lakewright.service.server.protocols import an_object
from lakewright.service.server.refusals import Refused

if TYPE_CHECKING:
    from fastapi import FastAPI

    from lakewright.service.server.answering import Answering


MOST_REASONS = 100  # of a row
MOST_EXPLAINED = 256  # rows of a request
MOST_PREDICTIONS = 10_000  # for the reasons of a request


def read(body: bytes) -> tuple[list[Any], bool, float | None, int]:
    """The rows, whether probabilities are requested, the least confidence of the request, if it has one, and how many
    reasons of each row."""
    values = an_object(body, "texts", "rows", "probabilities", "least_confidence", "explain")
    forms = [form for form in ("texts", "rows") if form in values]
    if len(forms) != 1 or not isinstance(values[forms[0]], list):
        raise Refused(
            "the body does not hold one list, of texts or of rows", 'send {"texts": ["…"]} or {"rows": [{…}]}'
        )
    form = forms[0]
    for at, row in enumerate(values[form]):
        expected = str if form == "texts" else dict
        if not isinstance(row, expected):
            raise Refused(
                f"{form}[{at}] is {_kind(row)}, not {'a string' if expected is str else 'an object'}",
                'send {"texts": ["…"]} or {"rows": [{…}]}',
            )
    probabilities, least = values.get("probabilities", False), values.get("least_confidence")
    if not isinstance(probabilities, bool):
        raise Refused("probabilities is neither true nor false", "leave it out, or send true")
    if least is not None and (not isinstance(least, int | float) or isinstance(least, bool) or not 0 <= least <= 1):
        raise Refused("least_confidence is not a number from 0 to 1", "for example 0.7")
    reasons = values.get("explain", 0)
    if isinstance(reasons, float) and reasons.is_integer():  # 3.0 is a whole number in JSON
        reasons = int(reasons)
    if not isinstance(reasons, int) or isinstance(reasons, bool) or not 0 <= reasons <= MOST_REASONS:
        raise Refused(f"explain is not a whole number from 0 to {MOST_REASONS}", "for example 3")
    if reasons and len(values[form]) > MOST_EXPLAINED:
        raise Refused(f"explain is for at most {MOST_EXPLAINED} rows a request", "send fewer rows")
    return values[form], probabilities, least, reasons


def _kind(value: Any) -> str:
    """The kind of a value, by JSON's name."""
    names = {"NoneType": "null", "dict": "an object", "list": "an array", "str": "a string", "bool": "true or false"}
    return names.get(type(value).__name__, "a number")


def answer(task: Task, predictions: Sequence[Prediction], probabilities: bool, least: float) -> list[dict[str, Any]]:
    """The predictions, each with its confidence and whether that is below the least confidence."""
    answers = []
    for prediction in predictions:
        confidence = task.confidence(prediction)
        if least and confidence is None:
            raise Refused(f"the model's task, {task.name}, has no confidence", "leave least_confidence out")
        values = {name: value for name, value in prediction.items() if probabilities or name != "probabilities"}
        answers.append({**values, "confidence": confidence, "abstain": abstains(task, prediction, least)})
    return answers


def check_reasons(predictor: Predictor, rows: int) -> None:
    """Raises Refused if the model has no reasons, or if those of so many rows would take too many predictions."""
    if predictor.lack_of_reasons:
        raise Refused(f"the model has no reasons: {predictor.lack_of_reasons}", "leave explain out")
    of_a_row = predictor.reasons.predictions_of_a_row
    if rows * of_a_row > max(MOST_PREDICTIONS, of_a_row):
        most = max(1, MOST_PREDICTIONS // of_a_row)
        raise Refused(f"explain is for at most {most} rows a request of this model", "send fewer rows")


def routes(app: "FastAPI", answering: "Answering") -> None:
    from fastapi import Request, Response

    from lakewright.service.server.answering import as_json

    service = answering.service

    @app.post("/predict", **documents.predict(service), tags=["predict"])
    async def predict(request: Request) -> Response:
        """Rows in, predictions out: texts alone, or rows where the model reads more than a text."""
        rows, probabilities, least, reasons = read(await request.body())
        served = answering.variant(request)
        if reasons:
            check_reasons(served.model.single, len(rows))
        rows, unknown = await service.completed(served, rows)
        predictions = await answering.predict(request, served, rows)
        if reasons:
            predictions = await to_thread(served.model.single.explain, rows, predictions, reasons)
        limit = service.serve.least_confidence if least is None else least
        answers = answer(served.model.single.task, predictions, probabilities, limit)
        for at, names in unknown.items():
            answers[at]["unknown"] = names
        service.metrics.abstained.labels(served.model.version).inc(sum(one["abstain"] for one in answers))
        milliseconds = request.scope["incoming"].milliseconds
        return as_json({"predictions": answers, "model_version": served.model.version, "latency_ms": milliseconds})

    @app.get("/model", **documents.model(service), tags=["predict"])
    async def about() -> Response:
        """The model that answers: name, version, labels, metrics, training table; and each variant's share."""
        variants = [
            {"variant": served.name, "version": served.model.version, "percent": served.percent}
            for served in service.variants
        ]
        return as_json({**service.model.about, "variants": variants, "refused": service.refused})
