"""What `lakewright profile` measures: by hand-computed cases, numpy, scipy and scikit-learn."""

from __future__ import annotations

import math
from datetime import date, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.spatial.distance import jensenshannon
from scipy.stats import entropy
from sklearn.metrics import jaccard_score

import lakewright as lw
from lakewright.api import profile as profile_table
from lakewright.data.profile import bias, labels, texts
from lakewright.data.profile.columns import ColumnProfile, profile_column
from lakewright.data.profile.languages import WORDS, guess
from lakewright.data.profile.splits import profile_splits
from lakewright.errors import DataError, NotFound


@pytest.fixture
def lake(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.chdir(tmp_path)
    return lw.Workspace.open(lw.load_profile()).lake


def column_of(lake: Any, values: Any, kind: pa.DataType | None = None, name: str = "value") -> ColumnProfile:
    table = lake.write("main.t.one", pa.table({name: pa.array(values, kind)}))
    return profile_column(lake, table, lake.scan(table).schema.field(0))


def suspicious(profile: ColumnProfile) -> dict[str, int]:
    return {finding.name: finding.count for finding in profile.suspicious}


# Columns


def test_the_kinds_of_nothing_are_counted_apart(lake: Any) -> None:
    found = column_of(lake, [None, "", "  ", "\u00a0\t", "a", "a", "b"])
    assert (found.null, found.empty, found.blank, found.nan) == (1, 1, 2, 0)
    assert (found.rows, found.missing, found.distinct) == (7, 4, 2)
    assert "mostly missing" in found.flags
    assert [(top.value, top.rows) for top in found.top] == [("a", 2), ("b", 1)]
    numbers = column_of(lake, [None, math.nan, math.inf, 1.0, 3.0])
    assert (numbers.null, numbers.nan, numbers.infinite, numbers.missing) == (1, 1, 1, 2)
    assert numbers.mean == 2 and numbers.quantiles["max"] == 3
    nothing = column_of(lake, [None, None, "x"])
    assert nothing.flags == ["mostly missing", "constant"]
    assert column_of(lake, ["", None]).flags == ["all missing"]


def test_the_spread_of_numbers_and_times_is_numpys(lake: Any) -> None:
    draw = np.random.default_rng(0)
    values = draw.normal(5, 2, 1000).round(2)
    found = column_of(lake, values)
    assert found.mean == pytest.approx(values.mean()) and found.deviation == pytest.approx(values.std())
    for name, q in {"min": 0, "p1": 0.01, "p25": 0.25, "p50": 0.5, "p95": 0.95, "max": 1}.items():
        assert found.quantiles[name] == np.quantile(values, q, method="inverted_cdf")
    assert sum(rows for _, _, rows in found.histogram) == 1000
    counts, _ = np.histogram(values, bins=30)
    assert np.abs(np.array([rows for _, _, rows in found.histogram]) - counts).sum() <= 4  # values on an edge
    whole = column_of(lake, [1, 2, 2, 5])
    assert [rows for _, _, rows in whole.histogram] == [1, 2, 0, 0, 1] and whole.histogram[0][:2] == (1, 2)
    days = column_of(lake, [date(2020, 1, 1), date(2020, 1, 3), date(2020, 1, 3)])
    assert (days.quantiles["min"], days.quantiles["p50"], days.kind) == ("2020-01-01", "2020-01-03", "time")
    times = column_of(lake, [datetime(2020, 1, 1, 12, 30)], pa.timestamp("us", "UTC"))
    assert times.quantiles["max"] == "2020-01-01 12:30:00"


def test_flags(lake: Any) -> None:
    assert "near-constant" in column_of(lake, ["a"] * 995 + ["b"] * 5).flags
    assert column_of(lake, list(range(30))).flags == ["id-like"]
    assert column_of(lake, [f"r{i}" for i in range(30)]).flags == ["id-like"]
    assert column_of(lake, [i / 7 for i in range(30)]).flags == []
    assert column_of(lake, ["1", "2.5", "1e3"] * 3).flags == ["numbers as text"]
    assert column_of(lake, ["1", "2", "n/k", "3"] * 3).flags == ["mixed types"]
    assert column_of(lake, [f"text number {i} is here" for i in range(30)]).kind == "text"
    assert column_of(lake, ["a label of many words"] * 30 + ["another one of them"]).kind == "category"


def test_suspicious_values_are_found_and_clean_ones_are_not(lake: Any) -> None:
    found = column_of(
        lake,
        [
            *("N/A", "unknown", "null", "-", "?", "caf\u00c3\u00a9", "caf\u00e9", "it\u00e2\u20ac\u2122s"),
            *("a<br />b", "a &amp; b", "Place", "North", "north ", "x\x07y", "\ufffd", "ends\t", "fine"),
        ],
        name="place",
    )
    assert suspicious(found) == {
        "placeholders": 5,
        "column_name": 1,
        "control_characters": 1,
        "replacement_characters": 1,
        "mojibake": 2,
        "html": 2,
        "padded": 2,
        "spellings": 1,
    }
    spellings = next(finding for finding in found.suspicious if finding.name == "spellings")
    assert spellings.rows == ["'North' (1) / 'north ' (1)"]
    clean = ["NÃO", "São Paulo", "x < y and y > z", "R&D", "AT&T", "Ångström", "naïve", "Âge", "10 € net", "名前", "🙂"]
    assert suspicious(column_of(lake, clean)) == {}


def test_sentinels_stand_apart_from_the_other_numbers(lake: Any) -> None:
    ages = list(range(18, 90))
    assert suspicious(column_of(lake, [*ages, 999, 999])) == {"sentinels": 2}
    assert suspicious(column_of(lake, [*ages, -1])) == {"sentinels": 1}
    assert suspicious(column_of(lake, [*ages, -99, 9999])) == {"sentinels": 2}
    assert suspicious(column_of(lake, [*range(18, 99), 99])) == {}
    assert suspicious(column_of(lake, [*range(900, 1100)])) == {}
    assert suspicious(column_of(lake, [-1, 0, 1])) == {}  # three classes
    assert suspicious(column_of(lake, [date(1970, 1, 1), date(2020, 5, 5)])) == {"sentinels": 1}
    assert suspicious(column_of(lake, [date(1960, 1, 1), date(1970, 1, 1), date(2020, 5, 5)])) == {}


@pytest.mark.parametrize(
    "values",
    [
        pa.array([[1, 2], [], None], pa.list_(pa.int64())),
        pa.array([{"a": 1, "b": ["x"]}, None, {"a": 2, "b": []}]),
        pa.array([[("k", 1)], None, []], pa.map_(pa.string(), pa.int64())),
        pa.array(
            [[{"start": 1, "label": "x"}], None], pa.list_(pa.struct({"start": pa.int64(), "label": pa.string()}))
        ),
        pa.array([b"\x00\xff", None]),
        pa.array([True, None, False]),
        pa.array([1, None], pa.decimal128(10, 2)),
    ],
    ids=lambda values: str(values.type)[:20],
)
def test_every_type_has_a_profile(lake: Any, values: pa.Array) -> None:
    found = column_of(lake, values, name='odd "name". <b>ü</b>')
    assert found.name == 'odd "name". <b>ü</b>'
    assert (found.rows, found.null, found.distinct) == (len(values), 1, len(values) - 1)


# Languages


def test_languages_of_sentences_are_told_apart() -> None:
    said = {
        "en": "This is the first time that I have seen it",
        "de": "Das ist nicht der erste Tag, und ich war auch da",
        "fr": "Je ne sais pas pour qui est cette maison, mais elle est belle",
        "es": "No es lo que los niños dicen, pero está muy bien",
        "pt": "Não é o que você diz, mas foi muito bom",
        "it": "Non è la prima volta che sono qui, ma mi piace",
        "nl": "Het is niet de eerste keer dat ik het heb gezien",
        "ru": "Это не то, что он сказал, но она была там",
        "ja": "これは日本語の文です",
        "zh": "这是一个句子",
        "ko": "이것은 문장입니다",
        "el": "Αυτή είναι μια πρόταση",
        "ar": "هذه جملة",
    }
    assert {language: guess(text)[1] for language, text in said.items()} == {language: language for language in said}
    assert guess("12 34 🙂") == (None, "und")
    assert guess("Zürich") == ("Latin", "und")
    assert guess("Москва")[0] == "Cyrillic"
    assert all(len(set(words.split())) == len(words.split()) for words in WORDS.values())


# Bias


def test_bias_measures_by_hand() -> None:
    """Rest: 6 of yes, 2 of no; facet: 1 of yes, 3 of no."""
    p_a, p_d = np.array([0.75, 0.25]), np.array([0.25, 0.75])
    assert bias.class_imbalance(8, 4) == pytest.approx(1 / 3)
    assert bias.proportion_difference(6, 8, 1, 4) == pytest.approx(0.5)
    assert bias.kullback_leibler(p_a, p_d) == pytest.approx(0.5 * math.log(3))
    assert bias.jensen_shannon(p_a, p_d) == pytest.approx(0.75 * math.log(1.5) + 0.25 * math.log(0.5))
    assert bias.lp_norm(p_a, p_d) == pytest.approx(math.sqrt(0.5))
    assert bias.total_variation(p_a, p_d) == pytest.approx(0.5)
    assert bias.kolmogorov_smirnov(p_a, p_d) == pytest.approx(0.5)


COUNTS = st.lists(st.tuples(st.integers(0, 50), st.integers(0, 50)), min_size=2, max_size=6).filter(
    lambda pairs: sum(a for a, _ in pairs) > 0 and sum(d for _, d in pairs) > 0
)


@given(COUNTS)
def test_bias_measures_are_scipys(counts: list[tuple[int, int]]) -> None:
    a, d = np.array(counts, dtype=float).T
    p_a, p_d = a / a.sum(), d / d.sum()
    assert bias.kullback_leibler(p_a, p_d) == pytest.approx(entropy(p_a, p_d), abs=1e-12)
    assert bias.jensen_shannon(p_a, p_d) == pytest.approx(jensenshannon(p_a, p_d) ** 2, abs=1e-12)
    assert bias.lp_norm(p_a, p_d) == pytest.approx(np.linalg.norm(p_a - p_d), abs=1e-12)
    assert 0 <= bias.kolmogorov_smirnov(p_a, p_d) <= bias.total_variation(p_a, p_d) + 1e-12 <= 1 + 2e-12


def test_bias_by_a_column(lake: Any) -> None:
    rows = [("a", "yes")] * 6 + [("a", "no")] * 2 + [("b", "yes")] + [("b", "no")] * 3 + [("c", "no")] + [(None, "no")]
    group, label = zip(*rows, strict=True)
    table = lake.write("main.t.bias", pa.table({"x=y": group, "label": label, "age": list(range(len(rows)))}))
    found = labels.read_labels(lake, table, ["label"], "label")
    measured, findings = bias.measure_bias(lake, table, ["x=y"], found)
    assert [(each.value, each.rows, each.rest_rows) for each in measured] == [("a", 8, 5), ("b", 4, 9), ("c", 1, 12)]
    a, _, c = measured
    assert a.class_imbalance == pytest.approx((5 - 8) / 13)
    assert a.proportions["yes"] == pytest.approx(1 / 5 - 6 / 8)
    assert a.proportions["no"] == -a.proportions["yes"]
    assert c.kullback_leibler is None and "'yes'" in c.note  # the rest has it, the facet has not
    assert c.jensen_shannon == pytest.approx(jensenshannon([7 / 12, 5 / 12], [0, 1]) ** 2)
    assert [(finding.name, finding.count) for finding in findings] == [("no_facet_value", 1), ("few_facet_rows", 3)]
    assert findings[1].rows == ["a: 8 labelled rows, 5 others", "b: 4 labelled rows, 9 others",
                                "c: 1 labelled row, 12 others"]  # fmt: skip
    (only,), _ = bias.measure_bias(lake, table, ["x=y=b"], found)
    assert only == measured[1]
    with pytest.raises(NotFound, match="no value 'bb'"):
        bias.measure_bias(lake, table, ["x=y=bb"], found)
    with pytest.raises(NotFound) as unknown:
        bias.measure_bias(lake, table, ["agge"], found)
    assert "did you mean 'age'" in unknown.value.remedy
    with pytest.raises(NotFound, match="no column 'agge'"):
        bias.measure_bias(lake, table, ["agge>3"], found)
    with pytest.raises(NotFound, match="no column 'agge'"):
        bias.measure_bias(lake, table, ["age"], found, "agge")


def test_bias_by_a_threshold(lake: Any) -> None:
    age = [*range(10), None, math.nan]
    table = lake.write("main.t.ages", pa.table({"age": pa.array(age, pa.float64()), "label": ["y", "n"] * 6}))
    found = labels.read_labels(lake, table, ["label"], "label")
    (over, upto, one), findings = bias.measure_bias(lake, table, ["age > 6.5", "age<=6", "age=3"], found)
    assert (over.value, over.rows, over.rest_rows) == ("over 6.5", 3, 7)
    assert (upto.value, upto.rows, upto.rest_rows) == ("up to 6", 7, 3)
    assert (one.value, one.rows, one.rest_rows) == ("3", 1, 9)
    assert over.proportions["y"] == pytest.approx(4 / 7 - 1 / 3) == -upto.proportions["y"]
    assert {(each.name, each.count) for each in findings} == {("no_facet_value", 2), ("few_facet_rows", 1)}
    with pytest.raises(DataError, match="'old', which is no number"):
        bias.measure_bias(lake, table, ["age>old"], found)
    with pytest.raises(DataError, match="holds no numbers"):
        bias.measure_bias(lake, table, ["label>3"], found)


def test_a_column_of_many_values_is_counted(lake: Any) -> None:
    names = [f"v{i:02}" for i in range(25) for _ in range(2)] + ["v00"]
    table = lake.write("main.t.many", pa.table({"name": names, "label": ["y", "n"] * 25 + ["y"]}))
    measured, findings = bias.measure_bias(lake, table, ["name"], labels.read_labels(lake, table, ["label"], "label"))
    assert len(measured) == 20 and measured[0].value == "v00"
    assert next(each.count for each in findings if each.name == "many_facet_values") == 10  # five values of two rows


def test_conditional_disparity_by_hand(lake: Any) -> None:
    """Admissions at Berkeley in small: women apply where few are admitted; in each department they are admitted as
    often as men."""
    rows = [("a", "m", "in")] * 6 + [("a", "m", "out")] * 2 + [("a", "f", "in")] * 3 + [("a", "f", "out")]
    rows += [("b", "m", "in")] + [("b", "m", "out")] * 3 + [("b", "f", "in")] * 2 + [("b", "f", "out")] * 6
    rows += [("c", "f", "in")] * 5 + [(None, "f", "out")]  # of nobody in c is there another answer
    department, sex, label = zip(*rows, strict=True)
    table = lake.write("main.t.berkeley", pa.table({"department": department, "sex": sex, "label": label}))
    found = labels.read_labels(lake, table, ["label"], "label")
    (women,), findings = bias.measure_bias(lake, table, ["sex=f"], found, "department")
    assert women.conditional["in"].value == pytest.approx(0, abs=1e-12)
    assert (women.conditional["in"].groups, women.conditional["in"].rows) == (2, 24)
    assert [(each.name, each.count) for each in findings] == [("no_group_value", 1), ("few_facet_rows", 1)]
    (whole,), _ = bias.measure_bias(lake, table, ["sex=f"], found, "sex")  # a group of one sex has no disparity
    assert whole.conditional["in"].value == pytest.approx(0, abs=1e-12)
    value, both = bias.conditional_disparity(np.array([[[2, 6], [1, 3]], [[1, 3], [4, 2]]]))
    # 3 rows refused, 1 of them of the facet; 9 accepted, 3. Then 5 refused, 4; 5 accepted, 2: 0.8 - 0.4
    assert value == pytest.approx((12 * (1 / 3 - 3 / 9) + 10 * 0.4) / 22) and both.tolist() == [True, True]
    value, both = bias.conditional_disparity(np.array([[[0, 6], [0, 3]]]))
    assert np.isnan(value) and not both.any()


def test_bias_by_a_number_and_of_a_number(lake: Any) -> None:
    table = lake.write("main.t.numbers", pa.table({"age": list(range(40)), "score": [i / 3 for i in range(40)]}))
    score = labels.read_labels(lake, table, ["score"], "label")
    assert score.kind == "number"
    facets, _ = bias.measure_bias(lake, table, ["age"], score)
    assert {facet.value for facet in facets} == {"up to 9", "over 9 to 19", "over 19 to 29", "over 29"}
    lowest = next(facet for facet in facets if facet.value == "up to 9")
    assert lowest.proportions["above the median"] == pytest.approx(20 / 30)
    assert "median" in lowest.note or lowest.kullback_leibler is None


# Labels


def test_balance_of_classes(lake: Any) -> None:
    table = lake.write("main.t.classes", pa.table({"label": [1.0] * 12 + [2.0] * 4 + [10.0] * 2 + [None, math.nan]}))
    found = labels.profile_labels(labels.read_labels(lake, table, ["label"], "label"))
    assert [(each.label, each.rows) for each in found.balance] == [("1", 12), ("2", 4), ("10", 2)]
    assert (found.rows, found.unknown, found.imbalance_ratio, found.rare) == (18, 2, 6, 2)
    assert found.entropy == pytest.approx(entropy([12, 4, 2]) / math.log(3))
    assert labels.normalised_entropy(np.array([5, 5])) == pytest.approx(1)
    assert labels.normalised_entropy(np.array([5])) is None


def test_a_projects_labels_are_those_of_its_task(lake: Any, tmp_path: Path) -> None:
    """150 whole numbers look like a number; a task of classes reads classes, and `merge` names what they count as."""
    data = pa.table({"text": [f"text {i}" for i in range(300)], "label": [i % 150 for i in range(300)]})
    table = lake.write("main.t.codes", data)
    (tmp_path / "project.yml").write_text("""
        name: codes
        task: {name: text_classification, merge: {"149": "0"}}
        data: {table: main.t.codes, columns: {text: text, label: label}}
        train: {learner: linear}
    """)
    own = labels.read_truths(lake, table, lw.load_project(tmp_path / "project.yml"))
    assert own.kind == "class" and len(own.names) == 149 and own.names[:3] == ("0", "1", "2")
    assert own.counts(own.known)[0] == 4 and own.known.all()
    assert labels.read_labels(lake, table, ["label"], "label").kind == "number"
    profile = profile_table("main.t.codes", project=tmp_path / "project.yml", out=tmp_path / "out")
    assert profile.labels is not None and profile.labels.classes == 149


@pytest.mark.parametrize("shape", ["lists", "columns", "json"])
def test_labels_that_stand_together(lake: Any, shape: str) -> None:
    hot = np.random.default_rng(1).random((50, 3)) < [0.7, 0.4, 0.1]
    names = ["a", "b", "c"]
    lists = [[name for name, there in zip(names, row, strict=True) if there] for row in hot]
    if shape == "columns":
        data, columns = {name: hot[:, i].astype(int) for i, name in enumerate(names)}, names
    else:
        import json

        given = [json.dumps(row) for row in lists] if shape == "json" else pa.array(lists, pa.list_(pa.string()))
        data, columns = {"labels": given}, ["labels"]
    table = lake.write("main.t.multi", pa.table(data))
    found = labels.profile_labels(labels.read_labels(lake, table, columns, "labels"))
    assert found.kind == "multi" and found.without_label == int((hot.sum(axis=1) == 0).sum())
    assert found.labels_a_row == {n: int(c) for n, c in enumerate(np.bincount(hot.sum(axis=1))) if c}
    assert found.together is not None
    order = [names.index(name) for name in found.together.labels]
    assert found.together.counts == (hot.T.astype(int) @ hot)[np.ix_(order, order)].tolist()
    for i, one in enumerate(order):
        for j, other in enumerate(order):
            assert found.together.jaccard[i][j] == pytest.approx(jaccard_score(hot[:, one], hot[:, other]))
            assert found.together.given[i][j] == pytest.approx((hot[:, one] & hot[:, other]).sum() / hot[:, one].sum())


def test_tags_and_spans_are_counted_by_entity(lake: Any) -> None:
    tags = [["O", "B-per", "I-per", "B-loc"], ["O", "O"], ["B-per", "O", "B-per"]]
    spans = [[{"start": 0, "end": 1, "label": "per"}], [], None]
    table = lake.write("main.t.tags", pa.table({"tags": tags, "spans": spans}))
    for role in ("tags", "label"):
        found = labels.profile_labels(labels.read_labels(lake, table, ["tags"], role))  # type: ignore[arg-type]
        assert {each.label: each.rows for each in found.balance} == {"per": 2, "loc": 1} and found.without_label == 1
    found = labels.profile_labels(labels.read_labels(lake, table, ["spans"], "spans"))
    assert (found.rows, found.unknown, found.without_label) == (2, 1, 1)


def test_what_is_no_label_is_refused(lake: Any) -> None:
    table = lake.write("main.t.bad", pa.table({"a": [0, 2], "b": [1, 1], "s": [{"x": 1}, {"x": 2}], "t": ["x", "y"]}))
    with pytest.raises(DataError, match="'a' holds 2 in row 1"):
        labels.read_labels(lake, table, ["a", "b"], "label")
    with pytest.raises(DataError, match="'s' holds struct"):
        labels.read_labels(lake, table, ["s"], "label")
    with pytest.raises(DataError, match="'t' holds string"):
        labels.read_labels(lake, table, ["b", "t"], "label")


# Texts and splits


def test_lengths_are_numpys_and_every_kth_text_is_said(lake: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    lengths = np.random.default_rng(2).integers(1, 700, 50)
    table = lake.write(
        "main.t.texts", pa.table({"text": [" ".join(["the"] * n) for n in lengths.tolist()] + [" ", None]})
    )
    found = texts.profile_text(lake, table, "text", None)
    assert (found.texts, found.without, found.every, found.tokens) == (50, 2, 1, None)
    assert found.words is not None and found.words.mean == pytest.approx(lengths.mean())
    for percent in (10, 50, 75, 90):
        assert found.words.quantiles[f"p{percent}"] == np.percentile(lengths, percent, method="inverted_cdf")
    assert found.words.over["512"] == pytest.approx((lengths > 512).mean())
    assert sum(rows for _, _, rows in found.words.histogram) == 50
    monkeypatch.setattr(texts, "MEASURED", 20)
    sampled = texts.profile_text(lake, table, "text", None)
    assert sampled.every == 3 and sampled.words == found.words


def test_duplicates_conflicts_and_leaks(lake: Any) -> None:
    rows = [
        ("A cat", "x", "train"),
        ("a  CAT", "y", "test"),  # normalised duplicate, in conflict, and leaked
        ("a dog", "x", "train"),
        ("a dog", "x", "dev"),  # exact duplicate, leaked
        ("a dog", None, None),  # unlabelled: conflicts with none
        (None, "x", "train"),
        ("a cow", "y", "test"),
    ]
    text, label, split = zip(*rows, strict=True)
    table = lake.write("main.t.doubles", pa.table({"text": text, "label": label, "split": split}))
    found = profile_table(str(table), out="out")
    assert found.duplicates is not None and found.splits is not None
    assert (found.duplicates.texts, found.duplicates.exact, found.duplicates.normalised) == (6, 2, 3)
    assert found.duplicates.conflicting == 2
    assert [each.labels for each in found.duplicates.conflicts] == [{"x": 1, "y": 1}]
    assert found.duplicates.repeated[0].text == "a dog" and found.duplicates.repeated[0].rows == 3
    assert found.splits.rows == {"train": 3, "validation": 1, "test": 2} and found.splits.without == 1
    assert found.splits.leaks is not None
    assert {(leak.splits, leak.texts, leak.rows) for leak in found.splits.leaks} == {
        (("train", "validation"), 1, 1),
        (("train", "test"), 1, 1),
    }
    assert found.splits.label_shares["test"] == {"x": 0, "y": 1}
    assert found.splits.drift["test"] == pytest.approx(math.log(2))
    assert found.splits.drift["validation"] == 0
    names = [finding.name for finding in found.findings]
    assert {"leakage", "conflicting_labels", "duplicates", "label_drift", "unlabelled"} <= set(names)


def test_a_split_without_train_has_no_drift() -> None:
    found = profile_splits(np.array(["fold 1", "fold 2", None], dtype=object), None, None, source="column", by="fold")
    assert (found.rows, found.without, found.drift, found.leaks) == ({"fold 1": 1, "fold 2": 1}, 1, {}, None)


def test_no_rows_are_no_crash(lake: Any) -> None:
    from deltalake import DeltaTable

    data = {
        "text": ["a b c"],
        "label": ["x"],
        "n": [1.5],
        "at": [datetime(2020, 1, 1)],
        "l": [["x"]],
        "split": ["train"],
    }
    table = lake.write("main.t.none", pa.table(data))
    DeltaTable(table.uri).delete()
    found = profile_table("main.t.none", bias=["n"])
    assert found.table.rows == 0 and [finding.name for finding in found.findings] == ["no_rows"]
    assert Path(found.page).exists()
