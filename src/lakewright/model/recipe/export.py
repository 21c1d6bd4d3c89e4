"""A recipe as one SELECT of DuckDB: what the network reads, computed where the table is."""

from __future__ import annotations

from collections.abc import Mapping

from lakewright.data.rows.kinds import Kind
from lakewright.errors import UsageError
from lakewright.model.recipe import Recipe, is_transform, sql

TYPES: Mapping[Kind, str] = {"number": "DOUBLE", "category": "VARCHAR", "time": "TIMESTAMP"}


def as_sql(recipe: Recipe, inputs: Mapping[str, Kind], table: str) -> str:
    """The statement, a nested SELECT for each transform, over a table or view whose columns are the inputs. Raises
    UsageError if a step has no SQL."""
    for step in recipe.steps:
        if step.sql() is None:
            raise UsageError(
                f"the step {step.name} has no SQL: it can only be computed by Lakewright",
                "take it out of prepare.recipe and train again, or use lakewright score",
            )
    names = [name for name in inputs if name in recipe.inputs]
    read = ", ".join(f"{sql.name(name)}::{TYPES[inputs[name]]} AS {sql.name(name)}" for name in names)
    statement = f"SELECT {read} FROM {table}"
    for step in recipe.steps:
        if not is_transform(step):
            continue
        made = step.sql() or {}
        names = [name for name in names if name not in step.inputs or name in made]
        chosen = [f"{made[name]} AS {sql.name(name)}" if name in made else sql.name(name) for name in names]
        chosen += [f"{expression} AS {sql.name(name)}" for name, expression in made.items() if name not in names]
        names += [name for name in made if name not in names]
        statement = f"SELECT {', '.join(chosen)} FROM (\n{statement}\n)"
    columns = [f"{each} AS {sql.name(name)}" for step in recipe.encodings for name, each in (step.sql() or {}).items()]
    return "SELECT\n  " + ",\n  ".join(columns) + f"\nFROM (\n{statement}\n)"
