"""What is wrong with a profile, as far as can be known before anything is sent; each finding says where."""

from __future__ import annotations

import re
from collections.abc import Iterator

from lakewright import plugins
from lakewright.errors import ProfileError
from lakewright.profile import REFERENCE, Profile
from lakewright.project import Project
from lakewright.targets import Problem
from lakewright.targets.parameters import parameters

SECRET = re.compile(r"KEY|SECRET|TOKEN|PASSWORD|SAS|CREDENTIAL", re.IGNORECASE)


def problems(project: Project, profile: Profile) -> list[Problem]:
    """Errors first."""
    target = plugins.find("targets", profile.target.name)
    found = [*target.problems(project, profile)]
    if profile.target.name != "local":
        found += _elsewhere(project, profile)
    return sorted(dict.fromkeys(found), key=lambda problem: problem.kind != "error")


def _elsewhere(project: Project, profile: Profile) -> Iterator[Problem]:
    """What no target but the local one can do with."""
    if "://" not in profile.workspace:
        yield Problem(
            profile.where("workspace"),
            f"the workspace {profile.workspace} is a folder of this machine, which no other one sees",
            "name a place that all see: s3://…, abfss://…, or file:///… for a folder that is mounted on each",
        )
    for option, value in (profile.as_written.get("storage_options") or {}).items():
        if SECRET.search(option) and not REFERENCE.search(str(value)):
            yield Problem(
                profile.where("storage_options", option),
                f"storage_options.{option} stands in profiles.yml itself, and would be sent with the code",
                "write ${env:NAME}, or let the machine's own role or identity reach the storage",
            )
    for key in ("lake", "artifacts"):
        if (place := getattr(profile, key)) is not None and "://" not in place and not place.startswith("mlflow-art"):
            yield Problem(
                profile.where(key),
                f"{key}: {place} is a folder of this machine, which no other one sees",
                f"name an address that all see, or leave {key} out",
            )
    tracking = profile.tracking or ""
    if re.match(r"sqlite:|https?://(localhost|127\.)", tracking):
        # A warning for an address: the very machine may be all that there is
        yield Problem(
            profile.where("tracking"),
            f"tracking: {tracking.split('@')[-1]} is this machine's, and stages run on others",
            "name a server that all reach (tracking: databricks, https://…)",
            "error" if tracking.startswith("sqlite:") else "warning",
        )
    try:
        parameters(project, getattr(profile.target, "parameters", {}))
    except ProfileError as failure:
        yield Problem(profile.where("target", "parameters"), failure.cause, failure.remedy)
    base_model = str(getattr(project.train, "base_model", ""))
    if base_model.startswith((".", "/", "~")):
        yield Problem(
            project.path.name,
            f"train.base_model: {base_model} is a folder of this machine",
            "name one of the Hub, or package:NAME of a package that is installed there",
        )
    if profile.tracking is None:
        yield Problem(
            profile.where("tracking"),
            "without `tracking`, MLflow's runs are a database in the workspace, which machines cannot share",
            "name a tracking server (tracking: databricks, https://…)",
        )
    if not project.gate.minimum and not project.gate.maximum:
        automatic = project.register_.approval == "automatic"
        yield Problem(
            project.path.name,
            "the gate does not block: it has no minimum and no maximum"
            + (", and what passes is champion without anybody's approval" if automatic else ""),
            "set gate.minimum (accuracy: 0.8 …)",
            "error" if automatic else "warning",
        )
    source = project.data.source
    if source is not None and "://" not in source and not source.startswith("python:"):
        yield Problem(
            f"{project.path.name}",
            f"data.source: {source} is a file of this machine",
            "upload it and name its address, or name a table (data.table) and no source",
        )
