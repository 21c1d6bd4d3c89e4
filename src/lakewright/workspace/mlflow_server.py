"""Whether an MLflow server answers at its address, found out within seconds."""

from __future__ import annotations

from functools import cache
from http.client import HTTPException
from ssl import SSLError
from urllib.error import HTTPError
from urllib.parse import urlsplit
from urllib.request import urlopen

from lakewright.errors import LakewrightError

SECONDS_TO_ANSWER = 4.0  # that a server has to say anything at all, before it counts as away
AWAY = (502, 503, 504)  # what a gateway answers whose server is away


@cache
def reach(uri: str) -> None:
    """Raises LakewrightError where nothing answers at a server's address: MLflow itself would try for a minute.

    A server that was reached once is not asked again by this process.
    """
    if not uri.startswith(("http://", "https://")):
        return
    try:
        with urlopen(f"{address(uri)}/health", timeout=SECONDS_TO_ANSWER):
            pass
    except HTTPError as answer:
        if answer.code in AWAY:
            raise unreachable(uri, answer) from None
    except HTTPException:  # whatever it says, it answers
        pass
    except OSError as failure:
        reason = getattr(failure, "reason", failure)
        if not isinstance(reason, SSLError):  # MLflow may know more certificates
            raise unreachable(uri, reason) from None


def address(uri: str) -> str:
    """Of an MLflow server: its URI without user and password."""
    parts = urlsplit(uri)
    return parts._replace(netloc=parts.netloc.rpartition("@")[2]).geturl().rstrip("/")


def unreachable(uri: str, reason: object) -> LakewrightError:
    return LakewrightError(
        f"MLflow at {address(uri)} cannot be reached: {reason}",
        "start it, or check the address in profiles.yml (tracking, registry) and the network",
    )
