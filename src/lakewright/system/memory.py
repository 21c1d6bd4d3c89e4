"""Memory of this process: how much it may have, and whether freed memory goes back to the system, or stays in the
process while a network trains.

glibc keeps freed memory, up to twice the largest block that it has seen; Arrow's and delta-rs's own allocators keep
more: when a stage streams a table, memory seems to grow with the table. In training steps of long texts, however,
getting large blocks, zeroed, from the system again takes a sixth of the time (docs/experiments.md).
"""

from __future__ import annotations

import ctypes
import os
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

M_TRIM_THRESHOLD, M_MMAP_THRESHOLD, M_MMAP_MAX = -1, -3, -4  # malloc.h
LARGE, DEFAULT_MMAP_MAX = 128 * 1024, 65_536  # mallopt(3)

# delta-rs reads these when it is loaded and when it first writes; a variable that is already set stays.
DELTA_RS = {
    "_RJEM_MALLOC_CONF": "narenas:1,tcache:false,dirty_decay_ms:0",  # jemalloc: one heap, nothing kept
    "DELTARS_WRITER_BATCH_CHANNEL_SIZE": "1",  # batches that wait for the writer
}


def give_back() -> None:
    """From now on this process returns large blocks to the system when they are freed, Arrow's too, and delta-rs's if
    it is not loaded yet. Without glibc, only those of these two."""
    import pyarrow as pa

    for name, value in DELTA_RS.items():
        os.environ.setdefault(name, value)
    pa.set_memory_pool(pa.system_memory_pool())
    if (libc := _glibc()) is not None:
        libc.mallopt(M_MMAP_THRESHOLD, LARGE)
        libc.mallopt(M_TRIM_THRESHOLD, LARGE)


def trim() -> None:
    """Returns free memory between blocks in use to the system, which glibc does not do by itself."""
    if (libc := _glibc()) is not None:
        libc.malloc_trim(0)


@contextmanager
def keep_memory() -> Iterator[None]:
    """Inside the block, freed memory stays in the process; afterwards all free memory goes back to the system. Only
    glibc has these settings; elsewhere this does nothing."""
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
        trim()


def limit(most: int) -> None:
    """This process may have so many bytes of data: more raises MemoryError, or ends it where a library has no answer.

    What files map is not counted (setrlimit(2), RLIMIT_DATA).
    """
    import resource

    resource.setrlimit(resource.RLIMIT_DATA, (most, most))


def _glibc() -> ctypes.CDLL | None:
    libc = ctypes.CDLL(None) if sys.platform == "linux" else None
    return libc if hasattr(libc, "mallopt") else None


def size_of(value: Any) -> int:
    """The bytes that a JSON value takes in memory; a part that it holds twice is counted twice."""
    size = sys.getsizeof(value)
    if isinstance(value, Mapping):
        return size + sum(size_of(key) + size_of(inner) for key, inner in value.items())
    return size + sum(map(size_of, value)) if isinstance(value, list | tuple) else size
