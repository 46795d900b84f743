"""What all models share that learn from a user's latest items: how many they are shown, and with which opponents."""

from typing import Any, ClassVar

import numpy as np
from pydantic import PositiveInt

from ..config import ModelConfig
from .objective import LossName, PairModelConfig

POOL = 32
"""Batches whose entries are sorted by length together: more would need less padding, and mix the entries less."""


class HistoryModelConfig(PairModelConfig):
    """Base of the configurations of models that score by a user's latest items."""

    loss: LossName = "softmax"
    """As for the models of pairs; a row is compared with other items that might have come next."""
    history_length: PositiveInt = 50
    """How many of the latest items it is shown: the same as `sample.history_length`."""

    sampling: ClassVar[dict[str, Any]] = {}

    @property
    def shown(self) -> int | None:
        return self.history_length

    def showing(self, length: int | None) -> ModelConfig:
        if length is None or length == self.history_length:
            return self
        if "history_length" in self.model_fields_set:
            raise ValueError(
                f"model.history_length is {self.history_length} and sample.history_length is {length}: set one of them"
            )
        return self.model_copy(update={"history_length": length})


def by_length(
    lengths_N: np.ndarray, costs_N: np.ndarray, batch_size: int, rng: np.random.Generator
) -> list[np.ndarray]:
    """Batches of entries of similar length, in random order: every entry once. They cost `batch_size`, give or take the
    cost of one entry at each end; less in the last batch of a pool.

    Entries are shuffled and then sorted by length only within pools of `POOL` batches, so that who shares a batch with
    whom still changes from call to call."""
    order_N = rng.permutation(len(lengths_N))
    pool_N = (np.cumsum(costs_N[order_N]) - 1) // (batch_size * POOL)
    order_N = order_N[np.lexsort((lengths_N[order_N], pool_N))]
    spent_N = np.cumsum(costs_N[order_N])
    first_N = np.searchsorted(pool_N, pool_N)  # where each entry's pool begins
    within_N = spent_N - (spent_N[first_N] - costs_N[order_N][first_N]) - 1
    other_N = (np.diff(pool_N) != 0) | (np.diff(within_N // batch_size) != 0)  # than the entry before it
    batches = np.split(order_N, np.flatnonzero(other_N) + 1) if len(order_N) else []
    return [batches[place] for place in rng.permutation(len(batches))]
