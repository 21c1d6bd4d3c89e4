"""The model folder: everything a prediction needs, in safe formats, with the hash of every file.

    model.json          format, task and its labels, learner, lakewright's version
    project.json        the resolved project that made it
    encoding/           encoding.json, tokenizer.json …
    model.safetensors   the weights                     model.onnx    the network that serves
    serving.json        which runtime for which use     openvino.xml, openvino.bin   where OpenVINO is one of them
    samples.json        sample rows and what this model says of them in each runtime that serves it
    manifest.json       sha256 of each file; the folder's digest is the manifest's

The folder that was evaluated and gated is, byte for byte, the folder that is served: opening one checks the hashes.
"""

from __future__ import annotations

import hashlib
import json
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from lakewright.errors import ModelError
from lakewright.runtimes import Use, cores

FORMAT = 2
SERVING = "serving.json"
BLOCK = 4 << 20  # bytes hashed at once: after each, other threads have their turn


def seal(folder: Path) -> str:
    """Writes manifest.json over the folder's files and returns the folder's digest."""
    files = {str(path.relative_to(folder)): file_hash(path) for path in sorted(folder.rglob("*")) if path.is_file()}
    files.pop("manifest.json", None)
    for name in files:  # safetensors writes files that its user alone can read; a server is another
        (folder / name).chmod(0o644)
    (folder / "manifest.json").write_text(json.dumps(files, indent=2) + "\n", encoding="utf-8")
    return digest_of(folder)


def digest_of(folder: Path) -> str:
    return file_hash(folder / "manifest.json")


def verify(folder: Path) -> str:
    """The folder's digest, after every file was found to be as it was sealed. Raises ModelError naming what is not."""
    try:
        expected = json.loads((folder / "manifest.json").read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ModelError(
            f"{folder} is no model folder: it holds no manifest.json", "name a folder that a run made"
        ) from None
    except ValueError:
        raise ModelError(f"{folder / 'manifest.json'} is damaged", "register or download the model again") from None
    paths = [folder / name for name in expected]
    for name, path in zip(expected, paths, strict=True):
        if not path.is_file() or not path.resolve().is_relative_to(folder.resolve()):
            raise ModelError(f"the model folder {folder} lacks {name}", "register or download the model again")
    with ThreadPoolExecutor(cores()) as pool:
        for path, hashed, sha256 in zip(paths, pool.map(file_hash, paths), expected.values(), strict=True):
            if hashed != sha256:
                raise ModelError(
                    f"{path} is not the file that was evaluated: its hash differs from the manifest's",
                    "do not serve it; register or download the model again",
                )
    return digest_of(folder)


def file_hash(path: Path) -> str:
    hashed = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(BLOCK):
            hashed.update(block)
    return hashed.hexdigest()


def content_of(folder: Path) -> str:
    """A name for what the folder's files hold, for folders that are named so."""
    hashes = sorted((path.name, file_hash(path)) for path in folder.iterdir())
    return hashlib.sha256(json.dumps(hashes).encode()).hexdigest()[:16]


def serving(folder: Path, use: Use) -> tuple[str, str]:
    """The runtime that was measured to be the best for this use where the folder was made, and its precision."""
    file = folder / SERVING
    if not file.exists():
        return "onnx", "fp32"
    chosen = json.loads(file.read_text(encoding="utf-8"))[use]
    return chosen["runtime"], chosen["precision"]


def sample_rows(folder: Path) -> list[dict[str, Any]]:
    """The rows in samples.json: what the signature and the input example are made from."""
    rows: list[dict[str, Any]] = json.loads((folder / "samples.json").read_text(encoding="utf-8"))["rows"]
    return rows


def describe(folder: Path) -> dict[str, Any]:
    """model.json. Raises ModelError for a format that this version does not read."""
    try:
        described: dict[str, Any] = json.loads((folder / "model.json").read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ModelError(
            f"{folder} is no model folder: it holds no model.json", "name a folder that a run made"
        ) from None
    if described.get("format") != FORMAT:
        raise ModelError(
            f"{folder} has the model folder format {described.get('format')}; this version reads {FORMAT}",
            f"use the lakewright that made it ({described.get('lakewright', 'unknown')}), or train again",
        )
    return described
