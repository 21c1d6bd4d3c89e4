"""The step `category_vectors`: each value of a category as a few numbers, such that values which stand beside the same
values of the other categories are near each other. So trees can treat alike what occurs in like company, of thousands
of values that have a few rows each. Nothing of the truth is learned.

The numbers are those of a word2vec-like factorisation: of how much more often than by chance two values stand in one
row (positive pointwise mutual information, the contexts' frequencies to the power of 0.75 so that rare ones do not
rule), the truncated singular value decomposition, U·√Σ (Levy & Goldberg 2014, Neural word embedding as implicit matrix
factorization; Levy, Goldberg & Dagan 2015). The contexts of a value are the values of all other inputs of the step in
its rows. A value that train does not have, or that is missing, is the zero vector. scipy fits; numpy alone computes.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from hashlib import blake2b
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from lakewright.data.rows.kinds import Kind
from lakewright.data.rows.shortfalls import Shortfall
from lakewright.errors import ProjectError
from lakewright.model.recipe import Column, Values, Wanted, checked
from lakewright.model.recipe.categories import Category
from lakewright.model.recipe.encoded import Encoded
from lakewright.model.recipe.values import category_counts
from lakewright.settings.sections import StepSettings

if TYPE_CHECKING:
    from scipy.sparse import csr_matrix

FLATTENED = 0.75  # the power of the contexts' frequencies
HELD = 4_000_000  # pairs of values that are counted at once, 8 bytes each


class CategoryVectorsSettings(StepSettings):
    step: Literal["category_vectors"] = "category_vectors"
    dimensions: int = Field(default=16, ge=1, le=1024, description="numbers of each category at most")
    max_categories: int = Field(
        default=10_000,
        ge=1,
        le=100_000,
        description="values of each category that have a vector, the most frequent in train; that of others is zero",
    )


@dataclass(frozen=True, eq=False)
class CategoryVectors:
    categories: tuple[Category, ...]  # one for each input
    vectors: tuple[NDArray[np.float32], ...]  # of each: [values, dimensions]

    name: ClassVar[str] = "category_vectors"
    settings: ClassVar[type[StepSettings]] = CategoryVectorsSettings
    reads: ClassVar[tuple[Kind, ...]] = ("category",)
    gives: ClassVar[Literal["inputs", "sequences", "numbers"]] = "numbers"

    @classmethod
    def fit(
        cls, train: Iterable[Values], inputs: Mapping[str, Kind], settings: CategoryVectorsSettings, wanted: Wanted
    ) -> tuple[Self, None]:
        """Reads train twice, and holds the counts of values and of pairs of values that stand in one row. Raises
        ProjectError for one input alone, and for one whose values never stand beside another's."""
        if len(inputs) < 2:
            raise ProjectError(
                f"prepare.recipe.{cls.name} reads the one category {next(iter(inputs))!r}, and learns its vectors from "
                "the other categories of a row",
                "name two or more inputs, or take target_mean or hashing",
            )
        counters: dict[str, Counter[str | None]] = {name: Counter() for name in inputs}
        for values in train:
            for name, counter in counters.items():
                counter.update(category_counts(values[name]))
        categories = tuple(Category.of_counts(name, own, settings.max_categories) for name, own in counters.items())
        pairs = _pairs(train, categories)
        vectors = []
        for at, category in enumerate(categories):
            beside = [
                pairs[at, other] if at < other else pairs[other, at].T
                for other in range(len(categories))
                if other != at
            ]
            vectors.append(_vectors(category, beside, settings.dimensions))
        return cls(categories, tuple(vectors)), None

    @classmethod
    def open(cls, described: Mapping[str, Any], folder: Path) -> Self:
        from safetensors import SafetensorError
        from safetensors.numpy import load

        file = checked.text(described, "vectors")
        if Path(file).name != file:
            raise ValueError(f"{file!r} is no name of a file beside recipe.json")
        categories = tuple(
            Category(checked.text(each, "name"), checked.names(each, "values"), checked.whole(each, "rarer", 0, 2**53))
            for each in checked.mappings(described, "categories")
        )
        checked.distinct(tuple(each.name for each in categories), "categories")
        if not categories or any(list(each.values) != sorted(each.values) for each in categories):
            raise ValueError("categories is empty, or has values that are not in order")
        try:
            arrays = load((folder / file).read_bytes())
            vectors = tuple(arrays[str(at)] for at in range(len(categories)))
        except (SafetensorError, KeyError, OSError) as failure:
            raise ValueError(f"{file} does not hold vectors: {failure}") from None
        for category, own in zip(categories, vectors, strict=True):
            shaped = own.ndim == 2 and len(own) == len(category.values) and own.dtype == np.float32
            if not shaped or not own.shape[1] or not np.isfinite(own).all():
                raise ValueError(
                    f"{file}: the vectors of {category.name!r} are not finite float32 numbers, one a value"
                )
        return cls(categories, vectors)

    def save(self, folder: Path) -> dict[str, Any]:
        """The vectors into a file named by its content: a recipe may have several such steps."""
        from safetensors.numpy import save

        content = save({str(at): np.ascontiguousarray(own) for at, own in enumerate(self.vectors)})
        file = f"{self.name}-{blake2b(content, digest_size=8).hexdigest()}.safetensors"
        (folder / file).write_bytes(content)
        described = [{"name": each.name, "values": list(each.values), "rarer": each.rarer} for each in self.categories]
        return {"categories": described, "vectors": file}

    @property
    def inputs(self) -> tuple[str, ...]:
        return tuple(each.name for each in self.categories)

    @property
    def columns(self) -> tuple[Column, ...]:
        widths = ((each.name, own.shape[1]) for each, own in zip(self.categories, self.vectors, strict=True))
        return tuple(Column(f"{name}: direction {at}", name) for name, width in widths for at in range(1, width + 1))

    def sql(self) -> None:
        return None

    def neutral(self) -> dict[str, Any]:
        return {each.name: next(iter(each.values), "") for each in self.categories}

    def encode(self, values: Values) -> Encoded:
        parts = [
            table[each.places(values[each.name])] for each, table in zip(self.categories, self._tables, strict=True)
        ]
        return Encoded.of_columns(np.hstack(parts))

    @cached_property
    def _tables(self) -> tuple[NDArray[np.float32], ...]:
        """[values + 1, dimensions] of each input; the last, at UNKNOWN, is zero."""
        return tuple(np.vstack([own, np.zeros_like(own, shape=(1, own.shape[1]))]) for own in self.vectors)

    def batch(self, encoded: Encoded, sequences: NDArray[np.int64]) -> dict[str, NDArray[Any]]:
        return {}

    def shortfalls(self, encoded: Encoded, values: Values) -> list[Shortfall]:
        return [each.shortfall(values[each.name], self.name) for each in self.categories]


def _pairs(train: Iterable[Values], categories: Sequence[Category]) -> dict[tuple[int, int], csr_matrix]:
    """(place of an input, place of a later one) → in how many rows each of their values stand together,
    [values, values]."""
    from scipy.sparse import csr_matrix

    shapes = {
        (first, second): (len(categories[first].values), len(categories[second].values))
        for first in range(len(categories))
        for second in range(first + 1, len(categories))
    }
    totals = {both: csr_matrix(shape, dtype=np.float64) for both, shape in shapes.items()}
    held: dict[tuple[int, int], list[NDArray[np.int64]]] = {both: [] for both in shapes}
    waiting = 0

    def count() -> None:
        for both, parts in held.items():
            codes, times = np.unique(np.concatenate([np.empty(0, np.int64), *parts]), return_counts=True)
            rows, columns = np.divmod(codes, max(1, shapes[both][1]))
            totals[both] = totals[both] + csr_matrix((times.astype(np.float64), (rows, columns)), shape=shapes[both])
            parts.clear()

    for values in train:
        places = [each.places(values[each.name]) for each in categories]
        for (first, second), parts in held.items():
            known = (places[first] >= 0) & (places[second] >= 0)
            parts.append(places[first][known] * shapes[first, second][1] + places[second][known])
            waiting += len(parts[-1])
        if waiting > HELD:
            count()
            waiting = 0
    count()
    return totals


def _vectors(category: Category, beside: Sequence[csr_matrix], dimensions: int) -> NDArray[np.float32]:
    """[values, dimensions], each direction with its largest number positive. Raises ProjectError where no value stands
    beside another category's."""
    from scipy.sparse import hstack

    information = hstack([_information(counts) for counts in beside], format="csr")
    width = min(dimensions, *information.shape)
    if not information.nnz:
        raise ProjectError(
            f"prepare.recipe.{CategoryVectors.name}: the values of {category.name!r} stand beside those of the others "
            "as often as by chance, so there is nothing to learn from",
            f"leave {category.name!r} out of its inputs",
        )
    left, sizes = _decomposed(information, width)
    vectors = left * np.sqrt(sizes)
    largest = np.abs(vectors).argmax(axis=0)
    signs = np.sign(vectors[largest, np.arange(vectors.shape[1])])
    turned: NDArray[np.float64] = vectors * np.where(signs == 0, 1.0, signs)
    return turned.astype(np.float32)


def _information(counts: csr_matrix) -> csr_matrix:
    """Positive pointwise mutual information, in nats, of values and contexts [values, contexts]."""
    own, contexts = (np.asarray(counts.sum(axis=axis)).ravel() for axis in (1, 0))
    flattened = contexts**FLATTENED
    shares = flattened / max(float(flattened.sum()), 1e-300)
    found = counts.tocoo()
    information = np.log(found.data / (own[found.row] * shares[found.col]))
    found.data = np.maximum(information, 0.0)
    positive: csr_matrix = found.tocsr()
    positive.eliminate_zeros()
    return positive


def _decomposed(matrix: csr_matrix, width: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """The left singular vectors [values, width] and the singular values [width], the largest first."""
    from scipy.sparse.linalg import svds

    if width < min(matrix.shape):
        start = np.ones(min(matrix.shape))  # else it is drawn anew every time
        left, sizes, _ = svds(matrix, k=width, v0=start)
        return left[:, ::-1], sizes[::-1]
    left, sizes, _ = np.linalg.svd(matrix.toarray(), full_matrices=False)
    return left[:, :width], sizes[:width]
