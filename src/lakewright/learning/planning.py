"""What prepare decides before it writes: which rows go where, and all that is fitted on train."""

from __future__ import annotations

import itertools
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from lakewright import plugins
from lakewright.data.features import feature_table
from lakewright.data.lake.portions import Portion, Portions
from lakewright.data.rows.arrays import distinct, plain_array
from lakewright.data.rows.choosing import Chosen, choose
from lakewright.data.rows.columns import column
from lakewright.data.rows.facts import WORTH, as_text
from lakewright.data.rows.folds import FOLDS
from lakewright.data.rows.inputs import ROLES, ColumnUse, close, noticed_in, uses
from lakewright.data.rows.kinds import whole_row
from lakewright.data.rows.leaks import check_alone
from lakewright.data.rows.lost import Shortfalls
from lakewright.data.rows.quality import (
    Noticed,
    check_absent,
    check_constant,
    check_size_of_test,
    check_test,
    check_train,
    counted,
    cut,
)
from lakewright.data.rows.reading import Batch, NoLake, Reading
from lakewright.data.rows.splits import SPLITS, TEST, TRAIN, Method
from lakewright.data.rows.unlabeled import Unlabeled, check_columns, draw, known
from lakewright.data.sources.derived import columns_of
from lakewright.errors import DataError, LakewrightError, ProjectError
from lakewright.learning.learners import check_fit
from lakewright.learning.recipes import STORED, FittedRecipe, fit_recipe, rows_of
from lakewright.model.recipe.derive import Derive, DeriveSettings
from lakewright.model.tasks import reads_inputs
from lakewright.model.tasks.inputs import RESERVED, reserved
from lakewright.records import Finding, Prepared, TableVersion
from lakewright.settings.project import DERIVED

if TYPE_CHECKING:
    from lakewright.data.lake.tables import Lake
    from lakewright.data.rows.kinds import Kind
    from lakewright.model.recipe import Recipe
    from lakewright.model.recipe.encoded import Encoded
    from lakewright.model.recipe.ragged import Ragged
    from lakewright.model.tasks import Task
    from lakewright.settings.project import Project
    from lakewright.settings.sections import Columns
    from lakewright.system.progress import Advance
    from lakewright.workers import Workers


@dataclass(frozen=True, eq=False)
class Plan:
    project: Project  # with every input named
    reading: Reading
    method: Method
    chosen: Chosen
    task: Task
    fitted: FittedRecipe

    @property
    def recipe(self) -> Recipe:
        return self.fitted.recipe


def encoded(
    reading: Reading,
    task: Task,
    fitted: FittedRecipe,
    split: npt.NDArray[np.int8],
    parts: npt.NDArray[np.int16],
    shortfalls: Shortfalls,
) -> Iterator[tuple[Batch, Encoded, Ragged]]:
    """The batches of the reading with what the network reads and learns; what is lost of them is added to the
    shortfalls. `split` and `parts` are of all rows of the reading's table, or of its part. Steps that learned the truth
    encode a row of train as they were fitted without its fold."""
    folds = np.where(np.equal(split, SPLITS.index(TRAIN)), parts % FOLDS, np.int16(STORED))
    for batch in reading:
        here, inputs, truths = batch.rows - reading.first, batch.inputs, batch.truths
        made, lost = fitted.encoded_with_shortfalls(batch.values, folds[here])
        targets = task.targets(truths, made, inputs)
        lost += task.shortfalls(truths, made, targets, inputs)
        shortfalls.add(batch.rows, split[here], lost, partial(_excerpt, batch, task.inputs))
        yield batch, made, targets


def plan(
    table: TableVersion, project: Project, lake: Lake, workers: Workers, findings: list[Finding | Noticed]
) -> Plan:
    """Adds to the findings. Raises DataError where nothing can be learned from the rows, ProjectError for settings that
    do not fit them."""
    schema = lake.scan(table).schema
    for role, name in project.data.columns.names:
        column(schema.empty_table(), name, role)
    method = _method(project, schema.names)
    named = {name for _, name in project.data.columns.names}
    project = closed(project, table, lake, method, findings)
    try:
        return _plan(table, project, lake, workers, method, findings)
    except LakewrightError as error:
        error.cause, error.remedy = _of_open(error, {name for _, name in project.data.columns.names} - named)
        raise


def _of_open(error: LakewrightError, names: Collection[str]) -> tuple[str, str]:
    """The cause and the remedy where the error is one of a column that the project leaves open: nobody wrote its
    role."""
    for name, role in itertools.product(names, (*ROLES.values(), "texts", "text")):
        place = f"the column {name!r} (data.columns.{role})"
        if place in error.cause:
            cause = error.cause.replace(place, f"the column {name!r} (an input, since no role names it)")
            return cause, f"{error.remedy}; or leave the column out: data.exclude: [{name}]"
    return error.cause, error.remedy


def _plan(
    table: TableVersion,
    project: Project,
    lake: Lake,
    workers: Workers,
    method: Method,
    findings: list[Finding | Noticed],
) -> Plan:
    names = lake.scan(table).schema.names
    settings, columns = project.prepare, project.data.columns
    learner = plugins.LEARNERS.find(project.train.learner)
    Kind = plugins.TASKS.find(project.task.name)  # noqa: N806
    used = {name for _, name in columns.names} | ({columns.split or "split"} if method == "predefined" else set())
    names = [name for name in names if name in used]
    inputs = Kind.inputs_of(columns.roles)
    reading = Reading(lake, table, Kind, project.task, columns.roles, inputs, names)

    # Split first, before anything is fitted
    chosen = choose(reading, method, settings, columns, lake, workers, findings)
    train = reading.only(chosen.of(TRAIN))
    findings += check_size_of_test(chosen.counts[TEST])

    if Kind.level == "row":
        findings += check_alone(train, inputs)

    # Labels, and whatever else the task learns from the rows, from train
    truths = Portions(lake, table, lake.shape(table, names), workers, rows_of(train), worth=WORTH).computed(
        _Truths(replace(train, lake=NoLake(), selection=None)), f"reading {table}"
    )
    task = Kind.fit((pa.table({"truth": each}) for each in truths if len(each)), inputs, project.task)
    counts = chosen.label_counts
    bare = sorted(name for name in SPLITS if not counts[name])
    if bare and task.labels:
        raise DataError(f"no row of {' and '.join(bare)} has a label", "add labelled rows, or choose another split")
    if task.labels:
        if Kind.level == "row" and not Kind.one_label:
            findings += check_constant(counts[TRAIN], chosen.counts[TRAIN], columns=columns)
        check_train(counts, columns=columns, one_label=Kind.one_label)
        if Kind.one_label:
            findings += check_test(counts, columns=columns)
        findings += check_absent(counts, chosen.rows_with, columns=columns, one_label=Kind.one_label)

    # The recipe, from train
    fitted = fit_recipe(learner, task, train, chosen.parts[chosen.of(TRAIN)] % FOLDS, project, lake, workers)
    return Plan(project, reading, method, chosen, task, fitted)


@dataclass(frozen=True, eq=False)
class _Truths:
    """The truths of a part's rows of train, each once where Arrow compares them."""

    reading: Reading  # without a lake

    def __call__(self, portion: Portion[npt.NDArray[np.bool_]], advance: Advance | None) -> pa.Array:
        reading = self.reading.of_part(portion, advance).only(portion.decided)
        truths = [plain_array(batch.task_columns["truth"]) for batch in reading]
        return distinct(pa.concat_arrays(truths))[1] if truths else pa.nulls(0)


def unlabeled_rows(
    version: TableVersion, planned: Plan, project: Project, findings: list[Finding | Noticed]
) -> Unlabeled:
    """The rows of data.unlabeled that a learner may learn from; `project` has every input named. Adds to the findings.

    Of the project's own table these are the rows without a truth; of another one all rows, whatever columns it has
    beside the inputs. Raises DataError where it lacks a column.
    """
    reading, columns = planned.reading, project.data.columns
    own, task = version.name == reading.table.name, reading.task
    needed = {name for _, name in (columns.names if own else columns.inputs)}
    named = replace(reading, table=version, columns=sorted(needed), selection=None)
    check_columns(named, columns)
    if not own:
        assert reads_inputs(task), "check_fit refused it"
        named = replace(named, inputs_alone=task.read_inputs)
    settings = project.prepare
    unlabeled, more = draw(named, known(reading), columns, settings.drop_missing, settings.split.seed)
    if own:  # they are learned from after all
        for place, each in enumerate(findings):
            if each.name == "missing_label" and isinstance(each, Finding):
                findings[place] = each.model_copy(
                    update={
                        "detail": f"{counted(each.count, 'row')} without a label in no split: data.unlabeled reads "
                        "them."
                    }
                )
    findings += more
    return unlabeled


def closed(
    project: Project, table: TableVersion, lake: Lake, method: Method, findings: list[Finding | Noticed]
) -> Project:
    """The project with every input named, if it leaves the table's columns open. Adds to the findings."""
    columns = project.data.columns
    if not columns.is_open:
        findings += noticed_in(column_uses(project, table, lake, method))
        return project
    chosen = column_uses(project, table, lake, method)
    named, more = close(columns, table, chosen)
    findings += more
    project = project.with_columns(named, _derive(project, chosen))
    check_fit(project)
    return project


def named_columns(project: Project, table: TableVersion, lake: Lake) -> Columns:
    """data.columns with every input named. Raises DataError as `close` does."""
    columns = project.data.columns
    return close(columns, table, column_uses(project, table, lake))[0] if columns.is_open else columns


def column_uses(project: Project, table: TableVersion, lake: Lake, method: Method | None = None) -> list[ColumnUse]:
    """What each column of the table is to the project's model, and why. Raises ProjectError for an input of a name that
    rows use themselves."""
    columns = project.data.columns
    method = method or _method(project, lake.scan(table).schema.names)
    learner = plugins.LEARNERS.find(project.train.learner)
    reads, single = {*learner.reads}, learner.reads.get("number") == "native"
    for settings in project.prepare.recipe.values():
        reads.update(plugins.STEPS.find(settings.step).reads)
    # What the truth is derived from tells it, and so does whatever else is derived from that or from the truth
    derived = {name: {*columns_of(text, name)} for name, text in project.data.derive.items()}
    truth = {name for _, name in columns.truth}
    sources = {source for name in truth & derived.keys() for source in derived[name]}
    tell = truth | sources
    leave = dict.fromkeys(sources, "the truth is derived from it (data.derive)")
    leave |= {
        name: "derived from the truth, or from what it is derived from" for name in derived if derived[name] & tell
    }
    if method == "predefined":
        leave[columns.split or "split"] = "the published split"
    roles = {name for _, name in columns.names}
    for lookup in project.features:  # a key says who, and a model would learn whom it has seen
        keys = feature_table(lake, lookup.table).keys
        leave |= {
            name: f"a key of {lookup.table} (features); name it as an input to learn from it"
            for name in (lookup.keys.get(key, key) for key in keys)
            if name not in roles
        }
    computed = {name: derived[name] for name in derived if columns.is_open and name not in {*roles, *leave}}
    steps = [learner.reads.get("text"), *(settings.step for settings in project.prepare.recipe.values())]
    most = [getattr(plugins.STEPS.find(step), "most_texts", None) for step in steps if step is not None]
    most_texts = min((each for each in most if each is not None), default=None)
    chosen = uses(columns, lake, table, reads, leave, computed, single, most_texts)
    for each in chosen:
        if not each.column and each.use != "no input":
            raise ProjectError(
                "a column of the table has no name, and it is an input",
                "name it at the source or in SQL, or leave it out: data.exclude: ['']",
            )
        if each.column in RESERVED and each.use != "no input" and each.kind in ROLES:
            raise reserved(each.column, each.why if each.column in roles else "no role names it")
    return chosen


def _derive(project: Project, chosen: Sequence[ColumnUse]) -> DeriveSettings | None:
    """The step by which predictions compute the inputs of data.derive; None if there are none."""
    computed = {each.column: project.data.derive[each.column] for each in chosen if each.use == "derived"}
    if not computed:
        return None
    if DERIVED in project.prepare.recipe:
        raise ProjectError(f"prepare.recipe.{DERIVED} is the name of the step of data.derive", "choose another name")
    read = {source for name, text in computed.items() for source in columns_of(text, name)}
    inputs = [each for each in chosen if each.column in read]
    unread = [each for each in inputs if each.kind not in Derive.reads or each.use not in ("input", "read by derive")]
    for each in unread:
        raise ProjectError(
            f"data.derive reads the column {each.column!r} for an input, and the model does not ({each.why})",
            "name it under data.columns (numbers, categories or times), or leave the derived input out",
        )
    kinds = {each.column: each.kind for each in inputs if each.kind is not None}
    drop = [each.column for each in inputs if each.use == "read by derive"]
    settings = DeriveSettings(inputs=[*kinds], columns=computed, drop=drop)
    try:
        Derive.makes(kinds, settings)
    except ProjectError as error:
        raise ProjectError(
            f"data.derive: predictions compute derived inputs, too, and {error.cause.removeprefix('prepare.recipe: ')}",
            f"{error.remedy}; or name the column under data.columns: then each row must bring it",
        ) from None
    return settings


def as_prepared(project: Project, prepared: Prepared) -> Project:
    """The project with every input named, as prepare named them."""
    if prepared.columns is None:  # an older record, whose project named them all
        return project
    derive = None if prepared.derive is None else DeriveSettings.model_validate(prepared.derive)
    return project.with_columns(type(project.data.columns).model_validate(prepared.columns), derive)


def _excerpt(batch: Batch, inputs: Mapping[str, Kind], at: int) -> str:
    return f"{cut(as_text(batch.truths[at]))!r}: {cut(whole_row(batch.inputs[at], inputs))}"


def _method(project: Project, columns: Sequence[str]) -> Method:
    method = project.prepare.split.method
    if method != "auto":
        return method
    if project.data.columns.split or "split" in columns:
        return "predefined"
    return "grouped" if project.data.columns.group else "random"
