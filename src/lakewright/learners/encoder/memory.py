"""Memory that stays with the process while it trains.

glibc gives large blocks back to the system whenever they are freed, and has them zeroed when it takes them again: in
steps of long texts that is a sixth of the time (docs/experiments.md).
"""

from __future__ import annotations

import ctypes
import sys
from collections.abc import Iterator
from contextlib import contextmanager

M_TRIM_THRESHOLD, M_MMAP_MAX = -1, -4  # malloc.h
DEFAULT_TRIM_THRESHOLD, DEFAULT_MMAP_MAX = 128 * 1024, 65_536  # mallopt(3)


@contextmanager
def memory_kept() -> Iterator[None]:
    """Within, freed memory is not given back to the system; afterwards, all that is free is. Nothing but glibc has
    these settings; elsewhere this does nothing."""
    libc = ctypes.CDLL(None) if sys.platform == "linux" else None
    if libc is None or not hasattr(libc, "mallopt"):
        yield
        return
    libc.mallopt(M_MMAP_MAX, 0)
    libc.mallopt(M_TRIM_THRESHOLD, 2**31 - 1)
    try:
        yield
    finally:
        libc.mallopt(M_MMAP_MAX, DEFAULT_MMAP_MAX)
        libc.mallopt(M_TRIM_THRESHOLD, DEFAULT_TRIM_THRESHOLD)
        libc.malloc_trim(0)
