"""Databricks Unity Catalog stores the names and the places of tables, and lends keys to them for an hour.

Through databricks-sdk (https://databricks-sdk-py.readthedocs.io/en/latest/workspace/catalog/). A new table is an
external one under the profile's `lake`, registered in Unity Catalog once its first version is written; an existing
table is read from the place in its entry. Unity Catalog alone decides who may do what:
https://docs.databricks.com/aws/external-access/create-external-tables
"""

from __future__ import annotations

import logging
import re
from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from pydantic import Field, SecretStr

from lakewright.data.lake.catalogs import Location
from lakewright.data.lake.catalogs.unity.credentials import Keys
from lakewright.data.lake.catalogs.unity.refusals import explained
from lakewright.errors import DataError, MissingPackage, ProfileError, UsageError
from lakewright.settings.profile import CatalogSettings

if TYPE_CHECKING:
    from databricks.sdk import WorkspaceClient
    from databricks.sdk.service.catalog import ColumnInfo, TableInfo

    from lakewright.data.lake.names import TableName

LOG = logging.getLogger("lakewright")


class UnitySettings(CatalogSettings):
    name: Literal["unity"] = "unity"
    host: str | None = Field(
        default=None, description="https://… of the workspace; default: the host that databricks-sdk finds"
    )
    token: SecretStr | None = Field(
        default=None,
        description="${env:NAME}; default: the token that databricks-sdk finds (environment, ~/.databrickscfg, …)",
    )
    credentials: Literal["vended", "profile"] = Field(
        default="vended", description="keys to the files: Unity Catalog's, or the profile's storage_options"
    )
    schemas: list[str] = Field(
        default=[],
        description="catalog.schema, …: those that `lakewright tables list` prints; default: all that you may see",
    )
    patience: int = Field(
        default=300, ge=1, description="seconds of new attempts while Unity Catalog throttles or cannot be reached"
    )


class UnityCatalog:
    """The metastore of the workspace; entries have TableInfo's fields. Its keys stay in memory, never in the log."""

    settings = UnitySettings

    def __init__(self, settings: UnitySettings) -> None:
        self._settings = settings
        self._keys = Keys()

    @classmethod
    def open(cls, settings: UnitySettings, folder: Path, storage_options: Mapping[str, str]) -> UnityCatalog:
        if find_spec("databricks") is None or find_spec("databricks.sdk") is None:
            raise MissingPackage("databricks-sdk", "databricks")
        return cls(settings)

    @cached_property
    def _client(self) -> WorkspaceClient:
        from databricks.sdk import WorkspaceClient
        from databricks.sdk.core import Config

        # At DEBUG the SDK logs whole answers, and some answers are keys.
        logging.getLogger("databricks.sdk").setLevel(logging.INFO)
        token = self._settings.token.get_secret_value() if self._settings.token else None
        try:
            config = Config(
                host=self._settings.host,
                token=token,
                retry_timeout_seconds=self._settings.patience,
                product="lakewright",
            )
        except ValueError as failure:
            raise ProfileError(
                f"databricks-sdk cannot connect to a workspace: {str(failure).splitlines()[0]}",
                "set catalog.host and catalog.token (${env:DATABRICKS_TOKEN}) in profiles.yml, or the settings "
                "in https://docs.databricks.com/dev-tools/auth/unified-auth.html",
            ) from None
        return WorkspaceClient(config=config)

    def locate(self, name: TableName, new: Location, *, write: bool = False) -> Location:
        """Raises UsageError for writing a managed table, DataError for a view and for a table that is not Delta."""
        from databricks.sdk.service.catalog import DataSourceFormat, TableType

        vended = self._settings.credentials == "vended"
        table = self._table(name)
        if table is None:
            if "://" not in new.uri:
                if write:
                    raise ProfileError(
                        f"Unity Catalog cannot hold a table in {new.uri}: it supports only cloud storage",
                        "name an external location of Unity Catalog in profiles.yml (lake: s3://…, abfss://…)",
                    )
                return new
            if write:
                self.ensure_schema(name.catalog, name.schema)  # before the rows are written, not after
            return self._keys.to_path(self._client, name, new, write=write) if vended else new
        if table.table_type not in (TableType.EXTERNAL, TableType.MANAGED) or not table.storage_location:
            kind = table.table_type.value.lower().replace("_", " ") if table.table_type else "object without files"
            raise DataError(f"{name} is a {kind} in Unity Catalog", "read the tables that it is made from")
        if table.data_source_format is not DataSourceFormat.DELTA:
            kind = table.data_source_format.value if table.data_source_format else "no known format"
            raise DataError(
                f"{name} is {kind} in Unity Catalog, not Delta", "convert it to a Delta table in Databricks"
            )
        if write and table.table_type is TableType.MANAGED:
            raise UsageError(
                f"{name} is a managed table, which only Databricks writes",
                "write to a table of another name: a new one is an external table under the profile's lake",
            )
        place = Location(table.storage_location.rstrip("/"), new.storage_options)
        return self._keys.to_table(self._client, name, table, place, write=write) if vended else place

    def ensure_schema(self, catalog: str, schema: str) -> None:
        """Makes the schema, never the catalog, which needs a storage and an owner."""
        from databricks.sdk.errors.base import DatabricksError

        full_name = f"{catalog}.{schema}"
        with explained(f"find the schema {full_name}", [f"USE CATALOG on {catalog}", f"USE SCHEMA on {full_name}"]):
            if self._has_schema(full_name):
                return
        with explained(f"make the schema {full_name}", [f"USE CATALOG and CREATE SCHEMA on {catalog}"]):
            try:
                self._client.schemas.create(schema, catalog)
            except DatabricksError:
                if not self._has_schema(full_name):  # made by another process by now?
                    raise

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
        """Unity Catalog's API takes columns only when a table is made. Values that would go stale (the version, counts)
        are not sent, nor are comments, which the Delta log has."""
        from databricks.sdk.errors.base import DatabricksError
        from databricks.sdk.service.catalog import DataSourceFormat, TableType

        table = self._table(name)
        if table is not None:
            if [(c.name, c.type_text) for c in table.columns or []] != [(c["name"], c["type_text"]) for c in columns]:
                message = "Unity Catalog shows old columns for %s; in Databricks: REPAIR TABLE %s SYNC METADATA"
                LOG.warning(message, name, name)
            return
        self.ensure_schema(name.catalog, name.schema)
        needs = [
            f"USE SCHEMA, CREATE TABLE and EXTERNAL USE SCHEMA on {name.catalog}.{name.schema}",
            f"CREATE EXTERNAL TABLE and EXTERNAL USE LOCATION on the external location of {storage_location}",
        ]
        with explained(f"add the table {name}, whose rows are written", needs):
            try:
                self._client.tables.create(
                    name=name.table,
                    catalog_name=name.catalog,
                    schema_name=name.schema,
                    table_type=TableType.EXTERNAL,
                    data_source_format=DataSourceFormat.DELTA,
                    storage_location=storage_location,
                    columns=[_column(column) for column in columns],
                )
            except DatabricksError:
                if self._table(name) is None:  # added by another process by now?
                    raise

    def get_table(self, name: TableName) -> dict[str, Any] | None:
        table = self._table(name)
        return None if table is None else _entry(table)

    def list_tables(self, catalog: str | None = None, schema: str | None = None) -> list[dict[str, Any]]:
        from databricks.sdk import errors
        from databricks.sdk.service.catalog import DataSourceFormat, TableType

        entries: list[dict[str, Any]] = []
        with explained("list tables", ["USE CATALOG, USE SCHEMA and SELECT on what is listed"]):
            for in_catalog, in_schema in self._schemas(catalog, schema):
                try:
                    tables = list(self._client.tables.list(in_catalog, in_schema))
                except errors.NotFound:
                    continue
                entries += [
                    _entry(table)
                    for table in tables
                    if table.table_type in (TableType.EXTERNAL, TableType.MANAGED)
                    and table.data_source_format is DataSourceFormat.DELTA
                ]
        return sorted(entries, key=lambda entry: str(entry["full_name"]))

    def drop_table(self, name: TableName) -> bool:
        """Raises UsageError for a managed table: its files would be deleted, too."""
        from databricks.sdk.service.catalog import TableType

        table = self._table(name)
        if table is None:
            return False
        if table.table_type is not TableType.EXTERNAL:
            raise UsageError(
                f"{name} is not an external table: Databricks would also delete its files", "drop it in Databricks"
            )
        with explained(f"drop {name}", [f"ownership of {name}", f"USE SCHEMA on {name.catalog}.{name.schema}"]):
            self._client.tables.delete(str(name))
        return True

    def grants(self, kind: str, full_name: str) -> dict[str, list[str]]:
        """The grants on the object itself: principal → privileges. `kind` is table, schema, catalog, …

        https://docs.databricks.com/api/workspace/grants/get
        """
        granted: dict[str, list[str]] = {}
        page: str | None = None
        with explained(f"read the grants on {full_name}", [f"ownership of {full_name}, or MANAGE on it"]):
            while page != "":
                answer = self._client.grants.get(kind.upper(), full_name, max_results=0, page_token=page)
                for each in answer.privilege_assignments or []:
                    granted[each.principal or ""] = sorted(privilege.value for privilege in each.privileges or [])
                page = answer.next_page_token or ""
        return granted

    def grant(
        self, kind: str, full_name: str, principal: str, add: Sequence[str] = (), remove: Sequence[str] = ()
    ) -> None:
        """Adds and removes privileges, by Unity Catalog's names: SELECT, USE_SCHEMA, EXTERNAL_USE_SCHEMA, …"""
        from databricks.sdk.service.catalog import PermissionsChange, Privilege

        try:
            added, removed = ([Privilege(each.upper().replace(" ", "_")) for each in names] for names in (add, remove))
        except ValueError as unknown:
            raise UsageError(
                f"Unity Catalog has no such privilege: {unknown}", "see its documentation of privileges"
            ) from None
        with explained(f"change the grants on {full_name}", [f"ownership of {full_name}, or MANAGE on it"]):
            change = PermissionsChange(principal=principal, add=added, remove=removed)
            self._client.grants.update(kind.upper(), full_name, changes=[change])

    def _table(self, name: TableName) -> TableInfo | None:
        from databricks.sdk import errors

        needs = [f"USE CATALOG on {name.catalog}", f"USE SCHEMA on {name.catalog}.{name.schema}", f"SELECT on {name}"]
        with explained(f"read the entry of {name}", needs):
            try:
                return self._client.tables.get(str(name))
            except errors.NotFound:
                return None

    def _has_schema(self, full_name: str) -> bool:
        from databricks.sdk import errors

        try:
            self._client.schemas.get(full_name)
        except errors.NotFound:
            return False
        return True

    def _schemas(self, catalog: str | None, schema: str | None) -> Iterator[tuple[str, str]]:
        if catalog is not None and schema is not None:
            yield catalog, schema
        elif catalog is None and self._settings.schemas:
            for each in self._settings.schemas:
                in_catalog, _, in_schema = each.partition(".")
                yield in_catalog, in_schema
        else:
            catalogs = [catalog] if catalog else [each.name for each in self._client.catalogs.list() if each.name]
            for in_catalog in catalogs:
                for schema_info in self._client.schemas.list(in_catalog):
                    if schema_info.name and schema_info.name != "information_schema":
                        yield in_catalog, schema_info.name


def _column(column: Mapping[str, Any]) -> ColumnInfo:
    """In the form of https://docs.databricks.com/aws/external-access/create-external-tables."""
    from databricks.sdk.service.catalog import ColumnInfo, ColumnTypeName

    digits = re.match(r"decimal\((\d+),(\d+)\)$", column["type_text"])
    return ColumnInfo(
        name=column["name"],
        type_text=column["type_text"],
        type_json=column["type_json"],
        type_name=ColumnTypeName(column["type_name"]),
        type_precision=int(digits[1]) if digits else 0,
        type_scale=int(digits[2]) if digits else 0,
        position=column["position"],
        nullable=column["nullable"],
        comment=column["comment"] or None,
    )


def _entry(table: TableInfo) -> dict[str, Any]:
    return {"comment": "", "properties": {}, "columns": [], **table.as_dict()}
