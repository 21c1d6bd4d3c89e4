"""A statement sent to Amazon Athena, and its rows with their types (https://docs.aws.amazon.com/athena/).

The statement is Athena's own SQL over the tables of the Glue Data Catalog; nothing of it is changed here.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any

import pyarrow as pa

from lakewright.errors import LakewrightError, MissingPackage, ProfileError, UsageError
from lakewright.settings.profile import Profile

SECONDS = 1.0  # between two looks
RIGHTS = "you need athena:*QueryExecution, athena:GetQueryResults, the tables in Glue and S3, and the results' place"
DIGITS = 38  # of a decimal, in Athena as in Arrow
READ: Mapping[str, tuple[pa.DataType, Callable[[str], Any]]] = {
    "tinyint": (pa.int8(), int),
    "smallint": (pa.int16(), int),
    "integer": (pa.int32(), int),
    "bigint": (pa.int64(), int),
    "float": (pa.float32(), float),
    "real": (pa.float32(), float),
    "double": (pa.float64(), float),
    "boolean": (pa.bool_(), lambda text: text == "true"),
    "date": (pa.date32(), date.fromisoformat),
    "timestamp": (pa.timestamp("us"), datetime.fromisoformat),
    "timestamp with time zone": (pa.timestamp("us", "UTC"), lambda text: _zoned(text)),
}  # of every other type, the text that Athena writes


def run(profile: Profile, query: str) -> pa.Table:
    """The rows of the statement; of one without rows, a table without columns. Raises ProfileError for a profile that
    says nothing of Athena, LakewrightError where Athena refuses the statement or does not answer."""
    settings = profile.athena
    if settings is None:
        raise ProfileError(
            f"the profile {profile.name} does not say where Athena writes its results",
            "add athena: {output: s3://BUCKET/PREFIX} to the profile",
        )
    if not query.strip():
        raise UsageError("the statement is empty", "write: select … from …")
    try:
        import boto3
        from boto3.exceptions import Boto3Error
        from botocore.exceptions import BotoCoreError, ClientError
    except ImportError:
        raise MissingPackage("boto3", "aws") from None
    options = {name.upper(): value for name, value in profile.secrets().items()}
    key = {"EncryptionConfiguration": {"EncryptionOption": "SSE_KMS", "KmsKey": settings.kms_key}}
    try:
        client = boto3.client(
            "athena",
            region_name=settings.region or options.get("AWS_REGION"),
            aws_access_key_id=options.get("AWS_ACCESS_KEY_ID"),
            aws_secret_access_key=options.get("AWS_SECRET_ACCESS_KEY"),
            aws_session_token=options.get("AWS_SESSION_TOKEN"),
        )
        request: dict[str, Any] = {
            "QueryString": query,
            "WorkGroup": settings.workgroup,
            "ResultConfiguration": {"OutputLocation": settings.output, **(key if settings.kms_key else {})},
        }
        if settings.database is not None:
            request["QueryExecutionContext"] = {"Database": settings.database}
        return answer(client, request)
    except ClientError as refusal:
        details = refusal.response["Error"]
        raise LakewrightError(
            f"Athena refused {refusal.operation_name}: {details.get('Message') or details['Code']}",
            f"correct the statement, or the profile's athena; {RIGHTS}",
        ) from refusal
    except (BotoCoreError, Boto3Error) as failure:
        raise LakewrightError(
            f"Athena did not answer: {failure}", "set credentials and region (athena.region), and check the network"
        ) from None


def answer(client: Any, request: Mapping[str, Any]) -> pa.Table:
    """Starts the query of StartQueryExecution's request, waits for its end, and reads all pages."""
    started = client.start_query_execution(**request)["QueryExecutionId"]
    try:
        while True:
            execution = client.get_query_execution(QueryExecutionId=started)["QueryExecution"]
            status = execution["Status"]
            if status["State"] not in ("QUEUED", "RUNNING"):
                break
            time.sleep(SECONDS)
    except KeyboardInterrupt:
        client.stop_query_execution(QueryExecutionId=started)  # else it goes on, and costs
        raise
    if status["State"] != "SUCCEEDED":
        raise LakewrightError(
            f"Athena ended the query as {status['State']}: {status.get('StateChangeReason', 'without a reason')}",
            f"correct the statement; {RIGHTS}",
        )
    described: Sequence[Mapping[str, Any]] = ()
    columns: list[list[str | None]] = []
    first = execution.get("StatementType", "DML") == "DML"  # the first row of a select repeats the names
    for page in client.get_paginator("get_query_results").paginate(QueryExecutionId=started):
        described = page["ResultSet"]["ResultSetMetadata"]["ColumnInfo"]
        columns = columns or [[] for _ in described]
        for row in page["ResultSet"]["Rows"][1 if first else 0 :]:
            for column, cell in zip(columns, row["Data"], strict=True):
                column.append(cell.get("VarCharValue"))
        first = False
    names = [each["Name"] for each in described]
    return pa.Table.from_arrays([_typed(*each) for each in zip(columns, described, strict=True)], names=names)


def _typed(texts: Sequence[str | None], column: Mapping[str, Any]) -> pa.Array:
    name = column["Type"]
    if name == "decimal":
        kind: pa.DataType = pa.decimal128(column.get("Precision") or DIGITS, column.get("Scale") or 0)
        read: Callable[[str], Any] = Decimal
    else:
        kind, read = READ.get(name, (pa.string(), str))
    return pa.array([None if each is None else read(each) for each in texts], kind)


def _zoned(text: str) -> datetime:
    """`2026-01-31 14:00:00.000 UTC`, or with another zone."""
    from zoneinfo import ZoneInfo

    time_of, _, zone = text.rpartition(" ")
    return datetime.fromisoformat(time_of).replace(tzinfo=ZoneInfo(zone)).astimezone(UTC)
