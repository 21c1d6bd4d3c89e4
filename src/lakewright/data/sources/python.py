"""Rows from a function of the project: `python:module:function`.

The function gets the project's `data.options` as keyword arguments and returns a pyarrow Table or RecordBatchReader, a
pandas DataFrame, or an iterable with one dict a row (such as a generator).
"""

from __future__ import annotations

import ast
import hashlib
import importlib
import importlib.metadata
import importlib.util
import inspect
import json
import sys
import traceback
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lakewright.data.sources import AS_IT_IS, Intake, checked
from lakewright.errors import DataError, LakewrightError, NotFound, UsageError, nearest

if TYPE_CHECKING:
    import pyarrow as pa

_PROJECTS: set[Path] = set()  # folders whose modules may be in memory
_FORM = "write python:MODULE:FUNCTION, for example python:source:rows for rows() in source.py beside project.yml"


def locate(uri: str, base: Path) -> str:
    """`python:FOLDER:module:function` if the project's folder `base` has the module, else the URI unchanged."""
    parts = uri.removeprefix("python:").split(":")
    if len(parts) == 2 and all(parts) and _file(base, parts[0]) is not None:
        return f"python:{base.absolute()}:{parts[0]}:{parts[1]}"
    return uri


class PythonSource:
    """Every option is an argument of the function.

    The fingerprint covers the function's module, the modules of the project it imports, the versions of installed
    packages it imports, and the options, but not data that the function fetches.
    """

    def open(
        self, uri: str, options: Mapping[str, Any], storage_options: Mapping[str, str], intake: Intake = AS_IT_IS
    ) -> pa.RecordBatchReader:
        folder, module, name = _parts(uri)
        _forget_projects()
        with _importable(folder), _explained(uri, module):
            function = _function(folder, module, name)
            _check_arguments(function, options, uri)
            result = function(**options)
        schema, batches = _stream(result, uri, folder, module, intake)
        return checked(schema, batches, uri, intake)

    def fingerprint(
        self, uri: str, options: Mapping[str, Any], storage_options: Mapping[str, str], intake: Intake = AS_IT_IS
    ) -> str:
        folder, module, name = _parts(uri)
        _forget_projects()
        path = _file(folder, module) if folder else _installed(module)
        sources: dict[str, str] = {}
        packages: set[str] = set()
        _imports(path, folder, sources, packages)
        distributions = _distributions()
        versions = {
            distribution: importlib.metadata.version(distribution)
            for package in packages
            for distribution in distributions.get(package, ())
        }
        state = [name, sources, versions, dict(options)]
        return hashlib.sha256(json.dumps(state, sort_keys=True, default=str).encode()).hexdigest()


@cache  # half a second: it reads every installed distribution's list of files
def _distributions() -> Mapping[str, list[str]]:
    return importlib.metadata.packages_distributions()


def _parts(uri: str) -> tuple[Path | None, str, str]:
    *folder, module, name = ["", *uri.removeprefix("python:").split(":")][-3:]
    if uri.count(":") not in (2, 3) or not module or not name:
        raise UsageError(f"{uri!r} does not name a function", _FORM)
    return Path(folder[0]) if folder[0] else None, module, name


def _file(folder: Path | None, module: str) -> Path | None:
    """The file of a module in the folder."""
    if folder is None:
        return None
    path = folder.joinpath(*module.split("."))
    return next((file for file in (path.with_suffix(".py"), path / "__init__.py") if file.is_file()), None)


def _installed(module: str) -> Path | None:
    try:
        spec = importlib.util.find_spec(module)
    except ModuleNotFoundError:
        spec = None
    if spec is None:
        raise NotFound(f"the module {module!r} is neither in the project's folder nor installed", _FORM)
    return Path(spec.origin) if spec.origin and spec.origin.endswith(".py") else None


@contextmanager
def _importable(folder: Path | None) -> Iterator[None]:
    """Puts the folder first on the path of modules, as `python script.py` does in that folder."""
    if folder is None:
        yield
        return
    sys.path.insert(0, str(folder))
    try:
        yield
    finally:
        sys.path.remove(str(folder))


def _function(folder: Path | None, module: str, name: str) -> Callable[..., Any]:
    if folder is None:
        _installed(module)
    else:
        _PROJECTS.add(folder)
    importlib.invalidate_caches()
    function = getattr(importlib.import_module(module), name, None)
    if not callable(function):
        names = [key for key, value in vars(sys.modules[module]).items() if callable(value) and key[0] != "_"]
        raise NotFound(f"the module {module} has no function {name!r}", nearest(name, names))
    callable_object: Callable[..., Any] = function
    return callable_object


def _check_arguments(function: Callable[..., Any], options: Mapping[str, Any], uri: str) -> None:
    """Raises UsageError for options that the function does not take, and for required ones that are missing."""
    try:
        parameters = inspect.signature(function).parameters.values()
    except ValueError:  # the function is not written in Python
        return
    named = [each for each in parameters if each.kind in (each.POSITIONAL_OR_KEYWORD, each.KEYWORD_ONLY)]
    parameter_names = [each.name for each in named]
    unknown = [option for option in options if option not in parameter_names]
    if unknown and not any(each.kind == each.VAR_KEYWORD for each in parameters):
        raise UsageError(
            f"the function of {uri} has no parameter {unknown[0]!r} (data.options)",
            nearest(unknown[0], parameter_names),
        )
    for each in named:
        if each.default is each.empty and each.name not in options:
            raise UsageError(
                f"the function of {uri} needs the parameter {each.name!r}", f"set it: data.options: {{{each.name}: …}}"
            )


def _forget_projects() -> None:
    """Unloads projects' modules: they may have changed, or hide modules of the same name in the current project."""
    for name, loaded in list(sys.modules.items()):
        origin = getattr(loaded, "__file__", None)
        if origin and any(origin.startswith(str(f)) and _file(f, name) == Path(origin) for f in _PROJECTS):
            del sys.modules[name]


@contextmanager
def _explained(uri: str, module: str) -> Iterator[None]:
    """Turns the function's exceptions into a DataError with the line in the function's own file."""
    try:
        yield
    except LakewrightError:
        raise
    except (Exception, SystemExit) as error:
        own = getattr(sys.modules.get(module), "__file__", None)
        frames = traceback.extract_tb(error.__traceback__)
        frame = next((frame for frame in reversed(frames) if frame.filename == own), frames[-1])
        if isinstance(error, SyntaxError):
            place = f"{error.filename} line {error.lineno}"
        else:
            place = f"{frame.filename} line {frame.lineno}: {frame.line}"
        if isinstance(error, SystemExit):
            raise DataError(
                f"{uri}: sys.exit({error.code!r}) would end the whole program ({place})",
                "return, or raise an error that describes the problem",
            ) from error
        raise DataError(f"{uri}: {type(error).__name__}: {error} ({place})", "correct the function") from error


def _stream(
    result: Any, uri: str, folder: Path | None, module: str, intake: Intake
) -> tuple[pa.Schema, Iterator[pa.RecordBatch]]:
    import pyarrow as pa

    from lakewright.data.sources.rows import from_rows

    if type(result).__module__.partition(".")[0] == "pandas":
        with _explained(uri, module):
            result = pa.Table.from_pandas(result, preserve_index=False)
    if isinstance(result, pa.Table):
        result = result.to_reader()
    if isinstance(result, pa.RecordBatchReader):
        return result.schema, _guarded(iter(result), uri, folder, module)
    if not isinstance(result, Iterable) or isinstance(result, str | bytes | Mapping):
        raise DataError(
            f"{uri} returned a {type(result).__name__}",
            "return a pyarrow Table or RecordBatchReader, a pandas DataFrame, or dicts, one a row",
        )
    rows = _guarded(iter(result), uri, folder, module)
    return from_rows(((f"{uri} row {number}", row) for number, row in enumerate(rows, 1)), None, intake)


def _guarded(items: Iterator[Any], uri: str, folder: Path | None, module: str) -> Iterator[Any]:
    while True:
        with _importable(folder), _explained(uri, module):
            try:
                item = next(items)
            except StopIteration:
                return
        yield item


def _imports(path: Path | None, folder: Path | None, sources: dict[str, str], packages: set[str]) -> None:
    """Collect the text of the module and of the project's modules it imports, and the other packages' names."""
    if path is None or str(path) in sources:
        return
    text = path.read_text(encoding="utf-8")
    # Names are relative to the project, so that its folder can be moved.
    sources[str(path.relative_to(folder)) if folder else path.name] = text
    try:
        tree = ast.parse(text)
    except SyntaxError:
        return  # opening the source reports the line
    names: list[str] = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module:
            names += [node.module, *(f"{node.module}.{alias.name}" for alias in node.names)]
    for name in names:
        own = _file(folder, name)
        if own is None:
            packages.add(name.partition(".")[0])
        elif str(own.relative_to(folder)) not in sources:  # type: ignore[arg-type]
            _imports(own, folder, sources, packages)


SOURCE = PythonSource()
