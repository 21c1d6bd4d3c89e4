"""Look at the data first: what a table holds, before anything is learned from it.

columns, suspicious   every column: its type, what is missing, how values are spread, what looks wrong
texts, languages      how long texts are, in which languages, which stand twice
labels, splits        how labels are spread, over rows and over splits
bias                  how labels are spread over the values of a column: SageMaker Clarify's pre-training measures
findings              what of it deserves a look
page, notebook        profile.html, and profile.ipynb, which does the main parts again
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from pydantic import Field

from lakewright.errors import DataError, NotFound, UsageError, nearest
from lakewright.learning.learners import check_fit
from lakewright.data.rows.planning import plan
from lakewright.data.rows.shortfalls import Shortfalls
from lakewright.data.profile.bias import FacetBias, measure_bias
from lakewright.data.profile.columns import ColumnProfile, profile_column
from lakewright.data.profile.findings import worth_a_look
from lakewright.data.profile.labels import LabelProfile, Labels, profile_labels, read_labels
from lakewright.data.profile.splits import SplitProfile, names_of, planned_split, profile_splits, split_of_column
from lakewright.data.profile.texts import DuplicateProfile, Known, TextProfile, find_known, profile_duplicates, profile_text
from lakewright.system.progress import bar
from lakewright.records import Finding, Record, TableVersion, as_json

if TYPE_CHECKING:
    import numpy.typing as npt
    import pyarrow as pa

    from lakewright.model.recipe.tokens import Tokens
    from lakewright.data.lake.tables import Lake
    from lakewright.data.rows.splits import Method
    from lakewright.settings.project import Columns, Project
    from lakewright.workspace import Workspace

TEXT_ROLES = ("text", "text_pair", "question", "context", "tokens")
LABEL_ROLES = ("label", "labels", "tags", "spans", "score")


class Roles(Record):
    """Which columns are texts, labels and the split; `found` are the roles that nobody named: they were guessed."""

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
    findings: list[Finding]  # what deserves a look
    columns: list[ColumnProfile]
    texts: list[TextProfile]
    duplicates: DuplicateProfile | None
    labels: LabelProfile | None
    splits: SplitProfile | None
    bias: list[FacetBias]
    lost: list[Finding] | None  # what the project's model cannot read or predict; None where it was not looked at
    notes: list[str]  # what was guessed, sampled or left out
    page: str
    json_file: str
    notebook: str


def profile_table(
    table: str,
    *,
    project: str | Path | None = None,
    text: Sequence[str] = (),
    label: Sequence[str] = (),
    split: str | None = None,
    bias: Sequence[str] = (),
    tokenizer: str | None = None,
    out: str | Path | None = None,
    profile: str | None = None,
) -> TableProfile:
    """Measure `catalog.schema.table[@vN]` and write profile.html, profile.json and profile.ipynb: `lakewright profile`.

    `project` is a project file: its data.columns say what the columns are, its prepare.split how rows will be split,
    its base model how texts become tokens. `text`, `label`, `split` name columns instead, and go before it; several
    `label` columns are columns of 0 and 1. `bias` are columns, or column=value. `tokenizer` is a base model, as
    train.base_model names it. `out` is a folder, by default one of the workspace.

    Raises NotFound for a table, a column or a value named here that is not there, DataError for a column that
    the project names, ModelError for a base model without a tokenizer.
    """
    from lakewright.settings.profile import load_profile
    from lakewright.data.profile.notebook import write_notebook
    from lakewright.pages.profile import write_page
    from lakewright.settings.project import load_project
    from lakewright.workspace import Workspace, write_whole

    loaded = None if project is None else load_project(project)
    place = loaded.folder if loaded is not None else None
    workspace = Workspace.open(load_profile(profile, place))
    lake = workspace.lake
    pinned = lake.version(table)
    schema = lake.scan(pinned).schema
    roles = _roles(schema, loaded, text, label, split)
    if bias and not roles.label:
        raise UsageError("bias is measured between labels, and none is named", "name the label column (--label COLUMN)")
    counter, base = _tokenizer(loaded, tokenizer)
    notes: list[str] = []

    with bar("profile", len(schema) + 5) as advance:
        # First, since a name or a value that is not there is to be said before the work is done.
        labels = read_labels(lake, pinned, roles.label, roles.label_role, roles.vector) if roles.label else None
        facets, left_out = measure_bias(lake, pinned, bias, labels) if bias and labels is not None else ([], [])
        advance(1, "columns")
        columns = []
        for field in schema:
            columns.append(profile_column(lake, pinned, field))
            advance(1, field.name)
        if not roles.text and loaded is None:
            kinds = {column.name: column.kind for column in columns}
            named = ["text"] if kinds.get("text") in ("text", "category") else []
            texts_found = named or [name for name, kind in kinds.items() if kind == "text"]
            roles = roles.model_copy(
                update={"text": texts_found, "found": [*roles.found, *["text"] * bool(texts_found)]}
            )
        advance(1, "duplicates")
        truths = None if labels is None else labels.truth_codes()
        known = find_known(lake, pinned, roles.text, truths) if roles.text else None
        names = labels.names if labels is not None and labels.kind == "class" else ()
        duplicates = profile_duplicates(lake, pinned, roles.text, known, truths, names) if known is not None else None
        advance(1, "splits")
        splits, split_of_row = _splits(workspace, pinned, roles, loaded, labels, known, notes)
        advance(1, "texts")
        texts = [profile_text(lake, pinned, name, counter, *_coded(split_of_row, pinned.rows)) for name in roles.text]
        advance(1, "round trip")
        lost = None
        if loaded is not None and splits is not None and tokenizer is None:
            lost = _lost(lake, pinned, loaded, notes)
    notes = [*_told(roles, texts, base), *notes, *left_out]

    folder = Path(out).resolve() if out is not None else workspace.folder / "profiles" / str(pinned)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as failure:
        raise UsageError(
            f"{folder} cannot be written to: {failure.strerror or failure}", "name another folder (--out)"
        ) from None
    measured = TableProfile(
        table=pinned,
        roles=roles,
        tokenizer=base,
        findings=[],
        columns=columns,
        texts=texts,
        duplicates=duplicates,
        labels=None if labels is None else profile_labels(labels),
        splits=splits,
        bias=facets,
        lost=lost,
        notes=notes,
        page=str(folder / "profile.html"),
        json_file=str(folder / "profile.json"),
        notebook=str(folder / "profile.ipynb"),
    )
    measured = measured.model_copy(update={"findings": worth_a_look(measured)})
    write_whole(Path(measured.json_file), as_json(measured))
    write_page(measured)
    write_notebook(measured, workspace, profile, place, facets=bias)
    return measured


def _roles(
    schema: pa.Schema, project: Project | None, text: Sequence[str], label: Sequence[str], split: str | None
) -> Roles:
    for option, given in (("text", text), ("label", label), ("split", [split] if split else [])):
        for name in given:
            if name not in schema.names:
                raise NotFound(f"there is no column {name!r} (--{option})", nearest(name, schema.names))
    told, role = _of_project(schema, project.data.columns) if project is not None else ({}, "label")
    found = []
    chosen: dict[str, Any] = {"text": list(text) or told.get("text", []), "split": split or told.get("split")}
    chosen["label"] = list(label) or told.get("label", [])
    chosen["label_role"] = "label" if label else role
    if chosen["label_role"] == "labels" and project is not None:
        chosen["vector"] = getattr(project.task, "labels", None) or []
    if not chosen["label"] and project is None:
        chosen["label"] = next(([name] for name in ("label", "labels") if name in schema.names), [])
        found += ["label"] * bool(chosen["label"])
    if not chosen["split"] and "split" in schema.names:  # as prepare does
        chosen["split"] = "split"
        found.append("split")
    return Roles(**chosen, found=found)


def _of_project(schema: pa.Schema, columns: Columns) -> tuple[dict[str, Any], str]:
    """text, label and split columns of a project, and the role of the label columns."""
    for role, name in columns.names:
        if name not in schema.names:
            raise DataError(f"the table has no column {name!r} (data.columns.{role})", nearest(name, schema.names))
    played = columns.roles
    role = next((name for name in LABEL_ROLES if name in played), "label")
    labels = played.get(role, [])
    return {
        "text": [played[name] for name in TEXT_ROLES if name in played],
        "label": labels if isinstance(labels, list) else [labels],
        "split": columns.split,
    }, role


def _tokenizer(project: Project | None, named: str | None) -> tuple[Tokens | None, str | None]:
    """The encoding that counts whole texts, special tokens included, and the base model that it comes from."""
    from lakewright.learning.learners.encoder.base import base_folder, load_tokens, local_folder

    base = named or (getattr(project.train, "base_model", None) if project is not None else None)
    if base is None:
        return None, None
    root = project.folder if project is not None and named is None else Path.cwd()
    folder = base_folder(base, root)
    if not base.startswith("package:") and local_folder(base, root) is not None:
        base = str(folder)  # so that the notebook finds it from anywhere
    symbols = project.prepare.symbols if project is not None else "keep"
    return load_tokens(folder, max_length=1_000_000, symbols=symbols), base


def _splits(
    workspace: Workspace,
    table: TableVersion,
    roles: Roles,
    project: Project | None,
    labels: Labels | None,
    known: Known | None,
    notes: list[str],
) -> tuple[SplitProfile | None, npt.NDArray[np.object_] | None]:
    """How rows are split, and the split of each row [rows]."""
    asked = "auto" if project is None else project.prepare.split.method
    split: npt.NDArray[np.object_]
    if roles.split is not None and asked in ("auto", "predefined"):
        split = split_of_column(workspace.lake, table, roles.split)
        return profile_splits(split, labels, known, source="column", by=roles.split), split
    if project is None or known is None or asked == "predefined":
        return None, None
    told, _ = _of_project(workspace.lake.scan(table).schema, project.data.columns)
    if roles.text != told["text"] or roles.label != told["label"]:
        notes.append("The project's split is not told: it depends on its own text and label columns.")
        return None, None
    method: Method = asked if asked != "auto" else "grouped" if project.data.columns.group else "random"
    try:
        split = planned_split(workspace.lake, table, project, method, known, labels)
    except DataError as error:
        notes.append(f"The rows cannot be split as the project asks: {error.cause}. {error.remedy}.")
        return None, None
    return profile_splits(split, labels, known, source="project", by=method), split


def _lost(lake: Lake, table: TableVersion, project: Project, notes: list[str]) -> list[Finding] | None:
    """What does not come back of the rows, encoded as `prepare` will encode them."""
    shortfalls = Shortfalls()
    try:
        check_fit(project)
        for _ in plan(table, project, lake, []).encoded(shortfalls):
            pass
    except (DataError, UsageError) as error:
        notes.append(f"The rows cannot be prepared as the project asks: {error.cause}. {error.remedy}.")
        return None
    return shortfalls.findings()


def _coded(split: npt.NDArray[np.object_] | None, rows: int) -> tuple[list[str], npt.NDArray[np.intp]]:
    """The splits, and each row's place among them."""
    if split is None:
        return ["all rows"], np.zeros(rows, np.intp)
    names = names_of(split)
    place = {name: i for i, name in enumerate(names)}
    codes = np.array([place.get(name, len(names)) for name in split.tolist()], dtype=np.intp)
    return [*names, "rows of no split"] if None in split.tolist() else names, codes


def _told(roles: Roles, texts: Sequence[TextProfile], base: str | None) -> list[str]:
    """What a reader should know about how it was measured."""
    notes = []
    if roles.found:
        named = {"text": ", ".join(roles.text), "label": ", ".join(roles.label), "split": roles.split}
        guessed = "; ".join(f"{role}: {named[role]}" for role in roles.found)
        notes.append(
            f"Columns whose role was guessed from name or content: {guessed} (--text, --label, --split name others)."
        )
    if not roles.label:
        notes.append("No label column is named: nothing is said about labels (--label COLUMN).")
    if texts and base is None:
        notes.append("Lengths are in words alone: --tokenizer BASE_MODEL, or --project, counts a model's own tokens.")
    notes += [
        f"{text.column!r}: tokens and languages are measured on one in {text.every} of its {text.texts:,} texts."
        for text in texts
        if text.every > 1
    ]
    return notes
