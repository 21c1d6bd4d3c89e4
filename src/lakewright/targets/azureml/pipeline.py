"""The pipeline job: one command component for each stage, and edges between stages that need each other's records.

All steps name the same run: the pipeline job's own name, which Azure ML gives to each step as AZUREML_ROOT_RUN_ID (each
step has a different AZUREML_RUN_ID). A step writes its record into its output, and the steps after it print it first:
so they wait for it. No component is marked as deterministic: Azure ML would skip a step with unchanged inputs and code,
and only Lakewright, which also checks the source, can decide that.

Pipelines of this kind (v2) have no public conditional step (`if_else` is a private preview in azure-ai-ml). Below the
gate, register reads the decision, registers nothing, prints `not_registered` and ends with 0 like any other step.

A search and a scoring are pipelines of one step: azure-ai-ml schedules no other job (entities/_schedule/schedule.py).

https://learn.microsoft.com/azure/machine-learning/reference-yaml-job-pipeline, …/reference-yaml-component-command
"""

from __future__ import annotations

import hashlib
import json
import shlex
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from lakewright.errors import ProfileError, UsageError, nearest
from lakewright.pipeline import STAGES, Stage
from lakewright.settings.profile import Profile
from lakewright.settings.project import Project
from lakewright.targets.azureml.settings import AzureMLSettings, Cluster, Score
from lakewright.targets.owned import TAG, full_name
from lakewright.targets.parameters import Parameter, override_settings, parameters, unmistakable
from lakewright.targets.project_files import shipped
from lakewright.targets.single_jobs import single_jobs, words
from lakewright.targets.together import ON_SEVERAL

SCHEMAS = "https://azuremlschemas.azureedge.net/latest"
RUN = '"${AZUREML_ROOT_RUN_ID:?}"'  # the shell stops if it is not set
RECORD = "record.json"
IN_CLUSTER = ("python", "-m", "lakewright.workers.standalone")
FIRST_ALONE = ("[", '"${RANK:?}"', "!=", "0", "]", "||")
JAVA, SPARK = "openjdk=17", ("pyspark[connect]>=4.2,<4.3",)  # the extra `spark`, whatever extras the user names
TYPES = {"String": "string", "Integer": "integer", "Float": "number", "Boolean": "boolean"}


def files(project: Project, profile: Profile, settings: AzureMLSettings) -> dict[str, Any]:
    values = parameters(project, settings.parameters)
    return {
        **_code(project, profile, settings),
        **{f"components/{stage.name}.yml": _component(stage, project, profile, values, settings) for stage in STAGES},
        "pipeline.yml": _pipeline(project, settings, values),
        **{f"{job}.yml": _single(job, project, profile, settings) for job in single_jobs(project, profile)},
        **_schedules(project, settings),
    }


def environments(settings: AzureMLSettings) -> dict[str, dict[str, Any]]:
    """The environments of the stages and of the endpoints. Versions are made from their content."""
    stages = settings.environment
    several = settings.prepare_instances > 1
    spark = [*SPARK, *stages.packages] if several else stages.packages
    files = {"environment.yml": _environment(stages.name, spark, settings, [JAVA] if several else [])}
    if settings.online is not None:
        files["environment-online.yml"] = _environment(f"{stages.name}-online", settings.online.packages, settings)
    if settings.batch is not None:
        files["environment-batch.yml"] = _environment(f"{stages.name}-batch", settings.batch.packages, settings)
    return files


def environment_named(file: str, settings: AzureMLSettings) -> str:
    """The reference in jobs and deployments: azureml:NAME:VERSION."""
    environment = environments(settings)[file]
    return f"azureml:{environment['name']}:{environment['version']}"


def _environment(
    name: str, packages: Sequence[str], settings: AzureMLSettings, conda: Sequence[str] = ()
) -> dict[str, Any]:
    python = [f"python={settings.environment.python}", *conda, "pip", {"pip": list(packages)}]
    holds = {
        "image": settings.environment.image,
        "conda_file": {"name": name, "channels": ["conda-forge"], "dependencies": python},
    }
    return {"$schema": f"{SCHEMAS}/environment.schema.json", "name": name, "version": version_of(holds), **holds}


def version_of(value: Any) -> str:
    """A version of an asset, the same for the same content: a second deploy makes nothing new."""
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()[:12]


def quoted(project: Project, settings: AzureMLSettings, values: Mapping[str, str] = {}) -> dict[str, Any]:
    """The parameters' values: the defaults, and `values` in place of some. Raises ProfileError for an unknown name or a
    value of another type. No text can end the quotes in which a step's shell reads it."""
    by_name = {each.name: each for each in parameters(project, settings.parameters)}
    unknown = next((name for name in values if name not in by_name), None)
    if unknown is not None:
        raise ProfileError(f"the pipeline has no parameter {unknown!r}", nearest(unknown, by_name))
    result: dict[str, Any] = {name: each.default for name, each in by_name.items()}
    for name, value in values.items():
        try:
            result[name] = _READ[by_name[name].kind](value)
        except ValueError:
            raise ProfileError(
                f"{name}: {value!r} is not a value of the kind {by_name[name].kind}", "use another value"
            ) from None
    return result


def _boolean(text: str) -> bool:
    if text.lower() not in ("true", "false"):
        raise ValueError(text)
    return text.lower() == "true"


_READ: dict[str, Callable[[str], Any]] = {"String": unmistakable, "Integer": int, "Float": float, "Boolean": _boolean}


def _code(project: Project, profile: Profile, settings: AzureMLSettings) -> dict[str, Any]:
    """The files in each step's folder: the project, its Python, and its profile without secrets."""
    profiles = profile.as_sent
    written = profiles["profiles"][profile.name]
    written.pop("serve", None)
    score = {key: part for key, part in written["target"].items() if key == "score"}
    written["target"] = {"name": settings.name, "track": settings.track, **score}  # a stage reads only these
    files = {project.path.name: project.path.read_bytes(), **shipped(project.folder, ".py").read()}
    return {**{f"code/{name}": _text(name, content) for name, content in files.items()}, "code/profiles.yml": profiles}


def _text(name: str, content: bytes) -> str:
    try:
        return content.decode()
    except UnicodeDecodeError as failure:
        raise UsageError(f"{name} is not UTF-8: {failure}", "save it in UTF-8, which Python reads") from None


def _component(
    stage: Stage, project: Project, profile: Profile, parameters: Sequence[Parameter], settings: AzureMLSettings
) -> dict[str, Any]:
    several = _several(stage.name, profile, settings)
    environment = environment_named("environment.yml", settings)
    records = {need: {"type": "uri_folder"} for need in stage.needs}
    values = {each.name: {"type": TYPES[each.kind], "default": each.default} for each in parameters}
    return {
        "$schema": f"{SCHEMAS}/commandComponent.schema.json",
        "type": "command",
        "name": f"lakewright_{project.name.lower()}_{stage.name}",
        "display_name": stage.name,
        "is_deterministic": False,
        "inputs": {**records, **values},
        "outputs": {"record": {"type": "uri_folder"}},
        "code": "../code",
        "environment": environment,
        "command": _command(stage, project, profile, parameters, several is not None),
        **(several or {}),
    }


def _several(stage: str, profile: Profile, settings: AzureMLSettings) -> dict[str, Any] | None:
    """The nodes of a stage that has several, and how many processes Azure ML starts on each; None: one node, on which
    the stage itself starts processes."""
    nodes, processes = {
        "train": (profile.training.machines, profile.training.processes),
        **dict.fromkeys(ON_SEVERAL, (settings.prepare_instances, 1)),
    }.get(stage, (1, 1))
    if nodes == 1:
        return None
    return {
        "distribution": {"type": "pytorch", "process_count_per_instance": processes},
        "resources": {"instance_count": nodes},
    }


def _command(stage: Stage, project: Project, profile: Profile, parameters: Sequence[Parameter], several: bool) -> str:
    """What a shell runs, on several nodes once for each process: there the first one alone writes the record."""
    words = [*(IN_CLUSTER if several and stage.name in ON_SEVERAL else ()), "lakewright", "stage", stage.name]
    words += ["--project", shlex.quote(project.path.name), "--profile", shlex.quote(profile.name), "--run", RUN]
    for setting in override_settings(project):
        words += ["--set", shlex.quote(setting)]
    for each in parameters:  # Azure ML replaces ${{…}} by the value before a shell reads it
        words += ["--set", f"'{each.setting}=${{{{inputs.{each.name}}}}}'"]
    output = f"'${{{{outputs.record}}}}/{RECORD}'"
    if several:
        words = ["{", *FIRST_ALONE, "exec", ">", f"{output};", "}", "&&", *words]
    else:
        words += [">", output]
    records = [f"'${{{{inputs.{need}}}}}/{RECORD}'" for need in stage.needs]
    return " ".join([*(["cat", *records, "&&"] if records else []), *words])


def _pipeline(project: Project, settings: AzureMLSettings, parameters: Sequence[Parameter]) -> dict[str, Any]:
    steps = {stage.name: _step(stage, settings, parameters) for stage in STAGES}
    inputs = {each.name: each.default for each in parameters}
    return _of_steps(project.name, full_name(project), steps, project, settings, inputs)


def _of_steps(
    name: str,
    tag: str,
    steps: Mapping[str, Any],
    project: Project,
    settings: AzureMLSettings,
    inputs: Mapping[str, Any] = {},
) -> dict[str, Any]:
    return {
        "$schema": f"{SCHEMAS}/pipelineJob.schema.json",
        "type": "pipeline",
        "display_name": name,
        "experiment_name": full_name(project).replace(".", "-"),
        "tags": {TAG: tag},
        "identity": {"type": "managed"},
        **({"inputs": dict(inputs)} if inputs else {}),
        "settings": {"default_compute": f"azureml:{settings.cpu.name}", "force_rerun": True},
        "jobs": dict(steps),
    }


def _step(stage: Stage, settings: AzureMLSettings, parameters: Sequence[Parameter]) -> dict[str, Any]:
    records = {need: f"${{{{parent.jobs.{need}.outputs.record}}}}" for need in stage.needs}
    values = {each.name: f"${{{{parent.inputs.{each.name}}}}}" for each in parameters}
    return {
        "type": "command",
        "component": f"./components/{stage.name}.yml",
        "inputs": {**records, **values},
        **_on(settings.gpu if stage.name == "train" else None, settings),
    }


def _on(cluster: Cluster | None, settings: AzureMLSettings) -> dict[str, Any]:
    """Where a step runs and how long; None: on the cluster of most stages."""
    variables = settings.environment.variables
    return {
        "compute": f"azureml:{(cluster or settings.cpu).name}",
        "identity": {"type": "managed"},
        "limits": {"timeout": settings.timeout_minutes * 60},
        **({"environment_variables": dict(variables)} if variables else {}),
    }


def _single(job: str, project: Project, profile: Profile, settings: AzureMLSettings) -> dict[str, Any]:
    """A search, on the cluster of train, or a scoring, on the nodes of prepare. It is no run of the stages: its tag is
    another."""
    several = _several(job, profile, settings)
    command = [*(IN_CLUSTER if several else ()), "lakewright", *words(job, project, profile, project.path.name)]
    step = {
        "type": "command",
        "code": "code",
        "environment": environment_named("environment.yml", settings),
        "command": shlex.join(command),
        **(several or {}),
        **_on(None if job in ON_SEVERAL else settings.gpu, settings),
    }
    return _of_steps(job, f"{full_name(project)} {job}", {job: step}, project, settings)


def _schedules(project: Project, settings: AzureMLSettings) -> dict[str, Any]:
    name, score = full_name(project).replace(".", "-"), settings.score
    schedules = {"schedule.yml": _schedule(name, project.name, "pipeline.yml", settings)}
    if score is not None:
        schedules["score-schedule.yml"] = _schedule(f"{name}-score", "score", "score.yml", score)
    return {file: schedule for file, schedule in schedules.items() if schedule is not None}


def _schedule(name: str, display_name: str, job: str, has: AzureMLSettings | Score) -> dict[str, Any] | None:
    if has.schedule is None:
        return None
    return {
        "$schema": f"{SCHEMAS}/schedule.schema.json",
        "name": name,
        "display_name": display_name,
        "trigger": {"type": "cron", "expression": has.schedule, "time_zone": has.time_zone},
        "create_job": f"./{job}",
    }
