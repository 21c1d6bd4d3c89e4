"""The settings of the target azureml: the workspace, its machines, its environment and its endpoints.

    target:
      name: azureml
      subscription: ${env:AZURE_SUBSCRIPTION_ID}
      resource_group: our-group
      workspace: our-workspace
      gpu: {name: gpu, size: Standard_NC24ads_A100_v4, low_priority: true}
      schedule: "0 5 * * 1"
      online: {name: bank-intents, blue: {traffic: 100}}

Bounds of Azure ML are marked as such; problems.py checks settings against each other.
"""

from __future__ import annotations

from typing import Literal

from pydantic import Field

import lakewright
from lakewright.settings.profile import TargetSettings
from lakewright.settings.sections import Settings
from lakewright.targets.scoring import Scoring

COMPUTE_NAME = r"^[A-Za-z][A-Za-z0-9-]{1,23}$"
ASSET_NAME = r"^[A-Za-z0-9][A-Za-z0-9_.-]{0,254}$"
OPTION = r"^[A-Za-z_][A-Za-z0-9_]*$"


class Cluster(Settings):
    """A compute cluster of the workspace, made if it does not exist."""

    name: str = Field(pattern=COMPUTE_NAME, description="the cluster's name in the workspace")
    size: str = Field(default="Standard_E4ds_v4", description="size of the virtual machines")
    min_instances: int = Field(
        default=0, ge=0, le=1000, description="nodes that stay while nothing runs; 0 costs nothing"
    )
    max_instances: int = Field(default=4, ge=1, le=1000, description="most nodes")
    idle_seconds: int = Field(
        default=300, ge=60, le=86_400, description="seconds without work before a node is released"
    )
    low_priority: bool = Field(default=False, description="cheaper nodes, which Azure may take away")


class Environment(Settings):
    """The environment of the stages: an image and pip packages. Endpoints have the image and their own packages."""

    name: str = Field(default="lakewright", pattern=ASSET_NAME, description="name of the environments in the workspace")
    image: str = Field(
        default="mcr.microsoft.com/azureml/openmpi4.1.0-ubuntu22.04:latest",
        description="a base image with conda, for all environments",
    )
    python: str = Field(default="3.11", pattern=r"^3\.\d+$")
    packages: list[str] = Field(
        default=[f"lakewright[train]=={lakewright.__version__}"],
        description="pip requirements of the stages; a wheel by its address: lakewright[train] @ https://….whl",
    )
    variables: dict[str, str] = Field(default={}, description="environment variables of every stage; no secrets")


class Share(Settings):
    """One of an endpoint's two deployments."""

    traffic: int = Field(default=0, ge=0, le=100, description="percent of the requests that it answers")
    mirror: int = Field(
        default=0, ge=0, le=50, description="percent of the requests that it gets as copies; at most 50"
    )
    model: str = Field(
        default="latest", pattern=r"^(latest|[1-9]\d*)$", description="version of the model asset; latest: the newest"
    )


class Online(Settings):
    """A managed online endpoint: requests answered one by one."""

    name: str = Field(description="the endpoint's name, unique in the region")
    packages: list[str] = Field(
        default=[f"lakewright=={lakewright.__version__}", "openvino", "azureml-inference-server-http"],
        description="pip requirements; openvino is needed if a model folder names it",
    )
    instance_type: str = Field(default="Standard_DS3_v2", description="size of the machines")
    instances: int = Field(default=1, ge=1, le=100, description="machines of each deployment")
    auth: Literal["key", "aml_token", "aad_token"] = Field(default="key", description="how callers identify themselves")
    public: bool = Field(
        default=False, description="true: reachable from the internet; false: from a private network alone"
    )
    concurrent: int = Field(default=4, ge=1, le=1000, description="requests that a machine works on at the same time")
    timeout_ms: int = Field(
        default=5000, ge=1, le=180_000, description="milliseconds for a request; Azure allows 180,000"
    )
    low_priority: bool = Field(default=False, description="must stay false: online endpoints have no such machines")
    blue: Share = Field(default=Share(traffic=100), description="the deployment blue")
    green: Share | None = Field(default=None, description="the second deployment; null: none")

    @property
    def deployments(self) -> dict[str, Share]:
        return {"blue": self.blue, **({"green": self.green} if self.green is not None else {})}


class Batch(Settings):
    """A batch endpoint: files of rows in, files of predictions out."""

    name: str = Field(description="the endpoint's name, unique in the region")
    packages: list[str] = Field(
        default=[f"lakewright=={lakewright.__version__}", "openvino", "azureml-core"],
        description="pip requirements; Azure ML's batch runner needs azureml-core",
    )
    cluster: Cluster = Field(
        default=Cluster(name="batch", low_priority=True), description="the cluster whose nodes score"
    )
    instances: int = Field(default=1, ge=1, le=1000, description="nodes of a scoring job")
    mini_batch_files: int = Field(default=10, ge=1, description="files in one call of run()")
    concurrency: int = Field(default=1, ge=1, le=64, description="processes on each node")
    retries: int = Field(default=3, ge=0, le=100, description="retries of a mini batch that failed or took too long")
    timeout_seconds: int = Field(default=600, ge=1, description="seconds for a mini batch")
    error_threshold: int = Field(default=0, ge=-1, description="failed files before the job fails; -1: any number")


class Score(Scoring):
    schedule: str | None = Field(default=None, description='cron expression, five fields: "0 5 * * *"; null: none')
    time_zone: str = Field(default="UTC", description="time zone of the schedule, by its name in Windows")


class Databricks(Settings):
    """A Databricks workspace attached as a compute of the Azure ML workspace.

    Steps of current pipelines (v2) cannot run there; steps of older ones (v1) could. Attaching it needs an access
    token, which is read from the environment variable DATABRICKS_TOKEN at sending.
    """

    name: str = Field(default="databricks", pattern=COMPUTE_NAME, description="name of the attached compute")
    resource_id: str = Field(description="/subscriptions/…/Microsoft.Databricks/workspaces/NAME")
    url: str = Field(pattern=r"^https://", description="https://adb-….azuredatabricks.net")


class AzureMLSettings(TargetSettings):
    name: Literal["azureml"] = "azureml"
    subscription: str = Field(default="", description="the subscription's id; it may be ${env:AZURE_SUBSCRIPTION_ID}")
    resource_group: str = ""
    workspace: str = Field(default="", description="the Azure ML workspace's name")
    location: str | None = Field(default=None, description="region; null: the workspace's")
    cpu: Cluster = Field(default=Cluster(name="cpu"), description="the cluster of the stages")
    gpu: Cluster | None = Field(default=None, description="the cluster of the stage train; null: cpu")
    prepare_instances: int = Field(
        default=1,
        ge=1,
        le=1000,
        description="nodes of the cluster cpu that compute the parts of `prepare`, or of a scoring, together",
    )
    environment: Environment = Environment()
    identity: str | None = Field(
        default=None,
        pattern=r"^/subscriptions/.+/Microsoft\.ManagedIdentity/userAssignedIdentities/[^/]+$",
        description="resource id of the managed identity of clusters and endpoints; null: Azure makes one for each",
    )
    timeout_minutes: int = Field(default=1440, ge=1, le=43_200, description="minutes after which a stage is stopped")
    schedule: str | None = Field(default=None, description='cron expression, five fields: "0 5 * * 1"; null: none')
    time_zone: str = Field(default="UTC", description="time zone of the schedule, by its name in Windows")
    score: Score | None = Field(default=None, description="a job that scores a table's new rows; null: none")
    data: str | None = Field(
        default=None, pattern=ASSET_NAME, description="name of a data asset made from data.source; null: none"
    )
    model: str | None = Field(
        default=None,
        pattern=ASSET_NAME,
        description="name of the model asset that endpoints serve; null: from the model's name",
    )
    online: Online | None = Field(default=None, description="online endpoint; null: none")
    batch: Batch | None = Field(default=None, description="batch endpoint; null: none")
    databricks: Databricks | None = Field(default=None, description="attached Databricks compute; null: none")
    track: bool = Field(default=True, description="log each step's metrics in the workspace's own MLflow as well")
    parameters: dict[str, str] = Field(
        default={}, description="more parameters of the pipeline: name → setting of the project"
    )
