"""A call of Databricks AutoML's `classify` or `regress` as a project and its search.

What has no meaning here is refused, with the reason: nothing is ignored in silence.
"""

from __future__ import annotations

import hashlib
import os
import re
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from numbers import Real
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lakewright.data.features import feature_table
from lakewright.errors import DataError, UsageError, nearest, shown
from lakewright.racing.new_project import Dataset, dataset_of, distinct, write_project
from lakewright.racing.summary import AutoMLSummary, summary_of
from lakewright.system.files import put_in_place

if TYPE_CHECKING:
    import pyarrow as pa

    from lakewright.data.lake.tables import Lake
    from lakewright.racing.glass_box import GlassBox
    from lakewright.racing.project_search import Recommended
    from lakewright.settings.yamlfile import Key
    from lakewright.workspace import Workspace

METRICS = {
    "classification": {
        "f1": "macro_f1",
        "log_loss": "log_loss",
        "precision": "macro_precision",
        "accuracy": "accuracy",
        "roc_auc": "roc_auc",
    },
    "regression": {"r2": "r2", "mae": "mae", "rmse": "rmse", "mse": "rmse"},
}
OTHERS = {
    "f1": "f1 is macro_f1 here: the F1 of each class, and their mean",
    "precision": "precision is macro_precision here: the precision of each class, and their mean",
    "mse": "mse is shown as rmse, its root, which ranks models in the same order",
}
FRAMEWORKS = {"sklearn": ("linear", "forest"), "lightgbm": ("trees",), "xgboost": ("xgboost",)}
LEARNERS = ("trees", "linear", "forest", "xgboost", "mlp")
STRATEGIES = {"mean": "mean", "median": "median", "most_frequent": "mode"}
LOOKUP = ("table_name", "lookup_key", "timestamp_lookup_key")
SPLITS = {"train": "train", "validate": "validation", "validation": "validation", "test": "test"}

Search = Callable[[Path, Sequence[str]], "tuple[Recommended, GlassBox | None]"]


@dataclass(frozen=True, eq=False)
class Call:
    """The arguments, by Databricks' names."""

    task: str
    dataset: Any
    target_col: str
    primary_metric: str
    data_dir: str | None
    experiment_dir: str | None
    experiment_name: str | None
    exclude_cols: Sequence[str] | None
    exclude_frameworks: Sequence[str] | None
    feature_store_lookups: Sequence[Mapping[str, Any]] | None
    imputers: Mapping[str, Any] | None
    pos_label: int | bool | str | None
    time_col: str | None
    split_col: str | None
    sample_weight_col: str | None
    max_trials: int | None
    timeout_minutes: float | None


def run(call: Call, workspace: Workspace, search: Search) -> AutoMLSummary:
    """Writes the rows and the project, searches, and tells it in Databricks' words."""
    _check_types(call)
    metric, warnings = _metric(call)
    settings = [f"automl.metric={metric}", *_budget(call)]
    _refuse(call)
    folder = Path(call.experiment_dir or ".")
    dataset = _dataset(call, workspace)
    written = write_project(
        dataset,
        call.target_col,
        workspace,
        folder,
        task=call.task,
        name=_name(call) or dataset.name,
        more=_sections(call, dataset, workspace, folder),
    )
    found, box = search(written.path, settings)
    return summary_of(found, box, workspace, found.metric, warnings)


def _check_types(call: Call) -> None:
    for name in ("target_col", "primary_metric"):
        if not isinstance(getattr(call, name), str):
            raise UsageError(f"{name} is {shown(getattr(call, name))}", "write a name: 'churn'")
    for name in ("exclude_cols", "exclude_frameworks"):
        value = getattr(call, name)
        if isinstance(value, str):
            raise UsageError(f"{name} is the text {value!r}", f"write a list of names: [{value!r}]")
    for name in ("timeout_minutes", "max_trials"):
        value = getattr(call, name)
        if value is not None and (isinstance(value, bool) or not isinstance(value, Real)):
            raise UsageError(f"{name} is {shown(value)}", "write a number above 0")


def _refuse(call: Call) -> None:
    if call.time_col is not None and call.split_col is not None:
        raise UsageError("time_col and split_col both decide the split", "name one of them")


def _metric(call: Call) -> tuple[str, list[str]]:
    known = METRICS[call.task]
    warnings = [OTHERS[call.primary_metric]] if call.primary_metric in OTHERS and call.primary_metric in known else []
    return known.get(call.primary_metric, call.primary_metric), warnings  # a name of ours is checked by the search


def _budget(call: Call) -> list[str]:
    settings = []
    if call.timeout_minutes is not None:
        settings.append(f"automl.minutes={call.timeout_minutes:g}")
    if call.max_trials is not None:
        settings.append(f"automl.trials={call.max_trials}")
    without: list[str] = []
    for name in call.exclude_frameworks or ():
        if name not in FRAMEWORKS and name not in LEARNERS:
            raise UsageError(
                f"exclude_frameworks names {name!r}, which automl does not try", nearest(name, {*FRAMEWORKS, *LEARNERS})
            )
        without += FRAMEWORKS.get(name, (name,))
    if without:
        from lakewright import plugins
        from lakewright.racing.portfolio import families

        here = families(plugins.TASKS.find(call.task), None, ())  # one that is not installed is left out anyway
        settings.append(f"automl.without=[{', '.join(dict.fromkeys(each for each in without if each in here))}]")
    return settings


def _name(call: Call) -> str | None:
    if call.experiment_name is None:
        return None
    words = re.sub(r"\W+", "_", call.experiment_name, flags=re.ASCII).strip("_")
    return words if words and not words[0].isdigit() else f"automl_{words}"


def _dataset(call: Call, workspace: Workspace) -> Dataset:
    """Where the rows lie. Those of a DataFrame, and of a table without some of its columns, are written as Parquet."""
    home = Path(call.data_dir or call.experiment_dir or ".")
    if not isinstance(call.dataset, str | Path):
        return Dataset(source=str(_written(_table(call.dataset), call, home)))
    dataset = dataset_of(str(call.dataset))
    if dataset.table is None or not call.exclude_cols:
        return dataset
    reader = workspace.lake.scan(workspace.lake.version(dataset.table))
    return Dataset(source=str(_written(reader, call, home, call.exclude_cols)))


def _table(rows: Any) -> pa.Table:
    import pyarrow as pa

    if isinstance(rows, pa.Table):
        return rows
    if isinstance(rows, pa.RecordBatch):
        return pa.Table.from_batches([rows])
    module = type(rows).__module__.partition(".")[0]
    if module == "pandas":
        return pa.Table.from_pandas(rows, preserve_index=False)
    for method in ("to_arrow", "toArrow"):  # polars, Spark
        if hasattr(rows, method):
            return getattr(rows, method)()
    if hasattr(rows, "__arrow_c_stream__"):
        return pa.table(rows)
    raise UsageError(
        f"a {type(rows).__name__} is not a dataset",
        "give a pandas, polars or Spark DataFrame, a pyarrow.Table, a table's name or a path",
    )


def _written(rows: pa.Table | pa.RecordBatchReader, call: Call, home: Path, without: Sequence[str] = ()) -> Path:
    """A Parquet file, named as the experiment; without a name, by the rows and the arguments: the same call finds its
    search again, and another one disturbs none."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    names = [name for name in rows.schema.names if name not in without]
    unknown = [name for name in without if name not in rows.schema.names]
    if unknown:
        raise DataError(f"exclude_cols names {unknown[0]!r}, and there is no such column", nearest(unknown[0], names))
    home.mkdir(parents=True, exist_ok=True)
    schema = pa.schema([rows.schema.field(name) for name in names])
    handle, partial = tempfile.mkstemp(".parquet", ".automl_", home)
    os.close(handle)
    try:
        with pq.ParquetWriter(partial, schema) as writer:
            for batch in rows.to_batches() if isinstance(rows, pa.Table) else rows:
                writer.write_batch(batch.select(names))
        path = home / f"{_name(call) or _of_content(Path(partial), call)}.parquet"
        put_in_place(Path(partial), path)
    finally:
        Path(partial).unlink(missing_ok=True)
    return path


def _of_content(path: Path, call: Call) -> str:
    decides = (
        *(call.task, call.target_col, call.exclude_cols, call.imputers),
        *(call.pos_label, call.time_col, call.split_col, call.sample_weight_col),
        *([call.feature_store_lookups] if call.feature_store_lookups else []),
    )
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256")
    digest.update(repr(decides).encode())
    words = re.sub(r"\W+", "_", call.target_col, flags=re.ASCII).strip("_").lower()
    return f"automl_{words}_{digest.hexdigest()[:8]}"


def _sections(call: Call, dataset: Dataset, workspace: Workspace, folder: Path) -> dict[Key, Any]:
    more: dict[Key, Any] = {}
    of_table = isinstance(call.dataset, str | Path) and dataset_of(str(call.dataset)).table is not None
    if call.exclude_cols and not of_table:  # those of a table were left out when its rows were written
        more["data", "exclude"] = [*call.exclude_cols]
    if call.time_col is not None:
        more["data", "columns", "event_time"] = call.time_col
        more["prepare", "split", "method"] = "time"
    if call.feature_store_lookups:
        more["data", "columns", "event_time"], more["features",] = _lookups(call, workspace.lake)
    if call.sample_weight_col is not None:
        more["data", "columns", "weight"] = call.sample_weight_col
    if call.split_col is not None:
        values = distinct(dataset, call.split_col, workspace, folder, len(SPLITS))
        strange = [value for value in values if value not in SPLITS]
        if strange:
            raise UsageError(
                f"split_col: the column {call.split_col!r} holds {strange[0]!r}", "write train, validate or test"
            )
        more["data", "columns", "split"] = call.split_col
        renamed = {value: SPLITS[value] for value in values if SPLITS[value] != value}
        if renamed:
            more["prepare", "split", "names"] = renamed
    for column, how in (call.imputers or {}).items():
        more["prepare", "recipe", f"impute_{re.sub(r'[^A-Za-z0-9]+', '_', column)}"] = _imputer(column, how)
    if call.pos_label is not None:
        more["task", "labels"] = _labels(call, dataset, workspace, folder)
    return more


def _lookups(call: Call, lake: Lake) -> tuple[str, list[dict[str, Any]]]:
    """The column of each row's time, and the project's `features`."""
    time, features = call.time_col, list[dict[str, Any]]()
    for each in call.feature_store_lookups or ():
        for name in each:
            if name not in LOOKUP:
                raise UsageError(f"feature_store_lookups: there is no {name!r}", nearest(name, LOOKUP))
        table, key, moment = (each.get(name) for name in LOOKUP)
        if not isinstance(table, str) or not key:
            raise UsageError(
                f"feature_store_lookups: {shown(dict(each))} names no table or no key",
                "write {'table_name': …, 'lookup_key': …, 'timestamp_lookup_key': …}",
            )
        if moment is None:
            raise UsageError(
                f"feature_store_lookups: for {table} there is no timestamp_lookup_key, and rows would get values that "
                "were known only later",
                "name the column that holds when a row happened",
            )
        if moment != (time or moment):
            raise UsageError(
                f"feature_store_lookups: {moment!r} and {time!r} are both the time of a row",
                "name the same column in time_col and in each timestamp_lookup_key",
            )
        time, columns = moment, [key] if isinstance(key, str) else [*key]
        keys = feature_table(lake, table).keys
        if len(columns) != len(keys):
            raise UsageError(
                f"feature_store_lookups: the key of {table} is {', '.join(keys)}, and lookup_key names "
                f"{', '.join(map(str, columns))}",
                "name a column for each, in this order",
            )
        features.append({"table": table, "keys": dict(zip(keys, columns, strict=True))})
    assert time is not None, "each lookup names it"
    return time, features


def _imputer(column: str, how: Any) -> dict[str, Any]:
    settings = {"step": "impute", "inputs": [column]}
    strategy = how.get("strategy") if isinstance(how, Mapping) else how
    if strategy == "constant" and isinstance(how, Mapping) and "fill_value" in how:
        return {**settings, "strategy": "constant", "fill": how["fill_value"]}
    if strategy not in STRATEGIES:
        raise UsageError(
            f"imputers: {column!r} has the strategy {strategy!r}",
            "write mean, median, most_frequent, or {'strategy': 'constant', 'fill_value': …}",
        )
    return {**settings, "strategy": STRATEGIES[strategy]}


def _labels(call: Call, dataset: Dataset, workspace: Workspace, folder: Path) -> list[str]:
    """The two classes, the positive one second: metrics and probabilities are those of the second."""
    values = distinct(dataset, call.target_col, workspace, folder, 2)
    if len(values) != 2:
        many = "more than two" if len(values) > 2 else str(len(values))
        raise UsageError(f"pos_label names one of two classes, and there are {many}", "leave pos_label out")
    positive = [
        value
        for value in values
        if value == call.pos_label and isinstance(value, bool) == isinstance(call.pos_label, bool)
    ]
    if not positive:
        raise UsageError(f"pos_label is {call.pos_label!r}", f"name one of {', '.join(map(repr, values))}")
    other = next(value for value in values if value != positive[0])
    return [_as_written(other), _as_written(positive[0])]


def _as_written(value: Any) -> str:
    """As labels are: true and false in lower case, whole numbers without a point."""
    if isinstance(value, bool):
        return str(value).lower()
    return str(int(value)) if isinstance(value, float) and value.is_integer() else str(value)
