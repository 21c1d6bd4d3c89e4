"""Databricks: the stages as a job's tasks, models in Unity Catalog, Model Serving. docs/targets.md has what it needs.

settings.py  the profile's settings         bundle.py    databricks.yml, and the same as requests
jobs.py      the jobs, as data              sending.py   through databricks-sdk
problems.py  problems before sending        dbutils.py   notebooks' dbutils, on any machine
approval.py  the program of deployment jobs distributor.py  train on several machines
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from lakewright.targets import Deployment, Execution, OpenWorkspace, Problem
from lakewright.targets.databricks.settings import DatabricksSettings

if TYPE_CHECKING:
    from lakewright.pipeline import Watch
    from lakewright.pipeline.runs import Run
    from lakewright.records import Record
    from lakewright.settings.profile import Profile, TargetSettings
    from lakewright.settings.project import Project
    from lakewright.workspace import Workspace


class DatabricksTarget:
    name = "databricks"
    settings: type[TargetSettings] = DatabricksSettings
    runs_single_jobs = True

    def __call__(self) -> None:
        """Runs the console script with its arguments, or starts train on several machines; a wheel task calls this by
        the entry point's name.

        The task runs inside a notebook's shell, where every SystemExit is a failure, even the code 0 with which the
        script ends.
        """
        from lakewright.targets.databricks.distributor import TOGETHER, script, train

        try:
            if sys.argv[1:2] == [TOGETHER]:
                train(int(sys.argv[2]), sys.argv[3:])
            else:
                script()()
        except SystemExit as end:
            if end.code:
                raise

    def run(
        self, project: Project, profile: Profile, workspace: OpenWorkspace, watch: Watch, rerun: str | None = None
    ) -> Run:
        from lakewright.targets.remote import run_away

        run = run_away(self, project, profile, workspace, watch, rerun)
        if run.model_version is not None:  # the endpoint serves versions: there may be a new champion
            for _ in self.deploy(self.deployment(project, profile), project, profile, workspace):
                pass
        return run

    def problems(self, project: Project, profile: Profile) -> Iterator[Problem]:
        from lakewright.targets.databricks.problems import problems

        return problems(project, profile)

    def deployment(self, project: Project, profile: Profile) -> Deployment:
        from lakewright.targets.databricks.bundle import deployment

        return deployment(project, profile)

    def deploy(
        self, deployment: Deployment, project: Project, profile: Profile, workspace: OpenWorkspace
    ) -> Iterator[str]:
        from lakewright.targets.databricks.sending import Sending, client_of

        with client_of(profile) as client:
            yield from Sending(client, deployment, project).lines()

    def start(
        self, project: Project, profile: Profile, values: Mapping[str, str] = {}, job: str | None = None
    ) -> Execution:
        from lakewright.targets.databricks.sending import client_of, deployed_job

        with client_of(profile) as client:
            started = client.jobs.run_now(deployed_job(client, project, profile, job), job_parameters=dict(values))
            return Execution(str(started.run_id), "waiting", datetime.now(UTC).isoformat())

    def executions(self, project: Project, profile: Profile, workspace: OpenWorkspace) -> list[Execution]:
        from lakewright.targets.databricks.sending import client_of, deployed_job, executions

        with client_of(profile) as client:
            return executions(client, deployed_job(client, project, profile))

    def log(self, execution: Execution, project: Project, profile: Profile, workspace: OpenWorkspace) -> Iterator[str]:
        from lakewright.targets.databricks.sending import client_of, log

        with client_of(profile) as client:
            yield from log(client, int(execution.id))

    def note(self, stage: str, record: Record | None, workspace: Workspace) -> None:
        """After the gate, writes its decision as a task value, which the job's condition reads.

        The runtime sets DATABRICKS_RUNTIME_VERSION; a stage that runs elsewhere has no job.
        """
        from lakewright.records import Decision

        if isinstance(record, Decision) and "DATABRICKS_RUNTIME_VERSION" in os.environ:
            from databricks.sdk.runtime import dbutils

            from lakewright.targets.databricks.jobs import PASSED

            dbutils.jobs.taskValues.set(key=PASSED, value="true" if record.passed else "false")


TARGET = DatabricksTarget()
