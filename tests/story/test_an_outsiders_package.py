"""A package of somebody else, installed beside an untouched house, brings a task over numbers alone, a step, a learner,
a metric, a part of the page and workers; and a project of it goes from a csv file to an HTTP answer."""

from __future__ import annotations

import csv
import json
import os
import random
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from conftest import serving
from lakewright.testing import FolderSuite, StepSuite, TaskSuite, WorkersSuite

PACKAGE = Path(__file__).parents[1] / "outsider"  # orchard, with a dist-info of its own
PROJECT: dict[str, Any] = {
    "name": "apples",
    "schema": "main.orchard",
    "task": "harvest",
    "data": {"source": "apples.csv", "columns": {"id": "tree", "measured": ["age", "height"], "weight": "kg"}},
    "train": {"learner": "plane"},
    "gate": {"minimum": {"r2": 0.9, "within_a_tenth": 0.3}},
}


class Farm:
    """A folder of the project, and the command with the package installed."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def ask(self, *arguments: str, code: int = 0) -> str:
        command = [sys.executable, "-m", "lakewright.cli", *arguments]
        done = subprocess.run(command, cwd=self.folder, capture_output=True, text=True)
        assert done.returncode == code, done.stdout + done.stderr
        return done.stdout if code == 0 else done.stderr

    def json(self, *arguments: str) -> Any:
        return json.loads(self.ask(*arguments, "--json"))


@pytest.fixture(scope="module")
def farm(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Farm]:
    folder = tmp_path_factory.mktemp("farm")
    draw = random.Random(3)
    rows = []
    for tree in range(400):
        age, height = draw.uniform(1, 30), draw.uniform(1, 9)
        kg = 5 + 2 * age + 0.5 * height**2 + draw.gauss(0, 3)
        rows.append(
            {"tree": f"t{tree}", "age": "" if tree == 17 else f"{age:.3f}", "height": f"{height:.3f}", "kg": kg}
        )
    rows[18] = {"tree": "t18", "age": "", "height": "", "kg": 3.0}  # nothing to learn from
    with (folder / "apples.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, rows[0].keys())
        writer.writeheader()
        writer.writerows(rows)
    (folder / "project.yml").write_text(yaml.safe_dump(PROJECT))
    (folder / "profiles.yml").write_text("profiles: {local: {}, shared: {workers: {name: neighbours, neighbours: 2}}}")
    with pytest.MonkeyPatch.context() as patch:
        paths = [str(PACKAGE), *filter(None, [os.environ.get("PYTHONPATH")])]
        patch.setenv("PYTHONPATH", os.pathsep.join(paths))
        yield Farm(folder)


@pytest.fixture(scope="module")
def run(farm: Farm) -> Any:
    return farm.json("run", "project.yml")


def test_it_is_trained_gated_registered_and_skipped_when_run_again(farm: Farm, run: Any) -> None:
    assert run["decision"]["passed"] and run["model_version"]["version"] == 1
    page = Path(run["report"]).read_text()
    report = json.loads(Path(run["report"]).with_name("evaluation.json").read_text())
    metrics = {name: metric["value"] for name, metric in report["metrics"].items()}
    assert metrics["r2"] > 0.9 and 0.3 < metrics["within_a_tenth"] < 1
    assert "How far predictions are from the truth" in page and "within a tenth of the truth" in page
    again = farm.json("plan", "project.yml")["stages"]
    assert len(again) == 6 and {stage["action"] for stage in again} == {"skip"}, again


@pytest.mark.slow
def test_a_gate_that_is_not_reached_refuses_it(farm: Farm, run: Any) -> None:
    assert "within_a_tenth" in farm.ask("run", "project.yml", "--set", "gate.minimum.within_a_tenth=1", code=3)


@pytest.mark.slow
def test_it_is_tuned_by_workers_of_its_own(farm: Farm, run: Any) -> None:
    tune = "tune={trials: 4, sampler: grid, space: {prepare.recipe.squares.scale: {choice: [1, 5, 20]}}}"
    found = farm.json("tune", "project.yml", "--profile", "shared", "--set", tune)
    assert found["metric"] in run["metrics"]
    # The project's own scale is one of the three, and none is tried twice
    assert [trial["status"] for trial in found["trials"]] == ["ok"] * 3, found


@pytest.mark.slow
def test_it_answers_over_http_and_scores_a_table(farm: Farm, run: Any, tmp_path: Path) -> None:
    with serving("models:/main.orchard.apples@champion", folder=farm.folder) as server:
        rows = [{"age": 10, "height": 4}, {"age": None, "height": None}]
        answer = server.ask("POST", "/predict", {"rows": rows})
        assert answer.status == 200, answer.body
        whole, nothing = answer.json["predictions"]
        assert whole["weight"] == pytest.approx(5 + 20 + 8, abs=3)
        assert whole["confidence"] is None and whole["abstain"] is False
        assert nothing["weight"] is None and nothing["abstain"] is True
        assert server.ask("POST", "/predict", {"rows": rows[:1], "least_confidence": 0.5}).status == 400
        assert server.ask("POST", "/predict", {"texts": ["ten years"]}).status == 400
        assert server.ask("POST", "/predict", {"rows": [{"age": "old", "height": 1}]}).status == 400
        frame = {"dataframe_split": {"columns": ["age", "height"], "data": [[10, 4], [20, 2]]}}
        answer = server.ask("POST", "/invocations", frame)
        assert answer.status == 200 and len(answer.json["predictions"]) == 2, answer.body
        tensors = [{"name": n, "datatype": "FP64", "shape": [1], "data": [4]} for n in ("age", "height")]
        answer = server.ask("POST", "/v2/models/main.orchard.apples/infer", {"inputs": tensors})
        assert answer.status == 200, answer.body
        assert server.ask("GET", "/openapi.json").status == 200
    score = ("score", "--model", "models:/main.orchard.apples@champion", "--input", "main.orchard.apples")
    scored = farm.json(*score)
    assert (scored["rows"], scored["without"], scored["abstained"]) == (400, 1, 0)
    assert "has no confidence" in farm.ask(*score, "--full", "--least-confidence", "0.5", code=2)


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ("train.learner=embedding", "embedding learns from rows with a text, and these have none"),
        ("prepare.recipe.tokens.max_length=8", "the step tokens reads inputs of the kinds text and"),
        ("prepare.recipe.tokens.inputs=[age]", "'age' is of the kind number"),
        ("prepare.recipe.squares.inputs=[age]", "no step reads the input 'height'"),
        ("prepare.recipe.squares.inputs=[age, heigth]", "did you mean"),
        ("prepare.recipe.squares.scale=0", "greater than 0"),
        ("prepare.recipe.cubes.scale=2", "there is no step named 'cubes'"),
        ("data.columns.text=age", "'data.columns.text' is not a known key"),
        ("gate.minimum={accuracy: 0.5}", "harvest does not measure"),
        ("gate.minimum={r2: 7}", "outside the range of r2"),
    ],
)
def test_what_does_not_fit_is_refused_by_plan(farm: Farm, setting: str, message: str) -> None:
    assert message in farm.ask("plan", "project.yml", "--set", setting, code=2)


def test_two_steps_share_the_inputs_that_they_name(farm: Farm) -> None:
    recipe = "prepare.recipe={squares: {inputs: [age, height], scale: 10}, more: {step: squares, inputs: [age]}}"
    farm.ask("plan", "project.yml", "--set", recipe)
    both = "prepare.recipe={squares: {}, more: {step: squares}}"
    assert "neither names it" in farm.ask("plan", "project.yml", "--set", both, code=2)


def own_tests(package: Path, name: str) -> subprocess.CompletedProcess[str]:
    """The package's tests of this class, or all, where nothing of ours but lakewright itself can be imported."""
    paths = [str(package), *filter(None, [os.environ.get("PYTHONPATH")])]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(paths)}
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", f"test_orchard.py{name}"]
    return subprocess.run(command, cwd=package, env=environment, capture_output=True, text=True)


@pytest.fixture
def package(tmp_path: Path) -> Path:
    """A copy of it, in a folder above which no conftest.py lies."""
    return shutil.copytree(PACKAGE, tmp_path / "theirs", ignore=shutil.ignore_patterns("__pycache__"))


@pytest.mark.slow
def test_it_passes_the_suites_of_lakewright(package: Path) -> None:
    done = own_tests(package, "")
    assert done.returncode == 0, done.stdout + done.stderr
    suites = (StepSuite, TaskSuite, FolderSuite, WorkersSuite)
    tests = sum(name.startswith("test_") for suite in suites for name in vars(suite)) + 1  # one has two cases
    # no GPU, no classes, no other processes (2)
    assert re.search(rf"^{tests - 4} passed, 4 skipped", done.stdout, re.MULTILINE), done.stdout


@pytest.mark.slow
@pytest.mark.parametrize(
    ("part", "written", "broken", "failing"),
    [
        (
            "squares",
            "Encoded.of_columns(np.stack([*numbers,",
            "Encoded.of_columns(np.stack([*(each - each.mean() for each in numbers),",
            "TestSquares::test_a_row_is_encoded_alone_as_in_company",
        ),
        (
            "harvest",
            '"labels": [], "inputs": dict(self.inputs)',
            '"labels": [], "inputs": {}',
            "TestHarvest::test_a_stored_task_is_the_same",
        ),
        (
            "harvest",
            "(logits - targets).square()",
            "-(logits - targets).square()",
            "TestHarvest::test_every_loss_is_least_at_the_targets",
        ),
        (
            "plane",
            'helper.make_node("Add", ["product", "bias"], ["logits"])',
            'helper.make_node("ReduceMean", ["product"], ["mean"], axes=[0]), '
            'helper.make_node("Sub", ["product", "mean"], ["apart"]), '
            'helper.make_node("Add", ["apart", "bias"], ["logits"])',
            "TestPlane::test_the_order_and_company_of_rows_change_nothing",
        ),
    ],
    ids=["encode depends on company", "open forgets", "loss grows at the targets", "logits depend on company"],
)
def test_the_suites_see_a_part_that_is_broken(
    part: str, written: str, broken: str, failing: str, package: Path
) -> None:
    file = package / "orchard" / f"{part}.py"
    source = file.read_text()
    assert source.count(written) == 1
    file.write_text(source.replace(written, broken))
    done = own_tests(package, f"::{failing.split('::')[0]}")
    assert done.returncode == 1, done.stdout + done.stderr
    failed = re.findall(r"^FAILED test_orchard\.py::(\S+)", done.stdout, re.MULTILINE)
    assert failed == [failing], done.stdout
