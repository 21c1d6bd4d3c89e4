"""AutoML: the best model of a table's rows, found by racing learners, in a glass box.

    from lakewright import automl
    found = automl.search("project.yml")                                   # the project's rows
    summary = automl.classify(rows, target_col="churn", timeout_minutes=5)  # with Databricks AutoML's names

Code that called `databricks.automl` changes its import. docs/automl.md has a table of what is the same and what is not.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

from lakewright.errors import NotFound, UsageError, nearest
from lakewright.racing.summary import AutoMLSummary, TrialInfo

if TYPE_CHECKING:
    from lakewright.pipeline import Watch
    from lakewright.pipeline.runs import Run
    from lakewright.racing.glass_box import GlassBox
    from lakewright.racing.new_project import Written
    from lakewright.racing.project_search import Recommended
    from lakewright.targets import Execution

__all__ = [
    "AutoMLSummary",
    "TrialInfo",
    "classify",
    "forecast",
    "new_project",
    "regress",
    "run_candidate",
    "search",
    "start",
]


def search(
    project: str | Path,
    *,
    settings: Sequence[str] = (),
    profile: str | None = None,
    watch: Watch = lambda *_: None,
    glass_box: bool = True,
) -> Recommended:
    """Search for the best model of the project's rows, as its section `automl` says, and run it as a project.

    `settings` are `a.b=c` and override the file (`automl.minutes=5`); `watch` is called with each stage. The same call
    goes on with a search that was stopped, with the time that it has not used. With `glass_box`, the notebooks, the
    scripts and the page of the leaderboard are written after the search, beside its budget. Below the gate nothing is
    raised: `run.decision.passed` is False. Raises UsageError for a search that means nothing, TrainingError if no
    candidate came to its end.
    """
    return searched(project, settings, profile, watch, glass_box)[0]


def searched(
    project: str | Path, settings: Sequence[str], profile: str | None, watch: Watch, glass_box: bool = True
) -> tuple[Recommended, GlassBox | None]:
    """As `search`; with the glass box that was written."""
    from lakewright.api.places import located, opener, refuse_elsewhere
    from lakewright.racing.glass_box import write
    from lakewright.racing.project_search import automl

    loaded, place = located(project, settings, profile)
    refuse_elsewhere(place, "automl")
    workspace = opener(place)()
    recommended = automl(loaded, workspace, watch=watch)
    if not glass_box:
        return recommended, None
    watch("notebooks", "run", "a script and a notebook for each complete candidate")
    box = write(loaded, recommended, workspace, profile)
    watch("notebooks", "done", f"in {box.seconds:.1f} s, beside the search's minutes")
    return recommended, box


def start(project: str | Path, *, settings: Sequence[str] = (), profile: str | None = None) -> Execution:
    """Start the search on the profile's target, a platform: one job, which leaves what it finds in the workspace's
    folder `automl`, and the recommended model in the registry. The project needs a section `automl`, of which all keys
    are optional. Raises as `tune.start` does."""
    from lakewright.api.places import start_job

    return start_job("automl", project, settings, profile)


def run_candidate(name: str, candidate: int, *, profile: str | None = None, watch: Watch = lambda *_: None) -> Run:
    """Run any complete candidate of the search called `name` as a project: it is evaluated on test, passes the gate or
    not, and is registered. Its networks are those that the search trained.

    Raises NotFound for a search or a candidate that does not exist, UsageError for one that did not predict every fold,
    and if the project or its rows have changed since.
    """
    import json

    from lakewright.api.places import located, opened, opener
    from lakewright.racing.new_project import LEADERBOARD, ORIGIN
    from lakewright.racing.project_search import run_candidate as run

    home = opened(profile).folder / "automl"
    names = sorted(path.parent.name for path in home.glob(f"*/{ORIGIN}"))
    if name not in names:
        raise NotFound(
            f"there is no search {name!r} in {home}",
            nearest(name, names) if names else "search first: lakewright automl project.yml",
        )
    origin = json.loads((home / name / ORIGIN).read_text(encoding="utf-8"))
    if not (home / name / LEADERBOARD).exists():
        raise UsageError(f"the search {name} has not ended", f"go on with it: lakewright automl {origin['project']}")
    loaded, place = located(origin["project"], origin["settings"], profile)
    finished = run(loaded, name, candidate, opener(place)(), watch=watch)
    if finished.error is not None:
        raise finished.error
    return finished


def new_project(
    dataset: str,
    label: str,
    *,
    task: str | None = None,
    name: str | None = None,
    folder: str | Path = ".",
    profile: str | None = None,
) -> Written:
    """Write the project file NAME.yml for a table or a file of rows, with `label` as the truth. `task` None: as the
    label's values show. A file that an earlier call wrote is replaced while no search of it has ended; raises
    UsageError for one of other content."""
    from lakewright.api.places import opened
    from lakewright.racing.new_project import dataset_of, write_project

    return write_project(dataset_of(dataset), label, opened(profile), Path(folder), task=task, name=name)


def classify(
    dataset: Any,
    *,
    target_col: str,
    primary_metric: str = "f1",
    data_dir: str | None = None,
    experiment_dir: str | None = None,
    experiment_name: str | None = None,
    exclude_cols: Sequence[str] | None = None,
    exclude_frameworks: Sequence[str] | None = None,
    feature_store_lookups: Sequence[Mapping[str, Any]] | None = None,
    imputers: Mapping[str, Any] | None = None,
    pos_label: int | bool | str | None = None,
    time_col: str | None = None,
    split_col: str | None = None,
    sample_weight_col: str | None = None,
    max_trials: int | None = None,
    timeout_minutes: float | None = None,
    profile: str | None = None,
    watch: Watch = lambda *_: None,
) -> AutoMLSummary:
    """Search for the best model of classes, with the arguments of Databricks AutoML.

    `dataset` is a pandas, polars or Spark DataFrame, a pyarrow.Table, a table's name or a path. `primary_metric` is
    f1, log_loss, precision, accuracy, roc_auc, or a metric's name here; `timeout_minutes` None: automl.minutes'
    default. Rows of a DataFrame are written to `data_dir`, the project file to `experiment_dir`. Raises UsageError for
    what cannot be honoured.
    """
    from lakewright.api.places import opened
    from lakewright.racing.databricks_names import Call, run

    call = Call(
        "classification", dataset, target_col, primary_metric, data_dir, experiment_dir, experiment_name,
        exclude_cols, exclude_frameworks, feature_store_lookups, imputers, pos_label, time_col, split_col,
        sample_weight_col, max_trials, timeout_minutes,
    )  # fmt: skip
    return run(call, opened(profile), lambda path, settings: searched(path, settings, profile, watch))


def regress(
    dataset: Any,
    *,
    target_col: str,
    primary_metric: str = "r2",
    data_dir: str | None = None,
    experiment_dir: str | None = None,
    experiment_name: str | None = None,
    exclude_cols: Sequence[str] | None = None,
    exclude_frameworks: Sequence[str] | None = None,
    feature_store_lookups: Sequence[Mapping[str, Any]] | None = None,
    imputers: Mapping[str, Any] | None = None,
    time_col: str | None = None,
    split_col: str | None = None,
    sample_weight_col: str | None = None,
    max_trials: int | None = None,
    timeout_minutes: float | None = None,
    profile: str | None = None,
    watch: Watch = lambda *_: None,
) -> AutoMLSummary:
    """Search for the best model of a number, with the arguments of Databricks AutoML: as `classify`.

    `primary_metric` is r2, mae, rmse, mse (which ranks as rmse does), or a metric's name here.
    """
    from lakewright.api.places import opened
    from lakewright.racing.databricks_names import Call, run

    call = Call(
        "regression", dataset, target_col, primary_metric, data_dir, experiment_dir, experiment_name, exclude_cols,
        exclude_frameworks, feature_store_lookups, imputers, None, time_col, split_col, sample_weight_col,
        max_trials, timeout_minutes,
    )  # fmt: skip
    return run(call, opened(profile), lambda path, settings: searched(path, settings, profile, watch))


def forecast(dataset: Any, **_: Any) -> NoReturn:
    """Forecasting is not offered. Raises UsageError."""
    raise UsageError(
        "forecasting is not offered: automl searches for models of classes and numbers",
        "predict a number from what is known at the time: automl.regress(dataset, target_col=…, time_col=…), with past "
        "values as columns, or use a package for time series",
    )
