"""What every peer's script is given, how it is timed, and the one line of JSON that it prints."""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from collections.abc import Callable, Sequence
from importlib.machinery import ModuleSpec
from importlib.metadata import version
from types import ModuleType
from typing import Any

import pandas as pd
import torch

Predict = Callable[[Sequence[str]], Sequence[str]]
Fit = Callable[[pd.DataFrame, argparse.Namespace], tuple[Predict, dict[str, Any]]]


def measure(package: str, fit: Fit, doc: str | None) -> None:
    """`fit` makes a predictor of the rows, and notes."""
    parser = argparse.ArgumentParser(description=doc)
    parser.add_argument("--train", required=True, help="parquet with text and label")
    parser.add_argument("--test", required=True, help="parquet with text and label")
    parser.add_argument("--base", required=True, help="the encoder's folder, in Hugging Face's layout")
    parser.add_argument("--seed", type=int, default=13)
    parser.add_argument("--max-seconds", type=int, default=3600, help="for the training")
    given = parser.parse_args()
    torch.set_num_threads(len(os.sched_getaffinity(0)))

    began = time.perf_counter()
    rows = read(given.train)
    predict, notes = fit(rows, given)
    trained = time.perf_counter()
    test = read(given.test)
    asked = time.perf_counter()
    said = predict(test["text"].tolist())
    answered = time.perf_counter()
    right = sum(str(a) == b for a, b in zip(said, test["label"], strict=True))
    result = {
        "accuracy": right / len(test),
        "train_seconds": trained - began - notes.pop("not_counted", 0.0),
        "predict_seconds": answered - asked,
        "version": version(package),
        "rows": len(rows),
        "stopped": False,
        **notes,
    }
    print(json.dumps(result), flush=True)


def affordable(ends: Sequence[float], max_seconds: float) -> int:
    """How many steps fit, from when those of a trial ended; the first, which is slow, is left out."""
    return max(1, int(max_seconds * (len(ends) - 1) / (ends[-1] - ends[0])))


def read(path: str) -> pd.DataFrame:
    table = pd.read_parquet(path, columns=["text", "label"])
    return table.astype({"text": object, "label": str}).astype(object)


def for_text_alone() -> None:
    """Lets a library for all kinds of data be imported where torchvision's and torchaudio's compiled parts do not fit
    this torch: their plain wheels are for CUDA. Text calls none of what is declared here."""
    try:
        import torchvision  # noqa: F401
    except RuntimeError:
        library = torch.library.Library("torchvision", "FRAGMENT")
        for name in ("nms", "qnms"):
            library.define(f"{name}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
        KEPT.append(library)  # an operator lives as long as its library
    except ImportError:
        pass
    try:
        import torchaudio  # noqa: F401
    except OSError:
        stand_in = ModuleType("torchaudio")
        stand_in.__version__ = version("torchaudio")  # type: ignore[attr-defined]
        stand_in.__spec__ = ModuleSpec("torchaudio", None)
        sys.modules["torchaudio"] = stand_in
    except ImportError:
        pass


KEPT: list[torch.library.Library] = []
