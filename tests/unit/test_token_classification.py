"""Spans and tags: exact characters whatever the text holds, and never a broken span."""

from __future__ import annotations

import json
from itertools import pairwise
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lakewright.data.rows.truths.spans import spans_of_tags
from lakewright.errors import DataError
from lakewright.model.recipe.scripts import is_mark
from lakewright.model.recipe.tokens import Tokens
from lakewright.model.tasks import read_whole
from lakewright.model.tasks.tagging import TokenClassification, _best_tags, words_of
from recipes import recipe_for
from recipes import tokens as tokens_of

TASK = TokenClassification(("person", "place"))


@pytest.fixture(scope="module")
def tokens(tiny_base: Path) -> Tokens:
    return tokens_of(tiny_base, 64, positions=True)


@pytest.mark.parametrize(
    ("tags", "spans"),
    [
        (["O", "B-x", "I-x", "O"], [(2, 6, "x")]),
        (["I-x", "I-x", "O", "O"], [(0, 3, "x")]),  # IOB1: an entity may begin with I
        (["B-x", "B-x", "I-y", "O"], [(0, 1, "x"), (2, 3, "x"), (4, 6, "y")]),
        (["S-x", "B-y", "I-y", "E-y"], [(0, 1, "x"), (2, 9, "y")]),  # IOBES
        (["U-x", "B-y", "L-y", "U-y"], [(0, 1, "x"), (2, 6, "y"), (7, 9, "y")]),  # BILOU
    ],
)
def test_tags_become_spans(tags: list[str], spans: list[tuple[int, int, str]]) -> None:
    found = spans_of_tags(["a", "b", "cc", "dd"], tags)
    assert [(span["start"], span["end"], span["label"]) for span in found] == spans


@given(text=st.text(alphabet=st.sampled_from("ab d😀é́ß.,'\u202e\ud83d\n漢"), max_size=40))
def test_words_lie_in_the_text_in_order(tokens: Tokens, text: str) -> None:
    words = words_of(tokens.encode({"text": [text]}), 0, {"text": text})
    bounds = list(zip(words.start.tolist(), words.end.tolist(), strict=True))
    assert all(0 <= start < end <= len(text) for start, end in bounds)
    assert all(left[1] <= right[0] for left, right in pairwise(bounds))
    assert not any(text[start].isspace() for start, _ in bounds)
    assert not any(end < len(text) and is_mark(text[end]) for _, end in bounds)


@given(st.integers(0, 12), st.integers(1, 3), st.randoms(use_true_random=False))
def test_the_best_tags_never_break_a_span(words: int, labels: int, random: object) -> None:
    draw = np.random.default_rng(random.getrandbits(32))  # type: ignore[attr-defined]
    scores = np.log(draw.dirichlet(np.ones(1 + 2 * labels), size=words)).reshape(words, 1 + 2 * labels)
    tags = _best_tags(scores)
    for before, tag in pairwise([0, *tags]):
        assert tag % 2 == 1 or tag == 0 or before in (tag, tag - 1)


def test_viterbi_finds_the_best_of_all_valid_sequences() -> None:
    from itertools import product

    draw = np.random.default_rng(3)
    for _ in range(20):
        scores = np.log(draw.dirichlet(np.ones(5), size=4))
        valid = [
            path
            for path in product(range(5), repeat=4)
            if all(t % 2 == 1 or t == 0 or b in (t, t - 1) for b, t in pairwise([0, *path]))
        ]
        best = max(valid, key=lambda path: sum(scores[i, tag] for i, tag in enumerate(path)))
        assert tuple(_best_tags(scores)) == best


def spanned(spans: list[tuple[int, int]]) -> list[dict[str, object]]:
    return [{"start": start, "end": end, "label": "place"} for start, end in spans]


@given(st.data())
def test_shortfalls_are_the_spans_that_do_not_come_back(tiny_base: Path, data: st.DataObject) -> None:
    text = data.draw(st.text(alphabet=st.sampled_from("ab d😀é\u0301ß.,\ufffd\u200b漢"), min_size=1, max_size=40))
    places = data.draw(st.lists(st.integers(0, len(text)), max_size=8).map(sorted))
    spans = spanned([(start, end) for start, end in zip(places[::2], places[1::2], strict=False) if start < end])
    long_texts, stride = data.draw(st.sampled_from([("cut", 0), ("windows", 3)]))
    row = {"text": text}
    encoded = recipe_for(TASK, tiny_base, 12, long_texts, stride).encode([row])
    targets = TASK.targets([spans], encoded, [row])
    logits = []
    for sequence in range(len(encoded.ids)):
        tags = targets[sequence]
        logits.append(np.where(np.arange(TASK.outputs) == tags[:, None], 9.0, -9.0).astype(np.float32))
    (prediction,) = TASK.decode(logits, encoded, [row])
    predicted = {(entity["start"], entity["end"]) for entity in prediction["entities"]}
    missing = [span for span in spans if (span["start"], span["end"]) not in predicted]
    shortfalls = TASK.shortfalls([spans], encoded, targets, [row])
    assert sum(int(each.lost[0]) for each in shortfalls) == len(missing)


@given(st.text(alphabet=st.sampled_from("ab 😀𝐀é\u0301"), min_size=1, max_size=20), st.data())
def test_offsets_in_utf16_are_read_as_those_in_characters(text: str, data: st.DataObject) -> None:
    start, end = sorted(data.draw(st.tuples(st.integers(0, len(text) - 1), st.integers(1, len(text)))))
    if start == end:
        return
    units = [len(text[:at].encode("utf-16-le")) // 2 for at in (start, end)]
    read = []
    for offsets, place in (("characters", (start, end)), ("utf16", units)):
        span = {"start": place[0], "end": place[1], "label": "x", "text": text[start:end]}
        table = pa.table({"text": [text], "spans": [json.dumps([span])]})
        settings = TokenClassification.settings(offsets=offsets)
        read += list(read_whole(TokenClassification, [table], {"text": "text", "spans": "spans"}, settings))
    assert read[0].equals(read[1])


def test_an_offset_within_an_emoji_is_named(tokens: Tokens) -> None:
    table = pa.table({"text": ["😀 dog"], "spans": ['[{"start": 1, "end": 3, "label": "x"}]']})
    settings = TokenClassification.settings(offsets="utf16")
    with pytest.raises(DataError, match="row 0: span 1–3 begins within a character"):
        list(read_whole(TokenClassification, [table], {"text": "text", "spans": "spans"}, settings))


@given(st.lists(st.sampled_from(["a b", " ", "\n", "\u00a0", "\u200b"]), min_size=2, max_size=6), st.data())
def test_white_space_around_a_span_changes_nothing(parts: list[str], data: st.DataObject) -> None:
    text = "".join(parts)
    blank = " \n\u00a0\u200b"
    start, end = sorted(data.draw(st.tuples(st.integers(0, len(text) - 1), st.integers(1, len(text)))))
    inner = text[start:end].strip(blank)
    if not inner:
        return
    table = pa.table({"text": [text], "spans": [json.dumps([{"start": start, "end": end, "label": "x"}])]})
    (read,) = read_whole(
        TokenClassification, [table], {"text": "text", "spans": "spans"}, TokenClassification.settings()
    )
    ((span,),) = read["truth"].to_pylist()
    assert text[span["start"] : span["end"]] == inner and start <= span["start"] and span["end"] <= end


def test_emoji_and_combining_characters_keep_offsets_right(tokens: Tokens) -> None:
    text = "😀😀 cafe\u0301 ruby 👩‍👩‍👧 granite"
    start = text.index("granite")
    spans = [{"start": start, "end": start + 7, "label": "place"}]
    encoded = tokens.encode({"text": [text]})
    wanted = TASK.targets([spans], encoded, [{"text": text}])[0]
    logits = np.full((len(wanted), TASK.outputs), -9.0, dtype=np.float32)
    logits[np.arange(len(wanted)), np.maximum(wanted, 0)] = 9.0
    (prediction,) = TASK.decode([logits], encoded, [{"text": text}])
    assert [(e["start"], e["end"], e["text"]) for e in prediction["entities"]] == [(start, start + 7, "granite")]


@pytest.mark.parametrize(
    ("spans", "problem"),
    [
        ([{"start": 0, "end": 99, "label": "x"}], "is outside"),
        ([{"start": 0, "end": 3, "label": "x"}, {"start": 2, "end": 5, "label": "x"}], "overlap"),
        ([{"from": 0}], "not a list of"),
        ([[0, 4]], "not a list of"),
        ([{"start": -1, "end": 3, "label": "x"}], "is outside"),
        ([{"start": 5, "end": 9, "label": "x", "word": "some"}], "is 'text', not 'some'"),
    ],
)
def test_impossible_spans_are_named_by_row(spans: list[dict[str, object]], problem: str) -> None:
    table = pa.table({"text": ["fine", "some text"], "spans": pa.array(["[]", json.dumps(spans)])})
    with pytest.raises(DataError, match=problem) as caught:
        list(
            read_whole(TokenClassification, [table], {"text": "text", "spans": "spans"}, TokenClassification.settings())
        )
    assert "row 1" in caught.value.cause


def test_windows_say_what_the_whole_text_says(tiny_base: Path) -> None:
    """Tags that depend on the word alone come out the same from windows of any size, and of any overlap."""
    text = " ".join(["the dog, my rose - Smith-Jones", "😀 cafe\u0301 granite"] * 6)
    places = [at for at in range(len(text)) if text.startswith(("rose", "granite"), at)]
    spans = [
        {"start": at, "end": text.index(" ", at) if " " in text[at:] else len(text), "label": "x"} for at in places
    ]
    task, row = TokenClassification(("x",)), {"text": text}
    for max_length, stride in ((200, 1), (12, 2), (16, 7), (10, 4)):
        encoded = recipe_for(task, tiny_base, max_length, "windows", stride).encode([row])
        targets = task.targets([spans], encoded, [row])
        logits = []
        for sequence in range(len(encoded.ids)):
            wanted = targets[sequence]
            said = np.full((len(wanted), task.outputs), -9.0, dtype=np.float32)
            said[np.arange(len(wanted)), np.maximum(wanted, 0)] = 9.0
            logits.append(said)
        (prediction,) = task.decode(logits, encoded, [row])
        assert [(e["start"], e["end"]) for e in prediction["entities"]] == [(s["start"], s["end"]) for s in spans]


@given(st.lists(st.text(alphabet=st.sampled_from("abé😀-,'\u0301"), min_size=1, max_size=6), min_size=1, max_size=12))
def test_given_tokens_are_the_words(tokens: Tokens, given_tokens: list[str]) -> None:
    row = {"text": " ".join(given_tokens), "tokens": given_tokens}
    words = words_of(tokens.encode({"text": [row["text"]]}), 0, row)
    at = [sum(len(token) + 1 for token in given_tokens[:i]) for i in range(len(given_tokens))]
    bounds = {(start, start + len(token)) for start, token in zip(at, given_tokens, strict=True)}
    assert set(zip(words.start.tolist(), words.end.tolist(), strict=True)) <= bounds
    assert len(set(words.start.tolist())) == len(words.start)
