"""Numbers of a text: the sums of its terms' weights, by TF-IDF. What `text_scores` and `text_vectors` are made of."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from hashlib import blake2b
from pathlib import Path
from typing import TYPE_CHECKING, Self

import numpy as np
from numpy.typing import NDArray

from lakewright.data.rows.kinds import missing
from lakewright.data.rows.shortfalls import Shortfall
from lakewright.model.recipe import Values, checked
from lakewright.model.recipe.terms import Terms

if TYPE_CHECKING:
    from scipy.sparse import csr_matrix


@dataclass(frozen=True, eq=False)
class TermWeights:
    """One text's."""

    terms: Terms
    weights: NDArray[np.float32]  # [terms + 1, names], of padding 0
    bias: NDArray[np.float32]  # [names]

    @property
    def input(self) -> str:
        return self.terms.inputs[0]

    def scores(self, values: Values) -> NDArray[np.float64]:
        """[rows, names]. A row's sum is taken term by term, so that it does not depend on the other
        rows."""
        encoded = self.terms.encode({self.input: values[self.input]})
        assert encoded.weights is not None
        ids, lengths = encoded.ids.values, encoded.ids.lengths
        row_of = np.repeat(np.arange(len(lengths)), lengths)
        products = encoded.weights.values.astype(np.float64)[:, None] * self.weights[ids]
        sums = [np.bincount(row_of, column, minlength=len(lengths)) for column in products.T]
        scores: NDArray[np.float64] = np.array(sums, dtype=np.float64).T + self.bias.astype(np.float64)
        return scores

    @classmethod
    def open(cls, folder: Path, file: str, input: str, width: int) -> Self:
        """Raises ValueError for a file that `save` could not have written."""
        from safetensors import SafetensorError
        from safetensors.numpy import load

        if Path(file).name != file:
            raise ValueError(f"{file!r} is no name of a file beside recipe.json")
        try:
            arrays = load((folder / file).read_bytes())
            listed = arrays["terms"].tobytes().decode()
            idf, weights, bias = (arrays[name] for name in ("idf", "weights", "bias"))
        except (SafetensorError, KeyError, TypeError, AttributeError) as failure:
            raise ValueError(f"{file} does not hold the scores of terms: {failure}") from None
        terms = listed.split("\n") if listed else []
        shapes = {"idf": (len(terms),), "weights": (len(terms), width), "bias": (width,)}
        for name, shape in shapes.items():
            array = arrays[name]
            if array.shape != shape or array.dtype != np.float32 or not np.isfinite(array).all():
                raise ValueError(f"{file}: {name} is not finite float32 numbers {list(shape)}")
        checked.distinct(tuple(terms), file)
        vocabulary = {term: place for place, term in enumerate(terms, start=1)}
        first = np.zeros((1, width), dtype=np.float32)  # padding's
        padded = np.concatenate([np.zeros(1, dtype=np.float32), idf])
        return cls(Terms((input,), vocabulary, padded), np.concatenate([first, weights]), bias)

    def save(self, folder: Path, step: str) -> str:
        """Into a file named by its content, whose name it returns: a recipe may have several such steps."""
        from safetensors.numpy import save

        listed = "\n".join(self.terms.vocabulary).encode()
        arrays = {
            "terms": np.frombuffer(listed, np.uint8),  # UTF-8, one on each line
            "idf": self.terms.idf[1:],
            "weights": self.weights[1:],
            "bias": self.bias,
        }
        content = save({name: np.ascontiguousarray(array) for name, array in arrays.items()})
        file = f"{step}-{blake2b(content, digest_size=8).hexdigest()}.safetensors"
        (folder / file).write_bytes(content)
        return file

    def unread(self, values: Values, step: str) -> Shortfall:
        """The texts without a known term; a blank or missing one is no text."""
        texts = values[self.input]
        present = np.array([not missing(text) for text in texts])
        known = np.array([text is not None and self.terms.knows(text) for text in texts])
        return Shortfall(
            "unread_texts",
            "text",
            f"in {self.input!r} hold no known term",
            f"learn from texts with the same words, or set prepare.recipe.{step}.min_df: 1",
            lost=(present & ~known).astype(np.int64),
            of=present.astype(np.int64),
        )


def features_of(train: Iterable[Values], terms: Terms) -> csr_matrix:
    """[rows, terms + 1], float32; the texts are read a batch at a time."""
    from scipy.sparse import csr_matrix

    encoded = [terms.encode({terms.inputs[0]: values[terms.inputs[0]]}) for values in train]
    lengths = np.concatenate([each.ids.lengths for each in encoded])
    ids = np.concatenate([each.ids.values for each in encoded])
    weights = np.concatenate([each.weights.values for each in encoded if each.weights is not None])
    shape = (len(lengths), len(terms.idf))
    return csr_matrix((weights, ids, np.concatenate([[0], np.cumsum(lengths)])), shape=shape)
