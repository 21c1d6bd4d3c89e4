"""Unity Catalog's temporary credentials, as storage options of delta-rs.

For a table: https://docs.databricks.com/api/workspace/temporarytablecredentials/generatetemporarytablecredentials, for
the place of a new one: …/temporarypathcredentials/generatetemporarypathcredentials. The storage options are
object_store's: https://docs.rs/object_store (AmazonS3ConfigKey, AzureConfigKey).
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from lakewright.data.lake.catalogs import KEYS, Denied, Location
from lakewright.data.lake.catalogs.unity.refusals import explained
from lakewright.errors import LakewrightError, NotFound

if TYPE_CHECKING:
    from databricks.sdk import WorkspaceClient
    from databricks.sdk.service.catalog import (
        GenerateTemporaryPathCredentialResponse,
        GenerateTemporaryTableCredentialResponse,
        TableInfo,
    )

    from lakewright.data.lake.names import TableName

SPARE_SECONDS = 600  # a scan uses its first keys to the end, so keys that end sooner are not used
OWN_KEYS = "use the profile's own keys: catalog: {name: unity, credentials: profile}, with storage_options"


class Keys:
    """The keys fetched so far; those for reading are used again. They are only in memory."""

    def __init__(self) -> None:
        self._cache: dict[str, tuple[Location, float]] = {}  # table id → place with keys, end (epoch seconds)

    def to_table(
        self, client: WorkspaceClient, name: TableName, table: TableInfo, place: Location, *, write: bool
    ) -> Location:
        from databricks.sdk.service.catalog import TableOperation

        cached, until = self._cache.get(str(table.table_id), (place, 0.0))
        if not write and until > time.time() + SPARE_SECONDS:
            return cached
        needs = [
            f"EXTERNAL USE SCHEMA on {name.catalog}.{name.schema}",
            f"{'SELECT and MODIFY' if write else 'SELECT'} on {name}",
        ]
        with explained(f"get the keys to {name}", needs):
            answer = client.temporary_table_credentials.generate_temporary_table_credentials(
                operation=TableOperation.READ_WRITE if write else TableOperation.READ, table_id=table.table_id
            )
        location = unlocked(place, answer)
        if not write:
            self._cache[str(table.table_id)] = location, (answer.expiration_time or 0) / 1000
        return location

    def to_path(self, client: WorkspaceClient, name: TableName, new: Location, *, write: bool) -> Location:
        from databricks.sdk.service.catalog import PathOperation

        needs = [f"EXTERNAL USE LOCATION{' and CREATE EXTERNAL TABLE' if write else ''} on the external location"]
        try:
            with explained(f"get the keys to {new.uri}", needs):
                answer = client.temporary_path_credentials.generate_temporary_path_credentials(
                    new.uri, PathOperation.PATH_CREATE_TABLE if write else PathOperation.PATH_READ
                )
        except Denied as denied:
            if write:
                raise
            # A user who may not use the location sees no table there: report the table as missing.
            raise NotFound(
                f"Unity Catalog has no table {name}, and you may not see whether one is at {new.uri}",
                f"correct the name; or {denied.remedy}",
            ) from denied
        return unlocked(new, answer)


def unlocked(
    place: Location, answer: GenerateTemporaryTableCredentialResponse | GenerateTemporaryPathCredentialResponse
) -> Location:
    """The place with the vended keys, and those of its options that are not keys (a region, an endpoint).

    Raises LakewrightError for kinds of keys that delta-rs does not take.
    """
    options = {option: value for option, value in place.storage_options.items() if not KEYS.search(option)}
    if (aws := answer.aws_temp_credentials) is not None and not aws.access_point:
        keys = {
            "AWS_ACCESS_KEY_ID": aws.access_key_id,
            "AWS_SECRET_ACCESS_KEY": aws.secret_access_key,
            "AWS_SESSION_TOKEN": aws.session_token,
        }
    elif (sas := answer.azure_user_delegation_sas) is not None:
        keys = {"AZURE_STORAGE_SAS_TOKEN": sas.sas_token}
    elif (entra := answer.azure_aad) is not None:
        keys = {"AZURE_STORAGE_TOKEN": entra.aad_token}
    else:
        kind = "an S3 access point" if aws else "Google Cloud" if answer.gcp_oauth_token else "another cloud"
        raise LakewrightError(f"the keys to {place.uri} are for {kind}, which delta-rs does not support", OWN_KEYS)
    return Location(place.uri, options | {option: value for option, value in keys.items() if value})
