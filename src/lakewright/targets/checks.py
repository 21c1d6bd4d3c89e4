"""The problems of a profile that show before anything is sent, each with its place."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import PurePosixPath
from typing import Any

from lakewright import plugins
from lakewright.data.sources.lake import is_of_lake
from lakewright.errors import LakewrightError, ProfileError, ProjectError
from lakewright.settings.profile import REFERENCE, Profile, texts_in
from lakewright.settings.project import Project, load_project
from lakewright.system.secrets import first_secret, names_secret, secret_in
from lakewright.targets import Deployment, Problem
from lakewright.targets.files import texts, uploads
from lakewright.targets.machines import Machines, has_gpu, matches
from lakewright.targets.parameters import parameters, stage_settings
from lakewright.targets.project_files import IGNORE, shipped
from lakewright.targets.together import training_problems

PROFILES = ("profiles.yml", "code/profiles.yml")  # the names under which targets send it
SECRET_FILES = (
    *(".env*", ".netrc", "_netrc", ".pgpass", ".databrickscfg", "id_rsa", "id_dsa", "id_ecdsa", "id_ed25519"),
    *("*.p12", "*.pfx", "*.jks", "*.keystore", "*.kdbx", "*.ppk"),
)
LIKELY_FILES = ("*.pem", "*key*", "*secret*", "*credential*", "*passw*", "*token.*", "*tokens.*")


@dataclass(frozen=True)
class Variables:
    """How the stages of a platform get environment variables, and where the platform keeps secret ones."""

    settings: tuple[str, ...]  # below `target`: variable → value, which is sent in clear
    remedy: str  # for a secret
    reference: str = "(?!)"  # pattern of a value that only names a secret; the platform fills it in
    stored: tuple[str, ...] = ()  # below `target`: variable → where the platform keeps its value
    always: tuple[str, ...] = ()  # variables that every stage has
    else_by: str = ""  # what else may set a variable


def problems(project: Project, profile: Profile) -> list[Problem]:
    """All problems, errors first."""
    target = plugins.TARGETS.find(profile.target.name)
    result = [*target.problems(project, profile)]
    if profile.target.name != "local":
        result += _elsewhere(project, profile)
        try:
            result += _exposed(profile, target.deployment(project, profile))
            result += _left_out(project)
        except LakewrightError as failure:
            if failure.cause not in [problem.cause for problem in result]:
                result.append(Problem(project.path.name, failure.cause, failure.remedy))
    return sorted(dict.fromkeys(result), key=lambda problem: problem.kind != "error")


def refuse(problems: Sequence[Problem]) -> None:
    """Raises ProfileError if one of them is an error."""
    errors = [each for each in problems if each.kind == "error"]
    if errors:
        raise ProfileError(
            "\n".join(f"{each.where}: {each.cause}" for each in errors), "\n".join(each.remedy for each in errors)
        )


def variable_problems(profile: Profile, variables: Variables) -> Iterator[Problem]:
    """A secret among the variables that are sent, and a reference to a variable that no stage has.

    A stage reads the profile again on its machine, so the variables that it refers to must be set there too.
    """
    at = ("target", *variables.settings)
    sent = _below(profile, at)
    for name, value in sent.items():
        if re.fullmatch(variables.reference, str(value)):
            continue
        variable = ".".join((*variables.settings, str(name)))
        if REFERENCE.search(str(value)):
            cause = f"{variable} is read from this machine's environment, and would be sent in clear"
        elif names_secret(str(name), value):
            cause = f"{variable} looks like a secret, and would be written to a file and sent in clear"
        else:
            continue
        yield Problem(profile.where(*at, name), cause, variables.remedy, secret=True)
    names = {*sent, *variables.always, *(_below(profile, ("target", *variables.stored)) if variables.stored else ())}
    for key, name in profile.references:
        if name not in names:
            by = variables.else_by
            sets = f"a step has {name} only if {by} sets it" if by else f"no step has {name}"
            yield Problem(
                profile.where(*key),
                f"{key[0]} needs {name}, and {sets}",
                f"remove it if the machine's own role or identity is enough; else {variables.remedy}",
                "warning" if by else "error",
            )


def machine_problems(name: str, where: str, *clouds: Machines) -> Iterator[Problem]:
    """A problem for a machine of a retired series."""
    for machines in clouds:
        remedy = f"name a current one: {machines.today}"
        for pattern, why in machines.retired.items():
            if matches(pattern, name):
                yield Problem(where, f"{name} no longer exists: {why}", remedy)
        for pattern, why in machines.retiring.items():
            if matches(pattern, name):
                yield Problem(where, f"{name} may be unavailable: {why}", remedy, "warning")


def gpu_problems(profile: Profile, machine: str, remedy: str, *clouds: Machines) -> Iterator[Problem]:
    """A problem if the profile requests a GPU and the machine of train has none."""
    if profile.device.startswith("cuda") and not has_gpu(machine, *clouds):
        yield Problem(
            profile.where("device"),
            f"the profile requests {profile.device} for train, and {machine} has no GPU in Lakewright's list",
            remedy,
        )


@dataclass(frozen=True)
class Approvals:
    """Where a platform serves models and asks for approvals, and what would pass by a person: places in a profile."""

    endpoint: str | None = None  # what serves the champion
    waits: str | None = None  # what waits for an approval of each model version
    passes: tuple[tuple[str, str, str], ...] = ()  # (place, cause, remedy) of what serves or approves any model


def approval_problems(project: Project, approvals: Approvals) -> Iterator[Problem]:
    """A problem for each setting that contradicts the project's register.approval."""
    if project.register_.approval == "manual":
        for where, cause, remedy in approvals.passes:
            yield Problem(where, f"register.approval is manual, and {cause}", remedy)
        return
    remedy = "set register.approval: manual in the project"
    if approvals.waits is not None:
        yield Problem(
            approvals.waits,
            f"{project.path.name} has register.approval: automatic: a model that passes the gate is champion before "
            "anybody approves it",
            remedy,
        )
    elif approvals.endpoint is not None:
        yield Problem(
            approvals.endpoint,
            "every model that passes the gate becomes champion, and the next deploy serves it without approval",
            f"{remedy} if a person must approve",
            "warning",
        )


def traffic_problems(where: str, shares: Mapping[str, int]) -> Iterator[Problem]:
    """A problem if the shares of an endpoint's requests do not sum to 100 percent."""
    total = sum(shares.values())
    if total != 100:
        each = " + ".join(f"{name} {percent}" for name, percent in shares.items())
        yield Problem(
            where, f"the traffic sums to {total} percent ({each})", "change the shares so that they sum to 100"
        )


def range_problems(where: str, least: tuple[str, int | None], most: tuple[str, int | None]) -> Iterator[Problem]:
    """A problem if the value of the first key is greater than that of the second."""
    if least[1] is not None and most[1] is not None and least[1] > most[1]:
        yield Problem(
            where, f"{least[0]} ({least[1]}) is more than {most[0]} ({most[1]})", "lower one or raise the other"
        )


def _exposed(profile: Profile, deployment: Deployment) -> Iterator[Problem]:
    """The secrets that would be sent in clear: in the profile, and in each file and request."""
    yield from _in_profile(profile)
    made = {name: text.encode() for name, text in texts(deployment).items()}
    for name, content in (*uploads(deployment).items(), *made.items()):
        if name in PROFILES:  # _in_profile has its secrets, with their lines
            continue
        remedy = f"remove it, or name the file in {IGNORE} if no stage needs it"
        file = PurePosixPath(name).name.lower()
        if any(fnmatchcase(file, pattern) for pattern in SECRET_FILES):
            yield Problem(name, f"{name} is a file of secrets, and would be sent", remedy, secret=True)
        elif not file.endswith(".py") and any(fnmatchcase(file, pattern) for pattern in LIKELY_FILES):
            yield Problem(name, f"{name} may hold a secret, by its name, and would be sent", remedy, "warning")
        text = "" if b"\0" in content else content.decode(errors="replace")
        hidden = (("a secret of storage_options", text.find(value)) for value in profile.hidden if value in text)
        if secret := first_secret(text) or next(hidden, None):
            kind, at = secret
            line = text.count("\n", 0, at) + 1
            yield Problem(f"{name}:{line}", f"{name} holds {kind}, and would be sent", remedy, secret=True)


def _in_profile(profile: Profile) -> Iterator[Problem]:
    for key, text in texts_in(profile.as_sent["profiles"][profile.name]):
        name, written = ".".join(map(str, key)), REFERENCE.sub("", text)
        if kind := secret_in(written):
            yield Problem(
                profile.where(*key),
                f"{name} holds {kind}, and would be sent with the code",
                "write ${env:NAME} in its place, or remove it and set it in the environment of the stages",
                secret=True,
            )
        elif key[0] not in ("target", "serve") and written.strip() and names_secret(str(key[-1]), written):
            yield Problem(
                profile.where(*key),
                f"{name} is written in profiles.yml itself, and would be sent with the code",
                "write ${env:NAME}, or give the machine's own role or identity access to the storage",
                secret=True,
            )


def _left_out(project: Project) -> Iterator[Problem]:
    for name, why in shipped(project.folder).left_out.items():
        yield Problem(
            project.folder.name,
            f"{name!r} {why}, and is not sent",
            f"copy files that stages need into the project's folder; name the others in {IGNORE}",
            "warning",
        )


def _read_again(project: Project, profile: Profile) -> Iterator[Problem]:
    """A problem if a stage, which reads the file and gets the other settings as text, would read another project."""
    try:
        known_parameters = parameters(project, getattr(profile.target, "parameters", {}))
    except ProfileError as failure:
        yield Problem(profile.where("target", "parameters"), failure.cause, failure.remedy)
        return
    try:
        again = load_project(project.path, stage_settings(project, known_parameters))
    except ProjectError as failure:
        yield Problem(project.path.name, f"no stage could read the project: {failure.cause}", failure.remedy)
        return
    for name, value in project.resolved.items():
        if again.resolved[name] != value:
            yield Problem(
                project.path.name,
                f"stages would read another project: {name} would be {again.resolved[name]}, and is {value}",
                f"write {name} into the project file, without --set",
            )


def _below(profile: Profile, key: Sequence[str]) -> dict[str, Any]:
    """The mapping at the key in profiles.yml."""
    part: Any = profile.as_written
    for name in key:
        part = part.get(name) if isinstance(part, dict) else None
    return part if isinstance(part, dict) else {}


def _elsewhere(project: Project, profile: Profile) -> Iterator[Problem]:
    """Problems of settings that only the local target can use."""
    if "://" not in profile.workspace:
        yield Problem(
            profile.where("workspace"),
            f"the workspace {profile.workspace} is a folder of this machine, which other machines cannot read",
            "name a place that all machines reach: s3://…, abfss://…, or file:///… for a folder that each mounts",
        )
    for key in ("lake", "artifacts"):
        if (place := getattr(profile, key)) is not None and "://" not in place and not place.startswith("mlflow-art"):
            yield Problem(
                profile.where(key),
                f"{key}: {place} is a folder of this machine, which other machines cannot read",
                f"name an address that all machines reach, or remove {key}",
            )
    tracking = profile.tracking or ""
    if re.match(r"sqlite:|https?://(localhost|127\.)", tracking):
        # A warning for an address: there may be only this machine
        yield Problem(
            profile.where("tracking"),
            f"tracking: {tracking.split('@')[-1]} is this machine's, and stages run on others",
            "name a server that all machines reach (tracking: databricks, https://…)",
            "error" if tracking.startswith("sqlite:") else "warning",
        )
    yield from training_problems(project, profile)
    yield from _read_again(project, profile)
    naming = {"train": project.train} | {f"prepare.recipe.{key}": own for key, own in project.prepare.recipe.items()}
    for key, settings in naming.items():
        base_model = str(getattr(settings, "base_model", ""))
        if base_model.startswith((".", "/", "~")):
            yield Problem(
                project.path.name,
                f"{key}.base_model: {base_model} is a folder of this machine",
                "name a model of the Hub, or package:NAME of a package that the machines install",
            )
    if profile.tracking is None:
        yield Problem(
            profile.where("tracking"),
            "without `tracking`, MLflow's runs are in a database in the workspace, which machines cannot share",
            "name a tracking server (tracking: databricks, https://…)",
        )
    if not project.gate.minimum and not project.gate.maximum:
        automatic = project.register_.approval == "automatic"
        yield Problem(
            project.path.name,
            "the gate does not block: it has no minimum and no maximum"
            + (", and every model becomes champion without approval" if automatic else ""),
            "set gate.minimum (accuracy: 0.8 …)",
            "error" if automatic else "warning",
        )
    source = project.data.source
    of_lake = source is not None and is_of_lake(source, project.folder)
    if source is not None and "://" not in source and not source.startswith("python:") and not of_lake:
        yield Problem(
            f"{project.path.name}",
            f"data.source: {source} is a file of this machine",
            "upload it and name its address, or name a table (data.table) without a source",
        )
