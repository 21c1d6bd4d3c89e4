"""The predictor: a model folder and a runtime. Evaluation, the server and batch scoring all predict through it.

Needs numpy, tokenizers and the runtime's own library; never torch, transformers, mlflow or pydantic to serve.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from lakewright import plugins
from lakewright.encodings import Encoded, Encoding, open_encoding
from lakewright.encodings.ragged import longest_first
from lakewright.errors import DataError, nearest
from lakewright.runtimes import Runtime
from lakewright.runtimes.folder import describe, verify

if TYPE_CHECKING:
    from lakewright.tasks import Prediction, Task

Row = Mapping[str, Any] | str
MAX_TOKENS = 4096  # padded tokens computed at once: more gains no speed on a CPU and costs memory
CHUNK = 8192  # rows encoded at once


@dataclass(frozen=True)
class Predictor:
    folder: Path
    digest: str
    task: Task
    encoding: Encoding
    runtime: Runtime
    inputs: tuple[str, ...] = ("text",)

    @classmethod
    def open(cls, folder: Path, runtime: str = "onnx", threads: int | None = None) -> Predictor:
        """Checks every file's hash, then loads. Raises ModelError where the folder is damaged or not one."""
        digest = verify(folder)
        described = describe(folder)
        task = plugins.find("tasks", described["task"]["name"]).open(described["task"])
        load = plugins.find("runtimes", runtime)
        return cls(folder, digest, task, open_encoding(folder / "encoding"), load(folder, threads))

    def predict(self, rows: Sequence[Row]) -> list[Prediction]:
        """One JSON-ready prediction a row, in the rows' order. A row is a text, or a mapping that holds `text`.

        Raises DataError naming the first row that has no text.
        """
        texts = [self._text(row, at) for at, row in enumerate(rows)]
        predictions: list[Prediction] = []
        for start in range(0, len(texts), CHUNK):
            chunk = texts[start : start + CHUNK]
            encoded = self.encoding.encode(chunk, positions=self.task.level == "token")
            predictions += self.task.decode(self.logits(encoded), encoded, chunk)
        return predictions

    def logits(self, encoded: Encoded) -> list[NDArray[np.float32]]:
        """Each row's logits, [outputs] or [tokens, outputs]; computed longest first, so that little is padded."""
        lengths = encoded.ids.lengths
        found: list[Any] = [None] * len(encoded)
        for rows in longest_first(np.arange(len(encoded)), lengths, MAX_TOKENS):
            logits = self.runtime(self.encoding.batch(encoded, rows))
            for row, values in zip(rows, logits, strict=True):
                found[row] = values if self.task.level == "row" else values[: lengths[row]]
        return found

    def sample_rows(self) -> list[dict[str, Any]]:
        """The rows in samples.json: what the signature and the input example are made from."""
        rows: list[dict[str, Any]] = json.loads((self.folder / "samples.json").read_text(encoding="utf-8"))["rows"]
        return rows

    def _text(self, row: Row, at: int) -> str:
        if isinstance(row, str):
            return row
        if not isinstance(row, Mapping):
            raise DataError(f"row {at} is {type(row).__name__}, not a text or a mapping", 'give {"text": "…"}')
        if "text" not in row:
            raise DataError(f"row {at} has no 'text'", nearest("text", map(str, row)))
        text = row["text"]
        if not isinstance(text, str):
            raise DataError(f"row {at}: 'text' is {type(text).__name__}, not a string", "leave out rows without text")
        return text
