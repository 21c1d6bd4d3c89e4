"""features → model folder: the learner fits on train, watches validation, and never sees test."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

import lakewright
from lakewright import plugins
from lakewright.encodings import Encoded, Encoding, open_encoding
from lakewright.encodings.ragged import Ragged
from lakewright.learners import Examples, Fitted, Training
from lakewright.project import Project
from lakewright.records import Prepared, Record, Trained
from lakewright.runtimes.folder import FORMAT, seal
from lakewright.runtimes.predictor import Predictor
from lakewright.tasks import Task
from lakewright.workspace import Workspace


def train(inputs: Mapping[str, Record], project: Project, workspace: Workspace) -> Trained:
    prepared = inputs["prepare"]
    assert isinstance(prepared, Prepared)
    task: Task = plugins.find("tasks", project.task).open({"labels": prepared.labels})
    learner = plugins.find("learners", project.train.learner)
    encoding = open_encoding(Path(prepared.encoding))
    folder = workspace.work / "model"
    shutil.rmtree(folder, ignore_errors=True)  # a killed attempt's; its checkpoints lie beside it
    folder.mkdir(parents=True)
    checkpoints = workspace.work / "checkpoints"
    checkpoints.mkdir(exist_ok=True)
    if workspace.log is not None:
        workspace.log.params({"train": project.train.model_dump(mode="json"), "device": workspace.device})
        workspace.log.table(prepared.features, "training")

    training = Training(
        task=task,
        settings=project.train,
        encoding=encoding,
        train=_examples(prepared, "train", task, encoding, workspace),
        validation=_examples(prepared, "validation", task, encoding, workspace),
        folder=folder,
        checkpoints=checkpoints,
        base=project.folder,
        device=workspace.device,
        threads=workspace.threads,
        log=workspace.log,
    )
    fitted: Fitted = learner.fit(training)

    (folder / "encoding").mkdir()
    encoding.save(folder / "encoding")
    described = {
        "format": FORMAT,
        "lakewright": lakewright.__version__,
        "name": project.model,
        "task": task.describe(),
        "learner": learner.name,
        "table": str(prepared.table),
        "features": str(prepared.features),
        "run": workspace.run_id,
    }
    _write(folder / "model.json", described)
    _write(folder / "project.json", project.resolved)
    _write(folder / "training.json", {"history": fitted.history, "details": fitted.details})
    load = plugins.find("runtimes", "onnx")
    predictor = Predictor(folder, "", task, encoding, load(folder, workspace.threads))
    samples = task.sample_rows()
    _write(folder / "samples.json", {"rows": samples, "predictions": predictor.predict(samples)})
    digest = seal(folder)

    sealed = workspace.folder / "models" / digest[:16]
    sealed.parent.mkdir(exist_ok=True)
    if sealed.exists():
        shutil.rmtree(folder)
    else:
        folder.rename(sealed)
    if workspace.log is not None:
        workspace.log.metrics({f"best_validation_{name}": value for name, value in fitted.validation.items()})
        workspace.log.params({"fitted": fitted.details})
        if len(fitted.history) > 1:
            from lakewright.evaluation.pictures import learning_curve

            workspace.log.picture(learning_curve(fitted.history), "learning_curve")
    shutil.rmtree(checkpoints)
    return Trained(
        model_folder=str(sealed),
        digest=digest,
        learner=learner.name,
        validation=fitted.validation,
        details=fitted.details,
    )


def _examples(prepared: Prepared, split: str, task: Task, encoding: Encoding, workspace: Workspace) -> Examples:
    rows = workspace.lake.read(prepared.features, predicate=f"split = '{split}'").combine_chunks()
    texts = rows["text"].to_pylist()
    if task.level == "token" and split != "train":
        encoded = encoding.encode(texts, positions=True)  # decoding needs each piece's place in the text
    else:
        weights = _ragged(rows, "weights") if "weights" in rows.column_names else None
        encoded = Encoded(_ragged(rows, "ids"), weights=weights)
    return Examples(
        encoded=encoded,
        targets=_ragged(rows, "target"),
        weights=rows["weight"].to_numpy().astype(np.float32),
        texts=texts,
        truths=rows["truth"].to_pylist(),
    )


def _ragged(rows: Any, name: str) -> Ragged:
    lists = rows[name].combine_chunks()
    offsets = lists.offsets.to_numpy().astype(np.int64)
    return Ragged(lists.flatten().to_numpy(zero_copy_only=False), offsets - offsets[0])


def _write(path: Path, values: Any) -> None:
    path.write_text(json.dumps(values, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
