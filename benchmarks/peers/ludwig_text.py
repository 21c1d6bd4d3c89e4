"""Ludwig with a trainable `auto_transformer`, as its page on fine-tuning suggests: 5 epochs, AdamW, 1e-5 with warm-up
and linear decay, the batch size of the best throughput; its mixed precision is for GPUs alone. A tenth of the rows
validates.

That rate and large batches are few and small steps on a set of a few thousand rows: both can be given.
"""

from __future__ import annotations

import argparse
import tempfile
from typing import Any

import pandas as pd
from peer import Predict, for_text_alone, measure

for_text_alone()

from ludwig.api import LudwigModel  # noqa: E402


def fit(rows: pd.DataFrame, given: argparse.Namespace) -> tuple[Predict, dict[str, Any]]:
    encoder = {"type": "auto_transformer", "pretrained_model_name_or_path": given.base, "trainable": True}
    model = LudwigModel(
        {
            "input_features": [{"name": "text", "type": "text", "encoder": encoder}],
            "output_features": [{"name": "label", "type": "category"}],
            "preprocessing": {"split": {"type": "random", "probabilities": [0.9, 0.1, 0.0]}},
            "trainer": {
                "epochs": 5,
                "learning_rate": given.learning_rate,
                "batch_size": int(given.batch_size) if given.batch_size != "auto" else "auto",
                "learning_rate_scheduler": {"warmup_fraction": 0.2, "decay": "linear"},
                "optimizer": {"type": "adamw"},
            },
        }
    )
    with tempfile.TemporaryDirectory() as out:
        model.train(dataset=rows, output_directory=out, random_seed=given.seed, skip_save_processed_input=True)

    def predict(texts: Any) -> list[str]:
        said, _ = model.predict(dataset=pd.DataFrame({"text": texts}), skip_save_predictions=True)
        return said["label_predictions"].tolist()

    return predict, {}


if __name__ == "__main__":
    measure("ludwig", fit, __doc__, {"--learning-rate": 1e-5, "--batch-size": "auto"})
