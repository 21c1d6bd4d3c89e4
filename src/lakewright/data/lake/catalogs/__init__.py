"""Catalogs store the names of tables. Each is one file, loaded through the entry points `lakewright.catalogs`.

The Delta log is the truth about a table. A catalog returns the log's place and the keys to read or write it, and lists
and describes tables without opening them. In every catalog the entries have the field names of Unity Catalog's
TableInfo (https://docs.databricks.com/api/workspace/tables/get).
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Protocol

from lakewright.errors import LakewrightError

if TYPE_CHECKING:
    from lakewright.data.lake.names import TableName
    from lakewright.settings.profile import CatalogSettings


VIEW = "VIEW"  # the table_type of a view's entry
# The storage options of delta-rs that identify the user; the others name a place (AWS_ENDPOINT_URL, AWS_REGION, …).
KEYS = re.compile("KEY|SECRET|TOKEN|SAS|CREDENTIAL|CLIENT|TENANT|PASSWORD", re.IGNORECASE)


class Denied(LakewrightError):
    """The catalog knows the user, and refuses the request."""


@dataclass(frozen=True)
class Location:
    """A table's place: a folder or URI, and delta-rs's storage options, which hold the keys to it."""

    uri: str
    storage_options: Mapping[str, str] = field(default_factory=dict, repr=False)

    def hide(self, text: str) -> str:
        """The text without the keys: object stores repeat them in some of their errors."""
        for option, value in self.storage_options.items():
            if KEYS.search(option) and len(value) > 8:
                text = text.replace(value, "***")
        return text


class Catalog(Protocol):
    settings: ClassVar[type[CatalogSettings]]

    @classmethod
    def open(cls, settings: Any, folder: Path, storage_options: Mapping[str, str]) -> Catalog:
        """A catalog for the profile's `catalog` settings, workspace (a local folder) and storage options."""

    def locate(self, name: TableName, new: Location, *, write: bool = False) -> Location:
        """The table's place, and the keys to read or write it; `new` is the place of a table without an entry.

        Raises Denied, and DataError or UsageError for a table whose files cannot be read or written directly.
        """

    def ensure_schema(self, catalog: str, schema: str) -> None:
        """Make the schema if it does not exist yet."""

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
        """Add the table, or update its entry as far as the catalog can; an empty `comment` keeps the present one.

        `columns` are ColumnInfo as `lake.types.columns_info` makes them.
        """

    def get_table(self, name: TableName) -> dict[str, Any] | None:
        """The entry: at least full_name, storage_location, columns, properties and comment; None without one."""

    def list_tables(self, catalog: str | None = None, schema: str | None = None) -> list[dict[str, Any]]:
        """The entries of all Delta tables, and of views that this catalog keeps for us; or of those in one catalog or
        schema, by full name."""

    def drop_table(self, name: TableName) -> bool:
        """Delete the entry; a table's files stay. Returns whether there was an entry."""


class KeepsViews(Catalog, Protocol):
    """A catalog that also keeps views in DuckDB's SQL. Their entries have the table_type VIEW and a view_definition."""

    def register_view(
        self,
        name: TableName,
        *,
        view_definition: str,
        columns: Sequence[Mapping[str, Any]],
        properties: Mapping[str, str] = {},
        comment: str = "",
    ) -> None:
        """Add the view, or put it in the place of the one that has its name."""
