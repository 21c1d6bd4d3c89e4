"""A folder for PYTHONPATH, in whose processes few rows are many parts, and a machine has the name that Spark knows it
by: so that machines which are processes of this one are told apart."""

from __future__ import annotations

from pathlib import Path

SITE = """
import os, socket, sys

if "SPARK_LOCAL_HOSTNAME" in os.environ:
    socket.gethostname = lambda: os.environ["SPARK_LOCAL_HOSTNAME"]
stages = {"prepare", "score"} & {*sys.orig_argv}
if stages and "stage" in sys.orig_argv and "lakewright.workers.standalone" not in sys.orig_argv:
    from lakewright.data.lake import parts

    parts.ROWS = 20
"""


def small_parts(folder: Path) -> str:
    folder.mkdir()
    (folder / "sitecustomize.py").write_text(SITE)
    return str(folder)
