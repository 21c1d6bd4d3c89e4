"""Embeddings kept beside a table: `a.b.things_embeddings` holds one for each text and model, and only grows.

A text is known by its SHA-256, which is also how to join in SQL: `things.text` and `sha256(things.text)`. The texts
themselves are not kept twice. What is missing is always found by comparing with the texts that are wanted, so nothing
has to be marked as whole: after a kill, what was committed counts and the rest is embedded.
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

MODEL = "model"  # the commit's property that says which model was named
SCHEMA = pa.schema(
    [("digest", pa.string()), ("text_sha256", pa.string()), ("embedding", pa.list_(pa.field("element", pa.float32())))]
)
CHUNK = 4096  # texts a commit: what a kill can cost
MOST_COMMITS = 100  # a build; each commit is a file to open later


class Embedder(Protocol):
    """What searching needs of a predictor."""

    @property
    def digest(self) -> str: ...

    def embed(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """[texts, width], unit length. Raises ModelError where the model's task is not an embedding one."""


def kept(lake: Lake, table: TableVersion) -> TableVersion | None:
    """The embeddings of the table's texts, as they are now. Raises DataError where the name is another table's."""
    try:
        found = lake.version(_name(table))
    except NotFound:
        return None
    if (columns := lake.scan(found).schema.names) != SCHEMA.names:
        raise DataError(
            f"{found.name} is where the embeddings of {table.name} are kept, but is another table "
            f"({', '.join(columns)})",
            f"copy it to another name (lakewright sql), then delete the folder {found.uri}",
        )
    return found


def last_model(lake: Lake, table: TableVersion) -> str | None:
    """The model that embedded texts of the table last, as it was named then."""
    if kept(lake, table) is None:
        return None
    named = (commit["properties"].get(MODEL) for commit in lake.history(_name(table)))
    return next((model for model in named if model), None)


def embed_missing(
    lake: Lake, table: TableVersion, column: str, wanted: pa.Array, embedder: Embedder, model: str = ""
) -> int:
    """Embed those of the `wanted` texts (by SHA-256) that this model has not embedded; how many there were.

    Committed chunk by chunk, each with the table's version, the column and the model as the commit's properties.
    """
    before = kept(lake, table)
    lacking = wanted
    if before is not None:
        known = lake.read(before, ["text_sha256"], _of(embedder.digest))["text_sha256"]
        lacking = wanted.filter(pc.invert(pc.is_in(wanted, value_set=known)))
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
    lake: Lake, table: TableVersion, wanted: pa.Array, digest: str
) -> Iterator[tuple[NDArray[np.int64], NDArray[np.float32]]]:
    """Blocks of embeddings [rows, width] with the places in `wanted` that they belong to; each place comes once."""
    version = kept(lake, table)
    assert version is not None, "embed_missing comes first"
    # Looked up once for all blocks: a scan of one version gives its rows in the same order each time.
    known = lake.read(version, ["text_sha256"], _of(digest))["text_sha256"]
    places = pc.index_in(known, value_set=wanted).combine_chunks().fill_null(-1).to_numpy().astype(np.int64)
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
    lake: Lake, table: TableVersion, wanted: pa.Array, digest: str, query: NDArray[np.float32]
) -> NDArray[np.float32]:
    """The cosine of each wanted text's embedding with the query's [width]; one block in memory at a time."""
    cosines = np.full(len(wanted), np.nan, dtype=np.float32)
    for places, vectors in embeddings_of(lake, table, wanted, digest):
        cosines[places] = vectors @ query
    return cosines


def _chunks(lake: Lake, table: TableVersion, column: str, missing: set[str], size: int) -> Iterator[Mapping[str, str]]:
    """The missing texts, by SHA-256, in the table's order; takes from `missing` what it gives."""
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
    """As SQL's sha256(text) and Spark's sha2(text, 256)."""
    return hashlib.sha256(text.encode()).hexdigest()


def _name(table: TableVersion) -> str:
    return f"{table.name}_embeddings"


def _of(digest: str) -> str:
    return "digest = '" + digest.replace("'", "''") + "'"
