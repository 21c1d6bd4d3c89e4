"""docs/benchmarks.md: each benchmark writes between its own two markers and leaves the rest of the page alone."""

from __future__ import annotations

import os
import platform
import subprocess
import textwrap
import time
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PAGE = ROOT / "docs" / "benchmarks.md"


def told(name: str) -> list[str]:
    """The lines that stand between the markers now."""
    return PAGE.read_text(encoding="utf-8").partition(_begin(name))[2].partition(_end(name))[0].strip().splitlines()


def write(name: str, lines: Sequence[str], script: str | None = None) -> None:
    """`script` is named as the section is, unless it writes several."""
    begin = _begin(name, script)
    before, marker, rest = PAGE.read_text(encoding="utf-8").partition(begin)
    if not marker:
        raise SystemExit(f"{PAGE} has no marker {begin}")
    after = rest.partition(_end(name))[2]
    shown = "\n".join(line if line.startswith("|") else textwrap.fill(line, 120) for line in lines)
    PAGE.write_text(f"{before}{marker}\n{shown}\n{_end(name)}{after}", encoding="utf-8")


def stamp(command: str) -> str:
    """Command, date, machine and versions, as the line below a table."""
    threads = len(os.sched_getaffinity(0))
    packages = ", ".join(f"{name} {version(name)}" for name in ("torch", "transformers", "onnxruntime"))
    where = f"{cpu()} on {threads} threads, Python {platform.python_version()}, {packages}"
    return f"`{command}`, {time.strftime('%Y-%m-%d')}, {where}."


def commit() -> str:
    """What was measured: the checkout's commit, with a + where files differ from it (the page apart)."""
    said = [
        subprocess.run(["git", *command], cwd=ROOT, stdout=subprocess.PIPE, text=True, check=True).stdout.strip()
        for command in (["rev-parse", "--short", "HEAD"], ["status", "--porcelain", "--", ".", ":!docs/benchmarks.md"])
    ]
    return said[0] + "+" * bool(said[1])


def cpu() -> str:
    names = [line for line in Path("/proc/cpuinfo").read_text().splitlines() if line.startswith("model name")]
    return names[0].partition(":")[2].strip() if names else platform.processor()


def _begin(name: str, script: str | None = None) -> str:
    return f"<!-- {name}: written by benchmarks/{script or name}.py -->"


def _end(name: str) -> str:
    return f"<!-- end of {name} -->"
