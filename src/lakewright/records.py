"""Records, which stages pass to each other: small, frozen, naming tables, folders and runs, stored as JSON.

A record never holds rows or weights, only their places. A stage gets the records of the stages before it and returns
its own, so any stage can run in another process or on another machine with only these files. A place in the workspace
is stored as `workspace:models/…`, so that the workspace can be moved; in memory it is a path on this machine.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import (
    AfterValidator,
    AliasChoices,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    PlainSerializer,
    SerializationInfo,
    ValidationInfo,
)
from pydantic.fields import FieldInfo

from lakewright.system import jsonfile
from lakewright.system.paths import stays_inside

INSIDE = "workspace:"


def place_in(workspace: Path, place: str) -> str:
    """The path of a place that `stored_place` returned. Raises ValueError for one outside the workspace."""
    if not place.startswith(INSIDE):
        return place
    inside = place.removeprefix(INSIDE)
    if not stays_inside(inside):
        raise ValueError(f"{place} is not a place in the workspace")
    return str(workspace / inside)


def stored_place(workspace: Path, place: str) -> str:
    """A path in the workspace in its stored form, which stays right when the workspace is moved; others unchanged."""
    if not Path(place).is_relative_to(workspace):
        return place
    inside = Path(place).relative_to(workspace).as_posix()
    return INSIDE + inside if stays_inside(inside) else place


def _local(place: str, info: ValidationInfo) -> str:
    return place_in(info.context["workspace"], place) if info.context else place


def _inside(place: str, info: SerializationInfo) -> str:
    return stored_place(info.context["workspace"], place) if info.context else place


def _undefined(value: object) -> object:
    return math.nan if value is None else value


Number = Annotated[float, BeforeValidator(_undefined)]  # a number that is not finite is null in JSON
Place = Annotated[str, AfterValidator(_local), PlainSerializer(_inside)]  # a path, or a URI


def _is_place(info: FieldInfo) -> bool:
    return any(isinstance(validator, AfterValidator) and validator.func is _local for validator in info.metadata)


class Record(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", protected_namespaces=())

    @classmethod
    def from_stored(cls, values: dict[str, Any], workspace: Path) -> Self:
        """The record, read from the values of `stored_values`. Raises ValueError
        (pydantic's ValidationError) for other values."""
        return cls.model_validate(values, context={"workspace": workspace})

    @property
    def places(self) -> list[str]:
        """The files and folders that the record names."""
        return [str(getattr(self, name)) for name, info in type(self).model_fields.items() if _is_place(info)]


class TableVersion(Record):
    """A Delta table pinned at one version: `catalog.schema.table@vN`."""

    name: str
    version: int
    uri: Place
    rows: int

    def __str__(self) -> str:
        return f"{self.name}@v{self.version}"


class Changed(Record):
    """What a statement did to a table: to its rows, to its files, or to the table itself; or to a view."""

    table: str
    version: int | None = Field(description="the version that there is now; None: the table is gone, or a view")
    did: str = Field(description="updated, deleted, merged, made, dropped, optimized, vacuumed, restored, or nothing")
    updated: int = 0  # rows
    deleted: int = 0
    inserted: int = 0
    files_added: int = 0
    files_removed: int = 0
    kept: dict[str, list[str]] = Field(default={}, description="version that vacuum left alone → what names it")
    not_rebuildable: list[str] = Field(
        default=[], description="what depends on rows that were erased, and cannot be made again"
    )
    note: str = ""


class Finding(Record):
    """One thing noticed about the data; `rows` are a few examples."""

    name: str
    count: int
    detail: str
    rows: list[str] = []


class Ingested(Record):
    table: TableVersion
    source: str
    fingerprint: str = Field(description="changes when the content of the source changes")
    unlabeled: TableVersion | None = Field(default=None, description="data.unlabeled, at the version that is read")
    parts: dict[str, int] = Field(default={}, description="machine → the pieces of the source that it copied")
    features: list[TableVersion] = Field(default=[], description="feature tables that its rows are joined with")
    views: dict[str, str] = Field(default={}, description="view that the rows were read through → its text")
    reads: list[TableVersion] = Field(default=[], description="tables of the lake that the rows were read from")
    quarantine: TableVersion | None = Field(
        default=None, description="the table of the rows that expectations dropped, if there is one"
    )
    findings: list[Finding] = []


class Prepared(Record):
    table: TableVersion
    features: TableVersion
    unlabeled: TableVersion | None = Field(default=None, description="data.unlabeled, at the version that was read")
    unlabeled_rows: int = Field(default=0, description="rows of it among the features")
    views: dict[str, str] = Field(default={}, description="view that the rows were read through → its text")
    reads: list[TableVersion] = Field(default=[], description="tables of the lake that the rows were read from")
    recipe: Place = Field(
        validation_alias=AliasChoices("recipe", "encoding"),  # the name in older runs
        description="folder of the fitted steps that turn a row into network inputs (recipe.json, …)",
    )
    task: dict[str, Any] = Field(description="the task as it was fitted on train")
    columns: dict[str, Any] | None = Field(default=None, description="data.columns, with every input named")
    derive: dict[str, Any] | None = Field(default=None, description="the step that computes inputs of data.derive")
    splits: dict[str, int] = Field(description="rows by split")
    label_counts: dict[str, dict[str, int]] = Field(description="split → label → rows")
    lengths: dict[str, int] = Field(description="quantiles of the encoded length: p50, p90, p99, max")
    length_histogram: list[tuple[int, int, int]] = Field(
        default=[], description="encoded lengths before any cut: shortest, longest, rows of train"
    )
    max_length: int | None
    findings: list[Finding] = []
    parts: dict[str, int] = Field(default={}, description="machine → the parts of the table that it encoded")

    @property
    def labels(self) -> list[str]:
        return list(self.task["labels"])


class Trained(Record):
    model_folder: Place
    digest: str = Field(description="sha256 over the folder's files")
    learner: str
    validation: dict[str, float] = {}
    details: dict[str, float | int | str] = {}


class Metric(Record):
    """A value with its bootstrap confidence interval."""

    value: Number
    low: Number
    high: Number

    def __float__(self) -> float:
        return self.value


class Importance(Record):
    """What an input is worth: the loss of the primary metric when its values are shuffled among test rows."""

    input: str
    value: Number  # the mean of several shuffles; below 0: better without it, by chance
    low: Number
    high: Number


class Reason(Record):
    """How much an input of a row weighs in its prediction: above 0 it speaks for it, or raises the number."""

    input: str
    value: str | float | None
    weight: Number
    label: str | None = None  # of several labels, the one that it is about


class Explained(Record):
    """The reasons of one test row, the heaviest first."""

    row: int  # in the order of the test rows
    method: str
    reasons: list[Reason]


class Dependence(Record):
    """How the mean prediction over test rows changes with one input, which is set to each of `values` in all rows."""

    input: str
    kind: Literal["number", "category", "time"]
    values: list[float | str]  # a time in ISO 8601
    means: dict[str, list[Number]]  # class → its mean probability at each value; "" → the mean number
    rows: int


class Choice(Record):
    """A way to decide between two classes, on the test rows."""

    threshold: float | None  # the second class is predicted from this probability on; None: by another rule
    cost: Metric  # for 1,000 rows
    precision: Number  # of the second class
    recall: Number


class Costs(Record):
    """What errors between two classes cost, and the threshold at which they cost least on validation."""

    positive: str = Field(description="the second class")
    false_positive: float
    false_negative: float
    threshold: float
    validation_rows: int
    validation_cost: float  # of the threshold, for 1,000 rows
    choices: dict[str, Choice] = Field(description="least, present (as the model decides), always, never")
    saved: Metric = Field(description="cost of `present` minus that of `least`, for 1,000 rows, row by row")


class FacetMeasures(Record):
    """The predictions of the rows of one value of a column, the facet, beside those of the rest."""

    column: str
    value: str
    rows: int
    rest_rows: int
    measures: dict[str, Metric] = Field(description="Clarify's name → value; low or high null: no bound")
    undefined: dict[str, str] = Field(default={}, description="measure that is infinite or not defined → reason")
    fliptest_rows: tuple[int, int] | None = Field(default=None, description="rows of the facet and of the rest in FT")

    @property
    def names(self) -> set[str]:
        """The measures, defined or not."""
        return {*self.measures, *self.undefined}

    def __str__(self) -> str:
        return f"{self.column}: {self.value}"


class BiasMeasures(Record):
    """How predictions differ between the facets of evaluate.bias."""

    positive: str = Field(description="the better outcome, in words")
    group: str | None
    read_by_model: list[str] = Field(description="the columns of facets that are inputs")
    facets: list[FacetMeasures]
    findings: list[Finding] = []


class Report(Record):
    metrics: dict[str, Metric]
    single_row_metrics: dict[str, Number] = Field(
        default={}, description="the same metrics by the runtime that serves single rows, if it is another one"
    )
    undefined: dict[str, str] = Field(default={}, description="metric that the test rows do not define → reason")
    primary: str = Field(description="the metric by which the gate compares models")
    rows: int
    kind: str = Field(default="", description="the kind of truth, by the scorer: it selects a section of the page")
    classes: dict[str, dict[str, Number]] = {}
    importances: list[Importance] = Field(default=[], description="of rows with columns: their inputs, the best first")
    dependences: list[Dependence] = Field(default=[], description="of the most important inputs")
    explained: list[Explained] = Field(default=[], description="the reasons of a few test rows, wrong ones first")
    costs: Costs | None = Field(default=None, description="by evaluate.cost")
    bias: BiasMeasures | None = Field(default=None, description="by evaluate.bias")
    slices: dict[str, dict[str, dict[str, Metric]]] = Field(
        default={}, description="column → value → metric; support is under the metric name 'rows'"
    )
    confidence: float = 0.95
    test_rows: Place = Field(description="parquet file: the frozen test rows with truth and prediction")
    html: Place
    json_file: Place
    runtime: str
    model_bytes: int
    seconds_per_1000_rows: float
    notes: list[str] = []


class Check(Record):
    name: str
    passed: bool
    value: float | None = None
    threshold: float | None = None
    detail: str = ""


class Decision(Record):
    passed: bool
    checks: list[Check]
    champion: str | None = Field(default=None, description="the model version that this one was compared with")
    against_champion: dict[str, Metric] = Field(
        default={}, description="metric → this model's value minus the champion's, on the same test rows"
    )


class ModelVersion(Record):
    name: str
    version: int
    aliases: list[str]
    uri: str = ""
    digest: str = ""
    tags: dict[str, str] = {}

    def __str__(self) -> str:
        return f"{self.name} version {self.version}"

    @property
    def at(self) -> str:
        return f"models:/{self.name}/{self.version}"


class Searched(Record):
    """What a search found, when a target ran it."""

    search: str  # tune or automl
    name: str  # in the workspace's folder tune or automl
    metric: str
    best: dict[str, Any]  # the settings: of tune those of the best trial, of automl the section train
    why: str
    project: Place  # best.yml
    model_folder: Place


Status = Literal["done", "skipped", "failed"]


class StageResult(Record):
    """How one stage of a run ended."""

    status: Status
    seconds: float
    why: str


def as_json(record: Record) -> str:
    return jsonfile.text(plain(record))


def plain(record: Record) -> dict[str, Any]:
    """The record as JSON-ready values, for `--json`."""
    return record.model_dump(mode="json")


def stored_values(record: Record, workspace: Path) -> dict[str, Any]:
    """The record as JSON-ready values that do not depend on the workspace's path, for its files and for hashing."""
    return record.model_dump(mode="json", context={"workspace": workspace})
