"""A feature group at its address, where records are put and read. What an answer leaves out is sent again."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from lakewright.errors import Busy, LakewrightError
from lakewright.targets.sagemaker.feature_texts import Record

WRITTEN = 25  # records in a request, by botocore's model
REQUESTS = 8  # at once
ATTEMPTS = 10  # of a request, and of the records that it left out
SECONDS = 5.0  # between two of them, at most


@dataclass(frozen=True)
class Store:
    group: str
    client: Any  # boto3's of sagemaker-featurestore-runtime

    @classmethod
    def of(cls, group: str, region: str) -> Store:
        import boto3
        from botocore.config import Config

        config = Config(retries={"mode": "standard", "total_max_attempts": ATTEMPTS}, max_pool_connections=REQUESTS)
        return cls(group, boto3.Session(region_name=region).client("sagemaker-featurestore-runtime", config=config))

    def put(self, records: Sequence[Record]) -> None:
        def write(entries: list[Any]) -> list[Any]:
            answer = self.client.batch_write_record(Entries=entries)
            _check_errors("BatchWriteRecord", answer["Errors"])
            return list(answer["UnprocessedEntries"])

        entries = [
            {
                "FeatureGroupName": self.group,
                "Record": [{"FeatureName": feature, "ValueAsString": value} for feature, value in record.items()],
            }
            for record in records
        ]
        for at in range(0, len(entries), WRITTEN):
            _until_done(write, entries[at : at + WRITTEN])

    def online(self, identifiers: Sequence[str], features: Sequence[str]) -> dict[str, Record]:
        """Identifier → these features of the record that is online."""
        found: dict[str, Record] = {}

        def read(asked: list[Any]) -> list[Any]:
            answer = self.client.batch_get_record(Identifiers=asked)
            _check_errors("BatchGetRecord", answer["Errors"])
            for each in answer["Records"]:
                values = {value["FeatureName"]: value.get("ValueAsString", "") for value in each["Record"]}
                found[each["RecordIdentifierValueAsString"]] = values
            return list(answer["UnprocessedIdentifiers"])

        asked = {"FeatureGroupName": self.group, "RecordIdentifiersValueAsString": [*identifiers]}
        _until_done(read, [{**asked, "FeatureNames": [*features]}])
        return found


def _until_done(send: Callable[[list[Any]], list[Any]], entries: list[Any]) -> None:
    """Sends what an answer leaves out again: Feature Store is then at its limit."""
    for attempt in range(ATTEMPTS):
        entries = send(entries)
        if not entries:
            return
        time.sleep(random.random() * min(SECONDS, 0.05 * 2**attempt))
    raise Busy(
        "SageMaker Feature Store left records out again and again: it is at its limit",
        "run the same command again later",
    )


def _check_errors(operation: str, errors: Sequence[Mapping[str, str]]) -> None:
    for error in errors:
        raise LakewrightError(
            f"SageMaker Feature Store refused a record in {operation}: {error['ErrorCode']}: {error['ErrorMessage']}",
            "correct it at its source, and run the same command again",
        )
