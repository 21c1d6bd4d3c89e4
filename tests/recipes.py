"""Recipes made without a project: of the tests' own base model, and of a few texts."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

from lakewright.data.rows.kinds import TEXTS, Kind
from lakewright.learning.learners.encoder.base import vocabulary_of
from lakewright.model.recipe import Recipe, Step, Wanted
from lakewright.model.recipe.native import Native, NativeSettings
from lakewright.model.recipe.part_of import PartOf, PartOfSettings
from lakewright.model.recipe.terms import Terms, TermsSettings
from lakewright.model.recipe.tokens import LongTexts, Tokens
from lakewright.model.tasks import Task


def tokens(
    base: Path,
    max_length: int,
    long_texts: LongTexts = "cut",
    stride: int = 0,
    inputs: Sequence[str] = ("text",),
    symbols: Literal["names", "keep"] = "keep",
    **more: bool,
) -> Tokens:
    """The base model's tokenizer as a step, without a look at any rows."""
    known = vocabulary_of(base, base.name)
    types = known.types and len(inputs) == 2 and not more.get("apart", False)
    return Tokens.make(
        inputs, known.tokenizer_json, max_length, known.pad_id, long_texts, stride, types, symbols, **more
    )


def terms(texts: Iterable[str], min_df: int = 1, max_features: int = 100) -> Terms:
    text: dict[str, Kind] = {"text": "text"}
    settings = TermsSettings(min_df=min_df, max_features=max_features)
    return Terms.fit([values(list(texts))], text, settings, Wanted("row"))[0]


def values(
    texts: Sequence[str], pairs: Sequence[str] | None = None, names: Sequence[str] = ("text", "text_pair")
) -> Any:
    both = (texts,) if pairs is None else (texts, pairs)
    return dict(zip(names, both, strict=False))


def store(folder: Path, *steps: Step) -> Recipe:
    """The recipe of these steps, stored where a model folder has it."""
    recipe = Recipe(steps)
    (folder / "recipe").mkdir(parents=True, exist_ok=True)
    recipe.save(folder / "recipe")
    return recipe


def recipe_for(task: Task, base: Path, max_length: int, long_texts: LongTexts | None = None, stride: int = 4) -> Recipe:
    """The base model's tokenizer for the inputs of this task; windows where it reads tokens."""
    return recipe_of(task.inputs, task.level, base, max_length, long_texts, stride)


def recipe_of(
    inputs: Mapping[str, Kind],
    level: str,
    base: Path,
    max_length: int,
    long_texts: LongTexts | None = None,
    stride: int = 4,
) -> Recipe:
    usual: LongTexts = "windows" if level == "token" else "cut"
    texts = [name for name, kind in inputs.items() if kind in TEXTS]
    where = {"apart": level == "vector", "positions": level == "token"}
    return Recipe((tokens(base, max_length, long_texts or usual, stride, texts, **where),))


def table_recipe(inputs: Mapping[str, Kind]) -> Recipe:
    """What trees read, fitted on no rows: times in parts, numbers as they are, categories without values."""
    times: dict[str, Kind] = {name: kind for name, kind in inputs.items() if kind == "time"}
    parts = PartOf.fit([], times, PartOfSettings(), Wanted("row"))[0]
    kinds: dict[str, Kind] = {name: kind for name, kind in inputs.items() if kind != "time"}
    native = Native.fit([], kinds | dict.fromkeys(parts.made, "number"), NativeSettings(), Wanted("row"))[0]
    return Recipe((parts, native) if times else (native,))
