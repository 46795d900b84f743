"""Batches of windows: rows with the items before them, and what they are compared with.

W windows, B rows in a batch, L the longest history in it, N stored negatives
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Self

import numpy as np
import torch
from torch import Tensor

from ..base import FitSession, TrainingData
from ..windows import Windows
from .history import HistoryModelConfig, by_length
from .objective import RULES
from .opponents import Opponents, PairBatch
from .pairs import row_weights
from .samplers import stream


@dataclass(frozen=True)
class WindowBatch:
    """Some windows and what their targets are compared with."""

    pairs: PairBatch
    history_BL: Tensor
    """The items before each target, the newest last; the number of items stands for none. int64."""
    features: Mapping[str, Tensor]
    """By name, the code of each row's user, [B]. int64."""

    def __len__(self) -> int:
        return len(self.pairs)

    def to(self, device: torch.device) -> Self:
        features = {name: codes_B.to(device, non_blocking=True) for name, codes_B in self.features.items()}
        return type(self)(self.pairs.to(device), self.history_BL.to(device, non_blocking=True), features)


class WindowPairs:
    """All windows of a fit. Those of users who saw every item are left out."""

    def __init__(self, data: TrainingData, config: HistoryModelConfig, session: FitSession) -> None:
        """The session's configurations are complete."""
        codes = {name: feature.codes_N for name, feature in data.user_features.items()}
        self.windows = data.windows or Windows.of(data.histories, config.history_length, codes)
        same = (self.windows.users_W, data.histories.users_R), (self.windows.targets_W, data.histories.items_R)
        if not all(np.array_equal(*pair) for pair in same):
            raise ValueError(f"{len(self.windows)} windows beside {data.n_rows} rows: they are of other data")
        if session.sampling.stored and self.windows.negatives_WN is None:
            raise ValueError("sample.stored is set, but the windows hold no negatives")
        self.length, self.n_items = config.history_length, data.n_items
        self.opponents = Opponents(data, session.sampling, RULES[config.loss].compares == "candidates")
        self.rows_W = np.flatnonzero(self.opponents.usable(self.windows.users_W))
        self.weight_W = row_weights(data, session.sampling.weights)

    def __len__(self) -> int:
        return len(self.rows_W)

    def batches(self, batch_size: int, seed: int, epoch: int) -> Iterator[WindowBatch]:
        """Every window once, those of similar length together, with fresh negatives where none were stored."""
        lengths_W = np.minimum(self.windows.lengths_W[self.rows_W], self.length)
        order = by_length(lengths_W, np.ones_like(lengths_W), batch_size, stream(seed, "train", epoch, "order"))
        rng = stream(seed, "train", epoch, "negatives")
        for places_B in order:
            longest = max(1, int(lengths_W[places_B].max()))
            yield self._batch(self.rows_W[places_B], longest, rng)

    def _batch(self, rows_B: np.ndarray, longest: int, rng: np.random.Generator) -> WindowBatch:
        windows = self.windows
        users_B, targets_B = (one[rows_B].astype(np.int64) for one in (windows.users_W, windows.targets_W))
        stored_BN = None if windows.negatives_WN is None else windows.negatives_WN[rows_B].astype(np.int64)
        weight_B = torch.from_numpy(self.weight_W[rows_B])
        pairs = self.opponents.batch(users_B, targets_B, weight_B, rng, stored_BN)
        history_BL = torch.from_numpy(windows.histories(rows_B, longest, self.n_items))
        features = {
            name: torch.from_numpy(codes_W[rows_B].astype(np.int64)) for name, codes_W in windows.features.items()
        }
        return WindowBatch(pairs, history_BL, features)
