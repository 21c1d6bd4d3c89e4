"""A server predicts for a row that has the key alone: the values come from the online store."""

from __future__ import annotations

import http.client
import json
from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pytest
from typer.testing import CliRunner

import lakewright as lw
import redis_server
from conftest import Server, serving
from lakewright.cli.app import app
from lakewright.data.lake import parts
from lakewright.errors import DataError, NotFound
from story.test_features import CREATE, features, write_project

STORES = ("sqlite", "redis")
FOR_EVER = CREATE.replace(" --ttl 30d", "")  # the values are of 2024


@pytest.fixture(scope="module")
def learned(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A project's folder after its run; the values of its buyers are not published."""
    folder = tmp_path_factory.mktemp("shop")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        write_project(folder, create=FOR_EVER)
        lw.run("project.yml")
    yield folder


def model_of(folder: Path) -> str:
    (model,) = (each for each in (folder / ".lakewright" / "models").iterdir())
    return str(model)


@pytest.mark.parametrize("store", STORES)
def test_a_key_is_enough(learned: Path, store: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(learned)
    if store == "sqlite":
        answered(learned, None)
        return
    if redis_server.why_not():
        pytest.skip(redis_server.why_not())
    with redis_server.running(tmp_path, "secret-word") as (url, process):
        monkeypatch.setenv("REDIS_URL", url)
        (learned / "profiles.yml").write_text(
            "default: team\nprofiles: {team: {online: {name: redis, url: '${env:REDIS_URL}'}}}\n"
        )
        try:
            answered(learned, process)
        finally:
            (learned / "profiles.yml").unlink()


def answered(folder: Path, process: object) -> None:
    model = model_of(folder)
    with serving(model, folder=folder) as server:
        not_published = server.ask("POST", "/predict", {"rows": [{"buyer": 1, "price": 1}]})
        assert not_published.status == 503 and "features publish main.shop.daily" in not_published.json["remedy"]
        assert server.ask("POST", "/predict", {"rows": [{"spent": 3.0, "price": 1}]}).status == 200
        assert "no values of main.shop.daily" in server.log.read_text()
    assert "40 keys online" in features("publish main.shop.daily")
    lookup = {"table": "main.shop.daily@v1", "keys": {"customer": "buyer"}, "values": {"spend": "spent"}}
    predicted = lw.predict(model, [{"buyer": 1, "price": 1}, {"buyer": 77, "price": 1}], explain=1)
    assert "unknown" not in predicted[0] and predicted[1]["unknown"] == ["spent"] and predicted[0]["reasons"]
    line = CliRunner().invoke(app, ["predict", model, '{"buyer": 77, "price": 1}']).stdout
    assert json.loads(line)["unknown"] == ["spent"]
    with serving(model, folder=folder) as server:
        about = server.ask("GET", "/model").json
        assert about["lookups"] == [{**lookup, "event_time": "day", "known_at": "loaded", "ttl_seconds": None}]
        by_key, whole = [{"buyer": each, "price": 1} for each in range(40)], []
        for each in range(40):
            (values,) = lw.features.get("main.shop.daily", [{"customer": each}], online=True)
            whole.append({"spent": values["spend"], "price": 1})
        expected = server.ask("POST", "/predict", {"rows": whole, "probabilities": True}).json["predictions"]
        for some in (slice(0, 1), slice(0, 5), slice(0, 40)):  # one row, a few, and so many that columns are computed
            body = {"rows": by_key[some], "probabilities": True}
            assert server.ask("POST", "/predict", body).json["predictions"] == expected[some]
        assert len({each["label"] for each in expected}) == 2
        explained = server.ask("POST", "/predict", {"rows": by_key[:1], "explain": 2}).json["predictions"][0]
        assert {each["input"] for each in explained["reasons"]} == {"spent", "price"}

        # the row's own value counts; what no table knows is said and counted
        (own,) = server.ask("POST", "/predict", {"rows": [{"buyer": 1, "price": 1, "spent": whole[5]["spent"]}]}).json[
            "predictions"
        ]
        assert own["label"] == expected[5]["label"] and "unknown" not in own
        answers = server.ask("POST", "/predict", {"rows": [by_key[0], {"buyer": 77, "price": 1}]}).json["predictions"]
        assert "unknown" not in answers[0] and answers[1]["unknown"] == ["spent"]
        metrics = server.ask("GET", "/metrics").body.decode()
        assert 'lakewright_unknown_values_total{input="spent"' in metrics

        split = {"columns": ["buyer", "price"], "data": [[1, 1], [2, 1]]}
        of_mlflow = server.ask("POST", "/invocations", {"dataframe_split": split}).json["predictions"]
        assert [each["label"] for each in of_mlflow] == [each["label"] for each in expected[1:3]]
        labels = labels_by_columns(server, pa.table({"buyer": [1, 2, 77], "price": [1.0, 1.0, 1.0]}))
        assert labels[:2] == [each["label"] for each in expected[1:3]]
        of_csv = server.ask("POST", "/invocations", "buyer,price\n1,1\n2,1\n", {"Content-Type": "text/csv"})
        assert [each["label"] for each in of_csv.json["predictions"]] == labels[:2]
        tensors = [
            {"name": "buyer", "datatype": "INT64", "shape": [2], "data": [1, 2]},
            {"name": "price", "datatype": "FP64", "shape": [2], "data": [1.0, 1.0]},
        ]
        inferred = server.ask("POST", f"/v2/models/{about['name']}/infer", {"inputs": tensors})
        assert inferred.status == 200, inferred.body
        label = next(each for each in inferred.json["outputs"] if each["name"] == "label")
        assert label["data"] == labels[:2]

        for row, why in (
            ({"price": 1}, "row 0 has no 'spent'"),
            ({"buyer": "one", "price": 1}, "row 0: the key 'customer' is 'one', and keys are of type bigint"),
            ({"buyer": 1}, "row 0 has no 'price'"),
        ):
            refused = server.ask("POST", "/predict", {"rows": [row]})
            assert refused.status == 400 and why in refused.json["error"], refused.body
        null = server.ask("POST", "/predict", {"rows": [{"buyer": None, "price": 1}]}).json["predictions"][0]
        assert null["unknown"] == ["spent"]
        document = server.ask("GET", "/openapi.json").json
        assert "buyer" in json.dumps(document)

        if process is not None:
            process.kill()  # type: ignore[attr-defined]
            process.wait()  # type: ignore[attr-defined]
            gone = server.ask("POST", "/predict", {"rows": by_key[:1]})
            assert gone.status == 503 and "does not answer" in gone.json["error"], gone.body
            assert "secret-word" not in gone.body.decode() + server.log.read_text()
            assert server.ask("POST", "/predict", {"rows": whole[:1]}).status == 200


def labels_by_columns(server: Server, rows: pa.Table) -> list[str]:
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, rows.schema) as writer:
        writer.write_table(rows)
    kind = "application/vnd.apache.arrow.stream"
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=60)
    try:
        connection.request("POST", "/invocations", sink.getvalue().to_pybytes(), {"Content-Type": kind, "Accept": kind})
        answer = connection.getresponse()
        body = answer.read()
    finally:
        connection.close()
    assert answer.status == 200, body
    labels: list[str] = pa.ipc.open_stream(body).read_all()["label"].to_pylist()
    return labels


def test_the_commands(learned: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "spend.csv").write_text(
        "customer,day,loaded,spend,plan\n1,2024-01-05,2024-01-09T00:00:00Z,2.5,\n1,2024-01-01,2024-01-02T00:00:00Z,1.5,01\n"
    )
    features(FOR_EVER)
    features("write main.shop.daily spend.csv")
    with pytest.raises(NotFound, match="no values of"):
        lw.features.get("main.shop.daily", [{"customer": 1}], online=True)
    published = json.loads(features("publish main.shop.daily --json"))
    assert (published["entries"], published["version"]) == (1, 1)
    values = json.loads(features("get main.shop.daily customer=1 --online --json"))["values"]
    assert values == [{"customer": 1, "spend": 2.5, "plan": None}]
    rows = json.loads(features("history main.shop.daily customer=1 --json"))["rows"]
    assert [each["spend"] for each in rows] == [1.5, 2.5]
    assert "online: version 1, 1 keys" in features("status main.shop.daily")
    more = "select 1::bigint customer, timestamptz '2025-01-01' as day, timestamptz '2025-01-01' as loaded"
    lw.features.write("main.shop.daily", f"{more}, 1.5::double spend, 'x' plan")
    status = json.loads(features("status main.shop.daily --json"))
    assert [each["name"] for each in status["findings"]] == ["online_behind"] and status["online"]["version"] == 1
    features("unpublish main.shop.daily")
    assert json.loads(features("status main.shop.daily --json"))["online"] is None
    with pytest.raises(NotFound):
        lw.features.unpublish("main.shop.daily")
    with pytest.raises(DataError):
        lw.features.get("main.shop.other", [{"customer": 1}], online=True)


@pytest.mark.parametrize("processes", [1, 2])
def test_a_table_with_the_keys_is_scored(learned: Path, processes: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """With the values of each row's time; without a column of it, with those that are known now."""
    monkeypatch.chdir(learned)
    monkeypatch.setattr(parts, "ROWS", parts.GRID)
    model, names = model_of(learned), ("plain", "joined", "timeless")
    plain, joined, timeless = (f"main.shop.{name}{processes}" for name in names)
    (learned / "profiles.yml").write_text(
        f"profiles: {{local: {{workers: {{name: local, processes: {processes}}}}}}}\n"
    )
    lw.sql(
        f"create table {plain} as select 'r' || n as id, (n % 41)::bigint as buyer, n % 5 as price, "
        "timestamptz '2024-01-01 06:00:00+00' + to_days((n % 8)::int) as at from range(20000) t(n)"
    )
    lw.sql(f'create table {timeless} as select * exclude ("at") from {plain}')
    lookup = "{table: main.shop.daily, keys: {customer: buyer}, values: {spend: spent}}"
    features(f"join {plain} {joined} --time at --lookup", lookup)
    expected = lw.score(model, joined)
    scored = lw.score(model, plain, keep=["spent"])
    assert (scored.rows, [str(each) for each in scored.features]) == (20_000, ["main.shop.daily@v1"])
    assert scored.unknown == {"spent": without(joined)} and not expected.features
    both = (
        f"select count(*) from {plain}_predictions p join {joined}_predictions j using (record_id) "
        f"join {joined} rows on rows.id = p.record_id "
        "where p.label = j.label and p.confidence = j.confidence and p.spent is not distinct from rows.spent"
    )
    assert one(both) == 20_000
    assert "main.shop.daily@v1" in lw.history(f"{plain}_predictions")[0]["properties"]["features"]

    lw.score(model, timeless, keep=["spent"])
    last = lw.features.get("main.shop.daily", [{"customer": 3}])[0]["spend"]
    assert one(
        f"select count(*) from {timeless}_predictions p join {timeless} t on t.id = p.record_id "
        f"where buyer = 3 and spent = {last}"
    ) == one(f"select count(*) from {timeless} where buyer = 3")
    lw.sql(f"create table {plain}_keyless as select * exclude (buyer) from {plain}")
    with pytest.raises(DataError, match="no column 'buyer', the key 'customer'"):
        lw.score(model, f"{plain}_keyless")
    lw.sql(f"create table {plain}_texts as select * replace (buyer::varchar as buyer) from {plain}")
    with pytest.raises(DataError, match="cast one of them"):
        lw.score(model, f"{plain}_texts")
    (learned / "profiles.yml").unlink()


def without(table: str) -> int:
    return one(f"select count(*) from {table} where spent is null")


def one(query: str) -> int:
    rows = lw.sql(query)
    assert isinstance(rows, pa.Table)
    return int(rows.column(0)[0].as_py())
