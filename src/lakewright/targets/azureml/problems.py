"""The problems of an Azure ML profile that show before anything is sent."""

from __future__ import annotations

import re
from collections.abc import Iterator

from lakewright.settings.profile import Profile
from lakewright.settings.project import Project
from lakewright.targets import Problem
from lakewright.targets.azureml.resources import DATA, clusters
from lakewright.targets.azureml.settings import AzureMLSettings, Online
from lakewright.targets.checks import (
    Approvals,
    Variables,
    approval_problems,
    gpu_problems,
    machine_problems,
    range_problems,
    traffic_problems,
    variable_problems,
)
from lakewright.targets.machines import AZURE
from lakewright.targets.single_jobs import single_job_problems
from lakewright.targets.together import parts_problems, taken_away

# As azure-ai-ml checks it (constants/_endpoint.py, EndpointConfigurations)
ENDPOINT_NAME = re.compile(r"[a-zA-Z]([-a-zA-Z0-9]*[a-zA-Z0-9])?")
ENDPOINT_LENGTH = range(3, 33)

VARIABLES = Variables(
    settings=("environment", "variables"),
    else_by="the image",
    remedy="keep it in Azure Key Vault, or give the clusters' managed identity access to the storage and remove it",
)


def problems(project: Project, profile: Profile, settings: AzureMLSettings) -> Iterator[Problem]:
    for name in ("subscription", "resource_group", "workspace"):
        if not getattr(settings, name):
            yield Problem(
                profile.where("target", name),
                f"the target names no {name}",
                f"add {name} to the target: Azure ML finds a workspace by all three",
            )
    yield from _clusters(profile, settings)
    train = (settings.gpu or settings.cpu).size
    remedy = "name target.gpu, with a size of the series NC or ND: Standard_NC24ads_A100_v4"
    yield from gpu_problems(profile, train, remedy, AZURE)
    yield from _together(profile, settings)
    yield from _environment(profile, settings)
    yield from _pipeline(project, profile, settings)
    packages, minutes = settings.environment.packages, float(settings.timeout_minutes)
    yield from single_job_problems(project, profile, packages, "environment.packages", minutes, "timeout_minutes")
    if settings.online is not None:
        yield from _online(settings.online, profile)
    if settings.batch is not None:
        yield from _endpoint_name(settings.batch.name, profile, "batch")
        if settings.batch.instances > settings.batch.cluster.max_instances:
            yield Problem(
                profile.where("target", "batch", "instances"),
                f"batch.instances is {settings.batch.instances}, and the cluster has at most "
                f"{settings.batch.cluster.max_instances} nodes",
                "raise batch.cluster.max_instances, or lower batch.instances",
            )
    serves = "online" if settings.online is not None else "batch" if settings.batch is not None else None
    yield from approval_problems(project, Approvals(endpoint=serves and profile.where("target", serves)))


def _clusters(profile: Profile, settings: AzureMLSettings) -> Iterator[Problem]:
    places = {"cpu": ("cpu",), "gpu": ("gpu",), "batch": ("batch", "cluster")}
    by_place = {"cpu": settings.cpu, "gpu": settings.gpu, "batch": settings.batch.cluster if settings.batch else None}
    for place, cluster in by_place.items():
        if cluster is None:
            continue
        where = ("target", *places[place])
        least, most = ("min_instances", cluster.min_instances), ("max_instances", cluster.max_instances)
        yield from range_problems(profile.where(*where, "min_instances"), least, most)
        yield from machine_problems(cluster.size, profile.where(*where, "size"), AZURE)
    names = [cluster.name for cluster in clusters(settings)]
    for name in sorted({name for name in names if names.count(name) > 1}):
        yield Problem(
            profile.where("target"),
            f"two clusters are named {name}",
            "give them different names: otherwise the later one replaces the other",
        )


def _together(profile: Profile, settings: AzureMLSettings) -> Iterator[Problem]:
    """What stops several nodes of one step."""
    yield from parts_problems(profile, settings.prepare_instances, "prepare_instances")
    machines, key = profile.training.machines, "cpu" if settings.gpu is None else "gpu"
    cluster = settings.gpu or settings.cpu
    wanted = {
        ("training", "machines"): (machines, key, cluster),
        ("target", "prepare_instances"): (settings.prepare_instances, "cpu", settings.cpu),
    }
    for place, (nodes, name, has) in wanted.items():
        if nodes > has.max_instances:
            yield Problem(
                profile.where(*place),
                f"{'.'.join(place)} is {nodes}, and the cluster {has.name} has at most {has.max_instances} nodes",
                f"raise target.{name}.max_instances, or lower {'.'.join(place)}",
            )
    if cluster.low_priority:
        yield from taken_away(profile, profile.where("target", key, "low_priority"), "low_priority")


def _environment(profile: Profile, settings: AzureMLSettings) -> Iterator[Problem]:
    environment = settings.environment
    for key, has_packages in {"environment": environment, "online": settings.online, "batch": settings.batch}.items():
        if has_packages is not None and not any(re.match(r"lakewright\b", each) for each in has_packages.packages):
            yield Problem(
                profile.where("target", key, "packages"),
                f"{key}.packages does not install lakewright",
                "add lakewright[train]==VERSION, or a wheel by its address: lakewright[train] @ https://….whl",
            )
    yield from variable_problems(profile, VARIABLES)


def _pipeline(project: Project, profile: Profile, settings: AzureMLSettings) -> Iterator[Problem]:
    for key, has in {("schedule",): settings, ("score", "schedule"): settings.score}.items():
        if has is not None and has.schedule is not None and len(has.schedule.split()) != 5:
            yield Problem(
                profile.where("target", *key),
                f"the schedule {has.schedule!r} does not have five fields",
                'write minute hour day month weekday, for example "0 5 * * 1"',
            )
    source = project.data.source or ""
    if settings.data is not None and not DATA.match(source):
        yield Problem(
            profile.where("target", "data"),
            f"a data asset cannot point to data.source ({source or 'none'})",
            "use an address with abfss://, wasbs://, https:// or azureml://, or remove target.data",
        )


def _online(online: Online, profile: Profile) -> Iterator[Problem]:
    yield from _endpoint_name(online.name, profile, "online")
    yield from machine_problems(online.instance_type, profile.where("target", "online", "instance_type"), AZURE)
    shares = {name: share.traffic for name, share in online.deployments.items()}
    place = profile.where("target", "online", "green" if online.green is not None else "blue")
    yield from traffic_problems(place, shares)
    mirrored = [name for name, share in online.deployments.items() if share.mirror]
    if len(mirrored) > 1:
        yield Problem(
            profile.where("target", "online", mirrored[1], "mirror"),
            "requests are mirrored to both deployments; Azure ML mirrors to one",
            "set one of the two mirror shares to 0",
        )
    if online.low_priority:
        yield Problem(
            profile.where("target", "online", "low_priority"),
            "an online endpoint cannot run on low-priority machines",
            "remove low_priority; a batch endpoint's cluster may have such machines",
        )


def _endpoint_name(name: str, profile: Profile, key: str) -> Iterator[Problem]:
    where = profile.where("target", key, "name")
    if len(name) not in ENDPOINT_LENGTH:
        yield Problem(
            where,
            f"the endpoint's name {name!r} has {len(name)} characters",
            "use 3 to 32 characters, as Azure ML requires",
        )
    if not ENDPOINT_NAME.fullmatch(name):
        yield Problem(
            where,
            f"the endpoint's name {name!r} has characters that Azure ML refuses",
            "use letters, digits and hyphens, with a letter first and no hyphen last",
        )
