"""Inputs that predict the truth alone: often they are known only after it, and a model that reads them is useless.

Of at most ROWS rows of train, one half gives each value of an input (of a number: each of BINS parts of equal size) its
most frequent class or its mean, and the other half is predicted by it. An input that avoids nearly all errors of the
guess without inputs is a finding.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from itertools import islice
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lakewright.data.rows.arrays import Array, joined
from lakewright.data.rows.coded import Coded
from lakewright.data.rows.kinds import Kind
from lakewright.data.rows.quality import EXAMPLES
from lakewright.data.rows.reading import Batch
from lakewright.records import Finding

ROWS = 50_000
BINS = 64
NEARLY_ALL = 0.97  # of the guess's errors


def check_alone(train: Iterable[Batch], inputs: Mapping[str, Kind]) -> list[Finding]:
    """The finding `predicts_alone`. Texts and times are not looked at."""
    names = [name for name, kind in inputs.items() if kind in ("number", "category")]
    if not names:
        return []
    parts: list[dict[str, Array]] = []
    truths: list[Any] = []
    for batch in train:
        truths += batch.truths
        parts.append({name: batch.values[name] for name in names})
        if len(truths) >= ROWS:
            break
    known = [row for row, truth in enumerate(islice(truths, ROWS)) if isinstance(truth, str | float | int)]
    truth = np.array([truths[row] for row in known])
    if len(known) < 2 * BINS or (truth == truth[0]).all():
        return []
    columns = joined(parts)
    telling = []
    for name in names:
        saved = _saved(_codes(columns[name][np.array(known)]), truth)
        if saved >= NEARLY_ALL:
            telling.append(f"{name}: without {saved:.0%} of the errors")
    if not telling:
        return []
    several = "s" * (len(telling) != 1)
    detail = (
        f"{len(telling)} column{several} ({', '.join(each.rpartition(':')[0] for each in telling[:EXAMPLES])}"
        f"{', …' * (len(telling) > EXAMPLES)}) that alone predict{'s' * (len(telling) == 1)} the truth: if a value is "
        "not known before the truth is, leave the column out (data.exclude)."
    )
    return [Finding(name="predicts_alone", count=len(telling), detail=detail, rows=telling)]


def _codes(values: Array) -> NDArray[np.int64]:
    """The same number for the same value, or for numbers of one part. [rows]"""
    if isinstance(values, Coded):
        return values.merged.codes
    known = values[~np.isnan(values)]
    edges = np.unique(np.quantile(known, np.linspace(0, 1, BINS + 1)[1:-1])) if len(known) else np.empty(0)
    return np.where(np.isnan(values), -1, np.searchsorted(edges, values, side="right")) + 1


def _saved(codes: NDArray[np.int64], truth: NDArray[Any]) -> float:
    """The share of the errors that the guess without inputs makes and the input avoids; below 0 if it makes more."""
    learn = np.arange(len(codes)) % 2 == 0
    if truth.dtype.kind in "fiu":
        sums = np.bincount(codes[learn], weights=truth[learn], minlength=codes.max() + 1)
        counts = np.bincount(codes[learn], minlength=codes.max() + 1)
        mean = truth[learn].mean()
        means = np.where(counts > 0, sums / np.maximum(counts, 1), mean)
        errors, guessed = (truth[~learn] - means[codes[~learn]]) ** 2, (truth[~learn] - mean) ** 2
    else:
        labels, classes = np.unique(truth, return_inverse=True)
        table = np.zeros((codes.max() + 1, len(labels)))
        np.add.at(table, (codes[learn], classes[learn]), 1)
        usual = np.bincount(classes[learn]).argmax()
        best = np.where(table.any(axis=1), table.argmax(axis=1), usual)
        errors, guessed = best[codes[~learn]] != classes[~learn], classes[~learn] != usual
    return 1 - float(errors.sum() / guessed.sum()) if guessed.sum() else 0.0
