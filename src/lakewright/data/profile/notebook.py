"""profile.ipynb: the main parts of the profile in a notebook, which runs unchanged and which users may change.

The format is nbformat 4.5: https://nbformat.readthedocs.io/en/latest/format_description.html
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lakewright.system import notebookfile

if TYPE_CHECKING:
    from lakewright.data.profile import TableProfile
    from lakewright.workspace import Workspace

SETTINGS = """\
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd

import lakewright as lw

TABLE = {table!r}
PROFILE, FOLDER = {profile!r}, {folder!r}  # profiles.yml lies in the folder, where there is one
WORKSPACE, LAKE = {workspace!r}, {lake!r}

place = lw.load_profile(PROFILE, Path(FOLDER)).model_copy(update={{"workspace": WORKSPACE, "lake": LAKE}})
workspace = lw.Workspace.open(place)
lake = workspace.lake
table = lake.version(TABLE)
rows = lake.read(table).to_pandas()  # of a large table, name the columns: lake.read(table, ["text", "label"])
print(table, rows.shape)
rows.head()"""

COLUMNS = """\
def is_missing(column):
    blank = column.map(lambda value: isinstance(value, str) and not value.strip())
    return column.isna() | blank.astype(bool)


missing = pd.Series({{name: int(is_missing(rows[name]).sum()) for name in rows}}, dtype="int64")
pd.DataFrame({{"missing": missing, "share": missing / max(len(rows), 1)}})"""

NUMBERS = """\
rows.describe(include="number").T if len(rows.select_dtypes("number").columns) else None"""

LENGTHS = """\
TEXT = {text!r}

def text_of(value):
    # A string, or a list of words; None where there is nothing in it
    if value is not None and not isinstance(value, (str, float)):
        value = " ".join(str(word) for word in value if word is not None)
    return value if isinstance(value, str) and value.strip() else None


texts = rows[TEXT].map(text_of).dropna()
words = texts.str.split().str.len()
print(words.describe(percentiles=[i / 10 for i in range(1, 10)]))
words.plot.hist(bins=40, title=f"words in {{TEXT}}".replace("$", r"\\$"))
plt.show()"""

TOKENS = """\
from tokenizers import Tokenizer

from lakewright.learning.learners.encoder.base import base_folder, vocabulary_of

tokenizer = Tokenizer.from_str(vocabulary_of(base_folder({base!r}, Path({folder!r})), {base!r}).tokenizer_json)
tokenizer.no_padding()
tokenizer.no_truncation()
sample = texts.iloc[:: max(1, len(texts) // 20_000)].tolist()
tokens = pd.Series([len(encoded.ids) for encoded in tokenizer.encode_batch_fast(sample)], dtype="int64")
print(tokens.describe(percentiles=[i / 10 for i in range(1, 10)]))
print({{limit: float((tokens > limit).mean()) for limit in (64, 128, 256, 512)}})
tokens.plot.hist(bins=40, title="tokens")
plt.show()"""

DUPLICATES = """\
from lakewright.data.rows.duplicates import find_duplicates

TEXTS = {texts!r}
whole = rows[TEXTS].map(text_of).apply(lambda row: "\\n".join(row.dropna()), axis=1)
whole = whole[whole != ""]
duplicates = find_duplicates(whole.tolist(), None)
print(f"{{len(whole):,}} texts, {{len(duplicates.exact):,}} repeat an earlier one exactly, "
      f"{{len(duplicates.normalised):,}} except for case, white space or Unicode form")
whole.iloc[duplicates.normalised].value_counts().head(10)"""

CLASSES = """\
LABEL = {label!r}
balance = rows[LABEL].value_counts()
balance.head(30)[::-1].plot.barh(title="rows by label", figsize=(6, 0.25 * min(len(balance), 30) + 1))
plt.show()
balance"""

NUMBER_TARGET = """\
LABEL = {label!r}
rows[LABEL].astype("float64").plot.hist(bins=30, title="the target")
plt.show()
rows[LABEL].describe()"""

MULTILABEL = """\
from lakewright.data.profile.labels import profile_labels, read_labels

labels = read_labels(lake, table, {columns!r}, {role!r}, {names!r})
label_profile = profile_labels(labels)
balance = pd.Series({{each.label: each.rows for each in label_profile.balance}}, dtype="int64")
print("labels a row:", label_profile.labels_a_row)
pairs = label_profile.together
together = pd.DataFrame(pairs.given, index=pairs.labels, columns=pairs.labels)
plt.imshow(together, vmin=0, vmax=1)
plt.xticks(range(len(together)), together.columns, rotation=90, parse_math=False)
plt.yticks(range(len(together)), together.index, parse_math=False)
plt.colorbar(label="share of the row's label that has the column's too")
plt.show()
together.round(2)"""

SPLITS = """\
SPLIT = {split!r}
print(rows[SPLIT].value_counts(dropna=False)){shares}"""

SHARES = """
pd.crosstab(rows[SPLIT], rows[{label!r}], normalize="index").T"""

BIAS = """\
from lakewright.data.profile.bias import measure_bias
from lakewright.data.profile.labels import read_labels

labels = read_labels(lake, table, {columns!r}, {role!r}, {names!r})
bias, findings = measure_bias(lake, table, {facets!r}, labels, {group!r})
print(*(finding.detail for finding in findings), sep="\\n")
pd.DataFrame([facet.model_dump() for facet in bias]).drop(columns=["proportions", "conditional", "note"])"""


def write_notebook(
    profile: TableProfile,
    workspace: Workspace,
    name: str | None,
    folder: Path | None,
    *,
    facets: Sequence[str],
    group: str | None = None,
) -> None:
    """`name` and `folder` are the profile's, for `load_profile`; no secret is written."""
    places = {
        "table": str(profile.table),
        "profile": name,
        "folder": str((folder or Path.cwd()).resolve()),
        "workspace": str(workspace.folder),
        "lake": workspace.profile.lake,
    }
    cells = [
        notebookfile.words(
            f"# {profile.table}\n\nThe main parts of profile.html, by `lakewright profile`: to run and to change."
        ),
        _code(SETTINGS, **places),
        notebookfile.words("## Columns"),
        _code(COLUMNS),
        _code(NUMBERS),
    ]
    texts = [text for text in profile.texts if text.texts]
    if texts:
        cells += [notebookfile.words("## Texts"), _code(LENGTHS, text=texts[0].column)]
        if profile.tokenizer is not None:
            cells.append(_code(TOKENS, base=profile.tokenizer, folder=places["folder"]))
        cells.append(_code(DUPLICATES, texts=profile.roles.text))
    labels, roles = profile.labels, profile.roles
    arguments = {"columns": roles.label, "role": roles.label_role, "names": roles.vector}
    if labels is not None and labels.rows:
        cells.append(notebookfile.words("## Labels"))
        if labels.kind == "multi":
            cells.append(_code(MULTILABEL, **arguments))
        else:
            cells.append(_code(CLASSES if labels.kind == "class" else NUMBER_TARGET, label=labels.columns[0]))
    splits = profile.splits
    if splits is not None and splits.source == "column" and profile.table.rows:
        by_label = labels is not None and labels.kind == "class" and labels.rows > 0
        shares = SHARES.format(label=labels.columns[0]) if labels is not None and by_label else ""
        cells += [notebookfile.words("## Splits"), _code(SPLITS, split=splits.by, shares=shares)]
    if profile.bias and labels is not None:
        cells.append(
            notebookfile.words(
                "## Bias\n\nThe pre-training measures of SageMaker Clarify, each value against the rest."
            )
        )
        cells.append(_code(BIAS, **arguments, facets=list(facets), group=group))
    notebookfile.write(cells, Path(profile.notebook))


def _code(template: str, **values: Any) -> dict[str, Any]:
    return notebookfile.code(template.format(**values))
