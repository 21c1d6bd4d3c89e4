"""Unity Catalog's refusals as cause and remedy: the missing privilege and its object.

Its message is "User does not have EXTERNAL USE SCHEMA on Schema 'main.health'."; if it has less, we name all privileges
that the call needs: https://docs.databricks.com/data-governance/unity-catalog/manage-privileges/privileges.html
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from lakewright.data.lake.catalogs import Denied
from lakewright.errors import Busy, LakewrightError, NotFound

_LACKS = re.compile(r"does not have (?P<privilege>[A-Z][A-Z_ ]*[A-Z]) on (?P<kind>[A-Za-z ]+) '(?P<name>[^']+)'")
_FROM_OUTSIDE = re.compile("UNITY_CATALOG_EXTERNAL_GENERATE_[A-Z]+_CREDENTIALS_DENIED")


@contextmanager
def explained(request: str, needs: Sequence[str]) -> Iterator[None]:
    """Turns the SDK's errors into ours; `request` completes "to …", `needs` are privileges with their objects.

    Raises Denied (401 and 403), NotFound, Busy (still throttled or out of reach after all attempts), else
    LakewrightError.
    """
    from databricks.sdk import errors
    from databricks.sdk.errors.base import DatabricksError

    try:
        yield
    except errors.PermissionDenied as refused:
        raise Denied(
            f"Unity Catalog does not let you {request}: {_message(refused)}", _grant(refused, needs)
        ) from refused
    except errors.Unauthenticated as refused:
        info = refused.get_error_details().error_info
        if info is not None and _FROM_OUTSIDE.match(info.reason or ""):
            remedy = (
                "ask a metastore admin to turn on external data access, see "
                f"https://docs.databricks.com/external-access/admin.html; you also need {'; '.join(needs)}"
            )
        else:
            remedy = "check the token and the host (catalog.token, catalog.host, or DATABRICKS_TOKEN, DATABRICKS_HOST)"
        raise Denied(f"Unity Catalog does not let you {request}: {_message(refused)}", remedy) from refused
    except errors.NotFound as missing:
        raise NotFound(
            f"Unity Catalog cannot {request}: {_message(missing)}",
            "correct the name, or ask for the catalog in Databricks",
        ) from missing
    except TimeoutError as ended:
        reason = _message(ended.__cause__ or ended)
        raise Busy(
            f"Unity Catalog accepted no request to {request}: {reason}", "wait and run the command again"
        ) from ended
    except DatabricksError as failure:
        raise LakewrightError(
            f"Unity Catalog cannot {request}: {_message(failure)}", "correct the cause, and run the command again"
        ) from failure


def _message(error: BaseException) -> str:
    """The message without the SDK's list of its own settings."""
    return str(error).partition(" Config: ")[0]


def _grant(refused: Exception, needs: Sequence[str]) -> str:
    lacks = _LACKS.search(str(refused))
    if lacks is None:
        return f"you need {'; '.join(needs)}: ask their owners"
    privilege = lacks["privilege"].replace("_", " ")
    return f"ask its owner for it: GRANT {privilege} ON {lacks['kind'].upper()} {lacks['name']} TO `…`"
