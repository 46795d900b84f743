"""The rows of a split, merged user by user from its parts, a group of users at a time.

V rows of a group of users
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from tasks.store.refs import DatasetRef
from tasks.store.store import Store

Ints = npt.NDArray[np.int32]
Longs = npt.NDArray[np.int64]
COLUMNS = ("user_idx", "item_idx", "place")


@dataclass(frozen=True)
class Rows:
    """Rows of some users, by user and place."""

    users_V: Ints
    items_V: Ints
    place_V: Longs
    weight_V: npt.NDArray[np.float32] | None = None
    before_V: npt.NDArray[np.bool_] | None = None

    def __len__(self) -> int:
        return len(self.users_V)

    @classmethod
    def of(cls, table: pa.Table) -> "Rows":
        column = {name: table[name].to_numpy() for name in table.column_names}
        users_V, items_V, place_V = (column[name] for name in COLUMNS)
        return cls(users_V, items_V, place_V, column.get("weight"), column.get("before_test"))

    def where(self, chosen: npt.NDArray[np.bool_] | slice | Longs) -> "Rows":
        columns: dict[str, Any] = {name: one if one is None else one[chosen] for name, one in vars(self).items()}
        return Rows(**columns)

    def offsets(self, first: int, end: int) -> Longs:
        """[B + 1] where the rows of each of these users begin."""
        offsets_B1: Longs = np.searchsorted(self.users_V, np.arange(first, end + 1))
        return offsets_B1


@dataclass
class Reader:
    """Reads a part of a split forwards, one row group ahead at most."""

    store: Store
    ref: DatasetRef
    columns: tuple[str, ...] = COLUMNS
    _held: list[Rows] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._blocks = iter(self.store.blocks(self.ref, self.columns))

    def take(self, end: int) -> Rows:
        """The rows of all users below this one who were not taken yet. Rows without an index are left out."""
        while not self._held or not len(self._held[-1]) or self._held[-1].users_V[-1] < end:
            if (table := next(self._blocks, None)) is None:
                break
            rows = Rows.of(table)
            self._held.append(rows.where((rows.users_V >= 0) & (rows.items_V >= 0)))
        if not self._held:
            return nothing(self.columns)
        rows = joined(self._held)
        cut = int(np.searchsorted(rows.users_V, end))
        self._held = [rows.where(slice(cut, None))]
        return rows.where(slice(0, cut))


def joined(parts: Sequence[Rows]) -> Rows:
    """One after another, with the columns that all of them have."""
    columns = {name: [getattr(part, name) for part in parts] for name in vars(parts[0])}
    have: dict[str, Any] = {
        name: None if any(one is None for one in all_) else np.concatenate(all_) for name, all_ in columns.items()
    }
    return Rows(**have)


def merged(parts: Sequence[Rows]) -> Rows:
    """By place: places ascend with the user, and with time within a user."""
    rows = joined(parts)
    return rows.where(np.argsort(rows.place_V, kind="stable"))


def nothing(columns: Sequence[str] = COLUMNS) -> Rows:
    return Rows.of(pa.table({name: _EMPTY[name] for name in columns}))


_EMPTY = {
    "user_idx": np.empty(0, dtype=np.int32),
    "item_idx": np.empty(0, dtype=np.int32),
    "place": np.empty(0, dtype=np.int64),
    "weight": np.empty(0, dtype=np.float32),
    "before_test": np.empty(0, dtype=np.bool_),
}
