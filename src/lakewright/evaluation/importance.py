"""What each input is worth: how much worse the predictions of test rows get when its values are shuffled among them.

Permutation importance (Breiman 2001; Fisher, Rudin & Dominici 2019): it needs only predictions, so it is the same for
every learner. Two inputs that say the same hide each other: while one is shuffled, the other still says it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from lakewright.data.rows.kinds import TEXTS, Kind, Prediction, Row
from lakewright.evaluation.changes import Changed, Predict
from lakewright.evaluation.metrics import higher_is_better
from lakewright.evaluation.scorers import Scorer
from lakewright.records import Importance

ROWS = 1000  # at most, the same for all inputs
ROWS_OF_TEXTS = 200  # predicting texts takes longer
ROWS_OF_MANY = 200  # at least, where there are so many inputs that PREDICTIONS would be passed
PREDICTIONS = 120_000  # about, of all inputs and shuffles
SHUFFLES = 5
BESIDE: tuple[Kind, ...] = ("number", "category", "time")


def importances(
    predict: Predict,
    changed_of: Callable[[Sequence[Row]], Changed],
    scorer_of: Callable[[Sequence[Any], Sequence[Prediction], Sequence[Row]], Scorer],
    inputs: Mapping[str, Kind],
    rows: Sequence[Row],
    truths: Sequence[Any],
    seed: int,
    progress: Callable[[str], None] = lambda name: None,
) -> list[Importance]:
    """The loss of the primary metric, the most important input first; none for rows of texts alone or of one input.

    `changed_of` gives the same predictions as `predict` for rows in which one input has other values. `value` is the
    mean over SHUFFLES shuffles, `low` and `high` the least and the greatest of them.
    """
    if len(inputs) < 2 or not {*BESIDE} & {*inputs.values()} or not rows:
        return []
    draw = np.random.default_rng(seed)
    most = ROWS_OF_TEXTS if {*TEXTS} & {*inputs.values()} else ROWS
    most = min(most, max(ROWS_OF_MANY, PREDICTIONS // (SHUFFLES * len(inputs))))
    chosen = np.sort(draw.permutation(len(rows))[:most])
    some, known = [rows[at] for at in chosen], [truths[at] for at in chosen]
    whole = scorer_of(known, predict(some), some)
    best = _primary(whole)
    if np.isnan(best):
        return []
    changed = changed_of(some)
    sign = 1.0 if higher_is_better(whole.primary) else -1.0
    worth = []
    for name in inputs:
        losses, values = [], [row.get(name) for row in some]
        predicted = changed(name, values)
        for _ in range(SHUFFLES):
            order = draw.permutation(len(some))
            shuffled = [{**row, name: values[other]} for row, other in zip(some, order.tolist(), strict=True)]
            losses.append(sign * (best - _primary(scorer_of(known, predicted(order), shuffled))))
        if not np.isnan(losses).any():
            worth.append(Importance(input=name, value=float(np.mean(losses)), low=min(losses), high=max(losses)))
        progress(name)
    return sorted(worth, key=lambda each: -each.value)


def _primary(scorer: Scorer) -> float:
    return scorer.metrics(np.ones(scorer.rows))[scorer.primary]
