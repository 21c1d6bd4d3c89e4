"""Several runs become a leaderboard, through the command, from what they left alone."""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Callable
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from scipy.stats import chi2

import lakewright as lw
from conftest import one_object, sentences, write_csv
from lakewright.api import compare
from lakewright.errors import DataError, NotFound
from lakewright.evaluation.leaderboard import ALIKE
from lakewright.pipeline.runs import Run

Lakewright = Callable[..., "subprocess.CompletedProcess[str]"]


def run(settings: str, *more: str) -> Run:
    return lw.run("project.yml", settings=[f"train={{learner: linear{settings}}}", "gate.champion=false", *more])


def right(of: Run) -> dict[str, bool]:
    rows = pq.read_table(of.report.test_rows).to_pylist()
    return {row["record_id"]: json.loads(row["prediction"])["label"] == json.loads(row["truth"]) for row in rows}


def ledger(project: Path) -> list[dict[str, str]]:
    reads = sorted((project.parent / ".lakewright" / "ledger").glob("*.json"))
    return [json.loads(read.read_text()) for read in reads]


def test_runs_become_a_leaderboard(project: Path, lakewright: Lakewright, monkeypatch: pytest.MonkeyPatch) -> None:
    write_csv(project.parent / "things.csv", sentences(350))
    elsewhere = run("")
    write_csv(project.parent / "things.csv", sentences(330))
    good = run("")
    bad = run(", max_features: 2")  # another encoding: another version of the features table, the same test rows
    close = run(", C: 3")
    same = run(", C: 3", "gate.minimum={}")  # the newest; it has the very model of `close`
    reads = len(ledger(project))

    called = lakewright("compare", "--by", "accuracy", "--out", "compared", "--json")
    assert called.returncode == 0, called.stderr
    found = one_object(called.stdout)
    assert found == json.loads(Path("compared/comparison.json").read_text())
    places = {place["run_id"]: place for place in found["runs"]}
    assert set(places) == {good.run_id, same.run_id, bad.run_id}
    assert [place["rank"] for place in found["runs"]] == ["=1", "=1", "3"]
    for each in (good, same, bad):
        place = places[each.run_id]
        assert place["metrics"]["accuracy"]["value"] == each.report.metrics["accuracy"].value
        assert place["seconds_per_1000_rows"] == each.report.seconds_per_1000_rows
        assert place["model_bytes"] == each.report.model_bytes
        assert place["report"] == each.report.html
        assert place["training_seconds"] is not None
    assert [places[each.run_id]["settings"] for each in (good, same, bad)] == [
        {"C": 10.0, "max_features": 200_000},
        {"C": 3.0, "max_features": 200_000},
        {"C": 10.0, "max_features": 2},
    ]
    assert [places[each.run_id]["gate_passed"] for each in (good, same, bad)] == [True, True, False]
    assert places[bad.run_id]["model_versions"] == []
    assert good.model_version is not None
    assert [version["uri"] for version in places[good.run_id]["model_versions"]] == [good.model_version.at]

    best, worse = right(next(each for each in (good, same) if each.run_id == found["runs"][0]["run_id"])), right(bad)
    lost, won = sum(best[row] > worse[row] for row in best), sum(best[row] < worse[row] for row in best)
    assert lost + won >= 25  # enough for the chi² test
    p = chi2.sf((lost - won - 1) ** 2 / (lost + won), df=1) / 2
    against = places[bad.run_id]["against_best"]
    assert against["method"] == "McNemar" and against["p"] == pytest.approx(p)
    assert against["corrected_p"] == pytest.approx(2 * p) and against["significantly_worse"]

    left_out = {each["run_id"]: each["why"] for each in found["left_out"]}
    assert left_out.keys() == {elsewhere.run_id, close.run_id}
    assert left_out[close.run_id] == f"the same model as run {same.run_id[:8]}"
    assert re.fullmatch(
        r"evaluated on other test rows: 53, of which \d+ are among the 50 here", left_out[elsewhere.run_id]
    )
    assert "best of 3 runs" in found["notes"][0]
    ties = [place for place in found["runs"] if place["tied_with_best"]]
    fastest = min(place["seconds_per_1000_rows"] for place in ties)  # a busy machine decides which
    fast = [place for place in ties if place["seconds_per_1000_rows"] <= ALIKE * fastest]
    smallest = min(place["model_bytes"] for place in fast)
    cheap = [place["run_id"] for place in fast if place["model_bytes"] <= ALIKE * smallest]
    assert found["recommended"]["run_id"] == cheap[0]
    assert [line["why"] for line in ledger(project)[reads:]] == ["comparison of 3 runs"]

    page = Path("compared/comparison.html").read_text(encoding="utf-8")
    assert found["recommended"]["reason"] in page and "The best of 3 runs" in page and page.count("<svg") == 1
    assert not re.findall(r"""(?:src|href)=["'](?!#)""", page.replace("xlink:href", "href"))
    assert all(each.run_id in page for each in (good, same, bad)) and left_out[elsewhere.run_id] in page

    shown = lakewright("compare", good.model_version.at, bad.run_id[:10], same.run_id)
    assert shown.returncode == 0, shown.stderr
    assert "macro_f1" in shown.stdout
    monkeypatch.setattr("lakewright.model.predictor.Predictor.predict", None)  # nothing is predicted again
    again = compare(["things"])
    assert [line.split()[2] for line in shown.stdout.splitlines() if re.match(r" \d+ +=?\d ", line)] == [
        place["run_id"][:8] for place in again["runs"]
    ]
    assert f"page: {again['page']}" in shown.stdout  # the same runs: the same place
    assert compare(["main.demo.things"])["page"] == again["page"]


def test_what_cannot_be_compared_is_told(project: Path, lakewright: Lakewright) -> None:
    with pytest.raises(NotFound, match="has no finished run"):
        compare()
    first = run("")
    with pytest.raises(DataError, match="1 of 1 runs can be compared, and a comparison needs two"):
        compare()
    second = run(", C: 3")

    misspelt = lakewright("compare", "--by", "acuracy", "--json")
    assert misspelt.returncode == 2
    assert "did you mean 'accuracy'" in one_object(misspelt.stdout)["error"]["remedy"]
    with pytest.raises(NotFound, match="no run or project 'thing'") as unknown:
        compare(["thing"])
    assert "did you mean 'things'" in unknown.value.remedy
    with pytest.raises(NotFound, match="there is no models:/main"):
        compare(["models:/main.demo.things/7"])
    (project.parent / "file").touch()
    assert lakewright("compare", "--out", "file").returncode == 2
    assert not any("comparison" in line["why"] for line in ledger(project))

    Path(first.report.test_rows).unlink()
    with pytest.raises(DataError, match=rf"{first.run_id[:8]}: \S+test_rows.parquet is gone"):
        compare([first.run_id, second.run_id])
    (project.parent / ".lakewright" / "runs" / first.run_id / "run.json").write_text('{"broken')
    with pytest.raises(DataError, match=rf"{first.run_id[:8]}: its files are damaged"):
        compare([first.run_id, second.run_id])
