"""Rows with the items before them: what is stored, by hand and against slow loops, and that it trains alike."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import tasks.sample.windows as step
from models.base import Feature, FitSession, Ragged, TrainingData, Windows
from models.config import ModelConfig
from models.fitting.config import NO_WISH, SamplingConfig
from models.fitting.history import HistoryModelConfig
from models.fitting.window_pairs import WindowPairs
from tasks.errors import RunFailed
from tasks.sample.task import sample
from tasks.sample.windows import make_blocks, sample_windows
from tasks.schema import windows
from tasks.split.config import SplitConfig
from tasks.split.task import split
from tasks.store.refs import SampleRefs
from tasks.store.store import Store, Writer
from tasks.store.windows import read_windows, write_windows
from tests.factories import make_snapshot, random_log, tiny_log

STORED = SamplingConfig(negatives=3, distribution="uniform", stored=True)


class Shown(HistoryModelConfig):
    """A model that reads windows, as far as the step can see."""

    name: str = "shown"
    reads_windows = True


def ragged(*lists: list[int]) -> Ragged:
    users = [user for user, items in enumerate(lists) for _ in items]
    items = [item for items in lists for item in items]
    return Ragged.from_pairs(np.array(users, dtype=np.int64), np.array(items, dtype=np.int64), len(lists))


def stored(
    tmp_path: Path, data: TrainingData, length: int, sampling: SamplingConfig | None = None, seed: int = 0
) -> Path:
    blocks = make_blocks(data, length, sampling, seed, "fitted")
    ref = write_windows(Writer(tmp_path, "prepared/k"), "windows", blocks, data.user_features)
    assert ref.path == "prepared/k/windows.parquet"
    path = tmp_path / "windows.parquet"
    assert ref.rows == pq.read_metadata(path).num_rows
    return path


def test_every_row_is_stored_with_what_came_before_it(tmp_path: Path) -> None:
    town = Feature(np.array([4, 0, 2], dtype=np.int32), 5)
    data = TrainingData(9, ragged([5, 6, 5, 7], [], [8]), {"town": town})
    rows = pq.read_table(stored(tmp_path, data, 2)).to_pylist()
    assert list(rows[0]) == ["user", "target", "label", "history", "history_length", "town"]
    assert [list(row.values()) for row in rows] == [
        [0, 5, 1, [], 0, 4],
        [0, 6, 1, [5], 1, 4],
        [0, 5, 1, [5, 6], 2, 4],
        [0, 7, 1, [6, 5], 2, 4],
        [2, 8, 1, [], 0, 2],
    ]


def test_stored_negatives_stand_behind_their_row(tmp_path: Path) -> None:
    town = Feature(np.array([1, 2], dtype=np.int32), 3)
    data = TrainingData(4, ragged([0, 1], [0, 1, 2, 3]), {"town": town})
    rows = pq.read_table(stored(tmp_path, data, 5, STORED)).to_pylist()
    assert [row["label"] for row in rows] == [1, 0, 0, 0, 1, 0, 0, 0, 1, 1, 1, 1]  # user 1 saw all: nothing to store
    assert {row["target"] for row in rows if not row["label"]} <= {2, 3}
    assert [row["history"] for row in rows[:8]] == [[]] * 4 + [[0]] * 4
    assert [row["history_length"] for row in rows[:8]] == [0] * 4 + [1] * 4
    assert [(row["user"], row["town"]) for row in rows] == [(0, 1)] * 8 + [(1, 2)] * 4


def same(one: Windows, other: Windows, length: int, padding: int) -> None:
    every = np.arange(len(other))
    assert one.users_W.tolist() == other.users_W.tolist()
    assert one.targets_W.tolist() == other.targets_W.tolist()
    assert one.lengths_W.tolist() == other.lengths_W.tolist()
    assert one.histories(every, length, padding).tolist() == other.histories(every, length, padding).tolist()
    assert {name: codes.tolist() for name, codes in one.features.items()} == {
        name: codes.tolist() for name, codes in other.features.items()
    }
    for field in ("users_W", "targets_W", "starts_W", "ends_W", "items_R"):
        assert getattr(one, field).dtype == getattr(other, field).dtype


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.lists(st.lists(st.integers(0, 6), max_size=9), min_size=1, max_size=6).filter(any),
    st.integers(1, 12), st.integers(1, 7), st.booleans(),
)  # fmt: skip
def test_windows_come_back_as_they_are_made(
    tmp_path: Path, lists: list[list[int]], length: int, block: int, negatives: bool
) -> None:
    codes = np.arange(len(lists), dtype=np.int32)
    data = TrainingData(8, ragged(*lists), {"place": Feature(codes, len(lists)), "label": Feature(codes[::-1], 9)})
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(step, "BLOCK_ROWS", block)
        path = stored(tmp_path, data, length, STORED if negatives else None)
    n_stored = 4 if negatives else 1
    groups = pq.read_metadata(path)
    assert groups.num_row_groups == -(-data.n_rows // max(1, block // n_stored))
    found = read_windows(path)
    made = {"place": codes, "label": codes[::-1]}
    same(found, Windows.of(data.histories, length, made), length, 8)
    assert len(found.items_R) <= data.n_rows  # held once, though stored up to `length` times
    assert (found.negatives_WN is not None) == negatives
    if found.negatives_WN is not None:
        assert found.negatives_WN.shape == (data.n_rows, 3)
        for user, drawn in zip(found.users_W, found.negatives_WN.tolist(), strict=True):
            assert set(drawn) <= set(range(8)) - set(lists[user])


def test_histories_that_are_not_a_users_past_come_back_too(tmp_path: Path) -> None:
    # whatever is shared, what a window holds is what its row says: across row groups, after empty ones, twice the same,
    # with a beginning of which only a part is the other's end
    histories = [[0, 0, 5], [1, 2, 3], [1, 2, 3], [2, 3, 4], [3, 9, 9], [3], [], [3, 4], [4], [9, 9, 9], [9, 9, 9, 9]]
    histories += [[9, 9], [1, 2], [2, 2], [2, 3, 3]]
    schema = windows([])
    tables = [
        pa.table([[0] * 3, [7] * 3, [1] * 3, part, [len(one) for one in part]], schema=schema)
        for part in (histories[at : at + 3] for at in range(0, len(histories), 3))
    ]
    write_windows(Writer(tmp_path, "x"), "odd", tables, [])
    found = read_windows(tmp_path / "odd.parquet")
    assert [found.items_R[a:b].tolist() for a, b in zip(found.starts_W, found.ends_W, strict=True)] == histories


def test_a_block_holds_no_more_than_it_may_whatever_the_length(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(step, "BLOCK_ITEMS", 40)
    data = random_log(3, 50, 60, seed=0)
    for length, stored in ((3, None), (10, None), (1000, None), (3, STORED), (10, STORED)):
        blocks = list(make_blocks(data, length, stored, 0, "fitted"))
        n_items = [sum(block["history_length"].to_pylist()) for block in blocks]
        rows = 1 + 3 * (stored is not None)
        for block, n, after in zip(blocks, n_items, [*blocks[1:], None], strict=True):
            assert n <= 40 or block.num_rows == rows
            if after is not None:  # its first row would have been too much
                assert n + rows * after["history_length"][0].as_py() > 40
        assert sum(block.num_rows for block in blocks) == 60 * rows


def test_negatives_follow_seed_moment_and_distribution() -> None:
    data = random_log(20, 30, 100, seed=1)

    def drawn(seed: int = 0, purpose: str = "fitted", **more: object) -> list[int]:
        (table,) = make_blocks(data, 5, STORED.model_copy(update=more), seed, purpose)
        return [row["target"] for row in table.to_pylist() if not row["label"]]

    assert drawn() == drawn()
    assert drawn() != drawn(seed=1)
    assert drawn() != drawn(purpose="known")
    often = np.zeros(30)
    for seed in range(40):
        often += np.bincount(drawn(seed, distribution="log_uniform"), minlength=30)
    rank = np.argsort(np.argsort(-np.bincount(data.histories.items_R, minlength=30), kind="stable"))
    assert often[rank < 5].mean() > 2 * often[rank > 20].mean()


def test_blocks_draw_negatives_of_their_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(step, "BLOCK_ROWS", 40)
    data = TrainingData(1000, ragged([0] * 20))  # one user, so equal streams would give equal draws
    first, second = (set(block["target"].to_pylist()) for block in make_blocks(data, 5, STORED, 0, "fitted"))
    assert len(first & second) < 10


@pytest.mark.parametrize("sampling", [None, STORED])
def test_batches_of_stored_windows_are_those_of_the_histories(tmp_path: Path, sampling: SamplingConfig | None) -> None:
    codes = np.arange(12, dtype=np.int32)
    data = replace(random_log(12, 30, 200, seed=3), user_features={"place": Feature(codes, 12)})
    read = read_windows(stored(tmp_path, data, 6, sampling))
    config = Shown(history_length=6, loss="bpr" if sampling else "softmax")
    session = FitSession(sampling=sampling or NO_WISH)
    made = replace(Windows.of(data.histories, 6, {"place": codes}), negatives_WN=read.negatives_WN)
    pairs = [WindowPairs(replace(data, windows=one), config, session) for one in (read, made)]
    if not sampling:
        pairs.append(WindowPairs(data, config, session))  # a model that finds no windows makes them
    for epoch in (1, 2):
        first, *others = [list(one.batches(16, 0, epoch)) for one in pairs]
        for batches in others:
            for one, other in zip(first, batches, strict=True):
                assert torch.equal(one.history_BL, other.history_BL)
                assert torch.equal(one.features["place"], other.features["place"])
                for field in ("users_B", "positives_B", "negatives", "weight_B", "log_q"):
                    assert torch.equal(getattr(one.pairs, field), getattr(other.pairs, field))


def test_no_rows_are_no_windows(tmp_path: Path) -> None:
    assert len(read_windows(stored(tmp_path, TrainingData(9, ragged([])), 2))) == 0


def test_a_damaged_file_names_what_to_delete(tmp_path: Path) -> None:
    path = stored(tmp_path, TrainingData(9, ragged([1, 2])), 2)
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(RunFailed, match="cannot be read") as failed:
        read_windows(path)
    assert str(tmp_path) in str(failed.value.hint)


# the step


def samples_of(store: Store) -> SampleRefs:
    rows = [(user, f"i{item:02d}", 10 * item) for user in range(8) for item in range(user, user + 5)]
    users = pa.table({"user_id": [str(user) for user in range(9)], "town": ["Bonn", "Rome", None] * 3})
    parts = split.fn(store, make_snapshot(store, tiny_log(*rows), users=users), SplitConfig(protocol="leave_last_out"))
    return sample.fn(store, parts)


def run(store: Store, samples: SampleRefs, model: ModelConfig, seed: int = 0, **sampling: Any) -> SampleRefs:
    return sample_windows.fn(store, samples, model, SamplingConfig.model_validate(sampling), seed)


def test_the_step_stores_the_windows_of_both_fits(store: Store) -> None:
    samples = samples_of(store)
    made = run(store, samples, Shown(history_length=3))
    assert made.windows is not None
    assert replace(made, windows=None) == samples
    assert made.windows.fitted.path.endswith("/windows_fitted.parquet")
    assert made.windows.known.path.endswith("/windows_known.parquet")
    fitted, known = (pq.read_table(store.path(ref.path)) for ref in (made.windows.fitted, made.windows.known))
    assert (fitted.num_rows, known.num_rows) == (8 * 3, 8 * 4)
    assert fitted.column_names == ["user", "target", "label", "history", "history_length", "town"]
    assert known.to_pylist()[3] == {
        "user": 0, "target": 3, "label": 1, "history": [0, 1, 2], "history_length": 3, "town": 1
    }  # fmt: skip
    assert fitted.filter(fitted["user"].to_numpy() == 1)["town"].to_pylist() == [2, 2, 2]


def test_windows_are_found_again_where_nothing_that_they_hold_has_changed(store: Store) -> None:
    samples, model = samples_of(store), Shown(history_length=3)
    first = run(store, samples, model)
    assert not first.cached
    # nothing is drawn: neither the seed nor the negatives of the training loop matter, nor what else the model is
    again = run(store, samples, Shown(history_length=3, loss="bpr"), seed=1, negatives=4, distribution="uniform")
    assert again.cached
    assert again.windows == first.windows
    assert run(store, samples, Shown(history_length=2)).windows != first.windows
    kept: dict[str, Any] = {"stored": True, "negatives": 2, "distribution": "uniform"}
    drawn = run(store, samples, model, **kept)
    others = [
        run(store, samples, model, seed=1, **kept),
        run(store, samples, model, **kept | {"negatives": 1}),
        run(store, samples, model, **kept | {"distribution": "log_uniform"}),
        run(store, samples, model, **kept | {"distribution": "popularity", "exponent": 0.5}),
        run(store, samples, model, **kept | {"distribution": "popularity", "exponent": 1.0}),
    ]
    assert not any(one.cached for one in others)
    assert run(store, samples, model, **kept).cached
    assert drawn.windows is not None
    assert read_windows(store.path(drawn.windows.fitted.path)).negatives_WN is not None


def test_other_features_are_other_windows(store: Store) -> None:
    samples = samples_of(store)
    other = replace(samples, split=replace(samples.split, users=replace(samples.split.users, fingerprint="other")))
    assert not run(store, samples, Shown()).cached
    assert not run(store, other, Shown()).cached


def test_models_that_read_none_store_none(store: Store) -> None:
    samples = samples_of(store)
    assert run(store, samples, HistoryModelConfig(name="pairs")) is samples
