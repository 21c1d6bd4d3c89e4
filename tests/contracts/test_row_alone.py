"""A row's prediction is its own: alone, in any company, order and cut, in every runtime and precision."""

from __future__ import annotations

import itertools
import json
import random
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from numpy.typing import NDArray
from test_learners import LEARNERS, PRETRAINED, inputs_of, task_rows

from conftest import sentences, small_project
from lakewright import plugins
from lakewright.learning.learners import Examples, Training, gap
from lakewright.learning.learners.encoder import serving
from lakewright.learning.learners.encoder.int8 import quantise
from lakewright.learning.learners.encoder.network import EncoderNetwork
from lakewright.learning.learners.encoder.settings import EncoderSettings
from lakewright.model.folder import describe
from lakewright.model.predictor import Predictor
from lakewright.testing import FolderCase

# The largest difference of a logit, as a share of the largest one: stated in docs/models.md. The shape of a batch
# decides in which order floats are summed, so that a value on the edge between two steps of int8 may fall to the other
# side. OpenVINO's int8 rounds what products put out as well, so that one step there moves all that follows.
TOLERANCE = {"fp32": 1e-4, "onnx int8": 5e-3, "openvino int8": 5e-2}
LONGEST = 512  # tokens
FAST = [("encoder", "text_classification"), ("encoder", "token_classification"), ("linear", "text_classification")]
FAST += [("trees", "classification"), ("forest", "regression")]
PAIRS = [
    pytest.param(pair, marks=[] if pair in FAST else [pytest.mark.slow], id="-".join(pair))
    for pair in itertools.product(LEARNERS, plugins.TASKS.names())
    if not gap(plugins.LEARNERS.find(pair[0]), plugins.TASKS.find(pair[1]))
]


@dataclass(frozen=True)
class Served:
    """A network in a runtime."""

    name: str
    tolerance: float
    runtime: str
    file: Path

    def predictor(self, of: Predictor, threads: int, use: Any) -> Predictor:
        return replace(of, runtime=plugins.RUNTIMES.find(self.runtime)(self.file, threads, use))


@pytest.fixture(scope="module")
def long_base(tiny_base: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """`tiny_base` with places for 512 tokens."""
    import torch
    from transformers import AutoConfig, BertModel

    folder = tmp_path_factory.mktemp("long_base")
    torch.manual_seed(0)
    BertModel(AutoConfig.from_pretrained(tiny_base, max_position_embeddings=LONGEST)).save_pretrained(folder)
    shutil.copy(tiny_base / "tokenizer.json", folder)
    return folder


def texts(rows: int, seed: int, repeats: Sequence[int] = (1, 1, 1, 2, 3, 8, 20, 60)) -> list[str]:
    """Of 3 to more than 512 tokens, most of them short."""
    draw, words = random.Random(seed), [row["text"] for row in sentences(200, seed)]
    return ["a", *(" ".join(draw.choices(words, k=draw.choice(repeats))) for _ in range(rows - 1))]


@pytest.fixture(scope="module", params=PAIRS)
def model(
    request: pytest.FixtureRequest,
    long_base: Path,
    mlflow_template: Path,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[tuple[Predictor, list[Served]]]:
    """A model that a run made, and every network that could serve it."""
    import lakewright as lw

    learner, task = request.param
    folder = tmp_path_factory.mktemp(f"{learner}-{task}")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        (folder / ".lakewright").mkdir()
        (folder / ".lakewright" / "mlflow.db").write_bytes(mlflow_template.read_bytes())
        rows, columns = task_rows(task, sentences(120))
        project = small_project(long_base) | {"task": task, "gate": {}, "evaluate": {"resamples": 100}}
        project["data"] = {"source": "things.json", "columns": columns}
        project["train"] = {"learner": learner}
        if learner in PRETRAINED:
            project["train"] |= {"base_model": str(long_base), "quantize": "never"}
            project["prepare"] = {"recipe": {"tokens": {"max_length": LONGEST}}}
        if learner == "encoder":
            project["train"] |= {"num_train_epochs": 2, "learning_rate": 5e-3}
        (folder / "things.json").write_text("\n".join(json.dumps(row) for row in rows))
        (folder / "project.yml").write_text(yaml.safe_dump(project))
        made = Path(lw.run("project.yml").model_folder)
        predictor = Predictor.open(made)
        served = [Served(name, TOLERANCE["fp32"], name, made) for name in FolderCase(made, []).runtimes]
        if learner in PRETRAINED:
            served += rounded(predictor, folder / "rounded")
        yield predictor, served


def rounded(predictor: Predictor, into: Path) -> list[Served]:
    """Every int8 network of the model: with scales from rows, with a scale for each token, and OpenVINO's."""
    shutil.copytree(predictor.folder, into)
    encoded = predictor.recipe.encode(inputs_of(predictor.folder, texts(40, seed=2)))
    examples = Examples(encoded, encoded.ids, np.ones(len(encoded), np.float32), [], [])
    training = Training(
        predictor.task, EncoderSettings(), predictor.recipe, examples, examples, into, into, into, "cpu", 1
    )
    serving.quantise(training)
    quantise(into / "model.onnx", into / serving.BY_TOKEN, {})
    serving._calibrated(EncoderNetwork.open(into), training, into / serving.NETWORK)
    return [
        Served("int8", TOLERANCE["onnx int8"], "onnx", into / serving.INT8),
        Served("int8 by token", TOLERANCE["onnx int8"], "onnx", into / serving.BY_TOKEN),
        Served("OpenVINO's int8", TOLERANCE["openvino int8"], "openvino", into / serving.NETWORK),
    ]


def flat(predictor: Predictor, rows: list[Any]) -> list[NDArray[np.float32]]:
    """Each row's logits."""
    encoded = predictor.recipe.encode(rows)
    logits = predictor.logits(encoded)
    if len(logits) == len(rows):
        return [np.asarray(values).ravel() for values in logits]
    assert encoded.rows is not None
    ends = zip(encoded.rows[:-1], encoded.rows[1:], strict=True)
    return [np.concatenate([np.ravel(values) for values in logits[start:end]]) for start, end in ends]


def test_a_row_is_predicted_as_if_it_were_alone(model: tuple[Predictor, list[Served]]) -> None:
    made, served = model
    rows = inputs_of(made.folder, texts(30, seed=7))
    many = rows + inputs_of(made.folder, texts(970, seed=8, repeats=(1, 2)))
    order = np.random.default_rng(5).permutation(len(rows))
    for one in served:
        predictor = one.predictor(made, 1, "throughput")
        alone = [flat(predictor, [row])[0] for row in rows]
        largest = max(float(np.abs(values).max()) for values in alone)
        tolerance = one.tolerance * largest
        shuffled = flat(predictor, [rows[at] for at in order])
        companies = {
            "in company": flat(predictor, rows),
            "among 1,000": flat(predictor, many)[: len(rows)],
            "shuffled": [shuffled[at] for at in np.argsort(order)],
            "by two threads": flat(one.predictor(made, 2, "throughput"), rows),
            "by both threads at once": flat(one.predictor(made, 2, "latency"), rows),
            "in small parts": flat(replace(predictor, runtime=replace(predictor.runtime, tokens=64)), rows),
        }
        for company, logits in companies.items():
            for own, value in zip(alone, logits, strict=True):
                assert np.abs(own - value).max() <= tolerance, (one.name, company)
        if made.task.level == "row" and made.task.outputs > 1:
            ranked = np.sort(np.stack(alone), axis=1)
            clear = ranked[:, -1] - ranked[:, -2] > 2 * tolerance
            assert clear.mean() > 0.5
            for logits in companies.values():
                same = np.stack(alone).argmax(axis=1) == np.stack(logits).argmax(axis=1)
                assert same[clear].all(), one.name


def test_scales_from_the_whole_batch_would_be_seen(model: tuple[Predictor, list[Served]], tmp_path: Path) -> None:
    """What this suite is for: int8 as it was, whose scales come from all rows at once, does not pass it."""
    from onnxruntime.quantization import QuantType, quantize_dynamic

    made, served = model
    if describe(made.folder)["learner"] not in PRETRAINED:
        pytest.skip("no network of layers that int8 could round")
    if len(served) == 3 or made.task.level == "vector":
        pytest.skip("linear has no int8; the vectors of a small random encoder are all alike")
    quantize_dynamic(made.folder / "model.onnx", tmp_path / "dynamic.onnx", weight_type=QuantType.QInt8)
    predictor = Served("dynamic", 0.0, "onnx", tmp_path / "dynamic.onnx").predictor(made, 1, "throughput")
    rows = inputs_of(made.folder, texts(60, seed=7))
    together, alone = flat(predictor, rows), [flat(predictor, [row])[0] for row in rows]
    largest = max(float(np.abs(values).max()) for values in alone)
    worst = max(float(np.abs(a - b).max()) for a, b in zip(together, alone, strict=True))
    assert worst > TOLERANCE["onnx int8"] * largest
