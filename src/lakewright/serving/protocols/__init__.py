"""The ways to ask: each a thin adapter from a request's body to rows, and from predictions to an answer."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from lakewright.serving.refusals import Refused, TooLarge


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
    unknown = next((key for key in given if key not in known), None)
    if unknown is not None:
        raise Refused(f"the body has the unknown key {unknown[:40]!r}", f"known keys: {', '.join(known)}")
    return given


def of_columns(columns: Mapping[str, Sequence[Any]], most: int) -> list[dict[str, Any]]:
    """Rows of columns. Raises Refused where they differ in length, TooLarge."""
    lengths = {len(values) for values in columns.values()}
    if len(lengths) > 1:
        raise Refused("the columns differ in length", "give each the same number of values")
    check_rows(max(lengths, default=0), most)
    return [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]


def check_rows(count: int, most: int) -> None:
    """Before rows are made of what was sent: of eight million bytes they can take seconds and a gigabyte, while nobody
    else is answered. Raises TooLarge."""
    if count > most:
        raise TooLarge(
            f"the request has more than {most:,} rows",
            f"send at most {most:,} at once, or score a table (lakewright score)",
        )
