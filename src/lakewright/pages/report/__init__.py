"""The report as a page a person reads (report.html, one file, nothing fetched) and as numbers (evaluation.json)."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

from lakewright import plugins
from lakewright.evaluation import attribution
from lakewright.evaluation.metrics import higher_is_better, meaning
from lakewright.evaluation.scorers import Scorer
from lakewright.model.folder import describe, described_steps, history_of, open_recipe
from lakewright.pages import rendered
from lakewright.pages.parts import Column, Section, Table, drawing
from lakewright.pages.pictures import of_training
from lakewright.pages.report.context import ReportContext
from lakewright.pages.report.sections import bias, dependence, inputs, page_of, reasons, recipe, words
from lakewright.pages.report.verdict import SECOND, verdict
from lakewright.records import Decision, Metric, Prepared, Report, Trained
from lakewright.workspace.run_folder import RunFolder

FLAG_FROM = 20
"""Slices of fewer rows are never flagged: a bootstrap of a handful of rows has no width to speak of."""


def write_page(
    report: Report,
    *,
    prepared: Prepared,
    trained: Trained,
    project: Mapping[str, Any],
    run_id: str,
) -> None:
    """report.html of a run, from its records and its frozen test rows. `project` is the resolved one."""
    import pyarrow.parquet as pq
    import yaml

    folder = Path(trained.model_folder)
    described = describe(folder)
    rows = pq.read_table(report.test_rows)
    truths = [json.loads(truth) for truth in rows["truth"].to_pylist()]
    predictions = [json.loads(prediction) for prediction in rows["prediction"].to_pylist()]
    inputs_of = [json.loads(row) for row in rows["inputs"].to_pylist()]
    explained = RunFolder(Path(report.html).parent).attributions  # there, where evaluate asked which words decide
    task = plugins.TASKS.find(described["task"]["name"]).open(described["task"])
    context = ReportContext(
        task=task.name,
        model=described["name"],
        run_id=run_id,
        created=time.strftime("%Y-%m-%d %H:%M"),
        texts=rows["text"].to_pylist(),
        row_ids=rows["record_id"].to_pylist(),
        rows=inputs_of,
        inputs=task.inputs,
        truths=truths,
        predictions=predictions,
        attributions=attribution.read(explained) if explained.is_file() else (),
        fitted=described["task"],
        recipe=open_recipe(folder),
        fitted_steps=described_steps(folder)[0],
        prepared=prepared,
        lookups=described.get("lookups", ()),
        trained=trained,
        history=history_of(folder),
        project_yaml=yaml.safe_dump(dict(project), sort_keys=False, allow_unicode=True),
        reproduce=[f"lakewright run project.yml   # the project below, on {prepared.table}"],
        software={name: version(name) for name in ("lakewright", "onnxruntime", "tokenizers", "numpy")},
    )
    scorer = task.scorer(truths, predictions, inputs_of)
    title = described["name"]
    write_html(Path(report.html), title=title, report=report, scorer=scorer, context=context)


def write_html(
    path: Path,
    *,
    title: str,
    report: Report,
    scorer: Scorer,
    context: ReportContext,
) -> None:
    """One self-contained page. Texts and labels are escaped; any scorer gets the page, and the known kinds get sections
    of their own (`sections/`)."""
    folded = _folded(report)
    page = rendered(
        "report.html.j2",
        __name__,
        title=title,
        report=report,
        slot=_slot,
        context=context,
        verdict=verdict(report),
        baseline=page_of(scorer.kind).baseline(scorer),
        meanings={name: meaning(name) for name in report.metrics},
        columns=_columns(report),
        second=next((name for name in SECOND if name in report.metrics and name != report.primary), None),
        classes=_classes(report),
        shown=[name for name in _primary_first(report) if name not in folded],
        folded=folded,
        sections=_sections(scorer, report, context),
        curve=drawing(of_training.learning_curve(context.history), "learning curves").svg if context.history else None,
        length_histogram=_length_histogram(context),
        label_counts=_label_counts(context),
    )
    path.write_text(page, encoding="utf-8")


def with_decision(page: str, report: Report, decision: Decision) -> str:
    """The report's page with what the gate said, where room was left for it; in place of what it said before."""
    for part in ("verdict", "badge", "link", "section"):
        content = rendered(
            "decision.html.j2", __name__, part=part, decision=decision, verdict=verdict(report, decision)
        )
        filled = _slot(part, content)
        page = re.sub(_slot(part, ".*?"), lambda _, filled=filled: filled, page, flags=re.DOTALL)  # type: ignore[misc]
    return page


def _slot(part: str, content: str = "") -> str:
    return f"<!-- gate: {part} -->{content}<!-- end of {part} -->"


def _sections(scorer: Scorer, report: Report, context: ReportContext) -> list[Section]:
    """Those of the kind of truth, and before its calibration the words that decide. One without content is left out."""
    parts = page_of(scorer.kind).sections(scorer, report, context)
    at = next((place for place, section in enumerate(parts) if section.name == "calibration"), len(parts))
    return (
        parts[:at]
        + inputs.sections(report)
        + dependence.sections(report)
        + reasons.sections(scorer, report, context)
        + words.sections(scorer, context)
        + parts[at:]
        + bias.sections(report)
        + recipe.sections(context)
    )


def _classes(report: Report) -> str:
    return f"{len(report.classes)} {page_of(report.kind).classes}" if report.classes else ""


def _primary_first(report: Report) -> list[str]:
    return sorted(report.metrics, key=lambda name: name != report.primary)


def _folded(report: Report) -> list[str]:
    """Averages beside the ones that the primary metric is of."""
    averages = [name for name in ("micro", "weighted", "samples") if not report.primary.startswith(name)]
    return [name for name in report.metrics if name.partition("_")[0] in averages]


@dataclass(frozen=True)
class _Slice:
    name: str
    rows: float
    metric: Metric | None  # the report's primary one; None where these rows do not define it
    flagged: bool  # its whole interval is on the worse side of the total


@dataclass(frozen=True)
class _Column:
    name: str
    slices: list[_Slice]  # the worst first
    total: Metric | None
    low: float  # where the scale of the intervals begins and ends
    high: float


def _columns(report: Report) -> list[_Column]:
    total = report.metrics.get(report.primary)
    sign = 1 if higher_is_better(report.primary) else -1
    columns = []
    for column, parts in report.slices.items():
        slices = []
        for name, metrics in parts.items():
            rows, metric = metrics["rows"].value, metrics.get(report.primary)
            flagged = False
            if metric is not None and total is not None and rows >= FLAG_FROM:
                flagged = metric.high < total.value if sign > 0 else metric.low > total.value
            slices.append(_Slice(name, rows, metric, flagged))
        slices.sort(key=lambda part: np.inf if part.metric is None else sign * part.metric.value)
        drawn = [metric for metric in [total, *(part.metric for part in slices)] if metric is not None]
        low, high = min((m.low for m in drawn), default=0.0), max((m.high for m in drawn), default=1.0)
        columns.append(_Column(column, slices, total, low, high if high > low else low + max(1e-9, abs(low) / 1e6)))
    return columns


def _length_histogram(context: ReportContext) -> Any:
    prepared = context.prepared
    if prepared is None or not prepared.length_histogram:
        return None
    return drawing(of_training.length_histogram(prepared.length_histogram, prepared.max_length), "encoded lengths").svg


def _label_counts(context: ReportContext) -> Table | None:
    prepared = context.prepared
    if prepared is None or not prepared.labels or not prepared.label_counts:
        return None
    columns = [Column("label", "name"), *(Column(split, "count") for split in prepared.label_counts)]
    counts = prepared.label_counts.values()
    return Table(columns, [[label, *(of.get(label, 0) for of in counts)] for label in prepared.labels])
