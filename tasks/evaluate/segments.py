"""Whom and what a model is good for: its metrics by length of history, by reason, by the item's age and popularity.

U test users, R test rows (each pair once), N places, I items
"""

from collections.abc import Iterable, Mapping, Sequence
from itertools import pairwise
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from models.base import FloatArray, IntArray
from models.ranking.metrics import hits
from models.serving import REASONS
from tasks.judging import Judges

PLACES = 10
SHOWN = ("ndcg_at_10", "recall_at_10", "hit_at_10")
LENGTHS = (0, 1, 5, 10, 20, 50, 100, 200)
"""Items before the test at which a bucket of users begins."""
AGES = (0, 7, 30, 90, 365)
"""Days at which a bucket of items begins."""
LENGTH_NAMES = (*(str(a) if b == a + 1 else f"{a}-{b - 1}" for a, b in pairwise(LENGTHS)), f"{LENGTHS[-1]}+")
AGE_NAMES = ("new", f"<{AGES[1]}", *(f"{a}-{b}" for a, b in pairwise(AGES[1:])), f"{AGES[-1]}+")
POPULARITY_NAMES = ("head", "mid", "tail", "new")
HEAD, TAIL = 0.2, 0.8
"""Shares of all that users have: the most popular items up to 20% of it are the head, those after 80% the tail, as in
Abdollahpouri et al., UMAP 2021."""
MICROSECONDS_A_DAY = 86_400_000_000

Figures = Mapping[str, FloatArray]
Segment = list[dict[str, Any]]


def by_history_length(per_user: Figures, lengths_U: IntArray) -> Segment:
    """The means of the users with so many items before the test; only of buckets with somebody in them."""
    return _rows(LENGTH_NAMES, np.searchsorted(LENGTHS, lengths_U, side="right") - 1, _shown(per_user), "users")


def by_reason(per_user: Figures, reason_U: npt.NDArray[np.int8]) -> Segment:
    """The means of the users who were scored by the model, folded in, …"""
    return _rows(REASONS, reason_U.astype(np.int64), _shown(per_user), "users")


def by_item_age(items_UN: npt.NDArray[np.int32], judges: Judges, age_R: FloatArray) -> Segment:
    """The means of the test rows whose item is so many days old, `new` where nothing before the test had it (NaN)."""
    bucket_R = np.where(np.isnan(age_R), 0, np.searchsorted(AGES, age_R, side="right"))
    return _rows(AGE_NAMES, bucket_R, _of_rows(items_UN, judges), "rows")


def by_item_popularity(items_UN: npt.NDArray[np.int32], judges: Judges, owners_I: npt.NDArray[np.int64]) -> Segment:
    """The means of the test rows whose item is in the head, the middle or the tail of what users had before the test
    (`owners_I`: how many users have each item), `new` where nobody had it. Items of equal popularity stay together."""
    descending_I = np.sort(owners_I)[::-1]
    before_I = np.concatenate([[0], np.cumsum(descending_I)])  # what the items before each place have
    place_I = np.searchsorted(-descending_I, -owners_I)  # of the first that is as popular
    share_I = before_I[place_I] / max(1, before_I[-1])
    bucket_I = np.where(owners_I > 0, np.searchsorted((HEAD, TAIL), share_I, side="right"), 3)
    item_R = judges.rows["item_idx"].to_numpy()
    return _rows(POPULARITY_NAMES, np.where(item_R >= 0, bucket_I[item_R], 3), _of_rows(items_UN, judges), "rows")


def places(items_UN: npt.NDArray[np.int32], judges: Judges) -> npt.NDArray[np.int64]:
    """[R] at which place, from 0, each of the judges' rows is ranked for its user; -1 where it is not."""
    n_items = 1 + int(max(items_UN.max(initial=0), judges.relevant.items_R.max(initial=0)))
    item_R = judges.rows["item_idx"].to_numpy()
    pair_R = np.where(item_R >= 0, judges.users_R * n_items + item_R, -1)
    user_H, place_H = np.nonzero(hits(items_UN, judges.relevant))
    order_R = np.argsort(pair_R)
    row_H = order_R[np.searchsorted(pair_R, user_H * n_items + items_UN[user_H, place_H], sorter=order_R)]
    place_R = np.full(len(pair_R), -1, dtype=np.int64)
    place_R[row_H] = place_H
    return place_R


def first_times(before: Iterable[pa.Table], n_items: int) -> npt.NDArray[np.int64] | None:
    """[I] when each item's first row before the test was, in microseconds; None where a row has no timestamp.

    `before` are blocks of item_idx and timestamp, one held at a time; each item has a row in one of them."""
    first_I = np.full(n_items, np.iinfo(np.int64).max)
    for rows in before:
        if rows["timestamp"].null_count:
            return None
        np.minimum.at(first_I, rows["item_idx"].to_numpy(), rows["timestamp"].cast(pa.int64()).to_numpy())
    return first_I


def item_ages(test: pa.Table, first_I: npt.NDArray[np.int64] | None) -> FloatArray | None:
    """[R] days since the item's first row, for each row of the judges that are made of these test rows (TEST_ROWS).

    NaN for an item that nothing before the test had; 0 where its first row is later than the test row, as happens where
    each user's last row is held out. None where there are no timestamps."""
    if first_I is None or test["timestamp"].null_count:
        return None
    pairs = test.group_by(["user_id", "item_id", "item_idx"]).aggregate([("timestamp", "min")])
    pairs = pairs.sort_by([("user_id", "ascending"), ("item_id", "ascending")])  # the order of the judges' rows
    item_R, time_R = pairs["item_idx"].to_numpy(), pc.cast(pairs["timestamp_min"], pa.int64()).to_numpy()
    age_R = np.maximum(time_R - first_I[np.maximum(item_R, 0)], 0) / MICROSECONDS_A_DAY
    return np.where(item_R >= 0, age_R, np.nan)


def _of_rows(items_UN: npt.NDArray[np.int32], judges: Judges) -> Figures:
    """Of a row recall is whether its item is shown, and NDCG the gain of its place, 1 / log2(place + 1)."""
    place_R = places(items_UN[:, :PLACES], judges)
    shown_R = place_R >= 0
    gain_R = np.where(shown_R, 1 / np.log2(np.maximum(place_R, 0) + 2), 0.0)
    return {"ndcg_at_10": gain_R, "recall_at_10": shown_R.astype(np.float64)}


def _shown(per_user: Figures) -> Figures:
    return {name: per_user[name] for name in SHOWN if name in per_user}


def _rows(names: Sequence[str], bucket_N: npt.NDArray[np.int64], figures: Figures, counted: str) -> Segment:
    found: Segment = []
    for bucket in np.unique(bucket_N).tolist():
        inside_N = bucket_N == bucket
        means = {name: float(values_N[inside_N].mean()) for name, values_N in figures.items()}
        found.append({"bucket": names[bucket], counted: int(inside_N.sum()), **means})
    return found
