"""No line of a page is longer than 120 characters, apart from tables, code blocks and the addresses of links."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGES = [*(ROOT / name for name in ("README.md", "CONTRIBUTING.md", "SECURITY.md", "CHANGELOG.md"))]
PAGES += sorted((ROOT / "docs").rglob("*.md"))
LONGEST = 120


def long_lines(text: str) -> list[str]:
    prose = re.sub(r"^```.*?^```$", "", text, flags=re.MULTILINE | re.DOTALL)
    lines = [line for line in prose.splitlines() if not re.match(r" *\||    ", line)]  # a table, a code block
    return [line for line in lines if len(re.sub(r"\]\([^)\s]*\)", "]()", line)) > LONGEST]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_no_line_is_too_long(page: Path) -> None:
    assert long_lines(page.read_text(encoding="utf-8")) == []


def test_a_long_line_is_found() -> None:
    long = "word " * 30
    assert long_lines(f"{long}\n- {long}\n") == [long, f"- {long}"]
    assert long_lines(f"| {long} |\n\n    {long}\n\n```console\n{long}\n```\n[a page](https://{'a' * 130})\n") == []
