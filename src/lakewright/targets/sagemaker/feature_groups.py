"""A feature table as a feature group of SageMaker Feature Store, and the newest values of each key in its online store.

https://docs.aws.amazon.com/sagemaker/latest/dg/feature-store.html
"""

from __future__ import annotations

import re
import time
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from lakewright.errors import LakewrightError, NotFound, UsageError
from lakewright.system.progress import bar
from lakewright.targets.sagemaker.feature_records import Change, check_values, compared
from lakewright.targets.sagemaker.feature_runtime import Store
from lakewright.targets.sagemaker.feature_texts import JOINED, definitions, identifier
from lakewright.targets.sagemaker.names import plain
from lakewright.targets.sagemaker.sending import answering, clients, existing_thing
from lakewright.targets.sagemaker.settings import SageMakerSettings

if TYPE_CHECKING:
    from lakewright.data.features import FeatureTable
    from lakewright.records import TableVersion
    from lakewright.workspace import Workspace

RESERVED = ("is_deleted", "write_time", "api_invocation_time")
LONGEST = 64  # characters of a name, by botocore's model
NAMED = r"[a-zA-Z0-9]([-_]*[a-zA-Z0-9]){0,63}"
WAITS, SECONDS = 150, 2.0  # for a group that is being made


@dataclass(frozen=True)
class GroupPublished:
    table: TableVersion
    group: str
    made: bool  # the group, by this call
    records: int  # keys whose values are known now
    new: int  # that were not online
    older: int  # that were online with an older event
    replaced: int  # corrections of the same event
    there: int
    ahead: int  # that somebody put with a later event

    @property
    def written(self) -> int:
        return self.new + self.older + self.replaced

    def as_json(self) -> dict[str, Any]:
        return {**vars(self), "table": str(self.table)}


def publish_to_sagemaker(workspace: Workspace, table: FeatureTable) -> GroupPublished:
    """Makes the table's feature group, if it is not there, and puts the values that are known now of each key and are
    not online, or older.

    Raises UsageError for a profile without SageMaker, for names that Feature Store lacks, and for a group of this name
    with other features; DataError for values that it cannot hold, before the first one is put.
    """
    settings = sagemaker_of(workspace)
    body = group(table, settings)
    version = workspace.lake.version(table.name)
    now = datetime.now(UTC)
    check_values(workspace.lake, table, version, now)
    with answering():
        made = make_group(body, settings)
    name, counts = body["FeatureGroupName"], Counter[Change]()
    with answering(), bar(f"publishing {version}", None) as advance:
        for part in compared(workspace.lake, table, version, now, Store.of(name, settings.region), put=True):
            counts += part
            advance(part.total(), "")
    changes = {each: counts[each] for each in ("new", "older", "replaced", "there", "ahead")}
    return GroupPublished(version, name, made, counts.total(), **changes)


def group_name(table: FeatureTable) -> str:
    """main.shop.daily → main-shop-daily."""
    name = plain(table.name)
    if len(name) > LONGEST:
        raise UsageError(
            f"the feature group of {table.name} would have a name of {len(name)} characters, and {LONGEST} is the "
            "most that SageMaker takes",
            "give the table a shorter name",
        )
    return name


def group(table: FeatureTable, settings: SageMakerSettings) -> dict[str, Any]:
    """The body of CreateFeatureGroup. A key of several columns is joined to one text, the JSON list of their values,
    since a group has one record identifier."""
    for name in table.schema.names:
        if name in RESERVED or (name == JOINED and len(table.keys) > 1):
            raise UsageError(f"Feature Store uses the name {name!r} itself", "give the column another name")
        if not re.fullmatch(NAMED, name):
            raise UsageError(
                f"Feature Store takes no feature named {name!r}: at most {LONGEST} letters, digits, - and _, and "
                "neither of these two at an end",
                "give the column another name",
            )
    key = {"KmsKeyId": settings.kms_key} if settings.kms_key else {}
    online: dict[str, Any] = {"EnableOnlineStore": True}
    if key:
        online["SecurityConfig"] = key
    if table.ttl is not None:
        online["TtlDuration"] = {"Unit": "Seconds", "Value": int(table.ttl.total_seconds())}
    body = {
        "FeatureGroupName": group_name(table),
        "RecordIdentifierFeatureName": identifier(table.keys),
        "EventTimeFeatureName": table.event_time,
        "FeatureDefinitions": definitions(table.schema, table.keys, table.event_time),
        "OnlineStoreConfig": online,
        "RoleArn": settings.role,
        "Description": _described(table),
    }
    if settings.feature_store is not None:
        body["OfflineStoreConfig"] = {"S3StorageConfig": {"S3Uri": settings.feature_store, **key}}
    return body


def described_group(name: str, settings: SageMakerSettings) -> dict[str, Any]:
    """Raises NotFound where there is none."""
    sagemaker = clients(settings)("sagemaker")
    found = existing_thing(sagemaker, "describe_feature_group", {"FeatureGroupName": name})
    if found is None:
        raise NotFound(f"there is no feature group {name}", "make it: lakewright features publish TABLE --to sagemaker")
    return found


def _described(table: FeatureTable) -> str:
    return f"{table.name[:80]}, by Lakewright"


def sagemaker_of(workspace: Workspace) -> SageMakerSettings:
    """Raises UsageError for a profile of another target."""
    target = workspace.profile.target
    if not isinstance(target, SageMakerSettings):
        raise UsageError(
            f"the target of the profile {workspace.profile.name} is {target.name}, and no SageMaker",
            "name a profile whose target is sagemaker: --profile",
        )
    return target


def make_group(body: Mapping[str, Any], settings: SageMakerSettings) -> bool:
    """Whether the group had to be made; returns when it takes records."""
    sagemaker, name = clients(settings)("sagemaker"), body["FeatureGroupName"]
    found = existing_thing(sagemaker, "describe_feature_group", {"FeatureGroupName": name})
    made = found is None
    if found is None:
        sagemaker.create_feature_group(**body)
    else:
        _check_same(found, body)
    for _ in range(WAITS):
        found = sagemaker.describe_feature_group(FeatureGroupName=name)
        if found["FeatureGroupStatus"] != "Creating":
            break
        time.sleep(SECONDS)
    if found is None or found["FeatureGroupStatus"] != "Created":
        status, why = (found or {}).get("FeatureGroupStatus"), (found or {}).get("FailureReason", "")
        raise LakewrightError(
            f"the feature group {name} is {status}, and not Created{': ' * bool(why)}{why}",
            "wait, and run the same command again; a group that failed has to be deleted first",
        )
    return made


def _check_same(found: Mapping[str, Any], body: Mapping[str, Any]) -> None:
    name = body["FeatureGroupName"]
    if found.get("Description") != body["Description"]:
        raise UsageError(
            f"the feature group {name} is there, and it is not that of this table ({found.get('Description', '')})",
            "delete the group, or give the table another name",
        )
    types = [{each["FeatureName"]: each["FeatureType"] for each in of["FeatureDefinitions"]} for of in (found, body)]
    if types[0] != types[1]:
        other = sorted(set(types[0].items()) ^ set(types[1].items()))[0][0]
        raise UsageError(
            f"the feature group {name} has other features than the table: {other!r}",
            "delete the group, whose records stay in S3, or give the table another name: a group keeps its features",
        )
    ttl = [of.get("OnlineStoreConfig", {}).get("TtlDuration") for of in (found, body)]
    if _seconds(ttl[0]) != _seconds(ttl[1]):
        raise UsageError(
            f"the feature group {name} has another time to live than the table: {ttl[0]}",
            "change the group's (aws sagemaker update-feature-group), or make a table of another name",
        )


def _seconds(duration: Mapping[str, Any] | None) -> int | None:
    units = {"Seconds": 1, "Minutes": 60, "Hours": 3600, "Days": 86_400, "Weeks": 604_800}
    return None if duration is None else units[duration["Unit"]] * int(duration["Value"])
