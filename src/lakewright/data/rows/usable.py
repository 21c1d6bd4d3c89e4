"""The usable rows, found while the table is streamed: rows without a text or a truth are left out."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from lakewright.data.rows.contents import BROKEN, VERY_LONG
from lakewright.data.rows.keys import digests
from lakewright.data.rows.kinds import missing
from lakewright.data.rows.quality import EXAMPLES, Rows, counted, cut, input_names, truth_name
from lakewright.data.sources.written import quoted
from lakewright.errors import DataError
from lakewright.records import Finding

if TYPE_CHECKING:
    import pyarrow as pa

    from lakewright.data.rows.contents import Contents
    from lakewright.settings.sections import Columns


@dataclass
class Tally:
    """Rows with one problem: their count, and the first few with a value."""

    count: int = 0
    first: list[tuple[int, str]] = field(default_factory=list)

    def add(self, rows: Rows, matches: npt.NDArray[np.bool_], values: Sequence[object]) -> None:
        places = np.flatnonzero(matches)
        self.count += len(places)
        self.first += [(int(rows[i]), cut(values[i])) for i in places[: EXAMPLES - len(self.first)]]

    def merge(self, later: Tally) -> None:
        self.count += later.count
        self.first += later.first[: EXAMPLES - len(self.first)]

    def finding(self, name: str, detail: str) -> list[Finding]:
        """One, or none if there are no such rows."""
        if not self.count:
            return []
        examples = [f"row {row}: {value}" for row, value in self.first]
        return [Finding(name=name, count=self.count, detail=f"{counted(self.count, 'row')} {detail}", rows=examples)]


@dataclass
class Usable:
    """Reads all rows in order, a batch at a time, returns which are usable, and in the end the findings."""

    columns: Columns
    rows: int = 0
    texts: int = 0  # rows with a text
    truths: int = 0
    both: int = 0
    blanks: Counter[tuple[str, str]] = field(default_factory=Counter)  # (role, column) → rows without a value in it
    without_text: Tally = field(default_factory=Tally)
    without_truth: Tally = field(default_factory=Tally)
    incomplete: Tally = field(default_factory=Tally)  # rows that lack a required input
    very_long: Tally = field(default_factory=Tally)
    without_id: Tally = field(default_factory=Tally)
    infinite: dict[tuple[str, str], Tally] = field(default_factory=lambda: defaultdict(Tally))  # by role and column
    broken: dict[str, Tally] = field(default_factory=lambda: {name: Tally() for name in BROKEN})
    ids: list[npt.NDArray[np.int64]] = field(default_factory=list)  # their digests
    without_weight: Tally = field(default_factory=Tally)

    def merge(self, later: Usable) -> None:
        """Adds what was found in the rows after these."""
        for name in ("rows", "texts", "truths", "both"):
            setattr(self, name, getattr(self, name) + getattr(later, name))
        self.blanks.update(later.blanks)
        for name in ("without_text", "without_truth", "incomplete", "very_long", "without_id", "without_weight"):
            getattr(self, name).merge(getattr(later, name))
        for each, tally in later.infinite.items():
            self.infinite[each].merge(tally)
        for name, tally in later.broken.items():
            self.broken[name].merge(tally)
        self.ids += later.ids

    def usable_rows(
        self,
        rows: Rows,
        contents: Contents,
        truths: Sequence[object],
        has_truth: npt.NDArray[np.bool_],
        ids: Sequence[Hashable] | None,
        lacking: Sequence[str] = (),
    ) -> npt.NDArray[np.bool_]:
        """Which of these rows are usable; `rows` are their numbers, `truths` labels, lists of tags, …, one a row, and
        `lacking` the required inputs that a row lacks, empty if it has all."""
        n, texts, has_text = len(rows), contents.texts, contents.is_usable
        self.without_text.add(rows, ~has_text, truths)
        self.without_truth.add(rows, ~has_truth, texts)
        self.very_long.add(rows, contents.very_long, texts)
        for name, matches in contents.broken.items():
            self.broken[name].add(rows, matches, texts)
        if ids is not None:
            self.without_id.add(rows, np.fromiter(map(missing, ids), np.bool_, n), ids)
            self.ids.append(digests(ids))
        usable = has_text & has_truth
        if lacking:
            complete = np.fromiter((not each for each in lacking), np.bool_, n)
            self.incomplete.add(rows, usable & ~complete, lacking)
            usable &= complete
        self.rows += n
        self.texts += int(has_text.sum())
        self.truths += int(has_truth.sum())
        self.both += int(usable.sum())
        return usable

    def weights(self, rows: Rows, column: pa.ChunkedArray) -> npt.NDArray[np.float64]:
        """[rows] Those of `columns.weight`. Raises DataError for a column that holds no numbers."""
        import pyarrow as pa
        import pyarrow.compute as pc

        kind = column.type
        if not (pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_decimal(kind)):
            raise DataError(
                f"the column {self.columns.weight!r} (data.columns.weight) holds {kind}, not numbers",
                "name a column of numbers above 0",
            )
        weights = np.asarray(pc.fill_null(pc.cast(column, pa.float64()), np.nan).to_numpy(), np.float64)
        self.without_weight.add(rows, ~(np.isfinite(weights) & (weights > 0)), column.to_pylist())
        return weights

    def findings(self, ids_at: Callable[[Rows], Sequence[Hashable]]) -> list[Finding]:
        """Raises DataError for an empty table, for missing or repeated ids, for columns without any value, for infinite
        numbers, and if no row has both a text and a truth. `ids_at` returns the ids of these rows (ascending); it is
        called if hashes repeat."""
        text_column, label_column = input_names(self.columns, "or"), truth_name(self.columns)
        if self.rows == 0:
            raise DataError(f"the table has no rows (column {text_column})", "check that its source has rows")
        if self.ids:
            self._require_unique(ids_at)
        for (role, name), count in self.blanks.items():
            if count == self.rows:
                raise DataError(
                    f"the column {name!r} (data.columns.{role}) is empty in all {counted(count, 'row')}",
                    f"remove it from data.columns.{role}, or check how the source was read (data.options)",
                )
        if self.without_weight.count:
            examples = ", ".join(f"row {row}: {value}" for row, value in self.without_weight.first)
            raise DataError(
                f"the column {self.columns.weight!r} (data.columns.weight) has no number above 0 in "
                f"{counted(self.without_weight.count, 'row')} ({examples})",
                "give them one, or leave these rows out in SQL",
            )
        for (role, name), tally in self.infinite.items():
            if tally.count:
                examples = ", ".join(f"row {row}: {value}" for row, value in tally.first)
                sql = quoted(name)
                raise DataError(
                    f"the column {name!r} (data.columns.{role}) is infinite in {counted(tally.count, 'row')} "
                    f"({examples})",
                    f"correct the numbers at the source, or make them null in SQL: if(isinf({sql}), null, {sql})",
                )
        for column, count, more in ((text_column, self.texts, ""), (label_column, self.truths, self._blank_columns())):
            if not count:
                raise DataError(
                    f"column {column} is empty in all {counted(self.rows, 'row')}{more}",
                    "name the right column under data.columns, or check how the source was read (data.options)",
                )
        if not self.both and self.incomplete.count:
            raise DataError(
                f"every row lacks an input that prepare.drop_missing names, such as {self.incomplete.first[0][1]}",
                "take out the names of inputs that are mostly missing",
            )
        if not self.both:
            raise DataError(
                f"no row has a value in both columns {text_column} and {label_column}", "check how the table was joined"
            )
        return [
            *self.without_text.finding(
                "empty_text",
                f"without a value in column {text_column} left out: fill them in at the source if they matter.",
            ),
            *self.without_truth.finding(
                "missing_label",
                f"of {self.rows:,} without a value in column {label_column} left out{self._blank_columns()}: label "
                "them to learn from them.",
            ),
            *self.incomplete.finding(
                "dropped_missing",
                f"of {self.rows:,} without an input of prepare.drop_missing left out of all splits: metrics describe "
                "rows that have it.",
            ),
            *self.very_long.finding(
                "very_long_text",
                f"of more than {VERY_LONG:,} characters in column {text_column}: a model reads only the first "
                "max_length tokens of each. Split them into parts, or check whether a separator was missed.",
            ),
            *(
                finding
                for name, (_, detail) in BROKEN.items()
                for finding in self.broken[name].finding(name, f"in column {text_column} {detail}")
            ),
        ]

    def _blank_columns(self) -> str:
        """The missing values of each truth column, if there are several."""
        blank_columns = [
            (name, count) for (role, name), count in self.blanks.most_common() if role in self.columns.truths and count
        ]
        return "".join(f", {name!r} is blank in {count:,}" for name, count in blank_columns[:EXAMPLES])

    def _require_unique(self, ids_at: Callable[[Rows], Sequence[Hashable]]) -> None:
        column = self.columns.id or "id"
        remedy = (
            f"make {column!r} unique, name another column under data.columns.id, or none: then the row number is the id"
        )
        without = self.without_id
        if without.count:
            examples = ", ".join(f"row {row}" for row, _ in without.first)
            raise DataError(f"column {column!r} has no id in {counted(without.count, 'row')} ({examples})", remedy)
        hashes = np.concatenate(self.ids)
        self.ids.clear()
        in_order = np.sort(hashes)
        repeated = in_order[1:][in_order[1:] == in_order[:-1]]
        if not len(repeated):
            return
        suspects = np.flatnonzero(np.isin(hashes, repeated))
        first_row: dict[Hashable, int] = {}
        repeats: list[tuple[Hashable, int]] = []
        for row, value in zip(suspects.tolist(), ids_at(suspects), strict=True):  # two ids may share a hash
            if first_row.setdefault(value, row) != row:
                repeats.append((value, row))
        if repeats:
            examples = ", ".join(f"{value!r} (rows {first_row[value]} and {row})" for value, row in repeats[:EXAMPLES])
            raise DataError(f"column {column!r} repeats an id in {counted(len(repeats), 'row')}: {examples}", remedy)
