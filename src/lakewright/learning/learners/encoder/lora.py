"""LoRA (Hu et al. 2021, arXiv:2106.09685): frozen weights, and beside the attention's an update of low rank to train.

`add_lora` before training (and before a checkpoint is loaded), `merge` after it: the encoder is then as it was before,
with other weights, so that saving, export and serving know nothing of LoRA.
"""

from __future__ import annotations

import math

import torch
from torch import nn

from lakewright.errors import ProjectError
from lakewright.learning.learners.encoder.settings import EncoderSettings

# Query and value, as in the paper. ModernBERT's one matrix gives query, key and value, so the key is updated with them.
ATTENTION = (
    *("query", "value"),  # BERT, RoBERTa, XLM-RoBERTa, CamemBERT, ELECTRA, ALBERT
    *("q_lin", "v_lin"),  # DistilBERT
    *("query_proj", "value_proj"),  # DeBERTa
    *("attn.q", "attn.v"),  # MPNet
    "attn.Wqkv",  # ModernBERT
)


class LowRank(nn.Module):
    """W x + b + alpha ÷ rank · B A x, with A [rank, in] drawn and B [out, rank] zero: it begins as W x + b."""

    def __init__(self, linear: nn.Linear, rank: int, alpha: float) -> None:
        super().__init__()
        like = linear.weight
        self.linear = linear
        self.lora_a = nn.Parameter(torch.empty(rank, linear.in_features, dtype=like.dtype, device=like.device))
        self.lora_b = nn.Parameter(torch.zeros(linear.out_features, rank, dtype=like.dtype, device=like.device))
        nn.init.kaiming_uniform_(self.lora_a, a=math.sqrt(5))
        self.scale = alpha / rank

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        update = nn.functional.linear(nn.functional.linear(inputs, self.lora_a), self.lora_b)
        outputs: torch.Tensor = self.linear(inputs) + self.scale * update
        return outputs

    def merged(self) -> nn.Linear:
        with torch.no_grad():
            self.linear.weight += self.scale * (self.lora_b @ self.lora_a)
        return self.linear


def add_lora(encoder: nn.Module, settings: EncoderSettings) -> None:
    """Wraps the linear layers that lora_modules names, in place; nothing with lora_rank 0. A comes from torch's seed.

    Raises ProjectError where a name is that of no linear layer.
    """
    if not settings.lora_rank:
        return
    linears = [name for name, module in encoder.named_modules() if isinstance(module, nn.Linear)]
    ends = ATTENTION if settings.lora_modules == "auto" else tuple(settings.lora_modules)
    chosen = {end: [name for name in linears if f".{name}".endswith(f".{end}")] for end in ends}
    unknown = [] if settings.lora_modules == "auto" else [end for end, names in chosen.items() if not names]
    names = sorted({name for names in chosen.values() for name in names})
    if unknown or not names:
        available = sorted({name.rpartition(".")[2] for name in linears})
        raise ProjectError(
            f"train.lora_modules: {unknown[0] if unknown else 'auto'!r} matches no linear layer of "
            f"{settings.base_model}",
            f"name some of its linear layers, by the ends of their names: {', '.join(available)}",
        )
    for name in names:
        linear = encoder.get_submodule(name)
        assert isinstance(linear, nn.Linear)
        encoder.set_submodule(name, LowRank(linear, settings.lora_rank, settings.lora_alpha))


def merge(encoder: nn.Module) -> None:
    """Folds the updates into the weights that they stand beside, in place."""
    for name, module in list(encoder.named_modules()):
        if isinstance(module, LowRank):
            encoder.set_submodule(name, module.merged())
