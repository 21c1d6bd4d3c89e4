"""The files behind a URI: one file, the files of a folder, or those that a glob matches; local, s3:// or abfss://."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote, urlsplit

from lakewright.data.sources import COMPRESSED, format_of_file
from lakewright.errors import DataError, NotFound, UsageError, nearest

if TYPE_CHECKING:
    import pyarrow as pa
    from pyarrow.fs import FileInfo, FileSystem

    from lakewright.data.sources import Intake

# Local files up to this total size are fingerprinted by content, so that touching or copying them changes nothing.
_HASHED_BYTES = 64 << 20
_SPLITS = {
    "train": "train",
    "dev": "validation",
    "valid": "validation",
    "val": "validation",
    "validation": "validation",
    "test": "test",
    "all": "all",
}
_PARTITION = re.compile(r"([^=]+)=(.*)", re.DOTALL)  # a folder's name with a column's value
_NO_VALUE = "__HIVE_DEFAULT_PARTITION__"
_MARKS = {".gz": b"\x1f\x8b", ".bz2": b"BZh", ".zst": b"\x28\xb5\x2f\xfd"}  # the first bytes of such files
_SHARD = re.compile(r"[-_.]\d{5}-of-\d{5}$")
_SCHEMES = ("file", "s3", "abfss", "hf", "python")


@dataclass(frozen=True)
class SourceFile:
    """`path` is for the file system, `name` for people; `split` is train, validation, test or None; `partition` holds
    the values of the folders NAME=VALUE around the file, and its own name in `options.file_column`."""

    path: str
    name: str
    size: int
    modified_ns: int
    split: str | None
    partition: Mapping[str, str | None] = field(default_factory=dict)


@dataclass(frozen=True)
class Files:
    """The files of a URI, in reading order."""

    system: FileSystem
    files: tuple[SourceFile, ...]
    local: bool

    @contextmanager
    def open(self, file: SourceFile) -> Iterator[Any]:
        """The file's bytes as a stream, decompressed by its ending; raises DataError if they cannot be read."""
        try:
            with self.system.open_input_stream(file.path, compression="detect") as stream:
                yield stream
        except OSError as error:
            if self._is_plain(file):
                cause = f"{file.name} has the name of a compressed file, but is not compressed"
                raise DataError(cause, f"rename it to {file.name.rpartition('.')[0]}") from None
            raise DataError(
                f"{file.name} cannot be read: {error}", "copy the file again, or correct its permissions"
            ) from error

    def _is_plain(self, file: SourceFile) -> bool:
        """Whether the file has the name of a compressed file, but does not begin like one."""
        mark = _MARKS.get(PurePosixPath(file.name).suffix, b"")
        try:
            with self.system.open_input_stream(file.path, compression=None) as stream:
                return not stream.read(len(mark)).startswith(mark)
        except OSError:
            return False


def locate(uri: str, base: Path) -> str:
    """`uri` with a local path made absolute: relative to `base` if it exists there, else to the current directory."""
    if "://" in uri and not uri.startswith("file://"):
        return uri
    path = Path(uri.removeprefix("file://")).expanduser()
    if path.is_absolute():
        return str(path)
    for folder in (base, Path.cwd()):
        candidate = folder / path
        if candidate.exists() or (_is_glob(uri) and any(folder.glob(uri))):
            return str(candidate.absolute())
    _raise_missing(uri, [entry.name for entry in _folder_of(base / path)])
    raise AssertionError  # _raise_missing raises


OPTIONS = {"split", "file_column"}  # that every source of files has


def find(
    uri: str,
    storage_options: Mapping[str, str],
    format: str,
    options: Mapping[str, Any],
    only: Collection[str] | None = None,
) -> Files:
    """The files to read. For a folder, its files of the format, sorted by name, and those in folders NAME=VALUE below;
    files in other folders below need a glob.

    The source's option `split` keeps only the files of these splits, by their names; `file_column` names a column that
    holds each row's file. `only` keeps the files of these names. Raises DataError for an option that cannot be.
    """
    split: str | Sequence[str] | None = options.get("split")
    column = options.get("file_column")
    if column is not None and (not isinstance(column, str) or not column):
        raise DataError(f"options.file_column is {column!r}, and no name of a column", "write file_column: file")
    system, path = file_system(uri, storage_options)
    local = "://" not in uri
    info = _info(system, path, uri)
    if info.is_file:
        if split is not None:
            raise DataError(
                f"{uri} is one file, and options.split chooses among those of a folder",
                "remove options.split, or name the folder",
            )
        name = PurePosixPath(path).name
        own = {} if column is None else {column: name}
        return Files(system, (SourceFile(path, name, info.size, info.mtime_ns or 0, None, own),), local)
    if _is_glob(uri) and info.type.name == "NotFound":
        base = _as_written(path) if local else path[: re.search(r"[*?\[]", path).start()].rpartition("/")[0]  # type: ignore[union-attr]
        pattern = _glob(path, base)
        entries = [entry for entry in _list(system, base, uri, recursive=True) if pattern.fullmatch(entry.path)]
    elif info.type.name == "Directory":
        base = path
        entries = [entry for entry in _partitioned(system, path, uri) if format_of_file(entry.base_name) == format]
    else:
        parent = path.rpartition("/")[0]
        _raise_missing(uri, [entry.base_name for entry in _list(system, parent, uri)])
    entries = sorted((entry for entry in entries if entry.is_file), key=lambda entry: entry.path)
    if not entries:
        names_in_folder = sorted(entry.base_name for entry in _list(system, base, uri))
        raise NotFound(f"{uri} has no {format} file", f"its files: {', '.join(names_in_folder[:20]) or '(nothing)'}")
    while _PARTITION.fullmatch(base.rpartition("/")[2]):  # year=2024/*.csv
        base = base.rpartition("/")[0]
    names = [_relative(entry, base) for entry in entries]
    if split is not None:
        file_splits = [split_of(_stem(name)) for name in names]
        requested = {name: split_of(name) for name in ([split] if isinstance(split, str) else split)}
        for name, split_name in requested.items():
            if split_name is None or split_name not in file_splits:
                raise NotFound(
                    f"{uri} has no file of the split {name!r} (options.split)", f"its files: {', '.join(names)}"
                )
        indices = [i for i, split_name in enumerate(file_splits) if split_name in requested.values()]
        entries, names = [entries[i] for i in indices], [names[i] for i in indices]

    def from_name(name: str) -> dict[str, str | None]:
        folders = _partition(name)
        if column in folders:
            raise DataError(f"options.file_column: {column} is the name of a folder, too", "choose another name")
        return folders if column is None else {**folders, column: name}

    return Files(
        system,
        tuple(
            SourceFile(entry.path, name, entry.size, entry.mtime_ns or 0, file_split, from_name(name))
            for entry, name, file_split in zip(entries, names, _splits(names, uri), strict=True)
            if only is None or name in only
        ),
        local,
    )


def names_in(uri: str, storage_options: Mapping[str, str]) -> list[str]:
    """The names in a folder, or the files that a glob matches, without hidden ones; raises NotFound."""
    system, path = file_system(uri, storage_options)
    info = _info(system, path, uri)
    if info.type.name == "Directory":
        return sorted({entry.base_name for entry in _partitioned(system, path, uri)})
    if info.is_file:
        return [info.base_name]
    return [file.name for file in find(uri, storage_options, "data", {}).files]


def fingerprint(files: Files, options: Mapping[str, Any], *columns: Collection[str]) -> str:
    """sha256 over names, splits, contents (or sizes and times, if there is too much to read), options, and the columns
    that the project reads in a special way."""
    small = files.local and sum(file.size for file in files.files) <= _HASHED_BYTES
    states = [
        [file.name, file.split, file.size, _content(file) if small else _stamp(files, file)] for file in files.files
    ]
    state = [states, dict(options), *map(sorted, columns)]
    return hashlib.sha256(json.dumps(state, sort_keys=True, default=str).encode()).hexdigest()


def stamp(file: SourceFile) -> str:
    """Differs where the file does, as far as the listing shows it: its size and its time. No file is asked for it."""
    return f"{file.size} {file.modified_ns}"


def from_names(files: Files, intake: Intake) -> dict[str, pa.Array]:
    """The columns from the files' names and folders: one for each NAME=VALUE, and `split`, with one value a file.

    Values get types as in csv files. Raises DataError if only some files lie in such folders.
    """
    import pyarrow as pa

    from lakewright.data.sources.written import typed_columns

    first = files.files[0]
    names = list(first.partition)
    for file in files.files:
        if set(file.partition) != set(names):
            file_without, name = sorted(
                (other.name, name)
                for one, other in ((first, file), (file, first))
                for name in set(one.partition) - set(other.partition)
            )[0]
            raise DataError(
                f"{file_without} is not in a folder {name}=…, but other files are",
                "move it, or choose files with a glob",
            )
    columns = {
        name: pa.array([file.partition[name] for file in files.files], pa.string()) for name in intake.kept(names)
    }
    columns = typed_columns(columns, intake)
    if "split" not in names and any(file.split for file in files.files) and intake.kept(["split"]):
        columns["split"] = pa.array([file.split for file in files.files], pa.string())
    return columns


def column_conflict(name: str, file: SourceFile) -> DataError:
    return DataError(
        f"the column {name!r} is in {file.name} and in the name of its folder, or is options.file_column",
        f"rename one of them; data.exclude: [{name}] leaves out both",
    )


def beside(files: Files, names: Collection[str], intake: Intake) -> dict[str, pa.Array]:
    """The columns from the files' names and folders that belong beside those of these names, one value a file. Raises
    DataError for a folder's column that is one of them."""
    for name in names:
        if name in files.files[0].partition:
            raise column_conflict(name, files.files[0])
    return {name: column for name, column in from_names(files, intake).items() if name not in names}


def joined(
    files: Files, schema: pa.Schema, read: Callable[[SourceFile], Iterator[pa.RecordBatch]], intake: Intake
) -> tuple[pa.Schema, Iterator[pa.RecordBatch]]:
    """The batches of `read(file)` for all files, with the columns from their names and folders."""
    import pyarrow as pa

    more = beside(files, schema.names, intake)
    whole = pa.schema([*schema, *((name, column.type) for name, column in more.items())])

    def batches() -> Iterator[pa.RecordBatch]:
        for row, file in enumerate(files.files):
            for batch in read(file):
                same = [pa.repeat(column[row], batch.num_rows) for column in more.values()]
                yield pa.RecordBatch.from_arrays([*batch.columns, *same], schema=whole)

    return whole, batches()


def file_system(uri: str, storage_options: Mapping[str, str]) -> tuple[FileSystem, str]:
    """The pyarrow file system of the URI and the path in it. Options have delta-rs's names."""
    from pyarrow import fs

    scheme, separator, rest = uri.partition("://")
    if not separator or scheme == "file":
        return fs.LocalFileSystem(), rest if separator else uri
    options = {name.upper(): value for name, value in storage_options.items()}
    if scheme in ("s3", "s3a"):
        endpoint = options.get("AWS_ENDPOINT_URL")
        plain = options.get("AWS_ALLOW_HTTP", "").lower() in ("true", "1") and str(endpoint).startswith("http://")
        return fs.S3FileSystem(
            access_key=options.get("AWS_ACCESS_KEY_ID"),
            secret_key=options.get("AWS_SECRET_ACCESS_KEY"),
            session_token=options.get("AWS_SESSION_TOKEN"),
            anonymous=options.get("AWS_SKIP_SIGNATURE", "").lower() in ("true", "1"),
            region=options.get("AWS_REGION") or options.get("AWS_DEFAULT_REGION"),
            endpoint_override=endpoint.partition("://")[2] if endpoint else None,
            scheme="http" if plain else "https",
        ), rest.rstrip("/")
    if scheme in ("abfss", "abfs"):
        match = re.fullmatch(r"([^@/]+)@([^./]+)\.[^/]+/?(.*)", rest)
        if match is None:
            raise UsageError(f"{uri} is not complete", "write abfss://CONTAINER@ACCOUNT.dfs.core.windows.net/PATH")
        container, account, path = match.groups()
        served = urlsplit(options.get("AZURE_STORAGE_ENDPOINT", ""))  # an emulator: http://127.0.0.1:10000/ACCOUNT
        emulator = {
            "blob_storage_authority": served.netloc,
            "blob_storage_scheme": served.scheme,
            "dfs_storage_authority": served.netloc,
            "dfs_storage_scheme": served.scheme,
        }
        return fs.AzureFileSystem(
            account_name=account,
            account_key=options.get("AZURE_STORAGE_ACCOUNT_KEY"),
            sas_token=options.get("AZURE_STORAGE_SAS_TOKEN") or options.get("AZURE_STORAGE_SAS_KEY"),
            tenant_id=options.get("AZURE_STORAGE_TENANT_ID"),
            client_id=options.get("AZURE_STORAGE_CLIENT_ID"),
            client_secret=options.get("AZURE_STORAGE_CLIENT_SECRET"),
            **(emulator if served.path.strip("/") == account else {}),
        ), f"{container}/{path}".rstrip("/")
    raise UsageError(f"{uri}: there is no source for {scheme}://", nearest(scheme, _SCHEMES))


def _is_glob(uri: str) -> bool:
    return re.search(r"[*?\[]", uri) is not None


def _as_written(path: str) -> str:
    """The leading folders of a local glob that exist under exactly these names: in `sub [x]/*.csv`, `sub [x]`."""
    return next(str(folder) for folder in PurePosixPath(path).parents if Path(folder).is_dir())


def _glob(path: str, base: str) -> re.Pattern[str]:
    """`*` and `?` stay within one folder, `**/` is any number of folders; `base` is no pattern."""
    pieces = re.split(r"(\*\*/|\*|\?|\[[^\]]+\])", path[len(base) :])
    patterns = {"**/": "(?:.*/)?", "*": "[^/]*", "?": "[^/]"}
    return re.compile(
        re.escape(base)
        + "".join(patterns.get(piece) or (piece if piece.startswith("[") else re.escape(piece)) for piece in pieces)
    )


def _info(system: FileSystem, path: str, uri: str) -> FileInfo:
    try:
        return system.get_file_info(path)
    except OSError as error:
        raise _unreachable(uri, error) from error


def _list(system: FileSystem, path: str, uri: str, recursive: bool = False) -> list[FileInfo]:
    from pyarrow.fs import FileSelector

    try:
        entries = system.get_file_info(FileSelector(path, recursive=recursive, allow_not_found=True))
    except OSError as error:
        raise _unreachable(uri, error) from error
    return [entry for entry in entries if _is_data(_relative(entry, path))]


def _relative(entry: FileInfo, folder: str) -> str:
    path: str = entry.path[len(folder) :]
    return path.strip("/")


def _is_data(path: str) -> bool:
    """Like Spark: a file or folder whose name begins with a dot or an underscore is not data; `_NAME=VALUE`, which is
    a column, is. `_delta_log` is looked up by name."""
    *folders, name = path.split("/")
    hidden = any(part[0] == "." or (part[0] == "_" and "=" not in part) for part in [*folders, name] if part)
    return path == "_delta_log" or not (hidden or name.endswith(".crc"))


def _partitioned(system: FileSystem, path: str, uri: str) -> list[FileInfo]:
    """The entries of a folder and of the folders NAME=VALUE below."""
    entries = _list(system, path, uri)
    if not any(_PARTITION.fullmatch(entry.base_name) for entry in entries if not entry.is_file):
        return entries
    return [
        entry
        for entry in _list(system, path, uri, recursive=True)
        if all(map(_PARTITION.fullmatch, _relative(entry, path).split("/")[:-1]))
    ]


def _partition(name: str) -> dict[str, str | None]:
    """The values of the folders NAME=VALUE in a file's name."""
    pairs = [match.groups() for folder in name.split("/")[:-1] if (match := _PARTITION.fullmatch(folder))]
    return {unquote(key): None if value == _NO_VALUE else unquote(value) for key, value in pairs}


def _unreachable(uri: str, error: OSError) -> DataError:
    cause = str(error).split("\n")[0]
    return DataError(f"{uri} cannot be reached: {cause}", "check the address, and the profile's storage options")


def _folder_of(path: Path) -> list[Path]:
    return list(path.parent.iterdir()) if path.parent.is_dir() else []


def _raise_missing(uri: str, names: list[str]) -> None:
    raise NotFound(f"there is no file {uri}", nearest(uri.rstrip("/").rpartition("/")[2], names[:200]))


def split_of(stem: str) -> str | None:
    """train, validation or test for the usual names of splits, `all` for all, else None."""
    return _SPLITS.get(_SHARD.sub("", stem.lower()))


def _splits(names: list[str], uri: str) -> list[str | None]:
    splits = [split_of(_stem(name)) for name in names]
    if None in splits or set(splits) == {"all"}:
        return [None] * len(names)
    if "all" in splits:
        raise DataError(
            f"{uri} has both a file named all and files named by split ({', '.join(names)})",
            "name one file, or select one kind with a glob, for example FOLDER/all.*",
        )
    return splits


def _stem(name: str) -> str:
    name = PurePosixPath(name).name.lower()
    for ending in COMPRESSED:
        name = name.removesuffix(ending)
    return PurePosixPath(name).stem


def _content(file: SourceFile) -> str:
    with Path(file.path).open("rb") as opened:
        return hashlib.file_digest(opened, "sha256").hexdigest()


def _stamp(files: Files, file: SourceFile) -> str:
    if files.local:
        return str(file.modified_ns)
    with files.system.open_input_file(file.path) as opened:  # one HEAD request: S3's times are whole seconds
        metadata = opened.metadata() or {}
    etag: bytes = metadata.get("ETag", b"")
    return etag.decode() or str(file.modified_ns)
