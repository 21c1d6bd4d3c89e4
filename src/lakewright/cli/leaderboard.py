"""The leaderboard of a comparison, for the terminal."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def table(comparison: Mapping[str, Any]) -> list[dict[str, str]]:
    """One line for each run of `comparison`, the value that `lakewright.compare` returns."""
    rows = []
    for number, run in enumerate(comparison["runs"], start=1):
        metric, seconds = run["metrics"][comparison["metric"]], run["training_seconds"]
        second = run["metrics"].get(comparison["second_metric"])
        base = [run["base_model"].rstrip("/").rpartition("/")[2]] if run["base_model"] else []
        settings = [f"{name}={value}" for name, value in run["settings"].items()]
        versions = [" ".join([version["uri"], *version["aliases"]]) for version in run["model_versions"]]
        rows.append(
            {
                "#": str(number),
                "rank": run["rank"],
                "run": run["run_id"][:8],
                "learner": " ".join([run["learner"], *base, *settings]),
                comparison["metric"]: f"{metric['value']:.4f} ({metric['low']:.3f}–{metric['high']:.3f})",
                **(
                    {comparison["second_metric"]: f"{second['value']:.4f}" if second else ""}
                    if comparison["second_metric"]
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
