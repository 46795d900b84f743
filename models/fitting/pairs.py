"""Batches of fitted rows, user and item, with what they are compared with.

R rows, B rows in a batch
"""

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt
import torch

from ..base import FloatArray, TrainingData
from .config import SamplingConfig
from .opponents import Opponents, PairBatch
from .samplers import stream


class Pairs:
    """Fitted rows and their opponents. Rows of users who saw every item are left out."""

    def __init__(self, data: TrainingData, sampling: SamplingConfig, corrected: bool = False) -> None:
        """`sampling` is complete; a loss that is `corrected` is told how likely each candidate was."""
        self.opponents = Opponents(data, sampling, corrected)
        users_R = data.histories.users_R
        usable_R = self.opponents.usable(users_R)
        self.users_R = users_R[usable_R]
        self.items_R = data.histories.items_R[usable_R]
        self.weight_R = row_weights(data, sampling.weights)[usable_R]

    def __len__(self) -> int:
        return len(self.users_R)

    def batches(self, batch_size: int, seed: int, epoch: int) -> Iterator[PairBatch]:
        """Every row once, in an order of the epoch's own, with fresh negatives."""
        order_R = stream(seed, "train", epoch, "order").permutation(len(self))
        rng = stream(seed, "train", epoch, "negatives")
        for start in range(0, len(order_R), batch_size):
            rows_B = order_R[start : start + batch_size]
            yield self.opponents.batch(self.users_R[rows_B].astype(np.int64), self.items_R[rows_B].astype(np.int64),
                                       torch.from_numpy(self.weight_R[rows_B]), rng)  # fmt: skip


def row_weights(data: TrainingData, weights: str) -> npt.NDArray[np.float32]:
    """[R] what each row weighs, 1 on average: the data's own weights, times one over the rows of its user or item.

    Raises ValueError for weights of other rows: kernels check no bounds."""
    if data.weights_R is not None and len(data.weights_R) != data.n_rows:
        raise ValueError(f"{len(data.weights_R)} weights beside {data.n_rows} rows: they are of other data")
    weight_R: FloatArray = np.ones(data.n_rows) if data.weights_R is None else data.weights_R.astype(np.float64)
    if weights == "user":
        weight_R = weight_R / data.histories.lengths_U[data.histories.users_R]
    elif weights == "item":
        weight_R = weight_R / np.bincount(data.histories.items_R)[data.histories.items_R]
    return np.asarray(weight_R / max(weight_R.mean(), np.finfo(np.float64).tiny), dtype=np.float32)
