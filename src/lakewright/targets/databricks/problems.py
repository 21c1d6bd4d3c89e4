"""The problems of a Databricks profile that show before anything is sent, each with its place."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from math import inf
from pathlib import Path
from typing import cast

from lakewright.settings.profile import Profile
from lakewright.settings.project import Project
from lakewright.targets import Problem
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
from lakewright.targets.databricks import jobs
from lakewright.targets.databricks.bundle import endpoint_name
from lakewright.targets.databricks.settings import DatabricksSettings
from lakewright.targets.databricks.settings import Machines as ClusterMachines
from lakewright.targets.machines import AZURE, Machines, has_gpu
from lakewright.targets.single_jobs import single_job_problems
from lakewright.targets.together import parts_problems, taken_away

# A workspace is in one of three clouds, whose machines have different names.
CLOUDS = (
    Machines(
        gpu=r"[gp]\d\w*\..*",
        today="g5.xlarge, g6.xlarge or p5.48xlarge (GPU), m6i.xlarge (none)",
        retired={r"p3(dn)?\..*": "AWS stopped its P3 machines"},
    ),
    AZURE,
    Machines(gpu=r"(a2|a3|g2)-.*", today="g2-standard-4 (GPU), n2-standard-4 (none)"),
)
# The stages read and write tables, register a model (Unity Catalog's privileges on a schema).
SCHEMA_NEEDS = {"USE_SCHEMA", "SELECT", "MODIFY", "CREATE_TABLE", "CREATE_MODEL"}
VOLUME_NEEDS = {"READ_VOLUME", "WRITE_VOLUME"}
VARIABLES = Variables(
    settings=("environment",),
    reference=r"\{\{secrets/[^/{}]+/[^/{}]+\}\}",
    remedy="write {{secrets/SCOPE/KEY}}, a secret that the workspace keeps (target.environment: {NAME: …})",
)
LONGEST_ENDPOINT = 63
OLD_ALIASES = {"none", "staging", "production", "archived"}


def problems(project: Project, profile: Profile) -> Iterator[Problem]:
    settings = cast(DatabricksSettings, profile.target)
    yield from _reached(profile, settings)
    yield from _machines(profile, settings)
    yield from _together(profile, settings)
    yield from _registered(profile, settings)
    yield from _serves(project, profile, settings)
    yield from _permitted(project, profile, settings)
    yield from _environment(profile, settings)
    yield from _base_models(project, profile, settings)
    minutes = float(settings.timeout_minutes or inf)
    yield from single_job_problems(
        project, profile, [settings.package, *settings.requirements], "package", minutes, "timeout_minutes"
    )


def _reached(profile: Profile, settings: DatabricksSettings) -> Iterator[Problem]:
    in_environment = any(name in os.environ for name in ("DATABRICKS_HOST", "DATABRICKS_CONFIG_PROFILE"))
    if settings.host is None and not in_environment and not (Path.home() / ".databrickscfg").exists():
        yield Problem(
            profile.where("target"),
            "no workspace is named: there is no target.host, no DATABRICKS_HOST and no ~/.databrickscfg",
            "host: https://….cloud.databricks.com",
        )
    wheel, _ = jobs.package(settings)
    if wheel and not ((profile.folder or Path()) / wheel).is_file():
        yield Problem(
            profile.where("target", "package"), f"the wheel {wheel} does not exist", "pip wheel --no-deps -w dist ."
        )


def _machines(profile: Profile, settings: DatabricksSettings) -> Iterator[Problem]:
    clusters: dict[str, ClusterMachines | None] = {"cluster": settings.cluster, "interactive": settings.interactive}
    for key, machines in clusters.items():
        if machines is None:
            continue
        where = ("target", key)
        if machines.access_mode == "NONE":
            yield Problem(
                profile.where(*where, "access_mode"),
                f"a cluster with the access mode {machines.access_mode} cannot use Unity Catalog",
                "access_mode: SINGLE_USER",
            )
        least, most = ("workers.min", machines.workers.min), ("workers.max", machines.workers.max)
        yield from range_problems(profile.where(*where, "workers"), least, most)
        for setting in ("node_type", "gpu_node_type"):
            node = getattr(machines, setting, None) or ""
            yield from machine_problems(node, profile.where(*where, setting), *CLOUDS)
        if has_gpu(machines.node_type, *CLOUDS) and "-gpu-" not in machines.spark_version:
            yield Problem(
                profile.where(*where, "node_type"),
                f"{machines.node_type} has a GPU, which the runtime {machines.spark_version} does not use",
                "name a -gpu-ml- runtime (spark_version), or use gpu_node_type, which is for train alone",
            )
    yield from _gpu(profile, settings)


def _gpu(profile: Profile, settings: DatabricksSettings) -> Iterator[Problem]:
    cluster = settings.cluster
    if cluster is not None and cluster.gpu_node_type is not None:
        if not has_gpu(cluster.gpu_node_type, *CLOUDS):
            yield Problem(
                profile.where("target", "cluster", "gpu_node_type"),
                f"gpu_node_type {cluster.gpu_node_type} has no GPU in Lakewright's list",
                "g5.xlarge, Standard_NC4as_T4_v3, g2-standard-4",
            )
        if "-gpu-" not in cluster.gpu_spark_version:
            yield Problem(
                profile.where("target", "cluster", "gpu_spark_version"),
                f"the runtime {cluster.gpu_spark_version} has no CUDA",
                "name a -gpu-ml- runtime",
            )
    if cluster is not None and settings.accelerator is not None:
        yield Problem(
            profile.where("target", "accelerator"),
            "accelerator is for serverless jobs, and this job has a cluster",
            "name cluster.gpu_node_type instead, or remove cluster",
        )
    if settings.accelerator is None:
        train = (cluster.gpu_node_type or cluster.node_type) if cluster is not None else "serverless compute"
        remedy = "name target.cluster.gpu_node_type (or target.accelerator, serverless)"
        yield from gpu_problems(profile, train, remedy, *CLOUDS)


def _together(profile: Profile, settings: DatabricksSettings) -> Iterator[Problem]:
    """What stops several processes or machines of train."""
    yield from parts_problems(profile)
    training, cluster, where = profile.training, settings.cluster, profile.where("training")
    if cluster is None:
        if training.machines > 1:
            yield Problem(
                profile.where("training", "machines"),
                f"serverless compute trains on one machine, and training.machines is {training.machines}",
                "name target.cluster, whose workers train together; or accelerator: GPU_8xH100 with training: "
                "{processes: 8}, the GPUs of one machine",
            )
        gpus = int(re.sub(r"GPU_(\d+)x.*", r"\1", settings.accelerator)) if settings.accelerator else 0
        if gpus and profile.device != "cpu" and training.processes > gpus:
            yield Problem(
                where,
                f"{training.processes} processes are to train, each with a GPU, and {settings.accelerator} has {gpus}",
                f"training: {{processes: {gpus}}}, or accelerator: GPU_8xH100",
            )
        return
    if settings.accelerator is None and training.machines > 1:
        node = cluster.gpu_node_type or cluster.node_type
        if training.processes > 1 and (profile.device == "cpu" or not has_gpu(node, *CLOUDS)):
            yield Problem(
                where,
                f"{training.processes} processes on each machine without a GPU would share its cores, and Spark gives "
                "each all of them",
                "set training.processes: 1, whose threads use all cores; or name cluster.gpu_node_type",
            )
        if cluster.spot:
            yield from taken_away(profile, profile.where("target", "cluster", "spot"), "cluster.spot")


def _registered(profile: Profile, settings: DatabricksSettings) -> Iterator[Problem]:
    registry = profile.registry or profile.tracking or ""
    if registry == "databricks":
        yield Problem(
            profile.where("tracking"),
            "without `registry`, model versions go to the workspace's old registry, which has stages and no grants",
            "registry: databricks-uc",
        )
    elif not registry.startswith("databricks-uc") and (settings.endpoint or settings.approval):
        yield Problem(
            profile.where("registry"),
            f"endpoints and approvals need Unity Catalog, and model versions go to {registry or 'no server'}",
            "registry: databricks-uc",
        )


def _serves(project: Project, profile: Profile, settings: DatabricksSettings) -> Iterator[Problem]:
    endpoint = settings.endpoint
    yield from approval_problems(project, _approvals(profile, settings))
    if endpoint is None:
        return
    name = endpoint_name(project, settings)
    if len(name) > LONGEST_ENDPOINT:
        yield Problem(
            profile.where("target", "endpoint"),
            f"the endpoint's name {name} has {len(name)} characters",
            f"name it (target.endpoint.name), with at most {LONGEST_ENDPOINT} characters",
        )
    where = profile.where("target", "endpoint", "traffic")
    yield from traffic_problems(where, endpoint.traffic)
    for alias in endpoint.traffic:
        if alias.lower() in OLD_ALIASES:
            yield Problem(where, f"{alias} is a stage of MLflow's old registry, not an alias", "champion or challenger")
        elif alias not in ("champion", "challenger"):
            yield Problem(
                where,
                f"no stage sets the alias {alias}: register sets challenger and champion",
                "use champion or challenger, or set the alias yourself before you deploy",
                "warning",
            )


def _approvals(profile: Profile, settings: DatabricksSettings) -> Approvals:
    endpoint = settings.endpoint
    challenger = (
        profile.where("target", "endpoint", "traffic"),
        "the endpoint serves the challenger, which nobody has approved",
        "traffic: {champion: 100}",
    )
    serves_it = endpoint is not None and endpoint.traffic.get("challenger", 0) > 0
    return Approvals(
        endpoint=None if endpoint is None else profile.where("target", "endpoint"),
        waits=None if settings.approval is None else profile.where("target", "approval"),
        passes=(challenger,) if serves_it else (),
    )


def _permitted(project: Project, profile: Profile, settings: DatabricksSettings) -> Iterator[Problem]:
    """Missing grants of the service principal that the job runs as; the owners of the schema are not known here."""
    if settings.run_as is None:
        return
    needs = {"schema": SCHEMA_NEEDS}
    if settings.volume is not None and f"/Volumes/{project.schema_.replace('.', '/')}/" in profile.workspace:
        needs["volume"] = VOLUME_NEEDS
    for on, privileges in needs.items():
        granted = {
            privilege
            for grant in settings.grants
            if grant.to == settings.run_as
            and grant.securable in (on, "schema")  # grants on a schema hold for its volumes
            for privilege in grant.privileges
        }
        missing = sorted(privileges - granted)
        if missing and "ALL_PRIVILEGES" not in granted:
            yield Problem(
                profile.where("target", "grants"),
                f"the job runs as {settings.run_as}, and no grant gives it {', '.join(missing)} on the {on}",
                f"grants: [{{securable: {on}, to: {settings.run_as}, privileges: [{', '.join(missing)}]}}]",
                "error"
                if settings.grants
                else "warning",  # without any grants here, another user may have granted them
            )


def _environment(profile: Profile, settings: DatabricksSettings) -> Iterator[Problem]:
    yield from variable_problems(profile, VARIABLES)
    if settings.environment and settings.cluster is None:
        yield Problem(
            profile.where("target", "environment"),
            "environment variables of serverless jobs are a beta of Databricks",
            "name a cluster if the workspace does not have this beta",
            "warning",
        )


def _base_models(project: Project, profile: Profile, settings: DatabricksSettings) -> Iterator[Problem]:
    if not settings.base_models:
        return
    where = profile.where("target", "base_models")
    if not hasattr(project.train, "base_model"):
        yield Problem(where, f"the learner {project.train.learner} has no base model", "remove base_models")
    for suffix in settings.base_models:
        if not re.fullmatch(r"[A-Za-z0-9_]+", suffix):
            yield Problem(where, f"{suffix!r} cannot end a model's name", "use letters, digits and _")
    if settings.max_concurrent_runs < len(settings.base_models):
        yield Problem(
            profile.where("target", "max_concurrent_runs"),
            f"only {settings.max_concurrent_runs} of {len(settings.base_models)} base models train at the same time",
            f"max_concurrent_runs: {len(settings.base_models)}",
            "warning",
        )
