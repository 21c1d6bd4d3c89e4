"""A Deployment as a person reads it and other tools take it: YAML, JSON and text, made from data."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml

from lakewright import jsonfile
from lakewright.errors import UsageError
from lakewright.targets import Deployment

REQUESTS = "requests.json"


def texts(deployment: Deployment) -> dict[str, str]:
    """File name → what stands in it; the requests, in their order, and what is uploaded are requests.json."""
    found = {name: _text(name, content) for name, content in deployment.files.items()}
    requests = [{"operation": request.operation, "body": request.body} for request in deployment.requests]
    uploads = {to: f"{len(content):,} bytes" for to, content in deployment.uploads.items()}
    return {**found, REQUESTS: _text(REQUESTS, {"uploads": uploads, "requests": requests})}


def write(deployment: Deployment, folder: Path, sources: Sequence[Path] = ()) -> list[Path]:
    """The files in the folder, which is made, and what is uploaded, by its name; in one of the `sources`, the folders
    where that comes from, over nothing that is there. Raises UsageError where the folder cannot be written."""
    root = os.path.commonpath([to.rpartition("/")[0] for to in deployment.uploads]) if deployment.uploads else ""
    contents = {to.removeprefix(root).lstrip("/"): content for to, content in deployment.uploads.items()}
    if folder.resolve() in sources:
        contents = {name: content for name, content in contents.items() if not (folder / name).exists()}
    contents |= {name: text.encode() for name, text in texts(deployment).items()}
    try:
        for name, content in contents.items():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).write_bytes(content)
    except OSError as failure:
        raise UsageError(f"{folder} cannot be written: {failure}", "name another folder (--out)") from None
    return [folder / name for name in contents]


def as_yaml(content: Any) -> str:
    return yaml.dump(content, Dumper=_Plain, sort_keys=False, allow_unicode=True, width=120)


class _Plain(yaml.SafeDumper):
    """Without anchors: what is said twice is written twice, as other tools read it best."""

    def ignore_aliases(self, data: Any) -> bool:
        return True


def _text(name: str, content: Any) -> str:
    if isinstance(content, str):
        return content
    if name.endswith((".yml", ".yaml")):
        return as_yaml(content)
    return jsonfile.text(content)
