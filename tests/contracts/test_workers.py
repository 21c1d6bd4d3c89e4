"""One contract for all workers: `lakewright.testing.WorkersSuite`; and what holds for those of this machine alone."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from lakewright import plugins
from lakewright.errors import ProfileError
from lakewright.settings.profile import load_profile
from lakewright.testing import WorkersCase, WorkersSuite
from lakewright.workers.local import LocalSettings, LocalWorkers

CASES = {"local": [LocalWorkers(2, 2), LocalWorkers(1, 2)]}


def test_every_kind_of_workers_has_a_case() -> None:
    """spark's are in test_spark_workers.py: they need Java and a cluster."""
    assert {*CASES, "spark"} == {*plugins.WORKERS.names()}


class TestWorkers(WorkersSuite):
    @pytest.fixture(params=[(name, at) for name, cases in CASES.items() for at in range(len(cases))], ids=str)
    def case(self, request: pytest.FixtureRequest, tmp_path: Path) -> WorkersCase:
        name, at = request.param
        workers = CASES[name][at]
        return WorkersCase(workers, tmp_path, separate=workers.processes > 1)


def test_each_process_has_its_share_of_the_threads() -> None:
    workers = LocalWorkers.open(LocalSettings(processes=3), threads=8)
    assert workers.threads(ahead=8) == 2
    assert workers.threads(ahead=2) == 4  # no more than two parts are there at once
    assert LocalWorkers.open(LocalSettings(), threads=8).processes == 8
    share = LocalWorkers(2, 6).map(lambda _: os.environ["OMP_NUM_THREADS"], iter(range(2)), ahead=2)
    assert list(share) == ["3", "3"]


def test_each_process_has_its_part_of_the_memory() -> None:
    def allocated(gigabytes: float) -> int:
        return len(bytearray(int(gigabytes * 1e9)))

    workers = LocalWorkers.open(LocalSettings(processes=2, memory=1.0), threads=2)
    results = workers.map(allocated, iter([0.1, 0.6, 0.1]), ahead=3)
    assert next(results) == 100_000_000
    with pytest.raises(MemoryError):
        next(results)
    assert next(results) == 100_000_000


def test_the_profile_picks_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert load_profile().workers == LocalSettings()
    for written, expected in (("local", "auto"), ("{name: local, processes: 3}", 3)):
        (tmp_path / "profiles.yml").write_text(f"profiles: {{local: {{workers: {written}}}}}")
        workers = load_profile().workers
        assert isinstance(workers, LocalSettings) and workers.processes == expected
    for wrong, what in (("{name: local, processes: 0}", "processes"), ("{name: lokal}", "did you mean 'local'")):
        (tmp_path / "profiles.yml").write_text(f"profiles: {{local: {{workers: {wrong}}}}}")
        with pytest.raises(ProfileError, match=what):
            load_profile()


SCRIPT = """
import os, sys, time
from pathlib import Path
from lakewright.workers.local import LocalWorkers

folder = sys.argv[1]

def of(part):
    Path(folder, f"pid-{os.getpid()}").touch()
    time.sleep(600)

list(LocalWorkers(2, 2).map(of, iter(range(4)), ahead=4))
"""


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGINT])
def test_processes_end_with_the_one_that_started_them(number: signal.Signals, tmp_path: Path) -> None:
    """Without `if __name__ == "__main__"` in the script, and in the middle of their parts."""
    script = tmp_path / "script.py"
    script.write_text(SCRIPT)
    process = subprocess.Popen([sys.executable, str(script), str(tmp_path)], stderr=subprocess.DEVNULL)
    wait_until(lambda: len(list(tmp_path.glob("pid-*"))) == 2)
    process.send_signal(number)
    process.wait(30)
    pids = [int(mark.name.removeprefix("pid-")) for mark in tmp_path.glob("pid-*")]
    wait_until(lambda: not any(Path(f"/proc/{pid}").exists() for pid in pids))


def wait_until(holds: object) -> None:
    for _ in range(600):
        if holds():  # type: ignore[operator]
            return
        time.sleep(0.05)
    raise AssertionError("it did not come to hold")
