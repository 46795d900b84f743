"""EASE: the linear map from histories to histories that leaves each item out when predicting it, in closed form.

U users in the query, I items
"""

from collections.abc import Mapping
from typing import Any, ClassVar, Literal, Self

import numpy as np
import psutil
import torch
from numba import prange
from pydantic import Field, PositiveFloat
from scipy.linalg import lapack
from torch import Tensor

from .base import DoesNotFit, FitSession, Query, Recommender, TrainingData, TrainingDiverged
from .choosing import choose
from .compiled import compiled
from .config import ModelConfig
from .search import Real, Space
from .sparse import Floats, Pairs, gram_blocks, times_dense, weigh

GRID: dict[str, tuple[Any, ...]] = {
    "decay": (1.0, 0.97, 0.9, 0.8, 0.7, 0.6, 0.5),
    "l2": (30.0, 100.0, 300.0, 1000.0, 3000.0),
}
DEFAULTS = {"decay": 1.0, "l2": 300.0}

QUICK_ITEMS = 20_000
"""Up to here an inversion takes a minute on two cores, so several values of l2 can be tried."""
MATRICES = 2
"""Items × items in float32 that a fit holds at once: the Gram matrix and what becomes of it."""
SHARE = 0.6
"""Of the memory that is available, what a fit may take."""


class EASEConfig(ModelConfig):
    """Embarrassingly shallow autoencoder (Steck, WWW 2019)."""

    name: Literal["ease"] = "ease"
    by_chance: ClassVar[bool] = False
    l2: PositiveFloat | None = None
    """Weight of the squared norm of the map. Unset: chosen on the validation rows (30 to 3000); 300 without them,
    and over 20,000 items, where a single inversion takes minutes."""
    decay: float | None = Field(None, gt=0, le=1)
    """In scoring, the weight of a history's item is decay^(steps back from the newest); 1 ignores the order. Unset:
    chosen on the validation rows (0.5 to 1), or 1."""

    # Around what the validation rows choose from where these are unset, with room on both sides.
    search: ClassVar[dict[str, Space]] = {
        "model.l2": Real(low=10, high=10_000, log=True),
        "model.decay": Real(low=0.3, high=1),
    }


class EASE(Recommender):
    """score = x B with B = I - P diag(1 / diag P), P = (X'X + l2 I)^-1. A user without history gets the most popular.

    Takes memory for two and time for one inversion of a matrix items × items."""

    Config = EASEConfig

    def __init__(self, config: EASEConfig, n_items: int) -> None:
        self.config: EASEConfig = config
        self.decay = config.decay or DEFAULTS["decay"]
        self.count_I = np.zeros(n_items, dtype=np.float32)
        self.map_II: Floats | None = None

    @classmethod
    def build(cls, config: Any, data: TrainingData) -> Self:
        return cls(config, data.n_items)

    def fit(self, data: TrainingData, session: FitSession) -> Self:
        refuse_if_too_large(data.n_items, psutil.virtual_memory().available)
        pairs = Pairs.of(data.histories, data.n_items)
        self.count_I = pairs.by_item.lengths_U.astype(np.float32)
        gram_II = gram(pairs)
        map_II = np.empty_like(gram_II)
        made: float | None = None

        def fitted(config: EASEConfig) -> Recommender:
            nonlocal made
            if made != config.l2:
                solve(gram_II, config.l2 or 0.0, map_II)
                made = config.l2
            self.map_II, self.config, self.decay = map_II, config, config.decay or 1.0
            return self

        grid = GRID if data.n_items <= QUICK_ITEMS else GRID | {"l2": (DEFAULTS["l2"],)}
        fitted(choose(self.config, grid, DEFAULTS, session, fitted))
        return self

    @property
    def folds_in(self) -> bool:
        return True

    def score(self, query: Query) -> Tensor:
        if self.map_II is None:
            raise RuntimeError("EASE was neither fitted nor loaded")
        score_UI = times_dense(weigh(query.histories, self.decay, len(self.count_I)), self.map_II)
        score_UI[query.histories.lengths_U == 0] = self.count_I
        return torch.from_numpy(score_UI)

    def weights(self) -> dict[str, Tensor]:
        map_II = np.zeros((0, 0), dtype=np.float32) if self.map_II is None else self.map_II
        return {
            "count_I": torch.tensor(self.count_I),
            "decay": torch.tensor(self.decay, dtype=torch.float64),
            "map_II": torch.from_numpy(map_II),  # shared: a copy of it may not fit
        }

    def load_weights(self, weights: Mapping[str, Tensor]) -> Self:
        n_items = len(self.count_I)
        if weights["map_II"].shape != (n_items, n_items):
            raise ValueError(f"weights of {len(weights['map_II'])} items for a catalogue of {n_items}")
        self.count_I = weights["count_I"].numpy().copy()
        self.decay = float(weights["decay"])
        self.map_II = weights["map_II"].numpy()
        return self


def refuse_if_too_large(n_items: int, available: int) -> None:
    """Raises DoesNotFit where the fit would take more than SHARE of the `available` bytes."""
    needed = MATRICES * 4 * n_items**2
    if needed > SHARE * available:
        raise DoesNotFit(
            f"EASE over {n_items:,} items needs {needed / 1e9:,.1f} GB for its matrices; {available / 1e9:,.1f} GB are "
            f"available, of which it takes at most {SHARE:.0%}. Use item_knn, ials or graph_filter, which keep only "
            "what is not zero"
        )


def gram(pairs: Pairs) -> Floats:
    """[I, I] in how many histories two items stand together."""
    gram_II = np.zeros((pairs.n_items, pairs.n_items), dtype=np.float32)
    for start, block in gram_blocks(pairs, np.ones(pairs.n_users, dtype=np.float32)):
        block.write_to(gram_II[start : start + len(block)])
    return gram_II


def solve(gram_II: Floats, l2: float, map_II: Floats) -> None:
    """Writes B into `map_II`. Raises TrainingDiverged where rounding has made the matrix indefinite."""
    if not len(gram_II):
        return
    np.copyto(map_II, gram_II)
    map_II[np.diag_indices_from(map_II)] += np.float32(l2)
    # LAPACK works by columns. The matrix is symmetric, so its transpose, which is by columns, can be given in place.
    _, failed = lapack.spotrf(map_II.T, lower=True, clean=False, overwrite_a=True)
    if not failed:
        _, failed = lapack.spotri(map_II.T, lower=True, overwrite_c=True)
    if failed:
        raise TrainingDiverged(f"the Gram matrix plus l2 {l2:g} cannot be inverted in float32; try a larger model.l2")
    _to_map(map_II, np.float32(1) / np.diag(map_II))


@compiled(parallel=True)
def _to_map(matrix_II: Floats, scale_I: Floats) -> None:
    """In place: the upper triangle of P becomes all of -P diag(`scale`), with zeros on the diagonal.

    In tiles of 64 × 64, which stay in the cache while they are read along rows and written along columns."""
    n_items = len(matrix_II)
    n_tiles = (n_items + 63) // 64
    for tile in prange(n_tiles):
        for other in range(tile, n_tiles):
            for i in range(tile * 64, min(tile * 64 + 64, n_items)):
                for j in range(max(other * 64, i), min(other * 64 + 64, n_items)):
                    value = matrix_II[i, j]
                    matrix_II[i, j] = -value * scale_I[j] if i != j else 0
                    matrix_II[j, i] = -value * scale_I[i] if i != j else 0
