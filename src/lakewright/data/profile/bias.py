"""How a label is spread over the values of a column, before anything is learned: the measures of SageMaker Clarify.

A facet is the rows that hold one value; it is compared with the other rows. In Clarify's terms facet d is the value and
facet a the rest; P_a and P_d are the shares of the labels in each, n_a and n_d their rows.

https://docs.aws.amazon.com/sagemaker/latest/dg/clarify-measure-data-bias.html has a page for each measure. Every share
here is over all labels of both sides. Clarify's own library drops labels that one side lacks before it sums, so with
such labels its KL, JS, LP, TVD and KS are lower.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from difflib import get_close_matches
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from lakewright.data.profile.labels import Labels, binned, categories, floats
from lakewright.errors import NotFound, nearest
from lakewright.records import Record, TableVersion

if TYPE_CHECKING:
    from lakewright.data.lake.tables import Lake

MOST_VALUES = 20  # of a facet column; the rest are counted, not compared
MOST_LABELS = 50  # with a stored difference in proportions

Shares = npt.NDArray[np.float64]


class FacetBias(Record):
    """One value of a column against the rest of the rows. None: not defined for these labels; see `note`."""

    column: str
    value: str
    rows: int
    rest_rows: int
    class_imbalance: float
    proportions: dict[str, float]  # label → difference in proportions of labels, the largest first
    kullback_leibler: float | None
    jensen_shannon: float | None
    lp_norm: float | None
    total_variation: float | None
    kolmogorov_smirnov: float | None
    note: str = ""


def class_imbalance(n_a: int, n_d: int) -> float:
    """CI = (n_a - n_d) / (n_a + n_d), -1 to 1: above 0 the facet has fewer rows than the rest."""
    return (n_a - n_d) / (n_a + n_d)


def proportion_difference(positive_a: int, n_a: int, positive_d: int, n_d: int) -> float:
    """DPL = q_a - q_d with q = rows of the label / rows, -1 to 1: above 0 the label is rarer in the facet.

    Clarify takes one label as the positive one; here each label in turn is positive.
    """
    return positive_a / n_a - positive_d / n_d


def kullback_leibler(p_a: Shares, p_d: Shares) -> float:
    """KL(P_a ‖ P_d) = Σ_y P_a(y) ln(P_a(y) / P_d(y)), in nats, 0 to ∞; a label that P_a lacks adds nothing.

    Infinite if the facet lacks a label of the rest (P_d(y) = 0): nothing is smoothed.
    """
    has = p_a > 0
    if np.any(p_d[has] == 0):
        return float("inf")
    return float(np.sum(p_a[has] * np.log(p_a[has] / p_d[has])))


def jensen_shannon(p_a: Shares, p_d: Shares) -> float:
    """JS = ½ [KL(P_a ‖ P) + KL(P_d ‖ P)] with P = ½ (P_a + P_d), in nats, 0 to ln 2. (A divergence, not its root.)"""
    middle = (p_a + p_d) / 2
    return max((kullback_leibler(p_a, middle) + kullback_leibler(p_d, middle)) / 2, 0.0)


def lp_norm(p_a: Shares, p_d: Shares, p: float = 2) -> float:
    """L_p = (Σ_y |P_a(y) - P_d(y)|^p)^(1/p); 0 to √2 for p = 2."""
    return float(np.sum(np.abs(p_a - p_d) ** p) ** (1 / p))


def total_variation(p_a: Shares, p_d: Shares) -> float:
    """TVD = ½ L_1(P_a, P_d), 0 to 1: the share of one side that must change its label to equal the other."""
    return lp_norm(p_a, p_d, 1) / 2


def kolmogorov_smirnov(p_a: Shares, p_d: Shares) -> float:
    """KS = max_y |P_a(y) - P_d(y)|, 0 to 1, as Clarify defines it: over shares, not cumulative shares."""
    return float(np.max(np.abs(p_a - p_d)))


def facet_bias(labels: Labels, facet: npt.NDArray[np.bool_], column: str, value: str) -> FacetBias | None:
    """The rows of `facet`, (rows,), against the other rows; rows whose label is unknown are left out.

    A numeric label becomes two classes at its median (Clarify needs a threshold). Several labels a row are not one
    distribution: each label has its difference in proportions, the distances are None. None if one side is empty.
    """
    note = ""
    if labels.kind == "number":
        labels, middle = binned(labels)
        note = f"the label is whether the number is above its median, {middle:g}"
    rest, inside = labels.known & ~facet, labels.known & facet
    n_a, n_d = int(rest.sum()), int(inside.sum())
    if not n_a or not n_d:
        return None
    count_a, count_d = labels.counts(rest), labels.counts(inside)
    differences = {
        labels.names[label]: proportion_difference(int(count_a[label]), n_a, int(count_d[label]), n_d)
        for label in np.flatnonzero(count_a + count_d).tolist()
    }
    largest = sorted(differences.items(), key=lambda item: -abs(item[1]))[:MOST_LABELS]
    kl = js = lp = tvd = ks = None
    if labels.kind == "class":
        p_a, p_d = count_a / n_a, count_d / n_d
        divergence = kullback_leibler(p_a, p_d)
        kl = divergence if np.isfinite(divergence) else None
        if kl is None:
            missing_labels = [labels.names[label] for label in np.flatnonzero((count_a > 0) & (count_d == 0)).tolist()]
            note = f"KL is infinite: no row here has the label {', '.join(map(repr, missing_labels[:3]))}" + (
                f" (and {len(missing_labels) - 3} more)" if len(missing_labels) > 3 else ""
            )
        js, lp = jensen_shannon(p_a, p_d), lp_norm(p_a, p_d)
        tvd, ks = total_variation(p_a, p_d), kolmogorov_smirnov(p_a, p_d)
    else:
        note = "several labels a row are not one distribution: only CI and DPL are defined"
    return FacetBias(
        column=column,
        value=value,
        rows=n_d,
        rest_rows=n_a,
        class_imbalance=class_imbalance(n_a, n_d),
        proportions=dict(largest),
        kullback_leibler=kl,
        jensen_shannon=js,
        lp_norm=lp,
        total_variation=tvd,
        kolmogorov_smirnov=ks,
        note=note,
    )


def measure_bias(
    lake: Lake, table: TableVersion, facets: Sequence[str], labels: Labels
) -> tuple[list[FacetBias], list[str]]:
    """The bias of every value of the columns in `facets`, or of one value for column=value; and notes on omissions.

    A column of many numbers is cut at its quartiles. Rows without a value in the column are left out. Raises
    NotFound for an unknown column or value.
    """
    measures: list[FacetBias] = []
    notes: list[str] = []
    for each in dict.fromkeys(facets):
        column, value = _facet(each, lake.scan(table).schema.names)
        codes, names = _values(lake, table, column)
        if value is not None and value not in names:
            raise NotFound(
                f"column {column!r} has no value {value!r}",
                nearest(value, names if len(names) <= 50 else get_close_matches(value, names, 5)),
            )
        with_value = replace(labels, known=labels.known & (codes >= 0))
        counts = np.bincount(codes[with_value.known], minlength=len(names))
        chosen = [names.index(value)] if value is not None else np.argsort(-counts, kind="stable").tolist()
        compared = [facet_bias(with_value, codes == place, column, names[place]) for place in chosen[:MOST_VALUES]]
        measures += [one for one in compared if one is not None]
        if len(chosen) > MOST_VALUES:
            notes.append(
                f"{column!r} has {len(chosen):,} values: bias is measured for the {MOST_VALUES} most frequent."
            )
        if not any(compared):
            notes.append(f"{column!r}: no value has both labelled rows and other labelled rows to compare with.")
        without = int((labels.known & (codes < 0)).sum())
        if without:
            notes.append(
                f"{column!r}: {without:,} labelled rows have no value in it and are left out of the bias measures."
            )
    return measures, notes


def _facet(facet: str, columns: Sequence[str]) -> tuple[str, str | None]:
    if facet in columns:
        return facet, None
    ends = [place for place, letter in enumerate(facet) if letter == "=" and facet[:place] in columns]
    if not ends:
        column = facet.partition("=")[0]
        raise NotFound(f"there is no column {column!r} to measure bias by", nearest(column, columns))
    return facet[: ends[0]], facet[ends[0] + 1 :]


def _values(lake: Lake, table: TableVersion, column: str) -> tuple[npt.NDArray[np.int64], tuple[str, ...]]:
    """The index of each row's value in the values, -1 without one; and the values."""
    import pyarrow as pa

    codes, names = categories(lake, table, column)
    kind = lake.scan(table, [column]).schema.field(0).type
    if len(names) <= MOST_VALUES or not (pa.types.is_integer(kind) or pa.types.is_floating(kind)):
        return codes, names
    values = np.concatenate([floats(batch.column(0)) for batch in lake.scan(table, [column])])
    finite = np.isfinite(values)
    edges = np.unique(np.quantile(values[finite], [0.25, 0.5, 0.75], method="inverted_cdf"))
    place = np.where(finite, np.searchsorted(edges, values), -1)
    bounds = [f"{edge:g}" for edge in edges.tolist()]
    middle = [f"over {low} to {high}" for low, high in pairwise(bounds)]
    return place, (f"up to {bounds[0]}", *middle, f"over {bounds[-1]}")
