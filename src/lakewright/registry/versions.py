"""Model versions: a model folder registered under `catalog.schema.model`, with aliases (champion, challenger).

The MLflow model is logged under its run, the version points to it, and the alias points to the version; each step looks
first for what an interrupted attempt left, so that `register` can be repeated after a kill -9 at any point.
"""

from __future__ import annotations

import hashlib
import json
import logging
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit
from urllib.request import url2pathname

import yaml

from lakewright.errors import ModelError, NotFound, UsageError, nearest
from lakewright.records import ModelVersion
from lakewright.runtimes import pyfunc
from lakewright.runtimes.folder import digest_of, verify
from lakewright.tracking import Tracking, literal

if TYPE_CHECKING:
    from mlflow.entities import LoggedModel
    from mlflow.tracking import MlflowClient

LOG = logging.getLogger(__name__)
URI = re.compile(r"models:/(?P<name>[^/@]+)(@(?P<alias>[^/@]+)|/(?P<version>\d+)|/(?P<stage>[^/@]+))")
REMOTE = re.compile(r"[a-z][a-z0-9+.-]+:", re.IGNORECASE)  # a scheme, not the drive of C:\\models
VERSIONS = "mlflow.modelVersions"
DIGEST, RUN = "lakewright.digest", "lakewright.run_id"


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
            client.delete_model_version(name, str(later))
        listed = json.loads(logged.tags.get(VERSIONS, "[]"))  # the logged model's page shows its versions by this tag
        if not any(entry["name"] == name for entry in listed):
            listed.append({"name": name, "version": version})
            client.set_logged_model_tags(logged.model_id, {VERSIONS: json.dumps(listed)})
    return set_alias(tracking, name, alias, version)


def resolve(tracking: Tracking, uri: str) -> ModelVersion:
    """The version that `models:/NAME@alias`, `models:/NAME/3` or `models:/NAME/latest` means; `uri` is where it lies.

    `models:/NAME/Production`, a stage of older MLflow, means the alias `production`; a warning says so.
    Raises UsageError for another kind of URI; NotFound, naming what there is, for an unknown model, alias or version.
    """
    parts = URI.fullmatch(uri)
    if parts is None:
        raise UsageError(f"{uri!r} names no model version", "write models:/NAME@alias or models:/NAME/3")
    name, alias, number, stage = parts["name"], parts["alias"], parts["version"], parts["stage"]
    with tracking.client() as client:
        aliases, versions = _known(client, name)
        if stage == "latest":
            number = str(versions[-1]) if versions else "latest"
        elif stage is not None:
            alias = stage.lower()
            LOG.warning("MLflow has aliases in place of stages: %s is read as models:/%s@%s", uri, name, alias)
        wanted = f"@{alias}" if alias is not None else f"/{number}"
        known = {f"/{version}": version for version in versions} | {f"@{alias}": aliases[alias] for alias in aliases}
        if wanted not in known:
            raise NotFound(f"there is no models:/{name}{wanted}", nearest(wanted, known))
        return _record(client, name, known[wanted])


def download(tracking: Tracking, version: ModelVersion, destination_cache: Path) -> Path:
    """The version's model folder on this machine: where it lies, or a copy in the cache, under its digest.

    Raises ModelError where the files are gone, are not a Lakewright model, or are not those that were registered.
    """
    if not REMOTE.match(version.uri):
        return _model_folder(Path(version.uri), version)
    cached = destination_cache / hashlib.sha256(version.digest.encode()).hexdigest()
    if not cached.exists():
        destination_cache.mkdir(parents=True, exist_ok=True)
        with tracking.client(), TemporaryDirectory(dir=destination_cache) as scratch:
            from mlflow.artifacts import download_artifacts

            copy = download_artifacts(version.uri, dst_path=scratch, tracking_uri=tracking.tracking_uri)
            folder = _model_folder(Path(copy), version)
            verify(folder)
            try:
                folder.rename(cached)
            except OSError:
                if not cached.exists():  # else another process was first
                    raise
    return cached


def list_models(tracking: Tracking) -> list[ModelVersion]:
    """Every version of every registered model, by name, the newest first."""
    with tracking.client() as client:
        versions = [(name, version) for name in _names(client) for version in reversed(_known(client, name)[1])]
        return [_record(client, name, version) for name, version in versions]


def set_alias(tracking: Tracking, name: str, alias: str, version: int) -> ModelVersion:
    """Point the alias at this version, and away from the one that had it."""
    if not re.fullmatch(r"(?!v\d+$|latest$)[\w-]+", alias, re.ASCII | re.IGNORECASE):
        raise UsageError(
            f"{alias!r} cannot be an alias", "use letters, digits, _ and -; neither `latest` nor like `v3`"
        )
    with tracking.client() as client:
        versions = _known(client, name)[1]
        if version not in versions:
            raise NotFound(f"the model {name} has no version {version}", nearest(str(version), map(str, versions)))
        client.set_registered_model_alias(name, alias, str(version))
        return _record(client, name, version)


def champion(tracking: Tracking, name: str) -> ModelVersion | None:
    """The version that the alias `champion` points to, if the model and the alias are there."""
    with tracking.client() as client:
        try:
            aliases, _ = _known(client, name)
        except NotFound:
            return None
        return _record(client, name, aliases["champion"]) if "champion" in aliases else None


def _logged_model(
    client: MlflowClient, run_id: str, folder: Path, digest: str, example: Sequence[Mapping[str, Any]]
) -> LoggedModel:
    """The run's logged model of this folder, READY and an output of the run."""
    from mlflow.entities import LoggedModelOutput
    from mlflow.exceptions import MlflowException
    from mlflow.models import Model

    run = client.get_run(run_id)
    same = f"source_run_id = '{run_id}' AND tags.`{DIGEST}` = '{digest}'"
    found = client.search_logged_models([run.info.experiment_id], filter_string=same)
    found.sort(key=lambda model: model.status != "READY")
    if found:
        logged = found[0]
    else:
        logged = client.create_logged_model(
            run.info.experiment_id, name="model", source_run_id=run_id, tags={DIGEST: digest}
        )
    if logged.status != "READY":
        if digest_of(folder) != digest:
            raise ModelError(
                f"{folder} has the digest {digest_of(folder)}, not {digest}", "run evaluate and gate again"
            )
        place = logged.artifact_location
        identity = Model(artifact_path=place, model_uuid=logged.model_id, run_id=run_id, model_id=logged.model_id)
        with TemporaryDirectory() as scratch:
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
    made = [client.get_model_version(name, str(found.version)) for found in of_run if found.name == name]
    return sorted(int(found.version) for found in made if found.status == "READY" and found.tags.get(DIGEST) == digest)


def _names(client: MlflowClient) -> list[str]:
    return sorted(str(model.name) for model in _all(client.search_registered_models, None))


def _known(client: MlflowClient, name: str) -> tuple[dict[str, int], list[int]]:
    """The model's aliases and its versions, ascending. Raises NotFound naming the nearest model."""
    from mlflow.exceptions import MlflowException

    try:
        model = client.get_registered_model(name)
    except MlflowException as error:
        if error.error_code != "RESOURCE_DOES_NOT_EXIST":
            raise
        raise NotFound(f"no model is registered as {name!r}", nearest(name, _names(client))) from None
    aliases = {alias: int(version) for alias, version in model.aliases.items()}
    return aliases, sorted(
        int(found.version) for found in _all(client.search_model_versions, f"name = {literal(name)}")
    )


def _all(search: Callable[..., Any], condition: str | None) -> Iterator[Any]:
    """The results of one of MLflow's searches, page after page."""
    token = None
    while True:
        page = search(filter_string=condition, page_token=token)
        yield from page
        token = page.token
        if not token:
            return


def _record(client: MlflowClient, name: str, version: int) -> ModelVersion:
    found = client.get_model_version(name, str(version))
    uri = client.get_model_version_download_uri(name, str(version))
    return ModelVersion(
        name=name,
        version=version,
        aliases=sorted(found.aliases),
        uri=url2pathname(urlsplit(uri).path) if uri.startswith("file:") else uri,
        digest=found.tags.get(DIGEST, ""),
        tags=dict(found.tags),
    )


def _model_folder(mlflow_model: Path, version: ModelVersion) -> Path:
    """The model folder inside an MLflow model that `register` logged."""
    try:
        described = yaml.safe_load((mlflow_model / "MLmodel").read_text(encoding="utf-8"))["flavors"]["python_function"]
        if described["loader_module"] != pyfunc.__name__:
            raise ModelError(f"{version} was not registered by Lakewright", "load it with mlflow.pyfunc.load_model")
        folder = mlflow_model / str(described["data"])
        digest = digest_of(folder)
    except FileNotFoundError as missing:
        raise ModelError(
            f"the files of {version} are gone: {missing.filename}",
            "restore them, or set the alias to another version, or register the model again",
        ) from None
    if digest != version.digest:
        raise ModelError(
            f"{folder} is not what was registered as {version}: its digest is {digest}, not {version.digest}",
            "do not serve it; register the model again",
        )
    return folder
