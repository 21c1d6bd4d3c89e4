"""Small real things that many tests need: a tiny random BERT in Hugging Face's layout, a table of texts, a project."""

from __future__ import annotations

import csv
import http.client
import json
import os
import random
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import yaml
from hypothesis import settings

import database_servers

if TYPE_CHECKING:
    from lakewright.workspace.tracking import Tracking

pytest_plugins = ["platforms.everywhere", "projects", "searches"]
pytest.register_assert_rewrite("lakewright.testing")
collect_ignore = [
    "outsider"
]  # its tests need the package installed: tests/story/test_an_outsiders_package.py runs them

settings.register_profile("lakewright", deadline=None)  # a busy machine is no failure
settings.load_profile("lakewright")
os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["MLFLOW_DISABLE_TELEMETRY"] = "true"

ANIMALS = ["dog", "cat", "horse", "sheep", "goat", "rabbit", "cow", "pig", "duck", "goose"]
PLANTS = ["rose", "tulip", "oak", "pine", "fern", "moss", "birch", "lily", "ivy", "maple"]
STONES = ["granite", "basalt", "marble", "quartz", "slate", "flint", "opal", "jade", "ruby", "topaz"]
FRAMES = ["the {} is here", "we saw a {} today", "there was one {} by the river", "my {} is old", "who has a {} ?"]
KINDS = {"animal": ANIMALS, "plant": PLANTS, "stone": STONES}


def sentences(rows: int, seed: int = 0) -> list[dict[str, str]]:
    """Texts whose label is the kind of thing they name; `place` is there to slice and to group by."""
    draw = random.Random(seed)
    found = []
    for i in range(rows):
        label = draw.choice(sorted(KINDS))
        word, other = draw.choice(KINDS[label]), draw.choice(["north", "south", "east", "west"])
        text = f"{draw.choice(FRAMES).format(word)} number {i} {other}"
        found.append({"id": f"r{i}", "text": text, "label": label, "place": other})
    return found


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Sessions of Spark Connect come last: a process that had one can start no other kind."""
    items.sort(key=lambda item: item.get_closest_marker("connect") is not None)


@pytest.fixture(scope="session")
def tiny_base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_tiny_base(tmp_path_factory.mktemp("tiny_base"))


def make_tiny_base(folder: Path) -> Path:
    """A random BERT of two layers and its own word-piece tokenizer: real loading code, nothing downloaded."""
    import torch
    from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors
    from transformers import BertConfig, BertModel

    folder.mkdir(parents=True, exist_ok=True)
    words = sorted({word for row in sentences(500) for word in row["text"].lower().split()})
    letters = sorted(set("".join(words)) | set("abcdefghijklmnopqrstuvwxyz.,-'"))
    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    pieces = dict.fromkeys([*special, *words, *letters, *(f"##{letter}" for letter in letters)])
    vocabulary = {piece: number for number, piece in enumerate(pieces)}
    tokenizer = Tokenizer(models.WordPiece(vocab=vocabulary, unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=True)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]",
        pair="[CLS] $A [SEP] $B:1 [SEP]:1",
        special_tokens=[("[CLS]", tokenizer.token_to_id("[CLS]")), ("[SEP]", tokenizer.token_to_id("[SEP]"))],
    )
    tokenizer.enable_padding(length=128)  # as all-MiniLM's asks for; nothing of ours may follow it
    tokenizer.enable_truncation(128)
    tokenizer.save(str(folder / "tokenizer.json"))
    torch.manual_seed(0)
    config = BertConfig(
        vocab_size=tokenizer.get_vocab_size(),
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=64,
        max_position_embeddings=64,
    )
    BertModel(config).save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def mlflow_template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An empty MLflow database: making one takes seconds, copying one does not."""
    from lakewright.workspace.tracking import Tracking

    path = tmp_path_factory.mktemp("mlflow") / "mlflow.db"
    with Tracking(f"sqlite:///{path}", None, str(path.parent / "artifacts")).client() as client:
        client.search_experiments()
    return path


@pytest.fixture
def project(tmp_path: Path, tiny_base: Path, mlflow_template: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A small project file in a folder of its own, which is the current folder: csv in, tiny encoder."""
    monkeypatch.chdir(tmp_path)
    workspace = tmp_path / ".lakewright"
    workspace.mkdir()
    (workspace / "mlflow.db").write_bytes(mlflow_template.read_bytes())
    write_csv(tmp_path / "things.csv", sentences(300))
    path = tmp_path / "project.yml"
    path.write_text(yaml.safe_dump(small_project(tiny_base), sort_keys=False))
    return path


def small_project(base: Path) -> dict[str, Any]:
    return {
        "name": "things",
        "schema": "main.demo",
        "task": "text_classification",
        "data": {"source": "things.csv", "columns": {"text": "text", "label": "label", "id": "id"}},
        "train": {
            "learner": "encoder",
            "base_model": str(base),
            "num_train_epochs": 6,
            "learning_rate": 5e-3,
            "early_stopping_patience": None,
            "dropout": 0.0,
            "quantize": "never",  # tests/story/test_serving_choice.py has it
        },
        "evaluate": {"resamples": 100, "slices": ["place"]},
        "gate": {"minimum": {"accuracy": 0.8}},
    }


def write_csv(path: Path, rows: list[dict[str, str]]) -> None:
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)


@pytest.fixture
def lakewright() -> Callable[..., subprocess.CompletedProcess[str]]:
    """The command itself, in a process of its own, as a user types it."""

    def call(*arguments: str, stdin: str = "", **options: Any) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "lakewright.cli", *arguments]
        return subprocess.run(command, input=stdin, capture_output=True, text=True, timeout=300, check=False, **options)

    return call


def one_object(stdout: str) -> dict[str, Any]:
    """What `--json` printed: one JSON object, and not a character beside it."""
    value: dict[str, Any] = json.loads(stdout)
    assert isinstance(value, dict)
    return value


@pytest.fixture(scope="session")
def postgresql() -> Iterator[database_servers.Server]:
    """A server of PostgreSQL that stays up; a test names its own tables."""
    if why := database_servers.why_not_postgresql():
        pytest.skip(why)
    with database_servers.postgresql() as server:
        yield server


@pytest.fixture(scope="session")
def s3() -> Iterator[dict[str, str]]:
    """delta-rs's storage options for a moto server in a process of its own, with the bucket `lake`."""
    from pyarrow.fs import S3FileSystem

    port = free_port()
    command = [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)]
    server = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        for _ in range(900):
            try:
                socket.create_connection(("127.0.0.1", port)).close()
                break
            except OSError:
                time.sleep(0.1)
        server_at = f"127.0.0.1:{port}"
        keys = {"access_key": "k", "secret_key": "s", "region": "us-east-1", "scheme": "http"}
        S3FileSystem(endpoint_override=server_at, allow_bucket_creation=True, **keys).create_dir("lake")
        yield {
            "AWS_ACCESS_KEY_ID": "k",
            "AWS_SECRET_ACCESS_KEY": "s",
            "AWS_ENDPOINT_URL": f"http://{server_at}",
            "AWS_REGION": "us-east-1",
            "AWS_ALLOW_HTTP": "true",
        }
    finally:
        server.kill()
        server.wait()


GREETINGS = [{"text": "Good morning!"}, {"text": "Good night, all of you."}]


def greeting_model(folder: Path, weight: float = 5.0) -> Path:
    """A whole linear model folder, made without training: "morning" is hello, "night" is goodbye, as sure as `weight`
    says. Other weights make other models."""
    import numpy as np

    from lakewright.learning.learners.linear import export
    from recipes import store
    from recipes import terms as terms_of

    terms = terms_of(["good morning", "good night"], max_features=10)
    store(folder, terms)
    weights = np.zeros((len(terms.idf), 2), dtype=np.float32)
    weights[terms.vocabulary["morning"], 1] = weights[terms.vocabulary["night"], 0] = weight
    export(weights, np.zeros((0, 2), dtype=np.float32), np.zeros(2, dtype=np.float32), folder / "model.onnx")
    task = {"name": "text_classification", "labels": ["goodbye", "hello"], "inputs": {"text": "text"}}
    return sealed_model(folder, "greetings", task, "linear", GREETINGS)


def sealed_model(
    folder: Path, name: str, task: dict[str, Any], learner: str, rows: Sequence[Mapping[str, Any]]
) -> Path:
    """The rest of a model folder that holds its encoding and its network."""
    from lakewright.model.folder import FORMAT, seal
    from lakewright.model.predictor import Predictor

    written = {
        "model.json": {"format": FORMAT, "task": task, "learner": learner},
        "project.json": {"schema": "main.demo", "name": name, "train": {"learner": learner}},
        "samples.json": {"rows": rows, "predictions": {}},
    }
    for file, value in written.items():
        (folder / file).write_text(json.dumps(value))
    seal(folder)
    samples = {"rows": rows, "predictions": {"onnx": Predictor.open(folder).predict(rows)}}
    (folder / "samples.json").write_text(json.dumps(samples))
    seal(folder)
    return folder


@pytest.fixture(scope="session")
def greeter(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return greeting_model(tmp_path_factory.mktemp("greeter") / "model")


def free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port: int = free.getsockname()[1]
    return port


@contextmanager
def serving(model: str | Path, *options: str, folder: Path, port: int = 0) -> Iterator[Server]:
    """`lakewright serve`, as a user types it, in `folder`; told to stop at the end."""
    port = port or free_port()
    command = [sys.executable, "-m", "lakewright.cli", "serve", str(model), "--port", str(port), *options]
    log = folder / f"server-{port}.log"
    with log.open("wb") as file:
        process = subprocess.Popen(command, cwd=folder, stderr=file, stdout=file)
    server = Server(port, process, log)
    try:
        for _ in range(1800):
            if process.poll() is not None:
                raise AssertionError(f"the server ended with {process.returncode}: {log.read_text()}")
            try:
                if server.ask("GET", "/ping").status == 200:
                    break
            except OSError:
                time.sleep(0.1)
        else:
            raise AssertionError(f"the server did not come up: {log.read_text()}")
        yield server
    finally:
        process.terminate()
        try:
            process.wait(60)
        finally:
            process.kill()


@dataclass(frozen=True)
class Answer:
    status: int
    headers: Mapping[str, str]  # names in lower case
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)


@dataclass(frozen=True)
class Server:
    port: int
    process: subprocess.Popen[bytes]
    log: Path

    def ask(self, method: str, path: str, body: Any = None, headers: Mapping[str, str] = {}) -> Answer:
        """A request on a connection of its own; what is neither bytes nor text is sent as JSON."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
        sent = body if body is None or isinstance(body, bytes | str) else json.dumps(body)
        kind = {} if body is None else {"Content-Type": "application/json"}
        try:
            connection.request(method, path, sent, {**kind, **headers})
            answer = connection.getresponse()
            return Answer(answer.status, {k.lower(): v for k, v in answer.getheaders()}, answer.read())
        finally:
            connection.close()


@pytest.fixture
def tracking(tmp_path: Path, mlflow_template: Path) -> Tracking:
    from lakewright.workspace.tracking import Tracking

    shutil.copy(mlflow_template, tmp_path / "mlflow.db")
    return Tracking(f"sqlite:///{tmp_path / 'mlflow.db'}", None, str(tmp_path / "MLflow files, ü"))
