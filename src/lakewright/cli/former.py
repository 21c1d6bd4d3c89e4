"""Former spellings: the action of a command was among its arguments, or an option. They still work, and a line on
stderr shows the new spelling."""

from __future__ import annotations

import shlex
from collections.abc import Callable
from typing import Any

from typer.core import TyperGroup

from lakewright.cli.show import note

Former = Callable[[list[str], dict[str, str]], list[str]]  # words, option → its value ("" for a flag) → the command


def group(former: Former, *with_value: str, options_first: bool = False) -> type[TyperGroup]:
    """The class of a group of commands that was one command.

    `former` makes the new command from the words of the former one and from its removed options. `with_value` names the
    removed options that had a value; `options_first`: everything after the first word belongs to the command.
    """

    class Group(TyperGroup):
        def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
            if args[:1] != ["--help"] and not (args and args[0] in self.commands):
                parameters = [each for command in self.commands.values() for each in command.params]
                current = {name: each for each in parameters for name in each.opts if name.startswith("-")}
                valued = {*with_value, *(name for name, each in current.items() if not getattr(each, "is_flag", False))}
                words, options, removed = _parts(args, valued, {*current, "--help"}, options_first)
                if command := former(words, removed):
                    args = [command[0], *options, *command[1:]]
                    note(f"this spelling is old; write: lakewright {ctx.info_name} {shlex.join(args)}")
            return super().parse_args(ctx, args)

    return Group


def _parts(
    args: list[str], valued: set[str], current: set[str], options_first: bool
) -> tuple[list[str], list[str], dict[str, str]]:
    """Words; current options with their values; removed options."""
    words, options, removed = list[str](), list[str](), dict[str, str]()
    rest = list(args)
    while rest:
        word = rest.pop(0)
        if options_first and (words or not word.startswith("-")):
            words.append(word)
            continue
        if word == "--" or not word.startswith("-"):
            words += rest if word == "--" else [word]
            rest = [] if word == "--" else rest
            continue
        name, equals, value = word.partition("=")
        if name in valued and not equals and rest:
            value = rest.pop(0)
        if name in current:
            options += [name, value] if name in valued else [word]
        else:
            removed[name] = value
    return words, options, removed


def action_first(words: list[str], removed: dict[str, str]) -> list[str]:
    """`tables --json show NAME`; `tables` alone was `tables list`."""
    return [*(words or ["list"]), *_unknown(removed)]


def action_needed(words: list[str], removed: dict[str, str]) -> list[str]:
    """`keys --json list`; `keys` alone meant nothing."""
    return [*words, *_unknown(removed)] if words else []


def runs(words: list[str], removed: dict[str, str]) -> list[str]:
    """`runs PROJECT --follow`."""
    return ["list" if removed.pop("--follow", None) is None else "follow", *_unknown(removed), *words]


def traffic(words: list[str], removed: dict[str, str]) -> list[str]:
    """`traffic ENDPOINT --split champion=90,challenger=10`."""
    if not words:
        return []
    shares, back = removed.pop("--split", None), removed.pop("--rollback", None)
    if shares is not None and back is not None:
        from lakewright.errors import UsageError

        raise UsageError("--split and --rollback exclude each other", "use one of them")
    if shares is not None:
        return ["split", *_unknown(removed), *words, shares]
    return ["show" if back is None else "rollback", *_unknown(removed), *words]


def schedule(words: list[str], removed: dict[str, str]) -> list[str]:
    """`schedule --kind cron COMMAND …`."""
    return [removed.pop("--kind", "systemd"), *_unknown(removed), *words] if words else []


def _unknown(removed: dict[str, str]) -> list[str]:
    """Options that never existed: the command refuses them."""
    return list(removed)
