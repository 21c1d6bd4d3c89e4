"""A project with other settings: as it is loaded, and as its file is written."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from lakewright.errors import ProjectError
from lakewright.settings.edited import edited
from lakewright.settings.project import brings_learner, changed, load_project
from lakewright.settings.yamlfile import lay

TEXT = """# the project of a test
name: t   # its name
schema: main.h
task: text_classification
data: {source: m.csv, columns: {text: text, label: label}}
train:
  # the learner
  learner: linear   # few rows
  C: 5

prepare:
  recipe:
    terms: {min_df: 2}
  drop_missing:
  - text
gate:
evaluate: {resamples: 100}
# the end
"""
KEYS = [
    ("train", "C"),
    ("train", "max_iter"),
    ("train",),
    ("prepare", "recipe", "terms", "min_df"),
    ("prepare", "balance"),
    ("prepare", "recipe", "terms", "max_features"),
    ("prepare", "drop_missing"),
    ("gate", "minimum"),
    ("gate",),
    ("name",),
    ("data", "columns", "id"),
    ("task", "labels"),
    ("register", "tags", "a b"),
    ("evaluate",),
    ("tune", "space", "train.C"),
]
values = st.one_of(
    st.integers(-5, 10**12),
    st.floats(allow_nan=False, allow_infinity=False),
    st.booleans(),
    st.none(),
    st.text(max_size=12).filter(lambda text: text.isprintable()),
    st.lists(st.integers(0, 9), max_size=3),
    st.dictionaries(st.sampled_from(["a", "b: c", "#d"]), st.sampled_from([1, "x", None, "y: {"]), max_size=3),
)


@settings(max_examples=300, deadline=None)
@given(st.lists(st.tuples(st.sampled_from(KEYS), values), max_size=4))
def test_an_edited_file_holds_the_values(changes: list[tuple[Any, Any]]) -> None:
    wanted = yaml.safe_load(TEXT)
    for key, value in dict(changes).items():
        lay(wanted, key, value)
    assert yaml.safe_load(edited(TEXT, dict(changes))) == wanted


@pytest.mark.parametrize(
    ("changes", "lines"),
    [
        ({("train", "C"): 0.25}, ["  C: 0.25"]),
        ({("train", "max_iter"): 7}, ["  max_iter: 7", "  C: 5"]),
        ({("train",): {"learner": "forest"}}, ["train: {learner: forest}"]),
        ({("prepare", "recipe", "terms", "max_features"): 9}, ["    terms: {max_features: 9, min_df: 2}"]),
        ({("gate", "minimum"): {"accuracy": 0.5}}, ["gate: {minimum: {accuracy: 0.5}}"]),
        ({("register", "approval"): "manual"}, ["register: {approval: manual}"]),
    ],
)
def test_comments_and_order_stay(changes: dict[Any, Any], lines: list[str]) -> None:
    text = edited(TEXT, changes)
    for line in ["# the project of a test", "name: t   # its name", "# the end", *lines]:
        assert line in text.splitlines(), text
    assert ("  learner: linear   # few rows" in text) == (("train",) not in changes)


def test_a_file_with_anchors_is_written_anew() -> None:
    text = "a: &one {x: 1}\nb: *one\n"
    assert yaml.safe_load(edited(text, {("b", "x"): 2})) == {"a": {"x": 1}, "b": {"x": 2}}


@pytest.fixture
def path(tmp_path: Path) -> Path:
    here = tmp_path / "project.yml"
    text = TEXT.replace("gate:\n", "").replace("  drop_missing:\n  - text\n", "")
    here.write_text(text.replace("  recipe:\n    terms: {min_df: 2}\n", "  balance: none\n"))  # forest has no terms
    return here


CHANGES: list[dict[str, Any]] = [
    {"train.C": 0.125, "train.max_iter": 50},
    {"train.learner": "forest", "train.n_estimators": 7},
    {"train.learner": "linear", "train.C": 2.0},
    {"prepare.recipe.terms.max_features": 100, "prepare.balance": "weights"},
]


@pytest.mark.parametrize("changes", CHANGES, ids=str)
def test_the_changed_project_is_the_edited_file(changes: dict[str, Any], path: Path) -> None:
    project = load_project(path)
    other = changed(project, changes)
    keys: dict[Any, Any] = {("train",): {}} if brings_learner(project, changes) else {}
    path.write_text(edited(path.read_text(), keys | {tuple(name.split(".")): value for name, value in changes.items()}))
    assert load_project(path).resolved == other.resolved
    assert other.digest != project.digest and other.path == project.path
    for name, value in changes.items():
        inner: Any = other.resolved
        for part in name.split("."):
            inner = inner[part]
        assert inner == value


def test_another_learner_begins_with_its_own_defaults(path: Path) -> None:
    project = load_project(path)
    assert changed(project, {"train.learner": "forest"}).train == load_project(path, ["train={learner: forest}"]).train
    assert changed(project, {"train.learner": "linear"}).train.C == 5  # type: ignore[attr-defined]
    assert brings_learner(project, {"train.size": "small"}) and not brings_learner(project, {"train.C": 1})


def test_a_wrong_change_names_the_nearest_key(path: Path) -> None:
    with pytest.raises(ProjectError, match=r"'train.max_itr' is not a known key") as failure:
        changed(load_project(path), {"train.max_itr": 3})
    assert "'max_iter'" in failure.value.remedy
