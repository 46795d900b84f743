"""What a new model must show before it goes out."""

from pydantic import Field, NonNegativeFloat, PositiveInt

from models.frozen import Frozen


class GateConfig(Frozen):
    """The promotion gate. It decides by NDCG@10, user by user."""

    tolerance: NonNegativeFloat = 0.002
    """A refit of the champion's own configuration may be worse by this much NDCG@10: fresher data is worth it."""
    level: float = Field(default=0.95, gt=0, lt=1)
    """Confidence level of the intervals of differences."""
    resamples: PositiveInt = 2000
    """Bootstrap samples of the users behind each interval."""
    min_users: PositiveInt = 20
    """Fewer test users than this can decide nothing: refused."""
