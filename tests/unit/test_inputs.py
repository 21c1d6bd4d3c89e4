"""The kinds of a table's columns where no role names them, and inputs that predict the truth alone."""

from __future__ import annotations

from datetime import date, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

import lakewright as lw
from lakewright.data.rows.coded import Coded
from lakewright.data.rows.inputs import close as closed
from lakewright.data.rows.inputs import uses
from lakewright.data.rows.leaks import _codes, _saved
from lakewright.data.rows.measures import measure
from lakewright.errors import DataError
from lakewright.model.tasks.classification import ClassificationColumns

ROWS = 60
DAYS = [datetime(2026, 1, 1) + timedelta(days=i) for i in range(ROWS)]
COLUMNS: dict[str, tuple[Any, str | None]] = {  # name → values, and the kind; None: left out
    "amount": ([i * 1.5 for i in range(ROWS)], "number"),
    "count": ([i % 7 for i in range(ROWS)], "number"),
    "far apart": ([i * 1000 for i in range(ROWS)], "number"),  # another value in every row, but no row number
    "price": (pa.array([Decimal(f"{i}.50") for i in range(ROWS)]), "number"),
    "row number": (list(range(100, 100 + ROWS)), None),
    "key": ([f"K-{i}" for i in range(ROWS)], None),
    "same": (["x"] * ROWS, None),
    "nothing": (pa.nulls(ROWS, pa.float64()), None),
    "place": ([["north", "south", None][i % 3] for i in range(ROWS)], "category"),
    "code": ([f"{i % 9}" for i in range(ROWS)], "category"),
    "zip": ([f"0{i % 9}" for i in range(ROWS)], "category"),
    "number in text": ([f"{i}.25" if i % 5 else " " for i in range(ROWS)], "number"),
    "time in text": ([day.isoformat() + "Z" if i % 5 else "" for i, day in enumerate(DAYS)], "time"),
    "half a time": (["2026-01-01" if i % 2 else "soon" for i in range(ROWS)], "category"),
    "yes": ([i % 2 == 0 for i in range(ROWS)], "category"),
    "day": ([date(2026, 1, 1 + i % 28) for i in range(ROWS)], "time"),
    "moment": (DAYS, "time"),
    "note": ([f"the dog of house {i} is here" for i in range(ROWS)], None),  # a text, for which there is no step
    "list": ([[i] for i in range(ROWS)], None),
    "“odd” 'name', ;-- \n": ([i % 4 + 0.5 for i in range(ROWS)], "number"),
}


def close(columns: Any, lake: Any, table: Any, reads: Any, most_texts: int | None = None) -> Any:
    return closed(columns, table, uses(columns, lake, table, reads, {}, most_texts=most_texts))


@pytest.fixture
def lake(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.chdir(tmp_path)
    return lw.Workspace.open(lw.load_profile()).lake


def test_the_kinds_of_columns(lake: Any) -> None:
    table = lake.write("main.t.all", pa.table({"label": ["a", "b"] * 30, **{n: v for n, (v, _) in COLUMNS.items()}}))
    kinds = {each.name: each.kind for each in measure(lake, table, [*COLUMNS])}
    assert {name: kinds[name] for name, (_, kind) in COLUMNS.items() if kind} == {
        name: kind for name, (_, kind) in COLUMNS.items() if kind
    }
    columns, findings = close(ClassificationColumns(label="label"), lake, table, ("number", "category", "time"))
    assert isinstance(columns, ClassificationColumns) and not columns.is_open
    chosen = dict.fromkeys(columns.numbers, "number") | dict.fromkeys(columns.categories, "category")
    chosen |= dict.fromkeys(columns.times, "time")
    assert chosen == {name: kind for name, (_, kind) in COLUMNS.items() if kind}
    rows = {finding.name: finding.rows for finding in findings}
    assert rows["constant_columns"] == ["same", "nothing"]
    assert rows["identifier_columns"] == ["row number", "key"]
    assert rows["unread_columns"] == ["note (text)", "list (structure)"]
    assert rows["numbers_in_text"] == ["number in text: number", "time in text: time"]
    assert rows["inputs"] == [f"{name}: {kind}" for name, (_, kind) in COLUMNS.items() if kind]


@pytest.mark.parametrize("first", ["note", "body"])
def test_of_several_texts_the_one_with_the_most_words_leads(lake: Any, first: str) -> None:
    longer = [f"{text}, and it sleeps all day" for text in COLUMNS["note"][0]]
    texts = {"note": COLUMNS["note"][0], "body": longer, "same": ["one long text that is the same in every row"] * ROWS}
    ordered = {first: texts[first], **texts}
    table = lake.write(f"main.t.{first}", pa.table({"label": ["a", "b"] * 30, **ordered}))
    columns, findings = close(ClassificationColumns(label="label"), lake, table, ("number", "text"))
    assert columns.text == "body" and columns.texts == ["note"]
    assert "other_texts" not in {each.name for each in findings}
    columns, _ = close(ClassificationColumns(label="label", text="note"), lake, table, ("number", "text"))
    assert columns.text == "note" and columns.texts == ["body"]
    columns, findings = close(ClassificationColumns(label="label"), lake, table, ("number", "text"), 1)
    assert columns.text == "body" and columns.texts == []
    assert {each.name: each.rows for each in findings}["other_texts"] == ["note"]


def test_a_text_is_read_by_a_learner_that_reads_texts(lake: Any) -> None:
    table = lake.write("main.t.texts", pa.table({"label": ["a", "b"] * 30, "note": COLUMNS["note"][0]}))
    columns, _ = close(ClassificationColumns(label="label"), lake, table, ("number", "text"))
    assert columns.text == "note"  # type: ignore[attr-defined]


def test_named_columns_keep_their_roles(lake: Any) -> None:
    names = ("amount", "code", "row number", "key")
    table = lake.write("main.t.named", pa.table({"label": ["a", "b"] * 30, **{n: COLUMNS[n][0] for n in names}}))
    given = ClassificationColumns(label="label", numbers=["row number"], id="key")
    columns, findings = close(given, lake, table, ("number", "category"))
    assert isinstance(columns, ClassificationColumns)
    assert (columns.numbers, columns.categories) == (["row number", "amount"], ["code"])
    assert [finding.name for finding in findings] == ["inputs"]


def test_nothing_to_learn_from_is_an_error(lake: Any) -> None:
    table = lake.write("main.t.none", pa.table({"label": ["a", "b"] * 30, "key": COLUMNS["key"][0]}))
    with pytest.raises(DataError, match="no column to learn from beside label"):
        close(ClassificationColumns(label="label"), lake, table, ("number", "category"))


@pytest.mark.parametrize("kind", ["number", "category"])
def test_an_input_that_tells_the_truth_is_seen_and_noise_is_not(kind: Any) -> None:
    draw = np.random.default_rng(1)
    truth = np.where(draw.random(2000) < 0.3, "yes", "no")
    telling = (truth == "yes").astype(float) if kind == "number" else Coded.of([each.upper() for each in truth])
    assert _saved(_codes(telling), truth) == 1.0
    noise = draw.random(2000) if kind == "number" else Coded.of([str(i) for i in range(2000)])
    assert _saved(_codes(noise), truth) < 0.1
    numbers = draw.normal(size=2000)
    near = numbers * 3 + draw.normal(scale=0.01, size=2000)
    assert _saved(_codes(near), numbers) > 0.97
    assert _saved(_codes(Coded.of([*map(str, range(2000))])), numbers) < 0.1
