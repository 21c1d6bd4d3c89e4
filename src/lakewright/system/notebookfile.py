"""Jupyter's notebooks (nbformat 4.5): cells of words and of code, written whole."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from lakewright.system.files import write_whole

Cell = dict[str, Any]  # JSON-ready, without its id


def words(text: str) -> Cell:
    """A cell of Markdown."""
    return {"cell_type": "markdown", "metadata": {}, "source": text.splitlines(keepends=True)}


def code(source: str) -> Cell:
    """A cell of Python that has not run."""
    lines = source.splitlines(keepends=True)
    return {"cell_type": "code", "execution_count": None, "metadata": {}, "outputs": [], "source": lines}


def write(cells: Sequence[Cell], path: Path) -> None:
    notebook = {
        "nbformat": 4,
        "nbformat_minor": 5,
        "metadata": {
            "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
            "language_info": {"name": "python"},
        },
        "cells": [{"id": f"cell-{number}", **cell} for number, cell in enumerate(cells)],
    }
    write_whole(path, json.dumps(notebook, indent=1, ensure_ascii=False) + "\n")
