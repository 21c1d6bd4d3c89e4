"""Tables: list them, show one, query them in SQL, and measure one before anything is learned from it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from lakewright.api.places import opened
from lakewright.errors import UsageError

if TYPE_CHECKING:
    import pyarrow as pa

    from lakewright.data.profile import TableProfile
    from lakewright.data.rows.lost import Shortfalls
    from lakewright.data.rows.quality import Noticed
    from lakewright.model.recipe.tokens import Tokens
    from lakewright.pages.pictures.of_rows import Kind
    from lakewright.records import Changed, TableVersion
    from lakewright.settings.project import Project


def tables(*, profile: str | None = None) -> list[dict[str, Any]]:
    """All tables and views of the lake, by name: their versions and rows."""
    return opened(profile).lake.list()


def table(name: str, *, limit: int = 5, profile: str | None = None) -> dict[str, Any]:
    """The columns, properties and first `limit` rows of `catalog.schema.table`, or of `…@v3`; of a view also its text
    and the versions that it reads.

    Raises NotFound if the table or the version does not exist.
    """
    from lakewright.data.lake.types import python_rows
    from lakewright.data.lake.views import show_view

    lake = opened(profile).lake
    if lake.view(name) is not None:
        return show_view(lake, name, limit)
    rows: list[dict[str, Any]] = []
    for batch in lake.scan(lake.version(name), any_year=True):
        rows += python_rows(batch.slice(0, limit - len(rows)))
        if len(rows) >= limit:
            break
    return {**lake.show(name), "first_rows": rows}


def history(name: str, *, profile: str | None = None) -> list[dict[str, Any]]:
    """The commits of a table, the newest first. Raises NotFound if the table does not exist."""
    return opened(profile).lake.history(name)


def sql(
    query: str,
    *,
    even_if_used: bool = False,
    erase: bool = False,
    out: str | Path | None = None,
    plot: Kind | None = None,
    engine: Literal["athena"] | None = None,
    profile: str | None = None,
) -> pa.Table | TableVersion | Changed:
    """Run one statement of DuckDB's SQL over the lake's tables, or one that keeps a table up.

    Returns the rows of a `select`, the version that `create table … as select` or `insert` has written, or what
    another statement changed: `update`, `delete`, `merge into`, `optimize`, `vacuum`, `restore table`, `drop table`,
    `create view`, `drop view`. A table that a view, a run or a model names is dropped only with `even_if_used`; vacuum
    keeps the versions that they name.
    With `erase`, the files of older versions go with the rows that the statement takes away, and what depends on them
    cannot be made again. The rows of a `select` are also written to `out`, a file .csv, .parquet or .json;
    with `plot`, they are drawn into `out`, a file .svg or .png: the first column is x, the others are y. `engine`: the
    statement is sent to Amazon Athena as it is, in Athena's SQL, and its rows come back.

    Raises UsageError if the statement is wrong or not supported, or drops a table in use; NotFound if a table or a
    version does not exist; Busy if another process wrote the table at the same time.
    """
    from lakewright.registry.statements import run_statement

    if engine is not None:
        if even_if_used or erase or plot is not None:
            raise UsageError("Athena runs the statement as it is", "leave out plot, erase and even_if_used")
        return _of_athena(query, None if out is None else Path(out), profile)
    if plot is not None:
        return _plotted(query, plot, None if out is None else Path(out), profile)
    if out is None:
        return run_statement(opened(profile), query, even_if_used=even_if_used, erase=erase)
    import pyarrow as pa

    from lakewright.data.lake.results import check_result, write_result

    check_result(query, Path(out))
    rows = run_statement(opened(profile), query, even_if_used=even_if_used, erase=erase)
    assert isinstance(rows, pa.Table), "a select gives rows"
    write_result(rows, Path(out))
    return rows


def _of_athena(query: str, out: Path | None, profile: str | None) -> pa.Table:
    from lakewright.data.lake.athena import run
    from lakewright.data.lake.results import write_result
    from lakewright.settings.profile import load_profile

    rows = run(load_profile(profile), query)
    if out is not None:
        write_result(rows, out)
    return rows


def _plotted(query: str, plot: Kind, out: Path | None, profile: str | None) -> pa.Table:
    import pyarrow as pa

    from lakewright.data.lake.results import check_rows
    from lakewright.pages.pictures.of_rows import chart_of, check_plot, write_plot
    from lakewright.registry.statements import run_statement

    check_plot(plot, out)
    check_rows(query)
    rows = run_statement(opened(profile), query)
    assert isinstance(rows, pa.Table), "a select gives rows"
    chart = chart_of(rows, plot)
    if out is not None:
        write_plot(chart, out)
    return rows


def insert_once(query: str, name: str, *, profile: str | None = None) -> tuple[TableVersion, bool]:
    """The version that an `insert into … select` wrote under this name, and whether this call wrote it: rows that were
    inserted under a name are never inserted again. Raises UsageError if another statement has used the name.
    """
    from lakewright.data.lake.sql import insert_once as inserted

    workspace = opened(profile)
    return inserted(workspace.lake, query, name, workspace.runs_sql())


def profile(
    table: str,
    *,
    project: str | Path | None = None,
    text: Sequence[str] = (),
    label: Sequence[str] = (),
    split: str | None = None,
    bias: Sequence[str] = (),
    group: str | None = None,
    tokenizer: str | None = None,
    expect: bool = False,
    out: str | Path | None = None,
    profile: str | None = None,
) -> TableProfile:
    """Measure `catalog.schema.table[@vN]` and write profile.html, profile.json and profile.ipynb: `lakewright profile`.

    `project` is a project file, whose data.columns, prepare.split and base model are used. `text`, `label` and `split`
    name columns and override the project; several `label` columns are columns of 0 and 1. `bias` are facets
    (column, column=value, column>number, column<=number), and `group` a column whose values are compared each by itself
    (CDDL); default: those of the project's evaluate.bias. `tokenizer` is a base model, as in train.base_model. `expect`
    writes expectations that the table satisfies, and the project's, or these where it has none, in the forms of
    SageMaker and Databricks. `out` is a folder; default: one in the workspace.

    Raises NotFound if a table, a column or a value named here does not exist, DataError if a column that the
    project names does not exist, ModelError if a base model has no tokenizer.
    """
    from functools import partial

    from lakewright.data.profile import measured, roles_of
    from lakewright.data.profile.expectations import write_expectations
    from lakewright.data.profile.notebook import write_notebook
    from lakewright.data.rows.inputs import OF_COLUMNS
    from lakewright.learning.features import round_trip as lost_of
    from lakewright.learning.learners import check_fit
    from lakewright.learning.planning import column_uses, plan
    from lakewright.pages.profile import write_page
    from lakewright.records import Finding, as_json
    from lakewright.settings.profile import load_profile
    from lakewright.settings.project import load_project
    from lakewright.system.files import write_whole
    from lakewright.workspace import Workspace

    loaded = None if project is None else load_project(project)
    place = loaded.folder if loaded is not None else None
    workspace = Workspace.open(load_profile(profile, place))
    pinned = workspace.lake.version(table)
    roles = roles_of(workspace.lake.scan(pinned).schema, loaded, text, label, split)
    if loaded is not None and loaded.evaluate.bias is not None and not bias:
        bias, group = loaded.evaluate.bias.facets, group or loaded.evaluate.bias.group
    if group is not None and not bias:
        raise UsageError("a group column is for bias measures, and no facet is named", "name one (--bias COLUMN)")
    if bias and not roles.label:
        raise UsageError("bias is measured between labels, and no label column is named", "name it (--label COLUMN)")
    counter, base = _tokenizer(loaded, tokenizer)

    noticed: list[Finding | Noticed] = []

    def encode(project: Project, shortfalls: Shortfalls) -> None:
        check_fit(project)
        workers = workspace.workers()
        planned = plan(pinned, project, workspace.lake, workers, noticed)
        shortfalls.merge(lost_of(planned, workspace.lake, workers))

    used = [] if loaded is None else column_uses(loaded, pinned, workspace.lake)
    round_trip = partial(encode, loaded) if loaded is not None and tokenizer is None else None
    folder = Path(out).resolve() if out is not None else workspace.folder / "profiles" / str(pinned)
    table_profile = measured(
        workspace.lake, pinned, loaded, roles,
        bias=bias, group=group, counter=counter, base=base, round_trip=round_trip, uses=used, folder=folder,
    )  # fmt: skip
    of_columns = [each for each in noticed if isinstance(each, Finding) and each.name in OF_COLUMNS]
    table_profile = table_profile.model_copy(update={"findings": [*table_profile.findings, *of_columns]})
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as failure:
        raise UsageError(
            f"{folder} is not writable: {failure.strerror or failure}", "name another folder (--out)"
        ) from None
    if expect:
        own = () if loaded is None else loaded.data.expect
        table_profile = write_expectations(workspace.lake, table_profile, own)
    write_whole(Path(table_profile.json_file), as_json(table_profile))
    write_page(table_profile)
    write_notebook(table_profile, workspace, profile, place, facets=bias, group=group)
    return table_profile


def _tokenizer(project: Project | None, name: str | None) -> tuple[Tokens | None, str | None]:
    """A tokens step that counts whole texts, special tokens included, and the name of its base model."""
    from lakewright.learning.learners.encoder.base import base_folder, local_folder, vocabulary_of
    from lakewright.model.recipe.tokens import UNCUT, Tokens, TokensSettings

    base = name or (getattr(project.train, "base_model", None) if project is not None else None)
    if base is None:
        return None, None
    root = project.folder if project is not None and name is None else Path.cwd()
    folder = base_folder(base, root)
    if not base.startswith("package:") and local_folder(base, root) is not None:
        base = str(folder)  # so that the notebook finds it from anywhere
    steps = () if project is None else project.steps.values()
    keep: Literal["names", "keep"] = "keep"
    symbols = next((own.symbols for _, own, _ in steps if isinstance(own, TokensSettings)), keep)
    vocabulary = vocabulary_of(folder, base)
    return Tokens.make(["text"], vocabulary.tokenizer_json, UNCUT, vocabulary.pad_id, symbols=symbols), base
