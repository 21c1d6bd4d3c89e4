"""A Deployment as files for people and other tools: YAML, JSON and text, made from data."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from itertools import takewhile
from pathlib import Path
from typing import Any

import yaml

from lakewright.errors import UsageError
from lakewright.system import jsonfile
from lakewright.targets import Deployment

REQUESTS = "requests.json"


def texts(deployment: Deployment) -> dict[str, str]:
    """File name → its text; requests.json holds the requests, in order, and the sizes of the uploads."""
    files = {name: _text(name, content) for name, content in deployment.files.items()}
    requests = [{"operation": request.operation, "body": request.body} for request in deployment.requests]
    sizes = {to: f"{len(content):,} bytes" for to, content in deployment.uploads.items()}
    return {**files, REQUESTS: _text(REQUESTS, {"uploads": sizes, "requests": requests})}


def uploads(deployment: Deployment) -> dict[str, bytes]:
    """The content of each upload, by its name below the folder that all uploads share."""
    levels = zip(*(to.split("/")[:-1] for to in deployment.uploads), strict=False)
    root = "".join(f"{level[0]}/" for level in takewhile(lambda level: len({*level}) == 1, levels))
    return {to.removeprefix(root): content for to, content in deployment.uploads.items()}


def write(deployment: Deployment, folder: Path, sources: Sequence[Path] = ()) -> list[Path]:
    """Writes everything that is sent into the folder, and makes the folder. In one of the `sources`, the folders of
    the uploads, no upload replaces an existing file.

    Raises UsageError if the folder cannot be written, or holds files that this deployment lacks.
    """
    made = {name: text.encode() for name, text in texts(deployment).items()}
    contents = uploads(deployment) | made
    if folder.resolve() in sources:
        contents = {name: content for name, content in contents.items() if name in made or not (folder / name).exists()}
    else:
        _refuse_foreign(folder, contents)
    try:
        for name, content in contents.items():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).write_bytes(content)
    except OSError as failure:
        raise UsageError(f"{folder} cannot be written: {failure}", "name another folder (--out)") from None
    return [folder / name for name in contents]


def _refuse_foreign(folder: Path, names: Collection[str]) -> None:
    """Raises UsageError: files of an earlier deployment would look like a part of this one. Hidden files belong to
    other tools."""
    paths = (path.relative_to(folder) for path in folder.rglob("*") if not path.is_dir())
    existing = (path.as_posix() for path in paths if not any(part.startswith(".") for part in path.parts))
    foreign = sorted({*existing} - {*names})
    if foreign:
        more = f" and {len(foreign) - 3} more" if len(foreign) > 3 else ""
        raise UsageError(
            f"{folder} holds files that are not of this deployment: {', '.join(foreign[:3])}{more}",
            "remove them, or name another folder (--out)",
        )


def as_yaml(content: Any) -> str:
    return yaml.dump(content, Dumper=_Plain, sort_keys=False, allow_unicode=True, width=120)


class _Plain(yaml.SafeDumper):
    """Writes no anchors: repeated values are written again, for other tools."""

    def ignore_aliases(self, data: Any) -> bool:
        return True


def _text(name: str, content: Any) -> str:
    if isinstance(content, str):
        return content
    if name.endswith((".yml", ".yaml")):
        return as_yaml(content)
    return jsonfile.text(content)
