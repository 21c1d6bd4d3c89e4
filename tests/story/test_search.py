"""`lakewright search`: a model of what texts mean, trained from scored pairs, finds the rows that say the same."""

from __future__ import annotations

import random
import subprocess
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pytest
import yaml

import lakewright as lw
from conftest import FRAMES, KINDS, one_object, sentences, small_project, write_csv
from lakewright import plugins

pytestmark = pytest.mark.skipif(
    "sentence_similarity" not in plugins.TASKS.names(), reason="the task sentence_similarity is not installed"
)
Lakewright = Callable[..., "subprocess.CompletedProcess[str]"]
MODEL = "models:/main.demo.pairs@champion"


def pairs(rows: int) -> list[dict[str, str]]:
    """5: two sentences about the same kind of thing; 0: about different kinds."""
    draw = random.Random(0)
    found = []
    for i in range(rows):
        one, other = draw.choice(sorted(KINDS)), draw.choice(sorted(KINDS))
        texts = [draw.choice(FRAMES).format(draw.choice(KINDS[kind])) + f" number {i}" for kind in (one, other)]
        found.append({"sentence1": texts[0], "sentence2": texts[1], "score": str(5.0 * (one == other))})
    return found


def test_search_finds_the_rows_that_mean_the_same(project: Path, tiny_base: Path, lakewright: Lakewright) -> None:
    write_csv(project.parent / "pairs.csv", pairs(400))
    similarity = small_project(tiny_base) | {
        "name": "pairs",
        "task": "sentence_similarity",
        "data": {"source": "pairs.csv", "columns": {"text": "sentence1", "text_pair": "sentence2", "score": "score"}},
        "prepare": {"split": {"seed": 14}},  # which rows a random BERT of two layers learns from matters
        "evaluate": {"resamples": 100},
        "train": {**small_project(tiny_base)["train"], "num_train_epochs": 14},
        "gate": {"minimum": {"spearman": 0.6}},
    }
    project.write_text(yaml.safe_dump(similarity))
    ran = lakewright("run", "--json")
    assert ran.returncode == 0, ran.stderr
    lw.Workspace.open(lw.load_profile()).lake.write("main.demo.things", pa.Table.from_pylist(sentences(300)))

    unnamed = lakewright("search", "main.demo.things", "who has a pony ?")
    assert unnamed.returncode == 2 and "--model" in unnamed.stderr
    first = lakewright("search", "main.demo.things", "there was one granite today", "--model", MODEL, "--json")
    assert first.returncode == 0, first.stderr
    found = one_object(first.stdout)
    assert (found["table"], found["rows"], found["embedded"]) == ("main.demo.things@v0", 300, 300)
    assert [hit["rank"] for hit in found["hits"]] == list(range(1, 11))
    assert [hit["score"] for hit in found["hits"]] == sorted((hit["score"] for hit in found["hits"]), reverse=True)
    kinds = [hit["row"]["label"] for hit in found["hits"]]
    assert kinds.count("stone") >= 8, kinds

    again = one_object(lakewright("search", "main.demo.things", "there was one granite today", "--json").stdout)
    assert again["embedded"] == 0 and again["model"] == MODEL and again["hits"] == found["hits"]
    shown = lakewright("search", "main.demo.things", "an old dog", "--k", "2", "--where", "place = 'north'")
    assert shown.returncode == 0 and "main.demo.things@v0" in shown.stderr and MODEL in shown.stderr
    header, _, *lines = shown.stdout.strip().splitlines()
    assert header.split() == ["rank", "cosine", "text", "id", "label", "place"]
    assert len(lines) == 2 and all(line.split()[-1] == "north" for line in lines)

    refused = lakewright("search", "main.demo.things", "dog", "--where", "plaice = 1", "--json")
    assert refused.returncode == 2 and "label, place" in one_object(refused.stdout)["error"]["remedy"]
