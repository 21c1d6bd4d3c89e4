"""The suite for steps over each of ours, and what sequences, tokens and terms do beside it."""

from __future__ import annotations

import json
from datetime import datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any, get_args

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from conftest import sentences
from lakewright import plugins
from lakewright.data.rows.kinds import Kind
from lakewright.errors import ModelError, ProjectError
from lakewright.learning.sentence_encoders import frozen_encoder
from lakewright.model.folder import open_recipe
from lakewright.model.recipe import is_encoding, is_transform, learns_truth
from lakewright.model.recipe import sentence_embeddings as sentence_embeddings_step
from lakewright.model.recipe.aggregate import Aggregate, Statistic
from lakewright.model.recipe.bin import Bin
from lakewright.model.recipe.category_vectors import CategoryVectors, CategoryVectorsSettings
from lakewright.model.recipe.clip import Clip
from lakewright.model.recipe.dense import Dense, DenseSettings, Wanted
from lakewright.model.recipe.derive import Derive
from lakewright.model.recipe.flag import Flag
from lakewright.model.recipe.frequency import Frequency
from lakewright.model.recipe.hashing import Hashing
from lakewright.model.recipe.impute import Impute
from lakewright.model.recipe.log import Log
from lakewright.model.recipe.native import Native, NativeSettings
from lakewright.model.recipe.one_hot import OneHot
from lakewright.model.recipe.ordinal import Ordinal
from lakewright.model.recipe.part_of import Part, PartOf, PartOfSettings
from lakewright.model.recipe.scale import Scale
from lakewright.model.recipe.sentence_embeddings import SentenceEmbeddings, SentenceEmbeddingsSettings
from lakewright.model.recipe.text_vectors import TextVectors
from lakewright.model.recipe.tokens import LongTexts, Tokens
from lakewright.testing import StepCase, StepSuite, TransformSuite, TruthCase, TruthSuite
from lakewright.testing.steps import same
from recipes import store, terms, tokens, values

TEXTS = [row["text"] for row in sentences(50)]
MIXED = {"age": [3.0, None, 41.5, 1e300, -3.4028235e38], "place": ["north", None, "south", "elsewhere", "o'clock"]}
WHEN = {"sold": [datetime(2024, 2, 29, 23, 59, 59, 999999), None, datetime(1969, 12, 31, 1), datetime(1, 1, 1)]}
NUMBERS = {
    "age": [3.0, None, float("nan"), -0.0, 0.0, 1e300, -1e300, 5e-324, float("inf"), float("-inf"), 0.1, 41.5],
    "fare": [-1.5, 2.5, None, 1e-310, 7.25, 7.25, -1.7e308, 1.7e308, 0.3, 12.0, float("nan"), -3.5],
}
PLACES = {
    "place": ["north", None, "south", "o'clock", 'a "b"', "日本 👍🏽", "", "e\u0301", "\xe9", "north", "NULL", "\\"],
    "size": ["low", "high", None, "low", "elsewhere", "LOW", "", "high", "low", "m'id", "low ", "high"],
}
TIMES = {
    "sold": [*WHEN["sold"], *(datetime(2000, 2, 29) + n * timedelta(days=-9_999, microseconds=1) for n in range(8))],
}
ROWS: dict[str, Any] = {
    "tokens": values(TEXTS),
    "terms": values(TEXTS),
    "dense": MIXED,
    "native": MIXED,
    "part_of": WHEN,
    "impute": NUMBERS | PLACES,
    "ordinal": PLACES,
    "frequency": PLACES,
    "one_hot": PLACES,
    "hashing": PLACES,
    "category_vectors": PLACES,
    "scale": NUMBERS,
    "clip": NUMBERS,
    "log": NUMBERS,
    "bin": NUMBERS,
    "derive": NUMBERS | PLACES | TIMES,
    "aggregate": NUMBERS | PLACES,
    "flag": NUMBERS | PLACES | TIMES,
    "target_mean": PLACES,
    "text_vectors": {"text": [*TEXTS[:18], None, " "], "text_pair": [None, *TEXTS[-19:]]},
    "text_scores": {"text": [*TEXTS[:18], None, " "], "text_pair": [None, *TEXTS[-19:]]},
    "sentence_embeddings": {
        "text": [*TEXTS[:8], *TEXTS[:8], " ".join(TEXTS[:9]), "𐌰 \u200b", None, " "],
        "text_pair": [None, *TEXTS[-19:]],
    },
}
KINDS: dict[str, Kind] = {
    **dict.fromkeys(NUMBERS, "number"),
    **dict.fromkeys(TIMES, "time"),
    **dict.fromkeys(("text", "text_pair"), "optional text"),
}  # of the inputs that are no categories
LEARN_TRUTH = [name for name in plugins.STEPS.names() if learns_truth(plugins.STEPS.find(name))]
ULPS = {"log": 2}  # ln is numpy's on one side, the C library's on the other


@pytest.fixture(scope="module")
def steps(tiny_base: Path) -> dict[str, Any]:
    kinds: Any = {"age": "number", "place": "category"}
    dense, _ = Dense.fit([MIXED], kinds, DenseSettings(max_categories=2), Wanted("row"))
    native, _ = Native.fit([MIXED], kinds, NativeSettings(max_categories=3), Wanted("row"))
    part_of, _ = PartOf.fit([], {"sold": "time"}, PartOfSettings(parts=[*get_args(Part)]), Wanted("row"))
    embeddings = sentence_embeddings(tiny_base, dimensions=5)
    declared = (fitted(*one) for one in DECLARED)
    every = (tokens(tiny_base, 16), terms(TEXTS), dense, native, part_of, embeddings, *declared)
    return {step.name: step for step in (*every, *(truth_case(name).step for name in LEARN_TRUTH))}


def sentence_embeddings(base: Path, **settings: Any) -> SentenceEmbeddings:
    rows = ROWS["sentence_embeddings"]
    own = SentenceEmbeddingsSettings(base_model=str(base), **settings)
    wanted = Wanted("row", encoder=partial(frozen_encoder, base))
    return SentenceEmbeddings.fit([rows], dict.fromkeys(rows, "optional text"), own, wanted)[0]


def truth_case(name: str, kind: Any = "class", width: int = 1) -> TruthCase[Any]:
    """The truth of a row follows its first value; `width` numbers."""
    rows = ROWS[name]
    first = next(iter(rows.values()))
    order = sorted({*first} - {None})
    places = np.array([order.index(value) if value is not None else 0 for value in first])
    known = np.arange(width + 1 if kind == "class" and width == 1 else width)
    numbers = np.equal(places[:, None] % len(known), known[-width:]).astype(np.float64)
    if kind == "number":
        numbers = 0.1 * places[:, None].astype(np.float64) - 1e5
    names = ("",) if kind == "number" else tuple("abcdef"[:width])
    kinds: dict[str, Kind] = dict.fromkeys(rows, "category" if name == "target_mean" else "optional text")
    more = {} if name == "target_mean" else {"min_df": 1}
    return TruthCase.fitted(plugins.STEPS.find(name), rows, kinds, numbers, kind, names, **more)


def test_a_number_that_train_never_lacks_is_its_median_where_it_is_missing() -> None:
    """Trees would take it for 0, without a word."""
    train = [{"age": [10.0, 90.0], "size": [1.0, None]}, {"age": [20.0], "size": [3.0]}]
    native, _ = Native.fit(train, {"age": "number", "size": "number"}, NativeSettings(), Wanted("row"))
    columns = native.encode({"age": [None, 5.0], "size": [None, 1e300]}).columns
    assert columns is not None and columns[0, 0] == 20.0 and np.isnan(columns[0, 1])
    assert columns[1].tolist() == [5.0, float(np.finfo(np.float32).max)]


DERIVED = {
    "ratio": "age / fare",
    "rest": "(age % 3.5) * -fare + sqrt(abs(age)) - round(fare, 1)",
    "named": "lower(place) || '-' || coalesce(size, 'it''s none')",
    "cheap": "CASE WHEN fare < 5 OR place IN ('north', 'o''clock') THEN 'yes' WHEN age IS NULL THEN size END",
    "letters": "length(trim(place)) + least(age, fare, 3)",
    "days": "date_diff('day', DATE '1970-01-01', sold)",
    "ends": "left(place, 2) || right(place, 2) || split_part(size, ' ', -1) || replace(place, 'o', 'ö')",
    "runs": "regexp_extract(place, '[^A-Za-z]+$') || regexp_replace(size, '[^a-z]+', '', 'g')",
    "written": "try_cast(CAST(round(fare) AS VARCHAR) || '.5' AS DOUBLE)",
    "calendar": "year(sold) * 1000 + dayofyear(sold) + isodow(sold) / 10 + second(sold) / 100",
    "names": "dayname(sold) || ' ' || monthname(sold)",
    "leap": "sold BETWEEN TIMESTAMP '2024-02-29 00:00:00' AND TIMESTAMP '2024-02-29 23:59:59.999999'",
}
DECLARED: list[tuple[type[Any], dict[str, Any]]] = [
    (Impute, {}),
    (Ordinal, {"order": {"size": ["low", "m'id", "high"], "place": ["south", "日本 👍🏽", "", "north"]}}),
    (Frequency, {"max_categories": 5}),
    (OneHot, {"max_categories": 4}),
    (Hashing, {"buckets": 3}),
    (TextVectors, {"dimensions": 4}),
    (CategoryVectors, {"dimensions": 3}),
    (Scale, {"method": "robust"}),
    (Clip, {"quantiles": (0.2, 0.9)}),
    (Log, {}),
    (Bin, {"n_bins": 4, "result": "category"}),
    (Derive, {"columns": DERIVED}),
    (Aggregate, {"by": "place", "of": ["age", "fare"], "statistics": [*get_args(Statistic)]}),
    (
        Flag,
        {"when": {"old": "age > 3 AND NOT fare < 0", "north": "place = 'north'", "early": "sold < DATE '1970-01-01'"}},
    ),
]


def fitted(step: type[Any], settings: dict[str, Any]) -> Any:
    """The step, fitted on the rows that its case reads."""
    rows = ROWS[step.name]
    inputs: dict[str, Kind] = {n: KINDS.get(n, "category") for n in rows}
    return step.fit([rows], inputs, step.settings.model_validate({"step": step.name, **settings}), Wanted("row"))[0]


def test_every_step_is_here(steps: dict[str, Any]) -> None:
    assert set(steps) == set(plugins.STEPS.names())


class TestTransform(TransformSuite):
    @pytest.fixture(params=[name for name in plugins.STEPS.names() if is_transform(plugins.STEPS.find(name))])
    def case(self, request: pytest.FixtureRequest, steps: dict[str, Any]) -> StepCase[Any]:
        return StepCase(steps[request.param], ROWS[request.param], ULPS.get(request.param, 0))


@pytest.mark.parametrize("name", LEARN_TRUTH)
@pytest.mark.parametrize(("kind", "width"), [("class", 1), ("class", 3), ("labels", 2), ("number", 1)])
class TestTruth(TruthSuite):
    @pytest.fixture
    def case(self, name: str, kind: str, width: int) -> TruthCase[Any]:
        return truth_case(name, kind, width)


class TestEncoding(StepSuite):
    @pytest.fixture(params=[name for name in plugins.STEPS.names() if is_encoding(plugins.STEPS.find(name))])
    def case(self, request: pytest.FixtureRequest, steps: dict[str, Any]) -> StepCase[Any]:
        return StepCase(steps[request.param], ROWS[request.param])

    def test_it_looks_for_shortfalls(self, case: StepCase[Any]) -> None:
        assert case.step.shortfalls(case.step.encode(case.values), case.values)


def test_values_in_like_company_have_like_vectors() -> None:
    """400 products of four sorts, each in five rows; the sort decides where they are sold, and in which color."""
    draw = np.random.default_rng(3)
    product = np.repeat(np.arange(400), 5)
    sort, rows = product % 4, len(product)
    city = np.where(draw.random(rows) < 0.8, sort * 5, draw.integers(0, 20, rows)) + draw.integers(0, 5, rows)
    color = np.where(draw.random(rows) < 0.8, sort, draw.integers(0, 4, rows))
    train: Any = {
        "product": [None if at % 50 == 0 else f"p{each}" for at, each in enumerate(product)],
        "city": [f"c{each % 20}" for each in city],
        "color": [f"r{each}" for each in color],
    }
    kinds: dict[str, Kind] = dict.fromkeys(train, "category")
    parts = [{name: column[start:stop] for name, column in train.items()} for start, stop in ((0, 7), (7, None))]
    settings = CategoryVectorsSettings(dimensions=4)
    step, none = CategoryVectors.fit(parts, kinds, settings, Wanted("row"))
    assert none is None and same(
        step.encode(train), CategoryVectors.fit([train], kinds, settings, Wanted("row"))[0].encode(train)
    )
    every: Any = {"product": [f"p{at}" for at in range(400)], "city": ["c1"] * 400, "color": ["r1"] * 400}
    columns = step.encode(every).columns
    assert columns is not None
    vectors = columns[:, :4] / np.linalg.norm(columns[:, :4], axis=1, keepdims=True)
    near = (vectors @ vectors.T - 2 * np.eye(400)).argmax(axis=1)
    assert (near % 4 == np.arange(400) % 4).mean() > 0.9  # by chance 0.25
    unknown = step.encode({"product": ["p400", None], "city": ["c1", "c1"], "color": ["r1", None]}).columns
    assert unknown is not None and not unknown[:, :4].any() and unknown[0, 4:].all() and not unknown[1, 8:].any()


def test_vectors_that_no_company_shapes_are_refused() -> None:
    alone: Any = {"product": ["a", "b"]}
    with pytest.raises(ProjectError, match="reads the one category 'product'"):
        CategoryVectors.fit([alone], {"product": "category"}, CategoryVectorsSettings(), Wanted("row"))
    never: Any = {"product": ["a", "b", None], "city": [None, None, "c"]}
    with pytest.raises(ProjectError, match="the values of 'product' stand beside those of the others as often as by"):
        CategoryVectors.fit([never], dict.fromkeys(never, "category"), CategoryVectorsSettings(), Wanted("row"))


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"max_length": 8, "long_texts": "windows"},
        {"max_length": 8, "long_texts": "head_tail", "dimensions": 3},
        {"pooling": "cls", "dimensions": 1000},
    ],
)
class TestEmbeddings(StepSuite):
    @pytest.fixture
    def case(self, tiny_base: Path, settings: dict[str, Any]) -> StepCase[Any]:
        return StepCase(sentence_embeddings(tiny_base, **settings), ROWS["sentence_embeddings"])

    def test_they_are_unit_vectors_and_zeros_where_there_is_no_text(self, case: StepCase[Any]) -> None:
        encoded = case.step.encode(case.values).columns
        width = encoded.shape[1] // 2
        length = np.linalg.norm(encoded[:, :width], axis=1)
        if width > 3:
            assert length[:-2] == pytest.approx(1, abs=1e-5)
        assert not length[-2:].any() and not encoded[0, width:].any()
        assert np.array_equal(encoded[:8, :width], encoded[8:16, :width])

    def test_what_is_kept_changes_nothing(self, case: StepCase[Any], monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(sentence_embeddings_step, "KEPT", 4 * case.step.width * 3)
        once = case.step.encode(case.values)
        assert len(case.step._kept) == 3
        half = {name: column[7:] for name, column in case.values.items()}
        assert same(case.step.encode(half), once.take(np.arange(7, case.rows))) and same(
            case.step.encode(case.values), once
        )

    def test_files_that_were_changed_are_refused(self, case: StepCase[Any], tmp_path: Path) -> None:
        described = json.loads(json.dumps(case.step.save(tmp_path)))
        step = type(case.step)
        for key, value in {
            "network": "../elsewhere.onnx", "tokenizer": "none.json", "texts": {}, "width": 0, "max_length": 2,
            "long_texts": "lost", "pad_id": -1,
        }.items():  # fmt: skip
            with pytest.raises(ValueError, match=r"beside recipe\.json|empty|width|max_length|long_texts|pad_id"):
                step.open({**described, key: value}, tmp_path)
        name = next(iter(described["texts"]))
        for file in ("none", described["tokenizer"], 3):
            with pytest.raises(ValueError, match=r"directions|beside recipe\.json"):
                step.open({**described, "texts": {name: file}}, tmp_path)


@pytest.mark.parametrize("name", ["tokens", "terms"])
class TestSequences:
    def test_a_batch_is_padded_to_its_longest_row(self, steps: dict[str, Any], name: str) -> None:
        step = steps[name]
        encoded = step.encode(values(["", "dog", "the dog is here and there and everywhere"]))
        for inputs in (step.batch(encoded, np.array([2, 0])), step.batch(encoded, np.array([0]))):
            assert len({part.shape for part in inputs.values()}) == 1
        assert next(iter(inputs.values())).shape[1] == max(1, encoded.ids.lengths[0])

    @given(texts=st.lists(st.text(max_size=30) | st.just("\ud83d half an emoji"), max_size=5))
    def test_any_text_is_encoded_alone_as_in_company(self, steps: dict[str, Any], name: str, texts: list[str]) -> None:
        together = steps[name].encode(values(texts))
        assert len(together) == len(texts)
        for row, text in enumerate(texts):
            assert np.array_equal(steps[name].encode(values([text])).ids[0], together.ids[row])

    def test_a_row_without_anything_to_read_is_a_shortfall(self, steps: dict[str, Any], name: str) -> None:
        rows = values(["the dog", "\u200b", "the \U00010330 dog"])
        unread, *others = steps[name].shortfalls(steps[name].encode(rows), rows)
        assert unread.name == "unread_texts" and unread.lost.tolist() == [0, 1, 0]
        assert all(len(each.lost) == len(each.of) == 3 for each in others)


@pytest.mark.parametrize("padded", [False, True])
@pytest.mark.parametrize("pairs", [False, True])
@pytest.mark.parametrize("positions", [False, True])
@pytest.mark.parametrize("long_texts", ["cut", "head_tail", "windows"])
def test_tokens_encode_alike_before_and_after_they_are_stored(
    long_texts: LongTexts, positions: bool, pairs: bool, padded: bool, tiny_base: Path, tmp_path: Path
) -> None:
    """Training encodes with the one, serving with the other; a tokenizer.json may ask for padding and truncation."""
    described = json.loads((tiny_base / "tokenizer.json").read_text())
    if padded:
        described["padding"] = {
            "strategy": {"Fixed": 128}, "direction": "Right", "pad_to_multiple_of": None, "pad_id": 0,
            "pad_type_id": 0, "pad_token": "[PAD]",
        }  # fmt: skip
        described["truncation"] = {"direction": "Right", "max_length": 8, "strategy": "LongestFirst", "stride": 0}
    inputs = ["question", "context"] if pairs else ["question"]
    made = Tokens.make(inputs, json.dumps(described), 16, 0, long_texts, stride=2, positions=positions)
    questions = ["who has a dog", "where is the cat ? " * 3, "moss"]
    contexts = ["the dog is here and there and everywhere in the house by the river"] * 3 if pairs else None
    rows = values(questions, contexts, ("question", "context"))
    store(tmp_path, made)
    (tmp_path / "model.json").write_text('{"format": 3}')
    before, after = (each.encode(rows) for each in (made, open_recipe(tmp_path).steps[0]))
    assert same(before, after) and (before.chars is not None) == (after.chars is not None) == positions
    assert before.truncated is not None and after.truncated is not None
    assert before.truncated.tolist() == after.truncated.tolist()
    if long_texts == "windows":  # the first text is whole in each window
        first = made.tokenizer.encode(questions[0], add_special_tokens=False).ids
        assert before.ids[0].tolist()[1 : 1 + len(first)] == first and not before.truncated[0]


def test_tokens_count_what_they_cut(steps: dict[str, Any]) -> None:
    encoded = steps["tokens"].encode(values(["dog " * 100, "dog"]))
    assert encoded.truncated is not None and encoded.truncated.tolist() == [True, False]
    assert encoded.ids.lengths.max() == 16


def test_terms_weigh_as_scikit_learn_does() -> None:
    from sklearn.feature_extraction.text import TfidfVectorizer

    known = terms(TEXTS, min_df=2, max_features=10_000)
    theirs = TfidfVectorizer(ngram_range=(1, 2), min_df=2, sublinear_tf=True, token_pattern=r"\w+").fit(TEXTS)
    assert set(known.vocabulary) == set(theirs.vocabulary_)
    expected = theirs.transform(TEXTS).toarray()
    encoded = known.encode(values(TEXTS))
    assert encoded.weights is not None
    names = list(known.vocabulary)
    for row in range(len(TEXTS)):
        for term, weight in zip(encoded.ids[row], encoded.weights[row], strict=True):
            assert weight == pytest.approx(expected[row, theirs.vocabulary_[names[term - 1]]], abs=1e-6)


def terms_of(*texts: str) -> set[str]:
    return set(terms(texts, max_features=1000).vocabulary)


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("भाषा में हिन्दी", {"भाषा", "में", "हिन्दी", "भाषा में", "में हिन्दी"}),
        ("cafe\u0301 İ", {"caf\xe9", "i\u0307", "caf\xe9 i\u0307"}),
        ("ශ්\u200dරී", {"ශ්\u200dරී"}),
        ("شُكْرًا", {"شُكْرًا"}),
        ("한국어 말", {"한국어", "말", "한국어 말"}),
        ("2个iPhone。买", {"2", "个", "iphone", "买"}),
        ("日本語", {"日", "本", "語", "日本", "本語", "日本語"}),
        ("カギ ひ", {"カ", "ギ", "カギ", "ひ"}),
        ("ນ້ຳ", {"ນ", "້", "ຳ", "ນ້", "້ຳ", "ນ້ຳ"}),
        ("ที่", {"ท", "ี", "่", "ที", "ี่", "ที่"}),
        ("ទឹក", {"ទ", "ឹ", "ក", "ទឹ", "ឹក", "ទឹក"}),
        ("မြို", {"မ", "ြ", "ိ", "ု", "မြ", "ြိ", "ို", "မြိ", "ြို"}),
        ("❤\ufe0f!", {"❤"}),
        ("👍🏽🇩🇪", {"👍", "🇩🇪", "👍 🇩🇪"}),
        ("so 😀", {"so", "😀", "so 😀"}),
    ],
)
def test_terms_of_any_script(text: str, wanted: set[str]) -> None:
    assert terms_of(text) == wanted


@given(st.lists(st.text(alphabet="ab_1 '-.,!A\n", max_size=20), min_size=1, max_size=5))
def test_ascii_is_read_as_it_always_was(texts: list[str]) -> None:
    from lakewright.model.recipe.terms import _terms

    assert [list(_terms(text, 1)) for text in texts] == [list(_terms(text, 2)) for text in texts]


def test_terms_of_older_folders_read_as_they_did(tmp_path: Path) -> None:
    (tmp_path / "recipe").mkdir()
    (tmp_path / "model.json").write_text('{"format": 3}')
    (tmp_path / "recipe/terms.json").write_text(json.dumps({"terms": ["dog", "我的", "ष"], "idf": [1.0, 1.0, 1.0]}))

    def read_by(reading: int) -> list[int]:
        step = {"step": "terms", "inputs": ["text"], "reading": reading, "file": "terms.json"}
        (tmp_path / "recipe/recipe.json").write_text(json.dumps({"steps": [step]}))
        ids: list[int] = open_recipe(tmp_path).encode([{"text": "我的 भाषा 😀 dog"}]).ids[0].tolist()
        return ids

    assert sorted(read_by(1)) == [1, 2, 3]
    assert read_by(2) == [2, 1]  # 我的 as two characters in a row
    with pytest.raises(ModelError, match="reads texts in a way"):
        read_by(3)


def test_emoji_that_the_tokenizer_does_not_know_are_read_by_their_names(tiny_base: Path) -> None:
    text = values(["the dog 😀 is here ❤\ufe0f"])
    named, kept = (tokens(tiny_base, 64, symbols=how) for how in ("names", "keep"))  # type: ignore[arg-type]
    unknown = kept.tokenizer.token_to_id("[UNK]")
    assert unknown in kept.encode(text).ids.values
    assert unknown not in named.encode(text).ids.values
    wanted = kept.encode(values(["the dog  grinning face  is here  heavy black heart \ufe0f"]))
    assert named.encode(text).ids.values.tolist() == wanted.ids.values.tolist()
    named, kept = (tokens(tiny_base, 64, symbols=how, positions=True) for how in ("names", "keep"))  # type: ignore[arg-type]
    assert named.encode(text).ids.values.tolist() == kept.encode(text).ids.values.tolist()
