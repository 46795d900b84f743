"""The first pass: every row of the log gets its part and goes to the shelf; what is counted on the way.

R rows of a block, U users and I items of the log
"""

from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import partial

import numpy as np

from models.compiled import compiled
from tasks.split.config import SplitConfig
from tasks.split.everything import EVERYTHING, everything
from tasks.split.given import check_chosen, given
from tasks.split.leave_last_out import leave_last_out
from tasks.split.log import Log
from tasks.split.parts import Block, Ints, Longs, Part, PartArray, drop_repeats
from tasks.split.random import make_draw, random
from tasks.split.shelf import Parted, Shelf
from tasks.split.temporal import find_cuts, temporal

Assign = Callable[[Block], PartArray]


@dataclass(frozen=True)
class Tally:
    """Rows by part, and those of training and validation by user and by item. Filled while the log is read."""

    train_U: Longs
    valid_U: Longs
    train_I: Longs
    valid_I: Longs
    rows: Counter[Part] = field(default_factory=Counter)  # as they are in the end
    dropped: Counter[Part] = field(default_factory=Counter)  # repeats, by the part that they were dropped from

    @classmethod
    def empty(cls, log: Log) -> "Tally":
        zeros_U, zeros_I = (np.zeros(len(ids), dtype=np.int64) for ids in (log.user_ids, log.item_ids))
        return cls(zeros_U, zeros_U.copy(), zeros_I, zeros_I.copy())

    def add(self, block: Parted) -> None:
        self.rows.update(_by_part(block.part_R))
        _count(block.users_R, block.items_R, block.part_R, self.train_U, self.valid_U, self.train_I, self.valid_I)


def chosen_protocol(log: Log, config: SplitConfig) -> str:
    return config.protocol or ("temporal" if log.is_timed else "random")


def make_assign(log: Log, protocol: str, config: SplitConfig) -> Assign:
    """The protocol with all that it must know of the whole log. Raises ConfigError where the log does not suit it."""
    if protocol == EVERYTHING:
        return everything
    if protocol == "temporal":
        return partial(temporal, cuts=find_cuts(log, config))
    if protocol == "random":
        return partial(random, draw=make_draw(log.rows, config))
    if protocol == "leave_last_out":
        return leave_last_out
    if "chosen" in log.columns:
        check_chosen(log)
    return partial(given, seed=config.seed)


def fill(shelf: Shelf, log: Log, assign: Assign, keeps_repeats: bool) -> Tally:
    """Reads the log once."""
    tally = Tally.empty(log)
    shelf.fill(_parted(log, assign, keeps_repeats, tally))
    return tally


def _parted(log: Log, assign: Assign, keeps_repeats: bool, tally: Tally) -> Iterator[Parted]:
    n_before = 0
    for block in log.blocks():
        positives = block.positives(n_before)
        n_before += len(positives)
        liked_P = assign(positives)
        if not keeps_repeats:
            cleaned_P = drop_repeats(positives.users_R, positives.items_R, liked_P, len(log.item_ids))
            tally.dropped.update(_by_part(liked_P[cleaned_P == Part.DROPPED]))
            liked_P = cleaned_P
        part_R = np.full(len(block), Part.RATED, dtype=np.int8)
        part_R[block.liked_R] = liked_P
        parted = Parted.of(block, part_R)
        tally.add(parted)
        yield parted


def _by_part(part_R: PartArray) -> dict[Part, int]:
    counts = np.bincount(part_R - min(Part), minlength=len(Part)).tolist()
    return {part: counts[part - min(Part)] for part in Part if counts[part - min(Part)]}


@compiled()
def _count(
    users_R: Ints, items_R: Ints, part_R: PartArray, train_U: Longs, valid_U: Longs, train_I: Longs, valid_I: Longs
) -> None:
    for r in range(len(users_R)):
        if part_R[r] == Part.TRAIN:
            train_U[users_R[r]] += 1
            train_I[items_R[r]] += 1
        elif part_R[r] == Part.VALID:
            valid_U[users_R[r]] += 1
            valid_I[items_R[r]] += 1
