"""Entities as a table gives them: character spans, or tokens with a tag each (BIO, IOB, IOBES or BILOU)."""

from __future__ import annotations

import json
from collections.abc import Sequence
from itertools import accumulate, pairwise
from typing import TYPE_CHECKING, Any

from lakewright.tasks import Problems, column, text_column
from lakewright.tasks.offsets import Offsets, in_characters, is_blank, mistake, without_blanks

if TYPE_CHECKING:
    import pyarrow as pa

Span = dict[str, Any]  # {"start": int, "end": int, "label": str}: text[start:end] in characters
REPEATED = ("text", "word", "surface", "mention")  # where a source repeats what a span holds


def read_spans(
    table: pa.Table, text_name: str, spans_name: str, first: int, problems: Problems, offsets: Offsets = "characters"
) -> tuple[list[str | None], list[list[Span] | None]]:
    """Texts and their spans, without white space at their ends; `first` is the table's first row's number. What is
    wrong goes into `problems`."""
    texts = text_column(table, text_name, "text").to_pylist()
    truths: list[list[Span] | None] = []
    given_spans = column(table, spans_name, "spans").to_pylist()
    for row, (text, given) in enumerate(zip(texts, given_spans, strict=True), start=first):
        if given is None or text is None:
            truths.append(None)
            continue
        try:
            spans = json.loads(given) if isinstance(given, str) else given
            read = [_span(one) for one in spans]
        except (TypeError, KeyError, ValueError) as failure:
            problems.add(f"row {row}: not a list of {{start, end, label}} ({type(failure).__name__}: {failure})")
            truths.append(None)
            continue
        mistakes = [mistake(one["start"], one["end"], one["form"], text, offsets) for one in read]
        for wrong in filter(None, mistakes):
            problems.add(f"row {row}: {wrong}")
        if any(mistakes):
            truths.append(None)
            continue
        read = sorted((_placed(one, text, offsets) for one in read), key=lambda span: (span["start"], span["end"]))
        for left, right in pairwise(read):
            if right["start"] < left["end"]:
                problems.add(
                    f"row {row}: spans {left['start']}–{left['end']} and {right['start']}–{right['end']} overlap"
                )
        truths.append(read)
    return texts, truths


def _span(given: Any) -> Span:
    """As the source has it, and as `form` what it holds, where the source repeats that."""
    span = {"start": int(given["start"]), "end": int(given["end"]), "label": _label(given)}
    return {**span, "form": next((given[key] for key in REPEATED if given.get(key) is not None), None)}


def _placed(given: Span, text: str, offsets: Offsets) -> Span:
    start, end = in_characters((given["start"], given["end"]), text, offsets)
    start, end = without_blanks(start, end, text)
    return {"start": start, "end": end, "label": given["label"]}


def _label(span: Any) -> str:
    if span["label"] is None or not str(span["label"]).strip():
        raise ValueError("a span without a label")
    return str(span["label"])


def read_tags(
    table: pa.Table, tokens_name: str, tags_name: str, first: int, problems: Problems
) -> tuple[list[str | None], list[list[str] | None], list[list[Span] | None]]:
    """Texts, their words and their spans, as `read_spans` gives them."""
    texts: list[str | None] = []
    words: list[list[str] | None] = []
    truths: list[list[Span] | None] = []
    tokens_column, tags_column = column(table, tokens_name, "tokens"), column(table, tags_name, "tags")
    both = zip(tokens_column.to_pylist(), tags_column.to_pylist(), strict=True)
    for row, (tokens, tags) in enumerate(both, start=first):
        spans = None
        if tokens is None or tags is None:
            pass
        elif not isinstance(tokens, list) or not isinstance(tags, list) or len(tokens) != len(tags):
            problems.add(f"row {row}: {tokens_name} and {tags_name} must be lists of the same length")
        else:
            try:
                spans = spans_of_tags([str(token) for token in tokens], [str(tag) for tag in tags])
            except ValueError as failure:
                problems.add(f"row {row}: {failure}")
        texts.append(None if spans is None else " ".join(str(token) for token in tokens))
        words.append(None if spans is None else [str(token) for token in tokens])
        truths.append(spans)
    return texts, words, truths


def spans_of_tags(tokens: Sequence[str], tags: Sequence[str]) -> list[Span]:
    """The spans of tagged tokens, in characters of the tokens joined by one space; without tokens at their ends that
    cannot be seen, where others are left. Raises ValueError at an odd tag, and where all that is tagged is empty."""
    tagged: list[tuple[int, int, str]] = []  # first and last token, label
    open_label = None
    for place, tag in enumerate(tags):
        prefix, _, label = tag.partition("-")
        if tag != "O" and (prefix not in {"B", "I", "E", "S", "L", "U"} or not label):
            raise ValueError(f"{tag!r} is not a tag")
        if tag == "O":
            open_label = None
        elif prefix in {"B", "S", "U"} or label != open_label:
            tagged.append((place, place, label))
            open_label = None if prefix in {"S", "U"} else label
        else:
            tagged[-1] = (tagged[-1][0], place, label)
            open_label = None if prefix in {"E", "L"} else label
    starts = list(accumulate((len(token) + 1 for token in tokens), initial=0))
    spans: list[Span] = []
    for first, last, label in tagged:
        seen = [place for place in range(first, last + 1) if not is_blank(tokens[place])]
        if seen:
            first, last = seen[0], seen[-1]
        start, end = starts[first], starts[last] + len(tokens[last])
        if start == end:
            raise ValueError(f"the token {first} is empty, and is tagged {tags[first]!r}")
        spans.append({"start": start, "end": end, "label": label})
    return spans
