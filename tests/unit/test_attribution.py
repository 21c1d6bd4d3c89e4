"""Which words decide, where it is known: a predictor with a rule of its own, and every word where it stands."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lakewright.data.rows.kinds import Kind, Prediction, Row
from lakewright.evaluation.attribution import Attribution, Place, attributions, read, worth_asking, write
from lakewright.evaluation.scorers.classification import ClassificationScorer
from lakewright.evaluation.scorers.similarity import SimilarityScorer

TEXT: dict[str, Kind] = {"text": "text"}
PAIR: dict[str, Kind] = {"text": "text", "text_pair": "text", "source": "category"}


def by_words(rows: Sequence[Row]) -> list[Prediction]:
    """ "good" speaks for praise, "bad" against it, by 3 and by 1 of log-odds; nothing else does."""
    found = []
    for row in rows:
        text = row["text"] + " " + row.get("text_pair", "")
        odds = 3 * ("good" in text) - ("bad" in text)
        praise = 1 / (1 + math.exp(-odds))
        found.append({"label": "praise", "probabilities": {"praise": praise, "blame": 1 - praise}})
    return found


def explain(
    predict: Callable[[Sequence[Row]], list[Prediction]],
    row: Row,
    inputs: dict[str, Kind],
    truth: object,
    most: int = 60,
) -> Attribution:
    (found,) = attributions(predict, inputs, [0], [row], [truth], predict([row]), most)
    return found


def weights(found: Attribution) -> dict[str, float]:
    return {word.text: round(word.weight, 6) for word in found.words}


def test_the_word_that_decides_weighs_most_and_a_word_against_it_below_zero() -> None:
    found = explain(by_words, {"text": "a good film, bad sound"}, TEXT, "blame")
    assert weights(found) == {"a": 0, "good": 3, "film,": 0, "bad": -1, "sound": 0}
    assert (found.said, found.measure, found.untried, found.place) == ("praise", "log-odds", 0, None)
    assert found.value == pytest.approx(2)


def test_both_texts_of_a_pair_are_tried_and_no_other_column() -> None:
    row = {"text": "it is good", "text_pair": "very good", "source": "the good mail"}
    found = explain(by_words, row, PAIR, "praise")
    assert [(word.input, word.text) for word in found.words] == [
        ("text", "it"), ("text", "is"), ("text", "good"), ("text_pair", "very"), ("text_pair", "good"),
    ]  # fmt: skip
    assert set(weights(found).values()) == {0}  # what is said twice can be missed once


@given(st.text("ab é\u0301👩‍👧\n\t汉语 .", max_size=40))
def test_every_word_stands_where_it_is_said_to_and_only_it_goes(text: str) -> None:
    asked: list[str] = []

    def predict(rows: Sequence[Row]) -> list[Prediction]:
        asked.extend(row["text"] for row in rows)
        return by_words(rows)

    found = attributions(predict, TEXT, [0], [{"text": text}], [""], by_words([{"text": text}]))
    words = [word for one in found for word in one.words]
    assert len(asked) == len(words)
    for word, left in zip(words, asked, strict=True):
        assert text[word.start : word.end] == word.text
        assert word.text and not any(character.isspace() for character in word.text)
        assert "".join((text[: word.start] + text[word.end :]).split()) == "".join(left.split())
        assert left.strip()
    if found:  # whole texts, but for white space
        assert "".join(word.text for word in words) == "".join(text.split())


def test_emoji_and_combining_characters_stay_whole_and_ideographs_are_words_of_their_own() -> None:
    text = "cafe\u0301 👩‍👧‍👦 good 很好"
    found = explain(by_words, {"text": text}, TEXT, "blame")
    assert [word.text for word in found.words] == ["cafe\u0301", "👩‍👧‍👦", "good", "很", "好"]
    assert max(found.words, key=lambda word: word.weight).text == "good"


def test_of_a_long_text_the_first_words_and_the_shorter_text_leaves_its_share() -> None:
    row = {"text": " ".join(f"w{i}" for i in range(100)), "text_pair": "one two three"}
    found = explain(by_words, row, PAIR, "praise", most=20)
    assert [word.text for word in found.words] == [*(f"w{i}" for i in range(17)), "one", "two", "three"]
    assert found.untried == 83


def test_a_word_alone_is_not_tried() -> None:
    assert attributions(by_words, TEXT, [0], [{"text": " good "}], ["x"], by_words([{"text": "good"}])) == []


def test_of_several_labels_the_wrong_one_is_asked_about() -> None:
    def predict(rows: Sequence[Row]) -> list[Prediction]:
        said = [{"joy": 0.9, "fear": 0.8 if "ghost" in row["text"] else 0.2} for row in rows]
        return [{"labels": [name for name in one if one[name] > 0.5], "probabilities": one} for one in said]

    row = {"text": "a ghost sang"}
    assert explain(predict, row, TEXT, ["joy"]).said == "fear"
    assert explain(predict, row, TEXT, ["joy", "fear"]).said == "joy"
    found = explain(predict, row, TEXT, ["joy"])
    assert weights(found)["ghost"] == pytest.approx(math.log(16), abs=1e-5)  # odds of 4 against odds of 1/4
    none = [{"labels": [], "probabilities": {"joy": 0.1, "fear": 0.1}}]
    assert attributions(predict, TEXT, [0], [row], [["joy"]], none) == []


def names(rows: Sequence[Row]) -> list[Prediction]:
    """A word after "in" is a place; where "lake" stands anywhere, it is so more surely. Tokens are what counts."""
    found = []
    for row in rows:
        assert row["text"] == " ".join(row["tokens"])
        entities, at, before = [], 0, ""
        for token in row["tokens"]:
            if before == "in":
                score = 0.9 if "lake" in row["tokens"] else 0.6
                entities.append({"start": at, "end": at + len(token), "text": token, "label": "place", "score": score})
            at, before = at + len(token) + 1, token
        found.append({"entities": entities, "confidence": 0.5})
    return found


def test_an_entity_is_found_again_where_the_cut_moved_it() -> None:
    tokens = ["the", "lake", "lies", "in", "Spain", "again"]
    kinds: dict[str, Kind] = {"text": "text", "tokens": "words"}
    found = explain(names, {"text": " ".join(tokens), "tokens": tokens}, kinds, [])
    assert found.place == Place("text", 17, 22)
    assert weights(found) == {"the": 0, "lake": 0.3, "lies": 0, "in": 0.9, "again": 0}  # "Spain" itself is not tried
    assert found.untried == 1


def test_an_answer_is_found_again_and_the_words_nearest_to_it_are_tried() -> None:
    def predict(rows: Sequence[Row]) -> list[Prediction]:
        found = []
        for row in rows:
            start = row["context"].find("Lovelace")
            score = 0.8 if "Who" in row["question"] and "met" in row["context"] else 0.5
            answer = {"answer": "Lovelace", "start": start, "end": start + 8, "score": score}
            found.append({**answer, "no_answer": 0.1, "answers": [answer]})
        return found

    kinds: dict[str, Kind] = {"question": "text", "context": "text"}
    row = {"question": "Who was there?", "context": "far " * 30 + "Ada Lovelace met him"}
    found = explain(predict, row, kinds, [], most=8)
    assert [word.text for word in found.words] == ["Who", "was", "there?", "far", "far", "Ada", "met", "him"]
    assert [round(word.weight, 6) for word in found.words] == [0.3, 0, 0, 0, 0, 0, 0.3, 0]

    def silent(rows: Sequence[Row]) -> list[Prediction]:
        none = {"answer": "", "start": -1, "end": -1, "score": 0.7, "answers": []}
        return [{**none, "no_answer": 0.7 if "no" in row["context"] else 0.2} for row in rows]

    found = explain(silent, {"question": "Who was there?", "context": "there was no one"}, kinds, [])
    assert (found.said, found.value, weights(found)["no"]) == ("no answer", 0.7, 0.5)


def test_the_rows_asked_about_are_sure_mistakes_then_right_ones() -> None:
    confidence = np.array([0.9, 0.6, 0.8, 0.95, 0.7, 0.99])
    predicted, truth = np.array([0, 0, 0, 0, 0, 0]), np.array([1, 1, 0, 1, 0, 0])
    probabilities = np.stack([confidence, 1 - confidence], axis=1)
    scorer = ClassificationScorer(truth, probabilities, ["a", "b"])
    assert (scorer.predicted == predicted).all()
    assert worth_asking(scorer, confidence.tolist(), lambda row: True) == [3, 0, 1, 5, 2, 4]
    scored = SimilarityScorer(np.array([1.0, 2, 3, 4]), np.array([1.1, 4, 2.5, 4]))
    assert worth_asking(scored, [0.5] * 4, lambda row: True) == [1, 2, 3, 0]


def test_what_is_written_is_read(tmp_path: Path) -> None:
    row = {"text": "in Spain", "tokens": ["in", "Spain"]}
    found = [explain(names, row, {"text": "text"}, []), explain(by_words, {"text": "é good"}, TEXT, "x")]
    write(tmp_path / "attributions.json", found)
    assert read(tmp_path / "attributions.json") == found
