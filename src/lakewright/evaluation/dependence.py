"""How predictions change with one input: the mean prediction over test rows, all of which are given the same value of
the input, for one value after the other.

Partial dependence (Friedman, "Greedy function approximation: a gradient boosting machine", Annals of Statistics 29,
2001). It needs only predictions, so it is the same for every learner. Where inputs hang together, some of the rows that
it makes are such as never occur, and what the model predicts for them counts as well.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal, cast

import numpy as np

from lakewright.data.rows.kinds import TEXTS, Kind, Prediction, Row, missing, written
from lakewright.evaluation.changes import Changed, Predict
from lakewright.records import Dependence

INPUTS = 6
ROWS = 200
ROWS_OF_TEXTS = 40  # predicting texts takes longer
STEPS = 20  # values of a number or a time
CATEGORIES = 10
CLASSES = 6
DRAWN: tuple[Kind, ...] = ("number", "category", "time")


def dependences(
    predict: Predict,
    changed_of: Callable[[Sequence[Row]], Changed],
    inputs: Mapping[str, Kind],
    important: Sequence[str],
    rows: Sequence[Row],
    classes: Sequence[str],
    seed: int,
    progress: Callable[[str], None] = lambda name: None,
) -> list[Dependence]:
    """Of the first inputs in `important` that are numbers, categories or times and have two values at least.

    `changed_of` gives the same predictions as `predict` for rows in which one input has other values. `classes` are
    those whose mean probability is followed; without any, it is the mean of the predictions' `value`.
    """
    named = [name for name in important if inputs[name] in DRAWN]
    if not named or not rows:
        return []
    most = ROWS_OF_TEXTS if {*TEXTS} & {*inputs.values()} else ROWS
    chosen = np.sort(np.random.default_rng(seed).permutation(len(rows))[:most])
    some = [rows[at] for at in chosen]
    predicted = zip(some, predict(some), strict=True)
    some = [row for row, prediction in predicted if _outputs(prediction, classes) is not None]
    if not some:
        return []
    changed, curves = changed_of(some), list[Dependence]()
    for name in named:
        values = grid([row.get(name) for row in rows], inputs[name])
        if len(values) < 2:
            continue
        places = np.repeat(np.arange(len(values)), len(some))
        outputs = [_outputs(each, classes) for each in changed(name, values)(places)]
        means = np.array(outputs, np.float64).reshape(len(values), len(some), -1).mean(axis=1)
        of_class = dict(zip(classes or [""], means.T.tolist(), strict=True))
        kind = cast(Literal["number", "category", "time"], inputs[name])
        shown = [float(value) if kind == "number" else written(value) for value in values]
        curves.append(Dependence(input=name, kind=kind, values=shown, means=of_class, rows=len(some)))
        progress(name)
        if len(curves) == INPUTS:
            break
    return curves


def grid(values: Sequence[Any], kind: Kind) -> list[Any]:
    """Of a number or a time at most STEPS quantiles of the values, each one that occurs, ascending; of a category the
    CATEGORIES most frequent values, the most frequent first, of equally frequent ones the first in the alphabet."""
    known = [value for value in values if not missing(value)]
    if kind == "category":
        return [value for value, _ in sorted(Counter(known).items(), key=lambda item: (-item[1], str(item[0])))][
            :CATEGORIES
        ]
    if not known:
        return []
    ordered = sorted(known)
    places = np.ceil(np.linspace(0, 1, STEPS) * len(ordered)).astype(int)  # the inverse of the distribution function
    return list(dict.fromkeys(ordered[max(place - 1, 0)] for place in places))


def _outputs(prediction: Prediction, classes: Sequence[str]) -> list[float] | None:
    """None for a row without a prediction, and for a task that gives neither."""
    if not classes:
        return None if prediction.get("value") is None else [prediction["value"]]
    shares = prediction.get("probabilities")
    return None if shares is None else [shares[name] for name in classes]
