"""Text with separated values: csv, tsv and similar formats.

A file is read three times: to check every line, to find a type that fits all values of each column, even a late odd
one, and to convert the values.
The text between two separators is kept unchanged; no text is null, and a quoted "" is an empty string.
"""

from __future__ import annotations

import codecs
import csv
import io
import json
import re
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from typing import TYPE_CHECKING, Any

from lakewright.data.sources import AS_IT_IS, Intake, check_options, check_types, checked, declared_types, files
from lakewright.data.sources.escapes import unescaped
from lakewright.data.sources.text import check_marks, decoding, encoding_of, lines, undecodable
from lakewright.data.sources.words import OPTION, without_words, words_in
from lakewright.data.sources.written import NUMBERS, TIMES, misfits, typed, types_of
from lakewright.errors import DataError, UsageError

if TYPE_CHECKING:
    import pyarrow as pa

    from lakewright.data.sources.files import Files, SourceFile

_OPTIONS = {"delimiter", "quote", "escape", "encoding", "column_names", "types", "null_values", OPTION, *files.OPTIONS}
_SEPARATORS = ",;\t|"
_SAMPLE_BYTES = 1 << 20
# pyarrow reads about 40 blocks ahead (with or without threads), and a row must fit into one: small blocks keep memory
# constant, and only a file with longer rows gets larger ones.
_BLOCK_BYTES = 1 << 20
_LONGEST_VALUE = 8 << 20
_SHOWN = 5


@dataclass(frozen=True)
class _Format:
    """How a file is written. `header`: the first line holds the names; otherwise the project defines them."""

    quote: str | None
    escape: str | None
    encoding: str
    null_values: tuple[str, ...]
    delimiter: str = ","
    names: tuple[str, ...] = ()
    header: bool = True
    block_bytes: int = _BLOCK_BYTES


class CsvSource:
    """Options: delimiter (detected by default), quote ('' for none), escape (for quotes within quoted values; without
    it they are doubled), encoding (utf-8), column_names (for files without a header line), types (column → SQL type),
    null_values (texts that mean null in every column, besides no text), missing (words that mean null among numbers or
    times; by default words such as NA).
    """

    def open(
        self, uri: str, options: Mapping[str, Any], storage_options: Mapping[str, str], intake: Intake = AS_IT_IS
    ) -> pa.RecordBatchReader:
        import pyarrow as pa

        from lakewright.data.lake.types import named

        check_options(options, _OPTIONS, "csv")
        for name, example in (("column_names", "[id, text]"), ("null_values", "[NA]")):
            if not isinstance(options.get(name, []), list):
                raise UsageError(f"options.{name} is {options[name]!r}", f"for example {name}: {example}")
        for value in options.get("null_values", ()):
            if not isinstance(value, str | int | float) or isinstance(value, bool):  # YAML changes no and ~
                raise UsageError(f"options.null_values holds {value!r}, which is not a text", "write it in quotes")
        words = words_in(options)
        source_files = files.find(uri, storage_options, "csv", options, intake.files)
        encoding = encoding_of(options, intake.notice)
        formats = [_format(source_files, file, encoding, options) for file in source_files.files]
        names = formats[0].names
        for file, format in zip(source_files.files, formats, strict=True):
            _same_columns(names, source_files.files[0].name, format.names, file.name)
        check_types(declared_types(options), names)
        declared = {name: kind for name, kind in intake.types.items() if name in names} | declared_types(options)

        format_of_file = {
            file.name: replace(format, block_bytes=max(_BLOCK_BYTES, _check(source_files, file, format)))
            for file, format in zip(source_files.files, formats, strict=True)
        }

        def texts(requested: Collection[str]) -> Iterator[pa.RecordBatch]:
            return (
                batch
                for file in source_files.files
                for batch in _texts(source_files, file, format_of_file[file.name], requested)
            )

        included = intake.kept(names)
        fixed_types = {name: "string" for name in included if name in intake.as_written} | declared
        # Declared numbers and times too, since they lose words and digits like others.
        inferred = [name for name in included if fixed_types.get(name) not in ("string", "boolean", "binary")]
        by_value = {*declared, *intake.numbers, *intake.times}
        kinds, lose_words = types_of(texts, inferred, intake.notice, by_value, words, declared)
        kinds |= fixed_types
        for name in included:
            if name not in declared:
                _expected(source_files, format_of_file, name, kinds[name], intake, words)
        schema = pa.schema([(name, named(kinds[name])) for name in included])

        def read(file: SourceFile) -> Iterator[pa.RecordBatch]:
            for batch in _texts(source_files, file, format_of_file[file.name], included):
                columns = []
                for name, column in zip(included, batch.columns, strict=True):
                    values = without_words(column, words) if name in lose_words else column
                    try:
                        columns.append(typed(values, kinds[name]))
                    except (pa.ArrowInvalid, pa.ArrowNotImplementedError) as error:
                        all_values = _values(source_files, format_of_file, name, words)
                        odd = misfits(name, all_values, [kinds[name]], inferred=False)
                        raise DataError(f"column {name!r} (options.types): {odd}", odd.remedy) from error
                yield pa.RecordBatch.from_arrays(columns, schema=schema)

        return checked(*files.joined(source_files, schema, read, intake), uri, intake)

    def listing(self, uri: str, options: Mapping[str, Any], storage_options: Mapping[str, str]) -> files.Files:
        return files.find(uri, storage_options, "csv", options)

    def fingerprint(
        self, uri: str, options: Mapping[str, Any], storage_options: Mapping[str, str], intake: Intake = AS_IT_IS
    ) -> str:
        source_files = files.find(uri, storage_options, "csv", options, intake.files)
        return files.fingerprint(source_files, options, intake.as_written, intake.numbers, intake.times)


def _format(source_files: Files, file: SourceFile, encoding: str, options: Mapping[str, Any]) -> _Format:
    quote, escape = options.get("quote", '"') or None, options.get("escape") or None
    if escape == r"\\":  # in YAML's single quotes both characters stay
        escape = "\\"
    for option, value in (("delimiter", options.get("delimiter")), ("quote", quote), ("escape", escape)):
        if value is not None and (not isinstance(value, str) or len(value) != 1):
            example = {"escape": r"escape: '\'"}.get(option, f'{option}: ";"')
            raise UsageError(f"options.{option} {value!r} is not one character", f"for example {example}")
    if escape is not None and escape == quote:
        raise UsageError(f"options.escape is the quote itself ({quote})", "leave it out: doubled quotes need no escape")
    check_marks(source_files, file, encoding)
    with source_files.open(file) as stream:
        try:
            # The decoder leaves out a character that the end of the sample cuts.
            sample = codecs.getincrementaldecoder(decoding(encoding))("replace").decode(stream.read(_SAMPLE_BYTES))
        except UnicodeError as error:
            raise undecodable(source_files, file, encoding) from error
    if not sample.strip():
        raise DataError(f"{file.name} is empty", "check that the source is complete")
    if _is_json(sample):
        raise DataError(f"{file.name} holds JSON, not separated values", "set data.format: json")
    format = _Format(quote, escape, encoding, ("", *map(str, options.get("null_values", ()))))
    format = replace(format, delimiter=options.get("delimiter") or _sniff(sample, file.name, format))
    if column_names := options.get("column_names"):
        return replace(format, names=tuple(column_names), header=False)
    # Like Spark: a column without a name (an index that pandas wrote) is named by its position.
    first = next(row for row in _sampled(sample, format) if row)
    return replace(format, names=tuple(name or f"_c{position}" for position, name in enumerate(first)))


def _is_json(sample: str) -> bool:
    if re.match(r'\s*(\[\s*\{\s*"|\{\s*\n\s*")', sample):
        return True
    try:
        return isinstance(json.loads(sample.strip().partition("\n")[0]), dict)
    except (ValueError, RecursionError):
        return False


def _sniff(sample: str, name: str, format: _Format) -> str:
    """The separator that cuts most lines into as many fields as the first line; of several, the one with most."""
    if ".tsv" in name.lower():
        return "\t"
    best, delimiter = (0.0, 0), ","
    for candidate in _SEPARATORS:
        counts = [len(row) for row in islice(_sampled(sample, replace(format, delimiter=candidate)), 200) if row]
        counts = counts[: max(1, len(counts) - 1)]  # the sample may cut the last one
        if counts[0] > 1:
            score = (sum(count == counts[0] for count in counts) / len(counts), counts[0])
            if score > best:
                best, delimiter = score, candidate
    return delimiter


def _sampled(sample: str, format: _Format) -> Any:
    return _rows(io.StringIO(sample, newline=""), format, "", strict=False)


def _rows(lines: Iterable[str], format: _Format, name: str, *, strict: bool = True) -> Any:
    """Python's reader of the rows; its `line_num` counts lines."""
    csv.field_size_limit(_LONGEST_VALUE)  # Python's default is 128 KiB
    quote = format.quote
    if format.escape:
        lines, quote = unescaped(lines, format.delimiter, quote, format.escape, name), quote or '"'
    quoting: Any = csv.QUOTE_MINIMAL if quote else csv.QUOTE_NONE
    return csv.reader(lines, delimiter=format.delimiter, quotechar=quote, quoting=quoting, strict=strict)


def _check(source_files: Files, file: SourceFile, format: _Format) -> int:
    """The most bytes that a row can take; raises DataError, which names the lines that hold no whole row.

    pyarrow counts rows, not lines, and reads an unclosed quote as a value up to the end of the file. So Python's strict
    reader goes first; it is about as fast.
    """
    ragged, sizes, count, first, start, longest = [], set[int](), 0, 0, 1, 0
    with source_files.open(file) as stream:
        reader = _rows(lines(stream, file.name, format.encoding), format, file.name)
        try:
            for row in reader:
                longest = max(longest, sum(map(len, row)))
                if len(row) != len(format.names) and row:
                    count += 1
                    sizes.add(len(row))
                    if count <= _SHOWN:
                        ragged.append(f"line {start} has {len(row)}")
                        first = first or start
                start = reader.line_num + 1
        except csv.Error as error:
            problem = "has a quote in the wrong place or one that is not closed"
            if "field larger" in str(error):
                problem += f", or a value of more than {_LONGEST_VALUE:,} characters"
            raise DataError(
                f"{file.name} line {start}: this row {problem}: {error}",
                _escape_it(source_files, file, format, start)
                or "double the quotes within quoted values, or set options: {quote: ''} if quotes mean nothing",
            ) from error
        except UnicodeError as error:
            raise undecodable(source_files, file, format.encoding) from error
    if ragged:
        more = f" and so on: {count} such rows" if count > len(ragged) else ""
        columns = f"{len(format.names)} column{'s' * (len(format.names) > 1)}"
        title = "remove line 1 if it is a title above the column names, "
        raise DataError(
            f"{file.name} has {columns}, but {', '.join(ragged)}{more}",
            _escape_it(source_files, file, format, first)
            or (title if format.header and len(sizes) == 1 and min(sizes) > len(format.names) else "")
            + f"quote the values that hold {format.delimiter!r}, or set options.delimiter if the file has another one",
        )
    return 4 * (longest + len(format.names))  # a character has up to 4 bytes; plus quotes and separators


def _escape_it(source_files: Files, file: SourceFile, format: _Format, line: int) -> str:
    """The remedy for an unreadable row that starts at this line, if it has escapes; else empty."""
    with source_files.open(file) as stream:
        row = islice(lines(stream, file.name, format.encoding), line - 1, line + _SHOWN)
        if format.escape or not any('\\"' in each for each in row):
            return ""
    return r"the row contains \", as Spark and MySQL write quotes: set options: {escape: '\\'}"


def _texts(
    source_files: Files, file: SourceFile, format: _Format, requested: Collection[str]
) -> Iterator[pa.RecordBatch]:
    """The file's batches with the wanted columns as text."""
    import pyarrow as pa
    from pyarrow import csv as arrow_csv

    # Positions are the names while reading: pyarrow sets types by name, and names in the header may be missing.
    names = [str(position) for position in range(len(format.names))]
    included = [str(position) for position, name in enumerate(format.names) if name in requested]
    header, quote = format.header, format.quote or ('"' if format.escape else None)
    with source_files.open(file) as stream:
        try:
            reader = arrow_csv.open_csv(
                _Unescaped(stream, file.name, format) if format.escape else stream,
                read_options=arrow_csv.ReadOptions(
                    block_size=format.block_bytes,
                    encoding="utf-8" if format.escape else format.encoding,
                    column_names=names,
                ),
                parse_options=arrow_csv.ParseOptions(
                    delimiter=format.delimiter, quote_char=quote or False, newlines_in_values=quote is not None
                ),
                convert_options=arrow_csv.ConvertOptions(
                    column_types=dict.fromkeys(names, pa.string()),
                    include_columns=included,
                    null_values=[""],
                    strings_can_be_null=True,
                    quoted_strings_can_be_null=False,
                ),
            )
            for batch in reader:
                rows = batch.slice(1) if header else batch
                header = header and batch.num_rows == 0
                columns = [_without(column, format.null_values) for column in rows.columns]
                yield pa.RecordBatch.from_arrays(columns, names=[name for name in format.names if name in requested])
        except pa.ArrowInvalid as error:
            raise DataError(f"{file.name}: {error}", "set options.delimiter, quote or encoding") from error


def _without(column: pa.Array, null_values: Sequence[str]) -> pa.Array:
    """The column with null for these texts, quoted or not; "" is null only if it is not quoted."""
    import pyarrow as pa
    import pyarrow.compute as pc

    nulls = [value for value in null_values if value]
    return pc.if_else(pc.is_in(column, pa.array(nulls)), pa.scalar(None, pa.string()), column) if nulls else column


class _Unescaped(io.RawIOBase):
    """A file's bytes as pyarrow reads them: UTF-8, quotes doubled."""

    def __init__(self, stream: Any, name: str, format: _Format) -> None:
        decoded = lines(stream, name, format.encoding)
        assert format.escape is not None
        self._lines = unescaped(decoded, format.delimiter, format.quote, format.escape, name)
        self._rest = b""

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        parts, size = [self._rest], len(self._rest)
        while size < len(buffer) and (line := next(self._lines, None)) is not None:
            parts.append(line.encode())
            size += len(parts[-1])
        whole = b"".join(parts)
        head = whole[: len(buffer)]
        self._rest = whole[len(buffer) :]
        buffer[: len(head)] = head
        return len(head)


def _expected(
    source_files: Files,
    format_of_file: Mapping[str, _Format],
    name: str,
    kind: str,
    intake: Intake,
    words: frozenset[str],
) -> None:
    """Raises DataError for a column that must be numbers, or times, and is text because of some values."""
    for kinds, roles in ((NUMBERS, intake.numbers), (TIMES, intake.times)):
        if kind == "string" and name in roles:
            odd = misfits(name, _values(source_files, format_of_file, name, words), kinds)
            if not odd.total and words:  # words alone
                odd = misfits(name, _values(source_files, format_of_file, name), kinds)
            if odd.total:
                raise DataError(f"column {name!r} (data.columns.{roles[name]}): {odd}", odd.remedy)


def _values(
    source_files: Files, format_of_file: Mapping[str, _Format], name: str, words: frozenset[str] = frozenset()
) -> Iterator[tuple[list[str], list[str]]]:
    """A column's values that are not missing, nor one of the words, and their places, a few thousand at a time."""

    def pairs() -> Iterator[tuple[str, str]]:
        for file in source_files.files:
            format = format_of_file[file.name]
            position, start = format.names.index(name), 1
            with source_files.open(file) as stream:
                reader = _rows(lines(stream, file.name, format.encoding), format, file.name)
                for number, row in enumerate(reader):
                    if row and (number or not format.header) and row[position] not in format.null_values:
                        pair = row[position], f"{file.name} line {start}"
                        yield from () if row[position].strip().lower() in words else (pair,)
                    start = reader.line_num + 1

    several = pairs()
    while chunk := list(islice(several, 5_000)):
        yield [value for value, _ in chunk], [place for _, place in chunk]


def _same_columns(names: tuple[str, ...], first: str, other_names: tuple[str, ...], other: str) -> None:
    from lakewright.data.lake.types import storable_names

    storable_names(other_names)
    if names != other_names:
        different = sorted(set(names) ^ set(other_names)) or list(other_names)
        raise DataError(
            f"{first} and {other} do not have the same columns in the same order: {', '.join(map(repr, different))}",
            "read only files with the same columns, by a glob",
        )


SOURCE = CsvSource()
