"""lakewright sql --plot: rows drawn in the terminal and into files, and what is refused or left out with a message."""

from __future__ import annotations

import sys
from pathlib import Path
from xml.etree import ElementTree

import pytest

import lakewright as lw
from lakewright.errors import MissingPackage
from projects import Call

BARS = "select * from (values ('a', 4, -2.0), ('b', 8, 1.0), ('c', null, 'nan'::double)) t(x, n, m)"
LINE = "select n as x, n * n as y from range(50) t(n)"


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "60")


def blocks(line: str) -> int:
    return line.count("█")


def test_bars_are_as_long_as_their_numbers(call: Call) -> None:
    drawn = call("sql", "select x, n from (values ('a', 4), ('b', 8), ('c d', 0)) t(x, n)", "--plot", "bar")
    first, second, third = drawn.out.splitlines()
    assert first.startswith("  a │") and first.endswith(" 4") and third == "c d │ 0"
    assert blocks(second) == 2 * blocks(first) and len(second) <= 60
    below = call("sql", BARS, "--plot", "bar")
    assert [line.split(" │")[0].strip() for line in below.out.splitlines()] == ["a n", "a m", "b n", "b m"]
    assert below.err.splitlines() == [
        "n: 1 of 3 rows are null, NaN or infinite, and not drawn",
        "m: 1 of 3 rows are null, NaN or infinite, and not drawn",
    ]


@pytest.mark.parametrize("kind", ["line", "scatter"])
def test_points_lie_between_labelled_axes(call: Call, kind: str) -> None:
    lines = call("sql", LINE, "--plot", kind).out.splitlines()
    assert lines[0] == "y" and lines[1].startswith("2,401 │") and lines[-3].startswith("    0 │")
    assert lines[-1].split() == ["0", "x", "49"] and max(map(len, lines)) == 60
    rows = lines[1:-2]
    assert rows[0][-1] > "\u2800" and rows[-1].split("│")[1][0] > "\u2800"  # from the lower left to the upper right
    dots = sum(bin(ord(character) - 0x2800).count("1") for row in rows for character in row if character > "\u2800")
    assert dots <= 50 if kind == "scatter" else dots > 100


def test_times_and_texts_are_labels_of_the_axis(call: Call) -> None:
    days = "select date '2026-01-01' + n::int as day, n from range(9) t(n)"
    assert "2026-01-01 00:00:00" in call("sql", days, "--plot", "scatter").out.splitlines()[-1]
    texts = "select 'k' || n as name, n from range(9) t(n)"
    assert call("sql", texts, "--plot", "line").out.splitlines()[-1].split() == ["k0", "name", "k8"]


def test_bins_count_rows_and_boxes_show_quartiles(call: Call) -> None:
    lines = call("sql", "select n % 4 as v from range(100) t(n)", "--plot", "hist").out.splitlines()
    assert lines[0] == "v: rows by value" and sum(int(line.split()[-1]) for line in lines[1:]) == 100
    grouped = "select if(n < 50, 'low', 'high') as k, n from range(100) t(n)"
    low, high, *rest = call("sql", grouped, "--plot", "box").out.splitlines()
    assert low.startswith(" low │├") and high.startswith("high │ ") and low.index("┃") < high.index("┃")
    assert rest[1].split() == ["0", "99"]


@pytest.mark.parametrize("kind", ["bar", "line", "scatter", "hist", "box"])
def test_a_file_holds_the_picture(call: Call, kind: str) -> None:
    query = 'select n as x, n * 1.5 as "cost $", 1e300 * n as large from range(20) t(n)'
    written = call("sql", query, "--plot", kind, "--out", "plot.svg")
    assert written.out == "wrote plot.svg\n" and written.err == ""
    first = Path("plot.svg").read_bytes()
    assert len(list(ElementTree.fromstring(first).iter("{http://www.w3.org/2000/svg}path"))) > 20
    assert lw.sql(query, plot=kind, out="plot.svg").num_rows == 20 and Path("plot.svg").read_bytes() == first  # type: ignore[arg-type, union-attr]
    call("sql", query, "--plot", kind, "--out", "plot.png")
    assert Path("plot.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize(
    ("query", "arguments", "code", "reason"),
    [
        ("select 1 as x, 2 as y where false", ["bar"], 1, "gives no rows to draw"),
        ("select 'a' as x, 'b' as y", ["bar"], 1, "the column 'y' is string, and bar draws numbers"),
        ("select 1 as x", ["line"], 1, "needs a column of numbers beside 'x'"),
        ("select n, n from range(61) t(n)", ["bar"], 1, "would have 61 bars"),
        ("select 'a' || n, n from range(61) t(n)", ["box"], 1, "would have 61 boxes"),
        ("select 'a' as x, 1 as y", ["scatter"], 1, "needs numbers or times"),
        ("select 'a' as x, null::int as y", ["bar"], 1, "'y' has no number to draw"),
        ("select 1, 2, 3, 4, 5, 6, 7, 8", ["line"], 1, "7 columns to draw"),
        ("select 1 as x", ["pie"], 2, "there is no plot 'pie'"),
        ("select 1 as x", ["hist", "--out", "plot.gif"], 2, ".svg, .png"),
        ("select 1 as x", ["hist", "--json"], 2, "--plot goes with none"),
        ("create table main.h.t as select 1 as x", ["hist"], 2, "gives no rows"),
        ("select 1 as x", ["hist", "--out", "/dev/null/plot.svg"], 2, "cannot be written"),
    ],
)
def test_what_gives_no_picture_says_why(call: Call, query: str, arguments: list[str], code: int, reason: str) -> None:
    ended = call("sql", query, "--plot", *arguments)
    assert ended.code == code and reason in ended.err and lw.tables() == []


def test_many_points_are_thinned_out_with_a_message(call: Call) -> None:
    drawn = call("sql", "select n, n as y from range(50000) t(n)", "--plot", "scatter")
    assert drawn.err == "y: 16,667 of 50,000 points are drawn, one of each 3\n"


def test_a_file_needs_matplotlib_and_the_terminal_does_not(call: Call, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    assert call("sql", LINE, "--plot", "line").code == 0
    with pytest.raises(MissingPackage, match="matplotlib"):
        lw.sql(LINE, plot="line", out="plot.svg")
