"""The text of a SQL statement: the table that it writes to, and the positions of tables' names in it.

They come from DuckDB's own tokenizer (tokens.py) and parser.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from lakewright.data.lake.file_names import FileName, without_files
from lakewright.data.lake.names import TableName, with_catalog
from lakewright.data.lake.tokens import (
    Name,
    Token,
    blanked,
    names_in,
    text_of,
    tokens_of,
    verb_at,
    without_versions,
    words_at,
)
from lakewright.errors import UsageError

MAIN = "main"
SUPPORTED = (
    "one statement is supported: select …, create [or replace] table catalog.schema.table as select …, insert into …; "
    "also update, delete from, merge into, optimize, vacuum, restore table and drop table (docs/data.md)"
)
_QUERIES = ("select", "with", "from", "values", "table", "(")  # a query begins with one of these
_WRITES = (("insert", "into"), ("create", "table"), ("create", "or", "replace", "table"))
_TABLES_FOLLOW = ("from", "join", "using", "into", "update")
_BEFORE_TABLES = ("table", "describe", "desc", "summarize")  # DuckDB's parser gives no position of their tables


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
    files: Mapping[str, FileName] = field(default_factory=dict)  # by the names that they have in the query
    catalog: str = MAIN  # of names of two parts


@dataclass(frozen=True)
class Mention:
    """A place in the query that names a table, or a column with its table's whole name."""

    table: TableName
    version: int | None
    catalog: Token  # the name's first part; an empty one before it, where the name has two parts


def parse(query: str, catalog: str = MAIN) -> Statement:
    """Tables' names of two parts are in this catalog. Raises UsageError unless the text is one statement of the
    supported kinds."""
    without, files = without_files(query)
    text = text_of(without)
    tokens = tokens_of(text)
    if not tokens:
        raise UsageError("the statement is empty", SUPPORTED)
    if tokens[0].word not in {*_QUERIES, *(words[0] for words in _WRITES)}:
        raise UsageError(f"{tokens[0].text!r} statements are not supported here", SUPPORTED)
    text, versions = without_versions(text)
    tokens = tokens_of(text)
    verb = 0 if tokens[0].word in ("create", "insert") else verb_at(tokens, ("insert", "into"))
    if verb is None:
        return Statement(query, text, versions, _tree(text), files=files, catalog=catalog)
    words = next((words for words in _WRITES if words_at(tokens, verb, len(words)) == words), None)
    name = next((name for name in names_in(tokens) if words and name.first == verb + len(words)), None)
    begin = name.last + 1 if name else 0  # of the query
    if words and words[0] == "create":
        begin = begin + 1 if words_at(tokens, begin) == ("as",) else len(tokens)
    first = next((token.word for token in tokens[begin:] if token.text != "("), None)
    if words is None or name is None or first not in _QUERIES:
        raise UsageError(f"not supported here: {text[tokens[verb].start :].decode().strip()[:80]}", SUPPORTED)
    target, _ = TableName.parse(with_catalog(name.written, catalog))
    if name.start in versions:
        raise UsageError(f"{target}@v{versions[name.start]} cannot be written to", SUPPORTED)
    if verb and first == "with":
        raise UsageError("WITH is both before and after INSERT", "write: insert into … with … select …")
    text = blanked(text, tokens[verb].start, tokens[begin].start)
    return Statement(
        query, text, versions, _tree(text), target, words[0] == "insert", "replace" in words, files, catalog
    )


def mentions(statement: Statement, is_table: Callable[[str], bool]) -> list[Mention]:
    """Every place where the query names one of the lake's tables.

    `is_table` decides where DuckDB's parser does not distinguish a table from a column. Raises UsageError for a table's
    name that is not possible in the lake.
    """
    tokens = tokens_of(statement.text)
    names = list(names_in(tokens))
    if statement.tree is None:
        tables = [
            name
            for name in names
            if (
                len(name.parts) == 3 or (len(name.parts) == 2 and words_at(tokens, name.first - 1)[0] in _TABLES_FOLLOW)
            )
            and is_table(with_catalog(name.table, statement.catalog))
        ]
    else:
        places, elsewhere = _tables(statement)
        tables = [
            name
            for name in names
            if name.start in places
            or (
                with_catalog(name.table, statement.catalog) in elsewhere
                and name.first
                and tokens[name.first - 1].word in _BEFORE_TABLES
            )
        ]
    mentioned = {name.start: _mention(name, statement.versions.get(name.start), statement.catalog) for name in tables}
    if stray := statement.versions.keys() - mentioned.keys():
        version = statement.versions[min(stray)]
        raise UsageError(f"@v{version} follows a name that is not a table", "write catalog.schema.table@v3")
    # A column with its table's whole name: of the version that is read; of several, the latest.
    by_version = sorted(mentioned.values(), key=lambda each: (each.version is None, each.version))
    versions = {str(each.table): each.version for each in by_version}
    for name in names:
        if len(name.parts) > 3 and name.start not in mentioned and name.table in versions:
            mentioned[name.start] = _mention(name, versions[name.table], statement.catalog)
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


def _mention(name: Name, version: int | None, catalog: str) -> Mention:
    first = name.parts[0] if len(name.parts) > 2 else Token("", name.start, name.start)
    return Mention(TableName.parse(with_catalog(name.table, catalog))[0], version, first)


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


def _tables(statement: Statement) -> tuple[set[int], set[str]]:
    """The positions where tables' names start, and the names of tables without a position."""
    places, elsewhere = set[int](), set[str]()
    for node, ctes in _nodes(statement.tree):
        if node.get("type") != "BASE_TABLE":
            continue
        path = node["qualified_name"]["path"]
        if len(path) == 1 and (path[0].lower() in ctes or path[0] in statement.files):
            continue
        table, version = TableName.parse(with_catalog(".".join(path), statement.catalog))
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
