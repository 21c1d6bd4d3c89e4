"""The recipe: the fitted steps that turn a row's inputs into a network's. Training and prediction run the same steps,
from the same files.

`recipe.json` names the steps, which are loaded through the entry points `lakewright.steps`. Two sorts follow one
another: transforms make inputs of inputs (the month of a date, a number in place of a missing one), and encodings turn
the inputs that are there in the end into the network's. One encoding may produce sequences (of tokens, of terms); the
others produce numbers, joined side by side in the steps' order.

An encoding that produces numbers may learn from the truth (`learns_truth`). What it makes of a row of train must not
hold that row's own truth, or whatever learns from the numbers learns a truth that new rows will not show. So such a
step is fitted several times, out of fold: on all of train, which is the step that is stored, and without the rows of
each fold, which encodes these rows for training. Only encodings can do so, since they do not chain: what a transform
learned of the truth would be learned again by every step behind it, from rows that it had seen.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Protocol, Self, TypeGuard, TypeVar

import numpy as np
from numpy.typing import NDArray

from lakewright import plugins
from lakewright.data.rows.kinds import Kind, Row
from lakewright.data.rows.shortfalls import Shortfall
from lakewright.errors import ProjectError
from lakewright.model.recipe.encoded import Encoded
from lakewright.system import jsonfile

if TYPE_CHECKING:
    from lakewright.model.recipe.sentence_embeddings import FrozenEncoder
    from lakewright.model.recipe.tokens import Vocabulary
    from lakewright.settings.sections import StepSettings

R = TypeVar("R")

RECIPE = "recipe.json"
Values = Mapping[str, Any]
"""Input → its value in each row, as recipe/values.py reads them: a list, with None for a row without a value; an array,
with NaN, NaT or None; of categories also `Coded`, a list that holds each text once."""


@dataclass(frozen=True)
class Truth:
    """The truths of train as numbers, for a step that learns from them."""

    kind: Literal["class", "labels", "number"]
    names: tuple[str, ...]
    """Of the numbers. class: the labels, of two the second alone; labels: the labels; number: one empty name."""
    batches: Callable[[], Iterable[NDArray[np.float64]]]
    """[rows, names] for each batch of `train`, in its order: 1 for the row's class or labels, else 0; the number."""


@dataclass(frozen=True)
class Wanted:
    """What a task and a learner need from a recipe."""

    level: Literal["row", "token", "vector"]  # the task's
    vocabulary: Callable[[], Vocabulary] | None = None  # the base model's, if the learner has one
    truth: Truth | None = None  # for a step that learns from it
    encoder: Callable[[str, Literal["mean", "cls"]], FrozenEncoder] | None = None  # by its name and pooling


@dataclass(frozen=True)
class Column:
    """One of the numbers that a network reads."""

    name: str
    input: str  # which it is made of
    values: tuple[str, ...] = ()  # of a category: the number is a value's place in them, NaN for all others


class Step(Protocol):
    """A step that needs a package beside numpy and tokenizers for predictions names it in a tuple `packages`. A
    transform that may make an input of several others has `of_several` set. One that reads so many texts together at
    most names their number in `most_texts`. An encoding that gives numbers and learns
    from the truth has `learns_truth` set."""

    name: ClassVar[str]
    settings: ClassVar[type[StepSettings]]  # the keys of `prepare.recipe.NAME`
    reads: ClassVar[tuple[Kind, ...]]  # the kinds of inputs that it can read
    gives: ClassVar[Literal["inputs", "sequences", "numbers"]]  # inputs: a Transform; else an Encoding

    @property
    def inputs(self) -> tuple[str, ...]:
        """The names of the inputs that it reads."""

    @classmethod
    def fit(
        cls, train: Iterable[Values], inputs: Mapping[str, Kind], settings: Any, wanted: Wanted
    ) -> tuple[Self, NDArray[np.int32] | None]:
        """The step, fitted on train alone, and if it produces sequences, the length of each of train's before any cut.

        `train` yields these inputs' values, a batch of rows at a time, and starts again with each iteration; do not
        hold them. What takes long and can be added up is computed by `summaries`. Raises ProjectError for settings that
        do not fit the inputs or the learner.

        A step that learns from the truth finds it in `wanted.truth`, and must give the same `columns` whichever rows of
        train it sees.
        """

    @classmethod
    def open(cls, described: Mapping[str, Any], folder: Path) -> Self: ...

    def save(self, folder: Path) -> dict[str, Any]:
        """JSON-ready: `open` makes the same step from it. Large parts may be files in the folder."""

    def sql(self) -> dict[str, str] | None:
        """The same in DuckDB's SQL: what it makes (inputs, or columns by their names) → an expression over its inputs,
        which gives the same values bit for bit. None: it can only be computed here."""

    def neutral(self) -> dict[str, Any]:
        """A value of each input for a sample row; none for inputs, such as texts, whose value the task provides."""


class Transform(Step, Protocol):
    @classmethod
    def makes(cls, inputs: Mapping[str, Kind], settings: Any) -> dict[str, Kind]:
        """The inputs that the next steps see in place of these. Keep those that are to stay."""

    @property
    def made(self) -> tuple[str, ...]:
        """The names that `makes` gave."""

    def apply(self, values: Values) -> dict[str, Any]:
        """Of the rows, at least one, the values of all that it makes; a row's depend on the row alone."""


class Encoding(Step, Protocol):
    @property
    def columns(self) -> tuple[Column, ...]:
        """The numbers that it gives; none if it produces sequences."""

    def encode(self, values: Values) -> Encoded:
        """The rows, at least one, as sequences or as numbers (`Encoded.of_columns`)."""

    def batch(self, encoded: Encoded, sequences: NDArray[np.int64]) -> dict[str, NDArray[Any]]:
        """If it produces sequences: the named network inputs for these, padded to the longest of them. Else none."""

    def shortfalls(self, encoded: Encoded, values: Values) -> list[Shortfall]:
        """The content of the rows that is missing in the encoded ones, so that the network cannot use it."""


def is_transform(step: Step | type[Step]) -> TypeGuard[Transform]:
    return step.gives == "inputs"


def is_encoding(step: Step | type[Step]) -> TypeGuard[Encoding]:
    return step.gives != "inputs"


def learns_truth(step: Step | type[Step]) -> bool:
    """Raises TypeError for a step that must not: none but an encoding that gives numbers can be fitted out of fold."""
    learns = bool(getattr(step, "learns_truth", False))
    if learns and step.gives != "numbers":
        raise TypeError(f"the step {step.name} gives {step.gives}: only one that gives numbers may learn the truth")
    return learns


@dataclass(frozen=True)
class Recipe:
    steps: tuple[Step, ...]

    @classmethod
    def open(cls, folder: Path) -> Self:
        """The recipe that `save` wrote into this folder. Raises ModelError for a step that is not installed."""
        return cls.of(jsonfile.parse((folder / RECIPE).read_bytes())["steps"], folder)

    @classmethod
    def of(cls, described: Iterable[Mapping[str, Any]], folder: Path) -> Self:
        """The recipe of steps that are described as recipe.json does, whose own files lie in this folder."""
        named = ((each["step"], {key: value for key, value in each.items() if key != "step"}) for each in described)
        opened = tuple(plugins.STEPS.named_in(folder / RECIPE, name).open(own, folder) for name, own in named)
        if not any(map(is_encoding, opened)):
            raise ValueError(f"{folder / RECIPE} names no step that gives the network its inputs")
        return cls(opened)

    def encode(self, rows: Sequence[Row]) -> Encoded:
        return self.encode_values(values_of(rows, self.inputs))

    def encode_values(self, values: Values) -> Encoded:
        return self._encoded(self.transformed(values))

    def transformed(self, values: Values) -> Values:
        """The values that the encodings read."""
        for step in self.steps:
            if is_transform(step):
                values = {**values, **step.apply(values)}
        return values

    def _encoded(self, values: Values) -> Encoded:
        return self.joined(lambda step: step.encode(values))

    def joined(self, encode: Callable[[Encoding], Encoded]) -> Encoded:
        """What `encode` gives for each encoding, side by side."""
        first, *others = sorted(self.encodings, key=lambda step: step.gives != "sequences")  # stable
        encoded = encode(first)
        for step in others:
            columns = encode(step).columns
            assert columns is not None, f"the step {step.name} gives neither sequences nor numbers"
            encoded = encoded.beside(columns)
        return encoded

    @property
    def packages(self) -> set[str]:
        """What predictions need beside the runtime's own packages."""
        return {package for step in self.steps for package in getattr(step, "packages", ())}

    @property
    def encodings(self) -> tuple[Encoding, ...]:
        return tuple(step for step in self.steps if is_encoding(step))

    @property
    def columns(self) -> tuple[Column, ...]:
        """The numbers that the network reads as `columns`, in order."""
        return tuple(column for step in self.encodings for column in step.columns)

    def batch(self, encoded: Encoded, sequences: NDArray[np.int64]) -> dict[str, NDArray[Any]]:
        """All named inputs of the network for these sequences."""
        inputs: dict[str, NDArray[Any]] = {}
        for step in self.encodings:
            inputs |= step.batch(encoded, sequences)
        if encoded.columns is not None:
            inputs["columns"] = encoded.columns[encoded.row_of(sequences)]
        if encoded.hidden is not None:
            offsets = encoded.ids.offsets
            inputs["hidden"] = np.concatenate([encoded.hidden[offsets[i] : offsets[i + 1]] for i in sequences])
        return inputs

    def encoded_with_shortfalls(self, values: Values) -> tuple[Encoded, list[Shortfall]]:
        """The rows, and what the network cannot read of them."""
        values = self.transformed(values)
        encoded = self._encoded(values)
        # Two steps may read one input, and lack the same of it: that is lost once
        lost: dict[tuple[str, str], Shortfall] = {}
        for step in self.encodings:
            for shortfall in step.shortfalls(encoded, values):
                lost.setdefault((shortfall.name, shortfall.cause), shortfall)
        return encoded, [*lost.values()]

    def cost(self, row: Row) -> int:
        """Characters that are read of the row's texts: most of the time that computing it takes."""
        texts = (row.get(name) for step in self.steps if {"text", "words"} & {*step.reads} for name in step.inputs)
        return sum(len(text) for text in texts if isinstance(text, str))

    @property
    def inputs(self) -> tuple[str, ...]:
        """Those that a row brings; transforms make the others."""
        inputs, made = dict[str, None](), set[str]()
        for step in self.steps:
            inputs |= dict.fromkeys(name for name in step.inputs if name not in made)
            if is_transform(step):
                made.update(step.made)
        return tuple(inputs)

    def sample_rows(self, rows: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
        """A task's sample rows with a neutral value for every input that they lack."""
        inputs = self.inputs
        neutral = {n: value for step in reversed(self.steps) for n, value in step.neutral().items() if n in inputs}
        return [neutral | dict(row) for row in rows]

    def save(self, folder: Path) -> None:
        """Writes recipe.json and the steps' own files into a folder without other files."""
        described = [{"step": step.name, **step.save(folder)} for step in self.steps]
        text = json.dumps({"steps": described}, ensure_ascii=False, indent=1) + "\n"
        (folder / RECIPE).write_text(text, encoding="utf-8")


def summaries(train: Iterable[Values], function: Callable[[Iterable[Values]], R]) -> Iterator[R]:
    """The function's result for each part of train, in order. Where train has parts, they may be computed in other
    processes and on other machines, to which the function is sent; else all of it is one."""
    of_parts: Callable[[Callable[[Iterable[Values]], R]], Iterator[R]] | None = getattr(train, "summaries", None)
    return iter([function(train)]) if of_parts is None else of_parts(function)


def lengths_by(step: Encoding, train: Iterable[Values]) -> NDArray[np.int32]:
    """Of train's sequences, as the step gives them."""
    lengths = [step.encode(values).ids.lengths.astype(np.int32) for values in train]
    return np.concatenate([np.empty(0, np.int32), *lengths])


def truth_of(wanted: Wanted, step: str) -> Truth:
    """The truth that this step learns from. Raises ProjectError if the task's has no numbers."""
    if wanted.truth is None:
        raise ProjectError(
            f"prepare.recipe: the step {step} learns from the truth, and this task's is neither a class, nor labels, "
            "nor a number of a row",
            "take it out of prepare.recipe, or set a task such as classification or regression",
        )
    return wanted.truth


def values_of(rows: Sequence[Row], inputs: Iterable[str]) -> dict[str, list[Any]]:
    """Input → the value of each row."""
    return {name: [row.get(name) for row in rows] for name in inputs}
