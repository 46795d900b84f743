"""Differences user by user: of the same users, and of nobody else."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from tasks.differences import NotPaired, differences
from tasks.schema import PER_USER
from tasks.store.tables import write_table


def table(path: Path, users: str = "abcd", relevant: tuple[int, ...] = (1, 2, 1, 1), **metrics: list[float]) -> Path:
    """The metrics of some users, as judging leaves them."""
    base = pa.table([list(users), list(relevant), [9] * len(users)], schema=PER_USER)
    for name, values in metrics.items():
        base = base.append_column(name, pa.array(values, pa.float64()))
    write_table(path, base)
    return path


def test_a_difference_is_the_mean_over_users_of_new_minus_old(tmp_path: Path) -> None:
    new = table(tmp_path / "new.parquet", ndcg_at_10=[0.5, 0.0, 1.0, 0.3], auc=[0.9, np.nan, 0.5, 0.5])
    old = table(tmp_path / "old.parquet", ndcg_at_10=[0.1, 0.2, 1.0, 0.3], auc=[0.5, 0.1, 0.5, np.nan])
    found = differences(new, old, samples=400, level=0.9)
    assert list(found) == ["ndcg_at_10", "auc"]  # of the metrics that both have
    assert found["ndcg_at_10"]["mean"] == pytest.approx(0.05)  # (.4 - .2) / 4
    assert found["auc"]["mean"] == pytest.approx(0.2)  # of the two users with a value in both: .4 / 2
    assert found["ndcg_at_10"]["low"] < 0.05 < found["ndcg_at_10"]["high"]
    assert 0 < found["ndcg_at_10"]["p_value"] <= 1
    turned = differences(old, new, samples=400, level=0.9)
    assert turned["ndcg_at_10"]["mean"] == pytest.approx(-0.05)
    assert differences(new, old, samples=400, level=0.9) == found
    assert list(differences(new, old, 400, 0.9, metrics=["auc"])) == ["auc"]


def test_a_wider_level_gives_a_wider_interval(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    users, ones = "".join(map(chr, range(1000, 1100))), (1,) * 100
    new = table(tmp_path / "new.parquet", users, ones, ndcg_at_10=rng.random(100).tolist())
    old = table(tmp_path / "old.parquet", users, ones, ndcg_at_10=rng.random(100).tolist())
    narrow, wide = (differences(new, old, 500, level)["ndcg_at_10"] for level in (0.5, 0.99))
    assert wide["low"] < narrow["low"] < narrow["mean"] == wide["mean"] < narrow["high"] < wide["high"]


@pytest.mark.parametrize("other", [{"users": "abce"}, {"users": "abdc"}, {"relevant": (1, 1, 1, 1)}])
def test_other_users_or_other_rows_are_not_paired(other: dict[str, object], tmp_path: Path) -> None:
    new = table(tmp_path / "new.parquet", ndcg_at_10=[0.5] * 4)
    old = table(tmp_path / "old.parquet", ndcg_at_10=[0.5] * 4, **other)  # type: ignore[arg-type]
    with pytest.raises(NotPaired):
        differences(new, old, 100, 0.9)


def test_nobody_with_a_value_in_both_has_no_difference(tmp_path: Path) -> None:
    new = table(tmp_path / "new.parquet", ndcg_at_10=[np.nan, 0.1, np.nan, 0.1])
    old = table(tmp_path / "old.parquet", ndcg_at_10=[0.1, np.nan, 0.1, np.nan])
    assert differences(new, old, 100, 0.9) == {}
