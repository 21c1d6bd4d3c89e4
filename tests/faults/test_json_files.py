"""Every .json that Lakewright writes is JSON, which has no NaN and no infinity; and is read as it was meant."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import lakewright as lw
from conftest import sentences, small_project, write_csv
from lakewright.cli.show import print_json
from lakewright.records import Metric, Report, stored_values
from lakewright.system import jsonfile

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=10,
)


def as_meant(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: as_meant(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [as_meant(inner) for inner in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


@given(VALUES)
def test_what_is_written_is_json_and_says_the_same(value: Any) -> None:
    assert jsonfile.parse(jsonfile.text(value)) == as_meant(value)
    assert jsonfile.text(value, indent=None).count("\n") == 1


@pytest.mark.parametrize(
    "content", ["NaN", '{"a": [Infinity]}', "-Infinity", "", "[" * 100_000, b"\xff\xfe\xff", "{'a': 1}"]
)
def test_what_is_no_json_is_refused(content: str | bytes) -> None:
    with pytest.raises(ValueError):
        jsonfile.parse(content)


def test_a_metric_that_is_not_defined_is_null_and_read_again() -> None:
    undefined = Metric(value=math.nan, low=-math.inf, high=0.5)
    written = json.loads(jsonfile.text(stored_values(undefined, Path())), parse_constant=pytest.fail)
    assert written == {"value": None, "low": None, "high": 0.5}
    again = Metric.from_stored(written, Path())
    assert math.isnan(again.value) and again.high == 0.5
    report = Report.model_validate(
        {
            "metrics": {"r2": written}, "single_row_metrics": {"r2": None}, "classes": {"a": {"f1": None}}, "rows": 1,
            "primary": "r2", "test_rows": "", "html": "", "json_file": "", "runtime": "", "model_bytes": 1,
            "seconds_per_1000_rows": 1.0,
        }
    )  # fmt: skip
    assert math.isnan(report.classes["a"]["f1"]) and math.isnan(report.single_row_metrics["r2"])


def test_what_a_command_prints(capsys: pytest.CaptureFixture[str]) -> None:
    print_json({"at": Path("x"), "value": [math.inf, {"a": math.nan}]})
    assert json.loads(capsys.readouterr().out, parse_constant=pytest.fail) == {"at": "x", "value": [None, {"a": None}]}


def test_every_file_of_a_run_is_json(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    rows = [
        row | {"split": "test" if row["label"] == "plant" and i % 2 else "train"} for i, row in enumerate(sentences(60))
    ]
    write_csv(tmp_path / "things.csv", rows)  # the test rows have one class, for which some metrics are not defined
    project = {**small_project(tmp_path), "train": {"learner": "linear"}, "gate": {}}
    project["data"]["columns"]["split"] = "split"
    (tmp_path / "project.yml").write_text(json.dumps(project))
    lw.run("project.yml")
    files = (tmp_path / ".lakewright").rglob("*.json")
    written = [path for path in files if "_delta_log" not in path.parts]  # those are a line a value, and Delta's
    assert {path.name for path in written} >= {
        "run.json", "decision.json", "evaluation.json", "model.json", "training.json", "samples.json", "register.json",
    }  # fmt: skip
    for path in written:
        jsonfile.parse(path.read_bytes())
    evaluation = next(jsonfile.parse(path.read_bytes()) for path in written if path.name == "evaluation.json")
    assert set(evaluation["undefined"]) == {"roc_auc"}
    assert lw.run("project.yml").stages["register"].status == "skipped"  # what was written is read again
