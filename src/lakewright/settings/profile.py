"""profiles.yml: where a project runs. A profile never changes what is learned.

    default: local
    profiles:
      local:
        workspace: .lakewright            # tables, runs, models; everything in one folder
      team:
        workspace: .lakewright
        lake: s3://our-lake/tables
        catalog: glue                     # where the tables' names are stored: docs/data.md
        tracking: https://mlflow.our.org
        storage_options:
          AWS_ACCESS_KEY_ID: ${env:LAKE_KEY}
          AWS_SECRET_ACCESS_KEY: ${env:LAKE_SECRET}

      prod:
        target: {name: sagemaker, role: …}     # a target's settings: docs/targets.md
        workspace: s3://our-lake/lakewright   # shared by the machines that stages run on
        tracking: https://mlflow.our.org

Lakewright looks for the file in the project's folder and in those above it, up to the root of its repository, then in
the same way from the current folder; without a file, the built-in profile `local` is used. Relative paths are relative
to profiles.yml.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Sequence
from ipaddress import ip_network
from itertools import chain
from pathlib import Path
from typing import Any, Literal

from pydantic import Field, PrivateAttr, SecretStr, SerializeAsAny, ValidationError, ValidationInfo, field_validator
from pydantic.json_schema import models_json_schema

from lakewright import plugins
from lakewright.errors import ProfileError, nearest
from lakewright.settings.project import picked
from lakewright.settings.sections import Settings, SettingsOf, validated
from lakewright.settings.yamlfile import Key, YamlFile, explain, override, read_yaml
from lakewright.system.secrets import names_secret, secret_in

REFERENCE = re.compile(r"\$\{env:([A-Za-z_][A-Za-z0-9_]*)\}")


class Oidc(Settings):
    """The server also accepts bearer tokens of an identity provider (OpenID Connect)."""

    issuer: str = Field(description="the token's `iss`")
    audience: str = Field(description="the token's `aud`")
    keys: str = Field(description="the provider's public keys (JWKS): an https:// address or a file")


class Serve(Settings):
    """Which requests a server accepts, and from whom; each worker process has these limits."""

    keys: str | None = Field(default=None, description="file of API keys' hashes; default keys.json in the workspace")
    oidc: Oidc | None = Field(
        default=None, description="an identity provider whose tokens are accepted beside API keys"
    )
    rate: float | None = Field(default=None, gt=0, description="requests a second that a caller may send; null: any")
    burst: int = Field(default=20, ge=1, description="requests that a caller may send at once, within that rate")
    proxies: list[str] = Field(
        default=[], description="addresses or networks whose X-Forwarded-For names the caller; default none"
    )
    origins: list[str] = Field(default=[], description="web pages that browsers may call from (CORS); default none")
    connections: int = Field(
        default=1000,
        ge=1,
        description="most open connections; above it the one that is idle for the longest time is closed",
    )
    read_seconds: float = Field(
        default=10, gt=0, description="seconds for a request's head, and between parts of its body; then 408"
    )
    batch_rows: int = Field(default=16, ge=1, description="rows computed together")
    queue_rows: int = Field(default=1024, ge=1, description="rows that may wait; more: 429")
    queue_seconds: float = Field(default=0.15, gt=0, description="longest estimated waiting time of a row; more: 429")
    wait_ms: float = Field(
        default=0, ge=0, description="milliseconds to wait for a fuller batch while others are computed"
    )
    deadline_seconds: float = Field(
        default=30, gt=0, description="seconds for a request; X-Request-Timeout-Ms may shorten it"
    )
    drain_seconds: int = Field(default=30, ge=1, description="seconds that a stopping server has for its open requests")
    request_rows: int = Field(default=1000, ge=1, description="rows in a request; more: 413")
    request_bytes: int = Field(default=8 << 20, ge=1, description="bytes of a request's body; more: 413")
    held_bytes: int = Field(
        default=64 << 20, validate_default=True, description="bytes of all unfinished bodies and answers; more: 429"
    )
    text_characters: int = Field(default=100_000, ge=1, description="characters of one text; more: 413")
    cache_rows: int = Field(default=4096, ge=0, description="answers that are kept for repeated rows; 0: none")
    cache_bytes: int = Field(default=64 << 20, ge=0, description="bytes of these answers; 0: none")
    least_confidence: float = Field(default=0, ge=0, le=1, description="below it `abstain` is true")
    poll_seconds: float = Field(
        default=5, gt=0, description="seconds between two readings of the registry with --follow-alias"
    )
    log_table: str | None = Field(default=None, description="catalog.schema.table of requests and answers; null: none")
    log_share: float = Field(default=1, gt=0, le=1, description="share of the requests that are logged")
    log_seconds: float = Field(default=10, gt=0, description="seconds between two commits to log_table")
    redact: str | None = Field(default=None, description="module:function that changes each text before it is logged")

    @field_validator("proxies")
    @classmethod
    def _networks(cls, proxies: list[str]) -> list[str]:
        return [str(ip_network(each)) for each in proxies]  # raises ValueError

    @field_validator("held_bytes")
    @classmethod
    def _room_for_a_body(cls, size: int, info: ValidationInfo) -> int:
        if size < (least := 2 * info.data.get("request_bytes", 0)):  # incomplete bodies may use half
            raise ValueError(f"must be at least twice request_bytes, so {least}")
        return size


class AthenaSettings(Settings):
    """Amazon Athena, which `lakewright sql --engine athena` sends statements to."""

    output: str = Field(description="S3 prefix of the results, s3://BUCKET/PREFIX", pattern=r"^s3://")
    workgroup: str = Field(default="primary", description="the workgroup, whose limits hold")
    database: str | None = Field(default=None, description="Glue database of names without one")
    region: str | None = Field(
        default=None, description="default AWS_REGION of storage_options, else as boto3 finds it"
    )
    kms_key: str | None = Field(default=None, description="key that encrypts the results; default S3's own")


class TrainingSettings(Settings):
    """How many processes train one network together; what is learned stays the same, but for rounding."""

    processes: int = Field(
        default=1,
        ge=1,
        description="processes of a machine that train one encoder together, each with its share of the threads, or "
        "with a GPU of its own",
    )
    machines: int = Field(
        default=1,
        ge=1,
        description="machines that do, each with so many processes; on this machine's target, torchrun or Spark starts "
        "the stage train on each",
    )


class TargetSettings(Settings):
    """The settings that every target has; `name` picks the rest."""

    name: str


class CatalogSettings(Settings):
    """The settings that every catalog has; `name` picks the rest."""

    name: str


class StoreSettings(Settings):
    """The settings that every online store has; `name` picks the rest."""

    name: str


class WorkersSettings(Settings):
    """The settings that every kind of workers has; `name` picks the rest."""

    name: str


# keys whose settings a name picks
PICKED: dict[str, plugins.Seam[Any]] = {
    "target": plugins.TARGETS,
    "catalog": plugins.CATALOGS,
    "workers": plugins.WORKERS,
    "online": plugins.STORES,
}


class Profile(Settings):
    target: SerializeAsAny[TargetSettings] = Field(
        default={"name": "local"},
        validate_default=True,
        description="where stages run: a target's name, or a mapping of its name and its settings",
    )
    workspace: str = Field(
        default=".lakewright",
        description="folder for the catalog, runs, records and caches; or s3://, abfss:// or file:// (a mounted "
        "folder), which several machines share, each with a copy",
    )
    lake: str | None = Field(
        default=None, description="root of the tables: folder, s3:// or abfss://; default in the workspace"
    )
    catalog: SerializeAsAny[CatalogSettings] = Field(
        default={"name": "sqlite"},
        validate_default=True,
        description="where the tables' names are stored: a catalog's name, or a mapping of its name and its settings",
    )
    tracking: str | None = Field(default=None, description="MLflow tracking URI; default sqlite in the workspace")
    registry: str | None = Field(default=None, description="MLflow registry URI; default the tracking URI")
    artifacts: str | None = Field(default=None, description="root of MLflow's files; default in the workspace")
    storage_options: dict[str, SecretStr] = Field(
        default={}, description="delta-rs storage options; ${env:NAME} for secrets"
    )
    device: str = Field(default="auto", pattern=r"^(auto|cpu|cuda(:\d+)?)$", description="auto: a GPU if there is one")
    threads: int | None = Field(default=None, ge=1, description="CPU threads; default one for each core")
    workers: SerializeAsAny[WorkersSettings] = Field(
        default={"name": "local"},
        validate_default=True,
        description="where parts of work run, the trials of a search for example: a name, or a mapping of a name and "
        "its settings",
    )
    sql: Literal["duckdb", "spark"] = Field(
        default="duckdb",
        description="what runs SQL statements, with the same answers: DuckDB on this machine, or the Spark cluster of "
        "`workers`",
    )
    athena: AthenaSettings | None = Field(
        default=None, description="where `lakewright sql --engine athena` sends statements"
    )
    online: SerializeAsAny[StoreSettings] = Field(
        default={"name": "sqlite"},
        validate_default=True,
        description="where published feature values are read by key: a store's name, or a mapping of its name and its "
        "settings",
    )
    default_catalog: str = Field(
        default="main", pattern=r"^\w+$", description="the catalog of a table's name that has two parts, in SQL"
    )
    data_roots: list[str] = Field(
        default=[],
        description="folders and addresses (s3://…) whose files SQL may read, beside the project's folder and the lake",
    )
    training: TrainingSettings = Field(
        default=TrainingSettings(), description="how many processes train one network together"
    )
    serve: Serve = Field(default=Serve(), description="which requests a server accepts, and from whom")

    _name: str = PrivateAttr(default="local")
    _file: YamlFile | None = PrivateAttr(default=None)

    @field_validator(*PICKED, mode="before")
    @classmethod
    def _of_its_name(cls, section: object, info: ValidationInfo) -> object:
        if isinstance(section, str):
            section = {"name": section}
        of_name = _settings_of(PICKED[str(info.field_name)])
        return validated(of_name, section) if isinstance(section, dict) and "name" in section else section

    @field_validator("workspace", "lake")
    @classmethod
    def _without_secret(cls, address: str | None) -> str | None:
        """Records store where a table lies, so an address must not hold a secret."""
        if address is not None and (kind := secret_in(address)):
            raise ValueError(f"it holds {kind}, which records would show: put keys into storage_options")
        return address

    @field_validator("data_roots")
    @classmethod
    def _roots_without_secret(cls, roots: list[str]) -> list[str]:
        """An error about another file names them."""
        for root in roots:
            cls._without_secret(root)
        return roots

    @property
    def name(self) -> str:
        """The name in profiles.yml."""
        return self._name

    @property
    def folder(self) -> Path | None:
        """The folder of profiles.yml; None without one."""
        return self._file.path.resolve().parent if self._file else None

    def where(self, *key: str | int) -> str:
        """`profiles.yml:12`, the line of the profile's setting, or of the nearest one above it."""
        return self._file.where(("profiles", self._name, *key)) if self._file else "profiles.yml"

    @property
    def as_written(self) -> dict[str, Any]:
        """The profile as profiles.yml holds it, `${env:NAME}` not filled in."""
        return dict(self._file.values["profiles"][self._name]) if self._file else {}

    @property
    def as_sent(self) -> dict[str, Any]:
        """profiles.yml with this profile alone, for other machines: as written, except that `target`, which holds no
        secret, is filled in."""
        target = self.target.model_dump(mode="json", exclude_unset=True)
        return {"default": self._name, "profiles": {self._name: {**self.as_written, "target": target}}}

    @property
    def references(self) -> list[tuple[Key, str]]:
        """(key, NAME) of each `${env:NAME}` that the stage's machine fills in: all except those of `target`."""
        texts = (each for each in texts_in(self.as_written) if each[0][0] != "target")
        return [(key, name) for key, text in texts for name in REFERENCE.findall(text)]

    def secrets(self) -> dict[str, str]:
        """The storage options in clear, for the one call that needs them; never stored or logged."""
        return {name: value.get_secret_value() for name, value in self.storage_options.items()}

    @property
    def hidden(self) -> list[str]:
        """The secrets that no text may show: named as secrets, and too long to be an ordinary word."""
        return [value for name, value in self.secrets().items() if names_secret(name, value) and len(value) >= 8]


class Profiles(Settings):
    default: str = "local"
    profiles: dict[str, Profile] = Field(default={})


def load_profile(name: str | None = None, project_folder: Path | None = None) -> Profile:
    """The profile called `name` (or the default one), with `${env:NAME}` filled in.

    Raises ProfileError for an unknown profile or key, and for an environment variable that is not set.
    """
    folders = [each for folder in (project_folder, Path.cwd()) if folder is not None for each in _and_above(folder)]
    path = next((folder / "profiles.yml" for folder in folders if (folder / "profiles.yml").exists()), None)
    if path is None:
        if name not in (None, "local"):
            raise ProfileError(
                f"there is no profile {name!r}: no profiles.yml was found",
                f"write one beside the project file; looked in {', '.join(map(str, dict.fromkeys(folders)))}",
            )
        return _placed(Profile(), Path.cwd())
    file = read_yaml(path, ProfileError)
    chosen = str(name or file.values.get("default", "local"))
    # Only the chosen profile is checked: a laptop need not have the secrets and targets of production.
    values, profiles = dict(file.values), file.values.get("profiles")
    if isinstance(profiles, dict):
        filled = _filled(profiles.get(chosen, {}), ("profiles", chosen), file)
        for part in PICKED if isinstance(filled, dict) else ():
            if filled.get(part) is not None:
                filled[part] = _by_name(filled[part], PICKED[part], ("profiles", chosen, part), file)
        values["profiles"] = {chosen: filled} if chosen in profiles else {}
    try:
        checked = Profiles.model_validate(values).profiles
    except ValidationError as failure:
        raise explain(failure, Profiles, file, ProfileError) from None
    if chosen not in checked:
        if chosen == "local":
            return _placed(Profile(), path.parent)
        raise ProfileError(f"{path} has no profile {chosen!r}", nearest(chosen, profiles or ()))
    profile = _placed(checked[chosen], path.resolve().parent)
    profile._name, profile._file = chosen, file
    if profile.sql == "spark" and profile.workers.name != "spark":
        raise ProfileError(
            f"{profile.where('sql')}: sql is spark, and the profile's workers are {profile.workers.name}",
            "name the cluster (workers: {name: spark, url: spark://HOST:7077}), or leave sql out",
        )
    return profile


def _and_above(folder: Path) -> list[Path]:
    """The folder and those above it up to the root of its repository; without a repository, the folder alone."""
    folders = [folder.resolve(), *folder.resolve().parents]
    root = next((place for place, each in enumerate(folders) if (each / ".git").exists()), 0)
    return folders[: root + 1]


def json_schema() -> dict[str, Any]:
    """The JSON Schema of profiles.yml for the targets, catalogs, workers and online stores installed."""
    kinds = {key: [seam.find(name).settings for name in seam.names()] for key, seam in PICKED.items()}
    models: list[Any] = [(model, "validation") for model in (Profiles, *chain.from_iterable(kinds.values()))]
    places, schema = models_json_schema(models)
    for key, seam in PICKED.items():
        property_schema = schema["$defs"]["Profile"]["properties"][key]
        property_schema.pop("$ref", None)
        by_name = {"type": "string", "enum": seam.names()}
        property_schema["anyOf"] = [by_name, *(places[kind, "validation"] for kind in kinds[key])]
    top = schema["$defs"].pop("Profiles")
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **top, **schema, "title": "Lakewright profiles"}


def _settings_of(seam: plugins.Seam[Any]) -> SettingsOf:
    return lambda values: (seam.find(str(values["name"])).settings, values)


def _by_name(section: Any, seam: plugins.Seam[Any], key: Key, file: YamlFile) -> Any:
    values = {"name": section} if isinstance(section, str) else section
    if not isinstance(values, dict) or "name" not in values:
        return section
    return picked(key, "name", values, _settings_of(seam), file, ProfileError)


def serving(profile: Profile, settings: Sequence[str] = ()) -> Serve:
    """The profile's `serve`, overridden by `name=value` settings. Raises ProfileError."""
    section = YamlFile(Path("serve"), profile.serve.model_dump(exclude_unset=True), {})
    file = override(section, [setting.removeprefix("serve.") for setting in settings], ProfileError)
    try:
        return Serve.model_validate(file.values)
    except ValidationError as failure:
        raise explain(failure, Serve, file, ProfileError) from None


def texts_in(value: Any, key: Key = ()) -> Iterator[tuple[Key, str]]:
    """(key, text) of each string in it, however deep."""
    if isinstance(value, str):
        yield key, value
    elif isinstance(value, dict | list):
        for name, inner in value.items() if isinstance(value, dict) else enumerate(value):
            yield from texts_in(inner, (*key, name))


def _filled(value: Any, key: tuple[str | int, ...], file: YamlFile) -> Any:
    if isinstance(value, dict):
        return {name: _filled(inner, (*key, name), file) for name, inner in value.items()}
    if not isinstance(value, str):
        return value

    def look_up(match: re.Match[str]) -> str:
        variable = match.group(1)
        if variable not in os.environ:
            name = ".".join(map(str, key))
            cause = f"{file.where(key)}: {name} needs the environment variable {variable}, which is not set"
            raise ProfileError(cause, f"export {variable}=…")
        return os.environ[variable]

    return REFERENCE.sub(look_up, value)


def _placed(profile: Profile, base: Path) -> Profile:
    """Relative folders made absolute, from the folder that holds profiles.yml."""
    changes: dict[str, Any] = {}
    for field in ("workspace", "lake", "artifacts"):
        value = getattr(profile, field)
        if value is not None and "://" not in value:
            changes[field] = str((base / Path(value).expanduser()).resolve())
    if profile.serve.keys is not None:
        keys = str((base / Path(profile.serve.keys).expanduser()).resolve())
        changes["serve"] = profile.serve.model_copy(update={"keys": keys})
    if (file := getattr(profile.online, "file", None)) is not None:
        online = str((base / Path(file).expanduser()).resolve())
        changes["online"] = profile.online.model_copy(update={"file": online})
    return profile.model_copy(update=changes)
