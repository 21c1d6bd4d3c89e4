"""What keeps the names of tables. One file a catalog, found through the entry points `lakewright.catalogs`.

The Delta log is the truth about a table. A catalog says where the log lies and with which keys it may be read or
written, and is what one can list and ask for without opening a table. Its entries have the field names of Unity
Catalog's TableInfo (https://docs.databricks.com/api/workspace/tables/get), whatever keeps them.
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


# Of delta-rs's storage options, those that say who asks; the others say where (AWS_ENDPOINT_URL, AWS_REGION, …).
KEYS = re.compile("KEY|SECRET|TOKEN|SAS|CREDENTIAL|CLIENT|TENANT|PASSWORD", re.IGNORECASE)


class Denied(LakewrightError):
    """The catalog knows who asks, and refuses."""


@dataclass(frozen=True)
class Location:
    """Where a table lies: a folder or URI, and delta-rs's storage options, which hold the keys to it."""

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
        """For the profile's `catalog` settings, its workspace (a folder here) and its storage options."""

    def locate(self, name: TableName, new: Location, *, write: bool = False) -> Location:
        """Where the table lies, and the keys to read it, or to write it; `new` is where one without an entry does.

        Raises Denied, and DataError or UsageError for a table that cannot be read or written by its files.
        """

    def ensure_schema(self, catalog: str, schema: str) -> None:
        """Make the schema where it is not there yet."""

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
        """Add the table, or bring its entry up to date, as far as the catalog can; an empty `comment` changes none.

        `columns` are ColumnInfo as `lake.columns.columns_info` makes them.
        """

    def get_table(self, name: TableName) -> dict[str, Any] | None:
        """The entry: at least full_name, storage_location, columns, properties and comment; None without one."""

    def list_tables(self, catalog: str | None = None, schema: str | None = None) -> list[dict[str, Any]]:
        """The entries of all Delta tables, or of those in one catalog or schema, by full name."""

    def drop_table(self, name: TableName) -> bool:
        """Forget the table; its files stay where they are. Returns whether there was such an entry."""
