"""AutoGluon's MultiModalPredictor with its default preset, the encoder named: up to 20 epochs, stopped early on its own
holdout, the best checkpoints averaged. --max-seconds is its own `time_limit`, which stops it where it is: its learning
rate is planned for the 20 epochs, whatever the limit."""

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path
from typing import Any

import pandas as pd
from peer import Predict, for_text_alone, measure

for_text_alone()

from autogluon.multimodal import MultiModalPredictor  # noqa: E402


def fit(rows: pd.DataFrame, given: argparse.Namespace) -> tuple[Predict, dict[str, Any]]:
    out = Path(tempfile.mkdtemp()) / "model"  # it has to outlive the fit
    predictor = MultiModalPredictor(label="label", eval_metric="acc", path=str(out), verbosity=0)
    began = time.perf_counter()
    predictor.fit(
        rows,
        hyperparameters={"model.hf_text.checkpoint_name": given.base},
        time_limit=given.max_seconds,
        seed=given.seed,
    )
    stopped = time.perf_counter() - began >= given.max_seconds
    return lambda texts: predictor.predict(pd.DataFrame({"text": texts})).tolist(), {"stopped": stopped}


if __name__ == "__main__":
    measure("autogluon.multimodal", fit, __doc__)
