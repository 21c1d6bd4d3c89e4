"""Azure Machine Learning: a pipeline job of the stages, the endpoints that serve, and their resources.

settings.py   the profile's settings        pipeline.py   the job, its components, its environments
resources.py  clusters, data                endpoint.py   online and batch endpoints
problems.py   problems before sending       sending.py    by azure-ai-ml, from the files
score.py      the program of an endpoint    tracked.py    a step's metrics in the workspace's MLflow
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, cast

from lakewright.targets.azureml.settings import AzureMLSettings

if TYPE_CHECKING:
    from lakewright.pipeline import Watch
    from lakewright.pipeline.runs import Run
    from lakewright.records import Record
    from lakewright.settings.profile import Profile, TargetSettings
    from lakewright.settings.project import Project
    from lakewright.targets import Deployment, Execution, OpenWorkspace, Problem
    from lakewright.workspace import Workspace


class AzureMLTarget:
    name = "azureml"
    settings: type[TargetSettings] = AzureMLSettings
    runs_single_jobs = True

    def run(
        self, project: Project, profile: Profile, workspace: OpenWorkspace, watch: Watch, rerun: str | None = None
    ) -> Run:
        from lakewright.targets.remote import run_away

        return run_away(self, project, profile, workspace, watch, rerun)

    def problems(self, project: Project, profile: Profile) -> Iterator[Problem]:
        from lakewright.targets.azureml.problems import problems

        yield from problems(project, profile, _of(profile))

    def deployment(self, project: Project, profile: Profile) -> Deployment:
        from lakewright.targets import Deployment
        from lakewright.targets.azureml import endpoint, pipeline, resources

        settings = _of(profile)
        files = {
            **resources.files(project, settings),
            **pipeline.environments(settings),
            **pipeline.files(project, profile, settings),
            **endpoint.files(project, settings),
        }
        return Deployment(files, resources.requests(settings))

    def deploy(
        self, deployment: Deployment, project: Project, profile: Profile, workspace: OpenWorkspace
    ) -> Iterator[str]:
        from lakewright.targets.azureml import sending

        settings = _of(profile)
        client = sending.connect(settings)
        with sending.answered(settings):
            yield from sending.send(client, deployment, project, workspace, settings)

    def start(
        self, project: Project, profile: Profile, values: Mapping[str, str] = {}, job: str | None = None
    ) -> Execution:
        from lakewright.targets.azureml import pipeline, sending

        settings = _of(profile)
        files = pipeline.files(project, profile, settings)
        files["pipeline.yml"]["inputs"] = pipeline.quoted(project, settings, values)
        client = sending.connect(settings)
        with sending.answered(settings):
            return sending.start(client, files, "pipeline.yml" if job is None else f"{job}.yml")

    def executions(self, project: Project, profile: Profile, workspace: OpenWorkspace) -> list[Execution]:
        from lakewright.targets.azureml import sending

        settings = _of(profile)
        client = sending.connect(settings)
        with sending.answered(settings):
            return sending.executions(client, project)

    def log(self, execution: Execution, project: Project, profile: Profile, workspace: OpenWorkspace) -> Iterator[str]:
        from lakewright.targets.azureml import sending

        settings = _of(profile)
        client = sending.connect(settings)
        with sending.answered(settings):
            yield from sending.log(client, execution)

    def note(self, stage: str, record: Record | None, workspace: Workspace) -> None:
        from lakewright.targets.azureml.tracked import outcome, track

        print(f"{stage}: {outcome(stage, record)}")
        if _of(workspace.profile).track:
            track(stage, record)


def _of(profile: Profile) -> AzureMLSettings:
    return cast(AzureMLSettings, profile.target)


TARGET = AzureMLTarget()
