"""Where stages run. Each target is one file, or a folder if it is large, found through the entry points
`lakewright.targets`.

A target only has to execute `lakewright stage NAME --project project.yml --run RUN`, anywhere. It turns (project,
profile) into plain data, its Deployment: files and requests, exactly as they are sent. Only the sending needs the
platform's SDK, and it decides nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal, Protocol, TypeAlias

if TYPE_CHECKING:
    from pathlib import Path

    from lakewright.pipeline import Watch
    from lakewright.pipeline.runs import Run
    from lakewright.records import Record
    from lakewright.settings.profile import Profile, TargetSettings
    from lakewright.settings.project import Project
    from lakewright.workspace import Workspace

Status = Literal["waiting", "running", "done", "skipped", "failed", "stopped"]

# Opens the profile's workspace in its present state. A target calls it when it needs the workspace and not before: a
# workspace on a platform's disk cannot be opened on the machine that only sends the project.
OpenWorkspace: TypeAlias = "Callable[[], Workspace]"


@dataclass(frozen=True)
class Request:
    """One call of a platform's API: "POST /api/2.2/jobs/create", "sagemaker.create_pipeline"."""

    operation: str
    body: Mapping[str, Any]


@dataclass(frozen=True)
class Deployment:
    """Everything that is sent, in order: uploads, then requests; `files` are for people and for other tools."""

    files: Mapping[
        str, Any
    ]  # name → plain data, written as YAML or JSON by the name's ending; or text, written unchanged
    requests: Sequence[Request] = ()
    uploads: Mapping[str, bytes] = field(default_factory=dict)  # URI or path on the platform → content


@dataclass(frozen=True)
class Execution:
    """One execution of the stages on the platform."""

    id: str  # also the name of its run
    status: Status
    began: str  # ISO 8601, UTC
    stages: Mapping[str, Status] = field(default_factory=dict)
    why: str = ""  # the platform's reason for a failure
    page: str = ""  # address for a browser


@dataclass(frozen=True)
class Problem:
    """A finding of `lakewright check`; a deployment with an error is not sent."""

    where: str  # profiles.yml:12
    cause: str
    remedy: str
    kind: Literal["error", "warning"] = "error"
    secret: bool = False  # the files show a secret: they are neither printed nor written


@dataclass(frozen=True)
class Deployed:
    """The files and requests that were sent, or would be sent in a dry run."""

    files: Mapping[str, str]  # name → text: definitions and requests
    problems: Sequence[Problem] = ()
    written: Sequence[Path] = ()  # below `out`
    sent: Sequence[str] = ()  # one line for each thing that was made or changed; none in a dry run


class Target(Protocol):
    name: str
    settings: type[TargetSettings]

    def run(
        self, project: Project, profile: Profile, workspace: OpenWorkspace, watch: Watch, rerun: str | None = None
    ) -> Run:
        """Runs every stage in order, and skips finished ones; `rerun` names the first stage that runs again."""

    def problems(self, project: Project, profile: Profile) -> Iterator[Problem]:
        """The problems of this target that show before anything is sent (checks.py has those of all targets)."""

    def deployment(self, project: Project, profile: Profile) -> Deployment:
        """The files and requests. Raises UsageError if the target has nothing to deploy."""

    def deploy(
        self, deployment: Deployment, project: Project, profile: Profile, workspace: OpenWorkspace
    ) -> Iterator[str]:
        """Sends it; yields one line for each thing that is made or changed. A second deploy changes nothing."""

    def executions(self, project: Project, profile: Profile, workspace: OpenWorkspace) -> list[Execution]:
        """The executions, the newest first."""

    def log(self, execution: Execution, project: Project, profile: Profile, workspace: OpenWorkspace) -> Iterator[str]:
        """Lines of the log so far, oldest first."""

    def note(self, stage: str, record: Record | None, workspace: Workspace) -> None:
        """Passes a stage's results to the platform, on the machine that ran it: task values, property files, models."""
