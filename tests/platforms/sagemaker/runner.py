"""Executes an emitted pipeline definition on this machine, as SageMaker would: each step in a fresh /opt/ml of its own,
inputs from and outputs to S3 (moto's), containers as processes of the environment that has the wheel. The instances of
a job are processes at the same time, with addresses of this machine's loopback as their names.

Nothing here comes from Lakewright: it knows the format's documentation and botocore's model of the API, and what a
definition refers to has to be there.
"""

from __future__ import annotations

import json
import os
import re
import shlex
import subprocess
import tarfile
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import boto3
import botocore.session
import psutil
from botocore.validate import ParamValidator

Json = dict[str, Any]
TYPES: dict[str, Any] = {"String": str, "Integer": int, "Float": float, "Boolean": bool}
COMPARED = {"Equals": lambda one, other: one == other, "GreaterThanOrEqualTo": lambda one, other: one >= other}
JOBS = {"Processing": "CreateProcessingJob", "Training": "CreateTrainingJob", "RegisterModel": "CreateModelPackage"}


@dataclass
class Outcome:
    """How the execution ended."""

    id: str
    status: str = "Succeeded"
    steps: dict[str, str] = field(default_factory=dict)  # step → Succeeded or Failed, in the order they ran
    message: str = ""  # of a Fail step, or what the failed container left of it in /opt/ml/output
    properties: dict[str, Json] = field(default_factory=dict)  # step → what other steps may Get


class Refused(Exception):
    """The definition, or a step's request, is not what the API takes."""


def refusals(service: str, operation: str, request: Mapping[str, Any]) -> str:
    """What botocore's model of the service has against a request; empty: nothing.

    Beyond what botocore checks (names, types, what is required, least lengths): enums, patterns, greatest lengths.
    """
    model = botocore.session.get_session().get_service_model(service).operation_model(operation)
    return against(model.input_shape, request, operation)


def against(shape: Any, value: Mapping[str, Any], at: str) -> str:
    """What a shape of botocore's has against a request or an answer."""
    found = ParamValidator().validate(dict(value), shape)
    return "\n".join([found.generate_report(), *_strict(value, shape, at)]).strip()


def _strict(value: Any, shape: Any, at: str) -> Iterator[str]:
    if shape.type_name == "structure":
        for name, inner in value.items():
            if name in shape.members:
                yield from _strict(inner, shape.members[name], f"{at}.{name}")
    elif shape.type_name == "list":
        if len(value) > shape.metadata.get("max", len(value)):
            yield f"{at}: {len(value)} items"
        for number, inner in enumerate(value):
            yield from _strict(inner, shape.member, f"{at}[{number}]")
    elif shape.type_name == "map":
        for name, inner in value.items():
            yield from _strict(name, shape.key, f"{at} key {name}")
            yield from _strict(inner, shape.value, f"{at}.{name}")
    elif shape.type_name == "string":
        if getattr(shape, "enum", None) and value not in shape.enum:
            yield f"{at}: {value!r} is none of {shape.enum[:5]}…"
        if len(value) > shape.metadata.get("max", len(value)):
            yield f"{at}: {len(value)} characters"
        pattern = shape.metadata.get("pattern", "")
        javas = "\\p{" in pattern or "\\uD8" in pattern  # classes and surrogates that Python's re lacks
        if pattern and not javas and not re.fullmatch(pattern, value):
            yield f"{at}: {value!r} does not match {pattern}"
    elif shape.type_name in ("integer", "long", "float", "double") and value > shape.metadata.get("max", value):
        yield f"{at}: {value} is too much"


@dataclass
class Runner:
    """`bin` is that of the environment which stands for the image, `dockerfile` the image's; `role` is what a step's
    role gives it: here moto's keys and address."""

    bin: Path
    dockerfile: Path
    folder: Path
    role: Mapping[str, str]
    net: str = "127.0.0"  # of the instances of one job

    def __post_init__(self) -> None:
        self.s3 = boto3.client("s3", region_name="us-east-1")
        self.running: list[subprocess.Popen[str]] = []
        self.sagemaker = boto3.client("sagemaker", region_name="us-east-1")

    def execute(self, definition: Json, id: str, values: Mapping[str, Any] = {}) -> Outcome:
        if definition["Version"] != "2020-12-01":
            raise Refused(definition["Version"])
        known = {each["Name"]: each for each in definition["Parameters"]}
        if len(known) < len(definition["Parameters"]) or set(values) - set(known):
            raise Refused(f"parameters: {sorted(known)}, given {sorted(values)}")
        given = {name: values.get(name, each["DefaultValue"]) for name, each in known.items()}
        for name, value in given.items():
            if type(value) is not TYPES[known[name]["Type"]]:
                raise Refused(f"the parameter {name} is {value!r}, no {known[name]['Type']}")
        outcome = Outcome(id)
        self.outcome, self.values, self.definitions = outcome, given, {}
        self._steps(definition["Steps"])
        return outcome

    def _steps(self, steps: list[Json]) -> None:
        for step in steps:
            name = step["Name"]
            if not re.fullmatch(r"[A-Za-z0-9\-_]{1,64}", name) or name in self.definitions:
                raise Refused(f"the step's name {name}")
            self.definitions[name] = step
            for before in step.get("DependsOn", ()):
                assert self.outcome.steps[before] == "Succeeded", f"{name} runs before {before}"
            try:
                getattr(self, f"_{step['Type'].lower()}")(step)
            except subprocess.CalledProcessError as failure:
                self.outcome.steps[name] = self.outcome.status = "Failed"
                told = self._opt(name) / "output" / ("failure" if step["Type"] == "Training" else "message")
                self.outcome.message = told.read_text() if told.exists() else failure.stderr
            else:
                self.outcome.steps.setdefault(name, "Succeeded")
            if self.outcome.status == "Failed":
                return

    def _request(self, step: Json) -> Json:
        """The step's arguments with every variable in place, and the job's name; refused as the API would."""
        arguments: Json = self._resolved(step["Arguments"])
        name = f"pipelines-{self.outcome.id}-{step['Name']}"[:63]
        named = {"Processing": {"ProcessingJobName": name}, "Training": {"TrainingJobName": name}}
        request = arguments | named.get(step["Type"], {})
        refused = refusals("sagemaker", JOBS[step["Type"]], request)
        if refused:
            raise Refused(f"{step['Name']}: {refused}")
        return request

    def _processing(self, step: Json) -> None:
        request, root = self._request(step), self._opt(step["Name"])
        opts = self._instances(root, request["ProcessingResources"]["ClusterConfig"]["InstanceCount"], "config")
        outputs = request.get("ProcessingOutputConfig", {}).get("Outputs", [])
        for opt in opts:
            self._json(opt / "config" / "processingjobconfig.json", request)
            for given in request["ProcessingInputs"]:
                self._fetch(given["S3Input"]["S3Uri"], self._local(opt, given["S3Input"]["LocalPath"]))
            for output in outputs:
                self._local(opt, output["S3Output"]["LocalPath"]).mkdir(parents=True)
        app = request["AppSpecification"]
        command = [*app.get("ContainerEntrypoint", self.entrypoint), *app["ContainerArguments"]]
        self._containers(step, opts, command, request.get("Environment", {}))
        for opt in opts:
            for output in outputs:
                self._send(self._local(opt, output["S3Output"]["LocalPath"]), output["S3Output"]["S3Uri"])
        named = {output["OutputName"]: output for output in outputs}
        self.outcome.properties[step["Name"]] = {**request, "ProcessingOutputConfig": {"Outputs": named}}

    def _training(self, step: Json) -> None:
        request, root = self._request(step), self._opt(step["Name"])
        opts, kept = self._instances(root, request["ResourceConfig"]["InstanceCount"]), request.get("CheckpointConfig")
        for opt in opts:
            self._json(opt / "input" / "config" / "hyperparameters.json", request["HyperParameters"])
            for channel in request["InputDataConfig"]:
                place = opt / "input" / "data" / channel["ChannelName"]
                self._fetch(channel["DataSource"]["S3DataSource"]["S3Uri"], place)
            for folder in ("model", "output"):
                (opt / folder).mkdir()
            if kept:
                self._fetch(kept["S3Uri"], self._local(opt, kept["LocalPath"]), empty=True)
        try:
            self._containers(step, opts, [*self.entrypoint, "train"], request.get("Environment", {}))
        finally:
            for opt in opts if kept else ():
                self._send(self._local(opt, kept["LocalPath"]), kept["S3Uri"])
        packed = root / "model.tar.gz"
        with tarfile.open(packed, "w:gz") as archive:
            for path in sorted(path for opt in opts for path in (opt / "model").iterdir()):
                archive.add(path, path.name)
        uri = f"{request['OutputDataConfig']['S3OutputPath']}/{request['TrainingJobName']}/output/model.tar.gz"
        self._upload(packed, uri)
        self.outcome.properties[step["Name"]] = {**request, "ModelArtifacts": {"S3ModelArtifacts": uri}}

    def _condition(self, step: Json) -> None:
        conditions = step["Arguments"]["Conditions"]
        passed = all(
            COMPARED[each["Type"]](self._resolved(each["LeftValue"]), self._resolved(each["RightValue"]))
            for each in conditions
        )
        self.outcome.steps[step["Name"]] = "Succeeded"
        self._steps(step["Arguments"]["IfSteps" if passed else "ElseSteps"])

    def _registermodel(self, step: Json) -> None:
        self.outcome.properties[step["Name"]] = self._register(self._request(step))

    def _register(self, request: Json) -> Json:
        answer: Json = self.sagemaker.create_model_package(**request)
        return answer

    def _fail(self, step: Json) -> None:
        self.outcome.steps[step["Name"]] = self.outcome.status = "Failed"
        self.outcome.message = self._resolved(step["Arguments"]["ErrorMessage"])

    @property
    def entrypoint(self) -> list[str]:
        (line,) = re.findall(r"^ENTRYPOINT (\[.*\])$", self.dockerfile.read_text(), re.MULTILINE)
        command: list[str] = json.loads(line)
        return command

    def container(self, opt: Path, command: list[str], environment: Mapping[str, str]) -> tuple[list[str], Json]:
        """The process that stands for a container: what it is started with, and all that it has in its environment."""
        cache = opt.parent / "cache"
        given = {**self.role, **environment, "SAGEMAKER_BASE_DIR": str(opt), "XDG_CACHE_HOME": str(cache)}
        path = f"{self.bin}:{os.environ['PATH']}"
        return [str(self.bin / command[0]), *command[1:]], {"PATH": path, "HOME": str(opt.parent), **given}

    def _instances(self, root: Path, count: int, config: str = "input/config") -> list[Path]:
        """The /opt/ml of each instance, with what it is told of the others."""
        opts = [root, *(root.parents[1] / f"instance {n}" / "opt" / "ml" for n in range(2, count + 1))]
        hosts = [f"{self.net}.{n + 1}" for n in range(count)] if count > 1 else ["algo-1"]
        for host, opt in zip(hosts, opts, strict=True):
            told = {"current_host": host, "hosts": hosts, "network_interface_name": "lo"}
            self._json(opt / config / "resourceconfig.json", told)
        return opts

    def _containers(self, step: Json, opts: list[Path], command: list[str], environment: Mapping[str, str]) -> None:
        """A container for each instance; where one fails, the job fails, and the others are ended."""
        with ThreadPoolExecutor(len(opts)) as pool:
            running = [pool.submit(self._container, step, opt, command, environment) for opt in opts]
            for done in as_completed(running):
                if done.exception() is not None:
                    for process in [*self.running]:
                        end(process)
            for done in running:
                done.result()

    def _container(self, step: Json, opt: Path, command: list[str], environment: Mapping[str, str]) -> None:
        command, given = self.container(opt, command, environment)
        piped = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
        process: subprocess.Popen[str] = subprocess.Popen(command, env=given, cwd=opt.parent, **piped)
        self.running.append(process)
        out, err = process.communicate()
        self.running.remove(process)
        (opt.parent / "log").write_text(f"{shlex.join(command)}\n{out}\n{err}")
        subprocess.CompletedProcess(command, process.returncode, out, err).check_returncode()

    def _opt(self, step: str) -> Path:
        """A fresh machine's /opt/ml, the first time that the step asks for it."""
        root = self.folder / self.outcome.id / step / "opt" / "ml"
        root.mkdir(parents=True, exist_ok=True)
        return root

    def _local(self, opt: Path, path: str) -> Path:
        assert path.startswith("/opt/ml/"), path
        return opt / path.removeprefix("/opt/ml/")

    def _json(self, path: Path, value: Any) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(value))

    def _fetch(self, uri: str, folder: Path, empty: bool = False) -> None:
        bucket, prefix = _place(uri)
        folder.mkdir(parents=True, exist_ok=True)
        found = self.s3.list_objects_v2(Bucket=bucket, Prefix=f"{prefix}/").get("Contents", [])
        if not found and not empty:
            raise Refused(f"there is nothing at {uri}")
        for each in found:
            path = folder / each["Key"].removeprefix(f"{prefix}/")
            path.parent.mkdir(parents=True, exist_ok=True)
            self.s3.download_file(bucket, each["Key"], str(path))

    def _send(self, folder: Path, uri: str) -> None:
        for path in folder.rglob("*"):
            if path.is_file():
                self._upload(path, f"{uri}/{path.relative_to(folder).as_posix()}")

    def _upload(self, path: Path, uri: str) -> None:
        self.s3.upload_file(str(path), *_place(uri))

    def _resolved(self, value: Any) -> Any:
        if isinstance(value, list):
            return [self._resolved(each) for each in value]
        if not isinstance(value, dict):
            return value
        if "Get" in value:
            return self._got(value["Get"])
        if "Std:Join" in value:
            join = value["Std:Join"]
            return join["On"].join(_text(self._resolved(each)) for each in join["Values"])
        if "Std:JsonGet" in value:
            return self._property(value["Std:JsonGet"])
        return {name: self._resolved(inner) for name, inner in value.items()}

    def _got(self, path: str) -> Any:
        if path == "Execution.PipelineExecutionId":
            return self.outcome.id
        kind, _, rest = path.partition(".")
        if kind == "Parameters":
            return self.values[rest]
        step, *keys = re.findall(r"[^.\[\]']+", rest)
        found: Any = self.outcome.properties[step]
        for key in keys:
            found = found[key]
        return found

    def _property(self, asked: Json) -> Any:
        match = re.fullmatch(r"Steps\.([\w-]+)\.PropertyFiles\.([\w-]+)", asked["PropertyFile"]["Get"])
        assert match, asked
        step = self.definitions[match[1]]
        (file,) = [each for each in step["PropertyFiles"] if each["PropertyFileName"] == match[2]]
        outputs = self.outcome.properties[match[1]]["ProcessingOutputConfig"]["Outputs"]
        bucket, prefix = _place(outputs[file["OutputName"]]["S3Output"]["S3Uri"])
        found = json.loads(self.s3.get_object(Bucket=bucket, Key=f"{prefix}/{file['FilePath']}")["Body"].read())
        for key in asked["Path"].split("."):
            found = found[key]
        return found


def end(process: subprocess.Popen[Any]) -> None:
    """With all that it started, as a container ends."""
    with suppress(psutil.NoSuchProcess):
        for each in [*psutil.Process(process.pid).children(recursive=True), process]:
            with suppress(psutil.NoSuchProcess):
                each.kill()


def _place(uri: str) -> tuple[str, str]:
    bucket, _, key = uri.removeprefix("s3://").partition("/")
    return bucket, key


def _text(value: Any) -> str:
    """As Java writes numbers: 8.0E-4, which is the hardest that could come back."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, float) and 0 < abs(value) < 1e-3:
        digits, _, power = f"{value:e}".partition("e")
        digits = digits.rstrip("0")
        return f"{digits}{'0' if digits.endswith('.') else ''}E{int(power)}"
    return str(value)
