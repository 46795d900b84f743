"""Bases of every configuration. Each knob is declared beside the code that reads it; only what is shared lives here."""

from typing import Any, ClassVar, Literal

from pydantic import BaseModel, ConfigDict, NonNegativeInt, PositiveFloat, PositiveInt


class Frozen(BaseModel):
    """Immutable, and a misspelt key is an error instead of a silent default. The text under a field is its help."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True, allow_inf_nan=False)


def split_commas(value: Any) -> Any:
    """`10,20` on a command line is a list."""
    return [part.strip() for part in value.split(",")] if isinstance(value, str) else value


class TrainerConfig(Frozen):
    """How gradient models are trained. A field left unset takes the model's own recommended value."""

    epochs: PositiveInt | None = None
    """Passes over the training rows at most; the validation rows choose the best one."""
    batch_size: PositiveInt | None = None
    """Positive rows a step."""
    learning_rate: PositiveFloat | None = None
    """Step size at the start."""
    optimizer: Literal["sgd", "adam", "adamw", "adagrad"] | None = None
    """Update rule. bpr_mf has a fast kernel for sgd on a CPU; everything else runs as batched torch."""
    patience: NonNegativeInt | None = None
    """Epochs without a better validation NDCG@10 after which training stops; 0 never stops early."""
    seed: NonNegativeInt = 0
    """Every random stream of the night is derived from this number."""
    device: Literal["auto", "cpu", "cuda"] = "auto"
    """`auto` takes a GPU where there is one."""
    deterministic: bool = True
    """Equal seeds give equal weights, bit for bit, on one kind of machine."""
    refit: bool = True
    """After the validation rows have chosen the epoch, train anew on training and validation rows before the test."""

    def filled(self, recommended: dict[str, Any]) -> "TrainerConfig":
        """A copy in which every unset field holds the model's recommended value."""
        unset = {name for name, value in self if value is None}
        return self.model_copy(update={name: recommended[name] for name in unset if name in recommended})


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
