"""Entities in a table: character spans, or tokens with a tag each (BIO, IOB, IOBES or BILOU)."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import accumulate, pairwise
from typing import TYPE_CHECKING, Any

from lakewright.data.rows.columns import Problems, column, text_column
from lakewright.data.rows.kinds import is_blank, missing
from lakewright.data.rows.truths import check_unicode, from_json, label_name, offset
from lakewright.data.rows.truths.offsets import Offsets, in_characters, mistake, without_blanks
from lakewright.errors import shown

if TYPE_CHECKING:
    import pyarrow as pa

Span = dict[str, Any]  # {"start": int, "end": int, "label": str}: text[start:end] in characters
KEYS = {
    "start": ("start", "start_offset", "start_char", "begin"),
    "end": ("end", "end_offset", "end_char", "stop"),
    "label": ("label", "labels", "entity_group", "entity_type", "entity", "type", "tag"),
}
FORMS = (
    "a list of {start, end, label} or of [start, end, label], also as JSON in a string, or as doccano, Label Studio "
    "(JSON-MIN) and spaCy write it: start and end count characters (end not included), and spans must not overlap"
)
LISTS = ("entities", "spans", "result")
REPEATED = ("text", "word", "surface", "mention")  # keys for a span's text in a source


def read_spans(
    table: pa.Table, text_name: str, spans_name: str, first: int, problems: Problems, offsets: Offsets = "characters"
) -> tuple[list[str | None], list[list[Span] | None]]:
    """Texts and their spans, without white space at their ends; `first` is the number of the table's first row. Errors
    go into `problems`."""
    texts = text_column(table, text_name, "text").to_pylist()
    truths: list[list[Span] | None] = []
    span_values = column(table, spans_name, "spans").to_pylist()
    for row, (text, span_value) in enumerate(zip(texts, span_values, strict=True), start=first):
        if missing(span_value) or text is None:
            truths.append(None)
            continue
        try:
            spans = spans_of(span_value)
        except ValueError as failure:
            problems.add(f"row {row}: not a list of {{start, end, label}} ({failure})")
            truths.append(None)
            continue
        mistakes = [mistake(one["start"], one["end"], one["form"], text, offsets) for one in spans]
        for error in filter(None, mistakes):
            problems.add(f"row {row}: {error}")
        if any(mistakes):
            truths.append(None)
            continue
        spans = sorted((_placed(one, text, offsets) for one in spans), key=lambda span: (span["start"], span["end"]))
        for left, right in pairwise(spans):
            if right["start"] < left["end"]:
                problems.add(
                    f"row {row}: spans {left['start']}–{left['end']} and {right['start']}–{right['end']} overlap"
                )
        truths.append(spans)
    return texts, truths


def _placed(span: Span, text: str, offsets: Offsets) -> Span:
    start, end = in_characters((span["start"], span["end"]), text, offsets)
    start, end = without_blanks(start, end, text)
    return {"start": start, "end": end, "label": span["label"]}


def spans_of(value: Any) -> list[Span]:
    """One row's spans, in the forms of tables, doccano, Label Studio and spaCy. Raises ValueError.

    A list of dicts (see KEYS) or of [start, end, label]; such a list in an object under one of LISTS; a dict of lists;
    a list with one annotation of Label Studio's; each of these also as JSON in a string.
    """
    value = from_json(value)
    if isinstance(value, list) and value and all(isinstance(one, dict) and "result" in one for one in value):
        if len(value) > 1:
            raise ValueError(f"{len(value)} annotations of one text")
        (value,) = value
        if value.get("was_cancelled"):
            raise ValueError("an annotation that was cancelled")
    if isinstance(value, dict):
        items = next((value[key] for key in LISTS if isinstance(value.get(key), list)), None)
        value = _transposed(value) if items is None else items
    if not isinstance(value, list):
        raise ValueError(f"{shown(value)} is not a list")
    return [_span(one) for one in value]


def _transposed(lists: dict[str, Any]) -> list[Any]:
    """The rows of a dict of lists, in which `datasets` stores a list of dicts."""
    values = [_value(lists, keys) for keys in KEYS.values()]
    if not all(isinstance(each, list) for each in values):
        raise ValueError(f"{shown(lists)} is not a list")
    if len({len(each) for each in values}) > 1:
        raise ValueError(f"lists of {', '.join(str(len(each)) for each in values)} starts, ends and labels")
    return [list(one) for one in zip(*values, strict=True)]


def _span(value: Any) -> Span:
    """The source's span, with the source's copy of its text, if any, as `form`."""
    form = None
    if isinstance(value, dict):
        value = value["value"] if isinstance(value.get("value"), dict) else value  # one of Label Studio's results
        start, end, label = (_value(value, keys) for keys in KEYS.values())
        form = _value(value, REPEATED)
    elif isinstance(value, list | tuple) and len(value) == 3:
        start, end, label = value
    else:
        raise ValueError(f"{shown(value)} is not a span")
    if isinstance(label, list):
        if len(label) != 1:
            raise ValueError(f"a span with {len(label)} labels")
        (label,) = label
    return {"start": offset(start), "end": offset(end), "label": label_name(label), "form": form}


def _value(item: dict[str, Any], keys: Sequence[str]) -> Any:
    return next((item[key] for key in keys if item.get(key) is not None), None)


def read_tags(
    table: pa.Table, tokens_name: str, tags_name: str, first: int, problems: Problems
) -> tuple[list[str | None], list[list[str] | None], list[list[Span] | None]]:
    """Texts, their words and their spans, as `read_spans` returns them."""
    texts: list[str | None] = []
    words: list[list[str] | None] = []
    truths: list[list[Span] | None] = []
    tokens_column, tags_column = column(table, tokens_name, "tokens"), column(table, tags_name, "tags")
    both = zip(tokens_column.to_pylist(), tags_column.to_pylist(), strict=True)
    for row, (tokens, tags) in enumerate(both, start=first):
        spans = None
        if not missing(tokens) and not missing(tags):
            try:
                tokens, tags = _words(tokens, tokens_name), _words(tags, tags_name)
                if len(tokens) != len(tags):
                    raise ValueError(f"{len(tokens)} {tokens_name} and {len(tags)} {tags_name}")
                spans = spans_of_tags(tokens, tags)
            except ValueError as failure:
                problems.add(f"row {row}: {failure}")
        texts.append(None if spans is None else " ".join(tokens))
        words.append(None if spans is None else tokens)
        truths.append(spans)
    return texts, words, truths


def _words(value: Any, name: str) -> list[str]:
    values = from_json(value)
    if not isinstance(values, list):
        raise ValueError(f"{name} is {shown(values)}, not a list")
    wrong = [value for value in values if value is None or value != value or isinstance(value, list | dict | bytes)]
    if wrong:
        raise ValueError(f"{name} holds {shown(wrong[0])}")
    words = list(map(str, values))
    check_unicode(words)
    return words


def spans_of_tags(tokens: Sequence[str], tags: Sequence[str]) -> list[Span]:
    """The spans of tagged tokens, in characters of the tokens joined by one space, without invisible tokens at their
    ends if others remain. Raises ValueError for an unknown tag, and if all tagged tokens are empty."""
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
        visible = [place for place in range(first, last + 1) if not is_blank(tokens[place])]
        if visible:
            first, last = visible[0], visible[-1]
        start, end = starts[first], starts[last] + len(tokens[last])
        if start == end:
            raise ValueError(f"the token {first} is empty, but is tagged {tags[first]!r}")
        spans.append({"start": start, "end": end, "label": label})
    return spans
