"""Feature tables: values by key and time in the lake, and rows with the values that were known at their time.

from lakewright import features
features.create("main.shop.daily", keys={"customer": "bigint"}, event_time="day", values={"spend": "double"})
features.write("main.shop.daily", "spend.parquet")
features.join("main.shop.orders", [{"table": "main.shop.daily"}], time="at", output="main.shop.training")
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from lakewright.errors import UsageError, nearest

if TYPE_CHECKING:
    import pyarrow as pa

    from lakewright.data.features import FeatureTable
    from lakewright.data.features.joining import Joined, Lookup
    from lakewright.data.features.standing import Standing
    from lakewright.data.features.writing import Added
    from lakewright.data.lake.tables import Lake
    from lakewright.targets.sagemaker.feature_groups import Published
    from lakewright.targets.sagemaker.feature_standing import GroupStanding

__all__ = [
    "constraints",
    "create",
    "get",
    "join",
    "publish",
    "published",
    "query",
    "show",
    "status",
    "tables",
    "write",
]


def create(
    table: str,
    *,
    keys: Mapping[str, str],
    event_time: str,
    values: Mapping[str, str],
    known_at: str | None = None,
    ttl: str | None = None,
    description: str = "",
    owner: str = "",
    profile: str | None = None,
) -> FeatureTable:
    """Make a feature table without rows. `keys` and `values` are columns and their types in SQL; `event_time` is the
    column that holds when the event was that a value describes, `known_at` the one that holds when it was known; after
    `ttl` (30d, 12h) a value is used no more. Raises UsageError for what cannot be, and for a table that there is.
    """
    from lakewright.api.places import opened
    from lakewright.data.features import create as created
    from lakewright.data.features import defined

    made = defined(table, keys, event_time, values, known_at=known_at, ttl=ttl, description=description, owner=owner)
    created(opened(profile).lake, made)
    return made


def write(table: str, rows: str | pa.Table | pa.RecordBatchReader, *, profile: str | None = None) -> Added:
    """Add the rows that a feature table does not hold yet, in one commit: of a table of the lake, of a file or folder
    (CSV, JSON, Parquet, Delta), of a select, or of Arrow. Writing them again adds none.

    Raises DataError for rows that do not fit or contradict those that are there, NotFound for a table that is none.
    """
    from lakewright.api.places import opened
    from lakewright.data.features import feature_table
    from lakewright.data.features.writing import add
    from lakewright.data.lake.names import is_table

    workspace = opened(profile)
    known = feature_table(workspace.lake, table)
    if not isinstance(rows, str):
        reader = rows if hasattr(rows, "read_next_batch") else rows.to_reader()
    elif rows.lstrip().lower().startswith(("select ", "select\n", "with ", "from ")):
        selected = workspace.sql(rows)
        assert hasattr(selected, "to_reader"), "a select gives rows"
        reader = selected.to_reader()
    elif is_table(rows) and not Path(rows).exists():
        reader = workspace.lake.scan(workspace.lake.version(rows))
    else:
        from lakewright.data.sources import Intake
        from lakewright.data.sources.opening import open_source

        secrets = workspace.profile.secrets()
        source, uri = open_source(rows, None, secrets, Path.cwd())
        texts = [name for name, kind in {**known.key_types, **known.values}.items() if str(kind) == "string"]
        times = dict.fromkeys(known.times, "time")
        reader = source.open(uri, {}, secrets, Intake(as_written=frozenset(texts), times=times))
    return add(workspace.lake, known, reader)


def join(
    rows: str,
    lookups: Sequence[str | Mapping[str, Any]],
    *,
    time: str,
    output: str,
    profile: str | None = None,
) -> Joined:
    """Write the rows of a table with the values that were known at each row's `time`, as the next version of `output`.

    A lookup is the name of a feature table, or `{table, keys, values}`: `keys` are the table's keys and the columns of
    the rows that hold them, where these have another name; `values` those that are wanted, by name, or by name and the
    name that they get. Without `values` it is all of them. The profile's workers join parts of the rows.

    Raises DataError for columns that are not there or do not fit, UsageError for two of one name.
    """
    from lakewright.api.places import opened
    from lakewright.data.features.joining import join as joined

    workspace = opened(profile)
    lake = workspace.lake
    return joined(
        lake, lake.version(rows), time, [_lookup(lake, each) for each in lookups], output, workspace.workers()
    )


def _lookup(lake: Lake, written: str | Mapping[str, Any]) -> Lookup:
    from lakewright.data.features.joining import Lookup

    given = {"table": written} if isinstance(written, str) else dict(written)
    for name in given:
        if name not in (known := ("table", "keys", "values")):
            raise UsageError(f"a lookup has no {name!r}", nearest(name, known))
    if not isinstance(given.get("table"), str):
        raise UsageError("a lookup names no feature table", "write {table: catalog.schema.table}")
    keys, values = given.get("keys") or {}, given.get("values") or {}
    if not isinstance(keys, Mapping):
        raise UsageError(f"keys of the lookup of {given['table']}: {keys!r}", "write {KEY: COLUMN}")
    named = values if isinstance(values, Mapping) else {str(each): str(each) for each in values}
    return Lookup.of(lake, given["table"], {key: str(column) for key, column in keys.items()}, named)


def get(
    table: str, keys: Sequence[Mapping[str, Any]], *, at: datetime | None = None, profile: str | None = None
) -> list[dict[str, Any]]:
    """The values of keys that were known at a time, by default now: each key with its values, null where none was.

    Raises NotFound for a table that is none, UsageError for a key that lacks a column or has another.
    """
    import pyarrow as pa

    from lakewright.api.places import opened
    from lakewright.data.features import TIME, feature_table
    from lakewright.data.features.joining import values_at

    lake = opened(profile).lake
    known = feature_table(lake, table)
    for each in keys:
        if set(each) != set(known.keys):
            raise UsageError(
                f"{dict(each)} is no key of {known.name}, whose keys are {', '.join(known.keys)}",
                f"write {' '.join(f'{key}=VALUE' for key in known.keys)}",
            )
    try:
        columns = {key: pa.array([each[key] for each in keys], known.key_types[key]) for key in known.keys}
    except (pa.ArrowException, TypeError, ValueError) as failure:
        raise UsageError(
            f"a key of {known.name} does not fit: {failure}", "give it in the type of its column"
        ) from None
    when = (at or datetime.now(UTC)).astimezone(UTC)
    time = "as of"
    rows = pa.table({**columns, time: pa.array([when] * len(keys), TIME)})
    return list(values_at(lake, known, rows, time).drop_columns([time]).to_pylist())


def show(table: str, *, profile: str | None = None) -> FeatureTable:
    """The definition of a feature table. Raises NotFound where there is none."""
    from lakewright.api.places import opened
    from lakewright.data.features import feature_table

    return feature_table(opened(profile).lake, table)


def tables(*, profile: str | None = None) -> Sequence[FeatureTable]:
    """All feature tables of the lake, by name."""
    from lakewright.api.places import opened
    from lakewright.data.features import feature_tables

    return feature_tables(opened(profile).lake)


def status(table: str, *, profile: str | None = None) -> Standing:
    """Rows, keys, newest times, keys whose newest values are too old, and the share of rows without each value."""
    from lakewright.api.places import opened
    from lakewright.data.features import feature_table
    from lakewright.data.features.standing import standing

    lake = opened(profile).lake
    return standing(lake, feature_table(lake, table), datetime.now(UTC))


def publish(table: str, *, to: Literal["sagemaker"], profile: str | None = None) -> Published:
    """Put the values that are known now of each key into SageMaker Feature Store's online store, those that are not
    there or older; its feature group is made where there is none. The same call goes on with one that was stopped.

    Raises NotFound for a table that is none, UsageError for a profile of another target, DataError for a value that
    Feature Store cannot hold.
    """
    from lakewright.api.places import opened
    from lakewright.data.features import feature_table
    from lakewright.targets.sagemaker.feature_groups import publish_to_sagemaker

    workspace = opened(profile)
    return publish_to_sagemaker(workspace, feature_table(workspace.lake, table))


def published(table: str, *, profile: str | None = None) -> GroupStanding:
    """How far SageMaker Feature Store holds what is known now. Raises NotFound where it has no group of the table."""
    from lakewright.api.places import opened
    from lakewright.data.features import feature_table
    from lakewright.targets.sagemaker.feature_standing import group_standing

    workspace = opened(profile)
    return group_standing(workspace, feature_table(workspace.lake, table))


def query(table: str, sql: str, *, profile: str | None = None) -> list[dict[str, Any]]:
    """The rows of a select in Athena's SQL over the offline store of the table's feature group; {table} stands for it.
    Raises UsageError where there is no offline store."""
    from lakewright.api.places import opened
    from lakewright.data.features import feature_table
    from lakewright.targets.sagemaker.athena import query as queried

    workspace = opened(profile)
    return queried(workspace, feature_table(workspace.lake, table), sql)


def constraints(table: str, *, profile: str | None = None) -> list[str]:
    """The statements of Databricks SQL that give a feature table in Unity Catalog its primary key with its time, by
    which FeatureLookup finds it. Raises UsageError for a table with a time of knowledge, which Databricks lacks."""
    from lakewright.api.places import opened
    from lakewright.data.features import feature_table
    from lakewright.targets.databricks.feature_tables import constraints as of_table

    return of_table(feature_table(opened(profile).lake, table))
