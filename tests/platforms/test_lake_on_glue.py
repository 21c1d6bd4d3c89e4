"""The lake's names in the Glue Data Catalog (moto's, with its access control on): entries as Athena reads them."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import pyarrow as pa
import pytest
from botocore.awsrequest import AWSResponse
from botocore.exceptions import ClientError, EndpointConnectionError
from databricks.sdk.service.catalog import ColumnInfo
from deltalake import write_deltalake
from hypothesis import given, settings
from hypothesis import strategies as st
from sqlglot import exp

from lakewright.data.lake.catalogs import Denied
from lakewright.data.lake.catalogs.glue import GlueCatalog, GlueSettings, _answer
from lakewright.data.lake.catalogs.glue.entries import column_info, hive_type, table_input
from lakewright.data.lake.catalogs.unity import _column
from lakewright.data.lake.changes import change
from lakewright.data.lake.names import TableName
from lakewright.data.lake.tables import Lake
from lakewright.data.lake.types import columns_info, storable
from lakewright.data.lake.upkeep import Upkeep, drop
from lakewright.errors import Busy, DataError, LakewrightError, NotFound, ProfileError, UsageError

if TYPE_CHECKING:
    from platforms.unity import Guarded

pytest_plugins = ["platforms.unity"]

ROWS = pa.table({"id": [1, 2, 3], "Text": ["a", "b", None]})


class Shop:
    """A Glue database, which is a schema, of one test, and who may do what with it."""

    def __init__(self, guarded: Guarded) -> None:
        self.guarded, self.schema = guarded, f"demo_{uuid4().hex[:8]}"
        self.root = f"s3://{guarded.bucket}/{self.schema}"
        self.glue = guarded.client("glue")

    def lake(self, *denied: str, **more: Any) -> Lake:
        refused = [{"Effect": "Deny", "Action": list(denied), "Resource": "*"}] if denied else []
        allowed = [{"Effect": "Allow", "Action": ["glue:*", "s3:*"], "Resource": "*"}]
        keys = self.guarded.session([*allowed, *refused])
        options = {
            **self.guarded.options,
            "AWS_ACCESS_KEY_ID": keys["AccessKeyId"],
            "AWS_SECRET_ACCESS_KEY": keys["SecretAccessKey"],
            "AWS_SESSION_TOKEN": keys["SessionToken"],
        }
        return Lake(GlueCatalog(GlueSettings(endpoint=self.guarded.address, **more), options), self.root, options)

    def name(self, table: str = "reviews") -> str:
        return f"main.{self.schema}.{table}"

    def entry(self, table: str = "reviews") -> dict[str, Any]:
        found: dict[str, Any] = self.glue.get_table(DatabaseName=self.schema, Name=table)["Table"]
        return {name: value for name, value in found.items() if name not in ("CreateTime", "UpdateTime", "CatalogId")}


@pytest.fixture
def shop(guarded: Guarded) -> Shop:
    return Shop(guarded)


def test_an_entry_is_what_athenas_documentation_shows(shop: Shop) -> None:
    table = shop.lake().write(shop.name(), ROWS, comment="what people say")
    entry = shop.entry()
    parameters = entry["Parameters"]
    assert (entry["Name"], entry["DatabaseName"], entry["TableType"]) == ("reviews", shop.schema, "EXTERNAL_TABLE")
    assert (entry["Description"], entry["PartitionKeys"]) == ("what people say", [])
    assert {name: parameters[name] for name in ("EXTERNAL", "spark.sql.sources.provider")} == {
        "EXTERNAL": "TRUE",
        "spark.sql.sources.provider": "delta",
    }
    assert entry["StorageDescriptor"]["Location"] == table.uri
    assert entry["StorageDescriptor"]["SerdeInfo"]["Parameters"] == {"serialization.format": "1", "path": table.uri}
    columns = [(column["Name"], column["Type"]) for column in entry["StorageDescriptor"]["Columns"]]
    assert columns == [("id", "bigint"), ("text", "string")]


def test_the_entry_follows_the_table_and_keeps_what_others_added(shop: Shop) -> None:
    lake = shop.lake()
    lake.write(shop.name(), ROWS, comment="what people say")
    entry = shop.entry()
    entry["Parameters"]["team"] = "reviews"
    known = {"Name", "Description", "TableType", "Parameters", "StorageDescriptor", "PartitionKeys"}
    shop.glue.update_table(DatabaseName=shop.schema, TableInput={k: v for k, v in entry.items() if k in known})
    lake.write(shop.name(), pa.table({"n": pa.array([1], pa.int16())}))
    entry = shop.entry()
    assert entry["Parameters"]["team"] == "reviews" and entry["Description"] == "what people say"
    assert entry["Parameters"]["delta.lastUpdateVersion"] == "1"
    assert entry["StorageDescriptor"]["Columns"] == [{"Name": "n", "Type": "smallint", "Comment": ""}]
    assert [table["rows"] for table in lake.list() if table["full_name"] == shop.name()] == [1]


def of_spark(shop: Shop, guarded: Guarded, **parameters: str) -> str:
    """An entry as Spark writes it: no real columns, a placeholder, and the path beside the SerDe's parameters."""
    uri = f"s3://{guarded.bucket}/elsewhere/{shop.schema}"
    write_deltalake(uri, ROWS, storage_options=dict(guarded.admin))
    shop.glue.create_database(DatabaseInput={"Name": shop.schema})
    described = {
        "Columns": [{"Name": "col", "Type": "array<string>"}],
        "Location": f"s3://{guarded.bucket}/{shop.schema}-__PLACEHOLDER__",
        "SerdeInfo": {"Parameters": {"path": f"{uri}/", "serialization.format": "1"}},
    }
    made = {"Name": "reviews", "TableType": "EXTERNAL_TABLE", "StorageDescriptor": described}
    shop.glue.create_table(DatabaseName=shop.schema, TableInput={**made, "Parameters": parameters})
    return uri


@pytest.mark.parametrize("said", [{"spark.sql.sources.provider": "delta"}, {"table_type": "DELTA"}])
def test_the_entries_of_others_are_read_and_left_alone(said: dict[str, str], shop: Shop, guarded: Guarded) -> None:
    uri, lake = of_spark(shop, guarded, **said), shop.lake()
    before = shop.entry()
    assert lake.version(shop.name()).uri == uri
    written = lake.write(shop.name(), ROWS, mode="append")
    assert (written.uri, written.version, lake.read(written).num_rows) == (uri, 1, 6)
    assert shop.entry() == before
    assert shop.name() in [table["full_name"] for table in lake.list()]


def files_below(guarded: Guarded, prefix: str) -> int:
    return int(guarded.client("s3").list_objects_v2(Bucket=guarded.bucket, Prefix=prefix)["KeyCount"])


def test_a_dropped_table_is_gone_with_its_files_and_those_of_others_stay(shop: Shop, guarded: Guarded) -> None:
    uri, lake = of_spark(shop, guarded, table_type="DELTA"), shop.lake()
    lake.write(shop.name("own"), ROWS)
    change(lake, f"delete from {shop.name('own')} where id = 1")
    dropped = drop(lake, Upkeep("drop", shop.name("own")))
    assert (dropped.did, dropped.note, lake.version(shop.name()).rows) == ("dropped", "", 3)
    assert files_below(guarded, f"{shop.schema}/main/{shop.schema}/own/") == 0
    with pytest.raises(NotFound):
        lake.version(shop.name("own"))
    assert drop(lake, Upkeep("drop", shop.name())).note == f"its files stay in {uri}"
    assert lake.catalog.list_tables("main", shop.schema) == []
    assert files_below(guarded, f"elsewhere/{shop.schema}/") > 0


def test_what_is_not_delta_is_not_opened(shop: Shop, guarded: Guarded) -> None:
    of_spark(shop, guarded, table_type="ICEBERG")
    with pytest.raises(DataError, match="in Glue, as ICEBERG, not as a Delta table"):
        shop.lake().version(shop.name())
    assert shop.lake().catalog.list_tables("main", shop.schema) == []


def test_who_may_read_alone_reads_what_is_newer_than_the_entry(
    shop: Shop, guarded: Guarded, caplog: pytest.LogCaptureFixture
) -> None:
    table = shop.lake().write(shop.name(), ROWS)
    write_deltalake(table.uri, ROWS, mode="append", storage_options=dict(guarded.admin))  # by another engine
    reader = shop.lake("glue:UpdateTable", "s3:PutObject")
    with caplog.at_level(logging.WARNING, "lakewright"):
        assert reader.version(shop.name()).rows == 6
    assert "is not up to date" in caplog.text and "glue:UpdateTable" in caplog.text


def test_the_first_part_of_a_name_is_the_profiles(shop: Shop) -> None:
    shop.lake(catalog_name="lake").write(f"lake.{shop.schema}.reviews", ROWS)
    with pytest.raises(UsageError, match="not in the catalog of this profile") as caught:
        shop.lake().version(f"lake.{shop.schema}.reviews")
    assert f"write main.{shop.schema}" in caught.value.remedy
    assert shop.lake().version(shop.name()).rows == 3


def test_a_lake_in_a_folder_is_none_for_athena(shop: Shop, tmp_path: Any) -> None:
    with pytest.raises(ProfileError, match="Athena cannot read a table"):
        Lake(shop.lake().catalog, str(tmp_path)).write(shop.name(), ROWS)


def test_keys_that_are_over_say_so(shop: Shop, guarded: Guarded) -> None:
    options = {**guarded.admin, "AWS_SESSION_TOKEN": "the token of yesterday"}
    catalog = GlueCatalog(GlueSettings(endpoint=guarded.address), options)
    with pytest.raises(Denied) as caught:
        catalog.get_table(TableName("main", shop.schema, "reviews"))
    assert "the token of yesterday" not in str(caught.value)


def test_an_entry_that_another_changes_at_the_same_time_is_changed_after_it(shop: Shop) -> None:
    lake = shop.lake()
    lake.write(shop.name(), ROWS)
    assert isinstance(lake.catalog, GlueCatalog)
    refused: list[str] = []

    def just_changed(request: Any, **_: Any) -> AWSResponse | None:
        if refused:
            return None
        refused.append(request.url)
        body = b'{"__type": "ConcurrentModificationException", "message": "Update table failed"}'

        class Raw:
            def stream(self, **_: Any) -> list[bytes]:
                return [body]

        return AWSResponse(request.url, 400, {"content-type": "application/x-amz-json-1.1"}, Raw())

    lake.catalog._client.meta.events.register("before-send.glue.UpdateTable", just_changed)
    assert lake.write(shop.name(), ROWS, mode="append").version == 1
    assert len(refused) == 1 and shop.entry()["Parameters"]["delta.lastUpdateVersion"] == "1"


@pytest.mark.parametrize(
    ("code", "status", "kind", "remedy"),
    [
        ("ThrottlingException", 400, Busy, "wait"),
        ("ExpiredTokenException", 400, Denied, "sign in again"),
        ("AccessDeniedException", 400, Denied, "glue:GetTable"),
        ("InvalidInputException", 400, LakewrightError, "correct the cause"),
    ],
)
def test_glues_errors_are_ours(code: str, status: int, kind: type[LakewrightError], remedy: str) -> None:
    def refuse() -> None:
        answer = {"Error": {"Code": code, "Message": "no"}, "ResponseMetadata": {"HTTPStatusCode": status}}
        raise ClientError(answer, "GetTable")  # type: ignore[arg-type]

    with pytest.raises(kind, match="no") as caught:
        _answer("read the entry of a.b.c", "glue:GetTable", refuse)
    assert type(caught.value) is kind and remedy in caught.value.remedy


def test_a_network_that_is_not_there_is_told() -> None:
    def fail() -> None:
        raise EndpointConnectionError(endpoint_url="https://glue.nowhere.amazonaws.com")

    with pytest.raises(LakewrightError, match=r"cannot be reached to list tables: .*glue\.nowhere"):
        _answer("list tables", "glue:GetTables", fail)


# Types -------------------------------------------------------------------------------------------------------------

FIELDS = st.from_regex(r"[a-z][a-z0-9_]{0,8}", fullmatch=True)
NUMBERS = [pa.int8(), pa.int16(), pa.int32(), pa.int64(), pa.uint16(), pa.float16(), pa.float32(), pa.float64()]
TIMES = [pa.date32(), pa.timestamp("ns"), pa.timestamp("us", "UTC")]
PLAIN = st.sampled_from([*NUMBERS, *TIMES, pa.bool_(), pa.string(), pa.large_string(), pa.binary()])
DECIMALS = st.integers(1, 38).flatmap(lambda digits: st.builds(pa.decimal128, st.just(digits), st.integers(0, digits)))


def nested(inner: st.SearchStrategy[pa.DataType]) -> st.SearchStrategy[pa.DataType]:
    structs = st.dictionaries(FIELDS, inner, min_size=1, max_size=3).map(lambda of: pa.struct(list(of.items())))
    return st.one_of(st.builds(pa.list_, inner), st.builds(pa.map_, PLAIN, inner), structs)


@settings(max_examples=150)
@given(st.recursive(st.one_of(PLAIN, DECIMALS), nested, max_leaves=6))
def test_a_type_is_the_same_in_all_its_words(kind: pa.DataType) -> None:
    """SQL's parser reads Spark's words (type_text) and Hive's (from Delta's, type_json) as one and the same type."""
    (info,) = columns_info(storable(pa.schema([("c", kind)])))
    entered = table_input(TableName("a", "b", "c"), "id", "s3://x", [info], {}, "", {})["StorageDescriptor"]["Columns"]
    spark = exp.DataType.build(info["type_text"].replace("timestamp_ntz", "timestamp"), dialect="spark")
    hive = exp.DataType.build(entered[0]["Type"], dialect="hive")
    assert hive.sql("hive") == spark.sql("hive")
    told = column_info(entered[0], 0)
    assert told["type_name"] == info["type_name"].replace("TIMESTAMP_NTZ", "TIMESTAMP")
    sent = _column(info).as_dict()  # the enumeration of Unity Catalog has the name
    assert ColumnInfo.from_dict(sent).as_dict() == sent


def test_hive_has_one_timestamp_and_its_own_numbers() -> None:
    kind = {"type": "struct", "fields": [{"name": "a", "type": "byte"}, {"name": "b", "type": "timestamp_ntz"}]}
    assert (
        hive_type({"type": "map", "keyType": "integer", "valueType": kind}) == "map<int,struct<a:tinyint,b:timestamp>>"
    )
