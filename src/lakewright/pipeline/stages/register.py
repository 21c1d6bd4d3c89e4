"""model folder → model version: a model that passed the gate, under a name, with its origin in the tags."""

from __future__ import annotations

import hashlib
import subprocess
from importlib.metadata import distributions
from pathlib import Path

import lakewright
from lakewright.errors import BelowGate
from lakewright.evaluation.metrics import meaning
from lakewright.model.folder import sample_rows
from lakewright.records import Decision, ModelVersion, Prepared, Report, Trained
from lakewright.registry.versions import register as register_version
from lakewright.registry.versions import set_alias
from lakewright.settings.project import Project
from lakewright.workspace import Workspace


def register(
    project: Project, workspace: Workspace, *, prepared: Prepared, trained: Trained, report: Report, decision: Decision
) -> ModelVersion:
    if not decision.passed:
        raise BelowGate("the gate refused this model", "read decision.json; nothing was registered")
    folder = Path(trained.model_folder)
    tags = {
        **project.register_.tags,
        "lakewright.version": lakewright.__version__,
        "lakewright.approval": project.register_.approval,
        "lakewright.table": str(prepared.table),
        **({} if prepared.unlabeled is None else {"lakewright.unlabeled": str(prepared.unlabeled)}),
        "lakewright.features": str(prepared.features),
        **({"lakewright.reads": ", ".join(map(str, prepared.reads))} if prepared.reads else {}),
        **({"lakewright.views": ", ".join(prepared.views)} if prepared.views else {}),
        "lakewright.project": project.digest,
        "lakewright.git": git_revision(project.folder),
        "lakewright.lock": lock_hash(),
        "lakewright.primary": report.primary,
        "lakewright.seconds_per_1000_rows": f"{report.seconds_per_1000_rows:.4f}",
        **{f"metric.{name}": _plain(name, metric.value) for name, metric in report.metrics.items()},
    }
    version = register_version(
        workspace.tracking,
        run_id=workspace.run_id,
        folder=folder,
        digest=trained.digest,
        name=project.model,
        alias="challenger",
        tags=tags,
        example=sample_rows(folder),
        description=project.register_.description,
    )
    if project.register_.approval == "manual":
        return version
    set_alias(workspace.tracking, version.name, "champion", version.version)
    return version.model_copy(update={"aliases": sorted({*version.aliases, "champion"})})


def git_revision(folder: Path) -> str:
    """The commit of the project file's folder, with +changes if files differ from it; "none" outside a repository."""
    command = ["git", "-C", str(folder), "describe", "--always", "--abbrev=40", "--match=", "--dirty=+changes"]
    try:
        result = subprocess.run(command, capture_output=True, text=True, timeout=10, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return "none"
    return result.stdout.strip() if result.returncode == 0 else "none"


def lock_hash() -> str:
    """sha256 over the installed packages and their versions: the same for two environments from one lock file."""
    installed = sorted({f"{dist.name.lower()}=={dist.version}" for dist in distributions()})
    return hashlib.sha256("\n".join(installed).encode()).hexdigest()


def _plain(metric: str, value: float) -> str:
    """Without commas: programs read a version's tags."""
    return f"{value:.6f}" if meaning(metric).to_one else f"{value:.7g}"
