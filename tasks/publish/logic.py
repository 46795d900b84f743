"""From a bundle to the published table, a block of users at a time.

U users, K places, N rows shown
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from models.base import Ragged
from models.bundle import Bundle
from tasks.errors import ConfigError
from tasks.ids import as_typed_ids, index_in
from tasks.schema import ID, TEST_ROWS, recommendations

BLOCK = 16_384  # users a row group: a few MB of rows
INTEGER = r"^(0|-?[1-9][0-9]{0,17})$"  # as text that comes back the same

Histories = tuple[npt.NDArray[np.int64], npt.NDArray[Any]]
Features = Mapping[str, Sequence[Any]]


def recommendation_schema(bundle: Bundle) -> pa.Schema:
    """Ids have the type that the dataset's raw ids have."""
    users, items = (pa.int64() if ids.are_integers else pa.string() for ids in (bundle.users, bundle.items))
    return recommendations(users, items)


def recommend_all(bundle: Bundle, k: int, exclude_seen: bool, version: str) -> Iterator[pa.Table]:
    """The lists of every user that the bundle knows, in the order of its id map."""
    for start in range(0, len(bundle.users), BLOCK):
        yield _table(bundle, bundle.users.ids_N[start : start + BLOCK], k, exclude_seen, version)


def recommend_some(bundle: Bundle, user_ids: list[str], k: int, exclude_seen: bool, version: str) -> pa.Table:
    """The lists of these users, each once, in this order; unknown ones get the fallback."""
    user_ids = list(dict.fromkeys(user_ids))
    ids = as_typed_ids(pa.array(user_ids, pa.string()))
    if bundle.users.are_integers and ids.type != pa.int64():
        raise ConfigError("recommend.users: the user ids of this dataset are integers", "write them as 12,34")
    ids_U = ids.to_numpy() if bundle.users.are_integers else np.array(user_ids, dtype=np.str_)
    return _table(bundle, ids_U, k, exclude_seen, version)


def recommend_strangers(
    bundle: Bundle, rows: pa.Table | None, described: pa.Table | None, k: int, exclude_seen: bool, version: str
) -> Iterator[pa.Table]:
    """The lists of users whom the training rows do not have, by what else is known of them, in the order of their ids.

    `rows` are the test rows (TEST_ROWS): who came only then has these as history. `described` is the split's table of
    such users with their features. Either may be None.
    """
    rows = TEST_ROWS.empty_table() if rows is None else rows
    came = rows.filter(pa.array(rows["user_idx"].to_numpy() < 0))
    described = pa.table({"user_id": pa.array([], ID)}) if described is None else described
    if bundle.users.are_integers:
        # 007 and x7 are nobody where ids are integers: the log has no such user, and the lists have no room for one
        described = described.filter(pc.match_substring_regex(described["user_id"], INTEGER))
    ids = pc.unique(pa.chunked_array([*came["user_id"].chunks, *described["user_id"].chunks], ID))
    ids = ids.take(pc.sort_indices(as_typed_ids(ids)))
    had, row_U = _histories(came, ids), index_in(ids, described["user_id"].combine_chunks())
    ids_U = (ids.cast(pa.int64()) if bundle.users.are_integers else ids).to_numpy(zero_copy_only=False)
    for start in range(0, len(ids), BLOCK):
        block = np.arange(start, min(start + BLOCK, len(ids)))
        had_B = had.take(block)
        histories = (had_B.offsets_U1, bundle.items.ids_N[had_B.items_R])
        features = _values(described, row_U[block], bundle.features.names)
        yield _table(bundle, ids_U[block], k, exclude_seen, version, histories, features)


def _histories(came: pa.Table, ids: pa.Array) -> Ragged:
    """What each of these users took, as far as the items are known."""
    known = came.filter(pa.array(came["item_idx"].to_numpy() >= 0))
    return Ragged.from_pairs(index_in(known["user_id"], ids), known["item_idx"].to_numpy(), len(ids))


def _values(described: pa.Table, row_B: npt.NDArray[np.int32], names: tuple[str, ...]) -> Features:
    """By name, the values of these rows of the table; None for a row of -1, which is none."""
    row = pa.array(row_B, mask=row_B < 0)
    return {name: described[name].take(row).to_pylist() for name in names if name in described.column_names}


def _table(
    bundle: Bundle,
    ids_U: npt.NDArray[Any],
    k: int,
    exclude_seen: bool,
    version: str,
    histories: Histories | None = None,
    features: Features | None = None,
) -> pa.Table:
    more: dict[str, Any] = (
        {"features": features} if features else {}
    )  # which a champion of before there were any does not take
    items_UK, score_UK, reason_U = bundle.recommend(ids_U, k, histories, exclude_seen, **more)
    if reason_U.dtype == np.bool_:  # nor does it give reasons, but says who gets the fallback
        reason_U = np.where(reason_U, "fallback", "model")
    user_N, place_N = np.nonzero(np.isfinite(score_UK))
    columns = [
        ids_U[user_N],
        (place_N + 1).astype(np.int32),
        items_UK[user_N, place_N],
        score_UK[user_N, place_N],
        pa.array([version]).take(pa.array(np.zeros(len(user_N), dtype=np.int32))),
        reason_U[user_N],
    ]
    schema = recommendation_schema(bundle)
    return pa.table([pa.array(column).cast(field.type) for column, field in zip(columns, schema, strict=True)], schema)
