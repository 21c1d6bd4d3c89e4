"""A search in MLflow: a run of the search, and in it a run a trial."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self

from lakewright.tuning.trials import Trial
from lakewright.workspace.tracking import Ending, Tracking


@dataclass(frozen=True)
class NestedRuns:
    tracking: Tracking
    run_id: str
    logged: set[str]  # the names of the nested runs that are there

    @classmethod
    def begin(cls, uri: str | None, experiment: str, name: str, about: Mapping[str, Any]) -> Self:
        """`uri` None: where MLflow logs in this process."""
        if uri is None:
            import mlflow

            uri = mlflow.get_tracking_uri()
        tracking = Tracking(uri, None, "")
        run_id = tracking.start(experiment, name, {"lakewright.kind": "minimize"})
        return cls.of(tracking, run_id, about)

    @classmethod
    def of(cls, tracking: Tracking, run_id: str, about: Mapping[str, Any]) -> Self:
        tracking.params(run_id, about)
        return cls(tracking, run_id, tracking.ended_in(run_id))

    def add(self, trial: Trial, metric: str = "loss") -> None:
        """A nested run of the trial, unless it is there."""
        name = name_of(trial.number)
        if name in self.logged:
            return
        values = trial.values if isinstance(trial.values, Mapping) else {"value": trial.values}
        numbers = {key: value for key, value in trial.results.items() if isinstance(value, int | float)}
        reached = {} if trial.loss is None else {metric: trial.loss if trial.metric is None else trial.metric}
        self.tracking.nested(
            self.run_id,
            name,
            "FINISHED" if trial.status == "ok" else "FAILED",
            params=values,
            metrics={**numbers, **reached, "seconds": trial.seconds},
            tags={"lakewright.reason": trial.reason} if trial.reason else {},
        )
        self.logged.add(name)

    def end(self, best: Trial | None, status: Ending) -> None:
        metrics = {} if best is None or best.loss is None else {"best_loss": best.loss}
        tags = {} if best is None else {"lakewright.best": name_of(best.number)}
        self.tracking.finish(self.run_id, status, metrics, tags)


def name_of(number: int) -> str:
    return f"trial {number:05d}"
