"""Text with separated values: csv, tsv and their like.

Read three times: to check every line, to find the types that all values of a column fit, however late an odd one
comes, and to convert.
What stands between two separators is kept as it is; nothing at all is null, and a quoted "" is an empty string.
"""

from __future__ import annotations

import codecs
import csv
import io
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from itertools import islice
from typing import TYPE_CHECKING, Any

from lakewright.errors import DataError, UsageError, nearest
from lakewright.lake.sources import checked, files, known_options

if TYPE_CHECKING:
    import pyarrow as pa

    from lakewright.lake.sources.files import Files, SourceFile

_OPTIONS = {"delimiter", "quote", "encoding", "column_names", "types", "null_values", "split"}
_SEPARATORS = ",;\t|"
_SAMPLE_BYTES = 1 << 20
# pyarrow reads about 40 blocks ahead (with or without threads), and a row has to fit into one: small blocks keep memory
# flat, and only a file with longer rows gets larger ones.
_BLOCK_BYTES = 1 << 20
_LONGEST_VALUE = 8 << 20
_SHOWN = 5

_WHOLE = r"(0|[1-9][0-9]{0,17})"
_TIME = r"[0-9]{4}-[0-9]{2}-[0-9]{2}[ T][0-9]{2}:[0-9]{2}(:[0-9]{2}([.][0-9]{1,6})?)?"
# Tried in this order. A number with leading zeros is a code and stays text; so does one too long for 64 bits.
_PATTERNS = {
    "boolean": r"^(true|false|True|False|TRUE|FALSE)$",
    "bigint": rf"^-?{_WHOLE}$",
    "double": rf"^[+-]?({_WHOLE}|{_WHOLE}?[.][0-9]+|{_WHOLE}[.])([eE][+-]?[0-9]{{1,2}})?$",
    "date": r"^[0-9]{4}-[0-9]{2}-[0-9]{2}$",
    "timestamp_ntz": rf"^{_TIME}$",
    "timestamp": rf"^{_TIME}(Z|[+-][0-9]{{2}}:?[0-9]{{2}})$",
}


@dataclass(frozen=True)
class _Format:
    """How the files are written. `header`: the names in the first line, or None where the project gives them."""

    delimiter: str
    quote: str | None
    encoding: str
    names: tuple[str, ...]
    header: bool
    null_values: tuple[str, ...]
    block_bytes: int = _BLOCK_BYTES


class CsvSource:
    """Options: delimiter (found out when not given), quote ('' for none), encoding (utf-8), column_names (for files
    without a header line), types (column → SQL type), null_values (texts that mean null, besides nothing at all).
    """

    def open(self, uri: str, options: Mapping[str, Any], storage_options: Mapping[str, str]) -> pa.RecordBatchReader:
        import pyarrow as pa

        from lakewright.lake.columns import named

        known_options(options, _OPTIONS, "csv")
        for name, kind in (("types", dict), ("column_names", list), ("null_values", list)):
            if not isinstance(options.get(name, kind()), kind):
                shown = {"types": "{id: string}", "column_names": "[id, text]", "null_values": "[NA]"}[name]
                raise UsageError(f"options.{name} is {options[name]!r}", f"for example {name}: {shown}")
        found = files.find(uri, storage_options, "csv", options.get("split"))
        formats = [_format(found, file, options) for file in found.files]
        names = formats[0].names
        for file, format in zip(found.files, formats, strict=True):
            _same_columns(names, found.files[0].name, format.names, file.name)
        declared = {name: named(text) for name, text in options.get("types", {}).items()}
        if unknown := sorted(set(declared) - set(names)):
            raise UsageError(
                f"options.types names a column that is not there: {unknown[0]!r}", nearest(unknown[0], names)
            )

        reads = {
            file: replace(format, block_bytes=max(_BLOCK_BYTES, _check(found, file, format)))
            for file, format in zip(found.files, formats, strict=True)
        }
        inferred = _types((batch for file in found.files for batch in _texts(found, file, reads[file])), names)
        schema = pa.schema([(name, declared.get(name, inferred[name])) for name in names])

        def read(file: SourceFile) -> Iterator[pa.RecordBatch]:
            for batch in _texts(found, file, reads[file]):
                yield pa.RecordBatch.from_arrays([_typed(batch, field, file) for field in schema], schema=schema)

        return checked(*files.joined(found, schema, read), uri)

    def fingerprint(self, uri: str, options: Mapping[str, Any], storage_options: Mapping[str, str]) -> str:
        return files.fingerprint(files.find(uri, storage_options, "csv", options.get("split")), options)


def _format(found: Files, file: SourceFile, options: Mapping[str, Any]) -> _Format:
    encoding = options.get("encoding", "utf-8")
    quote = options.get("quote", '"') or None
    for option, value in (("delimiter", options.get("delimiter")), ("quote", quote)):
        if value is not None and (not isinstance(value, str) or len(value) != 1):
            raise UsageError(f"options.{option} {value!r} is not one character", f'for example {option}: ";"')
    with found.open(file) as stream:
        # A character that the end of the sample cuts is left out.
        sample = codecs.getincrementaldecoder(files.without_mark(encoding))("replace").decode(
            stream.read(_SAMPLE_BYTES)
        )
    if not sample.strip():
        raise DataError(f"{file.name} is empty", "check that the source is complete")
    delimiter = options.get("delimiter") or _sniff(sample, file.name, quote)
    if given := options.get("column_names"):
        names = tuple(given)
    else:
        # As Spark does: a column whose name is missing (an index that pandas wrote) is called by its position.
        first = next(row for row in _reader(io.StringIO(sample, newline=""), delimiter, quote, False) if row)
        names = tuple(name or f"_c{position}" for position, name in enumerate(first))
    return _Format(delimiter, quote, encoding, names, not given, ("", *options.get("null_values", ())))


def _sniff(sample: str, name: str, quote: str | None) -> str:
    """The separator that cuts most lines into as many fields as the first line; of several, that with most fields."""
    if ".tsv" in name.lower():
        return "\t"
    best, delimiter = (0.0, 0), ","
    for candidate in _SEPARATORS:
        counts = [
            len(row) for row in islice(_reader(io.StringIO(sample, newline=""), candidate, quote, False), 200) if row
        ]
        counts = counts[: max(1, len(counts) - 1)]  # the sample may cut the last one
        if counts[0] > 1:
            score = (sum(count == counts[0] for count in counts) / len(counts), counts[0])
            if score > best:
                best, delimiter = score, candidate
    return delimiter


def _reader(text: Any, delimiter: str, quote: str | None, strict: bool = True) -> Any:
    csv.field_size_limit(_LONGEST_VALUE)  # Python's own limit is a document of 128 KiB
    quoting: Any = csv.QUOTE_MINIMAL if quote else csv.QUOTE_NONE
    return csv.reader(text, delimiter=delimiter, quotechar=quote, quoting=quoting, strict=strict)


def _check(found: Files, file: SourceFile, format: _Format) -> int:
    """The most bytes that a row can take; raises DataError naming the lines that hold no whole row.

    pyarrow counts rows, not lines, and takes a quote that is never closed for a value up to the end of the file. So
    Python's reader goes first, strictly; it is about as fast.
    """
    ragged, count, start, longest = [], 0, 1, 0
    with found.open(file) as stream:
        text = io.TextIOWrapper(stream, encoding=files.without_mark(format.encoding), newline="")
        reader = _reader(text, format.delimiter, format.quote)
        try:
            for row in reader:
                longest = max(longest, sum(map(len, row)))
                if len(row) != len(format.names) and row:
                    count += 1
                    if count <= _SHOWN:
                        ragged.append(f"line {start} has {len(row)}")
                start = reader.line_num + 1
        except csv.Error as error:
            raise DataError(
                f"{file.name} line {start}: this row has a quote in the wrong place or one that is not closed: {error}",
                "double the quotes within quoted values, or set options: {quote: ''} if quotes mean nothing here",
            ) from error
        except UnicodeError as error:
            raise files.undecodable(found, file, format.encoding) from error
    if ragged:
        more = f" and so on: {count} such rows" if count > len(ragged) else ""
        raise DataError(
            f"{file.name} has {len(format.names)} columns, but {', '.join(ragged)}{more}",
            f"quote the values that hold {format.delimiter!r}, or set options.delimiter if the separator is another",
        )
    return 4 * (longest + len(format.names))  # a character has up to 4 bytes; quotes and separators come on top


def _texts(found: Files, file: SourceFile, format: _Format) -> Iterator[pa.RecordBatch]:
    """The file's batches with every column as text."""
    import pyarrow as pa
    from pyarrow import csv as arrow_csv

    # Positions serve as names while reading: pyarrow sets types by name, and the header's may be missing.
    names = [str(position) for position in range(len(format.names))]
    header = format.header
    with found.open(file) as stream:
        try:
            reader = arrow_csv.open_csv(
                stream,
                read_options=arrow_csv.ReadOptions(
                    block_size=format.block_bytes, encoding=format.encoding, column_names=names
                ),
                parse_options=arrow_csv.ParseOptions(
                    delimiter=format.delimiter,
                    quote_char=format.quote or False,
                    newlines_in_values=format.quote is not None,
                ),
                convert_options=arrow_csv.ConvertOptions(
                    column_types=dict.fromkeys(names, pa.string()),
                    null_values=format.null_values,
                    strings_can_be_null=True,
                    quoted_strings_can_be_null=False,
                ),
            )
            for batch in reader:
                rows = batch.slice(1) if header else batch
                header = header and batch.num_rows == 0
                yield pa.RecordBatch.from_arrays(rows.columns, names=list(format.names))
        except pa.ArrowInvalid as error:
            raise DataError(f"{file.name}: {error}", "set options.delimiter, quote or encoding") from error


def _types(batches: Iterator[pa.RecordBatch], names: tuple[str, ...]) -> dict[str, pa.DataType]:
    """For each column the first type that every value fits; string for a column without values."""
    import pyarrow as pa
    import pyarrow.compute as pc

    from lakewright.lake.columns import named

    possible = {name: list(_PATTERNS) for name in names}
    filled = set()
    for batch in batches:
        for position, name in enumerate(names):
            if not possible[name]:
                continue
            values = _values(batch.column(position)).drop_null()
            if len(values) == 0:
                continue
            filled.add(name)
            fits = []
            for kind in possible[name]:
                if pc.all(pc.match_substring_regex(values, _PATTERNS[kind])).as_py():
                    try:
                        values.cast(named(kind))  # 2024-02-31 looks like a date
                        fits.append(kind)
                    except pa.ArrowInvalid:
                        pass
            possible[name] = fits
    return {name: named(possible[name][0]) if name in filled and possible[name] else pa.string() for name in names}


def _values(column: pa.Array) -> pa.Array:
    """The column with null for "", which some writers quote even where a number is missing."""
    import pyarrow as pa
    import pyarrow.compute as pc

    return pc.if_else(pc.equal(column, ""), pa.scalar(None, pa.string()), column)


def _typed(batch: pa.RecordBatch, field: pa.Field, file: SourceFile) -> pa.Array:
    import pyarrow as pa

    column = batch.column(field.name)
    if field.type == pa.string():
        return column
    try:
        return _values(column).cast(field.type)
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError) as error:
        raise DataError(
            f"{file.name}: column {field.name!r} does not fit options.types: {error}",
            f"correct the value, or set options: {{types: {{{field.name}: string}}}}",
        ) from error


def _same_columns(names: tuple[str, ...], first: str, other_names: tuple[str, ...], other: str) -> None:
    from lakewright.lake.columns import storable_names

    storable_names(other_names)
    if names != other_names:
        different = sorted(set(names) ^ set(other_names)) or list(other_names)
        raise DataError(
            f"{first} and {other} do not have the same columns in the same order: {', '.join(map(repr, different))}",
            "read only files with the same columns, by a glob",
        )


SOURCE = CsvSource()
