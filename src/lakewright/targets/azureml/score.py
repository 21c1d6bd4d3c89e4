"""The functions that Azure ML's endpoints call: `init()` once, then `run()` for a request or `run_batch()` for files.

The model folder is AZUREML_MODEL_DIR, or a folder in it. Requests have the forms of /predict and /invocations of
`lakewright serve`. This needs no training library, no MLflow and no SDK of Azure.

https://learn.microsoft.com/azure/machine-learning/how-to-deploy-online-endpoints ("Understand the scoring script"),
…/how-to-batch-scoring-script, …/how-to-deploy-model-custom-output (AZUREML_BI_OUTPUT_PATH, output_action: summary_only)
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from lakewright.errors import DataError, ModelError
from lakewright.model.folder import MANIFEST
from lakewright.model.predictor import Predictor
from lakewright.service.server.protocols import mlflow, parsed, plain
from lakewright.system import jsonfile

ROWS = 1000  # most rows in a request, as in `lakewright serve`
KINDS = {".csv": "csv", ".json": "json", ".jsonl": "lines", ".ndjson": "lines"}
_opened: list[Predictor] = []


def init() -> None:
    _opened[:] = [Predictor.open(model_folder(Path(os.environ["AZUREML_MODEL_DIR"])), use="latency")]


def run(raw_data: str) -> Any:
    """The answer to one request; 400 or 413, with the cause and the remedy, for one that cannot be read."""
    try:
        return answered(_opened[0], raw_data.encode())
    except DataError as failure:
        from azureml_inference_server_http.api.aml_response import AMLResponse  # type: ignore[import-not-found]

        error = {"error": {"cause": failure.cause, "remedy": failure.remedy}}
        return AMLResponse(error, getattr(failure, "status", 400), json_str=True)


def answered(predictor: Predictor, body: bytes) -> dict[str, Any]:
    """The answer to `{"texts": […]}` and `{"rows": […]}` as from /predict, to MLflow's forms as from /invocations.
    Raises DataError (Refused) for other bodies."""
    values = parsed(body)
    if isinstance(values, dict) and not values.keys().isdisjoint(("texts", "rows")):
        rows, probabilities, least, reasons = plain.read(body)
        predictions = _predicted(predictor, rows)
        if reasons:
            plain.check_reasons(predictor, len(rows))
            predictions = predictor.explain(rows, predictions, reasons)
        answers = plain.answer(predictor.task, predictions, probabilities, least or 0.0)
        return {"predictions": answers, "model_version": predictor.digest[:12]}
    return {"predictions": _predicted(predictor, mlflow.read(body, "json", predictor.task.inputs, ROWS))}


def _predicted(predictor: Predictor, rows: Sequence[Any]) -> list[Any]:
    from lakewright.service.server.protocols import check_rows

    check_rows(len(rows), ROWS)
    return predictor.predict(rows)


def run_batch(mini_batch: Sequence[str]) -> list[str]:
    """Scores files of rows (CSV, JSON in the form of a request, JSON lines) and writes JSON lines to the job's output
    folder, a row with its prediction in each. Returns the scored files, which Azure ML counts; raises DataError for
    other files.
    """
    folder = Path(os.environ["AZUREML_BI_OUTPUT_PATH"])
    for name in mini_batch:
        path = Path(name)
        if path.suffix.lower() not in KINDS:
            raise DataError(f"{path.name} is not a file of rows", f"use a name that ends in one of {', '.join(KINDS)}")
        predictor = _opened[0]
        body = path.read_bytes()
        rows = mlflow.read(body, KINDS[path.suffix.lower()], predictor.task.inputs, len(body))
        pairs = zip(rows, predictor.predict(rows), strict=True)
        lines = [jsonfile.text({"row": row, "prediction": prediction}, indent=None) for row, prediction in pairs]
        # Several folders may have files of the same name; a file that is scored again has its predictions replaced.
        of = hashlib.sha256(name.encode()).hexdigest()[:8]
        (folder / f"{path.stem}.{of}.jsonl").write_text("".join(lines), encoding="utf-8")
    return list(mini_batch)


def model_folder(place: Path) -> Path:
    """The model folder in AZUREML_MODEL_DIR, where Azure ML keeps it under its own name."""
    folders = [manifest.parent for depth in ("", "*/", "*/*/") for manifest in sorted(place.glob(f"{depth}{MANIFEST}"))]
    if not folders:
        raise ModelError(f"{place} holds no model folder", "register the model folder of a run, with its manifest.json")
    return folders[0]
