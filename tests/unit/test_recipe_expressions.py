"""Expressions of the steps derive and flag: any of them gives in numpy what it gives in DuckDB, and no text, however it
is written, does anything else."""

from __future__ import annotations

import json
import math
import re
import time
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydantic import ValidationError
from test_recipe_steps import ODD, TEXTS, assert_sql_agrees, fit, makes, reopened

from lakewright import plugins
from lakewright.data.rows.kinds import Kind
from lakewright.errors import ModelError, ProjectError
from lakewright.model.recipe import expressions

KINDS: dict[str, Kind] = {
    "a": "number", "b": "number", "s": "category", "t b": "category", "w": "time", "v": "time",
}  # fmt: skip
ROWS = 12
OF_TIMES = [
    "year",
    "quarter",
    "month",
    "day",
    "dayofyear",
    "isodow",
    "hour",
    "minute",
    "second",
    "dayname",
    "monthname",
]
TIMES = [datetime(1, 1, 1), datetime(9999, 12, 31, 23, 59, 59, 999999), datetime(1969, 12, 31, 23, 59, 59, 999999)]
TIMES += [datetime(1970, 1, 1), datetime(2024, 2, 29, 12), datetime(2023, 3, 1), datetime(1900, 2, 28, 1, 2, 3, 4)]
WRITTEN = ["12", "-0", "007", "-12.50", "1e3", "1_000", "inf", "nan", "+5", " 5", "5.", ".5", "١٢", "9" * 30, "9" * 31]
WRITTEN += ["2024-02-29", "2023-02-29", "0000-01-01", "0001-01-01", "9999-12-31", "2024-2-9", "2024-02-29 ", "12\n"]
WRITTEN += [
    "0.1" + "2" * 29,
    "Zoë  O'Neil-Löwe",
    "a1b22c333",
    "\n12\n",
    "👩‍👩‍👧 5",
    "e\u0301e\u0301",
    "aaa",
    "(555) 123-4567",
]
NUMBER, TEXT = (
    st.sampled_from(ODD) | st.floats() | st.integers(-3, 3).map(float) | st.integers(-(10**17), 10**17).map(float),
    st.sampled_from(TEXTS) | st.sampled_from(WRITTEN) | st.text(st.characters(codec="utf-8"), max_size=5)
    | st.from_regex("-?[0-9]{1,31}([.][0-9]{1,31})?", fullmatch=True) | st.text("09aAzZ -.\n", max_size=6),
)  # fmt: skip
RUNS = ["[0-9]", "[A-Z]", "[a-z]", "[A-Za-z]", "[^0-9]", "[^A-Za-z]", "[0-9.]", "[^ ]", "[a' ]"]
TIME = st.none() | st.sampled_from(TIMES) | st.datetimes()
OF = {"number": NUMBER, "category": TEXT, "time": TIME}
VALUES = st.fixed_dictionaries({name: st.lists(OF[kind], min_size=ROWS, max_size=ROWS) for name, kind in KINDS.items()})


def joined(pattern: str, **parts: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    return st.fixed_dictionaries(parts).map(lambda each: pattern.format(**each))


def quoted(text: str) -> str:
    return text.replace("'", "''")


RUN, PLACES = st.sampled_from(RUNS).map(quoted), st.sampled_from(["1", "2", "3", "-1", "-2"])


def grown(parts: dict[str, st.SearchStrategy[str]]) -> dict[str, st.SearchStrategy[str]]:
    """Expressions of each type that are made of these."""
    n, s, c, w = (parts[each] for each in ("number", "text", "truth", "time"))
    compare = st.sampled_from(["=", "<>", "<", "<=", ">", ">=", "IS DISTINCT FROM", "IS NOT DISTINCT FROM"])
    choices = {
        name: st.one_of(
            joined("CASE WHEN {c} THEN {x} WHEN {d} THEN {y} END", c=c, d=c, x=each, y=each),
            joined("if({c}, {x}, NULL)", c=c, x=each),
            joined("coalesce({x}, {y})", x=each, y=each),
            joined("nullif({x}, {y})", x=each, y=each),
            joined("CASE {k} WHEN {l} THEN {x} ELSE {y} END", k=s, l=s, x=each, y=each),
        )
        for name, each in (("number", n), ("text", s), ("truth", c), ("time", w))
    }
    return {
        "number": choices["number"] | st.one_of(
            joined("({x} {op} {y})", x=n, y=n, op=st.sampled_from("+-*/%")),
            joined("{f}({x})", x=n, f=st.sampled_from(["abs", "floor", "ceil", "sqrt", "round", "-"])),
            joined("round({x}, {d})", x=n, d=st.integers(0, 15).map(str)),
            joined("{f}({x}, {y}, {z})", x=n, y=n, z=n, f=st.sampled_from(["least", "greatest"])),
            joined("length({s})", s=s),
            joined("TRY_CAST({s} AS DOUBLE)", s=s),
            joined("{f}({w})", w=w, f=st.sampled_from(OF_TIMES[:-2])),
            joined("date_diff('{u}', {v}, {w})", v=w, w=w, u=st.sampled_from(["day", "hour", "minute", "second"])),
        ),
        "text": choices["text"] | st.one_of(
            joined("{f}({s})", s=s, f=st.sampled_from(["lower", "upper", "trim"])),
            joined("({s} || {t})", s=s, t=s),
            joined("concat({s}, {t})", s=s, t=s),
            joined("substring({s}, {i}, {j})", s=s, i=st.integers(1, 5).map(str), j=st.integers(0, 5).map(str)),
            joined("split_part({s}, '{c}', {i})", s=s, c=st.sampled_from(["o", "''", "aa"]), i=PLACES),
            joined("{f}({s}, {i})", s=s, i=st.integers(0, 5).map(str), f=st.sampled_from(["left", "right"])),
            joined("replace({s}, '{c}', '{d}')", s=s, c=st.sampled_from(["o", "''", "aa", "é"]),
                   d=st.sampled_from(["", "a", "''", "\\1"])),
            joined("regexp_extract({s}, '{b}{r}+{e}')", s=s, b=st.sampled_from(["", "^"]), r=RUN,
                   e=st.sampled_from(["", "$"])),
            joined("regexp_replace({s}, '{r}+', '{d}', 'g')", s=s, r=RUN,
                   d=st.sampled_from(["", "é", "--"])),
            joined("CAST({x} AS VARCHAR)", x=n),
            joined("{f}({w})", w=w, f=st.sampled_from(["dayname", "monthname"])),
        ),
        "truth": choices["truth"] | st.one_of(
            *(joined("({x} {op} {y})", x=each, y=each, op=compare) for each in (n, s, c, w)),
            joined("({c} {op} {d})", c=c, d=c, op=st.sampled_from(["AND", "OR"])),
            joined("(NOT {c})", c=c),
            *(joined("({x} IS NULL)", x=each) for each in (n, s, c, w)),
            joined("({c} IS {x})", c=c, x=st.sampled_from(["TRUE", "FALSE", "NOT TRUE"])),
            *(joined("({x} IN ({y}, NULL, {z}))", x=each, y=each, z=each) for each in (n, s, w)),
            *(joined("({x} NOT BETWEEN {y} AND {z})", x=each, y=each, z=each) for each in (n, s, w)),
            joined("{f}({s}, '{t}')", s=s, t=st.sampled_from(["o", "''", "high"]),
                   f=st.sampled_from(["contains", "starts_with", "ends_with"])),
            joined("regexp_full_match({s}, '{r}+')", s=s, r=RUN),
        ),
        "time": choices["time"] | joined("TRY_CAST({s} AS DATE)", s=s),
    }  # fmt: skip


LEAVES: dict[str, st.SearchStrategy[str]] = {
    "number": st.sampled_from(["a", "b", "0", "1", "2.5", "1e300", "-0.0", "NULL"]),
    "text": st.sampled_from(["s", '"t b"', "'o''clock'", "'zero\0'", "''", "'É'", "NULL"]),
    "truth": st.sampled_from(["a > 1", "s = 'low'", "TRUE", "FALSE", "NULL"]).map("({})".format),
    "time": st.sampled_from(["w", "v", "DATE '1969-12-31'", "TIMESTAMP '2024-02-29 23:59:59.999999'"]),
}
ONCE = {name: LEAVES[name] | each for name, each in grown(LEAVES).items()}
TWICE = grown(ONCE)


@pytest.mark.slow
@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])
@given(columns=st.fixed_dictionaries({name: TWICE[name] for name in ("number", "text", "truth")}), values=VALUES)
def test_any_expression_is_the_same_in_sql(columns: dict[str, str], values: dict[str, Any]) -> None:
    typed = {"number": "a", "text": "s", "truth": "TRUE"}  # an expression that is always NULL has no type
    typed = {name: f"CASE WHEN TRUE THEN {columns[name]} ELSE {other} END" for name, other in typed.items()}
    step = fit("derive", values, KINDS, columns=typed)
    with np.errstate(all="raise", under="ignore"):  # nothing warns
        assert_sql_agrees(step, values, KINDS)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a / 0", [None] * 3),
        ("a % 0", [None] * 3),
        ("1 / 3", [1 / 3] * 3),
        ("a / b", [-0.2, None, None]),
        ("sqrt(b)", [None, 0.0, None]),
        ("round(a / 2)", [1.0, 2.0, None]),
        ("round(b / 2)", [-3.0, 0.0, None]),
        ("a IN (1, NULL)", [1.0, None, None]),
        ("NOT (a > 2 AND b = 0)", [1.0, 0.0, None]),
        ("lower(s)", ["éÉ".lower(), "ß", None]),
        ("upper(s)", ["ÉÉ", "ß", None]),
        ("concat(s, '!')", ["éÉ!", "ß!", "!"]),
        ("s || '!'", ["éÉ!", "ß!", None]),
        ("substring(s, 2)", ["É", "", None]),
        ("date_diff('day', w, v)", [1.0, 366.0, None]),
        ("if(s = 'ß', 1)", [None, 1.0, None]),
        ("coalesce(if(a > 2, s), 'zero\0')", ["zero\0", "ß", "zero\0"]),
        ("-a % 2", [-1.0, -1.0, None]),
        ("b % 2", [-1.0, 0.0, None]),
        ("left(s, 1)", ["é", "ß", None]),
        ("right(s, 1)", ["É", "ß", None]),
        ("right(s, 0)", ["", "", None]),
        ("split_part(s || '|a|b', '|', -1)", ["b", "b", None]),
        ("split_part(s, '|', -2)", ["", "", None]),
        ("replace(s, 'É', '')", ["é", "ß", None]),
        ("regexp_extract('ab12c345', '[0-9]+')", ["12"] * 3),
        ("regexp_extract('ab12c345', '[0-9]+$')", ["345"] * 3),
        ("regexp_extract('ab12c345', '^[0-9]+')", [""] * 3),
        ("regexp_replace('(555) 123', '[^0-9]+', '', 'g')", ["555123"] * 3),
        ("regexp_full_match('123', '[0-9]+')", [1.0] * 3),
        ("TRY_CAST('-12.50' AS DOUBLE)", [-12.5] * 3),
        ("TRY_CAST('1e3' AS DOUBLE)", [None] * 3),
        ("CAST(a AS VARCHAR)", ["1", "3", None]),
        ("CAST(a / 2 AS VARCHAR)", [None] * 3),
        ("year(w)", [1969.0, 2024.0, None]),
        ("isodow(w)", [3.0, 1.0, None]),
        ("dayname(v)", ["Thursday", "Wednesday", None]),
        ("monthname(w)", ["December", "January", None]),
        ("hour(w) + quarter(w)", [27.0, 1.0, None]),
        ("dayname(TRY_CAST('2024-02-30' AS DATE))", [None] * 3),
        ("dayofyear(TRY_CAST('2024-03-01' AS DATE))", [61.0] * 3),
    ],
)
def test_what_an_expression_makes(text: str, expected: list[Any]) -> None:
    values = {
        "a": [1.0, 3.0, None], "b": [-5.0, 0.0, math.nan], "s": ["éÉ", "ß", None], "t b": [None] * 3,
        "w": [datetime(1969, 12, 31, 23), datetime(2024, 1, 1), None],
        "v": [datetime(1970, 1, 1), datetime(2025, 1, 1), None],
    }  # fmt: skip
    made = fit("derive", values, KINDS, columns={"x": text}).apply(values)["x"].tolist()
    assert [None if each != each else each for each in made] == expected


@pytest.mark.parametrize(
    ("text", "cause", "remedy"),
    [
        ("ln(a)", "calls ln", "functions: abs, ceil"),
        ("read_csv('/etc/passwd')", "calls read_csv", "functions: abs"),
        ("getenv('HOME')", "calls getenv", "functions: abs"),
        ("(SELECT 1)", "holds", "operators"),
        ("a > (SELECT 1)", "holds", "operators"),
        ("a IN (SELECT 1)", "in a way that is not known", ""),
        ("a; DROP TABLE x", "holds", ""),
        ("a ** 2", "holds|calls", ""),
        ("a::INTEGER", "converts 'a'", "DATE '2024-02-29'"),
        ("other.a", "not known", ""),
        ("c + 1", "reads 'c', which is none of the step's inputs", "known: a, b, s"),
        ("A + 1", "reads 'A'", "known: a, b"),
        ("a = 'x'", "combines a number with a text", "one type"),
        ("a + s", "takes 's', a text, as a number", ""),
        ("a AND b", "takes 'a', a number, as a truth", ""),
        ("CASE WHEN a > 1 THEN 'x' ELSE 2 END", "combines a number with a text", ""),
        ("trim(BOTH 'x' FROM s)", "not known", ""),
        ("substring(s, -1)", "no whole number", "from 1 to"),
        ("substring(s, a)", "no whole number", "from 1 to"),
        ("split_part(s, '', 1)", "no text", "single quotes"),
        ("split_part(s, ' ', 0)", "the whole number 0", "from 1 to"),
        ("split_part(s, ' ', -a)", "no whole number", "from 1 to"),
        ("left(s, -1)", "no whole number", "from 0 to"),
        ("replace(s, '', 'x')", "no text", "single quotes"),
        ("replace(s, 'x', s)", "no text", "single quotes"),
        ("regexp_extract(s, s)", "no text", "single quotes"),
        ("regexp_extract(s, '(a+)+$')", "holds the pattern", "a run of one class"),
        ("regexp_extract(s, '[0-9]')", "holds the pattern", "a run of one class"),
        ("regexp_extract(s, '[0-9a-z.-]+')", "holds the pattern", "a run of one class"),
        ("regexp_extract(s, '[[:alpha:]]+')", "holds the pattern", "a run of one class"),
        (r"regexp_extract(s, '\\d+')", "holds the pattern", "a run of one class"),
        ("regexp_extract(s, '[é]+')", "holds the pattern", "a run of one class"),
        ("regexp_extract(s, '[0-9]+', 1)", "the whole number 1", ""),
        ("regexp_replace(s, '[0-9]+', '')", "a way that is not known", "'g'"),
        ("regexp_replace(s, '[0-9]+', '\\1', 'g')", "a way that is not known", "backslash"),
        ("regexp_replace(s, '^[0-9]+', '', 'g')", "holds the pattern", "a run of one class"),
        ("regexp_matches(s, '[0-9]+')", "calls", "functions"),
        ("TRY_CAST(s AS INTEGER)", "into another type", "AS DOUBLE"),
        ("TRY_CAST(a AS DOUBLE)", "a number, as a text", ""),
        ("CAST(s AS VARCHAR)", "a text, as a number", ""),
        ("CAST(s AS DOUBLE)", "converts 's'", "TRY_CAST"),
        ("year(s)", "a text, as a time", ""),
        ("dayofweek(w)", "calls", "isodow"),
        ("contains(s, s)", "no text", "single quotes"),
        ("date_diff('year', w, v)", "unknown unit", "second, minute, hour, day"),
        ("DATE '2023-02-29' < w", "the time '2023-02-29'", ""),
        ("1e999", "the number 1e999", ""),
        ("a >", "is no SQL expression", "over the names of inputs"),
        ("", "is no SQL expression", ""),
        ("a " * 2000, "has 4,000 characters", "at most 2,000"),
        ("(" * 300 + "a" + ")" * 300, "nested deeper|is no SQL expression", ""),
        ("NOT " * 400 + "(a > 1)", "nested deeper|is no SQL expression", ""),
        ("- " * 900 + "a", "nested deeper|is no SQL expression", ""),
        ("abs(" * 21 + "a" + ")" * 21, "nested deeper than 20", "split it"),
        (" + ".join("a" * 42), "nested deeper than 40 operations", "split it"),
        ("abs(" * 90 + "a" + ")" * 90, "nested deeper|is no SQL expression", ""),
        ("case when " * 60 + "a", "is no SQL expression", ""),
        ("w", "makes neither", ""),
        ("NULL", "makes neither", ""),
        ("?", "holds", ""),
        ("*", "holds", ""),
        ("count(*)", "calls count", ""),
        ("interval 1 day", "holds|calls", ""),
        ("a AS b", "holds", ""),
        ("s COLLATE nocase = 'x'", "calls collate", ""),
    ],
)
def test_what_no_expression_holds(text: str, cause: str, remedy: str) -> None:
    started = time.monotonic()
    with pytest.raises(ProjectError) as failure:
        makes("derive", KINDS, columns={"x": text})
    assert time.monotonic() - started < 5
    assert re.search(cause, failure.value.cause) and re.search(remedy, failure.value.remedy), failure.value


def test_a_wide_expression_does_not_make_endless_sql() -> None:
    text = "lower(" * 15 + "s" + ")" * 15  # each writes the table of letters once
    with pytest.raises(ProjectError, match="characters of SQL"):
        makes("derive", KINDS, columns={"x": " || ".join([text] * 4)})


def test_the_functions_that_messages_name_exist() -> None:
    calls = {
        "contains": "contains(s, 'x') = true", "date_diff": "date_diff('day', w, v)", "ends_with": "ends_with(s, 'x')",
        "if": "if(a > 1, 1, 2)", "split_part": "split_part(s, 'x', 1)", "starts_with": "starts_with(s, 'x')",
        "substring": "substring(s, 1, 2)", "coalesce": "coalesce(a, 1)", "ifnull": "ifnull(a, 1)",
        "left": "left(s, 1)", "right": "right(s, 1)", "replace": "replace(s, 'a', '')",
        "try_cast": "TRY_CAST(s AS DOUBLE)",
        "regexp_extract": "regexp_extract(s, '[0-9]+')", "regexp_full_match": "regexp_full_match(s, '[0-9]+')",
        "regexp_replace": "regexp_replace(s, '[0-9]+', '', 'g')", **{name: f"{name}(w)" for name in OF_TIMES},
        "nullif": "nullif(a, 1)", "least": "least(a, 1)", "greatest": "greatest(a, 1)", "concat": "concat(s, 'x')",
    }  # fmt: skip
    for name in expressions.FUNCTIONS.split(", "):
        of = "s" if name in ("length", "lower", "trim", "upper") else "a"
        assert makes("derive", KINDS, columns={"x": calls.get(name, f"{name}({of})")})["x"] in ("number", "category")


def test_a_pattern_takes_time_in_proportion_to_the_text() -> None:
    """One megabyte that a search from every place would read once for each of its characters."""
    texts = ["1" * 1_000_000 + "x"]
    step = fit("derive", {"s": texts}, {"s": "category"}, columns={
        "end": "regexp_extract(s, '[0-9]+$')", "all": "regexp_extract(s, '^[0-9]+$')",
        "first": "regexp_extract(s, '[a-z]+')", "full": "regexp_full_match(s, '[0-9]+')", "n": "TRY_CAST(s AS DOUBLE)",
    })  # fmt: skip
    started = time.monotonic()
    made = step.apply({"s": texts})
    assert time.monotonic() - started < 2
    assert (made["end"][0], made["all"][0], made["first"][0], made["full"][0]) == ("", "", "x", 0.0)


def test_the_letters_of_lower_and_upper_are_pairs() -> None:
    assert len({*expressions.PAIRS.values()}) == len(expressions.PAIRS) == 617
    assert "İ" not in expressions.PAIRS and expressions.PAIRS["Ж"] == "ж" and expressions.PAIRS["Σ"] == "σ"


def test_kinds_that_expressions_make() -> None:
    made = makes("derive", KINDS, columns={"n": "a + 1", "c": "lower(s)", "f": "a > 1"})
    assert [*made] == [*KINDS, "n", "c", "f"] and [made[name] for name in "ncf"] == ["number", "category", "number"]
    with pytest.raises(ProjectError, match="makes the input 'a', which is there already"):
        makes("derive", KINDS, columns={"a": "a + 1"})
    with pytest.raises(ValidationError):
        plugins.STEPS.find("derive").settings.model_validate({"columns": {}})


def test_a_flag_is_0_where_it_is_unknown() -> None:
    values = {"a": [1.0, 5.0, None]}
    flag = fit("flag", values, {"a": "number"}, when={"large": "a > 3", "small": "NOT a > 3"})
    made = flag.apply(values)
    assert made["large"].tolist() == [0.0, 1.0, 0.0] and made["small"].tolist() == [1.0, 0.0, 0.0]
    assert flag.neutral() == {"a": 3.0}
    assert_sql_agrees(flag, values, {"a": "number"})
    with pytest.raises(ProjectError, match="is a number, not a condition"):
        makes("flag", {"a": "number"}, when={"x": "a + 1"})


@pytest.mark.parametrize(
    ("name", "own", "changes"),
    [
        ("derive", {"columns": {"x": "a + 1"}}, {"columns": {"x": "ln(a)"}}),
        ("derive", {"columns": {"x": "a + 1"}}, {"columns": {"a": "a + 1"}}),
        ("derive", {"columns": {"x": "a + 1"}}, {"columns": {"x": 3}}),
        ("derive", {"columns": {"x": "a + 1"}}, {"columns": {"x": "NULL"}}),
        ("derive", {"columns": {"x": "a + 1"}}, {"columns": {f"x{n}": "a" for n in range(300)}}),
        ("derive", {"columns": {"x": "a + 1"}}, {"columns": {"x": "(" * 999 + "a" + ")" * 999}}),
        ("derive", {"columns": {"x": "a + 1"}}, {"kinds": {"a": "text"}}),
        ("derive", {"columns": {"x": "a + 1"}}, {"kinds": {}}),
        ("derive", {"columns": {"x": "a + 1"}}, {"kinds": {"a": ["number"]}}),
        ("derive", {"columns": {"x": "a + 1"}}, {"usual": {"a": math.inf}}),
        ("derive", {"columns": {"x": "a + 1"}}, {"usual": {}}),
        ("flag", {"when": {"x": "a > 1"}}, {"when": {"x": "a"}}),
        ("flag", {"when": {"x": "a > 1"}}, {"when": {"a": "a > 1"}}),
        ("flag", {"when": {"x": "a > 1"}}, {"when": ["a > 1"]}),
    ],
)  # fmt: skip
def test_a_description_of_somebody_else(
    name: str, own: dict[str, Any], changes: dict[str, Any], tmp_path: Path
) -> None:
    step = fit(name, {"a": [1.0, 2.0]}, {"a": "number"}, **own)
    assert json.dumps(step.save(tmp_path), allow_nan=False)
    assert reopened(step, tmp_path) == step
    with pytest.raises(ModelError, match="Error"):
        reopened(step, tmp_path, **changes)
