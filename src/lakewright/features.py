"""Feature tables: values by key and time in the lake, and rows with the values that were known at their time.

from lakewright import features
features.create("main.shop.daily", keys={"customer": "bigint"}, event_time="day", values={"spend": "double"})
features.write("main.shop.daily", "spend.parquet")
features.join("main.shop.orders", [{"table": "main.shop.daily"}], time="at", output="main.shop.training")
features.publish("main.shop.daily")
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, overload

from lakewright.errors import UsageError, nearest

if TYPE_CHECKING:
    import pyarrow as pa

    from lakewright.data.features import FeatureTable
    from lakewright.data.features.joining import Joined, Lookup
    from lakewright.data.features.online import Published
    from lakewright.data.features.standing import Standing
    from lakewright.data.features.writing import Added
    from lakewright.data.lake.tables import Lake
    from lakewright.targets.sagemaker.feature_groups import GroupPublished
    from lakewright.targets.sagemaker.feature_standing import GroupStanding

__all__ = [
    "constraints",
    "create",
    "get",
    "history",
    "join",
    "publish",
    "published",
    "query",
    "show",
    "status",
    "tables",
    "unpublish",
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
        shown = known.as_json()
        types = {**shown["keys"], **shown["values"]}  # an empty key in a file of texts is a null, not another type
        reader = source.open(uri, {}, secrets, Intake(as_written=frozenset(texts), times=times, types=types))
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
    table: str,
    keys: Sequence[Mapping[str, Any]],
    *,
    at: datetime | None = None,
    online: bool = False,
    profile: str | None = None,
) -> list[dict[str, Any]]:
    """The values of keys that were known at a time, by default now: each key with its values, null where none was.
    `online`: those that were published, as a server reads them.

    Raises NotFound for a table that is none, or was not published, UsageError for a key that lacks a column or has
    another.
    """
    import pyarrow as pa

    from lakewright.api.places import opened
    from lakewright.data.features import TIME, feature_table
    from lakewright.data.features.joining import values_at

    workspace = opened(profile)
    if online:
        from lakewright.data.features.online.lookups import values_online

        if at is not None:
            raise UsageError("the online store has only the values that are known now", "leave out at, or online")
        return values_online(workspace.online(), table, keys)
    known = feature_table(workspace.lake, table)
    columns = _key_columns(known, keys)
    when = (at or datetime.now(UTC)).astimezone(UTC)
    time = "as of"
    rows = pa.table({**columns, time: pa.array([when] * len(keys), TIME)})
    return list(values_at(workspace.lake, known, rows, time).drop_columns([time]).to_pylist())


def history(table: str, key: Mapping[str, Any], *, profile: str | None = None) -> list[dict[str, Any]]:
    """All rows of a key, in the order of their events. Raises NotFound for a table that is none, UsageError for a key
    that lacks a column or has another."""
    from lakewright.api.places import opened
    from lakewright.data.features import feature_table
    from lakewright.data.features.history import history as of_key

    lake = opened(profile).lake
    known = feature_table(lake, table)
    columns = _key_columns(known, [key])
    return list(of_key(lake, known, {name: column[0] for name, column in columns.items()}).to_pylist())


def _key_columns(table: FeatureTable, keys: Sequence[Mapping[str, Any]]) -> dict[str, pa.Array]:
    import pyarrow as pa

    from lakewright.data.features.online.entries import read_part

    for each in keys:
        if set(each) != set(table.keys):
            raise UsageError(
                f"{dict(each)} is no key of {table.name}, whose keys are {', '.join(table.keys)}",
                f"write {' '.join(f'{key}=VALUE' for key in table.keys)}",
            )
    types = table.as_json()["keys"]
    try:
        return {
            key: pa.array([read_part(each[key], key, types[key]) for each in keys], table.key_types[key])
            for key in table.keys
        }
    except (pa.ArrowException, TypeError, ValueError, OverflowError) as failure:
        raise UsageError(
            f"a key of {table.name} does not fit: {failure}", "give it in the type of its column"
        ) from None


@overload
def publish(table: str, *, to: None = None, profile: str | None = None) -> Published: ...
@overload
def publish(table: str, *, to: Literal["sagemaker"], profile: str | None = None) -> GroupPublished: ...
def publish(
    table: str, *, to: Literal["sagemaker"] | None = None, profile: str | None = None
) -> Published | GroupPublished:
    """Put the values of each key that are known now into the profile's online store, in place of those that were
    there: a server reads them by key alone. `to`: into SageMaker Feature Store, those that are not there or older; the
    table's feature group is made where there is none, and the same call goes on with one that was stopped.

    Raises NotFound for a table that is none, UsageError for values that no store holds or a profile of another target,
    DataError where the store holds later values or cannot hold one, NoStore where it does not answer.
    """
    from lakewright.api.places import opened

    workspace = opened(profile)
    if to is None:
        from lakewright.data.features.online.publishing import publish as into

        return into(workspace.lake, table, workspace.online(), datetime.now(UTC))
    from lakewright.data.features import feature_table
    from lakewright.targets.sagemaker.feature_groups import publish_to_sagemaker

    return publish_to_sagemaker(workspace, feature_table(workspace.lake, table))


def unpublish(table: str, *, profile: str | None = None) -> None:
    """Delete a table's values from the profile's online store. Raises NotFound where it has none."""
    from lakewright.api.places import opened
    from lakewright.data.features.online import remove

    remove(opened(profile).online(), table)


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
    """Rows, keys, newest times, keys whose newest values are too old, the share of rows without each value, and what
    the profile's online store holds of the table."""
    from lakewright.api.places import opened
    from lakewright.data.features import feature_table
    from lakewright.data.features.standing import standing

    workspace = opened(profile)
    known = feature_table(workspace.lake, table)
    return standing(workspace.lake, known, datetime.now(UTC), workspace.online().published(known.name))


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
