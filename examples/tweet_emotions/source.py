"""SemEval-2018 Task 1 E-c, English, from the Hugging Face Hub, its column `Tweet` called `text` as in local copies."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa

from lakewright.data.sources.opening import open_source

HUB = "hf://SemEvalWorkshop/sem_eval_2018_task_1@refs/convert/parquet"


def rows() -> pa.RecordBatchReader:
    source, uri = open_source(HUB, None, {}, Path(__file__).parent)
    tweets = source.open(uri, {"config": "subtask5.english"}, {})
    schema = pa.schema([field.with_name("text") if field.name == "Tweet" else field for field in tweets.schema])
    renamed = (pa.RecordBatch.from_arrays(batch.columns, schema=schema) for batch in tweets)
    return pa.RecordBatchReader.from_batches(schema, renamed)
