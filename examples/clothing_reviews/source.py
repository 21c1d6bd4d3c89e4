"""Women's clothing reviews with a sentiment made from the rating: a derived column, in a source of the project's own."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa

from lakewright.lake.sources import open_source

SENTIMENT = {1: "negative", 2: "negative", 3: "neutral", 4: "positive", 5: "positive"}


def with_sentiment(reviews: str) -> pa.RecordBatchReader:
    """The rows of `reviews`, anything that data.source may be, with a column `sentiment` beside `rating`."""
    source, uri = open_source(reviews, None, {}, Path(__file__).parent)
    rows = source.open(uri, {}, {})
    schema = rows.schema.append(pa.field("sentiment", pa.string()))

    def batches() -> Iterator[pa.RecordBatch]:
        for batch in rows:
            sentiment = pa.array([SENTIMENT.get(rating) for rating in batch["rating"].to_pylist()], pa.string())
            yield pa.RecordBatch.from_arrays([*batch.columns, sentiment], schema=schema)

    return pa.RecordBatchReader.from_batches(schema, batches())
