"""model folder → report: the only read of the test split, by the predictor that will serve.

The prediction of each test row is frozen in test_rows.parquet: the gate and every later comparison use those rows.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

import lakewright
from lakewright.data.rows.kinds import Prediction, Row, whole_row, written
from lakewright.errors import DataError, ProjectError, nearest
from lakewright.evaluation.attribution import attributions, has_claim, worth_asking, write
from lakewright.evaluation.bootstrap import intervals
from lakewright.evaluation.changes import Changed
from lakewright.evaluation.costs import costs_of
from lakewright.evaluation.dependence import CLASSES, dependences
from lakewright.evaluation.importance import importances
from lakewright.evaluation.scorers import Scorer
from lakewright.evaluation.scorers.classification import ClassificationScorer
from lakewright.evaluation.slices import by_slice
from lakewright.learning.examples import read_split
from lakewright.learning.planning import as_prepared
from lakewright.model.changed import ChangedRows
from lakewright.model.folder import serving
from lakewright.model.on_workers import predict
from lakewright.model.predictor import Predictor
from lakewright.model.tasks import Task, no_prediction
from lakewright.pages.report import write_page
from lakewright.pages.report.sections import page_of
from lakewright.pipeline.bias import Facets
from lakewright.records import Dependence, Explained, Prepared, Reason, Report, Trained
from lakewright.settings.project import Project
from lakewright.system.progress import bar
from lakewright.workspace import Workspace
from lakewright.workspace.ledger import note_test_read

REASONS = 6  # of each row that the report explains


def evaluate(project: Project, workspace: Workspace, *, prepared: Prepared, trained: Trained) -> Report:
    settings, folder = project.evaluate, Path(trained.model_folder)
    predictor = Predictor.open(folder, threads=workspace.threads)

    _check_slices(prepared, project, workspace)
    facets = None
    if settings.bias is not None:
        facets = Facets.read(settings.bias, predictor.task, prepared.table, workspace.lake)
    validation = _of_validation(predictor, prepared, project, workspace)
    rows = read_split(workspace.lake, prepared.features, "test", ["record_id", "inputs", "truth"])
    earlier = note_test_read(workspace, str(prepared.features), rows.num_rows, "evaluate")
    inputs_of, truths = rows["inputs"].to_pylist(), rows["truth"].to_pylist()
    predictions, took = predict(predictor, inputs_of, workspace.workers, workspace.threads)
    seconds = took / len(truths) * 1000

    scorer = predictor.task.scorer(truths, predictions, inputs_of)
    drawing = {"resamples": settings.resamples, "confidence": settings.confidence, "seed": settings.seed}
    with bar("bootstrap", settings.resamples) as advance:
        metrics = intervals(scorer, progress=lambda count: advance(1, ""), **drawing)  # type: ignore[arg-type]
    slices = by_slice(scorer, _slice_columns(rows, prepared, project, workspace), **drawing)  # type: ignore[arg-type]

    bias = None if facets is None else facets.measure(rows, predictions, predictor.task.inputs, settings)

    costs = None
    if settings.cost is not None and validation is not None:
        assert isinstance(scorer, ClassificationScorer)  # as that of validation is
        costs = costs_of(validation, scorer, settings.cost, **drawing)  # type: ignore[arg-type]

    values = scorer.metrics(np.ones(scorer.rows))
    undefined = {name: scorer.undefined(name) for name, value in values.items() if np.isnan(value)}

    files = workspace.run_folder
    files.path.mkdir(parents=True, exist_ok=True)
    frozen = pa.table(
        {
            "record_id": rows["record_id"],
            "row": rows["row"],
            "text": [whole_row(row, predictor.task.inputs) for row in inputs_of],
            "inputs": [json.dumps(row, ensure_ascii=False, default=written) for row in inputs_of],
            "truth": [json.dumps(truth, ensure_ascii=False) for truth in truths],
            "prediction": [json.dumps(prediction, ensure_ascii=False) for prediction in predictions],
        }
    )
    pq.write_table(frozen, files.test_rows, compression="zstd")
    single = {}
    if serving(folder, "latency") != serving(folder, "throughput"):
        other = Predictor.open(folder, threads=workspace.threads, use="latency")
        singly = other.task.scorer(truths, other.predict(inputs_of), inputs_of).metrics(np.ones(scorer.rows))
        single = {name: float(value) for name, value in singly.items() if value == value}
    with bar("importance of inputs", None) as advance:
        worth = importances(
            predictor.predict,
            _changed_of(predictor),
            predictor.task.scorer,
            predictor.task.inputs,
            inputs_of,
            truths,
            settings.seed,
            lambda name: advance(1, name),
        )
    with bar("dependence on inputs", None) as advance:
        important = [each.input for each in worth] or list(predictor.task.inputs)
        curves = _dependences(predictor, scorer, important, inputs_of, settings.seed, lambda name: advance(1, name))
    confidences = [predictor.task.confidence(prediction) for prediction in predictions]
    report = Report(
        metrics=metrics,
        importances=worth,
        dependences=curves,
        explained=_explained(predictor, scorer, confidences, inputs_of, predictions),
        costs=costs,
        bias=bias,
        single_row_metrics=single,
        undefined=undefined,
        primary=scorer.primary,
        rows=scorer.rows,
        kind=scorer.kind,
        classes=scorer.classes(np.ones(scorer.rows)),
        slices=slices,
        confidence=settings.confidence,
        test_rows=str(files.test_rows),
        html=str(files.report),
        json_file=str(files.evaluation),
        runtime=f"{' '.join(serving(folder, 'throughput'))}, {workspace.threads} threads",
        model_bytes=sum(file.stat().st_size for file in folder.rglob("*") if file.is_file()),
        seconds_per_1000_rows=seconds,
        notes=_notes(earlier, undefined),
    )
    files.write_evaluation(report)
    selected = worth_asking(scorer, confidences, lambda row: has_claim(predictions[row], truths[row]))
    explained = attributions(predictor.predict, predictor.task.inputs, selected, inputs_of, truths, predictions)
    write(files.attributions, explained)
    write_page(
        report,
        prepared=prepared,
        trained=trained,
        project=as_prepared(project, prepared).resolved,
        run_id=workspace.run_id,
    )
    if workspace.log is not None:
        workspace.log.table(prepared.features, "evaluation")
        workspace.log.params({"evaluate": settings.model_dump(mode="json"), "lakewright": lakewright.__version__})
        workspace.log.metrics({name: metric.value for name, metric in metrics.items()})
        workspace.log.metrics({"seconds_per_1000_rows": seconds, "model_bytes": report.model_bytes})
        for name, figure in page_of(scorer.kind).figures(scorer).items():
            workspace.log.picture(figure, name)
        for file in (files.report, files.evaluation, files.attributions):
            workspace.log.file(file)
    return report


def _notes(earlier: int, undefined: Mapping[str, str]) -> list[str]:
    notes = [f"{name} is not defined on the test rows: {why}." for name, why in undefined.items()]
    if earlier:
        times = f"{earlier} time{'s' * (earlier > 1)}"
        notes.append(f"This test split was read {times} before: a score that was chosen on it is too good.")
    return notes


def _check_slices(prepared: Prepared, project: Project, workspace: Workspace) -> None:
    """Raises DataError before the test split is read: a misspelt column must not cost a read of it."""
    names = [column["name"] for column in workspace.lake.show(str(prepared.table))["columns"]]
    for name in project.evaluate.slices:
        if name not in names:
            raise DataError(f"evaluate.slices names {name!r}, which {prepared.table} lacks", nearest(name, names))


def _of_validation(
    predictor: Predictor, prepared: Prepared, project: Project, workspace: Workspace
) -> ClassificationScorer | None:
    """What the same predictor gives for the validation rows, if a threshold is to be chosen on them: by evaluate.cost.

    Raises ProjectError, before the test split is read, unless the task is one of two classes.
    """
    if project.evaluate.cost is None:
        return None
    task = predictor.task
    if task.truth != "class" or len(task.labels) != 2:
        has = f"{len(task.labels)} classes" if task.truth == "class" else "none"
        raise ProjectError(
            f"evaluate.cost is of errors between two classes, and the model, of the task {task.name}, has {has}",
            "remove evaluate.cost, or merge the classes into two (task.merge)",
        )
    rows = read_split(workspace.lake, prepared.features, "validation", ["inputs", "truth"])
    inputs_of = rows["inputs"].to_pylist()
    scorer = task.scorer(rows["truth"].to_pylist(), predictor.predict(inputs_of), inputs_of)
    if not isinstance(scorer, ClassificationScorer):
        raise ProjectError(
            f"evaluate.cost needs the probabilities of two classes, and {task.name} is measured without them",
            "remove evaluate.cost",
        )
    return scorer


def _changed_of(predictor: Predictor) -> Callable[[Sequence[Row]], Changed]:
    return lambda rows: ChangedRows.of(predictor, rows).with_values


def _dependences(
    predictor: Predictor,
    scorer: Scorer,
    important: Sequence[str],
    rows: Sequence[Row],
    seed: int,
    progress: Callable[[str], None],
) -> list[Dependence]:
    """Of a number, of the second of two classes, of the most frequent ones of more, or of several labels."""
    task = predictor.task
    if task.truth not in ("number", "class", "labels"):
        return []
    followed = _followed(task, scorer)
    changed_of = _changed_of(predictor)
    return dependences(predictor.predict, changed_of, task.inputs, important, rows, followed, seed, progress)


def _explained(
    predictor: Predictor,
    scorer: Scorer,
    confidences: Sequence[float | None],
    rows: Sequence[Row],
    predictions: Sequence[Prediction],
) -> list[Explained]:
    """Of the rows that are worth a look, if the model has reasons."""
    if predictor.lack_of_reasons:
        return []
    chosen = worth_asking(scorer, confidences, lambda row: predictions[row] != no_prediction(predictor.task))
    answers = predictor.explain([rows[at] for at in chosen], [predictions[at] for at in chosen], REASONS)
    return [
        Explained(row=at, method=answer["method"], reasons=[Reason(**reason) for reason in answer["reasons"]])
        for at, answer in zip(chosen, answers, strict=True)
    ]


def _followed(task: Task, scorer: Scorer) -> list[str]:
    if task.truth == "class" and len(task.labels) == 2:
        return [task.labels[1]]
    of_class = scorer.classes(np.ones(scorer.rows))
    return sorted(task.labels, key=lambda name: -of_class.get(name, {}).get("support", 0.0))[:CLASSES]


def _slice_columns(
    rows: pa.Table, prepared: Prepared, project: Project, workspace: Workspace
) -> dict[str, list[object]]:
    """The columns of evaluate.slices, at the test rows."""
    if not project.evaluate.slices:
        return {}
    data = workspace.lake.read(prepared.table, columns=project.evaluate.slices).take(rows["row"])
    return {name: data[name].to_pylist() for name in project.evaluate.slices}
