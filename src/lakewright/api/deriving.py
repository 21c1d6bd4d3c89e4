"""Derive by example: the expression that a few rows with their wanted values call for."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from lakewright.api.places import opened
from lakewright.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Iterator

    import pyarrow as pa

    from lakewright.learning.by_example.asking import Ask, Derived


def derive(
    table: str,
    *,
    examples: Sequence[Mapping[str, Any]],
    inputs: Sequence[str] = (),
    name: str = "derived",
    type: str | None = None,
    ask: Ask | None = None,
    profile: str | None = None,
) -> Derived:
    """The smallest expression over the columns `inputs` of `a.b.c`, or of `a.b.c@v3`, that gives every wanted value: of
    the language of the recipe's step `derive`. `settings` of the result is what project.yml needs for it.

    Each example holds its inputs and, as `want`, the value wanted of them; `inputs` are by default those that examples
    hold. `type` is `text`, `number` or `truth`; by default it follows from what is wanted. `name` is that of the new
    input. Where expressions fit and differ in rows of the table, `ask` is called with a `Question`; it returns one more
    example, one of the question's candidates, or None.

    Raises Ambiguous where nobody answers, UsageError if the examples are wrong or no expression fits, NotFound if the
    table does not exist, DataError for a column that no expression reads.
    """
    from lakewright.learning.by_example import asking, written
    from lakewright.learning.by_example.tables import kinds_of

    names = list(dict.fromkeys(inputs)) or written.inputs_of(examples)
    if not names:
        raise UsageError(
            "no input is named",
            f'name one (--input), or give examples such as {{"name": "Ann Lee", "{asking.WANT}": "Lee"}}',
        )
    if asking.WANT in names:
        raise UsageError(f"an input is called {asking.WANT!r}, as the wanted value is", "rename the column first")
    lake = opened(profile).lake
    pinned = lake.version(table)
    schema = lake.scan(pinned).schema
    if not name or name in schema.names:
        raise UsageError(f"the new input cannot be called {name!r}", "give it a name that no column has (--name)")
    kinds = kinds_of(schema, names, str(pinned))

    def batches() -> Iterator[pa.RecordBatch]:
        yield from lake.scan(pinned, names)

    return asking.derive(examples, kinds, str(pinned), batches, name=name, type=type, ask=ask)
