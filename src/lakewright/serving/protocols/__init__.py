"""The ways to ask: each a thin adapter from a request's body to rows, and from predictions to an answer."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from lakewright.serving.refusals import Refused


def parsed(body: bytes | str) -> Any:
    """JSON, strictly: valid UTF-8, no NaN, no half of a surrogate pair, not too deep. Raises Refused."""
    from pydantic_core import from_json

    try:
        return from_json(body, allow_inf_nan=False)
    except ValueError as failure:
        raise Refused(f"the body is not JSON: {failure}", "send valid JSON, encoded as UTF-8") from None


def an_object(body: bytes, *known: str) -> dict[str, Any]:
    """A JSON object with none but these keys. Raises Refused."""
    given = parsed(body)
    if not isinstance(given, dict):
        raise Refused("the body is not a JSON object", f"known keys: {', '.join(known)}")
    if unknown := given.keys() - set(known):
        raise Refused(f"the body has the unknown key {sorted(unknown)[0][:40]!r}", f"known keys: {', '.join(known)}")
    return given


def of_columns(columns: Mapping[str, Sequence[Any]]) -> list[dict[str, Any]]:
    """Rows of columns. Raises Refused where they differ in length."""
    if len({len(values) for values in columns.values()}) > 1:
        raise Refused("the columns differ in length", "give each the same number of values")
    return [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]
