"""The model folder: everything a prediction needs, in safe formats, with the hash of every file.

    model.json          format, task and its labels, learner, lakewright's version
    project.json        the resolved project that made it
    training.json       the learning curves, and the learner's details
    recipe/             recipe.json, and the steps' own files: tokenizer.json …
    model.safetensors   the weights                     model.onnx    the network that serves
    serving.json        the runtime for each use        openvino.xml, openvino.bin   if OpenVINO is one of them
    samples.json        sample rows and this model's predictions for them in each runtime that serves it
    manifest.json       sha256 of each file; the folder's digest is the manifest's

The folder that was evaluated and gated is, byte for byte, the folder that is served: opening one checks the hashes, and
that it holds only the sealed files. The manifest decides which files belong to a folder.
This module writes and reads every JSON file at the folder's top, except the network's configuration (the learner's).
"""

from __future__ import annotations

import hashlib
import json
import os
import stat
from collections.abc import Collection, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path, PurePosixPath
from typing import Any, NoReturn

import lakewright
from lakewright.errors import LakewrightError, ModelError
from lakewright.model import former
from lakewright.model.recipe import Recipe
from lakewright.model.runtimes import Use
from lakewright.system import jsonfile
from lakewright.system.files import cores

FORMAT = 3
MANIFEST, MODEL, PROJECT = "manifest.json", "model.json", "project.json"
TRAINING, SAMPLES, SERVING = "training.json", "samples.json", "serving.json"
BLOCK = 4 << 20  # bytes hashed at once; other threads run between blocks
MOST_MANIFEST = 1 << 20  # bytes; some twenty files are a thousand
ONNX = "model.onnx"  # the network in fp32
AGAIN = "register or download the model again"
TRAIN_AGAIN = "open it with the lakewright that made it, or train again; do not serve a folder of unknown origin"
OTHER_MODEL = "name a folder that a run made, or a registered version: models:/NAME@champion"


@dataclass(frozen=True)
class Samples:
    """samples.json: rows, and each runtime's predictions for them."""

    rows: Sequence[dict[str, Any]]
    predictions: Mapping[str, Sequence[Any]]


@dataclass(frozen=True)
class Choice:
    """The choice for one use: the runtime, its precision, and the seconds a row for each network measured."""

    runtime: str
    precision: str
    seconds_per_row: Mapping[str, float]


def write_description(
    folder: Path,
    *,
    name: str,
    task: Mapping[str, Any],
    learner: str,
    table: str,
    features: str,
    run: str,
    unlabeled: str | None = None,
    lookups: Sequence[Mapping[str, Any]] = (),
) -> None:
    """model.json: `task` is the task's description; table, features and the table of rows without a truth, if there is
    one, are pinned at their versions. `lookups` name the feature tables whose values are inputs: table, keys, values,
    as `lookups_of` returns them."""
    header = {"format": FORMAT, "lakewright": lakewright.__version__}
    origin = {
        "table": table,
        **({} if unlabeled is None else {"unlabeled": unlabeled}),
        "features": features,
        "run": run,
        **({"lookups": lookups} if lookups else {}),
    }
    _write(folder / MODEL, {**header, "name": name, "task": task, "learner": learner, **origin})


def write_project(folder: Path, resolved: Mapping[str, Any]) -> None:
    _write(folder / PROJECT, resolved)


def write_training(folder: Path, history: Sequence[Mapping[str, float]], details: Mapping[str, Any]) -> None:
    """training.json: one entry for each point of the learning curves, and the learner's details."""
    _write(folder / TRAINING, {"history": history, "details": details})


def write_samples(folder: Path, samples: Samples) -> None:
    _write(folder / SAMPLES, vars(samples))


def write_serving(folder: Path, choices: Mapping[Use, Choice]) -> None:
    _write(folder / SERVING, {use: asdict(choice) for use, choice in choices.items()})


def seal(folder: Path) -> str:
    """Writes manifest.json over the folder's files and returns the folder's digest."""
    files = {str(path.relative_to(folder)): file_hash(path) for path in sorted(folder.rglob("*")) if path.is_file()}
    files.pop(MANIFEST, None)
    for name in files:  # only its own user can read safetensors' files; a server runs as another
        (folder / name).chmod(0o644)
    (folder / MANIFEST).write_text(json.dumps(files, indent=2) + "\n", encoding="utf-8")
    return digest_of(folder)


def digest_of(folder: Path) -> str:
    """The digest that the folder claims; `verify` proves it. Raises ModelError if this is not a model folder."""
    return hashlib.sha256(_manifest(folder)).hexdigest()


def verify(folder: Path) -> str:
    """The folder's digest, after a check that every file is as it was sealed and that there are no others.

    Raises ModelError, which names the wrong files.
    """
    content = _manifest(folder)
    sealed = _sealed(folder, content)
    try:
        _only(folder, sealed)
        with ThreadPoolExecutor(cores()) as pool:
            for name, hashed in zip(sealed, pool.map(lambda name: file_hash(folder / name), sealed), strict=True):
                if hashed != sealed[name]:
                    raise ModelError(
                        f"{folder / name} is not the file that was evaluated: its hash differs from the manifest's",
                        f"do not serve it; {AGAIN}",
                    )
    except OSError as failure:
        _unreadable(folder, failure)
    return hashlib.sha256(content).hexdigest()


def file_hash(path: Path) -> str:
    hashed = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(BLOCK):
            hashed.update(block)
    return hashed.hexdigest()


def content_of(folder: Path) -> str:
    """A hash of the folder's files, for folders named by their content."""
    hashes = sorted((path.name, file_hash(path)) for path in folder.iterdir())
    return hashlib.sha256(json.dumps(hashes).encode()).hexdigest()[:16]


def holds(folder: Path, name: str) -> bool:
    """Whether the file belongs to the folder: by its manifest, or by the disk while the folder is made and has none."""
    if (folder / MANIFEST).exists():
        return name in _sealed(folder, _manifest(folder))
    return (folder / name).is_file()


def read_json(folder: Path, name: str) -> Any:
    """Raises ModelError if the folder lacks the file or it is damaged."""
    if not holds(folder, name):
        raise ModelError(f"the model folder {folder} lacks {name}", AGAIN)
    try:
        return jsonfile.parse((folder / name).read_bytes())
    except (OSError, ValueError) as failure:
        raise ModelError(f"{folder / name} cannot be read: {failure}", AGAIN) from None


@contextmanager
def working(folder: Path) -> Iterator[None]:
    """Turns failures that the folder's files cause into ModelError: hashes prove that a file is as it was sealed, not
    that it is valid. Lakewright's own errors, and those for packages that are not installed, pass unchanged."""
    try:
        yield
    except (LakewrightError, ImportError, KeyboardInterrupt, SystemExit):
        raise
    except BaseException as failure:  # a panic of the library tokenizers is not an Exception
        cause = " ".join(f"{type(failure).__name__}: {failure}".split())[:300]
        raise ModelError(
            f"{folder} does not work, although its files are unchanged: {cause}",
            TRAIN_AGAIN,
        ) from failure


def serving(folder: Path, use: Use) -> tuple[str, str]:
    """The runtime that was best for this use, measured where the folder was made, and its precision."""
    if not holds(folder, SERVING):
        return "onnx", "fp32"
    with working(folder):
        chosen = read_json(folder, SERVING)[use]
        return str(chosen["runtime"]), str(chosen["precision"])


def sample_rows(folder: Path) -> list[dict[str, Any]]:
    """The rows in samples.json, from which the signature and the input example are made."""
    with working(folder):
        rows: list[dict[str, Any]] = read_json(folder, SAMPLES)["rows"]
        return rows


def open_recipe(folder: Path) -> Recipe:
    """The recipe of a model folder. Raises ModelError if its files are damaged or a step is not installed."""
    with working(folder):
        steps, files = described_steps(folder)
        return Recipe.of(steps, files)


def most_tokens(folder: Path) -> int:
    """The length at which sequences are cut; 0 if unknown, such as while the folder is made."""
    if not holds(folder, "model.json"):
        return 0
    with working(folder):
        return max((int(step.get("max_length", 0)) for step in described_steps(folder)[0]), default=0)


def described_steps(folder: Path) -> tuple[list[dict[str, Any]], Path]:
    """The descriptions of the recipe's steps, and the folder of their own files."""
    model = read_json(folder, "model.json")
    if model["format"] == former.FORMAT:
        encoding = read_json(folder, f"{former.FOLDER}/{former.FILE}")
        return former.steps_of(model["task"], encoding), folder / former.FOLDER
    return read_json(folder, "recipe/recipe.json")["steps"], folder / "recipe"


def samples_of(folder: Path) -> Samples:
    with working(folder):
        samples = read_json(folder, SAMPLES)
        return Samples(samples["rows"], {**samples["predictions"]})


def project_of(folder: Path) -> dict[str, Any]:
    """The resolved project that made the model."""
    with working(folder):
        return {**read_json(folder, PROJECT)}


def history_of(folder: Path) -> list[dict[str, float]]:
    """The points of the learning curves; a point leaves out undefined values."""
    with working(folder):
        points = read_json(folder, TRAINING)["history"]
        return [{name: value for name, value in point.items() if value is not None} for point in points]


def describe(folder: Path) -> dict[str, Any]:
    """model.json. Raises ModelError for a format that this version does not read."""
    described = read_json(folder, MODEL)
    with working(folder):
        if described["format"] == former.FORMAT:
            described["task"] = former.task_of(described["task"])
        elif described["format"] != FORMAT:
            raise ModelError(
                f"{folder} has the model folder format {described['format']}; this version reads {FORMAT}",
                f"use the lakewright that made it ({described.get('lakewright', 'unknown')}), or train again",
            )
        return {**described, "task": {**described["task"]}, "learner": str(described["learner"])}


def lookups_of(folder: Path) -> list[dict[str, Any]]:
    """The feature tables whose values are inputs of the model, each a mapping: `table` at the version that it was
    learned from, `keys` (the table's key → its column of a row), `values` (value → its name in a row), the columns
    `event_time` and `known_at`, and `ttl_seconds`."""
    with working(folder):
        return [{**each} for each in describe(folder).get("lookups", ())]


def _manifest(folder: Path) -> bytes:
    try:
        with (folder / MANIFEST).open("rb") as file:
            content = file.read(MOST_MANIFEST + 1)
    except (FileNotFoundError, NotADirectoryError):
        raise ModelError(f"{folder} is not a model folder: it has no {MANIFEST}", OTHER_MODEL) from None
    except (OSError, ValueError) as failure:  # ValueError: a path with a null character
        _unreadable(folder, failure)
    if len(content) > MOST_MANIFEST:
        raise ModelError(f"{folder / MANIFEST} is longer than {MOST_MANIFEST:,} bytes", OTHER_MODEL)
    return content


def _sealed(folder: Path, manifest: bytes) -> dict[str, str]:
    """The manifest: file → sha256."""
    try:
        sealed = jsonfile.parse(manifest)
    except ValueError:
        sealed = None
    if not isinstance(sealed, dict) or not all(isinstance(sha256, str) for sha256 in sealed.values()):
        raise ModelError(f"{folder / MANIFEST} is damaged", AGAIN)
    return sealed


def _only(folder: Path, sealed: Collection[str]) -> None:
    """Raises ModelError if the folder holds other files than the sealed ones, or lacks one of them; names that lead out
    of it are never looked up."""
    folders = {str(parent) for name in sealed for parent in PurePosixPath(name).parents}
    files: set[str] = set()
    for at, inner, names in os.walk(folder, onerror=_raise):
        for path in (Path(at, name) for name in (*inner, *names)):
            inside, mode = path.relative_to(folder).as_posix(), path.lstat().st_mode
            text = os.fsencode(path).decode(errors="replace")
            if stat.S_ISLNK(mode):
                raise ModelError(
                    f"{text} is a link, and a model folder must not contain links", f"do not serve it; {AGAIN}"
                )
            if inside == MANIFEST or (inside in folders and stat.S_ISDIR(mode)):
                continue
            if inside not in sealed or not stat.S_ISREG(mode):
                raise ModelError(
                    f"{text} is not one of the sealed files",
                    f"do not serve it; remove the file, or {AGAIN}",
                )
            files.add(inside)
    missing = [name for name in sealed if name not in files]
    if missing:
        raise ModelError(f"the model folder {folder} lacks {missing[0]}", AGAIN)


def _unreadable(folder: Path, failure: Exception) -> NoReturn:
    raise ModelError(f"{folder} cannot be read: {failure}", "check that you may read it, or name another one") from None


def _write(path: Path, values: Mapping[str, Any]) -> None:
    path.write_text(jsonfile.text(values), encoding="utf-8")


def _raise(failure: OSError) -> NoReturn:
    raise failure
