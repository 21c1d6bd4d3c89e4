"""A table is scored into predictions: each row once, only what is new, whatever is killed and whoever else writes."""

from __future__ import annotations

import random
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
import yaml

import lakewright as lw
from conftest import one_object, sentences, small_project, write_csv
from lakewright import Workspace, load_profile
from lakewright.data.lake.tables import Lake
from lakewright.errors import Busy, DataError, UsageError
from lakewright.model.predictor import Predictor
from lakewright.service.scoring import ledger

Lakewright = Callable[..., "subprocess.CompletedProcess[str]"]
MODEL, INPUT, OUTPUT = "models:/main.demo.things@champion", "main.demo.posts", "main.demo.posts_predictions"


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory, mlflow_template: Path) -> Path:
    """A model folder, in the workspace that it was made in: linear, since what it says does not matter here."""
    folder = tmp_path_factory.mktemp("trained")
    (folder / ".lakewright").mkdir()
    shutil.copy(mlflow_template, folder / ".lakewright" / "mlflow.db")
    write_csv(folder / "things.csv", sentences(300))
    values = {**small_project(folder), "train": {"learner": "linear"}}
    (folder / "project.yml").write_text(yaml.safe_dump(values))
    command = [sys.executable, "-m", "lakewright.cli", "run", "--json"]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return Path(one_object(done.stdout)["model_folder"])


@pytest.fixture
def lake(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Lake:
    """Of an empty workspace in the current folder."""
    monkeypatch.chdir(tmp_path)
    return Workspace.open(load_profile()).lake


@pytest.fixture
def registered(trained: Path, monkeypatch: pytest.MonkeyPatch) -> Lake:
    """Of the workspace that holds the model version."""
    monkeypatch.chdir(next(folder.parent for folder in trained.parents if folder.name == ".lakewright"))
    return Workspace.open(load_profile()).lake


def posts(rows: int, seed: int = 1, first: int = 0) -> pa.Table:
    found = sentences(rows, seed)
    ids, texts, places = (
        [f"p{first + i}" for i in range(rows)],
        [row["text"] for row in found],
        [r["place"] for r in found],
    )
    return pa.table({"id": ids, "text": texts, "place": places})


def predictions(lake: Lake, table: str = OUTPUT) -> list[dict[str, Any]]:
    return sorted(lake.read(lake.version(table)).to_pylist(), key=lambda row: str(row["record_id"]))


@pytest.mark.slow
def test_what_is_predicted_together_hangs_on_the_table_alone(
    lake: Lake, trained: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not on how much is committed at once, nor on a kill in between: so not even the last digit changes."""
    together: list[int] = []
    predict, write = Predictor.predict, Lake.add_files

    def recorded(self: Predictor, rows: list[Any], **options: Any) -> list[Any]:
        together.append(len(rows))
        return predict(self, rows, **options)

    def killed(self: Lake, *arguments: Any, **options: Any) -> Any:
        if len(together) == 2:
            raise KeyboardInterrupt
        return write(self, *arguments, **options)

    lake.write(INPUT, posts(3000))
    lake.write(INPUT, posts(1200, seed=2, first=3000), mode="append")
    monkeypatch.setattr(Predictor, "predict", recorded)
    windows = []
    for commit_rows in (700, 1000, 25_000):
        lw.score(trained, INPUT, f"main.demo.by_{commit_rows}", commit_rows=commit_rows)
        windows.append(together.copy())
        together.clear()
    assert windows[0] == windows[1] == windows[2] and sorted(windows[0]) == [952, 1200, 2048]
    monkeypatch.setattr(Lake, "add_files", killed)
    with pytest.raises(KeyboardInterrupt):
        lw.score(trained, INPUT, "main.demo.killed", commit_rows=700)
    monkeypatch.setattr(Lake, "add_files", write)
    assert 0 < lake.version("main.demo.killed").rows < 4200
    together.clear()
    lw.score(trained, INPUT, "main.demo.killed", commit_rows=25_000)
    assert together == windows[0][-len(together) :]  # whole windows, the one that was begun among them
    tables = [predictions(lake, f"main.demo.{name}") for name in ("by_700", "by_1000", "by_25000", "killed")]
    answers = [[{**row, "scored_at": None} for row in table] for table in tables]
    assert answers[0] == answers[1] == answers[2] == answers[3] and len(answers[0]) == 4200


def test_a_table_is_scored_and_then_only_what_is_new(registered: Lake, trained: Path, lakewright: Lakewright) -> None:
    lake = registered
    lake.write(INPUT, posts(300))
    options = ["score", "--model", MODEL, "--input", INPUT, "--keep", "place", "--json"]
    command = [sys.executable, "-X", "importtime", "-m", "lakewright.cli", *options]
    first = subprocess.run(command, capture_output=True, text=True, check=False)
    assert first.returncode == 0, first.stderr
    imported = set(re.findall(r"\| +([\w.]+)$", first.stderr, re.MULTILINE))
    assert "onnxruntime" in imported and not imported & {
        "torch",
        "transformers",
        "mlflow",
    }  # it asked in a process apart
    told = one_object(first.stdout)
    assert (told["input"], told["output"], told["rows"]) == (f"{INPUT}@v0", f"{OUTPUT}@v0", 300)
    assert told["model"] == "models:/main.demo.things/1" and told["seconds_per_1000_rows"] > 0
    rows = predictions(lake)
    expected = Predictor.open(trained).predict(posts(300)["text"].to_pylist())
    by_id = {f"p{i}": prediction for i, prediction in enumerate(expected)}
    for row in rows:
        prediction = by_id.pop(row["record_id"])
        assert row["label"] == prediction["label"] and row["confidence"] == pytest.approx(prediction["confidence"])
        assert dict(row["probabilities"]) == pytest.approx(prediction["probabilities"])
        assert (row["input_table"], row["input_version"], row["model"]) == (INPUT, 0, "models:/main.demo.things/1")
        assert row["abstain"] is False and row["scored_at"] is not None and row["place"] is not None
    assert not by_id

    nothing = lakewright("score", "--model", str(trained), "--input", INPUT, "--keep", "place")
    assert nothing.returncode == 0 and "nothing is new" in nothing.stdout
    lake.write(INPUT, posts(40, seed=2, first=300), mode="append")
    lake.write(INPUT, posts(2, seed=3, first=340), mode="append")
    more = lw.score(trained, INPUT, keep=["place"])
    assert more.rows == 42 and more.why == [f"rows added to {INPUT} after v0, up to v2"]
    rows = predictions(lake)
    assert len({row["record_id"] for row in rows}) == len(rows) == 342
    assert [row["input_version"] for row in rows].count(2) == 42
    listed = one_object(lakewright("models", "list", "--json").stdout)["models"]
    assert float(listed[0]["tags"]["lakewright.scored_seconds_per_1000_rows"]) > 0


def test_what_was_changed_is_told_by_ids_or_refused(lake: Lake, trained: Path) -> None:
    lake.write(INPUT, posts(30))
    lw.score(trained, INPUT)
    lake.write(INPUT, posts(50))  # an overwrite: 30 of the ids are known
    again = lw.score(trained, INPUT)
    assert again.rows == 20 and "whose id has no prediction yet (version 1 changed rows" in again.why[0]
    assert [row["record_id"] for row in predictions(lake)] == sorted(f"p{i}" for i in range(50))

    without_ids = posts(30).drop_columns(["id"])
    lake.write("main.demo.plain", without_ids)
    lw.score(trained, "main.demo.plain")
    lake.write("main.demo.plain", without_ids, mode="append")
    assert lw.score(trained, "main.demo.plain").rows == 30
    rows = predictions(lake, "main.demo.plain_predictions")
    assert len({row["record_id"] for row in rows}) == 60
    lake.write("main.demo.plain", without_ids)
    with pytest.raises(DataError, match="cannot be determined: version 2 changed rows") as refused:
        lw.score(trained, "main.demo.plain")
    assert "--full" in refused.value.remedy and len(predictions(lake, "main.demo.plain_predictions")) == 60
    anew = lw.score(trained, "main.demo.plain", full=True)
    assert anew.rows == 30 and len(predictions(lake, "main.demo.plain_predictions")) == 30
    with pytest.raises(UsageError, match="newer than v0"):
        lw.score(trained, "main.demo.plain@v0")


def test_optimize_and_new_columns_are_no_new_rows(lake: Lake, trained: Path) -> None:
    from deltalake import DeltaTable

    for first in range(0, 60, 20):
        lake.write(INPUT, posts(20, first=first), mode="append")
    lw.score(trained, INPUT)
    table = DeltaTable(lake.version(INPUT).uri)
    table.optimize.compact()
    assert lw.score(trained, INPUT).rows == 0
    lake.write(INPUT, posts(5, first=60), mode="append")
    assert lw.score(trained, INPUT).rows == 5
    assert len({row["record_id"] for row in predictions(lake)}) == 65


def test_rows_without_text_and_unsure_ones(lake: Lake, trained: Path, lakewright: Lakewright) -> None:
    texts = ["we saw a dog today", None, "", "🦄 \u202eright to left\u202c \x00 control"]
    lake.write(INPUT, pa.table({"id": [1, 2, 3, 4], "body": texts}))
    scored = lakewright(
        "score", "--model", str(trained), "--input", INPUT, "--column", "text=body", "--least-confidence", "0.9"
    )
    assert scored.returncode == 0, scored.stderr
    assert "2 of them have no input for the model" in scored.stdout and "abstain is true" in scored.stdout
    rows = predictions(lake)
    assert [row["record_id"] for row in rows] == ["1", "2", "3", "4"]
    assert [row["label"] is None for row in rows] == [False, True, True, False]
    assert all(row["abstain"] and row["confidence"] is None for row in rows[1:3])
    assert all(row["abstain"] == (row["confidence"] < 0.9) for row in rows if row["confidence"] is not None)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"input": "main.demo.nope"}, "there is no table main.demo.nope"),
        ({"columns": {"txet": "text"}}, "the model has no input 'txet'"),
        ({"columns": {"text": "bdoy"}}, "the table has no column 'bdoy'"),
        ({"keep": ["nope"]}, "the table has no column 'nope'"),
        ({"keep": ["label"]}, "'label' cannot be kept"),
        ({"id": "nope"}, "the table has no column 'nope'"),
        ({"output": INPUT}, "predictions cannot be written to"),
        ({"output": f"{OUTPUT}@v1"}, "predictions cannot be written to"),
        ({"output": "main.demo.other"}, "holds no predictions for"),
        ({"output": "main.demo.other", "full": True}, "holds no predictions for"),
        ({"least_confidence": 7}, "between 0 and 1"),
        ({"commit_rows": 0}, "cannot be committed"),
        ({"input": "main.demo.other"}, "no column for the model's input 'text'"),
        ({"id": "place"}, "the column 'place' of main.demo.posts@v0 is null in row 4"),
    ],
)
def test_what_does_not_fit_is_said_before_anything_is_written(
    lake: Lake, trained: Path, given: dict[str, Any], message: str
) -> None:
    table = posts(5).append_column("label", pa.array(["x"] * 5))
    lake.write(INPUT, table.set_column(2, "place", pa.array(["a", "b", "c", "d", None])))
    lake.write("main.demo.other", pa.table({"id": [1]}))
    before = [(entry["full_name"], entry["version"]) for entry in lake.list()]
    with pytest.raises((UsageError, DataError), match=re.escape(message)):
        lw.score(**{"model": trained, "input": INPUT, **given})
    assert [(entry["full_name"], entry["version"]) for entry in lake.list()] == before


def test_other_options_than_before_are_refused(lake: Lake, trained: Path) -> None:
    lake.write(INPUT, posts(5))
    lw.score(trained, INPUT, keep=["place"])
    with pytest.raises(UsageError, match="has other columns than these options and this model write: place: string"):
        lw.score(trained, INPUT)
    assert lw.score(trained, INPUT, full=True, probabilities=False).rows == 5
    assert "probabilities" not in predictions(lake)[0]


def test_the_command_says_what_is_wrong(registered: Lake, trained: Path, lakewright: Lakewright) -> None:
    unmapped = lakewright("score", "--model", str(trained), "--input", "a.b.c", "--column", "text")
    assert unmapped.returncode == 2 and "--column text is not of the form INPUT=COLUMN" in unmapped.stderr
    registered.write("main.demo.few", posts(2))
    unknown = lakewright("score", "--model", "models:/main.demo.thing@champion", "--input", "main.demo.few", "--json")
    assert (
        unknown.returncode == 1 and "did you mean 'main.demo.things'" in one_object(unknown.stdout)["error"]["remedy"]
    )


@pytest.mark.slow
def test_killed_at_twenty_points_every_row_is_there_once(lake: Lake, trained: Path) -> None:
    lake.write(INPUT, posts(12_000))
    command = [sys.executable, "-m", "lakewright.cli", "score", "--model", str(trained), "--input", INPUT]
    options = ["--commit-rows", "100"]
    draw = random.Random(7)
    killed = 0
    for _ in range(20):
        process = subprocess.Popen([*command, *options], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
        before = progress(lake)
        while progress(lake) == before and process.poll() is None:  # until it has come to committing
            time.sleep(0.01)
        time.sleep(draw.uniform(0, 0.3))
        process.send_signal(signal.SIGKILL)
        _, said = process.communicate()
        assert process.returncode in (0, -signal.SIGKILL), said.decode()
        killed += process.returncode != 0
    assert killed >= 10 and progress(lake) > 0
    lake.write(INPUT, posts(500, seed=9, first=12_000), mode="append")  # the input moved on in the meantime
    last = lw.score(trained, INPUT, commit_rows=2000)
    assert last.rows > 0 and last.why[-1] == f"rows added to {INPUT} after v0, up to v1"

    lw.score(trained, INPUT, "main.demo.undisturbed")
    found, expected = predictions(lake), predictions(lake, "main.demo.undisturbed")
    assert len(found) == 12_500
    for row, undisturbed in zip(found, expected, strict=True):
        same = ("record_id", "label", "abstain", "model", "model_digest", "input_table")
        assert [row[name] for name in same] == [undisturbed[name] for name in same]
        assert row["confidence"] == pytest.approx(undisturbed["confidence"], abs=1e-6)  # other rows were beside it


def progress(lake: Lake) -> int:
    try:
        return lake.version(OUTPUT).rows
    except DataError:
        return 0


def test_two_scorers_at_once_never_write_a_row_twice(lake: Lake, trained: Path, lakewright: Lakewright) -> None:
    lake.write(INPUT, posts(6000))
    command = [sys.executable, "-m", "lakewright.cli", "score", "--model", str(trained), "--input", INPUT]
    both = [
        subprocess.Popen([*command, "--commit-rows", "100"], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
        for _ in range(2)
    ]
    said = [process.communicate()[1].decode() for process in both]
    codes = [process.returncode for process in both]
    assert 0 in codes and all(code == 0 or "scoring into" in text for code, text in zip(codes, said, strict=True))
    assert len({row["record_id"] for row in predictions(lake)}) == len(predictions(lake)) == 6000


def test_a_scorer_of_another_workspace_is_refused_at_its_next_commit(
    lake: Lake, trained: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No lock tells the two of each other: Delta does."""
    lake.write(INPUT, posts(1000))
    write, calls = Lake.add_files, 0

    def another_first(self: Lake, *given: Any, **options: Any) -> Any:
        nonlocal calls
        calls += 1
        if calls == 2:
            monkeypatch.setattr(Lake, "add_files", write)
            monkeypatch.setattr(Workspace, "lock", lambda *_, **__: NoLock())
            lw.score(trained, INPUT, commit_rows=300)
        return write(self, *given, **options)

    monkeypatch.setattr(Lake, "add_files", another_first)
    with pytest.raises(Busy, match="another process wrote"):
        lw.score(trained, INPUT, commit_rows=300)
    assert len({row["record_id"] for row in predictions(lake)}) == len(predictions(lake)) == 1000


class NoLock:
    def __enter__(self) -> None: ...

    def __exit__(self, *_: object) -> None: ...


def test_a_full_scoring_that_was_interrupted_goes_on(
    lake: Lake, trained: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lake.write(INPUT, posts(900))
    lw.score(trained, INPUT)
    write, calls = Lake.add_files, 0

    def fails(self: Lake, *given: Any, **options: Any) -> Any:
        nonlocal calls
        calls += 1
        if calls == 3:
            raise KeyboardInterrupt
        return write(self, *given, **options)

    with monkeypatch.context() as patched, pytest.raises(KeyboardInterrupt):
        patched.setattr(Lake, "add_files", fails)
        lw.score(trained, INPUT, full=True, commit_rows=300)
    assert len(predictions(lake)) == 600
    rest = lw.score(trained, INPUT, full=True, commit_rows=300)
    assert rest.rows == 300 and rest.why == [f"all rows of {INPUT}@v0, from row 600 on"]
    assert len({row["record_id"] for row in predictions(lake)}) == len(predictions(lake)) == 900


KILLED = """
import os, signal
import lakewright as lw
from lakewright.data.lake.tables import Lake

write, calls = Lake.add_files, 0

def second_kills(self, *arguments, **options):
    global calls
    calls += 1
    if calls == 2:
        os.kill(os.getpid(), signal.SIGKILL)
    return write(self, *arguments, **options)

Lake.add_files = second_kills
lw.score({model!r}, {input!r}, full={full}, id="id", keep=["place"], commit_rows=300)
"""


@pytest.mark.slow
@pytest.mark.parametrize("full", [True, False])
def test_a_killed_scoring_goes_on_with_its_own_columns_alone(lake: Lake, trained: Path, full: bool) -> None:
    """With others, half of the table would come from one column of the input and half from another."""
    table = posts(900)
    lake.write(INPUT, table.append_column("other", table["text"]))
    if full:
        lw.score(trained, INPUT, id="id", keep=["place"])
    code = KILLED.format(model=str(trained), input=INPUT, full=full)
    killed = subprocess.run([sys.executable, "-c", code], capture_output=True, check=False)
    assert killed.returncode == -signal.SIGKILL and len(predictions(lake)) == 300
    others: list[dict[str, Any]] = [
        {"id": "id"},
        {"id": "id", "keep": ["place", "text"]},
        {"id": "text", "keep": ["place"]},
        {"id": "id", "keep": ["place"], "columns": {"text": "other"}},
        {"id": "id", "keep": ["place"], "probabilities": False},
    ]
    for options in others:
        for again in (True, False):
            with pytest.raises(UsageError, match=r"was interrupted, and these options read or write other") as refused:
                lw.score(trained, INPUT, full=again, **options)
            assert "another table (--output)" in refused.value.remedy
    assert len(predictions(lake)) == 300
    rest = lw.score(trained, INPUT, full=full, id="id", keep=["place"])
    assert rest.rows == 600 and len({row["record_id"] for row in predictions(lake)}) == len(predictions(lake)) == 900
    lw.score(trained, INPUT, full=True, id="id")
    assert "place" not in predictions(lake)[0] and len(predictions(lake)) == 900


def test_a_scoring_that_was_interrupted_before_columns_were_noted(
    lake: Lake, trained: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lake.write(INPUT, posts(900))
    step, write, calls = ledger.step, Lake.add_files, 0

    def without_columns(*arguments: Any) -> dict[str, Any]:
        return {name: each for name, each in step(*arguments).items() if not name.endswith(".columns")}

    def fails(self: Lake, *arguments: Any, **options: Any) -> Any:
        nonlocal calls
        calls += 1
        if calls == 2:
            raise KeyboardInterrupt
        return write(self, *arguments, **options)

    with monkeypatch.context() as patched, pytest.raises(KeyboardInterrupt):
        patched.setattr(Lake, "add_files", fails)
        patched.setattr(ledger, "step", without_columns)
        lw.score(trained, INPUT, full=True, commit_rows=300)
    with pytest.raises(UsageError, match="read or write other columns"):
        lw.score(trained, INPUT, full=True, keep=["place"])
    assert lw.score(trained, INPUT, full=True).rows == 600
