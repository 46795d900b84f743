"""Lists for users: the model's where it can tell what the user likes, else what is popular, among their like or at all.

U users, B of them, K places, I items
"""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import IntEnum

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from .base import BoolArray, IntArray, Query, Ragged, Recommender
from .ranking.top_k import recommend
from .segments import Segments


class Reason(IntEnum):
    """Why a user is shown a list. A user with an index is always the model's, also where none of the user's rows were
    fitted: the model was told of this user, and what it makes of that is its own affair."""

    MODEL = 0
    """The model knows the user."""
    FOLD_IN = 1
    """It does not, and scores by the user's history."""
    FEATURES = 2
    """It does not, and scores by the user's features."""
    SEGMENT = 3
    """Popularity among the users who share the user's features."""
    FALLBACK = 4
    """Popularity: nothing is known of the user."""


REASONS = ("model", "fold-in", "features", "segment", "fallback")
"""The reasons as they are written, by their codes."""


@dataclass(frozen=True)
class Lists:
    """Each user's best items, best first."""

    items_UK: npt.NDArray[np.int32]
    """Item indices; -1 where fewer than K items were left for the user."""
    score_UK: npt.NDArray[np.float32]
    """Comparable within one user's list only."""
    reason_U: npt.NDArray[np.int8]
    """A code of Reason for each user."""


@dataclass(frozen=True)
class Served:
    """A model and what stands in for it, as one thing that scores every user."""

    model: Recommender
    popularity_I: npt.NDArray[np.float32]
    segments: Segments | None = None
    """None: nobody is told by features."""

    def reasons(self, query: Query) -> npt.NDArray[np.int8]:
        """[U] how each user of the query is scored, as codes of Reason."""
        had_U = query.histories.lengths_U > 0
        segments = self.segments.names if self.segments else ()
        last_U = np.where(_any_known(query.features, segments, len(query)), Reason.SEGMENT, Reason.FALLBACK)
        by_features_U = _any_known(query.features, self.model.features_used, len(query))
        stranger_U = np.where(by_features_U, Reason.FEATURES, last_U)
        if self.model.folds_in:
            stranger_U = np.where(had_U, Reason.FOLD_IN, stranger_U)
        return np.where(query.users_U >= 0, Reason.MODEL, stranger_U).astype(np.int8)

    def score(self, query: Query) -> Tensor:
        """[U, I] float32, higher is better within a user."""
        reason_U = self.reasons(query)
        kinds = (reason_U <= Reason.FEATURES, reason_U == Reason.SEGMENT, reason_U == Reason.FALLBACK)
        if kinds[0].all():
            return self.model.score(query)
        score_UI = np.empty((len(query), len(self.popularity_I)), dtype=np.float32)
        for kind, in_kind_U in enumerate(kinds):
            rows_B = np.flatnonzero(in_kind_U)
            if len(rows_B):
                score_UI[rows_B] = self._score(kind, query.take(rows_B))
        return torch.from_numpy(score_UI)

    def _score(self, kind: int, query: Query) -> npt.NDArray[np.float32]:
        if kind == 0:
            return self.model.score(query).detach().cpu().numpy()
        if kind == 1 and self.segments:
            return self.segments.score(query.features)
        return self.popularity_I


def popularity(fitted: Ragged, n_items: int) -> npt.NDArray[np.float32]:
    """[I] rows of each item among the fitted ones: the fallback's score."""
    return np.bincount(fitted.items_R, minlength=n_items).astype(np.float32)


def make_lists(served: Served, query: Query, seen: Ragged | None, k: int) -> Lists:
    """Ranks all items for every user of the query and leaves out what each has `seen` (lists in the query's order)."""
    items_UK, score_UK = recommend(served, query, seen, min(k, len(served.popularity_I)))
    return Lists(items_UK, score_UK, served.reasons(query))


def _any_known(features: Mapping[str, IntArray], names: tuple[str, ...], n_users: int) -> BoolArray:
    """[U] whether one of these features is known of the user."""
    known_U = np.zeros(n_users, dtype=np.bool_)
    for name in names:
        if name in features:
            known_U |= np.asarray(features[name]) != 0
    return known_U
