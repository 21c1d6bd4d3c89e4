"""The newest values of a feature table's keys as records of a feature group, beside those that are online.

What is there is read before, so each record is put once, and a run that was killed goes on where it was. Of two records
of a key the one of the later event stays online. A correction has the time of its event, and Feature Store would take
it for history: the record that it corrects is deleted online just before.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from typing import TYPE_CHECKING, Literal

from lakewright.data.features.newest import newest
from lakewright.targets.sagemaker.feature_runtime import REQUESTS, Store
from lakewright.targets.sagemaker.feature_texts import Record, check, identifier, records

if TYPE_CHECKING:
    from lakewright.data.features import FeatureTable
    from lakewright.data.lake.tables import Lake
    from lakewright.records import TableVersion

READ = 100  # records in a request, by botocore's model

Change = Literal["new", "older", "replaced", "there", "ahead"]


def compared(
    lake: Lake, table: FeatureTable, version: TableVersion, now: datetime, store: Store, *, put: bool
) -> Iterator[Counter[Change]]:
    """What is known now, beside what is online: so many records at a time. `put`: the online store is then as new."""
    feature = identifier(table.keys)

    def compare(known: Sequence[Record]) -> Counter[Change]:
        online = store.online([record[feature] for record in known], table.times)
        changes = [_change(record, online.get(record[feature]), table) for record in known]
        if put:
            _put([*zip(changes, known, strict=True)], table, store)
        return Counter(changes)

    with ThreadPoolExecutor(REQUESTS) as pool:
        for batch in newest(lake, table, version, now):
            known = records(batch, table.keys, table.event_time)
            yield from pool.map(compare, [known[at : at + READ] for at in range(0, len(known), READ)])


def _change(record: Record, online: Record | None, table: FeatureTable) -> Change:
    if online is None:
        return "new"
    ours, theirs = (round(float(each[table.event_time]) * 1e6) for each in (record, online))
    if ours != theirs:
        return "older" if ours > theirs else "ahead"
    if table.known_at is None or record[table.known_at] == online[table.known_at]:  # no row has the times of another
        return "there"
    return "replaced" if record[table.known_at] > online[table.known_at] else "ahead"


def _put(known: Sequence[tuple[Change, Record]], table: FeatureTable, store: Store) -> None:
    for change, record in known:
        if change == "replaced":
            store.client.delete_record(
                FeatureGroupName=store.group,
                RecordIdentifierValueAsString=record[identifier(table.keys)],
                EventTime=f"{float(record[table.event_time]) + 0.001:.6f}",  # it has to be later than the record's
                TargetStores=["OnlineStore"],
                DeletionMode="HardDelete",
            )
    store.put([record for change, record in known if change in ("new", "older", "replaced")])


def check_values(lake: Lake, table: FeatureTable, version: TableVersion, now: datetime) -> None:
    check(
        newest(lake, table, version, now),
        table.keys,
        table.event_time,
        subject=f"the newest values of {table.name}",
        remedy="write corrected rows to the table, or a table without that value",
    )
