"""Partial dependence by hand, and its part of the page."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lakewright.data.rows.kinds import Kind, Prediction, Row
from lakewright.evaluation import dependence
from lakewright.evaluation.changes import Predict, by_rows
from lakewright.evaluation.dependence import CATEGORIES, INPUTS, ROWS, ROWS_OF_TEXTS, STEPS, grid
from lakewright.evaluation.scorers.regression import RegressionScorer
from lakewright.pages.pictures import canvas, of_inputs
from lakewright.pages.report import write_html
from lakewright.pages.report.context import ReportContext
from lakewright.records import Dependence, Report

KINDS: dict[str, Kind] = {"size": "number", "place": "category", "sold": "time"}
JUNE, JULY = datetime(2026, 6, 1, tzinfo=UTC), datetime(2026, 7, 1, 12, tzinfo=UTC)
HOUSES: list[Row] = [
    {"size": 1.0, "place": "x", "sold": JUNE},
    {"size": 2.0, "place": "y", "sold": JULY},
    {"size": 4.0, "place": "x", "sold": None},
]


def dependences(predict: Predict, *arguments: Any, **named: Any) -> list[Dependence]:
    return dependence.dependences(predict, partial(by_rows, predict), *arguments, **named)


def priced(rows: Sequence[Row]) -> list[Prediction]:
    """2 · size, and 30 in the place x."""
    return [{"value": 2 * row["size"] + 30 * (row["place"] == "x"), "confidence": None} for row in rows]


def test_the_mean_prediction_by_hand() -> None:
    """In place x are two of three rows, so 20 on average; the mean size is 7/3."""
    size, place, sold = dependences(priced, KINDS, ["size", "place", "sold"], HOUSES, [], seed=0)
    assert (size.input, size.kind, size.values, size.rows) == ("size", "number", [1, 2, 4], 3)
    assert size.means == {"": pytest.approx([22, 24, 28])}
    assert (place.values, place.means) == (["x", "y"], {"": pytest.approx([14 / 3 + 30, 14 / 3])})
    assert sold.values == ["2026-06-01T00:00:00+00:00", "2026-07-01T12:00:00+00:00"]
    assert sold.means == {"": pytest.approx([14 / 3 + 20] * 2)}


def test_the_mean_probability_of_each_class() -> None:
    def shares(rows: Sequence[Row]) -> list[Prediction]:
        likely = [row["size"] / 4 for row in rows]
        return [{"label": "b", "probabilities": {"b": share, "a": 1 - share, "c": 0.0}} for share in likely]

    (size,) = dependences(shares, {"size": "number"}, ["size"], HOUSES, ["b", "a"], seed=0)
    assert size.means == {"b": [0.25, 0.5, 1.0], "a": [0.75, 0.5, 0.0]}


def test_what_cannot_be_drawn_is_left_out() -> None:
    constant = [{**row, "place": "x", "sold": None} for row in HOUSES]
    assert [each.input for each in dependences(priced, KINDS, ["place", "size", "sold"], constant, [], seed=0)] == [
        "size"
    ]
    assert dependences(priced, KINDS, list(KINDS), HOUSES[:1], [], seed=0) == []
    assert dependences(priced, KINDS, list(KINDS), [], [], seed=0) == []
    assert dependences(priced, {"text": "text"}, ["text"], [{"text": "a"}, {"text": "b"}], [], seed=0) == []

    def nothing(rows: Sequence[Row]) -> list[Prediction]:
        return [{"value": None, "confidence": 0.0, "abstain": True} for _ in rows]

    assert dependences(nothing, KINDS, list(KINDS), HOUSES, [], seed=0) == []


def test_rows_without_a_prediction_count_nowhere() -> None:
    def shy(rows: Sequence[Row]) -> list[Prediction]:
        return [{"value": None if row["place"] == "y" else row["size"]} for row in rows]

    (size,) = dependences(shy, KINDS, ["size"], HOUSES, [], seed=0)
    assert size.rows == 2 and size.means == {"": [1, 2, 4]}


def test_only_so_many_inputs_rows_and_values() -> None:
    names = [f"n{i}" for i in range(INPUTS + 3)]
    rows = [{name: float(i) for name in names} for i in range(1000)]
    sizes: list[int] = []

    def predict(rows: Sequence[Row]) -> list[Prediction]:
        sizes.append(len(rows))
        return [{"value": row["n0"]} for row in rows]

    curves = dependences(predict, dict.fromkeys(names, "number"), names, rows, [], seed=0)
    assert [curve.input for curve in curves] == names[:INPUTS]
    assert sizes == [ROWS] + [ROWS * STEPS] * INPUTS
    assert curves[0].values[0] == 0 and curves[0].values[-1] == 999 and len(curves[0].values) == STEPS
    sizes.clear()
    kinds: dict[str, Kind] = {"text": "text", "n0": "number"}
    dependences(predict, kinds, ["n0"], [{**row, "text": "a"} for row in rows], [], seed=0)
    assert sizes == [ROWS_OF_TEXTS, ROWS_OF_TEXTS * STEPS]


def test_grids() -> None:
    assert grid([3.0, None, 1.0, float("nan"), 1.0], "number") == [1.0, 3.0]
    assert grid([None, None], "number") == [] and grid([None], "category") == []
    assert grid(["b", "a", "c", "c", None], "category") == ["c", "a", "b"]
    many = [f"{i:02}" for i in range(30)]
    assert grid(many, "category") == many[:CATEGORIES]


def curve(kind: str, values: list[float | str], classes: Sequence[str] = ("",), scale: float = 1.0) -> Dependence:
    means = {name: [scale * (i + at) for at in range(len(values))] for i, name in enumerate(classes)}
    return Dependence(input=f"$the {kind}$ <&>", kind=kind, values=values, means=means, rows=7)  # type: ignore[arg-type]


@pytest.mark.slow
@pytest.mark.parametrize("scale", [1.0, 0.0, 1e300])
@pytest.mark.parametrize("classes", [("",), ("yes",), ("$a$", "b <&>", "c", "d", "e", "f")])
def test_the_page_shows_them(tmp_path: Path, classes: Sequence[str], scale: float) -> None:
    curves = [
        curve("number", [1.0, 2.5], classes, scale),
        curve("category", ["south", "east"], classes, scale),
        curve("time", ["2026-06-01T00:00:00+00:00", "2026-07-01T12:00:00.123456+00:00"], classes, scale),
        curve("category", ["10", "9"], classes, scale),
    ]
    scorer = RegressionScorer(np.arange(3.0), np.arange(3.0))
    report = Report(
        metrics={}, primary="rmse", rows=3, kind="regression", dependences=curves, test_rows="r", html="h",
        json_file="j", runtime="onnx", model_bytes=1, seconds_per_1000_rows=1.0,
    )  # fmt: skip
    again = Report.model_validate_json(report.model_dump_json())
    assert again.dependences == curves
    path = tmp_path / "report.html"
    write_html(path, title="t", report=again, scorer=scorer, context=ReportContext())
    page = path.read_text(encoding="utf-8")
    part = page[page.index('<section id="dependence">') :]
    part = part[: part.index("</section>")]
    assert "over 7 test rows" in part and "as never occur" in part
    assert "$the number$ &lt;&amp;&gt;" in part and len(part) < 100_000
    assert part.index(">9<") < part.index(">10<") and part.index(">south<") < part.index(">east<")
    if classes == ("yes",):
        assert "probability of yes" in part
    assert (">b &lt;&amp;&gt;<" in part) == (len(classes) > 1)


@pytest.mark.parametrize(
    ("kind", "values"),
    [
        ("number", [-1.7e308, 1.7e308]),
        ("number", [1e-310, 2e-310]),
        ("number", [1e15, 1e15 + 0.5]),
        ("time", ["0001-01-01T00:00:00+00:00", "9999-12-31T23:59:59.999999+00:00"]),
        ("time", ["0001-01-01T00:00:00+00:00", "0001-01-01T00:00:00.000001+00:00"]),
        ("time", ["2024-01-01T00:00:00+00:00", "2024-01-01T00:00:00.000001+00:00"]),
        ("time", ["2024-01-01T00:00:00+00:00", "2026-07-26T00:00:00+00:00"]),
        ("time", ["2024-01-01T00:00:00+00:00", "2024-01-03T15:00:00+00:00"]),
        ("category", ["長い名前" * 20, "$x$ \n é", ""]),
    ],
)
def test_odd_values_are_drawn(kind: str, values: list[float | str]) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert "<svg" in canvas.svg(of_inputs.dependence([curve(kind, values)], "mean prediction"), "dependence")


def test_a_report_of_before_has_none() -> None:
    older = Report(
        metrics={}, primary="rmse", rows=3, test_rows="r", html="h", json_file="j", runtime="onnx", model_bytes=1,
        seconds_per_1000_rows=1.0,
    ).model_dump(mode="json")  # fmt: skip
    del older["dependences"], older["costs"]
    assert Report.model_validate(older).dependences == [] and Report.model_validate(older).costs is None
