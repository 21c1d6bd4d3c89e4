"""The newest values of a feature table's keys as records of a feature group, beside those that are online.

What is there is read before, so each record is put once, and a run that was killed goes on where it was. Of two records
of a key the one of the later event stays online. A correction has the time of its event, and Feature Store would take
it for history: the record that it corrects is deleted online just before.
"""

from __future__ import annotations

import base64
import random
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any, Literal

import pyarrow as pa
import pyarrow.compute as pc

from lakewright.data.exports.texts import joined, plain
from lakewright.data.features.newest import newest
from lakewright.errors import Busy, DataError, LakewrightError

if TYPE_CHECKING:
    from lakewright.data.features import FeatureTable
    from lakewright.data.lake.tables import Lake
    from lakewright.records import TableVersion

JOINED = "record_id"  # the feature that identifies a record of several keys
LONGEST = 358_400  # bytes of a value, by botocore's model
READ, WRITTEN = 100, 25  # records in a request, by botocore's model
REQUESTS = 8  # at once
ATTEMPTS = 10  # of a request, and of the records that it left out
SECONDS = 5.0  # between two of them, at most

Change = Literal["new", "older", "replaced", "there", "ahead"]
Record = dict[str, str]  # feature → value, but for nulls


@dataclass(frozen=True)
class Store:
    """A feature group at an address."""

    group: str
    client: Any  # boto3's of sagemaker-featurestore-runtime

    @classmethod
    def of(cls, group: str, region: str) -> Store:
        import boto3
        from botocore.config import Config

        config = Config(retries={"mode": "standard", "total_max_attempts": ATTEMPTS}, max_pool_connections=REQUESTS)
        return cls(group, boto3.Session(region_name=region).client("sagemaker-featurestore-runtime", config=config))


def compared(
    lake: Lake, table: FeatureTable, version: TableVersion, now: datetime, store: Store, *, put: bool
) -> Iterator[Counter[Change]]:
    """What is known now, beside what is online: so many records at a time. `put`: the online store is then as new."""

    def compare(records: Sequence[tuple[str, Record]]) -> Counter[Change]:
        online = _online([identifier for identifier, _ in records], table, store)
        changes = [_change(record, online.get(identifier), table) for identifier, record in records]
        if put:
            _put([(change, *each) for change, each in zip(changes, records, strict=True)], table, store)
        return Counter(changes)

    with ThreadPoolExecutor(REQUESTS) as pool:
        for batch in newest(lake, table, version, now):
            records = list(zip(_identifiers(batch, table), _records(batch, table), strict=True))
            yield from pool.map(compare, [records[at : at + READ] for at in range(0, len(records), READ)])


def _change(record: Record, online: Record | None, table: FeatureTable) -> Change:
    if online is None:
        return "new"
    ours, theirs = (round(float(each[table.event_time]) * 1e6) for each in (record, online))
    if ours != theirs:
        return "older" if ours > theirs else "ahead"
    if table.known_at is None or record[table.known_at] == online[table.known_at]:  # no row has the times of another
        return "there"
    return "replaced" if record[table.known_at] > online[table.known_at] else "ahead"


def _online(identifiers: Sequence[str], table: FeatureTable, store: Store) -> dict[str, Record]:
    """Identifier → the times of the record that is online."""
    found: dict[str, Record] = {}

    def read(asked: list[Any]) -> list[Any]:
        answer = store.client.batch_get_record(Identifiers=asked)
        _check_errors("BatchGetRecord", answer["Errors"])
        for each in answer["Records"]:
            values = {value["FeatureName"]: value.get("ValueAsString", "") for value in each["Record"]}
            found[each["RecordIdentifierValueAsString"]] = values
        return list(answer["UnprocessedIdentifiers"])

    asked = {"FeatureGroupName": store.group, "RecordIdentifiersValueAsString": [*identifiers]}
    _until_done(read, [{**asked, "FeatureNames": [*table.times]}])
    return found


def _put(records: Sequence[tuple[Change, str, Record]], table: FeatureTable, store: Store) -> None:
    def write(entries: list[Any]) -> list[Any]:
        answer = store.client.batch_write_record(Entries=entries)
        _check_errors("BatchWriteRecord", answer["Errors"])
        return list(answer["UnprocessedEntries"])

    entries = []
    for change, identifier, record in records:
        if change == "replaced":
            store.client.delete_record(
                FeatureGroupName=store.group,
                RecordIdentifierValueAsString=identifier,
                EventTime=f"{float(record[table.event_time]) + 0.001:.6f}",  # it has to be later than the record's
                TargetStores=["OnlineStore"],
                DeletionMode="HardDelete",
            )
        if change in ("new", "older", "replaced"):
            values = [{"FeatureName": feature, "ValueAsString": value} for feature, value in record.items()]
            entries.append({"FeatureGroupName": store.group, "Record": values})
    for at in range(0, len(entries), WRITTEN):
        _until_done(write, entries[at : at + WRITTEN])


def _until_done(send: Callable[[list[Any]], list[Any]], entries: list[Any]) -> None:
    """Sends what an answer leaves out again: Feature Store is then at its limit."""
    for attempt in range(ATTEMPTS):
        entries = send(entries)
        if not entries:
            return
        time.sleep(random.random() * min(SECONDS, 0.05 * 2**attempt))
    raise Busy(
        "SageMaker Feature Store left records out again and again: it is at its limit",
        "run the same command again later: it goes on where it was",
    )


def _check_errors(operation: str, errors: Sequence[Mapping[str, str]]) -> None:
    for error in errors:
        raise LakewrightError(
            f"SageMaker Feature Store refused a record in {operation}: {error['ErrorCode']}: {error['ErrorMessage']}",
            "correct it at its source; run the same command again: it goes on where it was",
        )


def _identifiers(batch: pa.RecordBatch, table: FeatureTable) -> list[str]:
    """The key's value; of several keys the JSON list of their values."""
    keys = [batch.column(key) for key in table.keys]
    texts = _text(keys[0]) if len(keys) == 1 else joined("[", [""] * len(keys), keys, "]")
    return list(texts.to_pylist())


def _records(batch: pa.RecordBatch, table: FeatureTable) -> list[Record]:
    """Each row's values as texts, without those that are null."""
    columns = {name: _text(batch.column(name)).to_pylist() for name in batch.schema.names if name != table.event_time}
    events = batch.column(table.event_time).cast(pa.int64()).to_pylist()
    columns[table.event_time] = [f"{'-' * (us < 0)}{abs(us) // 10**6}.{abs(us) % 10**6:06d}" for us in events]
    if len(table.keys) > 1:
        columns[JOINED] = _identifiers(batch, table)
    rows = zip(*columns.values(), strict=True)
    return [{name: value for name, value in zip(columns, row, strict=True) if value is not None} for row in rows]


def _text(column: pa.Array) -> pa.Array:
    if pa.types.is_boolean(column.type):
        return plain(column.cast(pa.int8()))
    if pa.types.is_binary(column.type):
        texts = [None if each is None else base64.b64encode(each).decode() for each in column.to_pylist()]
        return pa.array(texts, pa.string())
    return plain(column)


def check_values(lake: Lake, table: FeatureTable, version: TableVersion, now: datetime) -> None:
    counts = Counter[tuple[str, str]]()
    for batch in newest(lake, table, version, now):
        for name, column in zip(batch.schema.names, batch.columns, strict=True):
            if pa.types.is_floating(column.type):
                strange = pc.sum(pc.invert(pc.is_finite(column))).as_py() or 0
                counts[name, "NaN or infinity, which Feature Store may refuse"] += strange
            elif pa.types.is_string(column.type) or pa.types.is_binary(column.type):
                most = LONGEST if pa.types.is_string(column.type) else LONGEST // 4 * 3
                long = pc.sum(pc.greater(pc.binary_length(column), most)).as_py() or 0
                counts[name, f"more than {most:,} bytes, the most that Feature Store takes"] += long
    for (name, why), count in counts.items():
        if count:
            raise DataError(
                f"the newest values of {table.name} have {why}, in {count:,} row{'s' * (count > 1)} of column "
                f"{name!r}; nothing was published",
                "write corrected rows to the table, or a table without that value",
            )
