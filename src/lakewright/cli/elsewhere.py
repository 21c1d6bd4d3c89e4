"""A search whose profile's target is a platform: it is started there, and goes on by itself."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict
from typing import Literal

from lakewright.cli.show import print_json
from lakewright.errors import UsageError


def started_elsewhere(
    search: Literal["tune", "automl"],
    project: str,
    settings: Sequence[str],
    profile: str | None,
    out: str | None,
    as_json: bool,
) -> bool:
    """Whether the search was started on a platform; False: the target is this machine. Raises UsageError for `out`,
    which a job elsewhere cannot write."""
    from lakewright import automl, tune
    from lakewright.api.places import located

    _, place = located(project, settings, profile)
    if place.target.name == "local":
        return False
    if out is not None:
        raise UsageError(
            f"--out writes the best project here, and the search would run on {place.target.name}",
            f"leave it out; best.yml will be in the workspace, {place.workspace}/{search}",
        )
    start = tune.start if search == "tune" else automl.start
    execution = start(project, settings=settings, profile=profile)
    if as_json:
        print_json(json.loads(json.dumps(asdict(execution))))
        return True
    print(f"started on {place.target.name}: {search} {execution.id}{f', {execution.page}' if execution.page else ''}")
    print(f"what it finds: {place.workspace}/{search}; the same command goes on with a search that was stopped")
    return True
