"""The leaderboard of a comparison, for the terminal."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def table(comparison: Mapping[str, Any]) -> list[dict[str, str]]:
    """One line for each run of `comparison`, the value that `lakewright.compare` returns."""
    from lakewright.evaluation.metrics import written

    name, beside = comparison["metric"], comparison["second_metric"]
    rows = []
    for number, run in enumerate(comparison["runs"], start=1):
        metric, seconds = run["metrics"][name], run["training_seconds"]
        second = run["metrics"].get(beside)
        base = [run["base_model"].rstrip("/").rpartition("/")[2]] if run["base_model"] else []
        settings = [f"{name}={value}" for name, value in run["settings"].items()]
        versions = [" ".join([version["uri"], *version["aliases"]]) for version in run["model_versions"]]
        rows.append(
            {
                "#": str(number),
                "rank": run["rank"],
                "run": run["run_id"][:8],
                "learner": " ".join([run["learner"], *base, *settings]),
                name: f"{written(name, metric['value'], 4)} "
                f"({written(name, metric['low'])}–{written(name, metric['high'])})",
                **({beside: written(beside, second["value"], 4) if second else ""} if beside else {}),
                "s/1000 rows": f"{run['seconds_per_1000_rows']:.3g}",
                "MB": f"{run['model_bytes'] / 1e6:.3g}",
                "trained in": "" if seconds is None else f"{seconds:.3g} s",
                "gate": "passed" if run["gate_passed"] else "below",
                "registered": ", ".join(versions),
            }
        )
    return rows
