"""The text of a SQL statement: the table that it writes to, and the positions of tables' names in it.

They come from DuckDB's own tokenizer and parser; positions are in bytes, as DuckDB counts them.
`catalog.schema.table@v3` and `… VERSION AS OF 3` are the lake's own syntax: DuckDB gets blanks instead, so that
positions stay.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from lakewright.data.lake.names import TableName
from lakewright.errors import UsageError

SUPPORTED = (
    "one statement is supported: select …, create [or replace] table catalog.schema.table as select …, "
    "or insert into catalog.schema.table select …; `lakewright run` reads files"
)
_QUERIES = ("select", "with", "from", "values", "table", "(")  # a query begins with one of these
_WRITES = (("insert", "into"), ("create", "table"), ("create", "or", "replace", "table"))
_BEFORE_TABLES = ("table", "describe", "desc", "summarize")  # DuckDB's parser gives no position of their tables


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


@dataclass(frozen=True)
class Statement:
    """A query, and the table that its rows go into, if any."""

    written: str
    text: bytes  # the query, with blanks in place of all else
    versions: Mapping[int, int]  # a name's start → the version after it
    tree: Any  # the query as DuckDB parses it; None if DuckDB does not show it (PIVOT … ON without its values)
    target: TableName | None = None
    inserts: bool = False
    replaces: bool = False


@dataclass(frozen=True)
class Mention:
    """A place in the query that names a table, or a column with its table's whole name."""

    table: TableName
    version: int | None
    catalog: Token  # the name's first part


def parse(query: str) -> Statement:
    """Raises UsageError unless the text is one statement of the supported kinds."""
    try:
        text = _with_plain_blanks(query).encode()
    except UnicodeEncodeError as error:
        raise UsageError(f"the statement is not UTF-8: {error}", "write it in UTF-8") from error
    tokens = _tokens(text)
    if not tokens:
        raise UsageError("the statement is empty", SUPPORTED)
    if tokens[0].word not in {*_QUERIES, *(words[0] for words in _WRITES)}:
        raise UsageError(f"{tokens[0].text!r} statements are not supported", SUPPORTED)
    text, versions = _without_versions(text)
    tokens = _tokens(text)
    verb = _verb(tokens)
    if verb is None:
        return Statement(query, text, versions, _tree(text))
    words = next((words for words in _WRITES if _words(tokens, verb, len(words)) == words), None)
    name = next((name for name in _names(tokens) if words and name.first == verb + len(words)), None)
    begin = name.last + 1 if name else 0  # of the query
    if words and words[0] == "create":
        begin = begin + 1 if _words(tokens, begin) == ("as",) else len(tokens)
    first = next((token.word for token in tokens[begin:] if token.text != "("), None)
    if words is None or name is None or first not in _QUERIES:
        raise UsageError(f"not supported here: {text[tokens[verb].start :].decode().strip()[:80]}", SUPPORTED)
    target, _ = TableName.parse(name.written)
    if name.start in versions:
        raise UsageError(f"{target}@v{versions[name.start]} cannot be written to", SUPPORTED)
    if verb and first == "with":
        raise UsageError("WITH is both before and after INSERT", "write: insert into … with … select …")
    text = _blank(text, tokens[verb].start, tokens[begin].start)
    return Statement(query, text, versions, _tree(text), target, words[0] == "insert", "replace" in words)


def mentions(statement: Statement, is_table: Callable[[str], bool]) -> list[Mention]:
    """Every place where the query names one of the lake's tables.

    `is_table` decides where DuckDB's parser does not distinguish a table from a column. Raises UsageError for a table's
    name that is not possible in the lake.
    """
    tokens = _tokens(statement.text)
    names = list(_names(tokens))
    if statement.tree is None:
        tables = [name for name in names if len(name.parts) >= 3 and is_table(name.table)]
    else:
        places, elsewhere = _tables(statement.tree)
        tables = [
            name
            for name in names
            if name.start in places
            or (name.table in elsewhere and name.first and tokens[name.first - 1].word in _BEFORE_TABLES)
        ]
    mentioned = {name.start: _mention(name, statement.versions.get(name.start)) for name in tables}
    if stray := statement.versions.keys() - mentioned.keys():
        version = statement.versions[min(stray)]
        raise UsageError(f"@v{version} follows a name that is not a table", "write catalog.schema.table@v3")
    # A column with its table's whole name: of the version that is read; of several, the latest.
    by_version = sorted(mentioned.values(), key=lambda each: (each.version is None, each.version))
    versions = {str(each.table): each.version for each in by_version}
    for name in names:
        if len(name.parts) > 3 and name.start not in mentioned and name.table in versions:
            mentioned[name.start] = _mention(name, versions[name.table])
    return list(mentioned.values())


def column_names(statement: Statement) -> set[str] | None:
    """All names in the query, in lower case; None if it can also mean columns that it does not name."""
    if statement.tree is None:
        return None
    nodes = [node for node, _ in _nodes(statement.tree)]
    bases = [node for node in nodes if node.get("type") == "BASE_TABLE"]
    tables = {(base["alias"] or base["table_name"]).lower() for base in bases}
    for node in nodes:
        if (
            node.get("class") in ("STAR", "POSITIONAL_REFERENCE")
            or node.get("type") in ("PIVOT", "SHOW_REF")
            or node.get("ref_type") == "NATURAL"
            or node.get("column_name_alias")  # names by position
            # a table's name as a value is the whole row
            or (node.get("class") == "COLUMN_REF" and node["column_names"][-1].lower() in tables)
        ):
            return None
    return {text.lower() for node in nodes for value in node.values() for text in _texts(value)}


def _mention(name: Name, version: int | None) -> Mention:
    return Mention(TableName.parse(name.table)[0], version, name.parts[0])


# Text ----------------------------------------------------------------------------------------------------------------


# Comments, then quoted text: 'text', E'it\\'s', "name", $tag$text$tag$.
_PARTS = re.compile(
    r"""(?P<comment>--[^\n]*|/\*.*?\*/)|[eE]'(?:[^'\\]|\\.|'')*'|'(?:[^']|'')*'|"(?:[^"]|"")*"|(\$\w*\$).*?\2"""
    r"""|(?P<blank>[\u00a0\u2000-\u200b\u202f\u205f\u2060\u3000\ufeff])""",
    re.DOTALL,
)


def _with_plain_blanks(query: str) -> str:
    """The query with ASCII blanks, one a byte, for each Unicode blank outside quotes: DuckDB would turn each into one
    blank before it counts positions."""

    def plain(part: re.Match[str]) -> str:
        if part["blank"]:
            return " " * len(part["blank"].encode())
        return "".join(c if c.isascii() else " " * len(c.encode()) for c in part[0]) if part["comment"] else part[0]

    return _PARTS.sub(plain, query)


def _tokens(text: bytes) -> list[Token]:
    import duckdb

    tokens, end_of_text = [], (len(text), duckdb.token_type.comment)
    for (start, kind), (end, _) in pairwise([*duckdb.tokenize(text.decode()), end_of_text]):
        if kind != duckdb.token_type.comment:
            word = text[start:end].rstrip()
            tokens.append(Token(word.decode(), start, start + len(word)))
    return tokens


def _names(tokens: list[Token]) -> Iterator[Name]:
    first = 0
    while first < len(tokens):
        last = first
        if tokens[first].is_name and _words(tokens, first - 1) != (".",):
            while _words(tokens, last + 1) == (".",) and last + 2 < len(tokens) and tokens[last + 2].is_name:
                last += 2
            yield Name(tuple(tokens[first : last + 1 : 2]), first, last)
        first = last + 1


def _words(tokens: list[Token], at: int, count: int = 1) -> tuple[str, ...]:
    """The words from token `at` on, at most `count`."""
    return tuple(token.word for token in tokens[at : at + count]) if at >= 0 else ()


def _verb(tokens: list[Token]) -> int | None:
    """The number of the token CREATE or INSERT, which may follow WITH; None for a query."""
    if tokens[0].word in ("create", "insert"):
        return 0
    depth = 0
    for at, token in enumerate(tokens):
        depth += {"(": 1, ")": -1}.get(token.text, 0)
        if tokens[0].word == "with" and depth == 0 and _words(tokens, at, 2) == ("insert", "into"):
            return at
    return None


def _without_versions(text: bytes) -> tuple[bytes, dict[int, int]]:
    """The text with blanks for @v3 and [FOR] VERSION AS OF 3 after names, and the versions by the names' starts."""
    tokens, versions = _tokens(text), dict[int, int]()
    for name in _names(tokens):
        if len(name.parts) != 3:
            continue
        at = name.last + 1
        if _words(tokens, at) == ("@",) and tokens[at].start == tokens[name.last].end:
            last = at + 1
            version = "".join(_words(tokens, last))
            if version[:1] != "v" or not version[1:].isdecimal():
                raise UsageError(f"'@{version}' is not a version of a table", f"write {name.written}@v3")
        else:
            words = _words(tokens, at, 5)
            words = words[1:] if words[:1] == ("for",) else words[:4]
            if words[:1] not in (("version",), ("timestamp",)) or words[1:3] != ("as", "of"):
                continue
            last = at + 3 + (_words(tokens, at) == ("for",))
            version = "v" + "".join(words[3:])
            if words[0] == "timestamp" or not version[1:].isdecimal():
                raise UsageError(
                    f"not supported: {' '.join(words)}", f"write {name.written}@v3 or {name.written} VERSION AS OF 3"
                )
        versions[name.start] = int(version[1:])
        text = _blank(text, tokens[at].start, tokens[last].end)
    return text, versions


def _blank(text: bytes, start: int, end: int) -> bytes:
    return text[:start] + b" " * (end - start) + text[end:]


# DuckDB's parse tree -------------------------------------------------------------------------------------------------


def _tree(text: bytes) -> Any:
    import duckdb

    query = text.decode()
    try:
        statements = duckdb.extract_statements(query)
    except duckdb.Error as error:
        raise UsageError(f"this is not SQL: {error}", SUPPORTED) from error
    if len(statements) != 1:
        raise UsageError(f"the text has {len(statements)} statements", SUPPORTED)
    if statements[0].type not in (duckdb.StatementType.SELECT, duckdb.StatementType.MULTI):  # MULTI: a PIVOT
        raise UsageError(f"this kind of statement is not supported: {query.strip()[:80]}", SUPPORTED)
    with duckdb.connect() as connection:
        ((serialized,),) = connection.execute("SELECT json_serialize_sql(?)", [query]).fetchall()
    tree = json.loads(serialized)
    return None if tree["error"] else tree["statements"][0]


def _nodes(tree: Any, ctes: frozenset[str] = frozenset()) -> Iterator[tuple[dict[str, Any], frozenset[str]]]:
    """Each node, and the names of WITH that are valid there."""
    if isinstance(tree, dict):
        ctes |= {entry["key"].lower() for entry in (tree.get("cte_map") or {"map": []})["map"]}
        yield tree, ctes
    for inner in tree.values() if isinstance(tree, dict) else tree if isinstance(tree, list) else ():
        yield from _nodes(inner, ctes)


def _tables(tree: Any) -> tuple[set[int], set[str]]:
    """The positions where tables' names start, and the names of tables without a position."""
    places, elsewhere = set[int](), set[str]()
    for node, ctes in _nodes(tree):
        if node.get("type") != "BASE_TABLE":
            continue
        path = node["qualified_name"]["path"]
        if len(path) == 1 and path[0].lower() in ctes:
            continue
        table, version = TableName.parse(".".join(path))
        if node["at_clause"] or version is not None:
            raise UsageError("AT (…) is not supported", f"write {table}@v3 or {table} VERSION AS OF 3")
        if node["query_location_length"]:
            places.add(node["query_location"])
        else:
            elsewhere.add(str(table))
    return places, elsewhere


def _texts(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, list):
        yield from (text for text in value if isinstance(text, str))
