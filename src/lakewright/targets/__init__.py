"""Where stages run. One file a target (or a room, where it is large), found through the entry points
`lakewright.targets`.

All that a target has to execute, anywhere, is `lakewright stage NAME --project project.yml --run RUN`. A target turns
(project, profile) into plain data, its Deployment: files and requests, exactly as they would be sent. Sending it is the
only part that needs the platform's SDK, and it decides nothing.
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

# Opens the profile's workspace, as it is at that moment. A target calls it where it needs the workspace and not before:
# one on a platform's disk cannot be opened on the machine that only sends the project there.
OpenWorkspace: TypeAlias = "Callable[[], Workspace]"


@dataclass(frozen=True)
class Request:
    """One call of a platform's API: "POST /api/2.2/jobs/create", "sagemaker.create_pipeline"."""

    operation: str
    body: Mapping[str, Any]


@dataclass(frozen=True)
class Deployment:
    """All that is sent, in its order: uploads, then requests; `files` is what a person reads and other tools take."""

    files: Mapping[str, Any]  # name → plain data, written as YAML or JSON by the name's end; or text, written as it is
    requests: Sequence[Request] = ()
    uploads: Mapping[str, bytes] = field(default_factory=dict)  # URI or path on the platform → content


@dataclass(frozen=True)
class Execution:
    """One time that the platform ran the stages."""

    id: str  # also the name of the run that its stages make
    status: Status
    began: str  # ISO 8601, UTC
    stages: Mapping[str, Status] = field(default_factory=dict)
    why: str = ""  # it failed, in the platform's words
    page: str = ""  # address for a browser


@dataclass(frozen=True)
class Problem:
    """What `lakewright check` found; a deployment with an error is not sent."""

    where: str  # profiles.yml:12
    cause: str
    remedy: str
    kind: Literal["error", "warning"] = "error"
    secret: bool = False  # what would be sent shows one: it is neither printed nor written


@dataclass(frozen=True)
class Deployed:
    """What a platform was sent, or would be sent."""

    files: Mapping[str, str]  # name → text: definitions and requests
    problems: Sequence[Problem] = ()
    written: Sequence[Path] = ()  # below `out`
    sent: Sequence[str] = ()  # a line for each thing made or changed; none in a dry run


class Target(Protocol):
    name: str
    settings: type[TargetSettings]

    def run(
        self, project: Project, profile: Profile, workspace: OpenWorkspace, watch: Watch, rerun: str | None = None
    ) -> Run:
        """Every stage in order, skipping what is done already; `rerun` names the first stage to do again anyway."""

    def problems(self, project: Project, profile: Profile) -> Iterator[Problem]:
        """What can be seen to be wrong before anything is sent, of this target alone (checks.py has the rest)."""

    def deployment(self, project: Project, profile: Profile) -> Deployment:
        """Raises UsageError where the target has nothing to deploy."""

    def deploy(
        self, deployment: Deployment, project: Project, profile: Profile, workspace: OpenWorkspace
    ) -> Iterator[str]:
        """Sends it; yields a line for each thing made or changed. Sent again, it changes nothing."""

    def executions(self, project: Project, profile: Profile, workspace: OpenWorkspace) -> list[Execution]:
        """The newest first."""

    def log(self, execution: Execution, project: Project, profile: Profile, workspace: OpenWorkspace) -> Iterator[str]:
        """Lines of the log so far, oldest first."""

    def note(self, stage: str, record: Record | None, workspace: Workspace) -> None:
        """Tells the platform what a stage left, on the machine that ran it: task values, property files, models."""
