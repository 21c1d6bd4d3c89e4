"""What the classifying tasks read: a text, perhaps a second one beside it, perhaps other columns."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import chain
from typing import TYPE_CHECKING, Any

from pydantic import Field

from lakewright.data.rows.columns import column, needed, number_column, text_column
from lakewright.data.rows.kinds import TEXTS, Kind, Row
from lakewright.data.rows.request import category
from lakewright.errors import ProjectError
from lakewright.model.recipe.dense import OtherColumns
from lakewright.settings.project import TaskSettings

if TYPE_CHECKING:
    import pyarrow as pa

    from lakewright.data.rows.shortfalls import Shortfall
    from lakewright.model.recipe import Encoded, Encoding

ROLES = ("text", "text_pair", "numbers", "categories")
RESERVED = {*TEXTS, "truth"}


class TextInputsSettings(TaskSettings):
    max_categories: int = Field(
        default=100,
        ge=1,
        description="values of each of `categories` that count, the most frequent in train; others are unknown",
    )


@dataclass(frozen=True)
class TextInputs:
    pair: bool = False
    others: OtherColumns | None = None

    @property
    def kinds(self) -> dict[str, Kind]:
        kinds: dict[str, Kind] = {"text": "text"}
        if self.pair:
            kinds["text_pair"] = "text"
        if self.others is not None:
            kinds |= {number.name: "number" for number in self.others.numbers}
            kinds |= {category.name: "category" for category in self.others.categories}
        return kinds

    @classmethod
    def fit(cls, train: Iterable[pa.Table], settings: TextInputsSettings) -> TextInputs:
        """`train` as `read_inputs` gave it, to its end: float columns are numbers, string columns categories."""
        import pyarrow as pa

        tables = iter(train)
        first = next(tables)
        others = [field for field in first.schema if field.name not in RESERVED]
        numbers = [field.name for field in others if pa.types.is_floating(field.type)]
        categories = [field.name for field in others if not pa.types.is_floating(field.type)]
        fitted = OtherColumns.fit(chain([first], tables), numbers, categories, settings.max_categories)
        return cls("text_pair" in first.column_names, fitted if others else None)

    @classmethod
    def open(cls, described: Mapping[str, Any]) -> TextInputs:
        others = described.get("others")
        return cls(described.get("pair", False), OtherColumns.open(others) if others else None)

    def describe(self) -> dict[str, Any]:
        return {"pair": self.pair, "others": self.others.describe() if self.others else None}

    def encode(self, encoding: Encoding, rows: Sequence[Row]) -> Encoded:
        texts = [row["text"] for row in rows]
        pairs = [row["text_pair"] for row in rows] if self.pair else None
        encoded = encoding.encode(texts, pairs)
        return encoded if self.others is None else replace(encoded, columns=self.others.encode(rows))

    def shortfalls(self, rows: Sequence[Row]) -> list[Shortfall]:
        return [] if self.others is None else self.others.shortfalls(rows)

    def sample_rows(self) -> list[dict[str, Any]]:
        rows: list[dict[str, Any]] = [
            {"text": "A short example."},
            {"text": "Another example, a little longer than the first one."},
        ]
        for row in rows:
            if self.pair:
                row["text_pair"] = "What it is compared with."
            if self.others is not None:
                row |= {number.name: round(number.mean, 3) for number in self.others.numbers}
                row |= {category.name: next(iter(category.values), "") for category in self.others.categories}
        return rows


def read_inputs(table: pa.Table, columns: Mapping[str, Any]) -> dict[str, pa.ChunkedArray]:
    """The inputs' columns. Raises ProjectError and DataError as `Task.read` does."""
    import pyarrow as pa

    read = {"text": text_column(table, needed(columns, "text")[0], "text")}
    if "text_pair" in columns:
        read["text_pair"] = text_column(table, columns["text_pair"], "text_pair")
    for role in ("numbers", "categories"):
        for name in columns.get(role, ()):
            if name in read or name in RESERVED:
                raise ProjectError(
                    f"data.columns.{role} names {name!r}, which is taken",
                    f"name a column once, and none that is called {', '.join(sorted(RESERVED))} (rename it in SQL)",
                )
            if role == "numbers":
                read[name] = number_column(table, name, role)
            else:
                values = column(table, name, role).to_pylist()
                read[name] = pa.chunked_array([pa.array([category(value) for value in values], pa.string())])
    return read
