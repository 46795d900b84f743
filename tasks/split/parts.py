"""What the protocols share: blocks of the log, and the part of each row.

R rows of a block, user by user, each user's in the order of time (ties: by file, then row); I items
"""

from dataclasses import dataclass, fields
from enum import IntEnum
from typing import Any

import numpy as np
import numpy.typing as npt

from models.compiled import compiled

Bools = npt.NDArray[np.bool_]
Ints = npt.NDArray[np.int32]
Longs = npt.NDArray[np.int64]
PartArray = npt.NDArray[np.int8]


class Part(IntEnum):
    RATED = -2
    """No positive, but known: rated too low."""
    DROPPED = -1
    """The user had the item in an earlier part."""
    TRAIN = 0
    VALID = 1
    TEST = 2


@dataclass(frozen=True)
class Block:
    """Rows of whole users: a user's rows are in one block, all of them and in order."""

    users_R: Ints
    items_R: Ints
    time_R: Longs | None  # microseconds since 1970; None where the source has no timestamps
    rating_R: npt.NDArray[np.float64] | None  # NaN where a row has none
    weight_R: npt.NDArray[np.float32]
    place_R: Longs  # in the order of all rows of the log
    liked_R: Bools  # whether it is a positive
    chosen_R: Bools | None = None  # whether it is a given validation row
    first: int = 0  # positives in the blocks before

    def __len__(self) -> int:
        return len(self.users_R)

    def starts(self) -> Longs:
        """[U + 1] where each user begins, and the end."""
        changes_R = np.flatnonzero(self.users_R[1:] != self.users_R[:-1]) + 1
        return np.concatenate([[0] * (len(self) > 0), changes_R, [len(self)]]).astype(np.int64)

    def from_end(self) -> Longs:
        """[R] 0 for a user's last row, 1 for the one before it, and so on."""
        starts_U1 = self.starts()
        from_end_R: Longs = np.repeat(starts_U1[1:], np.diff(starts_U1)) - 1 - np.arange(len(self))
        return from_end_R

    def counts(self) -> Longs:
        """[R] how many rows the row's user has."""
        lengths_U = np.diff(self.starts())
        return np.repeat(lengths_U, lengths_U)

    def positives(self, first: int = 0) -> "Block":
        """The positive rows alone; `first` of them are in the blocks before."""
        kept_R = slice(None) if self.liked_R.all() else self.liked_R
        columns = {field.name: getattr(self, field.name) for field in fields(self) if field.name.endswith("_R")}
        kept: dict[str, Any] = {name: one if one is None else one[kept_R] for name, one in columns.items()}
        return Block(**kept, first=first)


@compiled()
def drop_repeats(users_R: Ints, items_R: Ints, part_R: PartArray, n_items: int) -> PartArray:
    """[R] the parts, where a later part lacks the pairs that the user has in an earlier one."""
    part_R = part_R.copy()
    had_I = np.full(n_items, -1, dtype=np.int64)  # 3 * user + part: whose it was last, and in which part first
    start = 0
    while start < len(users_R):
        user, end = 3 * np.int64(users_R[start]), start
        while end < len(users_R) and users_R[end] == users_R[start]:
            had, has = had_I[items_R[end]], user + part_R[end]
            if had < user or has < had:  # users ascend: what is lower is another's
                had_I[items_R[end]] = has
            end += 1
        for r in range(start, end):
            if had_I[items_R[r]] < user + part_R[r]:
                part_R[r] = Part.DROPPED
        start = end
    return part_R
