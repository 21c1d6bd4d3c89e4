"""Models of every kind, made without training, so that random weights decide; and servers of them in a thread."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import uvicorn

from conftest import greeting_model, sealed_model
from lakewright.learning.learners.encoder.base import load_encoder, load_tokens
from lakewright.learning.learners.linear import _export
from lakewright.model.recipe.dense import Category, Number, OtherColumns
from lakewright.model.recipe.inputs import TextInputs
from lakewright.model.recipe.terms import Terms
from lakewright.model.tasks import Task
from lakewright.model.tasks.answering import QuestionAnswering
from lakewright.model.tasks.classification import TextClassification
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

BOTH = {"text": "the dog is here", "text_pair": "my rose is old"}
OTHERS = OtherColumns((Number("age", 40.0, 10.0, True),), (Category("place", ("north", "south")),))
LABELS = ("animal", "plant", "stone")
SAMPLES: dict[str, list[dict[str, Any]]] = {
    "text": [{"text": "Good morning!"}, {"text": "Good night, all of you."}],
    "pair": [BOTH, {"text": "", "text_pair": "a granite"}],
    "columns": [{"text": "good day", "age": 31, "place": "north"}, {"text": "a", "age": None, "place": None}],
    "several": [{"text": "the dog is here"}, {"text": ""}],
    "words": [{"text": "we saw a dog today"}, {"tokens": ["my", "rose", "is", "old"]}],
    "question": [{"question": "what is old", "context": "my rose is old. " * 9}, {"question": "", "context": ""}],
    "similarity": [BOTH, {"text": "an oak"}],
}


def sealed(folder: Path, name: str, task: Task, learner: str) -> Path:
    return sealed_model(folder, name, task.describe(), learner, SAMPLES[name])


def linear(folder: Path, name: str, task: Task, columns: int) -> Path:
    terms = Terms.fit(["the dog is here", "my rose is old", "good day"], min_df=1, max_terms=100)
    (folder / "encoding").mkdir(parents=True)
    terms.save(folder / "encoding")
    draw = np.random.default_rng(0)
    weights = [draw.normal(size=(size, task.outputs)).astype(np.float32) for size in (len(terms.idf), columns)]
    _export(*weights, np.zeros(task.outputs, dtype=np.float32), folder / "model.onnx")
    return sealed(folder, name, task, "linear")


def encoder(folder: Path, name: str, task: Task, base: Path, pairs: bool = False) -> Path:
    import torch

    from lakewright.learning.learners.encoder.export import export
    from lakewright.learning.learners.encoder.network import EncoderNetwork

    tokens = load_tokens(base, 32, task.long_texts, 8 if task.long_texts == "windows" else 0, pairs)
    (folder / "encoding").mkdir(parents=True)
    tokens.save(folder / "encoding")
    torch.manual_seed(0)
    network = EncoderNetwork(load_encoder(base, 0.0, 13), task.outputs, task.level, "mean", 0.0, types=tokens.types)
    if task.outputs:
        torch.nn.init.normal_(network.head.weight, std=1.0)  # so that it is sure of something
    export(network, folder / "model.onnx")
    return sealed(folder, name, task, "encoder")


def make(name: str, folder: Path, base: Path) -> Path:
    if name == "text":
        return greeting_model(folder)
    if name == "pair":
        return linear(folder, name, TextClassification(LABELS, reads=TextInputs(pair=True)), 0)
    if name == "columns":
        return linear(folder, name, TextClassification(LABELS, reads=TextInputs(others=OTHERS)), OTHERS.width)
    if name == "several":
        return linear(folder, name, MultilabelClassification(LABELS, (0.4, 0.5, 0.6)), 0)
    if name == "words":
        return encoder(folder, name, TokenClassification(LABELS, tokens=True), base)
    if name == "question":
        return encoder(folder, name, QuestionAnswering(may_lack=True), base, pairs=True)
    return encoder(folder, name, SentenceSimilarity(scored=True, low=0.0, high=5.0), base)


@contextmanager
def answering(folder: Path, at: Path, serve: Serve, oidc: Oidc | None = None) -> Iterator[tuple[int, Service]]:
    """The port of a server of the model folder, in a thread of this process; the keys are in `at`."""
    file = at / "endpoint.json"
    one = (endpoint.one(Workspace.open(Profile(workspace=str(at / "workspace"))), str(folder)),)
    file.write_text(Endpoint(variants=one, meant=one).model_dump_json())
    service = Service(file, serve, "auto", 2)
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
