"""The report as a page a person reads (report.html, one file, nothing fetched) and as numbers (evaluation.json)."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from importlib.metadata import version
from importlib.resources import files
from pathlib import Path
from typing import Any

import numpy as np

from lakewright import plugins
from lakewright.evaluation import pictures
from lakewright.evaluation.calibration import reliability
from lakewright.evaluation.classification import ClassificationScorer
from lakewright.evaluation.entities import OUTCOMES, EntityScorer
from lakewright.evaluation.metrics import METRICS, higher_is_better
from lakewright.evaluation.mistakes import confident_mistakes, confused_pairs, marked_mistakes
from lakewright.evaluation.scorer import Scorer
from lakewright.records import Decision, Metric, Prepared, Report, Trained, as_json
from lakewright.runtimes.folder import describe

FLAG_FROM = 20
"""Slices of fewer rows are never flagged: a bootstrap of a handful of rows has no width to speak of."""


@dataclass(frozen=True)
class ReportContext:
    """What the page tells beyond the report. All of it is optional; a section without content is left out."""

    task: str = ""
    model: str = ""
    run_id: str = ""
    created: str = ""
    texts: Sequence[str] = ()  # [rows] of the test split, in the scorer's order
    row_ids: Sequence[str] = ()  # [rows]
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
    decision: Decision | None,
) -> None:
    """report.html of a run, from its records and its frozen test rows: written by evaluate, and again once the gate has
    decided. `project` is the resolved one."""
    import pyarrow.parquet as pq
    import yaml

    folder = Path(trained.model_folder)
    described = describe(folder)
    rows = pq.read_table(report.test_rows)
    truths = [json.loads(truth) for truth in rows["truth"].to_pylist()]
    predictions = [json.loads(prediction) for prediction in rows["prediction"].to_pylist()]
    task = plugins.find("tasks", described["task"]["name"]).open(described["task"])
    context = ReportContext(
        task=task.name,
        model=described["name"],
        run_id=run_id,
        created=time.strftime("%Y-%m-%d %H:%M"),
        texts=rows["text"].to_pylist(),
        row_ids=rows["record_id"].to_pylist(),
        prepared=prepared,
        trained=trained,
        history=json.loads((folder / "training.json").read_text(encoding="utf-8"))["history"],
        project_yaml=yaml.safe_dump(dict(project), sort_keys=False, allow_unicode=True),
        reproduce=[f"lakewright run project.yml   # the project below, on {prepared.table}"],
        software={name: version(name) for name in ("lakewright", "onnxruntime", "tokenizers", "numpy")},
    )
    scorer = task.scorer(truths, predictions, [json.loads(row) for row in rows["inputs"].to_pylist()])
    title = described["name"]
    write_html(Path(report.html), title=title, report=report, decision=decision, scorer=scorer, context=context)


def write_html(
    path: Path,
    *,
    title: str,
    report: Report,
    decision: Decision | None,
    scorer: Scorer,
    context: ReportContext,
) -> None:
    """One self-contained page. Texts and labels are escaped; any scorer gets the page, and the two known kinds get
    sections of their own."""
    page = rendered(
        "report.html.j2",
        title=title,
        report=report,
        decision=decision,
        context=context,
        verdict=verdict(report),
        baseline=_baseline(scorer),
        meanings=METRICS,
        columns=_columns(report),
        curve=_picture(pictures.learning_curve(context.history), "learning curves") if context.history else None,
        length_histogram=_length_histogram(context),
        **_sections(scorer, context),
    )
    path.write_text(page, encoding="utf-8")


def rendered(template: str, **values: Any) -> str:
    """The page that a template of this folder makes. All values are escaped; every page's look is `page.css`."""
    import jinja2

    folder = files("lakewright.evaluation")
    environment = jinja2.Environment(
        loader=jinja2.FunctionLoader(lambda name: folder.joinpath(name).read_text("utf-8")),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"count": _count, "percent": _percent, "number": _number, "size": _size}
    return environment.get_template(template).render(values)


def verdict(report: Report, decision: Decision | None = None) -> str:
    """One or two sentences: how good, how sure, and what the gate said."""
    metrics, on = report.metrics, f"{_count(report.rows)} test rows"
    level = f"{100 * report.confidence:g}\N{NO-BREAK SPACE}% CI"

    def share(metric: Metric) -> str:
        return f"{_percent(metric.value)} of {on} ({level} {100 * metric.low:.1f}–{_percent(metric.high)})"

    def score(metric: Metric) -> str:
        return f"{_number(metric.value)} ({level} {_number(metric.low)}–{_number(metric.high)})"

    if {"entity_f1", "entity_precision", "entity_recall"} <= metrics.keys():
        found, right = metrics["entity_recall"].value, metrics["entity_precision"].value
        text = f"Found {_percent(found)} of the entities in {on}; {_percent(right)} of what it marked is right."
        text += f" Entity F1 is {score(metrics['entity_f1'])}."
    elif "accuracy" in metrics:
        text = f"Right on {share(metrics['accuracy'])}."
        if report.primary in metrics and report.primary != "accuracy":
            text += f" {_words(report.primary)} is {score(metrics[report.primary])}."
    elif report.primary in metrics:
        text = f"{_words(report.primary)} is {score(metrics[report.primary])} on {on}."
    else:
        text = f"{_words(report.primary)} is not defined on {on}."
    if decision is not None:
        failed = ", ".join(check.name for check in decision.checks if not check.passed)
        text += " It passed the gate." if decision.passed else f" It did not pass the gate: {failed}."
    return text


def _baseline(scorer: Scorer) -> str:
    """What the accuracy is to be read against."""
    if not isinstance(scorer, ClassificationScorer) or not scorer.rows:
        return ""
    counts = np.bincount(scorer.truth, minlength=len(scorer.labels))
    most = int(counts.argmax())
    return (
        f"Always answering “{scorer.labels[most]}”, the most frequent label, would be right on "
        f"{_percent(counts[most] / scorer.rows)}."
    )


def _sections(scorer: Scorer, context: ReportContext) -> dict[str, Any]:
    """What only one kind of task has; None where the scorer is of another kind."""
    sections: dict[str, Any] = dict.fromkeys(
        ("matrix", "pairs", "mistakes", "reliability", "leaning", "outcomes", "marked"), None
    )
    if isinstance(scorer, ClassificationScorer) and scorer.rows:
        bins = reliability(scorer.confidence, scorer.correct())
        sections |= {
            "matrix": _picture(pictures.confusion_matrix(scorer.confusion(), scorer.labels), "confusion matrix"),
            "pairs": confused_pairs(scorer),
            "mistakes": confident_mistakes(scorer),
            "reliability": _picture(pictures.reliability_diagram(bins), "accuracy by confidence"),
            "leaning": _leaning(scorer),
        }
    if isinstance(scorer, EntityScorer) and scorer.rows:
        classes = scorer.classes(np.ones(scorer.rows))
        sections["outcomes"] = {name: sum(row[_COLUMN[name]] for row in classes.values()) for name in OUTCOMES}
        if context.texts:
            sections["marked"] = marked_mistakes(scorer, context.texts)
    return sections


def _leaning(scorer: ClassificationScorer) -> str:
    sure, right = float(scorer.confidence.mean()), float(scorer.correct().mean())
    return f"On average its confidence is {_percent(sure)} and it is right on {_percent(right)}."


_COLUMN = {
    "correct": "correct",
    "type": "type_errors",
    "boundary": "boundary_errors",
    "missed": "missed",
    "spurious": "spurious",
}


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
    return _picture(pictures.length_histogram(prepared.length_histogram, prepared.max_length), "encoded lengths")


def _picture(figure: Any, description: str) -> Any:
    from markupsafe import Markup

    return Markup(pictures.svg(figure, description))


def _words(metric: str) -> str:
    text = metric.replace("_", " ").replace("f1", "F1")
    return text[0].upper() + text[1:]


def _count(value: float) -> str:
    return f"{value:,.0f}"


def _percent(share: float) -> str:
    return f"{100 * share:.1f}\N{NO-BREAK SPACE}%"


def _number(value: float) -> str:
    return f"{value:.3f}" if abs(value) < 100 else f"{value:,.0f}"


def _size(bytes_: float) -> str:
    for unit in ("bytes", "kB", "MB"):
        if bytes_ < 1000:
            return f"{bytes_:.{0 if unit == 'bytes' else 1}f}\N{NO-BREAK SPACE}{unit}"
        bytes_ /= 1000
    return f"{bytes_:.1f}\N{NO-BREAK SPACE}GB"
