"""What a new model must show before it goes out."""

from typing import Literal

from pydantic import Field, NonNegativeFloat, NonNegativeInt, PositiveFloat, PositiveInt

from models.frozen import Frozen


class GateConfig(Frozen):
    """The promotion gate. It decides by NDCG@10, user by user; every check must pass."""

    margin: NonNegativeFloat = 0.05
    """A refit of the champion's own configuration may be worse by this share of the champion's NDCG@10: fresher data is
    worth it. One that is worse by more goes out on at most 1 - level of the nights."""
    max_margin: NonNegativeFloat = 0.3
    """Few test users cannot tell a difference of `margin`: it is widened to what they can tell, at most to this share.
    Where they cannot tell that either, the night is inconclusive, and the champion stays."""
    power: float = Field(default=0.9, ge=0.5, lt=1)
    """A refit that is as good as the champion goes out on this share of the nights at least; by it margins are
    widened."""
    min_gain: NonNegativeFloat = 0.0
    """Another configuration must be better by more than this share of the champion's NDCG@10."""
    seeds: PositiveInt = 3
    """Another configuration is fitted with this many seeds before it replaces the champion: none wins by luck. 1: with
    the night's alone."""
    level: float = Field(default=0.95, gt=0.5, lt=1)
    """Confidence of every comparison: a one-sided test over the users, by a paired bootstrap and Student's t."""
    resamples: PositiveInt = 2000
    """Bootstrap samples of the users behind each check."""
    min_users: PositiveInt = 20
    """Fewer test users than this can decide nothing: refused."""
    anchor_nights: NonNegativeInt = 30
    """Nights among whose champions the best is kept as the anchor. A refit may not be worse than that one either, by
    the same margin, so that small losses cannot add up; 0: no anchor."""
    too_good: PositiveFloat = 3.0
    """A model with clearly more than this many times the NDCG@10 of the best of champion and floors is taken for a
    leak: the best models of benchmarks/RESULTS.md have up to 1.25 times that of item_knn."""
    max_coverage_loss: float = Field(default=0.5, ge=0, le=1)
    """The share of the champion's coverage (items of the catalogue that anybody is shown) that may be lost."""
    max_popularity_rise: NonNegativeFloat = 0.5
    """The share by which the mean popularity of what is shown may rise over the champion's."""
    max_cold_loss: NonNegativeFloat = 0.1
    """Users with at most `cold_rows` items before the test may not clearly lose more than this share of the NDCG@10
    that they have from the champion."""
    cold_rows: NonNegativeInt = 5
    """Up to how many items before the test a user counts as cold."""
    min_overlap: float = Field(default=0.1, ge=0, le=1)
    """A refit shows each user at least this share of what the champion would show now, on average: a model that shares
    less is another one, or was trained on something else."""
    refit_all: bool | None = None
    """The version that goes out is trained on everything, test rows included, for the epochs that were chosen.
    Unset: on for the temporal split."""
    approval: Literal["automatic", "manual"] = "automatic"
    """manual: a version that passes waits until somebody says `encore promote VERSION --reason=...`."""
    max_age_days: PositiveFloat = 14.0
    """A champion that has been in production for longer raises an alarm."""
