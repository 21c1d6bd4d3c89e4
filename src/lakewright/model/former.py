"""Model folders of format 2, translated into today's descriptions, so that older registered versions can still be
served and compared."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

FORMAT = 2
FOLDER, FILE = "encoding", "encoding.json"


def task_of(described: Mapping[str, Any]) -> dict[str, Any]:
    """The task, which then held the columns beside the text."""
    task = {key: value for key, value in described.items() if key not in ("pair", "others")}
    if "others" not in described:
        return task
    inputs = {"text": "text"} | ({"text_pair": "text"} if described.get("pair") else {})
    others = described["others"] or {"numbers": [], "categories": []}
    inputs |= {number["name"]: "number" for number in others["numbers"]}
    return {**task, "inputs": inputs | {category["name"]: "category" for category in others["categories"]}}


def steps_of(described: Mapping[str, Any], encoding: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The steps of the recipe, from model.json's task and encoding.json."""
    settings = {key: value for key, value in encoding.items() if key not in ("name", "pairs", "terms", "idf")}
    steps = [{"step": encoding["name"], **settings, "inputs": _texts(described)}]
    if encoding["name"] == "terms":
        steps[0] |= {"reading": encoding.get("reading", 1), "file": FILE}
    else:
        task = described["name"]
        steps[0] |= {"apart": task == "sentence_similarity"}
        steps[0] |= {"positions": task in ("token_classification", "question_answering")}
    if described.get("others"):
        steps.append({"step": "dense", **described["others"]})
    return steps


def _texts(described: Mapping[str, Any]) -> list[str]:
    task = described["name"]
    if task == "question_answering":
        return ["question", "context"]
    if task == "sentence_similarity":
        return ["text", "text_pair", *["negative"] * bool(described.get("negatives"))]
    return ["text", *["text_pair"] * bool(described.get("pair"))]
