"""Which columns of a table are inputs, and of which kind, if a project leaves that open.

A column that no role names is an input. Its kind follows from its type: numbers, times, booleans and strings, which are
categories, or texts if their values are sentences. Numbers and times that are written as text are read as such. Left
out, each with a finding: columns without a value or with only one, row numbers and other identifiers, lists and
structures, and kinds that no step of the recipe reads.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal

from pydantic import Field

from lakewright.data.rows.kinds import Kind
from lakewright.data.rows.measures import Measured, measure
from lakewright.data.rows.quality import EXAMPLES, counted, cut
from lakewright.data.rows.spread import FAR
from lakewright.errors import DataError
from lakewright.records import Finding, Record, TableVersion

if TYPE_CHECKING:
    from lakewright.data.lake.tables import Lake
    from lakewright.settings.sections import Columns

ROLES: dict[Kind, str] = {"number": "numbers", "category": "categories", "time": "times"}
MOSTLY_MISSING = 0.5  # share of the rows
MANY_VALUES = 1000  # of a category
EMPTY: Mapping[str, Any] = {}
LEFT_OUT = {
    "constant_columns": "with one value, or none, in all rows: no inputs",
    "identifier_columns": "with another value in every row, as identifiers have: no inputs; name one under "
    "data.columns.numbers or categories if its value means something",
    "unread_columns": "of a kind that the recipe does not read: no inputs; name a step that reads them "
    "under prepare.recipe, another train.learner, or leave them out (data.exclude)",
    "other_texts": "of texts, beside those that the model reads (the ones with the most words, unless "
    "data.columns.text names another): no inputs. Join them in SQL (concat(title, ' ', body) as text)",
}
NOTICED = {
    "numbers_in_text": "with numbers or times written as text, read as such",
    "words_for_missing": "whose other values are all numbers or times: words to the model, without an order. Write "
    "null at the source, or nullif(column, 'NA') in SQL; a csv file's are read as missing unless data.options.missing "
    "says otherwise",
    "mostly_numbers": "of numbers or times but for a few values: words to the model, without an order. Correct these "
    "at the source, or write null; name the column under data.columns.categories if these are codes",
    "numbers_in_other_forms": "of numbers with units, signs or separators: words to the model, without an order. Write "
    "them plainly at the source (1234.5)",
    "times_in_other_forms": "of dates or times in other forms than ISO 8601: words to the model, without an order. "
    "Write them in ISO 8601 at the source (2024-01-31), or convert them in SQL: strptime(column, '%d.%m.%Y')",
    "rounded_numbers": "of numbers that differ beyond the seven digits of float32, in which this learner reads them, "
    "or beyond its range: most differences are lost. Take their least value away, or scale them (data.derive)",
    "number_outliers": f"with a number more than {FAR:,.0f} times as far from the median as usual: this learner scales "
    "numbers by what is usual, and cuts such ones. Correct them at the source, or write null for no value",
    "mostly_missing": "without a value in more than half of the rows",
    "many_values": f"of categories with more than {MANY_VALUES:,} values: most are rare, and new ones will come; "
    "see the steps hashing, frequency and target_mean",
}
OF_COLUMNS = ("inputs", *LEFT_OUT, *NOTICED, "predicts_alone")  # the findings on columns


class ColumnUse(Record):
    """What a column of the table is to the model, and why."""

    column: str
    use: Literal["input", "derived", "read by derive", "no input", "role"]
    kind: Kind | None = None  # None: of no role that is read, or a list or a structure
    why: str
    leads: bool = False  # of the texts that no role names: the one with the most words
    finding: str = ""  # that names the column because it is no input
    noticed: dict[str, str] = Field(default={})  # findings on how the column is written or filled → what it has


def uses(
    columns: Columns,
    lake: Lake,
    table: TableVersion,
    reads: Collection[Kind],
    leave: Mapping[str, str] = EMPTY,
    derived: Mapping[str, Collection[str]] = EMPTY,
    single: bool = False,
    most_texts: int | None = None,
) -> list[ColumnUse]:
    """Each column of the table, in its order. `reads` are the kinds that the recipe reads; `leave` names further
    columns that are no inputs, with the reason; `derived` those that the recipe computes, each of which columns.
    `single`: the learner reads numbers as they are, in float32; `most_texts`: so many columns of texts at most."""
    roles: dict[str, str] = {}
    for role, name in columns.names:
        roles[name] = f"{roles[name]}, {role}" if name in roles else role
    names = lake.scan(table).schema.names
    by_role = {role: kind for kind, role in ROLES.items()} | dict.fromkeys(("text", "texts", "text_pair"), "text")
    is_open = columns.is_open
    unnamed = [name for name in names if is_open and name not in {*roles, *leave, *derived}]
    sources = {source: name for name in derived for source in derived[name]}
    numbers = [name for name in names if name in getattr(columns, "numbers", ())]
    measured = {each.name: each for each in measure(lake, table, list(dict.fromkeys([*unnamed, *numbers])))}
    named = [name for role, name in columns.names if role in ("text", "texts", "text_pair")]
    texts = _by_words([measured[name] for name in unnamed]) if "text" in reads else []
    texts = [*named, *texts][:most_texts]
    chosen: list[ColumnUse] = []
    for name in names:
        if name in roles:
            kind = next((by_role[role] for role in roles[name].split(", ") if role in by_role), None)
            why = f"data.columns names it: {roles[name]}"
            noticed = _numbers_noticed(measured[name], single) if name in numbers else {}
            use = ColumnUse(column=name, use="role" if kind is None else "input", kind=kind, why=why, noticed=noticed)
            chosen.append(use)
        elif name in derived:
            chosen.append(ColumnUse(column=name, use="derived", why="data.derive: the recipe computes it"))
        elif name in leave or not is_open:
            chosen.append(ColumnUse(column=name, use="no input", why=leave.get(name, "data.columns does not name it")))
        else:
            use = _use_of(measured[name], table.rows, reads, texts, single)
            if use.use == "no input" and name in sources and use.kind in ROLES:
                why = f"{use.why}: no input, but the derived {sources[name]} needs it"
                use = ColumnUse(column=name, use="read by derive", kind=use.kind, why=why)
            chosen.append(use)
    return chosen


def _by_words(columns: Sequence[Measured]) -> list[str]:
    """The columns of texts, those with the most to learn from first."""
    texts = [each for each in columns if each.kind == "text" and not each.is_identifier and each.distinct > 1]
    return [each.name for each in sorted(texts, key=lambda each: -each.words * each.values)]


def _use_of(column: Measured, rows: int, reads: Collection[Kind], texts: Sequence[str], single: bool) -> ColumnUse:
    kind, name = column.kind, column.name

    noticed = {}
    if column.hides is not None:
        noticed[column.hides] = _hidden(column)

    def no_input(finding: str, why: str) -> ColumnUse:
        return ColumnUse(column=name, use="no input", kind=kind, why=why, finding=finding, noticed=noticed)

    # One value in some rows is two: a row has it or not
    if kind is not None and column.distinct <= 1 and column.values in (0, rows):
        return no_input("constant_columns", "one value in all rows" if column.values else "no value in any row")
    if column.is_identifier:
        return no_input("identifier_columns", f"{column.why}, another in every row, as identifiers have")
    if kind is None:
        return no_input("unread_columns", "a list or a structure")
    if kind not in reads:
        return no_input("unread_columns", f"{column.why}: {kind}; the recipe reads no such kind")
    if kind == "text" and name not in texts:
        return no_input("other_texts", f"{column.why}; the model reads no more texts than {', '.join(texts)}")
    if column.is_written_otherwise:
        noticed["numbers_in_text"] = str(kind)
    noticed |= _numbers_noticed(column, single)
    if column.values < (1 - MOSTLY_MISSING) * rows:
        noticed["mostly_missing"] = f"{1 - column.values / rows:.0%}"
    if kind == "category" and column.distinct > MANY_VALUES and column.hides is None:
        noticed["many_values"] = f"{column.distinct:,}"
    missing = f"; {1 - column.values / rows:.0%} of the rows have none" if "mostly_missing" in noticed else ""
    leads = kind == "text" and name == texts[0]
    return ColumnUse(column=name, use="input", kind=kind, why=f"{column.why}{missing}", leads=leads, noticed=noticed)


def _hidden(column: Measured) -> str:
    """What a finding shows of the words in a column of numbers or times."""
    if column.hides == "mostly_numbers":
        odd = column.values - column.nothing - max(column.numbers, column.times)
        return f"all but {odd:,} of {column.values:,} values, such as {cut(column.odd)!r}"
    return ", ".join(column.words_for_nothing[:EXAMPLES]) or f"{column.distinct:,} values"


def _numbers_noticed(column: Measured, single: bool) -> dict[str, str]:
    """Of a column of numbers: what the learner loses of them."""
    if single and column.is_rounded:
        return {"rounded_numbers": f"{column.distinct:,} values, about {column.singles:,} in float32"}
    if single:
        return {}
    outlier = column.spread.outlier if column.spread else None
    return {} if outlier is None else {"number_outliers": "{:g}, where {:g} is the median".format(*outlier)}


def noticed_in(chosen: Sequence[ColumnUse]) -> list[Finding]:
    """The findings on how columns are written or filled."""
    findings = []
    for finding, detail in NOTICED.items():
        named = [each for each in chosen if finding in each.noticed]
        rows = [f"{each.column}: {each.noticed[finding]}" for each in named]
        if rows:
            findings.append(_finding(finding, detail, named, rows))
    return findings


def close(columns: Columns, table: TableVersion, chosen: Sequence[ColumnUse]) -> tuple[Columns, list[Finding]]:
    """The columns with every input named, as `uses` chose them, and the findings on what was left out or is read in
    another way than it is stored.

    Raises DataError if nothing is left to learn from.
    """
    taken = {name for _, name in columns.names}
    added = [each for each in chosen if each.use == "input" and each.column not in taken]
    read = [*added, *(each for each in chosen if each.use == "read by derive")]
    roles = {
        role: [*getattr(columns, role), *(each.column for each in read if each.kind == kind)]
        for kind, role in ROLES.items()
    }
    main = next((each.column for each in added if each.leads), getattr(columns, "text", None))
    more = [
        *getattr(columns, "texts", ()),
        *(each.column for each in added if each.kind == "text" and each.column != main),
    ]
    if not main and not more and not any(roles.values()):
        beside = sorted(taken | {each.column for each in chosen if each.use == "no input" and not each.finding})
        others = [f"{cut(each.column)}: {each.why}" for each in chosen if each.finding]
        left_out = f"; left out: {', '.join(others[:EXAMPLES])}{', …' * (len(others) > EXAMPLES)}" if others else ""
        raise DataError(
            f"{table} has no column to learn from beside {', '.join(beside) or 'none'}{left_out}",
            "name columns under data.columns (numbers, categories, times), or see how the source was read",
        )
    named = columns.model_copy(update={**roles, "text": main, "texts": more, "others": False})
    return named, [*_left_out(chosen), *_of_inputs(added), *noticed_in(chosen)]


def _left_out(chosen: Sequence[ColumnUse]) -> list[Finding]:
    findings = []
    for finding, detail in LEFT_OUT.items():
        named = [each for each in chosen if each.finding == finding]
        if named:
            unread = finding == "unread_columns"
            rows = [f"{each.column} ({each.kind or 'structure'})" if unread else each.column for each in named]
            findings.append(_finding(finding, detail, named, rows))
    return findings


def _of_inputs(added: Sequence[ColumnUse]) -> list[Finding]:
    if not added:
        return []
    kinds = Counter(each.kind for each in added)
    by_kind = ", ".join(f"{count} of the kind {kind}" for kind, count in kinds.items())
    verb = "is an input" if len(added) == 1 else "are inputs"
    taken = f"{counted(len(added), 'column')} without a role {verb}: {by_kind}."
    kinds_of = [f"{each.column}: {each.kind}" for each in added]
    return [Finding(name="inputs", count=len(added), detail=taken, rows=kinds_of)]


def _finding(name: str, detail: str, named: Sequence[ColumnUse], rows: list[str]) -> Finding:
    return Finding(name=name, count=len(named), detail=f"{_columns(named)} {detail}.", rows=rows)


def _columns(named: Sequence[ColumnUse]) -> str:
    """Their number, and the first few names."""
    first = ", ".join(cut(each.column) for each in named[:EXAMPLES])
    return f"{counted(len(named), 'column')} ({first}{', …' * (len(named) > EXAMPLES)})"
