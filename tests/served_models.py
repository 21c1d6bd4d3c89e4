"""Models of every kind, made without training, so that random weights decide; and servers of them in a thread."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import uvicorn

from conftest import greeting_model, sealed_model
from lakewright.data.rows.kinds import Kind
from lakewright.learning.learners.encoder.base import load_encoder
from lakewright.learning.learners.linear import export
from lakewright.model.recipe.dense import Category, Dense, Number
from lakewright.model.recipe.tokens import Tokens
from lakewright.model.tasks import Task
from lakewright.model.tasks.answering import QuestionAnswering
from lakewright.model.tasks.classification import Classification, TextClassification
from lakewright.model.tasks.multilabel import MultilabelClassification
from lakewright.model.tasks.similarity import SentenceSimilarity
from lakewright.model.tasks.tagging import TokenClassification
from lakewright.service.server import connection, endpoint
from lakewright.service.server.access import Access
from lakewright.service.server.app import make_app
from lakewright.service.server.endpoint import Endpoint
from lakewright.service.server.service import Service
from lakewright.settings.profile import Oidc, Profile, Serve
from lakewright.workspace import Workspace
from recipes import recipe_for, store, terms

BOTH = {"text": "the dog is here", "text_pair": "my rose is old"}
OTHERS = Dense((Number("age", 40.0, 10.0, True),), (Category("place", ("north", "south")),))
BESIDE: dict[str, Kind] = {"text": "text", "age": "number", "place": "category"}
TABLE: dict[str, Kind] = {"place": "category", "age": "number", "size": "number"}
LABELS = ("animal", "plant", "stone")
SAMPLES: dict[str, list[dict[str, Any]]] = {
    "text": [{"text": "Good morning!"}, {"text": "Good night, all of you."}],
    "pair": [BOTH, {"text": "", "text_pair": "a granite"}],
    "columns": [{"text": "good day", "age": 31, "place": "north"}, {"text": "a", "age": None, "place": None}],
    "table": [{"place": "north", "age": 31, "size": 2.5}, {"place": None, "age": None, "size": -1.0}],
    "several": [{"text": "the dog is here"}, {"text": ""}],
    "words": [{"text": "we saw a dog today"}, {"tokens": ["my", "rose", "is", "old"]}],
    "question": [{"question": "what is old", "context": "my rose is old. " * 9}, {"question": "", "context": ""}],
    "similarity": [BOTH, {"text": "an oak"}],
}


def sealed(folder: Path, name: str, task: Task, learner: str) -> Path:
    return sealed_model(folder, name, task.describe(), learner, SAMPLES[name])


def linear(folder: Path, name: str, task: Task, *others: Dense) -> Path:
    known = terms(["the dog is here", "my rose is old", "good day"])
    texts = tuple(each for each, kind in task.inputs.items() if kind == "text")
    store(folder, replace(known, inputs=texts), *others)
    draw, columns = np.random.default_rng(0), sum(step.width for step in others)
    weights = [draw.normal(size=(size, task.outputs)).astype(np.float32) for size in (len(known.idf), columns)]
    export(*weights, np.zeros(task.outputs, dtype=np.float32), folder / "model.onnx")
    return sealed(folder, name, task, "linear")


def encoder(folder: Path, name: str, task: Task, base: Path) -> Path:
    import torch

    from lakewright.learning.learners.encoder.export import export
    from lakewright.learning.learners.encoder.network import EncoderNetwork

    step = recipe_for(task, base, 32, stride=8 if task.level == "token" else 0).steps[0]
    assert isinstance(step, Tokens)
    store(folder, step)
    torch.manual_seed(0)
    network = EncoderNetwork(load_encoder(base, 0.0, 13), task.outputs, task.level, "mean", 0.0, types=step.types)
    if task.outputs:
        torch.nn.init.normal_(network.head.weight, std=1.0)  # so that it is sure of something
    export(network, folder / "model.onnx")
    return sealed(folder, name, task, "encoder")


def make(name: str, folder: Path, base: Path) -> Path:
    if name == "text":
        return greeting_model(folder)
    if name == "pair":
        return linear(folder, name, TextClassification(LABELS, inputs={"text": "text", "text_pair": "text"}))
    if name == "columns":
        return linear(folder, name, TextClassification(LABELS, inputs=BESIDE), OTHERS)
    if name == "table":
        of_columns = Dense((Number("age", 40.0, 10.0, True), Number("size", 1.0, 2.0, False)), OTHERS.categories)
        store(folder, of_columns)
        weights = np.random.default_rng(0).normal(size=(of_columns.width, len(LABELS))).astype(np.float32)
        export(weights[:0], weights, np.zeros(len(LABELS), dtype=np.float32), folder / "model.onnx")
        return sealed(folder, name, Classification(LABELS, inputs=TABLE), "linear")
    if name == "several":
        return linear(folder, name, MultilabelClassification(LABELS, (0.4, 0.5, 0.6)))
    if name == "words":
        return encoder(folder, name, TokenClassification(LABELS, tokens=True), base)
    if name == "question":
        return encoder(folder, name, QuestionAnswering(may_lack=True), base)
    return encoder(folder, name, SentenceSimilarity(scored=True, low=0.0, high=5.0), base)


@contextmanager
def answering(folder: Path, at: Path, serve: Serve, oidc: Oidc | None = None) -> Iterator[tuple[int, Service]]:
    """The port of a server of the model folder, in a thread of this process; the keys are in `at`."""
    file = at / "endpoint.json"
    workspace = Workspace.open(Profile(workspace=str(at / "workspace")))
    one = (endpoint.one(workspace, str(folder)),)
    file.write_text(Endpoint(variants=one, meant=one).model_dump_json())
    service = Service(file, serve, "auto", 2, workspace.online)
    app = make_app(service, Access(at / "keys.json", oidc), None)
    config = uvicorn.Config(
        app, http=connection.Connection, ws="none", proxy_headers=False, log_config=None, access_log=False
    )
    server = connection.Server(config)
    with socket.create_server(("127.0.0.1", 0)) as listening:
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]})
        thread.start()
        while not server.started:
            assert thread.is_alive()
            time.sleep(0.01)
        try:
            yield listening.getsockname()[1], service
        finally:
            server.should_exit = True
            thread.join()
