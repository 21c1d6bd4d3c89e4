"""A scheduled command is one that runs: cron's line in a shell, systemd's units in the eyes of systemd."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from conftest import one_object
from lakewright.errors import UsageError
from lakewright.targets.local.schedule import When, cron, timer

Lakewright = Callable[..., "subprocess.CompletedProcess[str]"]
SYSTEMD = pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="needs systemd-analyze (Debian: systemd)")
TIMES = [
    ("hourly", "00:15", "Mon"),
    ("daily", "3:30", "Mon"),
    ("weekly", "23:59", "sunday"),
    ("monthly", "00:00", "Mon"),
]


def test_the_line_for_cron_runs_and_leaves_a_log(tmp_path: Path, lakewright: Lakewright) -> None:
    folder = tmp_path / "100 % ours"
    folder.mkdir()
    made = lakewright("schedule", "cron", "--at", "04:05", "tables", "list", "--json", cwd=folder)
    assert made.returncode == 0, made.stderr
    minute, hour, *_, command = made.stdout.rstrip("\n").split(" ", 5)
    assert (minute, hour) == ("5", "4") and "\n" not in command
    for _ in range(2):
        subprocess.run(["sh", "-c", command.replace("\\%", "%")], cwd="/", check=True)  # as cron reads it
    (log,) = folder.glob(".lakewright-tables-*.log")
    assert log.read_text().count('"tables": []') == 2


def test_two_lines_for_cron_do_not_wait_for_each_other(tmp_path: Path, lakewright: Lakewright) -> None:
    def lock(*options: str) -> str:
        made = lakewright("schedule", "cron", *options, cwd=tmp_path)
        return made.stdout.partition("flock --nonblock ")[2].split(" ", 1)[0]

    first, second = lock("score", "--input", "main.a.b"), lock("score", "--input", "main.a.c")
    assert first and first != second and first == lock("--every", "weekly", "score", "--input", "main.a.b")
    assert lock("--name", "one", "score", "--input", "main.a.b") == lock("--name", "one", "run")


@SYSTEMD
@pytest.mark.parametrize(("every", "at", "on"), TIMES)
def test_systemd_takes_the_units(tmp_path: Path, every: str, at: str, on: str) -> None:
    when = When.parse(every, at, on)
    subprocess.run(["systemd-analyze", "calendar", when.calendar], check=True, capture_output=True)
    command = [
        "score",
        "--model",
        "models:/a.b.c@champion",
        "--input",
        "a.b.c",
        "--column",
        'text=100% "of" $it \\ all',
    ]
    for file, text in timer("nightly", command, when, tmp_path).items():
        (tmp_path / file).write_text(text)
    units = [str(tmp_path / f"lakewright-nightly.{end}") for end in ("service", "timer")]
    said = subprocess.run(["systemd-analyze", "verify", "--user", *units], capture_output=True, text=True, check=False)
    ours = [line for line in said.stderr.splitlines() if "lakewright-nightly" in line]
    assert not ours, said.stderr


def test_the_two_kinds_mean_the_same_time() -> None:
    assert [When.parse(*given).cron for given in TIMES] == ["15 * * * *", "30 3 * * *", "59 23 * * 0", "0 0 1 * *"]
    assert When.parse("weekly", "23:59", "sunday").calendar == "Sun *-*-* 23:59"


def test_files_and_json(tmp_path: Path, lakewright: Lakewright) -> None:
    out = tmp_path / "units"
    made = lakewright("schedule", "systemd", "--out", str(out), "--json", "tables", cwd=tmp_path)
    files = one_object(made.stdout)["files"]
    assert {path.name: path.read_text() for path in out.iterdir()} == files
    assert f"WorkingDirectory={tmp_path}" in files["lakewright-tables.service"]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--every", "dayly", "tables"], "did you mean 'daily'"),
        (["--at", "25:00", "tables"], "not a time of day"),
        (["--every", "weekly", "--on", "Sonntag", "tables"], "not a day of the week"),
        (["--name", "a b", "tables"], "cannot name a job"),
        (["scoer"], "did you mean 'score'"),
        (["tables", "a\nb"], "line break"),
    ],
)
def test_what_is_wrong_is_said(lakewright: Lakewright, options: list[str], message: str) -> None:
    refused = lakewright("schedule", "systemd", *options)
    assert refused.returncode == 2 and message in refused.stderr, refused.stderr


def test_a_line_break_cannot_end_cron_s_line(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="line break"):
        cron("nightly", ["tables", "a\nb"], When.parse("daily", "3:00", "Mon"), tmp_path)
