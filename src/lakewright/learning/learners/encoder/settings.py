"""The encoder's settings, named as in Hugging Face's TrainingArguments where it has a name for them."""

from __future__ import annotations

import math
from typing import Annotated, Any, Literal, Self

from pydantic import Field, field_validator, model_validator

from lakewright.model.tasks import Loss, Task
from lakewright.settings.sections import LearnerSettings

SMALL = "sentence-transformers/all-MiniLM-L6-v2"
USUAL_BATCH = 32  # rows, for which learning rates are written


class PretrainedSettings(LearnerSettings):
    """What every learner says that starts from a pretrained encoder."""

    size: str | None = Field(
        default=None, description="the dial that picked learner and base_model: instant, small, base or large"
    )
    base_model: str = Field(
        default=SMALL,
        description="a Hugging Face Hub name (NAME or NAME@REVISION), a local folder, or package:PYTHON_PACKAGE",
    )
    pooling: Literal["mean", "cls"] = Field(default="mean", description="how a row's tokens become one vector")
    dimensions: int | None = Field(
        default=None, ge=8, description="sentence_similarity: the first n numbers of an embedding; none: all of them"
    )
    bf16: Literal["auto"] | bool = Field(
        default="auto", description="mixed precision; auto: if the processor supports it"
    )
    quantize: Literal["auto", "static", "never"] = Field(
        default="auto",
        description="int8 where it is faster on this machine and not significantly worse on validation; static: for "
        "onnx alone, in seconds; auto: also for openvino, if it is installed",
    )
    prune_error: float = Field(
        default=0,
        ge=0,
        le=0.1,
        description="the int8 networks lose neurons of the feed-forward layers: as many as cost each layer this share "
        "of the variance of its output; 0: none",
    )
    seed: int = 13

    @field_validator("quantize", mode="before")
    @classmethod
    def _no_row_depends_on_others(cls, value: Any) -> Any:
        if value == "dynamic":
            raise ValueError("dynamic int8 makes a row's prediction depend on the rows beside it; write static")
        return value

    @model_validator(mode="after")
    def _nothing_pruned_in_fp32(self) -> Self:
        if self.prune_error and self.quantize == "never":
            raise ValueError("prune_error has no effect with quantize: never: only int8 networks are pruned")
        return self


class EncoderSettings(PretrainedSettings):
    learner: Literal["encoder"] = "encoder"
    dropout: float | None = Field(default=None, ge=0, lt=1, description="none: the base model's own")
    head_start: Literal["auto", "probe", "random"] = Field(
        default="auto",
        description="the head before training: a linear probe of the base model, or random numbers; "
        "auto: probe, but random for question_answering",
    )
    head_start_rows: int = Field(
        default=10_000,
        ge=1,
        description="the probe is fitted on at most so many rows of train",
    )

    contrastive: Literal["auto", "never"] | Annotated[int, Field(ge=1)] = Field(
        default="auto",
        description="batches in which pairs of rows teach the encoder before the head learns; auto: where rows are few "
        "and it helps, by folds of them; class and labels alone",
    )
    folds: Literal["auto", 0, 2, 3, 4, 5, 6, 7, 8] = Field(
        default="auto",
        description="parts of train and validation that choose how few rows are learned from; all are learned from in "
        "the end. 0: validation chooses, and is not learned from; auto: 3 for at most 2,000 rows of classes or labels, "
        "where num_train_epochs is auto",
    )

    num_train_epochs: Literal["auto"] | Annotated[float, Field(gt=0)] = Field(
        default="auto", description="auto: by the rows of train; 4 for 10,000, more for fewer and fewer for more"
    )
    per_device_train_batch_size: int = Field(
        default=USUAL_BATCH, ge=1, description="rows a batch, which processes that train together divide"
    )
    gradient_accumulation_steps: int = Field(default=1, ge=1, description="batches an optimizer step")
    max_tokens_per_batch: Literal["auto"] | Annotated[int, Field(ge=1)] = Field(
        default="auto",
        description="padded tokens in memory at once; a larger batch is computed in parts, same result; auto: 2,048 on "
        "a processor, since more would not be faster, and 65,536 on a GPU",
    )
    learning_rate: Literal["auto"] | Annotated[float, Field(gt=0)] = Field(
        default="auto",
        description="auto: 1e-4 (LoRA: 1e-3) for a hidden size of 384, in proportion less for larger encoders",
    )
    head_learning_rate: float | None = Field(default=None, gt=0, description="none: ten times learning_rate")
    scale_learning_rate: Literal["linear", "sqrt"] | None = Field(
        default=None,
        description="learning rates are multiplied by the rows of a step ÷ 32 (linear), or its square root (sqrt): the "
        "rates of a batch of 32, the default, then fit a larger one; none: they stay",
    )
    layerwise_lr_decay: float = Field(default=1.0, gt=0, le=1, description="rate of a layer ÷ rate of the layer above")
    freeze_layers: int = Field(default=0, ge=0, description="1: the embeddings; n: also the lowest n − 1 layers")
    train_layers: Literal["all"] | Annotated[int, Field(ge=0)] = Field(
        default="all", description="the top n layers and the head are trained; 0: the head alone"
    )
    lora_rank: int = Field(
        default=0, ge=0, description="LoRA: the rank of the updates that are trained instead of the weights; 0: no LoRA"
    )
    lora_alpha: float = Field(default=16, gt=0, description="the updates are multiplied by lora_alpha ÷ lora_rank")
    lora_modules: Literal["auto"] | Annotated[list[str], Field(min_length=1)] = Field(
        default="auto", description="the ends of the linear layers' names; auto: the attention's query and value"
    )
    lr_scheduler_type: Literal["linear", "cosine", "constant"] = "linear"
    warmup_ratio: float = Field(default=0.1, ge=0, lt=1)
    weight_decay: float = Field(default=0.01, ge=0)
    max_grad_norm: float = Field(default=1.0, gt=0)
    loss: str = Field(
        default="auto",
        description="auto: the task's first. classification, text_classification: cross_entropy, focal, earth_mover "
        "(of ordered classes); regression: l2, l1, huber; multilabel_classification and token_classification: "
        "cross_entropy, focal; sentence_similarity: cosent, cosine, contrastive, in_batch_negatives (auto: cosent with "
        "scores, in_batch_negatives without)",
    )
    focal_gamma: float = Field(default=2.0, ge=0)
    similarity_scale: float = Field(default=20.0, gt=0, description="cosines are multiplied by it in the loss")
    label_smoothing_factor: float = Field(default=0.0, ge=0, lt=1)
    early_stopping_patience: int | None = Field(default=2, ge=1, description="epochs without a better validation score")
    interpolate: Literal["auto", "never"] = Field(
        default="auto",
        description="auto: the best on validation of the weights between the start and the end of training; not where "
        "the head started at random",
    )
    gradient_checkpointing: bool = False
    torch_compile: bool = Field(
        default=False,
        description="torch compiles the layers: for long trainings on a GPU; BERT, DistilBERT, ELECTRA, RoBERTa and "
        "similar families",
    )
    save_seconds: float = Field(
        default=60, gt=0, description="a checkpoint at least this often, and at every epoch's end"
    )

    def epochs(self, rows: int) -> float:
        """Passes over train. auto: four for 10,000 rows, half as many for four times the rows; from 1 to 10."""
        if self.num_train_epochs != "auto":
            return self.num_train_epochs
        return float(min(10, max(1, round(4 * (10_000 / rows) ** 0.5))))

    @property
    def rate_scale(self) -> float:
        """What every rate is multiplied by for the rows of a step. Linear: so many small steps in one, with SGD (Goyal
        et al. 2017); the root: as the noise of a gradient falls, for Adam (Malladi et al. 2022)."""
        share = self.per_device_train_batch_size * self.gradient_accumulation_steps / USUAL_BATCH
        scales: dict[str | None, float] = {None: 1.0, "linear": share, "sqrt": math.sqrt(share)}
        return scales[self.scale_learning_rate]

    def contrastive_batches(self, auto: int) -> int:
        """Batches of pairs; `auto`: how many where the setting is auto."""
        if self.contrastive == "auto":
            return auto
        return 0 if self.contrastive == "never" else self.contrastive

    def loss_of(self, task: Task) -> Loss:
        name = task.losses[0] if self.loss == "auto" else self.loss
        return Loss(name, self.label_smoothing_factor, self.focal_gamma, self.similarity_scale)

    @model_validator(mode="after")
    def _one_way_to_train_less(self) -> Self:
        ways = {
            "freeze_layers": self.freeze_layers > 0,
            "train_layers": self.train_layers != "all",
            "lora_rank": self.lora_rank > 0,
        }
        if sum(ways.values()) > 1:
            names = " and ".join(name for name, used in ways.items() if used)
            raise ValueError(f"{names} each choose what is trained; set only one of them")
        return self

    @model_validator(mode="after")
    def _pairs_teach_weights(self) -> Self:
        named = {"contrastive": isinstance(self.contrastive, int), "folds": self.folds not in ("auto", 0)}
        if self.lora_rank and (names := " and ".join(name for name, used in named.items() if used)):
            raise ValueError(f"{names} cannot be set beside lora_rank: pairs of rows change the weights themselves")
        return self

    @model_validator(mode="after")
    def _nothing_without_effect(self) -> Self:
        if self.focal_gamma != 2.0 and self.loss != "focal":
            raise ValueError("focal_gamma has no effect without loss: focal")
        if self.lora_modules != "auto" and not self.lora_rank:
            raise ValueError("lora_modules has no effect without lora_rank")
        return self
