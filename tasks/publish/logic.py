"""From a bundle to the published table, a block of users at a time.

U users, K places, N rows shown
"""

from collections.abc import Iterator
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from models.bundle import Bundle
from tasks.errors import ConfigError
from tasks.ids import as_typed_ids
from tasks.schema import recommendations

BLOCK = 16_384  # users a row group: a few MB of rows


def recommendation_schema(bundle: Bundle) -> pa.Schema:
    """Ids have the type that the dataset's raw ids have."""
    users, items = (pa.int64() if ids.are_integers else pa.string() for ids in (bundle.users, bundle.items))
    return recommendations(users, items)


def recommend_all(bundle: Bundle, k: int, exclude_seen: bool, version: str) -> Iterator[pa.Table]:
    """The lists of all of whom the bundle knows something: its users, then the strangers, both in order of ids."""
    strangers = getattr(bundle, "strangers", None)  # which a champion of before there were any does not have
    for ids in (bundle.users, *((strangers.ids,) if strangers else ())):
        living_L = getattr(ids, "living_L", ids.ids_N)  # nor does it know that ids can be erased
        for start in range(0, len(living_L), BLOCK):
            yield _table(bundle, living_L[start : start + BLOCK], k, exclude_seen, version)


def recommend_some(bundle: Bundle, user_ids: list[str], k: int, exclude_seen: bool, version: str) -> pa.Table:
    """The lists of these users, each once, in this order; those of whom the bundle knows nothing get the fallback."""
    user_ids = list(dict.fromkeys(user_ids))
    ids = as_typed_ids(pa.array(user_ids, pa.string()))
    if bundle.users.are_integers and ids.type != pa.int64():
        raise ConfigError("recommend.users: the user ids of this dataset are integers", "write them as 12,34")
    ids_U = ids.to_numpy() if bundle.users.are_integers else np.array(user_ids, dtype=np.str_)
    return _table(bundle, ids_U, k, exclude_seen, version)


def _table(bundle: Bundle, ids_U: npt.NDArray[Any], k: int, exclude_seen: bool, version: str) -> pa.Table:
    items_UK, score_UK, reason_U = bundle.recommend(ids_U, k, exclude_seen=exclude_seen)
    if reason_U.dtype == np.bool_:  # a champion of before there were reasons says who gets the fallback
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
