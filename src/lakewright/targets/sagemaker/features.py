"""A project's features table in SageMaker Feature Store: its group, offline, and every row of each version once."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

from lakewright.system.progress import bar
from lakewright.targets.sagemaker.feature_groups import make_group
from lakewright.targets.sagemaker.feature_runtime import REQUESTS, WRITTEN, Store
from lakewright.targets.sagemaker.feature_texts import Record, check, definitions, records
from lakewright.targets.sagemaker.names import plain, settings_of
from lakewright.targets.sagemaker.sending import answering, clients, existing_thing
from lakewright.targets.sagemaker.settings import SageMakerSettings

if TYPE_CHECKING:
    import pyarrow as pa

    from lakewright.data.lake.tables import Lake
    from lakewright.records import TableVersion
    from lakewright.workspace import Workspace

KEYS, TIME = ["record_id"], "event_time"
ROWS = 1_000  # whose texts are in memory at once
PUT = "lakewright.features.v"  # begins the key of a tag that notes a version; the value is the table's own id
NOTED = 20  # versions; a group has at most 50 tags


def put_features(workspace: Workspace, version: TableVersion) -> None:
    """Puts the rows of a version of the features table into its group, unless they are there; makes the group, if it
    is not there. After the last record the version is noted on the group, so that it is put once.

    Raises DataError for rows that Feature Store does not take, before the first one is put, and UsageError for a group
    of this name with other features.
    """
    settings, lake = settings_of(workspace.profile), workspace.lake
    body = feature_group(plain(version.name), lake.schema(version), settings)
    name, table, note = body["FeatureGroupName"], lake.identity(version), f"{PUT}{version.version}"
    sagemaker = clients(settings)("sagemaker")
    with answering():
        found = existing_thing(sagemaker, "describe_feature_group", {"FeatureGroupName": name})
        if found is not None and _tags(found["FeatureGroupArn"], sagemaker).get(note) == table:
            return
    check(
        _batches(lake, version),
        KEYS,
        TIME,
        subject=f"rows of {version}",
        remedy="correct them at their source (data.columns names the id and the time), or remove target.feature_store",
    )
    with answering():
        make_group(body, settings)
        _put(lake, version, Store.of(name, settings.region))
        group: str = sagemaker.describe_feature_group(FeatureGroupName=name)["FeatureGroupArn"]
        sagemaker.add_tags(ResourceArn=group, Tags=[{"Key": note, "Value": table}])
        if old := _old_notes(_tags(group, sagemaker), table, version.version):
            sagemaker.delete_tags(ResourceArn=group, TagKeys=old)


def feature_group(name: str, schema: pa.Schema, settings: SageMakerSettings) -> dict[str, Any]:
    """The body of CreateFeatureGroup for a features table (record_id, event_time, …)."""
    assert settings.feature_store is not None
    key = {"KmsKeyId": settings.kms_key} if settings.kms_key else {}
    return {
        "FeatureGroupName": name,
        "RecordIdentifierFeatureName": KEYS[0],
        "EventTimeFeatureName": TIME,
        "FeatureDefinitions": definitions(schema, KEYS, TIME),
        "OfflineStoreConfig": {"S3StorageConfig": {"S3Uri": settings.feature_store, **key}},
        "RoleArn": settings.role,
        "Description": "Lakewright's features table, typed",
    }


def _put(lake: Lake, version: TableVersion, store: Store) -> None:
    def put(rows: list[Record]) -> int:
        store.put(rows)
        return len(rows)

    with ThreadPoolExecutor(REQUESTS) as pool, bar(f"putting {version} into {store.group}", version.rows) as advance:
        for batch in _batches(lake, version):
            rows = records(batch, KEYS, TIME)
            for count in pool.map(put, [rows[at : at + WRITTEN] for at in range(0, len(rows), WRITTEN)]):
                advance(count, "")


def _batches(lake: Lake, version: TableVersion) -> Iterator[pa.RecordBatch]:
    for batch in lake.scan(version):
        for at in range(0, batch.num_rows, ROWS):
            yield batch.slice(at, ROWS)


def _tags(group: str, sagemaker: Any) -> dict[str, str]:
    pages = sagemaker.get_paginator("list_tags").paginate(ResourceArn=group)
    return {tag["Key"]: tag["Value"] for page in pages for tag in page["Tags"]}


def _old_notes(tags: dict[str, str], table: str, new: int) -> list[str]:
    """Those of another table of this name, and of versions before the last ones, but for the one that was put now."""
    notes = {int(key.removeprefix(PUT)): key for key in tags if key.startswith(PUT)}
    ours = sorted(number for number, key in notes.items() if tags[key] == table)
    return [key for number, key in notes.items() if number not in {new, *ours[-NOTED:]}]
