"""A table of texts is searched: frozen vectors and fine-tuned encoders beside the race, and what is left when they
cannot be had, are stopped, or win."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path
from typing import Any

import pytest
import yaml

import lakewright as lw
from conftest import sentences, write_csv
from lakewright import automl
from lakewright.racing import fine_tuning, judging, project_search, vectors
from lakewright.racing.project_search import Recommended

WITHOUT_VECTORS = ["sentence_embeddings"]


def search(folder: Path, base: Path | str, *more: str, glass_box: bool = False) -> Recommended:
    """Of 150 rows, with the two first candidates of the race."""
    if not (folder / "notes.yml").exists():
        write_csv(folder / "rows.csv", sentences(150))
        described = {
            "name": "notes",
            "task": "text_classification",
            "data": {"source": "rows.csv", "columns": {"text": "text", "label": "label"}},
            # int8 is chosen by speed, and on a base model so small that is chance
            "train": {"learner": "encoder", "base_model": str(base), "quantize": "never", "learning_rate": 0.01},
            "automl": {"minutes": 5, "trials": 2, "folds": 3},
            "evaluate": {"resamples": 100},
            "gate": {"champion": False},
        }
        (folder / "notes.yml").write_text(yaml.safe_dump(described))
        (folder / "profiles.yml").write_text("default: here\nprofiles:\n  here: {workspace: workspace, threads: 1}\n")
    return automl.searched(str(folder / "notes.yml"), [*more], None, lambda *_: None, glass_box=glass_box)[0]


def of_learner(found: Recommended, learner: str) -> list[Any]:
    return [each for each in found.entries if each.learner == learner]


@pytest.fixture(scope="module")
def searched(tmp_path_factory: pytest.TempPathFactory, tiny_base: Path) -> Recommended:
    return search(tmp_path_factory.mktemp("encoders"), tiny_base, glass_box=True)


def test_candidates_read_vectors_and_an_encoder_is_judged_on_validation(searched: Recommended) -> None:
    first, second = (next(each for each in searched.entries if each.number == number) for number in (0, 1))
    assert first.settings["without"] == ["terms"] and second.settings["without"] == WITHOUT_VECTORS
    encoders = of_learner(searched, "encoder")
    assert {each.number for each in encoders} == {901, 902} and not any(each.failure for each in encoders)
    for each in encoders:
        assert each.folds == 0 and each.metrics["log_loss"] > 0 and each.error is not None and each.bytes > 0
        assert each.settings["num_train_epochs"] >= 1 and each.settings["quantize"] == "never"
    assert (
        "learning_rate" not in encoders[0].settings or "learning_rate" not in encoders[1].settings
    )  # not the project's
    verdict = searched.verdict
    assert verdict is not None and verdict.low < verdict.gain < verdict.high
    assert verdict.rows == searched.prepared.splits["validation"]
    written = json.loads((searched.folder / "leaderboard.json").read_text())
    assert written["encoder"]["candidate"] == verdict.candidate and len(written["candidates"]) == 4
    page = (searched.folder / "notebooks" / "leaderboard.html").read_text()
    assert "judged on validation" in page


def test_an_encoders_notebook_gives_its_metric(searched: Recommended) -> None:
    nbformat, nbclient = pytest.importorskip("nbformat"), pytest.importorskip("nbclient")
    each = of_learner(searched, "encoder")[0]
    path = searched.folder / "notebooks" / f"{each.number}_encoder.ipynb"
    assert path.with_suffix(".py").exists() and path.with_suffix(".parquet").exists()
    read = nbformat.read(path, as_version=4)
    nbformat.validate(read)
    nbclient.NotebookClient(read, timeout=300, resources={"metadata": {"path": str(path.parent)}}).execute()
    text = "".join(output.get("text", "") for cell in read.cells for output in cell.get("outputs", ()))
    for metric in ("macro_f1", "log_loss"):
        shown = re.search(rf"^{metric} ([\d.]+)$", text, re.MULTILINE)
        assert shown and float(shown[1]) == pytest.approx(each.metrics[metric], abs=1e-4)


def test_a_model_that_reads_no_vectors_does_not_compute_them(searched: Recommended) -> None:
    for number, computes in ((0, True), (1, False)):
        ran = automl_candidate(searched, number)
        steps = json.loads((Path(ran.model_folder) / "recipe" / "recipe.json").read_text())["steps"]
        names = {step["step"] for step in steps}
        assert ("sentence_embeddings" in names) == computes, number
        if computes:  # nothing is computed that the candidate leaves out
            assert not names & {"terms", "text_scores"}, names


def automl_candidate(found: Recommended, number: int) -> Any:
    """`automl.run_candidate`, in the search's own workspace."""
    from lakewright.api.places import located, opener

    loaded, place = located(found.folder.parents[2] / "notes.yml", [], None)
    return project_search.run_candidate(loaded, found.name, number, opener(place)())


def test_an_encoder_becomes_a_model_without_a_second_training(searched: Recommended) -> None:
    ran = automl_candidate(searched, 901)
    assert ran.error is None and "train" not in ran.stages and ran.report.metrics["accuracy"].value >= 0


def test_an_encoder_that_wins_is_an_ordinary_project(
    searched: Recommended, tmp_path: Path, tiny_base: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(judging, "SURE", -1e9)  # any encoder counts as significantly better
    home = searched.folder.parents[2]
    found = search(home, tiny_base)
    (member,) = found.found.members
    assert member.number in (901, 902) and found.found.weights == (1.0,)
    assert [each.number for each in found.entries if each.weight] == [member.number]
    assert found.out_of_fold == pytest.approx(
        dict(next(each for each in found.entries if each.number == member.number).metrics)
    )
    shutil.copy(found.project, home / "notes.best.yml")
    assert lw.load_project(home / "notes.best.yml").train.learner == "encoder"
    again = lw.run(home / "notes.best.yml")
    assert again.stages["train"].status == "skipped" and again.model_folder == found.run.model_folder


def test_a_number_follows_from_a_text_and_columns(tmp_path: Path, tiny_base: Path) -> None:
    lengths = {"animal": 1.0, "plant": 2.0, "stone": 4.0}
    rows = [
        {"text": row["text"], "kind": f"{at % 5}", "price": f"{lengths[row['label']] + at % 5}"}
        for at, row in enumerate(sentences(150))
    ]
    write_csv(tmp_path / "rows.csv", rows)
    described = {
        "name": "notes",
        "task": "regression",
        "data": {"source": "rows.csv", "columns": {"label": "price", "text": "text", "categories": ["kind"]}},
        "automl": {"minutes": 5, "trials": 2, "folds": 3, "base_model": str(tiny_base), "without": ["mlp"]},
        "evaluate": {"resamples": 100},
        "gate": {"champion": False},
    }
    (tmp_path / "notes.yml").write_text(yaml.safe_dump(described))
    found = search(tmp_path, tiny_base)
    assert {each.learner for each in found.entries if each.complete} == {"linear", "trees", "encoder"}
    assert found.verdict is not None and "squared error" in found.verdict.why
    assert all(each.metrics["rmse"] > 0 for each in found.entries if each.complete)
    (tmp_path / "best.yml").write_text(Path(found.project).read_text())
    ran = lw.run(tmp_path / "best.yml")
    assert ran.report.metrics["rmse"].value == pytest.approx(found.run.report.metrics["rmse"].value, rel=1e-5)


def test_without_an_encoder_the_search_goes_on(tmp_path: Path) -> None:
    found = search(tmp_path, tmp_path / "nothing" / "here")
    (vectors_entry,), (encoder,) = of_learner(found, "embedding"), of_learner(found, "encoder")
    assert "there is no folder" in vectors_entry.failure and "there is no folder" in encoder.failure
    assert found.run.model_version is not None and found.verdict is None
    assert "without" not in lw.load_project(found.project).train.model_dump(exclude_none=True)


def test_without_torch_there_are_none_and_it_says_so(
    tmp_path: Path, tiny_base: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in (fine_tuning, vectors):
        real = module.find_spec
        monkeypatch.setattr(module, "find_spec", lambda name, real=real: None if name == "torch" else real(name))
    found = search(tmp_path, tiny_base)
    assert {each.learner for each in found.entries} <= {"trees", "linear"}
    assert found.notes == ("no encoder of texts is tried: torch is not installed (pip install 'lakewright[train]')",)


def test_ctrl_c_gives_the_races_model_and_the_encoder_goes_on(
    tmp_path: Path, tiny_base: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = fine_tuning.executed

    def stopped(stage: Any, *arguments: Any, **named: Any) -> Any:
        if stage.name == "train":
            raise KeyboardInterrupt
        return real(stage, *arguments, **named)

    monkeypatch.setattr(fine_tuning, "executed", stopped)
    found = search(tmp_path, tiny_base, "automl.without=[embedding]")
    assert found.found.interrupted and found.run.model_version is not None and not of_learner(found, "encoder")
    plan = found.folder / "fine_tuned" / "901" / "plan.json"
    before = plan.stat().st_mtime_ns
    monkeypatch.setattr(fine_tuning, "executed", real)
    start = (found.folder / "fine_tuned" / "start.json").read_bytes()
    again = search(tmp_path, tiny_base, "automl.without=[embedding]")
    assert (found.folder / "fine_tuned" / "start.json").read_bytes() == start
    assert again.folder == found.folder and plan.stat().st_mtime_ns == before
    assert not again.found.interrupted and {each.number for each in of_learner(again, "encoder")} == {901, 902}
