"""A workspace elsewhere: what is sent is whole, records come last, whatever is killed; two machines add to one."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from lakewright.errors import ProfileError
from lakewright.records import Trained, stored_values
from lakewright.settings.profile import Profile
from lakewright.workspace import Workspace, copy_of
from lakewright.workspace.ledger import note_test_read
from lakewright.workspace.mirror import SEND_ORDER, Mirror

SEND = """
import sys
from pathlib import Path
from lakewright.workspace.mirror import Mirror
Mirror(sys.argv[1], Path(sys.argv[2])).send()
"""


def made(folder: Path, models: int) -> None:
    """A workspace with models of a few files each, and a record that names each."""
    for number in range(models):
        model = folder / "models" / f"m{number}"
        model.mkdir(parents=True)
        for part in range(3):
            (model / f"part{part}").write_bytes(bytes([number, part]) * 200_000)
        record = Trained(model_folder=str(model), digest=f"d{number}", learner="linear")
        path = folder / "records" / "main.demo.things" / f"train-{number}.json"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(stored_values(record, folder)))


@pytest.fixture(params=["file", "s3"])
def uri(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    return (
        f"file://{tmp_path / 'store'}" if request.param == "file" else f"s3://lake/mirror-{tmp_path.name}-{os.getpid()}"
    )


@pytest.fixture
def options(uri: str, request: pytest.FixtureRequest) -> dict[str, str]:
    return dict(request.getfixturevalue("s3")) if uri.startswith("s3") else {}


def test_what_a_killed_process_had_half_brought_lies_in_no_model_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A model folder that held it would be refused, however often it is brought again."""
    here, there = tmp_path / "here", tmp_path / "there"
    made(here, 1)
    Mirror(f"file://{tmp_path / 'store'}", here).send()
    mirror = Mirror(f"file://{tmp_path / 'store'}", there)

    def killed(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched, pytest.raises(KeyboardInterrupt):
        patched.setattr(os, "utime", killed)  # once the file is written, before it is in its place
        mirror.bring(there / "models" / "m0")
    assert list((there / "models").rglob("*part*")) == []
    mirror.bring(there / "models" / "m0")
    assert sorted(path.name for path in (there / "models" / "m0").iterdir()) == ["part0", "part1", "part2"]


def test_another_machine_has_what_this_one_sent(uri: str, options: dict[str, str], tmp_path: Path) -> None:
    here, there = tmp_path / "here", tmp_path / "there"
    made(here, 2)
    (here / "work").mkdir()
    (here / "work" / "half").write_text("not sent")
    Mirror(uri, here, options).send()

    other = Mirror(uri, there, options)
    other.bring_small()
    assert sorted(path.name for path in there.rglob("*.json")) == ["train-0.json", "train-1.json"]
    assert not (there / "models").exists() and other.has(there / "models" / "m1")
    assert not other.has(there / "models" / "m2") and not other.has(there / "work" / "half")

    values = json.loads((there / "records" / "main.demo.things" / "train-1.json").read_text())
    record = Trained.from_stored(values, there)
    assert record.places == [str(there / "models" / "m1")]
    other.bring(Path(record.model_folder))
    for part in (here / "models" / "m1").iterdir():
        assert (there / "models" / "m1" / part.name).read_bytes() == part.read_bytes()

    # What changes there comes back here, and what both add is kept.
    (there / "runs" / "r").mkdir(parents=True)
    (there / "runs" / "r" / "run.json").write_text('{"status": "running"}')
    other.send()
    (there / "runs" / "r" / "run.json").write_text('{"status": "done"}')
    other.send()
    ours = Mirror(uri, here, options)
    ours.bring_small()
    assert json.loads((here / "runs" / "r" / "run.json").read_text()) == {"status": "done"}


def test_a_sender_killed_at_any_point_leaves_no_record_without_its_model(tmp_path: Path) -> None:
    here, store = tmp_path / "here", tmp_path / "store"
    made(here, 40)
    command = [sys.executable, "-c", SEND, f"file://{store}", str(here)]
    began = time.monotonic()
    subprocess.run([*command[:-2], f"file://{tmp_path / 'other'}", str(here)], check=True)
    whole = time.monotonic() - began
    cut_short = 0
    for point in range(12):
        process = subprocess.Popen(command)
        time.sleep(whole * (0.3 + 0.05 * point))
        process.send_signal(signal.SIGKILL)
        cut_short += process.wait() == -signal.SIGKILL
        check_whole(store, here)
    assert cut_short
    subprocess.run(command, check=True)
    check_whole(store, here)
    sent = {path.relative_to(here) for top in SEND_ORDER for path in (here / top).rglob("*") if path.is_file()}
    assert sent <= {path.relative_to(store) for path in store.rglob("*") if path.is_file()}


def check_whole(store: Path, here: Path) -> None:
    for record in (store / "records").rglob("*.json"):
        model = Trained.from_stored(json.loads(record.read_text()), store).model_folder
        for part in (here / "models" / Path(model).name).iterdir():
            assert (Path(model) / part.name).read_bytes() == part.read_bytes()


def test_no_database_is_shared(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    with pytest.raises(ProfileError, match="they cannot share a database") as caught:
        Workspace.open(Profile(workspace=f"file://{tmp_path / 'store'}"))
    assert "tracking: https://" in caught.value.remedy


def test_two_machines_note_their_reads_of_the_test_split(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    profile = Profile(workspace=f"file://{tmp_path / 'store'}", tracking=f"sqlite:///{tmp_path / 'mlflow.db'}")
    earlier = []
    for machine in ("one", "two", "one"):
        monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / machine))
        workspace = Workspace.open(profile)
        assert workspace.folder == copy_of(profile.workspace)
        earlier.append(note_test_read(workspace, "main.demo.things@v0", 10, "evaluate"))
        workspace.send()
    assert earlier == [0, 1, 2]
