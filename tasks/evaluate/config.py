"""How models are judged."""

from typing import Annotated

from pydantic import BeforeValidator, Field, PositiveInt

from models.frozen import Frozen, split_commas

Cutoff = Annotated[int, Field(ge=1, le=1000)]  # every judged user's list of that length is held at once


class EvaluateConfig(Frozen):
    """Full ranking over all items with the seen ones masked; per user, averaged once."""

    cutoffs: Annotated[tuple[Cutoff, ...], BeforeValidator(split_commas)] = Field(default=(10, 20), min_length=1)
    """Lengths of the list at which metrics are taken, at most 1000.
    NDCG@10 is always among them: the gate decides by it."""
    candidates: str | None = None
    """File of user_id, item_id, relevant: a sampled ranking beside the full one, to compare with papers.
    Without split.test its relevant rows are the test rows."""
    resamples: PositiveInt = 2000
    """Bootstrap samples of the users behind every interval."""
    level: float = Field(default=0.95, gt=0, lt=1)
    """Confidence level of the intervals."""

    @property
    def all_cutoffs(self) -> tuple[int, ...]:
        """The cutoffs in ascending order, 10 among them."""
        return tuple(sorted({*self.cutoffs, 10}))
