"""leaderboard.html: the candidates of a search."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from lakewright.evaluation.metrics import meaning
from lakewright.system.files import write_whole

Z = 1.959964  # standard errors of a 95 % interval


def write_page(search: Mapping[str, Any], entries: Sequence[Mapping[str, Any]], path: Path) -> None:
    """`search` and `entries` are those of leaderboard.json."""
    from lakewright.pages import rendered
    from lakewright.pages.parts import drawing
    from lakewright.pages.pictures.of_models import metric_by_seconds

    metric = search["metric"]
    complete = [each for each in entries if each["loss"] is not None]
    picture = drawing(
        metric_by_seconds(
            metric,
            [each["number"] for each in complete],
            [each["seconds"] for each in complete],
            [each["metrics"].get(metric, float("nan")) for each in complete],
            [Z * (each["error"] or 0.0) for each in complete],
            [each["tied"] for each in complete],
        ),
        f"{metric} of each candidate by the seconds that its folds took",
    )
    beside = next((name for name in ("log_loss", "mae") if complete and name in complete[0]["metrics"]), "")
    page = rendered(
        "leaderboard.html.j2",
        __name__,
        search=search,
        entries=entries,
        complete=complete,
        meaning=meaning(metric),
        beside=beside if beside != metric else "",
        picture=picture.svg,
        z=Z,
    )
    write_whole(path, page)
