"""What there is: tables and what they hold, models, the MLflow UI."""

from __future__ import annotations

import os
import sys
from datetime import UTC, datetime
from typing import Annotated, Any

import typer

from lakewright.cli.app import AsJson, ProfileName, app, open_workspace
from lakewright.cli.show import print_json, print_rows, visible


@app.command("profile")
def profile_data(
    table: Annotated[str, typer.Argument(help="catalog.schema.table, or catalog.schema.table@v3")],
    project: Annotated[
        str | None, typer.Option(help="project.yml: its columns, its split and its base model are used")
    ] = None,
    text: Annotated[list[str] | None, typer.Option(help="a column of texts; repeatable")] = None,
    label: Annotated[
        list[str] | None, typer.Option(help="the label column; repeated: columns of 0 and 1, one a label")
    ] = None,
    split: Annotated[str | None, typer.Option(help="the column that says train, validation or test")] = None,
    bias: Annotated[
        list[str] | None, typer.Option(help="COLUMN or COLUMN=VALUE: how labels differ by its values; repeatable")
    ] = None,
    tokenizer: Annotated[
        str | None, typer.Option(help="a base model whose tokens to count; default: the project's")
    ] = None,
    out: Annotated[str | None, typer.Option(help="folder for profile.html, profile.json and profile.ipynb")] = None,
    profile: ProfileName = None,
    as_json: AsJson = False,
) -> None:
    """Look at the data first: missing and suspicious values, lengths, duplicates, labels, splits and bias."""
    from lakewright import api
    from lakewright.pages.profile import summary, verdict
    from lakewright.records import plain

    found = api.profile(
        table,
        project=project,
        text=text or (),
        label=label or (),
        split=split,
        bias=bias or (),
        tokenizer=tokenizer,
        out=out,
        profile=profile,
    )
    if as_json:
        print_json(plain(found))
        return
    print(f"{found.table}: {verdict(found)}")
    print_rows(summary(found), False, "columns")
    for finding in found.findings:
        print(f"- {finding.detail}")
    for note in found.notes:
        print(f"note: {note}")
    print(f"page: {found.page}\njson: {found.json_file}\nnotebook: {found.notebook}")


@app.command()
def tables(
    action: Annotated[str, typer.Argument(help="list, show or history")] = "list",
    name: Annotated[str, typer.Argument(help="catalog.schema.table, or catalog.schema.table@v3")] = "",
    limit: Annotated[int, typer.Option(min=0, help="show: how many rows")] = 5,
    profile: ProfileName = None,
    as_json: AsJson = False,
) -> None:
    """The lake's tables: list them, show one, or its history."""
    from lakewright import api
    from lakewright.errors import UsageError, nearest

    if action not in ("list", "show", "history"):
        raise UsageError(f"tables has no action {action!r}", nearest(action, ("list", "show", "history")))
    if action == "list":
        rows = api.tables(profile=profile)
        print_rows(rows if as_json else [_with_times(row) for row in rows], as_json, "tables")
        return
    if not name:
        raise UsageError(f"tables {action} needs a table's name", f"lakewright tables {action} catalog.schema.table")
    if action == "history":
        rows = api.history(name, profile=profile)
        print_rows(rows if as_json else [_with_times(row) for row in rows], as_json, "history")
        return
    shown = api.table(name, limit=limit, profile=profile)
    if as_json:
        print_json(shown)
        return
    for key, value in _with_times(shown).items():
        if key not in ("columns", "first_rows"):
            print(visible(f"{key}: {value}"))
    print_rows(shown["columns"], False, "columns")
    print_rows(shown["first_rows"], False, "first rows")


def _with_times(entry: dict[str, Any]) -> dict[str, Any]:
    """Milliseconds since 1970 as people read them, in UTC."""
    times = {name: entry[name] for name in ("timestamp", "created_at", "updated_at") if entry.get(name) is not None}
    iso = {name: datetime.fromtimestamp(ms / 1000, UTC).isoformat(timespec="seconds") for name, ms in times.items()}
    return {**entry, **iso}


@app.command()
def sql(
    query: Annotated[str, typer.Argument(help='"select … from catalog.schema.table", also create table … as select')],
    limit: Annotated[int, typer.Option(min=0, help="rows printed at most; 0: all")] = 100,
    once: Annotated[
        str | None, typer.Option(help="insert: a name; rows inserted under it are never inserted again")
    ] = None,
    profile: ProfileName = None,
    as_json: AsJson = False,
) -> None:
    """Query the lake's tables, join them, or write a new one with `create table a.b.c as select …`."""
    from lakewright import api
    from lakewright.data.lake.types import python_rows
    from lakewright.records import TableVersion, plain

    written = True
    if once is None:
        result = api.sql(query, profile=profile)
    else:
        result, written = api.insert_once(query, once, profile=profile)
    if isinstance(result, TableVersion):
        if as_json:
            print_json({"table": plain(result), "written": written})
        elif written:
            print(f"wrote {result} ({result.rows:,} rows)")
        else:
            print(f"nothing was written: {result} brought the rows of {once}")
        return
    rows = python_rows(result.slice(0, limit) if limit else result)
    if as_json:
        print_json({"columns": result.column_names, "rows": rows, "row_count": result.num_rows})
        return
    print_rows(rows, False, "rows")
    if len(rows) < result.num_rows:
        print(f"{len(rows)} of {result.num_rows:,} rows; --limit 0 prints all", file=sys.stderr)


@app.command()
def models(
    action: Annotated[str, typer.Argument(help="list, or approve: make a version the champion")] = "list",
    model: Annotated[str, typer.Argument(help="approve: models:/NAME/3")] = "",
    profile: ProfileName = None,
    as_json: AsJson = False,
) -> None:
    """The registered model versions; `approve` makes one the champion."""
    from lakewright import api
    from lakewright.errors import UsageError, nearest
    from lakewright.records import plain

    if action == "approve":
        if not model:
            raise UsageError("models approve needs a model version", "lakewright models approve models:/NAME/3")
        approved = api.approve(model, profile=profile)
        if as_json:
            print_json(plain(approved))
        else:
            print(f"{approved} is the champion now")
        return
    if action != "list":
        raise UsageError(f"models has no action {action!r}", nearest(action, ("list", "approve")))
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


@app.command()
def ui(
    port: Annotated[int, typer.Option(help="on 127.0.0.1")] = 5000,
    profile: ProfileName = None,
) -> None:
    """Open the MLflow UI on the workspace: runs, curves, pictures, models."""
    tracking = open_workspace(profile).tracking
    command = [sys.executable, "-m", "mlflow", "ui", "--host", "127.0.0.1", "--port", str(port)]
    command += ["--backend-store-uri", tracking.tracking_uri]
    os.execv(sys.executable, command)
