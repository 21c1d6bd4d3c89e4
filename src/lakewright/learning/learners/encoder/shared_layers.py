"""Where several trainings keep what their frozen layers say, so that it is computed once for all trials of a search.

A file's name is a hash of all that decides its numbers: the token ids of the rows, the weights of the encoder before it
learns, how many layers are frozen, the kind of device and the precision. So no training finds the numbers of another
table, recipe, base model or fold. What was used last stays longest.
"""

from __future__ import annotations

import hashlib
import os
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import torch

from lakewright.model.recipe.encoded import Encoded
from lakewright.model.recipe.ragged import Ragged

LIMIT = 8 * 2**30  # bytes of one search


def name_of(encoder: torch.nn.Module, encoded: Encoded, frozen: int, device: str, precision: str) -> str:
    """The file's name. A few tenths of a second for a small encoder and 10,000 rows: hashing reads all of both."""
    digest = hashlib.blake2b(digest_size=16)
    digest.update(repr((frozen, device, precision, str(getattr(encoder, "config", "")))).encode())
    for key, tensor in encoder.state_dict().items():
        digest.update(f"{key} {tensor.dtype} {tuple(tensor.shape)}".encode())
        digest.update(_bytes(tensor.detach().cpu().contiguous().view(torch.uint8).numpy()))
    for key, value in vars(encoded).items():
        for array in (value.values, value.offsets) if isinstance(value, Ragged) else (value,):
            if array is not None:
                digest.update(f"{key} {array.dtype} {array.shape}".encode())
                digest.update(_bytes(array))
    return f"{digest.hexdigest()}.f32"


def place_in(folder: Path, name: str, size: int) -> Path | None:
    """Where the file of so many bytes lies, or is to be written; None where it is larger than all may be. Files that
    were used before all others make room. Whoever has one open goes on to read it."""
    path = folder / name
    if path.exists():
        with suppress(OSError):
            os.utime(path)
        return path
    if size > LIMIT:
        return None
    folder.mkdir(parents=True, exist_ok=True)
    files = sorted(((each, each.stat()) for each in folder.glob("*.f32")), key=lambda pair: pair[1].st_mtime_ns)
    held = sum(stat.st_size for _, stat in files)
    for each, stat in files:
        if held + size <= LIMIT:
            break
        each.unlink(missing_ok=True)
        held -= stat.st_size
    return path


def _bytes(array: Any) -> memoryview:
    return np.ascontiguousarray(array).reshape(-1).view(np.uint8).data
