"""A graph filter: one step over the user-item graph, plus its smoothest part by a low-rank product.

U users, I items, F factors, Z non-zeros
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Literal, Self

import numpy as np
import psutil
import torch
from numpy.random import Generator
from pydantic import Field, NonNegativeFloat, PositiveInt
from torch import Tensor

from .base import FitSession, Query, Ragged, Recommender, TrainingData
from .choosing import choose
from .config import ModelConfig
from .fitting.samplers import stream
from .search import Real, Space, Whole
from .sparse import Csr, Floats, Pairs, gram_blocks, gram_bound, times_dense, times_sparse, times_sparse_twice, weigh

GRID: dict[str, tuple[Any, ...]] = {
    "decay": (1.0, 0.97, 0.9, 0.8, 0.7, 0.6, 0.5),
    "alpha": (0.0, 0.1, 0.2, 0.3, 0.5, 0.8, 1.2, 2.0),
    "factors": (32, 64, 128, 256),
}
DEFAULTS = {"decay": 1.0, "alpha": 0.3}  # and the most factors of the grid that the data can bear

OVERSAMPLING = 16
"""Directions carried along beyond the factors, without which the last ones would be poor (Halko et al. 2011)."""
POWER_ITERATIONS = 2
SHARE = 0.25
"""Of the memory that is available, what the sparse Gram matrix may take; beyond it every query takes two products."""


class GraphFilterConfig(ModelConfig):
    """GF-CF (Shen et al., CIKM 2021)."""

    name: Literal["graph_filter"] = "graph_filter"
    factors: PositiveInt | None = None
    """Rank of the ideal low-pass filter; never more than there are users or items. Unset: chosen on the validation rows
    (32 to 256, a quarter of the users or items at most), or the most of these."""
    alpha: NonNegativeFloat | None = None
    """Weight of the ideal filter beside the linear one. Unset: chosen on the validation rows (0 to 2), or 0.3, the
    paper's choice for Gowalla."""
    decay: float | None = Field(None, gt=0, le=1)
    """Weight of a history's item is decay^(steps back from the newest); 1 ignores the order, as the paper does. Unset:
    chosen on the validation rows (0.5 to 1), or 1."""

    # Around what the validation rows choose from where these are unset, with room on both sides.
    search: ClassVar[dict[str, Space]] = {
        "model.factors": Whole(low=16, high=512, log=True),
        "model.alpha": Real(low=0, high=2),
        "model.decay": Real(low=0.3, high=1),
    }


class GraphFilter(Recommender):
    """score = x (R'R + alpha D^-1/2 V V' D^1/2), where x is the history, R = Du^-1/2 X D^-1/2 the pairs scaled by the
    degrees of users and items, D those of the items, V [I, F] the first right singular vectors of R.

    A user without history gets the most popular items."""

    Config = GraphFilterConfig

    def __init__(self, config: GraphFilterConfig, n_items: int) -> None:
        self.config: GraphFilterConfig = config
        self.decay = config.decay or DEFAULTS["decay"]
        self.alpha = DEFAULTS["alpha"] if config.alpha is None else config.alpha
        self.graph = Graph.of(Ragged.empty(0), n_items)
        self.vectors_IF = np.zeros((n_items, 0), dtype=np.float32)
        # Made at the first query: they are large, and quicker to make than to load.
        self._gram: Csr | Floats | None = None
        self._ideal: tuple[Floats, Floats] | None = None

    @classmethod
    def build(cls, config: Any, data: TrainingData) -> Self:
        return cls(config, data.n_items)

    def fit(self, data: TrainingData, session: FitSession) -> Self:
        self.graph, self._gram = Graph.of(data.histories, data.n_items), None
        can_bear = max(1, min(int(np.count_nonzero(data.histories.lengths_U)), data.n_items) // 4)
        factors = tuple(n for n in GRID["factors"] if n <= can_bear) or (can_bear,)
        rng = stream(session.trainer.seed, "graph_filter", "directions")
        vectors_IF = smoothest(self.graph, self.config.factors or factors[-1], rng)

        def fitted(config: GraphFilterConfig) -> Recommender:
            self.config, self.decay, self.alpha = config, config.decay or 1.0, config.alpha or 0.0
            self.vectors_IF, self._ideal = np.ascontiguousarray(vectors_IF[:, : config.factors]), None
            return self

        defaults = DEFAULTS | {"factors": factors[-1]}
        fitted(choose(self.config, GRID | {"factors": factors}, defaults, session, fitted))
        return self

    @property
    def folds_in(self) -> bool:
        return True

    def score(self, query: Query) -> Tensor:
        graph, n_items = self.graph, self.graph.n_items
        history = weigh(query.histories, self.decay, n_items)
        if self._gram is None and gram_fits(graph):
            self._gram = dense_if_full(gram(graph))
        if self._gram is None:
            score_UI = times_sparse_twice(history, graph.by_item, graph.by_user, n_items)
        elif isinstance(self._gram, Csr):
            score_UI = times_sparse(history, self._gram, n_items)
        else:
            score_UI = times_dense(history, self._gram)
        if self.alpha:
            if self._ideal is None:
                self._ideal = ideal(self.vectors_IF, graph.degree_I, self.alpha)
            score_UI += times_dense(history, self._ideal[0]) @ self._ideal[1]
        score_UI[query.histories.lengths_U == 0] = graph.degree_I
        return torch.from_numpy(score_UI)

    def weights(self) -> dict[str, Tensor]:
        pairs = self.graph.pairs.by_user
        return {
            "alpha": torch.tensor(self.alpha, dtype=torch.float64),
            "decay": torch.tensor(self.decay, dtype=torch.float64),
            "n_items": torch.tensor(self.graph.n_items),
            "pairs.offsets": torch.tensor(pairs.offsets_U1),
            "pairs.items": torch.tensor(pairs.items_R),
            "vectors_IF": torch.tensor(self.vectors_IF),
        }

    def load_weights(self, weights: Mapping[str, Tensor]) -> Self:
        if int(weights["n_items"]) != self.graph.n_items:
            raise ValueError(f"weights of {int(weights['n_items'])} items for a catalogue of {self.graph.n_items}")
        pairs = Ragged(weights["pairs.offsets"].numpy().copy(), weights["pairs.items"].numpy().copy())
        self.graph, self._gram = Graph.of(pairs, self.graph.n_items), None
        self.alpha, self.decay = float(weights["alpha"]), float(weights["decay"])
        self.vectors_IF, self._ideal = weights["vectors_IF"].numpy().copy(), None
        return self


@dataclass(frozen=True)
class Graph:
    """R in both directions: a pair weighs 1 / sqrt(the user's degree × the item's degree)."""

    pairs: Pairs
    by_user: Csr
    by_item: Csr
    degree_I: Floats

    @property
    def n_items(self) -> int:
        return self.pairs.n_items

    @classmethod
    def of(cls, histories: Ragged, n_items: int) -> Self:
        pairs = Pairs.of(histories, n_items)
        degree_U, degree_I = (ragged.lengths_U.astype(np.float32) for ragged in (pairs.by_user, pairs.by_item))

        def scaled(rows: Ragged, degree_of_row: Floats, degree_of_column: Floats) -> Csr:
            value_R = 1 / np.sqrt(degree_of_row[rows.users_R] * degree_of_column[rows.items_R])
            return Csr(rows.offsets_U1, rows.items_R, value_R)

        by_user = scaled(pairs.by_user, degree_U, degree_I)
        return cls(pairs, by_user, scaled(pairs.by_item, degree_I, degree_U), degree_I)


def gram_fits(graph: Graph) -> bool:
    """Whether R'R may be kept. Without it the scores are the same but for rounding."""
    bytes_each = 2 * 8  # number and column, twice while the blocks are joined
    return bytes_each * gram_bound(graph.pairs) <= SHARE * psutil.virtual_memory().available


def gram(graph: Graph) -> Csr:
    """[I, I] R'R: how far a step from one item to the other over their common users goes."""
    inverse_U = (1 / np.maximum(graph.pairs.by_user.lengths_U, 1)).astype(np.float32)
    inverse_root_I = (1 / np.sqrt(np.maximum(graph.degree_I, 1))).astype(np.float32)
    blocks: list[Csr] = []
    for start, block in gram_blocks(graph.pairs, inverse_U):
        row_root_B = inverse_root_I[start : start + len(block)]
        value_Z = block.values_Z * inverse_root_I[block.columns_Z] * np.repeat(row_root_B, np.diff(block.offsets))
        blocks.append(Csr(block.offsets, block.columns_Z, value_Z))
    return Csr.joined(blocks)


def dense_if_full(matrix: Csr) -> Csr | Floats:
    """The matrix [I, I], dense where that takes at most twice the memory: products are then several times faster."""
    if len(matrix.columns_Z) < len(matrix) ** 2 / 4:
        return matrix
    return matrix.dense(len(matrix))


def ideal(vectors_IF: Floats, degree_I: Floats, alpha: float) -> tuple[Floats, Floats]:
    """The two factors, [I, F] and [F, I], of alpha D^-1/2 V V' D^1/2."""
    root_I1 = np.sqrt(np.maximum(degree_I, 1)).astype(np.float32)[:, None]
    return vectors_IF / root_I1, np.ascontiguousarray((np.float32(alpha) * root_I1 * vectors_IF).T)


def smoothest(graph: Graph, factors: int, rng: Generator) -> Floats:
    """[I, F] first right singular vectors of R, by power iterations on a random start (Halko et al., SIAM Review 2011).

    The sign of a vector means nothing. F is `factors`, or the number of users or items where that is less."""
    n_kept = min(factors, len(graph.by_user), graph.n_items)
    width = min(n_kept + OVERSAMPLING, len(graph.by_user), graph.n_items)
    vectors_IF = rng.standard_normal((graph.n_items, width), dtype=np.float32)
    for _ in range(1 + POWER_ITERATIONS):
        vectors_IF, _ = np.linalg.qr(times_dense(graph.by_item, times_dense(graph.by_user, vectors_IF)))
    image_UF = times_dense(graph.by_user, vectors_IF)
    _, rotation_FF = np.linalg.eigh(image_UF.T @ image_UF)  # ascending
    rotated_IF: Floats = vectors_IF @ rotation_FF[:, ::-1][:, :n_kept]
    return rotated_IF
