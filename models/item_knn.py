"""Item neighbours: an item scores by how often it stood in the same histories as what the user took.

U users in the query, I items, Z similarities kept
"""

from collections.abc import Mapping
from typing import Any, ClassVar, Literal, Self

import numpy as np
import torch
from numba import prange
from pydantic import Field, NonNegativeFloat, PositiveInt
from torch import Tensor

from .base import FitSession, Query, Recommender, TrainingData
from .choosing import choose
from .compiled import compiled
from .config import ModelConfig
from .search import Real, Space, Whole
from .sparse import Csr, Floats, Ints, Longs, Pairs, gram_blocks, times_sparse, weigh

GRID: dict[str, tuple[Any, ...]] = {
    "decay": (1.0, 0.97, 0.9, 0.8, 0.7, 0.6, 0.5),
    "shrink": (0.0, 10.0, 100.0),
    "neighbours": (20, 50, 200, 1000),
}
DEFAULTS = {"decay": 1.0, "shrink": 10.0, "neighbours": 200}


class ItemKNNConfig(ModelConfig):
    """Item-based neighbours by cosine (Deshpande & Karypis, TOIS 2004)."""

    name: Literal["item_knn"] = "item_knn"
    by_chance: ClassVar[bool] = False
    neighbours: PositiveInt | None = None
    """How many most similar items each item keeps. Unset: chosen on the validation rows (20 to 1000), or 200."""
    shrink: NonNegativeFloat | None = None
    """Similarities are times c / (c + shrink), where c histories hold both items: what rests on few counts less (Bell &
    Koren, ICDM 2007). Unset: chosen on the validation rows (0, 10, 100), or 10."""
    decay: float | None = Field(None, gt=0, le=1)
    """Weight of a history's item is decay^(steps back from the newest); 1 ignores the order. Unset: chosen on the
    validation rows (0.5 to 1), or 1."""

    # Around what the validation rows choose from where these are unset, with room on both sides.
    search: ClassVar[dict[str, Space]] = {
        "model.neighbours": Whole(low=10, high=2000, log=True),
        "model.shrink": Real(low=0, high=300),
        "model.decay": Real(low=0.3, high=1),
    }


class ItemKNN(Recommender):
    """Score of item j is the sum of s(i, j) over the user's items i that count j among their neighbours, where
    s is the cosine of the two items' columns, shrunk. A user without history gets the most popular items."""

    Config = ItemKNNConfig

    def __init__(self, config: ItemKNNConfig, n_items: int) -> None:
        self.config: ItemKNNConfig = config
        self.decay = config.decay or DEFAULTS["decay"]
        self.count_I = np.zeros(n_items, dtype=np.float32)
        self.similarity = Csr(np.zeros(n_items + 1, np.int64), np.empty(0, np.int32), np.empty(0, np.float32))

    @classmethod
    def build(cls, config: Any, data: TrainingData) -> Self:
        return cls(config, data.n_items)

    def fit(self, data: TrainingData, session: FitSession) -> Self:
        pairs = Pairs.of(data.histories, data.n_items)
        self.count_I = pairs.by_item.lengths_U.astype(np.float32)
        made: tuple[Any, ...] = ()

        def fitted(config: ItemKNNConfig) -> Recommender:
            nonlocal made
            wanted = (config.neighbours, config.shrink)
            if made != wanted:
                self.similarity = nearest(pairs, config.neighbours or 0, config.shrink or 0.0)
                made = wanted
            self.config, self.decay = config, config.decay or 1.0
            return self

        fitted(choose(self.config, GRID, DEFAULTS, session, fitted))
        return self

    @property
    def folds_in(self) -> bool:
        return True

    def score(self, query: Query) -> Tensor:
        history = weigh(query.histories, self.decay, len(self.count_I))
        score_UI = times_sparse(history, self.similarity, len(self.count_I))
        score_UI[query.histories.lengths_U == 0] = self.count_I
        return torch.from_numpy(score_UI)

    def weights(self) -> dict[str, Tensor]:
        return {
            "count_I": torch.tensor(self.count_I),
            "decay": torch.tensor(self.decay, dtype=torch.float64),
            "similarity.offsets": torch.tensor(self.similarity.offsets),
            "similarity.columns": torch.tensor(self.similarity.columns_Z),
            "similarity.values": torch.tensor(self.similarity.values_Z),
        }

    def load_weights(self, weights: Mapping[str, Tensor]) -> Self:
        if weights["count_I"].shape != self.count_I.shape:
            raise ValueError(f"weights of {len(weights['count_I'])} items for a catalogue of {len(self.count_I)}")
        self.count_I = weights["count_I"].numpy().copy()
        self.decay = float(weights["decay"])
        parts = (weights[f"similarity.{part}"].numpy().copy() for part in ("offsets", "columns", "values"))
        self.similarity = Csr(*parts)
        return self


def nearest(pairs: Pairs, neighbours: int, shrink: float) -> Csr:
    """[I, I] each item's most similar other items, columns ascending. Of equally similar ones the lower index stays."""
    count_I = pairs.by_item.lengths_U.astype(np.float32)
    ones_U = np.ones(pairs.n_users, dtype=np.float32)
    kept = [
        Csr(*_nearest(block.offsets, block.columns_Z, block.values_Z, start, count_I, neighbours, shrink))
        for start, block in gram_blocks(pairs, ones_U)
    ]
    return Csr.joined(kept)


@compiled(parallel=True)
def _nearest(
    offsets_B1: Longs, columns_Z: Ints, together_Z: Floats, start: int, count_I: Floats, neighbours: int, shrink: float
) -> tuple[Longs, Ints, Floats]:
    """Of a block of rows, which begins with item `start`. `together_Z`: histories that hold both items."""
    n_rows = len(offsets_B1) - 1
    kept_B1 = np.zeros(n_rows + 1, dtype=np.int64)
    for b in range(n_rows):
        kept_B1[b + 1] = kept_B1[b] + min(neighbours, max(offsets_B1[b + 1] - offsets_B1[b] - 1, 0))
    kept_columns_Z = np.empty(kept_B1[-1], dtype=np.int32)
    kept_values_Z = np.empty(kept_B1[-1], dtype=np.float32)
    for b in prange(n_rows):
        item, first = start + b, offsets_B1[b]
        n = offsets_B1[b + 1] - first
        similarity_N = np.empty(n, dtype=np.float32)
        for z in range(n):
            other, together = columns_Z[first + z], together_Z[first + z]
            cosine = together / np.sqrt(count_I[item] * count_I[other])
            similarity_N[z] = cosine * (together / (together + shrink)) if other != item else 0
        places = kept_B1[b + 1] - kept_B1[b]
        if places <= 0:
            continue
        bound = np.partition(similarity_N, n - places)[n - places]
        equal = places  # places left for those just at the bound
        for z in range(n):
            equal -= similarity_N[z] > bound
        at = kept_B1[b]
        for z in range(n):
            if similarity_N[z] > bound or (similarity_N[z] == bound and equal > 0):
                equal -= similarity_N[z] == bound
                kept_columns_Z[at] = columns_Z[first + z]
                kept_values_Z[at] = similarity_N[z]
                at += 1
    return kept_B1, kept_columns_Z, kept_values_Z
