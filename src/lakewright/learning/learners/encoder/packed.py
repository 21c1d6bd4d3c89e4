"""The forward of BERT's kin without padding: every linear layer sees the real tokens of a batch and nothing else.

The weights stay where transformers has them; only the way through them is ours. Attention alone needs rows of one
length: query, key and value are laid out padded for it and taken back. Families of another build go through
transformers' own forward (`is_packed`); tests hold that the two say the same.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn
from torch.nn.functional import dropout, linear
from torch.utils.checkpoint import checkpoint

from lakewright.learning.learners.encoder.base import POSITIONS_AFTER_PADDING

PACKED = frozenset({"bert", "camembert", "distilbert", "electra", "roberta", "xlm-roberta"})
# Rows of a product are a multiple of it, so that few sizes occur: oneDNN writes code anew for each size that it meets.
ROUND = 16


@dataclass(frozen=True, eq=False)
class Layer:
    """One transformer layer's parts, whatever its family calls them."""

    query: nn.Module
    key: nn.Module
    value: nn.Module
    out: nn.Module
    attention_norm: nn.Module
    up: nn.Module
    activation: Any
    down: nn.Module
    norm: nn.Module
    heads: int
    attention_dropout: float
    dropout: float


@dataclass(frozen=True, eq=False)
class Layout:
    """Where the real tokens of a batch stand."""

    sequences: int
    tokens: int  # of the longest sequence
    real: torch.Tensor | None  # [real tokens], places among sequences × tokens; None where there is no padding
    spare: int  # the last of `real` are padding: computed too, read by nothing
    unseen: torch.Tensor | None  # [sequences, 1, 1, tokens], true where there is padding
    ends: torch.Tensor | None  # on a GPU: where each sequence ends among `real`, int32 [sequences + 2]
    places: torch.Tensor | None = None  # in a trace: which of `real` stands at each place; another's where none does


Through = Callable[[Layer, torch.Tensor, Layout, bool], torch.Tensor]


def is_packed(encoder: nn.Module) -> bool:
    return encoder.config.model_type in PACKED


def hidden_states(
    encoder: nn.Module,
    input_ids: torch.Tensor,
    attention_mask: torch.Tensor,
    token_type_ids: torch.Tensor | None,
    below: torch.Tensor | None = None,
    depth: int = 0,
    through: Through | None = None,
) -> torch.Tensor:
    """What the last layer says, [sequences, tokens, width]; 0 where there is padding, and in a trace just anything.

    The first three are [sequences, tokens]. `below` [real tokens, width] is what the `depth` lowest layers say, the
    embeddings one of them, if that is known already. `through` is `through_layer`, or the same compiled. The encoder is
    one for which `is_packed` is true.
    """
    layout = layout_of(attention_mask)
    if below is None:
        below, depth = lowest(encoder, input_ids, attention_mask, token_type_ids, 1), 1
    hidden = _climb(encoder, list(layers(encoder))[depth - 1 :], below, layout, through or through_layer)
    return _laid_out(hidden, layout).view(layout.sequences, layout.tokens, -1)


def lowest(
    encoder: nn.Module,
    input_ids: torch.Tensor,
    attention_mask: torch.Tensor,
    token_type_ids: torch.Tensor | None,
    depth: int,
) -> torch.Tensor:
    """What the `depth` lowest layers say, the embeddings one of them: [real tokens, width]."""
    real = attention_mask.reshape(-1).nonzero()[:, 0]
    positions = (attention_mask.cumsum(dim=1) - 1).reshape(-1)[real]
    if encoder.config.model_type in POSITIONS_AFTER_PADDING:
        positions = positions + encoder.config.pad_token_id + 1
    types = {} if token_type_ids is None else {"token_type_ids": token_type_ids.reshape(1, -1)[:, real]}
    hidden = encoder.embeddings(input_ids=input_ids.reshape(1, -1)[:, real], position_ids=positions[None], **types)[0]
    if hasattr(encoder, "embeddings_project"):
        hidden = encoder.embeddings_project(hidden)
    return _climb(encoder, list(layers(encoder))[: depth - 1], hidden, layout_of(attention_mask), through_layer)


def _climb(
    encoder: nn.Module, layers: Sequence[Layer], hidden: torch.Tensor, layout: Layout, through: Through
) -> torch.Tensor:
    sparing = encoder.training and encoder.is_activation_checkpointing
    if layout.spare:
        hidden = torch.cat([hidden, hidden.new_zeros(layout.spare, hidden.shape[1])])
    for layer in layers:
        if sparing:
            hidden = checkpoint(through, layer, hidden, layout, encoder.training, use_reentrant=False)
        else:
            hidden = through(layer, hidden, layout, encoder.training)
    return hidden[: len(hidden) - layout.spare] if layout.spare else hidden


def layout_of(attention_mask: torch.Tensor, multiple: int = ROUND) -> Layout:
    """`multiple`: padding is computed, too, where that makes so many tokens whole."""
    sequences, tokens = attention_mask.shape
    padding = attention_mask == 0
    if torch.jit.is_tracing():  # a graph for batches of any shape: nothing that depends on how many tokens are real
        real = attention_mask.reshape(-1).nonzero()[:, 0]
        places = (attention_mask.reshape(-1).cumsum(dim=0) - 1).clamp(min=0)
        return Layout(sequences, tokens, real, 0, padding[:, None, None, :], None, places)
    real, spare = (places.reshape(-1).nonzero()[:, 0] for places in (attention_mask, padding))
    spare = spare[: -len(real) % multiple]
    ends = None
    if attention_mask.is_cuda:  # the spare ones are a sequence of their own
        lengths = nn.functional.pad(attention_mask.sum(dim=1), (1, 1))
        lengths[-1] = len(spare)
        ends = lengths.cumsum(dim=0).to(torch.int32)
    if len(real) == sequences * tokens:
        return Layout(sequences, tokens, None, 0, None, ends)
    return Layout(sequences, tokens, torch.cat([real, spare]), len(spare), padding[:, None, None, :], ends)


def through_layer(layer: Layer, hidden: torch.Tensor, layout: Layout, training: bool) -> torch.Tensor:
    """One layer: [real tokens, width] → the same."""
    attended = layer.out(_attend(_project(layer, hidden), layout, layer, training))
    hidden = layer.attention_norm(dropout(attended, layer.dropout, training) + hidden)
    update = layer.down(layer.activation(layer.up(hidden)))
    result: torch.Tensor = layer.norm(dropout(update, layer.dropout, training) + hidden)
    return result


def _laid_out(packed: torch.Tensor, layout: Layout) -> torch.Tensor:
    """[real tokens, width], with the spare ones or without them → [sequences × tokens, width], 0 elsewhere."""
    if layout.places is not None:
        return packed[layout.places]
    if layout.real is None:
        return packed
    places = layout.real[: len(packed)]
    return packed.new_zeros(layout.sequences * layout.tokens, packed.shape[1]).index_copy(0, places, packed)


def _project(layer: Layer, hidden: torch.Tensor) -> torch.Tensor:
    """Query, key and value side by side: one product, but for parts that are more than a linear layer (LoRA's)."""
    parts = (layer.query, layer.key, layer.value)
    if all(type(part) is nn.Linear for part in parts):
        weight, bias = (torch.cat([getattr(part, name) for part in parts]) for name in ("weight", "bias"))
        return linear(hidden, weight, bias)
    return torch.cat([part(hidden) for part in parts], dim=1)


def _attend(projected: torch.Tensor, layout: Layout, layer: Layer, training: bool) -> torch.Tensor:
    """[real tokens, 3 × width] → [real tokens, width].

    On a GPU in 16 bits by torch's flash attention over sequences without padding, which knows no dropout. Else by plain
    products: they cost less than torch's fused attention on texts of a sentence or a paragraph, whose backward in bf16
    is slow on a processor (docs/experiments.md).
    """
    rate = layer.attention_dropout if training else 0.0
    halves = projected.dtype in (torch.bfloat16, torch.float16)
    head_width = projected.shape[-1] // (3 * layer.heads)
    if layout.ends is not None and halves and not rate and head_width % 8 == 0:  # as flash attention wants it
        from torch.nn.attention.varlen import varlen_attn

        query, key, value = projected.view(len(projected), 3, layer.heads, -1).unbind(dim=1)
        flash: Any = varlen_attn(query, key, value, layout.ends, layout.ends, layout.tokens, layout.tokens)
        return flash.flatten(1)
    size = layout.sequences, layout.tokens
    together = _laid_out(projected, layout).view(*size, 3, layer.heads, -1)
    query, key, value = together.permute(2, 0, 3, 1, 4)  # [sequences, heads, tokens, head width] each
    scores = (query * query.shape[-1] ** -0.5) @ key.transpose(2, 3)
    if layout.unseen is not None:
        scores = scores.masked_fill(layout.unseen, torch.finfo(scores.dtype).min)
    shares = dropout(torch.softmax(scores, dim=-1), rate, training).to(value.dtype)
    attended = (shares @ value).transpose(1, 2).reshape(size[0] * size[1], -1)
    return attended if layout.real is None else attended[layout.real]


def layers(encoder: nn.Module) -> Iterator[Layer]:
    """The lowest first."""
    config = encoder.config
    if config.model_type == "distilbert":
        for layer in encoder.transformer.layer:
            at, up = layer.attention, layer.ffn
            yield Layer(
                *(at.q_lin, at.k_lin, at.v_lin, at.out_lin, layer.sa_layer_norm),
                *(up.lin1, up.activation, up.lin2, layer.output_layer_norm),
                heads=config.n_heads,
                attention_dropout=config.attention_dropout,
                dropout=config.dropout,
            )
        return
    for layer in encoder.encoder.layer:
        at, out = layer.attention.self, layer.attention.output
        up = layer.intermediate
        yield Layer(
            *(at.query, at.key, at.value, out.dense, out.LayerNorm),
            *(up.dense, up.intermediate_act_fn, layer.output.dense, layer.output.LayerNorm),
            heads=config.num_attention_heads,
            attention_dropout=config.attention_probs_dropout_prob,
            dropout=config.hidden_dropout_prob,
        )


def neurons(encoder: nn.Module) -> int:
    """Of all feed-forward layers."""
    return sum(layer.up.weight.shape[0] for layer in layers(encoder))
