"""Cells as a script, as a Jupyter notebook (nbformat 4.5) and as a notebook in Databricks' source form."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from pathlib import Path

from lakewright.racing.glass_box.scripts import Cell
from lakewright.system import notebookfile
from lakewright.system.files import write_whole


def write_script(cells: Sequence[Cell], path: Path) -> None:
    parts = ["\n\n".join(part for part in (_comment(cell.words), cell.code) if part) for cell in cells]
    write_whole(path, "\n\n\n".join(parts) + "\n")


def write_notebook(cells: Sequence[Cell], path: Path) -> None:
    parts = [[notebookfile.words(cell.words), *([notebookfile.code(cell.code)] if cell.code else [])] for cell in cells]
    notebookfile.write([part for both in parts for part in both], path)


def write_databricks(cells: Sequence[Cell], path: Path) -> None:
    """https://docs.databricks.com/en/notebooks/notebook-export-import.html: a file of Python with its cells marked."""
    parts = []
    for cell in cells:
        parts.append("\n".join(f"# MAGIC {line}".rstrip() for line in ["%md", *cell.words.splitlines()]))
        if cell.code:
            parts.append(cell.code)
    write_whole(path, "# Databricks notebook source\n" + "\n\n# COMMAND ----------\n\n".join(parts) + "\n")


def _comment(words: str) -> str:
    lines = [line for each in words.splitlines() for line in textwrap.wrap(each.lstrip("# "), 117) or [""]]
    return "\n".join(f"# {line}".rstrip() for line in lines)
