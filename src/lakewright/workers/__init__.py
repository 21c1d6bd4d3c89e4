"""Where parts of work run: in processes of this machine, or wherever another package's workers are.

Work is cut into parts by whoever has it; workers compute a function of each, and give the results in the order of the
parts, however many are computed at once. A profile picks them: `workers: {name: local, processes: 4}`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import ClassVar, Protocol, Self, TypeVar

from lakewright.settings.profile import WorkersSettings

P = TypeVar("P")
R = TypeVar("R", covariant=True)


class Results(Iterator[R], Protocol[R]):
    """The results, in the order of the parts. The error of a part is raised at its turn; `next` called once more goes
    on with the part after it."""

    def close(self) -> None:
        """Ends at once what is being computed."""


class Workers(Protocol):
    settings: ClassVar[type[WorkersSettings]]

    @classmethod
    def open(cls, settings: WorkersSettings, threads: int) -> Self:
        """`threads` are those of the machine that may be used, or of each machine where there are several."""

    @property
    def processes(self) -> int:
        """How many parts are computed at once, at most."""

    @property
    def opens_files(self) -> bool:
        """Whether a worker may open the files of a table; where not, rows come with the parts."""

    def reach(self, folder: Path) -> None:
        """Raises UsageError where a worker does not see a folder of this machine that parts read or write."""

    def bring(self, folder: Path) -> Callable[[], Path]:
        """The folder of this machine, with all its files, where a part calls for it. Nobody changes it meanwhile.
        Raises UsageError where it cannot be brought."""

    def threads(self, ahead: int) -> int:
        """The threads that each part may use where `ahead` parts are drawn before their turn."""

    def map(self, function: Callable[[P], R], parts: Iterable[P], *, ahead: int) -> Results[R]:
        """The function's result for each part, in order. Part n is drawn from `parts` only when the result of part
        n − ahead was taken, so that a part may depend on the results before it, and does so in the same way however
        many processes there are.

        The function may be a closure; it, parts and results are sent to other processes. What it prints goes to
        stderr. A process that dies (killed, or out of memory) is replaced, and its part computed once more; the second
        time the part's error is WorkerDied.
        """
