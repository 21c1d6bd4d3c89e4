"""A file of the workspace is cut, emptied or zeroed: reading and running work, or end with a cause and a remedy."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from projects import Call, T

KINDS = [
    "catalog.sqlite",
    "mlflow.db",
    "tables/main/h/t/_delta_log/*.json",
    "tables/main/h/t/*.parquet",
    "tables/main/h/t_features/_delta_log/*.json",
    "tables/main/h/t_features/*.parquet",
    "records/main.h.t/ingest-*.json",
    "records/main.h.t/prepare-*.json",
    "records/main.h.t/train-*.json",
    "records/main.h.t/evaluate-*.json",
    "records/main.h.t/register-*.json",
    "models/*/manifest.json",
    "models/*/model.onnx",
    "recipes/*/*.json",
    "ledger/*.json",
    "runs/*/run.json",
    "runs/*/records/train.json",
    "runs/*/test_rows.parquet",
    "runs/*/evaluation.json",
]
DAMAGES = {
    "cut": lambda data: data[: len(data) // 2],
    "emptied": lambda data: b"",
    "zeroed": lambda data: bytes(len(data)),
}
COMMANDS = [
    ["sql", f"select count(*) n from {T}", "--json"],
    ["predict", "models:/main.h.t@champion", "the dog is here"],
    ["tables"],
    ["plan"],
    ["run"],
    ["run", "--rerun", "evaluate"],
    ["compare"],
]


@pytest.mark.slow
@pytest.mark.parametrize("damage", DAMAGES)
@pytest.mark.parametrize("kind", KINDS)
def test_a_damaged_file(kind: str, damage: str, ran: Path, call: Call) -> None:
    before = call("predict", "models:/main.h.t@champion", "the dog is here").out
    damaged = list((ran.parent / ".lakewright").glob(kind))
    assert damaged
    for path in damaged:
        path.write_bytes(DAMAGES[damage](path.read_bytes()))
    for arguments in COMMANDS:
        ended = call(*arguments)
        assert "Traceback" not in ended.err, ended.err
        assert "should not happen" not in ended.err, ended.err
        if ended.code == 0:
            assert arguments[0] != "sql" or ended.json["rows"] == [{"n": 60}]
            assert arguments[0] != "predict" or ended.out == before
        else:
            assert ended.code in (1, 2)
            assert re.search(r"^error: .+\n  → .+", ended.err, re.MULTILINE), ended.err
