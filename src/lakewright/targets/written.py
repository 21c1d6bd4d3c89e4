"""A Deployment as a person reads it and other tools take it: YAML, JSON and text, made from data."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import yaml

from lakewright.targets import Deployment
from lakewright.workspace import write_whole

REQUESTS = "requests.json"


def texts(deployment: Deployment) -> dict[str, str]:
    """File name → what stands in it; the requests, in their order, and what is uploaded are requests.json."""
    found = {name: _text(name, content) for name, content in deployment.files.items()}
    if deployment.requests or deployment.uploads:
        requests = [{"operation": request.operation, "body": request.body} for request in deployment.requests]
        uploads = {to: path.name for to, path in deployment.uploads.items()}
        found[REQUESTS] = _text(REQUESTS, {"uploads": uploads, "requests": requests})
    return found


def write(deployment: Deployment, folder: Path) -> list[Path]:
    """The files in the folder, which is made."""
    found = []
    for name, text in texts(deployment).items():
        write_whole(folder / name, text)
        found.append(folder / name)
    return found


class _Plain(yaml.SafeDumper):
    """Without anchors: what is said twice is written twice, as other tools read it best."""

    def ignore_aliases(self, data: Any) -> bool:
        return True


def _text(name: str, content: Any) -> str:
    if isinstance(content, str):
        return content
    if name.endswith((".yml", ".yaml")):
        return yaml.dump(content, Dumper=_Plain, sort_keys=False, allow_unicode=True, width=120)
    return json.dumps(content, indent=2, ensure_ascii=False) + "\n"
