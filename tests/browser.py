"""A page in Debian's Chromium, over the pipe of the DevTools protocol: a phone's width and a dark theme can be set."""

from __future__ import annotations

import itertools
import json
import os
import select
import shutil
import subprocess
import tarfile
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
AXE = max((Path(__file__).parents[1] / ".axe").glob("axe-core-*.tgz"), default=None)
needs_chromium = pytest.mark.skipif(
    CHROMIUM is None, reason="no Chromium: apt-get install chromium (make test does, where it may)"
)
needs_axe = pytest.mark.skipif(
    CHROMIUM is None or AXE is None, reason="no Chromium, or no axe-core: make chromium axe (make test does)"
)
FLAGS = (
    *("--headless", "--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking"),
    *("--disable-quic", "--remote-debugging-pipe"),
)


@dataclass(frozen=True)
class Page:
    """One tab. `send` is a command of the protocol, `evaluate` the value of a JavaScript expression or promise."""

    to: int
    answers: Iterator[dict[str, Any]]
    session: str = ""
    numbers: Iterator[int] = field(default_factory=itertools.count)

    def send(self, method: str, **params: Any) -> dict[str, Any]:
        number = next(self.numbers)
        message = {"id": number, "method": method, "params": params}
        if self.session:
            message["sessionId"] = self.session
        os.write(self.to, json.dumps(message).encode() + b"\0")
        answer = next(answer for answer in self.answers if answer.get("id") == number)
        assert "error" not in answer, answer["error"]
        return answer["result"]

    def evaluate(self, expression: str) -> Any:
        found = self.send("Runtime.evaluate", expression=expression, awaitPromise=True, returnByValue=True)
        assert "exceptionDetails" not in found, found["exceptionDetails"]
        return found["result"].get("value")

    def open(self, path: Path) -> None:
        self.send("Page.navigate", url=path.resolve().as_uri())
        while self.evaluate("document.URL + document.readyState") != path.resolve().as_uri() + "complete":
            time.sleep(0.01)

    def show(self, *, width: int, dark: bool) -> None:
        self.send("Emulation.setDeviceMetricsOverride", width=width, height=900, deviceScaleFactor=1, mobile=False)
        theme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self.send("Emulation.setEmulatedMedia", features=[theme])

    def violations(self, path: Path) -> list[str]:
        """By axe-core, in a light and a dark theme, as wide as a phone and a screen, with all that is folded open."""
        assert AXE is not None
        with tarfile.open(AXE) as packed:
            script = packed.extractfile("package/axe.min.js")
            assert script is not None
            axe = script.read().decode()
        self.open(path)
        self.evaluate("document.querySelectorAll('details').forEach(part => part.open = true)")
        self.evaluate(axe)
        found = []
        for width, dark in itertools.product((390, 1280), (False, True)):
            self.show(width=width, dark=dark)
            rules = self.evaluate("axe.run({resultTypes: ['violations']}).then(found => found.violations)")
            for rule in rules:
                nodes = [f"{node['html']}: {node['failureSummary']}" for node in rule["nodes"]]
                found.append(f"{width} px, {'dark' if dark else 'light'}, {rule['id']}: {' | '.join(nodes)}")
            if self.evaluate("document.documentElement.scrollWidth > innerWidth"):
                found.append(f"{width} px: the page is wider than its window")
        return found


@contextmanager
def browser() -> Iterator[Page]:
    """An empty tab of a browser of its own."""
    commands, to = os.pipe()
    back, results = os.pipe()
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as profile:
        start = f'exec "$@" 3<&{commands} 4>&{results}'
        command = ["bash", "-c", start, "bash", str(CHROMIUM), *FLAGS, f"--user-data-dir={profile}"]
        process = subprocess.Popen(command, pass_fds=(commands, results), stderr=subprocess.DEVNULL)
        os.close(commands)
        os.close(results)
        try:
            answers = _messages(back)
            whole = Page(to, answers)
            tab = whole.send("Target.createTarget", url="about:blank")["targetId"]
            session = whole.send("Target.attachToTarget", targetId=tab, flatten=True)["sessionId"]
            yield Page(to, answers, session, whole.numbers)
        finally:
            os.close(to)  # which ends it
            os.close(back)
            process.wait(60)


def _messages(back: int) -> Iterator[dict[str, Any]]:
    unread = b""
    while select.select([back], [], [], 120)[0] and (read := os.read(back, 1 << 16)):
        *whole, unread = (unread + read).split(b"\0")
        yield from map(json.loads, whole)
    raise EOFError("Chromium has ended, or has not answered for two minutes")
