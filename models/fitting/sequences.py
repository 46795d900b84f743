"""Batches of whole sequences, for models that predict at every place what comes next.

U users, R rows, S pieces of histories, B pieces in a batch, L the longest of them, T targets in a batch
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Self

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from ..base import FitSession, TrainingData
from ..windows import padded
from .history import HistoryModelConfig, by_length
from .objective import RULES
from .opponents import Opponents, PairBatch
from .pairs import row_weights
from .samplers import stream

Longs = npt.NDArray[np.int64]


@dataclass(frozen=True)
class SequenceBatch:
    """Some pieces of histories, and their targets: at each place the item that came next."""

    pairs: PairBatch
    """Of all targets, piece after piece, each from its oldest to its newest."""
    items_BL: Tensor
    """What was taken, oldest first; the number of items stands behind shorter pieces. int64."""
    lengths_B: Tensor
    """int64, on the CPU: what packing takes."""
    place_T: Tensor
    """Where the item just before each target stands in `items_BL`, counted row by row. int64."""

    def __len__(self) -> int:
        return len(self.pairs)

    def to(self, device: torch.device) -> Self:
        items, place = (one.to(device, non_blocking=True) for one in (self.items_BL, self.place_T))
        return type(self)(self.pairs.to(device), items, self.lengths_B, place)


class Sequences:
    """The histories of a fit, cut anew each epoch into pieces of a model's length.

    A user's first item is never a target: nothing comes before it. Users who saw every item are left out."""

    def __init__(self, data: TrainingData, config: HistoryModelConfig, session: FitSession) -> None:
        """The session's configurations are complete."""
        self.histories, self.n_items, self.length = data.histories, data.n_items, config.history_length
        self.opponents = Opponents(data, session.sampling, RULES[config.loss].compares == "candidates")
        self.weight_R = row_weights(data, session.sampling.weights)
        long_U = (data.histories.lengths_U > 1) & self.opponents.usable(np.arange(data.n_users))
        self.users_U = np.flatnonzero(long_U)

    def __len__(self) -> int:
        """Targets."""
        return int((self.histories.lengths_U[self.users_U] - 1).sum())

    def batches(self, batch_size: int, seed: int, epoch: int) -> Iterator[SequenceBatch]:
        """Every target once, about `batch_size` of them in a batch; pieces of similar length together."""
        users_S, starts_S, ends_S = self._cut(stream(seed, "train", epoch, "cuts"))
        n_targets_S = ends_S - starts_S
        order = by_length(n_targets_S, n_targets_S, batch_size, stream(seed, "train", epoch, "order"))
        rng = stream(seed, "train", epoch, "negatives")
        for pieces_B in order:
            yield self._batch(users_S[pieces_B], starts_S[pieces_B], ends_S[pieces_B], rng)

    def _cut(self, rng: np.random.Generator) -> tuple[Longs, Longs, Longs]:
        """Users, first and last + 1 row of the pieces: of up to L items that each have a next one.

        Longer histories are cut at places that change with the epoch, so that every target is met with contexts of
        many lengths."""
        n_targets_U = self.histories.lengths_U[self.users_U] - 1
        shift_U = np.where(n_targets_U > self.length, rng.integers(self.length, size=len(n_targets_U)), 0)
        n_pieces_U = -(-(n_targets_U + shift_U) // self.length)
        owner_S = np.repeat(np.arange(len(n_pieces_U)), n_pieces_U)
        number_S = np.arange(len(owner_S)) - np.repeat(np.cumsum(n_pieces_U) - n_pieces_U, n_pieces_U)
        first_S = number_S * self.length - shift_U[owner_S]
        last_S = np.minimum(first_S + self.length, n_targets_U[owner_S])
        offset_S = self.histories.offsets_U1[self.users_U[owner_S]]
        return self.users_U[owner_S], offset_S + np.maximum(first_S, 0), offset_S + last_S

    def _batch(self, users_B: Longs, starts_B: Longs, ends_B: Longs, rng: np.random.Generator) -> SequenceBatch:
        lengths_B = ends_B - starts_B
        longest = int(lengths_B.max())
        items_BL = padded(self.histories.items_R, starts_B, ends_B, longest, self.n_items, False)
        before_T = np.repeat(np.cumsum(lengths_B) - lengths_B, lengths_B)
        within_T = np.arange(len(before_T)) - before_T
        piece_T = np.repeat(np.arange(len(lengths_B)), lengths_B)
        rows_T = starts_B[piece_T] + within_T + 1
        targets_T = self.histories.items_R[rows_T].astype(np.int64)
        pairs = self.opponents.batch(users_B[piece_T], targets_T, torch.from_numpy(self.weight_R[rows_T]), rng)
        place_T = torch.from_numpy(piece_T * longest + within_T)
        return SequenceBatch(pairs, torch.from_numpy(items_BL), torch.from_numpy(lengths_B), place_T)
