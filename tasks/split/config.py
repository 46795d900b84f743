"""How rows are held out."""

from collections.abc import Mapping
from typing import Literal, Protocol, Self

from pydantic import Field, NonNegativeInt, PositiveInt, model_validator

from models.frozen import Frozen

ProtocolName = Literal["temporal", "leave_last_out", "random", "given"]


class SaysWhatCounts(Protocol):
    """A configuration of what is ingested."""

    @property
    def min_rating(self) -> float | None: ...
    @property
    def events(self) -> Mapping[str, float]: ...


class Positives(Frozen):
    """Which rows count, and what each weighs."""

    min_rating: float | None = None
    """Rows rated lower, or not at all, are no positives: they are masked, but not learned from. None: all count."""
    events: dict[str, float] = Field(default={})
    """The weight of each kind of event. Rows of another kind are left out as if they were not there: who only viewed an
    item may be shown it. Empty: every row counts and weighs 1."""

    @classmethod
    def of(cls, ingest: SaysWhatCounts) -> Self:
        return cls(min_rating=ingest.min_rating, events=dict(ingest.events))


class SplitConfig(Frozen):
    """Which rows train, which choose the epoch, and which judge."""

    protocol: ProtocolName | None = None
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
    min_user_rows: PositiveInt = 1
    """Leaves out training rows until every user that is left has this many of them; repeats of a pair count. Validation
    and test rows stay: they judge as before. What was left out is not shown again to users who are still known."""
    min_item_rows: PositiveInt = 1
    """Leaves out training rows until every item that is left has this many of them. Together with `min_user_rows` the
    largest set of rows stays that fulfils both."""
    k_core: NonNegativeInt = 0
    """Both at once: every user and every item that is left has at least this many training rows; 0: no such filter."""
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
