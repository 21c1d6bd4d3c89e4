"""SQL over a feature group's offline store, by Amazon Athena (https://docs.aws.amazon.com/athena/)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from lakewright.data.lake.athena import answer
from lakewright.errors import UsageError
from lakewright.targets.sagemaker.feature_groups import described_group, group_name, sagemaker_of
from lakewright.targets.sagemaker.sending import answering, clients
from lakewright.targets.sagemaker.settings import SageMakerSettings

if TYPE_CHECKING:
    from lakewright.data.features import FeatureTable
    from lakewright.workspace import Workspace

TABLE = "{table}"  # stands for the offline store's table


def query(workspace: Workspace, table: FeatureTable, sql: str) -> list[dict[str, Any]]:
    """The rows of a statement in Athena's SQL, in which {table} is the offline store's table. Raises UsageError where
    it does not name it, or there is no offline store; LakewrightError where Athena refuses it."""
    if TABLE not in sql:
        raise UsageError(
            f"the statement does not name {TABLE}", f"write it where the offline store's table is: from {TABLE}"
        )
    settings = sagemaker_of(workspace)
    with answering():
        place = _offline(described_group(group_name(table), settings))
        if place is None:
            raise UsageError(
                f"the feature group of {table.name} has no offline store",
                "set target.feature_store, an S3 prefix, and make the group anew",
            )
        return _answer(sql, place, settings)


def rows_offline(group: Mapping[str, Any], settings: SageMakerSettings) -> int | None:
    """Rows of the offline store, also those that were deleted online; None: the group has none."""
    place = _offline(group)
    if place is None:
        return None
    (row,) = _answer(f"SELECT count(*) AS rows FROM {TABLE}", place, settings)
    return int(row["rows"])


def _offline(group: Mapping[str, Any]) -> Mapping[str, str] | None:
    """Its table in the Glue catalog, which Feature Store makes with the group."""
    place: Mapping[str, str] | None = group.get("OfflineStoreConfig", {}).get("DataCatalogConfig")
    return place


def _answer(sql: str, place: Mapping[str, str], settings: SageMakerSettings) -> list[dict[str, Any]]:
    assert settings.feature_store is not None, "a group with an offline store was made from it"
    named = f'"{place["Database"]}"."{place["TableName"]}"'
    key = {"EncryptionConfiguration": {"EncryptionOption": "SSE_KMS", "KmsKey": settings.kms_key}}
    request = {
        "QueryString": sql.replace(TABLE, named),
        "QueryExecutionContext": {"Database": place["Database"]},
        "ResultConfiguration": {
            "OutputLocation": f"{settings.feature_store.rstrip('/')}/athena/",
            **(key if settings.kms_key else {}),
        },
    }
    return list(answer(clients(settings)("athena"), request).to_pylist())
