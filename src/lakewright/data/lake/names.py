"""Names of tables, `catalog.schema.table`, or `catalog.schema.table@v3` for one pinned version; and of their folders.

The rules are Unity Catalog's for unquoted identifiers (letters, digits, underscore; at most 255 characters; not
case-sensitive, stored in lower case): https://docs.databricks.com/en/sql/language-manual/sql-ref-names.html
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from lakewright.errors import UsageError

_PART = r"(\w{1,255}|`\w{1,255}`)"
# With these in a folder's path, delta-rs, and MLflow with SQLite, would write to another path, or read from one.
_UNSUPPORTED = re.compile(r"%[0-9A-Fa-f]{2}|[#?\[\]\\^|\x00-\x1f\x7f\ud800-\udfff]")
_REFERENCE = re.compile(rf"{_PART}\.{_PART}\.{_PART}(?:@[vV](\d{{1,18}}))?", re.ASCII)


@dataclass(frozen=True, order=True)
class TableName:
    """The three parts of a table's name, in lower case."""

    catalog: str
    schema: str
    table: str

    def __str__(self) -> str:
        return f"{self.catalog}.{self.schema}.{self.table}"

    @staticmethod
    def parse(text: str) -> tuple[TableName, int | None]:
        """The name and, after `@v`, the version; raises UsageError for any other text."""
        match = _REFERENCE.fullmatch(text.strip())
        if match is None:
            raise UsageError(f"{text!r} is not the name of a table", _remedy(text))
        catalog, schema, table = (match[i].strip("`").lower() for i in (1, 2, 3))
        return TableName(catalog, schema, table), None if match[4] is None else int(match[4])


def with_catalog(text: str, catalog: str) -> str:
    """A table's name as SQL may have it, as `TableName.parse` takes it: one of two parts is in this catalog."""
    plain = text.replace('"', "`")
    return f"{catalog}.{plain}" if plain.count(".") == 1 else plain


def is_table(text: str) -> bool:
    """Whether the text has the form of a table's name."""
    return _REFERENCE.fullmatch(text.strip()) is not None


def check_folder(folder: str) -> None:
    """Raises UsageError for a local folder whose path delta-rs or MLflow would read as another one."""
    unsupported = _UNSUPPORTED.search(folder)
    if unsupported is not None and ("://" not in folder or folder.startswith("file://")):
        raise UsageError(
            f"{folder!r} cannot hold tables or runs: Delta and MLflow do not support {unsupported[0]!r} in a path",
            "rename the folder, or name another one in profiles.yml (workspace: FOLDER, lake: FOLDER)",
        )


def _remedy(text: str) -> str:
    rule = "write catalog.schema.table or catalog.schema.table@v3, each part of letters, digits and underscores"
    words = re.findall(r"\w+", text.partition("@")[0], re.ASCII)
    if not words:
        return rule
    parts = ["main", "default", "_".join(words)] if "." not in text else ["main", *words][-3:]
    return f"{rule}, for example {'.'.join(parts).lower()}" if len(parts) == 3 else rule


def quoted(column: str) -> str:
    """A column's name in SQL, as it is written."""
    return '"' + column.replace('"', '""') + '"'
