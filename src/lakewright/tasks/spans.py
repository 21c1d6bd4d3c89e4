"""Entities as a table gives them: character spans, or tokens with a tag each (BIO, IOB, IOBES or BILOU)."""

from __future__ import annotations

import json
from collections.abc import Sequence
from itertools import pairwise
from typing import TYPE_CHECKING, Any

from lakewright.tasks import column, refuse, text_column

if TYPE_CHECKING:
    import pyarrow as pa

Span = dict[str, Any]  # {"start": int, "end": int, "label": str}: text[start:end] in characters


def read_spans(table: pa.Table, text_name: str, spans_name: str) -> tuple[list[str | None], list[list[Span] | None]]:
    texts = text_column(table, text_name, "text").to_pylist()
    truths: list[list[Span] | None] = []
    problems: list[str] = []
    for row, (text, given) in enumerate(zip(texts, column(table, spans_name, "spans").to_pylist(), strict=True)):
        if given is None or text is None:
            truths.append(None)
            continue
        try:
            spans = json.loads(given) if isinstance(given, str) else given
            read: list[Span] = [{"start": int(s["start"]), "end": int(s["end"]), "label": _label(s)} for s in spans]
        except (TypeError, KeyError, ValueError) as failure:
            problems.append(f"row {row}: not a list of {{start, end, label}} ({type(failure).__name__}: {failure})")
            continue
        read.sort(key=lambda span: (span["start"], span["end"]))
        for span in read:
            if not 0 <= span["start"] < span["end"] <= len(text):
                problems.append(
                    f"row {row}: span {span['start']}–{span['end']} lies outside its text of {len(text)} characters"
                )
        for left, right in pairwise(read):
            if right["start"] < left["end"]:
                problems.append(
                    f"row {row}: spans {left['start']}–{left['end']} and {right['start']}–{right['end']} overlap"
                )
        truths.append(read)
    refuse(
        problems, spans_name, "spans", "start and end count characters (end not included), and spans must not overlap"
    )
    return texts, truths


def _label(span: Any) -> str:
    if span["label"] is None or not str(span["label"]).strip():
        raise ValueError("a span without a label")
    return str(span["label"])


def read_tags(
    table: pa.Table, tokens_name: str, tags_name: str
) -> tuple[list[str | None], list[list[str] | None], list[list[Span] | None]]:
    texts: list[str | None] = []
    words: list[list[str] | None] = []
    truths: list[list[Span] | None] = []
    problems: list[str] = []
    tokens_column, tags_column = column(table, tokens_name, "tokens"), column(table, tags_name, "tags")
    for row, (tokens, tags) in enumerate(zip(tokens_column.to_pylist(), tags_column.to_pylist(), strict=True)):
        if tokens is None or tags is None:
            texts.append(None)
            words.append(None)
            truths.append(None)
            continue
        if not isinstance(tokens, list) or not isinstance(tags, list) or len(tokens) != len(tags):
            problems.append(f"row {row}: {tokens_name} and {tags_name} must be lists of the same length")
            continue
        try:
            spans = spans_of_tags([str(token) for token in tokens], [str(tag) for tag in tags])
        except ValueError as failure:
            problems.append(f"row {row}: {failure}")
            continue
        texts.append(" ".join(str(token) for token in tokens))
        words.append([str(token) for token in tokens])
        truths.append(spans)
    refuse(problems, tags_name, "tags", "a tag is O, or B-, I- (also E-, S-, L-, U-) and a label")
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
