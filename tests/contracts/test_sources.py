"""One contract for every source, wherever its rows lie: local, on S3 (a moto server), on a Hub (a server of its API),
in PostgreSQL.

A case that a source cannot have is listed in NEVER with the reason.
"""

from __future__ import annotations

import gzip
import hashlib
import http.server
import io
import json
import os
import re
import socket
import threading
import uuid
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from database_servers import Server
from lakewright import plugins
from lakewright.data.lake.types import storable
from lakewright.data.sources import Intake, Source
from lakewright.data.sources.opening import open_source
from lakewright.errors import DataError, NotFound, UsageError

ROWS: list[dict[str, Any]] = [
    {"id": "001", "text": 'naïve, "quoted"\nand a second line', "label": "a", "score": 1.5, "count": 1, "ok": True},
    {"id": "002", "text": "", "label": None, "score": None, "count": 2, "ok": False},
    {"id": "003", "text": "日本語; | \t", "label": "NA", "score": -2.0, "count": None, "ok": None},
]
TYPES = {"id": pa.string(), "text": pa.string(), "label": pa.string(), "score": pa.float64(), "count": pa.int64()}
SCHEMA = pa.schema([*TYPES.items(), ("ok", pa.bool_())])


# How each format writes rows ---------------------------------------------------------------------------------------


def as_csv(rows: list[dict[str, Any]], names: list[str], separator: str = ",") -> bytes:
    def cell(value: Any) -> str:
        if value is None:
            return ""
        return '"' + value.replace('"', '""') + '"' if isinstance(value, str) else json.dumps(value)

    lines = [separator.join(names), *(separator.join(cell(row.get(name)) for name in names) for row in rows)]
    return ("\n".join(lines) + "\n").encode()


def as_parquet(rows: list[dict[str, Any]], names: list[str]) -> bytes:
    fields = [SCHEMA.field(name) if name in SCHEMA.names else pa.field(name, pa.string()) for name in names]
    written = io.BytesIO()
    pq.write_table(pa.Table.from_pylist(rows, schema=pa.schema(fields)), written)
    return written.getvalue()


WRITERS: dict[str, Callable[[list[dict[str, Any]], list[str]], bytes]] = {
    "csv": as_csv,
    "csv.gz": lambda rows, names: gzip.compress(as_csv(rows, names)),
    "tsv": lambda rows, names: as_csv(rows, names, "\t"),
    "json": lambda rows, names: json.dumps(rows).encode(),
    "jsonl": lambda rows, names: b"".join(json.dumps(row).encode() + b"\n" for row in rows),
    "ndjson.gz": lambda rows, names: gzip.compress("\n".join(json.dumps(row, indent=1) for row in rows).encode()),
    "parquet": as_parquet,
}
PYTHON = {
    "dicts": "def rows():\n    yield from ROWS",
    "table": "def rows():\n    return pa.Table.from_pylist(ROWS, schema=SCHEMA)",
    "reader": "def rows():\n    return pa.Table.from_pylist(ROWS, schema=SCHEMA).to_reader()",
    # pandas' own types would turn whole numbers with a gap into floats
    "frame": "import pandas as pd\ndef rows():\n"
    "    return pa.Table.from_pylist(ROWS, schema=SCHEMA).to_pandas(types_mapper=pd.ArrowDtype)",
}


# Where rows lie ----------------------------------------------------------------------------------------------------


@dataclass
class Made:
    """What a project would say to read it."""

    uri: str
    base: Path
    storage_options: dict[str, str] = field(default_factory=dict)
    format: str | None = None

    def source(self) -> tuple[Source, str]:
        return open_source(self.uri, self.format, self.storage_options, self.base)

    def read(self) -> pa.Table:
        source, uri = self.source()
        reader = source.open(uri, {}, self.storage_options)
        assert isinstance(reader, pa.RecordBatchReader)
        return reader.read_all()

    def fingerprint(self) -> str:
        source, uri = self.source()
        return source.fingerprint(uri, {}, self.storage_options)


class Hub(http.server.BaseHTTPRequestHandler):
    """As much of the Hub's API as `datasets` asks for: what a repository is, its tree, and its files."""

    protocol_version = "HTTP/1.1"
    repositories: dict[str, dict[str, bytes]] = {}  # noqa: RUF012 - one store for all requests

    def log_message(self, *_: object) -> None:
        pass

    def do_GET(self) -> None:
        path = self.path.partition("?")[0]
        name = "/".join(re.sub(r"^(/api)?/datasets/", "", path).split("/")[:2])
        files = self.repositories.get(name)
        if files is None:
            return self.answer(404, b"{}", **{"X-Error-Code": "RepoNotFound"})
        sha = hashlib.sha1(repr(sorted(files.items())).encode()).hexdigest()
        rest = path.partition(name)[2].strip("/").split("/", 2)
        if rest[0] in ("", "revision"):
            siblings = [{"rfilename": file} for file in files]
            return self.answer(200, json.dumps({"id": name, "sha": sha, "siblings": siblings, "tags": []}).encode())
        if rest[0] == "tree":
            folder = rest[2] + "/" if len(rest) > 2 else ""
            tree: list[dict[str, Any]] = [
                {"type": "file", "path": file, "size": len(content), "oid": hashlib.sha1(content).hexdigest()}
                for file, content in files.items()
                if file.startswith(folder) and "/" not in file.removeprefix(folder)
            ]
            if tree:
                return self.answer(200, json.dumps(tree).encode())
            return self.answer(404, b'{"error": "no such folder"}', **{"X-Error-Code": "EntryNotFound"})
        content = files.get(rest[2]) if rest[0] == "resolve" and len(rest) > 2 else None
        if content is None:
            return self.answer(404, b"", **{"X-Error-Code": "EntryNotFound"})
        etag = f'"{hashlib.sha1(content).hexdigest()}"'
        return self.answer(200, content, **{"ETag": etag, "X-Repo-Commit": sha, "Accept-Ranges": "bytes"})

    do_HEAD = do_GET  # noqa: N815

    def answer(self, status: int, body: bytes, **headers: str) -> None:
        self.send_response(status)
        for name, value in {"Content-Length": str(len(body)), "Content-Type": "application/json", **headers}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)


def _only_here(resolve: Callable[..., Any]) -> Callable[..., Any]:
    """A name look-up that knows this machine only: whatever a library's constants say, no test asks the real Hub."""

    def resolve_here(host: Any, *rest: Any, **options: Any) -> Any:
        assert host in ("127.0.0.1", "localhost", b"127.0.0.1"), f"a test wanted to ask {host}"
        return resolve(host, *rest, **options)

    return resolve_here


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[dict[str, dict[str, bytes]]]:
    """The repositories of a Hub that `datasets` asks instead of the real one: OWNER/NAME → file → content."""
    import datasets
    import huggingface_hub.constants

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Hub)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    endpoint = f"http://127.0.0.1:{server.server_port}"
    # Both libraries read the environment once, when they are imported.
    for module in (datasets.config, huggingface_hub.constants):
        monkeypatch.setattr(module, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(datasets.config, "HF_ENDPOINT", endpoint)
    monkeypatch.setattr(datasets.config, "HUB_DATASETS_URL", endpoint + "/datasets/{repo_id}/resolve/{revision}/{path}")
    monkeypatch.setattr(datasets.config, "HF_UPDATE_DOWNLOAD_COUNTS", False)
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "datasets")
    monkeypatch.setattr(huggingface_hub.constants, "ENDPOINT", endpoint)
    monkeypatch.setattr(
        huggingface_hub.constants,
        "HUGGINGFACE_CO_URL_TEMPLATE",
        endpoint + "/{repo_id}/resolve/{revision}/{filename}",
    )
    monkeypatch.setattr(socket, "getaddrinfo", _only_here(socket.getaddrinfo))
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    datasets.disable_progress_bars()
    yield Hub.repositories
    server.shutdown()
    server.server_close()
    Hub.repositories.clear()


Make = Callable[..., Made]
FILES = [f"{place}-{kind}" for place in ("local", "s3") for kind in WRITERS]
CASES = [*FILES, "local-delta", "s3-delta", "hub", "postgresql", *(f"python-{kind}" for kind in PYTHON)]


@pytest.fixture(params=CASES)
def make(request: pytest.FixtureRequest, tmp_path: Path) -> Make:
    """Writes rows in the case's way; called again with the same `name` it replaces them."""
    place, _, kind = request.param.partition("-")
    run = uuid.uuid4().hex[:8]
    storage_options: dict[str, str] = request.getfixturevalue("s3") if place == "s3" else {}
    repositories = request.getfixturevalue("hub") if place == "hub" else {}
    server: Server | None = request.getfixturevalue("postgresql") if place == "postgresql" else None

    def put(path: str, content: bytes) -> None:
        if place == "s3":
            from lakewright.data.sources.files import file_system

            system, located = file_system(f"s3://lake/{run}/{path}", storage_options)
            with system.open_output_stream(located, compression=None) as stream:
                stream.write(content)
        else:
            (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / path).write_bytes(content)

    def made(rows: list[dict[str, Any]], names: list[str] | None = None, name: str = "rows") -> Made:
        names = names or SCHEMA.names
        root = f"s3://lake/{run}" if place == "s3" else "."
        if kind == "delta":
            from deltalake import write_deltalake

            fields = [SCHEMA.field(n) if n in SCHEMA.names else pa.field(n, pa.string()) for n in names]
            uri = f"s3://lake/{run}/{name}" if place == "s3" else str(tmp_path / name)
            table = pa.Table.from_pylist(rows, schema=pa.schema(fields))
            write_deltalake(uri, table, mode="overwrite", storage_options=storage_options)
            return Made(f"{root}/{name}" if place == "s3" else name, tmp_path, storage_options)
        if server is not None:
            table = f"{name}_{run}"
            sql_types = {"score": "float8", "count": "int8", "ok": "bool"}
            columns = [f'"{n}" {sql_types.get(n, "text")}' for n in names]
            key = ["primary key (id)"] if "id" in names else []
            server.sql(f"drop table if exists {table}", f"create table {table} ({', '.join([*columns, *key])})")
            fields = [SCHEMA.field(n) if n in SCHEMA.names else pa.field(n, pa.string()) for n in names]
            with closing(server.connected()) as connection, closing(connection.cursor()) as cursor:
                cursor.adbc_ingest(table, pa.Table.from_pylist(rows, schema=pa.schema(fields)), mode="append")
                connection.commit()
            return Made(f"{server.database}/public.{table}", tmp_path, server.secrets)
        if place == "hub":
            # `datasets` itself fails on a Parquet file without rows
            content = {"data.parquet": as_parquet(rows, names)} if rows else {"data.csv": as_csv(rows, names)}
            repositories[f"o/{name}{run}"] = content
            return Made(f"hf://datasets/o/{name}{run}", tmp_path)
        if place == "python":
            header = "import pyarrow as pa\nSCHEMA = pa.schema([{}])\n".format(
                ", ".join(f"({n!r}, pa.type_for_alias({_alias(n)!r}))" for n in names)
            )
            (tmp_path / f"{name}.py").write_text(f"{header}ROWS = {rows!r}\n{PYTHON[kind]}\n", encoding="utf-8")
            return Made(f"python:{name}:rows", tmp_path)
        put(f"{name}.{kind}", WRITERS[kind](rows, names))
        return Made(f"{root}/{name}.{kind}" if place == "s3" else f"{name}.{kind}", tmp_path, storage_options)

    made.case = request.param  # type: ignore[attr-defined]
    return made


def _alias(name: str) -> str:
    return str(SCHEMA.field(name).type) if name in SCHEMA.names else "string"


NEVER: Mapping[str, Mapping[str, str]] = {
    "test_a_column_that_stands_twice_is_an_error": {
        "local-delta": "Delta refuses to write such a table",
        "s3-delta": "Delta refuses to write such a table",
    },
    "test_an_unknown_option_names_the_nearest": {
        f"python-{kind}": "every option is an argument of the function" for kind in PYTHON
    },
}


@pytest.fixture(autouse=True)
def _never(request: pytest.FixtureRequest) -> None:
    name = request.node.originalname
    if name in NEVER and (reason := NEVER[name].get(request.node.callspec.params["make"])):
        pytest.skip(f"never: {reason}")


# The contract ------------------------------------------------------------------------------------------------------


def test_every_registered_source_is_under_contract() -> None:
    assert set(plugins.SOURCES.names()) >= {"csv", "delta", "hf", "json", "parquet", "postgresql", "python"}


def test_rows_come_back_whole_typed_and_in_order(make: Make) -> None:
    table = make(ROWS).read()
    assert table.to_pylist() == ROWS
    assert table.schema == SCHEMA


def test_column_types_are_those_that_a_table_keeps(make: Make) -> None:
    schema = make(ROWS).read().schema
    assert schema == storable(schema)


def test_many_rows_stream(make: Make) -> None:
    rows = [{**ROWS[0], "id": f"{number:06}", "count": number} for number in range(12_345)]
    source, uri = (made := make(rows)).source()
    found = [n for batch in source.open(uri, {}, made.storage_options) for n in batch.column("count").to_pylist()]
    assert found == list(range(12_345))


def test_the_fingerprint_holds_still_and_changes_with_the_rows(make: Make) -> None:
    made = make(ROWS)
    before = made.fingerprint()
    assert re.fullmatch(r"[0-9a-f]{64}", before)
    assert made.fingerprint() == before
    assert make([*ROWS[:2], {**ROWS[2], "text": "日本語! | \t"}]).fingerprint() != before  # as many bytes as before


def test_no_rows_is_an_error(make: Make) -> None:
    with pytest.raises(DataError, match="no rows"):
        make([]).read()


def test_what_is_not_there_is_said_with_what_is(make: Make) -> None:
    made = make(ROWS)
    made.uri = made.uri.replace("rows", "rovs", 1)
    with pytest.raises(NotFound) as caught:
        made.read()
    place = make.case  # type: ignore[attr-defined]
    if place in FILES:
        assert "did you mean 'rows." in caught.value.remedy
    assert "rovs" in caught.value.cause


def test_an_unknown_option_names_the_nearest(make: Make) -> None:
    made = make(ROWS)
    source, uri = made.source()
    with pytest.raises(UsageError, match="revisio"):
        source.open(uri, {"revisio": "x"}, made.storage_options)


def test_a_column_that_stands_twice_is_an_error(make: Make) -> None:
    with pytest.raises(DataError, match="'text' and 'Text'"):
        make([{"text": "a", "Text": "b"}], ["text", "Text"]).read()


@pytest.mark.parametrize("place", ["local", "s3"])
@pytest.mark.parametrize("kind", ["csv", "tsv", "jsonl", "ndjson.gz", "parquet"])
class TestFolders:
    """Sources of files read a folder, or what a glob matches, as one table."""

    @pytest.fixture
    def folder(self, place: str, kind: str, tmp_path: Path, request: pytest.FixtureRequest) -> Callable[..., Made]:
        options: dict[str, str] = request.getfixturevalue("s3") if place == "s3" else {}
        root = f"s3://lake/{uuid.uuid4().hex}" if place == "s3" else str(tmp_path / "data")

        def made(names: list[str], columns: list[str] | None = None) -> Made:
            from lakewright.data.sources.files import file_system

            system, located = file_system(root, options)
            if place == "local":
                system.create_dir(located)
            columns = columns or ["id", "text"]
            for name in names:
                rows = [{column: f"{column} of {name}" for column in columns}]
                with system.open_output_stream(f"{located}/{name}", compression=None) as stream:
                    stream.write(WRITERS[kind](rows, columns))
            return Made(root, tmp_path, options)

        return made

    def test_files_named_by_split_give_the_column(self, folder: Callable[..., Made], kind: str) -> None:
        names = [f"{stem}.{kind}" for stem in ("train-00000-of-00002", "train-00001-of-00002", "dev", "test")]
        table = folder(names).read()
        found = dict(zip(table["id"].to_pylist(), table["split"].to_pylist(), strict=True))
        assert found == {f"id of {name}": split for name, split in zip(names, SPLITS, strict=True)}

    def test_a_split_column_of_the_rows_stays(self, folder: Callable[..., Made], kind: str) -> None:
        table = folder([f"train.{kind}", f"test.{kind}"], ["id", "split"]).read()
        assert sorted(table["split"].to_pylist()) == [f"split of test.{kind}", f"split of train.{kind}"]

    def test_other_names_are_read_in_order(self, folder: Callable[..., Made], kind: str) -> None:
        table = folder([f"part-2.{kind}", f"part-1.{kind}", f"train.{kind}", f"_part-0.{kind}"]).read()
        assert table.column_names == ["id", "text"]
        assert table["id"].to_pylist() == [f"id of {stem}.{kind}" for stem in ("part-1", "part-2", "train")]

    def test_all_means_no_split_and_does_not_mix(self, folder: Callable[..., Made], kind: str) -> None:
        assert folder([f"all.{kind}"]).read().column_names == ["id", "text"]
        with pytest.raises(DataError, match="named all"):
            folder([f"train.{kind}"]).read()

    def test_a_glob_chooses(self, folder: Callable[..., Made], kind: str) -> None:
        made = folder([f"train.{kind}", f"test.{kind}", f"other.{kind}"])
        made.uri += f"/t*.{kind}"
        assert sorted(made.read()["split"].to_pylist()) == ["test", "train"]
        made.uri = made.uri.replace("/t*", "/x*")
        with pytest.raises(NotFound, match=re.escape(f"other.{kind}")):
            made.read()

    def test_a_new_file_changes_the_fingerprint(self, folder: Callable[..., Made], kind: str) -> None:
        before = folder([f"one.{kind}"]).fingerprint()
        assert folder([f"two.{kind}"]).fingerprint() != before


SPLITS = ["train", "train", "validation", "test"]


def test_hub_splits_become_a_column_and_class_labels_names(hub: dict[str, dict[str, bytes]], tmp_path: Path) -> None:
    card = """---
dataset_info:
  features:
  - name: text
    dtype: string
  - name: label
    dtype: {class_label: {names: {'0': neg, '1': pos}}}
  - name: tags
    list: {class_label: {names: {'0': O, '1': B}}}
---
"""

    def shard(label: int) -> bytes:
        written = io.BytesIO()
        pq.write_table(pa.table({"text": ["t", "u"], "label": [label, -1], "tags": [[0, 1], [1]]}), written)
        return written.getvalue()

    hub["o/labels"] = {"README.md": card.encode(), "train.parquet": shard(0), "test.parquet": shard(1)}
    source, uri = open_source("hf://o/labels", None, {}, tmp_path)
    assert source.open(uri, {}, {}).read_all().to_pylist() == [
        {"text": "t", "label": "neg", "tags": ["O", "B"], "split": "train"},
        {"text": "u", "label": None, "tags": ["B"], "split": "train"},
        {"text": "t", "label": "pos", "tags": ["O", "B"], "split": "test"},
        {"text": "u", "label": None, "tags": ["B"], "split": "test"},
    ]
    assert source.open(uri, {"split": "test"}, {}).read_all().column_names == ["text", "label", "tags"]
    with pytest.raises(DataError, match="tset"):
        source.open(uri, {"split": "tset"}, {})
    assert source.fingerprint(uri, {"split": "test"}, {}) != source.fingerprint(uri, {}, {})


def test_hub_csv_files_are_read_as_written(hub: dict[str, dict[str, bytes]], tmp_path: Path) -> None:
    hub["o/codes"] = {"data.csv": b"text,label,n\na,250.0,1\nb,250.00,2\nc,007,3\n"}
    source, uri = open_source("hf://o/codes", None, {}, tmp_path)
    intake = Intake(as_written=frozenset({"label"}))
    table = source.open(uri, {}, {}, intake).read_all()
    assert table["label"].to_pylist() == ["250.0", "250.00", "007"]
    assert table["n"].to_pylist() == [1, 2, 3]
    assert source.fingerprint(uri, {}, {}, intake) != source.fingerprint(uri, {}, {})


@pytest.mark.skipif(os.environ.get("HF_HUB_OFFLINE") != "1", reason="the suite's conftest forbids the real Hub")
def test_an_unreachable_hub_is_said_with_the_way_out(tmp_path: Path) -> None:
    source, uri = open_source("hf://o/anything", None, {}, tmp_path)
    for ask in (source.open, source.fingerprint):
        with pytest.raises(DataError, match="cannot be reached") as caught:
            ask(uri, {}, {})
        assert "--set data.source=FOLDER" in caught.value.remedy
