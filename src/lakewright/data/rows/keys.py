"""Digests of values, and the order in which a seed draws rows: the same in every process and on every machine.

A draw takes the rows with the smallest keys. A row's key depends only on the row and the seed, so a row keeps its place
among the others when rows are added, when their order changes, or when a table is read in parts.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from typing import Literal

import numpy as np
import numpy.typing as npt

Purpose = Literal["split", "balance", "between", "fold", "unlabeled"]


def digest(text: str, size: int = 8) -> bytes:
    """BLAKE2 of a text, `size` bytes long. Half of a surrogate pair is a character like any other."""
    return hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=size).digest()


def digests(values: Iterable[object]) -> npt.NDArray[np.int64]:
    """(values,): the digest of each value's `str`. 64 bits: two of a million values share one with a chance of 3e-8."""
    return np.fromiter((digest(str(value)) for value in values), dtype="S8").view(np.int64)


def draw_keys(numbers: npt.NDArray[np.integer], seed: int, purpose: Purpose) -> npt.NDArray[np.uint64]:
    """(rows,): the key of each row, from its number (a digest, a row number).

    SplitMix64 (Steele, Lea & Flood 2014, Fast Splittable Pseudorandom Number Generators): its output at step `numbers`,
    with a start from the purpose and the seed, so that the draws of two purposes are independent.
    """
    start = np.frombuffer(digest(f"{purpose} {seed}"), np.uint64)
    return mixed(start + numbers.astype(np.uint64) * np.uint64(0x9E3779B97F4A7C15))


def mixed(numbers: npt.NDArray[np.uint64]) -> npt.NDArray[np.uint64]:
    """Another number for each number, as if drawn: SplitMix64's output function. [numbers]"""
    numbers = (numbers ^ (numbers >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    numbers = (numbers ^ (numbers >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return numbers ^ (numbers >> np.uint64(31))


def ranks(part_of_row: npt.NDArray[np.integer], keys: npt.NDArray[np.uint64]) -> npt.NDArray[np.int64]:
    """(rows,): the number of rows of the same part with a smaller key; of equal keys, the earlier row's is smaller.

    `part_of_row` (label, stratum) counts from 0."""
    order = np.lexsort((keys, part_of_row))
    first_of_part = np.concatenate([[0], np.cumsum(np.bincount(part_of_row))])
    rank = np.empty(len(order), np.int64)
    rank[order] = np.arange(len(order)) - first_of_part[part_of_row[order]]
    return rank
