"""Predictions: of rows, of whole tables, and the rows of a table nearest in meaning to a text."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lakewright.api.places import opened

if TYPE_CHECKING:
    from lakewright.data.rows.kinds import Prediction
    from lakewright.service.scoring import Scored
    from lakewright.service.search import Found


def predict(
    model: str | Path, rows: Sequence[str | Mapping[str, Any]], *, profile: str | None = None, runtime: str = "auto"
) -> list[Prediction]:
    """A prediction for each row, in the rows' order. A row is a text, or a mapping of the model's inputs.

    `model` is `models:/NAME@alias`, `models:/NAME/3` or a model folder; `load` opens it once for many calls.
    """
    from lakewright.api.registry import load

    return load(model, profile=profile, runtime=runtime).predict(list(rows))


def score(
    model: str | Path,
    input: str,
    output: str | None = None,
    *,
    full: bool = False,
    columns: Mapping[str, str] = {},
    id: str | None = None,
    keep: Sequence[str] = (),
    least_confidence: float = 0.0,
    probabilities: bool = True,
    commit_rows: int | None = None,
    runtime: str = "auto",
    profile: str | None = None,
) -> Scored:
    """Score the rows of `input` (`a.b.c` or `a.b.c@v3`) that `output` (default: `a.b.c_predictions`) does not have yet.

    `columns` maps the model's inputs to the table's columns where they differ from the project's; `id` is the column of
    record ids (default: the project's); `keep` are columns to copy. Below `least_confidence`, `abstain` is true. A kill
    at any point loses `commit_rows` at most, and the same call again leaves every row once. `full`: all rows anew, in
    the place of what is there.

    Raises UsageError and DataError where things do not fit together, before anything is written (a row whose id is
    null: when it is met); Busy where another process scores into the table.
    """
    from lakewright.service import scoring

    return scoring.score(
        opened(profile),
        str(model),
        input,
        output,
        full=full,
        columns=columns,
        id=id,
        keep=keep,
        least_confidence=least_confidence,
        probabilities=probabilities,
        commit_rows=scoring.COMMIT_ROWS if commit_rows is None else commit_rows,
        runtime=runtime,
    )


def search(
    table: str,
    text: str,
    *,
    model: str | None = None,
    column: str | None = None,
    k: int = 10,
    where: str | None = None,
    exact: bool = False,
    profile: str | None = None,
) -> Found:
    """The `k` rows of `table` (`a.b.c`, or `a.b.c@v3`) nearest in meaning to `text`.

    `model` is a model version or a model folder of the task sentence_similarity; none: the one that embedded texts of
    this table last. `where` is a condition in SQL; `exact` compares every text, however many there are.

    Raises UsageError where no model is named and none is known, and for a blank text, k < 1 or a condition that is not
    SQL over this table; NotFound for a table that is not there, DataError for a column that holds no texts.
    """
    from lakewright.service.search import embedder_of, find

    workspace = opened(profile)
    pinned = workspace.lake.version(table)
    embedder, named = embedder_of(workspace, pinned, model)
    return find(workspace, embedder, pinned, text, model=named, column=column, k=k, where=where, exact=exact)
