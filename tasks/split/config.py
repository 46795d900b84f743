"""How rows are held out."""

from typing import Literal, Self

from pydantic import Field, NonNegativeInt, model_validator

from models.frozen import Frozen

Protocol = Literal["temporal", "leave_last_out", "random", "given"]


class SplitConfig(Frozen):
    """Which rows train, which choose the epoch, and which judge."""

    protocol: Protocol | None = None
    """temporal: one cut in time; leave_last_out: each user's last row; random; given: split.test judges.
    Unset: leave_last_out for MovieLens, given where test rows are given, else temporal (random without timestamps)."""
    test_share: float = Field(default=0.1, gt=0, lt=1)
    """temporal and random: share of the rows that judge."""
    valid_share: float = Field(default=0.1, gt=0, lt=1)
    """temporal and random: share of the rows that choose the epoch."""
    test: str | None = None
    """given: Parquet or CSV of user_id, item_id. These rows only judge: never trained on, never masked."""
    valid: str | None = None
    """given: validation rows; they must be among the ingested rows. Unset: each user's last row of three or more."""
    repeats: Literal["drop_from_test", "keep"] = "drop_from_test"
    """A pair that the user already had in an earlier part: dropped from the later one, or kept and not masked."""
    seed: NonNegativeInt = 0
    """random, and given without timestamps: which rows are held out."""

    @model_validator(mode="after")
    def _files_go_with_given(self) -> Self:
        if self.protocol not in (None, "given") and (self.test or self.valid):
            raise ValueError(f"split.test and split.valid go with protocol `given`, not `{self.protocol}`")
        if self.test_share + self.valid_share >= 1:
            raise ValueError("split.test_share and split.valid_share leave no rows to train on")
        return self
