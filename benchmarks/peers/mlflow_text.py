"""Hugging Face's pipeline as an MLflow model, as a team saves it that has MLflow and transformers alone.

Run by benchmarks/serving.py, which has `mlflow models serve` serve it.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import mlflow.transformers
from mlflow.models import infer_signature
from pipeline import MeanPooled, classifier


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", type=Path, required=True, help="a model folder of ours")
    parser.add_argument("--out", type=Path, required=True, help="the MLflow model, which must not exist")
    arguments = parser.parse_args()
    MeanPooled.register_for_auto_class("AutoModelForSequenceClassification")  # its code is saved beside the weights
    classify = classifier(arguments.model)
    text = "Where is my card?"
    mlflow.transformers.save_model(
        classify, str(arguments.out), signature=infer_signature([text], classify(text)), pip_requirements=[]
    )


if __name__ == "__main__":
    main()
