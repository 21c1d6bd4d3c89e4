"""The columns of a table measured once, in DuckDB, to see which kind each is of."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Literal

from lakewright.data.lake.writing import keep_failure
from lakewright.data.rows.kinds import Kind
from lakewright.data.rows.spread import Spread
from lakewright.data.sources.words import PLACEHOLDERS
from lakewright.records import TableVersion

if TYPE_CHECKING:
    import pyarrow as pa

    from lakewright.data.lake.tables import Lake

FEW = 20  # least number of values to call them identifiers
MANY_CODES = 100  # strings that are whole numbers are codes of a category, unless there are more of them
SENTENCES = 1000  # strings of several words are texts if they have as many values, or one in every second row
WORDS = 3.0  # average words of a text
MEMORY = "1GB"  # of DuckDB, before it spills
COLUMNS = 50  # measured at once: each takes some megabytes that DuckDB cannot spill
NUMBER = r"[+-]?(0|[1-9][0-9]*)(\.[0-9]+)?([eE][+-]?[0-9]+)?"
TIME = r"[0-9]{4}-[0-9]{2}-[0-9]{2}([T ][0-9]{2}:[0-9]{2}(:[0-9]{2}(\.[0-9]+)?)?(Z|[+-][0-9]{2}:?[0-9]{2})?)?"
# Forms that nobody can read without knowing more: 1,234.50, 1,5, $5, 5 kg, 5%, 31.12.2024, Jan 1 2024. RE2 is far
# slower with \pL{3,9} than with \pL\pL\pL+.
ODD_NUMBER = (
    r"[+-]? ?[$€£¥]? ?[+-]?"
    r"([0-9]{1,3}([,.'\x{a0} ][0-9]{3})+([.,][0-9]+)?|[0-9]+[.,]?[0-9]*|[.,][0-9]+)"
    r"( ?[%€£¥$]| [\pL°/²³]{1,6}|kg|g|mg|km|cm|mm|m|k|K|M)?"
)
ODD_TIME = (
    r"([0-9]{1,2}[./-][0-9]{1,2}[./-][0-9]{2}([0-9]{2})?|[0-9]{4}[./][0-9]{1,2}[./][0-9]{1,2}"
    r"|\pL\pL\pL+\.? [0-9]{1,2},? [0-9]{4}|[0-9]{1,2}[. -]+\pL\pL\pL+\.?[ -][0-9]{2}([0-9]{2})?)([ T,].*)?"
)
WORDS_FOR_NOTHING = ", ".join("'" + word.replace("'", "''") + "'" for word in PLACEHOLDERS)
# Of the column @: rows with a value, different values, average words, rows that are a number and a whole one, that
# are a time; then least and greatest of a column of whole numbers; of strings again, rows with a word for a missing
# value, these words, rows with a number in another form, and with a time in another form; of numbers, about how many
# different values float32 keeps; last, of strings, one that is neither a number nor a time nor such a word
STRING = rf"""
    count(*) FILTER (trim(@) <> ''), count(DISTINCT @) FILTER (trim(@) <> ''),
    coalesce(avg(len(regexp_extract_all(@, '\S+'))) FILTER (trim(@) <> ''), 0),
    count(*) FILTER (regexp_full_match(trim(@), '{NUMBER}')),
    count(*) FILTER (regexp_full_match(trim(@), '[0-9]+')),
    count(*) FILTER (regexp_full_match(trim(@), '{TIME}')), NULL, NULL,
    count(*) FILTER (lower(trim(@)) IN ({WORDS_FOR_NOTHING})),
    coalesce(list_sort(list(DISTINCT trim(@)) FILTER (lower(trim(@)) IN ({WORDS_FOR_NOTHING}))), []),
    count(*) FILTER (regexp_full_match(trim(@), $${ODD_NUMBER}$$)),
    count(*) FILTER (regexp_full_match(trim(@), $${ODD_TIME}$$)), NULL,
    min(trim(@)) FILTER (NOT regexp_full_match(trim(@), '{NUMBER}') AND NOT regexp_full_match(trim(@), '{TIME}')
        AND trim(@) <> '' AND lower(trim(@)) NOT IN ({WORDS_FOR_NOTHING}))"""
SINGLE = "approx_count_distinct(TRY_CAST(@ AS FLOAT))"
WHOLE = f"count(@), count(DISTINCT @), 0, 0, 0, 0, min(@), max(@), 0, [], 0, 0, {SINGLE}, NULL"
FLOAT = f"""
    count(@) FILTER (NOT isnan(@)), count(DISTINCT @) FILTER (NOT isnan(@)), 0, 0, 0, 0, NULL, NULL, 0, [], 0, 0,
    {SINGLE} FILTER (NOT isnan(@)), NULL"""
OTHER = "count(@), count(DISTINCT @), 0, 0, 0, 0, NULL, NULL, 0, [], 0, 0, NULL, NULL"
MOSTLY = 0.95  # share of a column's values that show what it holds


Shape = Literal["whole", "float", "string", "boolean", "time", "structure"]


@dataclass(frozen=True)
class Measured:
    """One column of the table."""

    name: str
    shape: Shape
    values: int = 0  # rows with a value
    distinct: int = 0
    words: float = 0.0  # average of strings
    numbers: int = 0  # strings that are numbers …
    digits: int = 0  # … and nothing but digits
    times: int = 0  # strings that are times in ISO 8601
    least: int | None = None
    greatest: int | None = None
    nothing: int = 0  # strings that are a word for a missing value, such as NA …
    words_for_nothing: tuple[str, ...] = ()  # … and these words
    odd_numbers: int = 0  # strings that are a number in any form
    odd_times: int = 0  # strings that are a time in a form that begins with no year
    singles: int | None = None  # of numbers: different values in float32, about
    odd: str | None = None  # a string that is neither a number nor a time nor such a word
    spread: Spread | None = None  # of numbers

    @property
    def kind(self) -> Kind | None:
        """None for lists and structures."""
        if self.shape == "string":
            if self.values and self.times == self.values:
                return "time"
            if self.values and self.numbers == self.values:
                return "category" if self.digits == self.values and self.distinct <= MANY_CODES else "number"
            sentences = self.words >= WORDS and self.distinct >= min(SENTENCES, self.values / 2)
            return "text" if sentences else "category"
        kinds: dict[str, Kind] = {"whole": "number", "float": "number", "boolean": "category", "time": "time"}
        return kinds.get(self.shape)

    @property
    def is_identifier(self) -> bool:
        """Every value is another one: strings of one word, or whole numbers without large gaps, as row numbers are."""
        if self.distinct < FEW or self.distinct < self.values:
            return False
        if self.shape == "whole" and self.least is not None and self.greatest is not None:
            return self.greatest - self.least < 2 * self.values
        return self.shape == "string" and self.kind == "category" and self.words < WORDS

    @property
    def why(self) -> str:
        """What the values show, for a person."""
        count = f"{self.distinct:,} value{'s' * (self.distinct != 1)}"
        plain = {"whole": "whole numbers", "float": "numbers", "boolean": "true or false", "time": "dates or times"}
        if self.shape in plain:
            return plain[self.shape]
        if self.shape == "structure":
            return "a list or a structure"
        if self.kind == "time":
            return "texts that are all dates or times"
        if self.kind == "number":
            return "texts that are all numbers"
        if self.values and self.digits == self.values:
            return f"{count} of digits alone, as codes are written"
        return f"texts of {self.words:.1f} words on average, {count}"

    @property
    def hides(self) -> str | None:
        """What the words in a column really are, where they show it: a finding's name. Each is read as a word, so
        that their order is lost."""
        if self.shape != "string" or self.kind not in ("category", "text"):
            return None
        words, plain = self.values - self.nothing, max(self.numbers, self.times)
        if self.nothing and words and plain == words:
            return "words_for_missing"
        if self.distinct <= FEW:
            return None
        if words > plain >= MOSTLY * words:
            return "mostly_numbers"
        if self.odd_times >= MOSTLY * words:
            return "times_in_other_forms"
        if self.odd_numbers >= MOSTLY * words and self.digits < words and self.numbers < self.odd_numbers:
            return "numbers_in_other_forms"
        return None

    @property
    def is_rounded(self) -> bool:
        """Whether float32, with its 24 bits, makes one number of many: 1e9 + 0.5 and 1e9 + 1, or 1e-50 and 1e-60."""
        return self.singles is not None and self.singles < self.distinct / 2

    @property
    def is_written_otherwise(self) -> bool:
        """Numbers or times in a column of strings."""
        return self.shape == "string" and self.kind in ("number", "time")


def measure(lake: Lake, table: TableVersion, names: Sequence[str]) -> list[Measured]:
    """These columns, in their order, in one pass over the table for every COLUMNS of them."""
    if not names:
        return []
    schema = lake.scan(table).schema
    shapes = {name: _shape(schema.field(name).type) for name in names}
    flat = [name for name in names if shapes[name] != "structure"]
    measured: dict[str, Measured] = {}
    for start in range(0, len(flat), COLUMNS):
        part = {name: shapes[name] for name in flat[start : start + COLUMNS]}
        measured |= {each.name: each for each in _measured(lake, table, part)}
    return [measured.get(name) or Measured(name, "structure") for name in names]


def _measured(lake: Lake, table: TableVersion, shapes: Mapping[str, Shape]) -> list[Measured]:
    import duckdb
    import pyarrow as pa

    reader = lake.scan(table, list(shapes))
    # By place, since a name may hold any character
    schema = pa.schema([(f"c{place}", _plain(reader.schema.field(name).type)) for place, name in enumerate(shapes)])
    spreads = {name: Spread() for name, shape in shapes.items() if shape in ("whole", "float")}

    def batches() -> Iterator[pa.RecordBatch]:
        for batch in reader:
            columns = [batch.column(name).cast(schema.field(place).type) for place, name in enumerate(shapes)]
            for name, column in zip(shapes, columns, strict=True):
                if name in spreads:
                    spreads[name].add(column.cast(pa.float64(), safe=False).to_numpy(zero_copy_only=False))
            yield pa.RecordBatch.from_arrays(columns, schema=schema)

    expressions = {"string": STRING, "whole": WHOLE, "float": FLOAT}
    measures = ", ".join(
        expressions.get(shape, OTHER).replace("@", f"c{place}") for place, shape in enumerate(shapes.values())
    )
    failures: list[BaseException] = []  # DuckDB turns them into text
    with tempfile.TemporaryDirectory(prefix="lakewright-inputs-") as spill:
        config: dict[str, Any] = {"temp_directory": spill, "memory_limit": MEMORY}
        with duckdb.connect(config=config) as connection:
            connection.register("rows", pa.RecordBatchReader.from_batches(schema, keep_failure(batches(), failures)))
            try:
                numbers = connection.execute(f"SELECT {measures} FROM rows").fetchone() or ()
            except duckdb.Error:
                if failures:
                    raise failures[0] from None
                raise
    size = len(numbers) // len(shapes)
    return [
        replace(Measured(name, shape, *numbers[place * size : (place + 1) * size]), spread=spreads.get(name))
        for place, (name, shape) in enumerate(shapes.items())
    ]


def _shape(kind: pa.DataType) -> Shape:
    import pyarrow as pa

    types = pa.types
    if types.is_integer(kind):
        return "whole"
    if types.is_floating(kind) or types.is_decimal(kind):
        return "float"
    if types.is_date(kind) or types.is_timestamp(kind):
        return "time"
    if types.is_boolean(kind):
        return "boolean"
    return "string" if types.is_string(kind) or types.is_large_string(kind) else "structure"


def _plain(kind: pa.DataType) -> pa.DataType:
    """A type that DuckDB measures alike for all of its sort: no zones, no decimals."""
    import pyarrow as pa

    if pa.types.is_timestamp(kind):
        return pa.timestamp("us")
    return pa.float64() if pa.types.is_decimal(kind) or pa.types.is_floating(kind) else kind
