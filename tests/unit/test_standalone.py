"""A Spark cluster of a job's machines: what is missing is named, and one machine needs none of it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from clusters import why_not
from lakewright.errors import UsageError, WorkerDied
from lakewright.workers import standalone


def test_java_that_is_missing_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("JAVA_HOME", raising=False)
    with pytest.raises(UsageError, match="Spark needs Java"), standalone.first("127.0.0.1", 1):
        pass
    with pytest.raises(UsageError, match="Spark needs Java"):
        standalone.other("127.0.0.1", "127.0.0.1")


def test_pyspark_that_is_missing_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(standalone, "check_java", lambda: None)
    monkeypatch.setattr(standalone, "find_spec", lambda name: None)
    with pytest.raises(UsageError, match="needs pyspark") as refused:
        standalone.check()
    assert refused.value.remedy == "pip install 'lakewright[spark]'"


def test_one_machine_runs_the_command_as_it_is(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delenv("WORLD_SIZE", raising=False)
    script = "import sys; print(sys.argv[1:]); sys.exit(3)"
    assert standalone.main([sys.executable, "-c", script, "stage", "prepare"]) == 3
    assert capfd.readouterr().out == "['stage', 'prepare']\n"


def test_a_machine_without_an_address_is_named() -> None:
    with pytest.raises(WorkerDied, match=r"no machine algo-2\.invalid, of localhost, algo-2\.invalid"):
        standalone.await_names(["localhost", "algo-2.invalid"], seconds=0.1)
    standalone.await_names(["localhost", "127.0.0.1"])


@pytest.mark.slow
@pytest.mark.skipif(bool(why_not()), reason=why_not())
def test_it_ends_with_the_process_that_began_it(tmp_path: Path) -> None:
    own = f"127.{os.getpid() % 200 + 1}.9.1"
    script = tmp_path / "first.py"
    script.write_text(
        "import time\nfrom lakewright.workers import standalone\n"
        f"with standalone.first({own!r}, 1) as url:\n    print(url, flush=True)\n    time.sleep(300)\n"
    )
    process = subprocess.Popen([sys.executable, str(script)], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None and process.stdout.readline() == f"spark://{own}:7077\n"
    started = psutil.Process(process.pid).children()
    assert len(started) == 2
    process.send_signal(signal.SIGKILL)
    process.wait()
    deadline = time.monotonic() + 10
    while any(each.is_running() and each.status() != psutil.STATUS_ZOMBIE for each in started):
        assert time.monotonic() < deadline, started
        time.sleep(0.1)
