"""Predictions of many rows are those of one process, in which order ever the workers end."""

from __future__ import annotations

from pathlib import Path

import pytest
from test_places import rows_like

from lakewright.model import on_workers
from lakewright.model.predictor import Predictor
from lakewright.workers import parts
from lakewright.workers.local import LocalWorkers
from served_models import SAMPLES, make


def test_two_processes(tmp_path: Path, tiny_base: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    predictor = Predictor.open(make("table", tmp_path / "model", tiny_base), threads=1)
    rows = rows_like(SAMPLES["table"], 500).to_pylist()
    expected = predictor.predict(rows)

    def never() -> LocalWorkers:
        raise AssertionError("one part needs no worker")

    assert on_workers.predict(predictor, rows, never, 1)[0] == expected
    monkeypatch.setattr(on_workers, "ROWS", 90)
    monkeypatch.setattr(parts, "WORTH", 1)
    predictions, seconds = on_workers.predict(predictor, rows, lambda: LocalWorkers(2, 2), 1)
    assert predictions == expected and seconds > 0
