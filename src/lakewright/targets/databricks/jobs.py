"""The jobs, as data: the stages one after the other, a search, a scoring, one run for each base model, the approval of
model versions.

https://docs.databricks.com/api/workspace/jobs/create (and the same under `resources.jobs` of a bundle). A stage is a
task that runs `lakewright stage NAME`, through an entry point of the wheel. Two tasks share only the job's
run id, which names Lakewright's run, and the gate's task value `passed`, on which register depends.
"""

from __future__ import annotations

import json
from typing import Any, cast

from lakewright import plugins
from lakewright.learning.learners import on_workers
from lakewright.pipeline import STAGES
from lakewright.settings.profile import Profile
from lakewright.settings.project import Project
from lakewright.targets.databricks.distributor import TOGETHER
from lakewright.targets.databricks.settings import DatabricksSettings, Machines, Schedule
from lakewright.targets.owned import full_name
from lakewright.targets.parameters import Parameter, as_text, override_settings, parameters
from lakewright.targets.single_jobs import words
from lakewright.targets.together import ON_SEVERAL, names_workers

RUN = "{{job.run_id}}"
PASSED = "passed"  # the gate's task value, and the condition on it
APPROVAL = "approval.py"


def name_of(project: Project) -> str:
    """The job's name, by which it is found again."""
    return full_name(project)


def folder_of(project: Project, settings: DatabricksSettings) -> str:
    """The folder of the project's files in the workspace."""
    return f"{settings.root.rstrip('/')}/{name_of(project)}"


def job_parameters(project: Project, settings: DatabricksSettings) -> list[Parameter]:
    more = {"Model": "register.model"} if settings.base_models else {}
    return parameters(project, {**more, **settings.parameters})


def stages_job(project: Project, profile: Profile, settings: DatabricksSettings) -> dict[str, Any]:
    parameters = job_parameters(project, settings)
    values = [f"{each.setting}={{{{job.parameters.{each.name}}}}}" for each in parameters]
    options = ["--project", f"{folder_of(project, settings)}/{project.path.name}", "--profile", profile.name]
    options += [
        "--run",
        RUN,
        *(part for setting in (*override_settings(project), *values) for part in ("--set", setting)),
    ]
    machines = profile.training.machines
    tasks: list[dict[str, Any]] = []
    previous: list[dict[str, str]] = []
    for stage in STAGES:
        together = (
            [TOGETHER, str(profile.training.processes * machines)] if stage.name == "train" and machines > 1 else []
        )
        tasks.append(
            {
                "task_key": stage.name,
                **({"depends_on": previous} if previous else {}),
                **_command(
                    [*together, "stage", stage.name, *options, *_workers(stage.name, project, profile)], settings
                ),
                **_machine(settings, project, gpu=stage.name == "train", machines=machines),
            }
        )
        previous = [{"task_key": stage.name}]
        if stage.name == "gate":
            condition = {"op": "EQUAL_TO", "left": f"{{{{tasks.gate.values.{PASSED}}}}}", "right": "true"}
            tasks.append({"task_key": PASSED, "depends_on": previous, "condition_task": condition})
            previous = [{"task_key": PASSED, "outcome": "true"}]
    return {
        "name": name_of(project),
        "parameters": [{"name": each.name, "default": _text(each.default)} for each in parameters],
        "tasks": tasks,
        **_machines(settings, project, machines=machines),
        "max_concurrent_runs": settings.max_concurrent_runs,
        **_runs_as(settings),
        **_starts_and_ends(settings, settings.schedule),
    }


def _command(parameters: list[str], settings: DatabricksSettings) -> dict[str, Any]:
    """What a task runs, and how often."""
    wheel = {"package_name": "lakewright", "entry_point": settings.name}  # DatabricksTarget.__call__
    return {
        "python_wheel_task": {**wheel, "parameters": parameters},
        "max_retries": settings.retries.times,
        "min_retry_interval_millis": settings.retries.wait_seconds * 1000,
        "retry_on_timeout": settings.retries.after_timeout,
    }


def _starts_and_ends(settings: DatabricksSettings, schedule: Schedule | None) -> dict[str, Any]:
    """When a job starts by itself, when it is stopped, and who hears of it."""
    job: dict[str, Any] = {}
    if schedule is not None:
        job["schedule"] = {
            "quartz_cron_expression": schedule.quartz,
            "timezone_id": schedule.timezone,
            "pause_status": "PAUSED" if schedule.paused else "UNPAUSED",
        }
    if settings.timeout_minutes is not None:
        job["timeout_seconds"] = settings.timeout_minutes * 60
    recipients = {who: addresses for who, addresses in settings.notifications.model_dump().items() if addresses}
    return {**job, **({"email_notifications": recipients} if recipients else {})}


def _workers(stage: str, project: Project, profile: Profile) -> list[str]:
    """Options of a stage whose parts the workers of its cluster compute. Functions of serverless compute may open no
    file: there, parts are processes of one machine."""
    uses = stage in ON_SEVERAL or (stage == "train" and on_workers(plugins.LEARNERS.find(project.train.learner)))
    has_them = cast(DatabricksSettings, profile.target).cluster is not None and not names_workers(profile)
    return ["--workers", "databricks"] if uses and has_them else []


def single_job(job: str, project: Project, profile: Profile, settings: DatabricksSettings) -> dict[str, Any]:
    """A search, on the machine of train, or a scoring, by the machines of prepare: one task."""
    place = f"{folder_of(project, settings)}/{project.path.name}"
    gpu = job not in ON_SEVERAL
    task = {
        "task_key": job,
        **_command([*words(job, project, profile, place), *_workers(job, project, profile)], settings),
        **_machine(settings, project, gpu=gpu),
    }
    return {
        "name": single_name(job, project),
        "tasks": [task],
        **_machines(settings, project, gpu=gpu),
        **_runs_as(settings),
        **_starts_and_ends(settings, settings.score.schedule if job == "score" and settings.score else None),
    }


def single_name(job: str, project: Project) -> str:
    return f"{name_of(project)} {job}"


def base_models_job(project: Project, settings: DatabricksSettings) -> dict[str, Any]:
    """Starts the stages once for each base model, at the same time; each registers another model."""
    tasks = [
        {
            "task_key": suffix,
            "run_job_task": {
                "job_id": "${resources.jobs.stages.id}",
                "job_parameters": {"BaseModel": as_text(base_model), "Model": f"{project.model}_{suffix}"},
            },
        }
        for suffix, base_model in settings.base_models.items()
    ]
    return {"name": f"{name_of(project)} base models", "tasks": tasks, **_runs_as(settings)}


def approval_job(project: Project, profile: Profile, settings: DatabricksSettings, endpoint: str) -> dict[str, Any]:
    """MLflow 3's deployment job: https://docs.databricks.com/aws/en/mlflow/deployment-job."""
    assert settings.approval is not None
    version = ["{{job.parameters.model_name}}", "{{job.parameters.model_version}}"]
    registry = profile.registry or profile.tracking or "databricks-uc"
    script = f"{folder_of(project, settings)}/{APPROVAL}"

    def task(key: str, needs: list[str], *options: str) -> dict[str, Any]:
        return {
            "task_key": key,
            **({"depends_on": [{"task_key": need} for need in needs]} if needs else {}),
            "spark_python_task": {"python_file": script, "parameters": [*options]},
            **_machine(settings, project),
        }

    tag = settings.approval.tag
    return {
        "name": f"{name_of(project)} approval",
        "parameters": [{"name": "model_name", "default": project.model}, {"name": "model_version", "default": "1"}],
        "tasks": [
            task(tag, [], "check", registry, *version, tag),
            task("promote", [tag], "promote", registry, *version, *([endpoint] if endpoint else [])),
        ],
        **_machines(settings, project, gpu=False),
        **_runs_as(settings),
    }


def machines_of(cluster: Machines, environment: dict[str, str], project: Project) -> dict[str, Any]:
    """https://docs.databricks.com/api/workspace/clusters/create, without a name.

    The machines' names show the cloud. The first machine, which is the driver's, is never a spot machine.
    """
    if cluster.node_type.startswith("Standard_"):
        attributes = {"azure_attributes": {"first_on_demand": 1, "availability": "SPOT_WITH_FALLBACK_AZURE"}}
    elif "." in cluster.node_type:
        attributes = {"aws_attributes": {"first_on_demand": 1, "availability": "SPOT_WITH_FALLBACK"}}
    else:
        attributes = {"gcp_attributes": {"first_on_demand": 1, "availability": "PREEMPTIBLE_WITH_FALLBACK_GCP"}}
    return {
        "spark_version": cluster.spark_version,
        "node_type_id": cluster.node_type,
        "autoscale": {"min_workers": cluster.workers.min, "max_workers": cluster.workers.max},
        "data_security_mode": cluster.access_mode,
        "custom_tags": {"lakewright": name_of(project), **cluster.tags},
        **(attributes if cluster.spot else {}),
        **({"spark_env_vars": environment} if environment else {}),
    }


def package(settings: DatabricksSettings) -> tuple[str, str]:
    """The wheel's path on this machine ("" for a requirement), and the requirement or the wheel's extras: "[train]"."""
    path, bracket, extras = settings.package.partition("[")
    return (path, bracket + extras) if path.endswith(".whl") else ("", settings.package)


def _machine(settings: DatabricksSettings, project: Project, gpu: bool = False, machines: int = 1) -> dict[str, Any]:
    """The machine of a task, and its libraries; `gpu`: that of train, or the driver and so many machines of it."""
    wheel, extras = package(settings)
    uploaded = f"{folder_of(project, settings)}/{wheel.rpartition('/')[2]}"
    if settings.cluster is None:
        compute = {"compute": {"hardware_accelerator": settings.accelerator}} if gpu and settings.accelerator else {}
        variables = {"environment_variables_key": "stages"} if settings.environment else {}
        return {"environment_key": "stages", **compute, **variables}
    # A library cannot name a wheel's extras: a requirement that the wheel fulfils installs them.
    version = wheel.rpartition("/")[2].split("-")[1] if wheel else ""
    more = [f"lakewright{extras}=={version}"] if wheel and extras else [] if wheel else [extras]
    libraries: list[dict[str, Any]] = [{"whl": uploaded}] if wheel else []
    libraries += [{"pypi": {"package": requirement}} for requirement in (*more, *settings.requirements)]
    key = "gpu" if gpu and settings.cluster.gpu_node_type else "train" if gpu and machines > 1 else "stages"
    return {"job_cluster_key": key, "libraries": libraries}


def _machines(settings: DatabricksSettings, project: Project, gpu: bool = True, machines: int = 1) -> dict[str, Any]:
    """The machines of the job's tasks, by their keys; so many train together, beside their driver."""
    cluster = settings.cluster
    if cluster is None:
        wheel, extras = package(settings)
        uploaded = f"{folder_of(project, settings)}/{wheel.rpartition('/')[2]}" if wheel else ""
        spec = {
            "environment_version": settings.environment_version,
            "dependencies": [f"{uploaded}{extras}", *settings.requirements],
        }
        part: dict[str, Any] = {"environments": [{"environment_key": "stages", "spec": spec}]}
        if settings.environment:
            variables = {"environment_variables_key": "stages", "spec": {"variables": settings.environment}}
            part["environment_variables"] = [variables]
        return part
    stages = machines_of(cluster, settings.environment, project)
    clusters = [{"job_cluster_key": "stages", "new_cluster": stages}]
    if gpu and cluster.gpu_node_type is not None:
        one = cluster.model_copy(
            update={"node_type": cluster.gpu_node_type, "spark_version": cluster.gpu_spark_version}
        )
        several: dict[str, Any] = {"num_workers": machines}
        single = {"kind": "CLASSIC_PREVIEW", "is_single_node": True}
        whole = {**machines_of(one, settings.environment, project), **(several if machines > 1 else single)}
        del whole["autoscale"]
        clusters.append({"job_cluster_key": "gpu", "new_cluster": whole})
    elif gpu and machines > 1:
        whole = {**stages, "num_workers": machines}
        del whole["autoscale"]
        clusters.append({"job_cluster_key": "train", "new_cluster": whole})
    return {"job_clusters": clusters}


def _runs_as(settings: DatabricksSettings) -> dict[str, Any]:
    who = {"run_as": {"service_principal_name": settings.run_as}} if settings.run_as else {}
    return {"queue": {"enabled": True}, "tags": {"lakewright": "project", **settings.tags}, **who}


def _text(default: str | int | float | bool) -> str:
    return default if isinstance(default, str) else json.dumps(default)
