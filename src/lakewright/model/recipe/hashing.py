"""The step `hashing`: a category of very many values as a fixed count of numbers, its buckets: 1 in the bucket of the
row's value, 0 in all others.

The bucket is a hash of the value (BLAKE2b, RFC 7693), so no list of values is kept, and a value that train does not
have falls into a bucket too. Two values may share one: the finding `shared_buckets` counts the rows whose value shares
its bucket with a more frequent one. Without a value, all numbers are 0. Numpy only: DuckDB has no BLAKE2.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from hashlib import blake2b
from pathlib import Path
from typing import Any, ClassVar, Literal, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from lakewright.data.rows.kinds import Kind
from lakewright.data.rows.shortfalls import Shortfall
from lakewright.model.recipe import Column, Values, Wanted, checked, statistics
from lakewright.model.recipe.encoded import Encoded
from lakewright.model.recipe.values import absent, categories
from lakewright.settings.sections import StepSettings

MOST = 4096
NO_VALUE = -1


class HashingSettings(StepSettings):
    step: Literal["hashing"] = "hashing"
    buckets: int = Field(default=32, ge=2, le=MOST, description="numbers for each category")


@dataclass(frozen=True)
class Hashed:
    name: str
    largest: tuple[str | None, ...]  # each bucket's most frequent value in train; None: no value of train is in it


@dataclass(frozen=True)
class Hashing:
    categories: tuple[Hashed, ...]

    name: ClassVar[str] = "hashing"
    settings: ClassVar[type[StepSettings]] = HashingSettings
    reads: ClassVar[tuple[Kind, ...]] = ("category",)
    gives: ClassVar[Literal["inputs", "sequences", "numbers"]] = "numbers"

    @classmethod
    def fit(
        cls, train: Iterable[Values], inputs: Mapping[str, Kind], settings: HashingSettings, wanted: Wanted
    ) -> tuple[Self, None]:
        """Holds the counts of the categories' values; in the end, one value a bucket."""
        _, counts = statistics.gathered(train, inputs)
        return cls(tuple(_hashed(name, counter, settings.buckets) for name, counter in counts.items())), None

    @classmethod
    def open(cls, described: Mapping[str, Any], folder: Path) -> Self:
        return cls(tuple(map(_open, checked.mappings(described, "categories"))))

    def save(self, folder: Path) -> dict[str, Any]:
        return asdict(self)

    @property
    def inputs(self) -> tuple[str, ...]:
        return tuple(each.name for each in self.categories)

    @property
    def columns(self) -> tuple[Column, ...]:
        named = ((each.name, bucket) for each in self.categories for bucket in range(len(each.largest)))
        return tuple(Column(f"{name} in bucket {bucket}", name) for name, bucket in named)

    def sql(self) -> None:
        return None

    def neutral(self) -> dict[str, Any]:
        """A value of train."""
        return {each.name: next((value for value in each.largest if value is not None), "") for each in self.categories}

    def encode(self, values: Values) -> Encoded:
        rows = len(values[self.inputs[0]])
        encoded = np.zeros((rows, sum(len(each.largest) for each in self.categories)), dtype=np.float32)
        at = 0
        for each in self.categories:
            buckets = _buckets(values[each.name], len(each.largest))
            present = np.flatnonzero(buckets != NO_VALUE)
            encoded[present, at + buckets[present]] = 1.0
            at += len(each.largest)
        return Encoded.of_columns(encoded)

    def batch(self, encoded: Encoded, sequences: NDArray[np.int64]) -> dict[str, NDArray[Any]]:
        return {}

    def shortfalls(self, encoded: Encoded, values: Values) -> list[Shortfall]:
        return [_shared(each, values[each.name]) for each in self.categories]


def bucket(value: str, buckets: int) -> int:
    """BLAKE2b of the value's UTF-8, the first 8 bytes as a little-endian whole number, modulo the buckets."""
    return int.from_bytes(blake2b(value.encode("utf-8", "surrogatepass"), digest_size=8).digest(), "little") % buckets


def _buckets(values: Any, buckets: int) -> NDArray[np.int64]:
    """[rows], NO_VALUE where a row has none; each value is hashed once."""
    texts = categories(values)
    of = {value: NO_VALUE if value is None else bucket(value, buckets) for value in {*texts}}
    return np.fromiter(map(of.__getitem__, texts), np.int64, len(texts))


def _hashed(name: str, counts: Counter[str | None], buckets: int) -> Hashed:
    largest: list[str | None] = [None] * buckets
    for value, _ in sorted(((v, n) for v, n in counts.items() if v is not None), key=lambda each: (-each[1], each[0])):
        at = bucket(value, buckets)
        largest[at] = value if largest[at] is None else largest[at]
    return Hashed(name, tuple(largest))


def _open(described: Mapping[str, Any]) -> Hashed:
    largest = checked.items(described, "largest")
    if not 2 <= len(largest) <= MOST or not all(value is None or isinstance(value, str) for value in largest):
        raise ValueError(f"largest is not a list of 2 to {MOST:,} texts or nulls")
    return Hashed(checked.text(described, "name"), tuple(largest))


def _shared(each: Hashed, values: Any) -> Shortfall:
    """The rows whose value shares its bucket with a more frequent value of train."""
    texts = categories(values)
    buckets = _buckets(texts, len(each.largest))
    present = buckets != NO_VALUE
    largest = np.array(each.largest, dtype=object)[buckets]
    lost = present & ~absent(largest) & (largest != texts).astype(bool)
    return Shortfall(
        "shared_buckets",
        "row",
        f"hold a value of column {each.name!r} that shares its bucket with a more frequent one",
        f"set a greater prepare.recipe.hashing.buckets than {len(each.largest):,}, or read the column by one_hot",
        lost=lost.astype(np.int64),
        of=present.astype(np.int64),
    )
