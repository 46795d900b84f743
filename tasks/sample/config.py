"""What models are shown of the past, and what they are compared with."""

from pydantic import PositiveInt

from models.fitting.config import SamplingConfig


class SampleConfig(SamplingConfig):
    """How histories are cut, and the negatives, which are drawn anew each epoch in the training loop."""

    history_length: PositiveInt | None = None
    """A model that scores by history is shown each user's latest N items; unset: all of them. Masks always hold all."""

    @property
    def sampling(self) -> SamplingConfig:
        """What the training loop reads of it."""
        return SamplingConfig.model_validate({name: getattr(self, name) for name in SamplingConfig.model_fields})
