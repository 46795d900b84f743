"""Batches of windows: every row once, with its own history, features, weight and negatives."""

from collections import Counter
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

from models.base import Feature, FitSession, Ragged, TrainingData, Windows
from models.fitting.config import SamplingConfig
from models.fitting.history import POOL, HistoryModelConfig, by_length
from models.fitting.samplers import stream
from models.fitting.window_pairs import WindowBatch, WindowPairs
from tests.factories import random_log

LENGTH, N_ITEMS = 6, 40
TOWN = Feature(np.arange(30, dtype=np.int32)[::-1] + 1, 40)


def windowed(data: TrainingData, loss: str = "softmax", **sampling: Any) -> WindowPairs:
    config = HistoryModelConfig.model_validate({"name": "any", "loss": loss, "history_length": LENGTH})
    return WindowPairs(data, config, FitSession(sampling=SamplingConfig.model_validate(sampling)))


def log() -> TrainingData:
    """Each row weighs what no other does, so that it can be told by its weight; user 3 has seen every item."""
    data = random_log(30, N_ITEMS, 400, seed=2)
    users_R = np.concatenate([data.histories.users_R, np.full(N_ITEMS, 3)])
    items_R = np.concatenate([data.histories.items_R, np.arange(N_ITEMS)])
    histories = Ragged.from_pairs(users_R, items_R, 30)
    weights_R = np.arange(1, len(items_R) + 1).astype(np.float64)
    return TrainingData(N_ITEMS, histories, {"town": TOWN}, weights_R=weights_R / weights_R.mean())


def rows_of(batch: WindowBatch, data: TrainingData) -> np.ndarray:
    """Which row of the data each row of the batch is, by its weight."""
    assert data.weights_R is not None
    rows_B: np.ndarray = np.rint(batch.pairs.weight_B.numpy() / data.weights_R[0]).astype(int) - 1
    return rows_B


@pytest.mark.parametrize("batch_size", [7, 64, 10_000])
def test_every_row_is_there_once_with_what_came_before_it(batch_size: int) -> None:
    data = log()
    met: Counter[int] = Counter()
    for batch in windowed(data).batches(batch_size, 0, 1):
        longest = 0
        for b, row in enumerate(rows_of(batch, data).tolist()):
            user = int(data.histories.users_R[row])
            first = int(data.histories.offsets_U1[user])
            shown = data.histories.items_R[max(first, row - LENGTH) : row].tolist()
            width = batch.history_BL.shape[1]
            assert batch.history_BL[b].tolist() == [N_ITEMS] * (width - len(shown)) + shown
            assert batch.pairs.users_B[b] == user
            assert batch.pairs.positives_B[b] == data.histories.items_R[row]
            assert batch.features["town"][b] == 30 - user
            longest = max(longest, len(shown))
            met[row] += 1
        assert batch.history_BL.shape[1] == max(1, longest)  # no wider than its longest
    unusable = set(np.flatnonzero(data.histories.users_R == 3).tolist())
    assert len(unusable) >= N_ITEMS
    assert set(met) == set(range(data.n_rows)) - unusable
    assert set(met.values()) == {1}
    assert len(windowed(data)) == len(met)


def test_epochs_differ_in_order_and_negatives_and_repeat() -> None:
    data = log()
    pairs = windowed(data, "bpr", distribution="uniform", negatives=2)

    def epoch(number: int, seed: int = 0) -> tuple[list[int], list[int]]:
        batches = list(pairs.batches(16, seed, number))
        order = [row for batch in batches for row in rows_of(batch, data).tolist()]
        return order, [item for batch in batches for item in batch.pairs.negatives.flatten().tolist()]

    assert epoch(1) == epoch(1)
    for other in (epoch(2), epoch(1, seed=1)):
        assert epoch(1)[0] != other[0]
        assert epoch(1)[1] != other[1]


def test_negatives_are_unseen_and_stored_ones_are_taken_as_they_are() -> None:
    data = log()
    fresh = next(windowed(data, "bpr", distribution="uniform", negatives=3).batches(32, 0, 1)).pairs
    for user, negatives in zip(fresh.users_B.tolist(), fresh.negatives.tolist(), strict=True):
        assert not set(negatives) & set(data.histories.row(user).tolist())
    codes_U = {"town": TOWN.codes_N}
    kept_WN = np.arange(2 * data.n_rows, dtype=np.int32).reshape(-1, 2) % N_ITEMS
    kept = replace(data, windows=replace(Windows.of(data.histories, LENGTH, codes_U), negatives_WN=kept_WN))
    stored = windowed(kept, "bpr", distribution="uniform", negatives=2, stored=True)
    for number in (1, 2):
        for batch in stored.batches(32, 0, number):
            assert batch.pairs.negatives.tolist() == kept_WN[rows_of(batch, data)].tolist()


@pytest.mark.parametrize("distribution", ["popularity", "log_uniform"])
def test_stored_negatives_are_told_how_likely_they_were(distribution: str) -> None:
    data = log()
    kept_WN = np.tile(np.array([[3, 5]], dtype=np.int32), (data.n_rows, 1))
    kept = replace(data, windows=replace(Windows.of(data.histories, LENGTH), negatives_WN=kept_WN))
    exponent = 1.0 if distribution == "popularity" else None
    asked = {"distribution": distribution, "exponent": exponent, "negatives": 2, "stored": True}
    batch = next(windowed(kept, "sampled_softmax", **asked).batches(32, 0, 1)).pairs
    count_I = np.maximum(np.bincount(data.histories.items_R, minlength=N_ITEMS), 1)
    rank_I = np.argsort(np.argsort(-count_I, kind="stable"))
    weight_I = count_I if distribution == "popularity" else np.log((rank_I + 2) / (rank_I + 1))
    items = torch.cat([batch.positives_B[:, None], batch.negatives], dim=1).numpy()
    np.testing.assert_allclose(batch.log_q.exp(), (weight_I / weight_I.sum())[items], rtol=1e-5)


def test_windows_of_other_data_are_refused() -> None:
    data = log()
    other = Windows.of(random_log(30, N_ITEMS, 50, seed=0).histories, LENGTH)
    with pytest.raises(ValueError, match="50 windows beside 440 rows"):
        windowed(replace(data, windows=other))
    moved = Windows.of(Ragged(data.histories.offsets_U1, data.histories.items_R[::-1].copy()), LENGTH)
    with pytest.raises(ValueError, match="of other data"):
        windowed(replace(data, windows=moved))
    with pytest.raises(ValueError, match="hold no negatives"):
        windowed(data, "bpr", distribution="uniform", negatives=2, stored=True)


# entries of similar length


@pytest.mark.parametrize("n", [0, 1, 5, 1000])
@pytest.mark.parametrize("batch_size", [1, 4, 300])
def test_every_entry_is_in_one_batch(n: int, batch_size: int) -> None:
    lengths_N = stream(0, "lengths").integers(1, 60, size=n)
    for costs_N in (np.ones_like(lengths_N), lengths_N):
        batches = by_length(lengths_N, costs_N, batch_size, stream(1, "order"))
        assert sorted(np.concatenate([*batches, np.empty(0, dtype=np.int64)]).tolist()) == list(range(n))
        assert all(len(batch) for batch in batches)
        most = int(costs_N.max(initial=0))
        for batch in batches:
            assert costs_N[batch].sum() < batch_size + most


def test_batches_of_single_rows_are_full_but_for_one() -> None:
    lengths_N = stream(0, "lengths").integers(1, 60, size=1003)
    sizes = Counter(map(len, by_length(lengths_N, np.ones_like(lengths_N), 10, stream(1, "order"))))
    assert sizes == {10: 100, 3: 1}


def test_costs_come_to_the_batch_size_on_average() -> None:
    lengths_N = stream(0, "lengths").integers(1, 60, size=4000)
    batches = by_length(lengths_N, lengths_N, 600, stream(1, "order"))
    spent = sorted(int(lengths_N[batch].sum()) for batch in batches)
    assert abs(np.mean(spent) / 600 - 1) < 0.05
    assert spent[len(spent) // 10] > 540


def test_lengths_in_a_batch_are_similar_but_who_meets_whom_changes() -> None:
    lengths_N = stream(0, "lengths").integers(1, 60, size=8 * POOL * 10)
    first, second = (by_length(lengths_N, np.ones_like(lengths_N), 10, stream(seed, "order")) for seed in (1, 2))
    assert np.mean([np.ptp(lengths_N[batch]) for batch in first]) < 4  # of 58
    assert not {frozenset(batch.tolist()) for batch in first} & {frozenset(batch.tolist()) for batch in second}
    middle = [float(lengths_N[batch].mean()) for batch in first]
    assert np.abs(np.diff(middle)).mean() > 10  # short and long ones in no order
