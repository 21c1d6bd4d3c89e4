"""The pages of real runs, in a real browser: whole without a network, no script error, and legible to everybody."""

from __future__ import annotations

import re
from pathlib import Path

import pyarrow as pa

import lakewright as lw
from browser import browser, needs_axe, needs_chromium
from conftest import sentences
from lakewright.api import compare
from lakewright.api import profile as profile_table


def run(settings: str = "") -> Path:
    run = lw.run("project.yml", settings=[f"train={{learner: linear{settings}}}"])
    assert run.report is not None
    return Path(run.report.html)


@needs_chromium
def test_the_report_works_in_a_browser(project: Path) -> None:
    report = run()
    page = report.read_text(encoding="utf-8")
    assert not re.findall(r"""(?:src|href)=["'](?:https?:)?//""", page)
    assert "passed the gate" in page
    with browser() as tab:
        tab.send("Page.enable")
        heard = "var problems = []; addEventListener('error', event => problems.push(event.message))"
        tab.send("Page.addScriptToEvaluateOnNewDocument", source=heard)
        for width in (1280, 390):
            tab.show(width=width, dark=False)
            tab.open(report)
            click = """(() => {
                const table = document.querySelector("#classes table.sortable");
                table.querySelector("thead button").click();
                return table.tBodies[0].rows[0].cells[0].textContent.trim();
            })()"""
            assert [tab.evaluate(click) for _ in range(2)] == ["animal", "stone"]  # by name upwards, then downwards
            assert tab.evaluate("problems") == []
            assert tab.evaluate("document.querySelector('h1').innerText").startswith("Right on ")

            top, bottom = "document.querySelector('nav').getBoundingClientRect().", "getBoundingClientRect().top"
            tab.evaluate("document.querySelector('nav a[href=\"#slices\"]').click()")
            assert tab.evaluate("scrollY") > 900 and tab.evaluate(top + "top") == 0  # the navigation stays in sight
            heading = tab.evaluate(f"document.querySelector('#slices h2').{bottom}")
            assert tab.evaluate(top + "bottom") <= heading < 300  # and covers no heading
        tab.send("Emulation.setEmulatedMedia", media="print")  # where nothing scrolls
        style = "getComputedStyle(document.querySelector('{}')).{}"
        assert tab.evaluate(style.format("nav", "display")) == "none"
        assert tab.evaluate(style.format(".scroll.tall, .scroll", "overflowX")) == "visible"


@needs_axe
def test_no_page_breaks_a_rule_of_accessibility(project: Path) -> None:
    first, second = run(), run(", C: 3")
    headline = re.findall(r"<h1>.*?</h1>", second.read_text(encoding="utf-8"), flags=re.DOTALL)[0]
    assert "that of the champion, main.demo.things version 1 (" in headline
    rows = [dict(row) | {"split": "test" if i % 5 == 0 else "train"} for i, row in enumerate(sentences(200))]
    for kind in ("animal", "plant", "stone"):  # a table's columns of 0 and 1 are several labels
        rows = [row | {kind: int(row["label"] == kind or row["place"] == "north")} for row in rows]
    rows[3]["text"], rows[4]["text"] = rows[0]["text"].upper(), ""
    lake = lw.Workspace.open(lw.load_profile()).lake
    lake.write("main.demo.tagged", pa.Table.from_pylist(rows))
    pages = [
        first,
        second,
        Path(compare()["page"]),
        Path(profile_table("main.demo.things", bias=["place"]).page),
        Path(profile_table("main.demo.tagged", label=["animal", "plant", "stone"], split="split").page),
    ]
    with browser() as tab:
        for page in pages:
            assert tab.violations(page) == [], page
