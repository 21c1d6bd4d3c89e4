"""A folder that Spark carries to its workers as one file, for those that do not see it.

Each machine gets the archive once a session and unpacks it once, whichever of its processes asks first.
"""

from __future__ import annotations

import atexit
import fcntl
import os
import shutil
import tempfile
import zipfile
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any
from uuid import uuid4

from lakewright.errors import UsageError
from lakewright.system.files import put_in_place


def carried(session: Any, folder: Path, files: Sequence[Path]) -> Callable[[], Path]:
    """Where a worker finds the folder with these files of it; `session` is one of Spark, of any kind. Raises UsageError
    where it takes no files."""
    name = f"lakewright-{uuid4().hex}.zip"
    scratch = tempfile.mkdtemp(prefix="lakewright-")
    atexit.register(shutil.rmtree, scratch, ignore_errors=True)  # a worker may ask for it as long as the session lives
    archive = Path(scratch) / name
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_STORED) as packed:  # weights do not get smaller
        for path in files:
            packed.write(path, path.relative_to(folder))
    try:
        session.addArtifact(str(archive), file=True)
    except Exception as failure:
        raise UsageError(
            f"the Spark workers do not see the folder {folder} of this machine, and the session takes no files: "
            f"{str(failure)[:200]}",
            "put the workspace where all machines reach it: a mounted folder (profiles.yml: workspace)",
        ) from failure
    return partial(_unpacked, name)


def _unpacked(name: str) -> Path:
    from pyspark import SparkFiles

    archive = Path(SparkFiles.get(name))
    folder = archive.with_suffix("")
    with archive.open("rb") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        if not folder.is_dir():
            draft = folder.with_suffix(f".{os.getpid()}")
            shutil.rmtree(draft, ignore_errors=True)
            with zipfile.ZipFile(archive) as packed:
                packed.extractall(draft)  # zipfile lets no name leave it, and we made the archive
            put_in_place(draft, folder)
    return folder
