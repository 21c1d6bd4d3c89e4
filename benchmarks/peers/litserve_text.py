"""Hugging Face's pipeline behind LitServe, batched as its page on batching says. MODEL names the model folder.

Run by benchmarks/serving.py, with LitServe in .peers.
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import litserve
from pipeline import classifier

BATCH = 32
WAIT = 0.005  # seconds for a batch to fill


class Classify(litserve.LitAPI):  # type: ignore[misc]
    def setup(self, device: str) -> None:
        self.classify = classifier(Path(os.environ["MODEL"]))

    def decode_request(self, request: dict[str, str]) -> str:
        return request["text"]

    def predict(self, texts: Sequence[str]) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = self.classify(list(texts), batch_size=BATCH, truncation=True)
        return found

    def encode_response(self, found: dict[str, Any]) -> dict[str, Any]:
        return found


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--port", type=int, required=True)
    api = Classify(max_batch_size=BATCH, batch_timeout=WAIT)
    server = litserve.LitServer(api, accelerator="cpu")
    server.run(host="127.0.0.1", port=parser.parse_args().port, generate_client_file=False)
