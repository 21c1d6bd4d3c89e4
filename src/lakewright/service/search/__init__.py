"""Search by meaning: the rows of a table whose texts are nearest to a text, by a model's embeddings.

Texts are identified by their SHA-256. Embeddings stay in a separate table (`embeddings`). A search embeds the texts
that are missing there, ranks the distinct texts by cosine, exactly or through an index (`approximate`), and reads the
rows of the best.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from lakewright.data.lake.names import TableName, quoted
from lakewright.data.rows.kinds import is_blank
from lakewright.errors import DataError, UsageError, nearest
from lakewright.records import TableVersion
from lakewright.service.search import approximate
from lakewright.service.search.embeddings import Embedder, embed_missing, embeddings_of, exact_cosines, last_model

if TYPE_CHECKING:
    from lakewright.data.lake.tables import Lake
    from lakewright.model.predictor import Predictor
    from lakewright.workspace import Workspace

EXACT_UP_TO = 200_000  # distinct texts; above, reading every embedding for each search takes seconds
VISIBLE = r"[^\s\pZ\p{Cc}\p{Cf}]"  # without such a character, a text is blank
_SCORE, _ORDER = "lakewright score", "lakewright order"


@dataclass(frozen=True)
class Hit:
    rank: int  # from 1
    score: float  # cosine of the two texts' embeddings, -1 to 1
    row: dict[str, Any]  # all of the table's columns


@dataclass(frozen=True)
class SearchResult:
    table: TableVersion
    column: str
    model: str  # its name in the call
    digest: str
    exact: bool  # every text was compared; else only those from the index
    rows: int  # rows searched
    without_text: int  # rows left out: null or blank
    embedded: int  # texts embedded for this search; the others were embedded before
    hits: list[Hit]
    note: str  # a message to the user about the method; mostly empty

    def as_json(self) -> dict[str, Any]:
        return {**vars(self), "table": str(self.table), "hits": [vars(hit) for hit in self.hits]}

    def lines(self) -> list[dict[str, Any]]:
        """One line for each hit for a terminal, the searched column first among the table's."""
        first = ("rank", "cosine")
        lines = []
        for hit in self.hits:
            row = {self.column: hit.row[self.column], **hit.row}
            named = {f"{name} (column)" if name in first else name: value for name, value in row.items()}
            lines.append(dict(zip(first, (hit.rank, f"{hit.score:.4f}"), strict=True)) | named)
        return lines

    def summary(self) -> str:
        """The search in one line."""
        left_out = f", {self.without_text:,} without text left out" if self.without_text else ""
        new = f", {self.embedded:,} texts embedded for it" if self.embedded else ""
        method = "exact" if self.exact else "approximate (--exact compares every text)"
        return f"{self.table}, column {self.column}: {self.rows:,} rows{left_out}{new}; {method}; by {self.model}"


def embedder_of(workspace: Workspace, table: TableVersion, model: str | None) -> tuple[Predictor, str]:
    """The opened model version or model folder, and its name; without `model`, the one that embedded texts of this
    table last. Raises UsageError if there is none."""
    from lakewright.model.predictor import Predictor
    from lakewright.registry.versions import open_model

    name = model or last_model(workspace.lake, table)
    if name is None:
        raise UsageError(
            f"no model has embedded {table.name} yet, and no model is named",
            "name one: --model models:/NAME@champion",
        )
    if name.startswith("models:/"):
        return open_model(workspace, name), name
    return Predictor.open(Path(name)), str(Path(name).resolve())


def find(
    workspace: Workspace,
    embedder: Embedder,
    table: TableVersion,
    text: str,
    *,
    model: str = "",
    column: str | None = None,
    k: int = 10,
    where: str | None = None,
    exact: bool = False,
) -> SearchResult:
    """The `k` rows of the table nearest in meaning to the text. Rows with equal cosines are in the table's order.

    `where` is a condition in SQL over the table's columns; with it the rows are ranked exactly. Raises UsageError for
    a blank text, k < 1, a condition that is not SQL over this table, or a column that must be named; DataError if the
    column does not exist or holds no text; ModelError if the model does not embed.
    """
    if is_blank(text):
        raise UsageError("the text to search for is blank", "write a text")
    if k < 1:
        raise UsageError(f"{k} is not a number of rows to find", "set 1 or more (--k 10)")
    lake = workspace.lake
    column = _text_column(lake, table, column)
    query = embedder.embed([text])[0]
    texts, rows, without_text = _texts(lake, table, column, where)
    if not rows and where is None:
        raise DataError(
            f"{table} has no text in the column {column!r} ({without_text:,} rows are null or blank)",
            "name another column (--column) or table",
        )
    if not rows:
        return SearchResult(
            table, column, model, embedder.digest, True, 0, without_text, 0, [], "no text meets the condition"
        )
    path = _index_path(workspace, table, column, embedder.digest)
    through_index = where is None and not exact and len(texts) > EXACT_UP_TO
    note = ""
    if through_index and not approximate.installed():
        through_index = False
        note = (
            f"{len(texts):,} texts are compared one by one, because the package usearch is not installed; "
            "an index is faster: pip install 'lakewright[search]'"
        )
    embedded = 0
    if not (through_index and path.exists()):
        embedded = embed_missing(lake, table, column, texts, embedder, model)
    if through_index:
        if not path.exists():
            blocks = embeddings_of(lake, table, texts, embedder.digest)
            approximate.build(path, len(query), len(texts), blocks, workspace.threads)
        places, cosines = approximate.search(path, query, min(k, len(texts)))
    else:
        every = exact_cosines(lake, table, texts, embedder.digest, query)
        places = np.argsort(-every, kind="stable")[:k]  # k texts are in k rows or more
        cosines = every[places]
    hits = _rows(lake, table, column, where, texts.take(pa.array(places)), cosines, k)
    return SearchResult(
        table, column, model, embedder.digest, not through_index, rows, without_text, embedded, hits, note
    )


def _text_column(lake: Lake, table: TableVersion, column: str | None) -> str:
    schema = lake.scan(table).schema
    texts = [field.name for field in schema if field.type == pa.string()]
    if column is None:
        if "text" in texts or len(texts) == 1:
            return "text" if "text" in texts else texts[0]
        if not texts:
            raise DataError(f"{table} has no column of texts", "search another table")
        raise UsageError(f"{table} has {len(texts)} columns of texts", f"name one (--column): {', '.join(texts)}")
    if column not in schema.names:
        raise DataError(f"{table} has no column {column!r}", nearest(column, texts))
    if column not in texts:
        raise DataError(
            f"the column {column!r} of {table} holds {schema.field(column).type}, not text", nearest(column, texts)
        )
    return column


def _texts(lake: Lake, table: TableVersion, column: str, where: str | None) -> tuple[pa.Array, int, int]:
    """The SHA-256 of each distinct text, in ascending order; the number of rows with a text, and of rows without."""
    text = quoted(column)
    counted = _sql(
        lake,
        f"select case when regexp_matches({text}, '{VISIBLE}') then sha256({text}) end as text_sha256, "
        f"count(*) as rows from {_versioned(table)} {_condition(where)} group by 1 order by 1 nulls last",
        table,
        where,
    )
    texts, counts = counted["text_sha256"].combine_chunks(), counted["rows"].to_numpy()
    rows = int(counts[: len(texts) - texts.null_count].sum())
    return texts.drop_null(), rows, int(counts.sum()) - rows


def _rows(
    lake: Lake,
    table: TableVersion,
    column: str,
    where: str | None,
    texts: pa.Array,
    cosines: NDArray[np.float32],
    k: int,
) -> list[Hit]:
    best = ", ".join(f"('{text}', {cosine})" for text, cosine in zip(texts.to_pylist(), cosines.tolist(), strict=True))
    rows = _sql(
        lake,
        f'select "nearest texts".score as "{_SCORE}", "searched rows".* '
        f'from (select *, row_number() over () as "{_ORDER}" from {_versioned(table)} {_condition(where)}) '
        f'as "searched rows" join (values {best}) as "nearest texts"(text_sha256, score) '
        f'on sha256("searched rows".{quoted(column)}) = "nearest texts".text_sha256 '
        f'order by "{_SCORE}" desc, "{_ORDER}" limit {k}',
        table,
        where,
    )
    hits = []
    for rank, row in enumerate(rows.drop_columns([_ORDER]).to_pylist(), start=1):
        hits.append(Hit(rank, float(row.pop(_SCORE)), row))
    return hits


def _sql(lake: Lake, query: str, table: TableVersion, where: str | None) -> pa.Table:
    try:
        rows = lake.sql(query)
    except UsageError as error:
        if where is None:
            raise
        columns = ", ".join(lake.scan(table).schema.names)
        raise UsageError(
            f"the condition {where!r} is not valid: {error.cause}", f"write SQL over the table's columns: {columns}"
        ) from error
    assert isinstance(rows, pa.Table)
    return rows


def _versioned(table: TableVersion) -> str:
    name, _ = TableName.parse(table.name)
    parts = ".".join(map(quoted, (name.catalog, name.schema, name.table)))
    return f"{parts} version as of {table.version}"


def _condition(where: str | None) -> str:
    """The SQL of the condition. Raises UsageError if it is not one whole condition: brackets that close too early could
    add other SQL."""
    if where is None:
        return ""
    import sqlglot
    from sqlglot import exp
    from sqlglot.errors import SqlglotError

    try:
        parsed = sqlglot.parse(where, dialect="duckdb")
    except SqlglotError:
        parsed = []
    if len(parsed) != 1 or parsed[0] is None or isinstance(parsed[0], exp.Query | exp.Command):
        raise UsageError(
            f"{where!r} is not one condition", 'write SQL over the table\'s columns, for example --where "year > 2020"'
        )
    return f"where (\n{where}\n)"  # on a separate line: it may end in a comment


def _index_path(workspace: Workspace, table: TableVersion, column: str, digest: str) -> Path:
    of = hashlib.sha256(f"{digest} {column}".encode()).hexdigest()[:16]
    return workspace.folder / "indexes" / f"{table}.{of}.usearch"
