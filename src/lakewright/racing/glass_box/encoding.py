"""The recipe's steps as plain code, as one member of a search reads them.

`part_of`, `native` and `dense` are written out. What other steps give (scores of texts, for example, which were learned
out of fold) is read from features.parquet, and terms from terms.parquet; the code says so.
"""

from __future__ import annotations

import pprint
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from lakewright.model.recipe.dense import Dense
from lakewright.model.recipe.native import Native
from lakewright.model.recipe.part_of import PartOf
from lakewright.model.recipe.terms import Terms

if TYPE_CHECKING:
    from lakewright.learning.members import Member
    from lakewright.model.recipe import Recipe


@dataclass(frozen=True)
class Encoding:
    words: str
    code: str
    categories: list[int]  # the columns that are codes
    features: tuple[int, ...]  # places among the recipe's columns that are read from a file
    sequences: bool


def encoding_of(recipe: Recipe, member: Member) -> Encoding:
    """What the code does to `data`, an own copy of the inputs: `columns` float32 [rows, columns], or `matrix`."""
    wanted = set(member.places.tolist())
    plain = set(recipe.inputs)
    used: list[str] = []
    made: list[str] = []
    lines: list[str] = []
    files: list[int] = []
    at = 0
    for step in recipe.steps:
        if isinstance(step, PartOf) and {*step.inputs} <= plain:
            made += [*_parts(step)]
            plain |= {*step.made}
            used.append("parts")
            continue
        own: Sequence[Any] = getattr(step, "columns", ())
        if step.gives == "inputs":
            plain -= {*getattr(step, "made", ())}
            plain -= {*getattr(step, "changes", ()), *step.inputs}  # it may give them other values
            continue
        if step.gives == "sequences":
            continue
        places = [place for place in range(at, at + len(own)) if place in wanted]
        at += len(own)
        if isinstance(step, Native | Dense) and {own[place - at + len(own)].input for place in places} <= plain:
            inputs = {own[place - at + len(own)].input for place in places}
            lines += [*_of_step(step, inputs)]
            used += _helpers(step, inputs)
        else:
            lines += [f'columns.append(features["{place}"].to_numpy(np.float32))' for place in places]
            files += places
    terms = next((step for step in recipe.steps if isinstance(step, Terms)), None) if member.reads_sequences else None
    code = [_HELPERS[name] for name in dict.fromkeys(used) if _HELPERS[name]]
    code += ["\n".join(made)] if made else []
    body = ["columns = []", *lines]
    if lines:
        body += ["columns = np.column_stack(columns).astype(np.float32)", "print(columns.shape)"]
    if member.settings.learner == "linear":
        body += _matrix(None if terms is None else len(terms.idf), bool(lines))
    code += ["\n".join(body)]
    words = "As the recipe encodes them, with the numbers that it fitted on train."
    if files:
        words += " Columns that other steps gave, such as scores of texts, are read from features.parquet."
    if terms is not None:
        words += " The terms of the texts, and their TF-IDF weights, are read from terms.parquet."
    codes = [place for place, column in enumerate(member.recipe.columns) if column.values]
    return Encoding(words, "\n\n\n".join(code), codes, tuple(files), terms is not None)


def _of_step(step: Native | Dense, inputs: set[str]) -> Iterator[str]:
    for number in step.numbers:
        if number.name not in inputs:
            continue
        values = f"data[{number.name!r}]"
        if isinstance(step, Native):
            yield f"columns.append(number({values}, {number.fill!r}))"  # type: ignore[union-attr]
        else:
            yield f"columns.append(scaled({values}, {number.mean!r}, {number.deviation!r}))"  # type: ignore[union-attr]
            if number.says_missing:  # type: ignore[union-attr]
                yield f"columns.append({values}.isna().to_numpy(np.float32))"
    for category in step.categories:
        if category.name not in inputs:
            continue
        names = pprint.pformat(list(category.values), width=112, compact=True)
        helper = "codes" if isinstance(step, Native) else "one_hot"
        call = "append" if isinstance(step, Native) else "extend"
        yield f"columns.{call}({helper}(data[{category.name!r}], {names}))"


def _helpers(step: Native | Dense, inputs: set[str]) -> list[str]:
    numbers = any(each.name in inputs for each in step.numbers)
    categories = any(each.name in inputs for each in step.categories)
    if isinstance(step, Native):
        return ["number"] * numbers + ["codes"] * categories
    return ["scaled"] * numbers + ["one_hot"] * categories


def _parts(step: PartOf) -> Iterator[str]:
    for name in step.inputs:
        yield f"times = data[{name!r}].to_numpy('datetime64[us]')"
        for part in step.parts:
            yield f"data[{f'{name}_{part}'!r}] = np.where(np.isnat(times), np.nan, {_PARTS[part]})"


def _matrix(terms: int | None, columns: bool) -> list[str]:
    if terms is None:
        return ["matrix = csr_matrix(columns)"]
    lines = [
        'offsets = np.concatenate([[0], np.cumsum(terms["ids"].str.len())])',
        'of_terms = (np.concatenate(terms["weights"].to_numpy()), np.concatenate(terms["ids"].to_numpy()), offsets)',
        f"matrix = csr_matrix(of_terms, shape=(len(terms), {terms}))",
    ]
    return [*lines, 'matrix = hstack([matrix, columns], format="csr")'] if columns else lines


_PARTS = {
    "year": "times.astype('datetime64[Y]').astype(int) + 1970",
    "month": "times.astype('datetime64[M]').astype(int) % 12 + 1",
    "day": "(times.astype('datetime64[D]') - times.astype('datetime64[M]')).astype(int) + 1",
    "yearday": "(times.astype('datetime64[D]') - times.astype('datetime64[Y]')).astype(int) + 1",
    "weekday": "(times.astype('datetime64[D]').astype(int) + 3) % 7 + 1",
    "hour": "times.astype(np.int64) % 86_400_000_000 // 3_600_000_000",
    "minute": "times.astype(np.int64) % 3_600_000_000 // 60_000_000",
    "days": "times.astype(np.int64) / 86_400_000_000",
}
_HELPERS = {
    "parts": "",
    "number": '''\
def number(values, fill):
    """A number as float32, missing where it is missing; `fill` where train lacked none."""
    most = float(np.finfo(np.float32).max)
    read = np.clip(values.to_numpy(np.float64), -most, most)
    return read if fill is None else np.where(np.isnan(read), fill, read)''',
    "codes": '''\
def codes(values, known):
    """The place of a category's value among those of train, missing for any other."""
    return values.map({value: place for place, value in enumerate(known)}).to_numpy(np.float64)''',
    "scaled": '''\
def scaled(values, mean, deviation):
    """A number in deviations from the mean, at most 10; a missing one is the mean."""
    read = values.to_numpy(np.float64)
    return np.where(np.isnan(read), 0.0, np.clip((read - mean) / deviation, -10.0, 10.0))''',
    "one_hot": '''\
def one_hot(values, known):
    """1 where the row has the value, for each value that train has often enough."""
    return [(values == value).to_numpy(np.float64) for value in known]''',
}
