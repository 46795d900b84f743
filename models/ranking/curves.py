"""What a full ranking says beyond its first places: AUC for each user, and the curves behind it.

U users, R relevant items of all users in one array, P points of a curve

Of all a user's relevant items (`n_relevant_U`) some may have no rank, for the model does not know them: they are last.
A user without relevant items, or without negatives, has no AUC and no part in a curve.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from ..base import FloatArray, IntArray, Ragged
from ..compiled import compiled
from .full import FullRanking

Floats = npt.NDArray[np.float64]
ROC_POINTS = 101


@dataclass(frozen=True)
class Roc:
    """The mean over users of the share of the relevant items that are found before a share of the negatives is."""

    negatives_P: Floats
    relevant_P: Floats


@dataclass(frozen=True)
class PrecisionRecall:
    """Precision and recall at rising cutoffs, each the mean over users."""

    cutoffs_P: npt.NDArray[np.int64]
    precision_P: Floats
    recall_P: Floats


def auc(ranking: FullRanking, relevant: Ragged, n_relevant_U: IntArray) -> FloatArray:
    """[U] the chance that a relevant item scores higher than a negative, a tie counting one half; NaN without either.

    Its mean over users is the AUC of Rendle et al., UAI 2009; its mean weighted by the users' rows (`weighted`) is the
    GAUC of Zhou et al., KDD 2018."""
    above_R, equal_R, negatives_U = ranking.ranks
    users_R = relevant.users_R
    share_R = 1 - (above_R + equal_R / 2) / np.maximum(negatives_U, 1)[users_R]
    sum_U = np.bincount(users_R, share_R, minlength=len(relevant))
    auc_U = np.full(len(relevant), np.nan)
    np.divide(sum_U, n_relevant_U, out=auc_U, where=_judged(ranking, n_relevant_U))
    return auc_U


def weighted(value_U: FloatArray, weight_U: IntArray) -> FloatArray:
    """[U] numbers whose mean is the weighted mean of the values, and whose spread over users is that of the mean.

    By them a bootstrap of means gives the interval of a weighted mean: the ratio of sums is linearised (Cochran,
    Sampling Techniques, 1977, chapter 6). Raises ValueError where all weights are 0."""
    if not weight_U.any():
        raise ValueError("nobody has a weight")
    mean = np.average(value_U, weights=weight_U)
    influence_U: Floats = mean + weight_U / np.mean(weight_U) * (value_U - mean)
    return influence_U


def roc_curve(ranking: FullRanking, relevant: Ragged, n_relevant_U: IntArray) -> Roc:
    """Averaged over users at equal shares of their negatives; among ties both shares grow evenly.

    Source: vertical averaging, Fawcett, Pattern Recognition Letters 2006. NaN where nobody has a part."""
    judged_U = _judged(ranking, n_relevant_U)
    weight_U = judged_U / (np.maximum(n_relevant_U, 1) * max(1, int(judged_U.sum())))
    above_R, equal_R, negatives_U = ranking.ranks
    users_R = relevant.users_R
    relevant_P = _found(above_R, equal_R, negatives_U[users_R], weight_U[users_R], ROC_POINTS)
    relevant_P[-1] = 1.0  # with all negatives everything is found, the unknown items too
    if not judged_U.any():
        relevant_P[:] = np.nan
    return Roc(np.linspace(0, 1, ROC_POINTS), relevant_P)


def precision_recall(ranking: FullRanking, relevant: Ragged, n_relevant_U: IntArray, n_items: int) -> PrecisionRecall:
    """Precision and recall at 1, 2, 5, 10, 20, 50, … and at the whole catalogue, places as in the lists.

    Means over the users with relevant items, as of `precision_at_k` and `recall_at_k`; NaN where there are none."""
    has_U = np.greater(n_relevant_U, 0)
    weight_R = (1 / np.maximum(n_relevant_U, 1))[relevant.users_R]
    cutoffs_P = np.array(_cutoffs(n_items), dtype=np.int64)
    shown_R = ranking.place_R >= 0
    # places and cutoffs are whole: a place is within the first cutoff above it, and within all after that
    first_R = np.searchsorted(cutoffs_P, ranking.place_R[shown_R], side="right")
    hits_P = np.cumsum(np.bincount(first_R, minlength=len(cutoffs_P)))
    found_P = np.cumsum(np.bincount(first_R, weight_R[shown_R], minlength=len(cutoffs_P)))
    n_users = has_U.sum() if has_U.any() else np.nan
    return PrecisionRecall(cutoffs_P, hits_P / cutoffs_P / n_users, found_P / n_users)


def _judged(ranking: FullRanking, n_relevant_U: IntArray) -> npt.NDArray[np.bool_]:
    return np.greater(n_relevant_U, 0) & (ranking.ranks.negatives_U > 0)


def _cutoffs(n_items: int) -> list[int]:
    steps = (step * 10**power for power in range(len(str(n_items))) for step in (1, 2, 5))
    return [*(k for k in steps if k < n_items), n_items]


@compiled()
def _found(
    above_R: npt.NDArray[np.int64], equal_R: npt.NDArray[np.int64], negatives_R: npt.NDArray[np.int64],
    weight_R: Floats, n_points: int,
) -> Floats:  # fmt: skip
    """[P] the weight of what is found once 0, …, all of its user's negatives are. An item that ties is found evenly
    while the negatives of its score are."""
    found_P = np.zeros(n_points)
    for r in range(len(above_R)):
        for p in range(n_points):
            # in units of 1 / (n_points - 1) negatives, so that all is whole and exact
            passed = p * negatives_R[r] - above_R[r] * (n_points - 1)
            width = equal_R[r] * (n_points - 1)
            if passed >= width:
                found_P[p] += weight_R[r]
            elif passed > 0:
                found_P[p] += weight_R[r] * (passed / width)
    return found_P
