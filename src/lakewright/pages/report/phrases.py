"""A report's metrics as parts of sentences."""

from __future__ import annotations

from dataclasses import dataclass

from lakewright.evaluation.metrics import written
from lakewright.pages import count
from lakewright.pages.parts import percent
from lakewright.records import Metric, Report


@dataclass(frozen=True)
class Phrases:
    report: Report

    def has(self, *names: str) -> bool:
        return self.report.metrics.keys() >= set(names)

    def value(self, name: str) -> float:
        return self.report.metrics[name].value

    @property
    def rows(self) -> str:
        return f"{count(self.report.rows)} test rows"

    @property
    def level(self) -> str:
        return f"{100 * self.report.confidence:g}\N{NO-BREAK SPACE}% CI"

    def share(self, name: str) -> str:
        """A metric that is a share of the rows, with its interval."""
        metric = self.report.metrics[name]
        interval = f"{100 * metric.low:.1f}–{percent(metric.high)}"
        return f"{percent(metric.value)} of {self.rows} ({self.level} {interval})"

    def score(self, name: str) -> str:
        """Any other metric, with its interval."""
        metric = self.report.metrics[name]
        return f"{written(name, metric.value)} ({self.level} {between(name, metric)})"


def between(name: str, metric: Metric) -> str:
    low, high = written(name, metric.low), written(name, metric.high)
    return f"{low}{' to ' if metric.low < 0 else '–'}{high}"


def words(metric: str) -> str:
    """A metric's name at the beginning of a sentence."""
    names = {"qa_f1": "F1", "mrr": "MRR", "mae": "MAE", "rmse": "RMSE", "r2": "R²"}
    text = names.get(metric, metric.replace("_", " ").replace("f1", "F1"))
    return text[0].upper() + text[1:]
