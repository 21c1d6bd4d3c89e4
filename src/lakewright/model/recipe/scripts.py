"""Defines which characters make words, for cases in which `\\w` is not enough.

Marks (accents that are characters of their own, vowel signs of Indic scripts, tones) belong to the letter before them.
Chinese, Japanese, Thai, Lao, Burmese and Khmer put no spaces between words. An emoji is a word.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from functools import cache
from unicodedata import category

UNSPACED = (
    *((0x0E00, 0x0EFF), (0x1000, 0x109F), (0x1780, 0x17FF), (0x1A20, 0x1AAF)),  # Thai and Lao, Burmese, Khmer, Tai Tham
    *((0xA9E0, 0xA9FF), (0xAA60, 0xAA7F)),  # more of Burmese
    *((0x3005, 0x3007), (0x3040, 0x30FF), (0x31F0, 0x31FF), (0xFF66, 0xFF9F), (0x1B000, 0x1B16F)),  # kana
    *((0x3400, 0x4DBF), (0x4E00, 0x9FFF), (0xF900, 0xFAFF), (0x20000, 0x323AF)),  # Han
)
SYMBOLS = (
    *((0x2190, 0x21FF), (0x2300, 0x23FF), (0x2500, 0x27BF), (0x2900, 0x297F), (0x2B00, 0x2BFF)),
    *((0x1F000, 0x1F3FA), (0x1F400, 0x1FAFF)),  # without the five colours of skin between them
)
WITH_MARKS = ((0x300, 0x1FFFF), (0xE0100, 0xE01EF))
JOINER = "\u200d"  # makes one letter, or one emoji, of two
PRESENTATION = re.compile("[\ufe0e\ufe0f]")  # as text or as an emoji, it is the same symbol


def is_mark(character: str) -> bool:
    return category(character).startswith("M")


@cache
def pieces() -> re.Pattern[str]:
    """Matches a run of a script without spaces (group "run"), a word, or a symbol (a flag is one symbol)."""
    runs = _class(code for code in _codes(UNSPACED) if category(chr(code))[0] in "LMN")
    marks = _class(code for code in _codes(WITH_MARKS) if is_mark(chr(code)))
    letter = rf"[^\W{runs}]"
    word = rf"{letter}+(?:[{marks}{JOINER}]+{letter}+)*[{marks}]*"
    return re.compile(rf"(?P<run>[{runs}]+)|{word}|[\U0001f1e6-\U0001f1ff]{{2}}|[{_class(_codes(SYMBOLS))}]")


def _codes(blocks: Iterable[tuple[int, int]]) -> Iterable[int]:
    return (code for first, last in blocks for code in range(first, last + 1))


def _class(codes: Iterable[int]) -> str:
    """The inside of a regular expression's character class."""
    ranges: list[list[int]] = []
    for code in codes:
        if ranges and code == ranges[-1][1] + 1:
            ranges[-1][1] = code
        else:
            ranges.append([code, code])
    return "".join(f"{chr(first)}-{chr(last)}" for first, last in ranges)
