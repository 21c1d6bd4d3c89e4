"""The pipeline definition: one step for each stage, every parameter in every step.

    ingest → prepare → train → evaluate → gate → decide ─ passed  → register → package
                                                        └ refused → refuse (the execution fails, with the reason)

Format: https://docs.aws.amazon.com/sagemaker/latest/dg/pipelines-define.html (2020-12-01); a step's Arguments are those
of the API's own requests (CreateProcessingJob, CreateTrainingJob, CreateModelPackage) without the job's name.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from lakewright.errors import ProfileError
from lakewright.pipeline import STAGES
from lakewright.settings.profile import Profile
from lakewright.settings.project import Project
from lakewright.targets.parameters import Parameter, override_settings, parameters
from lakewright.targets.sagemaker.names import approval_of, described, environment, group_of, settings_of, store_of, vpc
from lakewright.targets.sagemaker.settings import Endpoint, Machine, SageMakerSettings
from lakewright.targets.single_jobs import words
from lakewright.targets.together import ON_SEVERAL

Json = dict[str, Any]
CONTAINER = ["python", "-m", "lakewright.targets.sagemaker.container"]
PROCESSING = "/opt/ml/processing"
EXECUTION = {"Get": "Execution.PipelineExecutionId"}
PROPERTY_FILES = {"evaluate": ("evaluation", "Evaluation"), "gate": ("decision", "Decision")}  # output, property file
CONTENT_TYPES = ["application/json", "text/csv", "application/jsonlines"]
TROUBLE = [
    "Step.SERVICE_FAULT",
    "Step.THROTTLING",
    "SageMaker.JOB_INTERNAL_ERROR",
    "SageMaker.CAPACITY_ERROR",
    "SageMaker.RESOURCE_LIMIT",
]


def definition(project: Project, profile: Profile, code: str) -> Json:
    """The pipeline; `code` is the S3 prefix of the project's files. Raises ProfileError for a parameter's name that is
    taken."""
    settings = settings_of(profile)
    settable, own = parameters(project, settings.parameters), _own_parameters(project, profile)
    clashes = [parameter.name for parameter in settable if parameter.name in own]
    if clashes:
        raise ProfileError(f"the pipeline already has a parameter {clashes[0]}", "use another name")
    steps = {stage.name: _Steps(project, profile, code, settable).stage(stage.name) for stage in STAGES}
    register = steps.pop("register")
    return {
        "Version": "2020-12-01",
        "Metadata": {},
        "Parameters": [
            *({"Name": each.name, "Type": each.kind, "DefaultValue": each.default} for each in settable),
            *_described(own),
        ],
        "Steps": [*steps.values(), _decide(register, _package(project, profile), _refuse(project, settable))],
    }


def single_definition(job: str, project: Project, profile: Profile, code: str) -> Json:
    """The pipeline of a search, on the machine of train, or of a scoring, on those of prepare: one processing job."""
    names = ("ProcessingInstanceType", "ProcessingInstanceCount") if job in ON_SEVERAL else ("TrainingInstanceType",)
    own = _own_parameters(project, profile)
    return {
        "Version": "2020-12-01",
        "Metadata": {},
        "Parameters": _described({name: own[name] for name in names}),
        "Steps": [_Steps(project, profile, code, []).single(job)],
    }


def _described(own: Mapping[str, str | int]) -> list[Json]:
    return [{"Name": name, "Type": _kind(value), "DefaultValue": value} for name, value in own.items()]


def _own_parameters(project: Project, profile: Profile) -> dict[str, str | int]:
    settings = settings_of(profile)
    endpoint = settings.endpoint.instance_type if settings.endpoint else Endpoint.model_fields["instance_type"].default
    return {
        "ProcessingInstanceType": settings.processing.instance_type,
        "ProcessingInstanceCount": settings.processing.count,
        "TrainingInstanceType": settings.training.instance_type,
        "TrainingInstanceCount": profile.training.machines,
        "DeployInstanceType": endpoint,
        "ModelApprovalStatus": approval_of(project, settings),
    }


class _Steps:
    """The steps of the stages, which are nearly equal."""

    def __init__(self, project: Project, profile: Profile, code: str, parameters: list[Parameter]) -> None:
        self.project, self.profile, self.code, self.parameters = project, profile, code, parameters
        self.settings, self.store = settings_of(profile), store_of(profile)

    def stage(self, name: str) -> Json:
        previous = [stage.name for stage in STAGES][: [stage.name for stage in STAGES].index(name)][-1:]
        step: Json = {"Name": name, "Type": "Training" if name == "train" else "Processing"}
        if previous and name != "register":  # register is in a branch, after decide
            step["DependsOn"] = previous
        step["Arguments"] = self._training() if name == "train" else self._processing(name)
        if name in PROPERTY_FILES:
            output, file = PROPERTY_FILES[name]
            step["PropertyFiles"] = [
                {"PropertyFileName": file, "OutputName": output, "FilePath": f"{output}.json"},
            ]
        if self.settings.step_cache:
            step["CacheConfig"] = {"Enabled": True, "ExpireAfter": self.settings.step_cache}
        return step | _retried(self.settings)

    def single(self, name: str) -> Json:
        command = words(name, self.project, self.profile, self.project.path.name)
        if name in ON_SEVERAL:
            arguments = self._processing_job(name, command)
        else:
            training = self.settings.training
            arguments = self._job(command, self._machine("Training", training, 1), training.hours)
        return {"Name": name, "Type": "Processing", "Arguments": arguments} | _retried(self.settings)

    def _processing(self, name: str) -> Json:
        settings = self.settings
        command: list[Any] = ["stage", name, "--project", self.project.path.name, "--profile", self.profile.name]
        command += ["--run", EXECUTION]
        command += [part for setting in override_settings(self.project) for part in ("--set", setting)]
        command += [part for each in self.parameters for part in ("--set", _join(f"{each.setting}=", _value(each)))]
        arguments = self._processing_job(name, command)
        if name in PROPERTY_FILES:
            output = PROPERTY_FILES[name][0]
            sent = {
                "S3Uri": _join(f"{self.store}/executions/", EXECUTION, f"/{output}"),
                "LocalPath": f"{PROCESSING}/output/{output}",
                "S3UploadMode": "EndOfJob",
            }
            key = {"KmsKeyId": settings.kms_key} if settings.kms_key else {}
            outputs = [{"OutputName": output, "S3Output": sent}]
            arguments["ProcessingOutputConfig"] = {"Outputs": outputs, **key}
        return arguments

    def _processing_job(self, name: str, command: Sequence[Any]) -> Json:
        processing = self.settings.processing
        count = {"Get": "Parameters.ProcessingInstanceCount"} if name in ON_SEVERAL else 1
        return self._job(command, self._machine("Processing", processing, count), processing.hours)

    def _job(self, command: Sequence[Any], machine: Json, hours: float) -> Json:
        settings = self.settings
        arguments: Json = {
            "ProcessingResources": {"ClusterConfig": machine},
            "AppSpecification": {
                "ImageUri": settings.image,
                "ContainerEntrypoint": CONTAINER,
                "ContainerArguments": command,
            },
            "RoleArn": settings.role,
            "Environment": environment(settings),
            "ProcessingInputs": [
                {
                    "InputName": "project",
                    "S3Input": {
                        "S3Uri": self.code,
                        "LocalPath": f"{PROCESSING}/input/project",
                        "S3DataType": "S3Prefix",
                        "S3InputMode": "File",
                        "S3DataDistributionType": "FullyReplicated",
                        "S3CompressionType": "None",
                    },
                }
            ],
            "StoppingCondition": {"MaxRuntimeInSeconds": _seconds(hours)},
        }
        if settings.network:
            arguments["NetworkConfig"] = {"VpcConfig": vpc(settings)}
        return arguments

    def _training(self) -> Json:
        settings, training = self.settings, self.settings.training
        stopping = {"MaxRuntimeInSeconds": _seconds(training.hours)}
        if training.spot:
            stopping["MaxWaitTimeInSeconds"] = _seconds(training.wait_hours or 2 * training.hours)
        prefix = f"{self.store}/executions/"
        key = {"KmsKeyId": settings.kms_key} if settings.kms_key else {}
        # A hyperparameter with a dot is a setting of the project. The API's values are strings.
        hyperparameters: Json = {"project": self.project.path.name, "profile": self.profile.name, "run": EXECUTION}
        hyperparameters["given"] = json.dumps(override_settings(self.project))
        arguments: Json = {
            "AlgorithmSpecification": {
                "TrainingImage": settings.training_image or settings.image,
                "TrainingInputMode": "File",
            },
            "HyperParameters": hyperparameters | {each.setting: _join(_value(each)) for each in self.parameters},
            "RoleArn": settings.role,
            "Environment": environment(settings),
            "InputDataConfig": [
                {
                    "ChannelName": "project",
                    "DataSource": {
                        "S3DataSource": {
                            "S3DataType": "S3Prefix",
                            "S3Uri": self.code,
                            "S3DataDistributionType": "FullyReplicated",
                        }
                    },
                }
            ],
            "OutputDataConfig": {"S3OutputPath": _join(prefix, EXECUTION, "/model"), **key},
            "ResourceConfig": self._machine("Training", training, {"Get": "Parameters.TrainingInstanceCount"}),
            "StoppingCondition": stopping,
            "EnableManagedSpotTraining": training.spot,
        }
        if training.checkpoints:
            place = {"S3Uri": _join(prefix, EXECUTION, "/checkpoints"), "LocalPath": "/opt/ml/checkpoints"}
            arguments["CheckpointConfig"] = place
        if settings.network:
            arguments["VpcConfig"] = vpc(settings)
        if settings.debugger_rules:
            arguments["DebugHookConfig"] = {"S3OutputPath": _join(prefix, EXECUTION, "/debugger")}
            arguments["DebugRuleConfigurations"] = [
                {
                    "RuleConfigurationName": rule.name,
                    "RuleEvaluatorImage": rule.image,
                    "RuleParameters": rule.parameters,
                    **({"InstanceType": rule.instance_type} if rule.instance_type else {}),
                    **({"VolumeSizeInGB": rule.volume_gb} if rule.volume_gb else {}),
                }
                for rule in settings.debugger_rules
            ]
        return arguments

    def _machine(self, kind: str, machine: Machine, count: Json | int) -> Json:
        return {
            "InstanceType": {"Get": f"Parameters.{kind}InstanceType"},
            "InstanceCount": count,
            "VolumeSizeInGB": machine.volume_gb,
            **({"VolumeKmsKeyId": self.settings.kms_key} if self.settings.kms_key else {}),
        }


def _decide(register: Json, package: Json, refuse: Json) -> Json:
    _, file = PROPERTY_FILES["gate"]
    outcome = {"Std:JsonGet": {"PropertyFile": {"Get": f"Steps.gate.PropertyFiles.{file}"}, "Path": "outcome"}}
    return {
        "Name": "decide",
        "Type": "Condition",
        "DependsOn": ["gate"],
        "Arguments": {
            "Conditions": [{"Type": "Equals", "LeftValue": outcome, "RightValue": "passed"}],
            "IfSteps": [register, package],
            "ElseSteps": [refuse],
        },
    }


def _package(project: Project, profile: Profile) -> Json:
    """The model in SageMaker's own registry; `register` has put it into MLflow's."""
    settings = settings_of(profile)
    output, _ = PROPERTY_FILES["evaluate"]
    evaluation = _join(_output("evaluate", output), f"/{output}.json")
    return {
        "Name": "package",
        "Type": "RegisterModel",
        "DependsOn": ["register"],
        "Arguments": {
            "ModelPackageGroupName": group_of(project, settings),
            "ModelPackageDescription": _join(described(project, ""), EXECUTION),
            "ModelApprovalStatus": {"Get": "Parameters.ModelApprovalStatus"},
            "InferenceSpecification": {
                "Containers": [
                    {
                        "Image": settings.inference_image or settings.image,
                        "ModelDataUrl": {"Get": "Steps.train.ModelArtifacts.S3ModelArtifacts"},
                    }
                ],
                "SupportedContentTypes": CONTENT_TYPES,
                "SupportedResponseMIMETypes": ["application/json", "application/jsonlines"],
                "SupportedRealtimeInferenceInstanceTypes": [{"Get": "Parameters.DeployInstanceType"}],
                **({"SupportedTransformInstanceTypes": [settings.batch.instance_type]} if settings.batch else {}),
            },
            "ModelMetrics": {
                "ModelQuality": {"Statistics": {"ContentType": "application/json", "S3Uri": evaluation}},
            },
            "CustomerMetadataProperties": {"lakewright.model": project.model, "lakewright.run": EXECUTION},
        },
    } | _retried(settings)


def _refuse(project: Project, parameters: list[Parameter]) -> Json:
    bounds = [each for each in parameters if each.setting.startswith("gate.minimum.")]
    required = [
        part for each in bounds for part in (f" {each.setting.rpartition('.')[2]} at least ", _value(each), ",")
    ]
    required += [f" {metric} at most {most:g}," for metric, most in project.gate.maximum.items()]
    required += [" not worse than the champion,"] if project.gate.champion else []
    output, _ = PROPERTY_FILES["gate"]
    why = _join(
        "the gate refused the model of ", EXECUTION, " (wanted:", *required, " on the test split); why: ",
        _output("gate", output), f"/{output}.json",
    )  # fmt: skip
    return {"Name": "refuse", "Type": "Fail", "Arguments": {"ErrorMessage": why}}


def _output(step: str, output: str) -> Json:
    return {"Get": f"Steps.{step}.ProcessingOutputConfig.Outputs['{output}'].S3Output.S3Uri"}


def _retried(settings: SageMakerSettings) -> Json:
    if not settings.retries:
        return {}
    policy = {"ExceptionType": TROUBLE, "IntervalSeconds": 30, "BackoffRate": 2.0, "MaxAttempts": settings.retries}
    return {"RetryPolicies": [policy]}


def _join(*values: Any) -> Json:
    return {"Std:Join": {"On": "", "Values": list(values)}}


def _value(parameter: Parameter) -> Json:
    return {"Get": f"Parameters.{parameter.name}"}


def _kind(value: str | int) -> str:
    return "Integer" if isinstance(value, int) else "String"


def _seconds(hours: float) -> int:
    return max(1, round(hours * 3600))
