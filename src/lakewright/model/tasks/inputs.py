"""The inputs of the classifying tasks: a text, optionally a second text, optionally other columns."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from pydantic import Field

from lakewright.data.rows.columns import column, needed, number_column, text_column
from lakewright.data.rows.kinds import Kind
from lakewright.data.rows.request import category
from lakewright.errors import ProjectError
from lakewright.settings.sections import Columns

if TYPE_CHECKING:
    import pyarrow as pa

RESERVED = ("text", "text_pair", "truth")


class InputColumns(Columns):
    text: str | None = None
    text_pair: str | None = Field(default=None, description="a second text, read with the first")
    numbers: list[str] = Field(default=[], description="columns of numbers to learn from, beside the text")
    categories: list[str] = Field(default=[], description="columns of categories to learn from, beside the text")


def inputs_of(columns: Mapping[str, Any]) -> dict[str, Kind]:
    """The inputs of a row if data.columns maps these roles."""
    inputs: dict[str, Kind] = {role: "text" for role in ("text", "text_pair") if role in columns}
    inputs |= dict.fromkeys(columns.get("numbers", ()), "number")
    return inputs | dict.fromkeys(columns.get("categories", ()), "category")


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


def sample_rows(inputs: Mapping[str, Kind]) -> list[dict[str, Any]]:
    """Neutral texts; the recipe adds neutral values for all other inputs."""
    texts = {
        "text": ("A short example.", "Another example, a little longer than the first one."),
        "text_pair": ("What it is compared with.",) * 2,
    }
    return [{name: both[i] for name, both in texts.items() if name in inputs} for i in range(2)]
