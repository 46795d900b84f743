"""The base of each model's configuration. Each knob is declared beside the code that reads it."""

from typing import Any, ClassVar

from pydantic import ConfigDict

from .fitting.config import NO_WISH, SamplingConfig, TrainerConfig, named
from .frozen import Frozen
from .search import Space


class ModelConfig(Frozen):
    """Base of each model's configuration; `name` tells them apart, in forms too."""

    model_config = ConfigDict(
        model_title_generator=lambda config: str(vars(config)["__pydantic_fields__"]["name"].default)
    )

    name: str

    recommended: ClassVar[dict[str, Any]] = {}
    """TrainerConfig fields that suit this model, used where the user sets none. Say beside them how they were found."""
    by_chance: ClassVar[bool] = True
    """Whether another seed makes another model. Of a model made of others these tell."""
    search: ClassVar[dict[str, Space]] = {}
    """What is worth trying, by the names of options: `model.dim`, `trainer.learning_rate`. Empty: nothing is."""
    reads_windows: ClassVar[bool] = False
    """Whether it is fitted on rows with the items before them, which a night stores."""

    @property
    def shown(self) -> int | None:
        """How many of a user's latest items it is shown; None: all."""
        return None

    def showing(self, length: int | None) -> "ModelConfig":
        """A copy that is shown so many. Raises ValueError where its own field says something else."""
        return self

    def models_used(self) -> tuple[str, ...]:
        """Names of the models that this one is made of: their code decides what it computes."""
        return (self.name,)

    @property
    def learns(self) -> bool:
        """Whether it is fitted by the trainer, in epochs."""
        return "epochs" in self.recommended

    @property
    def starts_warm(self) -> bool:
        """Whether its fit may begin with what an earlier one has learned, and gains by it."""
        return self.learns

    def complete(self, trainer: TrainerConfig, sampling: SamplingConfig = NO_WISH) -> TrainerConfig:
        """The trainer's configuration with every unset field filled. A model may choose by all that are set."""
        return trainer.filled(self.recommended)

    def complete_sampling(self, sampling: SamplingConfig) -> SamplingConfig:
        """The sampling's configuration with every unset field filled. Raises ValueError for what makes no sense."""
        if sampling.asked_for:
            raise ValueError(f"{self.name} draws no negatives and weighs no rows: leave {named(sampling)} unset")
        return sampling
