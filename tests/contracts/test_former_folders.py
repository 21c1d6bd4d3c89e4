"""Model folders of format 2, as versions that were registered before recipes have them: read, served, and refused where
they are damaged. And settings under their former names."""

from __future__ import annotations

import json
import logging
import shutil
from pathlib import Path
from typing import Any

import pytest
import yaml

import lakewright as lw
from lakewright.errors import ModelError, ProjectError
from lakewright.model.folder import most_tokens, seal
from lakewright.model.predictor import Predictor
from lakewright.records import Prepared, as_json
from served_models import make


def former(folder: Path, into: Path) -> Path:
    """The same model as format 2 had it."""
    shutil.copytree(folder, into)
    steps = json.loads((into / "recipe/recipe.json").read_text())["steps"]
    model = json.loads((into / "model.json").read_text())
    first = steps[0]
    encoding = {"name": first["step"], **{key: first[key] for key in first.keys() - {"step", "inputs", "file"}}}
    if first["step"] == "terms":
        encoding |= json.loads((into / "recipe/terms.json").read_text())
    else:
        encoding["pairs"] = len(first["inputs"]) == 2 and not first["apart"]
        del encoding["apart"], encoding["positions"]
    task = model["task"]
    if inputs := task.pop("inputs", None):
        dense = next(({key: each[key] for key in ("numbers", "categories")} for each in steps[1:]), None)
        task |= {"pair": "text_pair" in inputs, "others": dense}
    (into / "encoding").mkdir()
    (into / "encoding/encoding.json").write_text(json.dumps(encoding))
    if (into / "recipe/tokenizer.json").exists():
        shutil.copy(into / "recipe/tokenizer.json", into / "encoding/tokenizer.json")
    shutil.rmtree(into / "recipe")
    (into / "model.json").write_text(json.dumps(model | {"format": 2, "task": task}))
    seal(into)
    return into


@pytest.mark.parametrize("name", ["text", "pair", "columns", "several", "words", "question", "similarity"])
def test_it_predicts_what_it_predicted(name: str, tiny_base: Path, tmp_path: Path) -> None:
    now = make(name, tmp_path / "now", tiny_base)
    then = former(now, tmp_path / "then")
    rows = json.loads((now / "samples.json").read_text())["rows"]
    ours, theirs = Predictor.open(now), Predictor.open(then)
    assert dict(theirs.task.inputs) == dict(ours.task.inputs) and theirs.recipe.inputs == ours.recipe.inputs
    assert theirs.predict(rows) == ours.predict(rows)
    assert most_tokens(then) == most_tokens(now)


def test_a_damaged_one_is_refused(tiny_base: Path, tmp_path: Path) -> None:
    folder = former(make("text", tmp_path / "now", tiny_base), tmp_path / "then")
    (folder / "encoding/encoding.json").write_text('{"name": "terms"}')
    seal(folder)
    with pytest.raises(ModelError):
        Predictor.open(folder)


OLD_AND_NEW: list[tuple[dict[str, Any], str, Any]] = [
    ({"prepare": {"max_length": 40}}, "tokens", {"max_length": 40}),
    ({"prepare": {"long_texts": "windows", "stride": 3}}, "tokens", {"long_texts": "windows", "stride": 3}),
    ({"train": {"learner": "linear", "min_df": 2, "max_features": 9}}, "terms", {"min_df": 2, "max_features": 9}),
    ({"task": {"name": "text_classification", "max_categories": 7}}, "dense", {"max_categories": 7}),
]


@pytest.mark.parametrize(("written", "step", "meant"), OLD_AND_NEW)
def test_a_former_name_means_the_new_one_and_the_log_shows_it(
    written: dict[str, Any], step: str, meant: dict[str, Any], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    columns = {"text": "text", "label": "label", "categories": ["place"]}
    project = {"name": "things", "task": "text_classification", "data": {"table": "a.b.c", "columns": columns}}
    (tmp_path / "project.yml").write_text(yaml.safe_dump(project | written))
    with caplog.at_level(logging.WARNING, "lakewright"):
        loaded = lw.load_project(tmp_path)
    assert meant.items() <= loaded.resolved["prepare"]["recipe"][step].items()
    shown = [record.getMessage() for record in caplog.records]
    assert len(shown) == len(meant)
    assert all(f"is now prepare.recipe.{step}.{name}" in " ".join(shown) for name in meant)


@pytest.mark.parametrize("setting", ["prepare.max_length=40", "prepare={max_length: 40}", "prepare.max_length='40'"])
def test_a_former_name_of_set(setting: str, tmp_path: Path) -> None:
    project = {"name": "things", "task": "text_classification", "data": {"table": "a.b.c", "columns": {"text": "t"}}}
    (tmp_path / "project.yml").write_text(yaml.safe_dump(project))
    loaded = lw.load_project(tmp_path, [setting])
    assert loaded.resolved["prepare"]["recipe"]["tokens"]["max_length"] == 40


def test_both_names_at_once_are_refused(tmp_path: Path) -> None:
    project = {"name": "things", "task": "text_classification", "data": {"table": "a.b.c", "columns": {"text": "t"}}}
    project["prepare"] = {"max_length": 40, "recipe": {"tokens": {"max_length": 50}}}
    (tmp_path / "project.yml").write_text(yaml.safe_dump(project))
    with pytest.raises(ProjectError, match=r"7: prepare\.max_length is the former name of prepare\.recipe\.tokens"):
        lw.load_project(tmp_path)
    del project["prepare"]
    (tmp_path / "project.yml").write_text(yaml.safe_dump(project))
    with pytest.raises(ProjectError, match="--set: prepare"):
        lw.load_project(tmp_path, ["prepare.stride=3", "prepare.recipe.tokens.stride=4"])


def test_a_record_of_before_names_its_recipe(tmp_path: Path) -> None:
    table = {"name": "a.b.c", "version": 0, "uri": "c", "rows": 3}
    kept: dict[str, Any] = {"table": table, "features": table, "task": {"name": "t", "labels": []}, "splits": {}}
    kept |= {"label_counts": {}, "lengths": {}, "max_length": None, "encoding": "encodings/0123"}
    record = Prepared.from_stored(kept, tmp_path)
    assert record.recipe.endswith("encodings/0123")
    assert "recipe" in json.loads(as_json(record))
