"""The similarity of two texts: an embedding for each text, the cosine of two, and a score in the data's own unit.

Learned from pairs with scores, or from pairs that belong together (a text, its partner and optionally a text that is
not its partner). A row may hold only one text: its embedding is the prediction.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Self

import numpy as np
from pydantic import Field

from lakewright.data.rows.columns import Problems, needed, text_column
from lakewright.data.rows.kinds import Kind, Prediction, Row
from lakewright.data.rows.shortfalls import Shortfall
from lakewright.data.rows.truths import truth_numbers
from lakewright.errors import DataError
from lakewright.model.recipe.ragged import Ragged
from lakewright.model.tasks import Logits, Loss
from lakewright.settings.sections import Columns, TaskSettings

if TYPE_CHECKING:
    import pyarrow as pa
    import torch

    from lakewright.evaluation.scorers import Scorer
    from lakewright.model.recipe.encoded import Encoded

SIDES = ("text", "text_pair", "negative")
GREATEST = float(np.finfo(np.float32).max)  # networks compute in float32


class SimilaritySettings(TaskSettings):
    name: Literal["sentence_similarity"] = "sentence_similarity"


class SimilarityColumns(Columns):
    text: str | None = None
    text_pair: str | None = Field(default=None, description="a second text, compared with the first")
    score: str | None = Field(default=None, description="how alike text and text_pair are")
    negative: str | None = Field(default=None, description="a text unlike `text`")

    truths: ClassVar[tuple[str, ...]] = ("score",)


@dataclass
class PairReader:
    columns: Mapping[str, Any]
    rows: int  # the number of the next row
    problems: Problems = field(default_factory=Problems)
    scores: set[float] = field(default_factory=set)  # two are enough to show that scores differ

    def read(self, table: pa.Table) -> pa.Table:
        import pyarrow as pa

        columns = self.columns
        texts = {
            role: text_column(table, name, role)
            for role, name in zip(SIDES[:2], needed(columns, *SIDES[:2]), strict=True)
        }
        if "negative" in columns:
            texts["negative"] = text_column(table, columns["negative"], "negative")
        if "score" in columns:
            truth = truth_numbers(table, columns["score"], "score", self.rows, self.problems)
            for at in np.flatnonzero(np.abs(truth.to_numpy()) > GREATEST):
                self.problems.add(
                    f"row {self.rows + at}: {truth[int(at)]} is beyond ±{GREATEST:.1e}, the range of float32"
                )
            if len(self.scores) < 2:
                self.scores.update(truth.drop_null().unique().to_pylist())
        else:  # known is only that the two belong together
            truth = pa.chunked_array([pa.array(np.ones(table.num_rows))])
        self.rows += table.num_rows
        return pa.table({**texts, "truth": truth})

    def merge(self, later: Self) -> None:
        self.problems.merge(later.problems)
        self.scores |= later.scores

    def check(self) -> None:
        self.problems.refuse(self.columns.get("score", ""), "score", "write a number, such as 4.5, or nothing")
        if len(self.scores) == 1:
            raise DataError(
                f"the column {self.columns['score']!r} (data.columns.score) holds the same score in every row",
                "name a column with different scores, or none: then all pairs count as belonging together",
            )


@dataclass(frozen=True)
class SentenceSimilarity:
    scored: bool  # learned from scores; else from pairs that belong together
    negatives: bool = False
    low: float = -1.0  # the least and the greatest score in train
    high: float = 1.0
    slope: float = 1.0  # score = slope · cosine + intercept, kept between low and high
    intercept: float = 0.0

    name: ClassVar[str] = "sentence_similarity"
    settings: ClassVar[type[TaskSettings]] = SimilaritySettings
    columns: ClassVar[type[Columns]] = SimilarityColumns
    truth: ClassVar[str] = "likeness"
    requires: ClassVar[tuple[Kind, ...]] = ("text",)
    level: ClassVar[Literal["row", "token", "vector"]] = "vector"
    counted: ClassVar[Literal["rows", "sequences", "tokens"]] = "rows"
    one_label: ClassVar[bool] = False
    losses: ClassVar[tuple[str, ...]] = ("auto", "cosent", "cosine", "contrastive", "in_batch_negatives")
    labels: ClassVar[tuple[str, ...]] = ()
    outputs: ClassVar[int] = 0

    @classmethod
    def measures(cls, settings: TaskSettings, roles: Collection[str]) -> tuple[str, ...]:
        if "score" in roles:
            return ("spearman", "pearson", "rmse", "mae")
        return ("mrr", "recall_at_1", "recall_at_5", "recall_at_10")

    @staticmethod
    def inputs_of(columns: Mapping[str, Any]) -> dict[str, Kind]:
        """For prediction, a row may be a single text; in a table it has two, or three."""
        negative: dict[str, Kind] = {"negative": "optional text"} if "negative" in columns else {}
        return {"text": "text", "text_pair": "optional text", **negative}

    @classmethod
    def reader(cls, columns: Mapping[str, Any], settings: TaskSettings, first: int = 0) -> PairReader:
        needed(columns, *SIDES[:2])
        return PairReader(columns, first)

    @classmethod
    def fit(cls, train: Iterable[pa.Table], inputs: Mapping[str, Kind], settings: TaskSettings) -> Self:
        low, high = np.inf, -np.inf
        for table in train:
            truth = table["truth"].to_numpy()
            low, high = min(low, float(truth.min())), max(high, float(truth.max()))
        return cls(low < high, "negative" in inputs, *((low, high) if low < high else (-1.0, 1.0)))

    @classmethod
    def open(cls, described: Mapping[str, Any]) -> Self:
        return cls(**{key: value for key, value in described.items() if key not in ("name", "labels")})

    def describe(self) -> dict[str, Any]:
        names = ("scored", "negatives", "low", "high", "slope", "intercept")
        return {"name": self.name, "labels": [], **{key: getattr(self, key) for key in names}}

    @property
    def inputs(self) -> dict[str, Kind]:
        negative: dict[str, Kind] = {"negative": "optional text"} if self.negatives else {}
        return {"text": "text", "text_pair": "optional text", **negative}

    @staticmethod
    def label_of(truth: float) -> list[str]:
        return []

    def targets(self, truths: Sequence[float], encoded: Encoded, rows: Sequence[Row]) -> Ragged:
        """The score, scaled to 0 for the least and 1 for the greatest of train."""
        scores = np.array(truths, dtype=np.float64)
        if self.scored:
            scores = (scores - self.low) / (self.high - self.low)
        return Ragged(scores.astype(np.float32), np.arange(len(scores) + 1))

    def shortfalls(
        self, truths: Sequence[float], encoded: Encoded, targets: Ragged, rows: Sequence[Row]
    ) -> list[Shortfall]:
        if not self.scored:
            return []
        scores = np.array(truths, dtype=np.float64)
        return [
            Shortfall(
                "scores_out_of_range",
                "score",
                f"lie outside train's range, {self.low:g} to {self.high:g}, and are predicted as its nearer end",
                "choose another prepare.split.seed or method, or convert all scores to one unit",
                lost=((scores < self.low) | (scores > self.high)).astype(np.int64),
                of=np.ones(len(scores), dtype=np.int64),
            )
        ]

    def loss(self, logits: torch.Tensor, targets: torch.Tensor, loss: Loss) -> torch.Tensor:
        """From unit vectors [rows, 2 or 3, width], the whole batch's loss, the same for each of its rows.

        cosent: pairs with a greater score should have the greater cosine (Su 2022, CoSENT: a smooth rank loss).
        cosine: the squared distance of the cosine from the score.
        contrastive: Hadsell, Chopra & LeCun 2006; a score over a half counts as alike, margin a half.
        in_batch_negatives: each text must find its partner among the batch's (Henderson et al. 2017; InfoNCE).
        """
        import torch
        from torch.nn.functional import cross_entropy

        left, right, scores = logits[:, 0].float(), logits[:, 1].float(), targets[:, 0].float()
        cosines = (left * right).sum(dim=1)
        name = loss.name if loss.name != "auto" else "cosent" if self.scored else "in_batch_negatives"
        if name == "cosine":
            return (cosines - scores).square()
        if name == "contrastive":
            distance = 1 - cosines
            alike = (scores > 0.5).float()
            return alike * distance.square() + (1 - alike) * torch.relu(0.5 - distance).square()
        if name == "in_batch_negatives":
            candidates = torch.cat([right, *logits[:, 2:].float().unbind(dim=1)])
            places = torch.arange(len(left), device=left.device)
            return cross_entropy(loss.scale * left @ candidates.T, places, reduction="none")
        gaps = loss.scale * (cosines[None, :] - cosines[:, None])  # [i, j]: how far j is above i
        wrong = torch.where(scores[:, None] > scores[None, :], gaps, -torch.inf).reshape(-1)
        whole = torch.logsumexp(torch.cat([wrong, wrong.new_zeros(1)]), dim=0)
        return whole.expand(len(left))

    def decode(self, logits: Logits, encoded: Encoded, rows: Sequence[Row]) -> list[Prediction]:
        """score (in the data's unit) and cosine of two texts; the embedding if a row holds one text, or if the task was
        learned from pairs without scores, whose metrics rank partners by embeddings."""
        predictions: list[Prediction] = []
        offsets = encoded.rows
        assert offsets is not None
        for row in range(len(encoded)):
            vectors = logits[offsets[row] : offsets[row + 1]]
            prediction: Prediction = {}
            if len(vectors) > 1:
                cosine = round(min(1.0, max(-1.0, float(vectors[0] @ vectors[1]))), 6)  # float32 has no more digits
                prediction = {"score": self._score(cosine), "cosine": cosine}
            if len(vectors) == 1:
                prediction["embedding"] = [round(float(value), 6) for value in vectors[0]]
            elif not self.scored:
                prediction["embeddings"] = [[round(float(v), 6) for v in vector] for vector in vectors[:2]]
            predictions.append(prediction)
        return predictions

    def prediction_columns(self) -> pa.Schema:
        import pyarrow as pa

        vector = pa.list_(pa.float32())
        embeddings = {} if self.scored else {"embeddings": pa.list_(vector)}
        return pa.schema({"score": pa.float64(), "cosine": pa.float64(), "embedding": vector, **embeddings})

    def tune(self, logits: Logits, encoded: Encoded, rows: Sequence[Row], truths: Sequence[float]) -> Self:
        """slope and intercept by least squares; without scores, only cosines."""
        if not self.scored:
            return self
        offsets = encoded.rows
        assert offsets is not None
        cosines = np.array([logits[at] @ logits[at + 1] for at in offsets[:-1]], dtype=np.float64)
        if np.ptp(cosines) == 0:
            return self
        slope, intercept = np.polyfit(cosines, np.array(truths, dtype=np.float64), 1)
        return replace(self, slope=float(slope), intercept=float(intercept))

    def confidence(self, prediction: Prediction) -> float:
        """The cosine, from 0 to 1, since a distance has no probability."""
        return 0.0 if prediction.get("abstain") else (float(prediction.get("cosine", 1.0)) + 1) / 2

    def scorer(self, truths: Sequence[float], predictions: Sequence[Prediction], rows: Sequence[Row]) -> Scorer:
        from lakewright.evaluation.scorers.similarity import SimilarityScorer

        scores = np.array([prediction["score"] for prediction in predictions])
        if self.scored:
            return SimilarityScorer(np.array(truths, dtype=np.float64), scores, None, None, None)
        left, right = (
            np.array([prediction["embeddings"][side] for prediction in predictions], dtype=np.float32)
            for side in (0, 1)
        )
        return SimilarityScorer(None, scores, left, right, [row["text_pair"] for row in rows])

    def sample_rows(self) -> list[dict[str, Any]]:
        return [
            {"text": "A short example.", "text_pair": "An example that is short."},
            {"text": "Another example.", "text_pair": "Something else altogether."},
        ]

    def _score(self, cosine: float) -> float:
        return float(np.clip(self.slope * cosine + self.intercept, self.low, self.high)) if self.scored else cosine
