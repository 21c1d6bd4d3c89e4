"""Entities as a table gives them: character spans, or tokens with a tag each (BIO, IOB, IOBES or BILOU)."""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping, Sequence
from itertools import accumulate, pairwise
from typing import TYPE_CHECKING, Any, Literal
from unicodedata import category

from lakewright.tasks import Problems, column, text_column

if TYPE_CHECKING:
    import pyarrow as pa

Span = dict[str, Any]  # {"start": int, "end": int, "label": str}: text[start:end] in characters
Offsets = Literal["characters", "utf16"]
FORMS = ("text", "word", "surface", "mention")  # where a source repeats what a span holds


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
            read: list[Span] = [{"start": int(s["start"]), "end": int(s["end"]), "label": _label(s)} for s in spans]
            if offsets == "utf16":
                _count_characters(read, text)
        except (TypeError, KeyError, ValueError) as failure:
            problems.add(f"row {row}: not a list of {{start, end, label}} ({type(failure).__name__}: {failure})")
            truths.append(None)
            continue
        wrong = [why for span, own in zip(read, spans, strict=True) if (why := _contradiction(span, own, text))]
        for why in wrong:
            problems.add(f"row {row}: span {why}")
        if wrong:
            truths.append(None)
            continue
        read = sorted((_seen(span, text) for span in read), key=lambda span: (span["start"], span["end"]))
        for left, right in pairwise(read):
            if right["start"] < left["end"]:
                problems.add(
                    f"row {row}: spans {left['start']}–{left['end']} and {right['start']}–{right['end']} overlap"
                )
        truths.append(read)
    return texts, truths


def fits_in_utf16(span: Span, text: str, starts: Collection[int], ends: Collection[int]) -> bool:
    """Whether the span would begin and end at these places if its offsets counted UTF-16 units. It may have lost blanks
    at its ends that were none then."""
    characters, start, end = characters_at(text), span["start"], span["end"]
    first, last = start, end
    while first > 0 and _is_blank(text[first - 1]):
        first -= 1
    while last < len(text) and _is_blank(text[last]):
        last += 1
    begins = {characters.get(at, -1) for at in range(first, start + 1)}
    stops = {characters.get(at, -1) for at in range(end, last + 1)}
    other = (characters.get(start, -1), characters.get(end, -1)) != (start, end)
    return other and not begins.isdisjoint(starts) and not stops.isdisjoint(ends)


def characters_at(text: str) -> dict[int, int]:
    """Offset in UTF-16 units → offset in characters, where a character begins or the text ends."""
    units = accumulate((1 + (character > "\uffff") for character in text), initial=0)
    return {offset: at for at, offset in enumerate(units)}


def _count_characters(spans: list[Span], text: str) -> None:
    """Offsets past the text's end, or within a character, become -1."""
    characters = characters_at(text)
    for span in spans:
        span |= {side: characters.get(span[side], -1) for side in ("start", "end")}


def _contradiction(span: Span, own: Mapping[str, Any], text: str) -> str | None:
    """What is wrong with a span that is `own` in the source, if anything."""
    wrong = _wrong(span, own, text)
    if wrong is None:
        return None
    in_utf16 = dict(span)
    _count_characters([in_utf16], text)
    right = in_utf16 != span and _wrong(in_utf16, own, text) is None
    return wrong + " (it is right with task.offsets: utf16)" * right


def _wrong(span: Span, own: Mapping[str, Any], text: str) -> str | None:
    start, end, shown = span["start"], span["end"], f"{own['start']}–{own['end']}"
    if not 0 <= start < end <= len(text):
        return f"{shown} lies outside its text of {len(text)} characters"
    form = next((own[name] for name in FORMS if isinstance(own.get(name), str)), None)
    if form is not None and _plain(form) != _plain(text[start:end]):
        return f"{shown} is {text[start:end]!r}, not {form!r}"
    return None


def _plain(form: str) -> str:
    return " ".join(form.split()).casefold()


def _seen(span: Span, text: str) -> Span:
    """The span without white space and what else cannot be seen at its ends; as it is where nothing is left."""
    seen = [at for at in range(span["start"], span["end"]) if not _is_blank(text[at])]
    return span | {"start": seen[0], "end": seen[-1] + 1} if seen else span


def _is_blank(character: str) -> bool:
    return character.isspace() or category(character) in ("Cc", "Cf")


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
    found: list[tuple[int, int, str]] = []  # first and last token, label
    open_label = None
    for place, tag in enumerate(tags):
        prefix, _, label = tag.partition("-")
        if tag != "O" and (prefix not in {"B", "I", "E", "S", "L", "U"} or not label):
            raise ValueError(f"{tag!r} is not a tag")
        if tag == "O":
            open_label = None
        elif prefix in {"B", "S", "U"} or label != open_label:
            found.append((place, place, label))
            open_label = None if prefix in {"S", "U"} else label
        else:
            found[-1] = (found[-1][0], place, label)
            open_label = None if prefix in {"E", "L"} else label
    starts = list(accumulate((len(token) + 1 for token in tokens), initial=0))
    spans: list[Span] = []
    for first, last, label in found:
        seen = [place for place in range(first, last + 1) if not all(map(_is_blank, tokens[place]))]
        if seen:
            first, last = seen[0], seen[-1]
        start, end = starts[first], starts[last] + len(tokens[last])
        if start == end:
            raise ValueError(f"the token {first} is empty, and is tagged {tags[first]!r}")
        spans.append({"start": start, "end": end, "label": label})
    return spans
