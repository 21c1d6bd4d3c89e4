"""Hugging Face's pipeline behind a plain FastAPI endpoint, as tutorials write it. MODEL names the model folder.

Run by benchmarks/serving.py: uvicorn --app-dir benchmarks/peers fastapi_text:app
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from fastapi import FastAPI
from pipeline import classifier
from pydantic import BaseModel

app = FastAPI()
classify = classifier(Path(os.environ["MODEL"]))


class Asked(BaseModel):
    text: str


@app.post("/predict")
def predict(asked: Asked) -> dict[str, Any]:
    found: dict[str, Any] = classify(asked.text, truncation=True)[0]
    return found
