"""The report as a page a person reads (report.html, one file, nothing fetched) and as numbers (evaluation.json)."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from importlib.metadata import version
from importlib.resources import files
from pathlib import Path
from typing import Any

import numpy as np

from lakewright import plugins
from lakewright.evaluation import attribution
from lakewright.evaluation.attribution import Attribution
from lakewright.evaluation.metrics import METRICS, higher_is_better
from lakewright.pages import pictures
from lakewright.pages.report.sections import sections
from lakewright.pages.parts import Column, Table, drawing, number, percent
from lakewright.evaluation.scorers import Scorer
from lakewright.evaluation.scorers.classification import ClassificationScorer
from lakewright.evaluation.scorers.entities import EntityScorer
from lakewright.evaluation.scorers.multilabel import MultilabelScorer
from lakewright.evaluation.scorers.ranking import divide
from lakewright.records import Decision, Metric, Prepared, Report, Trained, as_json
from lakewright.model.folder import describe, read_json
from lakewright.model.tasks import Kind, Prediction, Row

FLAG_FROM = 20
"""Slices of fewer rows are never flagged: a bootstrap of a handful of rows has no width to speak of."""

ATTRIBUTIONS = "attributions.json"
"""beside the page, where evaluate has asked which words decide"""


@dataclass(frozen=True)
class ReportContext:
    """What the page tells beyond the report. All of it is optional; a section without content is left out."""

    task: str = ""
    model: str = ""
    run_id: str = ""
    created: str = ""
    texts: Sequence[str] = ()  # [rows] of the test split, in the scorer's order
    row_ids: Sequence[str] = ()  # [rows]
    rows: Sequence[Row] = ()  # [rows], their inputs by name
    inputs: Mapping[str, Kind] = field(default_factory=dict)  # what each of them is; a text where it is not said
    truths: Sequence[Any] = ()  # [rows], as the task has them
    predictions: Sequence[Prediction] = ()  # [rows]
    attributions: Sequence[Attribution] = ()
    fitted: Mapping[str, Any] = field(default_factory=dict)  # the task as it is described in the model folder
    prepared: Prepared | None = None
    trained: Trained | None = None
    history: Sequence[Mapping[str, float]] = ()  # as `pictures.learning_curve` reads it
    project_yaml: str = ""  # the resolved project
    reproduce: Sequence[str] = ()  # command lines
    software: Mapping[str, str] = field(default_factory=dict)  # name → version, git commit, machine …


def write_json(path: Path, report: Report) -> None:
    """evaluation.json: the whole report, so at least {"metrics": {"accuracy": {"value": x, "low": …, "high": …}}}."""
    path.write_text(as_json(report), encoding="utf-8")


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
    explained = Path(report.html).with_name(ATTRIBUTIONS)
    task = plugins.find("tasks", described["task"]["name"]).open(described["task"])
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
        prepared=prepared,
        trained=trained,
        history=[
            {name: value for name, value in entry.items() if value is not None}  # what was not defined at that point
            for entry in read_json(folder, "training.json")["history"]
        ],
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
        title=title,
        report=report,
        slot=_slot,
        context=context,
        verdict=verdict(report),
        baseline=_baseline(scorer),
        meanings=METRICS,
        columns=_columns(report),
        second=next((name for name in SECOND if name in report.metrics and name != report.primary), None),
        classes=_classes(report, scorer),
        shown=[name for name in _primary_first(report) if name not in folded],
        folded=folded,
        sections=sections(scorer, report, context),
        curve=drawing(pictures.learning_curve(context.history), "learning curves").svg if context.history else None,
        length_histogram=_length_histogram(context),
        label_counts=_label_counts(context),
    )
    path.write_text(page, encoding="utf-8")


def with_decision(page: str, report: Report, decision: Decision) -> str:
    """The report's page with what the gate said, where room was left for it; in place of what it said before."""
    for part in ("verdict", "badge", "link", "section"):
        said = rendered("decision.html.j2", part=part, decision=decision, verdict=verdict(report, decision))
        filled = _slot(part, said)
        page = re.sub(_slot(part, ".*?"), lambda _, filled=filled: filled, page, flags=re.DOTALL)  # type: ignore[misc]
    return page


def _slot(part: str, content: str = "") -> str:
    return f"<!-- gate: {part} -->{content}<!-- end of {part} -->"


def rendered(
    template: str, package: str = "lakewright.pages.report", filters: Mapping[str, Any] = {}, **values: Any
) -> str:
    """The page that a template of a package makes. All values are escaped; every page's look is `page.css`, here."""
    import jinja2

    def load(name: str) -> str:
        return files(package if name == template else "lakewright.pages.report").joinpath(name).read_text("utf-8")

    environment = jinja2.Environment(
        loader=jinja2.FunctionLoader(load),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"count": _count, "percent": percent, "number": number, "size": _size, **filters}
    return environment.get_template(template).render(values)


def verdict(report: Report, decision: Decision | None = None) -> str:
    """A few sentences: how good, how sure, and how far from the champion."""
    metrics, on = report.metrics, f"{_count(report.rows)} test rows"
    level = f"{100 * report.confidence:g}\N{NO-BREAK SPACE}% CI"

    def share(metric: Metric) -> str:
        return f"{percent(metric.value)} of {on} ({level} {100 * metric.low:.1f}–{percent(metric.high)})"

    def score(metric: Metric) -> str:
        low, high = number(metric.low), number(metric.high)
        return f"{number(metric.value)} ({level} {low}{' to ' if metric.low < 0 else '–'}{high})"

    text = ""
    if {"entity_f1", "entity_precision", "entity_recall"} <= metrics.keys():
        found, right = metrics["entity_recall"].value, metrics["entity_precision"].value
        text = f"Found {percent(found)} of the entities in {on}; {percent(right)} of what it marked is right."
        text += f" Entity F1 is {score(metrics['entity_f1'])}."
    elif "accuracy" in metrics:
        text = f"Right on {share(metrics['accuracy'])}"
        text += (
            f", at most one place off on {percent(metrics['within_one'].value)}." if "within_one" in metrics else "."
        )
    elif {"jaccard", "micro_precision", "micro_recall", "exact_match"} <= metrics.keys():
        found, right = metrics["micro_recall"].value, metrics["micro_precision"].value
        text = f"Found {percent(found)} of the labels of {on}; {percent(right)} of those it said are right."
        text += f" Nothing is missed or too much on {percent(metrics['exact_match'].value)} of the rows."
    elif {"exact_match", "qa_f1"} <= metrics.keys():
        text = f"Exactly right on {share(metrics['exact_match'])}."
        if "no_answer_accuracy" in metrics:
            right = metrics["no_answer_accuracy"].value
            text += f" Of the questions without an answer it knew {percent(right)}."
    elif {"recall_at_1", "recall_at_10", "mrr"} <= metrics.keys():
        text = f"The right text comes first for {share(metrics['recall_at_1'])}, among the first ten for "
        text += f"{percent(metrics['recall_at_10'].value)}."
    if text:
        if report.primary in metrics and f"{_words(report.primary)} is" not in text and report.primary != "accuracy":
            text += f" {_words(report.primary)} is {score(metrics[report.primary])}."
    elif report.primary in metrics:
        text = f"{_words(report.primary)} is {score(metrics[report.primary])} on {on}."
        if "mae" in metrics and report.primary != "mae":
            text += f" A score is off by {number(metrics['mae'].value)} on average."
    else:
        text = f"{_words(report.primary)} is not defined on {on}."
    if decision is None:
        return text
    for name, difference in decision.against_champion.items():
        value, low, high = difference.value, _signed(difference.low), _signed(difference.high)
        than = f"{number(abs(value))} {'higher' if value > 0 else 'lower'} than" if value else "equal to"
        text += f" {_words(name)}{'' if higher_is_better(name) else ', where less is better,'} is {than} that of "
        text += f"the champion, {decision.champion} ({level} {low} to {high})."
    return text


def _baseline(scorer: Scorer) -> str:
    """What the verdict is to be read against."""
    if isinstance(scorer, ClassificationScorer) and scorer.rows:
        counts = np.bincount(scorer.truth, minlength=len(scorer.labels))
        most = int(counts.argmax())
        return (
            f"Always answering “{scorer.labels[most]}”, the most frequent label, would be right on "
            f"{percent(counts[most] / scorer.rows)}."
        )
    if isinstance(scorer, MultilabelScorer) and scorer.truth.any():
        counts = scorer.truth.sum(axis=0).astype(np.float64)
        frequent = np.argsort(-counts, kind="stable")
        said = np.arange(1.0, len(counts) + 1) * scorer.rows
        f1 = divide(2 * np.cumsum(counts[frequent]), said + float(counts.sum()))
        best = int(f1.argmax())
        named = "”, “".join(scorer.labels[i] for i in frequent[: best + 1])
        return f"Always saying “{named}” would have a micro F1 of {number(f1[best])}."
    return ""


SECOND = ("accuracy", "exact_match", "recall_at_1", "pearson", "rmse")
"""The metrics worth a tile beside the primary one: the first that there is."""


def _classes(report: Report, scorer: Scorer) -> str:
    if not report.classes:
        return ""
    kind = "labels" if isinstance(scorer, MultilabelScorer) else "classes"
    return f"{len(report.classes)} {'entity types' if isinstance(scorer, EntityScorer) else kind}"


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
    sign = 1 if report.primary not in METRICS or higher_is_better(report.primary) else -1
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
        columns.append(_Column(column, slices, total, low, max(high, low + 1e-9)))
    return columns


def _length_histogram(context: ReportContext) -> Any:
    prepared = context.prepared
    if prepared is None or not prepared.length_histogram:
        return None
    return drawing(pictures.length_histogram(prepared.length_histogram, prepared.max_length), "encoded lengths").svg


def _label_counts(context: ReportContext) -> Table | None:
    prepared = context.prepared
    if prepared is None or not prepared.labels or not prepared.label_counts:
        return None
    columns = [Column("label", "name"), *(Column(split, "count") for split in prepared.label_counts)]
    counts = prepared.label_counts.values()
    return Table(columns, [[label, *(of.get(label, 0) for of in counts)] for label in prepared.labels])


def _words(metric: str) -> str:
    known = {"qa_f1": "F1", "mrr": "MRR", "mae": "MAE", "rmse": "RMSE", "r2": "R²"}
    text = known.get(metric, metric.replace("_", " ").replace("f1", "F1"))
    return text[0].upper() + text[1:]


def _signed(value: float) -> str:
    return f"{'+' if value >= 0 else ''}{number(value)}"


def _count(value: float) -> str:
    return f"{value:,.0f}"


def _size(bytes_: float) -> str:
    for unit in ("bytes", "kB", "MB"):
        if bytes_ < 1000:
            return f"{bytes_:.{0 if unit == 'bytes' else 1}f}\N{NO-BREAK SPACE}{unit}"
        bytes_ /= 1000
    return f"{bytes_:.1f}\N{NO-BREAK SPACE}GB"
