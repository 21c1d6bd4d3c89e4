"""Entities as a table gives them: character spans, or tokens with a tag each (BIO, IOB, IOBES or BILOU)."""

from __future__ import annotations

import json
from collections.abc import Sequence
from itertools import pairwise
from typing import TYPE_CHECKING, Any

from lakewright.tasks import Problems, column, text_column

if TYPE_CHECKING:
    import pyarrow as pa

Span = dict[str, Any]  # {"start": int, "end": int, "label": str}: text[start:end] in characters


def read_spans(
    table: pa.Table, text_name: str, spans_name: str, first: int, problems: Problems
) -> tuple[list[str | None], list[list[Span] | None]]:
    """Texts and their spans; `first` is the table's first row's number. What is wrong goes into `problems`."""
    texts = text_column(table, text_name, "text").to_pylist()
    truths: list[list[Span] | None] = []
    given_spans = column(table, spans_name, "spans").to_pylist()
    for row, (text, given) in enumerate(zip(texts, given_spans, strict=True), start=first):
        if given is None or text is None:
            truths.append(None)
            continue
        try:
            spans = json.loads(given) if isinstance(given, str) else given
            read: list[Span] = [{"start": int(s["start"]), "end": int(s["end"]), "label": _label(s)} for s in spans]
        except (TypeError, KeyError, ValueError) as failure:
            problems.add(f"row {row}: not a list of {{start, end, label}} ({type(failure).__name__}: {failure})")
            truths.append(None)
            continue
        read.sort(key=lambda span: (span["start"], span["end"]))
        for span in read:
            if not 0 <= span["start"] < span["end"] <= len(text):
                problems.add(
                    f"row {row}: span {span['start']}–{span['end']} lies outside its text of {len(text)} characters"
                )
        for left, right in pairwise(read):
            if right["start"] < left["end"]:
                problems.add(
                    f"row {row}: spans {left['start']}–{left['end']} and {right['start']}–{right['end']} overlap"
                )
        truths.append(read)
    return texts, truths


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
    """The spans of tagged tokens, in characters of the tokens joined by one space. Raises ValueError at an odd tag."""
    spans: list[Span] = []
    at, open_label = 0, None
    for token, tag in zip(tokens, tags, strict=True):
        prefix, _, label = tag.partition("-")
        if tag != "O" and (prefix not in {"B", "I", "E", "S", "L", "U"} or not label):
            raise ValueError(f"{tag!r} is not a tag")
        if tag == "O":
            open_label = None
        elif prefix in {"B", "S", "U"} or label != open_label:
            spans.append({"start": at, "end": at + len(token), "label": label})
            open_label = None if prefix in {"S", "U"} else label
        else:
            spans[-1]["end"] = at + len(token)
            open_label = None if prefix in {"E", "L"} else label
        at += len(token) + 1
    return [span for span in spans if span["start"] < span["end"]]
