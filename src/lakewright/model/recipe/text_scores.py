"""The step `text_scores`: a text as the predictions of a linear model over its terms, so that trees can read it beside
other columns. It learns from the truth, so train is encoded out of fold (stacked generalisation: Wolpert 1992).

Each text has a model of its own over the TF-IDF of its terms, as the step `terms` makes them. For classes it gives the
probability of each, of two that of the second (multinomial logistic regression); of several labels the probability of
each, by itself; for a number, a ridge regression's prediction in train's deviations from its mean. A text that is
missing, blank or without known terms has only the constants of the model. scikit-learn fits; numpy alone computes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Self, cast

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from lakewright.data.rows.kinds import Kind
from lakewright.data.rows.shortfalls import Shortfall
from lakewright.model.recipe import Column, Values, Wanted, checked, truth_of
from lakewright.model.recipe.encoded import Encoded
from lakewright.model.recipe.term_weights import TermWeights, features_of
from lakewright.model.recipe.terms import READING, Terms, check_reading
from lakewright.settings.sections import StepSettings

if TYPE_CHECKING:
    from scipy.sparse import csr_matrix

    from lakewright.model.recipe import Truth

Link = Literal["softmax", "logistic", "identity"]
CERTAIN = 20.0  # the logit of a class that all rows have, or none: a probability of 2e-9 is left


class TextScoresSettings(StepSettings):
    step: Literal["text_scores"] = "text_scores"
    C: float = Field(default=10.0, gt=0, description="inverse strength of the L2 penalty, as in scikit-learn")
    max_iter: int = Field(default=1000, ge=1)
    min_df: int = Field(
        default=2, ge=1, description="a term counts when it stands in at least this many training texts"
    )
    max_features: int = Field(default=200_000, ge=1, description="terms that count, the most frequent in train")


@dataclass(frozen=True, eq=False)
class TextScores:
    names: tuple[str, ...]  # of the truth's numbers
    link: Link
    every: tuple[TermWeights, ...]  # one for each text

    name: ClassVar[str] = "text_scores"
    settings: ClassVar[type[StepSettings]] = TextScoresSettings
    reads: ClassVar[tuple[Kind, ...]] = ("text", "optional text", "words")
    gives: ClassVar[Literal["inputs", "sequences", "numbers"]] = "numbers"
    learns_truth: ClassVar[bool] = True

    @classmethod
    def fit(
        cls, train: Iterable[Values], inputs: Mapping[str, Kind], settings: TextScoresSettings, wanted: Wanted
    ) -> tuple[Self, None]:
        """Holds train's terms (8 bytes each, and 8 more in double) and the truth's numbers; never the texts."""
        truth = truth_of(wanted, cls.name)
        texts = [name for name, kind in inputs.items() if kind != "words"]  # words make the text beside them
        classes: Link = "softmax" if len(truth.names) > 1 else "logistic"
        links: Mapping[str, Link] = {"class": classes, "labels": "logistic", "number": "identity"}
        link = links[truth.kind]
        return cls(truth.names, link, tuple(_fit(train, name, truth, link, settings) for name in texts)), None

    @classmethod
    def open(cls, described: Mapping[str, Any], folder: Path) -> Self:
        names, link = checked.names(described, "names"), checked.text(described, "link")
        if not names or link not in _LINKS:
            raise ValueError(f"names is empty, or link is none of {', '.join(_LINKS)}")
        reading = checked.whole(described, "reading", 2, 2**31)
        check_reading(reading, cls.name, folder)
        texts = checked.mapping_of_texts(described, "texts")
        if not texts:
            raise ValueError("texts is empty")
        return cls(
            names,
            cast(Link, link),
            tuple(TermWeights.open(folder, file, input, len(names)) for input, file in texts.items()),
        )

    def save(self, folder: Path) -> dict[str, Any]:
        """One safetensors file a text, named by its content: a recipe may have several such steps."""
        files = {each.input: each.save(folder, self.name) for each in self.every}
        return {"names": list(self.names), "link": self.link, "reading": READING, "texts": files}

    @property
    def inputs(self) -> tuple[str, ...]:
        return tuple(each.input for each in self.every)

    @property
    def columns(self) -> tuple[Column, ...]:
        pairs = ((each.input, name) for each in self.every for name in self.names)
        return tuple(Column(f"{input}: score of {name or 'the truth'}", input) for input, name in pairs)

    def sql(self) -> None:
        return None

    def neutral(self) -> dict[str, Any]:
        return {}

    def encode(self, values: Values) -> Encoded:
        scores = [_LINKS[self.link](each.scores(values)) for each in self.every]
        return Encoded.of_columns(np.hstack(scores).astype(np.float32))

    def batch(self, encoded: Encoded, sequences: NDArray[np.int64]) -> dict[str, NDArray[Any]]:
        return {}

    def shortfalls(self, encoded: Encoded, values: Values) -> list[Shortfall]:
        return [each.unread(values, self.name) for each in self.every]


def _softmax(scores: NDArray[np.float64]) -> NDArray[np.float64]:
    shares: NDArray[np.float64] = np.exp(scores - scores.max(axis=1, keepdims=True))
    shares /= shares.sum(axis=1, keepdims=True)
    return shares


def _logistic(scores: NDArray[np.float64]) -> NDArray[np.float64]:
    shares: NDArray[np.float64] = 0.5 * (1 + np.tanh(0.5 * scores))
    return shares


_LINKS: Mapping[str, Callable[[NDArray[np.float64]], NDArray[np.float64]]] = {
    "softmax": _softmax,
    "logistic": _logistic,
    "identity": lambda scores: scores,
}


def _fit(train: Iterable[Values], name: str, truth: Truth, link: Link, settings: TextScoresSettings) -> TermWeights:
    terms = Terms.counted(train, (name,), settings.min_df, settings.max_features)
    features, numbers = features_of(train, terms), np.concatenate([*truth.batches()])
    weights = np.zeros((features.shape[1], len(truth.names)), dtype=np.float32)
    bias = np.zeros(len(truth.names), dtype=np.float32)
    if link == "softmax":
        _fit_classes(features, numbers.argmax(axis=1), settings, weights, bias)
    else:
        fit_one = _fit_number if link == "identity" else _fit_label
        for at, column in enumerate(numbers.T):
            fit_one(features, column, settings, weights[:, at], bias[at : at + 1])
    return TermWeights(terms, weights, bias)


def _fit_classes(
    features: csr_matrix,
    places: NDArray[np.int64],
    settings: TextScoresSettings,
    weights: NDArray[np.float32],
    bias: NDArray[np.float32],
) -> None:
    """One of several classes, into `weights` [terms + 1, classes] and `bias`; `places` [rows]."""
    from sklearn.linear_model import LogisticRegression

    present = np.unique(places)
    bias[:] = -CERTAIN  # a class that no row has
    bias[present] = 0
    if len(present) < 2:
        return
    model = LogisticRegression(C=settings.C, max_iter=settings.max_iter).fit(features, places)
    if len(present) == 2:  # scikit-learn gives one score of two classes
        present = present[1:]
    weights[:, present], bias[present] = model.coef_.T, model.intercept_


def _fit_label(
    features: csr_matrix,
    has: NDArray[np.float64],
    settings: TextScoresSettings,
    weights: NDArray[np.float32],
    bias: NDArray[np.float32],
) -> None:
    """Yes or no, into `weights` [terms + 1] and `bias` [1]."""
    from sklearn.linear_model import LogisticRegression

    if has.min() == has.max():
        bias[0] = CERTAIN if has[0] else -CERTAIN
        return
    model = LogisticRegression(C=settings.C, max_iter=settings.max_iter).fit(features, has)
    weights[:], bias[0] = model.coef_[0], model.intercept_[0]


def _fit_number(
    features: csr_matrix,
    numbers: NDArray[np.float64],
    settings: TextScoresSettings,
    weights: NDArray[np.float32],
    bias: NDArray[np.float32],
) -> None:
    """A number in its deviations, into `weights` [terms + 1] and `bias` [1]; by conjugate gradients, which leave sparse
    terms sparse."""
    from sklearn.linear_model import Ridge

    scaled = (numbers - numbers.mean()) / (float(numbers.std()) or 1.0)
    model = Ridge(alpha=1 / settings.C, max_iter=settings.max_iter, solver="sparse_cg")
    model.fit(features.astype(np.float64), scaled)
    weights[:], bias[0] = model.coef_, model.intercept_
