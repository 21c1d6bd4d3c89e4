"""Finds the source that reads a URI: by its scheme, its name, or the content of its folder."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from lakewright import plugins
from lakewright.data.sources import Source, format_of_file
from lakewright.errors import DataError, NotFound


def open_source(uri: str, format: str | None, storage_options: Mapping[str, str], base: Path) -> tuple[Source, str]:
    """The source that reads `uri`, and the URI in that source's form.

    The scheme decides (`hf://`, `postgresql://`, `python:`), then `format`, then the file's extension or the folder's
    content. A relative path and a `python:` module are looked up in `base`, the project's folder, and then in the
    current directory (a module: among the installed ones).
    """
    from lakewright.data.sources import files

    if (scheme := uri.partition("://")[0]) != uri and scheme in plugins.SOURCES.names():
        return plugins.SOURCES.find(scheme), uri
    if uri.startswith("python:"):
        from lakewright.data.sources.python import locate

        return plugins.SOURCES.find("python"), locate(uri, base)
    located = files.locate(uri, base)
    name = format or _format_of_name(located) or _format_of_folder(located, storage_options)
    return plugins.SOURCES.find(name), located


def _format_of_name(uri: str) -> str | None:
    return format_of_file(uri.rstrip("/").rpartition("/")[2])


def _format_of_folder(uri: str, storage_options: Mapping[str, str]) -> str:
    from lakewright.data.sources import files

    names = files.names_in(uri, storage_options)
    if "_delta_log" in names:
        return "delta"
    formats = {kind for name in names if (kind := format_of_file(name)) is not None}
    if len(formats) == 1:
        return formats.pop()
    remedy = f"choose the format with data.format: {', '.join(sorted(formats) or plugins.SOURCES.names())}"
    if not formats:
        raise NotFound(f"{uri} has no file of a known format (its files: {', '.join(names[:10]) or 'nothing'})", remedy)
    raise DataError(f"{uri} has files of several formats", remedy)
