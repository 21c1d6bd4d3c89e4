"""What SageMaker's proof is given beside `everywhere`: profiles, and what executes a definition."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import boto3
import yaml

from platforms.everywhere import ROOT, Everywhere
from platforms.sagemaker.runner import Runner

DOCKERFILE = ROOT / "infrastructure" / "sagemaker" / "Dockerfile"
ACCOUNT = "123456789012"  # moto's
TARGET: dict[str, Any] = {
    "name": "sagemaker",
    "region": "us-east-1",
    "role": f"arn:aws:iam::{ACCOUNT}:role/lakewright-stages",
    "image": f"{ACCOUNT}.dkr.ecr.us-east-1.amazonaws.com/lakewright:0.1.0",
}
WHOLE: dict[str, Any] = TARGET | {
    "training_image": f"{ACCOUNT}.dkr.ecr.us-east-1.amazonaws.com/lakewright-gpu:0.1.0",
    "processing": {"instance_type": "ml.m7i.xlarge", "volume_gb": 50, "hours": 2},
    "training": {"instance_type": "ml.g5.xlarge", "volume_gb": 100, "hours": 4, "spot": True, "wait_hours": 6},
    "network": {"subnets": ["subnet-0a1b2c"], "security_groups": ["sg-0a1b2c"]},
    "kms_key": f"arn:aws:kms:us-east-1:{ACCOUNT}:key/1234abcd-12ab-34cd-56ef-1234567890ab",
    "step_cache": "P30D",
    "environment": {"MLFLOW_HTTP_REQUEST_TIMEOUT": "60"},
    "secrets": {"MLFLOW_TRACKING_TOKEN": f"arn:aws:secretsmanager:us-east-1:{ACCOUNT}:secret:mlflow-AbCdEf"},
    "debugger_rules": [
        {
            "name": "VanishingGradient",
            "image": "503895931360.dkr.ecr.us-east-1.amazonaws.com/sagemaker-debugger-rules:latest",
            "parameters": {"rule_to_invoke": "VanishingGradient"},
        }
    ],
    "endpoint": {
        "endpoint": "banking77",
        "champion": {"percent": 90},
        "challenger": {"version": 2, "percent": 10},
        "least": 1,
        "most": 4,
        "shift": {"kind": "canary", "percent": 10, "wait_seconds": 600, "alarms": ["banking77-5xx"]},
    },
    "batch": {"input": "s3://our-lake/questions", "output": "s3://our-lake/answers"},
    "parameters": {"LabelSmoothing": "train.label_smoothing_factor"},
}


def on_moto(everywhere: Everywhere, place: Mapping[str, Any] = {}, **more: Any) -> None:
    """The profile `prod`, with more settings of its own (`place`) and of its target. Keys are in no file: a step's role
    gives them."""
    options = {name: value for name, value in everywhere.environment.items() if "KEY" not in name}
    everywhere.profile("prod", TARGET | more, **{"storage_options": options, **place})


def sent(everywhere: Everywhere) -> dict[str, Any]:
    """The pipeline's definition as the platform has it, after `lakewright deploy`."""
    pipelines = boto3.client("sagemaker", region_name="us-east-1")
    definition = pipelines.describe_pipeline(PipelineName=pipeline_name(everywhere))["PipelineDefinition"]
    found: dict[str, Any] = json.loads(definition)
    return found


def pipeline_name(everywhere: Everywhere) -> str:
    return f"main-demo-{yaml.safe_load(everywhere.project.read_text())['name']}".replace("_", "-")


def runner_in(environment: Path, everywhere: Everywhere, folder: Path) -> Runner:
    return Runner(environment, DOCKERFILE, folder, everywhere.environment)
