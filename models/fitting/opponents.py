"""What rows are compared with: negatives, and all that a loss has to know of them.

U users, I items, B rows in a batch, N negatives of a row, H draws that compete for one, C candidates
"""

from dataclasses import dataclass, fields
from typing import Self

import numpy as np
import numpy.typing as npt
import torch
from numba import prange
from numpy.random import Generator
from torch import Tensor

from ..base import BoolArray, IntArray, Ragged, TrainingData
from ..compiled import compiled
from ..nn.gather import deal
from .config import SamplingConfig
from .samplers import (
    SeenItems,
    item_table,
    log_frequency,
    shared_candidates,
    table_negatives,
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


class Opponents:
    """Draws what the rows of a batch are compared with, as a complete configuration asks for."""

    def __init__(self, data: TrainingData, sampling: SamplingConfig, corrected: bool = False) -> None:
        """A loss that is `corrected` is told how likely each candidate was."""
        self.sampling, self.n_items, self._corrected = sampling, data.n_items, corrected
        self.seen = SeenItems(data.histories, data.n_items)
        self._table = item_table(data.histories.items_R, data.n_items, sampling.distribution, sampling.exponent)
        self._log_q_I = torch.zeros(data.n_items)
        if self._table is not None:
            self._log_q_I = torch.from_numpy(np.log(self._table.probability_I)).float()
        elif sampling.distribution == "in_batch":
            self._log_q_I = log_frequency(data.histories.items_R, data.n_items)

    def usable(self, users_R: IntArray) -> BoolArray:
        """[R] False for rows of users who saw every item: there is nothing to compare them with."""
        return ~self.seen.saw_all_U[users_R]

    def batch(
        self, users_B: Ints, positives_B: Ints, weight_B: Tensor, rng: Generator, stored_BN: Ints | None = None
    ) -> PairBatch:
        """The rows with fresh negatives, or with those that were stored for them."""
        sampling = self.sampling
        negatives, candidates = np.empty(0, dtype=np.int64), np.empty(0, dtype=np.int64)
        if sampling.shared:
            assert sampling.negatives is not None
            negatives = candidates = shared_candidates(sampling.negatives, self.n_items, self._table, rng)
        elif sampling.distribution == "in_batch":
            candidates = positives_B
        elif stored_BN is not None:
            negatives = stored_BN
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
        drawn = self.draw(users_B, n_places * n_draws, rng)
        return drawn.reshape((len(users_B), n_places) if n_draws == 1 else (len(users_B), n_places, n_draws))

    def draw(self, users_B: Ints, n: int, rng: Generator) -> Ints:
        """[B · n] unseen items, `n` for each user."""
        repeated = np.repeat(users_B, n)
        if self._table is None:
            return uniform_negatives(repeated, self.seen, self.n_items, rng)
        return table_negatives(repeated, self.seen, self._table, rng)


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
