"""Amazon SageMaker: a pipeline of processing and training jobs, a model package group, an endpoint.

settings    the profile's settings                     names      names and places of things
code        the project's files, in S3                 pipeline   (project, profile) → the pipeline's definition
container   the program in SageMaker's containers      endpoint   models, variants, scaling, batch transform
problems    problems before sending                    features   the features table in Feature Store
schedule    when a scoring starts by itself            sending    the part that needs boto3

feature_groups     feature tables in Feature Store     feature_records   what is put there, and what is there
feature_standing   how far a group holds its table     feature_texts     types, and values as texts
athena             SQL over what is offline            feature_runtime   requests with records

https://docs.aws.amazon.com/sagemaker/latest/dg/pipelines.html
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

from lakewright.settings.profile import TargetSettings
from lakewright.targets import Deployment, Execution, OpenWorkspace, Problem, Request
from lakewright.targets.sagemaker.settings import SageMakerSettings

if TYPE_CHECKING:
    from lakewright.pipeline import Watch
    from lakewright.pipeline.runs import Run
    from lakewright.records import Record
    from lakewright.settings.profile import Profile
    from lakewright.settings.project import Project
    from lakewright.workspace import Workspace


class SageMakerTarget:
    name = "sagemaker"
    settings: type[TargetSettings] = SageMakerSettings
    runs_single_jobs = True

    def run(
        self, project: Project, profile: Profile, workspace: OpenWorkspace, watch: Watch, rerun: str | None = None
    ) -> Run:
        from lakewright.targets.remote import run_away

        return run_away(self, project, profile, workspace, watch, rerun)

    def problems(self, project: Project, profile: Profile) -> Iterator[Problem]:
        from lakewright.targets.sagemaker.problems import problems

        return problems(project, profile)

    def deployment(self, project: Project, profile: Profile) -> Deployment:
        from lakewright.targets.sagemaker import endpoint
        from lakewright.targets.sagemaker.code import prefix, project_files
        from lakewright.targets.sagemaker.names import described_pipeline, name_of, settings_of
        from lakewright.targets.sagemaker.pipeline import definition, single_definition
        from lakewright.targets.sagemaker.schedule import schedule
        from lakewright.targets.single_jobs import single_jobs

        files = project_files(project, profile)
        code = prefix(files, project, profile)
        pipeline = definition(project, profile, code)
        pipelines = {name_of(project): pipeline}
        single = {job: single_definition(job, project, profile, code) for job in single_jobs(project, profile)}
        pipelines |= {name_of(project, job): each for job, each in single.items()}
        described = {"PipelineDescription": described_pipeline(project), "RoleArn": settings_of(profile).role}
        batch = endpoint.transform(project, profile)
        return Deployment(
            files={
                "pipeline.json": pipeline,
                **{f"{job}.json": each for job, each in single.items()},
                **({"transform.json": batch} if batch else {}),
            },
            requests=[
                endpoint.group(project, profile),
                *(
                    Request(
                        "sagemaker.create_pipeline",
                        {"PipelineName": name, "PipelineDefinition": json.dumps(each), **described},
                    )
                    for name, each in pipelines.items()
                ),
                *schedule(project, profile),
                *endpoint.endpoint(project, profile),
            ],
            uploads={f"{code}/{name}": path for name, path in files.items()},
        )

    def deploy(
        self, deployment: Deployment, project: Project, profile: Profile, workspace: OpenWorkspace
    ) -> Iterator[str]:
        from lakewright.targets.sagemaker.names import settings_of
        from lakewright.targets.sagemaker.sending import clients, send

        return send(deployment, project, profile, workspace, clients(settings_of(profile)))

    def start(
        self, project: Project, profile: Profile, values: Mapping[str, str] = {}, job: str | None = None
    ) -> Execution:
        from lakewright.targets.sagemaker.names import settings_of
        from lakewright.targets.sagemaker.sending import clients, start

        return start(project, profile, values, clients(settings_of(profile)), job)

    def executions(self, project: Project, profile: Profile, workspace: OpenWorkspace) -> list[Execution]:
        from lakewright.targets.sagemaker.names import settings_of
        from lakewright.targets.sagemaker.sending import clients, executions

        return executions(project, clients(settings_of(profile)))

    def log(self, execution: Execution, project: Project, profile: Profile, workspace: OpenWorkspace) -> Iterator[str]:
        from lakewright.targets.sagemaker.names import settings_of
        from lakewright.targets.sagemaker.sending import clients, log

        return log(execution, project, clients(settings_of(profile)))

    def note(self, stage: str, record: Record | None, workspace: Workspace) -> None:
        from lakewright.targets.sagemaker.container import note

        note(stage, record, workspace)


TARGET = SageMakerTarget()
