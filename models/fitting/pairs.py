"""Batches of rows with what they are compared with, and what each row weighs.

U users, I items, R rows, B rows in a batch, N negatives of a row, H draws that compete for one, C candidates
"""

from collections.abc import Iterator
from dataclasses import dataclass, fields
from typing import Self

import numpy as np
import numpy.typing as npt
import torch
from numba import prange
from numpy.random import Generator
from torch import Tensor

from ..base import FloatArray, Ragged, TrainingData
from ..compiled import compiled
from ..nn.gather import deal
from .config import SamplingConfig
from .samplers import (
    SeenItems,
    log_frequency,
    popularity_negatives,
    popularity_table,
    shared_candidates,
    stream,
    uniform_negatives,
)

Ints = npt.NDArray[np.int64]


@dataclass(frozen=True)
class PairBatch:
    """Some rows and what they are compared with. Tensors that the loss does not need are empty."""

    users_B: Tensor
    positives_B: Tensor
    negatives: Tensor
    """[B, N] each row's own, or [B, N, H] to choose them from; [C] for all rows; or empty. int64."""
    weight_B: Tensor
    """float32, 1 on average over all rows."""
    log_q: Tensor
    """How likely each candidate was to be drawn, positives first: [B, 1 + N], [B + C], or [B] in a batch; float32."""
    masked_BC: Tensor
    """Candidates that the row's user has seen: they are no negatives. Bool."""

    def __len__(self) -> int:
        return len(self.users_B)

    def to(self, device: torch.device) -> Self:
        return type(self)(*(getattr(self, field.name).to(device, non_blocking=True) for field in fields(self)))


class Pairs:
    """Fitted rows with what it takes to draw negatives. Rows of users who saw every item are left out."""

    def __init__(self, data: TrainingData, sampling: SamplingConfig, corrected: bool = False) -> None:
        """`sampling` is complete; a loss that is `corrected` is told how likely each candidate was."""
        self.sampling, self.n_items, self._corrected = sampling, data.n_items, corrected
        self.seen = SeenItems(data.histories, data.n_items)
        usable_R = ~self.seen.saw_all_U[data.histories.users_R]
        self.users_R = data.histories.users_R[usable_R]
        self.items_R = data.histories.items_R[usable_R]
        self.weight_R = row_weights(data, sampling.weights)[usable_R]
        self._table = None
        self._log_q_I = torch.zeros(data.n_items)
        if sampling.distribution == "popularity":
            self._table = popularity_table(data.histories.items_R, data.n_items, sampling.exponent or 0.0)
            self._log_q_I = torch.from_numpy(np.log(self._table.probability_I)).float()
        elif sampling.distribution == "in_batch":
            self._log_q_I = log_frequency(data.histories.items_R, data.n_items)

    def __len__(self) -> int:
        return len(self.users_R)

    def batches(self, batch_size: int, seed: int, epoch: int) -> Iterator[PairBatch]:
        """Every row once, in an order of the epoch's own, with fresh negatives."""
        order_R = stream(seed, "train", epoch, "order").permutation(len(self))
        rng = stream(seed, "train", epoch, "negatives")
        for start in range(0, len(order_R), batch_size):
            rows_B = order_R[start : start + batch_size]
            yield self._batch(self.users_R[rows_B].astype(np.int64), self.items_R[rows_B].astype(np.int64),
                              torch.from_numpy(self.weight_R[rows_B]), rng)  # fmt: skip

    def _batch(self, users_B: Ints, positives_B: Ints, weight_B: Tensor, rng: Generator) -> PairBatch:
        sampling = self.sampling
        negatives, candidates = np.empty(0, dtype=np.int64), np.empty(0, dtype=np.int64)
        if sampling.shared:
            assert sampling.negatives is not None
            negatives = candidates = shared_candidates(sampling.negatives, self.n_items, self._table, rng)
        elif sampling.distribution == "in_batch":
            candidates = positives_B
        elif sampling.distribution is not None:
            negatives = self._own_negatives(users_B, rng)
        log_q, masked_BC = torch.empty(0), torch.empty(0, dtype=torch.bool)
        if self._corrected and sampling.distribution is not None:
            own = positives_B[:, None] if negatives.ndim == 2 else positives_B
            log_q = self._log_q_I[torch.from_numpy(np.concatenate([own, negatives], axis=-1))]
        if len(candidates):
            masked_BC = torch.from_numpy(mask_seen(users_B, self.seen.sets, candidates, self.n_items))
        users, positives, others = (torch.from_numpy(array) for array in (users_B, positives_B, negatives))
        return PairBatch(users, positives, others, weight_B, log_q, masked_BC)

    def _own_negatives(self, users_B: Ints, rng: Generator) -> Ints:
        """[B, N] unseen items, or [B, N, H]."""
        n_places, n_draws = self.sampling.negatives or 1, self.sampling.hardest_of or 1
        n = n_places * n_draws
        repeated = np.repeat(users_B, n)
        if self._table is None:
            drawn = uniform_negatives(repeated, self.seen, self.n_items, rng)
        else:
            drawn = popularity_negatives(repeated, self.seen, self._table, rng)
        return drawn.reshape((len(users_B), n) if n_draws == 1 else (len(users_B), n_places, n_draws))


def row_weights(data: TrainingData, weights: str) -> npt.NDArray[np.float32]:
    """[R] what each row weighs, 1 on average: the data's own weights, times one over the rows of its user or item."""
    weight_R: FloatArray = np.ones(data.n_rows) if data.weights_R is None else data.weights_R.astype(np.float64)
    if weights == "user":
        weight_R = weight_R / data.histories.lengths_U[data.histories.users_R]
    elif weights == "item":
        weight_R = weight_R / np.bincount(data.histories.items_R)[data.histories.items_R]
    return np.asarray(weight_R / max(weight_R.mean(), np.finfo(np.float64).tiny), dtype=np.float32)


def mask_seen(users_B: Ints, sets: Ragged, candidates_C: Ints, n_items: int) -> npt.NDArray[np.bool_]:
    """[B, C] whether each user has seen each candidate. It reads the users' histories, and makes no B · C look-ups."""
    masked_BC = np.zeros((len(users_B), len(candidates_C)), dtype=np.bool_)
    _mark(users_B, sets.offsets_U1, sets.items_R, *deal(candidates_C, n_items), masked_BC)
    return masked_BC


@compiled(parallel=True)
def _mark(
    users_B: Ints, offsets_U1: Ints, items_R: npt.NDArray[np.int32],
    columns_I1: Ints, columns_C: Ints, masked_BC: npt.NDArray[np.bool_],
) -> None:  # fmt: skip
    for b in prange(len(users_B)):
        for r in range(offsets_U1[users_B[b]], offsets_U1[users_B[b] + 1]):
            for at in range(columns_I1[items_R[r]], columns_I1[items_R[r] + 1]):
                masked_BC[b, columns_C[at]] = True
