"""SQL over a feature group's offline store, by Amazon Athena (https://docs.aws.amazon.com/athena/)."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from lakewright.errors import LakewrightError, UsageError
from lakewright.targets.sagemaker.feature_groups import described_group, group_name, sagemaker_of
from lakewright.targets.sagemaker.sending import answering, clients
from lakewright.targets.sagemaker.settings import SageMakerSettings

if TYPE_CHECKING:
    from lakewright.data.features import FeatureTable
    from lakewright.workspace import Workspace

TABLE = "{table}"  # stands for the offline store's table
SECONDS = 1.0  # between two looks
TYPES: Mapping[str, Any] = {
    **dict.fromkeys(("tinyint", "smallint", "integer", "bigint"), int),
    **dict.fromkeys(("float", "real", "double"), float),
    "boolean": lambda text: text == "true",
}


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
    athena = clients(settings)("athena")
    named = f'"{place["Database"]}"."{place["TableName"]}"'
    key = {"EncryptionConfiguration": {"EncryptionOption": "SSE_KMS", "KmsKey": settings.kms_key}}
    started = athena.start_query_execution(
        QueryString=sql.replace(TABLE, named),
        QueryExecutionContext={"Database": place["Database"]},
        ResultConfiguration={
            "OutputLocation": f"{settings.feature_store.rstrip('/')}/athena/",
            **(key if settings.kms_key else {}),
        },
    )["QueryExecutionId"]
    while (status := athena.get_query_execution(QueryExecutionId=started)["QueryExecution"]["Status"])["State"] in (
        "QUEUED",
        "RUNNING",
    ):
        time.sleep(SECONDS)
    if status["State"] != "SUCCEEDED":
        raise LakewrightError(
            f"Athena ended the query as {status['State']}: {status.get('StateChangeReason', 'without a reason')}",
            "correct the statement; you need athena:*QueryExecution, athena:GetQueryResults, Glue's table and "
            "the prefix of target.feature_store",
        )
    rows: list[dict[str, Any]] = []
    first = True
    for page in athena.get_paginator("get_query_results").paginate(QueryExecutionId=started):
        columns = page["ResultSet"]["ResultSetMetadata"]["ColumnInfo"]
        # the first row of a select repeats the names
        for row in page["ResultSet"]["Rows"][1 if first else 0 :]:
            cells = [each.get("VarCharValue") for each in row["Data"]]
            rows.append(
                {
                    column["Name"]: None if cell is None else TYPES.get(column["Type"], str)(cell)
                    for column, cell in zip(columns, cells, strict=True)
                }
            )
        first = False
    return rows
