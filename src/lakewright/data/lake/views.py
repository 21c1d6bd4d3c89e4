"""Views: a select under a name. The catalog keeps its text, and each statement that names it reads the tables anew."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

from lakewright.data.lake.catalogs import VIEW, KeepsViews
from lakewright.data.lake.file_names import without_files
from lakewright.data.lake.names import TableName, with_catalog
from lakewright.data.lake.sql import DEFAULT_CATALOG, Session
from lakewright.data.lake.statements import MAIN, mentions, parse
from lakewright.data.lake.tokens import names_in, text_of, tokens_of, words_at
from lakewright.data.lake.types import columns_info, python_rows, simplified, storable
from lakewright.errors import NotFound, UsageError
from lakewright.records import Changed

if TYPE_CHECKING:
    from lakewright.data.lake.tables import Lake

FORMS = "create [or replace] view catalog.schema.name as select …, drop view [if exists] catalog.schema.name"
_CREATES = (("create", "view"), ("create", "or", "replace", "view"))
_DROPS = (("drop", "view"), ("drop", "view", "if", "exists"))


@dataclass(frozen=True)
class ViewStatement:
    drops: bool
    view: str
    lenient: bool  # or replace; if exists
    text: str = ""  # of the view


def is_view_statement(query: str) -> bool:
    """Whether the text begins as a statement that makes or drops a view."""
    tokens = tokens_of(text_of(query))
    return any(words_at(tokens, 0, len(words)) == words for words in (*_CREATES, *_DROPS))


def parse_view_statement(query: str, catalog: str = MAIN) -> ViewStatement:
    """Raises UsageError unless the text is one such statement."""
    text = text_of(query)
    tokens = tokens_of(text)
    words = [words for words in (*_CREATES, *_DROPS) if words_at(tokens, 0, len(words)) == words][-1]
    name = next((name for name in names_in(tokens) if name.first == len(words)), None)
    rest = [] if name is None else [token for token in tokens[name.last + 1 :] if token.text != ";"]
    drops = words in _DROPS
    if name is None or (rest if drops else len(rest) < 2 or rest[0].word != "as"):
        raise UsageError(f"not supported here: {query.strip()[:80]}", f"write {FORMS}")
    view, version = TableName.parse(with_catalog(name.written, catalog))
    if version is not None:
        raise UsageError(f"a view has no versions: {view}@v{version}", f"write {FORMS}")
    select = "" if drops else text[rest[1].start : rest[-1].end].decode()
    return ViewStatement(drops, str(view), words in (_CREATES[1], _DROPS[1]), select)


def create_view(lake: Lake, statement: ViewStatement) -> Changed:
    """Raises UsageError where the catalog keeps no views, the name is a table's or, unless it is replaced, a view's,
    and for a text that is no select over tables, that DuckDB does not bind, or that reads the view itself."""
    name, _ = TableName.parse(statement.view)
    if not hasattr(lake.catalog, "register_view"):
        raise UsageError(
            f"the catalog {lake.catalog.settings.model_fields['name'].default} keeps no views of ours: its own are in "
            "the SQL of its platform",
            f"make it there, or write the rows into a table: create table {name} as select …",
        )
    present = lake.view(statement.view)
    if present is not None and not statement.lenient:
        raise UsageError(f"the view {name} exists already", "write: create or replace view … as select …")
    if present is None and _is_table(lake, statement.view):
        raise UsageError(f"{name} is a table", "choose another name for the view, or drop the table first")
    if without_files(statement.text)[1]:
        raise UsageError(
            "a view reads tables, and its text names a file",
            "write the file's rows into a table first: create table … as select * from csv.`PATH`",
        )
    query = parse(statement.text, lake.default_catalog)
    if query.target is not None:
        raise UsageError("the text of a view is no select", f"write {FORMS}")
    if query.tree is None:
        raise UsageError("a view cannot find the columns of a pivot in its rows", "name them: pivot … on … in (…)")
    with Session(lake, query, empty=True, view=name) as session:
        schema = storable(simplified(session.stream().schema, lambda _: None))
        reads = [*(str(rows.table) for rows in session.views.values()), *session.named]
    cast(KeepsViews, lake.catalog).register_view(
        name,
        view_definition=statement.text,
        columns=columns_info(schema),
        properties={DEFAULT_CATALOG: lake.default_catalog},
    )
    note = f"it reads {', '.join(reads)}" if reads else "it reads no table"
    return Changed(table=statement.view, version=None, did="made", note=note)


def drop_view(lake: Lake, statement: ViewStatement) -> Changed:
    """Raises NotFound where there is none, unless the statement is `drop view if exists`."""
    if lake.view(statement.view) is None:
        if _is_table(lake, statement.view):
            raise UsageError(f"{statement.view} is a table, not a view", f"write: drop table {statement.view}")
        if statement.lenient:
            return Changed(table=statement.view, version=None, did="nothing")
        raise NotFound(f"there is no view {statement.view}", "list the lake's tables and views: lakewright tables list")
    lake.catalog.drop_table(TableName.parse(statement.view)[0])
    return Changed(table=statement.view, version=None, did="dropped")


def views_naming(lake: Lake) -> Iterator[tuple[str, str, int | None]]:
    """Each view, and what its own text names: a table or another view, and the version, if it names one."""
    if not hasattr(lake.catalog, "register_view"):
        return
    for entry in lake.catalog.list_tables():
        if entry["table_type"] == VIEW:
            statement = parse(entry["view_definition"], entry["properties"][DEFAULT_CATALOG])
            for each in mentions(statement, lambda _: True):
                yield entry["full_name"], str(each.table), each.version


def show_view(lake: Lake, view: str, limit: int) -> dict[str, Any]:
    """As `Lake.show` shows a table, with the view's text, the tables that it reads now, and its first rows."""
    name, _ = TableName.parse(view)
    entry = lake.view(view)
    assert entry is not None, "the caller looked"
    with Session(lake, parse(f"select * from {name} limit {limit}", lake.default_catalog)) as session:
        rows = [row for batch in session.stream() for row in python_rows(batch)]
        reads = [str(each.table) for each in session.views.values()]
    columns = [{key: value for key, value in each.items() if key != "type_json"} for each in entry["columns"]]
    return {
        **{key: entry.get(key) for key in ("full_name", "table_type", "view_definition")},
        "reads": reads,
        "columns": columns,
        **{key: entry.get(key) for key in ("comment", "table_id", "created_at", "updated_at")},
        "first_rows": rows,
    }


def _is_table(lake: Lake, name: str) -> bool:
    try:
        lake.version(name)
    except NotFound:
        return False
    return True
