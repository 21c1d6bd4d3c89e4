"""CRC-32C of many byte strings at once, in numpy.

The remainder of a division by a polynomial over two elements (RFC 3720, appendix B.4): a linear map, so that leading
zeros change nothing, and a string's remainder follows from those of its chunks. Eight bytes are read at a time, by a
table for each pair of them (after Kounavis and Berry, A Systematic Approach to Building High Performance Software-based
CRC Generators, 2005). What is longest comes first, aligned at its end: each step is one operation over what is left.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from lakewright.data.exports.formats import bytes_of

POLYNOMIAL = 0x82F63B78  # Castagnoli's, reflected
WORDS = 64  # of eight bytes, in a chunk
BEFORE = (0x641F6454).to_bytes(4, "little")  # leaves 0xFFFFFFFF, with which a checksum begins

Counts = npt.NDArray[np.int64]
Numbers = npt.NDArray[np.uint32]


def crc32c(strings: pa.Array) -> Numbers:
    """[strings]: of binary ones without nulls, up to 2 GiB together."""
    lengths = pc.binary_length(strings).to_numpy().astype(np.int64)
    counts = (lengths + len(BEFORE) + 7) // 8
    zeros = counts * 8 - lengths - len(BEFORE)
    bounds = np.concatenate([[0], np.cumsum(zeros)]).astype(np.int32)
    empty = pa.py_buffer(np.zeros(int(bounds[-1]), np.uint8))
    before = pa.Array.from_buffers(pa.binary(), len(zeros), [None, pa.py_buffer(bounds), empty])
    words = np.frombuffer(bytes_of(pc.binary_join_element_wise(before, BEFORE, strings, b"")), np.uint64)

    chunks = -(-counts // WORDS)
    # the first chunk of a string is the short one
    lengths_of_chunks = np.full(int(chunks.sum()), WORDS)
    ends = np.cumsum(chunks)
    lengths_of_chunks[ends - chunks] = counts - (chunks - 1) * WORDS
    remainders = _of_words(words, lengths_of_chunks)
    return ~_in_steps(chunks, lambda states, at: _moved(states) ^ remainders[at])


def _of_words(words: npt.NDArray[np.uint64], counts: Counts) -> Numbers:
    """[strings]: the remainders of strings of so many words, which follow one another."""
    first, second, third, fourth = _tables()

    def step(states: Numbers, at: Counts) -> Numbers:
        pairs = (words[at] ^ states).view(np.uint16)
        result: Numbers = first[pairs[0::4]] ^ second[pairs[1::4]] ^ third[pairs[2::4]] ^ fourth[pairs[3::4]]
        return result

    return _in_steps(counts, step)


def _in_steps(counts: Counts, step: Callable[[Numbers, Counts], Numbers]) -> Numbers:
    """[strings]: each one's state behind its pieces, of which all strings have `counts`, one string after the other."""
    order = np.argsort(-counts, kind="stable")
    ends, fewer = np.cumsum(counts)[order], -counts[order]
    states = np.zeros(len(counts), np.uint32)
    for left in range(int(counts.max(initial=0)), 0, -1):
        active = int(np.searchsorted(fewer, -left, side="right"))
        states[:active] = step(states[:active], ends[:active] - left)
    result = np.empty_like(states)
    result[order] = states
    return result


def masked(checksums: Numbers) -> Numbers:
    """As TFRecord stores them: a checksum of data that hold their own checksum would be worth little."""
    rotated = (checksums >> np.uint32(15)) | (checksums << np.uint32(17))
    return rotated + np.uint32(0xA282EAD8)


def _moved(states: Numbers) -> Numbers:
    """As if a chunk of zeros followed."""
    low, high = _shift()
    pairs = states.view(np.uint16)
    moved: Numbers = low[pairs[0::2]] ^ high[pairs[1::2]]
    return moved


@cache
def _tables() -> npt.NDArray[np.uint32]:
    """[4, 65536]: what two bytes of a word leave behind them and those that follow them there."""
    table = np.arange(256, dtype=np.uint32)
    for _ in range(8):
        table = np.where(table & 1, (table >> 1) ^ np.uint32(POLYNOMIAL), table >> 1).astype(np.uint32)
    of_byte = [table]
    for _ in range(7):
        of_byte.insert(0, (of_byte[0] >> 8) ^ table[of_byte[0] & 255])
    pair = np.arange(65_536)
    return np.stack([of_byte[at][pair & 255] ^ of_byte[at + 1][pair >> 8] for at in (0, 2, 4, 6)])


@cache
def _shift() -> npt.NDArray[np.uint32]:
    """[2, 65536]: what two bytes of a remainder become behind a chunk of zeros."""
    byte = np.arange(256, dtype=np.uint64)
    words = np.zeros((1024, WORDS), np.uint64)
    words[:, 0] = np.concatenate([byte << np.uint64(8 * at) for at in range(4)])
    of_byte = _of_words(words.reshape(-1), np.full(1024, WORDS)).reshape(4, 256)
    pair = np.arange(65_536)
    return np.stack([of_byte[at][pair & 255] ^ of_byte[at + 1][pair >> 8] for at in (0, 2)])
