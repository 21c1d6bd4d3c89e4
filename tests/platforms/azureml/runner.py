"""Runs an emitted pipeline.yml on this machine, as Azure ML runs it on its own: each step's command as it stands, after
`${{…}}` was replaced, in a fresh copy of the component's code, in the order that the edges between steps ask for.

A step with several instances is run by each process of each, at the same time, in the environment that Azure ML makes
for `distribution: {type: pytorch}`; all have the same output folder.

It knows the files alone: no project, no stage, nothing of Lakewright.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from graphlib import TopologicalSorter
from pathlib import Path
from typing import Any

import yaml

from conftest import free_port

REFERENCE = re.compile(r"\$\{\{([^}]+)\}\}")
TYPES = {"string": str, "integer": int, "number": (int, float), "boolean": bool}


@dataclass(frozen=True)
class Step:
    exit_code: int
    log: str
    output: Path
    """The folder that the step wrote its record into."""
    logs: tuple[str, ...] = ()
    """Of each process."""


@dataclass(frozen=True)
class Runner:
    folder: Path  # what `lakewright deploy --out` wrote
    environment: Path  # the bin folder that stands for the environment's image
    machines: Path  # a folder a step, where its code, its cache and its output lie
    variables: Mapping[str, str] = field(default_factory=dict)  # what the cluster sets
    net: str = "127.0.0"  # of a step's instances

    def run(self, job_name: str, inputs: Mapping[str, Any] = {}) -> dict[str, Step]:
        """The steps that ran, in their order: after a failed one nothing does, as Azure ML has it by default."""
        job = yaml.safe_load((self.folder / "pipeline.yml").read_text())
        assert job["type"] == "pipeline"
        given = {**job["inputs"], **inputs}
        assert given.keys() == job["inputs"].keys(), "an input that the pipeline has not"
        steps: dict[str, Step] = {}
        for name in TopologicalSorter(edges(job)).static_order():
            steps[name] = self._step(job_name, name, job["jobs"][name], given, steps)
            if steps[name].exit_code != 0:
                break
        return steps

    def _step(
        self, job_name: str, name: str, node: dict[str, Any], given: Mapping[str, Any], steps: Mapping[str, Step]
    ) -> Step:
        path = self.folder / node["component"]
        component = yaml.safe_load(path.read_text())
        machine = self.machines / f"{job_name}-{name}"
        output = machine / "output"
        output.mkdir(parents=True)
        values = {f"inputs.{key}": bound(value, given, steps) for key, value in node["inputs"].items()}
        check_types(component, values)
        values |= {f"outputs.{key}": str(output) for key in component["outputs"]}
        command = REFERENCE.sub(lambda found: text(values[found.group(1).strip()]), component["command"])
        instances = component.get("resources", {}).get("instance_count", 1)
        each = component.get("distribution", {}).get("process_count_per_instance", 1)
        size, port = instances * each, str(free_port())
        with ThreadPoolExecutor(size) as pool:
            running = []
            for instance in range(instances):
                place = machine if instance == 0 else machine / f"instance {instance}"
                shutil.copytree(path.parent / component["code"], place / "code")
                for local in range(each):
                    environment = self._environment(job_name, name, place, node)
                    if size > 1:
                        # https://learn.microsoft.com/azure/machine-learning/how-to-train-distributed-gpu: no more
                        environment |= {
                            "RANK": str(instance * each + local),
                            "WORLD_SIZE": str(size),
                            "LOCAL_RANK": str(local),
                            "NODE_RANK": str(instance),
                            "MASTER_ADDR": f"{self.net}.1",
                            "MASTER_PORT": port,
                        }
                    running.append(pool.submit(shell, command, place / "code", environment))
            ended = [each.result() for each in running]
        code = max((abs(code) for code, _ in ended), default=0)
        return Step(code, "\n".join(log for _, log in ended), output, tuple(log for _, log in ended))

    def _environment(self, job_name: str, name: str, machine: Path, node: Mapping[str, Any]) -> dict[str, str]:
        kept = {key: os.environ[key] for key in ("HOME", "LANG", "TMPDIR", "HF_HUB_OFFLINE") if key in os.environ}
        return {
            **kept,
            "PATH": f"{self.environment}:/usr/bin:/bin",
            "XDG_CACHE_HOME": str(machine / "cache"),
            "AZUREML_ROOT_RUN_ID": job_name,
            "AZUREML_RUN_ID": f"{job_name}-{name}",
            "AZUREML_EXPERIMENT_NAME": "an experiment of the workspace's",
            "MLFLOW_EXPERIMENT_NAME": "an experiment of the workspace's",
            "MLFLOW_RUN_ID": f"{job_name}-{name}",
            **self.variables,
            **node.get("environment_variables", {}),
        }


def shell(command: str, folder: Path, environment: Mapping[str, str]) -> tuple[int, str]:
    """The exit code, and what it printed."""
    done = subprocess.run(
        ["bash", "-c", command], cwd=folder, env=dict(environment), text=True,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False,
    )  # fmt: skip
    return done.returncode, done.stdout


def edges(job: Mapping[str, Any]) -> dict[str, set[str]]:
    """Step → the steps whose outputs it takes."""
    found = {}
    for name, node in job["jobs"].items():
        references = [REFERENCE.fullmatch(str(value)) for value in node["inputs"].values()]
        parts = [found.group(1).split(".") for found in references if found]
        found[name] = {part[2] for part in parts if part[:2] == ["parent", "jobs"]}
    return found


def bound(value: Any, given: Mapping[str, Any], steps: Mapping[str, Step]) -> Any:
    """What an input of a step is: ${{parent.inputs.NAME}}, ${{parent.jobs.STEP.outputs.NAME}}, or the value itself."""
    found = REFERENCE.fullmatch(str(value))
    if found is None:
        return value
    match found.group(1).split("."):
        case ["parent", "inputs", name]:
            return given[name]
        case ["parent", "jobs", step, "outputs", _]:
            return steps[step].output
    raise AssertionError(f"{value} refers to nothing")


def check_types(component: Mapping[str, Any], values: Mapping[str, Any]) -> None:
    """Every input of the component, and no other, of the type that it says."""
    declared = component["inputs"]
    assert {f"inputs.{key}" for key in declared} == values.keys()
    for key, declaration in declared.items():
        value, kind = values[f"inputs.{key}"], declaration["type"]
        expected: Any = Path if kind == "uri_folder" else TYPES[kind]
        assert isinstance(value, expected) and (kind == "boolean" or not isinstance(value, bool)), (key, value)


def text(value: Any) -> str:
    """As Azure ML puts it into the command."""
    return str(value)
