"""update, delete and merge into: the next version of a table is what the statement makes of its rows.

DuckDB has a copy of the rows and runs the statement on it as it is written; delta-rs commits what is left. Nothing is
committed where no row changes.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING

from lakewright.data.lake.file_names import without_files
from lakewright.data.lake.names import TableName, with_catalog
from lakewright.data.lake.sql import Session, placed
from lakewright.data.lake.statements import MAIN, Statement
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
from lakewright.errors import DataError, UsageError
from lakewright.records import Changed

if TYPE_CHECKING:
    from lakewright.data.lake.tables import Lake

FORMS = (
    "update catalog.schema.table set … where …, delete from catalog.schema.table where …, "
    "merge into catalog.schema.table using … on … when matched then …"
)
_BATCH = 65_536  # rows
_VERBS = {"UPDATE": ("update",), "DELETE": ("delete", "from"), "MERGE_INTO": ("merge", "into")}
_DID = {"update": "updated", "delete": "deleted", "merge": "merged"}
_ACTIONS = {"UPDATE": "updated", "DELETE": "deleted", "INSERT": "inserted"}  # of merge, as DuckDB names them


@dataclass(frozen=True)
class Change:
    words: tuple[str, ...]  # that the statement begins with, after WITH
    target: TableName
    statement: Statement


def is_change(query: str) -> bool:
    """Whether the text begins as a statement that changes rows."""
    tokens = tokens_of(text_of(without_files(query)[0]))
    return bool(tokens) and (
        tokens[0].word in _DID or (tokens[0].word == "with" and verb_at(tokens, *_VERBS.values()) is not None)
    )


def parse_change(query: str, catalog: str = MAIN) -> Change:
    """Raises UsageError unless the text is one statement that changes the rows of one table."""
    import duckdb

    without, files = without_files(query)
    text, versions = without_versions(text_of(without))
    tokens = tokens_of(text)
    while tokens[-1].text == ";":
        text = blanked(text, tokens[-1].start, tokens[-1].end)
        tokens = tokens[:-1]
    try:
        statements = duckdb.extract_statements(text.decode())
    except duckdb.Error as error:
        raise UsageError(f"this is not SQL: {error}", f"write {FORMS}") from error
    if len(statements) != 1:
        raise UsageError(f"the text has {len(statements)} statements", "run one statement at a time")
    words = _VERBS.get(statements[0].type.name)
    at = None if words is None else verb_at(tokens, words)
    name = None if words is None or at is None else _name_at(tokens, at + len(words))
    if words is None or name is None:
        raise UsageError(f"not supported here: {query.strip()[:80]}", f"write {FORMS}")
    target, _ = TableName.parse(with_catalog(name.written, catalog))
    if name.start in versions:
        raise UsageError(
            f"{target}@v{versions[name.start]} is one version of a table, which cannot change",
            f"write {target} without a version",
        )
    if any(token.word == "returning" for token in tokens):
        raise UsageError("returning is not supported", "leave it out, and select the rows afterwards")
    return Change(words, target, Statement(query, text, versions, None, target, files=files, catalog=catalog))


def change(lake: Lake, query: str, noted: str | None = None) -> Changed:
    """Run one statement that changes rows. `noted` is the statement as the commit holds it, by default as it is.

    Raises UsageError for other statements and for SQL that does not bind, NotFound for an unknown table, DataError for
    values that do not fit and where two rows of another table match one that is to change, Busy if another process
    wrote the table in the meantime.
    """
    parsed = parse_change(query, lake.default_catalog)
    lake.version(str(parsed.target))
    properties = {"sql": query if noted is None else noted}
    place = f"{parsed.target.catalog}@", parsed.target
    with Session(lake, parsed.statement, changed=place) as session:
        pinned = session.views[place].table
        if parsed.words[0] == "update":
            _check_matches(session, parsed, lake.schema(pinned).names)
        counts = _run(session, parsed)
        if not sum(counts.values()):
            return Changed(table=pinned.name, version=pinned.version, did="nothing")
        rows = session.stream(f"FROM {placed(*place)}")
        written = lake.write(pinned.name, rows, properties=properties, after=pinned)
    return Changed(table=written.name, version=written.version, did=_DID[parsed.words[0]]).model_copy(update=counts)


def _run(session: Session, change: Change) -> dict[str, int]:
    """The rows that were updated, deleted and inserted in DuckDB's copy."""
    if change.words[0] != "merge":
        ((count,),) = session.explained(lambda: session.connection.execute(session.query).fetchall())
        return {_DID[change.words[0]]: count}
    actions = Counter[str]()
    try:
        result = session.explained(lambda: session.connection.execute(f"{session.query}\nRETURNING merge_action"))
    except DataError as error:
        if "same target row more than once" not in error.cause:
            raise
        raise _repeated(change.target, "USING") from error
    while batch := result.fetchmany(_BATCH):
        actions.update(action for (action,) in batch)
    return {_ACTIONS[action]: count for action, count in actions.items()}


def _check_matches(session: Session, change: Change, columns: list[str]) -> None:
    """Raises DataError for an update whose FROM has two rows for one of the table: DuckDB would take either."""
    text = session.query.encode()
    tokens = tokens_of(text)
    verb = verb_at(tokens, change.words)
    assert verb is not None, "the statement was parsed"
    to_set, source = _clause(tokens, "set", verb), _clause(tokens, "from", verb)
    if to_set is None or source is None:
        return
    if "rowid" in [column.lower() for column in columns]:
        raise UsageError(f"{change.target} has a column rowid, and an update of it cannot have FROM", "use merge into")
    before, table = text[: tokens[verb].start], text[tokens[verb].end : tokens[to_set].start]
    # the alias, or the last part of the name; WHERE follows FROM in a select as it does in an update
    name, rest = tokens[to_set - 1].text, text[tokens[source].end :]
    query = b"%b SELECT 1 FROM %b, %b\nGROUP BY %b.rowid HAVING count(*) > 1 LIMIT 1" % (
        before,
        table,
        rest,
        name.encode(),
    )
    if session.explained(lambda: session.connection.execute(query.decode()).fetchall()):
        raise _repeated(change.target, "FROM")


def _repeated(target: TableName, clause: str) -> DataError:
    return DataError(
        f"two rows of {clause} match one row of {target}, which can be changed once only; nothing was written",
        "leave one of them: select … qualify row_number() over (partition by KEY order by …) = 1",
    )


def _clause(tokens: list[Token], word: str, after: int) -> int | None:
    """The number of the token where the clause begins: outside of brackets, and not part of IS DISTINCT FROM."""
    depth = 0
    for at in range(after, len(tokens)):
        depth += {"(": 1, ")": -1, "[": 1, "]": -1}.get(tokens[at].text, 0)
        if depth == 0 and tokens[at].word == word and words_at(tokens, at - 1) != ("distinct",):
            return at
    return None


def _name_at(tokens: list[Token], at: int) -> Name | None:
    return next((name for name in names_in(tokens) if name.first == at), None)


def without_values(query: str) -> str:
    """The statement with a question mark for each text and number: its values may be those of a person."""
    import duckdb

    text = text_of(without_files(query)[0])
    values = (duckdb.token_type.string_const, duckdb.token_type.numeric_const)
    kinds = dict(duckdb.tokenize(text.decode()))
    parts = [(token.text, kinds[token.start] in values and token.text != ".") for token in tokens_of(text)]
    return " ".join("?" if is_value else part for part, is_value in parts)
