"""The application that the commands register with, the options that they share, and how the workspace is opened."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from lakewright.workspace import Workspace

app = typer.Typer(
    help="From a lakehouse table to an approved model that answers requests: one project file.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
ProjectFile = Annotated[str, typer.Argument(help="project.yml, or the folder that holds it")]
Settings = Annotated[list[str], typer.Option("--set", help="a.b=value: change a setting for this run; repeatable")]
ProfileName = Annotated[str | None, typer.Option("--profile", help="a profile of profiles.yml")]
AsJson = Annotated[bool, typer.Option("--json", help="print one JSON object on stdout")]


def open_workspace(profile: str | None) -> Workspace:
    from lakewright.profile import load_profile
    from lakewright.workspace import Workspace

    return Workspace.open(load_profile(profile))
