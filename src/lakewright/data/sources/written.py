"""Values written as text, in csv files and in names of folders: the type that fits all values of a column, and values
that have two written forms.
"""

from __future__ import annotations

import json
import re
import tempfile
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from lakewright.data.sources.words import PLACEHOLDERS, Seen, are_words, read_as_missing, without_words
from lakewright.errors import shown
from lakewright.records import Finding

if TYPE_CHECKING:
    import pyarrow as pa

    from lakewright.data.sources import Intake

_WHOLE = r"(0|[1-9][0-9]{0,17})"
_TIME = r"[0-9]{4}-[0-9]{2}-[0-9]{2}[ T][0-9]{2}:[0-9]{2}(:[0-9]{2}([.][0-9]{1,9})?)?"
# Tried in this order. A number with leading zeros is a code and stays text; so does one too long for 64 bits, and a
# whole number after a plus sign, which is a telephone number.
_PATTERNS = {
    "boolean": r"^(true|false|True|False|TRUE|FALSE)$",
    "bigint": rf"^-?{_WHOLE}$",
    "double": rf"^(-?{_WHOLE}|[+-]?({_WHOLE}?[.][0-9]+|{_WHOLE}[.]))([eE][+-]?[0-9]{{1,2}})?$",
    "date": r"^[0-9]{4}-[0-9]{2}-[0-9]{2}$",
    "timestamp_ntz": rf"^{_TIME}$",
    "timestamp": rf"^{_TIME}(Z|[+-][0-9]{{2}}:?[0-9]{{2}})$",
}
NUMBERS = ("bigint", "double")
_TIMES = ("date", "timestamp_ntz", "timestamp")
TIMES = (*_TIMES, *NUMBERS)
_LONG_WHOLE = r"^-?[0-9]{16,}([.]0*)?$"  # may have more digits than a double keeps
_COMMA = r"[+-]?[0-9]+,[0-9]+"
_GROUPED = r"[+-]?[0-9]{1,3}(,[0-9]{3})+([.][0-9]+)?"  # 1,234.50
_NOT_ISO = r"[0-9]{1,2}([./-])[0-9]{1,2}\1[0-9]{2}([0-9]{2})?\b.*"  # day first or month first: unknown

# Forms for which other digits mean another value: a double distinguishes 15 digits of these.
_SIMPLE = {
    "boolean": "",
    "bigint": "^(-?[1-9]|0$)",
    "double": r"^-?[0-9.]{1,16}$",
    "timestamp_ntz": "",
    "timestamp": r"(Z|[+]00:?00)$",
}
_EXAMPLES = 5
_LISTED = 20  # different values that a remedy may list
_MEMORY = "1GB"  # of DuckDB, before it spills


@dataclass
class _Forms:
    """The written forms in a column's batches so far.

    `exact`: no whole number may lose its last digits as a double. `plain`: every value has its usual form, so that no
    value has two forms; `pointed`: the same, with the `.0` of whole numbers, as Python writes floats. `shapes`: the
    other forms, with 9 for every digit (two are enough); values with the same shape differ if they are `simple`.
    `words` mean a missing value if all others are numbers or times; `declared` ones are. `seen` are those so far.
    """

    exact: bool
    words: frozenset[str] = frozenset()
    declared: bool = False
    seen: Seen = field(default_factory=Seen)
    possible: list[str] = field(default_factory=lambda: list(_PATTERNS))
    filled: bool = False
    plain: bool = True
    pointed: bool = True
    simple: bool = True
    shapes: set[str] = field(default_factory=set)
    cut: int = 0

    def add(self, column: pa.Array, first_row: int) -> None:
        """A batch of the column, whose first value is of this row."""
        import pyarrow.compute as pc

        if not self.possible and not self.declared:
            return
        values = empty_as_null(column).drop_null().unique()
        if self.words and pc.any(is_word := are_words(values, self.words)).as_py():
            self._see(column, values.filter(is_word), first_row)
            values = values.filter(pc.invert(is_word))
        if len(values) == 0 or not self.possible:
            return
        fits = [kind for kind in self.possible if _fit(values, kind)]
        if self.exact and "double" in fits and not _is_exact(values):
            fits.remove("double")
        if fits and self.filled and fits[0] != self.possible[0]:
            self.plain = self.pointed = self.simple = False  # earlier batches were compared with another type
        self.filled, self.possible = True, fits
        if not fits or fits[0] == "date":
            return
        usual = _usual(values, fits[0])
        zeros = pc.any(pc.ends_with(values, ".0")).as_py()
        self.plain &= usual and not zeros
        self.pointed &= usual and pc.all(pc.match_substring_regex(values, "[.e]")).as_py()
        if usual:
            self.shapes.update(["usual", ".0"] if zeros else ["usual"])
            return
        self.simple &= pc.all(pc.match_substring_regex(values, _SIMPLE[fits[0]])).as_py()
        if len(self.shapes) < 2:
            self.shapes.update(_shapes(values))
        if fits[0].startswith("timestamp"):
            self.cut += pc.sum(pc.match_substring_regex(column, r"[.][0-9]{6}[0-9]*[1-9]")).as_py() or 0

    def _see(self, column: pa.Array, words: pa.Array, first_row: int) -> None:
        import pyarrow.compute as pc

        places = pc.is_in(column, words)
        counts = {each["values"]: each["counts"] for each in column.filter(places).value_counts().to_pylist()}
        rows = pc.indices_nonzero(pc.fill_null(places, False))
        self.seen.add(counts, [f"row {first_row + row}" for row in rows.slice(0, _EXAMPLES).to_pylist()])

    @property
    def kind(self) -> str:
        if not self.filled:  # words alone stay as they are
            words = list(self.seen.counts)
            return next((kind for kind in self.possible if words and _fit(_texts(words), kind)), "string")
        fits = self.possible[0] if self.possible else "string"
        return "string" if self.seen.total and fits not in (*NUMBERS, *_TIMES) else fits

    @property
    def loses_words(self) -> bool:
        """Whether its words are read as missing."""
        return self.seen.total > 0 and (self.declared or (self.filled and self.kind != "string"))

    @property
    def may_coincide(self) -> bool:
        if self.kind in ("string", "date") or self.plain or (self.kind == "double" and self.pointed):
            return False
        return len(self.shapes) > 1 or not self.simple


def types_of(
    read: Callable[[Collection[str]], Iterator[pa.RecordBatch]],
    names: Sequence[str],
    notice: Callable[[Finding], object],
    by_value: Collection[str] = (),
    words: frozenset[str] = frozenset(),
    declared: Collection[str] = (),
) -> tuple[dict[str, str], set[str]]:
    """The type (by its SQL name) that fits all values of each column, even a late odd one, else string; and the columns
    whose `words` are read as missing: those whose other values are all numbers, or all times, and `declared` ones.

    `read` returns batches of text with these columns, from the start each time. Notices columns where a value has two
    written forms (except columns that are `by_value`: their forms have no meaning), those whose times lose their last
    digits, and the words.
    """
    forms = {name: _Forms(name not in by_value, words, name in declared) for name in names}
    row = 0
    for batch in read(names) if names else ():
        for name in names:
            forms[name].add(batch.column(name), row)
        row += batch.num_rows
    for name, column in forms.items():
        if column.kind.startswith("timestamp") and column.cut:
            notice(cut_times(name, column.cut))
        if column.may_coincide and name not in by_value:
            without = words if column.loses_words else frozenset[str]()
            for finding in _coinciding_forms(read([name]), name, column.kind, without):
                notice(finding)
    lost = {name: column.seen for name, column in forms.items() if column.loses_words}
    for finding in read_as_missing(lost):
        notice(finding)
    return {name: column.kind for name, column in forms.items()}, {*lost}


def typed_columns(columns: Mapping[str, pa.Array], intake: Intake) -> dict[str, pa.Array]:
    """Whole columns of text in the types that fit their values; columns to read as written stay text."""
    import pyarrow as pa

    batch = pa.record_batch(dict(columns)) if columns else pa.record_batch([], [])
    kinds, _ = types_of(lambda names: iter([batch]), [n for n in columns if n not in intake.as_written], intake.notice)
    return {name: typed(column, kinds.get(name, "string")) for name, column in columns.items()}


def typed(column: pa.Array, kind: str) -> pa.Array:
    """Text as values of a type by its SQL name; "" is null, since some writers quote even missing values. Raises
    pyarrow's ArrowInvalid if a value does not fit.

    Seconds have up to nine digits after the point, of which six are kept. A time without a zone is UTC if the type has
    a zone.
    """
    import pyarrow.compute as pc

    from lakewright.data.lake.types import named

    if kind == "string":
        return column
    values = empty_as_null(column)
    if kind.startswith("timestamp"):
        values = pc.replace_substring_regex(values, r"([.][0-9]{6})[0-9]{1,3}(Z|[+-]|$)", r"\1\2")
    if kind == "timestamp":
        values = pc.replace_substring_regex(values, r"^([0-9]{4}-[0-9]{2}-[0-9]{2})$", r"\1T00:00")
        values = pc.replace_substring_regex(values, rf"^({_TIME})$", r"\1Z")
    return values.cast(named(kind))


def empty_as_null(column: pa.Array) -> pa.Array:
    """The column with null for ""."""
    import pyarrow as pa
    import pyarrow.compute as pc

    return pc.if_else(pc.equal(column, ""), pa.scalar(None, pa.string()), column)


@dataclass
class Misfits:
    """The values of a column that do not fit a type: counted, the first few kept with their places."""

    name: str
    kind: str
    inferred: bool  # by the patterns of detection, which accept less than a declared type does
    total: int = 0
    count: int = 0
    first: list[str] = field(default_factory=list)
    different: list[str] = field(default_factory=list)

    def add(self, values: Sequence[str], places: Sequence[str]) -> None:
        import pyarrow as pa
        import pyarrow.compute as pc

        column = pa.array(values, pa.string())
        usual = pc.match_substring_regex(column, _PATTERNS.get(self.kind, "^$"))
        usual_fit = _cast(column.filter(usual), self.kind)
        self.total += len(values)
        for value, place, as_usual in zip(values, places, usual.to_pylist(), strict=True):
            if as_usual and usual_fit:
                continue
            if (as_usual or not self.inferred) and _cast(pa.array([value]), self.kind):
                continue
            self.count += 1
            if len(self.first) < _EXAMPLES:
                self.first.append(f"{shown(value)} ({place})" if place else shown(value))
            if value not in self.different and len(self.different) <= _LISTED:
                self.different.append(value)

    def __str__(self) -> str:
        word = "not a number" if self.inferred and self.kind in NUMBERS else f"not of type {self.kind}"
        if self._fit_once_declared:
            word = "in a form that may be a code, or is too long"
        verb, more = "are" if self.count > 1 else "is", ", …" * (self.count > len(self.first))
        return f"{self.count:,} of {self.total:,} values {verb} {word}: {', '.join(self.first)}{more}"

    @property
    def _fit_once_declared(self) -> bool:
        """Whether they are numbers, but not in a form that detection reads as a number."""
        return self.inferred and self.kind in NUMBERS and all(_is_number(value) for value in self.different)

    @property
    def remedy(self) -> str:
        if all(re.fullmatch(_NOT_ISO, value) for value in self.different):
            return (
                "write them with the year first (2024-01-31), or read them as text and convert them to times in SQL: "
                "strptime(column, '%d.%m.%Y'), or '%m/%d/%Y' where the month comes first"
            )
        if self._fit_once_declared:
            return f"read them as numbers: data.options: {{types: {{{self.name}: double}}}}"
        grouped = [value for value in self.different if re.fullmatch(_GROUPED, value)]
        if len(grouped) == len(self.different) and not all(re.fullmatch(_COMMA, value) for value in grouped):
            number = f"replace({quoted(self.name)}, ',', '')::double as {quoted(self.name)}"
            return (
                "write them without the commas between thousands at the source; or read the column as text, convert it "
                f"to numbers in SQL (create table … as select {number}, …) and name that table (data.table)"
            )
        if all(re.fullmatch(_COMMA, value) for value in self.different):
            number = f"replace({quoted(self.name)}, ',', '.')::double as {quoted(self.name)}"
            return (
                "if it is a decimal comma, write a point at the source; or read the column as text, convert it "
                f"to numbers in SQL (create table … as select {number}, …) and name that table (data.table)"
            )
        if self.count == self.total:
            return "name another column"
        if all(value.strip().lower() in PLACEHOLDERS for value in self.different):
            words = json.dumps(self.different, ensure_ascii=False)
            return f"read them as missing: data.options: {{null_values: {words}}}"
        others = [_PATTERNS[kind] for kind in _TIMES if kind != self.kind]
        if self.kind in _TIMES and all(any(re.match(other, value) for other in others) for value in self.different):
            zoned = self.kind == "timestamp" or any(value[16:].strip("0123456789:.") for value in self.different)
            kind, means = ("timestamp", "no zone: UTC") if zoned else ("timestamp_ntz", "no time: midnight")
            declared = f"data.options: {{types: {{{self.name}: {kind}}}}}"
            return f"write all in one form, or declare the type ({means}): {declared}"
        return "correct them, or name those that mean a missing value: data.options: {null_values: [NA]}"


def misfits(
    name: str, values: Iterable[tuple[Sequence[str], Sequence[str]]], kinds: Sequence[str], *, inferred: bool = True
) -> Misfits:
    """The misfits of the kind that fits most of the values; the values come with their places, some at a time."""
    odd = [Misfits(name, kind, inferred) for kind in kinds]
    for some, places in values:
        for each in odd:
            each.add(some, places)
    return min(odd, key=lambda each: each.count)


def quoted(name: str) -> str:
    """A column's name as SQL reads it: in quotes, unless it is a plain word."""
    return name if re.fullmatch("[A-Za-z_][A-Za-z0-9_]*", name) else '"' + name.replace('"', '""') + '"'


def cut_times(column: str, count: int) -> Finding:
    return Finding(
        name="cut_times",
        count=count,
        detail=f"column {column!r} has times finer than a microsecond, the finest unit of a table: the other digits "
        f"are cut. If they matter: data.options.types: {{{column}: string}}.",
    )


def _fit(values: pa.Array, kind: str) -> bool:
    import pyarrow.compute as pc

    # 2024-02-31 looks like a date
    return bool(pc.all(pc.match_substring_regex(values, _PATTERNS[kind])).as_py()) and _cast(values, kind)


def _is_exact(values: pa.Array) -> bool:
    """Whether a double keeps all digits of each whole number."""
    import pyarrow.compute as pc

    long = values.filter(pc.match_substring_regex(values, _LONG_WHOLE)).to_pylist()
    return all(float(value) == int(value.partition(".")[0]) for value in long)


def _texts(values: Sequence[str]) -> pa.Array:
    import pyarrow as pa

    return pa.array(values, pa.string())


def _is_number(text: str) -> bool:
    import pyarrow as pa
    import pyarrow.compute as pc

    value = pa.array([text])
    return _cast(value, "double") and bool(pc.all(pc.is_finite(typed(value, "double"))).as_py())


def _cast(values: pa.Array, kind: str) -> bool:
    import pyarrow as pa

    try:
        typed(values, kind)
    except pa.ArrowInvalid:
        return False
    return True


def _usual(values: pa.Array, kind: str) -> bool:
    """Whether every value has the form in which Python writes it, except for the `.0` of whole numbers."""
    import pyarrow.compute as pc

    if kind.startswith("timestamp"):
        return False
    round_trip = typed(values, kind)
    equal = pc.equal(values, round_trip.cast(values.type))
    if kind != "double":
        return bool(pc.all(equal).as_py())
    # Arrow writes very large and very small ones differently from Python.
    size = pc.abs(round_trip)
    equal = pc.or_(equal, pc.equal(values, pc.binary_join_element_wise(round_trip.cast(values.type), ".0", "")))
    equal = pc.and_(equal, pc.and_(pc.greater_equal(size, 1e-4), pc.less(size, 1e15)))
    others = values.filter(pc.invert(equal))
    return all(repr(float(value.as_py())).removesuffix(".0") == value.as_py().removesuffix(".0") for value in others)


def _shapes(values: pa.Array) -> list[str]:
    import pyarrow.compute as pc

    for pattern, shape in (("^-?[0-9]+", "N"), ("[0-9]", "9"), ("[a-z]+", "a"), ("[A-Z]+", "A")):
        values = pc.replace_substring_regex(values, pattern, shape)
    shapes: list[str] = pc.unique(values).slice(0, 2).to_pylist()
    return shapes


def _coinciding_forms(batches: Iterator[pa.RecordBatch], name: str, kind: str, words: frozenset[str]) -> list[Finding]:
    """One finding, or none, from all of a column's values."""
    import duckdb
    import pyarrow as pa

    from lakewright.data.lake.types import named

    schema = pa.schema([("form", pa.string()), ("value", named(kind))])

    def pairs() -> Iterator[pa.RecordBatch]:
        for batch in batches:
            column = batch.column(name)
            forms = empty_as_null(without_words(column, words) if words else column).drop_null()
            yield pa.record_batch([forms, typed(forms, kind)], schema=schema)

    with tempfile.TemporaryDirectory(prefix="lakewright-forms-") as spill:
        con = duckdb.connect(config={"temp_directory": spill, "memory_limit": _MEMORY})
        try:
            con.register("pairs", pa.RecordBatchReader.from_batches(schema, pairs()))
            coinciding = con.execute(
                "with counted as (select form, value, count(*) as n from pairs group by all) "
                "select list(form order by n desc, form), list(n order by n desc, form), sum(sum(n)) over () "
                f"from counted group by value having count(*) > 1 order by sum(n) desc, 1 limit {_EXAMPLES}"
            ).fetchall()
        finally:
            con.close()
    if not coinciding:
        return []
    rows = [
        ", ".join(f"{shown(form)} ({n:,})" for form, n in zip(forms[:_EXAMPLES], counts, strict=False))
        for forms, counts, _ in coinciding
    ]
    count = int(coinciding[0][2])
    noun = {"boolean": "truth value", "timestamp": "time", "timestamp_ntz": "time"}.get(kind, "number")
    detail = (
        f"column {name!r} is read as {kind}, and in {count:,} rows several written forms become one {noun}, such as "
        f"{', '.join(map(shown, coinciding[0][0][:_EXAMPLES]))}. If they differ in meaning: "
        f"data.options.types: {{{name}: string}}."
    )
    return [Finding(name="written_forms", count=count, detail=detail, rows=rows)]
