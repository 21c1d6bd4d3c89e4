"""Derive by example: what people want of columns, from a few examples, held against rows that the search never saw."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from lakewright.data.rows.kinds import Kind
from lakewright.errors import Ambiguous, DataError, LakewrightError, NotFound, UsageError
from lakewright.learning.by_example import written
from lakewright.learning.by_example.asking import Answer, Derived, Question, derive
from lakewright.learning.by_example.constants import roundest
from lakewright.learning.by_example.examples import near, read
from lakewright.learning.by_example.joined import joined
from lakewright.learning.by_example.language import begun
from lakewright.learning.by_example.rounded import rounded
from lakewright.learning.by_example.search import search
from lakewright.learning.by_example.solved import _patterns as patterns_of
from lakewright.learning.by_example.solved import solved as solved_by
from lakewright.learning.by_example.tables import compare, kinds_of, sample
from lakewright.learning.by_example.terms import Operation, signature
from lakewright.model.recipe import expressions
from lakewright.model.recipe.expressions.expression import Rows

Row = dict[str, Any]
SECONDS = 10.0  # of one task, on a busy machine; most take less than one


def batches_of(rows: Sequence[Row]) -> Callable[[], Iterator[pa.RecordBatch]]:
    return lambda: iter(pa.Table.from_pylist(list(rows)).to_batches(max_chunksize=3))


def kinds(rows: Sequence[Row]) -> dict[str, Kind]:
    return kinds_of(pa.Table.from_pylist(list(rows)).schema, list(rows[0]), "t")


def made(expression: str, rows: Sequence[Row]) -> list[Any]:
    own = kinds(rows)
    columns = {name: [row[name] for row in rows] for name in own}
    return [
        None if x != x else x for x in expressions.parse(expression, own).compute(Rows(columns, len(rows))).tolist()
    ]


def solved(rows: Sequence[Row], wants: Callable[..., Any], examples: int, type: str | None = None) -> Derived:
    """As a person would: an example of the first row, and one more wherever expressions differ in the table's rows."""
    counted = 1

    def ask(question: Question) -> Answer:
        nonlocal counted
        counted += 1
        assert len(question.candidates) > 1 and 0 < question.differing <= question.table_rows
        return {**question.rows[0], "want": wants(**row_of(rows, question.rows[0]))}

    begin = [{**row, "want": wants(**row)} for row in rows[:examples]]
    derived = derive(begin, kinds(rows), "t", batches_of(rows), type=type, ask=ask)
    assert derived.examples == examples + counted - 1 <= 4
    return derived


def row_of(rows: Sequence[Row], shown: Mapping[str, Any]) -> Row:
    """The row of the table that a question shows; its times are written out."""
    form = lambda value: value.isoformat() if isinstance(value, datetime) else value  # noqa: E731
    return next(row for row in rows if {name: form(value) for name, value in row.items()} == dict(shown))


def of(name: str, *values: Any) -> list[Row]:
    return [{name: value} for value in values]


PEOPLE = of("name", "Ann Lee", "Bob Smith", "Mary Ann Jones", "Zoë Müller", "Chi Na Wu")
NEW_PEOPLE = of("name", "Özlem Kaya", "Jean Luc Picard", "Al O'Neil")
LOWER = of("name", "ann lee", "bob smith", "zoë müller", "kim wu")
MAILS = of("mail", "ann@x.org", "bob.smith@mail.example.com", "zoe@ü.de", "a@b.co")
NEW_MAILS = of("mail", "info@lake.example", "x.y@z.net")
DATES = of("date", "2024-03-05", "1999-12-31", "2010-01-17", "2024-10-09")
NEW_DATES = of("date", "2001-02-28", "1987-11-30")
PHONES = of("phone", "(555) 123-4567", "(212) 999-0000", "(030) 555-1212")
NEW_PHONES = of("phone", "(808) 444-1234")
ADDRESSES = of(
    "address", "12 Main St, Springfield, IL 62704", "5 Elm Road, Reno, NV 89501", "77 Oak Ave, Rome, NY 13440"
)
NEW_ADDRESSES = of("address", "1 A St, St Louis, MO 63101")
FILES = of("file", "report.final.pdf", "photo.jpeg", "archive.tar.gz", "notes.txt")
NEW_FILES = of("file", "a.b.c.parquet", "x.csv")
SALES = [{"price": p, "quantity": q} for p, q in ((10.0, 4.0), (9.0, 3.0), (120.0, 1.0), (7.5, 2.0), (3.0, 8.0))]
NEW_SALES = [{"price": 55.0, "quantity": 11.0}, {"price": 0.5, "quantity": 4.0}]
DEGREES = of("f", 212.0, 32.0, 50.0, 98.6, 0.0)
NEW_DEGREES = of("f", 451.0, -40.0)
TIMES = of("at", *(datetime(2024, 3, day, 7 * day % 24, 30) for day in range(4, 12)))
NEW_TIMES = of("at", datetime(1969, 12, 31, 23, 59), datetime(2030, 6, 15))
NAMES = [{"first": a, "last": b} for a, b in (("Ann", "Lee"), ("Bob", "Smith"), ("Zoë", "Q"), ("Mary Ann", "Jones"))]
NEW_NAMES = [{"first": "Kim", "last": "De Groot"}]
MONEY = of("amount", "$1,234.50", "$17.00", "$99,000.25", "$0.99")
NEW_MONEY = of("amount", "$1,000,000.00", "$5.00")
CODES = of("code", "DE-BE-10115", "US-NY-10001", "FR-75-75001")
NEW_CODES = of("code", "AT-9-1010")
STAYS = [{"begin": datetime(2024, 1, a), "end": datetime(2024, 2, b)} for a, b in ((1, 3), (30, 1), (15, 15))]
NEW_STAYS = [{"begin": datetime(2023, 12, 31), "end": datetime(2024, 3, 1)}]
TEAMS = of("code", "urgent: fire", "later: tea", "urgent: leak", "later: urgent")
NEW_TEAMS = of("code", "urgent: x", "not urgent")

TASKS: dict[str, tuple[list[Row], list[Row], int, Callable[..., Any]]] = {
    "last name": (PEOPLE, NEW_PEOPLE, 1, lambda name: name.split(" ")[-1]),
    "first name": (PEOPLE, NEW_PEOPLE, 1, lambda name: name.split(" ")[0]),
    "initials": (LOWER, of("name", "eva maier"), 2, lambda name: "".join(w[0].upper() for w in name.split(" "))),
    "last name, first name": (LOWER, of("name", "eva maier"), 2, lambda name: ", ".join(name.split(" ")[::-1])),
    "domain of an e-mail": (MAILS, NEW_MAILS, 1, lambda mail: mail.split("@")[1]),
    "user of an e-mail": (MAILS, NEW_MAILS, 1, lambda mail: mail.split("@")[0]),
    "top-level domain": (MAILS, NEW_MAILS, 2, lambda mail: mail.split(".")[-1]),
    "year of a text": (DATES, NEW_DATES, 1, lambda date: int(date[:4])),
    "month of a text": (DATES, NEW_DATES, 2, lambda date: int(date[5:7])),
    "date in another form": (DATES, NEW_DATES, 2, lambda date: ".".join(date.split("-")[::-1])),
    "weekday of a text": (DATES, NEW_DATES, 2, lambda date: datetime.fromisoformat(date).isoweekday()),
    "area code": (PHONES, NEW_PHONES, 2, lambda phone: phone[1:4]),
    "digits of a phone": (PHONES, NEW_PHONES, 2, lambda phone: "".join(c for c in phone if c.isdigit())),
    "zip code": (ADDRESSES, NEW_ADDRESSES, 1, lambda address: address[-5:]),
    "state": (ADDRESSES, NEW_ADDRESSES, 2, lambda address: address.split(" ")[-2]),
    "city": (ADDRESSES, NEW_ADDRESSES, 2, lambda address: address.split(", ")[1]),
    "file extension": (FILES, NEW_FILES, 1, lambda file: file.split(".")[-1]),
    "upper case": (FILES, NEW_FILES, 1, lambda file: file.upper()),
    "underscores for dots": (FILES, NEW_FILES, 2, lambda file: file.replace(".", "_")),
    "unit price": (SALES, NEW_SALES, 1, lambda price, quantity: price / quantity),
    "price with tax": (SALES, NEW_SALES, 2, lambda price, quantity: round(price * quantity * 1.19, 4)),
    "Celsius of Fahrenheit": (DEGREES, NEW_DEGREES, 3, lambda f: (f - 32) * 5 / 9),
    "Kelvin of Celsius": (DEGREES, NEW_DEGREES, 2, lambda f: f + 273.15),
    "rounded": (SALES, NEW_SALES, 3, lambda price, quantity: float(round(price / quantity))),
    "weekday of a time": (TIMES, NEW_TIMES, 1, lambda at: at.strftime("%A")),
    "short weekday": (TIMES, NEW_TIMES, 2, lambda at: at.strftime("%a")),
    "hour of a time": (TIMES, NEW_TIMES, 2, lambda at: at.hour),
    "full name": (NAMES, NEW_NAMES, 1, lambda first, last: f"{first} {last}"),
    "salutation": (NAMES, NEW_NAMES, 2, lambda first, last: f"Dear {first} {last}!"),
    "number in a text": (MONEY, NEW_MONEY, 2, lambda amount: float(amount.strip("$").replace(",", ""))),
    "part of a code": (CODES, NEW_CODES, 2, lambda code: code.split("-")[1]),
    "nights": (STAYS, NEW_STAYS, 2, lambda begin, end: (end - begin).days),
    "is urgent": (TEAMS, of("code", "urgent: x", "later: urgent"), 2, lambda code: code.startswith("urgent")),
}  # fmt: skip


@pytest.mark.parametrize("task", TASKS)
def test_what_people_want(task: str) -> None:
    rows, unseen, examples, wants = TASKS[task]
    started = time.monotonic()
    type = "text" if isinstance(wants(**rows[0]), str) else None
    derived = solved(rows, wants, examples, type)
    assert time.monotonic() - started < SECONDS
    wanted = [wants(**row) for row in unseen]
    if derived.type == "text":
        assert made(derived.expression, unseen) == wanted, derived.expression
    else:
        got = made(derived.expression, unseen)
        assert all(abs(a - b) <= 1e-3 * abs(b) for a, b in zip(got, wanted, strict=True)), derived.expression


def test_a_threshold_is_found_by_questions() -> None:
    prices = of("price", *(float(x) for x in (120, 80, 95, 101, 99, 100, 300, 5)))
    counted = 0

    def ask(question: Question) -> Answer:
        nonlocal counted
        counted += 1
        return {**question.rows[0], "want": question.rows[0]["price"] > 100}

    begin = [{"price": 120.0, "want": True}, {"price": 80.0, "want": False}]
    derived = derive(begin, kinds(prices), "t", batches_of(prices), ask=ask)
    assert made(derived.expression, prices) == [float(row["price"] > 100) for row in prices] and counted <= 4


def test_several_expressions_fit_and_rows_show_where_they_differ() -> None:
    begin, ascii = [{"name": "Ann Lee", "want": "Lee"}], [row for row in PEOPLE if row["name"].isascii()]
    with pytest.raises(Ambiguous) as raised:
        derive(begin, kinds(ascii), "main.a.people", batches_of(ascii))
    error = raised.value
    assert error.candidates[:2] == ["split_part(name, ' ', 2)", "split_part(name, ' ', -1)"]
    assert "differ in 2 of 4 rows of main.a.people" in error.cause and "Mary Ann Jones" in error.cause
    assert error.rows[0] == {"row": {"name": "Mary Ann Jones"}, "values": ["Ann", "Jones"]}
    assert "add an example" in error.remedy and json.loads(json.dumps(error.as_json()))["rows"] == error.rows
    assert error.exit_code == 2
    two = [row for row in ascii if row["name"].count(" ") == 1]  # no row tells them apart
    derived = derive(begin, kinds(two), "t", batches_of(two))
    assert derived.expression == "split_part(name, ' ', 2)" and "split_part(name, ' ', -1)" in derived.others


def test_an_answer_is_an_example_or_a_candidate_or_nothing() -> None:
    begin = [{"name": "Ann Lee", "want": "Lee"}]

    def by(answer: Callable[[Question], Answer]) -> str:
        return derive(begin, kinds(PEOPLE), "t", batches_of(PEOPLE), ask=answer).expression

    assert by(lambda question: question.candidates[1]) == "split_part(name, ' ', -1)"
    assert by(lambda question: {"name": "Mary Ann Jones", "want": "Ann"}) == "split_part(name, ' ', 2)"
    with pytest.raises(Ambiguous):
        by(lambda question: None)
    with pytest.raises(UsageError, match="none of the candidates"):
        by(lambda question: "lower(name)")
    with pytest.raises(UsageError, match="no expression gives"):
        by(lambda question: {"name": "Mary Ann Jones", "want": "17 bananas"})


def test_a_slip_is_named() -> None:
    pairs = [("Ann Lee", "Lee"), ("Bob Smith", "Smith"), ("Kim Jones", "Jnes"), ("Jo Po", "Po")]
    examples = read([({"name": a}, b) for a, b in pairs], {"name": "category"})
    with pytest.raises(UsageError) as raised:
        search(examples, {"name": []})
    assert "without example 3 (name = 'Kim Jones' → 'Jnes'), split_part(name, ' ', 2)" in raised.value.cause
    assert raised.value.remedy == "look for a slip in example 3"


def test_constants_as_long_as_an_expression() -> None:
    """Each quote is written twice, and an expression has at most 2,000 characters."""
    pairs = [({"x": "a'" * 250}, "'b" * 250), ({"x": "c'" * 250}, "'d" * 250)]
    with pytest.raises(UsageError, match="no expression gives"):
        search(read(pairs, {"x": "category"}), {"x": []}, most=300)
    truths = read([({"x": "'" * 500}, True), ({"x": "b"}, False)], {"x": "category"})
    assert search(truths, {"x": []}, most=300).candidates


@pytest.mark.parametrize(
    "pairs",
    [
        [("abc", "xyz"), ("def", "uvw"), ("ghi", "q")],
        [(1.0, 5.0), (2.0, -17.0), (3.0, 1000.0), (4.0, 0.3)],
        [(1.0, True), (2.0, False), (3.0, True), (4.0, False), (5.0, True), (6.0, False), (7.0, True)],
    ],
)
def test_nothing_fits(pairs: list[tuple[Any, Any]]) -> None:
    own: dict[str, Kind] = {"x": "category" if isinstance(pairs[0][0], str) else "number"}
    with pytest.raises(UsageError, match=r"no expression gives every wanted value \([\d,]+ expressions"):
        search(read([({"x": a}, b) for a, b in pairs], own), {"x": []})


def test_the_search_ends_and_tells_that_it_was_cut() -> None:
    initials = read([({"name": "ann lee"}, "AL"), ({"name": "bob smith"}, "BS")], {"name": "category"})
    cut = search(initials, {"name": []}, most=800)
    assert cut.cut and cut.computed == 800 and not search(initials, {"name": []}).cut
    started = time.monotonic()
    with pytest.raises(UsageError, match="the most that are"):
        search(read([({"x": "a b-c"}, "ZZ"), ({"x": "d e-f"}, "YY")], {"x": "category"}), {"x": []}, seconds=0.0)
    assert time.monotonic() - started < 5


def test_the_same_examples_give_the_same_candidates() -> None:
    examples = read([({"name": "ann lee"}, "AL"), ({"name": "bob smith"}, "BS")], {"name": "category"})
    first, second = (search(examples, {"name": ["zoë q", None, ""]}) for _ in range(2))
    assert first == second and len(first.candidates) > 1
    sizes = [(each.size, each.constants) for each in first.candidates]
    assert sizes == sorted(sizes)


@pytest.mark.parametrize("wanted", [3.5, "é'{x}y\\ 7"])
def test_what_a_term_writes_computes_its_values(wanted: str | float) -> None:
    """Brackets and quotes are where they must be: each of some thousand terms is read again from its text."""
    own: dict[str, Kind] = {"a": "number", "b c": "number", "day": "time", "it's": "category"}
    rows = [
        {"a": 2.0, "b c": -3.0, "day": datetime(2024, 2, 29, 7), "it's": "é'{x}-y\\z 7"},
        {"a": 0.5, "b c": 7.0, "day": datetime(1969, 12, 31), "it's": "q'{ab}-cd\\e 12"},
    ]
    examples = read([(rows[0], wanted), (rows[1], 4.5 if wanted == 3.5 else "q")], own)
    sampled = {name: [rows[1][name], None] for name in own}
    bank = begun(examples, sampled, 4_000)
    for size in range(2, 6):
        bank.grow(size)
    terms = [term for type in ("number", "text", "time") for term in bank.of(type, 5)]
    terms += [other for term in terms for other in term.alternatives]
    if wanted == 3.5:
        terms += [*solved_by(bank, examples, 5), *rounded(bank, examples, 5)]
        assert any("(" in term.text and term.text.startswith("1 - (") for term in terms)
        terms += [
            Operation(pattern, ("number",), "number", 1, 1, firm, holds=(holds,)).apply(term)
            for term in list(bank.of("number", 3))[:60]
            for pattern, firm, holds, _ in patterns_of(term.values[:2], 5 - term.values[:2])
        ]
    else:
        terms += joined(bank, examples, 20, 50)
    assert len(terms) > 500
    columns = {name: [*(row[name] for row in rows), *sampled[name]] for name in own}
    for term in terms:
        computed = expressions.parse(term.text, own).compute(Rows(columns, 4))
        assert signature(term.type, computed) == signature(term.type, term.values), term.text


WORD = st.text(st.characters(codec="utf-8", exclude_characters="\0"), min_size=1, max_size=8)


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(texts=st.lists(WORD, min_size=1, max_size=3, unique=True), number=st.floats(-1e6, 1e6))
def test_whatever_the_examples_hold_a_candidate_gives_what_is_wanted(texts: list[str], number: float) -> None:
    """Quotes, braces, backslashes, emoji, marks: the constants of an expression are written so that SQL reads them."""
    own: dict[str, Kind] = {"it's": "category", "n": "number"}
    rows = [{"it's": text, "n": number + place} for place, text in enumerate(texts)]
    pairs = [(row, "<" + row["it's"] + "|") for row in rows]
    outcome = search(read(pairs, own, "text"), {name: [row[name] for row in rows] for name in own}, most=2_000)
    columns = {name: [row[name] for row in rows] for name in own}
    for each in outcome.candidates:
        computed = expressions.parse(each.expression, own).compute(Rows(columns, len(rows)))
        assert computed.tolist() == [wanted for _, wanted in pairs], each.expression


@settings(max_examples=100, deadline=None)
@given(low=st.floats(-1e6, 1e6), width=st.floats(1e-6, 1e6))
def test_the_roundest_number_lies_between(low: float, width: float) -> None:
    high = low + width
    assert low <= roundest(low, high) < high


def test_round_numbers() -> None:
    assert [roundest(80, 120), roundest(1.17, 1.2), roundest(-3, 4), roundest(99, 101)] == [100, 1.17, 0, 100]
    assert near(*(pa.array([x]).to_numpy() for x in (0.1 + 0.2, 0.3))).all()


# Tables


def test_the_sample_holds_every_form() -> None:
    rows = [*of("x", *(f"a {i}" for i in range(500))), *of("x", "A-1", None, "", "Zoë Müller-Löwe")]
    values = sample(batches_of(rows)(), {"x": "category"})["x"]
    assert len(values) == 32 and {"a 0", "A-1", None, "", "Zoë Müller-Löwe"} <= {*values}


def test_all_rows_of_the_table_are_compared() -> None:
    """One row of 30,000, which no sample holds, tells two candidates apart."""
    rows = [*of("name", *(f"Ann L{i}" for i in range(29_999))), *of("name", "Mary Ann Jones")]
    candidates = ["split_part(name, ' ', 2)", "split_part(name, ' ', -1)", "substring(name, 5)"]
    compared = compare(candidates, {"name": "category"}, [pa.Table.from_pylist(rows).combine_chunks().to_batches()[0]])
    assert compared.groups == ((0,), (1,), (2,)) and compared.differing == 1 and compared.table_rows == 30_000
    assert compared.rows == ({"name": "Mary Ann Jones"},) and compared.values == (("Ann", "Jones", " Ann Jones"),)
    with pytest.raises(Ambiguous):
        derive([{"name": "Ann L1", "want": "L1"}], {"name": "category"}, "t", batches_of(rows))


def test_numbers_that_differ_by_rounding_alone_agree() -> None:
    rows = of("x", *(0.1 * i for i in range(50)))
    compared = compare(["x * 3", "x + x + x", "x * 3.0001"], {"x": "number"}, batches_of(rows)())
    assert compared.groups == ((0, 1), (2,)) and compared.differing == 49


def test_a_table_without_rows() -> None:
    empty = pa.table({"x": pa.array([], pa.string())})
    derived = derive([{"x": "a bc", "want": "bc"}], {"x": "category"}, "t", lambda: iter(empty.to_batches()))
    assert derived.expression == "split_part(x, ' ', 2)" and derived.table_rows == 0


def test_kinds_follow_the_types_of_the_table() -> None:
    schema = pa.schema([("a", pa.int32()), ("b", pa.bool_()), ("c", pa.date32()), ("d", pa.list_(pa.int8()))])
    assert kinds_of(schema, ["a", "b", "c"], "t") == {"a": "number", "b": "category", "c": "time"}
    with pytest.raises(DataError, match="column 'd' of t is list"):
        kinds_of(schema, ["d"], "t")
    with pytest.raises(UsageError, match="no column 'e'"):
        kinds_of(schema, ["e"], "t")


# What people write


@pytest.mark.parametrize(
    ("text", "inputs", "expected"),
    [
        ("Ann Lee -> Lee", ["name"], {"name": "Ann Lee", "want": "Lee"}),
        (" a->b  ->  ", ["x"], {"x": " a->b ", "want": " "}),
        ('{"a": 3, "want": null}', ["a", "b"], {"a": 3, "want": None}),
    ],
)
def test_an_example_as_it_is_written(text: str, inputs: list[str], expected: Row) -> None:
    assert written.example_of(text, inputs) == expected


@pytest.mark.parametrize(
    ("text", "inputs", "cause"),
    [
        ("Ann Lee", ["name"], "has no arrow"),
        ("a -> b -> c", ["name"], "has several arrows"),
        ("a -> b", [], "which of 0 inputs"),
        ("a -> b", ["x", "y"], "which of 2 inputs"),
        ('{"a": 3', ["a"], "is no JSON"),
        ("{" * 5_000, ["a"], "is no JSON"),
    ],
)
def test_an_example_that_is_none(text: str, inputs: list[str], cause: str) -> None:
    with pytest.raises(UsageError, match=cause):
        written.example_of(text, inputs)


def test_a_file_of_examples(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text('\ufeffname,want\n"Lee, Ann",Ann\n\nSmith, \n', encoding="utf-8")
    (tmp_path / "a.jsonl").write_text('{"n": 3, "want": 4}\n\n{"n": 5, "want": 6}\n')
    assert written.examples_in(tmp_path / "a.csv") == [
        {"name": "Lee, Ann", "want": "Ann"}, {"name": "Smith", "want": " "},
    ]  # fmt: skip
    assert written.examples_in(tmp_path / "a.jsonl") == [{"n": 3, "want": 4}, {"n": 5, "want": 6}]
    assert written.inputs_of(written.examples_in(tmp_path / "a.jsonl")) == ["n"]


@pytest.mark.parametrize(
    ("name", "content", "cause"),
    [
        ("a.csv", b"name,value\na,b\n", "the head of .*a.csv is"),
        ("a.csv", b"name,name,want\na,b,c\n", "the head of"),
        ("a.csv", b"name,want\na\n", "row 2 of .* has 1 cells, its head 2"),
        ("a.csv", b'name,want\n"a,b\n', "no csv file"),
        ("a.csv", b"", "the head of"),
        ("a.csv", b"\xff\xfe\x00", "cannot be read"),
        ("a.jsonl", b'{"a": 1}\n[1]\n', "line 2 of .* is no JSON object"),
        ("a.jsonl", b"{\n", "line 1 of .* is no JSON"),
        ("a.txt", b"", "neither a csv nor a jsonl"),
        ("a.jsonl", b" " * 2_000_000, "more than 1,048,576 bytes"),
    ],
)
def test_a_file_that_holds_no_examples(name: str, content: bytes, cause: str, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(UsageError, match=cause):
        written.examples_in(tmp_path / name)
    with pytest.raises(NotFound):
        written.examples_in(tmp_path / "missing.csv")


@settings(max_examples=200, deadline=None)
@given(text=st.text() | st.text('{}":,->[ ]a1', max_size=30), inputs=st.lists(st.text(max_size=3), max_size=2))
def test_any_text_is_an_example_or_an_error(text: str, inputs: list[str]) -> None:
    try:
        read_as = written.example_of(text, inputs)
        derive([read_as], {"a": "category"}, "t", batches_of(of("a", "x")))
    except LakewrightError:
        pass


@pytest.mark.parametrize(
    ("examples", "type", "cause", "remedy"),
    [
        ([], None, "no example", "--example"),
        ([{"name": "Ann"}], None, "does not tell what is wanted", '"want"'),
        (["Ann"], None, "example 1 is 'Ann'", "want"),
        ([{"name": "Ann", "nme": "x", "want": "A"}], None, "names 'nme', which is no input", "did you mean 'name'"),
        ([{"want": "A"}], None, "has no value of 'name'", "null"),
        ([{"name": "Ann", "want": None}], None, "example 1 wants None", "a text, a number"),
        ([{"name": "Ann", "want": float("nan")}], None, "example 1 wants nan", "a text, a number"),
        ([{"name": "Ann", "want": ["A"]}], None, r"example 1 wants \['A'\]", "a text, a number"),
        ([{"name": ["Ann"], "want": "A"}], None, "'name' is list, not a category", ""),
        ([{"name": "\ud800", "want": "A"}], None, "not valid Unicode", ""),
        ([{"name": "Ann", "want": "A"}], "number", "'A', which is no number", "--type"),
        (
            [{"name": "Ann", "want": 3}, {"name": "Bo", "want": "x"}],
            None,
            "example 1 wants 3, which is no text",
            "--type",
        ),
        ([{"name": "Ann", "want": "A"}], "date", "there is no type 'date'", "text, truth"),
        ([{"name": "Ann", "want": True}], None, "every example wants true", "one of each"),
        (
            [{"name": "Ann", "want": "A"}, {"name": "Ann", "want": "B"}],
            None,
            "examples 1 and 2 have the same",
            "--input",
        ),
        ([{"name": f"A{i}", "want": "A"} for i in range(51)], None, "there are 51 examples", "at most 50"),
        ([{"name": "A" * 501, "want": "A"}], None, "longer than 500", "shorten"),
        ([{"name": "A", "want": "A" * 501}], None, "over 500 characters", "shorten"),
    ],
)
def test_wrong_examples(examples: list[Any], type: str | None, cause: str, remedy: str) -> None:
    with pytest.raises(UsageError, match=cause) as raised:
        derive(examples, {"name": "category"}, "t", batches_of(PEOPLE), type=type)
    assert remedy in raised.value.remedy


def test_the_type_of_what_is_wanted() -> None:
    def type(*wanted: Any) -> str:
        return read([({"x": str(i)}, each) for i, each in enumerate(wanted)], {"x": "category"}).type

    assert [type("1", "-2.5"), type("02134", "1"), type("true", "false"), type(1, 2.5), type(True, False)] == [
        "number", "text", "truth", "number", "truth",
    ]  # fmt: skip
    numbers = read([({"n": " 3.5 ", "t": "2024-01-02"}, "x"), ({"n": "", "t": ""}, "y")], {"n": "number", "t": "time"})
    assert numbers.rows[0]["n"] == 3.5 and numbers.rows[0]["t"].year == 2024
    assert numbers.rows[1] == {"n": None, "t": None}
