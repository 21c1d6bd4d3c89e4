"""What a search did, as code of its own: each script and each notebook gives the metrics of the leaderboard."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from searches import Ended, rows, search_in, without

LEARNERS = ("trees", "linear", "forest", "xgboost")
SEARCHES = ("classes_search", "number_search", "texts_search")


def printed(script: Path) -> dict[str, float]:
    """What a script prints, run where Lakewright cannot be imported."""
    blocked = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    shut = "import sys; sys.modules['lakewright'] = None; import runpy; runpy.run_path(sys.argv[1])"
    ended = subprocess.run(
        [sys.executable, "-c", shut, str(script)], capture_output=True, text=True, timeout=300, env=blocked, cwd="/"
    )
    assert ended.returncode == 0, ended.stderr
    return {match[1]: float(match[2]) for match in re.finditer(r"^(\w+) (-?[\d.e-]+)$", ended.stdout, re.MULTILINE)}


def complete(found: dict[str, Any]) -> list[dict[str, Any]]:
    return [each for each in found["candidates"] if each["loss"] is not None]


@pytest.mark.parametrize("name", SEARCHES)
def test_each_script_gives_the_metrics_of_the_leaderboard(name: str, request: pytest.FixtureRequest) -> None:
    ended: Ended = request.getfixturevalue(name)
    found = ended.json
    scripts = found["glass_box"]["scripts"]
    assert {*scripts} == {str(each["number"]) for each in complete(found)}
    for each in complete(found):
        got = printed(Path(scripts[str(each["number"])]))
        shared = {"rmse", "mae", "r2"} if name == "number_search" else {"accuracy", "macro_f1", "roc_auc", "log_loss"}
        assert shared <= got.keys()
        for metric in got.keys() & each["metrics"].keys():
            assert got[metric] == pytest.approx(each["metrics"][metric], rel=1e-9, abs=1e-9), (each["learner"], metric)


@pytest.mark.slow
@pytest.mark.parametrize("label", ["good", "price"])
def test_a_networks_script_gives_the_metrics_of_the_leaderboard(label: str, tmp_path: Path) -> None:
    others = {"good", "price", "size", "shop"} - {label}
    ended = search_in(tmp_path, without(rows(), [*others]), label, "--learners", "mlp", trials=1)
    (each,) = complete(ended.json)
    got = printed(Path(ended.json["glass_box"]["scripts"]["0"]))
    shared = {"rmse", "mae", "r2"} if label == "price" else {"accuracy", "macro_f1", "roc_auc", "log_loss"}
    for metric in shared:
        assert got[metric] == pytest.approx(each["metrics"][metric], rel=1e-9, abs=1e-9), metric


def test_shapley_values_are_one_variable_away(classes_search: Ended, tmp_path: Path) -> None:
    found = classes_search.json
    for learner in ("trees", "xgboost"):
        number = next((each["number"] for each in complete(found) if each["learner"] == learner), None)
        if number is None:
            continue
        script = Path(found["glass_box"]["scripts"][str(number)])
        text = script.read_text()
        assert text.count("SHAP = False") == 1
        folder = tmp_path / learner
        folder.mkdir()
        for path in script.parent.glob("*.parquet"):
            shutil.copy(path, folder)
        (folder / script.name).write_text(text.replace("SHAP = False", "SHAP = True"))
        ended = subprocess.run([sys.executable, folder / script.name], capture_output=True, text=True, timeout=300)
        assert ended.returncode == 0, ended.stderr
        first = ended.stdout.partition("log_loss")[2].splitlines()[1].split()  # the columns, the farthest first
        assert first[0] in ("height", "colour"), ended.stdout


def test_a_script_holds_numbers_and_no_search(classes_search: Ended) -> None:
    for path in classes_search.json["glass_box"]["scripts"].values():
        text = Path(path).read_text()
        compile(text, path, "exec")
        for word in ("lambda ", "lambda:", "optuna", "hyperopt", "lakewright.", "early_stopping", "deadline"):
            assert word not in text, (path, word)
        if path.endswith(("trees.py", "xgboost.py")):
            assert re.search(r"^ROUNDS = \[\d+, \d+, \d+\]", text, re.MULTILINE)


def executed(notebook: Path, folder: Path) -> str:
    """The text that its cells print."""
    nbformat, nbclient = pytest.importorskip("nbformat"), pytest.importorskip("nbclient")
    read = nbformat.read(notebook, as_version=4)
    nbformat.validate(read)
    nbclient.NotebookClient(read, timeout=300, resources={"metadata": {"path": str(folder)}}).execute()
    return "".join(output.get("text", "") for cell in read.cells for output in cell.get("outputs", ()))


@pytest.mark.parametrize("learner", LEARNERS)
def test_its_notebook_runs(learner: str, classes_search: Ended) -> None:
    found = classes_search.json
    each = next((each for each in complete(found) if each["learner"] == learner), None)
    if each is None:
        pytest.skip(f"no candidate of {learner} predicted every fold")
    path = Path(found["glass_box"]["notebooks"][str(each["number"])])
    shown = re.search(r"^macro_f1 ([\d.]+)$", executed(path, path.parent), re.MULTILINE)
    assert shown and float(shown[1]) == pytest.approx(each["metrics"]["macro_f1"], abs=1e-9)


def test_the_exploration_notebook_runs(classes_search: Ended) -> None:
    path = Path(classes_search.json["glass_box"]["exploration"])
    assert "main.default.rows" in executed(path, classes_search.folder)
    assert (path.parent / "profile.html").exists()


def test_databricks_reads_the_same_cells(classes_search: Ended) -> None:
    found = classes_search.json
    folder = Path(found["glass_box"]["folder"]) / "databricks"
    for path in sorted(folder.glob("*.py")):
        text = path.read_text()
        assert text.startswith("# Databricks notebook source\n# MAGIC %md\n")
        cells = [
            cell for cell in text.split("\n\n# COMMAND ----------\n\n") if not cell.lstrip("# ").startswith("MAGIC")
        ]
        notebook = json.loads((folder.parent / f"{path.stem}.ipynb").read_text())
        code = ["".join(cell["source"]) for cell in notebook["cells"] if cell["cell_type"] == "code"]
        assert [cell.strip() for cell in cells[1:]] == [each.strip() for each in code]
    assert (folder / "data.parquet").exists()


def test_the_page_shows_every_candidate(classes_search: Ended) -> None:
    found = classes_search.json
    page = Path(found["glass_box"]["page"]).read_text()
    assert page.count("<dt>") >= len(found["candidates"]) and "why tried" in page and "<svg" in page
    assert "http" not in re.sub(r"http://www\.w3\.org\S*", "", page)
    for each in complete(found):
        assert f"{each['metrics'][found['metric']]:.3f}" in page


def test_the_time_of_the_glass_box_is_told(classes_search: Ended) -> None:
    assert classes_search.json["glass_box"]["seconds"] > 0 and "beside the search" in classes_search.err
