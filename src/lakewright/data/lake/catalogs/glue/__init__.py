"""The AWS Glue Data Catalog stores the names, so that Athena, EMR and Redshift Spectrum read the lake's tables.

A Glue database is a schema; the first part of our names, which Glue lacks, is `catalog_name`. A table's entry follows
Athena's documentation for Delta (`spark.sql.sources.provider`, `path` beside the SerDe's parameters):
https://docs.aws.amazon.com/athena/latest/ug/delta-lake-tables-syncing-metadata.html. Athena reads the Delta log, never
the columns in the entry; Lake Formation, views and people read those. Entries of other writers are read, never changed.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from functools import cached_property, partial
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from pydantic import Field

from lakewright.data.lake.catalogs import Denied, Location
from lakewright.data.lake.catalogs.glue.entries import OURS, column_info, is_delta, place, table_input
from lakewright.errors import Busy, DataError, LakewrightError, MissingPackage, ProfileError, UsageError
from lakewright.settings.profile import CatalogSettings

if TYPE_CHECKING:
    from lakewright.data.lake.names import TableName

ATTEMPTS = 5  # to change an entry that another process changes
_THROTTLED = {"ThrottlingException", "Throttling", "TooManyRequestsException", "RequestLimitExceeded"}
_EXPIRED = {"ExpiredTokenException", "ExpiredToken", "UnrecognizedClientException", "InvalidClientTokenId"}


class GlueSettings(CatalogSettings):
    name: Literal["glue"] = "glue"
    catalog_name: str = Field(
        default="main", description="first part of the tables' names; a Glue database is a schema"
    )
    catalog_id: str | None = Field(default=None, description="AWS account of the Data Catalog; default: your own")
    region: str | None = Field(
        default=None, description="default AWS_REGION of storage_options, else as boto3 finds it"
    )
    endpoint: str | None = Field(default=None, description="address of Glue's API; default AWS's")


class GlueCatalog:
    """The Data Catalog of one account and region; entries have TableInfo's fields."""

    settings = GlueSettings

    def __init__(self, settings: GlueSettings, storage_options: Mapping[str, str] = {}) -> None:
        self._settings = settings
        self._options = {option.upper(): value for option, value in storage_options.items()}
        self._of_account = {"CatalogId": settings.catalog_id} if settings.catalog_id else {}

    @classmethod
    def open(cls, settings: GlueSettings, folder: Path, storage_options: Mapping[str, str]) -> GlueCatalog:
        if find_spec("boto3") is None:
            raise MissingPackage("boto3", "aws")
        return cls(settings, storage_options)

    @cached_property
    def _client(self) -> Any:
        import boto3
        from botocore.config import Config
        from botocore.exceptions import BotoCoreError

        try:
            # With the profile's keys for the tables, if it has them; else with those that boto3 finds.
            return boto3.client(
                "glue",
                region_name=self._settings.region or self._options.get("AWS_REGION"),
                endpoint_url=self._settings.endpoint,
                aws_access_key_id=self._options.get("AWS_ACCESS_KEY_ID"),
                aws_secret_access_key=self._options.get("AWS_SECRET_ACCESS_KEY"),
                aws_session_token=self._options.get("AWS_SESSION_TOKEN"),
                config=Config(retries={"mode": "standard", "max_attempts": 8}),
            )
        except (BotoCoreError, ValueError) as failure:
            raise ProfileError(
                f"boto3 cannot connect to Glue: {failure}", "set catalog.region in profiles.yml, or AWS_DEFAULT_REGION"
            ) from None

    def locate(self, name: TableName, new: Location, *, write: bool = False) -> Location:
        """Raises DataError for a table that is not Delta."""
        table = self._table(name)
        if table is None:
            if write and not new.uri.startswith(("s3://", "s3a://")):
                raise ProfileError(
                    f"Athena cannot read a table in {new.uri}",
                    "keep the lake on S3 (lake: s3://…), or use another catalog",
                )
            return new
        if not is_delta(table):
            kind = table.get("Parameters", {}).get("table_type") or table.get("TableType") or "table"
            raise DataError(f"{name} is in Glue, as {kind}, not as a Delta table", "read its files as a source")
        return Location(place(table), new.storage_options)

    def ensure_schema(self, catalog: str, schema: str) -> None:
        self._database(catalog, schema)
        request = {**self._of_account, "Name": schema}
        if _answer(f"find the database {schema}", "glue:GetDatabase", lambda: self._client.get_database(**request)):
            return
        creation = {**self._of_account, "DatabaseInput": {"Name": schema}}
        _answer(f"make the database {schema}", "glue:CreateDatabase", lambda: self._client.create_database(**creation))

    def register_table(
        self,
        name: TableName,
        *,
        table_id: str,
        storage_location: str,
        columns: Sequence[Mapping[str, Any]],
        properties: Mapping[str, str] = {},
        comment: str = "",
    ) -> None:
        """Raises Busy if another process keeps changing the entry."""
        for attempt in range(ATTEMPTS):
            existing = self._table(name)
            if existing is not None and OURS not in existing.get("Parameters", {}):
                return
            entry = table_input(name, table_id, storage_location, columns, properties, comment, existing or {})
            request = {**self._of_account, "DatabaseName": name.schema, "TableInput": entry}
            if existing is None:
                self.ensure_schema(name.catalog, name.schema)
                purpose, action, call = f"add the table {name}", "glue:CreateTable", self._client.create_table
            else:
                purpose, action, call = f"change the entry of {name}", "glue:UpdateTable", self._client.update_table
            if _answer(purpose, action, partial(call, **request)) is not None:
                return
            time.sleep(0.1 * 2**attempt)
        raise Busy(f"other processes keep changing the entry of {name} in Glue", "run the command again")

    def get_table(self, name: TableName) -> dict[str, Any] | None:
        table = self._table(name)
        return None if table is None else self._entry(table)

    def list_tables(self, catalog: str | None = None, schema: str | None = None) -> list[dict[str, Any]]:
        if catalog not in (None, self._settings.catalog_name):
            return []
        entries: list[dict[str, Any]] = []
        for database in self._databases() if schema is None else [schema]:
            pages = self._client.get_paginator("get_tables").paginate(**self._of_account, DatabaseName=database)
            for page in _answer("list tables", "glue:GetTables", partial(list, pages)) or []:
                entries += [self._entry(table) for table in page["TableList"] if is_delta(table)]
        return sorted(entries, key=lambda entry: str(entry["full_name"]))

    def drop_table(self, name: TableName) -> bool:
        if self._table(name) is None:
            return False
        request = {**self._of_account, "DatabaseName": name.schema, "Name": name.table}
        return _answer(f"drop {name}", "glue:DeleteTable", lambda: self._client.delete_table(**request)) is not None

    def _databases(self) -> list[str]:
        pages = self._client.get_paginator("get_databases").paginate(**self._of_account)
        answers = _answer("list databases", "glue:GetDatabases", partial(list, pages)) or []
        return [database["Name"] for page in answers for database in page["DatabaseList"]]

    def _database(self, catalog: str, schema: str) -> str:
        catalog_name = self._settings.catalog_name
        if catalog != catalog_name:
            raise UsageError(
                f"{catalog}.{schema} is not in the catalog of this profile: Glue's databases are {catalog_name}.…",
                f"write {catalog_name}.{schema}, or set catalog.catalog_name: {catalog} in profiles.yml",
            )
        return schema

    def _table(self, name: TableName) -> dict[str, Any] | None:
        request = {**self._of_account, "DatabaseName": self._database(name.catalog, name.schema), "Name": name.table}
        answer = _answer(f"read the entry of {name}", "glue:GetTable", lambda: self._client.get_table(**request))
        return None if answer is None else dict(answer["Table"])

    def _entry(self, table: Mapping[str, Any]) -> dict[str, Any]:
        parameters = table.get("Parameters", {})
        columns = [*table.get("StorageDescriptor", {}).get("Columns", []), *table.get("PartitionKeys", [])]
        return {
            "name": table["Name"],
            "catalog_name": self._settings.catalog_name,
            "schema_name": table["DatabaseName"],
            "full_name": f"{self._settings.catalog_name}.{table['DatabaseName']}.{table['Name']}",
            "table_type": "EXTERNAL",
            "data_source_format": "DELTA",
            "storage_location": place(table),
            "columns": [column_info(column, position) for position, column in enumerate(columns)],
            "comment": table.get("Description", ""),
            "owner": table.get("Owner", ""),
            "properties": parameters,
            "table_id": parameters.get(OURS),
            "created_at": _milliseconds(table.get("CreateTime")),
            "created_by": table.get("CreatedBy", ""),
            "updated_at": _milliseconds(table.get("UpdateTime") or table.get("CreateTime")),
        }


def _milliseconds(time: Any) -> int | None:
    return None if time is None else int(time.timestamp() * 1000)


def _answer(purpose: str, action: str, call: Callable[[], Any]) -> Any | None:
    """Glue's answer; None if the thing does not exist, exists already, or is being changed.

    Raises Denied, Busy (still throttled after all of boto3's attempts), else LakewrightError.
    """
    from botocore.exceptions import BotoCoreError, ClientError

    try:
        return call()
    except ClientError as failure:
        error = failure.response.get("Error", {})
        code, message = str(error.get("Code")), error.get("Message") or str(failure)
        if code in ("EntityNotFoundException", "AlreadyExistsException", "ConcurrentModificationException"):
            return None
        if code in _THROTTLED:
            raise Busy(
                f"Glue accepted no request to {purpose}: {message}", "wait and run the command again"
            ) from failure
        if code in _EXPIRED:
            remedy = "sign in again, or renew the keys in storage_options"
            raise Denied(f"Glue does not accept your keys: {message}", remedy) from failure
        if code.startswith("AccessDenied") or failure.response["ResponseMetadata"]["HTTPStatusCode"] == 403:
            remedy = f"allow {action} on the catalog, database and table in the role's policy, and in Lake Formation"
            raise Denied(f"Glue does not let you {purpose}: {message}", remedy) from failure
        raise LakewrightError(f"Glue cannot {purpose}: {message}", "correct the cause, and run it again") from failure
    except BotoCoreError as failure:
        raise LakewrightError(
            f"Glue cannot be reached to {purpose}: {failure}", "check the network, catalog.region and AWS's keys"
        ) from failure
