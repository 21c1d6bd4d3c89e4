"""A bias that is in the labels, by a column that the model does not read, is in the report, on its page and in the way
of the gate."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
import yaml

import lakewright as lw
from browser import browser, needs_axe, needs_chromium
from lakewright.api import profile
from lakewright.errors import DataError, LakewrightError, NotFound, ProjectError
from lakewright.evaluation.bias import MEASURES
from lakewright.model.predictor import Predictor
from lakewright.settings.project import load_project
from projects import Call

ROWS = 1500


def people() -> pd.DataFrame:
    """Who is as skilled is hired less often as a woman; `club` says the sex in other words, `coin` says nothing."""
    draw = np.random.default_rng(4)
    skill, woman = draw.normal(size=ROWS), draw.random(ROWS) < 0.4
    club = np.where(woman == (draw.random(ROWS) < 0.95), "chess", "golf")
    sex = np.where(woman, "female", "male").astype(object)
    sex[::100] = None
    hired = skill - 2 * woman + draw.normal(0, 0.5, ROWS) > -0.6
    return pd.DataFrame(
        {
            "id": [f"p{i}" for i in range(ROWS)],
            "skill": skill,
            "club": club,
            "sex": sex,
            "age": draw.integers(20, 60, ROWS),
            "coin": draw.choice(["heads", "tails"], ROWS),
            "site": draw.choice(["a", "b", "c"], ROWS),
            "pay": 30 + 10 * skill - 8 * woman,
            "hired": np.where(hired, "yes", "no"),
        }
    )


def project(folder: Path, **sections: Any) -> Path:
    people().to_parquet(folder / "people.parquet")
    values: dict[str, Any] = {
        "name": "people",
        "schema": "main.demo",
        "task": "classification",
        "data": {
            "source": "people.parquet",
            "columns": {"id": "id", "label": "hired", "numbers": ["skill"], "categories": ["club"], "others": False},
        },
        "train": {"learner": "linear"},
        "evaluate": {
            "resamples": 200,
            "bias": {"facets": ["sex=female", "age>40", "coin"], "positive": "yes", "group": "site"},
        },
        **sections,
    }
    (folder / "project.yml").write_text(yaml.safe_dump(values))
    return folder / "project.yml"


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_a_bias_shows_in_the_report_and_closes_the_gate(here: Path, call: Call) -> None:
    done = call("run", str(project(here, gate={"bias": {"DPPL": 0.1, "DI": 0.8, "GE": 1, "CDDPL": 0.9}})))
    assert done.code == 3
    assert "bias by “yes” (95% intervals)" in done.out and "sex: female" in done.out
    assert "noticed: no_facet_value: " in done.out
    assert "✗ bias DPPL: sex: female: 0." in done.out and "the farthest of 4 facets; required |DPPL| ≤ 0.1" in done.out
    assert "✗ bias DI: sex: female: 0." in done.out and "required DI and 1/DI ≥ 0.8" in done.out
    assert "✓ bias GE: " in done.out and "✓ bias CDDPL: " in done.out

    (folder,) = (here / ".lakewright" / "runs").iterdir()
    evaluation = json.loads((folder / "evaluation.json").read_text(encoding="utf-8"))
    found = evaluation["bias"]
    women, *fair = found["facets"]
    assert [(each["column"], each["value"]) for each in (women, fair[0])] == [("sex", "female"), ("age", "over 40")]
    assert {(each["column"], each["value"]) for each in fair[1:]} == {("coin", "heads"), ("coin", "tails")}
    assert set(women["measures"]) | set(women["undefined"]) == set(MEASURES)
    assert women["measures"]["DPPL"]["low"] > 0.1 and women["measures"]["DI"]["high"] < 0.9
    assert women["measures"]["CDDPL"]["low"] > 0
    assert all(each["measures"]["DPPL"]["low"] < 0 < each["measures"]["DPPL"]["high"] for each in fair)

    test_rows = pd.read_parquet(folder / "test_rows.parquet").set_index("record_id")
    known = people().set_index("id").loc[test_rows.index]
    known = known.assign(predicted=[json.loads(each)["label"] == "yes" for each in test_rows["prediction"]])
    known = known[known["sex"].notna()]
    share = known.groupby("sex")["predicted"].mean()
    assert women["measures"]["DPPL"]["value"] == pytest.approx(share["male"] - share["female"])
    assert women["rows"] == int((known["sex"] == "female").sum())
    without = {each["name"]: each["count"] for each in found["findings"]}
    assert without["no_facet_value"] == len(test_rows) - len(known)

    reads = [json.loads(file.read_text()) for file in (here / ".lakewright" / "ledger").glob("*.json")]
    assert len(reads) == 1  # the measures cost no read of the test split
    trained = json.loads((folder / "records" / "train.json").read_text(encoding="utf-8"))
    model = here / ".lakewright" / trained["model_folder"].removeprefix("workspace:")
    assert list(Predictor.open(model).task.inputs) == ["skill", "club"]
    page = (folder / "report.html").read_text(encoding="utf-8")
    assert "The model does not read sex, age, coin." in page and "CDDPL is within the groups of site." in page


@needs_chromium
def test_the_page_shows_it(here: Path) -> None:
    run = lw.run(project(here))
    with browser() as tab:
        tab.open(Path(run.report.html))
        assert tab.evaluate("document.querySelector('nav a[href=\"#bias\"]').textContent") == "Bias"
        rows = "[...document.querySelectorAll('#bias table')].map(each => [...each.tBodies[0].rows].map(row => "
        overview, intervals, meanings = tab.evaluate(rows + "[...row.cells].map(cell => cell.innerText.trim())))")
        names = [*MEASURES]
        women = next(row for row in overview if row[0] == "sex: female")
        facet = next(each for each in run.report.bias.facets if each.column == "sex")
        assert women[1] == str(facet.rows) and women[2] == f"{facet.measures['DPPL'].value:.3f}"
        differs = {(row[0], row[1]): row[5] for row in intervals}
        assert differs["sex: female", "DPPL"] == "yes" and differs["sex: female", "GE"] == ""
        assert [row[0] for row in meanings] == names


@needs_axe
def test_the_page_breaks_no_rule_of_accessibility(here: Path) -> None:
    run = lw.run(project(here))
    measured = profile("main.demo.people", project=here / "project.yml")
    with browser() as tab:
        assert tab.violations(Path(run.report.html)) == []
        assert tab.violations(Path(measured.page)) == []


def test_the_profile_takes_the_same_facets(here: Path, call: Call) -> None:
    path = project(here)
    lake = lw.Workspace.open(lw.load_profile()).lake
    lake.write("main.demo.people", pa.Table.from_pandas(people()))
    of_project = call("profile", "main.demo.people", "--project", str(path), "--json").json
    named = ("--bias", "sex=female", "--bias", "age>40", "--bias", "coin", "--group", "site", "--label", "hired")
    assert call("profile", "main.demo.people", *named, "--json").json["bias"] == of_project["bias"]
    women = of_project["bias"][0]
    assert women["proportions"]["yes"] > 0.2
    assert women["conditional"]["yes"]["value"] > 0.2 and women["conditional"]["yes"]["groups"] == 3
    assert {"no_facet_value"} <= {each["name"] for each in of_project["findings"]}
    page = Path(of_project["page"]).read_text(encoding="utf-8")
    assert "CDDL, for the same label, is within groups" in page
    lonely = call("profile", "main.demo.people", "--group", "site")
    assert lonely.code == 2 and "no facet is named" in lonely.err


WRONG: list[tuple[dict[str, Any], type[LakewrightError], str]] = [
    ({"facets": ["sexx=female"]}, NotFound, "no column 'sexx'"),
    ({"facets": ["sex=femal"]}, NotFound, "no value 'femal'"),
    ({"facets": ["sex>3"]}, DataError, "holds no numbers"),
    ({"facets": ["sex"], "group": "sites"}, NotFound, "no column 'sites'"),
    ({"facets": ["sex"], "positive": "yess"}, ProjectError, "'yess', no label"),
    ({"facets": ["sex"], "positive": ["yes", "no"]}, ProjectError, "every label"),
]


def test_a_wrong_name_costs_no_read_of_the_test_split(here: Path) -> None:
    lw.run(project(here))
    for bias, error, cause in WRONG:
        with pytest.raises(error, match=cause):
            lw.run(project(here, evaluate={"bias": bias}))
    assert len([*(here / ".lakewright" / "ledger").iterdir()]) == 1


@pytest.mark.parametrize(
    ("sections", "cause"),
    [
        ({"gate": {"bias": {"DPL": 0.1}}}, "no bias measure 'DPL'"),
        ({"gate": {"bias": {"DPPL": -0.1}}}, "closes the gate"),
        ({"gate": {"bias": {"DI": 1.25}}}, "closes the gate"),
        ({"gate": {"bias": {"DI": 0.8}}, "evaluate": {}}, "which is not set"),
        ({"gate": {"bias": {"CDDPL": 0.1}}, "evaluate": {"bias": {"facets": ["sex"]}}}, "none are named"),
        ({"task": "regression", "evaluate": {"bias": {"facets": ["sex"]}}}, "evaluate.bias.positive names none"),
        (
            {"task": "regression", "evaluate": {"bias": {"facets": ["sex"], "positive": ["1", "2"]}}},
            "evaluate.bias.positive is 1, 2",
        ),
        (
            {"task": "sentence_similarity", "data": {"source": "x.csv", "columns": {"text": "a", "text_pair": "b"}}},
            "sentence_similarity predicts likeness",
        ),
        (
            {"data": {"source": "x.csv", "exclude": ["sex"], "columns": {"label": "hired"}}},
            "data.exclude leaves the column 'sex' out",
        ),
    ],
)
def test_what_no_table_makes_right_is_refused_before_anything_runs(
    sections: dict[str, Any], cause: str, here: Path
) -> None:
    from lakewright.pipeline import check

    with pytest.raises(ProjectError, match=cause):
        check(load_project(project(here, **sections)))


def test_of_a_number_the_better_outcome_is_above_a_threshold(here: Path) -> None:
    path = project(
        here,
        task="regression",
        data={"source": "people.parquet", "columns": {"label": "pay", "numbers": ["skill"], "categories": ["club"],
                                                      "others": False}},
        evaluate={"resamples": 100, "bias": {"facets": ["sex=female"], "positive": "28"}},
    )  # fmt: skip
    run = lw.run(path)
    assert run.report.bias.positive == "over 28"
    rows = pd.read_parquet(run.report.test_rows)
    sex = people()["sex"].iloc[rows["row"]].to_numpy()
    over = np.array([json.loads(each)["value"] > 28 for each in rows["prediction"]])
    known = np.array([each is not None for each in sex])
    (women,) = run.report.bias.facets
    assert women.measures["DPPL"].value == pytest.approx(over[sex == "male"].mean() - over[sex == "female"].mean())
    assert women.rest_rows == int((known & (sex != "female")).sum())
    bias = {"facets": ["sex=female"], "positive": "1000"}  # which nobody earns
    run = lw.run(path, settings=[f"evaluate.bias={json.dumps(bias)}", "gate.bias={DI: 0.8}"])
    assert run.exit_code == 3
    assert run.decision.checks[0].detail == (
        "sex: female: not defined: no rows of the rest and of the facet are predicted positive; "
        "required DI and 1/DI ≥ 0.8"
    )


def test_of_several_labels_the_better_outcome_is_one_of_those_named(here: Path) -> None:
    rows = people()
    rows["labels"] = [
        [*(["hired"] if hired == "yes" else []), *(["old"] if age > 50 else [])]
        for hired, age in zip(rows["hired"], rows["age"], strict=True)
    ]
    rows["text"] = [f"{club} {'good ' * int(3 + skill)} {age}" for club, skill, age in
                    zip(rows["club"], rows["skill"], rows["age"], strict=True)]  # fmt: skip
    path = project(
        here,
        task="multilabel_classification",
        data={"source": "labels.parquet", "columns": {"id": "id", "text": "text", "labels": "labels"}},
        evaluate={"resamples": 100, "bias": {"facets": ["sex"], "positive": "hired"}},
        gate={"bias": {"FT": 0.5}},
    )
    rows.to_parquet(here / "labels.parquet")
    run = lw.run(path)
    found = {each.value: each for each in run.report.bias.facets}
    frozen = pd.read_parquet(run.report.test_rows)
    sex = people().set_index("id")["sex"].loc[frozen["record_id"]].to_numpy()
    hired = np.array(["hired" in json.loads(each)["labels"] for each in frozen["prediction"]])
    expected = hired[sex == "male"].mean() - hired[sex == "female"].mean()
    assert found["female"].measures["DPPL"].value == pytest.approx(expected)
    assert found["male"].measures["DPPL"].value == pytest.approx(-expected)
    assert "FT" not in found["female"].names  # the model reads a text alone
    assert run.decision.checks[0].detail == "no facet has it; required |FT| ≤ 0.5"
    assert "no_fliptest" in {each.name for each in run.report.bias.findings}


def test_several_classes_need_a_better_outcome(here: Path) -> None:
    columns = {"label": "site", "numbers": ["skill"], "others": False}
    with pytest.raises(ProjectError, match="has 3 labels") as refused:
        lw.run(
            project(here, data={"source": "people.parquet", "columns": columns}, evaluate={"bias": {"facets": ["sex"]}})
        )
    assert "a, b, c" in refused.value.remedy
    assert not [*(here / ".lakewright").glob("ledger/*")]


def test_a_facet_that_the_model_reads_is_named(here: Path) -> None:
    run = lw.run(project(here, data={"source": "people.parquet", "columns": {"id": "id", "label": "hired"}}))
    bias = run.report.bias
    assert bias.read_by_model == ["sex", "age", "coin"]
    assert Predictor.open(run.model_folder).task.inputs["sex"] == "category"
    assert "The model reads sex, age, coin." in Path(run.report.html).read_text(encoding="utf-8")
