"""A Markov chain that skips: an item scores by how often it came soon after what the user took last.

U users in the query, I items, R rows (user-item pairs), D places between two items, Z transitions kept
"""

from collections.abc import Mapping
from typing import Any, ClassVar, Literal, Self

import numpy as np
import torch
from numba import prange
from pydantic import Field, NonNegativeFloat, PositiveInt
from torch import Tensor

from .base import FitSession, Query, Ragged, Recommender, TrainingData
from .choosing import choose
from .compiled import compiled
from .config import ModelConfig
from .search import Real, Space, Whole
from .sparse import LANES, NEGLIGIBLE, Csr, Floats, Ints, Longs, times_sparse, weigh

GRID: dict[str, tuple[Any, ...]] = {
    "recency": (0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9),
    "discount": (0.0, 0.1, 0.2, 0.3, 0.4),
    "shrink": (0.0, 3.0, 10.0, 30.0, 100.0, 300.0),
    "backwards": (0.0, 0.1, 0.2, 0.3, 0.5, 0.7, 1.0),
    "decay": (0.5, 0.6, 0.7, 0.8, 0.9, 1.0),
    "window": (1, 2, 3, 5, 10, 20),
}
# What suits two unlike logs at once. Validation NDCG@10 of each user's last item but one on MovieLens 100K and Amazon
# Beauty: .1197 and .0672, beside .1368 and .0673 with all chosen. MovieLens' choice would bring Beauty to .0561.
DEFAULTS: dict[str, Any] = {
    "recency": 0.6,
    "discount": 0.0,
    "shrink": 30.0,
    "backwards": 0.3,
    "decay": 0.8,
    "window": 10,
}


class MarkovConfig(ModelConfig):
    """Skipping Markov chain (Shani et al., JMLR 2005)."""

    name: Literal["markov"] = "markov"
    by_chance: ClassVar[bool] = False
    window: PositiveInt | None = None
    """How many places one item may stand after another to count as following it. Unset: chosen on the validation rows
    (1 to 20), or 10, as in the sequential rules of Ludewig & Jannach, UMUAI 2018."""
    decay: float | None = Field(None, gt=0, le=1)
    """A transition over d places counts decay^(d - 1); Shani et al. take 1/2. Unset: chosen on the validation rows (0.5
    to 1), or 0.8."""
    backwards: float | None = Field(None, ge=0, le=1)
    """What a transition counts from the later to the earlier item: rows of the same second have no order, and tastes
    have none either. 0 is a chain in the strict sense. Unset: chosen on the validation rows (0 to 1), or 0.3."""
    shrink: NonNegativeFloat | None = None
    """Transitions from an item that was taken n times are divided by n + shrink: what rests on few counts less. Unset:
    chosen on the validation rows (0 to 300), or 30."""
    discount: NonNegativeFloat | None = None
    """Transitions to an item that was taken n times are divided by n^discount: popular ones follow everything. Unset:
    chosen on the validation rows (0 to 0.4), or 0."""
    recency: float | None = Field(None, gt=0, le=1)
    """Weight of a history's item is recency^(steps back from the newest). Unset: chosen on the validation rows (0.3 to
    0.9), or 0.6."""
    neighbours: PositiveInt = 1000
    """How many of its strongest transitions each item keeps: it bounds the memory."""

    # Around what the validation rows choose from where these are unset, with room on both sides.
    search: ClassVar[dict[str, Space]] = {
        "model.window": Whole(low=1, high=50, log=True),
        "model.decay": Real(low=0.3, high=1),
        "model.backwards": Real(low=0, high=1),
        "model.shrink": Real(low=0, high=300),
        "model.discount": Real(low=0, high=0.6),
        "model.recency": Real(low=0.2, high=0.95),
    }


class Markov(Recommender):
    """score(j) = sum over s = 0, 1, .. of recency^s T(h_s, j), where h_s is the item s steps back from the newest: one
    matrix for all lags, as in Raftery's high-order chains (JRSS B 1985). A repeated item counts by its newest place.

    T(i, j) sums decay^(d - 1) over all places where j stands d <= window places after i in a history, and `backwards`
    times that where it stands before, divided by (n_i + shrink) n_j^discount; n counts an item's rows.
    Who has no history, or one from which no transition is known, gets the most popular items."""

    Config = MarkovConfig

    def __init__(self, config: MarkovConfig, n_items: int) -> None:
        self.config: MarkovConfig = config
        self.recency = config.recency or DEFAULTS["recency"]
        self.count_I = np.zeros(n_items, dtype=np.float32)
        self.transitions = Csr(np.zeros(n_items + 1, np.int64), np.empty(0, np.int32), np.empty(0, np.float32))

    @classmethod
    def build(cls, config: Any, data: TrainingData) -> Self:
        return cls(config, data.n_items)

    def fit(self, data: TrainingData, session: FitSession) -> Self:
        self.count_I = np.bincount(data.histories.items_R, minlength=data.n_items).astype(np.float32)
        made: MarkovConfig | None = None

        def fitted(config: MarkovConfig) -> Recommender:
            nonlocal made
            wanted = config.model_copy(update={"recency": None})  # which only weighs the query
            if made != wanted:
                self.transitions, made = transitions(data.histories, data.n_items, config), wanted
            self.config, self.recency = config, config.recency or DEFAULTS["recency"]
            return self

        fitted(choose(self.config, GRID, DEFAULTS, session, fitted))
        return self

    @property
    def folds_in(self) -> bool:
        return True

    def score(self, query: Query) -> Tensor:
        history = weigh(query.histories, self.recency, len(self.count_I))
        score_UI = times_sparse(history, self.transitions, len(self.count_I))
        before_Z1 = np.concatenate([[0], np.cumsum(np.diff(self.transitions.offsets)[history.columns_Z])])
        leads_nowhere_U = np.diff(before_Z1[history.offsets]) == 0
        score_UI[leads_nowhere_U] = self.count_I
        return torch.from_numpy(score_UI)

    def weights(self) -> dict[str, Tensor]:
        return {
            "count_I": torch.tensor(self.count_I),
            "recency": torch.tensor(self.recency, dtype=torch.float64),
            "transitions.offsets": torch.tensor(self.transitions.offsets),
            "transitions.columns": torch.tensor(self.transitions.columns_Z),
            "transitions.values": torch.tensor(self.transitions.values_Z),
        }

    def load_weights(self, weights: Mapping[str, Tensor]) -> Self:
        if weights["count_I"].shape != self.count_I.shape:
            raise ValueError(f"weights of {len(weights['count_I'])} items for a catalogue of {len(self.count_I)}")
        self.count_I = weights["count_I"].numpy().copy()
        self.recency = float(weights["recency"])
        parts = (weights[f"transitions.{part}"].numpy().copy() for part in ("offsets", "columns", "values"))
        self.transitions = Csr(*parts)
        return self


def transitions(histories: Ragged, n_items: int, config: MarkovConfig) -> Csr:
    """[I, I] what leads from each item to each other, columns ascending. Every field of `config` but recency is set.

    Of equally strong transitions the lower columns stay. Memory grows with the rows times the window, or with items
    times neighbours where that is less."""
    assert config.window and config.decay  # noqa: PT018
    forward_D = (config.decay ** np.arange(config.window)).astype(np.float32)
    backward_D = np.float32(config.backwards or 0) * forward_D
    places = Ragged.from_pairs(histories.items_R, np.arange(len(histories.items_R)), n_items)
    return Csr(
        *_transitions(
            places.offsets_U1, places.items_R, histories.items_R, histories.users_R,
            forward_D[forward_D >= NEGLIGIBLE], backward_D[backward_D >= NEGLIGIBLE],
            config.shrink or 0.0, config.discount or 0.0, config.neighbours, LANES,
        )
    )  # fmt: skip


@compiled(parallel=True)
def _transitions(
    places_I1: Longs, places_R: Ints, items_R: Ints, users_R: Ints, forward_D: Floats, backward_D: Floats,
    shrink: float, discount: float, neighbours: int, n_lanes: int,
) -> tuple[Longs, Ints, Floats]:  # fmt: skip
    """`places_R`: the rows that each item stands in, ascending. A row of the result has room for what may lead away."""
    n_items = len(places_I1) - 1
    limit = min(n_items, neighbours)
    room_I1 = np.zeros(n_items + 1, dtype=np.int64)
    for item in range(n_items):
        steps = (places_I1[item + 1] - places_I1[item]) * (len(forward_D) + len(backward_D))
        room_I1[item + 1] = room_I1[item] + min(steps, limit)
    wide_columns = np.empty(room_I1[-1], dtype=np.int32)
    wide_values = np.empty(room_I1[-1], dtype=np.float32)
    offsets_I1 = np.zeros(n_items + 1, dtype=np.int64)
    divisor_I = (np.diff(places_I1) + 0.0) ** discount
    for lane in prange(n_lanes):
        sum_I = np.zeros(n_items, dtype=np.float32)
        columns_I = np.empty(n_items, dtype=np.int32)
        for item in range(lane, n_items, n_lanes):
            n = 0
            for p in range(places_I1[item], places_I1[item + 1]):
                n = _add(sum_I, columns_I, n, places_R[p], 1, items_R, users_R, forward_D)
                n = _add(sum_I, columns_I, n, places_R[p], -1, items_R, users_R, backward_D)
            columns_I[:n].sort()
            taken = places_I1[item + 1] - places_I1[item] + shrink
            values = np.empty(n, dtype=np.float32)
            for z in range(n):
                values[z] = sum_I[columns_I[z]] / (taken * divisor_I[columns_I[z]])
                sum_I[columns_I[z]] = 0
            room = slice(room_I1[item], room_I1[item + 1])
            offsets_I1[item + 1] = _keep(columns_I, values, limit, wide_columns[room], wide_values[room])
    offsets_I1 = np.cumsum(offsets_I1)
    columns_Z = np.empty(offsets_I1[-1], dtype=np.int32)
    values_Z = np.empty(offsets_I1[-1], dtype=np.float32)
    for item in range(n_items):
        start, end, room = offsets_I1[item], offsets_I1[item + 1], room_I1[item]
        columns_Z[start:end] = wide_columns[room : room + end - start]
        values_Z[start:end] = wide_values[room : room + end - start]
    return offsets_I1, columns_Z, values_Z


@compiled()
def _add(
    sum_I: Floats, columns_I: Ints, n: int, row: int, direction: int, items_R: Ints, users_R: Ints, weight_D: Floats
) -> int:
    """Adds the weights of what stands beside a row in its own history; notes new columns, and returns how many."""
    for d in range(len(weight_D)):
        other = row + direction * (d + 1)
        if other < 0 or other >= len(items_R) or users_R[other] != users_R[row]:
            break
        if sum_I[items_R[other]] == 0:
            columns_I[n] = items_R[other]
            n += 1
        sum_I[items_R[other]] += weight_D[d]
    return n


@compiled()
def _keep(columns_I: Ints, values_N: Floats, limit: int, kept_columns: Ints, kept_values: Floats) -> int:
    """Copies the `limit` highest values with their columns in the order they stand, and returns how many these are."""
    n = len(values_N)
    bound, equal = np.float32(-1), 0  # `equal`: places left for those just at the bound
    if n > limit:
        bound, equal = np.partition(values_N, n - limit)[n - limit], limit
        for z in range(n):
            equal -= values_N[z] > bound
    kept = 0
    for z in range(n):
        if values_N[z] > bound or (values_N[z] == bound and equal > 0):
            equal -= values_N[z] == bound
            kept_columns[kept] = columns_I[z]
            kept_values[kept] = values_N[z]
            kept += 1
    return kept
