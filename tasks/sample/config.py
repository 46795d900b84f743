"""What models are shown of the past, and what they are compared with."""

from pydantic import PositiveInt

from models.fitting.config import SamplingConfig


class SampleConfig(SamplingConfig):
    """How histories are cut, and what rows are compared with."""

    history_length: PositiveInt | None = None
    """A model that scores by history is shown each user's latest N items; unset: as many as the model's own
    `history_length` says, or all where it has none. Masks always hold all."""

    @property
    def sampling(self) -> SamplingConfig:
        """What the training loop reads of it."""
        return SamplingConfig.model_validate({name: getattr(self, name) for name in SamplingConfig.model_fields})
