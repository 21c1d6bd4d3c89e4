"""The network over columns: the same on any number of threads, and bending where a line cannot."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml

import lakewright as lw


def project(folder: Path, learner: str) -> Path:
    draw = np.random.default_rng(2)
    x, noise = draw.uniform(-3, 3, 600), draw.normal(scale=0.1, size=600)
    rows = [{"x": float(a), "y": float(np.sin(3 * a) + b)} for a, b in zip(x, noise, strict=True)]
    folder.mkdir()
    (folder / "rows.json").write_text("\n".join(json.dumps(row) for row in rows))
    described = {
        "name": "waves",
        "task": "regression",
        "data": {"source": "rows.json", "columns": {"label": "y"}},
        "train": {"learner": learner},
        "evaluate": {"resamples": 100},
    }
    (folder / "project.yml").write_text(yaml.safe_dump(described))
    return folder / "project.yml"


def test_it_follows_a_wave_and_threads_change_no_weight(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    weights, before = [], torch.get_num_threads()
    for threads in (1, 2):
        torch.set_num_threads(threads)
        path = project(tmp_path / str(threads), "mlp")
        monkeypatch.chdir(path.parent)
        run = lw.run(path)
        assert torch.get_num_threads() == threads
        assert run.report.metrics["r2"].value > 0.9
        weights.append(Path(str(run.model_folder), "model.safetensors").read_bytes())
    torch.set_num_threads(before)
    assert weights[0] == weights[1]
    line = project(tmp_path / "line", "linear")
    monkeypatch.chdir(line.parent)
    assert lw.run(line).report.metrics["r2"].value < 0.5
