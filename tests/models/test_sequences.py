"""Histories cut into pieces: every target once, after all that its piece shows of the past."""

from collections import Counter
from typing import Any

import numpy as np
import pytest
import torch

from models.base import FitSession, Ragged, TrainingData
from models.fitting.config import SamplingConfig
from models.fitting.history import HistoryModelConfig
from models.fitting.sequences import SequenceBatch, Sequences

N_ITEMS = 90
Seen = dict[tuple[int, int], list[int]]
"""By user and place of the target in the history: the items that were shown before it."""


def log() -> TrainingData:
    """Histories of 0..39 items and one of every item, each with its place in it as item, shifted by the user."""
    lengths = [*range(40), 2 * N_ITEMS]
    users = np.repeat(np.arange(len(lengths)), lengths)
    items = np.concatenate([(np.arange(n) + 7 * user) % N_ITEMS for user, n in enumerate(lengths)])
    weights_R = np.arange(1, len(items) + 1).astype(np.float64)
    return TrainingData(N_ITEMS, Ragged.from_pairs(users, items, len(lengths)), weights_R=weights_R / weights_R.mean())


def sequences(length: int, data: TrainingData | None = None, **sampling: Any) -> Sequences:
    loss = "bpr" if sampling else "softmax"
    config = HistoryModelConfig.model_validate({"name": "any", "loss": loss, "history_length": length})
    return Sequences(data or log(), config, FitSession(sampling=SamplingConfig.model_validate(sampling)))


def check(batch: SequenceBatch, length: int) -> Seen:
    """What each target of a batch was shown, after checking that all of it is as the batch says."""
    data, seen = log(), {}
    assert data.weights_R is not None
    width = batch.items_BL.shape[1]
    assert width == int(batch.lengths_B.max()) <= length
    for b, n in enumerate(batch.lengths_B.tolist()):
        assert (batch.items_BL[b, :n] < N_ITEMS).all()
        assert (batch.items_BL[b, n:] == N_ITEMS).all()
    rows_T = np.rint(batch.pairs.weight_B.numpy() / data.weights_R[0]).astype(int) - 1
    assert len(rows_T) == len(batch) == int(batch.lengths_B.sum())
    for t, (row, place) in enumerate(zip(rows_T.tolist(), batch.place_T.tolist(), strict=True)):
        user = int(data.histories.users_R[row])
        at = row - int(data.histories.offsets_U1[user])
        piece, last = divmod(place, width)
        shown = batch.items_BL[piece, : last + 1].tolist()
        assert last < batch.lengths_B[piece]
        assert shown == data.histories.items_R[row - len(shown) : row].tolist()  # the newest items before the target
        assert len(shown) <= at
        assert batch.pairs.users_B[t] == user
        assert batch.pairs.positives_B[t] == data.histories.items_R[row]
        assert (user, at) not in seen
        seen[user, at] = shown
    return seen


def epoch(length: int, batch_size: int, number: int, seed: int = 0) -> Seen:
    every: Seen = {}
    for batch in sequences(length).batches(batch_size, seed, number):
        one = check(batch, length)
        assert not every.keys() & one.keys()
        every |= one
    return every


@pytest.mark.parametrize(("length", "batch_size"), [(1, 16), (3, 1), (10, 64), (39, 64), (100, 10_000)])
def test_every_target_is_there_once_after_the_items_before_it(length: int, batch_size: int) -> None:
    met = epoch(length, batch_size, 1)
    # all but each user's first item; the last user saw every item
    assert set(met) == {(user, at) for user in range(40) for at in range(1, user)}
    assert len(sequences(length)) == len(met)


def test_a_history_that_fits_is_shown_whole() -> None:
    for (_, at), shown in epoch(39, 64, 1).items():
        assert len(shown) == at


def test_long_histories_are_cut_elsewhere_in_other_epochs() -> None:
    lengths: dict[tuple[int, int], set[int]] = {}
    for number in range(60):
        for target, shown in epoch(10, 10_000, number).items():
            lengths.setdefault(target, set()).add(len(shown))
    assert lengths[39, 30] == set(range(1, 11))  # with every length of the past that a piece can hold
    assert lengths[39, 4] == {1, 2, 3, 4}  # but no more than there was
    assert lengths[10, 9] == {9}  # nine targets fit into ten places
    assert lengths[11, 10] == {10}  # as do ten
    assert len(lengths[12, 11]) > 5  # eleven do not


def test_pieces_follow_one_another_without_a_gap() -> None:
    met = epoch(10, 64, 3)
    for (user, at), shown in met.items():
        before = met.get((user, at - 1), [])
        assert len(shown) == 1 + len(before) or (len(shown) == 1 and len(before) > 0)


def test_users_are_cut_independently() -> None:
    met = epoch(10, 64, 3)
    first_cut: Counter[int] = Counter()
    for user in range(20, 40):
        ends = [at for at in range(1, user - 1) if len(met[user, at + 1]) == 1]
        first_cut[ends[0]] += 1
    assert len(first_cut) > 4


def test_epochs_and_seeds_differ_and_repeat() -> None:
    def order(number: int, seed: int = 0) -> list[tuple[int, int]]:
        return list(epoch(10, 64, number, seed))

    assert order(1) == order(1)
    assert order(1) != order(2)
    assert order(1) != order(1, seed=1)


def test_negatives_are_unseen_and_fresh_each_epoch() -> None:
    data = log()
    made = sequences(10, distribution="uniform", negatives=2)
    drawn = []
    for number in (1, 2):
        batch = next(made.batches(64, 0, number)).pairs
        for user, negatives in zip(batch.users_B.tolist(), batch.negatives.tolist(), strict=True):
            assert len(negatives) == 2
            assert not set(negatives) & set(data.histories.row(user).tolist())
        drawn.append(batch.negatives[:20].tolist())
    assert drawn[0] != drawn[1]


def test_nothing_to_learn_from_is_no_batch() -> None:
    alone = TrainingData(3, Ragged.from_pairs(np.array([0, 1]), np.array([0, 1]), 3))
    made = sequences(5, alone)
    assert len(made) == 0
    assert list(made.batches(8, 0, 1)) == []


def test_lengths_stay_on_the_cpu_where_packing_takes_them() -> None:
    batch = next(sequences(10).batches(64, 0, 1))
    there = batch.to(torch.device("meta"))
    assert there.items_BL.device.type == there.place_T.device.type == there.pairs.weight_B.device.type == "meta"
    assert there.lengths_B is batch.lengths_B
    assert len(there) == len(batch)
