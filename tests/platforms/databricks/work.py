"""Clusters, jobs and their runs: the calls of the strict Databricks. What a job's parts name must be in it."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any

from databricks.sdk.service import compute
from databricks.sdk.service import jobs as sdk

from platforms.databricks.strict import Refused, conforms, conforms_to_call
from platforms.databricks.workspace import Databricks, Missing

TASKS = ("python_wheel_task", "condition_task", "run_job_task", "spark_python_task")


def cluster_made(self: Databricks, body: Mapping[str, Any]) -> Any:
    conforms_to_call(body, compute.ClustersAPI.create)
    check_cluster(body)
    identity = f"cluster-{next(self.numbers)}"
    self.clusters[identity] = dict(body)
    return {"cluster_id": identity}


def cluster_edited(self: Databricks, body: Mapping[str, Any]) -> Any:
    conforms_to_call(body, compute.ClustersAPI.edit)
    check_cluster(body)
    self.clusters[body["cluster_id"]] = {name: part for name, part in body.items() if name != "cluster_id"}
    return {}


def clusters_listed(self: Databricks, query: Mapping[str, Any]) -> Any:
    return {"clusters": [{"cluster_id": identity, **each} for identity, each in self.clusters.items()]}


def check_cluster(cluster: Mapping[str, Any]) -> None:
    sizes = [name for name in ("autoscale", "num_workers", "is_single_node") if name in cluster]
    if len(sizes) != 1:
        raise Refused(f"a cluster has one of autoscale, num_workers and is_single_node, not {sizes}")
    if "is_single_node" in cluster and cluster.get("kind") != "CLASSIC_PREVIEW":
        raise Refused("is_single_node can only be used when kind = CLASSIC_PREVIEW")
    scale = cluster.get("autoscale")
    if scale and scale["min_workers"] > scale["max_workers"]:
        raise Refused("min_workers cannot be greater than max_workers")


def check_job(job: Mapping[str, Any]) -> None:
    """What a job's parts name must be in it."""
    conforms(dict(job), sdk.JobSettings)
    tasks = {task["task_key"]: task for task in job["tasks"]}
    if len(tasks) < len(job["tasks"]):
        raise Refused("two tasks have the same task_key")
    clusters = {each["job_cluster_key"] for each in job.get("job_clusters", ())}
    environments = {each["environment_key"] for each in job.get("environments", ())}
    for each in job.get("job_clusters", ()):
        check_cluster(each["new_cluster"])
    for key, task in tasks.items():
        kinds = [kind for kind in TASKS if kind in task]
        if len(kinds) != 1:
            raise Refused(f"the task {key} is {kinds or 'nothing'}")
        for need in task.get("depends_on", ()):
            if need["task_key"] not in tasks:
                raise Refused(f"{key} depends on {need['task_key']}, which is not there")
            if ("outcome" in need) != ("condition_task" in tasks[need["task_key"]]):
                raise Refused(f"{key}: an outcome is a condition's, and a condition's alone")
        if kinds[0] in ("python_wheel_task", "spark_python_task"):
            serverless = task.get("environment_key") in environments
            if serverless == (task.get("job_cluster_key") in clusters):
                raise Refused(f"{key} runs on nothing that the job has, or on two things")
            if serverless and "libraries" in task:
                raise Refused(f"{key}: libraries of serverless tasks belong into the environment")
        elif {"environment_key", "job_cluster_key", "libraries", "max_retries"} & {*task} and kinds[
            0
        ] == "condition_task":
            raise Refused(f"{key}: a condition runs on no machine")
    known = {each["name"] for each in job.get("parameters", ())}
    for name in re.findall(r"\{\{job\.parameters\.([^}]+)\}\}", json.dumps(job["tasks"])):
        if name not in known:
            raise Refused(f"the job has no parameter {name}")
    for name in re.findall(r"\{\{tasks\.([^.}]+)\.", json.dumps(job["tasks"])):
        if name not in tasks:
            raise Refused(f"the job has no task {name}")


def made(self: Databricks, body: Mapping[str, Any]) -> Any:
    check_job(body)
    number = next(self.numbers)
    self.jobs[number] = dict(body)
    return {"job_id": number}


def reset(self: Databricks, body: Mapping[str, Any]) -> Any:
    conforms_to_call(body, sdk.JobsAPI.reset)
    check_job(body["new_settings"])
    self.jobs[known_job(self, body["job_id"])] = body["new_settings"]
    return {}


def known_job(self: Databricks, number: Any) -> int:
    if int(number) not in self.jobs:
        raise Missing(f"Job {number} does not exist.")
    return int(number)


def listed(self: Databricks, query: Mapping[str, Any]) -> Any:
    found = [{"job_id": number, "settings": {"name": job["name"]}} for number, job in self.jobs.items()]
    wanted = query.get("name", "").lower()
    return {"jobs": [job for job in found if not wanted or job["settings"]["name"].lower() == wanted]}


def got(self: Databricks, query: Mapping[str, Any]) -> Any:
    number = known_job(self, query["job_id"])
    return {"job_id": number, "settings": {"format": "MULTI_TASK", "timeout_seconds": 0, **self.jobs[number]}}


def run_now(self: Databricks, body: Mapping[str, Any]) -> Any:
    conforms_to_call(body, sdk.JobsAPI.run_now)
    job = self.jobs[known_job(self, body["job_id"])]
    defaults = {each["name"]: each["default"] for each in job.get("parameters", ())}
    unknown = {*body.get("job_parameters", {})} - {*defaults}
    if unknown:
        raise Refused(f"Invalid job parameter {', '.join(unknown)}")
    number = next(self.numbers)
    values = {**defaults, **body.get("job_parameters", {})}
    tasks = [
        {**task, "run_id": next(self.numbers), "attempt_number": 0, "state": {"life_cycle_state": "BLOCKED"}}
        for task in job["tasks"]
    ]
    self.runs[number] = {
        "run_id": number,
        "job_id": body["job_id"],
        "run_name": job["name"],
        "run_page_url": f"{self.host}/jobs/{body['job_id']}/runs/{number}",
        "start_time": 1_780_000_000_000 + number,
        "state": {"life_cycle_state": "PENDING", "state_message": ""},
        "job_parameters": [{"name": name, "value": value} for name, value in values.items()],
        "job_clusters": job.get("job_clusters", []),
        "tasks": tasks,
    }
    self.start(self, self.runs[number])
    return {"run_id": number}


def run_got(self: Databricks, query: Mapping[str, Any]) -> Any:
    number = int(query["run_id"])
    if number not in self.runs:
        raise Missing(f"Run {number} does not exist.")
    run = json.loads(json.dumps(self.runs[number]))
    conforms(run, sdk.Run, "our own answer")
    return run


def runs_listed(self: Databricks, query: Mapping[str, Any]) -> Any:
    wanted = [number for number, run in self.runs.items() if str(run["job_id"]) == query["job_id"]]
    return {"runs": [run_got(self, {"run_id": number}) for number in sorted(wanted, reverse=True)]}


def run_output(self: Databricks, query: Mapping[str, Any]) -> Any:
    number = int(query["run_id"])
    task = next((task for run in self.runs.values() for task in run["tasks"] if task["run_id"] == number), None)
    if task is None:
        raise Refused(f"Run {number} has several tasks: ask for the output of one")
    failed = task["state"].get("result_state") == "FAILED"
    return {"logs": self.logs.get(number, ""), **({"error": task["state"]["state_message"]} if failed else {})}
