"""The report of a real run, in a real browser: whole without a network, no script error, a heading sorts its table."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest

import lakewright as lw

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
FLAGS = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-quic",
]
PROBE = """
<script>
  const problems = [];
  addEventListener("error", event => problems.push(event.message));
  const table = document.querySelector("#classes table.sortable, table.sortable");
  const firsts = [];
  for (let click = 0; click < 2; click++) {
    table.querySelector("thead button").click();
    firsts.push(table.tBodies[0].rows[0].cells[0].textContent.trim());
  }
  document.body.dataset.firsts = firsts.join("|");
  document.body.dataset.problems = problems.join("|");
  document.body.dataset.wider = document.documentElement.scrollWidth > innerWidth;
</script></body>"""


@pytest.mark.skipif(CHROMIUM is None, reason="no Chromium: apt-get install chromium (make test does, where it may)")
def test_the_report_works_in_a_browser(project: Path, tmp_path: Path) -> None:
    run = lw.run("project.yml", settings=["train={learner: linear}"])
    page = Path(run.report.html).read_text(encoding="utf-8")
    assert not re.findall(r"""(?:src|href)=["'](?:https?:)?//""", page)
    assert "passed the gate" in page
    probed = tmp_path / "probed.html"
    probed.write_text(page.replace("</body>", PROBE) if "</body>" in page else page + PROBE, encoding="utf-8")
    found = {}
    for width in (1200, 420):
        profile = f"--user-data-dir={tmp_path / f'chromium-{width}'}"
        size = f"--window-size={width},900"
        command = [str(CHROMIUM), *FLAGS, profile, size, "--virtual-time-budget=3000", "--dump-dom", probed.as_uri()]
        shown = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True).stdout
        found[width] = dict(re.findall(r'data-(firsts|problems|wider)="([^"]*)"', shown))
        assert found[width]["problems"] == ""
        assert found[width]["wider"] == "false", f"the page is wider than a window of {width}"
    assert found[1200]["firsts"] == "animal|stone"  # by name upwards, then downwards
