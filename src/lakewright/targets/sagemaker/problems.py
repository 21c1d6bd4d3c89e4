"""The problems of a SageMaker profile that show before anything is sent."""

from __future__ import annotations

import re
from collections.abc import Iterator

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
from lakewright.targets.machines import Machines
from lakewright.targets.parameters import override_settings, parameters, stage_settings
from lakewright.targets.sagemaker.names import group_of, settings_of
from lakewright.targets.sagemaker.settings import Endpoint, SageMakerSettings
from lakewright.targets.single_jobs import single_job_problems
from lakewright.targets.together import parts_problems

# P2, M4: https://github.com/aws/deep-learning-containers/pull/3950. The API's lists still have them.
MACHINES = Machines(
    gpu=r"ml\.[gp]\d.*",
    today="ml.g5.xlarge or ml.g6.xlarge (GPU), ml.m6i.xlarge (none)",
    retired={r"ml\.p3(dn)?\..*": "AWS stopped its family"},
    retiring={r"ml\.(p2|m4)\..*": "AWS retires its family"},
)
LONGEST_ARGUMENT = 256  # CreateProcessingJob's ContainerArguments
VARIABLES = Variables(
    settings=("environment",),
    stored=("secrets",),
    always=("AWS_REGION",),
    remedy="keep it in AWS Secrets Manager (target.secrets: {NAME: ARN}); for S3, the role is enough",
)


def problems(project: Project, profile: Profile) -> Iterator[Problem]:
    settings = settings_of(profile)
    yield from _machines(profile, settings)
    yield from _training(profile, settings)
    yield from approval_problems(project, _approvals(profile, settings))
    if settings.endpoint is not None:
        yield from _endpoint(profile, settings.endpoint)
    yield from variable_problems(profile, VARIABLES)
    yield from _secrets(profile, settings)
    yield from _places(project, profile, settings)
    # What the image holds is not known
    yield from single_job_problems(project, profile, (), "image", settings.training.hours * 60, "training.hours")
    if settings.score is not None and settings.score.schedule is not None:
        yield from _schedule(profile, settings.score.schedule)


def _schedule(profile: Profile, schedule: str) -> Iterator[Problem]:
    """https://docs.aws.amazon.com/scheduler/latest/UserGuide/schedule-types.html"""
    kind, _, inside = schedule.removesuffix(")").partition("(")
    where, fields = profile.where("target", "score", "schedule"), inside.split()
    if kind == "cron" and len(fields) != 6:
        yield Problem(
            where,
            f"the schedule {schedule} has {len(fields)} fields, and EventBridge Scheduler reads six",
            "write minute hour day month weekday year, for example cron(30 4 * * ? *)",
        )
    elif kind == "cron" and (fields[2] == "?") == (fields[4] == "?"):
        yield Problem(
            where,
            f"the schedule {schedule} must have ? for the day of the month or for the weekday, and for one of them",
            "write ? for the one that does not count: cron(30 4 * * ? *)",
        )
    elif kind == "rate" and not re.fullmatch(r"[1-9]\d* (minute|hour|day)s?", inside):
        yield Problem(
            where,
            f"the schedule {schedule} is no rate",
            "write a number and minutes, hours or days, for example rate(12 hours)",
        )


def _machines(profile: Profile, settings: SageMakerSettings) -> Iterator[Problem]:
    yield from parts_problems(profile, settings.processing.count, "processing.count")
    used = {
        ("processing", "instance_type"): settings.processing.instance_type,
        ("training", "instance_type"): settings.training.instance_type,
        ("endpoint", "instance_type"): settings.endpoint.instance_type if settings.endpoint else "",
        ("batch", "instance_type"): settings.batch.instance_type if settings.batch else "",
    }
    for key, instance in used.items():
        yield from machine_problems(instance, profile.where("target", *key), MACHINES)
    images = {name: getattr(settings, name) for name in ("image", "training_image", "inference_image")}
    for name, image in images.items():
        match = re.search(r"\.dkr\.ecr\.([a-z0-9-]+)\.amazonaws\.", image or "")
        if match and match[1] != settings.region:
            yield Problem(
                profile.where("target", name),
                f"{name} is in {match[1]}, and the region is {settings.region}",
                f"push it to a repository in {settings.region}",
            )


def _training(profile: Profile, settings: SageMakerSettings) -> Iterator[Problem]:
    training = settings.training
    remedy = "name target.training.instance_type: ml.g5.xlarge, or another of the families g and p"
    yield from gpu_problems(profile, training.instance_type, remedy, MACHINES)
    if training.spot and not training.checkpoints:
        yield Problem(
            profile.where("target", "training", "checkpoints"),
            "a spot instance may be taken away, and without checkpoints training then starts from the beginning",
            "set checkpoints: true",
        )
    if training.spot and training.wait_hours is not None and training.wait_hours < training.hours:
        yield Problem(
            profile.where("target", "training", "wait_hours"),
            f"wait_hours ({training.wait_hours:g}) is less than hours ({training.hours:g}), and it includes them",
            "raise it: it is the time for waiting and running together",
        )
    if not training.spot and training.wait_hours is not None:
        yield Problem(
            profile.where("target", "training", "wait_hours"),
            "wait_hours has no effect without spot: true",
            "remove it, or set spot: true",
        )
    if settings.debugger_rules:
        yield Problem(
            profile.where("target", "debugger_rules"),
            "SageMaker Debugger is closed to new customers, and its rules read only the output of a smdebug hook, "
            "which Lakewright's image does not have",
            "remove debugger_rules, unless your account has used it before and training_image has the hook",
            "warning",
        )


def _approvals(profile: Profile, settings: SageMakerSettings) -> Approvals:
    approved = (
        profile.where("target", "approval"),
        "approval: Approved would approve every model",
        "remove approval, or set PendingManualApproval",
    )
    asks = settings.approval == "PendingManualApproval"  # SageMaker's registry itself, whatever the project says
    return Approvals(
        endpoint=None if settings.endpoint is None or asks else profile.where("target", "endpoint"),
        passes=(approved,) if settings.approval == "Approved" else (),
    )


def _endpoint(profile: Profile, serves: Endpoint) -> Iterator[Problem]:
    def at(*key: str) -> str:
        return profile.where("target", "endpoint", *key)

    yield from range_problems(at("least"), ("least", serves.least), ("most", serves.most))
    shares = {name: variant.percent for name, variant in serves.variants.items()}
    yield from traffic_problems(at("champion", "percent"), shares)
    if serves.challenger is not None and serves.challenger.version == serves.champion.version:
        yield Problem(
            at("challenger", "version"),
            f"champion and challenger are both version: {serves.champion.version}",
            "give the challenger the number of another version in the group",
        )
    for name, variant in serves.variants.items():
        if serves.most is not None and variant.instances > serves.most:
            yield Problem(
                at(name, "instances"),
                f"{variant.instances} instances are more than most",
                "lower instances, or raise most",
            )


def _secrets(profile: Profile, settings: SageMakerSettings) -> Iterator[Problem]:
    for name, place in settings.secrets.items():
        if not place.startswith("arn:"):
            yield Problem(
                profile.where("target", "secrets", name),
                f"secrets.{name} is not the ARN of a secret",
                "store the value in AWS Secrets Manager and name its ARN: arn:aws:secretsmanager:…",
            )


def _places(project: Project, profile: Profile, settings: SageMakerSettings) -> Iterator[Problem]:
    if settings.store is None and "://" in profile.workspace and not profile.workspace.startswith("s3://"):
        yield Problem(
            profile.where("workspace"),
            f"SageMaker reads and writes S3 alone, and the workspace is {profile.workspace}",
            "name an s3:// workspace, or target.store",
        )
    if len(group_of(project, settings)) > 63:
        yield Problem(
            profile.where("target"),
            f"the model's name makes a model package group of more than 63 characters: {group_of(project, settings)}",
            "set target.group",
        )
    if settings.feature_store is not None and project.data.columns.event_time is None:
        yield Problem(
            profile.where("target", "feature_store"),
            "Feature Store needs each record's time, and the project names no column of times",
            "set data.columns.event_time, or remove feature_store",
        )
    if settings.feature_store is not None and project.data.unlabeled is not None:
        yield Problem(
            profile.where("target", "feature_store"),
            "Feature Store needs each record's time, and rows of data.unlabeled have none",
            "remove data.unlabeled, or feature_store",
        )
    if settings.batch is not None and settings.endpoint is None:
        yield Problem(
            profile.where("target", "batch"), "a batch job uses the endpoint's champion, and there is none",
            "set target.endpoint",
        )  # fmt: skip
    for setting in stage_settings(project, parameters(project)):
        if len(setting) > LONGEST_ARGUMENT:
            from_command = setting in override_settings(project)
            yield Problem(
                "--set" if from_command else project.path.name,
                f"{setting[:40]}… is longer than {LONGEST_ARGUMENT} characters, a step's longest argument",
                "write it into the project file" if from_command else "use a shorter value",
            )
