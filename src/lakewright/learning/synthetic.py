"""Synthetic examples of train (`prepare.balance: smote`), made of encoded rows right before a learner fits: the
features table holds the rows of the source alone.

Codes of categories, and columns that hold nothing but 0 and 1 in train (values of a category, marks of missing values,
truth values), are categories; the columns of one input are one category, so that no synthetic row has two values of
it. All other columns are numbers.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from lakewright.data.rows.keys import digests
from lakewright.data.rows.objects import Objects
from lakewright.data.rows.smote import synthetic
from lakewright.learning.learners import Examples
from lakewright.model.recipe.encoded import Encoded
from lakewright.model.recipe.ragged import Ragged

if TYPE_CHECKING:
    from lakewright.model.recipe import Column


def with_synthetic(examples: Examples, columns: tuple[Column, ...], ids: Objects, seed: int) -> Examples:
    """The examples, and after them synthetic ones that bring every class to as many as the largest has: each with the
    weight 1, the truth of its class, and a row without any value, since nobody wrote one.

    `columns` are the recipe's, and `ids` [rows] the rows' record ids, which with the seed decide all draws.
    """
    encoded, targets = examples.encoded.columns, examples.targets.values
    assert encoded is not None and isinstance(examples.rows, Objects) and isinstance(examples.truths, Objects)
    made, labels = synthetic(encoded, targets, categories_of(columns, encoded), digests(ids), seed)
    first = dict(zip(*np.unique(targets, return_index=True), strict=True))  # class → a row of it
    truth_of = {label: examples.truths[int(row)] for label, row in first.items()}
    joined = np.concatenate([targets, labels])
    return Examples(
        encoded=Encoded.of_columns(np.concatenate([encoded, made])),
        targets=Ragged(joined, np.arange(len(joined) + 1)),
        weights=np.concatenate([examples.weights, np.ones(len(made), np.float32)]),
        rows=examples.rows.followed_by([{}] * len(made)),
        truths=examples.truths.followed_by([truth_of[label] for label in labels]),
    )


def categories_of(columns: tuple[Column, ...], encoded: NDArray[np.float32]) -> list[list[int]]:
    """The places of the columns of each category; encoded [rows, columns]."""
    categories: dict[Any, list[int]] = {}
    for place, column in enumerate(columns):
        values = encoded[:, place]
        missing = np.isnan(values)
        if column.values:
            categories[place] = [place]
        elif ((values == 0) | (values == 1) | missing).all() and not missing.all():
            categories.setdefault(place if missing.any() else column.input, []).append(place)
    return [*categories.values()]


def to_add(counts: Mapping[str, int]) -> dict[str, int]:
    """Label → its synthetic rows, for those that need some; `counts` are those of train."""
    most = max(counts.values(), default=0)
    return {label: most - count for label, count in counts.items() if count < most}
