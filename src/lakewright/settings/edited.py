"""A project file with other values, its comments and its order as they were."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import yaml

from lakewright.settings.yamlfile import Key, lay


def edited(text: str, values: Mapping[Key, Any]) -> str:
    """The YAML text with the value of each key set, the mappings above it made where they are missing.

    Where a text cannot be edited in place (it uses anchors, for example), all of it is written anew, without comments.
    """
    wanted = _unshared(yaml.safe_load(text))
    for key, value in values.items():
        lay(wanted, key, _unshared(value))
    changed = text
    try:
        for key, value in values.items():
            changed = _with(changed, key, value)
        if yaml.safe_load(changed) == wanted:
            return changed
    except yaml.YAMLError:
        pass
    return yaml.safe_dump(wanted, sort_keys=False, allow_unicode=True)


def _with(text: str, key: Key, value: Any) -> str:
    node = yaml.compose(text, Loader=yaml.SafeLoader)
    assert isinstance(node, yaml.MappingNode)
    for place, name in enumerate(key):
        own, inner = next(((own, inner) for own, inner in node.value if own.value == str(name)), (None, None))
        rest = _nested(key[place + 1 :], value)
        if own is None or inner is None:
            return _added(text, node, str(name), rest)
        if place == len(key) - 1 or not isinstance(inner, yaml.MappingNode):
            return _replaced(text, own, inner, rest)
        node = inner
    return text


def _unshared(value: Any) -> Any:
    """The value, in which what an alias repeats is an object of its own."""
    if isinstance(value, dict):
        return {key: _unshared(inner) for key, inner in value.items()}
    return [_unshared(inner) for inner in value] if isinstance(value, list) else value


def _nested(key: Key, value: Any) -> Any:
    for name in reversed(key):
        value = {str(name): value}
    return value


def _flow(value: Any) -> str:
    """On one line, as it may stand in a block and in braces."""
    written = yaml.safe_dump(value, default_flow_style=True, sort_keys=False, allow_unicode=True, width=2**20)
    return written.removesuffix("\n").removesuffix("\n...").strip()


def _replaced(text: str, key: yaml.Node, node: yaml.Node, value: Any) -> str:
    start, end = node.start_mark.index, node.end_mark.index
    old = text[start:end]
    tail = old[len(old.rstrip()) :]  # a block ends where the next key begins
    if isinstance(node, yaml.CollectionNode) and not node.flow_style:  # it begins below its key, behind comments
        start = key.end_mark.index
        return f"{text[:start]}: {_flow(value)}{tail or chr(10)}{text[end:]}"
    space = " " if start == end and text[start - 1 : start] == ":" else ""
    return f"{text[:start]}{space}{_flow(value)}{tail}{text[end:]}"


def _added(text: str, node: yaml.MappingNode, name: str, value: Any) -> str:
    entry = f"{_flow(name)}: {_flow(value)}"
    if node.flow_style:
        start = node.start_mark.index + 1
        return f"{text[:start]}{entry}{', ' if node.value else ''}{text[start:]}"
    start, column = node.value[0][0].start_mark.index, node.value[0][0].start_mark.column
    return f"{text[:start]}{entry}\n{' ' * column}{text[start:]}"
