"""One suite over every encoding: stored and opened it is the same, and a batch holds each row's own values."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from conftest import sentences
from lakewright import plugins
from lakewright.errors import ModelError
from lakewright.learning.learners.encoder.base import load_tokens
from lakewright.model.recipe import Encoding, open_encoding
from lakewright.model.recipe.terms import Terms
from lakewright.model.recipe.tokens import LongTexts, Tokens

TEXTS = [row["text"] for row in sentences(50)]


@pytest.fixture(scope="module")
def encodings(tiny_base: Path) -> dict[str, Encoding]:
    return {"tokens": load_tokens(tiny_base, 16), "terms": Terms.fit(TEXTS, min_df=1, max_terms=100)}


def test_every_encoding_is_here(encodings: dict[str, Encoding]) -> None:
    assert set(encodings) == set(plugins.ENCODINGS.names())


@pytest.mark.parametrize("name", plugins.ENCODINGS.names())
class TestEncoding:
    def test_stored_and_opened_it_is_the_same(self, encodings: dict[str, Encoding], name: str, tmp_path: Path) -> None:
        encodings[name].save(tmp_path)
        again = open_encoding(tmp_path)
        assert again.name == name
        before, after = encodings[name].encode(TEXTS), again.encode(TEXTS)
        assert np.array_equal(before.ids.values, after.ids.values)
        assert np.array_equal(before.ids.offsets, after.ids.offsets)
        if before.weights is not None and after.weights is not None:
            assert np.array_equal(before.weights.values, after.weights.values)

    def test_a_batch_is_padded_to_its_longest_row(self, encodings: dict[str, Encoding], name: str) -> None:
        encoding = encodings[name]
        encoded = encoding.encode(["", "dog", "the dog is here and there and everywhere"])
        for inputs in (encoding.batch(encoded, np.array([2, 0])), encoding.batch(encoded, np.array([0]))):
            assert len({values.shape for values in inputs.values()}) == 1
        assert next(iter(inputs.values())).shape[1] == max(1, encoded.ids.lengths[0])

    @given(texts=st.lists(st.text(max_size=30) | st.just("\ud83d half an emoji"), max_size=5))
    def test_any_text_is_encoded_alone_as_in_company(
        self, encodings: dict[str, Encoding], name: str, texts: list[str]
    ) -> None:
        encoding = encodings[name]
        together = encoding.encode(texts)
        assert len(together) == len(texts)
        for row, text in enumerate(texts):
            assert np.array_equal(encoding.encode([text]).ids[0], together.ids[row])

    def test_a_row_without_anything_to_read_is_a_shortfall(self, encodings: dict[str, Encoding], name: str) -> None:
        texts = ["the dog", "\u200b", "the \U00010330 dog"]
        unread, *others = encodings[name].shortfalls(encodings[name].encode(texts), texts)
        assert unread.name == "unread_texts" and unread.lost.tolist() == [0, 1, 0]
        assert all(len(each.lost) == len(each.of) == 3 for each in others)


@pytest.mark.parametrize("padded", [False, True])
@pytest.mark.parametrize("pairs", [False, True])
@pytest.mark.parametrize("long_texts", ["cut", "head_tail", "windows"])
def test_tokens_encode_alike_before_and_after_they_are_stored(
    long_texts: LongTexts, pairs: bool, padded: bool, tiny_base: Path, tmp_path: Path
) -> None:
    """Training encodes with the one, serving with the other; a tokenizer.json may ask for padding and truncation."""
    described = json.loads((tiny_base / "tokenizer.json").read_text())
    if padded:
        described["padding"] = {
            "strategy": {"Fixed": 128}, "direction": "Right", "pad_to_multiple_of": None, "pad_id": 0,
            "pad_type_id": 0, "pad_token": "[PAD]",
        }  # fmt: skip
        described["truncation"] = {"direction": "Right", "max_length": 8, "strategy": "LongestFirst", "stride": 0}
    made = Tokens.make(json.dumps(described), 16, 0, long_texts, stride=2, pairs=pairs)
    made.save(tmp_path)
    questions = ["who has a dog", "where is the cat ? " * 3, "moss"]
    contexts = ["the dog is here and there and everywhere in the house by the river"] * 3 if pairs else None
    for positions in (False, True):
        before, after = (each.encode(questions, contexts, positions) for each in (made, open_encoding(tmp_path)))
        assert np.array_equal(before.ids.values, after.ids.values)
        assert np.array_equal(before.ids.offsets, after.ids.offsets)
        assert before.truncated is not None and after.truncated is not None
        assert before.truncated.tolist() == after.truncated.tolist()
    if long_texts == "windows":  # the first text is whole in each window
        first = made.tokenizer.encode(questions[0], add_special_tokens=False).ids
        assert before.ids[0].tolist()[1 : 1 + len(first)] == first and not before.truncated[0]


def test_tokens_count_what_they_cut(encodings: dict[str, Encoding]) -> None:
    encoded = encodings["tokens"].encode(["dog " * 100, "dog"])
    assert encoded.truncated is not None and encoded.truncated.tolist() == [True, False]
    assert encoded.ids.lengths.max() == 16


def test_terms_weigh_as_scikit_learn_does(encodings: dict[str, Encoding]) -> None:
    from sklearn.feature_extraction.text import TfidfVectorizer

    terms = Terms.fit(TEXTS, min_df=2, max_terms=10_000)
    theirs = TfidfVectorizer(ngram_range=(1, 2), min_df=2, sublinear_tf=True, token_pattern=r"\w+").fit(TEXTS)
    assert set(terms.vocabulary) == set(theirs.vocabulary_)
    expected = theirs.transform(TEXTS).toarray()
    encoded = terms.encode(TEXTS)
    assert encoded.weights is not None
    names = list(terms.vocabulary)
    for row in range(len(TEXTS)):
        for term, weight in zip(encoded.ids[row], encoded.weights[row], strict=True):
            assert weight == pytest.approx(expected[row, theirs.vocabulary_[names[term - 1]]], abs=1e-6)


def terms_of(*texts: str) -> set[str]:
    return set(Terms.fit(texts, min_df=1, max_terms=1000).vocabulary)


@pytest.mark.parametrize(
    ("text", "terms"),
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
def test_terms_of_any_script(text: str, terms: set[str]) -> None:
    assert terms_of(text) == terms


@given(st.lists(st.text(alphabet="ab_1 '-.,!A\n", max_size=20), min_size=1, max_size=5))
def test_ascii_is_read_as_it_always_was(texts: list[str]) -> None:
    from lakewright.model.recipe.terms import _terms

    assert [list(_terms(text, 1)) for text in texts] == [list(_terms(text, 2)) for text in texts]


def test_a_folder_of_before_reads_as_it_did(tmp_path: Path) -> None:
    import json

    text = "我的 भाषा 😀 dog"
    described = {"name": "terms", "terms": ["dog", "我的", "ष"], "idf": [1.0, 1.0, 1.0]}
    (tmp_path / "encoding.json").write_text(json.dumps(described))
    assert sorted(open_encoding(tmp_path).encode([text]).ids[0].tolist()) == [1, 2, 3]
    (tmp_path / "encoding.json").write_text(json.dumps({**described, "reading": 2}))
    assert open_encoding(tmp_path).encode([text]).ids[0].tolist() == [2, 1]  # 我的 as two characters in a row
    (tmp_path / "encoding.json").write_text(json.dumps({**described, "reading": 3}))
    with pytest.raises(ModelError, match="reads texts in a way"):
        open_encoding(tmp_path)


def test_emoji_that_the_tokenizer_does_not_know_are_read_by_their_names(tiny_base: Path) -> None:
    from lakewright.learning.learners.encoder.base import load_tokens

    text = "the dog 😀 is here ❤\ufe0f"
    named, kept = (load_tokens(tiny_base, 64, symbols=how) for how in ("names", "keep"))
    unknown = kept.tokenizer.token_to_id("[UNK]")
    assert unknown in kept.encode([text]).ids.values
    assert unknown not in named.encode([text]).ids.values
    wanted = kept.encode(["the dog  grinning face  is here  heavy black heart \ufe0f"])
    assert named.encode([text]).ids.values.tolist() == wanted.ids.values.tolist()
    placed = named.encode([text], positions=True)
    assert placed.ids.values.tolist() == kept.encode([text], positions=True).ids.values.tolist()
