"""A table is searched for its best model: what is found, what stays, that it goes on after a kill, and wrong input."""

from __future__ import annotations

import hashlib
import json
import os
import resource
import shutil
import signal
import subprocess
import time
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import psutil
import pyarrow as pa
import pytest
import yaml

import lakewright as lw
from lakewright import automl
from lakewright.errors import Busy, LakewrightError, NotFound, UsageError
from searches import Ended, call_in, command, environment, rows, search_in, without


def outcomes(home: Path) -> dict[Path, int]:
    return {path: path.stat().st_mtime_ns for path in home.glob("units/*/*/outcome.json")}


@pytest.mark.slow
def test_it_finds_a_model_and_leaves_an_ordinary_project(classes_search: Ended) -> None:
    found = classes_search.json
    assert [each["learner"] for each in sorted(found["candidates"], key=lambda each: each["number"])] == [
        "trees", "linear", "trees", "forest", "xgboost"
    ]  # fmt: skip
    complete = [each for each in found["candidates"] if each["loss"] is not None]
    assert len(complete) >= 3 and all(each["folds"] == 3 for each in complete)
    assert found["metric"] == "macro_f1" and complete[0]["metrics"]["macro_f1"] > 0.7
    for each in complete:
        assert each["error"] > 0 and each["bytes"] > 0 and each["why"]
    assert sum(member["weight"] for member in found["members"]) == pytest.approx(1, abs=1e-3)
    smallest = min((each for each in complete if each["tied"]), key=lambda each: each["bytes"], default=None)
    assert found["cheapest"] == (smallest and smallest["number"])
    assert found["run"]["decision"]["passed"] and found["run"]["model_version"]["version"]
    text = (classes_search.folder / "rows.yml").read_text()
    assert text.startswith("# Written by lakewright automl. classification: good holds texts.")
    best = yaml.safe_load(Path(found["project"]).read_text())
    assert best["train"]["learner"] == "ensemble" and best["train"]["folds"] == 3
    assert "✓ prepare" in classes_search.err and "✓ automl" in classes_search.err


@pytest.mark.slow
def test_run_again_it_computes_nothing_again(classes_search: Ended) -> None:
    before = outcomes(classes_search.home)
    again = call_in(
        classes_search.folder, "automl", "rows.yml", "--trials", "5", "--minutes", "6", "--json",
        "--set", "automl.folds=3", "--set", "evaluate.resamples=100",
    )  # fmt: skip
    assert again.json["name"] == classes_search.json["name"] and outcomes(classes_search.home) == before
    names = ("number", "learner", "settings", "metrics", "seconds", "error")
    essence = [
        [{name: each[name] for name in names} for each in ended.json["candidates"]] for ended in (again, classes_search)
    ]
    assert essence[0] == essence[1]
    assert again.json["run"]["model_folder"] == classes_search.json["run"]["model_folder"]


@pytest.mark.slow
def test_best_yml_gives_the_same_predictions_from_the_rows(classes_search: Ended, tmp_path: Path) -> None:
    shutil.copy(classes_search.folder / "rows.csv", tmp_path)
    shutil.copy(classes_search.json["project"], tmp_path / "best.yml")
    ran = call_in(tmp_path, "run", "best.yml", "--json")
    few = pd.read_csv(classes_search.folder / "rows.csv", nrows=40).drop(columns="good")
    asked = [{name: None if value != value else value for name, value in row.items()} for row in few.to_dict("records")]
    both = [
        lw.load(ended.json.get("run", ended.json)["model_folder"]).predict(asked) for ended in (classes_search, ran)
    ]
    for one, other in zip(*both, strict=True):
        assert one["label"] == other["label"]
        assert one["probabilities"]["yes"] == pytest.approx(other["probabilities"]["yes"], abs=1e-6)


@pytest.mark.slow
def test_any_candidate_is_registered_by_one_command(classes_search: Ended, monkeypatch: pytest.MonkeyPatch) -> None:
    found = classes_search.json
    recommended = {member["candidate"] for member in found["members"]}
    other = next(each for each in found["candidates"] if each["number"] not in recommended and each["loss"] is not None)
    ran = call_in(classes_search.folder, "candidate", found["name"], str(other["number"]), "--json")
    assert ran.code in (0, 3), ran.err  # the gate compares it with the champion
    assert ran.json["decision"] is not None and "trees_" not in ran.err
    trained = json.loads((Path(ran.json["model_folder"]) / "project.json").read_text())["train"]
    assert [each["learner"] for each in trained["members"]] == [other["learner"]]
    monkeypatch.chdir(classes_search.folder)
    with pytest.raises(NotFound, match="no candidate 77"):
        automl.run_candidate(found["name"], 77)
    with pytest.raises(NotFound, match="there is no search 'other'"):
        automl.run_candidate("other", 1)


def test_a_project_file_of_other_content_stays(classes_search: Ended, tmp_path: Path) -> None:
    shutil.copy(classes_search.folder / "rows.csv", tmp_path)
    (tmp_path / "rows.yml").write_text("name: mine\n")
    ended = call_in(tmp_path, "automl", "rows.csv", "--label", "good", "--trials", "1")
    assert ended.code == 2 and "holds another project" in ended.err and "lakewright automl" in ended.err
    assert (tmp_path / "rows.yml").read_text() == "name: mine\n"


def start(folder: Path, *more: str) -> subprocess.Popen[str]:
    without(rows(), ["price", "size", "shop"]).to_csv(folder / "rows.csv", index=False)
    arguments = ("automl", "rows.csv", "--label", "good", "--json", "--set", "automl.folds=3", *more)
    return subprocess.Popen(
        command(*arguments), cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        env=environment(), start_new_session=True,
    )  # fmt: skip


def until(folder: Path, count: int, process: subprocess.Popen[str]) -> dict[Path, int]:
    began = time.monotonic()
    while len(done := outcomes(next(iter(folder.glob(".lakewright/automl/*")), folder))) < count:
        assert process.poll() is None, process.communicate()
        assert time.monotonic() - began < 200
        time.sleep(0.02)
    return done


@pytest.mark.slow
def test_after_kill_9_it_goes_on_and_computes_nothing_twice(tmp_path: Path) -> None:
    more = ("--trials", "4", "--minutes", "6", "--set", "evaluate.resamples=100")
    process = start(tmp_path, *more)
    until(tmp_path, 3, process)
    children = psutil.Process(process.pid).children(recursive=True)
    process.kill()
    _, err = process.communicate()
    assert "leaked" not in err  # semaphores are removed, and nobody needs to know
    psutil.wait_procs(children, 30)
    assert not [each for each in children if each.is_running() and each.status() != psutil.STATUS_ZOMBIE]
    (home,) = tmp_path.glob(".lakewright/automl/*")
    before = outcomes(home)
    spent = json.loads((home / "spent.json").read_text())
    process = start(tmp_path, *more)
    until(tmp_path, len(before) + 1, process)
    kill_one_of(process)  # as the system does when memory is short: the search goes on with others
    out, err = process.communicate(timeout=400)
    assert process.returncode == 0, err
    found = json.loads(out)
    after = outcomes(home)
    assert {path: after[path] for path in before} == before and len(after) > len(before)
    assert found["seconds"] >= spent  # the time before the kill counts
    assert {each["number"] for each in found["candidates"]} == {0, 1, 2, 3}


def kill_one_of(search: subprocess.Popen[str]) -> None:
    every = psutil.Process(search.pid).children(recursive=True)
    computing = [each for each in every if each.ppid() != search.pid and not each.children()]
    computing[0].kill()


@pytest.mark.slow
def test_a_limit_of_memory_is_an_error_with_its_remedy(tmp_path: Path) -> None:
    profile = "profiles: {local: {workers: {name: local, processes: 2, memory: 0.02}}}"
    (tmp_path / "profiles.yml").write_text(profile)
    ended = search_in(tmp_path, without(rows(), ["price", "size", "shop"]), "good", "--learners", "trees", trials=2)
    assert ended.code == 1 and "Traceback" not in ended.err
    assert "memory is short" in ended.err, ended.err


@pytest.mark.slow
def test_ctrl_c_gives_the_best_so_far_and_the_search_goes_on(tmp_path: Path) -> None:
    more = ("--minutes", "6", "--learners", "trees,linear", "--set", "evaluate.resamples=100")
    process = start(tmp_path, *more)
    until(tmp_path, 10, process)
    os.killpg(process.pid, signal.SIGINT)  # as a terminal does: to all processes
    out, err = process.communicate(timeout=400)
    assert process.returncode == 0, err
    found = json.loads(out)
    assert found["interrupted"] and found["run"]["model_version"]["version"] and "Traceback" not in err
    (home,) = tmp_path.glob(".lakewright/automl/*")
    before = outcomes(home)
    process = start(tmp_path, *more, "--trials", "4")
    out, err = process.communicate(timeout=400)
    assert process.returncode == 0, err
    again = json.loads(out)
    assert not again["interrupted"] and again["name"] == found["name"]
    assert {path: when for path, when in outcomes(home).items() if path in before} == before


@pytest.mark.slow
def test_a_second_ctrl_c_ends_it_and_nothing_is_lost(tmp_path: Path) -> None:
    process = start(tmp_path, "--minutes", "6", "--learners", "trees,linear")
    before = until(tmp_path, 4, process)
    os.killpg(process.pid, signal.SIGINT)
    time.sleep(0.3)
    os.killpg(process.pid, signal.SIGINT)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 130 and "what is done is kept" in err
    (home,) = tmp_path.glob(".lakewright/automl/*")
    assert before.items() <= outcomes(home).items()


@pytest.mark.slow
def test_a_full_disk_is_told_and_nothing_is_lost(tmp_path: Path) -> None:
    """A limit on the size of files stands for the disk: the network of a large forest does not fit."""
    table = without(rows(3000), ["price", "size", "shop"])
    table.to_csv(tmp_path / "rows.csv", index=False)
    limit = 1_500_000
    ended = subprocess.run(
        command("automl", "rows.csv", "--label", "good", "--learners", "forest,linear", "--minutes", "6",
                "--trials", "2", "--set", "automl.folds=3"),
        cwd=tmp_path, capture_output=True, text=True, timeout=400, env=environment(),
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (limit, resource.RLIM_INFINITY)),
    )  # fmt: skip
    assert ended.returncode == 1, ended.stderr
    assert "disk" in ended.stderr and "→" in ended.stderr and "Traceback" not in ended.stderr, ended.stderr
    (home,) = tmp_path.glob(".lakewright/automl/*")
    before = outcomes(home)
    again = call_in(
        tmp_path, "automl", "rows.yml", "--learners", "forest,linear", "--minutes", "6", "--trials", "2", "--json",
        "--set", "automl.folds=3",
    )  # fmt: skip
    assert len(again.json["candidates"]) == 2 and before.items() <= outcomes(home).items()


@pytest.mark.slow
def test_groups_rare_classes_and_texts(texts_search: Ended) -> None:
    found = texts_search.json
    assert {each["learner"] for each in found["candidates"] if each["loss"] is not None} == {"trees", "linear"}
    assert max(each["metrics"].get("accuracy", 0) for each in found["candidates"]) > 0.8
    folds = pd.read_parquet(texts_search.home / "notebooks" / "folds.parquet")
    assert set(folds["fold"]) == {0, 1, 2} and "rare" in set(folds["truth"])
    whole = pd.read_csv(texts_search.folder / "rows.csv")
    data = pd.read_parquet(texts_search.home / "notebooks" / "data.parquet")
    joined = data.assign(fold=folds["fold"]).dropna(subset="width").merge(whole, on="width")
    assert joined.groupby("shop")["fold"].nunique().max() == 1


@pytest.mark.slow
def test_a_split_by_time_has_one_fold_and_python_has_databricks_names(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    table = without(rows(), ["price", "size", "shop"])
    summary = automl.classify(
        table, target_col="good", primary_metric="roc_auc", time_col="sold", exclude_cols=["width"], pos_label="no",
        exclude_frameworks=["xgboost", "sklearn"], imputers={"height": "median"}, max_trials=2, timeout_minutes=4,
        experiment_name="shop", data_dir="data",
    )  # fmt: skip
    assert (tmp_path / "data" / "shop.parquet").exists() and summary.found.found.folds == 1
    assert summary.experiment.name == "main.default.shop" and len(summary.trials) == 2
    best = summary.best_trial
    assert best.evaluation_metric_score == pytest.approx(best.metrics["val_roc_auc"]) and "test_roc_auc" in best.metrics
    assert "impute" in best.preprocessors and Path(str(best.notebook_path)).exists()
    answer = best.load_model().predict([{"height": 2.0, "colour": "red", "sold": "2024-05-01T00:00:00"}])[0]
    assert [*answer["probabilities"]] == ["yes", "no"]  # the positive one is the second
    assert summary.trials[0].mlflow_run_id and summary.trials[0].artifact_uri and summary.output_table_name is None
    with pytest.raises(UsageError, match="is not a model yet"):
        summary.trials[-1].load_model()
    assert "2 candidates by roc_auc" in summary.metric_distribution


def test_a_table_is_regressed_without_some_of_its_columns(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    without(rows(), ["good", "size", "shop"]).to_csv("rows.csv", index=False)
    (tmp_path / "source.yml").write_text(
        "{name: rows, schema: main.shop, task: regression, data: {source: rows.csv, columns: {label: price}}, "
        "train: {learner: trees}}"
    )
    lw.stage("ingest", "source.yml", "once")
    summary = automl.regress(
        "main.shop.rows", target_col="price", primary_metric="mse", exclude_cols=["width", "sold"],
        exclude_frameworks=["sklearn", "xgboost"], max_trials=1, timeout_minutes=4, experiment_name="prices",
    )  # fmt: skip
    assert summary.warnings[0].startswith("mse is shown as rmse") and len(summary.trials) == 1
    assert {*summary.semantic_type_conversions.values()} == {"height", "colour"}
    assert summary.best_trial.evaluation_metric_score == pytest.approx(summary.trials[0].metrics["val_rmse"])
    assert summary.best_trial.load_model().predict([{"height": 1.0, "colour": "red"}])[0]["value"] > 100
    with pytest.raises(LakewrightError, match="no such column"):
        automl.regress("main.shop.rows", target_col="price", exclude_cols=["weight"])


def test_feature_tables_are_joined_as_they_were_known(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    draw, many, begin = np.random.default_rng(0), 400, pd.Timestamp("2024-01-01", tz="UTC")
    spend = draw.random((many, 2))
    spend[:, 1] = 1 - spend[:, 0]
    keys = {"country": "string", "customer": "bigint"}
    values, times = {"spend": "double"}, {"event_time": "day", "known_at": "loaded"}
    lw.features.create("main.shop.daily", keys=keys, values=values, **times)  # type: ignore[arg-type]
    # the second one is of the same day, and was known after the row: it would turn each answer around
    events = pd.concat(
        pd.DataFrame(
            {
                "country": "de", "customer": range(many), "day": begin,
                "loaded": begin + pd.Timedelta(days=9 * at), "spend": spend[:, at],
            }
        )
        for at in (0, 1)
    )  # fmt: skip
    lw.features.write("main.shop.daily", pa.Table.from_pandas(events, preserve_index=False))
    sold = pd.DataFrame(
        {
            "land": "de", "buyer": np.arange(many), "sold": begin + pd.Timedelta(days=3),
            "width": draw.random(many), "good": np.where(spend[:, 0] > 0.5, "yes", "no"),
        }
    )  # fmt: skip
    lookup = {"table_name": "main.shop.daily", "lookup_key": ["land", "buyer"], "timestamp_lookup_key": "sold"}
    summary = automl.classify(
        sold, target_col="good", feature_store_lookups=[lookup], exclude_frameworks=["sklearn", "xgboost"],
        primary_metric="accuracy", max_trials=1, timeout_minutes=4, experiment_name="sold",
    )  # fmt: skip
    assert summary.best_trial.metrics["test_accuracy"] > 0.9
    written = yaml.safe_load((tmp_path / "sold.yml").read_text())
    assert written["features"] == [{"table": "main.shop.daily", "keys": {"country": "land", "customer": "buyer"}}]
    assert written["data"]["columns"]["event_time"] == "sold"
    joined = lw.sql(
        "select count(*) as rows, count(spend) as known, max(abs(spend - 0.5)) as far from main.default.sold_joined"
    )
    assert isinstance(joined, pa.Table) and joined.to_pylist()[0]["known"] == many
    answer = summary.best_trial.load_model().predict([{"width": 0.5, "spend": 0.9, "sold": "2024-01-04T00:00:00"}])[0]
    assert answer["label"] == "yes"
    with pytest.raises(UsageError, match="is country, customer, and lookup_key names buyer"):
        automl.classify(sold, target_col="good", feature_store_lookups=[{**lookup, "lookup_key": "buyer"}])


@pytest.mark.parametrize(
    ("arguments", "cause"),
    [
        ({"feature_store_lookups": [{"table_name": "a"}]}, "names no table or no key"),
        ({"feature_store_lookups": [{"table": "a"}]}, "there is no 'table'"),
        (
            {"feature_store_lookups": [{"table_name": "main.shop.a", "lookup_key": "shop"}]},
            "values that were known only later",
        ),
        (
            {
                "feature_store_lookups": [
                    {"table_name": "main.shop.a", "lookup_key": "shop", "timestamp_lookup_key": "sold"}
                ],
                "time_col": "bought",
            },
            "'sold' and 'bought' are both the time of a row",
        ),
        (
            {
                "feature_store_lookups": [
                    {"table_name": "main.shop.a", "lookup_key": "shop", "timestamp_lookup_key": "sold"}
                ]
            },
            "there is no table main.shop.a",
        ),
        ({"sample_weight_col": "colour"}, "holds string, not numbers"),
        ({"exclude_frameworks": ["torch"]}, "exclude_frameworks names 'torch'"),
        ({"primary_metric": "rmse"}, "has no metric 'rmse'"),
        ({"imputers": {"width": "knn"}}, "imputers: 'width'"),
        ({"pos_label": "perhaps"}, "pos_label is 'perhaps'"),
        ({"exclude_cols": ["weight"]}, "no column 'weight'"),
        ({"time_col": "sold", "split_col": "colour"}, "both decide the split"),
        ({"split_col": "colour"}, "split_col: the column 'colour' holds"),
        ({"target_col": "none"}, "no column 'none'"),
    ],
)
def test_what_cannot_be_honoured_is_refused(
    arguments: dict[str, Any], cause: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(LakewrightError, match=cause):
        automl.classify(rows(), **{"target_col": "good", **arguments})


def test_forecasts_and_other_objects_are_refused() -> None:
    with pytest.raises(UsageError, match="forecasting is not offered"):
        automl.forecast(rows(), target_col="price", time_col="sold")
    with pytest.raises(UsageError, match="a dict is not a dataset"):
        automl.regress({"a": [1]}, target_col="a")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("table", "label", "more", "code", "cause"),
    [
        (rows(), "good", ("--metric", "rmse"), 2, "has no metric 'rmse'"),
        (rows(), "good", ("--learners", "tree"), 2, "did you mean 'trees'?"),
        (rows(), "none", (), 1, "has no column 'none'"),
        (rows().assign(good="yes"), "good", (), 1, "holds one label only"),
        (
            pd.DataFrame({"id": [f"k{i}" for i in range(90)], "y": ["a", "b"] * 45}),
            "y",
            (),
            1,
            "no column to learn from",
        ),
        (rows(), "good", ("--minutes", "0.005"), 1, "give it more time"),
        (rows(), "sold", (), 2, "neither classes nor numbers"),
        (rows(3), "good", (), 1, "error:"),
    ],
)
def test_wrong_input_is_clear(
    table: pd.DataFrame, label: str, more: tuple[str, ...], code: int, cause: str, tmp_path: Path
) -> None:
    ended = search_in(tmp_path, table, label, *more, trials=2)
    assert ended.code == code and cause in ended.err, ended.err
    assert "→" in ended.err and "Traceback" not in ended.err and "should not happen" not in ended.err


@pytest.mark.slow
def test_ten_rows_give_a_model_or_a_reason(tmp_path: Path) -> None:
    table = without(rows(10), ["price", "size", "shop"]).assign(good=["yes", "no"] * 5)
    table.to_csv(tmp_path / "ten.csv", index=False)
    ended = call_in(
        tmp_path, "automl", "ten.csv", "--label", "good", "--trials", "2", "--minutes", "6", "--out", "best.yml"
    )
    assert ended.code in (0, 1, 3) and "Traceback" not in ended.err, ended.err
    if ended.code == 1:
        assert "too few" in ended.err or "could be trained" in ended.err
        return
    assert "recommended: " in ended.out and "lakewright candidate ten-" in ended.out and "why tried" in ended.out
    assert "lakewright run best.yml" in ended.out and lw.load_project(tmp_path / "best.yml").train.learner == "ensemble"


def test_the_task_follows_from_the_label(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    table = pd.DataFrame(
        {"few": np.arange(60) % 5, "many": np.arange(60), "share": np.arange(60) / 7, "flag": [True, False] * 30}
    )
    table.to_parquet("t.parquet")
    tasks = {"few": "classification", "many": "regression", "share": "regression", "flag": "classification"}
    for label, task in tasks.items():
        assert automl.new_project("t.parquet", label, name=label).task == task
    assert automl.new_project("t.parquet", "few", task="regression", name="other").why == "it was named"
    with pytest.raises(UsageError, match="no project of the task"):
        automl.new_project("t.parquet", "few", task="tagging", name="tagged")


def test_a_corrected_call_replaces_what_an_unfinished_one_wrote(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    table = pd.DataFrame({"x": np.arange(60) % 7, "y": [True, False] * 30, "z": ["a", "b", "c"] * 20})
    table.to_parquet("t.parquet")
    with pytest.raises(UsageError, match="has no metric 'rmse'"):
        automl.classify("t.parquet", target_col="y", primary_metric="rmse", exclude_cols=["x"])
    refused = Path("t.yml").read_text()
    assert automl.new_project("t.parquet", "y").replaced and "exclude" not in Path("t.yml").read_text()
    second = automl.new_project("t.parquet", "z")  # another label
    assert second.replaced and yaml.safe_load(second.path.read_text())["data"]["columns"] == {"label": "z"}
    assert not automl.new_project("t.parquet", "z").replaced  # the same call

    workspace = lw.Workspace.open(lw.load_profile())
    with workspace.lock("main.default.t", "searching"), pytest.raises(Busy):
        automl.new_project("t.parquet", "y")
    search = workspace.folder / "automl" / "t-0"
    search.mkdir(parents=True)
    (search / "leaderboard.json").write_text("{}")
    written = second.path.read_text()
    (search / "origin.json").write_text(json.dumps({"digest": hashlib.sha256(written.encode()).hexdigest()}))
    with pytest.raises(UsageError, match="holds another project"):  # a search of it has ended
        automl.new_project("t.parquet", "y")
    shutil.rmtree(search)
    second.path.write_text(f"{written}# mine\n")
    with pytest.raises(UsageError, match="holds another project"):  # somebody changed it
        automl.new_project("t.parquet", "y")
    assert refused.startswith("# Written by lakewright automl. classification")


@pytest.mark.parametrize(
    ("named", "what"),
    [
        ({"target_col": None}, "target_col is None"),
        ({"exclude_cols": "age"}, r"write a list of names: ['age']"),
        ({"exclude_frameworks": "sklearn"}, r"write a list of names: ['sklearn']"),
        ({"exclude_frameworks": ["sklear"]}, "did you mean 'sklearn'? known: forest, lightgbm, linear, mlp, sklearn, "),
        ({"timeout_minutes": "5"}, "timeout_minutes is '5'"),
        ({"max_trials": True}, "max_trials is True"),
    ],
)
def test_an_argument_of_another_type_is_named(
    named: dict[str, Any], what: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    table = pd.DataFrame({"x": [1.0, 2.0], "y": ["a", "b"]})
    with pytest.raises(UsageError) as refused:
        automl.classify(table, **{"target_col": "y", **named})
    assert what in str(refused.value) and not list(tmp_path.glob("*.parquet"))


def test_the_nearest_number_is_one(classes_search: Ended) -> None:
    numbers = sorted(each["number"] for each in classes_search.json["candidates"])
    ended = call_in(classes_search.folder, "candidate", classes_search.json["name"], "77")
    assert ended.code == 1 and f"did you mean {numbers[-1]}? known: {', '.join(map(str, numbers))}" in ended.err
