"""Orchard's own tests, as their author writes them: the suites of lakewright, and nothing of its tests."""

from __future__ import annotations

import csv
import random
from pathlib import Path
from typing import Any

import pytest
import yaml

import lakewright as lw
from lakewright.model.recipe import Recipe
from lakewright.testing import (
    FolderCase,
    FolderSuite,
    StepCase,
    StepSuite,
    TaskCase,
    TaskSuite,
    WorkersCase,
    WorkersSuite,
)
from orchard.harvest import Harvest
from orchard.neighbours import Neighbours
from orchard.squares import Squares

SQUARES = Squares(("age", "height"), 10.0)
PROJECT: dict[str, Any] = {
    "name": "apples",
    "schema": "main.orchard",
    "task": "harvest",
    "data": {"source": "apples.csv", "columns": {"measured": ["age", "height"], "weight": "kg"}},
    "train": {"learner": "plane"},
    "evaluate": {"resamples": 100},
}


class TestSquares(StepSuite):
    @pytest.fixture
    def case(self) -> StepCase:
        return StepCase(SQUARES, {"age": [3.0, None, 41.5, 0.0], "height": [1.5, 2.0, None, -4.0]})


class TestHarvest(TaskSuite):
    @pytest.fixture
    def case(self) -> TaskCase:
        return TaskCase(
            Harvest,
            {"measured": ["age", "height"], "weight": "kg"},
            {"age": [3.0, 12.5, None], "height": [1.5, None, 4.0], "kg": [9.0, 31.5, 18.25]},
            Recipe((SQUARES,)),
            wrong={"age": [3.0], "height": [1.5], "kg": ["much"]},
            named="'kg'",
        )


class TestNeighbours(WorkersSuite):
    @pytest.fixture
    def case(self, tmp_path: Path) -> WorkersCase:
        return WorkersCase(Neighbours(2, 2), tmp_path, separate=False)


class TestPlane(FolderSuite):
    @pytest.fixture(scope="class")
    def folder(self, tmp_path_factory: pytest.TempPathFactory) -> Path:
        """A model folder of a whole run."""
        here, draw = tmp_path_factory.mktemp("orchard"), random.Random(3)
        with (here / "apples.csv").open("w", newline="") as file:
            writer = csv.writer(file)
            writer.writerow(["age", "height", "kg"])
            for _ in range(400):
                age, height = draw.uniform(1, 30), draw.uniform(1, 9)
                writer.writerow([f"{age:.3f}", f"{height:.3f}", 5 + 2 * age + 0.5 * height**2 + draw.gauss(0, 3)])
        (here / "project.yml").write_text(yaml.safe_dump(PROJECT))
        with pytest.MonkeyPatch.context() as patch:
            patch.chdir(here)
            return lw.run("project.yml").model_folder.resolve()

    @pytest.fixture
    def case(self, folder: Path) -> FolderCase:
        rows = [{"age": 1.5 * tree, "height": None if tree % 5 == 3 else tree / 3} for tree in range(1, 20)]
        return FolderCase(folder, [*rows, {"age": None, "height": None}])
