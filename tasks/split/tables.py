"""The second pass: from the shelf to the tables of a split.

R rows of a block, U users and I items of the log
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from tasks.ids import as_typed_ids, index_in
from tasks.schema import RATED_ROWS, SPLIT_ROWS, TEST_ROWS
from tasks.split.active import Active
from tasks.split.assign import Tally
from tasks.split.log import Log
from tasks.split.parts import Bools, Ints, Longs, Part
from tasks.split.shelf import Parted, Shelf

Rows = Callable[[Parted, "Maps"], pa.Table]


@dataclass(frozen=True)
class Maps:
    """From codes in the log to indices: of users and items with a training or validation row. -1 for all others."""

    user_U: Ints
    item_I: Ints
    active: Active
    user_ids: pa.Array  # by code, as text
    item_ids: pa.Array

    @classmethod
    def of(cls, log: Log, tally: Tally, active: Active) -> "Maps":
        user_U, item_I = _indices(active.train_U + tally.valid_U > 0), _indices(active.train_I + tally.valid_I > 0)
        return cls(user_U, item_I, active, log.user_ids, log.item_ids)

    def users(self, features: pa.Table | None) -> pa.Table:
        return _with_features("user_id", self.user_ids, self.user_U >= 0, features)

    def items(self, features: pa.Table | None) -> pa.Table:
        return _with_features("item_id", self.item_ids, self.item_I >= 0, features)


def blocks_of(shelf: Shelf, rows: Rows, maps: Maps) -> Iterator[pa.Table]:
    """A table of the split, block by block."""
    for block in shelf.blocks():
        yield rows(block, maps)


def train_rows(block: Parted, maps: Maps) -> pa.Table:
    return _split_rows(block, maps, (block.part_R == Part.TRAIN) & maps.active.kept(block.users_R, block.items_R))


def valid_rows(block: Parted, maps: Maps) -> pa.Table:
    return _split_rows(block, maps, block.part_R == Part.VALID)


def test_rows(block: Parted, maps: Maps) -> pa.Table:
    in_R = block.part_R == Part.TEST
    users_R, items_R = block.users_R[in_R], block.items_R[in_R]
    ids = [maps.user_ids.take(pa.array(users_R)), maps.item_ids.take(pa.array(items_R))]
    columns = [maps.user_U[users_R], maps.item_I[items_R], *ids, _times(block.time_R, in_R), block.place_R[in_R]]
    return pa.table(columns, schema=TEST_ROWS)


def rated_rows(block: Parted, maps: Maps) -> pa.Table:
    """What is known beside the positives that are learned from, of users and items that have an index."""
    left_out_R = (block.part_R == Part.TRAIN) & ~maps.active.kept(block.users_R, block.items_R)
    user_R, item_R = maps.user_U[block.users_R], maps.item_I[block.items_R]
    in_R = (left_out_R | (block.part_R == Part.RATED)) & (user_R >= 0) & (item_R >= 0)
    before_R = left_out_R | (block.place_R < _first_test(block))  # training rows are known at any test
    return pa.table([user_R[in_R], item_R[in_R], before_R[in_R], block.place_R[in_R]], schema=RATED_ROWS)


def given_rows(pairs: pa.Table, maps: Maps) -> pa.Table:
    """Test rows that were not ingested: in the order of their file, without time or place."""
    columns = [
        index_of[index_in(pairs[column], ids)]  # the last one, -1, is for ids that the log has not
        for column, ids, index_of in (
            ("user_id", maps.user_ids, np.append(maps.user_U, np.int32(-1))),
            ("item_id", maps.item_ids, np.append(maps.item_I, np.int32(-1))),
        )
    ]
    empty = [pa.nulls(pairs.num_rows, TEST_ROWS.field(name).type) for name in ("timestamp", "place")]
    return pa.table([*columns, pairs["user_id"], pairs["item_id"], *empty], schema=TEST_ROWS)


def strangers(features: pa.Table, maps: Maps) -> pa.Table:
    """Users of the users table who have no index. Of one who is there more than once the first row counts."""
    ids = features["user_id"].combine_chunks()
    first_R = np.zeros(len(ids), dtype=bool)
    first_R[index_in(ids.unique(), ids)] = True
    known = maps.user_ids.filter(pa.array(maps.user_U >= 0))
    return features.filter(pa.array(first_R & (index_in(ids, known) < 0)))


def _split_rows(block: Parted, maps: Maps, in_R: Bools) -> pa.Table:
    rating_R = pa.nulls(int(in_R.sum()), pa.float64())
    if block.rating_R is not None:
        rating_R = pa.array(block.rating_R[in_R], from_pandas=True)  # NaN is a row without one
    columns = [maps.user_U[block.users_R[in_R]], maps.item_I[block.items_R[in_R]], _times(block.time_R, in_R)]
    return pa.table([*columns, rating_R, block.weight_R[in_R], block.place_R[in_R]], schema=SPLIT_ROWS)


def _times(time_R: Longs | None, in_R: Bools) -> pa.Array:
    kind = SPLIT_ROWS.field("timestamp").type
    return pa.nulls(int(in_R.sum()), kind) if time_R is None else pa.array(time_R[in_R]).cast(kind)


def _first_test(block: Parted) -> Longs:
    """[R] the place of the first test row of the row's user; past every place where there is none."""
    first_U = np.full(int(block.users_R[-1] - block.users_R[0]) + 1, np.iinfo(np.int64).max)
    user_R, test_R = block.users_R - block.users_R[0], block.part_R == Part.TEST
    np.minimum.at(first_U, user_R[test_R], block.place_R[test_R])
    first_R: Longs = first_U[user_R]
    return first_R


def _indices(known_N: Bools) -> Ints:
    index_N: Ints = np.where(known_N, np.cumsum(known_N) - 1, -1).astype(np.int32)
    return index_N


def _with_features(key: str, ids: pa.Array, known_N: npt.NDArray[np.bool_], features: pa.Table | None) -> pa.Table:
    """One row per index in order, with its features as text; null where the features file has no such id."""
    kind, ids = as_typed_ids(ids).type, ids.filter(pa.array(known_N))
    table = pa.table({key: ids.cast(kind)})
    if features is None:
        return table
    row = pc.index_in(ids, value_set=features[key].combine_chunks())
    for name in features.column_names:
        if name != key:
            table = table.append_column(name, features[name].combine_chunks().take(row))
    return table
