"""What the protocols share: the log in one order, and the part of each row.

R rows, in the order of time (ties: by file, then row)
"""

from dataclasses import dataclass, replace
from enum import IntEnum

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from tasks.errors import DataRefused
from tasks.ids import as_typed_ids, index_in


class Part(IntEnum):
    DROPPED = -1
    TRAIN = 0
    VALID = 1
    TEST = 2


PartArray = npt.NDArray[np.int8]


@dataclass(frozen=True)
class Log:
    """All positive rows in the order of time; users and items as codes into `user_ids` and `item_ids`."""

    users_R: npt.NDArray[np.int32]
    items_R: npt.NDArray[np.int32]
    time_R: npt.NDArray[np.int64] | None  # microseconds since 1970; None where the source has no timestamps
    table: pa.Table  # the same rows, raw
    user_ids: pa.Array  # ascending
    item_ids: pa.Array
    place_R: npt.NDArray[np.int64]  # in the order of all rows, of those that are no positives too
    rated: pa.Table  # the rows that are no positives: user_id, item_id, place

    def __len__(self) -> int:
        return len(self.users_R)

    def pairs(self) -> npt.NDArray[np.int64]:
        """[R] one number per user-item pair, equal where the pair is."""
        pair_R: npt.NDArray[np.int64] = self.users_R.astype(np.int64) * len(self.item_ids) + self.items_R
        return pair_R

    def from_end(self) -> npt.NDArray[np.int64]:
        """[R] 0 for a user's last row, 1 for the one before it, and so on."""
        order_R = np.argsort(self.users_R, kind="stable")
        counts_U = np.bincount(self.users_R, minlength=len(self.user_ids))
        ends_U = np.cumsum(counts_U)
        from_end_R = np.empty(len(self), dtype=np.int64)
        from_end_R[order_R] = np.repeat(ends_U, counts_U) - 1 - np.arange(len(self))
        return from_end_R

    def without(self, pairs: pa.Table) -> "Log":
        """The log without these pairs (user_id, item_id as text)."""
        users_P, items_P = index_in(pairs["user_id"], self.user_ids), index_in(pairs["item_id"], self.item_ids)
        known_P = (users_P >= 0) & (items_P >= 0)
        judged_P = (users_P.astype(np.int64) * len(self.item_ids) + items_P)[known_P]
        kept_R = ~np.isin(self.pairs(), judged_P)
        time_R = self.time_R[kept_R] if self.time_R is not None else None
        return replace(
            self,
            users_R=self.users_R[kept_R],
            items_R=self.items_R[kept_R],
            time_R=time_R,
            table=self.table.filter(pa.array(kept_R)),
            place_R=self.place_R[kept_R],
        )

    def counts(self) -> npt.NDArray[np.int64]:
        """[R] how many rows the row's user has."""
        counts_R: npt.NDArray[np.int64] = np.bincount(self.users_R, minlength=len(self.user_ids))[self.users_R]
        return counts_R


def make_log(table: pa.Table, min_rating: float | None) -> Log:
    """Orders the accepted rows, keeps the positives and codes their ids.

    Rows without a rating are positives only where no threshold is set. Raises DataRefused when none is left.
    """
    time_R = None
    if table.num_rows and table["timestamp"].null_count == 0:
        time_R = table["timestamp"].cast(pa.int64()).to_numpy()
        order_R = np.argsort(time_R, kind="stable")  # stable: ties keep the order of file, then row
        table, time_R = table.take(order_R), time_R[order_R]
    place_R = np.arange(table.num_rows)
    liked_R = np.ones(table.num_rows, dtype=bool)
    if min_rating is not None:
        liked_R = pc.fill_null(pc.greater_equal(table["rating"], min_rating), False).to_numpy()
        if not liked_R.any():
            raise DataRefused(f"no row is rated {min_rating} or higher", "lower ingest.min_rating")
    placed = table.select(["user_id", "item_id"]).append_column("place", pa.array(place_R))
    rated = placed.filter(pa.array(~liked_R))
    table, place_R = table.filter(pa.array(liked_R)), place_R[liked_R]
    time_R = time_R[liked_R] if time_R is not None else None
    user_ids, item_ids = _catalogue(table["user_id"]), _catalogue(table["item_id"])
    users_R, items_R = index_in(table["user_id"], user_ids), index_in(table["item_id"], item_ids)
    return Log(users_R, items_R, time_R, table, user_ids, item_ids, place_R, rated)


def _catalogue(ids: pa.ChunkedArray) -> pa.Array:
    """The distinct ids: integers by value, text by code point. This order breaks ties in score everywhere."""
    distinct = pc.unique(ids)
    order = pc.sort_indices(as_typed_ids(distinct))
    return distinct.take(order)
