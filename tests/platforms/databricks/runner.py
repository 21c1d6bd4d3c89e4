"""Runs a job as it was sent: its graph, its conditions, its parameters; each task on a machine of its own.

A wheel task is run as Databricks does: the entry point is looked up in the installed package's metadata by its name and
called without arguments (databricks/cli, TransformWheelTask, shows it); any SystemExit is a failure. A machine has the
environment that its cluster was given, /Workspace, a runtime with dbutils (runtime/dbruntime.py), and nothing of this
process.
"""

from __future__ import annotations

import json
import re
import subprocess
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from platforms.databricks.workspace import Databricks

RUNTIME = Path(__file__).with_name("runtime")
LAUNCH = """
import sys
from importlib import metadata
package, name, *sys.argv[1:] = sys.argv[1:]
(entry,) = [each for each in metadata.distribution(package).entry_points if each.name == name]
try:
    entry.load()()
except SystemExit as end:  # in a notebook's shell it is an error like any other, whatever its code
    raise RuntimeError(f"SystemExit: {end.code}") from end
"""


@dataclass(frozen=True)
class Runner:
    """`environment` is the bin folder of the one in which the wheel is installed."""

    environment: Path
    seconds: int = 300  # of a task
    threads: list[threading.Thread] = field(default_factory=list)

    def __call__(self, workspace: Databricks, run: dict[str, Any]) -> None:
        thread = threading.Thread(target=self.execute, args=(workspace, run), daemon=True)
        self.threads.append(thread)
        thread.start()

    def wait(self) -> None:
        for thread in self.threads:
            thread.join(self.seconds * 10)
            assert not thread.is_alive(), "a run does not end"

    def execute(self, workspace: Databricks, run: dict[str, Any]) -> None:
        """A job's run succeeds where each of its last tasks did or was left out."""
        known = {
            "job.run_id": str(run["run_id"]),
            **{f"job.parameters.{each['name']}": each["value"] for each in run["job_parameters"]},
        }
        run["state"] = {"life_cycle_state": "RUNNING", "state_message": ""}
        outcomes: dict[str, str] = {}  # of conditions
        waiting = list(run["tasks"])
        while waiting:
            ended = {task["task_key"]: task["state"].get("result_state") for task in run["tasks"]}
            task = next(t for t in waiting if all(ended[need["task_key"]] for need in t.get("depends_on", ())))
            waiting.remove(task)
            result = self._result(workspace, run, task, known, ended, outcomes)
            task["state"] = {"life_cycle_state": "TERMINATED", "state_message": result[1], "result_state": result[0]}
            task["end_time"] = int(time.time() * 1000)
        needed = {need["task_key"] for task in run["tasks"] for need in task.get("depends_on", ())}
        last = [task["state"]["result_state"] for task in run["tasks"] if task["task_key"] not in needed]
        good = all(result in ("SUCCESS", "EXCLUDED") for result in last)
        run["end_time"] = int(time.time() * 1000)
        run["state"] = {
            "life_cycle_state": "TERMINATED",
            "result_state": "SUCCESS" if good else "FAILED",
            "state_message": "" if good else "Workload failed",
        }

    def _result(
        self,
        workspace: Databricks,
        run: dict[str, Any],
        task: dict[str, Any],
        known: dict[str, str],
        ended: Mapping[str, str | None],
        outcomes: dict[str, str],
    ) -> tuple[str, str]:
        for need in task.get("depends_on", ()):
            before = ended[need["task_key"]]
            if before in ("FAILED", "UPSTREAM_FAILED"):
                return "UPSTREAM_FAILED", ""
            if before == "EXCLUDED" or outcomes.get(need["task_key"]) != need.get("outcome"):
                return "EXCLUDED", ""
        task["start_time"] = int(time.time() * 1000)
        task["state"] = {"life_cycle_state": "RUNNING", "state_message": ""}
        if "condition_task" in task:
            condition = {name: filled(text, known) for name, text in task["condition_task"].items()}
            if "{{" in condition["left"]:
                return "FAILED", f"{condition['left']} was never set"
            assert condition["op"] == "EQUAL_TO", condition
            outcomes[task["task_key"]] = str(condition["left"] == condition["right"]).lower()
            return "SUCCESS", ""
        for attempt in range(task.get("max_retries", 0) + 1):
            task["attempt_number"] = attempt
            done = self._run(workspace, run, task, known)
            if done == 0:
                return "SUCCESS", ""
        return "FAILED", f"exit code {done}"

    def _run(self, workspace: Databricks, run: dict[str, Any], task: dict[str, Any], known: dict[str, str]) -> int:
        machine = workspace.folder / "machines" / f"{run['run_id']}-{task['task_key']}-{task['attempt_number']}"
        machine.mkdir(parents=True)
        values = machine / "task values"
        clusters = {each["job_cluster_key"]: each["new_cluster"] for each in run["job_clusters"]}
        given = clusters[task["job_cluster_key"]].get("spark_env_vars", {})
        self._installed(workspace, task)
        environment = {
            **{name: filled(text, secrets(workspace)) for name, text in given.items()},
            "PATH": f"{self.environment}:/usr/bin:/bin",
            "PYTHONPATH": str(RUNTIME),
            "DATABRICKS_RUNTIME_VERSION": "17.3",
            "TASK_VALUES": str(values),
            "HOME": str(machine),
            "XDG_CACHE_HOME": str(machine / "cache"),
            "HF_HUB_OFFLINE": "1",
            "MLFLOW_DISABLE_TELEMETRY": "true",
        }
        command = [mounted(filled(part, known), workspace) for part in self._command(task)]
        with (machine / "log").open("wb") as log:
            done = subprocess.run(
                command, env=environment, cwd=machine, stdout=log, stderr=log, timeout=self.seconds, check=False
            )
        workspace.logs[task["run_id"]] = (machine / "log").read_text(encoding="utf-8")
        for line in values.read_text().splitlines() if values.exists() else ():
            for key, value in json.loads(line).items():
                known[f"tasks.{task['task_key']}.values.{key}"] = value if isinstance(value, str) else json.dumps(value)
        return done.returncode

    def _command(self, task: dict[str, Any]) -> list[str]:
        python = str(self.environment / "python")
        if "spark_python_task" in task:
            return [python, task["spark_python_task"]["python_file"], *task["spark_python_task"]["parameters"]]
        wheel = task["python_wheel_task"]
        return [python, "-c", LAUNCH, wheel["package_name"], wheel["entry_point"], *wheel["parameters"]]

    def _installed(self, workspace: Databricks, task: dict[str, Any]) -> None:
        """A library's wheel was uploaded, and is the one that is installed here."""
        for library in task.get("libraries", ()):
            if "whl" in library:
                wheel = Path(mounted(library["whl"], workspace))
                assert wheel.is_file(), f"{library['whl']} was not uploaded"


def filled(text: str, known: Mapping[str, str]) -> str:
    """What is not known stays as it stands, as on Databricks."""
    return re.sub(r"\{\{([^}]+)\}\}", lambda found: known.get(found.group(1), found.group(0)), text)


def secrets(workspace: Databricks) -> dict[str, str]:
    return {f"secrets/{name}": value for name, value in workspace.secrets.items()}


def mounted(text: str, workspace: Databricks) -> str:
    return f"{workspace.folder}{text}" if text.startswith("/Workspace/") else text
