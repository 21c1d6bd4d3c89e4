"""The step `text_vectors`: a text as its place in the few directions in which train's texts differ most, so that trees
and other learners of numbers can read what it is about.

The directions are the singular vectors of train's TF-IDF (latent semantic analysis: Deerwester et al. 1990): words that
stand in the same texts point the same way. Nothing of the truth is learned, so that train needs no folds. A text that
is missing, blank or without known terms is the zero vector. scikit-learn fits; numpy alone computes.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Literal, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from lakewright.data.rows.kinds import Kind
from lakewright.data.rows.shortfalls import Shortfall
from lakewright.errors import ProjectError
from lakewright.model.recipe import Column, Values, Wanted, checked
from lakewright.model.recipe.encoded import Encoded
from lakewright.model.recipe.term_weights import TermWeights, features_of
from lakewright.model.recipe.terms import READING, Terms, check_reading
from lakewright.settings.sections import StepSettings


class TextVectorsSettings(StepSettings):
    step: Literal["text_vectors"] = "text_vectors"
    dimensions: int = Field(default=32, ge=1, le=1024, description="numbers of each text at most")
    min_df: int = Field(
        default=2, ge=1, description="a term counts when it stands in at least this many training texts"
    )
    max_features: int = Field(default=50_000, ge=1, description="terms that count, the most frequent in train")


@dataclass(frozen=True, eq=False)
class TextVectors:
    every: tuple[TermWeights, ...]  # one for each text

    name: ClassVar[str] = "text_vectors"
    settings: ClassVar[type[StepSettings]] = TextVectorsSettings
    reads: ClassVar[tuple[Kind, ...]] = ("text", "optional text", "words")
    gives: ClassVar[Literal["inputs", "sequences", "numbers"]] = "numbers"

    @classmethod
    def fit(
        cls, train: Iterable[Values], inputs: Mapping[str, Kind], settings: TextVectorsSettings, wanted: Wanted
    ) -> tuple[Self, None]:
        """Holds train's terms (8 bytes each), never the texts. Raises ProjectError where no term counts."""
        texts = [name for name, kind in inputs.items() if kind != "words"]  # words make the text beside them
        return cls(tuple(_fit(train, name, settings) for name in texts)), None

    @classmethod
    def open(cls, described: Mapping[str, Any], folder: Path) -> Self:
        check_reading(checked.whole(described, "reading", 2, 2**31), cls.name, folder)
        texts, widths = checked.mapping_of_texts(described, "texts"), checked.mapping(described, "widths")
        if not texts or {*texts} != {*widths}:
            raise ValueError("texts is empty, or names other inputs than widths")
        every = (
            TermWeights.open(folder, file, name, checked.whole(widths, name, 1, 1024)) for name, file in texts.items()
        )
        return cls(tuple(every))

    def save(self, folder: Path) -> dict[str, Any]:
        files = {each.input: each.save(folder, self.name) for each in self.every}
        return {"reading": READING, "texts": files, "widths": {each.input: len(each.bias) for each in self.every}}

    @property
    def inputs(self) -> tuple[str, ...]:
        return tuple(each.input for each in self.every)

    @property
    def columns(self) -> tuple[Column, ...]:
        places = ((each.input, place) for each in self.every for place in range(1, len(each.bias) + 1))
        return tuple(Column(f"{input}: direction {place}", input) for input, place in places)

    def sql(self) -> None:
        return None

    def neutral(self) -> dict[str, Any]:
        return {}

    def encode(self, values: Values) -> Encoded:
        return Encoded.of_columns(np.hstack([each.scores(values) for each in self.every]).astype(np.float32))

    def batch(self, encoded: Encoded, sequences: NDArray[np.int64]) -> dict[str, NDArray[Any]]:
        return {}

    def shortfalls(self, encoded: Encoded, values: Values) -> list[Shortfall]:
        return [each.unread(values, self.name) for each in self.every]


def _fit(train: Iterable[Values], name: str, settings: TextVectorsSettings) -> TermWeights:
    from sklearn.decomposition import TruncatedSVD

    terms = Terms.counted(train, (name,), settings.min_df, settings.max_features)
    features = features_of(train, terms).astype(np.float64)
    width = min(settings.dimensions, len(terms.vocabulary), features.shape[0])
    if not width:
        raise ProjectError(
            f"prepare.recipe.{TextVectors.name}: no term of {name!r} stands in {settings.min_df} texts of train",
            "set min_df: 1, or leave the step out",
        )
    if width < min(features.shape):  # otherwise all directions there are
        directions = TruncatedSVD(width, algorithm="arpack", random_state=13).fit(features).components_
    else:
        directions = _all_directions(features.toarray())[:width]
    weights = np.zeros((features.shape[1], width), dtype=np.float32)
    weights[1:] = directions.T[1:]
    return TermWeights(terms, weights, np.zeros(width, dtype=np.float32))


def _all_directions(features: NDArray[np.float64]) -> NDArray[np.float64]:
    """[directions, terms], each with its largest number positive."""
    _, _, directions = np.linalg.svd(features, full_matrices=False)
    largest = np.abs(directions).argmax(axis=1)
    signs = np.sign(directions[np.arange(len(directions)), largest])
    turned: NDArray[np.float64] = directions * np.where(signs == 0, 1.0, signs)[:, None]
    return turned
