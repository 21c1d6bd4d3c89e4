"""The lake's names in Unity Catalog: whose tables are read and written where, with which keys, and what is refused."""

from __future__ import annotations

import http.server
import json
import logging
import subprocess
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pytest
from databricks.sdk.service import catalog as uc
from deltalake import DeltaTable, write_deltalake

import lakewright as lw
from conftest import one_object
from lakewright.data.lake.catalogs import Denied, Location
from lakewright.data.lake.catalogs.unity import UnityCatalog, UnitySettings
from lakewright.data.lake.catalogs.unity.credentials import unlocked
from lakewright.data.lake.names import TableName
from lakewright.data.lake.tables import Lake
from lakewright.errors import Busy, DataError, LakewrightError, NotFound, ProfileError, UsageError

if TYPE_CHECKING:
    from platforms.everywhere import Everywhere
    from platforms.unity import Guarded, Unity

pytest_plugins = ["platforms.unity"]

NAME = "main.demo.reviews"
ROWS = pa.table({"id": [1, 2, 3], "text": ["a", "b", None]})


def opened(unity: Unity, guarded: Guarded, **settings: Any) -> Lake:
    given = UnitySettings.model_validate({"host": unity.address, "token": unity.token, **settings})
    return Lake(UnityCatalog(given), f"{unity.external_location}/tables", guarded.options)


@pytest.fixture
def lake(unity: Unity, guarded: Guarded) -> Lake:
    return opened(unity, guarded)


def of_another(unity: Unity, guarded: Guarded, name: str = "main.health.visits", **more: Any) -> str:
    """A table of another owner, somewhere else than ours would lie."""
    uri = f"{unity.external_location}-unitystorage/{name}"
    write_deltalake(uri, ROWS, storage_options=dict(guarded.admin))
    catalog_name, schema_name, table = name.split(".")
    named = {"name": table, "catalog_name": catalog_name, "schema_name": schema_name, "full_name": name}
    said = {"table_type": "MANAGED", "data_source_format": "DELTA", "storage_location": uri, "owner": "another", **more}
    unity.add(uc.TableInfo.from_dict({**named, **said}))
    return uri


# Where tables lie --------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_a_new_table_is_an_external_one_under_the_lake(lake: Lake, unity: Unity) -> None:
    rows = pa.table(
        {"id": [1], "price": pa.array(["1.50"]).cast(pa.decimal128(10, 2)), "seen": pa.array([0], pa.timestamp("us"))}
    )
    table = lake.write("main.demo.prices", rows)
    assert table.uri == f"{unity.external_location}/tables/main/demo/prices"
    (sent,) = [sent for method, path, sent in unity.calls if (method, path[-7:]) == ("POST", "/tables")]
    columns = [{name: value for name, value in each.items() if name != "nullable"} for each in sent.pop("columns")]
    assert sent == {
        "name": "prices",
        "catalog_name": "main",
        "schema_name": "demo",
        "table_type": "EXTERNAL",
        "data_source_format": "DELTA",
        "storage_location": table.uri,
    }
    none = {"type_precision": 0, "type_scale": 0}
    ntz = {"type_name": "TIMESTAMP_NTZ", "type_text": "timestamp_ntz", "type_json": '"timestamp_ntz"'}
    decimal = {"type_name": "DECIMAL", "type_text": "decimal(10,2)", "type_json": '"decimal(10,2)"'}
    assert columns == [
        {"name": "id", "type_name": "LONG", "type_text": "bigint", "type_json": '"long"', "position": 0, **none},
        {"name": "price", **decimal, "position": 1, "type_precision": 10, "type_scale": 2},
        {"name": "seen", **ntz, "position": 2, **none},
    ]


def test_a_managed_table_is_read_where_it_lies_and_never_written(lake: Lake, unity: Unity, guarded: Guarded) -> None:
    uri = of_another(unity, guarded)
    table = lake.version("Main.Health.Visits")
    assert (table.uri, table.rows) == (uri, 3)
    assert lake.read(table, predicate="id > 1")["id"].to_pylist() == [2, 3]
    assert "main.health.visits" in [entry["full_name"] for entry in lake.list()]
    with pytest.raises(UsageError, match="managed table, which only Databricks writes"):
        lake.write("main.health.visits", ROWS)
    with pytest.raises(UsageError, match="would also delete its files"):
        lake.catalog.drop_table(TableName("main", "health", "visits"))
    assert {sent["operation"] for sent in unity.asked("temporary-table-credentials")} == {"READ"}


@pytest.mark.parametrize(
    ("more", "said"),
    [({"table_type": "VIEW"}, "is a view"), ({"data_source_format": "PARQUET"}, "is PARQUET in Unity Catalog")],
)
def test_what_is_no_delta_table_is_not_opened(
    more: dict[str, str], said: str, lake: Lake, unity: Unity, guarded: Guarded
) -> None:
    of_another(unity, guarded, **more)
    with pytest.raises(DataError, match=said):
        lake.version("main.health.visits")
    assert lake.list() == []


def test_other_columns_are_told_of_and_the_log_is_right(
    lake: Lake, unity: Unity, caplog: pytest.LogCaptureFixture
) -> None:
    lake.write(NAME, ROWS)
    with caplog.at_level(logging.WARNING, "lakewright"):
        lake.write(NAME, pa.table({"other": [1]}))
    assert f"REPAIR TABLE {NAME} SYNC METADATA" in caplog.text
    assert [column["name"] for column in lake.show(NAME)["columns"]] == ["other"]
    assert [column.name for column in unity.tables[NAME].columns or []] == ["id", "text"]


def test_a_lake_in_a_folder_is_no_place_for_its_tables(lake: Lake, guarded: Guarded, tmp_path: Any) -> None:
    local = Lake(lake.catalog, str(tmp_path))
    with pytest.raises(ProfileError, match="cannot hold a table in"):
        local.write(NAME, ROWS)
    with pytest.raises(NotFound):
        local.version(NAME)


def test_listing_can_be_limited(unity: Unity, guarded: Guarded) -> None:
    of_another(unity, guarded, "main.health.visits")
    of_another(unity, guarded, "main.sales.orders")
    limited = opened(unity, guarded, schemas=["main.sales"])
    assert [entry["full_name"] for entry in limited.list()] == ["main.sales.orders"]
    assert not unity.asked("/catalogs")


# Keys --------------------------------------------------------------------------------------------------------------


def test_keys_open_what_they_were_lent_for_alone(lake: Lake, unity: Unity, guarded: Guarded) -> None:
    table, other = lake.write(NAME, ROWS), lake.write("main.demo.other", ROWS)
    to_read = lake.catalog.locate(TableName("main", "demo", "reviews"), Location("s3://nowhere", guarded.options))
    options = dict(to_read.storage_options)
    assert (to_read.uri, DeltaTable(table.uri, storage_options=options).version()) == (table.uri, 0)
    for uri, doing in (
        (other.uri, DeltaTable),
        (table.uri, lambda at, **o: write_deltalake(at, ROWS, mode="append", **o)),
    ):
        with pytest.raises(Exception, match=r"403|privileges"):
            doing(uri, storage_options=options)
    with pytest.raises(Exception, match="400 Bad Request"):
        DeltaTable(table.uri, storage_options={**options, "AWS_SESSION_TOKEN": "another"})


def test_keys_to_read_are_used_again_while_they_hold(lake: Lake, unity: Unity, guarded: Guarded) -> None:
    table = lake.write(NAME, ROWS)

    def asked(doing: Callable[[], object]) -> list[str]:
        before = len(unity.asked("temporary-table-credentials"))
        doing()
        return [sent["operation"] for sent in unity.asked("temporary-table-credentials")[before:]]

    assert asked(lambda: [lake.read(table) for _ in range(3)]) == []  # the write itself read the table's version
    unity.seconds = 60
    reader = opened(unity, guarded)
    assert asked(lambda: [reader.read(table) for _ in range(2)]) == ["READ", "READ"]
    assert asked(lambda: lake.write(NAME, ROWS, mode="append"))[0] == "READ_WRITE"


def test_keys_that_are_over_say_so_and_are_not_repeated(lake: Lake, unity: Unity, guarded: Guarded) -> None:
    lake.write(NAME, ROWS)
    lend = unity.lend

    def over(uri: str, write: bool) -> uc.AwsCredentials:
        keys = lend(uri, write)
        return uc.AwsCredentials(keys.access_key_id, None, keys.secret_access_key, "the-session-token-of-yesterday")

    unity.lend = over
    with pytest.raises(DataError, match="cannot be read as a Delta table") as caught:
        opened(unity, guarded).version(NAME)
    assert "400" in caught.value.cause
    for secret in (unity.token, "the-session-token-of-yesterday"):
        assert secret not in str(caught.value)


def test_keys_and_tokens_are_neither_logged_nor_shown(
    unity: Unity, guarded: Guarded, caplog: pytest.LogCaptureFixture
) -> None:
    lent: list[str] = []
    lend = unity.lend

    def noted(uri: str, write: bool) -> uc.AwsCredentials:
        keys = lend(uri, write)
        lent.extend([str(keys.secret_access_key), str(keys.session_token)])
        return keys

    unity.lend = noted
    with caplog.at_level(logging.DEBUG):
        lake = opened(unity, guarded)
        lake.read(lake.write(NAME, ROWS))
    there = lake.catalog.locate(TableName("main", "demo", "reviews"), Location("s3://nowhere", guarded.options))
    logged = "".join(
        each.getMessage() for each in caplog.records if not each.name.startswith("botocore")
    )  # moto's keys
    shown = logged + repr(there) + repr(lake.catalog) + repr(UnitySettings.model_validate({"token": unity.token}))
    assert len(lent) >= 4 and not any(secret in shown for secret in [*lent, unity.token])


def test_the_profiles_own_keys_can_be_used_instead(unity: Unity, guarded: Guarded) -> None:
    given = UnitySettings.model_validate({"host": unity.address, "token": unity.token, "credentials": "profile"})
    lake = Lake(UnityCatalog(given), f"{unity.external_location}/tables", guarded.admin)
    assert lake.read(lake.write(NAME, ROWS)).equals(ROWS)
    assert NAME in unity.tables
    assert unity.asked("credentials") == []


@pytest.fixture
def recorded() -> Iterator[tuple[str, list[tuple[str, str | None]]]]:
    """The address of an object store that holds nothing, and what it was asked: path with query, Authorization."""
    seen: list[tuple[str, str | None]] = []

    class Store(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            seen.append((self.path, self.headers.get("Authorization")))
            self.send_response(404)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Store)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}", seen
    server.shutdown()
    server.server_close()


@pytest.mark.parametrize(
    ("keys", "in_query", "authorization"),
    [
        ({"azure_user_delegation_sas": {"sas_token": "sv=2021&sig=lent%3D"}}, "sv=2021&sig=lent%3D", None),
        ({"azure_aad": {"aad_token": "lent"}}, "", "Bearer lent"),
    ],
)
def test_azures_keys_reach_azures_storage(
    keys: dict[str, Any], in_query: str, authorization: str | None, recorded: tuple[str, list[tuple[str, str | None]]]
) -> None:
    address, seen = recorded
    options = {"AZURE_STORAGE_ENDPOINT": address, "ALLOW_HTTP": "true", "AZURE_STORAGE_ACCOUNT_KEY": "b3Vycw=="}
    place = Location("abfss://lake@account.dfs.core.windows.net/t", options)
    there = unlocked(place, uc.GenerateTemporaryTableCredentialResponse.from_dict(keys))
    assert "AZURE_STORAGE_ACCOUNT_KEY" not in there.storage_options  # delta-rs would take it first
    with pytest.raises(OSError, match="404"):
        DeltaTable(there.uri, storage_options=dict(there.storage_options))
    path, given = seen[0]
    assert path.startswith("/lake/t/_delta_log/") and in_query in path
    assert given == authorization


@pytest.mark.parametrize(
    ("keys", "kind"),
    [
        ({"gcp_oauth_token": {"oauth_token": "lent-by-google"}}, "Google Cloud"),
        ({"r2_temp_credentials": {"access_key_id": "lent-by-another"}}, "another cloud"),
        ({"aws_temp_credentials": {"access_key_id": "lent", "access_point": "arn:aws:s3:::x"}}, "an S3 access point"),
    ],
)
def test_keys_that_delta_rs_does_not_take_are_refused(keys: dict[str, Any], kind: str) -> None:
    with pytest.raises(LakewrightError, match=kind) as caught:
        unlocked(Location("gs://lake/t"), uc.GenerateTemporaryPathCredentialResponse.from_dict(keys))
    assert "credentials: profile" in caught.value.remedy and "lent" not in str(caught.value)


# What is refused ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("lacks", "remedy"),
    [
        ("USE CATALOG", "GRANT USE CATALOG ON CATALOG main TO"),
        ("USE SCHEMA", "GRANT USE SCHEMA ON SCHEMA main.health TO"),
        ("SELECT", "GRANT SELECT ON TABLE main.health.visits TO"),
        ("EXTERNAL USE SCHEMA", "GRANT EXTERNAL USE SCHEMA ON SCHEMA main.health TO"),
    ],
)
def test_the_privilege_that_a_reader_lacks_is_named(
    lacks: str, remedy: str, lake: Lake, unity: Unity, guarded: Guarded
) -> None:
    of_another(unity, guarded)
    unity.lacks(lacks)
    with pytest.raises(Denied, match="Unity Catalog does not let you") as caught:
        lake.version("main.health.visits")
    assert remedy in caught.value.remedy
    assert caught.value.exit_code == 1


@pytest.mark.parametrize(
    ("lacks", "remedy"),
    [
        ("CREATE SCHEMA", "GRANT CREATE SCHEMA ON CATALOG main TO"),
        ("EXTERNAL USE LOCATION", "GRANT EXTERNAL USE LOCATION ON EXTERNAL LOCATION lake TO"),
        ("CREATE TABLE", "GRANT CREATE TABLE ON SCHEMA main.demo TO"),
        ("CREATE EXTERNAL TABLE", "GRANT CREATE EXTERNAL TABLE ON EXTERNAL LOCATION lake TO"),
    ],
)
def test_the_privilege_that_a_writer_lacks_is_named(lacks: str, remedy: str, lake: Lake, unity: Unity) -> None:
    unity.lacks(lacks)
    with pytest.raises(Denied) as caught:
        lake.write(NAME, ROWS)
    assert remedy in caught.value.remedy


def test_to_a_mere_reader_an_unknown_table_is_not_there(lake: Lake, unity: Unity) -> None:
    unity.lacks("EXTERNAL USE LOCATION")
    with pytest.raises(NotFound, match=r"has no table main\.demo\.nothing"):
        lake.version("main.demo.nothing")


def test_an_unknown_catalog_is_not_made(lake: Lake) -> None:
    with pytest.raises(NotFound, match="Catalog 'nowhere' does not exist"):
        lake.write("nowhere.demo.t", ROWS)


def test_external_access_that_is_off_says_who_turns_it_on(lake: Lake, unity: Unity) -> None:
    unity.external_access = False
    with pytest.raises(Denied) as caught:
        lake.write(NAME, ROWS)
    assert "ask a metastore admin to turn on external data access" in caught.value.remedy


def test_a_wrong_token_and_none(unity: Unity, guarded: Guarded, monkeypatch: pytest.MonkeyPatch, tmp_path: Any) -> None:
    with pytest.raises(Denied, match="Invalid access token") as caught:
        opened(unity, guarded, token="dapi-another").version(NAME)
    assert "DATABRICKS_TOKEN" in caught.value.remedy and "dapi-another" not in str(caught.value)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("DATABRICKS_TOKEN", raising=False)
    with pytest.raises(ProfileError, match="cannot connect to a workspace"):
        opened(unity, guarded, token=None).version(NAME)


def test_throttled_it_waits_as_told_and_not_for_ever(unity: Unity, guarded: Guarded) -> None:
    lake = opened(unity, guarded)
    table = lake.write(NAME, ROWS)
    unity.throttled, began = 1, time.monotonic()
    assert lake.version(NAME) == table
    assert time.monotonic() - began >= 1
    unity.throttled = 1000
    with pytest.raises(Busy, match="Too many requests"):
        opened(unity, guarded, patience=1).version(NAME)
    unity.throttled = 0


# Grants ------------------------------------------------------------------------------------------------------------


def test_grants_are_read_and_changed(lake: Lake) -> None:
    catalog = lake.catalog
    assert isinstance(catalog, UnityCatalog)
    catalog.grant("schema", "main.demo", "team", add=["USE SCHEMA", "select"])
    catalog.grant("schema", "main.demo", "others", add=["EXTERNAL_USE_SCHEMA"])
    catalog.grant("schema", "main.demo", "team", remove=["SELECT"])
    assert catalog.grants("schema", "main.demo") == {"others": ["EXTERNAL_USE_SCHEMA"], "team": ["USE_SCHEMA"]}
    with pytest.raises(UsageError, match="READ_ALL"):
        catalog.grant("schema", "main.demo", "team", add=["read all"])
    with pytest.raises(LakewrightError, match="no securable SHELF"):
        catalog.grants("shelf", "main.demo")


# The stand-in ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ({"tabel_id": "1"}, "takes no tabel_id"),
        ({"table_id": 1}, "is no str"),
        ({"table_id": None}, "is no str"),
        ({"operation": "WRITE"}, "is none of TableOperation"),
    ],
)
def test_the_stand_in_takes_no_request_that_the_sdk_could_not_send(body: Any, said: str, unity: Unity) -> None:
    def post(token: str) -> tuple[int, Any]:
        request = urllib.request.Request(
            f"{unity.address}/api/2.0/unity-catalog/temporary-table-credentials",
            json.dumps(body).encode(),
            {"Authorization": f"Bearer {token}"},
        )
        with pytest.raises(urllib.error.HTTPError) as caught:
            urllib.request.urlopen(request, timeout=10)
        return caught.value.code, json.loads(caught.value.read())

    status, told = post(unity.token)
    assert (status, told["error_code"]) == (400, "INVALID_PARAMETER_VALUE") and said in told["message"]
    assert post("nobody's")[0] == 401


# The story ---------------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_a_run_keeps_its_tables_in_unity_catalog(
    everywhere: Everywhere,
    unity: Unity,
    lakewright: Callable[..., subprocess.CompletedProcess[str]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # Here S3 takes any keys, and the rows and the workspace are on it as well as the tables.
    unity.external_location = f"{everywhere.workspace}-tables"
    unity.lend = lambda uri, write: uc.AwsCredentials("lent", None, "lent", "lent")
    monkeypatch.setenv("DATABRICKS_TOKEN_OF_TEAM", unity.token)
    everywhere.profile(
        "team",
        {"name": "local"},
        lake=unity.external_location + "/lake",
        catalog={"name": "unity", "host": unity.address, "token": "${env:DATABRICKS_TOKEN_OF_TEAM}"},
    )
    finished = lw.run(everywhere.project, profile="team")
    assert finished.error is None and finished.report.metrics["accuracy"].value > 0.8
    name = everywhere.folder.joinpath("project.yml").read_text().split()[1]
    tables = {f"main.demo.{name}", f"main.demo.{name}_features"}
    assert set(unity.tables) == tables
    assert {str(table.table_type) for table in unity.tables.values()} == {"TableType.EXTERNAL"}

    listed = one_object(lakewright("tables", "list", "--profile", "team", "--json").stdout)["tables"]
    assert {table["full_name"]: table["storage_location"] for table in listed} == {
        full_name: str(table.storage_location) for full_name, table in unity.tables.items()
    }
    query = f"select count(*) as n from main.demo.{name}"
    assert one_object(lakewright("sql", query, "--profile", "team", "--json").stdout)["rows"] == [{"n": 300}]
