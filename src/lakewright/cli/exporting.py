"""A table of the lake as one file for other programs."""

from __future__ import annotations

from typing import Annotated

import typer

from lakewright.cli.app import AsJson, ProfileName, stoppable
from lakewright.cli.looking import TableName, tables
from lakewright.cli.show import print_json, visible
from lakewright.system.memory import give_back


@tables.command("export", epilog="Example: lakewright tables export main.shop.training@v3 training.tfrecord.gz")
def export_table(
    table: TableName,
    file: Annotated[
        str, typer.Argument(metavar="FILE", help="ends in .tsv, .jsonl, .ndjson or .tfrecord; and in .gz, to pack it")
    ],
    format: Annotated[str | None, typer.Option(help="tsv, jsonl or tfrecord; default: as the file's name ends")] = None,
    float32: Annotated[
        bool, typer.Option("--float32", help="tfrecord: round doubles to 32 bits, which is all that it holds")
    ] = False,
    profile: ProfileName = None,
    as_json: AsJson = False,
) -> None:
    """Write all rows of a table to one file for other programs."""
    from lakewright import api

    give_back()
    with stoppable("no file was written", "run the same command again"):
        exported = api.export(table, file, format=format, float32=float32, profile=profile)
    if as_json:
        print_json(exported.as_json())
        return
    print(visible(f"{exported.rows:,} rows of {exported.table} → {exported.file} ({exported.bytes:,} bytes)"))
    for finding in exported.findings:
        print(visible(f"- {finding.detail}"))
