"""Scores of different models, made comparable and added up.

U users in the query, I items
"""

import numpy as np
import numpy.typing as npt
from numba import prange

from ..base import Query, Recommender
from ..compiled import compiled

Floats = npt.NDArray[np.float32]


def scored(member: Recommender, query: Query) -> Floats:
    """[U, I] the member's scores, standardised."""
    score_UI = member.score(query).detach().cpu().numpy()
    return standardised(np.ascontiguousarray(score_UI, dtype=np.float32))


@compiled(parallel=True)
def standardised(score_UI: Floats) -> Floats:
    """[U, I] each row less its mean, over its standard deviation; a row that is the same throughout becomes zeros."""
    n_users, n_items = score_UI.shape
    made_UI = np.empty_like(score_UI)
    for user in prange(n_users):
        score_I, made_I = score_UI[user], made_UI[user]
        # Distances from the first item: of equal scores they are exactly zero.
        first, total = np.float64(score_I[0]), 0.0
        for item in range(n_items):
            total += np.float64(score_I[item]) - first
        mean, square = total / n_items, 0.0
        for item in range(n_items):
            square += (np.float64(score_I[item]) - first - mean) ** 2
        scale = 1 / np.sqrt(square / n_items) if square != 0 else 0.0  # NaN stays NaN
        for item in range(n_items):
            made_I[item] = np.float32((np.float64(score_I[item]) - first - mean) * scale)
    return made_UI


@compiled(parallel=True)
def add(total_UI: Floats, score_UI: Floats, weight: np.float32) -> None:
    """In place: the total plus weight times the scores."""
    for user in prange(len(total_UI)):
        total_I, score_I = total_UI[user], score_UI[user]
        for item in range(len(total_I)):
            total_I[item] += weight * score_I[item]
