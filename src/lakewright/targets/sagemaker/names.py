"""The names and places of a project and its parts on SageMaker."""

from __future__ import annotations

import hashlib
import re
from typing import Any

from lakewright.settings.profile import Profile
from lakewright.settings.project import Project
from lakewright.targets.owned import full_name
from lakewright.targets.sagemaker.settings import SageMakerSettings


def settings_of(profile: Profile) -> SageMakerSettings:
    assert isinstance(profile.target, SageMakerSettings)
    return profile.target


def name_of(project: Project, job: str | None = None) -> str:
    """main.bank.banking77 → main-bank-banking77: API names have no other characters."""
    return plain(full_name(project) if job is None else f"{full_name(project)} {job}")


def group_of(project: Project, settings: SageMakerSettings) -> str:
    return settings.group or plain(project.model)


def store_of(profile: Profile) -> str:
    return (settings_of(profile).store or f"{profile.workspace.rstrip('/')}/sagemaker").rstrip("/")


def approval_of(project: Project, settings: SageMakerSettings) -> str:
    if settings.approval != "auto":
        return settings.approval
    return "Approved" if project.register_.approval == "automatic" else "PendingManualApproval"


def described(project: Project, execution: str) -> str:
    """A model package's description, which identifies it."""
    return f"{project.model}, run {execution}"


def described_pipeline(project: Project) -> str:
    return f"{project.path.name} of {full_name(project)}, by Lakewright"


def owner_described(description: str) -> str | None:
    """The project whose pipeline has this description."""
    match = re.fullmatch(r".* of (\S+), by Lakewright", description, re.DOTALL)
    return match[1] if match else None


def environment(settings: SageMakerSettings) -> dict[str, str]:
    """A container's environment variables; for secrets, their places."""
    secrets = {f"LAKEWRIGHT_SECRET_{name}": place for name, place in settings.secrets.items()}
    return {"AWS_REGION": settings.region, **settings.environment, **secrets}


def vpc(settings: SageMakerSettings) -> dict[str, Any]:
    assert settings.network is not None
    return {"SecurityGroupIds": settings.network.security_groups, "Subnets": settings.network.subnets}


def plain(name: str) -> str:
    """The name in letters, digits and hyphens, with a digest if another name would give the same: main.a_b.c and
    main.a.b_c. Single underscores in the last part are unambiguous."""
    text = re.sub(r"[^A-Za-z0-9]+", "-", name).strip("-")
    if re.fullmatch(r"[A-Za-z0-9]+(\.[A-Za-z0-9]+)*(_[A-Za-z0-9]+)*", name):
        return text
    return f"{text}-{hashlib.sha256(name.encode()).hexdigest()[:8]}"
