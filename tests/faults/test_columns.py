"""Tables of other people: columns that are not what they look like, and rows that are equal without being copies."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
import yaml

import lakewright as lw
from lakewright.cli.show import _first_row
from lakewright.data.rows.inputs import close, uses
from lakewright.data.sources.written import NUMBERS, misfits
from lakewright.errors import LakewrightError
from lakewright.learning.learners.trees import threads_of
from lakewright.model.tasks.classification import ClassificationColumns
from lakewright.pipeline.stages.prepare import prepare
from lakewright.records import Ingested, Prepared
from lakewright.service.scoring.predictions import choose

ROWS = 120
HIDDEN = {  # name → values that are numbers or times to a person, and the finding
    "age": ([str(20 + i % 50) if i % 9 else "NA" for i in range(ROWS)], "words_for_missing"),
    "income": ([f"{i}.5" if i % 9 else "?" for i in range(ROWS)], "words_for_missing"),
    "since": ([f"2024-01-{1 + i % 28:02}" if i % 9 else "N/A" for i in range(ROWS)], "words_for_missing"),
    "price": ([f"{1000 + 7 * i:,}.{i % 100:02}" for i in range(ROWS)], "numbers_in_other_forms"),
    "money": ([f"${i * 31:,}" for i in range(ROWS)], "numbers_in_other_forms"),
    "weight": ([f"{50 + i / 10:.1f} kg" for i in range(ROWS)], "numbers_in_other_forms"),
    "share": ([f"{i % 90}%" for i in range(ROWS)], "numbers_in_other_forms"),
    "decimal comma": ([f"{i},5" for i in range(ROWS)], "numbers_in_other_forms"),
    "euro": ([f"1.{i:03},50 €" for i in range(ROWS)], "numbers_in_other_forms"),
    "german": ([f"{1 + i % 28:02}.03.{20 + i % 4}" for i in range(ROWS)], "times_in_other_forms"),
    "american": ([f"{1 + i % 12}/{1 + i % 28}/2024 10:00 AM" for i in range(ROWS)], "times_in_other_forms"),
    "in words": ([f"Jan {1 + i % 28} {2000 + i % 5}" for i in range(ROWS)], "times_in_other_forms"),
}
PLAIN = {  # codes and names, of which none is a number or a time
    "zip": [f"0{2000 + i % 80}" for i in range(ROWS)],
    "flat": [f"{i % 90}b" for i in range(ROWS)],
    "street": [f"Street {i % 60}" for i in range(ROWS)],
    "stage": [("I", "II", "NA", "unknown")[i % 4] for i in range(ROWS)],
    "grade": [f"A-{i % 40}" for i in range(ROWS)],
    "version": [f"{i % 7}.{i % 5}.{i % 11}" for i in range(ROWS)],
    "phone": [f"+49 30 {1000 + i % 50}-{i % 9}" for i in range(ROWS)],
}


@pytest.fixture
def lake(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.chdir(tmp_path)
    return lw.Workspace.open(lw.load_profile()).lake


def test_numbers_and_times_in_other_forms_are_noticed(lake: Any) -> None:
    hidden = {name: values for name, (values, _) in HIDDEN.items()}
    table = lake.write("main.t.odd", pa.table({"label": ["a", "b"] * (ROWS // 2), **hidden, **PLAIN}))
    columns = ClassificationColumns(label="label")
    chosen = uses(columns, lake, table, ("number", "category", "time"))
    noticed = {each.column: [*each.noticed] for each in chosen if each.noticed}
    assert noticed == {name: [finding] for name, (_, finding) in HIDDEN.items()}
    _, findings = close(columns, table, chosen)
    named = {each.name: each for each in findings}
    assert "3 columns (age, income, since)" in named["words_for_missing"].detail
    assert named["words_for_missing"].rows == ["age: NA", "income: ?", "since: N/A"]
    assert "nullif(column, 'NA')" in named["words_for_missing"].detail


def test_numbers_that_float32_makes_equal_are_noticed(lake: Any) -> None:
    numbers = {
        "far from 0": [1e9 + i / 8 for i in range(ROWS)],
        "beyond": [i * 1e300 for i in range(ROWS)],
        "long": [2**60 + i * 50 for i in range(ROWS)],
        "plain": [i / 8 for i in range(ROWS)],
        "large": [i * 1e30 for i in range(ROWS)],
        "gaps": [None if i % 3 else float("nan") if i % 2 else i * 0.1 for i in range(ROWS)],
    }
    table = lake.write("main.t.odd", pa.table({"label": ["a", "b"] * (ROWS // 2), **numbers}))
    for single in (True, False):
        chosen = uses(ClassificationColumns(label="label"), lake, table, ("number",), single=single)
        rounded = [each.column for each in chosen if "rounded_numbers" in each.noticed]
        assert rounded == (["far from 0", "beyond", "long"] if single else [])


def prepared_of(
    rows: dict[str, Any],
    *,
    task: str = "classification",
    learner: str = "trees",
    columns: dict[str, Any] | None = None,
    **settings: Any,
) -> Prepared:
    """What the stage prepare leaves of a table with these columns; `y` is the truth."""
    project = {"name": "things", "schema": "main.t", "task": task, "prepare": settings, "train": {"learner": learner}}
    project["data"] = {"table": "main.t.things", "columns": columns or {"label": "y"}}
    Path("project.yml").write_text(yaml.safe_dump(project))
    loaded, workspace = lw.load_project("project.yml"), lw.Workspace.open(lw.load_profile())
    workspace = replace(workspace, work=workspace.folder / "work" / "prepare", run_id="a run")
    workspace.work.mkdir(parents=True, exist_ok=True)
    table = workspace.lake.write("main.t.things", pa.table(rows))
    record = prepare(loaded, workspace, ingested=Ingested(table=table, source="", fingerprint=""))
    assert isinstance(record, Prepared)
    return record


def found(record: Prepared) -> dict[str, Any]:
    return {each.name: each for each in record.findings}


@pytest.mark.usefixtures("lake")
def test_a_number_to_predict_that_float32_makes_equal() -> None:
    inputs = {"n": [i / 7 for i in range(300)]}
    finding = found(prepared_of(inputs | {"y": [1e12 + i * 500 for i in range(300)]}, task="regression"))
    assert "300 different numbers, 3 are left" in finding["rounded_target"].detail and finding["rounded_target"].rows
    for truths in ([2**55 + i for i in range(300)], [1e12 + i for i in range(300)]):
        with pytest.raises(LakewrightError, match="has one for all of them") as error:
            prepared_of(inputs | {"y": truths}, task="regression")
        assert "data.derive" in error.value.remedy
    for plain in (lambda i: i / 7, lambda i: 1e9 + i * 100_000.25, lambda i: 1e-30 * i, lambda i: i % 2):
        assert "rounded_target" not in found(
            prepared_of(inputs | {"y": list(map(plain, range(300)))}, task="regression")
        )


@pytest.mark.usefixtures("lake")
def test_a_number_to_predict_far_from_all_others() -> None:
    inputs = {"n": [i / 7 for i in range(300)]}
    truths = [10 + i % 13 / 10 for i in range(300)]
    for one in (1e12, -1e5):
        truths[7] = one
        finding = found(prepared_of(inputs | {"y": truths}, task="regression"))["target_outliers"]
        assert finding.count == 1 and finding.rows[0].startswith(f"row 7: '{one}'")
    mostly_zero = [0.0 if i % 3 else i / 10 for i in range(300)]
    assert "target_outliers" not in found(prepared_of(inputs | {"y": mostly_zero}, task="regression"))
    mostly_zero[5] = 1e9
    assert found(prepared_of(inputs | {"y": mostly_zero}, task="regression"))["target_outliers"].count == 1
    heavy = np.random.default_rng(0).standard_t(2, 300).tolist()
    assert "target_outliers" not in found(prepared_of(inputs | {"y": heavy}, task="regression"))


@pytest.mark.usefixtures("lake")
@pytest.mark.parametrize("columns", [{"label": "y"}, {"label": "y", "numbers": ["far", "near"], "others": False}])
def test_an_input_far_from_all_others_matters_to_a_learner_that_scales(columns: dict[str, Any]) -> None:
    near = [10 + i % 13 / 10 for i in range(300)]
    rows = {"far": [1e12 if i == 3 else each for i, each in enumerate(near)], "near": near, "y": ["a", "b", "b"] * 100}
    finding = found(prepared_of(rows, learner="linear", columns=columns))["number_outliers"]
    assert finding.rows == ["far: 1e+12, where 10.6 is the median"]
    assert "number_outliers" not in found(prepared_of(rows, columns=columns))


@pytest.mark.usefixtures("lake")
def test_named_numbers_that_float32_makes_equal_are_noticed() -> None:
    rows = {"n": [2**55 + i for i in range(300)], "y": ["a", "b", "b"] * 100}
    for columns in ({"label": "y", "numbers": ["n"]}, {"label": "y", "numbers": ["n"], "others": False}):
        assert found(prepared_of(rows, columns=columns))["rounded_numbers"].rows[0].startswith("n: 300 values")
        assert "rounded_numbers" not in found(prepared_of(rows, columns=columns, learner="linear"))


def passengers(count: int) -> dict[str, Any]:
    """Few, coarse columns, as of the Titanic's passengers: most rows are equal, and their truths differ."""
    draw = np.random.default_rng(1)
    sex, place = draw.choice(["man", "woman"], count), draw.choice(["1st", "2nd", "3rd"], count)
    drowned = draw.random(count) < np.where(sex == "man", 0.8, 0.3)
    return {"sex": sex.tolist(), "class": place.tolist(), "y": drowned.tolist()}


@pytest.mark.usefixtures("lake")
def test_equal_rows_of_different_things_stay() -> None:
    record = prepared_of(passengers(300))
    findings = {each.name: each for each in record.findings}
    assert sum(record.splits.values()) == 300
    assert findings["equal_rows_kept"].count == 294 and "drop" in findings["equal_rows_kept"].detail
    assert "leakage" not in findings


@pytest.mark.usefixtures("lake")
@pytest.mark.parametrize("share", [0.0, 0.05])
def test_copies_are_dropped_although_a_few_have_another_truth(share: float) -> None:
    numbers = [i / 7 for i in range(200)]
    truths = [i % 2 == 0 for i in range(200)]
    copied = [truth != (i < share * 100) for i, truth in enumerate(truths[:100])]
    record = prepared_of({"n": numbers + numbers[:100], "y": truths + copied})
    assert sum(record.splits.values()) == 200
    assert "equal_rows_kept" not in {each.name for each in record.findings}


@pytest.mark.usefixtures("lake")
def test_equal_rows_are_dropped_where_the_project_says_so() -> None:
    rows = passengers(300)
    rows["age"] = [float(i % 40) for i in range(300)]
    assert sum(prepared_of(rows, duplicates="drop").splits.values()) < 300


@pytest.mark.usefixtures("lake")
def test_one_class_in_train_is_an_error_before_a_learner_sees_it() -> None:
    split = ["train"] * 60 + ["validation"] * 20 + ["test"] * 20
    rows = {"n": [i / 3 for i in range(100)], "split": split, "y": ["a"] * 100}
    with pytest.raises(LakewrightError, match="one label only"):
        prepared_of(rows)
    rows["y"] = ["a"] * 60 + ["b"] * 40
    with pytest.raises(LakewrightError, match="not in train"):
        prepared_of(rows)
    copies = {"n": [*range(0, 900, 10), *range(0, 100, 10)], "y": ["a"] * 90 + ["b"] * 10}  # every b is dropped
    with pytest.raises(LakewrightError, match="one label only, 'a', in all 63 rows of train") as error:
        prepared_of(copies, duplicates="drop")
    assert "prepare.duplicates: keep" in error.value.remedy


@pytest.mark.usefixtures("lake")
@pytest.mark.parametrize("method", ["random", "predefined", "grouped"])
def test_a_class_without_a_row_in_test_or_validation_is_noticed(method: str) -> None:
    rows: dict[str, Any] = {"n": [i / 3 for i in range(200)], "y": ["ab"[i % 2] for i in range(200)]}
    rows["y"][:2] = ["rare"] * 2
    columns = {"label": "y"}
    if method == "predefined":
        rows["split"] = ["train"] * 100 + ["validation"] * 40 + ["test"] * 60
    if method == "grouped":
        rows["g"] = [str(i // 5) for i in range(200)]
        columns["group"] = "g"
    record = prepared_of(rows, columns=columns, split={"method": method})
    findings, counts = found(record), record.label_counts
    lacking = [name for name in ("validation", "test") if "rare" not in counts[name]]
    assert lacking and [name for name in findings if name.startswith("not_in_")] == [
        f"not_in_{name}" for name in lacking
    ]
    finding = findings[f"not_in_{lacking[0]}"]
    assert finding.count == 1 and finding.rows == ["'rare': 2 rows (0, 1)"] and "task.merge" in finding.detail
    rows["y"][:2] = ["a", "b"]
    assert not [name for name in found(prepared_of(rows, columns=columns)) if name.startswith("not_in_")]


@pytest.mark.usefixtures("lake")
def test_a_label_that_is_a_word_for_nothing_is_noticed() -> None:
    rows = {"n": [i / 3 for i in range(99)], "y": [("yes", "no", "NA")[i % 3] for i in range(99)]}
    findings = {each.name: each for each in prepared_of(rows).findings}
    assert findings["placeholder_labels"].count == 33 and "'NA'" in findings["placeholder_labels"].detail
    rows["y"] = [("some", "none", "unknown")[i % 3] for i in range(99)]
    assert "placeholder_labels" not in {each.name for each in prepared_of(rows).findings}


@pytest.mark.usefixtures("lake")
@pytest.mark.parametrize("name", ["text", "text_pair", "truth"])
def test_a_column_with_a_name_that_a_row_uses(name: str) -> None:
    rows = {name: [i / 3 for i in range(60)], "n": [i % 7 for i in range(60)], "y": ["a", "b"] * 30}
    with pytest.raises(LakewrightError, match=f"the column '{name}' is an input") as error:
        prepared_of(rows)
    assert f"data.exclude: [{name}]" in error.value.remedy
    for foresee in (lambda: lw.uses("project.yml"), lambda: lw.profile("main.t.things", project="project.yml")):
        with pytest.raises(LakewrightError, match=f"the column '{name}' is an input") as error:
            foresee()
        assert f"data.exclude: [{name}]" in error.value.remedy


@pytest.mark.usefixtures("lake")
def test_an_error_of_an_open_column_names_no_role_that_nobody_wrote() -> None:
    rows = {"n": [float("inf") if i == 3 else i / 3 for i in range(60)], "y": ["a", "b"] * 30}
    with pytest.raises(LakewrightError, match=r"the column 'n' \(an input, since no role names it\)") as error:
        prepared_of(rows)
    assert error.value.remedy.endswith("data.exclude: [n]")
    with pytest.raises(LakewrightError, match=r"the column 'n' \(data.columns.numbers\)"):
        prepared_of(rows, columns={"label": "y", "numbers": ["n"]})


def test_the_row_that_a_run_proposes_to_predict_is_whole(tmp_path: Path) -> None:
    from types import SimpleNamespace

    import pyarrow.parquet as pq

    row = {"n": None, "color": "red"}
    pq.write_table(pa.table({"inputs": [json.dumps(row)]}), tmp_path / "rows.parquet")
    run: Any = SimpleNamespace(report=SimpleNamespace(test_rows=tmp_path / "rows.parquet"))
    assert json.loads(_first_row(run)) == row  # null, since an input that a row of columns lacks is refused


@pytest.mark.parametrize(("rows", "threads"), [(1, 1), (9_999, 1), (10_000, 2), (1_000_000, 4)])
def test_small_tables_are_learned_by_one_thread(rows: int, threads: int) -> None:
    from types import SimpleNamespace

    assert threads_of(SimpleNamespace(threads=4, train=range(rows))) == threads  # type: ignore[arg-type]


@pytest.mark.usefixtures("lake")
def test_one_value_in_some_rows_is_an_input() -> None:
    some = {"flag": ["x" if i % 4 else None for i in range(100)], "paid": [1.0 if i % 3 else None for i in range(100)]}
    same = {"all": ["x"] * 100, "none": pa.nulls(100, pa.string())}
    record = prepared_of({**some, **same, "n": [i / 3 for i in range(100)], "y": ["a", "b"] * 50})
    findings = {each.name: each for each in record.findings}
    assert findings["constant_columns"].rows == ["all", "none"]
    assert {"flag: category", "paid: number"} <= {*findings["inputs"].rows}


@pytest.mark.parametrize(
    ("values", "remedy"),
    [
        (["1,234.50", "12,000.00", "999.5"], "replace(\"the price\", ',', '')::double"),
        (["1,234,567", "12,000", "3"], "replace(\"the price\", ',', '')::double"),
        (["1,5", "12,25", "3"], "replace(\"the price\", ',', '.')::double"),
        (["1.5", "NA"], "null_values"),
    ],
)
def test_numbers_with_commas_have_a_remedy_of_their_own(values: list[str], remedy: str) -> None:
    assert remedy in misfits("the price", [(values, [""] * len(values))], NUMBERS).remedy


@pytest.mark.usefixtures("lake")
def test_a_number_in_text_that_no_float_holds_is_an_error() -> None:
    rows = {"n": ["1e400" if i == 3 else str(i / 3) for i in range(60)], "y": ["a", "b"] * 30}
    with pytest.raises(LakewrightError, match="holds '1e400', which no float holds") as error:
        prepared_of(rows)
    assert "data.exclude: [n]" in error.value.remedy


@pytest.mark.usefixtures("lake")
def test_words_in_a_number_to_predict_have_a_remedy_in_sql() -> None:
    rows = {"n": [i / 3 for i in range(60)], "y": ["NA" if i % 7 else str(i) for i in range(60)]}
    with pytest.raises(LakewrightError, match="'NA'") as error:
        prepared_of(rows, task="regression")
    assert "nullif(y, 'NA')::double" in error.value.remedy


@pytest.mark.usefixtures("lake")
@pytest.mark.parametrize("odd", ["inf", "abc", "-Infinity", "1.2.3"])
def test_one_odd_value_among_numbers_is_noticed(odd: str) -> None:
    rows = {"n": [odd if i == 3 else "NA" if i % 50 == 7 else f"{i / 3:.2f}" for i in range(120)], "y": ["a", "b"] * 60}
    finding = found(prepared_of(rows))["mostly_numbers"]
    assert finding.rows == [f"n: all but 1 of 120 values, such as {odd!r}"]
    rows["n"] = [f"{1 + i % 28:02}.5" if i % 3 else "kg" for i in range(120)]
    assert "mostly_numbers" not in found(prepared_of(rows))


@pytest.mark.usefixtures("lake")
def test_nothing_to_learn_from_says_what_was_left_out() -> None:
    rows = {"one": ["x"] * 60, "list": [[1.0]] * 60, "y": ["a", "b"] * 30}
    with pytest.raises(LakewrightError, match="left out: one: one value in all rows, list: a list or a structure"):
        prepared_of(rows)


@pytest.mark.usefixtures("lake")
def test_an_input_without_a_name_is_refused() -> None:
    with pytest.raises(LakewrightError, match="has no name") as error:
        prepared_of({"": [i / 3 for i in range(60)], "y": ["a", "b"] * 30})
    assert "data.exclude: ['']" in error.value.remedy


@pytest.mark.usefixtures("lake")
def test_a_table_of_300_columns_is_measured() -> None:
    numbers = {f"c{at}": [(i * (at % 97 + 3)) % 101 / 7 for i in range(120)] for at in range(300)}
    record = prepared_of(numbers | {"y": ["a", "b"] * 60})
    assert found(record)["inputs"].count == 300


@pytest.mark.usefixtures("lake")
def test_the_sql_of_a_remedy_quotes_a_column_of_several_words() -> None:
    rows = {"the price": [float("inf") if i == 3 else i / 3 for i in range(60)], "y": ["a", "b"] * 30}
    with pytest.raises(LakewrightError, match="infinite in 1 row") as error:
        prepared_of(rows)
    assert 'if(isinf("the price"), null, "the price")' in error.value.remedy


@pytest.mark.usefixtures("lake")
def test_a_profile_reads_the_labels_of_a_project_with_open_columns() -> None:
    prepared_of({"n": [i / 3 for i in range(60)], "y": ["a", "b"] * 30})  # writes the table and its project
    notes = lw.profile("main.t.things", project="project.yml").notes
    assert not [note for note in notes if "cannot read the labels" in note]


def test_an_input_that_is_called_like_a_role_is_scored_from_its_own_column() -> None:
    table = pa.schema({name: pa.float64() for name in ("label", "id", "group", "y", "key")})
    roles = {"label": "y", "id": "key", "numbers": ["label", "id", "group"]}
    columns = choose({"label": "number", "id": "number", "group": "number"}, table, roles, {}, None, ())
    assert columns.inputs == {"label": "label", "id": "id", "group": "group"} and columns.id == "key"
    assert choose({"label": "number"}, table, roles, {"label": "y"}, None, ()).inputs == {"label": "y"}
