"""table → features: checked, split, deduplicated and encoded rows, as a Delta table of examples.

The split comes first. What is fitted (labels, encoding, max_length, balancing) is fitted on train alone.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from lakewright import plugins
from lakewright.encodings import Encoding
from lakewright.errors import DataError
from lakewright.evaluation.report.pictures import length_histogram
from lakewright.prepare.balancing import class_weights, oversample, undersample
from lakewright.prepare.duplicates import drop_duplicates, find_duplicates
from lakewright.prepare.examples import as_columns
from lakewright.prepare.lengths import histogram, suggest_max_length, summary
from lakewright.prepare.quality import (
    check_columns,
    check_constant,
    check_duplicates,
    check_labels,
    check_leakage,
    check_train,
)
from lakewright.prepare.splits import SPLITS, TRAIN, Method, assign
from lakewright.project import Project
from lakewright.records import Finding, Ingested, Prepared, Record
from lakewright.runtimes.folder import file_hash
from lakewright.tasks import column, complete_text
from lakewright.workspace import Workspace


def prepare(inputs: Mapping[str, Record], project: Project, workspace: Workspace) -> Prepared:
    ingested = inputs["ingest"]
    assert isinstance(ingested, Ingested)
    settings, columns = project.prepare, project.data.columns
    learner = plugins.find("learners", project.train.learner)
    Task = plugins.find("tasks", project.task.name)  # noqa: N806
    data = workspace.lake.read(ingested.table)
    for role, name in columns.names:
        column(data, name, role)

    # Rows that can be used
    canonical = Task.read(data, columns.roles, project.task)
    given = canonical.drop_columns("truth").to_pylist()
    said, truths = [complete_text(row) for row in given], canonical["truth"].to_pylist()
    ids = data[columns.id].to_pylist() if columns.id else None
    usable, findings = check_columns(said, truths, ids, columns=columns)
    rows = np.flatnonzero(usable)
    texts, truths = [str(said[row]) for row in rows], [truths[row] for row in rows]
    keys = [truth if isinstance(truth, str) else json.dumps(truth) for truth in truths]  # comparable, one a row
    if Task.one_label:
        findings += check_labels(texts, keys, columns=columns, rows=rows)

    # No text twice, where the split is ours to make
    method = _method(project, data)
    duplicates = find_duplicates(texts, keys)
    findings += check_duplicates(texts, keys, duplicates, columns=columns, rows=rows)
    group_of_row = duplicates.group_of_row
    drop = settings.duplicates == "drop"
    if drop and method != "predefined":
        stays = np.flatnonzero(drop_duplicates(group_of_row, np.full(len(rows), TRAIN)))
        rows, group_of_row = rows[stays], group_of_row[stays]
        texts, truths, keys = ([values[i] for i in stays] for values in (texts, truths, keys))

    # Split first, before anything is fitted
    split = assign(
        method,
        len(rows),
        columns=columns,
        truth=keys if Task.level == "row" else None,
        groups=data[columns.group].take(rows).to_pylist() if columns.group else None,
        times=data[columns.event_time].take(rows).to_numpy() if columns.event_time else None,
        predefined=data[columns.split or "split"].take(rows).to_pylist() if method == "predefined" else None,
        names=settings.split.names,
        test=settings.split.test,
        validation=settings.split.validation,
        seed=settings.split.seed,
        rows=rows,
    )

    # No text in two splits; a published test split keeps all its rows
    findings += check_leakage(texts, split, group_of_row, rows=rows)
    if drop:
        stays = np.flatnonzero(drop_duplicates(group_of_row, split))
        rows, split = rows[stays], split[stays]
        texts, truths = ([values[i] for i in stays] for values in (texts, truths))
    check_train(split, None, columns=columns)

    # Labels, and whatever else the task learns from the rows, from train
    train = np.flatnonzero(split == TRAIN)
    usable_rows = canonical.take(rows)
    task = Task.fit(usable_rows.take(train), project.task)
    labels_of = [task.label_of(truth) for truth in truths]
    label_split = np.repeat(split, [len(labels) for labels in labels_of])
    bare = sorted(set(SPLITS) - set(label_split.tolist()))
    if bare and task.labels:
        raise DataError(
            f"no row of {' and '.join(bare)} holds anything labelled", "add labelled rows, or split otherwise"
        )
    if task.labels:
        if Task.level == "row" and not Task.one_label:
            findings += check_constant([labels_of[i] for i in train], columns=columns)
        check_train(label_split, [label for labels in labels_of for label in labels], columns=columns)

    # Encoding, from train
    own = [given[row] for row in rows]
    sequences = settings.model_copy(
        update={"long_texts": task.long_texts if settings.long_texts == "auto" else settings.long_texts}
    )
    encoding, whole = learner.fit_encoding(task, [own[i] for i in train], project.train, sequences, project.folder)
    encoded = task.encode(encoding, own)
    targets = task.targets(truths, encoded, own)
    max_length = getattr(encoding, "max_length", None)
    if encoded.truncated:
        findings.append(_truncated(encoded.truncated, len(texts), max_length))
    if max_length is not None and settings.max_length != "auto":
        suggested = suggest_max_length(whole, model_max=max(max_length, 512))
        detail = f"prepare.max_length: auto would take {suggested} tokens; {max_length} are set."
        findings.append(Finding(name="suggested_max_length", count=suggested, detail=detail))

    # Balance, in train only
    weights = np.ones(len(rows), dtype=np.float32)
    examples = np.arange(len(rows))
    if settings.balance != "none":
        train_labels = [truths[i] for i in train]
        if settings.balance == "weights":
            by_label = class_weights(train_labels)
            weights[train] = [by_label[label] for label in train_labels]
        else:
            resample = oversample if settings.balance == "oversample" else undersample
            others = np.flatnonzero(split != TRAIN)
            examples = np.concatenate([resample(train, train_labels, settings.split.seed), others])

    record_ids = pa.array(
        [str(value) for value in data[columns.id].take(rows).to_pylist()] if columns.id else map(str, rows)
    )
    event_time = (
        data[columns.event_time].take(rows) if columns.event_time else pa.nulls(len(rows), pa.timestamp("us", "UTC"))
    )
    features = pa.table(
        {
            "record_id": record_ids,
            "event_time": event_time,
            "split": pa.array(split.tolist()),
            "row": pa.array(rows, pa.int64()),
            "inputs": usable_rows.drop_columns("truth").to_struct_array(),
            "truth": usable_rows["truth"],
            **as_columns(encoded, targets),
            "weight": pa.array(weights, pa.float32()),
        }
    ).take(examples)
    folder = _store(encoding, workspace)
    version = workspace.lake.write(
        project.features_table,
        features,
        properties={"table": str(ingested.table), "run": workspace.run_id},
        comment=f"Encoded examples of {ingested.table.name}",
    )
    counts = {
        name: dict(sorted(Counter(label for i in np.flatnonzero(split == name) for label in labels_of[i]).items()))
        for name in SPLITS
    }
    if workspace.log is not None:
        workspace.log.table(ingested.table, "source")
        workspace.log.params({"prepare": settings.model_dump(mode="json"), "split_method": method})
        workspace.log.metrics({f"rows_{name}": int((split == name).sum()) for name in SPLITS})
        workspace.log.picture(length_histogram(histogram(whole), max_length), "encoded_lengths")
    return Prepared(
        table=ingested.table,
        features=version,
        encoding=str(folder),
        task=task.describe(),
        splits={name: int((split == name).sum()) for name in SPLITS},
        label_counts=counts,
        lengths=summary(whole),
        length_histogram=histogram(whole),
        max_length=max_length,
        findings=findings,
    )


def _method(project: Project, data: pa.Table) -> Method:
    asked = project.prepare.split.method
    if asked != "auto":
        return asked
    if project.data.columns.split or "split" in data.column_names:
        return "predefined"
    return "grouped" if project.data.columns.group else "random"


def _truncated(count: int, rows: int, limit: int | None) -> Finding:
    cut = f"{count:,} of {rows:,} rows are longer than {limit} tokens and lose their end"
    return Finding(name="truncated", count=count, detail=f"{cut}: raise prepare.max_length if it matters.")


def _store(encoding: Encoding, workspace: Workspace) -> Path:
    """The encoding's files in a folder named by their content."""
    import hashlib
    import shutil

    making = workspace.work / "encoding"
    shutil.rmtree(making, ignore_errors=True)
    making.mkdir(parents=True)
    encoding.save(making)
    hashes: Any = sorted((path.name, file_hash(path)) for path in making.iterdir())
    folder = workspace.folder / "encodings" / hashlib.sha256(json.dumps(hashes).encode()).hexdigest()[:16]
    folder.parent.mkdir(exist_ok=True)
    if not folder.exists():
        making.rename(folder)
    return folder
