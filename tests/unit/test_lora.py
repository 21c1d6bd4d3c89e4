"""LoRA: what is trained, that merging changes no logit, and the two other ways to train less than everything."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from pydantic import ValidationError

from lakewright.errors import ProjectError
from lakewright.learning.learners.encoder.base import load_encoder
from lakewright.learning.learners.encoder.lora import LowRank, add_lora, merge
from lakewright.learning.learners.encoder.network import EncoderNetwork
from lakewright.learning.learners.encoder.optimizer import body_rate, make_optimizer
from lakewright.learning.learners.encoder.settings import EncoderSettings

LORA = EncoderSettings(lora_rank=4, lora_alpha=8, learning_rate=1e-2)
LAYERS, WIDTH, INTERMEDIATE, OUTPUTS = 2, 32, 64, 3  # of tiny_base, and of the head


def network(base: Path, settings: EncoderSettings = LORA) -> EncoderNetwork:
    torch.manual_seed(1)
    made = EncoderNetwork(load_encoder(base, 0.0, 1), OUTPUTS, "row", "mean", 0.0)
    add_lora(made.encoder, settings)
    return made


def ids(seed: int = 0) -> dict[str, torch.Tensor]:
    drawn = torch.randint(5, 40, (6, 12), generator=torch.Generator().manual_seed(seed))
    return {"input_ids": drawn, "attention_mask": torch.ones_like(drawn)}


def steps(of: EncoderNetwork, optimizer: torch.optim.Optimizer, seeds: range) -> None:
    of.train()
    for seed in seeds:
        torch.nn.functional.cross_entropy(of(**ids(seed)), torch.arange(6) % OUTPUTS).backward()
        optimizer.step()
        optimizer.zero_grad()
    of.eval()


def logits(of: EncoderNetwork) -> torch.Tensor:
    with torch.inference_mode():
        said: torch.Tensor = of.eval()(**ids())
    return said


def test_it_begins_as_the_base_model(tiny_base: Path) -> None:
    assert torch.equal(logits(network(tiny_base)), logits(network(tiny_base, EncoderSettings())))


def test_the_updates_and_the_head_alone_are_trained(tiny_base: Path) -> None:
    made = network(tiny_base)
    optimizer = make_optimizer(made, LORA)
    before = {name: value.clone() for name, value in made.state_dict().items()}
    steps(made, optimizer, range(3))
    changed = {name for name, value in made.state_dict().items() if not torch.equal(value, before[name])}
    updates = {
        f"encoder.encoder.layer.{layer}.attention.self.{part}.{matrix}"
        for layer in range(LAYERS)
        for part in ("query", "value")
        for matrix in ("lora_a", "lora_b")
    }
    assert changed == updates | {"head.weight", "head.bias"}
    trained = sum(parameter.numel() for parameter in made.parameters() if parameter.requires_grad)
    assert trained == LAYERS * 2 * (LORA.lora_rank * WIDTH + WIDTH * LORA.lora_rank) + WIDTH * OUTPUTS + OUTPUTS


def test_merged_is_the_same_network_without_lora(tiny_base: Path, tmp_path: Path) -> None:
    made = network(tiny_base)
    steps(made, make_optimizer(made, LORA), range(5))
    adapted = logits(made)
    assert (adapted - logits(network(tiny_base))).abs().max() > 0.01
    lora = next(module for module in made.modules() if isinstance(module, LowRank))
    by_hand = lora.linear.weight + 8 / 4 * lora.lora_b @ lora.lora_a
    merge(made.encoder)
    assert torch.allclose(lora.linear.weight, by_hand, atol=1e-7)
    assert torch.allclose(logits(made), adapted, atol=1e-5)
    made.save(tmp_path)
    assert torch.allclose(logits(EncoderNetwork.open(tmp_path)), adapted, atol=1e-5)
    merge(made.encoder)  # a second time there is nothing to fold in
    assert torch.allclose(logits(made), adapted, atol=1e-5)


def test_a_checkpoint_goes_on_where_it_was(tiny_base: Path) -> None:
    whole = network(tiny_base)
    steps(whole, make_optimizer(whole, LORA), range(6))
    first, second = network(tiny_base), network(tiny_base)
    optimizer = make_optimizer(first, LORA)
    steps(first, optimizer, range(3))
    again = make_optimizer(second, LORA)
    second.load_state_dict(first.state_dict())
    again.load_state_dict(optimizer.state_dict())
    steps(second, again, range(3, 6))
    assert torch.equal(logits(second), logits(whole))


def test_gradient_checkpointing_reaches_the_updates(tiny_base: Path) -> None:
    """Nothing below the updates is trained: re-entrant checkpointing would lose their gradients."""
    made = network(tiny_base)
    make_optimizer(made, LORA)
    made.encoder.activation_checkpointing_enable()
    made.train()
    made(**ids()).sum().backward()
    assert all(m.lora_b.grad is not None and m.lora_b.grad.abs().max() > 0 for m in lora_modules(made))


def lora_modules(of: EncoderNetwork) -> list[LowRank]:
    return [module for module in of.modules() if isinstance(module, LowRank)]


def test_modules_by_the_ends_of_their_names(tiny_base: Path) -> None:
    def names(*ends: str) -> list[str]:
        made = network(tiny_base, LORA.model_copy(update={"lora_modules": list(ends)}))
        return [name for name, module in made.encoder.named_modules() if isinstance(module, LowRank)]

    assert [name.rpartition(".")[2] for name in names("key")] == ["key", "key"]
    assert len(names("dense")) == 3 * LAYERS and len(names("output.dense")) == 2 * LAYERS
    assert len(names("intermediate.dense", "query")) == 2 * LAYERS
    with pytest.raises(ProjectError, match="'uery' matches no linear layer") as caught:
        names("query", "uery")
    assert "dense, key, query, value" in caught.value.remedy


def test_updates_of_other_than_square_layers(tiny_base: Path) -> None:
    made = network(tiny_base, settings := LORA.model_copy(update={"lora_modules": ["intermediate.dense"]}))
    steps(made, make_optimizer(made, settings), range(3))
    adapted = logits(made)
    assert {tuple(module.lora_b.shape) for module in lora_modules(made)} == {(INTERMEDIATE, 4)}
    merge(made.encoder)
    assert torch.allclose(logits(made), adapted, atol=1e-5)


@pytest.mark.parametrize(
    "both",
    [
        {"freeze_layers": 1, "train_layers": 1},
        {"freeze_layers": 1, "train_layers": 0},
        {"freeze_layers": 1, "lora_rank": 8},
        {"train_layers": 2, "lora_rank": 8},
    ],
)
def test_one_way_to_train_less(both: dict[str, Any]) -> None:
    with pytest.raises(ValidationError, match=" and ".join(both)):
        EncoderSettings(**both)
    for name, value in both.items():
        EncoderSettings(**{name: value})


@pytest.mark.parametrize(
    ("given", "needed"), [({"focal_gamma": 1.0}, "loss: focal"), ({"lora_modules": ["query"]}, "lora_rank")]
)
def test_what_would_have_no_effect_is_refused(given: dict[str, Any], needed: str) -> None:
    with pytest.raises(ValidationError, match=f"{next(iter(given))} has no effect without {needed}"):
        EncoderSettings(**given)


@pytest.mark.parametrize("given", [{"train_layers": 3}, {"freeze_layers": 4}])
def test_more_layers_than_there_are(tiny_base: Path, given: dict[str, int]) -> None:
    with pytest.raises(ProjectError, match=rf"{next(iter(given))} is ., but .* has 2 layers"):
        make_optimizer(network(tiny_base, EncoderSettings()), EncoderSettings(**given))
    settings = EncoderSettings(**{name: value - 1 for name, value in given.items()})
    assert make_optimizer(network(tiny_base, settings), settings).param_groups


def test_the_updates_learn_faster_than_the_weights_would(tiny_base: Path) -> None:
    made = network(tiny_base)
    full, lora = EncoderSettings(), EncoderSettings(lora_rank=4)
    assert body_rate(made, lora) == pytest.approx(10 * body_rate(made, full))
    rates = {group["lr"] for group in make_optimizer(made, lora).param_groups}
    assert rates == {body_rate(made, lora), 10 * body_rate(made, lora)}  # the updates' and the head's
    assert body_rate(made, EncoderSettings(lora_rank=4, learning_rate=2e-4)) == 2e-4
