"""The settings in profiles.yml to run a project on Amazon SageMaker.

    prod:
      target:
        name: sagemaker
        region: eu-west-1
        role: arn:aws:iam::123456789012:role/lakewright-stages
        image: 123456789012.dkr.ecr.eu-west-1.amazonaws.com/lakewright:0.1.0   # infrastructure/sagemaker/Dockerfile
        training: {instance_type: ml.g5.xlarge, spot: true}
        endpoint: {endpoint: banking77, least: 1, most: 4}
      workspace: s3://our-lake/lakewright
      tracking: https://mlflow.our.org

Bounds and patterns are those of botocore's model of SageMaker's API.
"""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import Field, StringConstraints, model_validator

from lakewright.settings.profile import TargetSettings
from lakewright.settings.sections import Settings
from lakewright.targets.scoring import Scoring

INSTANCE = r"^ml\.[a-z0-9-]+\.[a-z0-9]+$"
S3 = r"^s3://[^/]+(/.*)?$"
NAME = r"^[a-zA-Z0-9](-*[a-zA-Z0-9]){0,62}$"
ROLE = r"^arn:aws[a-z\-]*:iam::\d{12}:role/?[a-zA-Z_0-9+=,.@\-_/]+$"

Id = Annotated[str, StringConstraints(pattern=r"^[-0-9a-zA-Z]{1,32}$")]


class Machine(Settings):
    """The machines of a step."""

    instance_type: str = Field(default="ml.m6i.xlarge", pattern=INSTANCE)
    volume_gb: int = Field(default=30, ge=1, le=16384, description="disk of each instance, in GB")
    hours: float = Field(default=5, gt=0, le=120, description="hours after which the job is stopped")


class Processing(Machine):
    count: int = Field(
        default=1,
        ge=1,
        le=100,
        description="instances of `prepare` and of a scoring, which compute its parts together; the others run on one",
    )


class Training(Machine):
    """Their number is the profile's `training.machines`."""

    spot: bool = Field(
        default=False,
        description="spare capacity: cheaper, and may be taken away; training goes on from its checkpoints",
    )
    wait_hours: float | None = Field(
        default=None, gt=0, le=240, description="spot: hours for waiting and running together"
    )
    checkpoints: bool = Field(
        default=True, description="keep checkpoints in S3 while training, so that an interrupted job goes on"
    )


class Network(Settings):
    """The VPC that jobs and endpoints are in."""

    subnets: list[Id] = Field(min_length=1, max_length=16)
    security_groups: list[Id] = Field(min_length=1, max_length=5)


class DebuggerRule(Settings):
    """A rule of SageMaker Debugger, which AWS has closed to new customers
    (https://docs.aws.amazon.com/sagemaker/latest/dg/debugger-createtrainingjob-api.html)."""

    name: str = Field(min_length=1, max_length=256)
    image: str = Field(description="the rule evaluator's image, which differs by region")
    parameters: dict[str, str] = Field(default={}, description="rule_to_invoke: VanishingGradient …")
    instance_type: str | None = Field(default=None, pattern=INSTANCE)
    volume_gb: int | None = Field(default=None, ge=1, le=16384)


class Shift(Settings):
    """How an endpoint's traffic moves to a new version, and the alarms that roll it back."""

    kind: Literal["all_at_once", "canary", "linear"] = "all_at_once"
    percent: int = Field(default=10, ge=1, le=50, description="percent of the capacity: the canary, or one linear step")
    wait_seconds: int = Field(default=300, ge=0, le=3600, description="seconds between steps")
    alarms: list[str] = Field(
        default=[],
        max_length=10,
        description="CloudWatch alarms that roll back; empty: one for each variant, on errors",
    )
    errors: int = Field(default=5, ge=1, description="5xx answers in a minute that set off these alarms")


class Variant(Settings):
    """One model package version behind the endpoint."""

    version: Literal["approved"] | Annotated[int, Field(ge=1)] = Field(
        default="approved", description="number in the model package group; approved: the newest approved one"
    )
    percent: int = Field(default=100, ge=0, le=100, description="percent of the traffic")
    instances: int = Field(default=1, ge=1, description="instances at the start")


class Endpoint(Settings):
    endpoint: str = Field(pattern=NAME, description="the endpoint's name")
    instance_type: str = Field(default="ml.m6i.large", pattern=INSTANCE)
    champion: Variant = Variant()
    challenger: Variant | None = Field(default=None, description="a second version beside the first; null: none")
    least: int | None = Field(
        default=None, ge=1, description="autoscaling: least instances of each variant; null: no autoscaling"
    )
    most: int | None = Field(default=None, ge=1, description="autoscaling: most instances of each variant")
    invocations: float = Field(
        default=1000, gt=0, description="autoscaling: target of invocations of an instance in a minute"
    )
    shift: Shift = Shift()

    @property
    def variants(self) -> dict[str, Variant]:
        variants = {"champion": self.champion, "challenger": self.challenger}
        return {name: variant for name, variant in variants.items() if variant is not None}

    @model_validator(mode="after")
    def _both_bounds(self) -> Self:
        if (self.least is None) != (self.most is None):
            raise ValueError("autoscaling needs both least and most")
        return self


class Batch(Settings):
    """A batch transform job: JSON lines in, one prediction for each line out."""

    input: str = Field(pattern=S3, description="prefix of files of JSON lines")
    output: str = Field(pattern=S3)
    instance_type: str = Field(default="ml.m6i.xlarge", pattern=INSTANCE)
    count: int = Field(default=1, ge=1)


class Score(Scoring):
    """A pipeline of one processing job, and a schedule of Amazon EventBridge Scheduler that starts it."""

    schedule: str | None = Field(
        default=None,
        pattern=r"^(cron|rate)\(.+\)$",
        max_length=256,
        description="when it starts by itself: cron(30 4 * * ? *) or rate(1 day); null: never",
    )
    time_zone: str = Field(
        default="UTC",
        pattern=r"^[A-Za-z]+(/[A-Za-z0-9_+-]+)*$",
        max_length=50,
        description="time zone of the schedule, by its IANA name",
    )
    role: str | None = Field(
        default=None,
        pattern=ROLE,
        description="ARN of the role with which EventBridge Scheduler starts the pipeline; null: the target's role",
    )


class SageMakerSettings(TargetSettings):
    name: Literal["sagemaker"] = "sagemaker"
    region: str = Field(pattern=r"^[a-z]{2}(-[a-z]+)+-\d$")
    role: str = Field(pattern=ROLE, description="ARN of the role of the pipeline and its steps")
    image: str = Field(
        min_length=1, max_length=255, description="image of the stages: infrastructure/sagemaker/Dockerfile"
    )
    training_image: str | None = Field(default=None, max_length=255, description="default: image")
    inference_image: str | None = Field(default=None, max_length=255, description="default: image")
    store: str | None = Field(
        default=None, pattern=S3, description="code, archives and checkpoints; default {workspace}/sagemaker"
    )
    processing: Processing = Field(default=Processing(), description="machines of all stages except train")
    training: Training = Training()
    network: Network | None = None
    kms_key: str | None = Field(
        default=None, max_length=2048, description="the key that encrypts volumes and the files that SageMaker writes"
    )
    retries: int = Field(
        default=3, ge=0, le=20, description="retries of a step that failed on the platform, not in the stage"
    )
    step_cache: str | None = Field(
        default=None,
        pattern=r"^P(\d+[YMWD])+(T(\d+[HM])+)?$|^PT(\d+[HM])+$",
        description="ISO 8601 duration of SageMaker's step cache; only a retried execution finds a step in it "
        "(Lakewright itself skips unchanged stages); null: no cache",
    )
    environment: dict[str, Annotated[str, StringConstraints(max_length=256)]] = Field(
        default={}, description="environment variables of every step; no secrets"
    )
    secrets: dict[str, str] = Field(
        default={}, description="variable → ARN in AWS Secrets Manager; the container reads it when it starts"
    )
    debugger_rules: list[DebuggerRule] = Field(default=[], max_length=20)
    group: str | None = Field(default=None, pattern=NAME, description="model package group; default: the model's name")
    approval: Literal["auto", "Approved", "PendingManualApproval"] = Field(
        default="auto", description="status of new model packages; auto: by the project's register.approval"
    )
    endpoint: Endpoint | None = Field(default=None, description="an endpoint; null: none")
    batch: Batch | None = Field(default=None, description="a batch transform job; null: none")
    score: Score | None = Field(default=None, description="a pipeline that scores a table's new rows; null: none")
    feature_store: str | None = Field(
        default=None,
        pattern=S3,
        description="S3 prefix of offline stores: of the features table, whose rows are put there, and of feature "
        "tables that are published; null: none",
    )
    parameters: dict[str, str] = Field(
        default={}, max_length=30, description="more parameters of the pipeline: name → setting of the project"
    )

    @property
    def account(self) -> str:
        """The account of the role."""
        return self.role.split(":")[4]

    @property
    def partition(self) -> str:
        return self.role.split(":")[1]
