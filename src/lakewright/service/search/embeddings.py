"""The embeddings of a table's texts: `a.b.things_embeddings` holds one for each text and model, and only grows.

A text is identified by its SHA-256; in SQL, join by `sha256(things.text)`. The texts themselves are not stored twice.
Missing texts are determined by comparison with the requested texts, so no state is marked as complete: after a kill,
committed embeddings count, and the rest is embedded.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Protocol

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from lakewright.errors import DataError, NotFound
from lakewright.system.progress import bar

if TYPE_CHECKING:
    from lakewright.data.lake.tables import Lake
    from lakewright.records import TableVersion

MODEL = "model"  # the commit's property with the model's name in the call
SCHEMA = pa.schema(
    [("digest", pa.string()), ("text_sha256", pa.string()), ("embedding", pa.list_(pa.field("element", pa.float32())))]
)
CHUNK = 4096  # texts in a commit: the most that a kill can lose
MOST_COMMITS = 100  # of one call; each commit is a file to open later


class Embedder(Protocol):
    """The part of a predictor that a search needs."""

    @property
    def digest(self) -> str: ...

    def embed(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """[texts, width], unit length. Raises ModelError if the model's task has no embeddings."""


def stored(lake: Lake, table: TableVersion) -> TableVersion | None:
    """The newest version of the embeddings of the table's texts. Raises DataError if another table has the name."""
    try:
        embeddings = lake.version(_name(table))
    except NotFound:
        return None
    if (columns := lake.scan(embeddings).schema.names) != SCHEMA.names:
        raise DataError(
            f"{embeddings.name} is the name for the embeddings of {table.name}, and another table has it "
            f"({', '.join(columns)})",
            f"copy it to another name (lakewright sql), then delete the folder {embeddings.uri}",
        )
    return embeddings


def last_model(lake: Lake, table: TableVersion) -> str | None:
    """The name of the model that embedded texts of the table last."""
    if stored(lake, table) is None:
        return None
    names = (commit["properties"].get(MODEL) for commit in lake.history(_name(table)))
    return next((model for model in names if model), None)


def embed_missing(
    lake: Lake, table: TableVersion, column: str, requested: pa.Array, embedder: Embedder, model: str = ""
) -> int:
    """Embed the `requested` texts (by SHA-256) that this model has not embedded yet; returns their number.

    Committed chunk by chunk, each with the table's version, the column and the model as the commit's properties.
    """
    version = stored(lake, table)
    lacking = requested
    if version is not None:
        embedded = lake.read(version, ["text_sha256"], _of(embedder.digest))["text_sha256"]
        lacking = requested.filter(pc.invert(pc.is_in(requested, value_set=embedded)))
    missing = set(lacking.to_pylist())
    total = len(missing)
    properties = {"source": str(table), "column": column, MODEL: model, "digest": embedder.digest}
    with bar(f"embedding {column}", total) as advance:
        for texts in _chunks(lake, table, column, missing, max(CHUNK, -(-total // MOST_COMMITS))):
            rows = _rows(embedder.digest, texts, embedder.embed(list(texts.values())))
            lake.write(_name(table), rows, mode="append", properties=properties, comment=f"embeddings of {table.name}")
            advance(len(texts), "")
    return total


def embeddings_of(
    lake: Lake, table: TableVersion, requested: pa.Array, digest: str
) -> Iterator[tuple[NDArray[np.int64], NDArray[np.float32]]]:
    """Blocks of embeddings [rows, width] with their places in `requested`; each place occurs once."""
    version = stored(lake, table)
    assert version is not None, "embed_missing comes first"
    # Looked up once for all blocks: each scan of one version has the rows in the same order.
    hashes = lake.read(version, ["text_sha256"], _of(digest))["text_sha256"]
    places = pc.index_in(hashes, value_set=requested).combine_chunks().fill_null(-1).to_numpy().astype(np.int64)
    _, first = np.unique(places, return_index=True)  # two searches at once may both have embedded a text
    fresh = np.zeros(len(places), dtype=bool)
    fresh[first] = True
    fresh &= places >= 0
    start = 0
    for batch in lake.scan(version, ["embedding"], _of(digest)):
        block = slice(start, start + len(batch))
        start += len(batch)
        if fresh[block].any():
            vectors = batch.column("embedding").flatten().to_numpy().reshape(len(batch), -1)
            yield places[block][fresh[block]], vectors[fresh[block]]


def exact_cosines(
    lake: Lake, table: TableVersion, requested: pa.Array, digest: str, query: NDArray[np.float32]
) -> NDArray[np.float32]:
    """The cosine of each requested text's embedding with the query [width]; one block in memory at a time."""
    cosines = np.full(len(requested), np.nan, dtype=np.float32)
    for places, vectors in embeddings_of(lake, table, requested, digest):
        cosines[places] = vectors @ query
    return cosines


def _chunks(lake: Lake, table: TableVersion, column: str, missing: set[str], size: int) -> Iterator[Mapping[str, str]]:
    """The missing texts, by SHA-256, in the table's order; removes them from `missing`."""
    chunk: dict[str, str] = {}
    for batch in lake.scan(table, [column]) if missing else ():
        for text in batch.column(0).to_pylist():
            key = sha256(text) if text is not None else None
            if key in missing:
                missing.remove(key)
                chunk[key] = text
                if len(chunk) == size:
                    yield chunk
                    chunk = {}
        if not missing:
            break
    if chunk:
        yield chunk


def _rows(digest: str, texts: Mapping[str, str], vectors: NDArray[np.float32]) -> pa.Table:
    offsets = np.arange(len(texts) + 1, dtype=np.int32) * vectors.shape[1]
    embedding = pa.ListArray.from_arrays(offsets, pa.array(vectors.reshape(-1), pa.float32()))
    columns = [pa.repeat(digest, len(texts)), pa.array(texts), embedding.cast(SCHEMA.field("embedding").type)]
    return pa.table(columns, schema=SCHEMA)


def sha256(text: str) -> str:
    """The same as SQL's sha256(text) and Spark's sha2(text, 256)."""
    return hashlib.sha256(text.encode()).hexdigest()


def _name(table: TableVersion) -> str:
    return f"{table.name}_embeddings"


def _of(digest: str) -> str:
    return "digest = '" + digest.replace("'", "''") + "'"
