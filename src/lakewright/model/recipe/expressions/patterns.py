"""Patterns of a text: runs of one class of characters, such as the digits `[0-9]+`.

Regular expressions as a whole are not in the language. Two engines agree on them only mostly (what is a letter, a
line's end, an empty match), and Python's may take time without bound. A run of one class of ASCII characters, at the
begin or the end of the text or wherever it first stands, takes time in proportion to the text and is the same in both.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from lakewright.model.recipe import sql
from lakewright.model.recipe.expressions.expression import Expression
from lakewright.model.recipe.expressions.reading import Operation, Reader
from lakewright.model.recipe.expressions.texts import text_result

# ranges, and characters that mean themselves in a class
CLASS = r"\[\^?(?:0-9|A-Z|a-z|[A-Za-z0-9 .,:;_@#$%+/*=!?()'\"<>{}])+\]\+"
FORM = re.compile(rf"(?P<begin>\^?)(?P<run>{CLASS})(?P<end>\$?)")


@dataclass(frozen=True)
class Run:
    """One or more characters of a class: the whole text, its begin, its end, or the first in it."""

    characters: re.Pattern[str]
    begin: bool
    end: bool

    def first(self, text: str) -> str:
        """Empty where there is none."""
        if self.begin:
            match = self.characters.fullmatch(text) if self.end else self.characters.match(text)
            return match[0] if match else ""
        if self.end:  # from the end: to search for it would take the square of the text's length
            match = self.characters.match(text[::-1])
            return match[0][::-1] if match else ""
        match = self.characters.search(text)
        return match[0] if match else ""


def _run(reader: Reader, node: Any, *, anchors: bool) -> Run:
    form = FORM.fullmatch(reader.letters(node))
    if form is None or (not anchors and (form["begin"] or form["end"])):
        raise reader.error(
            f"holds the pattern {node.name[:40]!r}",
            "a pattern is a run of one class, such as '[0-9]+', '[A-Za-z]+' or '[^0-9]+'"
            + (", after ^ or before $ if it must begin or end the text" if anchors else ""),
        )
    return Run(re.compile(form["run"]), bool(form["begin"]), bool(form["end"]))


def _extract(reader: Reader, node: Any, depth: int) -> Expression:
    """The first run; empty where there is none."""
    if node.args.get("group") is not None:
        reader.whole(node.args["group"], 0, 0)  # sqlglot's own note
    run, written = _run(reader, node.expression, anchors=True), sql.text(node.expression.name)
    operand = reader.of("text", node.this, depth)
    return text_result(operand, run.first, "text", lambda text: f"regexp_extract({text}, {written})")


def _replace(reader: Reader, node: Any, depth: int) -> Expression:
    """Each run by a text that is written out."""
    run, new = _run(reader, node.expression, anchors=False), reader.letters(node.args["replacement"], empty=True)
    flags = node.args.get("modifiers")
    if flags is None or not flags.is_string or flags.name != "g" or "\\" in new:
        raise reader.error(
            "calls regexp_replace in a way that is not known",
            "write regexp_replace(NAME, '[^0-9]+', '', 'g'), without a backslash",
        )
    written = f"{sql.text(node.expression.name)}, {sql.text(new)}, 'g'"
    return text_result(
        reader.of("text", node.this, depth),
        lambda text: run.characters.sub(new, text),
        "text",
        lambda text: f"regexp_replace({text}, {written})",
    )


def _full_match(reader: Reader, node: Any, depth: int) -> Expression:
    run, written = _run(reader, node.expression, anchors=False), sql.text(node.expression.name)
    return text_result(
        reader.of("text", node.this, depth),
        lambda text: float(run.characters.fullmatch(text) is not None),
        "truth",
        lambda text: f"regexp_full_match({text}, {written})",
    )


OPERATIONS: Mapping[str, tuple[frozenset[str], Operation]] = {
    "RegexpExtract": (frozenset({"this", "expression", "group"}), _extract),
    "RegexpReplace": (frozenset({"this", "expression", "replacement", "modifiers"}), _replace),
    "RegexpFullMatch": (frozenset({"this", "expression"}), _full_match),
}
