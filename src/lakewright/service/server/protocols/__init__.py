"""The protocols: each is a thin adapter from a request's body to rows, and from predictions to an answer.

A protocol's file also registers its routes (`routes`). Only `routes` imports FastAPI: Azure ML's own server, which has
no FastAPI, reads bodies too.
"""

from __future__ import annotations

import gc
import re
from collections.abc import Mapping, Sequence
from typing import Any

from pydantic_core import from_json

from lakewright.service.server.refusals import Refused, TooLarge, WrongType
from lakewright.system import jsonfile

TOKEN = r"[!#$%&'*+.^_`|~0-9A-Za-z-]+"
PARAMETER = re.compile(rf'[ \t]*;[ \t]*(?:({TOKEN})=({TOKEN}|"(?:[^"\\]|\\.)*"))?')  # RFC 9110, 5.6.6
CHARSETS = {"utf-8", "utf8", "us-ascii"}  # us-ascii is a part of UTF-8
LINES = ("application/jsonlines", "application/x-jsonlines", "application/x-ndjson")  # one row for each line


def media_type(content_type: str) -> str:
    """The media type in lower case, without parameters; "" without one. Raises WrongType if a charset is not UTF-8."""
    kind, rest = content_type.partition(";")[0], content_type[content_type.find(";") :] if ";" in content_type else ""
    at = 0
    while at < len(rest) and (parameter := PARAMETER.match(rest, at)):
        at = parameter.end()
        name, value = parameter.groups()
        if name is not None and name.lower() == "charset":
            charset = re.sub(r"\\(.)", r"\1", value[1:-1]) if value.startswith('"') else value
            if charset.lower() not in CHARSETS:
                raise WrongType(f"the charset {charset[:40]!r} cannot be read", "encode the body as UTF-8")
    if rest[at:].strip(" \t"):
        raise WrongType(f"the content type {content_type[:80]!r} is malformed", "for example text/csv; charset=utf-8")
    return kind.strip().lower()


def accepts(accept: str, kind: str) -> bool:
    """Whether a header Accept names this media type itself, and not with a weight of 0 (RFC 9110, 12.5.1)."""
    for each in accept.lower().split(","):
        name, *parameters = (part.strip() for part in each.split(";"))
        weights = [part.partition("=")[2].strip() for part in parameters if part.partition("=")[0].strip() == "q"]
        if name == kind:
            return not weights or weights[0].strip("0.") != ""
    return False


def parsed(body: bytes) -> Any:
    """The value of strict JSON: valid UTF-8, no NaN, no number that no float holds, no key twice, no half of a
    surrogate pair, not too deep. Raises Refused."""
    gc.disable()  # for a large body, the search for cycles, which JSON cannot have, takes four fifths of the time
    try:
        value = from_json(body, allow_inf_nan=False)
        jsonfile.parse_strictly(body.decode())  # refuses what pydantic accepts
    except ValueError as failure:
        raise _not_json(body, failure) from None
    finally:
        gc.enable()
    return value


def _not_json(body: bytes, failure: ValueError) -> Refused:
    """The reason in words where pydantic has none: of NaN, infinity and numbers of thousands of digits."""
    if not isinstance(failure, jsonfile.Unusable):
        try:
            jsonfile.parse_strictly(body.decode())
        except jsonfile.Unusable as reason:
            failure = reason
        except ValueError:
            pass
    remedy = failure.remedy if isinstance(failure, jsonfile.Unusable) else "send valid JSON, encoded as UTF-8"
    return Refused(f"the body is not JSON that can be read: {failure}", remedy)


def an_object(body: bytes, *keys: str) -> dict[str, Any]:
    """A JSON object with no other keys than these. Raises Refused."""
    values = parsed(body)
    if not isinstance(values, dict):
        raise Refused("the body is not a JSON object", f"known keys: {', '.join(keys)}")
    unknown = next((key for key in values if key not in keys), None)
    if unknown is not None:
        raise Refused(f"the body has the unknown key {unknown[:40]!r}", f"known keys: {', '.join(keys)}")
    return values


def of_columns(columns: Mapping[str, Sequence[Any]], most: int) -> list[dict[str, Any]]:
    """The rows of these columns. Raises Refused if the columns differ in length, TooLarge."""
    lengths = {len(values) for values in columns.values()}
    if len(lengths) > 1:
        raise Refused("the columns differ in length", "give each the same number of values")
    check_rows(max(lengths, default=0), most)
    return [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]


def check_rows(count: int, most: int) -> None:
    """Raises TooLarge before rows are made from a body: eight million bytes can take seconds and a gigabyte, while no
    other request is answered."""
    if count > most:
        raise TooLarge(
            f"the request has more than {most:,} rows",
            f"send at most {most:,} at once, or score a table (lakewright score)",
        )
