"""Why a request is not answered: an HTTP status, headers, and the cause and the remedy as JSON."""

from __future__ import annotations

import math
from collections.abc import Mapping

from pydantic_core import to_json

from lakewright.errors import DataError

LONGEST = 1000  # characters of a cause


class Refused(DataError):
    """400: the request cannot be read. The base of all other refusals."""

    status = 400

    @property
    def headers(self) -> Mapping[str, str]:
        return {}


class Unknown(Refused):
    status = 404


class WrongMethod(Refused):
    status = 405


class TooSlow(Refused):
    """408: the rest of the request did not arrive in time; the connection ends."""

    status = 408

    @property
    def headers(self) -> Mapping[str, str]:
        return {"Connection": "close"}


class TooLarge(Refused):
    status = 413


class LargeHead(Refused):
    status = 431


class WrongType(Refused):
    status = 415


class NoKey(Refused):
    status = 401

    @property
    def headers(self) -> Mapping[str, str]:
        return {"WWW-Authenticate": "Bearer"}


class Failed(Refused):
    """500: a fault of the program, or a broken machine."""

    status = 500


class Draining(Refused):
    status = 503

    @property
    def headers(self) -> Mapping[str, str]:
        return {"Retry-After": "1"}


class NoValues(Refused):
    """503: the store of feature values does not answer."""

    status = 503

    @property
    def headers(self) -> Mapping[str, str]:
        return {"Retry-After": "1"}


class Late(Refused):
    status = 504


class Busy(Refused):
    """429: in `seconds` there should be room."""

    status = 429

    def __init__(self, cause: str, seconds: float) -> None:
        super().__init__(cause, f"try again in {seconds:.1f} s")
        self.seconds = seconds

    @property
    def headers(self) -> Mapping[str, str]:
        return {"Retry-After": str(max(1, math.ceil(self.seconds)))}


def as_json(refused: Refused, request_id: str) -> bytes:
    """The body of the answer, cut so that a long request cannot cause a long answer."""
    values = {"error": refused.cause[:LONGEST], "remedy": refused.remedy[:LONGEST], "request_id": request_id}
    return to_json(values)
