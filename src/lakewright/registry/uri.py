"""What a `models:/…` URI means, and whether the version's files are at hand: the same, whoever reads the registry.

`versions` asks MLflow; `without_mlflow` reads the registry itself.
"""

from __future__ import annotations

import hashlib
import logging
import re
from collections.abc import Iterable, Mapping
from pathlib import Path, PurePosixPath
from typing import Protocol
from urllib.parse import urlsplit
from urllib.request import url2pathname

import yaml

from lakewright.errors import ModelError, NotFound, UsageError, nearest
from lakewright.model import pyfunc
from lakewright.model.folder import digest_of
from lakewright.records import ModelVersion

LOG = logging.getLogger(__name__)
URI = re.compile(r"models:/(?P<name>[^/@]+)(@(?P<alias>[^/@]+)|/(?P<version>\d+)|/(?P<stage>[^/@]+))")
REMOTE = re.compile(r"[a-z][a-z0-9+.-]+:", re.IGNORECASE)  # a scheme, not the drive of C:\\models
DIGEST = "lakewright.digest"
LOADERS = (pyfunc.__name__, "lakewright.runtimes.pyfunc")  # today's, and that of models registered before
MOST_MLMODEL = 1 << 18  # bytes; YAML is read slowly, and none is longer that describes a model of ours


class Registry(Protocol):
    """What can be asked of a registry, whoever reads it."""

    def names(self) -> list[str]:
        """Of all models."""

    def aliases(self, name: str) -> dict[str, int] | None:
        """Alias → version; None: there is no such model."""

    def versions(self, name: str) -> list[int]:
        """Ascending."""

    def version(self, name: str, number: int) -> ModelVersion:
        """One that is there."""


def version_of(registry: Registry, uri: str) -> ModelVersion:
    """The version that `models:/NAME@alias`, `models:/NAME/3` or `models:/NAME/latest` means; `uri` is where it lies.

    `models:/NAME/Production`, a stage of older MLflow, means the alias `production`; a warning says so.
    Raises UsageError for another kind of URI; NotFound, naming what there is, for an unknown model, alias or version.
    """
    parts = URI.fullmatch(uri)
    if parts is None:
        raise UsageError(f"{uri!r} names no model version", "write models:/NAME@alias or models:/NAME/3")
    name, alias, number, stage = parts["name"], parts["alias"], parts["version"], parts["stage"]
    aliases, versions = aliases_and_versions(registry, name)
    if stage == "latest":
        number = str(versions[-1]) if versions else "latest"
    elif stage is not None:
        alias = stage.lower()
        LOG.warning("MLflow has aliases instead of stages: %s is read as models:/%s@%s", uri, name, alias)
    requested = f"@{alias}" if alias is not None else f"/{number}"
    numbers = {f"/{version}": version for version in versions} | {f"@{alias}": aliases[alias] for alias in aliases}
    if requested not in numbers:
        raise NotFound(f"there is no models:/{name}{requested}", nearest(requested, numbers))
    return registry.version(name, numbers[requested])


def aliases_and_versions(registry: Registry, name: str) -> tuple[dict[str, int], list[int]]:
    """The model's aliases and its versions. Raises NotFound naming the nearest model."""
    aliases = registry.aliases(name)
    if aliases is None:
        raise NotFound(f"no model is registered as {name!r}", nearest(name, registry.names()))
    return aliases, registry.versions(name)


def local_folder(version: ModelVersion, downloads: Path) -> Path | None:
    """The version's model folder where this machine has it, or where it would be downloaded to; None: not yet.

    Raises ModelError where the files are gone, are not a Lakewright model, or are not those that were registered.
    """
    if not REMOTE.match(version.uri):
        return model_folder(Path(version.uri), version)
    copy = downloaded(version, downloads)
    return _registered(copy, version, f"remove {copy}; then it is downloaded again") if copy.exists() else None


def downloaded(version: ModelVersion, downloads: Path) -> Path:
    """Where a download of the version lies: under its digest."""
    return downloads / hashlib.sha256(version.digest.encode()).hexdigest()


def model_folder(mlflow_model: Path, version: ModelVersion) -> Path:
    """The model folder inside an MLflow model that `register` logged. Raises ModelError as `local_folder` does."""
    file = mlflow_model / "MLmodel"
    try:
        with file.open("rb") as opened:
            content = opened.read(MOST_MLMODEL)
    except OSError as failure:
        raise _missing(version, str(failure)) from None
    try:
        flavors = yaml.safe_load(content)["flavors"]
        loader = flavors.get("python_function", {})
        if loader.get("loader_module") not in LOADERS:
            raise ModelError(
                f"{version} was not registered by Lakewright, but as {', '.join(map(str, flavors))}",
                "load it with mlflow.pyfunc.load_model, or name another version",
            )
        inside = PurePosixPath(loader["data"])
    except (yaml.YAMLError, ValueError, LookupError, TypeError, AttributeError, RecursionError):
        raise ModelError(f"{file} is damaged", "restore it, or register the model again") from None
    if inside.is_absolute() or ".." in inside.parts:
        raise ModelError(f"{file} names a folder outside of it: {inside}", "do not serve it; register the model again")
    if not (mlflow_model / inside).exists():
        raise _missing(version, str(mlflow_model / inside))
    return _registered(mlflow_model / inside, version, "do not serve it; register the model again")


def _missing(version: ModelVersion, detail: str) -> ModelError:
    return ModelError(
        f"the files of {version} are gone: {detail}",
        "restore them, or set the alias to another version, or register the model again",
    )


def _registered(folder: Path, version: ModelVersion, remedy: str) -> Path:
    """The folder, whose digest is the one in the registry. Raises ModelError, with the remedy, where it is not."""
    digest = digest_of(folder)
    if digest != version.digest:
        raise ModelError(
            f"{folder} is not the folder that was registered as {version}: its digest is {digest}, not "
            f"{version.digest}",
            remedy,
        )
    return folder


def local_path(uri: str) -> str:
    """A `file:` URI as a path; any other URI as it is."""
    return url2pathname(urlsplit(uri).path) if uri.startswith("file:") else uri


def record(name: str, number: int, aliases: Iterable[str], uri: str, tags: Mapping[str, str]) -> ModelVersion:
    digest = tags.get(DIGEST, "")
    return ModelVersion(
        name=name, version=number, aliases=sorted(aliases), uri=local_path(uri), digest=digest, tags=dict(tags)
    )
