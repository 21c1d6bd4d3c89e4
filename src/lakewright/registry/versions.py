"""Model versions: a model folder registered under `catalog.schema.model`, with aliases (champion, challenger).

The MLflow model is logged under its run, the version points to it, and the alias points to the version; each step looks
first for what an interrupted attempt left, so that `register` can be repeated after a kill -9 at any point.
"""

from __future__ import annotations

import fcntl
import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

from lakewright.errors import LakewrightError, ModelError, NotFound, UsageError, nearest_number
from lakewright.model import pyfunc
from lakewright.model.folder import verify
from lakewright.records import ModelVersion
from lakewright.registry.uri import (
    DIGEST,
    REMOTE,
    Registry,
    aliases_and_versions,
    downloaded,
    local_folder,
    local_path,
    model_folder,
    record,
    version_of,
)
from lakewright.registry.without_mlflow import reader
from lakewright.system.files import put_in_place
from lakewright.workspace.tracking import Tracking, literal

if TYPE_CHECKING:
    from mlflow.entities import LoggedModel
    from mlflow.tracking import MlflowClient

    from lakewright.model.predictor import Predictor
    from lakewright.workspace import Workspace

VERSIONS = "mlflow.modelVersions"
RUN = "lakewright.run_id"


def register(
    tracking: Tracking,
    *,
    run_id: str,
    folder: Path,
    digest: str,
    name: str,
    alias: str,
    tags: Mapping[str, str],
    example: Sequence[Mapping[str, Any]],
    description: str = "",
) -> ModelVersion:
    """The model version made of this folder by this run, with the alias set on it; made where there is none.

    One run and one digest give one version, however often and from wherever this is called. What an interrupted attempt
    left half logged is written again whole before it is used; a logged model that is READY is used as it is.
    Raises ModelError where the folder is not the one with this digest, UsageError for an alias MLflow does not take.
    """
    with tracking.client() as client:
        logged = _logged_model(client, run_id, folder, digest, example)
        if not _of_run(client, name, run_id, digest):
            _create_registered_model(client, name)
            client.create_model_version(
                name,
                source=logged.artifact_location,  # models:/ID would be looked up in the process's global tracking URI
                run_id=run_id,
                tags={**tags, DIGEST: digest, RUN: run_id},
                description=description,
                model_id=logged.model_id,
            )
        version, *surplus = _of_run(client, name, run_id, digest)
        for later in surplus:  # two processes registered it at once: both keep the first
            with _ignore_missing():
                client.delete_model_version(name, str(later))
        listed = json.loads(logged.tags.get(VERSIONS, "[]"))  # the logged model's page shows its versions by this tag
        if not any(entry["name"] == name for entry in listed):
            listed.append({"name": name, "version": version})
            client.set_logged_model_tags(logged.model_id, {VERSIONS: json.dumps(listed)})
    return set_alias(tracking, name, alias, version)


def resolve(tracking: Tracking, uri: str) -> ModelVersion:
    """The version that a `models:/…` URI means. Raises as `version_of` does."""
    with _registry(tracking) as registry:
        return version_of(registry, uri)


def open_model(workspace: Workspace, uri: str, runtime: str = "auto") -> Predictor:
    """The predictor of the version that a `models:/…` URI means. Raises as `resolve` and `download` do."""
    from lakewright.model.predictor import Predictor

    version = resolve(workspace.tracking, uri)
    return Predictor.open(download(workspace.tracking, version, workspace.folder / "downloads"), runtime)


def download(tracking: Tracking, version: ModelVersion, destination_cache: Path) -> Path:
    """The version's model folder on this machine: where it lies, or a copy in the cache, under its digest.

    Raises ModelError where the files are gone, are not a Lakewright model, or are not those that were registered.
    """
    local = local_folder(version, destination_cache)
    if local is not None:
        return local
    cached = downloaded(version, destination_cache)
    destination_cache.mkdir(parents=True, exist_ok=True)
    with tracking.client(), TemporaryDirectory(dir=destination_cache) as scratch:
        folder = model_folder(_fetched(tracking, version, scratch), version)
        verify(folder)
        put_in_place(folder, cached)
    return cached


def _fetched(tracking: Tracking, version: ModelVersion, destination: str) -> Path:
    """The MLflow model, copied by MLflow from wherever it lies."""
    from mlflow.artifacts import download_artifacts
    from mlflow.exceptions import MlflowException

    try:
        return Path(download_artifacts(version.uri, dst_path=destination, tracking_uri=tracking.tracking_uri))
    except MlflowException:
        raise
    except Exception as failure:  # of the library that the store needs, of which there are many
        raise LakewrightError(
            f"the files of {version} cannot be downloaded from {version.uri}: {failure}",
            "check the address, the network, and the keys that MLflow needs for this store",
        ) from failure


def list_models(tracking: Tracking) -> list[ModelVersion]:
    """Every version of every registered model, by name, the newest first."""
    with _registry(tracking) as registry:
        versions = [(name, version) for name in registry.names() for version in reversed(registry.versions(name))]
        return [registry.version(name, version) for name, version in versions]


def set_alias(tracking: Tracking, name: str, alias: str, version: int) -> ModelVersion:
    """Point the alias at this version, and away from the one that had it."""
    if not re.fullmatch(r"(?!v\d+$|latest$)[\w-]+", alias, re.ASCII | re.IGNORECASE):
        raise UsageError(
            f"{alias!r} cannot be an alias", "use letters, digits, _ and -; not `latest`, and no form like `v3`"
        )
    with tracking.client() as client:
        from mlflow.exceptions import MlflowException

        registry = MlflowRegistry(client)
        _, versions = aliases_and_versions(registry, name)
        if version not in versions:
            raise NotFound(f"the model {name} has no version {version}", nearest_number(version, versions))
        try:
            client.set_registered_model_alias(name, alias, str(version))
        except MlflowException:  # MLflow's insert failed, as another process made the alias at that moment,
            if alias not in (registry.aliases(name) or {}):
                raise
            client.set_registered_model_alias(name, alias, str(version))  # which there is to be moved now
        return registry.version(name, version)


def champion(tracking: Tracking, name: str) -> ModelVersion | None:
    """The version that the alias `champion` points to, if the model and the alias are there."""
    with tracking.client() as client:
        registry = MlflowRegistry(client)
        version = (registry.aliases(name) or {}).get("champion")
        return None if version is None else registry.version(name, version)


def _logged_model(
    client: MlflowClient, run_id: str, folder: Path, digest: str, example: Sequence[Mapping[str, Any]]
) -> LoggedModel:
    """The run's logged model of this folder, READY and an output of the run."""
    from mlflow.entities import LoggedModelOutput
    from mlflow.exceptions import MlflowException
    from mlflow.models import Model

    run = client.get_run(run_id)
    condition = f"source_run_id = '{run_id}' AND tags.`{DIGEST}` = '{digest}'"
    models = client.search_logged_models([run.info.experiment_id], filter_string=condition)
    models.sort(key=lambda model: model.status != "READY")
    if models:
        logged = models[0]
    else:
        logged = client.create_logged_model(
            run.info.experiment_id, name="model", source_run_id=run_id, tags={DIGEST: digest}
        )
    if logged.status != "READY":
        if (actual := verify(folder)) != digest:
            raise ModelError(f"{folder} has the digest {actual}, not {digest}", "run evaluate and gate again")
        place = logged.artifact_location
        identity = Model(artifact_path=place, model_uuid=logged.model_id, run_id=run_id, model_id=logged.model_id)
        with TemporaryDirectory() as scratch, _alone(local_path(place)):
            logged = client.get_logged_model(logged.model_id)
            if logged.status != "READY":  # else another process was first
                pyfunc.save_model(folder, Path(scratch) / "model", example, identity)
                client.log_model_artifacts(logged.model_id, f"{scratch}/model")
                logged = client.finalize_logged_model(logged.model_id, "READY")
    if not _is_output(client, run_id, logged.model_id):
        try:
            client.log_outputs(run_id, [LoggedModelOutput(logged.model_id, step=0)])
        except MlflowException:
            if not _is_output(client, run_id, logged.model_id):  # else another process was first
                raise
    return logged


@contextmanager
def _alone(place: str) -> Iterator[None]:
    """One process at a time writes a logged model into a local folder.

    MLflow's copying fails where another process makes the same subfolder at that moment, and it truncates each file
    before it writes it again: a file that was READY would be cut short, for good if the second process is killed.
    """
    if REMOTE.match(place):  # a store puts each file in its place whole
        yield
        return
    beside = Path(place).parent / ".writing"
    beside.parent.mkdir(parents=True, exist_ok=True)
    with beside.open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # the kernel lets go of it when the process dies
        yield


def _is_output(client: MlflowClient, run_id: str, model_id: str) -> bool:
    outputs = client.get_run(run_id).outputs
    return outputs is not None and model_id in [output.model_id for output in outputs.model_outputs]


def _create_registered_model(client: MlflowClient, name: str) -> None:
    from mlflow.exceptions import MlflowException

    try:
        client.create_registered_model(name)
    except MlflowException as error:
        if error.error_code not in ("RESOURCE_ALREADY_EXISTS", "ALREADY_EXISTS"):
            raise


def _of_run(client: MlflowClient, name: str, run_id: str, digest: str) -> list[int]:
    """The versions of the model that this run made of the folder with this digest, the first one first."""
    of_run = _all(client.search_model_versions, f"run_id = '{run_id}'")
    versions = []
    for version in of_run:
        if version.name == name:
            with _ignore_missing():
                versions.append(client.get_model_version(name, str(version.version)))
    return sorted(
        int(version.version) for version in versions if version.status == "READY" and version.tags.get(DIGEST) == digest
    )


@contextmanager
def _ignore_missing() -> Iterator[None]:
    """Asks for what another process may have deleted by now, which is then passed over."""
    from mlflow.exceptions import MlflowException

    try:
        yield
    except MlflowException as error:
        if error.error_code != "RESOURCE_DOES_NOT_EXIST":
            raise


@contextmanager
def _registry(tracking: Tracking) -> Iterator[Registry]:
    """The registry, for reading: without MLflow's import, seconds long, where it can be read so."""
    registry = reader(tracking)
    if registry is not None:
        yield registry
    else:
        with tracking.client() as client:
            yield MlflowRegistry(client)


@dataclass(frozen=True)
class MlflowRegistry:
    """The registry as MLflow's client tells it."""

    client: MlflowClient

    def names(self) -> list[str]:
        return sorted(str(model.name) for model in _all(self.client.search_registered_models, None))

    def aliases(self, name: str) -> dict[str, int] | None:
        with _ignore_missing():
            model = self.client.get_registered_model(name)
            return {alias: int(version) for alias, version in model.aliases.items()}
        return None

    def versions(self, name: str) -> list[int]:
        results = _all(self.client.search_model_versions, f"name = {literal(name)}")
        return sorted(int(version.version) for version in results)

    def version(self, name: str, number: int) -> ModelVersion:
        model_version = self.client.get_model_version(name, str(number))
        uri = self.client.get_model_version_download_uri(name, str(number))
        return record(name, number, model_version.aliases, uri, model_version.tags)


def _all(search: Callable[..., Any], condition: str | None) -> Iterator[Any]:
    """The results of one of MLflow's searches, page after page."""
    token = None
    while True:
        page = search(filter_string=condition, page_token=token)
        yield from page
        token = page.token
        if not token:
            return
