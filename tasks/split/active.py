"""Minimum activity: which users and items training rows are kept of.

R rows of a block, U users and I items of the log
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np

from models.compiled import compiled
from tasks.split.config import SplitConfig
from tasks.split.parts import Bools, Ints, Longs, Part, PartArray

Pairs = Callable[[], Iterator[tuple[Ints, Ints, PartArray]]]


@dataclass(frozen=True)
class Active:
    """A training row stays where its user and its item both do."""

    users_U: Bools
    items_I: Bools
    train_U: Longs  # training rows that stay, by user
    train_I: Longs

    @property
    def rows(self) -> int:
        return int(self.train_U.sum())

    def kept(self, users_R: Ints, items_R: Ints) -> Bools:
        kept_R: Bools = self.users_U[users_R] & self.items_I[items_R]
        return kept_R


def limits(config: SplitConfig) -> tuple[int, int]:
    """Training rows that each user and each item must have."""
    return max(config.min_user_rows, config.k_core), max(config.min_item_rows, config.k_core)


def find_active(pairs: Pairs, train_U: Longs, train_I: Longs, config: SplitConfig) -> Active:
    """The largest set of training rows in which every user and every item has as many as the configuration asks for.

    `pairs` gives all rows anew at each call, `train_U` and `train_I` count the training rows before. Leaving out rows
    of one user may take an item below its limit, and so on: the log is read until nothing changes. Which rows are left
    does not depend on the order of leaving out. k-core of Seidman, Social Networks 1983, for users and items apart.
    """
    least_of_user, least_of_item = limits(config)
    users_U, items_I = np.ones(len(train_U), dtype=bool), np.ones(len(train_I), dtype=bool)
    while True:
        weak_U, weak_I = users_U & (train_U < least_of_user), items_I & (train_I < least_of_item)
        if not train_U[weak_U].any() and not train_I[weak_I].any():
            return Active(users_U, items_I, train_U, train_I)
        users_U, items_I = users_U & ~weak_U, items_I & ~weak_I
        train_U, train_I = np.zeros_like(train_U), np.zeros_like(train_I)
        for users_R, items_R, part_R in pairs():
            _count(users_R, items_R, part_R, users_U, items_I, train_U, train_I)


@compiled()
def _count(
    users_R: Ints, items_R: Ints, part_R: PartArray, users_U: Bools, items_I: Bools, train_U: Longs, train_I: Longs
) -> None:
    for r in range(len(users_R)):
        user, item = users_R[r], items_R[r]
        if part_R[r] == Part.TRAIN and users_U[user] and items_I[item]:
            train_U[user] += 1
            train_I[item] += 1
