"""What the page shows beyond the report's numbers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from lakewright.data.rows.kinds import Kind, Prediction, Row
from lakewright.evaluation.attribution import Attribution
from lakewright.model.recipe import Recipe
from lakewright.records import Prepared, Trained


@dataclass(frozen=True)
class ReportContext:
    """What the page tells beyond the report. All of it is optional; a section without content is left out."""

    task: str = ""
    model: str = ""
    run_id: str = ""
    created: str = ""
    texts: Sequence[str] = ()  # [rows] of the test split, in the scorer's order
    row_ids: Sequence[str] = ()  # [rows]
    rows: Sequence[Row] = ()  # [rows], their inputs by name
    inputs: Mapping[str, Kind] = field(default_factory=dict)  # what each of them is; a text where it is not said
    truths: Sequence[Any] = ()  # [rows], as the task has them
    predictions: Sequence[Prediction] = ()  # [rows]
    attributions: Sequence[Attribution] = ()
    fitted: Mapping[str, Any] = field(default_factory=dict)  # the task as it is described in the model folder
    recipe: Recipe | None = None
    fitted_steps: Sequence[Mapping[str, Any]] = ()  # its steps as the model folder describes them
    prepared: Prepared | None = None
    lookups: Sequence[Mapping[str, Any]] = ()  # of feature tables, as the model folder describes them
    trained: Trained | None = None
    history: Sequence[Mapping[str, float]] = ()  # as `pictures.learning_curve` reads it
    project_yaml: str = ""  # the resolved project
    reproduce: Sequence[str] = ()  # command lines
    software: Mapping[str, str] = field(default_factory=dict)  # name → version, git commit, machine …
