"""What models are shown of the past."""

from pydantic import PositiveInt

from models.config import Frozen


class SampleConfig(Frozen):
    """How histories are cut. Negatives are drawn anew each epoch, in the training loop."""

    history_length: PositiveInt | None = None
    """A model that scores by history is shown each user's latest N items; unset: all of them. Masks always hold all."""
