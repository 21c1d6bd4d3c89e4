"""Sources of rows. A source turns a URI into one stream of rows; `ingest` writes them as a table.

Each source is one module, registered as an entry point under "lakewright.sources" (see `lakewright.plugins`).
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from lakewright import plugins
from lakewright.errors import DataError, UsageError, nearest, shown

if TYPE_CHECKING:
    import pyarrow as pa

    from lakewright.data.sources.files import Files
    from lakewright.data.sources.pieces import Pieces
    from lakewright.records import Finding

# The ending before these is the format of a compressed file.
COMPRESSED = (".gz", ".bz2", ".zst")
EXTENSIONS = {
    ".csv": "csv",
    ".tsv": "csv",
    ".json": "json",
    ".jsonl": "json",
    ".ndjson": "json",
    ".parquet": "parquet",
}


@dataclass(frozen=True)
class Intake:
    """How a project reads the rows of any source, and what it notices when it opens one."""

    as_written: frozenset[str] = frozenset()  # columns that stay text if a source holds only text
    exclude: frozenset[str] = frozenset()  # columns to leave out
    numbers: Mapping[str, str] = field(default_factory=dict)  # columns that must be numbers → their role
    times: Mapping[str, str] = field(default_factory=dict)  # columns that must have an order in time → their role
    files: frozenset[str] | None = None  # of a source of files: the names of those that are read; None: all
    types: Mapping[str, str] = field(default_factory=dict)  # columns' types in SQL, where the source does not fix them
    notice: Callable[[Finding], object] = lambda finding: None
    left_out: set[str] = field(default_factory=set)  # the columns of `exclude` that exist

    def kept(self, names: Iterable[str]) -> list[str]:
        """The names of a source's columns, without those to leave out."""
        names = list(names)
        self.left_out.update(self.exclude.intersection(names))
        return [name for name in names if name not in self.exclude]


AS_IT_IS = Intake()


class Source(Protocol):
    """Both functions take the URI from `open_source`, and the project's options for the source."""

    def open(
        self, uri: str, options: Mapping[str, Any], storage_options: Mapping[str, str], intake: Intake = AS_IT_IS
    ) -> pa.RecordBatchReader:
        """Stream the rows. Raises DataError if there are none or they cannot be read, NotFound, UsageError."""

    def fingerprint(
        self, uri: str, options: Mapping[str, Any], storage_options: Mapping[str, str], intake: Intake = AS_IT_IS
    ) -> str:
        """A sha256 in hex that changes when the rows change, apart from columns left out; computed without reading all
        rows if possible."""


class SourceOfFiles(Source, Protocol):
    """A source whose rows lie in files, of which it reads those that `intake.files` names."""

    def listing(self, uri: str, options: Mapping[str, Any], storage_options: Mapping[str, str]) -> Files:
        """All of them, in reading order. Raises NotFound where there are none."""


class SourceInPieces(Source, Protocol):
    """A source whose rows several workers can read."""

    def pieces(
        self, uri: str, options: Mapping[str, Any], storage_options: Mapping[str, str], intake: Intake = AS_IT_IS
    ) -> Pieces[Any] | None:
        """The rows of `open`, in the same order; None: these rows are one stream. Raises the errors of `open`."""


def plain_schema(schema: pa.Schema, intake: Intake) -> pa.Schema:
    """The columns of a source that are not left out, as a table stores them."""
    import pyarrow as pa

    from lakewright.data.lake.types import simplified, storable

    included = intake.kept(schema.names)
    return storable(simplified(pa.schema([each for each in schema if each.name in included]), intake.notice))


class NoRows(DataError):
    """The source has columns, and no rows."""


def no_rows(uri: str) -> NoRows:
    return NoRows(f"{uri} has no rows", "check that the source is complete")


def unreadable(name: str, error: Exception) -> DataError:
    """For a file, or a table of files, that fails while its rows are read."""
    return DataError(f"{name} cannot be read: {shown(error)}", "copy or write it again; it may be damaged")


def checked(schema: pa.Schema, batches: Iterator[pa.RecordBatch], uri: str, intake: Intake) -> pa.RecordBatchReader:
    """The stream that every source returns: at least one row, plain column types, no repeated or excluded column."""
    import pyarrow as pa

    from lakewright.data.lake.types import cast

    plain = plain_schema(schema, intake)
    first = next((batch for batch in batches if batch.num_rows), None)
    if first is None:
        raise no_rows(uri)

    def rest() -> Iterator[pa.RecordBatch]:
        yield cast(first, plain, cut_times=True)
        for batch in batches:
            yield cast(batch, plain, cut_times=True)

    return pa.RecordBatchReader.from_batches(plain, rest())


def check_options(options: Mapping[str, Any], names: set[str], source: str) -> None:
    """Raises UsageError for an option that the source does not have."""
    for name in options:
        if name not in names:
            raise UsageError(f"the source {source} has no option {name!r}", nearest(name, names))


def declared_types(options: Mapping[str, Any]) -> dict[str, str]:
    """`options.types`: column → SQL type. Raises UsageError for anything else."""
    from lakewright.data.lake.types import named

    types = options.get("types", {})
    if not isinstance(types, dict):
        raise UsageError(f"options.types is {types!r}", "for example types: {id: string}")
    for kind in types.values():
        named(kind)
    return types


def check_types(types: Mapping[str, str], names: Collection[str]) -> None:
    """Raises UsageError for a type of an unknown column."""
    for name in types:
        if name not in names:
            raise UsageError(f"options.types names a column that does not exist: {name!r}", nearest(name, names))


def format_of_file(name: str) -> str | None:
    """The source that reads a file of this name, by its ending."""
    for ending in COMPRESSED:
        name = name.removesuffix(ending)
    ending = Path(name).suffix.lower()
    # An unknown extension may be a plug-in's name: a source named orc reads data.orc.
    return EXTENSIONS.get(ending) or (ending[1:] if ending[1:] in plugins.SOURCES.names() else None)
