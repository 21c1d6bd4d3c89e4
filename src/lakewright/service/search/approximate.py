"""The approximate nearest neighbours among very many embeddings: a graph (HNSW) in a file, which is mapped.

Malkov & Yashunin 2018, Efficient and robust approximate nearest neighbor search using Hierarchical Navigable Small
World graphs, https://arxiv.org/abs/1603.09320; by usearch, https://github.com/unum-cloud/usearch.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from lakewright.errors import DataError
from lakewright.system.files import whole
from lakewright.system.progress import bar

EXPANSION = 128  # candidates of a search: more candidates find more of the true neighbours and take longer


def installed() -> bool:
    from importlib.util import find_spec

    return find_spec("usearch") is not None


def build(
    path: Path, width: int, total: int, blocks: Iterable[tuple[NDArray[np.int64], NDArray[np.float32]]], threads: int
) -> None:
    """Write the graph of `total` unit vectors to `path`, whole or not at all. A block: keys, vectors [rows, width].

    Half-precision numbers take half the memory and disk, and change a cosine by less than 0.001.
    """
    from usearch.index import Index  # type: ignore[import-not-found,unused-ignore]

    index = Index(ndim=width, metric="ip", dtype="f16")
    with bar("index", total) as advance:
        for keys, vectors in blocks:
            index.add(keys.astype(np.uint64), vectors, threads=threads)
            advance(len(keys), "")
    with whole(path) as draft:
        index.save(str(draft))


def search(path: Path, query: NDArray[np.float32], k: int) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """The keys and cosines of (nearly) the `k` nearest vectors to `query` [width], nearest first.

    Raises DataError if the file is not such a graph.
    """
    from usearch.index import Index  # type: ignore[import-not-found,unused-ignore]

    try:
        index = Index.restore(str(path), view=True)  # mapped, not read
    except (RuntimeError, ValueError):
        index = None
    if index is None:
        raise DataError(f"the index {path} is damaged", "delete it; the next search builds it again")
    index.expansion_search = max(EXPANSION, 2 * k)
    matches = index.search(query, k)
    return matches.keys.astype(np.int64), 1 - matches.distances
