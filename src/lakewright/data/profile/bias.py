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
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
from pydantic import Field

from lakewright.data.profile.facets import Facet, findings_of_facet, read_facets, read_values
from lakewright.data.profile.labels import Labels, Mask, binned
from lakewright.data.rows.quality import counted
from lakewright.records import Finding, Record, TableVersion

if TYPE_CHECKING:
    from lakewright.data.lake.tables import Lake

MOST_LABELS = 50  # with a stored difference in proportions

Shares = npt.NDArray[np.float64]


class ConditionalDisparity(Record):
    value: float | None  # None: no group has rows with the label and rows without it
    groups: int  # that have both …
    rows: int  # … and their rows


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
    conditional: dict[str, ConditionalDisparity] = Field(
        default={}, description="label → CDDL, with a group column, in the order of `proportions`"
    )
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


def conditional_disparity(counts: npt.NDArray[np.integer]) -> tuple[Shares, Mask]:
    """CDD = Σ_i n_i DD_i / Σ_i n_i over groups i with DD_i = n_d,i(0) / n_i(0) - n_d,i(1) / n_i(1), -1 to 1: the
    facet's share of the rows without the label less its share of those with it; above 0 the label is rarer in the
    facet. (Wachter, Mittelstadt & Russell, "Why fairness cannot be automated", 2021: what is left of a difference when
    like is compared with like; Simpson's paradox.)

    `counts` [..., groups, 2: rest and facet, 2: without and with the label]. A group that lacks one of the two has no
    DD_i and is left out, [..., groups]: whether it counts; NaN if none does. (Clarify's library takes 0 for the share
    that the group lacks.)
    """
    without, having = np.moveaxis(counts.sum(axis=-2), -1, 0)  # [..., groups]
    both = (without > 0) & (having > 0)
    rows = np.where(both, without + having, 0)
    with np.errstate(invalid="ignore"):
        disparities = np.where(both, counts[..., 1, 0] / without - counts[..., 1, 1] / having, 0.0)
        return (rows * disparities).sum(axis=-1) / rows.sum(axis=-1), both


def facet_bias(
    labels: Labels, facet: Mask, column: str, value: str, group: npt.NDArray[np.int64] | None = None
) -> FacetBias | None:
    """The rows of `facet`, (rows,), against the other rows; rows whose label is unknown are left out. `group`: the
    number of each row's group, (rows,), -1 without one.

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
        note = "several labels a row are not one distribution: only CI, DPL and CDDL are defined"
    conditional = {} if group is None else _conditional(labels, facet, group, [name for name, _ in largest])
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
        conditional=conditional,
        note=note,
    )


def measure_bias(
    lake: Lake, table: TableVersion, facets: Sequence[str], labels: Labels, group: str | None = None
) -> tuple[list[FacetBias], list[Finding]]:
    """The bias of the values that `facets` name (`data/profile/facets.py`), and what makes it hard to read. `group` is
    a column: CDDL compares the rows of each of its values among themselves.

    Rows without a value in a facet's column are left out. Raises NotFound for an unknown column or value, DataError for
    a threshold of no numbers.
    """
    read, by_group = read_facets(lake, table, facets), None if group is None else read_values(lake, table, group)
    measures: list[FacetBias] = []
    findings = [] if by_group is None else [*groupless(by_group, labels.known)]
    for facet in read:
        with_value = replace(labels, known=labels.known & (facet.codes >= 0))
        compared = [
            facet_bias(
                with_value,
                facet.codes == place,
                facet.column,
                facet.names[place],
                None if by_group is None else by_group.codes,
            )
            for place in facet.compared(labels.known)
        ]
        measures += [one for one in compared if one is not None]
        findings += findings_of_facet(facet, labels.known, "labelled row")
        if not any(compared):
            findings.append(nothing_to_compare(facet))
    return measures, findings


def groupless(group: Facet, rows: Mask) -> list[Finding]:
    """The rows that conditional disparity leaves out because they have no group."""
    without = int((rows & (group.codes < 0)).sum())
    detail = (
        f"{counted(without, 'row')} without a value in {group.column!r}, left out of conditional disparity: correct "
    )
    detail += "them at the source, or give them a group of their own (coalesce(column, 'unknown') in SQL)."
    return [Finding(name="no_group_value", count=without, detail=detail)] if without else []


def nothing_to_compare(facet: Facet) -> Finding:
    detail = f"{facet.column!r}: no value has both rows of its own and other rows to compare with: name another value."
    return Finding(name="no_comparison", count=0, detail=detail)


def _conditional(
    labels: Labels, facet: Mask, group: npt.NDArray[np.int64], names: Sequence[str]
) -> dict[str, ConditionalDisparity]:
    rows = labels.known & (group >= 0)
    groups = int(group.max(initial=-1)) + 1
    cell = group * 2 + facet  # [rows]
    every = np.bincount(cell[rows], minlength=groups * 2)
    conditional = {}
    for name in names:
        having = labels.row_of_mark[labels.label_of_mark == labels.names.index(name)]
        having = having[rows[having]]
        with_label = np.bincount(cell[having], minlength=groups * 2)
        counts = np.stack([every - with_label, with_label], axis=-1).reshape(groups, 2, 2)
        value, both = conditional_disparity(counts)
        conditional[name] = ConditionalDisparity(
            value=None if np.isnan(value) else float(value), groups=int(both.sum()), rows=int(counts[both].sum())
        )
    return conditional
