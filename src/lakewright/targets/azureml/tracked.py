"""Writes a stage's results to the workspace's own MLflow: metrics and tags of the step's run, which the studio shows.

Azure ML names its tracking server `azureml://…`, a scheme that the plug-in azureml-mlflow adds to MLflow (it needs
mlflow-skinny 3.15 or older, which Lakewright cannot use). The server itself speaks MLflow's REST over https with the
job's token, as Microsoft's own R client does: azureml-examples, r-accelerator's azureml_utils.R.
"""

from __future__ import annotations

import logging
import os
import time
from typing import TYPE_CHECKING

from lakewright.errors import LakewrightError
from lakewright.records import Decision, ModelVersion, Record, Report
from lakewright.workspace.tracking import Tracking

if TYPE_CHECKING:
    from collections.abc import Mapping

LOG = logging.getLogger("lakewright")
OUTCOME = "lakewright.outcome"


def outcome(stage: str, record: Record | None) -> str:
    """The stage's result in one word: register gives `registered` or, below the gate, `not_registered`."""
    if stage == "register":
        return "registered" if isinstance(record, ModelVersion) else "not_registered"
    if isinstance(record, Decision):
        return "passed" if record.passed else "refused"
    return "done"


def track(stage: str, record: Record | None) -> None:
    """Writes metrics and tags; nothing outside a step of Azure ML. If the server does not answer, the log has a
    warning: the stage is done, and the project's own tracking has the same values."""
    server, run_id = os.environ.get("MLFLOW_TRACKING_URI"), os.environ.get("AZUREML_RUN_ID")
    if server is None or run_id is None:
        return
    metrics = {name: metric.value for name, metric in record.metrics.items()} if isinstance(record, Report) else {}
    tags = {"lakewright.stage": stage, OUTCOME: outcome(stage, record)}
    if isinstance(record, ModelVersion):
        tags["lakewright.model_version"] = str(record)
    try:
        _write(https(server), run_id, metrics, tags)
    except LakewrightError as failure:
        LOG.warning("the results of %s could not be written to the workspace's MLflow: %s", stage, failure.cause)


def https(server: str) -> str:
    return "https://" + server.removeprefix("azureml://") if server.startswith("azureml://") else server


def _write(server: str, run_id: str, metrics: Mapping[str, float], tags: Mapping[str, str]) -> None:
    with Tracking(server, None, "").client() as client:
        from mlflow.entities import Metric, RunTag

        now = int(time.time() * 1000)
        client.log_batch(
            run_id,
            metrics=[Metric(name, value, now, 0) for name, value in metrics.items()],
            tags=[RunTag(name, value) for name, value in tags.items()],
        )
