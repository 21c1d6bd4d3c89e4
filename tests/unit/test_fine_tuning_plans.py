"""How much of an encoder a search trains in the time that is left."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from lakewright.learning.learners.encoder.settings import EncoderSettings
from lakewright.racing.fine_tuning import Start, _plan, out_of_reach
from lakewright.settings.project import load_project


def planned(layers: str, left: float, base: Path) -> tuple[dict[str, Any], str]:
    settings = EncoderSettings(base_model=str(base))
    project: Any = SimpleNamespace(train=settings, folder=base)
    return _plan(layers, Start(token=1e-3, once=10.0, rows=10_000, train=2e5, validation=2e4), project, left)


def test_with_time_enough_all_epochs_are_trained(tiny_base: Path) -> None:
    settings, estimate = planned("all", 5000, tiny_base)
    assert settings["num_train_epochs"] == 4 and "train_layers" not in settings and estimate.startswith("about ")


def test_with_less_time_fewer_epochs_are(tiny_base: Path) -> None:
    full = float(planned("all", 5000, tiny_base)[1].split()[1])
    settings, estimate = planned("all", full - 200, tiny_base)
    assert settings["num_train_epochs"] == 3 and float(estimate.split()[1]) <= full - 200


@pytest.mark.parametrize("layers", ["all", "top"])
def test_what_does_not_fit_is_not_begun_and_says_what_it_needs(layers: str, tiny_base: Path) -> None:
    settings, why = planned(layers, 60, tiny_base)
    assert settings == {} and "10,000 rows take about" in why and "60 s are left" in why


def test_what_is_out_of_reach_is_seen_without_a_start(tmp_path: Path) -> None:
    (tmp_path / "notes.yml").write_text(
        "{name: notes, task: text_classification, data: {source: a.csv, columns: {text: text, label: label}}}"
    )
    project = load_project(tmp_path / "notes.yml")
    (entry,) = out_of_reach(project, "package:none", 10_000, 0.01, 150)
    assert entry.number == 901 and "2 epochs of 10,000 rows take more than 200 s" in entry.failure
    assert out_of_reach(project, "package:none", 10_000, 0.01, 250) == []
    assert out_of_reach(project, "package:none", 10_000, 0.0, 1) == []  # what a text takes was not measured


def test_an_estimate_grows_with_the_epochs_and_never_passes_what_is_left(tiny_base: Path) -> None:
    seen = []
    for left in range(100, 2000, 50):
        settings, estimate = planned("all", left, tiny_base)
        if settings:
            seen.append(settings["num_train_epochs"])
            assert float(estimate.split()[1]) <= left + 1
    assert seen == sorted(seen) and {*seen} == {2, 3, 4}


def test_columns_that_an_encoder_cannot_read_are_a_failed_candidate(tmp_path: Path) -> None:
    (tmp_path / "notes.yml").write_text(
        "{name: notes, task: text_classification, "
        "data: {source: a.csv, columns: {text: text, times: [sold], label: label}}, train: {learner: linear}}"
    )
    (entry,) = out_of_reach(load_project(tmp_path / "notes.yml"), "package:none", 100, 0.0, 100)
    assert "no step reads the input 'sold'" in entry.failure
