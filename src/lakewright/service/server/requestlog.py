"""Requests and what was answered, as rows of a Delta table, for monitoring: buffered, in a thread of its own.

Nothing here slows or fails a request: where the table cannot be written the rows wait for the next time, and where too
many wait the newest are dropped and counted. So is a request that no table can hold. A server that is killed loses what
it had not committed yet.
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

from lakewright.data.rows.kinds import Prediction, Row
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
ROWS = 50_000  # that may wait
BYTES = 64 << 20  # that they may take
Redact = Callable[[str], Any]  # a text; anything else is a mistake of the hook's


@dataclass(frozen=True)
class Answered:
    """A request, once it was answered."""

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
    """`count(outcome, rows)` is told what became of them: written, dropped, unwritable, lost."""

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
        """Writes what waits."""
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
        except Exception as failure:  # whatever it is, requests go on
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
    """Raises UsageError where requests cannot be written to a table of this name."""
    from lakewright.data.lake.names import TableName

    parsed, at = TableName.parse(name)
    if at is not None:
        raise UsageError(f"{name} is one version of a table", "leave the version out")
    try:
        there = lake.scan(lake.version(str(parsed))).schema
    except NotFound:
        return
    if set(there.names) != set(COLUMNS):
        raise UsageError(f"{name} is no table of requests: it has other columns", "name another serve.log_table")


def redaction(reference: str | None) -> Redact | None:
    """The function that `module:function` names. Raises UsageError where there is none."""
    if reference is None:
        return None
    module, _, name = reference.partition(":")
    sys.path.append(str(Path.cwd()))
    try:
        found = getattr(import_module(module), name)
    except (ImportError, AttributeError, ValueError) as failure:
        remedy = "write module:function, of a module that is installed or lies in this folder"
        raise UsageError(f"serve.redact names no function: {failure}", remedy) from None
    finally:
        sys.path.pop()
    if not callable(found):
        raise UsageError(f"serve.redact names {reference}, which cannot be called", "write module:function")
    redact: Redact = found
    return redact


def table(answered: Sequence[Answered], redact: Redact | None) -> Any:
    """A row for each of the requests' rows; inputs and prediction as JSON. Rows that no table can hold are left out:
    half of a surrogate pair, say, from a hook or a token."""
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
        except Exception as failure:  # whatever it is, the others are written
            if len(rows) > 1:
                half = len(rows) // 2
                return written(rows[:half]) + written(rows[half:])
            LOG.warning("a row of request %s cannot be written: %s", rows[0]["request_id"], type(failure).__name__)
            return []

    return pa.Table.from_batches(written(rows), schema)


def now() -> datetime:
    return datetime.now(UTC)


def _json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False)


def _redacted(row: Row, redact: Redact) -> dict[str, Any]:
    def one(text: Any) -> Any:
        if not isinstance(text, str):
            return [one(part) for part in text] if isinstance(text, list) else text
        try:
            said = redact(text)
        except Exception as failure:  # the hook is the user's; a text that it cannot read is not written
            LOG.warning("serve.redact failed: %s", type(failure).__name__)
            said = None
        return said if isinstance(said, str) else "(not redacted, so not kept)"

    return {name: one(value) for name, value in row.items()}


def _without_texts(value: Any) -> Any:
    """A prediction without the parts of the text that it quotes."""
    if isinstance(value, Mapping):
        return {key: None if key in ("text", "answer") else _without_texts(inner) for key, inner in value.items()}
    return [_without_texts(inner) for inner in value] if isinstance(value, list) else value
