"""The model package group, models, an endpoint with one or two variants, its scaling, a batch job.

A model and an endpoint configuration never change, so their names contain a digest or a version; the endpoint moves
from one configuration to the next.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any

from lakewright.settings.profile import Profile
from lakewright.settings.project import Project
from lakewright.targets import Request
from lakewright.targets.owned import TAG, full_name
from lakewright.targets.sagemaker.names import group_of, settings_of, vpc
from lakewright.targets.sagemaker.settings import Endpoint, SageMakerSettings, Shift

Json = dict[str, Any]


def group(project: Project, profile: Profile) -> Request:
    body = {
        "ModelPackageGroupName": group_of(project, settings_of(profile)),
        "ModelPackageGroupDescription": f"{project.model}: {project.register_.description or 'made by Lakewright'}",
    }
    return Request("sagemaker.create_model_package_group", body)


def package_arn(project: Project, settings: SageMakerSettings, version: int | str) -> str:
    name = group_of(project, settings)
    return f"arn:{settings.partition}:sagemaker:{settings.region}:{settings.account}:model-package/{name}/{version}"


def endpoint(project: Project, profile: Profile, versions: Mapping[str, int] = {}) -> list[Request]:
    """Models, configuration, endpoint, scaling. `versions` has the numbers (variant → version) of variants with
    `approved`, which the registry knows; without them the word `approved` is in their place."""
    settings = settings_of(profile)
    serves = settings.endpoint
    if serves is None:
        return []
    models, variants = [], []
    for name, variant in serves.variants.items():
        version = versions.get(name, variant.version)
        model: Json = {
            "ModelName": f"{serves.endpoint}-{version}",
            "Containers": [{"ModelPackageName": package_arn(project, settings, version)}],
            "ExecutionRoleArn": settings.role,
        }
        models.append(model | ({"VpcConfig": vpc(settings)} if settings.network else {}))
        variants.append(
            {
                "VariantName": name,
                "ModelName": model["ModelName"],
                "InitialInstanceCount": max(variant.instances, serves.least or 1),
                "InstanceType": serves.instance_type,
                "InitialVariantWeight": float(variant.percent),
            }
        )
    content: Json = {"ProductionVariants": variants, **({"KmsKeyId": settings.kms_key} if settings.kms_key else {})}
    digest = hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:8]
    configuration = {"EndpointConfigName": f"{serves.endpoint}-{digest}", **content}
    unique = {model["ModelName"]: model for model in models}
    return [
        *(Request("sagemaker.create_model", model) for model in unique.values()),
        Request("sagemaker.create_endpoint_config", configuration),
        *(_alarm(serves, name) for name in serves.variants if _alarmed(serves.shift)),
        Request(
            "sagemaker.create_endpoint",
            {
                "EndpointName": serves.endpoint,
                "EndpointConfigName": configuration["EndpointConfigName"],
                "DeploymentConfig": _deployment_config(serves),
                "Tags": [{"Key": TAG, "Value": full_name(project)}],
            },
        ),
        *(request for name in serves.variants for request in _scaling(serves, name)),
    ]


def updating(body: Mapping[str, Any]) -> Json:
    """The body of UpdateEndpoint for CreateEndpoint's: the number of instances stays, the weights are new."""
    update = {name: part for name, part in body.items() if name != "Tags"} | {"RetainAllVariantProperties": True}
    return {**update, "ExcludeRetainedVariantProperties": [{"VariantPropertyType": "DesiredWeight"}]}


def transform(project: Project, profile: Profile) -> Json | None:
    """The request of a batch transform job (`aws sagemaker create-transform-job --cli-input-json file://…`): with
    the endpoint's champion. Users run it; a deploy does not."""
    settings = settings_of(profile)
    batch = settings.batch
    if batch is None or settings.endpoint is None:
        return None
    serves = settings.endpoint
    key = {"VolumeKmsKeyId": settings.kms_key} if settings.kms_key else {}
    out_key = {"KmsKeyId": settings.kms_key} if settings.kms_key else {}
    return {
        "TransformJobName": f"{serves.endpoint}-batch",
        "ModelName": f"{serves.endpoint}-{serves.champion.version}",
        "BatchStrategy": "SingleRecord",  # the server batches them; it would refuse many rows in one request
        "MaxConcurrentTransforms": 16,
        "TransformInput": {
            "DataSource": {"S3DataSource": {"S3DataType": "S3Prefix", "S3Uri": batch.input}},
            "ContentType": "application/jsonlines",
            "SplitType": "Line",
        },
        "TransformOutput": {
            "S3OutputPath": batch.output,
            "Accept": "application/jsonlines",
            "AssembleWith": "Line",
            **out_key,
        },
        "TransformResources": {"InstanceType": batch.instance_type, "InstanceCount": batch.count, **key},
    }


def _deployment_config(serves: Endpoint) -> Json:
    """https://docs.aws.amazon.com/sagemaker/latest/dg/deployment-guardrails-blue-green.html"""
    shift = serves.shift
    routing: Json = {"Type": shift.kind.upper(), "WaitIntervalInSeconds": shift.wait_seconds}
    size = {"Type": "CAPACITY_PERCENT", "Value": shift.percent}
    routing |= {"canary": {"CanarySize": size}, "linear": {"LinearStepSize": size}}.get(shift.kind, {})
    config: Json = {"BlueGreenUpdatePolicy": {"TrafficRoutingConfiguration": routing}}
    alarms = [_alarm_name(serves, name) for name in serves.variants] if _alarmed(shift) else []
    if shift.alarms or alarms:
        config["AutoRollbackConfiguration"] = {"Alarms": [{"AlarmName": name} for name in shift.alarms or alarms]}
    return config


def _alarmed(shift: Shift) -> bool:
    """Whether alarms are made: traffic that moves in steps needs alarms that can roll it back."""
    return shift.kind != "all_at_once" and not shift.alarms


def _alarm_name(serves: Endpoint, variant: str) -> str:
    return f"{serves.endpoint}-{variant}-5xx"


def _alarm(serves: Endpoint, variant: str) -> Request:
    """https://docs.aws.amazon.com/sagemaker/latest/dg/monitoring-cloudwatch.html (endpoint invocation metrics)"""
    body = {
        "AlarmName": _alarm_name(serves, variant),
        "AlarmDescription": f"{variant} of the endpoint {serves.endpoint} answers with errors",
        "Namespace": "AWS/SageMaker",
        "MetricName": "Invocation5XXErrors",
        "Dimensions": [
            {"Name": "EndpointName", "Value": serves.endpoint},
            {"Name": "VariantName", "Value": variant},
        ],
        "Statistic": "Sum",
        "Period": 60,
        "EvaluationPeriods": 1,
        "Threshold": float(serves.shift.errors),
        "ComparisonOperator": "GreaterThanOrEqualToThreshold",
        "TreatMissingData": "notBreaching",
    }
    return Request("cloudwatch.put_metric_alarm", body)


def _scaling(serves: Endpoint, variant: str) -> list[Request]:
    """https://docs.aws.amazon.com/sagemaker/latest/dg/endpoint-auto-scaling-add-code-define.html"""
    if serves.least is None:
        return []
    scaled = {
        "ServiceNamespace": "sagemaker",
        "ResourceId": f"endpoint/{serves.endpoint}/variant/{variant}",
        "ScalableDimension": "sagemaker:variant:DesiredInstanceCount",
    }
    policy = {
        "TargetValue": serves.invocations,
        "PredefinedMetricSpecification": {"PredefinedMetricType": "SageMakerVariantInvocationsPerInstance"},
    }
    bounds = {"MinCapacity": serves.least, "MaxCapacity": serves.most}
    return [
        Request("application-autoscaling.register_scalable_target", scaled | bounds),
        Request(
            "application-autoscaling.put_scaling_policy",
            {
                "PolicyName": f"{serves.endpoint}-{variant}-invocations",
                **scaled,
                "PolicyType": "TargetTrackingScaling",
                "TargetTrackingScalingPolicyConfiguration": policy,
            },
        ),
    ]
