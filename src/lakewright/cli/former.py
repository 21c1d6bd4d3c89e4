"""Former spellings: a command took its action among its arguments, or as an option. They work as they did, and a line
on stderr says how they are written now."""

from __future__ import annotations

import shlex
from collections.abc import Callable
from typing import Any

from typer.core import TyperGroup

from lakewright.cli.show import note

Former = Callable[[list[str], dict[str, str]], list[str]]  # words, option → its value ("" for a flag) → the command


def group(former: Former, *taken: str, options_first: bool = False) -> type[TyperGroup]:
    """The class of a group of commands that was one command.

    `former` makes the new command of the former one's words and of its options that are gone. `taken` are those options
    that took a value; `options_first`: every word after the first one belongs to it.
    """

    class Group(TyperGroup):
        def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
            if args[:1] != ["--help"] and not (args and args[0] in self.commands):
                parameters = [each for command in self.commands.values() for each in command.params]
                kept = {name: each for each in parameters for name in each.opts if name.startswith("-")}
                valued = {*taken, *(name for name, each in kept.items() if not getattr(each, "is_flag", False))}
                words, options, gone = _parts(args, valued, {*kept, "--help"}, options_first)
                if new := former(words, gone):
                    args = [new[0], *options, *new[1:]]
                    note(f"this spelling is old, write: lakewright {ctx.info_name} {shlex.join(args)}")
            return super().parse_args(ctx, args)

    return Group


def _parts(
    args: list[str], valued: set[str], kept: set[str], options_first: bool
) -> tuple[list[str], list[str], dict[str, str]]:
    """Words; options that there are still, with their values; options that are gone."""
    words, options, gone = list[str](), list[str](), dict[str, str]()
    left = list(args)
    while left:
        word = left.pop(0)
        if options_first and (words or not word.startswith("-")):
            words.append(word)
            continue
        if word == "--" or not word.startswith("-"):
            words += left if word == "--" else [word]
            left = [] if word == "--" else left
            continue
        name, equals, value = word.partition("=")
        if name in valued and not equals and left:
            value = left.pop(0)
        if name in kept:
            options += [name, value] if name in valued else [word]
        else:
            gone[name] = value
    return words, options, gone


def action_first(words: list[str], gone: dict[str, str]) -> list[str]:
    """`tables --json show NAME`; `tables` alone was `tables list`."""
    return [*(words or ["list"]), *_unknown(gone)]


def action_needed(words: list[str], gone: dict[str, str]) -> list[str]:
    """`keys --json list`; `keys` alone meant nothing."""
    return [*words, *_unknown(gone)] if words else []


def runs(words: list[str], gone: dict[str, str]) -> list[str]:
    """`runs PROJECT --follow`."""
    return ["list" if gone.pop("--follow", None) is None else "follow", *_unknown(gone), *words]


def traffic(words: list[str], gone: dict[str, str]) -> list[str]:
    """`traffic ENDPOINT --split champion=90,challenger=10`."""
    if not words:
        return []
    shares, back = gone.pop("--split", None), gone.pop("--rollback", None)
    if shares is not None and back is not None:
        from lakewright.errors import UsageError

        raise UsageError("a split and a rollback cannot both be", "name one of them")
    if shares is not None:
        return ["split", *_unknown(gone), *words, shares]
    return ["show" if back is None else "rollback", *_unknown(gone), *words]


def schedule(words: list[str], gone: dict[str, str]) -> list[str]:
    """`schedule --kind cron COMMAND …`."""
    return [gone.pop("--kind", "systemd"), *_unknown(gone), *words] if words else []


def _unknown(gone: dict[str, str]) -> list[str]:
    """Options that there never were: the command refuses them."""
    return list(gone)
