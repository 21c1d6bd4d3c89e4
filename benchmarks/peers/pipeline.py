"""Hugging Face's text-classification pipeline over a model folder of ours: the same weights, read from the folder.

Run by benchmarks/scoring.py, in a process of its own; prints one line of JSON. The served peers load it from here.
"""

from __future__ import annotations

import argparse
import json
import os
import time
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import torch
from safetensors.torch import load_file
from transformers import AutoConfig, AutoModel, PreTrainedModel, PreTrainedTokenizerFast, pipeline
from transformers.modeling_outputs import SequenceClassifierOutput


class MeanPooled(PreTrainedModel):  # type: ignore[misc]
    """An encoder, the mean over its tokens, and a linear head: what the folder's network is."""

    def __init__(self, config: Any) -> None:
        super().__init__(config)
        self.encoder = AutoModel.from_config(config)
        self.encoder.pooler = None
        self.head = torch.nn.Linear(config.hidden_size, config.num_labels)
        self.post_init()

    def forward(self, input_ids: Any, attention_mask: Any, **_: Any) -> SequenceClassifierOutput:
        hidden = self.encoder(input_ids=input_ids, attention_mask=attention_mask).last_hidden_state
        mask = attention_mask.unsqueeze(-1).to(hidden.dtype)
        return SequenceClassifierOutput(logits=self.head((hidden * mask).sum(1) / mask.sum(1)))


def classifier(folder: Path) -> Any:
    """The pipeline of a model folder of ours."""
    labels = json.loads((folder / "model.json").read_text(encoding="utf-8"))["task"]["labels"]
    config = AutoConfig.from_pretrained(folder)
    config.num_labels, config.id2label = len(labels), dict(enumerate(labels))
    model = MeanPooled(config)
    model.load_state_dict(load_file(folder / "model.safetensors"))
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_file=str(folder / "recipe" / "tokenizer.json"), pad_token="[PAD]", model_max_length=256
    )
    return pipeline("text-classification", model=model.eval(), tokenizer=tokenizer, device="cpu")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", type=Path, required=True, help="a model folder of ours")
    parser.add_argument("--data", type=Path, required=True, help="a parquet file with text and label")
    parser.add_argument("--batch", type=int, default=32)
    arguments = parser.parse_args()
    torch.set_num_threads(len(os.sched_getaffinity(0)))
    classify = classifier(arguments.model)
    table = pq.read_table(arguments.data)
    texts, truths = table["text"].to_pylist(), table["label"].to_pylist()
    classify(texts[: arguments.batch], batch_size=arguments.batch, truncation=True)
    began = time.perf_counter()
    said = [row["label"] for row in classify(texts, batch_size=arguments.batch, truncation=True)]
    seconds = time.perf_counter() - began
    right = [int(a == b) for a, b in zip(said, truths, strict=True)]
    print(json.dumps({"texts_per_second": len(texts) / seconds, "right": right}))


if __name__ == "__main__":
    main()
