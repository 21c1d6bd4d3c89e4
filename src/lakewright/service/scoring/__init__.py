"""A table's rows → predictions, another table: only new rows, every row exactly once, by the profile's workers.

The rows are cut into parts. A worker reads a part from the table's files, predicts it, and writes one file; here a few
files become one commit, together with the note of how far the input is scored.

rows          the rows that are not scored yet
predictions   the columns that are written for a row
values        what the rows lack and feature tables have
work          a part of the rows → one file of predictions, on a worker
outputs       where they are written: a table of the lake, or of a database
ledger        how far an input is scored, committed with the predictions
"""

from __future__ import annotations

import logging
import re
import time
from collections import Counter
from collections.abc import Generator, Mapping, Sequence
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from lakewright.data.lake.parts import GRID, ROWS
from lakewright.data.lake.portions import Portions
from lakewright.errors import DataError, LakewrightError, UsageError
from lakewright.model.folder import lookups_of, project_of, working
from lakewright.model.on_workers import OnWorkers
from lakewright.records import ModelVersion, Record, TableVersion, plain
from lakewright.service.scoring import ledger, predictions
from lakewright.service.scoring.ledger import ALL, Progress
from lakewright.service.scoring.outputs import DatabaseTable, Output, Wave, output_of
from lakewright.service.scoring.predictions import Tally
from lakewright.service.scoring.rows import Job, all_rows, new_rows
from lakewright.service.scoring.values import Values
from lakewright.service.scoring.work import Done, Work
from lakewright.system.memory import trim

if TYPE_CHECKING:
    from lakewright.data.lake.tables import Lake
    from lakewright.model.predictor import Predictor
    from lakewright.workers import Workers
    from lakewright.workspace import Workspace

LOG = logging.getLogger(__name__)
COMMIT_ROWS = ROWS  # the most that a kill loses of each process: about 15 s of two cores on short texts
COMMIT_EXPLAINED = GRID  # with reasons, which take far longer than the predictions


class Scored(Record):
    """The result of one call."""

    input: TableVersion
    output: TableVersion | DatabaseTable
    model: str  # a model version, or a model folder
    digest: str
    why: list[str]  # which rows were scored, and why
    rows: int
    without: int  # of these, rows without a prediction: they have no input for the model
    abstained: int  # of these, rows with less confidence than the least
    replaced: int  # of these, rows that took the place of one with the same id, in a table of a database
    seconds: float  # reading, predicting and writing
    parts: dict[str, int]  # machine → the parts of the rows that it computed
    features: list[TableVersion]  # feature tables whose values the rows were joined with
    unknown: dict[str, int]  # input → rows of which these had no value

    @property
    def seconds_per_1000_rows(self) -> float:
        return self.seconds / self.rows * 1000 if self.rows else 0.0

    def as_json(self) -> dict[str, Any]:
        tables = {
            "input": str(self.input),
            "output": str(self.output),
            "features": [str(each) for each in self.features],
        }
        return {**plain(self), **tables, "seconds_per_1000_rows": self.seconds_per_1000_rows}


def score(
    workspace: Workspace,
    model: str,
    input: str,
    output: str | None,
    *,
    full: bool,
    columns: Mapping[str, str],
    id: str | None,
    keep: Sequence[str],
    least_confidence: float,
    probabilities: bool,
    explain: int,
    commit_rows: int | None = None,
    runtime: str = "auto",
) -> Scored:
    """Score the rows of `input` that `output` lacks; `api.score` explains the options and the errors."""
    from lakewright.model.predictor import Predictor

    if not 0 <= least_confidence <= 1:
        raise UsageError(f"a confidence is between 0 and 1, not {least_confidence}", "for example 0.7")
    if commit_rows is None:
        commit_rows = COMMIT_EXPLAINED if explain else COMMIT_ROWS
    if commit_rows < 1:
        raise UsageError(f"{commit_rows} rows cannot be committed at once", "set 1 or more")
    if explain < 0:
        raise UsageError(f"a prediction cannot have {explain} reasons", "set explain to 1 or more, or leave it out")
    lake, pinned = workspace.lake, workspace.lake.version(input)
    target = output_of(output or f"{pinned.name}_predictions", lake, workspace.profile.secrets())
    if target.name == pinned.name:
        raise UsageError(f"predictions cannot be written to {output}", "name another table")
    version, folder = _located(workspace, model)
    with workspace.lock(re.sub(r"[^\w.-]", "_", f"score.{target.name}"), f"scoring into {target.name}"):
        predictor = Predictor.open(folder, runtime, workspace.threads)
        schema, roles, workers = lake.shape(pinned).schema, _roles(folder), workspace.workers()
        inputs = predictor.task.inputs
        described = lookups_of(folder)
        keys = {column for each in described for column in each["keys"].values()} - {*inputs}
        values = Values.of(
            lake, pinned, schema, described, inputs.keys() - columns.keys(), roles.get("event_time"), workers, columns
        )
        columns = {name: column for name, column in columns.items() if name not in keys}
        beside = schema if values is None else pa.schema([*schema, *values.schema])
        chosen = predictions.choose(inputs, beside, roles, columns, id, keep)
        _check_confidence(predictor, least_confidence)
        if explain:
            predictor.reasons  # noqa: B018 - raises UsageError where the model has none
        into = predictions.schema(predictor.task.prediction_columns(), chosen, beside, probabilities, explain > 0)
        target.check(into)
        name = version.at if version else str(folder)
        app, fingerprint = ledger.application(lake.identity(pinned)), int(predictor.digest[:15], 16)
        columns_read = predictions.fingerprint(chosen, into)
        brought = workers.bring(folder)
        tally, why, hosts, unknown, began = Tally(), list[str](), Counter[str](), Counter[str](), time.monotonic()
        replaced = 0
        for _ in ("the interrupted job", "the new rows"):
            progress = target.progress(app)
            if progress is not None and not full:
                _check_interrupted(target, progress, columns_read, into)
                _check_columns(target, into)
                _check_explain(target.name, progress, explain)
                job = new_rows(lake, pinned, target, progress, chosen.id)
            elif not why:
                if progress is not None and _goes_on(progress, pinned, fingerprint, explain):
                    _check_interrupted(target, progress, columns_read, into)
                job = _all(lake, pinned, target, progress, fingerprint, explain, full, into)
            else:
                job = None
            if job is None:
                break
            why.append(job.why)
            work = Work(
                model=OnWorkers(brought, predictor.digest, runtime, workspace.threads, predictor),
                name=name,
                columns=chosen,
                schema=into,
                least_confidence=least_confidence,
                explain=explain,
                job=job,
                values=values,
            )
            done, total = job.begin, job.total
            with closing(_waves(lake, workers, work, target, commit_rows, explain)) as waves:
                for wave in waves:
                    rows = sum(each.tally.rows for each in wave)
                    note = explain if explain or (progress and progress.explain is not None) else None
                    after = job.progress(done + rows, done + rows == total, fingerprint, note, columns_read)
                    replaced += target.commit(
                        Wave(
                            files=[each.file for each in wave],
                            schema=into,
                            replaces=job.replaces and done == 0,
                            application=app,
                            before=progress,
                            after=after,
                            comment=f"Predictions for {pinned.name}",
                            features=[] if values is None else values.versions,
                        )
                    )
                    for each in wave:
                        tally += each.tally
                        unknown += each.unknown
                        hosts[each.host] += 1
                    progress, done = after, after.rows
                    trim()
            if done == job.begin:  # no row: nothing was committed, so the same job would follow again
                break
        seconds = time.monotonic() - began
        if values is not None:
            values.close()
        written = target.written()
    scored = Scored(
        input=pinned,
        output=written,
        model=version.at if version else str(folder),
        digest=predictor.digest,
        why=why,
        rows=tally.rows,
        without=tally.without,
        abstained=tally.abstained,
        replaced=replaced,
        seconds=seconds,
        parts=dict(hosts),
        features=[] if values is None else values.versions,
        unknown=dict(unknown),
    )
    if version is not None and scored.rows:
        from lakewright.registry.mlflow_process import note_scored

        counts = {"rows": scored.rows, "rows_without_prediction": scored.without, "rows_abstained": scored.abstained}
        times = {"seconds": seconds, "seconds_per_1000_rows": scored.seconds_per_1000_rows}
        try:
            note_scored(workspace.tracking, version, pinned, written, {**counts, **times})
        except LakewrightError as failure:  # the rows are written
            LOG.warning("%s is written, but MLflow did not log it completely: %s", written, failure.cause)
    return scored


def _waves(
    lake: Lake, workers: Workers, work: Work, output: Output, commit_rows: int, explain: int
) -> Generator[list[Done], None, None]:
    """The files of each commit, in the order of the rows: one of each process that computes, or one alone where files
    come back in memory."""
    job = work.job
    portions = Portions(
        lake,
        job.table,
        lake.shape(job.table, _columns_read(work)),
        workers,
        lambda part: None,
        output=output.table,
        files=job.files,
        rows=job.total,
        begin=job.begin,
        most=commit_rows,
        worth=COMMIT_EXPLAINED if explain else COMMIT_ROWS,
    )
    work.model.threads = workers.threads(portions.at_once)
    wave: list[Done] = []
    try:
        for done in portions.computed(work, f"scoring {job.table}", work.note):
            wave.append(done)
            if output.table is None or len(wave) == portions.at_once:
                complete, wave = wave, []
                yield complete
        if wave:
            complete, wave = wave, []
            yield complete
    finally:
        output.discard([each.file for each in wave])


def _columns_read(work: Work) -> list[str]:
    """Those of the table, in its files."""
    if work.values is None:
        return work.columns.names
    names = dict.fromkeys([*work.columns.names, *work.values.reads])
    return [name for name in names if name not in work.values.schema.names]


def _located(workspace: Workspace, model: str) -> tuple[ModelVersion | None, Path]:
    """The model version, None for a model folder, and the model folder."""
    if not model.startswith("models:/"):
        return None, Path(model).resolve()
    from lakewright.registry.mlflow_process import located

    return located(workspace, model)


def _roles(folder: Path) -> dict[str, Any]:
    """Role → column, from the project of the model."""
    with working(folder):
        return {**project_of(folder)["data"]["columns"]}


def _goes_on(progress: Progress, pinned: TableVersion, fingerprint: int, explain: int) -> bool:
    """Whether all rows were being scored when that was interrupted, in the same way as they are to be now."""
    same_rows = progress.under_way and progress.kind == ALL and progress.target == pinned.version
    return same_rows and progress.model == fingerprint and (progress.explain or 0) == explain


def _check_interrupted(output: Output, progress: Progress, columns: int, requested: pa.Schema) -> None:
    """Raises UsageError if the job that was interrupted reads or writes other columns: a table of both would not show
    which rows come from which."""
    if not progress.under_way:
        return
    noted = progress.columns is not None  # else it began before they were: what was written shows a part of them
    if progress.columns != columns if noted else _differing(output, requested):
        others = "or name another table (--output)" if progress.kind == ALL else "or score all rows again (--full)"
        raise UsageError(
            f"the scoring of {output.name} was interrupted, and these options read or write other columns than it did",
            "complete it first with the same options as before (--column, --id, --keep, --no-probabilities, "
            f"--explain), {others}",
        )


def _check_columns(output: Output, requested: pa.Schema) -> None:
    if differs := _differing(output, requested):
        raise UsageError(
            f"{output.name} has other columns than these options and this model write: {', '.join(differs)}",
            "score with the same options as before, or score all rows again (--full)",
        )


def _differing(output: Output, requested: pa.Schema) -> list[str]:
    """The columns in which the table and the requested one differ; all if only their order does."""
    existing = (output.columns(), output.described(requested))
    old, new = ([f"{name}: {kind}" for name, kind in columns.items()] for columns in existing)
    return [] if old == new else sorted(set(old).symmetric_difference(new)) or new


def _check_explain(output: str, progress: Progress, explain: int) -> None:
    if (progress.explain or 0) != explain:
        raise UsageError(
            f"the rows of {output} have {progress.explain or 0} reasons each, and {explain} are requested",
            "score with the same explain as before, or score all rows again (--full)",
        )


def _all(
    lake: Lake,
    pinned: TableVersion,
    output: Output,
    progress: Progress | None,
    fingerprint: int,
    explain: int,
    full: bool,
    requested: pa.Schema,
) -> Job:
    """All rows: for the first time, or to replace the table; a `full` job that was killed continues."""
    if not pinned.rows:
        raise DataError(f"{pinned} has no rows", "name a table with rows; nothing was written")
    if progress is not None:
        if _goes_on(progress, pinned, fingerprint, explain):
            return all_rows(lake, pinned, progress.rows)
        return all_rows(lake, pinned, replaces=True)
    columns = output.columns()
    if not columns or (columns == output.described(requested) and not output.rows()):
        return all_rows(lake, pinned)
    if not full or "model_digest" not in columns:
        raise DataError(
            f"{output.name} exists already and holds no predictions for {pinned.name}",
            "name another table (--output)" + (", or replace it (--full)" if "model_digest" in columns else ""),
        )
    return all_rows(lake, pinned, replaces=True)


def _check_confidence(predictor: Predictor, least: float) -> None:
    """Raises UsageError for a least confidence if the task has no confidence."""
    if not least:
        return
    (prediction,) = predictor.predict(predictor.sample_rows()[:1])
    if predictor.task.confidence(prediction) is None:
        raise UsageError(
            f"the model's task, {predictor.task.name}, has no confidence that could be below {least:g}",
            "remove --least-confidence",
        )
