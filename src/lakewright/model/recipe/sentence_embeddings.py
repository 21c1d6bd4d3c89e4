"""The step `sentence_embeddings`: a text as the unit vector that a pretrained sentence encoder gives it, so that trees
and other learners of numbers read what it means, in words that train never had (Reimers & Gurevych 2019).

The encoder stays as it is, and nothing of the truth is learned. `dimensions` keeps of the vectors the directions in
which train's differ most (principal components, Pearson 1901). A text that is missing or blank is the zero vector.

A tree turns the last bit of a number into another leaf, so a text has the same vector in every company: each is
computed by itself, in one thread, and several texts at once in as many threads. The last vectors are kept in memory, so
that a text is computed once while the other inputs of its row vary, as they do for reasons and importance. ONNX Runtime
alone computes; to fit, torch loads the encoder once.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property, partial
from hashlib import blake2b
from pathlib import Path
from shutil import copyfile
from threading import Lock
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Self, get_args

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from lakewright.data.rows.kinds import Kind, missing
from lakewright.data.rows.lengths import suggest_max_length
from lakewright.data.rows.shortfalls import Shortfall
from lakewright.errors import ProjectError
from lakewright.model.recipe import Column, Values, Wanted, checked, summaries
from lakewright.model.recipe.encoded import Encoded
from lakewright.model.recipe.tokens import UNCUT, LongTexts, Tokens, Vocabulary
from lakewright.settings.sections import StepSettings
from lakewright.system.files import cores

if TYPE_CHECKING:
    from lakewright.model.runtimes import Runtime

SMALL = "sentence-transformers/all-MiniLM-L6-v2"
TEXT = "text"  # what the tokens' own input is called
MOST_TEXTS = 10_000  # of train, in which the directions are looked for
MOST_NUMBERS = 65_536  # of a vector
KEPT = 32 << 20  # bytes of vectors
_keeping = Lock()


class SentenceEmbeddingsSettings(StepSettings):
    step: Literal["sentence_embeddings"] = "sentence_embeddings"
    base_model: str = Field(
        default=SMALL,
        description="a Hugging Face Hub name (NAME or NAME@REVISION), a local folder, or package:PYTHON_PACKAGE",
    )
    pooling: Literal["mean", "cls"] = Field(default="mean", description="how a text's tokens become one vector")
    dimensions: int | None = Field(
        default=None, ge=1, le=4096, description="numbers of each text at most; none: all that the encoder gives"
    )
    max_length: Literal["auto"] | int = Field(
        default="auto", description="tokens that are read at once; auto: from the lengths in train, at most 256"
    )
    long_texts: Literal["cut", "head_tail", "windows"] = Field(
        default="cut",
        description="beyond max_length: cut loses the end, head_tail the middle, windows nothing (the mean of their "
        "vectors)",
    )


@dataclass(frozen=True)
class FrozenEncoder:
    """A pretrained sentence encoder, ready to compute."""

    network: (
        Path  # ONNX: input_ids, attention_mask int64 [texts, tokens] → unit vectors `logits` float32 [texts, width]
    )
    width: int
    vocabulary: Vocabulary


@dataclass(frozen=True, eq=False)
class Directions:
    """Of one text's vectors."""

    mean: NDArray[np.float64]  # [width]
    axes: NDArray[np.float64]  # [dimensions, width]

    def of(self, vector: NDArray[np.float64]) -> NDArray[np.float64]:
        """[dimensions] of a vector alone: a product of many at once would have other last bits."""
        return self.axes @ (vector - self.mean)


@dataclass(frozen=True, eq=False)
class SentenceEmbeddings:
    texts: Mapping[str, Directions | None]  # one entry for each text; None: its vectors as they are
    network: Path
    width: int  # of the encoder's vectors
    tokens: Tokens

    name: ClassVar[str] = "sentence_embeddings"
    settings: ClassVar[type[StepSettings]] = SentenceEmbeddingsSettings
    reads: ClassVar[tuple[Kind, ...]] = ("text", "optional text", "words")
    gives: ClassVar[Literal["inputs", "sequences", "numbers"]] = "numbers"
    packages: ClassVar[tuple[str, ...]] = ("onnxruntime",)

    @classmethod
    def fit(
        cls, train: Iterable[Values], inputs: Mapping[str, Kind], settings: SentenceEmbeddingsSettings, wanted: Wanted
    ) -> tuple[Self, None]:
        """Reads train once for the lengths, and for `dimensions` once more, where it computes MOST_TEXTS texts at
        most. Raises ProjectError where the settings do not fit the encoder, or no encoder can be had here."""
        if wanted.encoder is None:
            raise ProjectError(
                f"prepare.recipe.{cls.name}: nothing here can open an encoder", "fit the step by `lakewright run`"
            )
        encoder = wanted.encoder(settings.base_model, settings.pooling)
        names = [name for name, kind in inputs.items() if kind != "words"]  # words make the text beside them
        tokens, counts = _tokens(train, names, settings, encoder.vocabulary)
        whole = cls(dict.fromkeys(names), encoder.network, encoder.width, tokens)
        if settings.dimensions is None or settings.dimensions >= encoder.width:
            return whole, None
        vectors = _of_some(whole, train, counts)
        texts = {name: _directions(vectors[name], name, settings.dimensions) for name in names}
        return cls(texts, encoder.network, encoder.width, tokens), None

    @classmethod
    def open(cls, described: Mapping[str, Any], folder: Path) -> Self:
        width = checked.whole(described, "width", 1, MOST_NUMBERS)
        network, tokenizer = (
            folder / _beside(checked.text(described, key), folder) for key in ("network", "tokenizer")
        )
        long_texts = checked.text(described, "long_texts")
        max_length = checked.whole(described, "max_length", 3, UNCUT)
        if long_texts not in get_args(LongTexts):
            raise ValueError(f"long_texts is {long_texts!r}")
        tokens = _reader(
            tokenizer.read_text(encoding="utf-8"),
            max_length,
            checked.whole(described, "pad_id", 0, 2**31),
            long_texts,  # type: ignore[arg-type]
        )
        if max_length <= tokens.tokenizer.num_special_tokens_to_add(False) + tokens.stride:  # tokenizers would panic
            raise ValueError(f"max_length is {max_length}")
        texts = checked.mapping(described, "texts")
        if not texts:
            raise ValueError("texts is empty")
        directions = {name: None if file is None else _opened(folder, file, width) for name, file in texts.items()}
        return cls(directions, network, width, tokens)

    def save(self, folder: Path) -> dict[str, Any]:
        """Into files named by their content: a recipe may have several such steps."""
        tokenizer = self.tokens.tokenizer.to_str(pretty=False).encode()
        return {
            "texts": {name: None if own is None else _saved(own, folder) for name, own in self.texts.items()},
            "width": self.width,
            "network": _stored(self.network, folder),
            "tokenizer": _written(tokenizer, "json", folder),
            "pad_id": self.tokens.pad_id,
            "max_length": self.tokens.max_length,
            "long_texts": self.tokens.long_texts,
        }

    @property
    def inputs(self) -> tuple[str, ...]:
        return tuple(self.texts)

    @property
    def columns(self) -> tuple[Column, ...]:
        widths = {name: self.width if own is None else len(own.axes) for name, own in self.texts.items()}
        return tuple(
            Column(f"{name}: embedding {place}", name)
            for name, width in widths.items()
            for place in range(1, width + 1)
        )

    def sql(self) -> None:
        return None

    def neutral(self) -> dict[str, Any]:
        return {}

    def encode(self, values: Values) -> Encoded:
        parts = [self._of_text(values[name], own) for name, own in self.texts.items()]
        return Encoded.of_columns(np.hstack(parts))

    def batch(self, encoded: Encoded, sequences: NDArray[np.int64]) -> dict[str, NDArray[Any]]:
        return {}

    def shortfalls(self, encoded: Encoded, values: Values) -> list[Shortfall]:
        return [lost for name in self.texts for lost in self._shortfalls_of(name, values[name])]

    @cached_property
    def _kept(self) -> dict[bytes, NDArray[np.float32]]:
        """Hash of a text → its vector; KEPT bytes at most, those that came first go first."""
        return {}

    def vectors(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Unit vectors [texts, width]."""
        encoded = self.tokens.encode({TEXT: texts})
        first = encoded.first_alike()
        computed: dict[int, NDArray[np.float32]] = {}

        def compute(sequence: int) -> None:
            computed[sequence] = self._runtime.compute(self.tokens.batch(encoded, np.array([sequence])))[0]

        with ThreadPoolExecutor(cores()) as pool:
            for _ in pool.map(compute, np.unique(first).tolist()):  # raises a text's exception
                pass
        of_sequences = np.stack([computed[sequence] for sequence in first.tolist()])
        if encoded.rows is None:
            return of_sequences
        means = [
            of_sequences[start:end].mean(axis=0) for start, end in zip(encoded.rows, encoded.rows[1:], strict=False)
        ]
        return np.stack([mean / max(float(np.linalg.norm(mean)), 1e-12) for mean in means]).astype(np.float32)

    @cached_property
    def _runtime(self) -> Runtime:
        from lakewright.model.runtimes.onnx import load

        return load(self.network, threads=1)

    def _of_text(self, texts: Sequence[str | None], own: Directions | None) -> NDArray[np.float32]:
        """[rows, numbers]"""
        numbers = np.zeros((len(texts), self.width if own is None else len(own.axes)), dtype=np.float32)
        rows = [row for row, text in enumerate(texts) if not missing(text)]
        if not rows:
            return numbers
        places: dict[str, int] = {}
        place = [places.setdefault(str(texts[row]), len(places)) for row in rows]
        vectors = self._remembered([*places])
        if own is not None:
            vectors = np.stack([own.of(vector.astype(np.float64)) for vector in vectors]).astype(np.float32)
        numbers[rows] = vectors[place]
        return numbers

    def _remembered(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """The vectors of distinct texts, those that are kept as they are."""
        keys = [blake2b(text.encode("utf-8", "replace"), digest_size=16).digest() for text in texts]
        with _keeping:
            vectors = {at: self._kept[key] for at, key in enumerate(keys) if key in self._kept}
        new = [at for at in range(len(texts)) if at not in vectors]
        if new:
            vectors |= zip(new, self.vectors([texts[at] for at in new]), strict=True)
        with _keeping:
            for at in new[-self._room :]:
                self._kept[keys[at]] = vectors[at].copy()  # not a view, which would hold all of the batch
            for key in [*self._kept][: len(self._kept) - self._room]:
                del self._kept[key]
        return np.stack([vectors[at] for at in range(len(texts))])

    @property
    def _room(self) -> int:
        return max(1, KEPT // (4 * self.width))

    def _shortfalls_of(self, name: str, texts: Sequence[str | None]) -> list[Shortfall]:
        """What the tokenizer loses of this text; a missing or blank one has nothing to lose."""
        present = np.array([not missing(text) for text in texts])
        written = {TEXT: [text or "" for text in texts]}
        return [
            Shortfall(
                each.name,
                each.noun,
                f"of {name!r} {each.cause}",
                each.remedy.replace("prepare.recipe.tokens", f"prepare.recipe.{self.name}").replace(
                    "train.base_model", f"prepare.recipe.{self.name}.base_model"
                ),
                lost=np.where(present, each.lost, 0),
                of=np.where(present, each.of, 0),
                needed=each.needed,
                least=each.least,
            )
            for each in self.tokens.shortfalls(self.tokens.encode(written), written)
        ]


def _reader(tokenizer_json: str, max_length: int, pad_id: int, long_texts: LongTexts) -> Tokens:
    stride = max(1, max_length // 4) if long_texts == "windows" else 0
    return Tokens.make((TEXT,), tokenizer_json, max_length, pad_id, long_texts, stride, symbols="names")


def _tokens(
    train: Iterable[Values], names: Sequence[str], settings: SentenceEmbeddingsSettings, vocabulary: Vocabulary
) -> tuple[Tokens, dict[str, int]]:
    """The reader of all texts, and how many train has of each. Raises ProjectError for a max_length that the encoder
    cannot read, and for a text that no row of train has."""
    max_length = settings.max_length
    if max_length != "auto" and not 3 <= max_length <= vocabulary.longest:
        raise ProjectError(
            f"prepare.recipe.{settings.step}.max_length is {max_length}, but {vocabulary.name} reads 3 to "
            f"{vocabulary.longest} tokens",
            f"set it to at most {vocabulary.longest}, or to auto",
        )
    whole = _reader(vocabulary.tokenizer_json, UNCUT, vocabulary.pad_id, "cut")
    lengths, counts = [np.empty(0, dtype=np.int32)], Counter[str]()
    for of_part, texts in summaries(train, partial(_lengths, whole, tuple(names))):
        lengths.append(of_part)
        counts.update(texts)
    if lacking := next((name for name in names if not counts[name]), None):
        raise ProjectError(
            f"prepare.recipe.{settings.step}: no row of train has a text in {lacking!r}",
            f"leave it out: data.exclude: [{lacking}]",
        )
    most = suggest_max_length(np.concatenate(lengths), vocabulary.longest) if max_length == "auto" else max_length
    return _reader(vocabulary.tokenizer_json, most, vocabulary.pad_id, settings.long_texts), counts


def _lengths(
    whole: Tokens, names: tuple[str, ...], train: Iterable[Values]
) -> tuple[NDArray[np.int32], dict[str, int]]:
    """Of all texts; and how many there are of each."""
    lengths, counts = [np.empty(0, dtype=np.int32)], dict.fromkeys(names, 0)
    for values in train:
        for name in names:
            texts = _present(values[name])
            counts[name] += len(texts)
            if texts:
                lengths.append(whole.encode({TEXT: texts}).ids.lengths.astype(np.int32))
    return np.concatenate(lengths), counts


def _present(texts: Iterable[str | None]) -> list[str]:
    return [text for text in texts if text is not None and not missing(text)]


def _of_some(
    step: SentenceEmbeddings, train: Iterable[Values], counts: Mapping[str, int]
) -> dict[str, NDArray[np.float64]]:
    """Input → vectors [texts, width] of MOST_TEXTS of its texts at most, evenly spread over train."""
    vectors: dict[str, list[NDArray[np.float32]]] = {name: [] for name in counts}
    seen = dict.fromkeys(counts, 0)
    for values in train:
        for name, count in counts.items():
            texts = _present(values[name])
            chosen = [text for at, text in enumerate(texts, seen[name]) if _is_chosen(at, count)]
            seen[name] += len(texts)
            if chosen:
                vectors[name].append(step.vectors(chosen))
    return {name: np.concatenate(parts).astype(np.float64) for name, parts in vectors.items()}


def _is_chosen(at: int, count: int) -> bool:
    """Of `count` texts, MOST_TEXTS at equal distances."""
    return count <= MOST_TEXTS or at * MOST_TEXTS // count != (at + 1) * MOST_TEXTS // count


def _directions(vectors: NDArray[np.float64], name: str, dimensions: int) -> Directions:
    """Each direction with its largest number positive, those of the largest variance first."""
    mean = vectors.mean(axis=0)
    centered = vectors - mean
    variances, axes = np.linalg.eigh(centered.T @ centered)
    axes = axes[:, ::-1].T[: min(dimensions, max(1, int((variances > 1e-9 * max(variances.max(), 1e-300)).sum())))]
    largest = np.abs(axes).argmax(axis=1)
    signs = np.sign(axes[np.arange(len(axes)), largest])
    return Directions(mean, np.ascontiguousarray(axes * signs[:, None]))


def _saved(own: Directions, folder: Path) -> str:
    from safetensors.numpy import save

    return _written(save({"mean": own.mean, "axes": own.axes}), "safetensors", folder)


def _opened(folder: Path, file: Any, width: int) -> Directions:
    from safetensors import SafetensorError
    from safetensors.numpy import load

    try:
        arrays = load((folder / _beside(file, folder)).read_bytes())
        mean, axes = arrays["mean"], arrays["axes"]
    except (SafetensorError, KeyError, TypeError, AttributeError) as failure:
        raise ValueError(f"{file} does not hold directions: {failure}") from None
    shaped = mean.shape == (width,) and axes.ndim == 2 and axes.shape[1] == width and 0 < len(axes) <= width
    if not shaped or any(each.dtype != np.float64 or not np.isfinite(each).all() for each in (mean, axes)):
        raise ValueError(f"{file} does not hold finite float64 directions of vectors of {width} numbers")
    return Directions(mean, axes)


def _beside(file: Any, folder: Path) -> str:
    """Raises ValueError for what is no name of a file in the folder."""
    if not isinstance(file, str) or Path(file).name != file or not (folder / file).is_file():
        raise ValueError(f"{file!r} is no name of a file beside recipe.json")
    return file


def _written(content: bytes, ending: str, folder: Path) -> str:
    name = f"{SentenceEmbeddings.name}-{blake2b(content, digest_size=8).hexdigest()}.{ending}"
    (folder / name).write_bytes(content)
    return name


def _stored(network: Path, folder: Path) -> str:
    """A copy, hashed in parts: an encoder may be a gigabyte."""
    hashed = blake2b(digest_size=8)
    for part in _parts(network):
        hashed.update(part)
    name = f"{SentenceEmbeddings.name}-{hashed.hexdigest()}.onnx"
    if network != folder / name:
        copyfile(network, folder / name)
    return name


def _parts(path: Path) -> Iterator[bytes]:
    with path.open("rb") as file:
        while part := file.read(4 << 20):
            yield part
