"""Requests and their answers as rows of a Delta table, for monitoring; a separate thread writes them.

The log never slows or fails a request: if the table cannot be written, the rows wait for the next attempt, and if too
many wait, the newest are dropped and counted. Rows that no table can hold are counted too. A server that is killed
loses the rows that are not committed.
"""

from __future__ import annotations

import json
import logging
import sys
import threading
import zlib
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lakewright.data.rows.kinds import Prediction, Row, written
from lakewright.errors import NotFound, UsageError
from lakewright.system.memory import size_of

if TYPE_CHECKING:
    from lakewright.data.lake.tables import Lake

LOG = logging.getLogger(__name__)
COLUMNS = {
    **dict.fromkeys(("request_id", "caller", "model", "version", "variant", "inputs", "prediction", "label"), "text"),
    "row": "count",
    "at": "time",
    "confidence": "number",
    "abstain": "truth",
    "milliseconds": "number",
}
ROWS = 50_000  # most rows that wait
BYTES = 64 << 20  # most bytes of these rows
Redact = Callable[[str], Any]  # must return a text


@dataclass(frozen=True)
class Answered:
    """A request with its answer."""

    id: str
    at: datetime
    caller: str
    model: str
    version: str
    variant: str
    rows: Sequence[Row]
    predictions: Sequence[Prediction]
    abstained: Sequence[bool]
    milliseconds: float


class RequestLog:
    """Calls `count(outcome, rows)` with the outcome: written, dropped, unwritable, lost."""

    def __init__(
        self,
        lake: Lake,
        table: str,
        share: float,
        seconds: float,
        redact: Redact | None,
        count: Callable[[str, int], None],
    ) -> None:
        self._lake, self._table, self._share, self._seconds = lake, table, share, seconds
        self._redact, self._count = redact, count
        self._waiting: deque[tuple[Answered, int]] = deque()  # with its bytes
        self._rows, self._bytes, self._counting = 0, 0, threading.Lock()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="request-log", daemon=True)
        self._thread.start()

    def add(self, answered: Answered) -> None:
        if self._share < 1 and zlib.crc32(answered.id.encode()) >= self._share * 2**32:
            return
        size = size_of(answered.rows) + size_of(answered.predictions)
        with self._counting:
            room = self._rows + len(answered.rows) <= ROWS and self._bytes + size <= BYTES
            if room:
                self._rows += len(answered.rows)
                self._bytes += size
                self._waiting.append((answered, size))
        if not room:
            self._count("dropped", len(answered.rows))

    def close(self) -> None:
        """Writes the rows that wait."""
        self._stop.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._stop.wait(self._seconds):
            self._write()
        self._write()
        if self._rows:
            LOG.error("%s rows could not be written to %s and are lost", self._rows, self._table)
            self._count("lost", self._rows)

    def _write(self) -> None:
        waiting = [self._waiting[at] for at in range(len(self._waiting))]
        if not waiting:
            return
        rows = sum(len(one.rows) for one, _ in waiting)
        written = table([one for one, _ in waiting], self._redact)
        try:
            if written.num_rows:
                self._lake.write(self._table, written, mode="append", comment="Requests and answers")
        except Exception as failure:  # whatever fails, requests continue
            LOG.warning("%s rows could not be written to %s and wait: %s", rows, self._table, failure)
            return
        with self._counting:
            for _ in waiting:
                self._waiting.popleft()
            self._rows -= rows
            self._bytes -= sum(size for _, size in waiting)
        self._count("written", written.num_rows)
        self._count("unwritable", rows - written.num_rows)


def check(lake: Lake, name: str) -> None:
    """Raises UsageError if requests cannot be written to a table of this name."""
    from lakewright.data.lake.names import TableName

    parsed, at = TableName.parse(name)
    if at is not None:
        raise UsageError(f"{name} is one version of a table", "leave the version out")
    try:
        schema = lake.scan(lake.version(str(parsed))).schema
    except NotFound:
        return
    if set(schema.names) != set(COLUMNS):
        raise UsageError(f"{name} is not a table of requests: it has other columns", "name another serve.log_table")


def redaction(reference: str | None) -> Redact | None:
    """The function that `module:function` names. Raises UsageError if it does not exist."""
    if reference is None:
        return None
    module, _, name = reference.partition(":")
    sys.path.append(str(Path.cwd()))
    try:
        function = getattr(import_module(module), name)
    except (ImportError, AttributeError, ValueError) as failure:
        remedy = "write module:function; the module must be installed or in this folder"
        raise UsageError(f"serve.redact names no function: {failure}", remedy) from None
    finally:
        sys.path.pop()
    if not callable(function):
        raise UsageError(f"serve.redact names {reference}, which is not a function", "write module:function")
    redact: Redact = function
    return redact


def table(answered: Sequence[Answered], redact: Redact | None) -> Any:
    """A row for each row of the requests; inputs and prediction as JSON. Rows that no table can hold are left out, for
    example with half of a surrogate pair from a hook or a token."""
    import pyarrow as pa

    rows = [
        {
            "request_id": one.id,
            "row": at,
            "at": one.at,
            "caller": one.caller,
            "model": one.model,
            "version": one.version,
            "variant": one.variant,
            "inputs": _json(row if redact is None else _redacted(row, redact)),
            "prediction": _json(prediction if redact is None else _without_texts(prediction)),
            "label": prediction.get("label"),
            "confidence": prediction.get("confidence"),
            "abstain": abstain,
            "milliseconds": one.milliseconds,
        }
        for one in answered
        for at, (row, prediction, abstain) in enumerate(zip(one.rows, one.predictions, one.abstained, strict=True))
    ]
    kinds = {"text": pa.string(), "count": pa.int64(), "time": pa.timestamp("us", "UTC"), "number": pa.float64()}
    schema = pa.schema({name: kinds.get(kind, pa.bool_()) for name, kind in COLUMNS.items()})

    def written(rows: list[dict[str, Any]]) -> list[Any]:
        try:
            return [pa.RecordBatch.from_pylist(rows, schema)]
        except Exception as failure:  # whatever fails, the other rows are written
            if len(rows) > 1:
                half = len(rows) // 2
                return written(rows[:half]) + written(rows[half:])
            LOG.warning("a row of request %s cannot be written: %s", rows[0]["request_id"], type(failure).__name__)
            return []

    return pa.Table.from_batches(written(rows), schema)


def now() -> datetime:
    return datetime.now(UTC)


def _json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, default=written)


def _redacted(row: Row, redact: Redact) -> dict[str, Any]:
    def one(text: Any) -> Any:
        if not isinstance(text, str):
            return [one(part) for part in text] if isinstance(text, list) else text
        try:
            redacted = redact(text)
        except Exception as failure:  # a user's function; a text on which it fails is not written
            LOG.warning("serve.redact failed: %s", type(failure).__name__)
            redacted = None
        return redacted if isinstance(redacted, str) else "(not redacted, so not kept)"

    return {name: one(value) for name, value in row.items()}


def _without_texts(value: Any) -> Any:
    """A prediction without the parts of the text that it quotes."""
    if isinstance(value, Mapping):
        return {key: None if key in ("text", "answer") else _without_texts(inner) for key, inner in value.items()}
    return [_without_texts(inner) for inner in value] if isinstance(value, list) else value
