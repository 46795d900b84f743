"""From a bundle to the published table, a block of users at a time.

U users, K places, N rows shown
"""

from collections.abc import Iterator
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from models.base import Ragged
from models.bundle import Bundle
from tasks.errors import ConfigError
from tasks.ids import as_typed_ids
from tasks.schema import recommendations

BLOCK = 16_384  # users a row group: a few MB of rows

Histories = tuple[npt.NDArray[np.int64], npt.NDArray[Any]]


def recommendation_schema(bundle: Bundle) -> pa.Schema:
    """Ids have the type that the dataset's raw ids have."""
    users, items = (pa.int64() if ids.are_integers else pa.string() for ids in (bundle.users, bundle.items))
    return recommendations(users, items)


def recommend_all(bundle: Bundle, k: int, exclude_seen: bool, version: str) -> Iterator[pa.Table]:
    """The lists of every user that the bundle knows, in the order of its id map."""
    for start in range(0, len(bundle.users), BLOCK):
        yield _table(bundle, bundle.users.ids_N[start : start + BLOCK], k, exclude_seen, version)


def recommend_some(bundle: Bundle, user_ids: list[str], k: int, exclude_seen: bool, version: str) -> pa.Table:
    """The lists of these users, each once, in this order; unknown ones get the fallback, marked so."""
    user_ids = list(dict.fromkeys(user_ids))
    ids = as_typed_ids(pa.array(user_ids, pa.string()))
    if bundle.users.are_integers and ids.type != pa.int64():
        raise ConfigError("recommend.users: the user ids of this dataset are integers", "write them as 12,34")
    ids_U = ids.to_numpy() if bundle.users.are_integers else np.array(user_ids, dtype=np.str_)
    return _table(bundle, ids_U, k, exclude_seen, version)


def recommend_strangers(bundle: Bundle, rows: pa.Table, k: int, exclude_seen: bool, version: str) -> Iterator[pa.Table]:
    """The fallback for users who came only after the training rows; `rows` are the test rows (TEST_ROWS)."""
    rows = rows.filter(pa.array(rows["user_idx"].to_numpy() < 0))
    if not rows.num_rows:
        return
    encoded = rows["user_id"].combine_chunks().dictionary_encode()
    group_R, item_R = encoded.indices.to_numpy(), rows["item_idx"].to_numpy()
    had = Ragged.from_pairs(group_R[item_R >= 0], item_R[item_R >= 0], len(encoded.dictionary))
    ids = encoded.dictionary.cast(pa.int64()) if bundle.users.are_integers else encoded.dictionary
    histories = (had.offsets_U1, bundle.items.ids_N[had.items_R])
    yield _table(bundle, ids.to_numpy(zero_copy_only=False), k, exclude_seen, version, histories)


def _table(
    bundle: Bundle,
    ids_U: npt.NDArray[Any],
    k: int,
    exclude_seen: bool,
    version: str,
    histories: Histories | None = None,
) -> pa.Table:
    items_UK, score_UK, fallback_U = bundle.recommend(ids_U, k, histories, exclude_seen)
    user_N, place_N = np.nonzero(np.isfinite(score_UK))
    columns = [
        ids_U[user_N],
        (place_N + 1).astype(np.int32),
        items_UK[user_N, place_N],
        score_UK[user_N, place_N],
        pa.array([version]).take(pa.array(np.zeros(len(user_N), dtype=np.int32))),
        np.where(fallback_U, "fallback", "model")[user_N],
    ]
    schema = recommendation_schema(bundle)
    return pa.table([pa.array(column).cast(field.type) for column, field in zip(columns, schema, strict=True)], schema)
