"""The encoder's settings, named as in Hugging Face's TrainingArguments where it has a name for them."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from lakewright.project import LearnerSettings


class EncoderSettings(LearnerSettings):
    learner: Literal["encoder"] = "encoder"
    base_model: str = Field(
        default="sentence-transformers/all-MiniLM-L6-v2",
        description="a Hugging Face Hub name (NAME or NAME@REVISION), a local folder, or package:PYTHON_PACKAGE",
    )
    pooling: Literal["mean", "cls"] = Field(default="mean", description="how a row's tokens become one vector")
    dropout: float | None = Field(default=None, ge=0, lt=1, description="none: as the base model has it")

    num_train_epochs: float = Field(default=4, gt=0)
    per_device_train_batch_size: int = Field(default=32, ge=1, description="rows a batch")
    gradient_accumulation_steps: int = Field(default=1, ge=1, description="batches an optimizer step")
    max_tokens_per_batch: int = Field(
        default=16_384,
        ge=1,
        description="padded tokens in memory at once; a larger batch is computed in parts, same result",
    )
    learning_rate: Literal["auto"] | Annotated[float, Field(gt=0)] = Field(
        default="auto", description="auto: 1e-4 for a hidden size of 384, in proportion less for larger encoders"
    )
    head_learning_rate: float | None = Field(default=None, gt=0, description="none: ten times learning_rate")
    layerwise_lr_decay: float = Field(default=1.0, gt=0, le=1, description="rate of a layer ÷ rate of the layer above")
    freeze_layers: int = Field(default=0, ge=0, description="1: the embeddings; n: also the lowest n − 1 layers")
    lr_scheduler_type: Literal["linear", "cosine", "constant"] = "linear"
    warmup_ratio: float = Field(default=0.1, ge=0, lt=1)
    weight_decay: float = Field(default=0.01, ge=0)
    max_grad_norm: float = Field(default=1.0, gt=0)
    label_smoothing_factor: float = Field(default=0.0, ge=0, lt=1)
    early_stopping_patience: int | None = Field(default=2, ge=1, description="epochs without a better validation score")
    bf16: Literal["auto"] | bool = Field(
        default="auto", description="mixed precision; auto: where the processor has it"
    )
    gradient_checkpointing: bool = False
    save_seconds: float = Field(
        default=60, gt=0, description="a checkpoint at least this often, and at every epoch's end"
    )
    quantize: Literal["auto", "never"] = Field(
        default="auto", description="auto: int8 where it is faster here and not significantly worse on validation"
    )
    seed: int = 13
