"""table → features: checked, split, deduplicated and encoded rows, as a Delta table of examples.

The split comes first. What is fitted (labels, encoding, max_length, balancing) is fitted on train alone. The table is
streamed anew for every step that reads it; between them a few numbers a row are held, and never the texts.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from lakewright import plugins
from lakewright.encodings import Encoded, Encoding
from lakewright.encodings.ragged import Ragged
from lakewright.errors import DataError
from lakewright.evaluation.report.pictures import length_histogram
from lakewright.prepare.balancing import class_weights, oversample, undersample
from lakewright.prepare.choosing import LEFT_OUT, Chosen, choose
from lakewright.prepare.examples import as_columns
from lakewright.prepare.facts import as_text
from lakewright.prepare.lengths import histogram, suggest_max_length, summary
from lakewright.prepare.quality import Noticed, Rows, check_constant, check_train, cut, told
from lakewright.prepare.reading import Inputs, Reading
from lakewright.prepare.roundtrip import RoundTrip
from lakewright.prepare.splits import SPLITS, TRAIN, Method
from lakewright.project import Columns, Prepare, Project
from lakewright.records import Finding, Ingested, Prepared, Record
from lakewright.runtimes.folder import file_hash
from lakewright.tasks import Row, Task, column, whole_text
from lakewright.workspace import Workspace


def prepare(inputs: Mapping[str, Record], project: Project, workspace: Workspace) -> Prepared:
    ingested = inputs["ingest"]
    assert isinstance(ingested, Ingested)
    settings, columns = project.prepare, project.data.columns
    learner = plugins.find("learners", project.train.learner)
    Kind: type[Task] = plugins.find("tasks", project.task.name)  # noqa: N806
    schema = workspace.lake.scan(ingested.table).schema
    for role, name in columns.names:
        column(schema.empty_table(), name, role)
    method = _method(project, schema.names)
    used = {name for _, name in columns.names} | ({columns.split or "split"} if method == "predefined" else set())
    read = [name for name in schema.names if name in used]
    reading = Reading(workspace.lake, ingested.table, Kind, project.task, columns.roles, read)

    # Split first, before anything is fitted
    chosen, findings = choose(reading, method, settings, columns)
    train = reading.only(chosen.of(TRAIN))

    # Labels, and whatever else the task learns from the rows, from train
    task = Kind.fit((batch.read for batch in train), project.task)
    counts = chosen.label_counts
    bare = sorted(name for name in SPLITS if not counts[name])
    if bare and task.labels:
        raise DataError(
            f"no row of {' and '.join(bare)} holds anything labelled", "add labelled rows, or split otherwise"
        )
    if task.labels:
        if Kind.level == "row" and not Kind.one_label:
            findings += check_constant(counts[TRAIN], chosen.counts[TRAIN], columns=columns)
        check_train(counts, columns=columns)

    # Encoding, from train
    sequences = settings.model_copy(
        update={"long_texts": task.long_texts if settings.long_texts == "auto" else settings.long_texts}
    )
    encoding, whole = learner.fit_encoding(task, Inputs(train), project.train, sequences, project.folder)
    features = _Features(reading, task, encoding, columns, chosen, *_balanced(chosen, settings))
    version = workspace.lake.write(
        project.features_table,
        features.reader(),
        properties={"table": str(ingested.table), "run": workspace.run_id},
        comment=f"Encoded examples of {ingested.table.name}",
        ordered=False,  # who reads a split sorts it by row
    )

    findings += features.round_trip.findings()
    max_length = getattr(encoding, "max_length", None)
    if max_length is not None and settings.max_length != "auto":
        suggested = suggest_max_length(whole, model_max=max(max_length, 512))
        detail = f"prepare.max_length: auto would take {suggested} tokens; {max_length} are set."
        findings.append(Finding(name="suggested_max_length", count=suggested, detail=detail))
    shown = {row for each in findings if isinstance(each, Noticed) for row in each.rows}
    known = {row: (text or "", as_text(truth)) for row, (text, truth) in reading.texts(shown).items()}

    if workspace.log is not None:
        workspace.log.table(ingested.table, "source")
        workspace.log.params({"prepare": settings.model_dump(mode="json"), "split_method": method})
        workspace.log.metrics({f"rows_{name}": count for name, count in chosen.counts.items()})
        workspace.log.picture(length_histogram(histogram(whole), max_length), "encoded_lengths")
    return Prepared(
        table=ingested.table,
        features=version,
        encoding=str(_store(encoding, workspace)),
        task=task.describe(),
        splits=chosen.counts,
        label_counts=counts,
        lengths=summary(whole),
        length_histogram=histogram(whole),
        max_length=max_length,
        findings=told(findings, known),
    )


def _method(project: Project, columns: Sequence[str]) -> Method:
    asked = project.prepare.split.method
    if asked != "auto":
        return asked
    if project.data.columns.split or "split" in columns:
        return "predefined"
    return "grouped" if project.data.columns.group else "random"


def _balanced(chosen: Chosen, settings: Prepare) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.int32]]:
    """What each row weighs and how often it stands, [rows]; other than once in train alone."""
    rows = len(chosen.split)
    if settings.balance == "none":
        return np.broadcast_to(np.float32(1), rows), np.broadcast_to(np.int32(1), rows)
    weights, times = np.ones(rows, np.float32), np.ones(rows, np.int32)
    train = np.flatnonzero(chosen.of(TRAIN))
    numbered = np.argsort(np.argsort([label for (label,) in chosen.names]))  # as the labels are sorted
    labels = numbered[chosen.labels[train]]
    if settings.balance == "weights":
        by_label = class_weights(labels)
        weights[train] = np.array([by_label.get(label, 1.0) for label in range(len(numbered))])[labels]
    else:
        resample = oversample if settings.balance == "oversample" else undersample
        times[train] = np.bincount(resample(train, labels, settings.split.seed), minlength=len(times))[train]
    return weights, times


class _Features:
    """The examples, encoded a batch at a time while they are written; counts what is lost of them.

    Raises DataError behind the last batch where nearly nothing of train can be learned, so that nothing is written.
    """

    def __init__(
        self,
        reading: Reading,
        task: Task,
        encoding: Encoding,
        columns: Columns,
        chosen: Chosen,
        weights: npt.NDArray[np.float32],
        times: npt.NDArray[np.int32],
    ) -> None:
        stay = (chosen.split != LEFT_OUT) & (times > 0)
        self.reading, self.task, self.encoding, self.columns = reading.only(stay), task, encoding, columns
        self.split, self.weights, self.times = chosen.split, weights, times
        self.round_trip = RoundTrip()

    def reader(self) -> pa.RecordBatchReader:
        batches = self._batches()
        first = next(batches)
        return pa.RecordBatchReader.from_batches(first.schema, chain([first], batches))

    def _batches(self) -> Iterator[pa.RecordBatch]:
        columns, splits = self.columns, pa.array(SPLITS)
        for batch in self.reading:
            inputs, truths, here = batch.inputs, batch.truths, batch.rows
            encoded = self.task.encode(self.encoding, inputs)
            targets = self.task.targets(truths, encoded, inputs)
            self._round_trip(batch.rows, inputs, truths, encoded, targets)
            ids = batch.given[columns.id].to_pylist() if columns.id else batch.rows.tolist()
            no_time = pa.nulls(len(inputs), pa.timestamp("us", "UTC"))
            table = pa.table(
                {
                    "record_id": pa.array(map(str, ids), pa.string()),
                    "event_time": batch.given[columns.event_time] if columns.event_time else no_time,
                    "split": splits.take(pa.array(self.split[here])),
                    "row": pa.array(batch.rows),
                    "inputs": batch.read.drop_columns("truth").to_struct_array(),
                    "truth": batch.read["truth"],
                    **as_columns(encoded, targets),
                    "weight": pa.array(self.weights[here]),
                }
            )
            if (self.times[here] > 1).any():
                table = table.take(pa.array(np.repeat(np.arange(len(inputs)), self.times[here])))
            yield from table.combine_chunks().to_batches()
        self.round_trip.check()

    def _round_trip(
        self, numbers: Rows, rows: Sequence[Row], truths: Sequence[Any], encoded: Encoded, targets: Ragged
    ) -> None:
        texts = [whole_text(row) for row in rows]
        shortfalls = self.encoding.shortfalls(encoded, texts) + self.task.shortfalls(truths, encoded, targets, rows)

        def show(at: int) -> str:
            return f"{cut(as_text(truths[at]))!r}: {cut(texts[at])}"

        self.round_trip.see(numbers, self.split[numbers], shortfalls, show)


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
