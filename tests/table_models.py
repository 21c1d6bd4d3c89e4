"""Models of numbers, categories and times, each fitted on 300 rows by a learner itself; and rows for them."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from conftest import sealed_model
from lakewright import plugins
from lakewright.data.rows.kinds import Kind
from lakewright.data.rows.request import read_row
from lakewright.learning.learners import Examples, Training
from lakewright.model.predictor import Predictor
from lakewright.model.recipe import Wanted
from lakewright.model.recipe.part_of import PartOf, PartOfSettings
from lakewright.model.tasks import Task
from lakewright.model.tasks.classification import Classification
from lakewright.model.tasks.regression import Regression
from recipes import store

INPUTS: dict[str, Kind] = {
    "age": "number",
    "size": "number",
    "place": "category",
    "code": "category",
    "made": "time",
}
TASKS: dict[str, Task] = {
    "binary": Classification(("no", "yes"), inputs=INPUTS),
    "threshold": Classification(("no", "yes"), inputs=INPUTS, threshold=0.45),
    "four": Classification(("é", "a", "b", "c"), inputs=INPUTS),
    "ordinal": Classification(("1", "2", "5"), ordinal=True, inputs=INPUTS),
    "number": Regression(INPUTS, distance=0.75),
    "number without interval": Regression(INPUTS),
}
LEARNERS = {"trees": {"n_estimators": 8}, "forest": {"n_estimators": 8}, "linear": {}}
MODELS = [(learner, task) for learner in LEARNERS for task in TASKS]
BEGIN = datetime(2024, 1, 1, tzinfo=UTC)


def rows_of(count: int, seed: int = 0) -> pa.Table:
    """With missing values in every column, and about one row in 30 without any."""
    draw = np.random.default_rng(seed)
    minutes = draw.integers(0, 10**6, count).tolist()
    columns = {
        "age": pa.array(draw.normal(40, 20, count)),
        "size": pa.array(draw.integers(-5, 100, count)),
        "place": pa.array(draw.choice(["north", "south", "é", "", "1"], count)),
        "code": pa.array(draw.integers(0, 6, count)),
        "made": pa.array([BEGIN + timedelta(minutes=each) for each in minutes], pa.timestamp("us", "UTC")),
    }
    nothing = draw.random(count) < 1 / 30
    masks = {name: pa.array(nothing | (draw.random(count) < 0.1)) for name in columns}
    return pa.table({name: pa.compute.if_else(masks[name], None, each) for name, each in columns.items()})


def model(learner: str, task: Task, folder: Path) -> Predictor:
    """Fitted on 300 rows by the learner itself."""
    own = plugins.LEARNERS.find(learner)
    table = rows_of(300)
    rows = [read_row(INPUTS, row, at) for at, row in enumerate(table.to_pylist())]
    values: Mapping[str, Any] = {name: [row[name] for row in rows] for name in INPUTS}
    part_of, _ = PartOf.fit([values], {"made": "time"}, PartOfSettings(), Wanted("row"))
    values = {**values, **part_of.apply(values)}
    kinds: dict[str, Kind] = {**INPUTS, **PartOf.makes({"made": "time"}, PartOfSettings())}
    kinds.pop("made")
    steps: list[Any] = [part_of]
    for name in dict.fromkeys(own.reads[kind] for kind in kinds.values()):
        step = plugins.STEPS.find(name)
        read = {each: kind for each, kind in kinds.items() if own.reads[kind] == name}
        steps.append(step.fit([values], read, step.settings(step=name), Wanted("row"))[0])
    recipe = store(folder, *steps)
    encoded = recipe.encode(rows)
    draw = np.random.default_rng(1)
    score = [(row["age"] or 0) + 10 * len(row["place"] or "") + draw.normal() for row in rows]
    classes = np.digitize(score, np.quantile(score, np.linspace(0, 1, len(task.labels) + 1)[1:-1]))
    truths = [task.labels[each] for each in classes] if task.labels else score
    examples = Examples(encoded, task.targets(truths, encoded, rows), np.ones(len(rows), np.float32), rows, truths)
    settings = own.settings(learner=learner, **LEARNERS[learner])
    own.fit(Training(task, settings, recipe, examples, examples, folder, folder, folder, "cpu", 1))
    sealed_model(folder, learner, task.describe(), learner, recipe.sample_rows(task.sample_rows()))
    return Predictor.open(folder, threads=1)
