"""Shared by the routes of all protocols: a request's variant, and its predictions, counted and logged."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from pydantic_core import to_json
from starlette.requests import Request
from starlette.responses import Response

from lakewright.data.rows.gathered import Gathered
from lakewright.data.rows.kinds import Prediction, Row
from lakewright.errors import nearest
from lakewright.model.tasks import abstains
from lakewright.service.server.refusals import Refused, Unknown
from lakewright.service.server.requestlog import Answered, RequestLog, now
from lakewright.service.server.service import Served, Service

if TYPE_CHECKING:
    import pyarrow as pa

    from lakewright.service.server.door import Incoming


@dataclass(frozen=True)
class Answering:
    service: Service
    log: RequestLog | None

    async def predict(
        self, request: Request, served: Served, values: Sequence[Any] | pa.RecordBatch
    ) -> list[Prediction]:
        """The predictions for a request's rows, `values`; counted, and logged with their confidence."""
        incoming: Incoming = request.scope["incoming"]
        incoming.served = served
        values, _ = await self.service.completed(served, values)
        return await self._predicted(incoming, served, self.service.read(served.model, values))

    async def predict_table(
        self, request: Request, served: Served, values: Sequence[Any] | pa.RecordBatch
    ) -> pa.RecordBatch:
        """The same as columns, of `Predictor.predict_table`."""
        from lakewright.model.tasks.tables import of_predictions

        incoming: Incoming = request.scope["incoming"]
        incoming.served = served
        task = served.model.single.task
        values, _ = await self.service.completed(served, values)
        rows = self.service.read(served.model, values)
        if not isinstance(rows, Gathered) or self.log is not None:  # the log keeps each row
            return of_predictions(task, await self._predicted(incoming, served, rows))
        table = await self.service.predict_table(served.model, rows, incoming.seconds_left)
        self.service.metrics.count_table(served.model.version, table)
        return table

    async def _predicted(self, incoming: Incoming, served: Served, rows: Sequence[Row] | Gathered) -> list[Prediction]:
        model, task = served.model, served.model.single.task
        predictions = await self.service.predict(model, rows, incoming.seconds_left)
        self.service.metrics.count(model.version, predictions)
        if self.log is not None and len(rows):
            confidences = [task.confidence(one) for one in predictions]
            least = self.service.serve.least_confidence
            abstained = [abstains(task, one, least) for one in predictions]
            self.log.add(
                Answered(
                    incoming.id, now(), incoming.caller, model.name, model.version, served.name,
                    rows.rows() if isinstance(rows, Gathered) else rows,
                    [{**one, "confidence": c} for one, c in zip(predictions, confidences, strict=True)], abstained,
                    incoming.milliseconds,
                )
            )  # fmt: skip
        return predictions

    def variant(self, request: Request) -> Served:
        """The variant that X-Variant names, or else the request's variant by its id."""
        incoming: Incoming = request.scope["incoming"]
        name = incoming.headers.get(b"x-variant", b"").decode("latin-1")
        if not name:
            return self.service.variant(incoming.id)
        variants = {served.name: served for served in self.service.variants}
        if name not in variants:
            raise Refused(f"there is no variant {name[:40]!r}", nearest(name[:40], variants))
        return variants[name]

    def named(self, name: str, version: str | None, request: Request) -> Served:
        """The variant with this model name and version. Raises Unknown."""
        if name != self.service.model.name:
            raise Unknown(f"there is no model {name!r} here", f"this server has {self.service.model.name}")
        if version is None:
            return self.variant(request)
        for served in self.service.variants:
            if served.model.version == version:
                return served
        versions = ", ".join(served.model.version for served in self.service.variants)
        raise Unknown(f"there is no version {version!r} of {name} here", f"this server has {versions}")


def as_json(value: Any) -> Response:
    return Response(to_json(value, inf_nan_mode="null"), media_type="application/json")
