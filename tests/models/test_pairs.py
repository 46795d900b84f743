"""Batches: every row once, with negatives of the asked kind, their likelihoods, masks and weights.

R rows, B rows in a batch, C candidates
"""

from dataclasses import astuple
from typing import Any

import numpy as np
import pytest
import torch
from scipy.stats import chisquare

from models.base import Ragged, TrainingData
from models.fitting.config import SamplingConfig
from models.fitting.opponents import PairBatch, mask_seen
from models.fitting.pairs import Pairs, row_weights
from tests.factories import random_log

DATA = random_log(40, 30, 605, seed=3)
KNOWN = {(user, item) for user in range(40) for item in DATA.histories.row(user).tolist()}


def first_batch(size: int = 50, data: TrainingData = DATA, corrected: bool = False, **sampling: object) -> PairBatch:
    return next(Pairs(data, SamplingConfig.model_validate(sampling), corrected).batches(size, seed=0, epoch=1))


def test_every_row_comes_once_an_epoch_in_an_order_of_its_own() -> None:
    pairs = Pairs(DATA, SamplingConfig(distribution="uniform", negatives=1))
    batches = list(pairs.batches(50, seed=0, epoch=1))
    assert [len(batch) for batch in batches] == [50] * 12 + [5]
    rows = [row for batch in batches for row in zip(batch.users_B.tolist(), batch.positives_B.tolist(), strict=True)]
    assert sorted(rows) == sorted(zip(DATA.histories.users_R.tolist(), DATA.histories.items_R.tolist(), strict=True))
    again = next(pairs.batches(50, seed=0, epoch=1))
    assert all(torch.equal(one, other) for one, other in zip(astuple(again), astuple(batches[0]), strict=True))
    for later in (next(pairs.batches(50, seed=0, epoch=2)), next(pairs.batches(50, seed=1, epoch=1))):
        assert not torch.equal(later.users_B, again.users_B)


def test_negatives_are_others_in_each_epoch_and_with_each_seed() -> None:
    data = TrainingData(1_000, Ragged.from_pairs(np.array([0]), np.array([0]), 1))
    pairs = Pairs(data, SamplingConfig(distribution="uniform", negatives=9))
    batches = [next(pairs.batches(1, seed, epoch)) for seed, epoch in ((0, 1), (0, 2), (1, 1))]
    assert len({tuple(batch.negatives.flatten().tolist()) for batch in batches}) == 3


@pytest.mark.parametrize("distribution", ["uniform", "popularity"])
def test_own_negatives_are_unseen_by_the_rows_own_user(distribution: str) -> None:
    batch = first_batch(distribution=distribution, negatives=3, exponent=1.0)
    assert batch.negatives.shape == (50, 3)
    for user, items in zip(batch.users_B.tolist(), batch.negatives.tolist(), strict=True):
        assert not any((user, item) in KNOWN for item in items)
    assert batch.log_q.numel() == 0
    assert batch.masked_BC.numel() == 0


def test_draws_that_compete_are_unseen_too() -> None:
    batch = first_batch(distribution="uniform", negatives=2, hardest_of=4)
    assert batch.negatives.shape == (50, 2, 4)
    for user, items in zip(batch.users_B.tolist(), batch.negatives.flatten(1).tolist(), strict=True):
        assert not any((user, item) in KNOWN for item in items)


def test_a_user_who_saw_everything_is_left_out() -> None:
    histories = Ragged.from_pairs(np.array([0, 0, 1]), np.array([0, 1, 1]), 2)
    data = TrainingData(2, histories, weights_R=np.array([5.0, 1.0, 3.0]))
    batch = first_batch(8, data, distribution="uniform", negatives=1)
    assert (batch.users_B.tolist(), batch.positives_B.tolist(), batch.negatives.tolist()) == ([1], [1], [[0]])
    assert batch.weight_B.tolist() == [1]
    assert first_batch(8, data, distribution="uniform", negatives=1, weights="user").weight_B.tolist() == [1.5]


@pytest.mark.parametrize("shared", [False, True])
def test_negatives_by_popularity_come_as_often_as_in_the_rows(shared: bool) -> None:
    # item 0 is in 100 rows, the others in one or none: half of all draws are item 0
    histories = Ragged.from_pairs(np.arange(101), np.append(np.zeros(100, dtype=np.int64), 1), 101)
    batch = first_batch(
        101, TrainingData(100, histories), distribution="popularity", exponent=1.0, negatives=400, shared=shared
    )
    drawn = batch.negatives if shared else batch.negatives[batch.users_B == 100]
    assert 0.4 < (drawn == 0).float().mean() < 0.6


def test_by_popularity_to_the_power_of_0_all_are_as_likely() -> None:
    batch = first_batch(distribution="popularity", exponent=0.0, negatives=4, corrected=True)
    np.testing.assert_allclose(batch.log_q.exp(), 1 / 30, rtol=1e-5)


def test_the_batchs_items_follow_the_frequency_that_corrects_them() -> None:
    skewed_R = np.where(DATA.histories.items_R < 20, DATA.histories.items_R // 5, DATA.histories.items_R)
    data = TrainingData(30, Ragged(DATA.histories.offsets_U1, skewed_R.astype(np.int32)))
    pairs = Pairs(data, SamplingConfig(distribution="in_batch"), corrected=True)
    batches = [next(pairs.batches(2, 0, epoch)) for epoch in range(4_000)]
    second_B = np.array([batch.positives_B[1].item() for batch in batches])
    share_I = np.bincount(skewed_R, minlength=30) / len(skewed_R)
    there = share_I > 0
    assert chisquare(np.bincount(second_B, minlength=30)[there], share_I[there] * 4_000).pvalue > 0.001
    for batch in batches[:20]:
        np.testing.assert_allclose(batch.log_q.exp(), share_I[batch.positives_B], rtol=1e-5)


@pytest.mark.parametrize("shared", [False, True])
def test_each_candidate_is_told_how_likely_it_was(shared: bool) -> None:
    batch = first_batch(
        distribution="popularity", negatives=4, exponent=0.5, shared=shared, corrected=True, hardest_of=1
    )
    weight_I = np.maximum(np.bincount(DATA.histories.items_R, minlength=30), 1) ** 0.5
    own_B = batch.positives_B.numpy()
    expected = np.concatenate([own_B if shared else own_B[:, None], batch.negatives.numpy()], axis=-1)
    np.testing.assert_allclose(batch.log_q.exp(), (weight_I / weight_I.sum())[expected], rtol=1e-5)


@pytest.mark.parametrize("sampling", [{"distribution": "in_batch"}, {"shared": True, "negatives": 12}])
def test_what_a_user_has_seen_is_masked_among_the_candidates(sampling: dict[str, Any]) -> None:
    batch = first_batch(**sampling)
    candidates = batch.negatives if len(batch.negatives) else batch.positives_B
    for row, user in enumerate(batch.users_B.tolist()):
        assert batch.masked_BC[row].tolist() == [(user, item) in KNOWN for item in candidates.tolist()]
    assert batch.masked_BC.any()
    assert not batch.masked_BC.all()


def test_a_candidate_that_is_there_twice_is_masked_twice() -> None:
    sets = Ragged.from_pairs(np.array([0, 0, 1]), np.array([1, 3, 2]), 2)
    masked_BC = mask_seen(np.array([1, 0, 0]), sets, np.array([3, 2, 3, 0]), 4)
    assert masked_BC.astype(int).tolist() == [[0, 1, 0, 0], [1, 0, 1, 0], [1, 0, 1, 0]]


def test_weights_by_hand() -> None:
    # user 0 has items 0, 1, 2; user 1 has item 0
    histories = Ragged.from_pairs(np.array([0, 0, 0, 1]), np.array([0, 1, 2, 0]), 2)
    data = TrainingData(3, histories)
    assert row_weights(data, "equal").tolist() == [1, 1, 1, 1]
    assert row_weights(data, "user").tolist() == pytest.approx([2 / 3, 2 / 3, 2 / 3, 2])
    assert row_weights(data, "item").tolist() == pytest.approx([2 / 3, 4 / 3, 4 / 3, 2 / 3])
    own = TrainingData(3, histories, weights_R=np.array([3.0, 1.0, 1.0, 3.0]))
    assert row_weights(own, "equal").tolist() == pytest.approx([1.5, 0.5, 0.5, 1.5])
    assert row_weights(own, "user").tolist() == pytest.approx(np.array([1, 1 / 3, 1 / 3, 3]) / (14 / 12))


def test_weights_of_other_rows_are_refused() -> None:
    with pytest.raises(ValueError, match="4 weights beside 605 rows"):
        row_weights(TrainingData(30, DATA.histories, weights_R=np.ones(4)), "equal")


def test_a_weight_goes_with_its_row() -> None:
    users_R, items_R = DATA.histories.users_R, DATA.histories.items_R
    data = TrainingData(30, DATA.histories, weights_R=(1 + users_R * 100.0 + items_R).astype(np.float64))
    scale = float(np.mean(1 + users_R * 100.0 + items_R))
    batch = first_batch(data=data, distribution="uniform", negatives=1)
    np.testing.assert_allclose(batch.weight_B * scale, 1 + batch.users_B * 100.0 + batch.positives_B, rtol=1e-5)
