"""The names of the inputs that transforms make beside those that they keep."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from lakewright.data.rows.kinds import Kind
from lakewright.errors import ProjectError


def beside(step: str, inputs: Mapping[str, Kind], made: Iterable[tuple[str, Kind]]) -> dict[str, Kind]:
    """The inputs, and after them what the step makes. Raises ProjectError if a name is there twice."""
    every = dict(inputs)
    for name, kind in made:
        if name in every:
            raise ProjectError(
                f"prepare.recipe: the step {step} makes the input {name!r}, which is there already",
                "rename the column in SQL, or let the step make another name",
            )
        every[name] = kind
    return every
