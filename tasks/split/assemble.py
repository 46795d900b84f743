"""From the part of each row to the tables of a split."""

from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from tasks.errors import DataRefused
from tasks.ids import as_typed_ids, index_in
from tasks.schema import RATED_ROWS, SPLIT_ROWS, TEST_ROWS
from tasks.split.parts import Log, Part, PartArray


@dataclass(frozen=True)
class Split:
    """The tables of one split. `users` and `items` are the id maps: row i is index i."""

    train: pa.Table
    valid: pa.Table
    test: pa.Table
    users: pa.Table
    items: pa.Table
    rated: pa.Table
    strangers: pa.Table | None = None
    """Users of the snapshot's users table who have no row before the test, with their features, by raw id."""


def drop_repeats(log: Log, part_R: PartArray) -> PartArray:
    """Drops a pair from a later part where the user had it in an earlier one."""
    part_R, pair_R = part_R.copy(), log.pairs()
    for later, earlier in ((Part.VALID, (Part.TRAIN,)), (Part.TEST, (Part.TRAIN, Part.VALID))):
        repeated_R = (part_R == later) & np.isin(pair_R, pair_R[np.isin(part_R, earlier)])
        part_R[repeated_R] = Part.DROPPED
    return part_R


def assemble(
    log: Log,
    part_R: PartArray,
    given_test: pa.Table | None,
    features: tuple[pa.Table | None, pa.Table | None],
) -> Split:
    """Builds the tables. Ids come from all rows before the test, features from the snapshot's users and items.

    Raises DataRefused when no row is left to train on or to judge by.
    """
    known_R = (part_R == Part.TRAIN) | (part_R == Part.VALID)
    user_ids = log.user_ids.take(pa.array(np.unique(log.users_R[known_R])))
    item_ids = log.item_ids.take(pa.array(np.unique(log.items_R[known_R])))
    placed = log.table.append_column("place", pa.array(log.place_R))
    test = placed.filter(pa.array(part_R == Part.TEST)) if given_test is None else _not_placed(given_test)
    test = _test_rows(test, user_ids, item_ids)
    train = _split_rows(log, part_R == Part.TRAIN, user_ids, item_ids)
    for name, part in (("train on", train), ("judge by", test)):
        if not part.num_rows:
            raise DataRefused(
                f"no row is left to {name}", "check split.protocol, split.repeats and the size of the log"
            )
    return Split(
        train=train,
        valid=_split_rows(log, part_R == Part.VALID, user_ids, item_ids),
        test=test,
        users=_with_features("user_id", user_ids, as_typed_ids(log.user_ids).type, features[0]),
        items=_with_features("item_id", item_ids, as_typed_ids(log.item_ids).type, features[1]),
        rated=_rated_rows(log.rated, test, user_ids, item_ids),
        strangers=None if features[0] is None else _strangers(features[0], user_ids),
    )


def _rated_rows(rated: pa.Table, test: pa.Table, user_ids: pa.Array, item_ids: pa.Array) -> pa.Table:
    """The rows that are no positives, of known users and items; given test rows come after all of them."""
    users_R, items_R = index_in(rated["user_id"], user_ids), index_in(rated["item_id"], item_ids)
    users_T, places = test["user_idx"].to_numpy(), test["place"]
    first_U = np.full(len(user_ids), np.iinfo(np.int64).max)
    if places.null_count == 0:
        np.minimum.at(first_U, users_T[users_T >= 0], places.to_numpy()[users_T >= 0])
    kept_R = (users_R >= 0) & (items_R >= 0)
    users_R, items_R, place_R = users_R[kept_R], items_R[kept_R], rated["place"].to_numpy()[kept_R]
    return pa.table([users_R, items_R, place_R < first_U[users_R]], schema=RATED_ROWS)


def _split_rows(log: Log, mask_R: np.ndarray, user_ids: pa.Array, item_ids: pa.Array) -> pa.Table:
    rows = log.table.filter(pa.array(mask_R))
    columns = [index_in(rows["user_id"], user_ids), index_in(rows["item_id"], item_ids)]
    return pa.table([*columns, rows["timestamp"], rows["rating"], log.place_R[mask_R]], schema=SPLIT_ROWS)


def _test_rows(rows: pa.Table, user_ids: pa.Array, item_ids: pa.Array) -> pa.Table:
    columns = [index_in(rows["user_id"], user_ids), index_in(rows["item_id"], item_ids)]
    return pa.table([*columns, *rows.select(TEST_ROWS.names[2:]).columns], schema=TEST_ROWS)


def _not_placed(pairs: pa.Table) -> pa.Table:
    for name in ("timestamp", "place"):
        pairs = pairs.append_column(name, pa.nulls(pairs.num_rows, TEST_ROWS.field(name).type))
    return pairs


def _strangers(features: pa.Table, user_ids: pa.Array) -> pa.Table:
    """Of a user who is there more than once the first row counts, as for known users."""
    ids = features["user_id"].combine_chunks()
    first_R = np.zeros(len(ids), dtype=bool)
    first_R[index_in(ids.unique(), ids)] = True
    return features.filter(pa.array(first_R & (index_in(ids, user_ids) < 0)))


def _with_features(key: str, ids: pa.Array, kind: pa.DataType, features: pa.Table | None) -> pa.Table:
    """One row per id in index order, with its features as text; null where the features file has no such id."""
    table = pa.table({key: ids.cast(kind)})
    if features is None:
        return table
    row = pc.index_in(ids, value_set=features[key].combine_chunks())
    for name in features.column_names:
        if name != key:
            table = table.append_column(name, features[name].combine_chunks().take(row))
    return table
