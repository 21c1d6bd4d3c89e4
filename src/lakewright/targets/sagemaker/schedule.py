"""The schedule of a scoring, in Amazon EventBridge Scheduler, which starts its pipeline.

https://docs.aws.amazon.com/scheduler/latest/UserGuide/managing-targets-templated.html (StartPipelineExecution)
"""

from __future__ import annotations

from lakewright.settings.profile import Profile
from lakewright.settings.project import Project
from lakewright.targets import Request
from lakewright.targets.sagemaker.names import described_pipeline, name_of, settings_of

LONGEST = 64  # characters of a schedule's name


def schedule(project: Project, profile: Profile) -> list[Request]:
    settings = settings_of(profile)
    score = settings.score
    if score is None or score.schedule is None:
        return []
    pipeline = name_of(project, "score")  # ends in a digest: its end alone is no other's name
    # SageMaker's ARNs have a pipeline's name in small letters.
    arn = f"arn:{settings.partition}:sagemaker:{settings.region}:{settings.account}:pipeline/{pipeline.lower()}"
    body = {
        "Name": pipeline[-LONGEST:],
        "Description": described_pipeline(project),
        "ScheduleExpression": score.schedule,
        "ScheduleExpressionTimezone": score.time_zone,
        "FlexibleTimeWindow": {"Mode": "OFF"},
        "Target": {
            "Arn": arn,
            "RoleArn": score.role or settings.role,
            # AWS's defaults, which it writes into the schedule: written out, they are no change.
            "RetryPolicy": {"MaximumEventAgeInSeconds": 86_400, "MaximumRetryAttempts": 185},
        },
    }
    return [Request("scheduler.create_schedule", body)]
