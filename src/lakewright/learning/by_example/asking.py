"""From examples to one expression: where candidates differ on the table, somebody is asked for one more example."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from lakewright.data.rows.inputs import ROLES
from lakewright.data.rows.kinds import Kind
from lakewright.errors import Ambiguous, UsageError, shown
from lakewright.learning.by_example.examples import Examples, Wanted, read
from lakewright.learning.by_example.search import Outcome, search
from lakewright.learning.by_example.tables import Compared, compare, sample

if TYPE_CHECKING:
    import pyarrow as pa

WANT = "want"  # the key of the wanted value in an example
QUESTIONS = 30  # at most
OFFERED = 8  # candidates in one question


@dataclass(frozen=True)
class Question:
    """`candidates` fit every example and differ: `values` [rows][candidates] are what they give for these `rows`."""

    candidates: tuple[str, ...]  # the smallest first
    rows: tuple[dict[str, Any], ...]
    values: tuple[tuple[Any, ...], ...]
    differing: int  # rows of the table in which they differ
    table_rows: int


Answer = Mapping[str, Any] | str | None
"""One more example, or one of the candidates, or None: no answer."""
Ask = Callable[[Question], Answer]


@dataclass(frozen=True)
class Derived:
    """`expression` gives every wanted value; `others` are expressions that agree with it on every row of the table."""

    table: str
    name: str  # of the new input
    kinds: dict[str, Kind]  # of the inputs
    expression: str
    type: Wanted
    others: tuple[str, ...]
    examples: int
    table_rows: int
    computed: int  # expressions that were tried
    note: str | None  # what the search left out

    @property
    def settings(self) -> dict[str, Any]:
        """What project.yml needs: the step, and the roles of its inputs, which keep the form that the table stores."""
        roles = {role: [name for name, own in self.kinds.items() if own == kind] for kind, role in ROLES.items()}
        step = {"step": "derive", "inputs": [*self.kinds], "columns": {self.name: self.expression}}
        return {
            "data": {"columns": {role: names for role, names in roles.items() if names}},
            "prepare": {"recipe": {self.name: step}},
        }


def derive(
    examples: Sequence[Mapping[str, Any]],
    kinds: Mapping[str, Kind],
    table: str,
    batches: Callable[[], Iterator[pa.RecordBatch]],
    *,
    name: str = "derived",
    type: str | None = None,
    ask: Ask | None = None,
) -> Derived:
    """Raises UsageError if the examples are wrong or nothing fits, Ambiguous if several expressions do and nobody
    answers. `batches` streams the table's inputs from the begin, each time."""
    rows = sample(batches(), kinds)
    shown_examples, wanted = list(examples), type
    for _ in range(QUESTIONS):
        own = read([_pair(each, place) for place, each in enumerate(shown_examples, 1)], kinds, wanted)
        outcome = search(own, rows)
        compared = compare([each.expression for each in outcome.candidates], kinds, batches())
        if len(compared.groups) == 1:
            return _derived(table, name, own, outcome, compared, compared.groups[0])
        question = _question(outcome, compared)
        answer = None if ask is None else ask(question)
        if answer is None:
            raise _ambiguous(table, question, own)
        if isinstance(answer, str):
            for group in compared.groups:
                if outcome.candidates[group[0]].expression == answer:
                    return _derived(table, name, own, outcome, compared, group)
            raise UsageError(f"{answer!r} is none of the candidates", "answer with one of them, or with an example")
        shown_examples.append(answer)
        wanted = own.type  # of one more value the type is no longer open
    raise _ambiguous(table, question, own)


def _pair(example: Mapping[str, Any], place: int) -> tuple[Mapping[str, Any], Any]:
    if not isinstance(example, Mapping):
        raise UsageError(f"example {place} is {shown(example)}", f'write {{"name": "Ann Lee", "{WANT}": "Lee"}}')
    if WANT not in example:
        raise UsageError(f"example {place} does not tell what is wanted", f'add "{WANT}": its wanted value')
    return {name: value for name, value in example.items() if name != WANT}, example[WANT]


def _derived(
    table: str, name: str, examples: Examples, outcome: Outcome, compared: Compared, group: tuple[int, ...]
) -> Derived:
    first, *others = (outcome.candidates[place].expression for place in group)
    note = None
    if outcome.cut:
        note = f"the search stopped after {outcome.computed:,} expressions: a smaller one than this may fit, too"
    return Derived(
        table, name, dict(examples.kinds), first, examples.type, tuple(others), len(examples), compared.table_rows,
        outcome.computed, note,
    )  # fmt: skip


def _question(outcome: Outcome, compared: Compared) -> Question:
    candidates = tuple(outcome.candidates[group[0]].expression for group in compared.groups[:OFFERED])
    values = tuple(row[:OFFERED] for row in compared.values)
    return Question(candidates, compared.rows, values, compared.differing, compared.table_rows)


def _ambiguous(table: str, question: Question, examples: Examples) -> Ambiguous:
    listed = "; ".join(f"({place}) {text}" for place, text in enumerate(question.candidates, 1))
    rows = [
        f"{', '.join(f'{name} = {shown(value)}' for name, value in row.items())}: "
        + ", ".join(f"({place}) {shown(value)}" for place, value in enumerate(values, 1))
        for row, values in zip(question.rows, question.values, strict=True)
    ]
    cause = (
        f"several expressions fit {_counted(examples)} and differ in {question.differing:,} of "
        f"{question.table_rows:,} rows of {table}: {listed}. Rows in which they differ: {' | '.join(rows)}"
    )
    listed_rows = [
        {"row": row, "values": list(values)} for row, values in zip(question.rows, question.values, strict=True)
    ]
    return Ambiguous(cause, "add an example of one of these rows", list(question.candidates), listed_rows)


def _counted(examples: Examples) -> str:
    return "the one example" if len(examples) == 1 else f"all {len(examples)} examples"
