"""Time by the processor's clock, for whatever Python process has this folder in PYTHONPATH.

With LAKEWRIGHT_CORES=2, a second of `time.time`, `time.monotonic` and `time.perf_counter` is what two free cores, both
busy, do in a second: processor seconds of the first process and all below it, divided by the cores. So a budget in
seconds means the same for every system, however busy the machine is. What waits is not counted, for anybody. A process
below the first one has its own processor seconds: it measures its work, not the others'.
"""

from __future__ import annotations

import contextlib
import os
import time
from pathlib import Path

FRESH = 0.02  # seconds of the wall's clock for which the processes below are not looked at again


def _install(cores: float) -> None:
    ticks, wall, began = os.sysconf("SC_CLK_TCK"), time.monotonic, time.time()
    first = os.environ.setdefault("LAKEWRIGHT_CLOCK", str(os.getpid())) == str(os.getpid())
    below, looked = 0.0, -1.0

    def children(process: int) -> list[int]:
        with contextlib.suppress(OSError):
            return [int(each) for each in Path(f"/proc/{process}/task/{process}/children").read_text().split()]
        return []

    def spent(process: int) -> float:
        """Of a process, of those below it, and of those that ended and that it waited for."""
        try:
            times = Path(f"/proc/{process}/stat").read_text().rsplit(")", 1)[1].split()[11:15]
        except OSError:
            return 0.0
        return sum(map(int, times)) / ticks + sum(map(spent, children(process)))

    def processor() -> float:
        nonlocal below, looked
        if first and wall() - looked > FRESH:
            ended = os.times()
            now = sum(map(spent, children(os.getpid()))) + ended.children_user + ended.children_system
            below, looked = max(below, now), wall()
        return time.process_time() + below

    def monotonic() -> float:
        return began + processor() / (cores if first else 1.0)

    time.time = time.monotonic = time.perf_counter = monotonic


if os.environ.get("LAKEWRIGHT_CORES"):
    _install(float(os.environ["LAKEWRIGHT_CORES"]))
