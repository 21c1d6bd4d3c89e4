"""Servers: start one, divide its traffic among versions, manage its API keys."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Annotated

import typer

from lakewright.cli import former
from lakewright.cli.app import AsJson, ProfileName, app
from lakewright.cli.show import print_json, print_rows

if TYPE_CHECKING:
    from lakewright.service.server.endpoint import Endpoint as EndpointRecord


@app.command(epilog="Example: lakewright serve models:/main.bank.banking77@champion --follow-alias")
def serve(
    model: Annotated[str, typer.Argument(help="models:/NAME@alias, models:/NAME/3, or a model folder")],
    host: Annotated[
        str, typer.Option(help="the address to listen at; addresses that other machines can reach need a key")
    ] = ("127.0.0.1"),
    port: Annotated[int, typer.Option(min=1, max=65535, help="the port")] = 8000,
    workers: Annotated[int, typer.Option(min=1, help="processes that share the port")] = 1,
    split: Annotated[
        str | None, typer.Option(help="champion=90,challenger=10: versions side by side, and their shares in percent")
    ] = None,
    follow_alias: Annotated[
        bool, typer.Option("--follow-alias", help="serve another version as soon as the alias moves to it")
    ] = False,
    endpoint: Annotated[
        str | None, typer.Option(help="the endpoint's name, for `traffic`; default: the model's")
    ] = None,
    settings: Annotated[
        list[str], typer.Option("--set", help="name=value: one of the profile's `serve` settings; repeatable")
    ] = [],  # noqa: B006
    runtime: Annotated[str, typer.Option(help="onnx, openvino or torch; auto: as the model folder names it")] = "auto",
    profile: ProfileName = None,
    guarded: Annotated[bool, typer.Option("--guarded", hidden=True)] = False,  # for containers that a platform guards
) -> None:
    """Answer prediction requests over HTTP, until it is stopped.

    Paths: POST /predict, MLflow's /invocations, /v2 and others; the pages at /docs describe them.
    """
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
        guarded=guarded,
    )


traffic = typer.Typer(cls=former.group(former.traffic, "--split"), no_args_is_help=True)
app.add_typer(traffic, name="traffic", help="The versions that an endpoint answers with: show or change them.")
Endpoint = Annotated[str, typer.Argument(help="its name: the model's, unless `serve` had another")]


@traffic.command("show", epilog="Example: lakewright traffic show main.bank.banking77")
def show_traffic(endpoint: Endpoint, profile: ProfileName = None, as_json: AsJson = False) -> None:
    """Show the versions that answer, and the share of each in percent."""
    from lakewright import api

    _print_variants(api.traffic(endpoint, profile=profile), as_json)


@traffic.command("split", epilog="Example: lakewright traffic split main.bank.banking77 champion=90,challenger=10")
def split_traffic(
    endpoint: Endpoint,
    shares: Annotated[
        str, typer.Argument(help="champion=90,challenger=10: aliases or version numbers, and their shares in percent")
    ],
    profile: ProfileName = None,
    as_json: AsJson = False,
) -> None:
    """Answer with these versions from now on. Servers follow within a second or two."""
    from lakewright import api

    _print_variants(api.traffic(endpoint, split=shares, profile=profile), as_json)


@traffic.command("rollback", epilog="Example: lakewright traffic rollback main.bank.banking77")
def roll_back_traffic(endpoint: Endpoint, profile: ProfileName = None, as_json: AsJson = False) -> None:
    """Answer with the versions that answered before. Servers follow within a second or two."""
    from lakewright import api

    _print_variants(api.traffic(endpoint, rollback=True, profile=profile), as_json)


def _print_variants(endpoint: EndpointRecord, as_json: bool) -> None:
    rows = [
        {"variant": each.name, "version": each.at, "percent": each.percent, "folder": each.folder}
        for each in endpoint.variants
    ]
    print_rows(rows, as_json, "variants")


keys = typer.Typer(cls=former.group(former.action_needed), no_args_is_help=True)
app.add_typer(keys, name="keys", help="The API keys that servers take: list, add or remove them.")
Whose = Annotated[str, typer.Argument(help="the key's owner")]


@keys.command("list", epilog="Example: lakewright keys list")
def list_keys(profile: ProfileName = None, as_json: AsJson = False) -> None:
    """List the names of the keys. Only their hashes are kept, so no key can be shown again."""
    from lakewright import api

    print_rows([{"name": key.name, "made": key.made} for key in api.keys(profile=profile)], as_json, "keys")


@keys.command("add", epilog="Example: lakewright keys add billing")
def add_key(name: Whose, profile: ProfileName = None, as_json: AsJson = False) -> None:
    """Make a key and print it, once. Only its hash is kept."""
    from lakewright import api

    secret = api.add_key(name, profile=profile)
    print_json({"name": name, "key": secret}) if as_json else print(secret)
    print("only its hash is kept: the key is not shown again", file=sys.stderr)


@keys.command("remove", epilog="Example: lakewright keys remove billing")
def remove_key(name: Whose, profile: ProfileName = None, as_json: AsJson = False) -> None:
    """Remove a key, and list the others. Servers notice within a second or two."""
    from lakewright import api

    api.remove_key(name, profile=profile)
    list_keys(profile, as_json)
