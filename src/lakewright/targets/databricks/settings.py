"""A profile's settings for a Databricks workspace: `target: {name: databricks, host: https://…, …}`.

Field names are ours, values are Databricks' own (node types, privileges, workload sizes): https://docs.databricks.com/api
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

import lakewright
from lakewright.settings.profile import TargetSettings
from lakewright.settings.sections import IDENTIFIER, Settings
from lakewright.targets.scoring import Scoring

Privilege = Literal[
    "ALL_PRIVILEGES",
    "APPLY_TAG",
    "CREATE_FUNCTION",
    "CREATE_MATERIALIZED_VIEW",
    "CREATE_MODEL",
    "CREATE_TABLE",
    "CREATE_VOLUME",
    "EXECUTE",
    "MANAGE",
    "MODIFY",
    "READ_VOLUME",
    "SELECT",
    "USE_SCHEMA",
    "WRITE_VOLUME",
]


class Workers(Settings):
    min: int = Field(default=1, ge=0, le=100, description="autoscaling: least workers, beside the driver")
    max: int = Field(default=4, ge=1, le=100, description="autoscaling: most workers, beside the driver")


class Machines(Settings):
    node_type: str = Field(description="the cloud's name for the machine: i3.xlarge, Standard_D4ds_v5, n2-standard-4")
    spark_version: str = Field(
        default="17.3.x-cpu-ml-scala2.13", description="Databricks Runtime; it needs Python 3.11 or newer"
    )
    workers: Workers = Field(default=Workers(), description="autoscaling, beside the driver")
    spot: bool = Field(
        default=True, description="spot machines, and others if no spot machine is free; the driver never is"
    )
    access_mode: Literal["SINGLE_USER", "USER_ISOLATION", "NONE"] = Field(
        default="SINGLE_USER", description="NONE has no Unity Catalog; ML runtimes need SINGLE_USER"
    )
    tags: dict[str, str] = Field(default={}, description="tags on the cloud's bill")


class Cluster(Machines):
    """Started for a run and stopped after it."""

    gpu_node_type: str | None = Field(default=None, description="the machine of train; null: as the other stages")
    gpu_spark_version: str = Field(default="17.3.x-gpu-ml-scala2.13", description="Databricks Runtime with CUDA")


class Interactive(Machines):
    """A cluster for notebooks, beside the job's; it ends by itself."""

    minutes: int = Field(default=120, ge=10, le=10_000, description="minutes without work before it is stopped")


class Schedule(Settings):
    quartz: str = Field(
        pattern=r"^\S+ \S+ \S+ \S+ \S+ \S+( \S+)?$",
        description="Quartz cron with seconds first: 0 30 4 * * ? is 4:30 each day",
    )
    timezone: str = Field(
        default="UTC", pattern=r"^[A-Za-z]+(/[A-Za-z0-9_+-]+)*$", description="time zone, by its name in Java"
    )
    paused: bool = Field(default=False, description="true: the schedule exists and starts nothing")


class Score(Scoring):
    schedule: Schedule | None = Field(default=None, description="when the job starts by itself; null: never")


class Notifications(Settings):
    on_start: list[str] = Field(default=[], description="e-mail addresses")
    on_success: list[str] = Field(default=[], description="e-mail addresses")
    on_failure: list[str] = Field(default=[], description="e-mail addresses")


class Retries(Settings):
    """Retries of a stage that failed. Stages are repeatable: finished work is kept."""

    times: int = Field(default=1, ge=0, le=10, description="retries after the first failure")
    wait_seconds: int = Field(default=60, ge=0, le=86_400, description="seconds before each retry")
    after_timeout: bool = Field(default=False, description="retry after a timeout as well")


class Grant(Settings):
    securable: Literal["schema", "volume", "model"] = Field(description="the object of the grant")
    to: str = Field(min_length=1, description="a user, group, or a service principal's application id")
    privileges: list[Privilege] = Field(min_length=1, description="privileges of Unity Catalog")


class Approval(Settings):
    """A deployment job: Databricks starts it for each new model version, and it waits for an approval."""

    tag: str = Field(
        default="approval",
        pattern=r"^[Aa]pproval[A-Za-z0-9_]*$",
        description="the task's name, which the Approve button sets to `approved` on the model version",
    )


class Endpoint(Settings):
    """Model Serving."""

    name: str | None = Field(
        default=None, pattern=r"^[A-Za-z0-9][A-Za-z0-9_-]{0,62}$", description="default: catalog-schema-name"
    )
    workload_size: Literal["Small", "Medium", "Large"] = Field(default="Small", description="concurrent requests")
    workload_type: Literal["CPU", "GPU_SMALL", "GPU_MEDIUM", "GPU_LARGE"] = Field(default="CPU", description="machine")
    scale_to_zero: bool = Field(
        default=True, description="no machine while there are no requests; the next request waits for one"
    )
    traffic: dict[str, Annotated[int, Field(ge=0, le=100)]] = Field(
        default={"champion": 100}, description="alias → percent of the requests"
    )
    inference_table: str | None = Field(
        default=None, pattern=IDENTIFIER, description="prefix of the table of requests and answers; null: none"
    )


class DatabricksSettings(TargetSettings):
    name: Literal["databricks"] = "databricks"
    host: str | None = Field(
        default=None,
        pattern=r"^https?://[^/\s]+/?$",
        description="the workspace's address; tokens come from the environment (DATABRICKS_TOKEN, ~/.databrickscfg)",
    )
    package: str = Field(
        default=f"lakewright[train]=={lakewright.__version__}",
        description="the package that runs the stages: a requirement, or a wheel of this machine: dist/NAME.whl[train]",
    )
    requirements: list[str] = Field(default=[], description="more packages to install, for the project's own Python")
    root: str = Field(
        default="/Workspace/Shared/lakewright", pattern=r"^/Workspace/\S+$", description="folder of the project's files"
    )
    cluster: Cluster | None = Field(default=None, description="machines of the job; null: serverless")
    environment_version: str = Field(
        default="4", pattern=r"^\d+$", description="serverless: version of the base environment"
    )
    accelerator: Literal["GPU_1xA10", "GPU_1xH100", "GPU_8xH100"] | None = Field(
        default=None, description="serverless: a GPU for train"
    )
    environment: dict[str, str] = Field(
        default={}, description="environment variables of the stages; {{secrets/SCOPE/KEY}} as the value of a secret"
    )
    schedule: Schedule | None = Field(default=None, description="when the job starts by itself; null: never")
    max_concurrent_runs: int = Field(
        default=1, ge=1, le=1000, description="runs at the same time; more wait in the queue"
    )
    base_models: dict[str, str] = Field(
        default={}, description="suffix → base model: a job that trains one model for each, at the same time"
    )
    retries: Retries = Field(default=Retries(), description="retries of a stage that failed")
    timeout_minutes: int | None = Field(default=None, ge=1, description="minutes for the whole job; null: no limit")
    notifications: Notifications = Field(
        default=Notifications(), description="e-mail addresses for messages about a run"
    )
    run_as: str | None = Field(
        default=None, description="a service principal's application id; null: the user who deploys"
    )
    tags: dict[str, str] = Field(default={}, description="tags of the job")
    parameters: dict[str, str] = Field(default={}, description="more job parameters: name → setting of the project")
    interactive: Interactive | None = Field(default=None, description="a cluster for notebooks; null: none")
    score: Score | None = Field(default=None, description="a job that scores a table's new rows; null: none")
    volume: str | None = Field(
        default=None, pattern=IDENTIFIER, description="a volume to make in the project's schema; null: none"
    )
    grants: list[Grant] = Field(default=[], description="grants on the schema, the volume and the model")
    approval: Approval | None = Field(default=None, description="the deployment job; null: none")
    endpoint: Endpoint | None = Field(default=None, description="Model Serving; null: none")
