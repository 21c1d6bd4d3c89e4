"""How far an input is scored: numbers in Delta's application transactions, committed together with the predictions.

So a chunk of predictions and the note of it are one commit. If two processes continue from the same note, one commits
and the other is refused.
https://github.com/delta-io/delta/blob/master/PROTOCOL.md#transaction-identifiers
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, fields
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from lakewright.data.lake.tables import Lake

ALL, ADDED, MISSING = 0, 1, 2  # which rows of the version: every one, those appended since, those without predictions


@dataclass(frozen=True)
class Progress:
    done: int  # the input's version that is completely scored; -1: none
    target: int  # the version that is being scored; the same as `done` between two jobs
    rows: int  # rows of the job that are scored
    kind: int  # of the job
    model: int  # the first 60 bits of the digest of the model that began it
    explain: int | None = None  # reasons a row; None: none, and none was ever noted, as before there were any
    columns: int | None = (
        None  # of the columns that the job reads and writes, `predictions.fingerprint`; None: as above
    )

    @property
    def under_way(self) -> bool:
        return self.target != self.done


def application(input_id: str) -> str:
    return f"lakewright.score.{input_id}"


def read(lake: Lake, output: str, app: str) -> Progress | None:
    """The progress of this input in the table; None if none of its rows was scored into it."""
    transactions = lake.transactions(output, [f"{app}.{field.name}" for field in fields(Progress)])
    *needed, explain, columns = transactions.values()
    numbers = [number for number in needed if number is not None]
    if len(numbers) < len(needed):
        return None
    done, target, rows, kind, model = numbers
    return Progress(done, target, rows, kind, model, explain, columns)


def step(app: str, before: Progress | None, after: Progress) -> dict[str, tuple[int | None, int]]:
    """The transactions that lead from one to the other, for `Lake.write`."""
    numbers = {} if before is None else asdict(before)
    noted = {name: value for name, value in asdict(after).items() if value is not None}
    return {f"{app}.{name}": (numbers.get(name), value) for name, value in noted.items()}
