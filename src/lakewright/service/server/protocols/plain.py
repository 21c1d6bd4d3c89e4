"""The plain protocol: POST /predict {"texts": ["…"]} or {"rows": [{…}]}."""

# No postponed annotations here: FastAPI evaluates those of handlers, and their names are local to `routes`.

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from lakewright.data.rows.kinds import Prediction
from lakewright.model.tasks import Task, abstains
from lakewright.service.server import documents
from lakewright.service.server.protocols import an_object
from lakewright.service.server.refusals import Refused

if TYPE_CHECKING:
    from fastapi import FastAPI

    from lakewright.service.server.answering import Answering


def read(body: bytes) -> tuple[list[Any], bool, float | None]:
    """The rows, whether probabilities are wanted, and the least confidence where the request says one."""
    given = an_object(body, "texts", "rows", "probabilities", "least_confidence")
    forms = [form for form in ("texts", "rows") if form in given]
    if len(forms) != 1 or not isinstance(given[forms[0]], list):
        raise Refused(
            "the body does not hold one list, of texts or of rows", 'send {"texts": ["…"]} or {"rows": [{…}]}'
        )
    form = forms[0]
    for at, row in enumerate(given[form]):
        wanted = str if form == "texts" else dict
        if not isinstance(row, wanted):
            raise Refused(
                f"{form}[{at}] is {_kind(row)}, not {'a string' if wanted is str else 'an object'}",
                'send {"texts": ["…"]} or {"rows": [{…}]}',
            )
    probabilities, least = given.get("probabilities", False), given.get("least_confidence")
    if not isinstance(probabilities, bool):
        raise Refused("probabilities is neither true nor false", "leave it out, or send true")
    if least is not None and (not isinstance(least, int | float) or isinstance(least, bool) or not 0 <= least <= 1):
        raise Refused("least_confidence is no number from 0 to 1", "for example 0.7")
    return given[form], probabilities, least


def _kind(value: Any) -> str:
    """As JSON calls it."""
    names = {"NoneType": "null", "dict": "an object", "list": "an array", "str": "a string", "bool": "true or false"}
    return names.get(type(value).__name__, "a number")


def answer(task: Task, predictions: Sequence[Prediction], probabilities: bool, least: float) -> list[dict[str, Any]]:
    """What the task predicts, how sure it is, and whether that is below the least confidence."""
    said = []
    for prediction in predictions:
        confidence = task.confidence(prediction)
        if least and confidence is None:
            raise Refused(f"the model's task, {task.name}, has no confidence", "leave least_confidence out")
        shown = {name: value for name, value in prediction.items() if probabilities or name != "probabilities"}
        said.append({**shown, "confidence": confidence, "abstain": abstains(task, prediction, least)})
    return said


def routes(app: "FastAPI", answering: "Answering") -> None:
    from fastapi import Request, Response

    from lakewright.service.server.answering import as_json

    service = answering.service

    @app.post("/predict", **documents.predict(service), tags=["predict"])
    async def predict(request: Request) -> Response:
        """Rows in, predictions out: texts alone, or rows where the model reads more than a text."""
        given, probabilities, least = read(await request.body())
        served = answering.variant(request)
        predictions = await answering.predict(request, served, given)
        limit = service.serve.least_confidence if least is None else least
        said = answer(served.model.single.task, predictions, probabilities, limit)
        service.metrics.abstained.labels(served.model.version).inc(sum(one["abstain"] for one in said))
        milliseconds = request.scope["asked"].milliseconds
        return as_json({"predictions": said, "model_version": served.model.version, "latency_ms": milliseconds})

    @app.get("/model", **documents.model(service), tags=["predict"])
    async def about() -> Response:
        """What answers: name, version, labels, metrics, the table it was trained on; and each variant's share."""
        variants = [
            {"variant": served.name, "version": served.model.version, "percent": served.percent}
            for served in service.variants
        ]
        return as_json({**service.model.about, "variants": variants, "refused": service.refused})
