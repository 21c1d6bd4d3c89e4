"""The network: a pretrained encoder, and what reads it: a linear layer on the pooled row (with the columns beside the
text) or on every token, or nothing but the pooled row itself as a unit vector."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Literal

import torch
from torch import nn

from lakewright.learning.learners.encoder import packed
from lakewright.system import jsonfile

Level = Literal["row", "token", "vector"]


class EncoderNetwork(nn.Module):
    """input_ids, attention_mask [sequences, tokens], and where they are among `inputs` token_type_ids [sequences,
    tokens] and columns [sequences, columns] → logits [sequences, outputs] (level "row"), [sequences, tokens, outputs]
    ("token"), or unit vectors [sequences, width] ("vector")."""

    def __init__(
        self,
        encoder: nn.Module,
        outputs: int,
        level: Level,
        pooling: Literal["mean", "cls"],
        dropout: float,
        *,
        types: bool = False,
        columns: int = 0,
        dimensions: int | None = None,
        exact: bool = False,
    ) -> None:
        super().__init__()
        if getattr(encoder, "pooler", None) is not None:
            encoder.pooler = None  # not read by our head: neither trained, stored nor exported
        self.encoder = encoder
        self.level = level
        self.pooling = pooling
        self.types = types
        self.columns = columns
        self.dimensions = dimensions
        self.exact = exact  # the head is computed in fp32 whatever the rest is: a number has more digits than bf16
        self.frozen = 0  # the lowest layers, the embeddings one of them, whose output may come as `hidden`
        self.through: packed.Through | None = None  # compiled, where it is to be
        self.packed = packed.is_packed(encoder)  # without padding; else by transformers' own forward
        self.dropout = nn.Dropout(dropout)
        if level != "vector":
            self.head = nn.Linear(int(encoder.config.hidden_size) + columns, outputs)
            nn.init.normal_(self.head.weight, std=0.02)
            nn.init.zeros_(self.head.bias)

    @property
    def inputs(self) -> list[str]:
        types, columns = ["token_type_ids"] * self.types, ["columns"] * bool(self.columns)
        return ["input_ids", "attention_mask", *types, *columns]

    def forward(
        self,
        input_ids: torch.Tensor,
        attention_mask: torch.Tensor,
        token_type_ids: torch.Tensor | None = None,
        columns: torch.Tensor | None = None,
        hidden: torch.Tensor | None = None,
    ) -> torch.Tensor:
        features = self.features(input_ids, attention_mask, token_type_ids, columns, hidden)
        if self.level == "vector":
            return nn.functional.normalize(features[:, : self.dimensions], dim=1)
        if self.exact:
            with torch.autocast(features.device.type, enabled=False):
                exact: torch.Tensor = self.head(features)
            return exact
        logits: torch.Tensor = self.head(features)
        return logits

    def features(
        self,
        input_ids: torch.Tensor,
        attention_mask: torch.Tensor,
        token_type_ids: torch.Tensor | None = None,
        columns: torch.Tensor | None = None,
        hidden: torch.Tensor | None = None,
    ) -> torch.Tensor:
        """What the head reads, after dropout. `hidden` [real tokens, width]: what the frozen layers say, if known."""
        if self.packed:
            arguments = input_ids, attention_mask, token_type_ids, hidden, self.frozen, self.through
            hidden = packed.hidden_states(self.encoder, *arguments)
        else:
            types = {} if token_type_ids is None else {"token_type_ids": token_type_ids}
            hidden = self.encoder(input_ids=input_ids, attention_mask=attention_mask, **types).last_hidden_state
        if self.level != "token":
            hidden = self.pool(hidden, attention_mask)
        hidden = self.dropout(hidden)
        if self.exact:
            hidden = hidden.float()
        return hidden if columns is None else torch.cat([hidden, columns.to(hidden.dtype)], dim=1)

    def pool(self, hidden: torch.Tensor, attention_mask: torch.Tensor) -> torch.Tensor:
        if self.pooling == "cls":
            return hidden[:, 0]
        mask = attention_mask.unsqueeze(-1).to(hidden.dtype)
        return (hidden * mask).sum(dim=1) / mask.sum(dim=1).clamp(min=1)

    def save(self, folder: Path) -> None:
        """model.safetensors, config.json (the encoder's, Hugging Face's format) and network.json (the head's)."""
        from safetensors.torch import save_file

        state = {name: value.detach().cpu().contiguous() for name, value in self.state_dict().items()}
        save_file(state, folder / "model.safetensors", metadata={"format": "pt"})
        self.encoder.config.to_json_file(folder / "config.json", use_diff=False)
        described: dict[str, Any] = {
            "outputs": self.head.out_features if self.level != "vector" else 0,
            "level": self.level,
            "pooling": self.pooling,
            "types": self.types,
            "columns": self.columns,
            "dimensions": self.dimensions,
            "exact": self.exact,
        }
        (folder / "network.json").write_text(json.dumps(described, indent=2) + "\n", encoding="utf-8")

    @classmethod
    def open(cls, folder: Path) -> EncoderNetwork:
        from safetensors.torch import load_file
        from transformers import AutoConfig, AutoModel

        described = jsonfile.parse((folder / "network.json").read_bytes())
        encoder = AutoModel.from_config(AutoConfig.from_pretrained(folder, trust_remote_code=False))
        network = cls(encoder, dropout=0.0, **described)
        network.load_state_dict(load_file(folder / "model.safetensors"))
        network.eval()
        return network
