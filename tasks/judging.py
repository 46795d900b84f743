"""Whom and what a model is judged on: used to choose the epoch and to score the test alike.

U users who have rows to judge by, R rows, N places of the longest cutoff
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from models.base import IntArray, Query, Ragged, Recommender
from models.features import UserFeatures
from models.ranking.metrics import METRICS, all_metrics, hits
from models.serving import Served, make_lists
from tasks.features import codes_of


@dataclass(frozen=True)
class Judges:
    """Held-out rows by user, and what was known of these users before."""

    user_ids: npt.NDArray[Any]  # [U] raw, as text
    users_U: npt.NDArray[np.int64]  # -1: no row before the test
    relevant: Ragged  # [U] lists of held-out items, without those that nothing before knew
    n_relevant_U: npt.NDArray[np.int64]  # all held-out items, the unknown ones too
    known: Ragged  # [U] lists, oldest first
    seen: Ragged | None  # [U] lists to leave out of the ranking; None leaves out nothing
    rows: pa.Table  # the held-out rows themselves
    features: Mapping[str, IntArray] = field(default_factory=dict)  # by name, [U] codes

    def __len__(self) -> int:
        return len(self.user_ids)

    @property
    def users_R(self) -> npt.NDArray[np.int64]:
        """The place among these users of each of `rows`."""
        indices: npt.NDArray[np.int32] = self.rows["user_id"].combine_chunks().dictionary_encode().indices.to_numpy()
        return indices.astype(np.int64)  # rows are sorted by user, so that users are met in their order

    @property
    def query(self) -> Query:
        return Query(self.users_U, self.known, self.features)


def make_judges(
    rows: pa.Table,
    known: Ragged,
    keeps_repeats: bool,
    seen: Ragged | None = None,
    features: UserFeatures | None = None,
    strangers: pa.Table | None = None,
) -> Judges:
    """Groups held-out rows (user_id, item_id, user_idx, item_idx) by user; a pair that repeats counts once.

    `known` is what models are shown of all users, `seen` what rankings leave out where that is more. `strangers` has
    the features of users with no row before the test.
    """
    rows = rows.select(["user_id", "item_id", "user_idx", "item_idx"])
    rows = rows.group_by(rows.column_names).aggregate([]).sort_by([("user_id", "ascending"), ("item_id", "ascending")])
    encoded = rows["user_id"].combine_chunks().dictionary_encode()
    group_R = encoded.indices.to_numpy()
    first_U = np.unique(group_R, return_index=True)[1]
    users_U = rows["user_idx"].to_numpy()[first_U].astype(np.int64)
    items_R = rows["item_idx"].to_numpy()
    relevant = Ragged.from_pairs(group_R[items_R >= 0], items_R[items_R >= 0], len(users_U))
    lists = known.take(users_U)
    user_ids = encoded.dictionary.to_numpy(zero_copy_only=False)
    return Judges(
        user_ids=user_ids,
        users_U=users_U,
        relevant=relevant.as_sets(),
        n_relevant_U=np.bincount(group_R, minlength=len(users_U)),
        known=lists,
        seen=None if keeps_repeats else (known if seen is None else seen).take(users_U).as_sets(),
        rows=rows,
        features={} if features is None else codes_of(features, users_U, user_ids, strangers),
    )


def judge_lists(items_UN: npt.NDArray[np.int32], judges: Judges, cutoffs: Sequence[int]) -> dict[str, Any]:
    """Metric name to one number per user, [U], from each user's ranked items (-1 for none)."""
    return all_metrics(hits(_at_least(items_UN, max(cutoffs)), judges.relevant), judges.n_relevant_U, cutoffs)


def rank_all(
    model: Recommender, popularity_I: npt.NDArray[np.float32], judges: Judges, query: Query, k: int
) -> npt.NDArray[np.int32]:
    """[U, N] each user's best items, where every item of the catalogue competes but those masked."""
    return make_lists(Served(model, popularity_I), query, judges.seen, k).items_UK


def curve(items_UN: npt.NDArray[np.int32], judges: Judges, name: str, longest: int) -> list[float]:
    """A metric (ndcg, recall, …) at the cutoffs 1..longest, averaged: what is plotted. Empty where nobody judges."""
    if not len(judges):
        return []
    hit_UN = hits(_at_least(items_UN, longest), judges.relevant)
    return [float(np.nanmean(METRICS[name](hit_UN, judges.n_relevant_U, k))) for k in range(1, longest + 1)]


def means(per_user: dict[str, Any]) -> dict[str, float]:
    """Averages over the users who have something relevant; a metric that nobody has is left out."""
    return {name: float(np.nanmean(values_U)) for name, values_U in per_user.items() if not np.isnan(values_U).all()}


def _at_least(items_UN: npt.NDArray[np.int32], width: int) -> npt.NDArray[np.int32]:
    """Pads short lists (a small catalogue) so that every cutoff exists."""
    missing = max(0, width - items_UN.shape[1])
    return np.pad(items_UN, ((0, 0), (0, missing)), constant_values=-1)
