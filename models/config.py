"""Bases of every configuration. Each knob is declared beside the code that reads it; only what is shared lives here."""

from typing import Annotated, Any, ClassVar, Literal, Self

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    NonNegativeFloat,
    NonNegativeInt,
    PositiveFloat,
    PositiveInt,
    model_validator,
)

OptimizerName = Literal["sgd", "momentum", "nesterov", "adagrad", "adadelta", "rmsprop", "adam", "adamw", "ftrl"]
Monitor = Literal[
    "ndcg_at_10", "recall_at_10", "hit_at_10", "precision_at_10", "map_at_10", "mrr_at_10",
    "ndcg_at_20", "recall_at_20", "hit_at_20", "precision_at_20", "map_at_20", "mrr_at_20", "loss",
]  # fmt: skip


class Frozen(BaseModel):
    """Immutable, and a misspelt key is an error instead of a silent default. The text under a field is its help."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True, allow_inf_nan=False)


def split_commas(value: Any) -> Any:
    """`10,20` on a command line is a list."""
    return [part.strip() for part in value.split(",") if part.strip()] if isinstance(value, str) else value


class StoppingConfig(Frozen):
    """By what the epoch is chosen, and what counts as getting better. All as in Keras' EarlyStopping."""

    monitor: Monitor = "ndcg_at_10"
    """What chooses the epoch: a metric of the validation rows, or `loss`, that of training."""
    mode: Literal["auto", "min", "max"] = "auto"
    """Whether lower or higher is better; `auto` is min for the loss and max for metrics."""
    min_delta: NonNegativeFloat = 0.0
    """An epoch is better only if it is so by more than this."""
    baseline: float | None = None
    """Epochs that are not better than this do not count as progress: `patience` of them end the training."""
    restore_best_weights: bool = True
    """Keep the weights of the best epoch in the end; false: those of the last one."""

    @property
    def sign(self) -> int:
        """-1 where lower is better, else 1."""
        return -1 if self.mode == "min" or (self.mode == "auto" and self.monitor == "loss") else 1


class ScheduleConfig(Frozen):
    """How the learning rate moves from epoch to epoch. Within an epoch it stays."""

    kind: Literal["constant", "linear", "cosine", "step"] = "constant"
    """Shape of the fall after the warm-up."""
    warmup: NonNegativeInt = 0
    """Epochs at the start in which the rate rises in equal steps, before the first at the full rate."""
    epochs: PositiveInt | None = None
    """For linear and cosine: the fall is over after this many epochs, warm-up included; unset: `trainer.epochs`."""
    end: Annotated[float, Field(ge=0, le=1)] = 0.0
    """For linear and cosine: the share of the learning rate that is left when the fall is over."""
    every: PositiveInt = 10
    """For step: epochs at the same rate."""
    factor: Annotated[float, Field(gt=0, le=1)] = 0.5
    """For step: each rate is this times the one before."""

    @model_validator(mode="after")
    def _all_is_read(self) -> Self:
        read = {"linear": {"epochs", "end"}, "cosine": {"epochs", "end"}, "step": {"every", "factor"}}
        for name in sorted({"epochs", "end", "every", "factor"} - read.get(self.kind, set())):
            if getattr(self, name) != type(self).model_fields[name].default:
                raise ValueError(f"{name} has no meaning for kind {self.kind}")
        if self.epochs is not None and self.warmup >= self.epochs:
            raise ValueError(f"a warm-up of {self.warmup} epochs leaves nothing of {self.epochs}")
        return self

    def filled(self, epochs: int | None) -> "ScheduleConfig":
        """A copy that falls over these epochs if it falls and does not say how long."""
        if self.kind not in ("linear", "cosine") or self.epochs is not None:
            return self
        return ScheduleConfig.model_validate({**self.model_dump(), "epochs": epochs})


class TrainerConfig(Frozen):
    """How gradient models are trained. A field left unset takes the model's own recommended value."""

    epochs: PositiveInt | None = None
    """Passes over the training rows at most; the validation rows choose the best one."""
    batch_size: PositiveInt | None = None
    """Positive rows a step."""
    learning_rate: PositiveFloat | None = None
    """Step size at the start."""
    optimizer: OptimizerName | None = None
    """Update rule: sgd, momentum, nesterov, adagrad, adadelta, rmsprop, adam, adamw or ftrl. bpr_mf has a fast kernel
    for sgd on a CPU; all else, and that with steps_per_epoch, clip_norm or max_norm, runs as batched torch."""
    patience: NonNegativeInt | None = None
    """Epochs without a better validation NDCG@10 (`stopping.monitor`) that end the training; 0 never stops early."""
    stopping: StoppingConfig = StoppingConfig()
    validate_every: PositiveInt = 1
    """Epochs from one validation to the next; the last epoch is always validated."""
    checkpoint_every: PositiveInt = 1
    """Epochs from one checkpoint to the next; the last epoch always has one."""
    steps_per_epoch: PositiveInt | None = None
    """Batches an epoch, of rows in an order of its own; unset: as many as it takes to see every row once."""
    schedule: ScheduleConfig = ScheduleConfig()
    clip_norm: PositiveFloat | None = None
    """Gradients of a step that are longer than this, all taken together, are shortened to it."""
    max_norm: PositiveFloat | None = None
    """Embedding vectors that are longer than this after a step are shortened to it."""
    seed: NonNegativeInt = 0
    """Every random stream of the night is derived from this number."""
    device: Literal["auto", "cpu", "cuda"] = "auto"
    """`auto` takes a GPU where there is one."""
    deterministic: bool = True
    """Equal seeds give equal weights, bit for bit, on one kind of machine."""
    refit: bool = True
    """After the validation rows have chosen the epoch, train anew on training and validation rows before the test."""

    @model_validator(mode="after")
    def _agrees(self) -> Self:
        if self.stopping.baseline is not None and self.patience == 0:
            raise ValueError("stopping.baseline says when patience runs out: it needs a patience above 0")
        if self.epochs is not None and self.schedule.warmup >= self.epochs:
            raise ValueError(f"schedule.warmup of {self.schedule.warmup} leaves nothing of {self.epochs} epochs")
        return self

    @property
    def needs_steps(self) -> bool:
        """Whether something is asked for that acts on single batches: a kernel that has none cannot honour it."""
        return not (self.steps_per_epoch is None and self.clip_norm is None and self.max_norm is None)

    def filled(self, recommended: dict[str, Any]) -> "TrainerConfig":
        """A copy in which every unset field holds the model's recommended value."""
        unset = {name for name, value in self if value is None}
        filled = self.model_copy(update={name: recommended[name] for name in unset if name in recommended})
        return filled.model_copy(update={"schedule": filled.schedule.filled(filled.epochs)})


class ModelConfig(Frozen):
    """Base of each model's configuration; `name` tells them apart, in forms too."""

    model_config = ConfigDict(
        model_title_generator=lambda config: str(vars(config)["__pydantic_fields__"]["name"].default)
    )

    name: str

    recommended: ClassVar[dict[str, Any]] = {}
    """TrainerConfig fields that suit this model, used where the user sets none. Say beside them how they were found."""

    def complete(self, trainer: TrainerConfig) -> TrainerConfig:
        """The trainer's configuration with every unset field filled. A model may choose by those that are set."""
        return trainer.filled(self.recommended)
