"""The Python of docs/serving.md runs as it stands there, against a server of a model with its columns."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

from lakewright.settings.profile import Serve
from served_models import answering, make

PAGE = (Path(__file__).parents[2] / "docs" / "serving.md").read_text(encoding="utf-8")
ADDRESS = "http://localhost:8000"


def test_a_request_of_many_rows(tmp_path: Path) -> None:
    (block,) = re.findall(r"^```python\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)
    assert block.count(ADDRESS) == 1
    with answering(make("table", tmp_path / "model", tmp_path), tmp_path, Serve()) as (port, service):
        code = block.replace(ADDRESS, f"http://127.0.0.1:{port}")
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
        labels = [each["label"] for each in service.model.single.predict(
            [{"age": 31.0, "size": 2.5, "place": "north"}, {"age": None, "size": 1.0, "place": "south"}]
        )]  # fmt: skip
    assert (done.returncode, done.stdout) == (0, f"{labels}\n"), done.stderr
