"""Nothing else changed: two commits side by side on this machine, in one run.

    python tests/same_as_before.py [--base COMMIT] [--data FOLDER] [--keep FOLDER]

The base commit and this tree (as it stands, committed or not) each train small models of every learner and task, with
one published split, and the dry runs of the three platforms are compared. With --data, a folder of the sets that
EXAMPLES_DATA names, the examples run as well, on some rows of each. Equal must be: the weights, the networks, metrics,
predictions, and the files for the platforms, but for RENAMED. Exit code 1 and a line for each difference otherwise.

The base is the last commit before the house stood in wings and rows had recipes.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import subprocess
import sys
import tempfile
import tomllib
from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import yaml

HERE = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(HERE / "tests"), str(HERE / "tests" / "contracts"), str(HERE / "tests" / "story")]

BASE = "de38724"
RENAMED = {  # as the base writes it → as this tree does
    "prepare.max_length": "prepare.recipe.tokens.max_length",
    "lakewright.serving.protocols": "lakewright.service.server.protocols",
    "lakewright.lake.sources": "lakewright.data.sources.opening",
}
# Comments of the examples, sizes and hashes of files, and where YAML breaks a line, say nothing about what is done.
UNTOLD = re.compile(r"^\s*# .*$|\b[0-9a-f]{16,64}\b|\b[\d,]+ bytes\b", re.MULTILINE)
FORMER = {"max_length", "long_texts", "stride"}  # keys of `prepare` that both read
LEARNERS, NEW_TASKS = ("embedding", "encoder", "linear"), ("classification", "regression")  # the base's, ours
PLATFORMS = ("databricks", "sagemaker", "azureml")
SPLITS = ["train"] * 7 + ["validation", "test", "train"]


def installed(tree: Path, at: Path) -> dict[str, str]:
    """The environment in which Python finds the package of this tree, entry points and all."""
    project = tomllib.loads((tree / "pyproject.toml").read_text())["project"]
    info = at / f"{project['name']}-{project['version']}.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {project['name']}\nVersion: {project['version']}\n")
    groups = project["entry-points"] | {"console_scripts": project["scripts"]}
    lines = [
        f"[{group}]\n" + "".join(f"{name} = {where}\n" for name, where in of.items()) for group, of in groups.items()
    ]
    (info / "entry_points.txt").write_text("\n".join(lines))
    return {**os.environ, "PYTHONPATH": os.pathsep.join([str(tree / "src"), str(at)]), "PYTHONHASHSEED": "0"}


def ask(environment: dict[str, str], folder: Path, *arguments: str, codes: tuple[int, ...] = (0,)) -> str:
    line = [sys.executable, "-m", "lakewright.cli", *arguments]
    done = subprocess.run(line, cwd=folder, env=environment, capture_output=True, text=True)
    if done.returncode not in codes:
        raise SystemExit(f"{' '.join(arguments)} in {folder} ended with {done.returncode}:\n{done.stderr[-4000:]}")
    return done.stdout


def cases(tiny: Path) -> Iterator[tuple[str, dict[str, Any], list[dict[str, Any]]]]:
    """Name, project and rows of each small model."""
    from test_learners import LAYOUT, PAIRS, task_rows

    from conftest import sentences, small_project
    from lakewright import plugins
    from lakewright.learning.learners import gap

    for learner, task in PAIRS:
        if learner not in LEARNERS or task in NEW_TASKS:
            continue
        if gap(plugins.LEARNERS.find(learner), plugins.TASKS.find(task)):
            continue
        rows, columns = task_rows(task, sentences(200))
        for at, row in enumerate(rows):
            row["split"] = SPLITS[at % len(SPLITS)]
        project = small_project(tiny) | {"task": task, "gate": {}, "evaluate": {"resamples": 100}}
        project["data"] = {"source": "things.json", "columns": columns}
        project["prepare"] = {"duplicates": "keep"}  # which rows are equal is another question now
        project["train"] = {"learner": learner}
        if learner != "linear":
            project["train"] |= {"base_model": str(tiny), "quantize": "never"}
            project["prepare"] |= {key: LAYOUT[task][key] for key in FORMER & LAYOUT.get(task, {}).keys()}
        if learner == "encoder":
            project["train"]["num_train_epochs"] = 2
        yield f"{learner}-{task}", project, rows


def run(environment: dict[str, str], folder: Path, *arguments: str) -> dict[str, Any]:
    """What the run left, as it is compared."""
    left = json.loads(ask(environment, folder, "run", *arguments, "--json", codes=(0, 3)))
    model, report = Path(left["model_folder"]), Path(left["report"])
    evaluation = json.loads(report.with_name("evaluation.json").read_text())
    rows = pq.read_table(
        report.with_name("test_rows.parquet"), columns=["record_id", "truth", "prediction"]
    ).to_pylist()
    files = {name: _hash(model / name) for name in ("model.safetensors", "model.onnx") if (model / name).exists()}
    return {"metrics": evaluation["metrics"], "predictions": sorted(rows, key=str), **files}


def _hash(path: Path) -> str:
    return sha256(path.read_bytes()).hexdigest()


def platform_files(environment: dict[str, str], tree: Path) -> dict[str, Any]:
    """The dry run of every example on every platform."""
    found = {}
    for project in sorted((tree / "examples").glob("*/project.yml")):
        for platform in PLATFORMS:
            name = str(project.relative_to(tree))
            shown = ask(environment, tree, "deploy", name, "--profile", platform, "--dry-run", codes=(0, 1, 2))
            found[f"{name} on {platform}"] = shown.replace(str(tree), "TREE")
    return found


def examples(environment: dict[str, str], tree: Path, data: Path, into: Path) -> dict[str, Any]:
    """Each example's run on some rows of its set, with a published split."""
    from test_every_example import FOLDERS

    found = {}
    for name, folder in sorted(FOLDERS.items()):
        if not (data / folder).exists():
            continue
        source = into / name
        source.mkdir(parents=True)
        for file in sorted((data / folder).glob("*.parquet")):
            table = pq.read_table(file)
            rows = np.sort(np.random.default_rng(13).permutation(len(table))[:400])
            pq.write_table(table.take(rows), source / file.name)
        settings = ["--set", f"data.source={source}", "--set", "train.num_train_epochs=1"]
        (into / f"at-{name}").mkdir()
        found[name] = run(environment, into / f"at-{name}", str(tree / "examples" / name / "project.yml"), *settings)
    return found


def measured(tree: Path, at: Path, data: Path | None, tiny: Path) -> dict[str, Any]:
    environment = installed(tree, at / "installed")
    found: dict[str, Any] = {}
    for name, project, rows in cases(tiny):
        folder = at / name
        folder.mkdir()
        (folder / "things.json").write_text("\n".join(json.dumps(row) for row in rows))
        (folder / "project.yml").write_text(yaml.safe_dump(project))
        found[name] = run(environment, folder, "project.yml")
        print(f"{tree.name}: {name}", file=sys.stderr, flush=True)
    found |= platform_files(environment, tree)
    return found | (examples(environment, tree, data, at / "examples") if data else {})


def differences(before: Any, now: Any, at: str) -> Iterator[str]:
    if isinstance(before, dict) and isinstance(now, dict):
        for key in sorted({*before, *now}):
            yield from differences(before.get(key), now.get(key), f"{at}: {key}")
    elif isinstance(before, str) and isinstance(now, str):
        renamed = re.sub("|".join(map(re.escape, RENAMED)), lambda old: RENAMED[old[0]], before)
        was, now_is = renamed, now
        if " on " in at:  # files for a platform
            was, now_is = (" ".join(UNTOLD.sub(" ", text).split()) for text in (renamed, now))
        if was != now_is:
            end = next((at for at, (a, b) in enumerate(zip(was, now_is, strict=False)) if a != b), len(was))
            yield f"{at}: {was[max(0, end - 60) : end + 100]!r} was, {now_is[max(0, end - 60) : end + 100]!r} is"
    elif before != now:
        yield f"{at}: {str(before)[:160]} was, {str(now)[:160]} is"


def main() -> None:
    given = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    given.add_argument("--base", default=BASE)
    given.add_argument("--data", type=Path)
    given.add_argument("--keep", type=Path, help="a folder for what both leave, to look into")
    options = given.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        at = options.keep or Path(scratch)
        tree = at / "base"
        subprocess.run(["git", "-C", str(HERE), "worktree", "add", "--detach", str(tree), options.base], check=True)
        try:
            from conftest import make_tiny_base

            tiny = make_tiny_base(at / "tiny")
            data = options.data.resolve() if options.data else None
            sides = [measured(each, at / name, data, tiny) for each, name in ((tree, "before"), (HERE, "now"))]
        finally:
            subprocess.run(["git", "-C", str(HERE), "worktree", "remove", "--force", str(tree)], check=True)
    before, now = sides
    lines = list(differences(before, {name: now.get(name) for name in before}, "differs"))  # examples came since then
    print("\n".join(lines) or f"{len(before)} models, examples and dry runs: all equal")
    sys.exit(bool(lines))


if __name__ == "__main__":
    main()
