"""The page's first sentences: how good, how sure, and how far from the champion."""

from __future__ import annotations

from lakewright.evaluation.metrics import higher_is_better, signed, written
from lakewright.pages.report.phrases import Phrases, words
from lakewright.pages.report.sections import page_of
from lakewright.records import Decision, Report

SECOND = ("accuracy", "exact_match", "recall_at_1", "pearson", "r2", "rmse")
"""The metrics worth a tile beside the primary one: the first that there is."""


def verdict(report: Report, decision: Decision | None = None) -> str:
    phrases, primary = Phrases(report), report.primary
    text = page_of(report.kind).verdict(phrases)
    if text:
        if primary in report.metrics and f"{words(primary)} is" not in text and primary != "accuracy":
            text += f" {words(primary)} is {phrases.score(primary)}."
    elif primary in report.metrics:
        text = f"{words(primary)} is {phrases.score(primary)} on {phrases.rows}."
        if "mae" in report.metrics and primary != "mae":
            text += f" A score is off by {written('mae', phrases.value('mae'))} on average."
    else:
        text = f"{words(primary)} is not defined on {phrases.rows}."
    if decision is None:
        return text
    for name, difference in decision.against_champion.items():
        value, low, high = difference.value, signed(name, difference.low), signed(name, difference.high)
        than = f"{written(name, abs(value))} {'higher' if value > 0 else 'lower'} than" if value else "equal to"
        text += f" {words(name)}{'' if higher_is_better(name) else ', where less is better,'} is {than} that of "
        text += f"the champion, {decision.champion} ({phrases.level} {low} to {high})."
    return text
