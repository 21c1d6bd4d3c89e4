"""A served model says what it said when its folder was made, in the runtime that it is asked in."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from lakewright import plugins
from lakewright.errors import ModelError
from lakewright.model.folder import seal
from lakewright.service.server.model import Model


@pytest.fixture
def said(greeter: Path, tmp_path: Path) -> Callable[..., Path]:
    """A copy of the model whose samples.json says of each runtime named what onnx says, off by so much."""

    def made(**off: float) -> Path:
        folder = tmp_path / str(off)
        shutil.copytree(greeter, folder)
        told = json.loads((folder / "samples.json").read_text())

        def moved(row: dict[str, Any], by: float) -> dict[str, Any]:
            return {**row, "probabilities": {label: p + by for label, p in row["probabilities"].items()}}

        told["predictions"] = {
            runtime: [moved(row, by) for row in told["predictions"]["onnx"]] for runtime, by in off.items()
        }
        (folder / "samples.json").write_text(json.dumps(told))
        seal(folder)
        return folder

    return made


@pytest.fixture(autouse=True)
def another(monkeypatch: pytest.MonkeyPatch) -> None:
    """A runtime `another`, which computes as onnx does."""
    known = {**plugins._installed("runtimes"), "another": plugins._installed("runtimes")["onnx"]}
    installed = plugins._installed
    monkeypatch.setattr(plugins, "_installed", lambda seam: known if seam == "runtimes" else installed(seam))


@pytest.mark.parametrize(
    ("off", "runtime", "good"),
    [
        ({"onnx": 0.0}, "auto", True),
        ({"onnx": 0.04}, "onnx", True),  # another processor
        ({"onnx": 0.1}, "onnx", False),
        ({"onnx": 0.1, "another": 0.0}, "another", True),  # each is held against itself
        ({"onnx": 0.0, "another": 0.1}, "another", False),
        ({"onnx": 0.1, "torch": 0.0}, "another", True),  # nothing was kept of it: fp32 is what it may compute
        ({"onnx": 0.0, "torch": 0.1}, "another", False),
        ({"onnx": 0.1}, "another", False),
    ],
)
def test_it_is_held_against_what_the_same_runtime_said(
    said: Callable[..., Path], off: dict[str, float], runtime: str, good: bool
) -> None:
    folder = said(**off)
    if good:
        assert Model.open(folder, None, runtime, 1).samples
    else:
        with pytest.raises(ModelError, match="when it was made"):
            Model.open(folder, None, runtime, 1)
