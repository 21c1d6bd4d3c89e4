"""A server's metrics for Prometheus: requests, their times, predictions."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, disable_created_metrics, generate_latest
from prometheus_client.multiprocess import MultiProcessCollector

if TYPE_CHECKING:
    import pyarrow as pa

    from lakewright.data.rows.kinds import Prediction

disable_created_metrics()  # type: ignore[no-untyped-call]  # a second series for each, which nobody reads
SECONDS = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 30)
ROWS = (1, 2, 4, 8, 16, 32, 64, 128)


class Metrics:
    """One server process's numbers; `page` gives those of all worker processes (PROMETHEUS_MULTIPROC_DIR)."""

    def __init__(self) -> None:
        registry = CollectorRegistry()
        self._registry = registry
        self.requests = Counter("lakewright_requests", "Requests answered", ["path", "status"], registry=registry)
        self.seconds = Histogram(
            "lakewright_request_seconds",
            "From a request's head to its answer",
            ["path"],
            buckets=SECONDS,
            registry=registry,
        )
        self.batch_rows = Histogram("lakewright_batch_rows", "Rows computed together", buckets=ROWS, registry=registry)
        self.waiting = Gauge(
            "lakewright_waiting_rows", "Rows that wait", registry=registry, multiprocess_mode="livesum"
        )
        self.cached = Counter("lakewright_cache_rows", "Rows looked up in the cache", ["found"], registry=registry)
        self.predicted = Counter(
            "lakewright_predicted", "Rows by what was predicted", ["version", "label"], registry=registry
        )
        self.abstained = Counter(
            "lakewright_abstained", "Rows below the least confidence", ["version"], registry=registry
        )
        self.unknown_values = Counter(
            "lakewright_unknown_values",
            "Inputs of which no feature table had a value",
            ["version", "input"],
            registry=registry,
        )
        self.switches = Counter(
            "lakewright_switches", "Replacements of the served models", ["outcome"], registry=registry
        )
        self.closed = Counter(
            "lakewright_closed_connections",
            "Connections that the server ended, by reason",
            ["reason"],
            registry=registry,
        )
        self.logged = Counter("lakewright_logged_rows", "Rows for the log table", ["outcome"], registry=registry)

    def page(self) -> bytes:
        registry = self._registry
        if "PROMETHEUS_MULTIPROC_DIR" in os.environ:
            registry = CollectorRegistry()
            MultiProcessCollector(registry)  # type: ignore[no-untyped-call]
        return generate_latest(registry)

    def count(self, version: str, predictions: Sequence[Prediction]) -> None:
        for prediction in predictions:
            for label in labels_of(prediction):
                self.predicted.labels(version, label).inc()

    def count_table(self, version: str, predictions: pa.RecordBatch) -> None:
        """Of the columns of `Predictor.predict_table`."""
        if "label" in predictions.schema.names:
            for each in predictions.column("label").value_counts().to_pylist():
                if each["values"] is not None:
                    self.predicted.labels(version, str(each["values"])).inc(each["counts"])
        elif {"labels", "entities"} & {*predictions.schema.names}:
            self.count(version, predictions.to_pylist())


def labels_of(prediction: Prediction) -> list[str]:
    """The label names in one prediction of any task."""
    if prediction.get("label") is not None:
        return [str(prediction["label"])]
    labels: list[Any] = prediction.get("labels") or prediction.get("entities") or []
    return [str(each["label"] if isinstance(each, dict) else each) for each in labels]
