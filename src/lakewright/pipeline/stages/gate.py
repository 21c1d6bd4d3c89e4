"""report → decision: the model meets the bounds and is not significantly worse than the champion.

The champion predicts the same test rows that evaluate froze, so the two are compared row by row.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow.parquet as pq

from lakewright import plugins
from lakewright.errors import DataError, LakewrightError, ProjectError, nearest
from lakewright.evaluation.metrics import signed, written
from lakewright.evaluation.significance import compare
from lakewright.model.folder import project_of
from lakewright.model.on_workers import predict
from lakewright.model.predictor import Predictor
from lakewright.pages.report import with_decision
from lakewright.records import Check, Decision, FacetMeasures, Metric, Prepared, Report, Trained, as_json
from lakewright.registry.versions import champion, download
from lakewright.settings.project import Project
from lakewright.system.files import write_whole
from lakewright.workspace import Workspace
from lakewright.workspace.ledger import note_test_read

if TYPE_CHECKING:
    from lakewright.records import ModelVersion


def gate(project: Project, workspace: Workspace, *, prepared: Prepared, trained: Trained, report: Report) -> Decision:
    checks = [_bound(report, name, least, "minimum") for name, least in project.gate.minimum.items()]
    checks += [_bound(report, name, most, "maximum") for name, most in project.gate.maximum.items()]
    checks += [_bias_bound(report, name, bound) for name, bound in project.gate.bias.items()]
    compared = champion(workspace.tracking, project.model) if project.gate.champion else None
    difference: dict[str, Metric] = {}
    if compared is not None and compared.digest != trained.digest:
        check, difference = _against(compared, report, prepared, trained, project, workspace)
        checks.append(check)
    decision = Decision(
        passed=all(check.passed for check in checks),
        checks=checks,
        champion=str(compared) if compared else None,
        against_champion=difference,
    )
    workspace.run_folder.write_decision(decision)
    page = Path(report.html)
    write_whole(
        page, with_decision(page.read_text(encoding="utf-8"), report, decision)
    )  # the page is not rendered again
    if workspace.log is not None:
        workspace.log.params({"gate": project.gate.model_dump(mode="json")})
        workspace.log.metrics({"gate_passed": float(decision.passed)})
        workspace.log.text(as_json(decision), "decision.json")
        workspace.log.file(Path(report.html))
    return decision


def _bound(report: Report, name: str, threshold: float, kind: str) -> Check:
    if name in report.undefined:
        detail = f"{name} is not defined on the test rows: {report.undefined[name]}"
        return Check(name=name, passed=False, threshold=threshold, detail=detail)
    if name not in report.metrics:
        raise ProjectError(
            f"gate.{kind} names {name!r}, which this task does not measure", nearest(name, report.metrics)
        )
    values = [report.metrics[name].value]
    if name in report.single_row_metrics:
        values.append(report.single_row_metrics[name])
    least = kind == "minimum"
    passed = all(value >= threshold if least else value <= threshold for value in values)  # NaN passes neither
    measured = " and, in the runtime for single rows, ".join(written(name, value, 4) for value in values)
    detail = f"{measured}, required {'≥' if least else '≤'} {threshold:.10g}"
    return Check(name=name, passed=passed, value=values[0], threshold=threshold, detail=detail)


def _bias_bound(report: Report, name: str, bound: float) -> Check:
    """Of the facet that is farthest from no difference; one without a defined value does not pass."""
    facets = [] if report.bias is None else [facet for facet in report.bias.facets if name in facet.names]
    required = f"required {name} and 1/{name} ≥ {bound:.10g}" if name == "DI" else f"required |{name}| ≤ {bound:.10g}"
    undefined = [facet for facet in facets if name in facet.undefined]
    if undefined or not facets:
        why = f"{undefined[0]}: {undefined[0].undefined[name]}" if undefined else "no facet has it"
        return Check(name=f"bias {name}", passed=False, threshold=bound, detail=f"{why}; {required}")

    def away(facet: FacetMeasures) -> float:
        value = facet.measures[name].value
        return -min(value, 1 / value if value else 0.0) if name == "DI" else abs(value)

    farthest = max(facets, key=away)
    metric = farthest.measures[name]
    passed = away(farthest) <= (-bound if name == "DI" else bound)
    detail = f"{farthest}: {metric.value:.4f} ({report.confidence:.0%} interval {metric.low:.4f} to {metric.high:.4f})"
    others = len(facets) - 1
    detail += f", the farthest of {len(facets)} facets" if others else ""
    return Check(
        name=f"bias {name}", passed=passed, value=metric.value, threshold=bound, detail=f"{detail}; {required}"
    )


def _against(
    compared: ModelVersion,
    report: Report,
    prepared: Prepared,
    trained: Trained,
    project: Project,
    workspace: Workspace,
) -> tuple[Check, dict[str, Metric]]:
    """The check, and the difference of the metric, empty if the two models cannot be compared."""
    folder = download(workspace.tracking, compared, workspace.folder / "downloads")
    predictor = Predictor.open(folder, threads=workspace.threads)
    name = f"not significantly worse than the champion ({compared})"
    rows = pq.read_table(report.test_rows).to_pylist()
    challenger = Predictor.open(Path(trained.model_folder), threads=workspace.threads)
    if (predictor.task.name, predictor.task.labels) != (challenger.task.name, challenger.task.labels):
        detail = (
            f"cannot be compared: the champion learned {_labels(predictor)}, this model {_labels(challenger)}; "
            "set gate.champion: false to accept a model with other labels"
        )
        return Check(name=name, passed=False, detail=detail), {}
    truths = [json.loads(row["truth"]) for row in rows]
    inputs_of = [json.loads(row["inputs"]) for row in rows]
    theirs_of = inputs_of
    unknown = sorted(predictor.task.inputs.keys() - challenger.task.inputs.keys())
    if unknown:
        try:
            theirs_of = _rows_of_the_champion(folder, rows, prepared, workspace)
        except LakewrightError as failure:
            detail = (
                f"cannot be compared: the champion reads the input {unknown[0]!r}, and this model's test rows have "
                f"none ({failure.cause}); set gate.champion: false to accept a model with other inputs"
            )
            return Check(name=name, passed=False, detail=detail), {}
    note_test_read(workspace, report.test_rows, len(rows), f"champion {compared} on the frozen test rows")
    ours = challenger.task.scorer(truths, [json.loads(row["prediction"]) for row in rows], inputs_of)
    theirs = predictor.task.scorer(
        truths, predict(predictor, theirs_of, workspace.workers, workspace.threads)[0], theirs_of
    )
    settings = project.evaluate
    metric = report.primary if project.gate.compare_by == "auto" else project.gate.compare_by
    for model, scorer in (("this model", ours), ("the champion", theirs)):
        if np.isnan(scorer.metrics(np.ones(scorer.rows)).get(metric, 0.0)):
            why = f"{metric} of {model} is not defined on the test rows: {scorer.undefined(metric)}"
            detail = f"cannot be compared: {why}; set gate.compare_by to another metric"
            return Check(name=name, passed=False, detail=detail), {}
    comparison = compare(
        ours, theirs, metric, resamples=settings.resamples, seed=settings.seed, confidence=settings.confidence
    )
    low, high = signed(metric, comparison.low, 4), signed(metric, comparison.high, 4)
    detail = (
        f"{metric} {signed(metric, comparison.difference, 4)} against the champion "
        f"({settings.confidence:.0%} interval {low} to {high}; "
        f"{comparison.method}, one-sided p of being worse {comparison.p:.3g})"
    )
    check = Check(
        name=name,
        passed=not comparison.significantly_worse,
        value=comparison.p,
        threshold=1 - settings.confidence,
        detail=detail,
    )
    return check, {metric: Metric(value=comparison.difference, low=comparison.low, high=comparison.high)}


def _rows_of_the_champion(
    folder: Path, rows: Sequence[Mapping[str, Any]], prepared: Prepared, workspace: Workspace
) -> list[dict[str, Any]]:
    """The test rows as the champion reads them, from the table that this model learned from: it may read other columns.
    Raises LakewrightError if the table lacks one of them, or holds what the champion's task cannot read."""
    project = project_of(folder)
    task = plugins.TASKS.find(project["task"]["name"])
    settings = task.settings.model_validate(project["task"])
    roles = task.columns.model_validate(project["data"]["columns"])
    if any("row" not in row for row in rows):
        raise DataError("the report is older than this comparison", "lakewright run --rerun evaluate")
    schema = workspace.lake.scan(prepared.table).schema
    wanted = {role: names for role, names in roles.roles.items() if role in task.columns.truths} | {
        role: roles.roles[role] for role, _ in roles.inputs
    }
    names = list(dict.fromkeys(n for own in wanted.values() for n in (own if isinstance(own, list) else [own])))
    for name in names:
        if name not in schema.names:
            raise DataError(f"{prepared.table} has no column {name!r}", "keep the column in the table")
    table = workspace.lake.read(prepared.table, columns=names).take([row["row"] for row in rows])
    read = task.reader(wanted, settings).read(table)
    return [*read.drop_columns("truth").to_pylist()]


def _labels(predictor: Predictor) -> str:
    labels = predictor.task.labels
    return (
        f"{predictor.task.name} with {len(labels)} labels ({', '.join(labels[:5])}{', …' if len(labels) > 5 else ''})"
    )
