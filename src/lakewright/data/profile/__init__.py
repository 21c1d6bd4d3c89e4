"""Look at the data first: the content of a table, before anything is learned from it.

columns, suspicious   every column: its type, missing values, distribution, suspicious values
texts, languages      the lengths of texts, their languages, repeated texts
labels, splits        the distribution of labels, over rows and over splits
facets, bias          the distribution of labels over a column's values: SageMaker Clarify's pre-training measures
findings              the results that deserve a look
expectations          what the table satisfies, as files for a project, SageMaker and Databricks
page, notebook        profile.html, and profile.ipynb, which repeats the main parts
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from pydantic import Field

from lakewright.data.profile.bias import FacetBias, measure_bias
from lakewright.data.profile.columns import ColumnProfile, profile_column
from lakewright.data.profile.findings import findings_of
from lakewright.data.profile.labels import LabelProfile, Labels, profile_labels, read_labels, read_truths
from lakewright.data.profile.splits import SplitProfile, names_of, planned_split, profile_splits, split_of_column
from lakewright.data.profile.texts import (
    DuplicateProfile,
    TextProfile,
    TextRows,
    find_text_rows,
    profile_duplicates,
    profile_text,
)
from lakewright.data.rows.inputs import ColumnUse, close
from lakewright.data.rows.lost import Shortfalls
from lakewright.errors import DataError, LakewrightError, NotFound, nearest
from lakewright.records import Finding, Record, TableVersion
from lakewright.system.progress import bar

if TYPE_CHECKING:
    import numpy.typing as npt
    import pyarrow as pa

    from lakewright.data.lake.tables import Lake
    from lakewright.data.rows.splits import Method
    from lakewright.model.recipe.tokens import Tokens
    from lakewright.settings.project import Project
    from lakewright.settings.sections import Columns

LABEL_ROLES = ("label", "labels", "tags", "spans", "score")


class Roles(Record):
    """The columns of texts, labels and the split; `found` are the roles that nobody named: they are guesses."""

    text: list[str]
    label: list[str]
    label_role: Literal["label", "labels", "tags", "spans", "score"]
    split: str | None
    found: list[str]
    vector: list[str] = Field(default=[], description="the labels of a multi-hot vector's places")


class TableProfile(Record):
    table: TableVersion
    roles: Roles
    tokenizer: str | None  # the base model whose tokens were counted
    findings: list[Finding]  # results that deserve a look
    columns: list[ColumnProfile]
    uses: list[ColumnUse] = Field(default=[], description="what each column is to the project's model, and why")
    texts: list[TextProfile]
    duplicates: DuplicateProfile | None
    labels: LabelProfile | None
    splits: SplitProfile | None
    bias: list[FacetBias]
    lost: list[Finding] | None  # losses: what the project's model cannot read or predict; None: not checked
    notes: list[str]  # guesses, samples and omissions
    expectations: list[str] = Field(default=[], description="files of expectations, where they were wished")
    page: str
    json_file: str
    notebook: str


def measured(
    lake: Lake,
    table: TableVersion,
    project: Project | None,
    roles: Roles,
    *,
    bias: Sequence[str],
    group: str | None = None,
    counter: Tokens | None,
    base: str | None,
    round_trip: Callable[[Shortfalls], None] | None,
    uses: Sequence[ColumnUse] = (),
    folder: Path,
) -> TableProfile:
    """The table's profile, whose files will lie in `folder`.

    `counter` counts the tokens of the base model `base`. `round_trip` encodes the rows as the project's prepare will,
    and counts the losses. Raises NotFound for an unknown facet of `bias`, or an unknown column `group`.
    """
    schema, notes = lake.scan(table).schema, list[str]()
    with bar("profile", len(schema) + 5) as advance:
        # First, so that an unknown name or value is reported before the long work.
        labels = _labels(lake, table, roles, _closed(project, table, uses), notes) if roles.label else None
        facets, of_facets = list[FacetBias](), list[Finding]()
        if bias and labels is not None:
            facets, of_facets = measure_bias(lake, table, bias, labels, group)
        advance(1, "columns")
        columns = []
        for field in schema:
            columns.append(profile_column(lake, table, field))
            advance(1, field.name)
        if not roles.text and project is None:
            kinds = {column.name: column.kind for column in columns}
            preferred = ["text"] if kinds.get("text") in ("text", "category") else []
            text_columns = preferred or [name for name, kind in kinds.items() if kind == "text"]
            roles = roles.model_copy(
                update={"text": text_columns, "found": [*roles.found, *["text"] * bool(text_columns)]}
            )
        advance(1, "duplicates")
        truths = None if labels is None else labels.truth_codes()
        text_rows = find_text_rows(lake, table, roles.text, truths) if roles.text else None
        names = labels.names if labels is not None and labels.kind == "class" else ()
        duplicates = (
            profile_duplicates(lake, table, roles.text, text_rows, truths, names) if text_rows is not None else None
        )
        advance(1, "splits")
        splits, split_of_row = _splits(lake, table, roles, project, labels, text_rows, notes)
        advance(1, "texts")
        texts = [profile_text(lake, table, name, counter, *_coded(split_of_row, table.rows)) for name in roles.text]
        advance(1, "round trip")
        lost = None
        if round_trip is not None and (splits is not None or not roles.text):
            lost = _lost(round_trip, notes)
    profile = TableProfile(
        table=table,
        roles=roles,
        tokenizer=base,
        findings=[],
        columns=columns,
        uses=[*uses],
        texts=texts,
        duplicates=duplicates,
        labels=None if labels is None else profile_labels(labels),
        splits=splits,
        bias=facets,
        lost=lost,
        notes=[*_notes(roles, texts, base), *notes],
        page=str(folder / "profile.html"),
        json_file=str(folder / "profile.json"),
        notebook=str(folder / "profile.ipynb"),
    )
    return profile.model_copy(update={"findings": findings_of(profile, of_facets)})


def roles_of(
    schema: pa.Schema, project: Project | None, text: Sequence[str], label: Sequence[str], split: str | None
) -> Roles:
    for option, names in (("text", text), ("label", label), ("split", [split] if split else [])):
        for name in names:
            if name not in schema.names:
                raise NotFound(f"there is no column {name!r} (--{option})", nearest(name, schema.names))
    project_roles, role = _of_project(schema, project.data.columns) if project is not None else ({}, "label")
    guessed = []
    chosen: dict[str, Any] = {
        "text": list(text) or project_roles.get("text", []),
        "split": split or project_roles.get("split"),
    }
    chosen["label"] = list(label) or project_roles.get("label", [])
    chosen["label_role"] = "label" if label else role
    if chosen["label_role"] == "labels" and project is not None:
        chosen["vector"] = getattr(project.task, "labels", None) or []
    if not chosen["label"] and project is None:
        chosen["label"] = next(([name] for name in ("label", "labels") if name in schema.names), [])
        guessed += ["label"] * bool(chosen["label"])
    if not chosen["split"] and "split" in schema.names:  # like prepare
        chosen["split"] = "split"
        guessed.append("split")
    return Roles(**chosen, found=guessed)


def _of_project(schema: pa.Schema, columns: Columns) -> tuple[dict[str, Any], str]:
    """The text, label and split columns of a project, and the role of the label columns."""
    for role, name in columns.names:
        if name not in schema.names:
            raise DataError(f"the table has no column {name!r} (data.columns.{role})", nearest(name, schema.names))
    columns_of_role = columns.roles
    role = next((name for name in LABEL_ROLES if name in columns_of_role), "label")
    labels = columns_of_role.get(role, [])
    return {
        "text": [name for role, name in columns.inputs if isinstance(columns_of_role[role], str)],
        "label": labels if isinstance(labels, list) else [labels],
        "split": columns.split,
    }, role


def _closed(project: Project | None, table: TableVersion, uses: Sequence[ColumnUse]) -> Project | None:
    """The project with its inputs named, if it leaves the table's columns open: a task reads labels beside inputs."""
    if project is None or not project.data.columns.is_open:
        return project
    try:
        return project.with_columns(close(project.data.columns, table, uses)[0], None)
    except DataError:  # no input is left; the round trip notes it
        return project


def _labels(lake: Lake, table: TableVersion, roles: Roles, project: Project | None, notes: list[str]) -> Labels:
    """The labels as the project's task reads them if they are the project's own, else as their columns look."""
    if project is not None and roles.label == _of_project(lake.scan(table).schema, project.data.columns)[0]["label"]:
        try:
            return read_truths(lake, table, project)
        except LakewrightError as error:
            notes.append(f"The project's task cannot read the labels: {error.cause}. {error.remedy}.")
    return read_labels(lake, table, roles.label, roles.label_role, roles.vector)


def _splits(
    lake: Lake,
    table: TableVersion,
    roles: Roles,
    project: Project | None,
    labels: Labels | None,
    text_rows: TextRows | None,
    notes: list[str],
) -> tuple[SplitProfile | None, npt.NDArray[np.object_] | None]:
    """The profile of the splits, and the split of each row [rows]."""
    requested = "auto" if project is None else project.prepare.split.method
    split: npt.NDArray[np.object_]
    if roles.split is not None and requested in ("auto", "predefined"):
        split = split_of_column(lake, table, roles.split)
        return profile_splits(split, labels, text_rows, source="column", by=roles.split), split
    if project is None or text_rows is None or requested == "predefined":
        return None, None
    project_roles, _ = _of_project(lake.scan(table).schema, project.data.columns)
    if roles.text != project_roles["text"] or roles.label != project_roles["label"]:
        notes.append("The project's split is not shown: it depends on its own text and label columns.")
        return None, None
    method: Method = requested if requested != "auto" else "grouped" if project.data.columns.group else "random"
    try:
        split = planned_split(lake, table, project, method, text_rows, labels)
    except DataError as error:
        notes.append(f"The rows cannot be split as the project requires: {error.cause}. {error.remedy}.")
        return None, None
    return profile_splits(split, labels, text_rows, source="project", by=method), split


def _lost(round_trip: Callable[[Shortfalls], None], notes: list[str]) -> list[Finding] | None:
    """What is lost when rows are encoded as `prepare` will encode them, and decoded."""
    shortfalls = Shortfalls()
    try:
        round_trip(shortfalls)
    except LakewrightError as error:
        notes.append(f"The rows cannot be prepared as the project requires: {error.cause}. {error.remedy}.")
        return None
    return shortfalls.findings()


def _coded(split: npt.NDArray[np.object_] | None, rows: int) -> tuple[list[str], npt.NDArray[np.intp]]:
    """The splits, and each row's index in them."""
    if split is None:
        return ["all rows"], np.zeros(rows, np.intp)
    names = names_of(split)
    place = {name: i for i, name in enumerate(names)}
    codes = np.array([place.get(name, len(names)) for name in split.tolist()], dtype=np.intp)
    return [*names, "rows of no split"] if None in split.tolist() else names, codes


def _notes(roles: Roles, texts: Sequence[TextProfile], base: str | None) -> list[str]:
    """Notes for the reader on how the table was measured."""
    notes = []
    if roles.found:
        named = {"text": ", ".join(roles.text), "label": ", ".join(roles.label), "split": roles.split}
        guessed = "; ".join(f"{role}: {named[role]}" for role in roles.found)
        notes.append(
            f"Columns whose role was guessed from name or content: {guessed} (--text, --label, --split name others)."
        )
    if not roles.label:
        notes.append("No label column is named: labels are not measured (--label COLUMN).")
    if texts and base is None:
        notes.append("Lengths are in words only: --tokenizer BASE_MODEL, or --project, counts a model's own tokens.")
    notes += [
        f"{text.column!r}: tokens and languages are measured on one in {text.every} of its {text.texts:,} texts."
        for text in texts
        if text.every > 1
    ]
    return notes
