"""How the benchmarks hold rows out, worked out by hand, and that no model falls between two of them."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from benchmarks import _log, scale, sequences
from benchmarks._split import read_split, write_split
from benchmarks._workers import Figures, Ours
from benchmarks.pairs import EXCLUDED
from models.base import Ragged

# Users 5, 7, 8 and 9 are 0 to 3, items a to e are 0 to 4. User 5 has d and b at one time: d comes first in the file.
# User 7's last item is one that they had before. User 8 has too few rows. User 9's last but one is a repeat.
LOG = [
    (9, "b", 3), (5, "c", 90), (7, "a", 30), (5, "d", 20), (8, "e", 2), (5, "b", 20), (7, "c", 10), (7, "e", 20),
    (5, "a", 10), (8, "a", 1), (7, "c", 40), (9, "b", 4), (9, "d", 5),
]  # fmt: skip


def _split(folder: Path, log: list[tuple[int, str, int]]) -> Path:
    users, items, times = zip(*log, strict=True)
    pq.write_table(pa.table({"timestamp": times, "user_id": users, "item_id": items}), folder / "log.parquet")
    write_split(folder / "log.parquet", folder / "split.npz", "next", seed=0)
    return folder / "split.npz"


@pytest.fixture
def split(tmp_path: Path) -> Path:
    return _split(tmp_path, LOG)


def test_the_last_item_is_the_test_and_the_one_before_it_validates(split):
    valid, test = read_split(split)
    assert _lists(test.fitted.histories) == [[0, 3, 1], [2, 4, 0], [0, 4], [1, 1]]
    assert _lists(test.held_out) == [[2], [], [], [3]]
    assert _lists(valid.fitted.histories) == [[0, 3], [2, 4], [0, 4], [1]]
    assert _lists(valid.held_out) == [[1], [0], [], []]
    assert test.candidates is None
    assert test.fitted.n_items == 5


def test_rows_of_one_time_are_ordered_as_in_the_file(tmp_path):
    order = np.random.default_rng(0).permutation(500)
    _, test = read_split(_split(tmp_path, [(0, f"{item:03d}", item % 2) for item in order]))
    assert test.fitted.histories.row(0).tolist() == sorted(order, key=lambda item: item % 2)[:-1]


def test_the_mean_is_over_the_users_who_have_a_row_that_judges(split):
    _, test = read_split(split)
    metrics = test.score(np.array([[4, 2] + [0] * 18, [1] * 20]), np.array([0, 3]))
    assert metrics["hit_at_10"] == 1 / 2
    assert metrics["ndcg_at_10"] == pytest.approx(1 / np.log2(3) / 2)


def test_figures_are_means_over_the_seeds_and_the_rate_is_the_median(monkeypatch):
    def fitted(path: Path, ours: Ours) -> Figures:
        seed = ours.trainer["seed"]
        measured = {"first": 0.1 * seed, "second": 0.2 * seed, "seconds": 10.0 * seed, "peak_mb": 9.0 - seed}
        return {**measured, "rate": [5.0, 1.0, 3.0][seed], "chosen": {"epochs": 4 + seed}}

    monkeypatch.setattr(sequences, "run_ours", fitted)
    figures = sequences._over_seeds(Path(), "sasrec", [0, 1, 2])
    assert figures.pop("chosen") == {"epochs": "4/5/6"}
    expected = {"first": 0.1, "second": 0.2, "spread": 0.2, "seconds": 10.0, "peak_mb": 9.0, "rate": 3.0}
    assert figures == pytest.approx(expected)


def test_what_draws_nothing_is_fitted_once(monkeypatch):
    seeds: list[int] = []

    def fitted(path: Path, ours: Ours) -> Figures:
        seeds.append(ours.trainer["seed"])
        return {"first": 0.5, "rate": None}

    monkeypatch.setattr(sequences, "run_ours", fitted)
    assert sequences._over_seeds(Path(), "markov", [3, 4]) == {"first": 0.5, "rate": None}
    assert seeds == [3]


def test_every_model_is_in_the_benchmark_of_pairs_or_of_sequences():
    assert set(sequences.SHOWN) >= EXCLUDED


def _lists(rows: Ragged) -> list[list[int]]:
    return [rows.row(user).tolist() for user in range(len(rows))]


def test_a_log_of_the_scale_benchmark_is_drawn_in_time_and_the_same_again(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr(_log, "BLOCK", 1_000)
    for name in ("a", "b"):
        _log.write_log(tmp_path / name, 3_500)
    log = pq.read_table(tmp_path / "a")
    assert log.equals(pq.read_table(tmp_path / "b"))
    assert log.num_rows == 3_500
    assert (np.diff(log["timestamp"].to_numpy()) >= 0).all()
    first, last = log["timestamp"][0].as_py(), log["timestamp"][-1].as_py()
    assert last - first == pytest.approx(_log.SECONDS, rel=0.01)
    _log.write_log(tmp_path / "next", 100, seed=1, begin=1.0, end=1.0 + scale.DAY)
    assert pq.read_table(tmp_path / "next")["timestamp"][0].as_py() >= last


def test_growth_is_the_exponent_of_seconds_over_rows() -> None:
    def measured(rows: int, seconds: float) -> scale.Measured:
        steps = {step: scale.Cost(seconds, 1.0, 1.0) for step in scale.STEPS}
        return scale.Measured(rows, 1.0, steps, steps)

    table = scale.slopes_table([measured(100, 1.0), measured(10_000, 10.0), measured(20_000, 40.0)])
    assert [next(iter(column.cells)) for column in table.columns[1:]] == ["0.50", "2.00"]


@pytest.mark.slow
def test_every_step_of_the_scale_benchmark_finds_those_before_it_done(tmp_path: Path) -> None:
    one = scale.measure(tmp_path, 5_000, memory_gb=1.0)
    disk = [cost.disk_gb for cost in one.steps.values()]
    assert disk == sorted(disk)
    assert disk[0] > 0
    assert (tmp_path / "data" / "lake" / "log" / "ledger.json").is_file()
