"""The inputs of the classifying tasks: a text, optionally a second text, optionally other columns."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from pydantic import Field

from lakewright.data.rows.columns import column, needed, number_column, text_column, time_column
from lakewright.data.rows.kinds import TEXTS, Kind
from lakewright.data.rows.request import category
from lakewright.errors import ProjectError
from lakewright.settings.sections import Columns

if TYPE_CHECKING:
    import pyarrow as pa

RESERVED = ("text", "text_pair", "truth")


class InputColumns(Columns):
    text: str | None = None
    text_pair: str | None = Field(default=None, description="a second text, read with the first")
    numbers: list[str] = Field(default=[], description="columns of numbers to learn from")
    categories: list[str] = Field(default=[], description="columns of categories to learn from")
    times: list[str] = Field(default=[], description="columns of dates or times to learn from")


class TableColumns(InputColumns):
    """The columns of a task over any table: what no role names is an input, too."""

    text: str | None = Field(default=None, description="a column of texts to learn from")
    texts: list[str] = Field(default=[], description="more columns of texts to learn from")
    others: bool = Field(
        default=True, description="all other columns of the table are inputs, of the kind that their values show"
    )

    @property
    def is_open(self) -> bool:
        return self.others


def inputs_of(columns: Mapping[str, Any]) -> dict[str, Kind]:
    """The inputs of a row if data.columns maps these roles."""
    inputs: dict[str, Kind] = {role: "text" for role in ("text", "text_pair") if role in columns}
    inputs |= dict.fromkeys(columns.get("numbers", ()), "number")
    inputs |= dict.fromkeys(columns.get("categories", ()), "category")
    return inputs | dict.fromkeys(columns.get("times", ()), "time")


def table_inputs_of(columns: Mapping[str, Any]) -> dict[str, Kind]:
    """The same for a task over any table: beside other columns, or other texts, a row may lack a text."""
    inputs = inputs_of(columns)
    more: dict[str, Kind] = dict.fromkeys(columns.get("texts", ()), "text")
    beside = bool(more) or not {*inputs.values()} <= {"text"}
    texts = {name: kind for name, kind in inputs.items() if kind == "text"}
    inputs = {**texts, **more, **inputs}
    return {name: "optional text" if kind == "text" and beside else kind for name, kind in inputs.items()}


def read_inputs(table: pa.Table, columns: Mapping[str, Any]) -> dict[str, pa.ChunkedArray]:
    """The inputs' columns, at least one. Raises ProjectError and DataError as a task's reader does."""
    import pyarrow as pa

    from lakewright.data.rows.arrays import distinct, plain_array

    read: dict[str, pa.ChunkedArray] = {}
    for role in ("text", "text_pair"):
        if role in columns:
            read[role] = text_column(table, columns[role], role)
    for role in ("texts", "numbers", "categories", "times"):
        for name in columns.get(role, ()):
            if name in RESERVED:
                raise reserved(name, f"data.columns.{role}")
            if name in read:
                raise ProjectError(f"data.columns.{role} names {name!r} a second time", "name a column once")
            if role == "texts":
                read[name] = text_column(table, name, role)
            elif role == "numbers":
                read[name] = number_column(table, name, role, in_text=True)
            elif role == "times":
                read[name] = time_column(table, name, role)
            else:
                places, values = distinct(plain_array(column(table, name, role)))
                texts = pa.array([category(value) for value in values.to_pylist()], pa.string())
                read[name] = pa.chunked_array([texts.take(pa.array(places))])
    if not read:
        needed(columns, "text")  # raises
    return read


def reserved(name: str, why: str) -> ProjectError:
    """The error for an input of a name that each row of a task uses for itself."""
    return ProjectError(
        f"the column {name!r} is an input ({why}), but of a row this is the name of the "
        + ("truth" if name == "truth" else "text"),
        f"rename it at the source or in SQL, or leave it out: data.exclude: [{name}]",
    )


def sample_rows(inputs: Mapping[str, Kind]) -> list[dict[str, Any]]:
    """Neutral texts; the recipe adds neutral values for all other inputs."""
    both = ("A short example.", "Another example, a little longer than the first one.")
    texts = {name: both for name, kind in inputs.items() if kind in TEXTS} | {
        name: ("What it is compared with.",) * 2 for name in inputs if name == "text_pair"
    }
    return [{name: each[i] for name, each in texts.items()} for i in range(2)]
