"""Servers: start one, change what it answers with, and the keys that it takes."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from lakewright.cli.app import AsJson, ProfileName, app
from lakewright.cli.show import print_json, print_rows


@app.command()
def serve(
    model: Annotated[str, typer.Argument(help="models:/NAME@alias, models:/NAME/3, or a model folder")],
    host: Annotated[str, typer.Option(help="the address to listen at; others than this machine's own need a key")] = (
        "127.0.0.1"
    ),
    port: Annotated[int, typer.Option(min=1, max=65535)] = 8000,
    workers: Annotated[int, typer.Option(min=1, help="processes that share the port")] = 1,
    split: Annotated[
        str | None, typer.Option(help="champion=90,challenger=10: versions side by side, and their shares in percent")
    ] = None,
    follow_alias: Annotated[
        bool, typer.Option("--follow-alias", help="serve another version as soon as the alias moves to it")
    ] = False,
    endpoint: Annotated[str | None, typer.Option(help="its name, for `traffic`; default: the model's")] = None,
    settings: Annotated[
        list[str], typer.Option("--set", help="name=value: one of the profile's `serve` settings; repeatable")
    ] = [],  # noqa: B006
    runtime: Annotated[str, typer.Option(help="onnx, openvino or torch; auto: what the model names")] = "auto",
    profile: ProfileName = None,
) -> None:
    """Answer predictions over HTTP: POST /predict, MLflow's /invocations, /v2 and others; pages at /docs."""
    from lakewright import api

    api.serve(
        model,
        name=endpoint,
        split=split,
        follow_alias=follow_alias,
        host=host,
        port=port,
        workers=workers,
        profile=profile,
        settings=settings,
        runtime=runtime,
    )


@app.command()
def traffic(
    endpoint: Annotated[str, typer.Argument(help="its name: the model's, if `serve` gave no other")],
    split: Annotated[
        str | None, typer.Option(help="champion=90,challenger=10, or versions: 3=100; what is served from now on")
    ] = None,
    rollback: Annotated[bool, typer.Option("--rollback", help="what was served before")] = False,
    profile: ProfileName = None,
    as_json: AsJson = False,
) -> None:
    """Show or change which versions an endpoint's servers answer with. They follow within a second or two."""
    from lakewright import api

    changed = api.traffic(endpoint, split=split, rollback=rollback, profile=profile)
    rows = [
        {"variant": one.name, "version": one.at, "percent": one.percent, "folder": one.folder}
        for one in changed.variants
    ]
    print_rows(rows, as_json, "variants")


@app.command()
def keys(
    action: Annotated[str, typer.Argument(help="add, remove or list")],
    name: Annotated[str | None, typer.Argument(help="whose key")] = None,
    profile: ProfileName = None,
    as_json: AsJson = False,
) -> None:
    """The API keys that servers take. A key is shown once, when it is made; only its hash is kept."""
    from lakewright import api
    from lakewright.errors import UsageError, nearest

    if action not in ("add", "remove", "list") or (name is None) != (action == "list"):
        remedy = (
            nearest(action, ("add", "remove", "list")) if action not in ("add", "remove", "list") else "keys add NAME"
        )
        raise UsageError(f"{' '.join(filter(None, ('keys', action, name)))} is not understood", remedy)
    if action == "add":
        made = api.add_key(str(name), profile=profile)
        print_json({"name": name, "key": made}) if as_json else print(made)
        print("only its hash is kept: the key is not shown again", file=sys.stderr)
        return
    if action == "remove":
        api.remove_key(str(name), profile=profile)
    print_rows([{"name": key.name, "made": key.made} for key in api.keys(profile=profile)], as_json, "keys")
