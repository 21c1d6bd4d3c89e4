"""The files behind a URI: one file, the files of a folder, or those that a glob matches; local, s3:// or abfss://."""

from __future__ import annotations

import codecs
import hashlib
import io
import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from lakewright.errors import DataError, NotFound, UsageError, nearest
from lakewright.lake.sources import COMPRESSED, format_of_file

if TYPE_CHECKING:
    import pyarrow as pa
    from pyarrow.fs import FileInfo, FileSystem

# Local files up to this size in all are fingerprinted by content, so that touching or copying them changes nothing.
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
_SHARD = re.compile(r"[-_.]\d{5}-of-\d{5}$")
_SCHEMES = ("file", "s3", "abfss", "hf", "python")


@dataclass(frozen=True)
class SourceFile:
    """`path` is for the file system, `name` for people; `split` is train, validation, test or None."""

    path: str
    name: str
    size: int
    modified_ns: int
    split: str | None


@dataclass(frozen=True)
class Files:
    """What a URI stands for, in the order in which it is read."""

    system: FileSystem
    files: tuple[SourceFile, ...]
    local: bool

    @contextmanager
    def open(self, file: SourceFile) -> Iterator[Any]:
        """The file's bytes as a stream, decompressed by its ending; raises DataError when they cannot be had."""
        try:
            with self.system.open_input_stream(file.path, compression="detect") as stream:
                yield stream
        except OSError as error:
            raise DataError(f"{file.name} cannot be read: {error}", "copy the file anew, or fix its access") from error


def locate(uri: str, base: Path) -> str:
    """`uri` with a local path made absolute: relative to `base` if it is there, else to the current directory."""
    if "://" in uri and not uri.startswith("file://"):
        return uri
    path = Path(uri.removeprefix("file://")).expanduser()
    if path.is_absolute():
        return str(path)
    for folder in (base, Path.cwd()):
        found = folder / path
        if found.exists() or (_is_glob(uri) and any(folder.glob(uri))):
            return str(found.absolute())
    _not_there(uri, [entry.name for entry in _folder_of(base / path)])
    raise AssertionError  # _not_there raises


def find(uri: str, storage_options: Mapping[str, str], format: str, split: str | Sequence[str] | None = None) -> Files:
    """The files to read. A folder gives its files of the format, sorted by name; files in folders below need a glob.

    `split` (a source's option of that name) leaves only the files of these splits, by their names.
    """
    system, path = file_system(uri, storage_options)
    local = "://" not in uri
    info = _info(system, path, uri)
    if info.is_file:
        return Files(system, (SourceFile(path, PurePosixPath(path).name, info.size, info.mtime_ns or 0, None),), local)
    if _is_glob(uri) and info.type.name == "NotFound":
        base = _as_written(path) if local else path[: re.search(r"[*?\[]", path).start()].rpartition("/")[0]  # type: ignore[union-attr]
        pattern = _glob(path, base)
        found = [entry for entry in _list(system, base, uri, recursive=True) if pattern.fullmatch(entry.path)]
    elif info.type.name == "Directory":
        base = path
        found = [entry for entry in _list(system, path, uri) if format_of_file(entry.base_name) == format]
    else:
        parent = path.rpartition("/")[0]
        _not_there(uri, [entry.base_name for entry in _list(system, parent, uri)])
    found = sorted((entry for entry in found if entry.is_file), key=lambda entry: entry.path)
    if not found:
        there = sorted(entry.base_name for entry in _list(system, base, uri))
        raise NotFound(f"{uri} holds no {format} file", f"there is: {', '.join(there[:20]) or '(nothing)'}")
    names = [entry.path[len(base) :].strip("/") for entry in found]
    if split is not None:
        wanted = {split_of(name) or name for name in ([split] if isinstance(split, str) else split)}
        kept = [i for i, name in enumerate(names) if split_of(_stem(name)) in wanted]
        if not kept:
            raise NotFound(f"{uri} holds no file of the split {split} (options.split)", f"there is: {', '.join(names)}")
        found, names = [found[i] for i in kept], [names[i] for i in kept]
    splits = _splits(names, uri)
    return Files(
        system,
        tuple(
            SourceFile(entry.path, name, entry.size, entry.mtime_ns or 0, of)
            for entry, name, of in zip(found, names, splits, strict=True)
        ),
        local,
    )


def names_in(uri: str, storage_options: Mapping[str, str]) -> list[str]:
    """The names in a folder, or the files that a glob matches, without hidden ones; raises NotFound."""
    system, path = file_system(uri, storage_options)
    info = _info(system, path, uri)
    if info.type.name == "Directory":
        return sorted(entry.base_name for entry in _list(system, path, uri))
    if info.is_file:
        return [info.base_name]
    return [file.name for file in find(uri, storage_options, "data").files]


def fingerprint(files: Files, options: Mapping[str, Any]) -> str:
    """sha256 over names, splits, contents (or sizes and times, where that is too much to read) and options."""
    small = files.local and sum(file.size for file in files.files) <= _HASHED_BYTES
    states = [
        [file.name, file.split, file.size, _content(file) if small else _stamp(files, file)] for file in files.files
    ]
    return hashlib.sha256(json.dumps([states, dict(options)], sort_keys=True, default=str).encode()).hexdigest()


def joined(
    files: Files, schema: pa.Schema, read: Callable[[SourceFile], Iterator[pa.RecordBatch]]
) -> tuple[pa.Schema, Iterator[pa.RecordBatch]]:
    """The batches of `read(file)` for all files, with the column `split` where file names tell it and rows do not."""
    import pyarrow as pa

    if all(file.split is None for file in files.files) or "split" in schema.names:
        return schema, (batch for file in files.files for batch in read(file))
    with_split = schema.append(pa.field("split", pa.string()))

    def batches() -> Iterator[pa.RecordBatch]:
        for file in files.files:
            for batch in read(file):
                split = pa.repeat(pa.scalar(file.split, pa.string()), batch.num_rows)
                yield pa.RecordBatch.from_arrays([*batch.columns, split], schema=with_split)

    return with_split, batches()


def file_system(uri: str, storage_options: Mapping[str, str]) -> tuple[FileSystem, str]:
    """The pyarrow file system of the URI and the path in it. Options are named as delta-rs names them."""
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
    """The folders of a local glob that are there by these very names: in `sub [x]/*.csv`, `sub [x]` is no pattern."""
    return next(str(folder) for folder in PurePosixPath(path).parents if Path(folder).is_dir())


def _glob(path: str, base: str) -> re.Pattern[str]:
    """`*` and `?` stay within one folder, `**/` is any number of folders; in `base`, nothing is a pattern."""
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
    # As Spark does: names that begin with a dot or an underscore are not data (_delta_log is asked for by name).
    return [entry for entry in entries if entry.base_name == "_delta_log" or entry.base_name[0] not in "._"]


def _unreachable(uri: str, error: OSError) -> DataError:
    cause = str(error).split("\n")[0]
    return DataError(f"{uri} cannot be reached: {cause}", "check the address, and the profile's storage options")


def _folder_of(path: Path) -> list[Path]:
    return list(path.parent.iterdir()) if path.parent.is_dir() else []


def _not_there(uri: str, there: list[str]) -> None:
    raise NotFound(f"there is no file {uri}", nearest(uri.rstrip("/").rpartition("/")[2], there[:200]))


def split_of(stem: str) -> str | None:
    """train, validation or test for the usual names of splits, `all` for all, else None."""
    return _SPLITS.get(_SHARD.sub("", stem.lower()))


def without_mark(encoding: str) -> str:
    """The encoding that leaves out the mark some editors put before UTF-8 text; raises UsageError for unknown ones."""
    try:
        name = codecs.lookup(encoding).name
    except LookupError as error:
        raise UsageError(f"there is no encoding {encoding!r}", "for example utf-8, latin-1, cp1252, utf-16") from error
    return "utf-8-sig" if name == "utf-8" else name


def undecodable(files: Files, file: SourceFile, encoding: str) -> DataError:
    """The error for bytes that are not text in this encoding; finds the first such line."""
    remedy = "set options.encoding to the file's encoding, for example options: {encoding: latin-1}"
    with files.open(file) as stream:
        number = 0
        for number, line in enumerate(io.BufferedReader(stream), 1):
            try:
                line.decode(encoding)
            except UnicodeError as error:
                return DataError(f"{file.name} line {number} is not {encoding}: {error}", remedy)
    return DataError(f"{file.name} is not {encoding} (in its {number} lines)", remedy)


def _splits(names: list[str], uri: str) -> list[str | None]:
    splits = [split_of(_stem(name)) for name in names]
    if None in splits or set(splits) == {"all"}:
        return [None] * len(names)
    if "all" in splits:
        raise DataError(
            f"{uri} holds both a file named all and files named by split ({', '.join(names)})",
            "name one file, or match either with a glob, for example FOLDER/all.*",
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
    with files.system.open_input_file(file.path) as opened:  # one HEAD request: S3 tells times in whole seconds only
        metadata = opened.metadata() or {}
    etag: bytes = metadata.get("ETag", b"")
    return etag.decode() or str(file.modified_ns)
