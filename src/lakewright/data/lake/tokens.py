"""A SQL statement in DuckDB's own tokens, and the names in it; positions are in bytes, as DuckDB counts them.

`catalog.schema.table@v3` and `… VERSION AS OF 3` are the lake's own syntax: DuckDB gets blanks instead, so that
positions stay.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise

from lakewright.errors import UsageError


@dataclass(frozen=True)
class Token:
    text: str
    start: int
    end: int

    @property
    def word(self) -> str:
        return self.text.lower()

    @property
    def is_name(self) -> bool:
        return self.text[0] in '"`' or self.text.isidentifier()


@dataclass(frozen=True)
class Name:
    """A name of one or more parts with dots between them; its tokens have the numbers `first` to `last`."""

    parts: tuple[Token, ...]
    first: int
    last: int

    @property
    def start(self) -> int:
        return self.parts[0].start

    @property
    def written(self) -> str:
        return ".".join(part.text for part in self.parts)

    @property
    def table(self) -> str:
        """The table that it names, if it is a table, or a column with its table's whole name."""
        return ".".join(part.text.strip('"`') for part in self.parts[:3]).lower()


# Comments, then quoted text: 'text', E'it\\'s', "name", $tag$text$tag$.
_PARTS = re.compile(
    r"""(?P<comment>--[^\n]*|/\*.*?\*/)|[eE]'(?:[^'\\]|\\.|'')*'|'(?:[^']|'')*'|"(?:[^"]|"")*"|(\$\w*\$).*?\2"""
    r"""|(?P<blank>[\u00a0\u2000-\u200b\u202f\u205f\u2060\u3000\ufeff])""",
    re.DOTALL,
)


def text_of(query: str) -> bytes:
    """The statement as DuckDB can count in it: with plain blanks, and the schema `default` in quotes, as DuckDB has a
    word of its own of this name. Raises UsageError for a query that is not UTF-8."""
    try:
        text = _with_plain_blanks(query).encode()
    except UnicodeEncodeError as error:
        raise UsageError(f"the statement is not UTF-8: {error}", "write it in UTF-8") from error
    for name in reversed(list(names_in(tokens_of(text)))):
        if name.parts[0].word == "default" and len(name.parts) > 1:
            text = text[: name.start] + b'"default"' + text[name.parts[0].end :]
    return text


def _with_plain_blanks(query: str) -> str:
    """The query with ASCII blanks, one a byte, for each Unicode blank outside quotes: DuckDB would turn each into one
    blank before it counts positions."""

    def plain(part: re.Match[str]) -> str:
        if part["blank"]:
            return " " * len(part["blank"].encode())
        return "".join(c if c.isascii() else " " * len(c.encode()) for c in part[0]) if part["comment"] else part[0]

    return _PARTS.sub(plain, query)


def tokens_of(text: bytes) -> list[Token]:
    import duckdb

    tokens, end_of_text = [], (len(text), duckdb.token_type.comment)
    for (start, kind), (end, _) in pairwise([*duckdb.tokenize(text.decode()), end_of_text]):
        if kind != duckdb.token_type.comment:
            word = text[start:end].rstrip()
            tokens.append(Token(word.decode(), start, start + len(word)))
    return tokens


def names_in(tokens: list[Token]) -> Iterator[Name]:
    first = 0
    while first < len(tokens):
        last = first
        if tokens[first].is_name and words_at(tokens, first - 1) != (".",):
            while words_at(tokens, last + 1) == (".",) and last + 2 < len(tokens) and tokens[last + 2].is_name:
                last += 2
            yield Name(tuple(tokens[first : last + 1 : 2]), first, last)
        first = last + 1


def words_at(tokens: list[Token], at: int, count: int = 1) -> tuple[str, ...]:
    """The words from token `at` on, at most `count`."""
    return tuple(token.word for token in tokens[at : at + count]) if at >= 0 else ()


def without_versions(text: bytes) -> tuple[bytes, dict[int, int]]:
    """The text with blanks for @v3 and [FOR] VERSION AS OF 3 after names, and the versions by the names' starts."""
    tokens, versions = tokens_of(text), dict[int, int]()
    for name in names_in(tokens):
        if len(name.parts) not in (2, 3):
            continue
        at = name.last + 1
        if words_at(tokens, at) == ("@",) and tokens[at].start == tokens[name.last].end:
            last = at + 1
            version = "".join(words_at(tokens, last))
            if version[:1] != "v" or not version[1:].isdecimal():
                raise UsageError(f"'@{version}' is not a version of a table", f"write {name.written}@v3")
        else:
            words = words_at(tokens, at, 5)
            words = words[1:] if words[:1] == ("for",) else words[:4]
            if words[:1] not in (("version",), ("timestamp",)) or words[1:3] != ("as", "of"):
                continue
            last = at + 3 + (words_at(tokens, at) == ("for",))
            version = "v" + "".join(words[3:])
            if words[0] == "timestamp" or not version[1:].isdecimal():
                raise UsageError(
                    f"not supported: {' '.join(words)}", f"write {name.written}@v3 or {name.written} VERSION AS OF 3"
                )
        versions[name.start] = int(version[1:])
        text = blanked(text, tokens[at].start, tokens[last].end)
    return text, versions


def verb_at(tokens: list[Token], *verbs: tuple[str, ...]) -> int | None:
    """The number of the token where one of these verbs begins: the first token, or one after WITH; None: none does."""
    depth = 0
    for at, token in enumerate(tokens):
        depth += {"(": 1, ")": -1}.get(token.text, 0)
        if (at == 0 or depth == 0) and any(words_at(tokens, at, len(words)) == words for words in verbs):
            return at
        if tokens[0].word != "with":
            return None
    return None


def blanked(text: bytes, start: int, end: int) -> bytes:
    return text[:start] + b" " * (end - start) + text[end:]
