"""Tables: which there are, what they hold, SQL over them, and a look at one before anything is learned from it."""

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
    from lakewright.model.recipe.tokens import Tokens
    from lakewright.records import TableVersion
    from lakewright.settings.project import Project


def tables(*, profile: str | None = None) -> list[dict[str, Any]]:
    """All tables of the lake, by name: their versions and rows."""
    return opened(profile).lake.list()


def table(name: str, *, limit: int = 5, profile: str | None = None) -> dict[str, Any]:
    """What `catalog.schema.table`, or `…@v3`, is: its columns and properties, and its first `limit` rows.

    Raises NotFound for a table or a version that is not there.
    """
    from lakewright.data.lake.types import python_rows

    lake = opened(profile).lake
    first: list[dict[str, Any]] = []
    for batch in lake.scan(lake.version(name), any_year=True):
        first += python_rows(batch.slice(0, limit - len(first)))
        if len(first) >= limit:
            break
    return {**lake.show(name), "first_rows": first}


def history(name: str, *, profile: str | None = None) -> list[dict[str, Any]]:
    """The commits of a table, the newest first. Raises NotFound for one that is not there."""
    return opened(profile).lake.history(name)


def sql(query: str, *, profile: str | None = None) -> pa.Table | TableVersion:
    """Run a statement of DuckDB's SQL over the lake's tables: the rows of a `select`, or the version that `create table
    … as select` or `insert` has written.

    Raises UsageError for a statement that is wrong or not taken, NotFound for a table that is not there.
    """
    from lakewright.data.lake.sql import run_sql

    return run_sql(opened(profile).lake, query)


def insert_once(query: str, name: str, *, profile: str | None = None) -> tuple[TableVersion, bool]:
    """The version that an `insert into … select` wrote under this name, and whether it is this call that did: rows
    inserted under a name are never inserted again. Raises UsageError for another statement under a name that is taken.
    """
    from lakewright.data.lake.sql import insert_once as inserted

    return inserted(opened(profile).lake, query, name)


def profile(
    table: str,
    *,
    project: str | Path | None = None,
    text: Sequence[str] = (),
    label: Sequence[str] = (),
    split: str | None = None,
    bias: Sequence[str] = (),
    tokenizer: str | None = None,
    out: str | Path | None = None,
    profile: str | None = None,
) -> TableProfile:
    """Measure `catalog.schema.table[@vN]` and write profile.html, profile.json and profile.ipynb: `lakewright profile`.

    `project` is a project file: its data.columns say what the columns are, its prepare.split how rows will be split,
    its base model how texts become tokens. `text`, `label`, `split` name columns instead, and go before it; several
    `label` columns are columns of 0 and 1. `bias` are columns, or column=value. `tokenizer` is a base model, as
    train.base_model names it. `out` is a folder, by default one of the workspace.

    Raises NotFound for a table, a column or a value named here that is not there, DataError for a column that
    the project names, ModelError for a base model without a tokenizer.
    """
    from functools import partial

    from lakewright.data.profile import measured, roles_of
    from lakewright.data.profile.notebook import write_notebook
    from lakewright.learning.learners import check_fit
    from lakewright.learning.planning import plan
    from lakewright.pages.profile import write_page
    from lakewright.records import as_json
    from lakewright.settings.profile import load_profile
    from lakewright.settings.project import load_project
    from lakewright.system.files import write_whole
    from lakewright.workspace import Workspace

    loaded = None if project is None else load_project(project)
    place = loaded.folder if loaded is not None else None
    workspace = Workspace.open(load_profile(profile, place))
    pinned = workspace.lake.version(table)
    roles = roles_of(workspace.lake.scan(pinned).schema, loaded, text, label, split)
    if bias and not roles.label:
        raise UsageError("bias is measured between labels, and none is named", "name the label column (--label COLUMN)")
    counter, base = _tokenizer(loaded, tokenizer)

    def encode(project: Project, shortfalls: Shortfalls) -> None:
        check_fit(project)
        for _ in plan(pinned, project, workspace.lake, []).encoded(shortfalls):
            pass

    round_trip = partial(encode, loaded) if loaded is not None and tokenizer is None else None
    folder = Path(out).resolve() if out is not None else workspace.folder / "profiles" / str(pinned)
    found = measured(
        workspace.lake, pinned, loaded, roles,
        bias=bias, counter=counter, base=base, round_trip=round_trip, folder=folder,
    )  # fmt: skip
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as failure:
        raise UsageError(
            f"{folder} cannot be written to: {failure.strerror or failure}", "name another folder (--out)"
        ) from None
    write_whole(Path(found.json_file), as_json(found))
    write_page(found)
    write_notebook(found, workspace, profile, place, facets=bias)
    return found


def _tokenizer(project: Project | None, named: str | None) -> tuple[Tokens | None, str | None]:
    """The encoding that counts whole texts, special tokens included, and the base model that it comes from."""
    from lakewright.learning.learners.encoder.base import base_folder, local_folder, vocabulary_of
    from lakewright.model.recipe.tokens import UNCUT, Tokens, TokensSettings

    base = named or (getattr(project.train, "base_model", None) if project is not None else None)
    if base is None:
        return None, None
    root = project.folder if project is not None and named is None else Path.cwd()
    folder = base_folder(base, root)
    if not base.startswith("package:") and local_folder(base, root) is not None:
        base = str(folder)  # so that the notebook finds it from anywhere
    steps = () if project is None else project.steps.values()
    keep: Literal["names", "keep"] = "keep"
    symbols = next((own.symbols for _, own, _ in steps if isinstance(own, TokensSettings)), keep)
    vocabulary = vocabulary_of(folder, base)
    return Tokens.make(["text"], vocabulary.tokenizer_json, UNCUT, vocabulary.pad_id, symbols=symbols), base
