"""AUC and its curves worked out by hand, and against scikit-learn."""

import numpy as np
import pytest
import torch
from sklearn.metrics import precision_recall_curve, roc_auc_score
from sklearn.metrics import roc_curve as sklearn_roc
from torch import Tensor

from models.base import Query, Ragged
from models.ranking.bootstrap import bootstrap_mean
from models.ranking.curves import auc, precision_recall, roc_curve, weighted
from models.ranking.full import FullRanking, rank_fully
from models.ranking.metrics import hits, precision_at_k, recall_at_k

# U users, I items, R relevant items of all users
N_USERS, N_ITEMS, N_SEEN, N_RELEVANT = 25, 60, 6, 4  # leaves 50 negatives: every second point of a ROC is one of them


class Given:
    def __init__(self, score_UI: np.ndarray) -> None:
        self.score_UI = torch.from_numpy(np.asarray(score_UI, dtype=np.float32))

    def score(self, query: Query) -> Tensor:
        return self.score_UI[query.users_U]


def ranking_of(score_UI: np.ndarray, seen: Ragged | None, relevant: Ragged, k: int = 1) -> FullRanking:
    return rank_fully(Given(score_UI), Query(np.arange(len(score_UI)), seen or relevant), seen, relevant, k)


def ragged(*rows: list[int]) -> Ragged:
    offsets_U1 = np.cumsum([0, *map(len, rows)]).astype(np.int64)
    return Ragged(offsets_U1, np.array([item for row in rows for item in row], dtype=np.int32))


def world(ties: bool) -> tuple[np.ndarray, Ragged, Ragged]:
    """Scores, seen and relevant items of each user, disjoint."""
    rng = np.random.default_rng(0)
    items_UI = np.array([rng.permutation(N_ITEMS) for _ in range(N_USERS)])
    score_UI = rng.integers(0, 8, (N_USERS, N_ITEMS)) if ties else rng.normal(size=(N_USERS, N_ITEMS))
    seen = ragged(*(sorted(row[:N_SEEN].tolist()) for row in items_UI))
    return score_UI, seen, ragged(*(sorted(row[N_SEEN : N_SEEN + N_RELEVANT].tolist()) for row in items_UI))


def as_sklearn(score_UI: np.ndarray, seen: Ragged, relevant: Ragged, user: int) -> tuple[np.ndarray, np.ndarray]:
    """Truth and score of the items that the user has not seen."""
    unseen = np.setdiff1d(np.arange(N_ITEMS), seen.row(user))
    return np.isin(unseen, relevant.row(user)), score_UI[user, unseen]


# A: of four negatives 5, 4, 4, 1 the relevant scores 9 and 4 are above 4 and above 1 + half of 2.
# B: has a relevant item that is masked, and one of two that the model does not know.
# C: has none that is relevant. D: has no negatives.
SCORE_UI = np.array([[9, 5, 4, 4, 4, 1], [3, 2, 1, 1, 1, 1], [1, 2, 3, 4, 5, 6], [6, 5, 4, 3, 2, 1]])
BY_HAND = ranking_of(SCORE_UI, ragged([], [0], [], [2, 3, 4, 5]), RELEVANT := ragged([0, 3], [0, 1], [], [0, 1]), 2)
N_RELEVANT_U = np.array([2, 3, 0, 2])


def test_auc_by_hand() -> None:
    found = auc(BY_HAND, RELEVANT, N_RELEVANT_U)
    # B: item 1 is above all, the masked and the unknown one below all negatives
    assert found[:2] == pytest.approx([(1 + 2 / 4) / 2, 1 / 3])
    assert np.isnan(found[2:]).all()


def test_roc_by_hand() -> None:
    made = roc_curve(BY_HAND, RELEVANT, N_RELEVANT_U)
    # A: 9 at once; 4 begins after one negative of four, and is found evenly until the third. B: one of three at once,
    # the others when all negatives are through.
    a = [0.5, 0.5, 0.75, 1, 1]
    b = [1 / 3, 1 / 3, 1 / 3, 1 / 3, 1]
    assert made.negatives_P[[0, 25, 50, 75, 100]] == pytest.approx([0, 0.25, 0.5, 0.75, 1])
    assert made.relevant_P[[0, 25, 50, 75, 100]] == pytest.approx((np.array(a) + b) / 2)
    assert made.relevant_P[[30, 74, 99]] == pytest.approx(
        [(0.5 + 0.05 + 1 / 3) / 2, (0.99 + 1 / 3) / 2, (1 + 1 / 3) / 2]
    )


def test_precision_and_recall_by_hand() -> None:
    made = precision_recall(BY_HAND, RELEVANT, N_RELEVANT_U, 6)
    assert made.cutoffs_P.tolist() == [1, 2, 5, 6]
    # A: places 1 and 4 (of the three 4s, item 3 is the second). B: place 1 of those left, of three. D: 1 and 2.
    assert made.recall_P == pytest.approx([np.mean([1 / 2, 1 / 3, 1 / 2]), np.mean([1 / 2, 1 / 3, 1]),
                                           np.mean([1, 1 / 3, 1]), np.mean([1, 1 / 3, 1])])  # fmt: skip
    assert made.precision_P == pytest.approx([1, np.mean([1 / 2, 1 / 2, 1]), 5 / 15, 5 / 18])


@pytest.mark.parametrize("ties", [False, True])
def test_auc_is_that_of_scikit_learn(ties: bool) -> None:
    score_UI, seen, relevant = world(ties)
    found_U = auc(ranking_of(score_UI, seen, relevant), relevant, relevant.lengths_U)
    expected_U = [roc_auc_score(*as_sklearn(score_UI, seen, relevant, user)) for user in range(N_USERS)]
    assert found_U == pytest.approx(np.array(expected_U))


@pytest.mark.parametrize("ties", [False, True])
def test_roc_is_the_mean_of_those_of_scikit_learn(ties: bool) -> None:
    score_UI, seen, relevant = world(ties)
    made = roc_curve(ranking_of(score_UI, seen, relevant), relevant, relevant.lengths_U)
    expected_P = np.zeros(51)
    for user in range(N_USERS):
        negatives, found, _ = sklearn_roc(*as_sklearn(score_UI, seen, relevant, user), drop_intermediate=False)
        for p, share in enumerate(np.arange(51) / 50):
            at = np.searchsorted(negatives, share + 1e-9) - 1  # the last point that is not beyond
            rest = (share - negatives[at]) / (negatives[at + 1] - negatives[at]) if at + 1 < len(negatives) else 0
            expected_P[p] += found[at] + (rest * (found[at + 1] - found[at]) if rest > 1e-6 else 0)
    assert made.relevant_P[::2] == pytest.approx(expected_P / N_USERS)


def test_precision_and_recall_are_those_of_scikit_learn_and_of_the_lists() -> None:
    score_UI, seen, relevant = world(ties=False)
    ranking = ranking_of(score_UI, seen, relevant, 20)
    made = precision_recall(ranking, relevant, relevant.lengths_U, N_ITEMS)
    curves = [precision_recall_curve(*as_sklearn(score_UI, seen, relevant, user)) for user in range(N_USERS)]
    n_unseen = N_ITEMS - N_SEEN
    for cutoff, *ours in zip(made.cutoffs_P[:-1], made.precision_P, made.recall_P, strict=False):
        # points are by rising threshold, and the last is a convention
        theirs = [np.mean([curve[which][n_unseen - cutoff] for curve in curves]) for which in (0, 1)]
        assert ours == pytest.approx(theirs)
    assert (made.cutoffs_P[-1], made.recall_P[-1]) == (N_ITEMS, pytest.approx(1))
    hit_UN = hits(ranking.items_UK, relevant)
    for at, cutoff in enumerate(made.cutoffs_P[:5].tolist()):
        assert made.precision_P[at] == pytest.approx(precision_at_k(hit_UN, relevant.lengths_U, cutoff).mean())
        assert made.recall_P[at] == pytest.approx(recall_at_k(hit_UN, relevant.lengths_U, cutoff).mean())


def test_ties_are_resolved_as_in_the_lists() -> None:
    score_UI, seen, relevant = world(ties=True)
    ranking = ranking_of(score_UI, seen, relevant, 50)
    made = precision_recall(ranking, relevant, relevant.lengths_U, N_ITEMS)
    hit_UN = hits(ranking.items_UK, relevant)
    expected = [recall_at_k(hit_UN, relevant.lengths_U, k).mean() for k in (1, 2, 5, 10, 20, 50)]
    assert made.recall_P[:6] == pytest.approx(expected)


def test_where_nobody_judges_there_are_no_numbers() -> None:
    nobody = ranking_of(SCORE_UI, None, ragged([], [], [], []))
    zero_U = np.zeros(4, dtype=np.int64)
    assert np.isnan(auc(nobody, ragged([], [], [], []), zero_U)).all()
    assert np.isnan(roc_curve(nobody, ragged([], [], [], []), zero_U).relevant_P).all()
    assert np.isnan(precision_recall(nobody, ragged([], [], [], []), zero_U, 6).recall_P).all()


def test_a_weighted_mean_and_its_interval() -> None:
    value_U, weight_U = np.array([0.2, 0.6, 0.9]), np.array([1, 2, 5])
    assert weighted(value_U, weight_U).mean() == pytest.approx((0.2 + 2 * 0.6 + 5 * 0.9) / 8)
    assert weighted(value_U, np.array([7, 7, 7])) == pytest.approx(value_U)
    with pytest.raises(ValueError, match="weight"):
        weighted(value_U, np.array([0, 0, 0]))
    rng = np.random.default_rng(0)
    weight_U = rng.geometric(0.1, size=2000)
    value_U = np.clip(rng.normal(0.5 + 0.01 * weight_U, 0.2), 0, 1)  # who has more rows is told better
    rows_SU = rng.integers(2000, size=(1000, 2000))
    means_S = (value_U * weight_U)[rows_SU].sum(axis=1) / weight_U[rows_SU].sum(axis=1)
    interval = bootstrap_mean(weighted(value_U, weight_U), seed=0)
    assert (interval.low, interval.high) == pytest.approx(np.quantile(means_S, [0.025, 0.975]), abs=0.002)
    assert interval.high - interval.low > 0.015  # so that the tolerance is no larger than what it is to tell
