"""The network: a pretrained encoder, and one linear layer that reads the pooled row or every token."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Literal

import torch
from torch import nn


class EncoderNetwork(nn.Module):
    """input_ids, attention_mask [rows, tokens] → logits [rows, outputs] (level "row") or [rows, tokens, outputs]."""

    def __init__(
        self,
        encoder: nn.Module,
        outputs: int,
        level: Literal["row", "token"],
        pooling: Literal["mean", "cls"],
        dropout: float,
    ) -> None:
        super().__init__()
        if getattr(encoder, "pooler", None) is not None:
            encoder.pooler = None  # not read by our head: neither trained, stored nor exported
        self.encoder = encoder
        self.level = level
        self.pooling = pooling
        self.dropout = nn.Dropout(dropout)
        self.head = nn.Linear(int(encoder.config.hidden_size), outputs)
        nn.init.normal_(self.head.weight, std=0.02)
        nn.init.zeros_(self.head.bias)

    def forward(self, input_ids: torch.Tensor, attention_mask: torch.Tensor) -> torch.Tensor:
        hidden = self.encoder(input_ids=input_ids, attention_mask=attention_mask).last_hidden_state
        if self.level == "row":
            hidden = self.pool(hidden, attention_mask)
        logits: torch.Tensor = self.head(self.dropout(hidden))
        return logits

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
        described = {"outputs": self.head.out_features, "level": self.level, "pooling": self.pooling}
        (folder / "network.json").write_text(json.dumps(described, indent=2) + "\n", encoding="utf-8")

    @classmethod
    def open(cls, folder: Path) -> EncoderNetwork:
        from safetensors.torch import load_file
        from transformers import AutoConfig, AutoModel

        described = json.loads((folder / "network.json").read_text(encoding="utf-8"))
        encoder = AutoModel.from_config(AutoConfig.from_pretrained(folder))
        network = cls(encoder, dropout=0.0, **described)
        network.load_state_dict(load_file(folder / "model.safetensors"))
        network.eval()
        return network
