"""Paths that come from outside: a bucket's keys, an archive's members, a record's places. They stay in their folder."""

from __future__ import annotations

import re

LONGEST_PART = 200  # bytes, of the 255 that file systems allow: a draft file has a longer name


def stays_inside(path: str) -> bool:
    """Whether a relative path stays below the folder that it is joined to, and can be written there: no part is empty,
    `.` or `..`, and it contains neither a backslash nor a control character."""
    parts = path.split("/")
    if re.search(r"[\x00-\x1f\x7f\\]", path) or any(part in ("", ".", "..") for part in parts):
        return False
    try:
        return all(len(part.encode()) <= LONGEST_PART for part in parts)
    except UnicodeEncodeError:  # half a surrogate pair: not text
        return False
