"""A feature table in SageMaker Feature Store: its group, the newest record of each key once, and SQL over the rest."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import boto3
import pyarrow as pa
import pytest
import yaml
from moto import mock_aws

import lakewright as lw
from lakewright.data.features import defined
from lakewright.data.lake import athena
from lakewright.errors import DataError, LakewrightError, NotFound, UsageError
from lakewright.targets.sagemaker import feature_groups, feature_runtime
from lakewright.targets.sagemaker.feature_groups import GroupPublished, group
from lakewright.targets.sagemaker.settings import SageMakerSettings
from platforms.sagemaker.feature_store import FeatureStore, served
from platforms.sagemaker.given import TARGET
from platforms.sagemaker.runner import refusals

TABLE, GROUP = "main.shop.daily", "main-shop-daily"
NOW = datetime.now(UTC).replace(microsecond=250_001)
Lakewright = Callable[..., subprocess.CompletedProcess[str]]


def settings(**more: Any) -> SageMakerSettings:
    return SageMakerSettings.model_validate(TARGET | more)


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[FeatureStore]:
    monkeypatch.chdir(tmp_path)
    target = TARGET | {"feature_store": "s3://our-lake/features"}
    profiles = {"prod": {"target": target, "workspace": "lakewright"}, "here": {"workspace": "lakewright"}}
    (tmp_path / "profiles.yml").write_text(yaml.safe_dump({"default": "prod", "profiles": profiles}))
    for module in (feature_groups, athena, feature_runtime):
        monkeypatch.setattr(module, "SECONDS", 0.01)
    made = FeatureStore()
    with served(made) as environment:
        for name, value in environment.items():
            monkeypatch.setenv(name, value)
        yield made


def daily(**options: Any) -> None:
    values = {"spend": "double", "plan": "string", "active": "boolean", "since": "date"}
    given = {"keys": {"customer": "bigint"}, "known_at": "loaded", "ttl": "30d", **options}
    lw.features.create(TABLE, event_time="day", values=values, **given)


def write(*rows: tuple[int, float, float, float | None, str | None]) -> None:
    """Customer, days ago, known days ago, spend, plan."""
    customers, events, known, spends, plans = zip(*rows, strict=True)
    time = pa.timestamp("us", "UTC")
    columns = {
        "customer": pa.array(customers, pa.int64()),
        "day": pa.array([NOW - timedelta(days=each) for each in events], time),
        "loaded": pa.array([NOW - timedelta(days=each) for each in known], time),
        "spend": pa.array(spends, pa.float64()),
        "plan": pa.array(plans, pa.string()),
        "active": pa.array([True] * len(rows)),
        "since": pa.array([NOW.date()] * len(rows)),
    }
    lw.features.write(TABLE, pa.table(columns))


def publish() -> GroupPublished:
    return lw.features.publish(TABLE, to="sagemaker")


def counted(published: GroupPublished) -> tuple[int, ...]:
    return published.new, published.older, published.replaced, published.there, published.ahead


def test_the_group_has_keys_time_types_and_time_to_live() -> None:
    values = {"spend": "double", "plan": "string", "active": "boolean", "since": "date"}
    table = defined(TABLE, {"customer": "bigint"}, "day", values, known_at="loaded", ttl="30d")
    body = group(table, settings(feature_store="s3://our-lake/features", kms_key="key"))
    assert refusals("sagemaker", "CreateFeatureGroup", body) == ""
    assert (body["RecordIdentifierFeatureName"], body["EventTimeFeatureName"]) == ("customer", "day")
    assert {each["FeatureName"]: each["FeatureType"] for each in body["FeatureDefinitions"]} == {
        "customer": "Integral", "day": "Fractional", "loaded": "String", "spend": "Fractional", "plan": "String",
        "active": "Integral", "since": "String",
    }  # fmt: skip
    assert body["OnlineStoreConfig"] == {
        "EnableOnlineStore": True,
        "SecurityConfig": {"KmsKeyId": "key"},
        "TtlDuration": {"Unit": "Seconds", "Value": 30 * 86_400},
    }
    with mock_aws():
        sagemaker = boto3.client("sagemaker", region_name="us-east-1")
        sagemaker.create_feature_group(**body)
        found = sagemaker.describe_feature_group(FeatureGroupName=GROUP)
    assert found["FeatureDefinitions"] == body["FeatureDefinitions"]


@pytest.mark.parametrize(
    ("name", "keys", "value", "why"),
    [
        (TABLE, {"customer": "bigint"}, "write_time", "uses the name 'write_time' itself"),
        (TABLE, {"customer": "bigint"}, "_spend", "no feature named '_spend'"),
        (TABLE, {"customer": "bigint"}, "spend in €", "no feature named 'spend in €'"),
        (TABLE, {"customer": "bigint"}, "s" * 65, "no feature named"),
        (TABLE, {"a": "bigint", "b": "string"}, "record_id", "uses the name 'record_id' itself"),
        (f"main.shop.{'d' * 60}", {"customer": "bigint"}, "spend", "a name of 70 characters"),
    ],
)
def test_names_that_feature_store_lacks(name: str, keys: dict[str, str], value: str, why: str) -> None:
    with pytest.raises(UsageError, match=why):
        group(defined(name, keys, "day", {value: "double"}), settings())


def test_the_newest_values_of_each_key_once(store: FeatureStore) -> None:
    daily()
    write(
        (1, 3, 3, 1.5, "a"), (1, 2, 2, 2.5, None), (2, 5, 5, 0.1, "b"), (3, 40, 40, 9.0, "old"), (4, 3, -1, 7.0, "late")
    )
    first = publish()
    assert (first.group, first.made, first.records, counted(first)) == (GROUP, True, 2, (2, 0, 0, 0, 0))
    day = (NOW - timedelta(days=2)).timestamp()
    assert store.online[GROUP]["1"] == {
        "customer": "1",
        "day": f"{day:.6f}",
        "loaded": (NOW - timedelta(days=2)).replace(tzinfo=None).isoformat() + "Z",
        "spend": "2.5",
        "active": "1",
        "since": NOW.date().isoformat(),
    }
    again = publish()
    assert (again.made, counted(again)) == (False, (0, 0, 0, 2, 0)) and len(store.offline[GROUP]) == 2

    # newer ones; a correction of the same event; and one that is of the past
    write((1, 1, 1, 4.0, "c"), (2, 5, 1, 0.2, "b"), (2, 8, 0.5, 8.0, "older"))
    assert counted(publish()) == (0, 1, 1, 0, 0)
    assert (store.online[GROUP]["1"]["spend"], store.online[GROUP]["2"]["spend"]) == ("4", "0.2")
    store.online[GROUP]["1"]["day"] = f"{NOW.timestamp() + 9:.6f}"  # somebody's
    assert counted(publish()) == (0, 0, 0, 1, 1)

    standing = lw.features.published(TABLE).as_json()
    assert standing == {
        "table": f"{TABLE}@v2", "group": GROUP, "status": "Created", "records": 2, "online": 1, "older": 0, "ahead": 1,
        "missing": 0, "offline": 4,
    }  # fmt: skip
    del store.online[GROUP]["1"]
    assert lw.features.published(TABLE).missing == 1


def test_a_key_of_several_columns(store: FeatureStore) -> None:
    keys = {"country": "string", "customer": "bigint"}
    lw.features.create(TABLE, keys=keys, event_time="day", values={"spend": "float"})
    lw.features.write(
        TABLE,
        "select * from (values ('d\"e', 7::bigint, timestamptz '2024-01-31 00:00:00+00', 0.1::float)) "
        "as t(country, customer, day, spend)",
    )
    assert publish().new == 1
    assert store.online[GROUP] == {
        '["d\\"e",7]': {
            "country": 'd"e',
            "customer": "7",
            "spend": "0.1",
            "day": "1706659200.000000",
            "record_id": '["d\\"e",7]',
        }
    }
    assert publish().there == 1


def test_what_is_left_out_or_throttled_is_sent_again(store: FeatureStore) -> None:
    daily()
    write(*((each, 1, 1, each / 8, "a") for each in range(230)))
    store.left_out, store.throttled = 5, 3
    assert publish().new == 230 and len(store.online[GROUP]) == len(store.offline[GROUP]) == 230
    assert (store.left_out, store.throttled) == (0, 0)
    store.left_out = 10**6
    with pytest.raises(LakewrightError, match="left records out again and again"):
        publish()


def test_another_group_of_this_name_is_left_alone(store: FeatureStore) -> None:
    daily()
    write((1, 1, 1, 1.0, "a"))
    publish()
    of_table = store.groups[GROUP]
    for change, why in [
        ({"Description": "ours"}, "it is not that of this table"),
        ({"FeatureDefinitions": of_table["FeatureDefinitions"][1:]}, "other features than the table: 'customer'"),
        ({"OnlineStoreConfig": {"EnableOnlineStore": True}}, "another time to live"),
    ]:
        store.groups[GROUP] = {**of_table, **change}
        with pytest.raises(UsageError, match=why):
            publish()
    store.groups[GROUP] = {**of_table, "FeatureGroupStatus": "CreateFailed", "FailureReason": "no bucket"}
    with pytest.raises(LakewrightError, match="CreateFailed, and not Created: no bucket"):
        publish()


def test_what_cannot_be_published(store: FeatureStore) -> None:
    daily()
    with pytest.raises(UsageError, match="the target of the profile here is local"):
        lw.features.publish(TABLE, to="sagemaker", profile="here")
    with pytest.raises(NotFound, match=f"no feature group {GROUP}"):
        lw.features.published(TABLE)
    write((1, 1, 1, float("nan"), "a"), (2, 1, 1, float("inf"), "a"))
    with pytest.raises(DataError, match=r"NaN or infinity.*in 2 rows of column 'spend'; nothing was published"):
        publish()
    write((1, 0.5, 0.5, 1.0, "x" * 358_401), (2, 0.5, 0.5, 1.0, "a"))
    with pytest.raises(DataError, match=r"more than 358,400 bytes, .*in 1 row of column 'plan'"):
        publish()
    write((1, 0.4, 0.4, 1.0, "x" * 358_390))
    with pytest.raises(DataError, match="more than 358,400 bytes in a record, in 1 row of all columns together"):
        publish()
    assert not store.groups


def test_sql_over_the_offline_store(store: FeatureStore, lakewright: Lakewright) -> None:
    daily()
    write((1, 2, 2, 2.5, None), (2, 5, 5, 0.1, "b"), (3, 5, 5, None, "c"))
    publish()
    told = lakewright("features", "query", TABLE, "select customer, spend, plan from {table} order by 1", "--json")
    assert told.returncode == 0, told.stderr
    assert json.loads(told.stdout)["rows"] == [
        {"customer": 1, "spend": 2.5, "plan": None},
        {"customer": 2, "spend": 0.1, "plan": "b"},
        {"customer": 3, "spend": None, "plan": "c"},
    ]
    with pytest.raises(UsageError, match="does not name"):
        lw.features.query(TABLE, "select 1")
    with pytest.raises(LakewrightError, match="Athena ended the query as FAILED"):
        lw.features.query(TABLE, "select nothing from {table}")
    del store.groups[GROUP]["OfflineStoreConfig"]
    assert lw.features.published(TABLE).offline is None
    with pytest.raises(UsageError, match="has no offline store"):
        lw.features.query(TABLE, "select 1 from {table}")


def test_killed_it_goes_on_where_it_was(store: FeatureStore, lakewright: Lakewright) -> None:
    daily()
    write(*((each, 1, 1, each / 8, "a") for each in range(900)))
    enough = threading.Event()
    store.after = lambda operation: enough.set() if store.calls.count("BatchWriteRecord") > 10 else None
    command = [sys.executable, "-m", "lakewright.cli", "features", "publish", TABLE, "--to", "sagemaker"]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    assert enough.wait(120)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    told = lakewright("features", "publish", TABLE, "--to", "sagemaker", "--json")
    assert told.returncode == 0, told.stderr
    published = json.loads(told.stdout)
    assert 0 < published["there"] < 900 and published["there"] + published["new"] == published["records"] == 900
    assert len(store.online[GROUP]) == len(store.offline[GROUP]) == 900
    shown = lakewright("features", "status", TABLE, "--of", "sagemaker")
    assert "online: 900" in shown.stdout and "offline: 900" in shown.stdout
