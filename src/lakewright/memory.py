"""What becomes of memory that is freed: given back to the system, or kept while a network trains.

glibc keeps what is freed, up to twice the largest block that it has seen, and Arrow's own allocator keeps more: in a
stage that streams a table that looks like growth with the table. In steps of long texts, on the other hand, taking
large blocks from the system anew, zeroed, is a sixth of the time (docs/experiments.md).
"""

from __future__ import annotations

import ctypes
import sys
from collections.abc import Iterator
from contextlib import contextmanager

M_TRIM_THRESHOLD, M_MMAP_THRESHOLD, M_MMAP_MAX = -1, -3, -4  # malloc.h
LARGE, DEFAULT_MMAP_MAX = 128 * 1024, 65_536  # mallopt(3)


def give_back() -> None:
    """From here on this process gives large blocks back as they are freed, Arrow's too. Elsewhere than on glibc only
    Arrow's."""
    import pyarrow as pa

    pa.set_memory_pool(pa.system_memory_pool())
    if (libc := _glibc()) is not None:
        libc.mallopt(M_MMAP_THRESHOLD, LARGE)
        libc.mallopt(M_TRIM_THRESHOLD, LARGE)


@contextmanager
def memory_kept() -> Iterator[None]:
    """Within, freed memory is not given back to the system; afterwards, all that is free is. Nothing but glibc has
    these settings; elsewhere this does nothing."""
    libc = _glibc()
    if libc is None:
        yield
        return
    libc.mallopt(M_MMAP_MAX, 0)
    libc.mallopt(M_TRIM_THRESHOLD, 2**31 - 1)
    try:
        yield
    finally:
        libc.mallopt(M_MMAP_MAX, DEFAULT_MMAP_MAX)
        libc.mallopt(M_TRIM_THRESHOLD, LARGE)
        libc.malloc_trim(0)


def _glibc() -> ctypes.CDLL | None:
    libc = ctypes.CDLL(None) if sys.platform == "linux" else None
    return libc if hasattr(libc, "mallopt") else None
