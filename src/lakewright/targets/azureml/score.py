"""What Azure ML's endpoints call: `init()` once, then `run()` for a request or `run_batch()` for files of rows.

The model folder lies in AZUREML_MODEL_DIR, or in a folder of it. Requests are those that `lakewright serve` takes at
/predict and /invocations. Needs no training library, no MLflow and no SDK of Azure's.

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

ROWS = 1000  # in one request, as `lakewright serve` has it
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

        said = {"error": {"cause": failure.cause, "remedy": failure.remedy}}
        return AMLResponse(said, getattr(failure, "status", 400), json_str=True)


def answered(predictor: Predictor, body: bytes) -> dict[str, Any]:
    """`{"texts": […]}` and `{"rows": […]}` as /predict answers them, MLflow's forms as /invocations does. Raises
    DataError (Refused) for what is neither."""
    given = parsed(body)
    if isinstance(given, dict) and not given.keys().isdisjoint(("texts", "rows")):
        rows, probabilities, least = plain.read(body)
        said = plain.answer(predictor.task, _predicted(predictor, rows), probabilities, least or 0.0)
        return {"predictions": said, "model_version": predictor.digest[:12]}
    return {"predictions": _predicted(predictor, mlflow.read(body, "json", predictor.task.inputs, ROWS))}


def _predicted(predictor: Predictor, rows: Sequence[Any]) -> list[Any]:
    from lakewright.service.server.protocols import check_rows

    check_rows(len(rows), ROWS)
    return predictor.predict(rows)


def run_batch(mini_batch: Sequence[str]) -> list[str]:
    """Scores files of rows (CSV, JSON as a request has it, JSON lines): the job's output folder gets JSON lines, a row
    and its prediction in each. Returns the files that were scored, which Azure ML counts; raises DataError for others.
    """
    folder = Path(os.environ["AZUREML_BI_OUTPUT_PATH"])
    for name in mini_batch:
        path = Path(name)
        if path.suffix.lower() not in KINDS:
            raise DataError(f"{path.name} is no file of rows", f"its name ends in one of {', '.join(KINDS)}")
        predictor = _opened[0]
        body = path.read_bytes()
        rows = mlflow.read(body, KINDS[path.suffix.lower()], predictor.task.inputs, len(body))
        pairs = zip(rows, predictor.predict(rows), strict=True)
        lines = [jsonfile.text({"row": row, "prediction": said}, indent=None) for row, said in pairs]
        # Files of the same name lie in several folders; scored again, a file's predictions are written again.
        of = hashlib.sha256(name.encode()).hexdigest()[:8]
        (folder / f"{path.stem}.{of}.jsonl").write_text("".join(lines), encoding="utf-8")
    return list(mini_batch)


def model_folder(place: Path) -> Path:
    """Azure ML keeps a registered folder under its own name, in the place that it tells."""
    found = [manifest.parent for depth in ("", "*/", "*/*/") for manifest in sorted(place.glob(f"{depth}{MANIFEST}"))]
    if not found:
        raise ModelError(
            f"{place} holds no model folder", "register the folder that a run made, with its manifest.json"
        )
    return found[0]
