"""project.yml is strict: what is wrong is named with file, line and the nearest key."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from lakewright.errors import ProjectError
from lakewright.settings.project import Project, json_schema, load_project

GOOD = """\
name: things
schema: main.demo
task: text_classification
data:
  source: things.csv
  columns: {text: text, label: label}
train:
  learner: encoder
  learning_rate: 1e-4
"""


def write(folder: Path, text: str) -> Path:
    path = folder / "project.yml"
    path.write_text(text, encoding="utf-8")
    return path


def test_defaults_are_filled_in_and_stored(tmp_path: Path) -> None:
    project = load_project(write(tmp_path, GOOD))
    assert (project.table, project.model) == ("main.demo.things", "main.demo.things")
    assert project.resolved["train"]["warmup_ratio"] == 0.1
    assert project.folder == tmp_path.resolve()
    again = Project.model_validate(project.resolved)
    assert again.digest == project.digest


@pytest.mark.parametrize(
    ("change", "cause", "remedy"),
    [
        (("learning_rate:", "learning_rte:"), "project.yml:9: 'train.learning_rte'", "did you mean 'learning_rate'?"),
        (("columns: {text", "columns: {txt"), "project.yml:6: 'data.columns.txt'", "did you mean 'text'?"),
        (("source:", "sorce:"), "project.yml:5: 'data.sorce'", "did you mean 'source'?"),
        (("schema:", "shema:"), "project.yml:2: 'shema'", "did you mean 'schema'?"),
        (("learner: encoder", "learner: encodr"), "project.yml:8: there is no learner", "did you mean 'encoder'?"),
        (("task: text_classification", "task: text_clasification"), "project.yml:3: there is no task", ""),
        (("1e-4", "fast"), "project.yml:9: train.learning_rate", ""),
        (("1e-4", "-1"), "project.yml:9: train.learning_rate", ""),
        (("name: things", "name: my things"), "project.yml:1: name", ""),
        (("name: things\n", ""), "'name' is missing", "add name"),
        (("main.demo", "demo"), "project.yml:2: schema", ""),
        (("1e-4", "1e-4\n  learning_rate: 2e-4"), "project.yml:10: 'train.learning_rate' is set twice", "keep one"),
        (
            ("things.csv", "${env:HOME}/things.csv"),
            "project.yml:5: data.source refers to the environment",
            "profiles.yml",
        ),
        (("data:", "data: ["), "project.yml", ""),
    ],
)
def test_what_is_wrong_is_named(tmp_path: Path, change: tuple[str, str], cause: str, remedy: str) -> None:
    path = write(tmp_path, GOOD.replace(*change))
    with pytest.raises(ProjectError) as caught:
        load_project(path)
    assert cause in caught.value.cause
    assert remedy in caught.value.remedy
    assert caught.value.exit_code == 2


def test_settings_are_laid_over_the_file(tmp_path: Path) -> None:
    path = write(tmp_path, GOOD)
    project = load_project(path, ["train.learning_rate=3e-5", "gate.minimum={accuracy: 0.9}", "data.columns.id=key"])
    assert project.train.learning_rate == 3e-5  # type: ignore[attr-defined]
    assert project.gate.minimum == {"accuracy": 0.9}
    assert project.data.columns.id == "key"


@pytest.mark.parametrize(
    "setting", ["train.learning_rate", "=3", "a..b=1", "train.learning_rate=[", "train.lerning_rate=1"]
)
def test_a_bad_setting_is_an_error(tmp_path: Path, setting: str) -> None:
    with pytest.raises(ProjectError):
        load_project(write(tmp_path, GOOD), [setting])


def test_yaml_1_1_numbers(tmp_path: Path) -> None:
    """PyYAML reads 1e-4 as a string; the learning rate is a number all the same."""
    assert load_project(write(tmp_path, GOOD)).train.learning_rate == 1e-4  # type: ignore[attr-defined]


def test_a_missing_file_and_one_that_is_no_text(tmp_path: Path) -> None:
    with pytest.raises(ProjectError, match="there is no file"):
        load_project(tmp_path / "none.yml")
    (tmp_path / "bytes.yml").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ProjectError):
        load_project(tmp_path / "bytes.yml")


@given(st.text(max_size=60))
def test_any_text_is_a_project_or_an_explained_error(tmp_path_factory: pytest.TempPathFactory, text: str) -> None:
    path = tmp_path_factory.mktemp("any") / "project.yml"
    path.write_text(text, encoding="utf-8", errors="replace")
    with pytest.raises(ProjectError):
        load_project(path)


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5), lambda v: st.lists(v, max_size=3)
)


@given(st.dictionaries(st.sampled_from(["name", "schema", "task", "data", "train", "gate", "prepare"]), VALUES))
def test_any_mapping_is_a_project_or_an_explained_error(
    tmp_path_factory: pytest.TempPathFactory, values: dict[str, object]
) -> None:
    path = tmp_path_factory.mktemp("any") / "project.yml"
    path.write_text(yaml.safe_dump(values), encoding="utf-8")
    with pytest.raises(ProjectError):
        load_project(path)


def test_the_schema_accepts_the_examples_and_refuses_what_we_refuse() -> None:
    import jsonschema

    schema = json.loads(json.dumps(json_schema()))
    validator = jsonschema.Draft202012Validator(schema)
    validator.check_schema(schema)
    examples = sorted((Path(__file__).parents[2] / "examples").glob("*/project.yml"))
    assert len(examples) >= 4
    for path in examples:
        load_project(path)
        validator.validate(yaml.safe_load(path.read_text(encoding="utf-8")))
    wrong = yaml.safe_load(GOOD)
    wrong["train"]["learning_rte"] = 1
    assert not validator.is_valid(wrong)
