"""How far a feature group holds what its table knows now, online and offline."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from lakewright.targets.sagemaker.athena import rows_offline
from lakewright.targets.sagemaker.feature_groups import described_group, group_name, sagemaker_of
from lakewright.targets.sagemaker.feature_records import Change, compared
from lakewright.targets.sagemaker.feature_runtime import Store
from lakewright.targets.sagemaker.sending import answering

if TYPE_CHECKING:
    from lakewright.data.features import FeatureTable
    from lakewright.records import TableVersion
    from lakewright.workspace import Workspace


@dataclass(frozen=True)
class GroupStanding:
    table: TableVersion
    group: str
    status: str  # Creating, Created, …
    records: int  # keys whose values are known now
    online: int  # of these, with the newest values
    older: int  # of these, with values that were known before
    ahead: int  # of these, with values of a later event, which somebody put
    missing: int
    offline: int | None  # rows of the offline store; None: it has none

    def as_json(self) -> dict[str, Any]:
        return {**vars(self), "table": str(self.table)}


def group_standing(workspace: Workspace, table: FeatureTable) -> GroupStanding:
    """How far the group holds what is known now. Raises NotFound where there is no group."""
    settings, name = sagemaker_of(workspace), group_name(table)
    version, now, counts = workspace.lake.version(table.name), datetime.now(UTC), Counter[Change]()
    with answering():
        found = described_group(name, settings)
        for part in compared(workspace.lake, table, version, now, Store.of(name, settings.region), put=False):
            counts += part
        offline = rows_offline(found, settings)
    older = counts["older"] + counts["replaced"]
    return GroupStanding(
        version, name, found["FeatureGroupStatus"], counts.total(), counts["there"], older, counts["ahead"],
        counts["new"], offline,
    )  # fmt: skip
