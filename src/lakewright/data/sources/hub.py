"""Data sets on the Hugging Face Hub: `hf://datasets/OWNER/NAME` or `hf://OWNER/NAME`, through `datasets`."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from lakewright.data.sources import AS_IT_IS, Intake, check_options, checked
from lakewright.data.sources.files import split_of
from lakewright.errors import DataError, LakewrightError, MissingPackage, NotFound, UsageError, nearest

if TYPE_CHECKING:
    import pyarrow as pa

_OPTIONS = {"config", "split", "revision"}
_ROWS = 1_000
_LOCAL = "or read a local copy of its files: --set data.source=FOLDER"


class HubSource:
    """Options: config, split (a name, or a list of names), revision (a commit, tag or branch).

    Several splits become the column `split` (train, validation, test); a single one does not, since the Hub calls any
    data without splits `train`. Class labels become their names, -1 (no label) becomes null. The token for private data
    sets comes from the storage option or the environment variable HF_TOKEN.
    """

    def open(
        self, uri: str, options: Mapping[str, Any], storage_options: Mapping[str, str], intake: Intake = AS_IT_IS
    ) -> pa.RecordBatchReader:
        import pyarrow as pa

        check_options(options, _OPTIONS, "hf")
        splits = _load(uri, options, storage_options, intake)
        names = {name: _named_split(name, uri, splits) for name in splits} if len(splits) > 1 else {}
        first = next(iter(splits.values()))
        schema = _plain_table(first.with_format("arrow")[:0], first.features).schema
        if names and "split" not in schema.names:
            schema = schema.append(pa.field("split", pa.string()))

        def batches() -> Iterator[pa.RecordBatch]:
            for name, data in splits.items():
                for table in data.with_format("arrow").iter(_ROWS):
                    plain = _plain_table(table, data.features)
                    if names and "split" not in plain.column_names:
                        plain = plain.append_column("split", pa.array([names[name]] * len(plain), pa.string()))
                    yield from plain.select(schema.names).cast(schema).to_batches()

        return checked(schema, batches(), uri, intake)

    def fingerprint(
        self, uri: str, options: Mapping[str, Any], storage_options: Mapping[str, str], intake: Intake = AS_IT_IS
    ) -> str:
        check_options(options, _OPTIONS, "hf")
        revision = options.get("revision") or _repository(uri)[1]
        if revision is None or not re.fullmatch(r"[0-9a-f]{40}", revision):
            revision = _commit(uri, revision, storage_options)
        state = [_repository(uri)[0], revision, options.get("config"), options.get("split"), sorted(intake.as_written)]
        return hashlib.sha256(json.dumps(state).encode()).hexdigest()


def _repository(uri: str) -> tuple[str, str | None]:
    match = re.fullmatch(r"hf://(?:datasets/)?([\w.-]+(?:/[\w.-]+)?)(?:@([\w./-]+))?", uri)
    if match is None:
        raise UsageError(f"{uri!r} does not name a data set", "write hf://datasets/OWNER/NAME")
    return match[1], match[2]


def _load(uri: str, options: Mapping[str, Any], storage_options: Mapping[str, str], intake: Intake) -> dict[str, Any]:
    try:
        import datasets
    except ImportError as error:
        raise MissingPackage("datasets", "hub") from error

    name, revision = _repository(uri)
    requested = options.get("split")
    place = {"revision": options.get("revision") or revision, "token": storage_options.get("HF_TOKEN")}
    try:
        builder = datasets.load_dataset_builder(name, options.get("config"), **place)
        # Only for csv files does pandas guess the types.
        is_csv = type(builder.config).__name__ == "CsvConfig"
        loaded = datasets.load_dataset(
            name,
            options.get("config"),
            split=[requested] if isinstance(requested, str) else requested,
            **place,
            **({"converters": dict.fromkeys(sorted(intake.as_written), str)} if is_csv and intake.as_written else {}),
        )
    except Exception as error:
        raise _explained(uri, error) from error
    if requested is not None:
        return dict(zip([requested] if isinstance(requested, str) else requested, loaded, strict=True))
    return dict(loaded)


def _commit(uri: str, revision: str | None, storage_options: Mapping[str, str]) -> str:
    try:
        from huggingface_hub import HfApi
    except ImportError as error:
        raise MissingPackage("huggingface_hub", "hub") from error

    try:
        info = HfApi(token=storage_options.get("HF_TOKEN")).dataset_info(_repository(uri)[0], revision=revision)
    except Exception as error:
        raise _explained(uri, error) from error
    return str(info.sha)


def _explained(uri: str, error: Exception) -> LakewrightError:
    kinds = {kind.__name__ for kind in type(error).__mro__}
    cause = f"{uri}: {type(error).__name__}: {str(error).splitlines()[0] if str(error) else ''}"
    if kinds & {"DatasetNotFoundError", "RepositoryNotFoundError", "RevisionNotFoundError"}:
        return NotFound(cause, f"check the name and the revision; a private data set needs HF_TOKEN; {_LOCAL}")
    if kinds & {"OfflineModeIsEnabled", "ConnectionError", "TransportError", "TimeoutException", "HTTPError"}:
        return DataError(f"the Hugging Face Hub cannot be reached: {cause}", f"check the connection, {_LOCAL}")
    root: BaseException = error
    while root.__cause__ is not None:  # "An error occurred while generating the dataset" does not help
        root = root.__cause__
    if "corresponds to no data" in str(root):
        return DataError(f"{uri} has no rows", "choose another config, split or revision")
    cause = f"{uri} cannot be loaded: {type(root).__name__}: {root}"
    return DataError(cause, f"set options.config or split, {_LOCAL}")


def _named_split(name: str, uri: str, splits: Mapping[str, Any]) -> str:
    split = split_of(name)
    if split is None:
        raise DataError(
            f"{uri} has the split {name!r}, which is not train, validation or test",
            f"choose splits with options: {{split: [train, test]}}; {nearest(name, splits)}",
        )
    return split


def _plain_table(table: pa.Table, features: Mapping[str, Any]) -> pa.Table:
    import pyarrow as pa

    columns = [_plain(table[name].combine_chunks(), features[name]) for name in table.column_names]
    return pa.Table.from_arrays(columns, names=table.column_names)


def _plain(column: pa.Array, feature: Any) -> pa.Array:
    """The column with names in place of class numbers, also inside lists (the tags of tokens)."""
    import pyarrow as pa
    import pyarrow.compute as pc

    if isinstance(column, pa.ChunkedArray):
        column = pa.concat_arrays(column.chunks) if column.num_chunks else pa.array([], column.type)
    if type(feature).__name__ == "ClassLabel":
        names = pa.array(feature.names, pa.string())
        class_numbers = pc.if_else(pc.less(column, 0), pa.scalar(None, column.type), column)
        return names.take(class_numbers)
    inner = getattr(feature, "feature", None)
    if type(inner).__name__ == "ClassLabel":
        values = _plain(column.values, inner)
        return pa.ListArray.from_arrays(column.offsets, values, mask=column.is_null() if column.null_count else None)
    return column


SOURCE = HubSource()
