"""The registry for what serves and what scores: they never import MLflow, a process of its own does where it must."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Mapping
from contextlib import redirect_stdout
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lakewright import errors
from lakewright.errors import LakewrightError
from lakewright.records import ModelVersion, Record, TableVersion, plain
from lakewright.registry.uri import local_folder, version_of
from lakewright.registry.without_mlflow import reader
from lakewright.workspace.tracking import StageLog, Tracking

if TYPE_CHECKING:
    from lakewright.workspace import Workspace


def located(workspace: Workspace, uri: str) -> tuple[ModelVersion, Path]:
    """The version that a `models:/…` URI means, and its model folder on this machine.

    Raises as `version_of` and `local_folder` do, LakewrightError where the registry does not answer.
    """
    downloads = workspace.folder / "downloads"
    registry = reader(workspace.tracking)
    if registry is not None:
        version = version_of(registry, uri)
        folder = local_folder(version, downloads)
        if folder is not None:
            return version, folder
        uri = version.at  # wherever an alias points to in the meantime
    answer = _ask("locate", workspace.tracking, {"uri": uri, "downloads": str(downloads)})
    return ModelVersion.model_validate(answer["version"]), Path(answer["folder"])


def note_scored(
    tracking: Tracking,
    version: ModelVersion,
    input: TableVersion,
    output: Record,
    metrics: Mapping[str, float],
) -> None:
    """A run in MLflow of what was scored by this version: its tables, its numbers; and the seconds on the version."""
    both = {"input": input, "output": output}
    pinned = {name: plain(table) for name, table in both.items() if isinstance(table, TableVersion)}
    noted = {"version": plain(version), "tables": pinned, "output": str(output), "metrics": dict(metrics)}
    _ask("note", tracking, noted)


def _ask(function: str, tracking: Tracking, arguments: Mapping[str, Any]) -> dict[str, Any]:
    """The answer of a process of its own. It gets all that it needs of the workspace, and opens none."""
    command = [sys.executable, "-m", __name__, function]
    question = json.dumps({"tracking": asdict(tracking), **arguments})
    process = subprocess.run(command, input=question, stdout=subprocess.PIPE, text=True, check=False)
    if process.returncode:
        raise LakewrightError(
            f"the process that reads the registry failed (exit code {process.returncode})", "read the lines above"
        )
    answer: dict[str, Any] = json.loads(process.stdout)
    if "error" in answer:
        kind = getattr(errors, answer["error"], LakewrightError)
        raise kind(*answer["told"])
    return answer


def _locate(tracking: Tracking, uri: str, downloads: str) -> dict[str, Any]:
    from lakewright.registry.versions import download, resolve

    version = resolve(tracking, uri)
    folder = download(tracking, version, Path(downloads))
    return {"version": plain(version), "folder": str(folder)}


def _note(
    tracking: Tracking, version: dict[str, Any], tables: dict[str, Any], output: str, metrics: dict[str, float]
) -> dict[str, Any]:
    from uuid import uuid4

    of = ModelVersion.model_validate(version)
    pinned = {name: TableVersion.model_validate(table) for name, table in tables.items()}
    run = tracking.start(f"{of.name} scoring", f"{output} {uuid4().hex[:8]}", {"lakewright.model_version": str(of)})
    with tracking.client() as client:
        log = StageLog(client, run)
        for name, table in pinned.items():
            log.table(table, name)
        log.close()
    tracking.finish(run, "FINISHED", metrics, {})
    seconds = f"{metrics['seconds_per_1000_rows']:.3f}"
    with tracking.client() as client:  # last: who may write runs need not be allowed to change a version
        client.set_model_version_tag(of.name, str(of.version), "lakewright.scored_seconds_per_1000_rows", seconds)
    return {}


def main() -> None:
    functions: dict[str, Callable[..., dict[str, Any]]] = {"locate": _locate, "note": _note}
    try:
        with redirect_stdout(sys.stderr):  # stdout is the answer's
            arguments = json.load(sys.stdin)
            answer = functions[sys.argv[1]](Tracking(**arguments.pop("tracking")), **arguments)
    except LakewrightError as error:
        answer = {"error": type(error).__name__, "told": error.__reduce__()[1]}
    print(json.dumps(answer))


if __name__ == "__main__":
    main()
