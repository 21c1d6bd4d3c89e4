"""What `automl.classify` and `automl.regress` return, with the fields of Databricks AutoML's AutoMLSummary."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from lakewright.errors import UsageError

if TYPE_CHECKING:
    from mlflow.entities import Experiment

    from lakewright.model.predictor import Predictor
    from lakewright.racing.glass_box import GlassBox
    from lakewright.racing.leaderboard import Entry
    from lakewright.racing.project_search import Recommended
    from lakewright.workspace import Workspace


@dataclass(frozen=True)
class TrialInfo:
    """A candidate, or the recommended model. `metrics` are `val_NAME`, out of fold, and of the recommended model also
    `test_NAME`."""

    notebook_path: str | None
    notebook_url: str | None
    artifact_uri: str | None
    mlflow_run_id: str
    metrics: Mapping[str, float]
    params: Mapping[str, Any]
    model_path: str | None  # a model folder; None: of a candidate that was not run
    model_description: str
    duration: str
    preprocessors: str
    evaluation_metric_score: float | None
    search: str
    candidate: int | None  # None: the mean of several

    def load_model(self) -> Predictor:
        """The predictor. Raises UsageError for a candidate that is not the recommended model."""
        if self.model_path is None:
            raise UsageError(
                f"candidate {self.candidate} of {self.search} is not a model yet: its folds were trained, and not "
                "evaluated on test",
                f'run it: automl.run_candidate("{self.search}", {self.candidate}), and load its model_folder',
            )
        from pathlib import Path

        from lakewright.model.predictor import Predictor

        return Predictor.open(Path(self.model_path), "auto")


@dataclass(frozen=True)
class AutoMLSummary:
    experiment: Experiment
    trials: Sequence[TrialInfo]  # the best first
    best_trial: TrialInfo  # the recommended model
    metric_distribution: str
    warnings: Sequence[str]
    semantic_type_conversions: Mapping[str, str]  # kind → the columns that are read as it
    output_table_name: str | None  # of forecasts: never
    found: Recommended

    @property
    def output_table(self) -> str | None:
        return self.output_table_name


def summary_of(
    found: Recommended, box: GlassBox | None, workspace: Workspace, metric: str, warnings: Sequence[str]
) -> AutoMLSummary:
    import numpy as np

    from lakewright.evaluation.metrics import written

    with workspace.tracking.client() as client:
        experiment = client.get_experiment(client.get_run(found.run_id).info.experiment_id)
        places = {
            number: str(client.get_run(run_id).info.artifact_uri or "")
            for number, run_id in found.candidate_runs.items()
        }
        place = str(client.get_run(found.run.run_id).info.artifact_uri or "")
    notebooks = {} if box is None else {number: str(path) for number, path in box.notebooks.items()}
    trials = [_trial(entry, found, notebooks.get(entry.number), places.get(entry.number)) for entry in found.entries]
    scores = [trial.evaluation_metric_score for trial in trials if trial.evaluation_metric_score is not None]
    low, middle, high = (written(metric, float(np.quantile(scores, share)), 4) for share in (0, 0.5, 1))
    distribution = f"{len(scores)} candidates by {metric}: from {low} to {high}, median {middle}"
    return AutoMLSummary(
        experiment,
        trials,
        _best(found, trials, notebooks, place, metric),
        distribution,
        [*warnings, *_findings(found), *found.notes],
        _kinds(found),
        None,
        found,
    )


def _trial(entry: Entry, found: Recommended, notebook: str | None, place: str | None) -> TrialInfo:
    return TrialInfo(
        notebook,
        None,
        place,
        found.candidate_runs.get(entry.number, ""),
        {f"val_{name}": value for name, value in entry.metrics.items()},
        dict(entry.settings),
        None,
        entry.learner if entry.complete else f"{entry.learner} ({entry.failure or f'{entry.folds} folds alone'})",
        f"{entry.seconds:.1f} seconds",
        _steps(found),
        entry.metrics.get(found.metric),
        found.name,
        entry.number,
    )


def _best(
    found: Recommended, trials: Sequence[TrialInfo], notebooks: Mapping[int, str], place: str, metric: str
) -> TrialInfo:
    members, run = found.found.members, found.run
    alone = members[0].number if len(members) == 1 else None
    of_folds = {f"val_{name}": value for name, value in found.out_of_fold.items()}
    test = {f"test_{name}": each.value for name, each in run.report.metrics.items()}
    shown = ", ".join(
        f"{weight:.2f} {each.learner} ({each.number})"
        for each, weight in zip(members, found.found.weights, strict=True)
    )
    return TrialInfo(
        notebooks.get(members[0].number) if alone is not None else None,
        None,
        place,
        run.run_id,
        {**of_folds, "val_loss": found.found.loss, **test},
        dict(members[0].settings) if alone is not None else {"members": [dict(each.settings) for each in members]},
        str(run.model_folder),
        shown if alone is None else members[0].learner,
        f"{found.found.seconds + found.found.earlier:.1f} seconds",
        _steps(found),
        of_folds.get(f"val_{metric}"),
        found.name,
        alone,
    )


def _findings(found: Recommended) -> list[str]:
    return [f"{each.name}: {each.detail}" for each in getattr(found.run.records.get("prepare"), "findings", ())]


def _steps(found: Recommended) -> str:
    from pathlib import Path

    from lakewright.model.recipe import Recipe

    recipe = Recipe.open(Path(found.run.records["prepare"].recipe))  # type: ignore[attr-defined]
    return ", ".join(step.name for step in recipe.steps)


def _kinds(found: Recommended) -> dict[str, str]:
    from lakewright.racing.shared import Shared

    inputs = Shared.open(found.folder / "shared").task.inputs
    kinds: dict[str, list[str]] = {}
    for name, kind in inputs.items():
        kinds.setdefault(kind, []).append(name)
    return {kind: ", ".join(names) for kind, names in kinds.items()}
