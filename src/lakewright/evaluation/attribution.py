"""The words behind a prediction: leave out one word at a time, and predict again with the same predictor that serves.

A word's weight is how much support the prediction for the whole row loses without the word: the drop of a label's
log-odds, of an answer's or an entity's probability, of a cosine. Below 0 the word is evidence against it. (Occlusion:
Zeiler & Fergus 2014; leaving words out of texts: Li, Monroe & Jurafsky 2016.) The method needs only predictions, so it
is the same for every learner and runtime. Two words with the same meaning hide each other: each can replace the other.

The weighed prediction is: the label; of several labels, or entities, the surest wrong one, or the surest if all are
right; the answer, or "no answer"; the cosine of two texts. White space separates words; each Chinese or Japanese
character is a word. A word that is all of its text, of the answer or of the entity is not tried.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np

from lakewright.data.rows.kinds import Kind, Prediction, Row
from lakewright.evaluation.scorers import Scorer
from lakewright.system import jsonfile

MOST_WORDS = 60
"""words tried in a row: the first of each text, or those nearest to the answer or entity"""

_IDEOGRAPHS = "\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff"
_WORD = re.compile(f"[{_IDEOGRAPHS}]|[^\\s{_IDEOGRAPHS}]+")

Measure = Literal["log-odds", "probability", "cosine"]


@dataclass(frozen=True)
class Place:
    """row[input][start:end], in characters."""

    input: str
    start: int
    end: int


@dataclass(frozen=True)
class Word(Place):
    text: str
    weight: float  # in the attribution's measure; above 0 the word supports the prediction


@dataclass(frozen=True)
class Attribution:
    row: int  # in the order of the test rows
    said: str
    measure: Measure
    value: float  # for the whole row
    words: list[Word]  # in the row's order
    untried: int
    place: Place | None = None  # of the answer or the entity


@dataclass(frozen=True)
class _Claim:
    """The prediction to explain, and a measure of how far a prediction for the row without `cut` still supports it."""

    text: str
    measure: Measure
    value: Callable[[Prediction, Place | None], float]
    place: Place | None = None


def attributions(
    predict: Callable[[Sequence[Row]], Sequence[Prediction]],
    inputs: Mapping[str, Kind],
    numbers: Sequence[int],
    rows: Sequence[Row],
    truths: Sequence[Any],
    predictions: Sequence[Prediction],
    word_limit: int = MOST_WORDS,
) -> list[Attribution]:
    """For the rows with the `numbers` in `rows`; `predict` is a predictor's method, called once, `inputs` its task's.

    Rows without a prediction, or without a word to leave out, are skipped.
    """
    cases: list[tuple[int, _Claim, list[Place], int]] = []
    changed: list[Row] = []
    for number in numbers:
        row = rows[number]
        claim = _claim(predictions[number], truths[number])
        if claim is None:
            continue
        words, untried = _chosen(row, inputs, claim.place, word_limit)
        if words:
            cases.append((number, claim, words, untried))
            changed += [_without(row, word) for word in words]
    answers = iter(predict(changed))
    explained = []
    for number, claim, words, untried in cases:
        value = claim.value(predictions[number], None)
        weighed = [
            Word(
                **asdict(word),
                text=rows[number][word.input][word.start : word.end],
                weight=value - claim.value(answer, _cut(rows[number][word.input], word)),
            )
            for word, answer in zip(words, answers, strict=False)
            if "abstain" not in answer  # an abstention: no visible text is left
        ]
        untried += len(words) - len(weighed)
        explained.append(Attribution(number, claim.text, claim.measure, value, weighed, untried, claim.place))
    return explained


def worth_asking(scorer: Scorer, confidence: Sequence[float | None], explainable: Callable[[int], bool]) -> list[int]:
    """The five surest wrong rows, then the three surest right ones. If rows are not simply right or wrong: those
    furthest from the truth, then the nearest. Rows that are not `explainable` are skipped."""
    sure, right = np.asarray(confidence, dtype=np.float64), scorer.correct()
    if right is None:
        distances = scorer.distances()
        if distances is None:
            return []
        right = distances < np.median(distances)
        sure = np.where(right, -distances, distances)
    order = np.argsort(-sure, kind="stable")
    chosen = [int(row) for row in order if explainable(int(row))]
    return [row for row in chosen if not right[row]][:5] + [row for row in chosen if right[row]][:3]


def has_claim(prediction: Prediction, truth: Any) -> bool:
    """Whether there is something that words could speak for."""
    return _claim(prediction, truth) is not None


def write(path: Path, entries: Sequence[Attribution]) -> None:
    path.write_text(jsonfile.text([asdict(entry) for entry in entries], indent=1), encoding="utf-8")


def read(path: Path) -> list[Attribution]:
    return [
        Attribution(
            **{
                **entry,
                "words": [Word(**word) for word in entry["words"]],
                "place": Place(**entry["place"]) if entry["place"] else None,
            }
        )
        for entry in json.loads(path.read_text(encoding="utf-8"))
    ]


def _claim(prediction: Prediction, truth: Any) -> _Claim | None:
    """Chosen by the prediction's keys, so that another package's task with like predictions is explained alike."""
    if "label" in prediction:
        return _of_label(prediction["label"])
    if "labels" in prediction:
        wrong = [label for label in prediction["labels"] if label not in truth]
        labels = wrong or prediction["labels"]
        return _of_label(labels[0]) if labels else None
    if "entities" in prediction:
        return _of_entity(prediction["entities"], truth)
    if "answers" in prediction:
        return _of_answer(prediction)
    if "cosine" in prediction:
        return _Claim(f"cosine {prediction['cosine']:.2f}", "cosine", lambda other, _: float(other["cosine"]))
    return None


def _of_label(label: str) -> _Claim:
    def log_odds(prediction: Prediction, _: Place | None) -> float:
        share = min(max(float(prediction["probabilities"][label]), 1e-12), 1 - 1e-12)
        return math.log(share / (1 - share))

    return _Claim(label, "log-odds", log_odds)


def _of_entity(entities: Sequence[Mapping[str, Any]], truth: Sequence[Mapping[str, Any]]) -> _Claim | None:
    true = {(span["start"], span["end"], span["label"]) for span in truth}
    wrong = [span for span in entities if (span["start"], span["end"], span["label"]) not in true]
    if not entities:
        return None
    entity = max(wrong or entities, key=lambda span: float(span["score"]))
    place = Place("text", entity["start"], entity["end"])

    def score(prediction: Prediction, cut: Place | None) -> float:
        spans = [span for span in prediction["entities"] if span["label"] == entity["label"]]
        return max((float(span["score"]) for span in spans if _overlap(span, place, cut)), default=0.0)

    return _Claim(entity["label"], "probability", score, place)


def _of_answer(prediction: Prediction) -> _Claim:
    if prediction["start"] < 0:
        return _Claim("no answer", "probability", lambda other, _: float(other["no_answer"]))
    place = Place("context", prediction["start"], prediction["end"])

    def score(prediction: Prediction, cut: Place | None) -> float:
        """The sum over the n best answers that overlap it: "the Seine" and "Seine" are not rivals."""
        return math.fsum(float(answer["score"]) for answer in prediction["answers"] if _overlap(answer, place, cut))

    return _Claim(prediction["answer"], "probability", score, place)


def _overlap(span: Mapping[str, Any], place: Place, cut: Place | None) -> bool:
    start, end = _moved(place, cut)
    return bool(span["start"] < end and start < span["end"])


def _moved(place: Place, cut: Place | None) -> tuple[int, int]:
    """The start and end of `place` after `cut` is removed."""
    if cut is None or cut.input != place.input:
        return place.start, place.end
    start, end = (at - max(0, min(at, cut.end) - cut.start) for at in (place.start, place.end))
    return start, end


def _chosen(row: Row, inputs: Mapping[str, Kind], place: Place | None, limit: int) -> tuple[list[Place], int]:
    """The words to leave out, in the row's order, and the number of words not tried. Each text has an even share of
    `limit`, plus the unused shares of shorter texts."""
    # A negative is for training only.
    names = [name for name, kind in inputs.items() if kind in ("text", "optional text") and name != "negative"]
    words = {name: _words(row, name) for name in names if row.get(name)}
    chosen: dict[str, list[Place]] = {}
    for remaining, name in zip(range(len(words), 0, -1), sorted(words, key=lambda name: len(words[name])), strict=True):
        candidates = words[name] if len(words[name]) > 1 else []
        if place is not None and name == place.input:
            candidates = [word for word in candidates if _remains(place, row[name], word)]
            candidates.sort(key=lambda word: max(word.start - place.end, place.start - word.end))
        share = (limit - sum(map(len, chosen.values()))) // remaining
        chosen[name] = sorted(candidates[:share], key=lambda word: word.start)
    selected = [word for name in words for word in chosen[name]]
    return selected, sum(map(len, words.values())) - len(selected)


def _remains(place: Place, text: str, word: Place) -> bool:
    start, end = _moved(place, _cut(text, word))
    return start < end


def _words(row: Row, name: str) -> list[Place]:
    tokens = row.get("tokens")
    if name != "text" or tokens is None:
        return [Place(name, *match.span()) for match in _WORD.finditer(row[name])]
    starts = np.cumsum([0, *(len(token) + 1 for token in tokens)]).tolist()
    return [Place(name, start, start + len(token)) for start, token in zip(starts, tokens, strict=False) if token]


def _cut(text: str, word: Place) -> Place:
    """The word and the white space after it, or before it if the word is the last."""
    after = len(text) - len(text[word.end :].lstrip())
    if word.end < after < len(text):
        return Place(word.input, word.start, after)
    if after == len(text):
        return Place(word.input, len(text[: word.start].rstrip()), word.end)
    return word


def _without(row: Row, word: Place) -> Row:
    text = row[word.input]
    cut = _cut(text, word)
    changed = {**row, word.input: text[: cut.start] + text[cut.end :]}
    tokens = row.get("tokens")
    if word.input == "text" and tokens is not None:
        number = int(np.searchsorted(np.cumsum([len(token) + 1 for token in tokens]), word.start, side="right"))
        changed["tokens"] = [token for i, token in enumerate(tokens) if i != number]
    return changed
