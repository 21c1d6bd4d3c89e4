"""The command line as people meet it: its help, its sub-commands, and the spellings that it had before."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer
from typer.testing import CliRunner, Result

from lakewright.cli import app
from lakewright.errors import UsageError

OLD = "this spelling is old; write: lakewright "


def call(*arguments: str) -> Result:
    return CliRunner().invoke(app, arguments)


def every() -> Iterator[tuple[str, Any]]:
    """`plan`, `tables`, `tables list`, …"""
    for verb, command in typer.main.get_command(app).commands.items():  # type: ignore[attr-defined]
        yield verb, command
        for name, part in getattr(command, "commands", {}).items():
            yield f"{verb} {name}", part


COMMANDS = dict(every())


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    (tmp_path / ".lakewright" / "endpoints").mkdir(parents=True)
    return tmp_path


@pytest.mark.parametrize("command", COMMANDS)
def test_help_is_whole_and_has_an_example(command: str) -> None:
    shown = call(*command.split(), "--help")
    assert shown.exit_code == 0 and shown.stderr == ""
    if hasattr(COMMANDS[command], "commands"):
        return
    example = " ".join(shown.stdout.partition("Example: lakewright ")[2].split())
    assert example.startswith(command), shown.stdout


@pytest.mark.parametrize("group", ["", *(name for name, each in COMMANDS.items() if hasattr(each, "commands"))])
def test_a_list_of_commands_cuts_no_sentence(group: str) -> None:
    listed = call(*group.split(), "--help").stdout.partition("Commands:")[2]
    assert listed and "..." not in listed


def test_no_command_takes_an_action_as_a_word() -> None:
    parameters = [each for command in COMMANDS.values() for each in command.params]
    words = {each.name for each in parameters if each.param_type_name == "argument"}
    assert "action" not in words and words >= {"table", "model", "endpoint", "command"}


SPELLINGS = [
    ("tables", "tables list"),
    ("tables --json", "tables list --json"),
    ("tables --json list", "tables list --json"),
    ("tables --profile local show a.b.c --limit=2", "tables show --profile local --limit 2 a.b.c"),
    ("tables --limit 3 history a.b.c", "tables history --limit 3 a.b.c"),
    ("models", "models list"),
    ("models --json approve models:/a.b.c/1", "models approve --json models:/a.b.c/1"),
    ("runs", "runs list"),
    ("runs p.yml --set seed=2 --json", "runs list --set seed=2 --json p.yml"),
    ("runs --follow p.yml", "runs follow p.yml"),
    ("traffic a.b.c", "traffic show a.b.c"),
    ("traffic a.b.c --json --split champion=50,2=50", "traffic split --json a.b.c champion=50,2=50"),
    ("traffic --split=2=100 a.b.c", "traffic split a.b.c 2=100"),
    ("traffic a.b.c --rollback", "traffic rollback a.b.c"),
    ("keys --json list", "keys list --json"),
    ("schedule tables list --json", "schedule systemd tables list --json"),
    ("schedule --at 04:05 --kind cron run --set a=b", "schedule cron --at 04:05 run --set a=b"),
    ("schedule --json --kind=cron -- run p.yml", "schedule cron --json run p.yml"),
]


@pytest.mark.parametrize(("former", "new"), SPELLINGS, ids=lambda spelling: spelling)
def test_a_former_spelling_does_the_same_and_says_how_it_is_written_now(former: str, new: str) -> None:
    before, after = call(*former.split()), call(*new.split())
    assert before.stderr.splitlines()[0] == OLD + new
    assert OLD not in after.stderr
    assert (before.exit_code, before.stdout, repr(before.exception)) == (
        after.exit_code, after.stdout, repr(after.exception),
    )  # fmt: skip
    assert before.stderr.removeprefix(f"{OLD}{new}\n") == after.stderr


def test_a_former_spelling_keeps_json_on_stdout_alone() -> None:
    assert json.loads(call("tables", "--json").stdout) == {"tables": []}
    assert json.loads(call("keys", "--json", "add", "team").stdout)["name"] == "team"
    assert [key["name"] for key in json.loads(call("keys", "list", "--json").stdout)["keys"]] == ["team"]
    assert json.loads(call("keys", "--json", "remove", "team").stdout) == {"keys": []}


def test_a_split_and_a_rollback_are_refused_as_before() -> None:
    refused = call("traffic", "a.b.c", "--split", "2=100", "--rollback")
    assert isinstance(refused.exception, UsageError)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ("tables shwo a.b.c", "Did you mean 'show'?"),
        ("tables list --limit 3", "--limit"),
        ("tables show", "TABLE"),
        ("keys add", "name"),
        ("keys lst", "Did you mean 'list'?"),
        ("schedule --kind cronn tables list", "Did you mean 'cron'?"),
        ("schedule cron --out units run", "--out"),
        ("traffic split a.b.c", "shares"),
        ("runs --folow", "--folow"),
    ],
)
def test_what_is_wrong_ends_with_2(wrong: str, message: str) -> None:
    refused = call(*wrong.split())
    assert refused.exit_code == 2 and message in refused.stderr, refused.stderr


@pytest.mark.parametrize("group", ["keys", "traffic", "schedule"])
def test_what_meant_nothing_before_shows_its_help(group: str) -> None:
    shown = call(group)
    assert shown.exit_code == 2 and OLD not in shown.output and "Commands:" in shown.output
