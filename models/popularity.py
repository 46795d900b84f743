"""Popularity: everyone gets what most rows are about. The floor that every other model must beat.

U users in the query, I items, R rows
"""

from collections.abc import Mapping
from typing import Any, ClassVar, Literal, Self

import numpy as np
import torch
from torch import Tensor

from .base import FitSession, Query, Recommender, TrainingData
from .config import ModelConfig


class PopularityConfig(ModelConfig):
    """Popularity has no knobs."""

    name: Literal["popularity"] = "popularity"
    by_chance: ClassVar[bool] = False


class Popularity(Recommender):
    """An item's score is its number of fitted rows, the same for every user."""

    Config = PopularityConfig
    personalised = False

    def __init__(self, config: PopularityConfig, n_items: int) -> None:
        self.config = config
        self.count_I = torch.zeros(n_items, dtype=torch.int64)

    @classmethod
    def build(cls, config: Any, data: TrainingData) -> Self:
        return cls(config, data.n_items)

    def fit(self, data: TrainingData, session: FitSession) -> Self:
        self.count_I = torch.from_numpy(np.bincount(data.histories.items_R, minlength=data.n_items).astype(np.int64))
        return self

    def score(self, query: Query) -> Tensor:
        return self.count_I.float().expand(len(query), -1)

    def weights(self) -> dict[str, Tensor]:
        return {"count_I": self.count_I}

    def load_weights(self, weights: Mapping[str, Tensor]) -> Self:
        if weights["count_I"].shape != self.count_I.shape:
            raise ValueError(f"counts of {len(weights['count_I'])} items for a catalogue of {len(self.count_I)}")
        self.count_I = weights["count_I"].clone()
        return self
