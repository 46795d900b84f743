"""The features of users between the split's tables and the codes that models take.

U users
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from models.base import IntArray
from models.features import UserFeatures
from models.ids import IdMap
from tasks.ids import index_in

KEY = "user_id"


def user_features(users: pa.Table) -> UserFeatures:
    """Of the split's users: what they have before the test is all that a model can know of a column."""
    names = sorted(name for name in users.column_names if name != KEY)
    values, codes = {}, {}
    for name in names:
        column = users[name].combine_chunks().cast(pa.string())
        distinct = column.unique().drop_null().sort()
        values[name] = IdMap(np.array(distinct.to_pylist(), dtype=np.str_))
        codes[name] = index_in(column, distinct) + np.int32(1)
    return UserFeatures(values, codes)


def codes_of(
    features: UserFeatures,
    users_U: npt.NDArray[np.int64],
    user_ids: Sequence[Any] | npt.NDArray[Any],
    strangers: pa.Table | None = None,
) -> dict[str, npt.NDArray[np.int32]]:
    """By name, the codes of these users [U]: by index, or for an unknown one (-1) by the raw id in `strangers`."""
    codes = {name: np.asarray(known_U, dtype=np.int32) for name, known_U in features.codes_of(users_U).items()}
    if strangers is None:
        return codes
    row_U = index_in(pa.array(user_ids, pa.string()), strangers[KEY].combine_chunks())
    found_U = np.flatnonzero((users_U < 0) & (row_U >= 0))
    for name, codes_N in stranger_codes(features, strangers.take(row_U[found_U])).items():
        codes[name][found_U] = codes_N
    return codes


def stranger_codes(features: UserFeatures, strangers: pa.Table) -> Mapping[str, npt.NDArray[np.int32]]:
    """By name, the codes of users of whom nothing but their features is known, one a row."""
    encoded = {}
    for name in features.names:
        values = pa.array(features.values[name].ids_N, pa.string())
        encoded[name] = index_in(pc.cast(strangers[name], pa.string()), values) + np.int32(1)
    return encoded


def raw_features(features: UserFeatures, codes: Mapping[str, IntArray]) -> dict[str, list[str | None]]:
    """By name, the values [U] that these codes stand for; None for what is unknown."""
    return {
        name: [str(features.values[name].ids_N[code - 1]) if code else None for code in codes_U.tolist()]
        for name, codes_U in codes.items()
    }
