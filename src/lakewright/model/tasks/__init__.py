"""What is learned. One file a task: which columns it needs, its labels, targets, losses, decoding and scoring.

A task never says how it is learned (learners) nor what computes it (runtimes). It is made from the train split's rows
and stored in the model folder; a predictor needs no more than numpy to encode and decode with it.
"""

from __future__ import annotations

import math
import re
import unicodedata
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from difflib import get_close_matches
from itertools import islice
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Protocol, Self

from lakewright.errors import DataError, ProjectError, nearest, shown

if TYPE_CHECKING:
    import pyarrow as pa
    import torch

    from lakewright.model.recipe import Encoded, Encoding, Shortfall
    from lakewright.model.recipe.ragged import Ragged
    from lakewright.evaluation.scorers import Scorer
    from lakewright.settings.project import TaskSettings

Row = Mapping[str, Any]  # a row's inputs, by name
Prediction = dict[str, Any]
Kind = Literal["text", "optional text", "words", "number", "category"]
Logits = list[
    Any
]  # float32 arrays: [outputs] a row (level "row"), [tokens, outputs] or [width] a sequence (the others)
TEXTS = ("text", "text_pair", "negative", "question", "context")  # inputs that are texts; no other is called so
IGNORED = -100  # a target that the loss leaves out
FILLERS = re.compile("[\u034f\u115f\u1160\u17b4\u17b5\u2800\u3164\ufe00-\ufe0f\uffa0\U000e0100-\U000e01ef]")
"""Blank or invisible, though Unicode counts them among letters, marks and symbols."""
EXACT = 2.0**53  # to it, a float holds every whole number
WHOLE_NUMBER = re.compile("-?[0-9]+")


@dataclass(frozen=True)
class Loss:
    """Which of the task's losses is minimised, and its numbers."""

    name: str
    label_smoothing: float = 0.0
    focal_gamma: float = 2.0
    scale: float = 20.0


class Task(Protocol):
    name: ClassVar[str]
    settings: ClassVar[type[TaskSettings]]  # what project.yml may say under `task`, beside the name
    roles: ClassVar[tuple[str, ...]]  # the roles of data.columns that only some tasks read, and this one does
    level: ClassVar[Literal["row", "token", "vector"]]
    """What the network says: logits a row, logits a token, or an embedding a sequence."""
    counted: ClassVar[Literal["rows", "sequences", "tokens"]]  # what a batch's loss is the mean over
    one_label: ClassVar[bool]  # every row has one class: rows can be balanced, stratified and checked by it
    long_texts: ClassVar[Literal["cut", "windows"]]  # what `prepare.long_texts: auto` is
    losses: ClassVar[tuple[str, ...]]  # the first is the default
    labels: tuple[str, ...]
    inputs: Mapping[str, Kind]  # what a row holds

    @classmethod
    def measures(cls, settings: TaskSettings, roles: Collection[str]) -> tuple[str, ...]:
        """The names of the metrics where `data.columns` maps these roles, so that a gate can be checked before
        anything runs."""

    @classmethod
    def read(cls, tables: Iterable[pa.Table], columns: Mapping[str, Any], settings: TaskSettings) -> Iterator[pa.Table]:
        """For each of the tables, which are one table's batches in order (one at least), the inputs' columns (null
        where there is nothing) and `truth` (null where a row has none). None is held longer than until the next.

        `columns` maps roles to column names. Raises ProjectError where a needed role is not mapped, DataError where a
        column is missing or holds what it should not, naming the column and the first rows; behind the last table what
        only all of them can tell.
        """

    @classmethod
    def fit(cls, train: Iterable[pa.Table], settings: TaskSettings) -> Self:
        """The task with all that it learns from the train split (one table at least), as `read` gave it: labels,
        scales of numbers … The tables can be gone through once, and their texts are not to be held."""

    @classmethod
    def open(cls, described: Mapping[str, Any]) -> Self: ...

    def describe(self) -> dict[str, Any]:
        """JSON-ready; `open(describe())` gives the same task."""

    @property
    def outputs(self) -> int:
        """Logits a row or a token; 0 where the network says embeddings."""

    @staticmethod
    def label_of(truth: Any) -> list[str]:
        """The label names that stand in one row's truth, for counting."""

    def encode(self, encoding: Encoding, rows: Sequence[Row], positions: bool = True) -> Encoded:
        """The rows as model inputs; `positions: False` where only the network will read them."""

    def targets(self, truths: Sequence[Any], encoded: Encoded, rows: Sequence[Row]) -> Ragged:
        """Numbers for the loss, beside the row (levels "row" and "vector") or beside each sequence's tokens, IGNORED
        where a token has none. int32, or float32 where the truth is a number."""

    def shortfalls(
        self, truths: Sequence[Any], encoded: Encoded, targets: Ragged, rows: Sequence[Row]
    ) -> list[Shortfall]:
        """The round trip: what of the truths `decode` does not give back from logits that agree with the targets, and
        what of the inputs beside the texts the encoding does not hold."""

    def loss(self, logits: torch.Tensor, targets: torch.Tensor, loss: Loss) -> torch.Tensor:
        """Losses, float [rows], or [sequences, tokens] where every token counts for itself (0 where IGNORED).

        logits [rows, outputs], [sequences, tokens, outputs], or embeddings [rows, sequences a row, width] of a whole
        batch; targets [rows, numbers a row] or [sequences, tokens], padded with IGNORED.
        """

    def decode(self, logits: Logits, encoded: Encoded, rows: Sequence[Row]) -> list[Prediction]:
        """JSON-ready predictions, one a row."""

    def columns(self) -> pa.Schema:
        """The columns of a predictions table that hold a prediction, by its own names; `confidence` is beside them."""

    def tune(self, logits: Logits, encoded: Encoded, rows: Sequence[Row], truths: Sequence[Any]) -> Self:
        """The task with what it decides by (thresholds, scales) fitted on the validation split."""

    def confidence(self, prediction: Prediction) -> float:
        """How sure the model is of the whole row, 0 to 1; 0 where there is `no_prediction`."""

    def scorer(self, truths: Sequence[Any], predictions: Sequence[Prediction], rows: Sequence[Row]) -> Scorer: ...

    def sample_rows(self) -> list[dict[str, Any]]:
        """Neutral rows for the signature and the input example: never rows of the training data."""


def whole_text(row: Row) -> str:
    """All that a row's texts say, for looking at them as one."""
    return "\n".join(row[name] for name in TEXTS if row.get(name) is not None)


def is_blank(text: str) -> bool:
    """Nothing to read: no character, or none but white space and invisible ones."""
    return not text.strip() or all(map(_is_invisible, text))


def _is_invisible(character: str) -> bool:
    return unicodedata.category(character) in ("Cc", "Cf", "Zs", "Zl", "Zp") or bool(FILLERS.match(character))


def missing(value: object) -> bool:
    """Null, NaN or a blank string. An empty list is a value: a sentence without entities."""
    return (
        value is None or (isinstance(value, float) and value != value) or (isinstance(value, str) and is_blank(value))
    )


def complete_texts(table: pa.Table) -> list[str | None]:
    """Each row's `whole_text`; None where one of its texts is missing or blank."""
    sides = [table[name].to_pylist() for name in TEXTS if name in table.column_names]
    return [None if any(missing(text) for text in texts) else "\n".join(texts) for texts in zip(*sides, strict=True)]


def read_row(inputs: Mapping[str, Kind], row: Any, at: int) -> dict[str, Any]:
    """A row as somebody gave it, checked against the task's inputs. Raises DataError naming the row and the input.

    A text alone stands for a row whose only needed input it is. Words given for a text are joined by one space.
    """
    needed = [name for name, kind in inputs.items() if kind == "text"]
    if isinstance(row, str):
        row = {needed[0]: row}
    if not isinstance(row, Mapping):
        raise DataError(f"row {at} is {type(row).__name__}, not a text or a mapping", f'give {{"{needed[0]}": "…"}}')
    _refuse_misspelt(inputs, row, at)
    read: dict[str, Any] = {}
    for name, kind in inputs.items():
        value = row.get(name)
        if kind == "words":
            if value is not None:
                if not isinstance(value, Sequence) or isinstance(value, str):
                    raise DataError(
                        f"row {at}: {name!r} is {type(value).__name__}, not a list of words", _wanted(inputs)
                    )
                value = [_word(word, at, name) for word in value]
                read["text"] = " ".join(value)
        elif kind in ("text", "optional text"):
            missing = kind == "text" and not any(row.get(other) is not None for other in _stands_for(name, inputs))
            if missing and name not in row:
                raise DataError(f"row {at} has no {name!r}", _wanted(inputs))
            if missing or (value is not None and not isinstance(value, str)):
                what = "null" if value is None else f"{type(value).__name__}, not a string"
                raise DataError(
                    f"row {at}: {name!r} is {what}",
                    "leave out rows without text" if value is None else _wanted(inputs),
                )
            if value is not None and not value.isascii():
                _check_unicode(value, at, name)
        elif kind == "number":
            value = None if value is None else _number(value, at, name)
        else:
            value = _category(value, at, name)
        read.setdefault(name, value)
    return read


def _check_unicode(text: str, at: int, name: str) -> None:
    """No tokenizer, table or answer can hold half of a surrogate pair, as a text that was cut in UTF-16 may end in."""
    try:
        text.encode()
    except UnicodeEncodeError as failure:
        what = f"character {failure.start} is half of a surrogate pair"
        raise DataError(f"row {at}: {name!r} is no Unicode text: {what}", "leave that character out") from None


def _word(value: Any, at: int, name: str) -> str:
    try:
        if value is None or _is_collection(value):
            raise TypeError
        word = str(value)
    except (TypeError, ValueError):  # ValueError: a whole number of thousands of digits
        what = f"row {at}: {name!r} holds {type(value).__name__}, not a word"
        raise DataError(what, "give a list of strings") from None
    _check_unicode(word, at, name)
    return word


def _number(value: Any, at: int, name: str) -> float | None:
    try:
        if not hasattr(value, "__float__"):  # float() would read strings as well
            raise TypeError
        number = float(value)
    except OverflowError:  # a whole number that no float holds, as 1e400 is none
        return None
    except (TypeError, ValueError):
        what = f"row {at}: {name!r} is {type(value).__name__}, not a number"
        raise DataError(what, "give a number or null") from None
    return number if math.isfinite(number) else None


def _category(value: Any, at: int, name: str) -> str | None:
    try:
        if _is_collection(value):
            raise TypeError
        found = category(value)
    except (TypeError, ValueError):
        what = f"row {at}: {name!r} is {type(value).__name__}, which names no category"
        raise DataError(what, "give a string, a number, true, false or null") from None
    if found is not None and not found.isascii():
        _check_unicode(found, at, name)
    return found


def _is_collection(value: Any) -> bool:
    return not isinstance(value, (str, bytes)) and hasattr(value, "__iter__")


def lacks(inputs: Mapping[str, Kind], row: Row) -> bool:
    """Whether a text that the task needs is not there or blank, so that nothing can be predicted for the row."""
    for name, kind in inputs.items():
        if kind == "text":  # words go before the text that they make
            given = [row[other] for other in reversed(_stands_for(name, inputs)) if row.get(other) is not None]
            if not given or _says_nothing(given[0]):
                return True
        elif kind == "optional text" and row.get(name) is not None and _says_nothing(row[name]):
            return True
    return False


def _says_nothing(text: Any) -> bool:
    return missing(" ".join(map(str, text)) if isinstance(text, list | tuple) else text)


def no_prediction(task: Task) -> Prediction:
    """What answers a row that `lacks` a text: all that is predicted is null."""
    return {**dict.fromkeys(task.columns().names), "confidence": 0.0, "abstain": True}


def _refuse_misspelt(inputs: Mapping[str, Kind], row: Row, at: int) -> None:
    """Columns that nobody asked for do no harm, nor does an optional text that is not there; but the name of one may
    be meant to be the other."""
    absent = [name for name in inputs if name not in row]
    if not absent:
        return
    # Looking for near names takes long; a row of half a million columns is none that somebody misspelt.
    unknown = [str(name) for name in islice((name for name in row if name not in inputs), 100)]
    for name in absent:
        beside = inputs[name] in ("number", "category")  # nothing else tells that it was left out
        meant = unknown if beside else get_close_matches(name, unknown, n=1)
        if meant:
            raise DataError(f"row {at} has {meant[0]!r}, which is no input, and lacks {name!r}", _wanted(inputs))


def category(value: Any) -> str | None:
    """A category as text, the same from a table of any type and from JSON: true and 1, never True and 1.0."""
    if value is None or value != value:
        return None
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    return str(value)


def _wanted(inputs: Mapping[str, Kind]) -> str:
    shown = {"words": "[…]", "number": "3"}
    return "give {" + ", ".join(f'"{name}": ' + shown.get(kind, '"…"') for name, kind in inputs.items()) + "}"


def _stands_for(name: str, inputs: Mapping[str, Kind]) -> list[str]:
    """The inputs that a text can come from: itself, or its words."""
    return [name, *(other for other, kind in inputs.items() if kind == "words" and name == "text")]


def needed(columns: Mapping[str, Any], *roles: str) -> list[str]:
    """The names of the columns that play these roles; ProjectError where one is not mapped."""
    missing = [role for role in roles if role not in columns]
    if missing:
        raise ProjectError(
            f"data.columns does not say which column is the {' and the '.join(missing)}",
            "for example " + ", ".join(f"columns: {{{role}: name_of_the_{role}_column}}" for role in missing),
        )
    return [columns[role] for role in roles]


def column(table: pa.Table, name: str, role: str) -> pa.ChunkedArray:
    if name not in table.column_names:
        raise DataError(f"the table has no column {name!r} (data.columns.{role})", nearest(name, table.column_names))
    return table.column(name)


def text_column(table: pa.Table, name: str, role: str) -> pa.ChunkedArray:
    import pyarrow as pa

    found = column(table, name, role)
    if pa.types.is_null(found.type):
        return found.cast(pa.string())
    if not (
        pa.types.is_string(found.type) or pa.types.is_large_string(found.type) or pa.types.is_string_view(found.type)
    ):
        first = list({str(value): value for value in found.slice(0, 100).to_pylist() if value is not None}.values())[:3]
        raise DataError(
            f"the column {name!r} (data.columns.{role}) holds {shown(found.type)}, not text; the first values: "
            f"{shown(first)}",
            "name the column that holds the text",
        )
    return found.cast(pa.string())


def label_column(table: pa.Table, name: str, role: str) -> pa.ChunkedArray:
    """One class a row, as strings; whole numbers that became floats because some are missing are whole again, but for
    those that have more digits than a float holds."""
    import pyarrow as pa
    import pyarrow.compute as pc

    label = column(table, name, role)
    if pa.types.is_floating(label.type):
        label = label.cast(pa.float64())
        known = pc.if_else(pc.is_finite(label), label, None)
        fractions = pc.filter(known, pc.not_equal(known, pc.floor(known)))
        if len(fractions):
            raise DataError(
                f"the column {name!r} (data.columns.{role}) holds fractions, such as "
                f"{shown(pc.unique(fractions).slice(0, 3).to_pylist())}",
                "name a column of classes: strings, whole numbers or booleans",
            )
        short = known.cast(pa.int64(), safe=False).cast(pa.string())
        label = pc.if_else(pc.less(pc.abs(known), EXACT), short, known.cast(pa.string()))
    if pa.types.is_nested(label.type) or pa.types.is_binary(label.type):
        raise DataError(
            f"the column {name!r} (data.columns.{role}) holds {shown(label.type)}, not one class a row",
            "name a column of strings, whole numbers or booleans; of lists with one label each, SQL takes it out: "
            f"select {name}[1] as {name}, …",
        )
    return label.cast(pa.string())


@dataclass
class Problems:
    """The places where a column holds what it should not: counted, the first few kept."""

    count: int = 0
    first: list[str] = field(default_factory=list)

    def add(self, place: str) -> None:
        self.count += 1
        if self.count <= 5:
            self.first.append(place)

    def refuse(self, name: str, role: str, remedy: str) -> None:
        """Raises DataError where there are any."""
        if self.count:
            places = f"{self.count} place{'s' * (self.count > 1)}"
            shown = "\n  ".join(self.first)
            raise DataError(f"the column {name!r} (data.columns.{role}) is wrong in {places}:\n  {shown}", remedy)


def in_order(labels: set[str]) -> tuple[str, ...]:
    """Labels sorted; whole numbers in their own order, since "10" comes after "2", and 01 before 1."""
    if all(map(WHOLE_NUMBER.fullmatch, labels)):
        return tuple(sorted(labels, key=lambda label: (Decimal(label), label)))
    return tuple(sorted(labels))


def _no_numbers(found: pa.ChunkedArray, name: str, role: str) -> DataError:
    """The error for a column that holds no numbers; of text, with the values that are none."""
    import pyarrow as pa

    from lakewright.data.sources.written import NUMBERS, misfits

    cause = f"the column {name!r} (data.columns.{role}) holds {shown(found.type)}, not numbers"
    if not (pa.types.is_string(found.type) or pa.types.is_large_string(found.type)):
        return DataError(cause, "name a column of numbers, or cast it in SQL")
    known = [value for value in found.to_pylist() if value is not None]
    odd = misfits([(known, [""] * len(known))], NUMBERS)
    if odd.count:
        return DataError(f"{cause}: {odd}", "name another column, or correct the values and cast them in SQL")
    return DataError(
        cause, f"cast it in SQL, or read it as numbers: data.options.types: {{{name}: double}} (csv, json)"
    )


def number_column(table: pa.Table, name: str, role: str) -> pa.ChunkedArray:
    """As float64, null where there is no number. Raises DataError for columns of something else."""
    import pyarrow as pa
    import pyarrow.compute as pc

    found = column(table, name, role)
    if found.null_count == len(found):  # of whichever type: an empty column of a csv file is one of strings
        found = found.cast(pa.null())
    kind = found.type
    if not (
        pa.types.is_integer(kind)
        or pa.types.is_floating(kind)
        or pa.types.is_decimal(kind)
        or pa.types.is_boolean(kind)
        or pa.types.is_null(kind)
    ):
        raise _no_numbers(found, name, role)
    values = found.cast(pa.float64(), safe=False)  # whole numbers of more digits than a float holds are rounded
    return pc.if_else(pc.is_finite(values), values, None)
