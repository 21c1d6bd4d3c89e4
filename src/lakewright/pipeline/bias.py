"""evaluate.bias: whose predictions are compared, by which outcome, and how they differ on the test rows.

The facets' columns are read from the pinned table by the rows' numbers, so none of them need be an input. That is done
before the test split is read: a misspelt name must not cost a read of it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Self

import numpy as np

from lakewright import plugins
from lakewright.data.profile.bias import groupless, nothing_to_compare
from lakewright.data.profile.facets import Facet, column_of, findings_of_facet, read_facets, read_values
from lakewright.data.rows.kinds import Kind, Prediction
from lakewright.data.rows.quality import counted
from lakewright.errors import NotFound, ProjectError, nearest
from lakewright.evaluation.bias import MEASURES, measure_facet, one_sided
from lakewright.evaluation.fliptest import Side, by_digest, chosen, compared_inputs, fliptest
from lakewright.evaluation.scorers import Mask
from lakewright.model.tasks import Task
from lakewright.records import BiasMeasures, FacetMeasures, Finding, TableVersion
from lakewright.settings.project import Project
from lakewright.settings.sections import Bias, Evaluate

if TYPE_CHECKING:
    import pyarrow as pa

    from lakewright.data.lake.tables import Lake

PREDICTED = {"class": "label", "labels": "labels", "number": "value"}  # kind of truth → the key of a prediction


def check_bias(project: Project) -> None:
    """Raises ProjectError, before anything runs, for settings that no table makes right."""
    bias, task = project.evaluate.bias, plugins.TASKS.find(project.task.name)
    for measure, bound in project.gate.bias.items():
        if measure not in MEASURES:
            raise ProjectError(f"there is no bias measure {measure!r} (gate.bias)", nearest(measure, MEASURES))
        if bound < 0 or (measure == "DI" and bound > 1):
            bounds = "from 0 to 1, such as 0.8" if measure == "DI" else "from 0 on, such as 0.1"
            raise ProjectError(f"gate.bias.{measure} is {bound:g}, which closes the gate", f"write a number {bounds}")
        if bias is None:
            raise ProjectError("gate.bias bounds what evaluate.bias measures, which is not set", "set evaluate.bias")
        if measure == "CDDPL" and bias.group is None:
            raise ProjectError(
                "gate.bias.CDDPL is measured within groups, and none are named", "set evaluate.bias.group"
            )
    if bias is None:
        return
    if task.truth not in PREDICTED:
        raise ProjectError(
            f"evaluate.bias is of classes, labels or numbers, and {task.name} predicts {task.truth}",
            "remove evaluate.bias",
        )
    if task.truth == "number":
        _threshold(bias)
    for named in (*bias.facets, *([bias.group] if bias.group else [])):
        try:
            column, _, _ = column_of(named, project.data.exclude)
        except NotFound:
            continue
        raise ProjectError(
            f"data.exclude leaves the column {column!r} out of the table, and evaluate.bias compares its values",
            f"remove {column!r} from data.exclude; a column is no input where data.columns names the inputs and "
            "others: false",
        )


@dataclass(frozen=True)
class Outcome:
    """The better one of two outcomes: to have one of `labels`, or to be above a number."""

    key: str  # of a prediction
    labels: frozenset[str] = frozenset()
    threshold: float | None = None

    @classmethod
    def of(cls, task: Task, bias: Bias) -> Self:
        """Raises ProjectError for a label that the model does not know, and where none or all are named."""
        if task.truth == "number":
            return cls(PREDICTED[task.truth], threshold=_threshold(bias))
        positives = bias.positives
        if not positives and task.truth == "class" and len(task.labels) == 2:
            positives = [task.labels[1]]
        if not positives:
            raise ProjectError(
                f"the model has {len(task.labels)} labels, and evaluate.bias does not name the better outcome",
                f"set evaluate.bias.positive to one or several of: {', '.join(task.labels)}",
            )
        for label in positives:
            if label not in task.labels:
                raise ProjectError(f"evaluate.bias.positive names {label!r}, no label", nearest(label, task.labels))
        if task.truth == "class" and {*positives} == {*task.labels}:
            raise ProjectError(
                "evaluate.bias.positive names every label, so that all rows have the better outcome", "leave some out"
            )
        return cls(PREDICTED[task.truth], frozenset(positives))

    def among(self, values: Sequence[Any]) -> Mask:
        """[values], truths or what was predicted: whether it is this outcome."""
        if self.threshold is not None:
            return np.array(values, np.float64) > self.threshold
        if self.key == "labels":
            return np.array([not self.labels.isdisjoint(labels) for labels in values], np.bool_)
        return np.array([label in self.labels for label in values], np.bool_)

    def __str__(self) -> str:
        return f"over {self.threshold:g}" if self.threshold is not None else " or ".join(sorted(self.labels))


@dataclass(frozen=True, eq=False)
class Facets:
    """What evaluate.bias compares, of every row of the table."""

    outcome: Outcome
    facets: Sequence[Facet]
    group: Facet | None

    @classmethod
    def read(cls, bias: Bias, task: Task, table: TableVersion, lake: Lake) -> Self:
        """Raises ProjectError for an outcome, NotFound or DataError for a column, a value or a threshold."""
        outcome = Outcome.of(task, bias)
        group = None if bias.group is None else read_values(lake, table, bias.group)
        return cls(outcome, read_facets(lake, table, bias.facets), group)

    def measure(
        self, rows: pa.Table, predictions: Sequence[Prediction], inputs: Mapping[str, Kind], settings: Evaluate
    ) -> BiasMeasures:
        """Of the test rows (`row`, their numbers in the table, `record_id`, `inputs`, `truth`) and their predictions;
        `inputs` are those of the model."""
        numbers, every = rows["row"].to_numpy(), np.ones(rows.num_rows, np.bool_)
        truth = self.outcome.among(rows["truth"].to_pylist())
        predicted = self.outcome.among([prediction[self.outcome.key] for prediction in predictions])
        group = None if self.group is None else self.group.take(numbers)
        findings = [] if group is None else [*groupless(group, every), *_one_sided(group, predicted)]
        order, measured = by_digest(rows["record_id"].to_pylist()), list[FacetMeasures]()
        for facet in (each.take(numbers) for each in self.facets):
            findings += findings_of_facet(facet, every, "test row")
            known, names = np.flatnonzero(facet.codes >= 0), compared_inputs(inputs, facet.column)
            sizes = np.bincount(facet.codes[known], minlength=len(facet.names))
            compared = [place for place in facet.compared(every) if 0 < sizes[place] < len(known)]
            if not compared:
                findings.append(nothing_to_compare(facet))
            elif not names:
                findings.append(_no_fliptest(facet))
            for place in compared:
                inside = facet.codes[known] == place
                test = None
                if names:
                    of_facet = facet.codes == place
                    sides = chosen(order, of_facet, (facet.codes >= 0) & ~of_facet)
                    ours, theirs = (Side(rows["inputs"].take(side), predicted[side]) for side in sides)
                    test = fliptest(ours, theirs, {name: inputs[name] for name in names})
                measured.append(
                    measure_facet(
                        facet.column,
                        facet.names[place],
                        facet=inside,
                        truth=truth[known],
                        predicted=predicted[known],
                        group=None if group is None else group.codes[known],
                        fliptest=test,
                        resamples=settings.resamples,
                        confidence=settings.confidence,
                        seed=settings.seed,
                    )
                )
        return BiasMeasures(
            positive=str(self.outcome),
            group=None if group is None else group.column,
            read_by_model=[name for name in dict.fromkeys(facet.column for facet in self.facets) if name in inputs],
            facets=measured,
            findings=findings,
        )


def _threshold(bias: Bias) -> float:
    positives = bias.positives
    try:
        (threshold,) = map(float, positives)
    except ValueError:
        threshold = float("nan")
    if not np.isfinite(threshold):
        written = f"is {', '.join(positives)}" if positives else "names none"
        raise ProjectError(
            f"the model predicts a number, which is the better outcome above a threshold, and evaluate.bias.positive "
            f"{written}",
            "write one number: evaluate: {bias: {positive: '40'}}",
        )
    return threshold


def _one_sided(group: Facet, predicted: Mask) -> list[Finding]:
    groups, rows = one_sided(group.codes, predicted)
    detail = f"{counted(groups, 'group')} of {group.column!r} whose test rows ({rows:,}) are all predicted alike, left "
    detail += "out of CDDPL, which compares outcomes within a group: join small groups in SQL."
    return [Finding(name="one_sided_groups", count=rows, detail=detail)] if groups else []


def _no_fliptest(facet: Facet) -> Finding:
    detail = f"FT is not measured for {facet.column!r}: it compares rows by inputs that are numbers, times or "
    detail += "categories, and the model reads no other of these."
    return Finding(name="no_fliptest", count=0, detail=detail)
