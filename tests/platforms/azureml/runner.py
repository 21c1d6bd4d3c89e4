"""Runs an emitted pipeline.yml on this machine, as Azure ML runs it on its own: each step's command as it stands, after
`${{…}}` was replaced, in a fresh copy of the component's code, in the order that the edges between steps ask for.

It knows the files alone: no project, no stage, nothing of Lakewright.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass, field
from graphlib import TopologicalSorter
from pathlib import Path
from typing import Any

import yaml

REFERENCE = re.compile(r"\$\{\{([^}]+)\}\}")
TYPES = {"string": str, "integer": int, "number": (int, float), "boolean": bool}


@dataclass(frozen=True)
class Step:
    exit_code: int
    log: str
    output: Path
    """The folder that the step wrote its record into."""


@dataclass(frozen=True)
class Runner:
    folder: Path  # what `lakewright deploy --out` wrote
    environment: Path  # the bin folder that stands for the environment's image
    machines: Path  # a folder a step, where its code, its cache and its output lie
    variables: Mapping[str, str] = field(default_factory=dict)  # what the cluster sets

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
        code, output = machine / "code", machine / "output"
        output.mkdir(parents=True)
        shutil.copytree(path.parent / component["code"], code)
        values = {f"inputs.{key}": bound(value, given, steps) for key, value in node["inputs"].items()}
        check_types(component, values)
        values |= {f"outputs.{key}": str(output) for key in component["outputs"]}
        command = REFERENCE.sub(lambda found: text(values[found.group(1).strip()]), component["command"])
        done = subprocess.run(
            ["bash", "-c", command], cwd=code, env=self._environment(job_name, name, machine, node), text=True,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False,
        )  # fmt: skip
        return Step(done.returncode, done.stdout, output)

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
