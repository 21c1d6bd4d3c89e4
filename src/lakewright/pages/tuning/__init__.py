"""tune.html: what a search tried, and what it found."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from lakewright.evaluation.metrics import meaning


@dataclass(frozen=True)
class TriedParameter:
    """One parameter of the search: where each trial's value lies between its ends, 0 to 1."""

    name: str
    low: str  # what stands at the ends
    high: str
    places: Mapping[int, float]  # trial → place; a trial without the parameter has none
    importance: float | None = None  # its share of the metric's variance over the space


def page(search: Mapping[str, Any], parameters: Sequence[TriedParameter]) -> str:
    """`search` is the content of trials.json. Raises ImportError without the extra `train`."""
    from markupsafe import Markup

    from lakewright.pages import rendered
    from lakewright.pages.pictures.canvas import svg
    from lakewright.pages.tuning.drawings import history, metric_by_seconds, parallel_coordinates

    metric, trials = search["metric"], search["trials"]
    measured = [trial for trial in trials if trial["metric"] is not None]
    better = 1 if meaning(metric).higher_is_better else -1
    ranked = sorted(measured, key=lambda trial: (-better * trial["metric"], trial["number"]))
    drawings = {
        "history": svg(history(measured, metric, better), f"{metric} of each trial, and the best so far"),
        "coordinates": svg(parallel_coordinates(parameters, ranked), "the settings of each trial, the best in blue")
        if parameters
        else "",
        "seconds": svg(metric_by_seconds(measured, metric, better), f"{metric} of each trial by its seconds"),
    }
    return rendered(
        "tuning.html.j2",
        __name__,
        search=search,
        meaning=meaning(metric),
        best=ranked[0],
        own=trials[0],
        ranked=[*ranked, *(trial for trial in trials if trial["metric"] is None)],
        statuses={status: sum(trial["status"] == status for trial in trials) for status in ("ok", "fail", "pruned")},
        seconds=sum(trial["seconds"] for trial in trials),
        importances=sorted(
            (each for each in parameters if each.importance is not None), key=lambda each: -(each.importance or 0)
        ),
        drawings={name: Markup(drawn) for name, drawn in drawings.items()},
    )
