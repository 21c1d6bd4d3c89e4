"""A server of Redis on this machine, from Debian."""

from __future__ import annotations

import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

START = 60.0  # seconds, on a busy machine


def why_not() -> str:
    """Why it cannot run here; empty: it can."""
    return "" if shutil.which("redis-server") else "there is no redis-server: make redis"


@contextmanager
def running(folder: Path, password: str = "") -> Iterator[tuple[str, subprocess.Popen[bytes]]]:
    """Its address and its process."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = int(free.getsockname()[1])
    command = ["redis-server", "--port", str(port), "--bind", "127.0.0.1", "--save", "", "--dir", str(folder)]
    if password:
        command += ["--requirepass", password]
    server = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    try:
        until = time.monotonic() + START
        while True:
            with socket.socket() as one:
                if one.connect_ex(("127.0.0.1", port)) == 0:
                    break
            assert server.poll() is None and time.monotonic() < until, "redis-server did not start"
            time.sleep(0.05)
        yield f"redis://{f':{password}@' if password else ''}127.0.0.1:{port}/0", server
    finally:
        server.kill()
        server.wait()
