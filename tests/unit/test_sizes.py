"""`train.size`: one dial in place of a learner and a base model."""

from __future__ import annotations

from pathlib import Path

import pytest

from lakewright import plugins
from lakewright.errors import ProjectError
from lakewright.learning.learners.encoder.settings import EncoderSettings
from lakewright.settings.project import Project, load_project

GOOD = """\
name: things
task: text_classification
data:
  source: things.csv
  columns: {text: text, label: label}
train: {size: instant}
"""


@pytest.fixture
def path(tmp_path: Path) -> Path:
    (tmp_path / "project.yml").write_text(GOOD, encoding="utf-8")
    return tmp_path / "project.yml"


@pytest.mark.parametrize(
    ("size", "learner"), [("instant", "embedding"), ("small", "encoder"), ("base", "encoder"), ("large", "encoder")]
)
def test_a_size_is_a_learner_and_a_base_model(path: Path, size: str, learner: str) -> None:
    train = load_project(path, [f"train.size={size}"]).train
    assert train.learner == learner
    assert train.base_model == plugins.LEARNERS.find(learner).sizes[size]["base_model"]  # type: ignore[attr-defined]


def test_what_is_said_beside_a_size_counts(path: Path) -> None:
    project = load_project(path, ["train.size=base", "train.base_model=package:mine", "train.num_train_epochs=1"])
    resolved = project.resolved["train"]
    assert (resolved["size"], resolved["base_model"], resolved["num_train_epochs"]) == ("base", "package:mine", 1)
    assert Project.model_validate(project.resolved).digest == project.digest


def test_sizes_and_settings_that_do_not_go_together_are_named(path: Path) -> None:
    with pytest.raises(ProjectError, match=r"there is no size 'smal'") as caught:
        load_project(path, ["train.size=smal"])
    assert "did you mean 'small'?" in caught.value.remedy
    with pytest.raises(ProjectError, match="instant means the learner embedding, and learner is encoder"):
        load_project(path, ["train.learner=encoder"])
    with pytest.raises(ProjectError, match=r"'train\.num_train_epochs' is not a known key"):
        load_project(path, ["train.num_train_epochs=2"])


def test_epochs_follow_the_rows_at_hand() -> None:
    settings = EncoderSettings()
    assert [settings.epochs(rows) for rows in (100, 1600, 10_000, 40_000, 1_000_000)] == [10, 10, 4, 2, 1]
    assert EncoderSettings(num_train_epochs=2.5).epochs(100) == 2.5
