"""The rows of a features table in SageMaker Feature Store: each row of a version, once."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
import yaml

import lakewright as lw
from lakewright.errors import DataError, LakewrightError, UsageError
from lakewright.records import TableVersion
from lakewright.settings.profile import load_profile
from lakewright.targets.sagemaker import feature_groups, feature_runtime
from lakewright.targets.sagemaker.features import put_features
from lakewright.workspace import Workspace
from platforms.sagemaker.feature_store import FeatureStore, served
from platforms.sagemaker.given import TARGET

TABLE, GROUP = "main.shop.things_features", "main-shop-things-features"
BEGAN = datetime(2026, 1, 1, 12, microsecond=250_001, tzinfo=UTC)
PUT = """
from lakewright.settings.profile import load_profile
from lakewright.targets.sagemaker.features import put_features
from lakewright.workspace import Workspace
workspace = Workspace.open(load_profile("prod"))
put_features(workspace, workspace.lake.version("main.shop.things_features"))
"""


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[FeatureStore]:
    monkeypatch.chdir(tmp_path)
    target = TARGET | {"feature_store": "s3://our-lake/features"}
    (tmp_path / "profiles.yml").write_text(
        yaml.safe_dump({"profiles": {"prod": {"target": target, "workspace": "lakewright"}}})
    )
    for module in (feature_groups, feature_runtime):
        monkeypatch.setattr(module, "SECONDS", 0.01)
    made = FeatureStore()
    with served(made) as environment:
        for name, value in environment.items():
            monkeypatch.setenv(name, value)
        yield made


@pytest.fixture
def workspace(store: FeatureStore) -> Workspace:
    return Workspace.open(load_profile("prod"))


def rows(count: int, **more: pa.Array) -> pa.Table:
    texts = [None if each % 7 == 3 else f'a "word"\n{each}' for each in range(count)]
    columns = {
        "record_id": pa.array([f"r{each}" for each in range(count)]),
        "event_time": pa.array([BEGAN + timedelta(hours=each) for each in range(count)], pa.timestamp("us", "UTC")),
        "split": pa.array(["train"] * count),
        "row": pa.array(range(count), pa.int64()),
        "inputs": pa.array([{"text": text, "count": 2} for text in texts]),
        "ids": pa.array([[each, 1] * (each % 3) for each in range(count)], pa.list_(pa.int32())),
        "target": pa.array([[0.5, float(each)] for each in range(count)], pa.list_(pa.float32())),
        "weight": pa.array([0.1] * count, pa.float32()),
        "known": pa.array([each % 2 == 0 for each in range(count)]),
        "part": pa.nulls(count, pa.int16()),
    }
    return pa.table({**columns, **more})


def written(workspace: Workspace, table: pa.Table) -> TableVersion:
    return workspace.lake.write(TABLE, table.to_reader(), mode="overwrite")


def test_every_row_is_a_record_and_no_value_is_lost(store: FeatureStore, workspace: Workspace) -> None:
    table = rows(2_600)
    version = written(workspace, table)
    store.left_out, store.throttled = 5, 3
    put_features(workspace, version)
    assert (store.left_out, store.throttled) == (0, 0)
    assert store.groups[GROUP]["FeatureGroupStatus"] == "Created" and "OnlineStoreConfig" not in store.groups[GROUP]
    assert len(store.offline[GROUP]) == 2_600
    for record, row in zip(
        sorted(store.offline[GROUP], key=lambda each: int(each["row"])), table.to_pylist(), strict=True
    ):
        assert set(record) == {*table.schema.names} - {"part"}  # a null is left out
        assert round(float(record["event_time"]) * 10**6) == round(row["event_time"].timestamp() * 10**6)
        assert (record["record_id"], record["row"]) == (row["record_id"], str(row["row"]))
        assert (record["weight"], record["known"]) == ("0.1", str(int(row["known"])))
        for name in ("inputs", "ids", "target"):
            assert json.loads(record[name]) == row[name]


def test_a_version_is_put_once(store: FeatureStore, workspace: Workspace) -> None:
    first = written(workspace, rows(30))
    put_features(workspace, first)
    put_features(workspace, first)
    assert len(store.offline[GROUP]) == 30
    second = written(workspace, rows(40))
    for version in (second, first, second):
        put_features(workspace, version)
    assert len(store.offline[GROUP]) == 30 + 40

    lw.sql(f"drop table {TABLE}", profile="prod")  # another table of this name begins with the same version
    again = written(workspace, rows(50))
    assert again.version == first.version
    for _ in range(2):
        put_features(workspace, again)
    assert len(store.offline[GROUP]) == 30 + 40 + 50
    (tags,) = store.tags.values()
    assert len(tags) == 1


def test_the_last_versions_are_noted(store: FeatureStore, workspace: Workspace) -> None:
    put_features(workspace, written(workspace, rows(1)))
    (tags,) = store.tags.values()
    ((_, table),) = tags.items()
    tags |= {"team": "ours", "lakewright.features.v99": "another table's"}
    tags |= {f"lakewright.features.v{each}": table for each in range(200, 225)}
    version = written(workspace, rows(1))
    for _ in range(2):
        put_features(workspace, version)
    assert len(store.offline[GROUP]) == 2
    noted = [version.version, *range(205, 225)]
    assert tags == {"team": "ours", **{f"lakewright.features.v{each}": table for each in noted}}


def test_killed_it_begins_again_and_is_noted_when_it_is_done(store: FeatureStore, workspace: Workspace) -> None:
    written(workspace, rows(900))
    enough = threading.Event()
    store.after = lambda operation: enough.set() if store.calls.count("BatchWriteRecord") > 10 else None
    process = subprocess.Popen([sys.executable, "-c", PUT], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    assert enough.wait(120)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    assert "AddTags" not in store.calls
    before = len(store.offline[GROUP])
    for _ in range(2):
        subprocess.run([sys.executable, "-c", PUT], check=True, capture_output=True)
    assert len(store.offline[GROUP]) >= before + 900 and store.calls.count("AddTags") == 1
    whole = {json.dumps(each, sort_keys=True) for each in store.offline[GROUP]}
    assert len(whole) == 900  # what was put again is the same


def nth(values: dict[int, Any], kind: pa.DataType, other: Any) -> pa.Array:
    return pa.array([values.get(each, other) for each in range(30)], kind)


@pytest.mark.parametrize(
    ("column", "values", "why"),
    [
        (
            "event_time", nth({3: None, 4: None}, pa.timestamp("us", "UTC"), BEGAN),
            "no value, which Feature Store needs, in 2 rows of column 'event_time'; nothing was published",
        ),
        ("record_id", nth({3: "i" * 2_049}, pa.string(), "i"), "more than 2,048 bytes, .*1 row of column 'record_id'"),
        ("inputs", nth({3: "é" * 179_201}, pa.string(), "i"), "more than 358,400 bytes, .* 1 row of column 'inputs'"),
        ("inputs", nth({3: "é" * 179_190}, pa.string(), "i"), "358,400 bytes in a record, in 1 row of all columns"),
        ("weight", nth({3: float("nan")}, pa.float32(), 1), "NaN or infinity, .* in 1 row of column 'weight'"),
    ],
)  # fmt: skip
def test_what_feature_store_does_not_take(
    store: FeatureStore, workspace: Workspace, column: str, values: pa.Array, why: str
) -> None:
    version = written(workspace, rows(30, **{column: values}))
    with pytest.raises(DataError, match=why):
        put_features(workspace, version)
    assert not store.groups


def test_a_group_with_other_features_is_left_alone(store: FeatureStore, workspace: Workspace) -> None:
    put_features(workspace, written(workspace, rows(3)))
    lw.sql(f"drop table {TABLE}", profile="prod")
    with pytest.raises(UsageError, match="other features than the table: 'length'"):
        put_features(workspace, written(workspace, rows(3, length=pa.array([1, 2, 3]))))
    assert len(store.offline[GROUP]) == 3


def test_a_version_that_did_not_get_through_is_not_noted(store: FeatureStore, workspace: Workspace) -> None:
    version = written(workspace, rows(30))
    store.left_out = 10**6
    with pytest.raises(LakewrightError, match="left records out again and again"):
        put_features(workspace, version)
    assert "AddTags" not in store.calls
