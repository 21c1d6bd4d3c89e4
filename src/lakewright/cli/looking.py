"""The lake's tables and SQL over them, the registered models, the MLflow UI."""

from __future__ import annotations

import os
import shutil
import sys
from collections import Counter
from contextlib import nullcontext
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated, Any, Literal, cast

import typer

from lakewright.cli import former
from lakewright.cli.app import AsJson, ProfileName, app, stoppable
from lakewright.cli.show import note, print_json, print_rows, visible
from lakewright.errors import UsageError

if TYPE_CHECKING:
    from lakewright.records import Changed


@app.command("profile", epilog="Example: lakewright profile main.bank.questions --text text --label label")
def profile_data(
    table: Annotated[str, typer.Argument(help="catalog.schema.table, or catalog.schema.table@v3")],
    project: Annotated[
        str | None, typer.Option(help="project.yml: its columns, its split and its base model are used")
    ] = None,
    text: Annotated[list[str] | None, typer.Option(help="a column of texts; repeatable")] = None,
    label: Annotated[
        list[str] | None, typer.Option(help="the label column; repeated: columns of 0 and 1, one for each label")
    ] = None,
    split: Annotated[str | None, typer.Option(help="the column with train, validation or test")] = None,
    bias: Annotated[
        list[str] | None,
        typer.Option(
            help="COLUMN, COLUMN=VALUE or 'COLUMN>NUMBER': how labels differ from those of other rows; repeatable; "
            "default: the project's"
        ),
    ] = None,
    group: Annotated[
        str | None, typer.Option(help="a column: bias is also measured among the rows of each of its values (CDDL)")
    ] = None,
    tokenizer: Annotated[
        str | None, typer.Option(help="a base model whose tokens are counted; default: the project's")
    ] = None,
    expect: Annotated[
        bool, typer.Option("--expect", help="also write expectations: for a project, SageMaker and Databricks")
    ] = False,
    out: Annotated[str | None, typer.Option(help="folder for profile.html, profile.json and profile.ipynb")] = None,
    profile: ProfileName = None,
    as_json: AsJson = False,
) -> None:
    """Measure a table before anything is learned from it.

    It shows missing and suspicious values, lengths, duplicates, labels, splits and bias in a page, a JSON file and a
    notebook.
    """
    from lakewright import api
    from lakewright.pages.profile import summary, verdict
    from lakewright.records import plain

    measured = api.profile(
        table,
        project=project,
        text=text or (),
        label=label or (),
        split=split,
        bias=bias or (),
        group=group,
        tokenizer=tokenizer,
        expect=expect,
        out=out,
        profile=profile,
    )
    if as_json:
        print_json(plain(measured))
        return
    print(f"{measured.table}: {verdict(measured)}")
    print_rows(summary(measured), False, "columns")
    for finding in measured.findings:
        print(f"- {finding.detail}")
    for line in measured.notes:
        print(f"note: {line}")
    print(f"page: {measured.page}\njson: {measured.json_file}\nnotebook: {measured.notebook}")
    for file in measured.expectations:
        print(f"expectations: {file}")


tables = typer.Typer(cls=former.group(former.action_first), no_args_is_help=False)
app.add_typer(tables, name="tables", help="The lake's tables: list them, show one, or its history.")
TableName = Annotated[str, typer.Argument(metavar="TABLE", help="catalog.schema.table, or catalog.schema.table@v3")]


@tables.command("list", epilog="Example: lakewright tables list --json")
def list_tables(profile: ProfileName = None, as_json: AsJson = False) -> None:
    """List the lake's tables and views: name, version, rows, bytes."""
    from lakewright import api

    rows = api.tables(profile=profile)
    print_rows(rows if as_json else [_with_times(row) for row in rows], as_json, "tables")


@tables.command("schemas", epilog="Example: lakewright tables schemas")
def list_schemas(profile: ProfileName = None, as_json: AsJson = False) -> None:
    """List the schemas of the lake's tables, and count them."""
    from lakewright import api

    counts = Counter(entry["full_name"].rpartition(".")[0] for entry in api.tables(profile=profile))
    print_rows([{"schema": schema, "tables": counts[schema]} for schema in sorted(counts)], as_json, "schemas")


@tables.command("show", epilog="Example: lakewright tables show main.health.icd10_chapters@v0 --limit 20")
def show_table(
    table: TableName,
    limit: Annotated[int, typer.Option(min=0, help="number of rows")] = 5,
    profile: ProfileName = None,
    as_json: AsJson = False,
) -> None:
    """Show a table's properties, its columns and its first rows."""
    from lakewright import api

    details = api.table(table, limit=limit, profile=profile)
    if as_json:
        print_json(details)
        return
    for key, value in _with_times(details).items():
        if key not in ("columns", "first_rows"):
            print(visible(f"{key}: {value}"))
    print_rows(details["columns"], False, "columns")
    print_rows(details["first_rows"], False, "first rows")


@tables.command("history", epilog="Example: lakewright tables history main.health.icd10_chapters")
def table_history(table: TableName, profile: ProfileName = None, as_json: AsJson = False) -> None:
    """List the commits of a table, the newest first."""
    from lakewright import api

    rows = api.history(table, profile=profile)
    print_rows(rows if as_json else [_with_times(row) for row in rows], as_json, "history")


def _with_times(entry: dict[str, Any]) -> dict[str, Any]:
    """The entry with its times, milliseconds since 1970, in ISO format and UTC."""
    times = {name: entry[name] for name in ("timestamp", "created_at", "updated_at") if entry.get(name) is not None}
    iso = {name: datetime.fromtimestamp(ms / 1000, UTC).isoformat(timespec="seconds") for name, ms in times.items()}
    return {**entry, **iso}


@app.command(epilog="Example: lakewright sql 'select label, count(*) from main.bank.questions group by 1'")
def sql(
    query: Annotated[str, typer.Argument(help='"select … from catalog.schema.table", or another statement')],
    limit: Annotated[int, typer.Option(min=0, help="most rows to print; 0: all")] = 100,
    once: Annotated[
        str | None, typer.Option(help="insert: a name; rows that were inserted under it are never inserted again")
    ] = None,
    out: Annotated[
        str | None, typer.Option(help="select: a file for all rows, .csv, .parquet or .json; of a plot, .svg or .png")
    ] = None,
    plot: Annotated[
        str | None,
        typer.Option(
            help="select: draw bar, line, scatter (the first column is x), hist or box; without --out, as text"
        ),
    ] = None,
    engine: Annotated[
        Literal["athena"] | None, typer.Option(help="athena: send the statement to Amazon Athena as it is")
    ] = None,
    even_if_used: Annotated[
        bool, typer.Option("--even-if-used", help="drop: also what a view, a run or a model names")
    ] = False,
    erase: Annotated[
        bool, typer.Option("--erase", help="delete, update: remove the files of older versions, too, for good")
    ] = False,
    profile: ProfileName = None,
    as_json: AsJson = False,
) -> None:
    """Query the lake's tables in SQL, write new ones, or change one.

    `create table a.b.c as select …` writes a table, `insert into a.b.c select …` adds rows. `update`, `delete from` and
    `merge into` change rows; `optimize`, `vacuum`, `restore table … to version as of 3` and `drop table` keep tables
    up. `create [or replace] view a.b.v as select …` gives a select a name.
    """
    from lakewright import api
    from lakewright.data.lake.types import python_rows
    from lakewright.records import Changed, TableVersion, plain

    written = True
    if engine is not None and (plot is not None or once is not None):
        raise UsageError("--engine goes with neither --plot nor --once", "leave out one of them")
    if plot is not None:
        if once or erase or even_if_used or as_json:
            raise UsageError(
                "--plot goes with none of --once, --erase, --even-if-used and --json", "leave out one of them"
            )
        _plot(query, plot, out, profile)
        return
    if once is None:
        with stoppable("Athena was told to stop") if engine else nullcontext():
            result = api.sql(query, even_if_used=even_if_used, erase=erase, out=out, engine=engine, profile=profile)
    elif erase or even_if_used or out:
        raise UsageError("--once goes with none of --erase, --even-if-used and --out", "leave out one of them")
    else:
        result, written = api.insert_once(query, once, profile=profile)
    if isinstance(result, TableVersion):
        if as_json:
            print_json({"table": plain(result), "written": written})
        elif written:
            print(f"wrote {result} ({result.rows:,} rows)")
        else:
            print(f"nothing was written: the rows of {once} are in the table since {result}")
        return
    if isinstance(result, Changed):
        print_json(plain(result)) if as_json else print(_what_changed(result))
        return
    if out is not None and not as_json:
        print(f"wrote {out} ({result.num_rows:,} rows)")
        return
    rows = python_rows(result.slice(0, limit) if limit else result)
    if as_json:
        print_json({"columns": result.column_names, "rows": rows, "row_count": result.num_rows})
        return
    print_rows(rows, False, "rows")
    if len(rows) < result.num_rows:
        print(f"{len(rows)} of {result.num_rows:,} rows; --limit 0 prints all", file=sys.stderr)


def _plot(query: str, kind: str, out: str | None, profile: str | None) -> None:
    import pyarrow as pa

    from lakewright import api
    from lakewright.cli.drawing import drawn
    from lakewright.pages.pictures.of_rows import Kind, chart_of

    rows = api.sql(query, plot=cast(Kind, kind), out=out, profile=profile)
    assert isinstance(rows, pa.Table), "a select gives rows"
    chart = chart_of(rows, cast(Kind, kind))
    print(f"wrote {out}" if out else drawn(chart, shutil.get_terminal_size((100, 24)).columns))
    for line in chart.notes:
        note(line)


def _what_changed(changed: Changed) -> str:
    """`main.bank.t@v4 updated: 3 rows updated`, and a line for each thing that a reader has to know."""
    counts = {
        "rows updated": changed.updated,
        "rows deleted": changed.deleted,
        "rows inserted": changed.inserted,
        "files added": changed.files_added,
        "files removed": changed.files_removed,
    }
    parts = [f"{count:,} {what}" for what, count in counts.items() if count]
    table = changed.table if changed.version is None else f"{changed.table}@v{changed.version}"
    did = "nothing changed" if changed.did == "nothing" else changed.did
    lines = [f"{table}: {', '.join([did, *parts])}"]
    lines += [f"kept {version}: {', '.join(users)}" for version, users in changed.kept.items()]
    lines += [f"cannot be made again: {each}" for each in changed.not_rebuildable]
    return "\n".join([*lines, *([changed.note] if changed.note else [])])


models = typer.Typer(cls=former.group(former.action_first), no_args_is_help=False)
app.add_typer(models, name="models", help="The registered model versions: list them, or approve one.")


@models.command("list", epilog="Example: lakewright models list")
def list_models(profile: ProfileName = None, as_json: AsJson = False) -> None:
    """List the registered model versions.

    The list shows their aliases, primary metric, speed and training table.
    """
    from lakewright import api
    from lakewright.records import plain

    versions = api.models(profile=profile)
    if as_json:
        print_json({"models": [plain(version) for version in versions]})
        return
    rows = []
    for version in versions:
        primary = version.tags.get("lakewright.primary", "")
        rows.append(
            {
                "name": version.name,
                "version": version.version,
                "aliases": ", ".join(version.aliases),
                "metric": primary,
                "value": version.tags.get(f"metric.{primary}", ""),
                "s/1000 rows": version.tags.get("lakewright.seconds_per_1000_rows", ""),
                "scored s/1000": version.tags.get("lakewright.scored_seconds_per_1000_rows", ""),
                "table": version.tags.get("lakewright.table", ""),
            }
        )
    print_rows(rows, False, "models")


@models.command("approve", epilog="Example: lakewright models approve models:/main.health.icd10_chapters/3")
def approve_model(
    model: Annotated[str, typer.Argument(help="models:/NAME/3, or models:/NAME@challenger")],
    profile: ProfileName = None,
    as_json: AsJson = False,
) -> None:
    """Make a model version the champion.

    From now on models:/NAME@champion means this version.
    """
    from lakewright import api
    from lakewright.records import plain

    approved = api.approve(model, profile=profile)
    if as_json:
        print_json(plain(approved))
    else:
        print(f"{approved} is the champion now")


@app.command(epilog="Example: lakewright ui --port 5001")
def ui(
    port: Annotated[int, typer.Option(help="the port, on 127.0.0.1")] = 5000,
    profile: ProfileName = None,
) -> None:
    """Open the MLflow UI on the workspace: runs, curves, models."""
    from lakewright.api.places import opened

    tracking = opened(profile).tracking
    command = [sys.executable, "-m", "mlflow", "ui", "--host", "127.0.0.1", "--port", str(port)]
    command += ["--backend-store-uri", tracking.tracking_uri]
    os.execv(sys.executable, command)
