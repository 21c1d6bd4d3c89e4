"""Searches of automl that have ended, to look at: of classes and of a number, each with every learner once."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    import pandas as pd

ROWS = 240


@dataclass(frozen=True)
class Ended:
    code: int
    out: str
    err: str
    folder: Path  # that the command ran in

    @property
    def json(self) -> Any:
        assert self.code in (0, 3), self.err
        return json.loads(self.out)

    @property
    def home(self) -> Path:
        """Of the search."""
        return self.folder / ".lakewright" / "automl" / str(self.json["name"])


def rows(count: int = ROWS, seed: int = 0) -> pd.DataFrame:
    """A number with gaps, a category, a time, a group, and truths that follow from them."""
    import numpy as np
    import pandas as pd

    draw = np.random.default_rng(seed)
    table = pd.DataFrame(
        {
            "height": draw.normal(size=count),
            "width": draw.normal(size=count),
            "colour": draw.choice(["red", "green", "blue"], count),
            "sold": pd.date_range("2024-01-01", periods=count, freq="31h"),
            "shop": draw.integers(0, 40, count),
        }
    )
    score = table["height"] + (table["colour"] == "red") + 0.3 * draw.normal(size=count)
    table["good"] = np.where(score > 0, "yes", "no")
    table["price"] = 100 + 20 * score + 5 * table["width"]
    table["size"] = np.where(score > 1, "large", np.where(score > -1, "middle", "small"))
    table.loc[draw.random(count) < 0.1, "width"] = np.nan
    return table


def words_of(truth: str, place: int) -> str:
    """A text that shows the truth, mostly."""
    kinds = {"large": "roomy wide huge", "middle": "usual plain", "small": "tiny narrow little"}
    return f"it is {kinds.get(truth, 'odd')} and number {place % 7}"


def command(*arguments: str) -> list[str]:
    return [sys.executable, "-m", "lakewright.cli", *arguments]


def environment() -> dict[str, str]:
    return {**os.environ, "OMP_NUM_THREADS": "1"}


def call_in(folder: Path, *arguments: str) -> Ended:
    ended = subprocess.run(
        command(*arguments), cwd=folder, capture_output=True, text=True, timeout=500, env=environment()
    )
    return Ended(ended.returncode, ended.stdout, ended.stderr, folder)


def search_in(folder: Path, table: pd.DataFrame, label: str, *more: str, trials: int = 5) -> Ended:
    folder.mkdir(parents=True, exist_ok=True)
    table.to_csv(folder / "rows.csv", index=False)
    return call_in(
        folder, "automl", "rows.csv", "--label", label, "--trials", str(trials), "--minutes", "6", "--json",
        "--set", "automl.folds=3", "--set", "evaluate.resamples=100", *more,
    )  # fmt: skip


def without(table: pd.DataFrame, names: Sequence[str]) -> pd.DataFrame:
    return table.drop(columns=[*names])


@pytest.fixture(scope="session")
def classes_search(tmp_path_factory: pytest.TempPathFactory) -> Ended:
    table = without(rows(), ["price", "size", "shop"])
    return search_in(tmp_path_factory.mktemp("classes"), table, "good")


@pytest.fixture(scope="session")
def number_search(tmp_path_factory: pytest.TempPathFactory) -> Ended:
    table = without(rows(), ["good", "size", "shop"])
    return search_in(tmp_path_factory.mktemp("number"), table, "price")


@pytest.fixture(scope="session")
def texts_search(tmp_path_factory: pytest.TempPathFactory) -> Ended:
    """Three classes, a rare fourth one, texts beside columns, and groups that stay together."""
    table = rows()
    table["note"] = [words_of(truth, place) for place, truth in enumerate(table["size"])]
    table.loc[table.index[:4], "size"] = "rare"
    folder = tmp_path_factory.mktemp("texts")
    return search_in(
        folder, without(table, ["price", "good", "height"]), "size", "--set", "data.columns.group=shop",
        "--learners", "trees,linear", trials=3,
    )  # fmt: skip
