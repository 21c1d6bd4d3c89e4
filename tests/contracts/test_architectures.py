"""Every family of encoders that docs/models.md names, on small random weights: loads as the Hub has it, freezes by
layer, takes LoRA, exports, and ONNX Runtime says what torch says on shapes that were not traced."""

from __future__ import annotations

import json
import re
import shutil
from copy import deepcopy
from functools import cache, partial
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from lakewright.errors import ModelError, ProjectError
from lakewright.learning.learners.encoder import int8, packed
from lakewright.learning.learners.encoder.base import FAMILIES, base_folder, load_encoder, longest
from lakewright.learning.learners.encoder.export import export
from lakewright.learning.learners.encoder.lora import LowRank, add_lora, merge
from lakewright.learning.learners.encoder.network import EncoderNetwork
from lakewright.learning.learners.encoder.optimizer import depth_of, make_optimizer
from lakewright.learning.learners.encoder.settings import EncoderSettings
from lakewright.model.runtimes.onnx import load
from recipes import tokens as tokens_of
from recipes import values as values_of

LAYERS = 3
WIDTH: dict[str, Any] = {
    "vocab_size": 400,
    "hidden_size": 32,
    "num_hidden_layers": LAYERS,
    "num_attention_heads": 2,
    "intermediate_size": 64,
}
SMALL = {**WIDTH, "max_position_embeddings": 66}
DEBERTA_V3 = {
    "relative_attention": True,
    "position_buckets": 256,
    "norm_rel_ebd": "layer_norm",
    "share_att_key": True,
    "pos_att_type": "p2c|c2p",
    "position_biased_input": False,
    "max_relative_positions": -1,
    "type_vocab_size": 0,
    "pad_token_id": 0,
}
MODERNBERT = {"global_attn_every_n_layers": 3, "pad_token_id": 0, "bos_token_id": 2, "cls_token_id": 2}
MODERNBERT |= {"eos_token_id": 3, "sep_token_id": 3}
CONFIGS: dict[str, dict[str, Any]] = {
    "albert": {**SMALL, "embedding_size": 16},
    "bert": SMALL,
    "camembert": {**SMALL, "pad_token_id": 1},
    "deberta-v2": {**SMALL, **DEBERTA_V3, "position_buckets": 8},
    "distilbert": {
        "vocab_size": 400,
        "max_position_embeddings": 66,
        "dim": 32,
        "n_layers": LAYERS,
        "n_heads": 2,
        "hidden_dim": 64,
    },
    "electra": {**SMALL, "embedding_size": 16},
    "modernbert": {**SMALL, **MODERNBERT, "local_attention": 8},
    "mpnet": {**SMALL, "pad_token_id": 1},
    "roberta": {**SMALL, "pad_token_id": 1},
    "xlm-roberta": {**SMALL, "pad_token_id": 1},
}
UNLIMITED = {"deberta-v2", "modernbert"}  # positions relative to each other: the limit is what they were trained on
TOLERANCE = 1e-4
# Alone and in company, of the largest logit: the shape of a batch decides in which order floats are summed, so that a
# value on the edge between two steps of int8 may fall to the other side. docs/models.md states it.
INT8_ALONE = 0.02
Level = Literal["row", "token"]


def save_small(family: str, folder: Path, **config: Any) -> None:
    """As the Hub has it: under a head for masked words, which is not ours, and without a pooler."""
    from transformers import AutoConfig, AutoModelForMaskedLM

    torch.manual_seed(0)
    model = AutoModelForMaskedLM.from_config(AutoConfig.for_model(family, **config))
    for parameter in model.parameters():
        if parameter.ndim > 1:  # attention that attends: at 0.02 every token is the mean of all, and nothing shows
            torch.nn.init.normal_(parameter, std=0.2)
    model.save_pretrained(folder)


@pytest.fixture(scope="module", params=sorted(CONFIGS))
def base(request: pytest.FixtureRequest, tiny_base: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp(request.param) / request.param
    save_small(request.param, folder, **CONFIGS[request.param])
    shutil.copy(tiny_base / "tokenizer.json", folder)
    return folder


@cache
def pretrained(base: Path) -> torch.nn.Module:
    return load_encoder(base, 0.0, 1)


def network(base: Path, level: Level = "row", pooling: Literal["mean", "cls"] = "mean") -> EncoderNetwork:
    made = EncoderNetwork(deepcopy(pretrained(base)), 5, level, pooling, 0.0).eval()
    torch.manual_seed(1)
    torch.nn.init.normal_(made.head.weight)  # logits of about 10, so that the tolerance is one of the encoder
    return made


def batch(base: Path, rows: int, tokens: int) -> dict[str, NDArray[np.int64]]:
    """Random rows; the first has `tokens` tokens, each below it three fewer (at least two)."""
    padding = json.loads((base / "config.json").read_text()).get("pad_token_id") or 0
    lengths = np.maximum(2, tokens - 3 * np.arange(rows))
    ids = np.random.default_rng(tokens).integers(5, 400, (rows, tokens))
    mask = (np.arange(tokens) < lengths[:, None]).astype(np.int64)
    return {"input_ids": np.where(mask == 1, ids, padding), "attention_mask": mask}


@pytest.fixture(scope="module")
def exported(base: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """`network(base)` as ONNX."""
    folder = tmp_path_factory.mktemp("exported")
    export(network(base), folder / "model.onnx")
    return folder


def torch_says(network: torch.nn.Module, inputs: dict[str, NDArray[np.int64]]) -> NDArray[np.float32]:
    with torch.inference_mode():
        said = network(**{name: torch.from_numpy(values) for name, values in inputs.items()})
    said = getattr(said, "last_hidden_state", said)
    values: NDArray[np.float32] = said.numpy()
    return values


def test_every_family_is_here() -> None:
    assert set(CONFIGS) == FAMILIES


@pytest.mark.parametrize("level", ["row", "token"])
def test_onnx_says_what_torch_says(base: Path, level: Level, tmp_path: Path) -> None:
    ours = network(base, level)
    export(ours, tmp_path / "model.onnx")
    theirs = load(tmp_path).compute
    ours.save(tmp_path)
    again = EncoderNetwork.open(tmp_path)
    # The trace saw 2 × 9: fewer and more of both, past ModernBERT's window and DeBERTa's buckets, to the last position.
    for rows, tokens in ((1, 3), (1, 9), (2, 9), (3, 5), (1, 10), (5, 20), (9, 40), (2, longest(base))):
        inputs = batch(base, rows, tokens)
        said = torch_says(ours, inputs)
        real = inputs["attention_mask"].astype(bool) if level == "token" else slice(None)
        assert np.abs(said - theirs(inputs))[real].max() < TOLERANCE, (rows, tokens)
        assert np.abs(said - torch_says(again, inputs))[real].max() < 1e-6, (rows, tokens)


@pytest.mark.slow
def test_linear_layers_see_no_padding_in_onnx(base: Path, exported: Path, tmp_path: Path) -> None:
    """Of BERT's kin query, key and value are one product, of real tokens. What OpenVINO reads is transformers'."""
    import onnx

    def products(path: Path) -> int:
        weights = onnx.load(str(path)).graph
        named = {weight.name for weight in weights.initializer if len(weight.dims) == 2}
        return sum(node.op_type in ("Gemm", "MatMul") and not named.isdisjoint(node.input) for node in weights.node)

    ours = network(base)
    export(ours, tmp_path / "padded.onnx", padded=True)
    inputs = batch(base, 3, 17)
    assert np.abs(load(tmp_path / "padded.onnx").compute(inputs) - torch_says(ours, inputs)).max() < TOLERANCE
    assert ours.packed == packed.is_packed(ours.encoder)
    saved = products(tmp_path / "padded.onnx") - products(exported / "model.onnx")
    assert saved == (2 * ours.encoder.config.num_hidden_layers if ours.packed else 0)


@pytest.mark.parametrize(
    ("family", "config"),
    [
        ("deberta-v2", {**DEBERTA_V3, "max_position_embeddings": 512}),
        ("modernbert", {**MODERNBERT, "local_attention": 128, "max_position_embeddings": 8192}),
        ("mpnet", {"max_position_embeddings": 514, "pad_token_id": 1}),
    ],
)
def test_far_positions_as_published(family: str, config: dict[str, Any], tmp_path: Path) -> None:
    """The published windows and buckets: logarithms that round otherwise in ONNX Runtime would show far apart."""
    base = tmp_path / family
    save_small(family, base, **{**WIDTH, "num_hidden_layers": 1, **config})
    ours = network(base, "token")
    export(ours, tmp_path / "model.onnx")
    for tokens in (130, 512):
        inputs = batch(base, 2, tokens)
        real = inputs["attention_mask"].astype(bool)
        assert np.abs(torch_says(ours, inputs) - load(tmp_path).compute(inputs))[real].max() < TOLERANCE


# Without these instructions (AVX2 alone) ONNX Runtime adds two products in 16 bits, where large ones saturate
WIDE = any(name in Path("/proc/cpuinfo").read_text() for name in ("vnni", "amx_int8"))


@pytest.mark.slow
@pytest.mark.parametrize("level", ["row", "token"])
@pytest.mark.parametrize("scales", ["of train", "by token"])
def test_int8_is_near_and_a_row_is_alone(base: Path, level: Level, scales: str, tmp_path: Path) -> None:
    import onnx

    ours = network(base, level)
    export(ours, tmp_path / "model.onnx")
    seen = [batch(base, 30, tokens) for tokens in (9, 20, 39, 41)]  # other rows than those below
    known = int8.ranges(tmp_path / "model.onnx", seen) if scales == "of train" else {}
    int8.quantise(tmp_path / "model.onnx", tmp_path / "int8.onnx", known)
    graph = onnx.load(str(tmp_path / "int8.onnx")).graph
    weights = {tensor.name for tensor in graph.initializer if tensor.data_type == onnx.TensorProto.FLOAT}
    left = [node for node in graph.node if node.op_type in ("Gemm", "MatMul") and weights & set(node.input)]
    assert len(left) == 1  # the head's
    assert not any(node.op_type == "Identity" and weights & set(node.input) for node in graph.node)
    compute = load(tmp_path / "int8.onnx").compute
    for rows, tokens in ((1, 3), (2, 9), (30, 40)):
        inputs = batch(base, rows, tokens)
        real = inputs["attention_mask"].astype(bool) if level == "token" else slice(None)
        logits, rounded = torch_says(ours, inputs), compute(inputs)
        assert 0 < np.abs(logits - rounded)[real].max() < (0.25 if WIDE else 1.0) * np.abs(logits[real]).max()
        for row in range(rows):
            own = int(inputs["attention_mask"][row].sum())
            (alone,) = compute({name: values[row : row + 1, :own] for name, values in inputs.items()})
            together = rounded[row, :own] if level == "token" else rounded[row]
            assert np.abs(alone - together).max() < INT8_ALONE * np.abs(together).max()


def test_what_scales_cut_is_counted(exported: Path, base: Path) -> None:
    known = int8.ranges(exported / "model.onnx", [batch(base, 1, 30)])
    assert int8.saturated(exported / "model.onnx", known, [batch(base, 1, 30)]) == 0
    narrow = {name: (low / 2, high / 2) for name, (low, high) in known.items()}
    cut = int8.saturated(exported / "model.onnx", narrow, [batch(base, 1, 30)])
    assert int8.saturated(exported / "model.onnx", known, [batch(base, 4, 50)]) < cut < 1


def test_the_encoder_is_transformers_own(base: Path) -> None:
    from transformers import AutoModel

    theirs = AutoModel.from_pretrained(base, attn_implementation="eager").eval()
    ours = network(base).encoder
    for rows, tokens in ((1, 4), (4, 30)):
        inputs = batch(base, rows, tokens)
        real = inputs["attention_mask"].astype(bool)
        assert np.abs(torch_says(ours, inputs) - torch_says(theirs, inputs))[real].max() < 1e-5


def test_the_packed_forward_says_and_learns_what_transformers_does(base: Path) -> None:
    """To 1e-5, and its gradients to a thousandth of the greatest: whole batches and padded ones, and in parts."""
    theirs = deepcopy(pretrained(base)).eval()
    theirs.set_attn_implementation("eager")
    if not packed.is_packed(theirs):
        assert theirs.config.model_type in FAMILIES - packed.PACKED  # goes through transformers, as docs/models.md says
        return
    parameters = [parameter for parameter in theirs.parameters() if parameter.requires_grad]
    for rows, tokens, types in ((1, 7, False), (4, 30, False), (4, 30, theirs.config.model_type == "bert")):
        inputs = {name: torch.from_numpy(values) for name, values in batch(base, rows, tokens).items()}
        if types:
            inputs["token_type_ids"] = (torch.arange(tokens) > tokens // 2).long().expand(rows, -1)
        given = (inputs["input_ids"], inputs["attention_mask"], inputs.get("token_type_ids"))
        real = inputs["attention_mask"].bool()
        said = theirs(**inputs).last_hidden_state[real]
        ours = packed.hidden_states(theirs, *given)
        assert (ours[real] - said).abs().max() < 1e-5
        for depth in range(1, LAYERS + 2):
            parted = packed.hidden_states(theirs, *given, packed.lowest(theirs, *given, depth), depth)
            assert torch.equal(parted, ours)
        weights = torch.randn_like(said)
        wanted = torch.autograd.grad((said * weights).sum(), parameters, allow_unused=True)
        found = torch.autograd.grad((ours[real] * weights).sum(), parameters, allow_unused=True)
        assert [gradient is None for gradient in wanted] == [gradient is None for gradient in found]
        pairs = [(a, b) for a, b in zip(wanted, found, strict=True) if a is not None and b is not None]
        greatest = max(float(a.abs().max()) for a, _ in pairs)
        assert max(float((a - b).abs().max()) for a, b in pairs) < 1e-3 * greatest


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_the_packed_forward_on_a_gpu_is_near_transformers_in_fp32(base: Path) -> None:
    """Flash attention over sequences without padding, in bf16: to a twentieth of the greatest number, gradients too."""
    theirs = deepcopy(pretrained(base)).eval().cuda()
    if not packed.is_packed(theirs):
        return
    parameters = [parameter for parameter in theirs.parameters() if parameter.requires_grad]
    inputs = {name: torch.from_numpy(values).cuda() for name, values in batch(base, 4, 30).items()}
    real = inputs["attention_mask"].bool()
    said = theirs(**inputs).last_hidden_state[real]
    with torch.autocast("cuda", torch.bfloat16):
        ours = packed.hidden_states(theirs, inputs["input_ids"], inputs["attention_mask"], None)[real].float()
    weights = torch.randn_like(said)
    wanted = torch.autograd.grad((said * weights).sum(), parameters, allow_unused=True)
    found = torch.autograd.grad((ours * weights).sum(), parameters, allow_unused=True)
    pairs = [(said, ours), *((a, b) for a, b in zip(wanted, found, strict=True) if a is not None and b is not None)]
    for a, b in pairs:
        assert (a - b).abs().max() <= 0.05 * max(float(x.abs().max()) for x in (a, *wanted) if x is not None)


@pytest.mark.slow  # half a minute each, or more
@pytest.mark.parametrize("base", sorted(CONFIGS), indirect=True)
def test_compiled_layers_say_and_learn_the_same(base: Path) -> None:
    """One piece of code for all layers and sizes of a batch: what torch.compile takes in, without a compiler."""
    from torch._dynamo.testing import CompileCounterWithBackend

    made = network(base).train()
    if not packed.is_packed(made.encoder):
        return
    torch._dynamo.reset()
    pieces = CompileCounterWithBackend("aot_eager")
    compiled = torch.compile(packed.through_layer, dynamic=True, fullgraph=True, backend=pieces)
    for rows, tokens in ((1, 7), (4, 30), (6, 21)):
        inputs = {name: torch.from_numpy(values) for name, values in batch(base, rows, tokens).items()}
        found = []
        for through in (None, compiled):
            made.through = through
            said = made(**inputs)
            made.zero_grad()
            said.square().sum().backward()
            found.append((said, [p.grad for p in made.parameters() if p.grad is not None]))
        (plain, wanted), (said, learned) = found
        assert torch.allclose(said, plain, atol=1e-4)
        assert all(torch.allclose(a, b, rtol=1e-3, atol=1e-3) for a, b in zip(wanted, learned, strict=True))
    assert 1 <= pieces.frame_count <= 4


@pytest.mark.slow
def test_padding_does_not_change_a_row(base: Path, exported: Path) -> None:
    mean, cls, inputs = network(base), network(base, pooling="cls"), batch(base, 6, 30)
    for says in (partial(torch_says, mean), partial(torch_says, cls), load(exported).compute):
        together = says(inputs)
        for row, length in enumerate(inputs["attention_mask"].sum(axis=1)):
            alone = says({name: values[row : row + 1, :length] for name, values in inputs.items()})
            assert np.abs(together[row] - alone[0]).max() < TOLERANCE, (row, length)


def test_freezing_knows_the_layers(base: Path) -> None:
    if base.name == "albert":
        pytest.skip("ALBERT's layers share their weights: see below")
    made = network(base)
    depths = {depth_of(name, LAYERS) for name, _ in made.named_parameters()}
    assert depths == {0, 1, 2, 3, 4}
    make_optimizer(made, EncoderSettings(freeze_layers=2))
    trained = {depth_of(name, LAYERS) for name, parameter in made.named_parameters() if parameter.requires_grad}
    assert trained == {2, 3, 4}
    # What is in no layer is below them all, relative positions included; all but ModernBERT's last norm.
    outside = [name for name, _ in made.named_parameters() if not re.search(r"\.\d+\.|^head\.", name)]
    assert {name for name in outside if depth_of(name, LAYERS) > 0} <= {"encoder.final_norm.weight"}


@pytest.mark.parametrize(("train_layers", "trained"), [(0, {4}), (1, {3, 4}), (3, {1, 2, 3, 4})])
def test_the_top_layers_alone_are_trained(base: Path, train_layers: int, trained: set[int]) -> None:
    made = network(base)
    if base.name == "albert":  # its layers are one: all of them or none
        if train_layers == 1:
            pytest.skip("refused: see below")
        trained = trained - {1, 2}
    make_optimizer(made, EncoderSettings(train_layers=train_layers))
    assert {depth_of(name, LAYERS) for name, p in made.named_parameters() if p.requires_grad} == trained


def test_layers_that_are_shared_are_not_treated_apart(base: Path) -> None:
    refused = [{"freeze_layers": 2}, {"train_layers": 2}, {"layerwise_lr_decay": 0.9}]
    for given in refused:
        if base.name == "albert":
            with pytest.raises(ProjectError, match="share their weights"):
                make_optimizer(network(base), EncoderSettings(**given))
        else:
            make_optimizer(network(base), EncoderSettings(**given))


def test_lora_finds_the_attention(base: Path) -> None:
    made = network(base)
    names = list(made.state_dict())
    add_lora(made.encoder, EncoderSettings(lora_rank=2))
    added = [module for module in made.modules() if isinstance(module, LowRank)]
    assert len(added) == {"albert": 2, "modernbert": LAYERS}.get(base.name, 2 * LAYERS)
    inputs = batch(base, 4, 20)
    for module in added:
        torch.nn.init.normal_(module.lora_b, std=0.1)
    adapted = torch_says(made, inputs)
    assert np.abs(adapted - torch_says(network(base), inputs)).max() > 0.01
    merge(made.encoder)
    assert list(made.state_dict()) == names
    assert np.abs(torch_says(made, inputs) - adapted).max() < 1e-5 * np.abs(adapted).max()


def test_how_much_it_reads(base: Path) -> None:
    encoder = load_encoder(base, 0.0, 1).eval()
    most = longest(base)
    assert most == (64 if base.name in {"camembert", "mpnet", "roberta", "xlm-roberta"} else 66)
    assert torch_says(encoder, batch(base, 2, most)).shape[1] == most
    if base.name not in UNLIMITED:
        with pytest.raises((IndexError, RuntimeError)):
            torch_says(encoder, batch(base, 1, most + 1))


def test_weights_that_are_missing_are_an_error(base: Path, tmp_path: Path) -> None:
    from safetensors.torch import load_file, save_file

    broken = tmp_path / "broken"
    shutil.copytree(base, broken)
    weights = load_file(broken / "model.safetensors")
    lost = next(name for name in weights if "layer" in name and name.endswith("weight") and ".0." in name)
    save_file({name: value for name, value in weights.items() if name != lost}, broken / "model.safetensors")
    with pytest.raises(ModelError, match="lacks 1 weights"):
        load_encoder(broken, 0.0, 1)


def test_a_checkpoint_of_2018(tmp_path: Path) -> None:
    """bert-base-uncased as it lies on the Hub: norms have gamma and beta, and the file is PyTorch's."""
    from safetensors.torch import load_file

    save_small("bert", tmp_path, **SMALL)
    expected = load_encoder(tmp_path, 0.0, 1).state_dict()
    weights = load_file(tmp_path / "model.safetensors")
    old = {
        name.replace("Norm.weight", "Norm.gamma").replace("Norm.bias", "Norm.beta"): weights[name] for name in weights
    }
    (tmp_path / "model.safetensors").unlink()
    torch.save(old, tmp_path / "pytorch_model.bin")
    read = load_encoder(tmp_path, 0.0, 1).state_dict()
    assert all(torch.equal(read[name], value) for name, value in expected.items())
    assert any(name.endswith("gamma") for name in old)


def test_a_family_that_is_not_known_is_refused(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "t5"}))
    with pytest.raises(ModelError, match="family 't5'") as caught:
        load_encoder(tmp_path, 0.0, 1)
    assert "modernbert" in caught.value.remedy
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "no-such-family"}))
    with pytest.raises(ModelError, match="cannot be read"):
        load_encoder(tmp_path, 0.0, 1)


def test_a_graph_that_keeps_the_traced_length_is_refused(
    tiny_base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def pool(self: EncoderNetwork, hidden: torch.Tensor, *others: Any) -> torch.Tensor:
        return hidden.sum(dim=1) / int(hidden.shape[1])  # a number to the tracer, not a shape

    monkeypatch.setattr(EncoderNetwork, "pool", pool)
    with pytest.raises(ModelError, match=r"is off by .* on 1 × 3 tokens"):
        export(network(tiny_base), tmp_path / "model.onnx")


def tokenizer_folder(folder: Path, family: str, **files: str | bytes) -> Path:
    (folder / "config.json").write_text(json.dumps({"model_type": family}))
    for name, content in files.items():
        path = folder / name.replace("__", ".")
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return folder


def test_a_vocabulary_alone_is_a_tokenizer(tmp_path: Path) -> None:
    """microsoft/MiniLM-L12-H384-uncased has no tokenizer.json; case is as tokenizer_config.json has it."""
    vocabulary = "\n".join(["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "the", "The", "dog", "##s"])
    uncased = tokenizer_folder(tmp_path, "bert", vocab__txt=vocabulary)
    assert tokens_of(uncased, 20).encode(values_of(["The dogs"])).ids.values.tolist() == [2, 5, 7, 8, 3]
    cased = tokenizer_folder(tmp_path, "bert", tokenizer_config__json='{"do_lower_case": false}')
    assert tokens_of(cased, 20).encode(values_of(["The dogs"])).ids.values.tolist() == [2, 6, 7, 8, 3]


def test_no_tokenizer_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="has no tokenizer"):
        tokens_of(tokenizer_folder(tmp_path, "bert"), 20)


def test_sentencepiece_is_converted_or_asked_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """microsoft/deberta-v3-small has spm.model alone."""
    folder = tokenizer_folder(tmp_path, "deberta-v2", spm__model=b"not a model")
    if find_spec("sentencepiece"):
        with pytest.raises(ModelError, match="cannot be converted"):
            tokens_of(folder, 20)
    monkeypatch.setattr("lakewright.learning.learners.encoder.base.find_spec", lambda name: None)
    with pytest.raises(ModelError, match=r"spm\.model.* needs the package sentencepiece") as caught:
        tokens_of(folder, 20)
    assert "pip install sentencepiece" in caught.value.remedy


@pytest.mark.parametrize(("family", "padding"), [("bert", 0), ("roberta", 1), ("mpnet", 1)])
def test_padding_that_is_not_told(family: str, padding: int, tiny_base: Path, tmp_path: Path) -> None:
    folder = tokenizer_folder(tmp_path, family, tokenizer__json=(tiny_base / "tokenizer.json").read_bytes())
    assert tokens_of(folder, 20).pad_id == padding


def bert(layers: int, width: int, vocabulary: int = 30522, **other: Any) -> dict[str, Any]:
    shape = {"num_hidden_layers": layers, "hidden_size": width, "intermediate_size": 4 * width}
    return {**shape, "num_attention_heads": width // 32, "vocab_size": vocabulary, **other}


def roberta(layers: int, vocabulary: int) -> dict[str, Any]:
    return bert(layers, 768, vocabulary, max_position_embeddings=514, type_vocab_size=1, pad_token_id=1)


PUBLISHED: dict[str, dict[str, Any]] = {
    "sentence-transformers/all-MiniLM-L6-v2": bert(6, 384),
    "microsoft/xtremedistil-l6-h256-uncased": bert(6, 256),
    "microsoft/xtremedistil-l6-h384-uncased": bert(6, 384),
    "microsoft/xtremedistil-l12-h384-uncased": bert(12, 384),
    "microsoft/MiniLM-L12-H384-uncased": bert(12, 384),
    "distilbert-base-uncased": {"vocab_size": 30522},
    "distilbert-base-cased": {"vocab_size": 28996},
    "bert-base-uncased": bert(12, 768),
    "bert-base-cased": bert(12, 768, 28996),
    "distilroberta-base": roberta(6, 50265),
    "roberta-base": roberta(12, 50265),
    "answerdotai/ModernBERT-base": {},
    "microsoft/deberta-v3-small": bert(6, 768, 128100, **DEBERTA_V3),
    "sentence-transformers/all-mpnet-base-v2": bert(12, 768, 30527, max_position_embeddings=514, pad_token_id=1),
    "google/electra-small-discriminator": bert(12, 256, embedding_size=128),
    "albert-base-v2": bert(12, 768, 30000, embedding_size=128),
    "xlm-roberta-base": roberta(12, 250002),
    "camembert-base": roberta(12, 32005),
}


def test_the_table_of_base_models_is_computed(tmp_path: Path) -> None:
    """docs/models.md: layers, width, parameters without pooler, fp32 size, tokens."""
    from transformers import AutoConfig, AutoModel

    text = (Path(__file__).parents[2] / "docs" / "models.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| `([\w./-]+)` \| ([\w-]+) \| (.+) \| (.+) M \| (\d+) \| \d+ \| (\d+) \|", text, re.MULTILINE)
    assert {name for name, *_ in rows} == set(PUBLISHED) and {family for _, family, *_ in rows} == FAMILIES
    for name, family, shape, parameters, megabytes, tokens in rows:
        config = AutoConfig.for_model(family, **PUBLISHED[name])
        with torch.device("meta"):
            encoder = AutoModel.from_config(config)
        count = sum(p.numel() for part, p in encoder.named_parameters() if not part.startswith("pooler."))
        config.save_pretrained(tmp_path)
        assert shape == f"{config.num_hidden_layers} × {config.hidden_size}", name
        assert parameters == f"{count / 1e6:.1f}", name
        assert abs(4 * count / 1e6 - int(megabytes)) <= 2, name  # the graph itself, and rounding
        assert longest(tmp_path) == int(tokens), name


@pytest.mark.parametrize(
    ("name", "cause", "remedy"),
    [
        ("nobody/has-this-model", "could not be downloaded from the Hugging Face Hub", "package:"),
        ("./nowhere", "there is no folder", "package:NAME"),
        ("package:not_installed_here", "is not installed", "pip install not-installed-here"),
        ("package:yaml", "contains no model", ""),
    ],
)
def test_a_base_model_that_is_not_to_be_had(name: str, cause: str, remedy: str, tmp_path: Path) -> None:
    with pytest.raises(ModelError) as caught:
        base_folder(name, tmp_path)
    assert cause in caught.value.cause and remedy in caught.value.remedy
