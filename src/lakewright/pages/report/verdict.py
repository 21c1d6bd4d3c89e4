"""The page's first sentences: how good, how sure, how far from a guess and from the champion."""

from __future__ import annotations

import numpy as np

from lakewright.evaluation.metrics import higher_is_better
from lakewright.evaluation.scorers import Scorer
from lakewright.evaluation.scorers.classification import ClassificationScorer
from lakewright.evaluation.scorers.multilabel import MultilabelScorer
from lakewright.evaluation.scorers.ranking import divide
from lakewright.pages import _count
from lakewright.pages.parts import number, percent
from lakewright.records import Decision, Metric, Report


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


def baseline(scorer: Scorer) -> str:
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


def _words(metric: str) -> str:
    known = {"qa_f1": "F1", "mrr": "MRR", "mae": "MAE", "rmse": "RMSE", "r2": "R²"}
    text = known.get(metric, metric.replace("_", " ").replace("f1", "F1"))
    return text[0].upper() + text[1:]


def _signed(value: float) -> str:
    return f"{'+' if value >= 0 else ''}{number(value)}"
