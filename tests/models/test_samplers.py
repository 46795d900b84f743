"""Streams, seen items and negatives."""

import numpy as np
import pytest
from scipy.stats import chisquare

from models.base import Ragged, TrainingData
from models.fitting import samplers
from models.fitting.samplers import Pairs, SeenItems, pair_batches, stream, uniform_negatives
from tests.factories import random_log


def test_streams_differ_by_purpose_and_repeat() -> None:
    def draw(seed: int, *purpose: str | int) -> int:
        return int(stream(seed, *purpose).integers(2**62))

    draws = [draw(0), draw(0, "a"), draw(0, "a", 1), draw(0, "a", 2), draw(0, "b", 1), draw(1, "a", 1)]
    assert len(set(draws)) == len(draws)
    assert draws[2] == draw(0, "a", 1)


@pytest.mark.parametrize("bitmap_bytes", [samplers.BITMAP_BYTES, 0])
def test_seen_items_agree_with_sets(bitmap_bytes: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(samplers, "BITMAP_BYTES", bitmap_bytes)
    data = random_log(20, 30, 200, seed=0)
    seen = SeenItems(data.histories, data.n_items)
    users, items = (grid.ravel() for grid in np.meshgrid(np.arange(20), np.arange(30), indexing="ij"))
    expected = [item in set(data.histories.row(int(user)).tolist()) for user, item in zip(users, items, strict=True)]
    assert seen.contains(users, items).tolist() == expected


def test_negatives_are_uniform_over_the_unseen_items() -> None:
    histories = Ragged.from_pairs(np.array([0, 0, 0]), np.array([1, 4, 4]), 1)
    draw_B = uniform_negatives(np.zeros(80_000, dtype=np.int64), SeenItems(histories, 10), 10, stream(0, "test"))
    count_I = np.bincount(draw_B, minlength=10)
    assert count_I[[1, 4]].tolist() == [0, 0]
    assert chisquare(np.delete(count_I, [1, 4])).pvalue > 0.001


def test_a_user_who_saw_everything_is_refused_and_left_out_of_batches() -> None:
    histories = Ragged.from_pairs(np.array([0, 0, 1]), np.array([0, 1, 1]), 2)
    with pytest.raises(ValueError, match="seen every item"):
        uniform_negatives(np.array([0]), SeenItems(histories, 2), 2, stream(0))
    (batch,) = pair_batches(Pairs(TrainingData(2, histories)), 8, seed=0, epoch=1)
    assert [tensor.tolist() for tensor in batch] == [[1], [1], [0]]


def test_batches_hold_every_row_once() -> None:
    data = random_log(20, 30, 205, seed=0)
    batches = list(pair_batches(Pairs(data), 50, seed=0, epoch=1))
    assert [len(batch) for batch in batches] == [50, 50, 50, 50, 5]
    rows = sorted(
        (u, i) for batch in batches for u, i in zip(batch.users_B.tolist(), batch.positives_B.tolist(), strict=True)
    )
    assert rows == sorted(zip(data.histories.users_R.tolist(), data.histories.items_R.tolist(), strict=True))
