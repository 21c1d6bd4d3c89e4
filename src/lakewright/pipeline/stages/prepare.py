"""table → features: checked, split, deduplicated and encoded rows, as a Delta table of examples.

The split comes first. Labels, recipe and balancing are fitted on train alone; by steps that learn the truth, train is
encoded out of fold (`learning/recipes.py`). Each step streams the table again; between the steps a few numbers of each
row are in memory, and never the texts.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from lakewright.data.lake.parts import Written, remove, write
from lakewright.data.lake.portions import Portions
from lakewright.data.rows.balancing import (
    class_weights,
    oversample,
    prior_shift,
    undersample,
    undersampled_weights,
)
from lakewright.data.rows.choosing import LEFT_OUT, Chosen
from lakewright.data.rows.facts import as_text
from lakewright.data.rows.keys import draw_keys
from lakewright.data.rows.kinds import whole_rows
from lakewright.data.rows.lengths import histogram, suggest_max_length, summary
from lakewright.data.rows.lost import Shortfalls
from lakewright.data.rows.quality import EXAMPLES, Noticed, counted, cut, with_texts
from lakewright.data.rows.smote import LEAST
from lakewright.data.rows.splits import TRAIN, UNLABELED
from lakewright.data.rows.unlabeled import Unlabeled
from lakewright.errors import DataError, LakewrightError, ProjectError
from lakewright.learning.examples import as_columns
from lakewright.learning.features import Decided, Features
from lakewright.learning.planning import Plan, plan, unlabeled_rows
from lakewright.learning.recipes import STORED
from lakewright.learning.synthetic import to_add
from lakewright.model.folder import content_of
from lakewright.model.recipe import Recipe
from lakewright.model.recipe.ragged import Ragged
from lakewright.model.recipe.tokens import Tokens, TokensSettings
from lakewright.model.tasks import Task, corrects_prior
from lakewright.pages.pictures.of_training import length_histogram
from lakewright.records import Finding, Ingested, Prepared, TableVersion
from lakewright.settings.project import DERIVED, Project
from lakewright.settings.sections import Prepare
from lakewright.system.files import put_in_place
from lakewright.workers import Workers
from lakewright.workspace import Workspace


def prepare(project: Project, workspace: Workspace, *, ingested: Ingested) -> Prepared:
    findings: list[Finding | Noticed] = []
    try:
        return _prepare(ingested, project, workspace, findings)
    except LakewrightError as error:  # the findings before it may explain it
        error.findings = [each if isinstance(each, Finding) else each.without_texts for each in findings]
        raise


def _prepare(ingested: Ingested, project: Project, workspace: Workspace, findings: list[Finding | Noticed]) -> Prepared:
    workers = workspace.workers()
    planned = plan(ingested.table, project, workspace.lake, workers, findings)
    project = planned.project
    settings, columns = project.prepare, project.data.columns
    chosen, recipe, whole = planned.chosen, planned.recipe, planned.fitted.lengths
    task = _corrected(planned.task, chosen, settings)
    findings += _synthetic(chosen, settings)
    unlabeled = None
    if ingested.unlabeled is not None:
        unlabeled = unlabeled_rows(ingested.unlabeled, planned, project, findings)
    stored = _store(recipe, workspace)
    features = _write_features(
        ingested, project, workspace, workers, planned, stored, _balanced(chosen, settings), unlabeled
    )

    findings += features.shortfalls.findings()
    findings += [
        each.model_copy(update={"name": f"unlabeled_{each.name}", "detail": f"data.unlabeled: {each.detail}"})
        for each in features.shortfalls_of_unlabeled.findings()
    ]
    max_length = next((step.max_length for step in recipe.steps if isinstance(step, Tokens)), None)
    if max_length is not None and _is_set(project):
        suggested = suggest_max_length(whole, model_max=max(max_length, 512))
        detail = f"prepare.recipe.tokens.max_length: auto would take {suggested} tokens; {max_length} are set."
        findings.append(Finding(name="suggested_max_length", count=suggested, detail=detail))
    examples = {row for each in findings if isinstance(each, Noticed) for row in each.rows}
    texts = {row: (text or "", as_text(truth)) for row, (text, truth) in planned.reading.texts(examples).items()}

    if workspace.log is not None:
        workspace.log.table(ingested.table, "source")
        workspace.log.params({"prepare": project.resolved["prepare"], "split_method": planned.method})
        workspace.log.metrics({f"rows_{name}": count for name, count in chosen.counts.items()})
        if unlabeled is not None:
            workspace.log.table(unlabeled.reading.table, UNLABELED)
            workspace.log.metrics({"rows_unlabeled": len(unlabeled.rows)})
        if len(whole):
            workspace.log.picture(length_histogram(histogram(whole), max_length), "encoded_lengths")
    return Prepared(
        table=ingested.table,
        features=features.table,
        parts=features.parts,
        unlabeled=ingested.unlabeled,
        views=ingested.views,
        reads=ingested.reads,
        unlabeled_rows=0 if unlabeled is None else len(unlabeled.rows),
        recipe=str(stored),
        task=task.describe(),
        columns=columns.model_dump(mode="json"),
        derive=None if (own := project.prepare.recipe.get(DERIVED)) is None else own.model_dump(mode="json"),
        splits=chosen.counts,
        label_counts=chosen.label_counts,
        lengths=summary(whole) if len(whole) else {},
        length_histogram=histogram(whole) if len(whole) else [],
        max_length=max_length,
        findings=[*ingested.findings, *with_texts(findings, texts)],
    )


def _balanced(chosen: Chosen, settings: Prepare) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.int32]]:
    """The weight of each row and its number of copies, both [rows]. Outside train, copies are 1 and weights those of
    `columns.weight`, if there are any, else 1."""
    rows = len(chosen.split)
    weights = np.broadcast_to(np.float32(1), rows) if chosen.weights is None else chosen.weights
    if settings.balance in ("none", "smote"):  # smote: train makes the rows, of encoded ones
        return weights, np.broadcast_to(np.int32(1), rows)
    weights, times = weights.copy(), np.ones(rows, np.int32)
    train = np.flatnonzero(chosen.of(TRAIN))
    numbered = np.argsort(np.argsort([label for (label,) in chosen.names]))  # label → its place among the sorted labels
    labels = numbered[chosen.labels[train]]
    if settings.balance == "weights":
        by_label = class_weights(labels)
        weights[train] *= np.array([by_label.get(label, 1.0) for label in range(len(numbered))])[labels]
    else:
        resample = oversample if settings.balance == "oversample" else undersample
        keys = draw_keys(train if chosen.ids is None else chosen.ids[train], settings.split.seed, "balance")
        times[train] = np.bincount(resample(train, labels, keys), minlength=len(times))[train]
        if settings.balance == "weighted_undersample":
            weights[train] *= undersampled_weights(labels, times[train] > 0)
    return weights, times


def _corrected(task: Task, chosen: Chosen, settings: Prepare) -> Task:
    """The task, which corrects its probabilities to the labels' frequencies in train, if the project asks for that."""
    if not settings.correct_prior:
        return task
    if not corrects_prior(task):
        raise ProjectError(f"the task {task.name} has no correction of the prior", "set prepare.correct_prior: false")
    return task.shifted(prior_shift(chosen.label_counts[TRAIN], task.labels))


def _synthetic(chosen: Chosen, settings: Prepare) -> list[Finding]:
    """The rows that train will make. Raises DataError for labels with too few rows to make others of."""
    counts = chosen.label_counts[TRAIN]
    added = to_add(counts)
    if settings.balance != "smote" or not added:
        return []
    alone = [label for label in added if counts[label] < LEAST]
    if alone:
        raise DataError(
            f"prepare.balance: smote makes rows between two of a label, and train has one row of "
            f"{', '.join(map(repr, alone[:EXAMPLES]))}{', …' * (len(alone) > EXAMPLES)}",
            "add rows of it, merge it into another label (task.merge), or set prepare.balance: oversample",
        )
    most = sorted(added, key=lambda label: (-added[label], label))
    by_label = ", ".join(f"{added[label]:,} of {label!r}" for label in most[:EXAMPLES])
    total, real = sum(added.values()), sum(counts.values())
    detail = (
        f"train learns from {counted(total, 'synthetic row')} beside its {real:,} real ones: {by_label}"
        f"{', …' * (len(most) > EXAMPLES)}."
    )
    return [Finding(name="synthetic_rows", count=total, detail=detail)]


@dataclass(frozen=True)
class _Written:
    table: TableVersion
    parts: dict[str, int]  # machine → the parts of the table that it encoded
    shortfalls: Shortfalls
    shortfalls_of_unlabeled: Shortfalls


def _write_features(
    ingested: Ingested,
    project: Project,
    workspace: Workspace,
    workers: Workers,
    planned: Plan,
    recipe: Path,
    balanced: tuple[npt.NDArray[np.float32], npt.NDArray[np.int32]],
    unlabeled: Unlabeled | None,
) -> _Written:
    """The examples of all rows that stay, as the next version of the features table. Raises DataError if nearly nothing
    of train can be learned."""
    lake, table = workspace.lake, ingested.table
    chosen, (weights, times) = planned.chosen, balanced
    copies = np.where(chosen.split == LEFT_OUT, 0, times)
    columns, method = project.data.columns, planned.method
    work = Features.of(planned, workers.bring(recipe), columns=columns, method=method)
    decided = Decided(chosen.split, chosen.parts, weights, copies)
    shape = lake.shape(table, planned.reading.columns)
    portions = Portions(lake, table, shape, workers, decided.of, output=project.features_table)
    place = lake.place_to_write(project.features_table)
    shortfalls, of_unlabeled, schema = Shortfalls(), Shortfalls((UNLABELED,)), None
    files, hosts = list[Written](), Counter[str]()
    try:
        for done in portions.computed(work, f"encoding {table}"):
            shortfalls.merge(done.shortfalls)
            hosts[done.host] += 1
            if done.file is not None:
                assert schema is None or schema == done.schema, "each part has the same columns"
                schema = done.schema
                files.append(done.file)
        shortfalls.check()
        assert schema is not None, "each split has rows"
        if unlabeled is not None:
            files.append(write(_of_unlabeled(unlabeled, planned, schema, of_unlabeled), schema, place))
    except BaseException as failure:
        remove(files, place)
        if isinstance(failure, (OSError, pa.ArrowException)):  # of the table's files
            raise lake.explained(table, failure) from failure
        raise
    # Not in the block above: where this fails after its commit, the files are the table's.
    version = lake.add_files(
        project.features_table,
        schema,
        files,
        mode="overwrite",
        properties={
            "table": str(table),
            "run": workspace.run_id,
            **({} if ingested.unlabeled is None else {"unlabeled": str(ingested.unlabeled)}),
        },
        comment=f"Encoded examples of {table.name}",
    )
    return _Written(version, dict(hosts), shortfalls, of_unlabeled)


def _of_unlabeled(
    unlabeled: Unlabeled, planned: Plan, schema: pa.Schema, shortfalls: Shortfalls
) -> Iterator[pa.RecordBatch]:
    """Rows without a truth, in a split of their own, encoded by the recipe as a prediction would be. Their `row` is
    their place in the draw, so that what learns from them does not depend on the order of their table."""
    places, fitted = unlabeled.places, planned.fitted
    for batch in unlabeled.reading.only(places >= 0):
        count, texts = len(batch.rows), whole_rows(batch.task_columns, batch.kinds)
        encoded, lost = fitted.encoded_with_shortfalls(batch.values, np.full(count, STORED, np.int16))
        shortfalls.add(batch.rows, np.zeros(count, np.int64), lost, partial(_excerpt, texts))
        nothing = np.empty(0, schema.field("target").type.value_type.to_pandas_dtype())
        columns: dict[str, Any] = {
            "record_id": pa.array(map(str, batch.rows.tolist()), pa.string()),
            "split": pa.array([UNLABELED] * count),
            "row": pa.array(places[batch.rows]),
            "inputs": batch.task_columns.drop_columns("truth").to_struct_array(),
            **as_columns(encoded, Ragged(nothing, np.zeros(count + 1, np.int64))),
            "weight": pa.array(np.ones(count, np.float32)),
        }
        absent = {field.name: pa.nulls(count, field.type) for field in schema if field.name not in columns}
        yield from pa.table(columns | absent).select(schema.names).cast(schema).combine_chunks().to_batches()


def _excerpt(texts: Sequence[str | None], at: int) -> str:
    return cut(texts[at] or "")


def _is_set(project: Project) -> bool:
    """Whether the project sets max_length."""
    return any(isinstance(own, TokensSettings) and own.max_length != "auto" for _, own, _ in project.steps.values())


def _store(recipe: Recipe, workspace: Workspace) -> Path:
    """The recipe's files in a folder named by their content."""
    import shutil

    unfinished = workspace.work / "recipe"
    shutil.rmtree(unfinished, ignore_errors=True)
    unfinished.mkdir(parents=True)
    recipe.save(unfinished)
    folder = workspace.folder / "recipes" / content_of(unfinished)
    if folder.exists() and content_of(folder) != folder.name:
        shutil.rmtree(folder)
    put_in_place(unfinished, folder)
    return folder
