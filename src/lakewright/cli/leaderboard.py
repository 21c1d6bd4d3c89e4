"""The leaderboard of a comparison, as a terminal shows it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def table(found: Mapping[str, Any]) -> list[dict[str, str]]:
    """The leaderboard of what `compare` returned, a line a run, as a terminal shows it."""
    rows = []
    for number, run in enumerate(found["runs"], start=1):
        metric, seconds = run["metrics"][found["metric"]], run["training_seconds"]
        second = run["metrics"].get(found["second_metric"])
        base = [run["base_model"].rstrip("/").rpartition("/")[2]] if run["base_model"] else []
        settings = [f"{name}={value}" for name, value in run["settings"].items()]
        versions = [" ".join([version["uri"], *version["aliases"]]) for version in run["model_versions"]]
        rows.append(
            {
                "#": str(number),
                "rank": run["rank"],
                "run": run["run_id"][:8],
                "learner": " ".join([run["learner"], *base, *settings]),
                found["metric"]: f"{metric['value']:.4f} ({metric['low']:.3f}–{metric['high']:.3f})",
                **(
                    {found["second_metric"]: f"{second['value']:.4f}" if second else ""}
                    if found["second_metric"]
                    else {}
                ),
                "s/1000 rows": f"{run['seconds_per_1000_rows']:.3g}",
                "MB": f"{run['model_bytes'] / 1e6:.3g}",
                "trained in": "" if seconds is None else f"{seconds:.3g} s",
                "gate": "passed" if run["gate_passed"] else "below",
                "registered": ", ".join(versions),
            }
        )
    return rows
