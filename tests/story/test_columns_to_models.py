"""A table of numbers, categories and times becomes a served model: classes and numbers, by each learner of columns."""

from __future__ import annotations

import json
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml

import lakewright as lw
from conftest import serving
from lakewright.data.lake.tables import Lake
from lakewright.data.rows.request import read_row
from lakewright.errors import DataError, NotFound, ProjectError, UsageError
from lakewright.model import reasons
from lakewright.model.folder import describe
from lakewright.model.predictor import Predictor
from lakewright.records import Prepared
from lakewright.testing.folders import near

ROWS = 900


def houses() -> pa.Table:
    """Prices that follow the size, the place and the season; whether a house was sold follows its price."""
    draw = np.random.default_rng(5)
    size, place = draw.gamma(4, 30, ROWS), draw.choice(["north", "south", "east"], ROWS)
    day = draw.integers(0, 700, ROWS)
    price = 900 * size + 4e4 * (place == "south") + 2e4 * (day % 365 > 180) + draw.normal(0, 8e3, ROWS)
    sold = price + draw.normal(0, 4e4, ROWS) < np.median(price)
    begin = datetime(2024, 1, 1)
    return pa.table(
        {
            "house": [f"H{i:05}" for i in range(ROWS)],
            "country": ["here"] * ROWS,
            "size": [None if i % 11 == 0 else float(value) for i, value in enumerate(size)],
            "rooms": [str(int(value / 20)) for value in size],
            "place": [None if i % 13 == 0 else str(value) for i, value in enumerate(place)],
            "listed": [begin + timedelta(days=int(value)) for value in day],
            "tags": [["a"]] * ROWS,
            "price": price,
            "sold": sold,
        }
    )


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    pq.write_table(houses(), tmp_path / "houses.parquet")
    return tmp_path


def project(folder: Path, name: str, task: Any, label: str, learner: str, **more: Any) -> Path:
    described = {
        "name": name,
        "schema": "main.homes",
        "task": task,
        "data": {"source": "houses.parquet", "columns": {"label": label}, "exclude": ["price"]},
        "train": {"learner": learner},
        "evaluate": {"resamples": 100},
        **more,
    }
    if label == "price":
        described["data"]["exclude"] = ["sold"]
    file = folder / f"{name}.yml"
    file.write_text(yaml.safe_dump(described))
    return file


def test_whether_a_house_is_sold(here: Path) -> None:
    """Every column is an input but those that mean nothing, each of which is a finding; MLflow gives an array."""
    import mlflow
    from sklearn.metrics import roc_auc_score

    run = lw.run(project(here, "sold", "classification", "sold", "trees"))
    report, prepared = run.report, run.records["prepare"]
    findings = {finding.name: finding.rows for finding in prepared.findings}  # type: ignore[attr-defined]
    assert findings["constant_columns"] == ["country"] and findings["identifier_columns"] == ["house"]
    assert findings["unread_columns"] == ["tags (structure)"]
    task = describe(run.model_folder)["task"]
    assert task["inputs"] == {"size": "number", "rooms": "category", "place": "category", "listed": "time"}
    assert report.metrics["roc_auc"].value > 0.8
    worth = {each.input: each.value for each in report.importances}
    assert [*worth] == sorted(worth, key=lambda name: -worth[name]) and {*worth} == {*task["inputs"]}
    assert max(worth, key=lambda name: worth[name]) in ("size", "place")
    assert "What each input is worth" in Path(report.html).read_text()
    assert not list(run.model_folder.rglob("*.pkl"))

    table = houses().to_pandas()
    rows = table[["size", "rooms", "place", "listed"]]
    model = mlflow.pyfunc.load_model(run.records["register"].uri)  # type: ignore[attr-defined]
    labels = model.predict(rows)
    assert labels.dtype == bool and labels.shape == (ROWS,)
    assert roc_auc_score(table["sold"], labels) > 0.8
    shares = model.predict(rows, params={"output": "probability"})
    assert shares.shape == (ROWS,) and roc_auc_score(table["sold"], shares) > 0.9
    assert list(model.predict(rows[:2], params={"output": "table"})["label"].astype(bool)) is not None
    network = mlflow.onnx.load_model(run.records["register"].uri)  # type: ignore[attr-defined]
    assert [each.name for each in network.graph.output] == ["logits"]


def test_plan_and_profile_show_what_each_column_is_and_why(here: Path) -> None:
    file = project(here, "sold", "classification", "sold", "trees", data={
        "source": "houses.parquet", "columns": {"label": "cheap"}, "derive": {"cheap": "price < 100000"},
    })  # fmt: skip
    with pytest.raises(NotFound, match="not written yet"):
        lw.uses(file)
    lw.stage("ingest", file, "first")
    uses = {each.column: each for each in lw.uses(file)}
    assert {name: use.kind for name, use in uses.items() if use.use == "input"} == {
        "size": "number", "rooms": "category", "place": "category", "listed": "time", "sold": "category",
    }  # fmt: skip
    assert {name: (use.use, use.why) for name, use in uses.items() if use.use != "input"} == {
        "house": ("no input", "texts of 1.0 words on average, 900 values, another in every row, as identifiers have"),
        "country": ("no input", "one value in all rows"),
        "tags": ("no input", "a list or a structure"),
        "price": ("no input", "the truth is derived from it (data.derive)"),
        "cheap": ("role", "data.columns names it: label"),
    }
    assert uses["rooms"].why.endswith("of digits alone, as codes are written")
    profile = lw.profile("main.homes.sold", project=file)
    assert profile.uses == [*uses.values()] and profile.lost == []
    rows = {finding.name: finding.rows for finding in profile.findings}
    assert rows["identifier_columns"] == ["house"] and rows["unread_columns"] == ["tags (structure)"]
    page = Path(profile.page).read_text()
    assert "the truth is derived from it (data.derive)" in page and "one value in all rows" in page


def test_a_recipe_is_one_statement_of_sql(here: Path) -> None:
    """It gives in DuckDB, bit for bit, the columns that the network reads."""
    import duckdb

    recipe = {"derive": {"columns": {"per_room": "size / length(rooms)"}}, "impute": {"inputs": ["size"]}}
    run = lw.run(project(here, "sold", "classification", "sold", "trees", prepare={"recipe": recipe}))
    page = Path(run.report.html).read_text().split('id="recipe"')[1].split("</section>")[0]
    for shown in ("derive", "per_room", "impute", "part_of", "native", "&#34;fill&#34;"):
        assert shown in page
    exported = lw.recipe(run.model_folder, table="houses")
    assert [step["step"] for step in exported["steps"]] == ["derive", "impute", "part_of", "native"]
    predictor = Predictor.open(run.model_folder)
    row = {"size": 90.0, "rooms": "4", "place": "south", "listed": "2025-10-01"}
    reasons = {each["input"]: each["value"] for each in lw.predict(run.model_folder, [row], explain=9)[0]["reasons"]}
    assert reasons.get("per_room", 90.0) == 90.0 and {*reasons} <= {*row, "per_room"}
    rows = [{name: each[name] for name in predictor.task.inputs} for each in houses().to_pylist()]
    columns = predictor.recipe.encode([read_row(predictor.task.inputs, row, 0) for row in rows]).columns
    with duckdb.connect() as connection:
        connection.register("houses", houses())
        computed = connection.sql(exported["sql"]).fetchnumpy()
    assert [*computed] == [column.name for column in predictor.recipe.columns]
    there = np.column_stack([np.ma.filled(column, np.nan) for column in computed.values()])
    assert np.array_equal(there.astype(np.float32), columns, equal_nan=True)


def test_a_champion_with_other_inputs_is_compared_on_the_columns_of_the_table(here: Path) -> None:
    """It reads place and rooms, and the new model reads only the size; a column that the table lacks is named."""
    file = project(here, "sold", "classification", "sold", "linear")
    assert lw.run(file).decision.passed
    fewer = ["data.columns.others=false", "data.columns.numbers=[size]", "gate.compare_by=log_loss"]
    decision = lw.run(file, settings=fewer).decision
    assert {*decision.against_champion} == {"log_loss"} and decision.checks[-1].value is not None
    other = ["data.columns.others=false", "data.columns.categories=[place]", "data.exclude=[price, size]"]
    other.append("prepare.duplicates=keep")
    refused = lw.run(file, settings=other).decision
    assert not refused.passed and "has no column 'size'" in refused.checks[-1].detail


def test_rows_without_a_required_input_are_left_out_and_counted(here: Path) -> None:
    file = project(here, "sold", "classification", "sold", "linear", prepare={"drop_missing": ["size", "place"]})
    prepared = lw.run(file).records["prepare"]
    assert isinstance(prepared, Prepared)
    rows = houses().to_pylist()
    lacking = [at for at, row in enumerate(rows) if row["size"] is None or row["place"] is None]
    (finding,) = [each for each in prepared.findings if each.name == "dropped_missing"]
    assert finding.count == len(lacking) and finding.rows[0].startswith(f"row {lacking[0]}: size, place")
    assert sum(prepared.splits.values()) == ROWS - len(lacking)
    with pytest.raises(ProjectError, match="'sise', which is no input"):
        lw.run(file, settings=["prepare.drop_missing=[sise]"])
    table = pa.table(
        {"odd": [1.5, None, 2.5, None] * 30, "even": [None, 2.5, None, 3.5] * 30, "sold": ["a", "b", "b"] * 40}
    )
    pq.write_table(table, here / "gaps.parquet")
    settings = ["data.source=gaps.parquet", "data.exclude=[]", "prepare.drop_missing=[odd, even]"]
    with pytest.raises(DataError, match="every row lacks an input that prepare"):
        lw.run(file, settings=settings)


def test_a_derived_input_is_computed_by_predictions_too(here: Path) -> None:
    """A row brings what it is derived from; a column that is no input stays one, but for the expression."""
    derive = {"per_room": "size / length(rooms)", "kind": "substring(house, 1, 1)"}
    data = {"source": "houses.parquet", "columns": {"label": "sold"}, "exclude": ["price"], "derive": derive}
    file = project(here, "sold", "classification", "sold", "trees", data=data)
    run = lw.run(file)
    assert {"house", "size", "rooms"} <= {*describe(run.model_folder)["task"]["inputs"]}
    assert not {*derive} & {*describe(run.model_folder)["task"]["inputs"]}
    first, *_ = lw.recipe(run.model_folder)["steps"]
    assert (first["step"], first["columns"], first["drop"]) == ("derive", derive, ["house"])
    row = {"house": "H1", "size": 90.0, "rooms": "4", "place": "south", "listed": "2025-10-01"}
    near, far = lw.predict(run.model_folder, [row, {**row, "house": "X1"}])
    assert near["label"] in ("true", "false") and far["label"] in ("true", "false")
    uses = {each.column: each.use for each in lw.uses(file)}
    assert (uses["per_room"], uses["house"], uses["size"]) == ("derived", "read by derive", "input")
    assert all(result.status == "skipped" for result in lw.run(file).stages.values())
    for expression, cause in {"strftime(listed, '%j')": "strftime", "length(tags)": "'tags'"}.items():
        with pytest.raises(ProjectError, match=cause) as caught:
            lw.run(file, settings=[f"data.derive={json.dumps({'odd': expression})}"])
        assert "data.columns" in caught.value.remedy


@pytest.mark.slow
@pytest.mark.parametrize("learner", ["trees", "forest", "xgboost", "linear"])
def test_what_a_house_costs(here: Path, learner: str) -> None:
    """A number with its interval; the same over a predictor, a table of predictions and JSON."""
    run = lw.run(project(here, "price", "regression", "price", learner))
    metrics = run.report.metrics
    assert metrics["r2"].value > 0.8
    assert 0.8 < metrics["coverage"].value <= 1.0  # of 135 rows, at a level of 0.9
    predictor = Predictor.open(run.model_folder)
    row = {"size": 120.0, "rooms": "6", "place": "south", "listed": "2025-10-01"}
    (prediction,) = predictor.predict([row])
    assert prediction["low"] < prediction["value"] < prediction["high"]
    (explained,) = lw.predict(run.model_folder, [row], explain=2)
    first, second = explained["reasons"]
    assert explained["method"] == ("leave_one_out" if learner == "linear" else "tree_shap")
    assert "place" in (first["input"], second["input"]) and first["value"] in (120.0, "south", "6")
    assert abs(first["weight"]) >= abs(second["weight"]) > 0
    every = predictor.reasons.of([row], [prediction], 100)[0]
    assert {each["input"] for each in every} <= {"size", "rooms", "place", "listed"}
    (none,) = lw.predict(run.model_folder, [dict.fromkeys(row)], explain=2)
    assert none["value"] is None and none["reasons"] == []
    if learner == "linear":
        for each in every:
            (without,) = predictor.predict([{**row, each["input"]: None}])
            assert each["weight"] == pytest.approx(prediction["value"] - without["value"], rel=1e-4, abs=1e-3)
    page = Path(run.report.html).read_text()
    assert 'id="reasons"' in page and ("Shapley value" in page) == (learner != "linear")
    with pytest.raises(DataError, match="row 0 has no 'rooms' and 1 more"):
        predictor.predict([{"size": 120.0, "place": "south"}])
    (odd,) = predictor.predict([{"size": None, "rooms": None, "place": "nowhere", "listed": "1900-01-01T00:00:00Z"}])
    assert np.isfinite(odd["value"]) and json.dumps(odd)
    assert "champion" in lw.models()[0].aliases


@pytest.mark.slow
def test_a_threshold_by_what_errors_cost(here: Path) -> None:
    """It is chosen on validation, the report gives the line to write, and with it predictions and metrics follow."""
    file = project(here, "sold", "classification", "sold", "trees")
    described = yaml.safe_load(file.read_text())
    described["evaluate"]["cost"] = {"false_positive": 1, "false_negative": 5}
    file.write_text(yaml.safe_dump(described))
    before = lw.run(file)
    costs = before.report.costs
    assert costs is not None and costs.positive == "true" and 0 < costs.threshold < 0.5
    written = json.loads(Path(before.report.json_file).read_text())
    assert written["costs"]["threshold"] == costs.threshold
    assert [each["input"] for each in written["dependences"]] == [each.input for each in before.report.importances]
    prepared = before.records["prepare"]
    lake = lw.Workspace.open(lw.load_profile()).lake
    rows = lake.read(prepared.features, columns=["split", "inputs", "truth"]).to_pylist()  # type: ignore[attr-defined]
    predictor = Predictor.open(before.model_folder)

    def cost(split: str, threshold: float) -> float:
        own = [row for row in rows if row["split"] == split]
        likely = [each["probabilities"]["true"] for each in predictor.predict([row["inputs"] for row in own])]
        each = [
            1 * (share >= threshold and row["truth"] == "false") + 5 * (share < threshold and row["truth"] == "true")
            for share, row in zip(likely, own, strict=True)
        ]
        return 1000 * sum(each) / len(own)

    assert cost("validation", costs.threshold) == pytest.approx(costs.validation_cost)
    assert costs.validation_cost == pytest.approx(min(cost("validation", at / 500) for at in range(501)))
    assert costs.choices["least"].cost.value == pytest.approx(cost("test", costs.threshold))
    page = Path(before.report.html).read_text()
    assert f"threshold: {costs.threshold}</pre>" in page and 'id="gain"' in page and 'id="dependence"' in page

    after = lw.run(file, settings=[f"task.threshold={costs.threshold}"])
    assert describe(after.model_folder)["task"]["threshold"] == costs.threshold
    assert after.report.costs is not None and after.report.costs.saved.value == 0
    assert after.report.classes["true"]["recall"] == costs.choices["least"].recall
    assert after.report.classes["true"]["precision"] == costs.choices["least"].precision
    row = {"size": 120.0, "rooms": "6", "place": "south", "listed": "2025-10-01"}
    inputs = [{**row, "size": float(size)} for size in range(20, 300, 5)]
    predictions = lw.predict(after.model_folder, inputs)
    assert any(0.5 > each["confidence"] >= costs.threshold and each["label"] == "true" for each in predictions)
    for each in predictions:
        assert (each["label"] == "true") == (each["probabilities"]["true"] >= costs.threshold)
        assert each["confidence"] == each["probabilities"][each["label"]]
    assert json.loads((after.model_folder / "samples.json").read_text())


def test_costs_of_no_two_classes_are_refused_before_the_test_rows_are_read(here: Path) -> None:
    cost = {"resamples": 100, "cost": {"false_positive": 1, "false_negative": 5}}
    number = lw.load_project(project(here, "price", "regression", "price", "linear", evaluate=cost))
    with pytest.raises(ProjectError, match="between two classes, and regression predicts none"):
        lw.run(number.path)
    ordered = {"name": "classification", "order": ["a", "b", "c"]}
    with pytest.raises(ProjectError, match="and task names 3"):
        lw.run(project(here, "ordered", ordered, "place", "linear", evaluate=cost))
    with pytest.raises(ProjectError, match="of the task classification, has 3 classes"):
        lw.run(project(here, "place", "classification", "place", "linear", evaluate=cost))
    ledger = Path(".lakewright/ledger")
    assert not ledger.exists() or not list(ledger.iterdir())


@pytest.mark.slow
@pytest.mark.parametrize("learner", ["trees", "linear"])
def test_a_table_is_scored_with_reasons(here: Path, monkeypatch: pytest.MonkeyPatch, learner: str) -> None:
    """As many as are requested, the same as `predict` gives; a kill, another number and a model without any."""
    run = lw.run(project(here, "sold", "classification", "sold", learner))
    lake, names = lw.Workspace.open(lw.load_profile()).lake, ["house", "size", "rooms", "place", "listed"]
    table = houses().select(names).slice(0, 120)
    nothing = pa.table({name: pa.nulls(1, table.schema.field(name).type) for name in names[1:]})
    table = pa.concat_tables([table, nothing.add_column(0, "house", pa.array(["none"]))])
    lake.write("main.homes.new", table)
    options: dict[str, Any] = {"id": "house", "explain": 2, "commit_rows": 50}
    add, calls = Lake.add_files, 0

    def fails(self: Lake, *given: Any, **more: Any) -> Any:
        nonlocal calls
        calls += 1
        if calls == 2:
            raise KeyboardInterrupt
        return add(self, *given, **more)

    with monkeypatch.context() as patched, pytest.raises(KeyboardInterrupt):
        patched.setattr(Lake, "add_files", fails)
        lw.score(run.model_folder, "main.homes.new", **options)
    with pytest.raises(UsageError, match="have 2 reasons each, and 3 are requested"):
        lw.score(run.model_folder, "main.homes.new", **{**options, "explain": 3})
    with pytest.raises(UsageError, match="other columns"):
        lw.score(run.model_folder, "main.homes.new", **{**options, "explain": 0})
    rest = lw.score(run.model_folder, "main.homes.new", **options)
    assert rest.rows == 71 and rest.without == 1
    scored = {row["record_id"]: row for row in lake.read(lake.version("main.homes.new_predictions")).to_pylist()}
    assert len(scored) == 121 and scored["none"]["reasons"] is None
    rows = table.slice(0, 120).to_pylist()
    for row, own in zip(rows, lw.predict(run.model_folder, rows, explain=2), strict=True):
        there = scored[row["house"]]["reasons"]
        assert [each["input"] for each in there] == [each["input"] for each in own["reasons"]]
        assert [each["weight"] for each in there] == pytest.approx([e["weight"] for e in own["reasons"]], rel=1e-5)
        values = [each["value"] for each in own["reasons"]]
        as_text = [value if value is None or isinstance(value, str) else json.dumps(value) for value in values]
        assert [each["value"] for each in there] == as_text
    lake.write("main.homes.new", houses().select(names).slice(200, 10), mode="append")
    assert lw.score(run.model_folder, "main.homes.new", **options).rows == 10
    without = {**options, "explain": 0}
    assert lw.score(run.model_folder, "main.homes.new", full=True, **without).rows == 131
    assert "reasons" not in lake.read(lake.version("main.homes.new_predictions")).column_names
    lake.write("main.homes.new", houses().select(names).slice(300, 10), mode="append")
    assert lw.score(run.model_folder, "main.homes.new", **without).rows == 10
    with pytest.raises(UsageError, match="cannot have -1 reasons"):
        lw.score(run.model_folder, "main.homes.new", **{**options, "explain": -1})


def test_reasons_that_a_model_has_none_of_are_refused(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of more inputs than a prediction for each is worth, before a row is written."""
    run = lw.run(project(here, "price", "regression", "price", "linear"))
    lake = lw.Workspace.open(lw.load_profile()).lake
    lake.write("main.homes.new", houses().select(["size", "rooms", "place", "listed"]).slice(0, 5))
    monkeypatch.setattr(reasons, "MOST_INPUTS", 3)
    with pytest.raises(UsageError, match="it reads 4 inputs, and is no model of trees") as refused:
        lw.score(run.model_folder, "main.homes.new", explain=2)
    assert "leave explain out" in refused.value.remedy
    with pytest.raises(NotFound):
        lake.version("main.homes.new_predictions")


@pytest.mark.parametrize("learner", ["trees", "linear"])
def test_reasons_over_http(here: Path, tmp_path: Path, learner: str) -> None:
    run = lw.run(project(here, "sold", "classification", "sold", learner))
    row = {"size": 120.0, "rooms": "6", "place": "south", "listed": "2025-10-01"}
    (own,) = lw.predict(run.model_folder, [row], explain=3)
    with serving(run.model_folder, folder=tmp_path) as server:
        (one,) = server.ask("POST", "/predict", {"rows": [row], "explain": 3}).json["predictions"]
        assert [each["input"] for each in one["reasons"]] == [each["input"] for each in own["reasons"]]
        assert near(one["reasons"], own["reasons"], 1e-5) and one["label"] == own["label"]
        assert one["method"] == own["method"] == {"trees": "tree_shap", "linear": "leave_one_out"}[learner]
        assert "reasons" not in server.ask("POST", "/predict", {"rows": [row]}).json["predictions"][0]
        for body, cause in (
            ({"rows": [row], "explain": "3"}, "explain is not a whole number"),
            ({"rows": [row] * 300, "explain": 3}, "at most 256 rows"),
            ({"rows": [{"size": 1.0}]}, "has no 'rooms'"),
        ):
            refused = server.ask("POST", "/predict", body)
            assert refused.status == 400 and cause in refused.json["error"]


def test_an_order_of_classes(here: Path) -> None:
    table = houses().to_pandas()
    table["size_class"] = pd.cut(table["size"], [0, 80, 140, 1e9], labels=["small", "medium", "large"]).astype(str)
    table[table["size"].notna()].drop(columns="sold").to_parquet(here / "houses.parquet")
    task = {"name": "classification", "order": ["small", "medium", "large"]}
    file = project(here, "size", task, "size_class", "trees")
    run = lw.run(file)
    assert run.report.metrics["quadratic_weighted_kappa"].value > 0.8
    assert describe(run.model_folder)["task"]["labels"] == ["small", "medium", "large"]


def test_a_label_is_derived_and_what_it_is_derived_of_is_no_input(here: Path) -> None:
    file = project(here, "dear", "classification", "dear", "trees")
    described = yaml.safe_load(file.read_text())
    described["data"] |= {"derive": {"dear": "price > 100000"}, "exclude": ["sold"]}
    file.write_text(yaml.safe_dump(described))
    run = lw.run(file)
    assert "price" not in describe(run.model_folder)["task"]["inputs"]
    described["data"]["derive"] |= {"half": "price / 2", "floor": "floor(size)"}  # the first tells the label, too
    file.write_text(yaml.safe_dump(described))
    inputs = describe(lw.run(file).model_folder)["task"]["inputs"]
    assert "half" not in inputs and "price" not in inputs and "floor" not in inputs
    for expression, cause in {
        "prise > 1": "'prise', which the source does not have",
        "price >": "no expression of SQL",
        "sqrt(place)": "sqrt",
        "read_text('/etc/passwd')": "read_text",
    }.items():
        with pytest.raises(ProjectError, match=cause):
            lw.run(file, settings=[f"data.derive={json.dumps({'dear': expression})}"])
