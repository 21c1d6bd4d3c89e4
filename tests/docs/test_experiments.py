"""Each entry of docs/experiments.md has the same four parts, in one order, each with a text."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

PAGE = Path(__file__).parents[2] / "docs" / "experiments.md"
PARTS = ["Prediction", "Change", "Result", "Why"]


def malformed(page: str) -> Iterator[str]:
    for entry in re.split(r"^### ", page, flags=re.MULTILINE)[1:]:
        heading, _, text = entry.partition("\n")
        text = text.partition("\n## ")[0]
        parts = re.split(r"^- \*\*(\w+):\*\*", text, flags=re.MULTILINE)
        before, names, texts = parts[0], parts[1::2], parts[2::2]
        if before.strip() or names != PARTS or not all(each.strip() for each in texts):
            yield heading


def test_every_experiment_has_its_four_parts() -> None:
    page = PAGE.read_text(encoding="utf-8")
    assert page.count("\n### ") > 100
    assert list(malformed(page)) == []
    headings = re.findall(r"^#+ (.+)$", page, re.MULTILINE)
    assert len(headings) == len(set(headings)), "two entries with one heading have one address"


def test_an_entry_without_a_part_is_found() -> None:
    whole = "### A\n\n- **Prediction:** a\n- **Change:** b\n- **Result:** c\n- **Why:** d. Kept.\n"
    assert not [*malformed(whole)]
    for part in PARTS:
        without = re.sub(rf"- \*\*{part}.*\n", "", whole)
        assert [*malformed(f"{without}\n## Next\n\n{whole}")] == ["A"]
    assert [*malformed(whole.replace(" c\n", "\n"))] == ["A"]
