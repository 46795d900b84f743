"""Metrics worked out by hand, and against scikit-learn and ranx (Bassani, ECIR 2022)."""

from math import log2

import numpy as np
import pytest
from sklearn.metrics import average_precision_score, ndcg_score

from models.base import Ragged
from models.ranking.metrics import (
    METRICS,
    all_metrics,
    average_precision_at_k,
    hit_rate_at_k,
    hits,
    ndcg_at_k,
    precision_at_k,
    recall_at_k,
    reciprocal_rank_at_k,
)

HIT_UN = np.array([[False, True, True, False], [False, False, False, False], [True, False, False, True]])
N_RELEVANT_U = np.array([2, 1, 5])


def test_ndcg_by_hand() -> None:
    ideal = 1 / log2(2) + 1 / log2(3) + 1 / log2(4)
    expected = [(1 / log2(3) + 1 / log2(4)) / (1 / log2(2) + 1 / log2(3)), 0, 1 / ideal]
    assert ndcg_at_k(HIT_UN, N_RELEVANT_U, 3) == pytest.approx(expected)


def test_the_others_by_hand() -> None:
    assert recall_at_k(HIT_UN, N_RELEVANT_U, 4) == pytest.approx([1, 0, 2 / 5])
    assert precision_at_k(HIT_UN, N_RELEVANT_U, 4) == pytest.approx([2 / 4, 0, 2 / 4])
    assert hit_rate_at_k(HIT_UN, N_RELEVANT_U, 1) == pytest.approx([0, 0, 1])
    assert average_precision_at_k(HIT_UN, N_RELEVANT_U, 4) == pytest.approx([(1 / 2 + 2 / 3) / 2, 0, (1 + 2 / 4) / 4])
    assert reciprocal_rank_at_k(HIT_UN, N_RELEVANT_U, 4) == pytest.approx([1 / 2, 0, 1])


def test_a_user_without_relevant_items_is_nan_and_a_long_cutoff_an_error() -> None:
    for values_U in all_metrics(np.zeros((1, 3), dtype=bool), np.array([0]), [2, 3]).values():
        assert np.isnan(values_U).all()
    with pytest.raises(ValueError, match="3 places"):
        ndcg_at_k(np.zeros((1, 3), dtype=bool), np.array([1]), 4)


def test_hits_never_count_empty_places() -> None:
    relevant = Ragged(np.array([0, 2, 4]), np.array([3, 7, -1, 2], dtype=np.int32))
    assert hits(np.array([[7, 2, -1], [2, 7, -1]]), relevant).tolist() == [[True, False, False], [True, False, False]]


def test_names() -> None:
    values = all_metrics(HIT_UN, N_RELEVANT_U, [1, 3])
    assert set(values) == {f"{name}_at_{k}" for name in METRICS for k in (1, 3)}


def random_rankings() -> tuple[np.ndarray, Ragged]:
    """30 users, 12 of 40 items ranked for each, at most 10 relevant ones."""
    rng = np.random.default_rng(0)
    items_UK = np.array([rng.permutation(40)[:12] for _ in range(30)])
    relevant = Ragged.from_pairs(rng.integers(29, size=150), rng.integers(40, size=150), 30).as_sets()
    assert relevant.lengths_U.max() <= 10  # beyond that, ranx divides average precision by another number
    assert relevant.lengths_U.min() == 0
    return items_UK, relevant


def test_agrees_with_a_slow_oracle() -> None:
    items_UK, relevant = random_rankings()
    for k in (1, 5, 10):
        ours = all_metrics(hits(items_UK, relevant), relevant.lengths_U, [k])
        for user in range(len(items_UK)):
            likes = set(relevant.row(user).tolist())
            if not likes:
                continue
            places = [place for place, item in enumerate(items_UK[user][:k].tolist(), start=1) if item in likes]
            ideal = sum(1 / log2(place + 1) for place in range(1, min(k, len(likes)) + 1))
            expected = {
                "ndcg": sum(1 / log2(place + 1) for place in places) / ideal,
                "recall": len(places) / len(likes),
                "hit": float(len(places) > 0),
                "precision": len(places) / k,
                "map": sum(n / place for n, place in enumerate(places, start=1)) / min(k, len(likes)),
                "mrr": 1 / places[0] if places else 0.0,
            }
            assert {name: ours[f"{name}_at_{k}"][user] for name in METRICS} == pytest.approx(expected)


def test_agrees_with_scikit_learn() -> None:
    rng = np.random.default_rng(0)
    score_UI, is_relevant_UI = rng.normal(size=(40, 30)), rng.random((40, 30)) < 0.2
    is_relevant_UI[:, 0] = True
    items_UN = np.argsort(-score_UI, axis=1)
    hit_UN = np.take_along_axis(is_relevant_UI, items_UN, axis=1)
    ours = all_metrics(hit_UN, is_relevant_UI.sum(axis=1), [5, 10, 30])
    for k in (5, 10, 30):
        assert ours[f"ndcg_at_{k}"].mean() == pytest.approx(ndcg_score(is_relevant_UI, score_UI, k=k)), k
    theirs = [average_precision_score(*user) for user in zip(is_relevant_UI, score_UI, strict=True)]
    assert ours["map_at_30"] == pytest.approx(theirs)


@pytest.mark.slow
def test_agrees_with_ranx() -> None:
    ranx = pytest.importorskip("ranx")
    items_UK, relevant = random_rankings()
    judged = np.flatnonzero(relevant.lengths_U)
    # ranx orders users by name: two digits keep them in ours.
    truth = ranx.Qrels({f"u{user:02}": {f"i{item}": 1 for item in relevant.row(int(user))} for user in judged})
    places = np.arange(12, 0, -1)
    run = ranx.Run(
        {
            f"u{user:02}": {f"i{item}": float(place) for item, place in zip(items_UK[user], places, strict=True)}
            for user in judged
        }
    )
    ours = all_metrics(hits(items_UK, relevant), relevant.lengths_U, [10])
    for name in METRICS:
        their_name = {"hit": "hit_rate"}.get(name, name)
        theirs_U = ranx.evaluate(truth, run, f"{their_name}@10", return_mean=False)
        assert ours[f"{name}_at_10"][judged] == pytest.approx(theirs_U), name
