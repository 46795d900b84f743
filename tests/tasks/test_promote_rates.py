"""The simulation behind the gate's rates: its users have the means that it says, and the rates hold on a few nights."""

import numpy as np
import pytest

from benchmarks import gate as simulated
from benchmarks.gate import ANOTHER, FLOOR, MEAN, REFIT, Case, another, every_night, rate, refit, scores, visible_margin


@pytest.mark.parametrize("mean", [FLOOR, MEAN, 0.144])
def test_simulated_users_have_the_mean_that_was_planted(mean: float) -> None:
    rng = np.random.default_rng(0)
    ndcg_U = scores("new", mean, rng.standard_normal(200_000), REFIT, rng).ndcg_U
    assert ndcg_U.mean() == pytest.approx(mean, abs=4 * ndcg_U.std() / np.sqrt(200_000))
    assert set(np.unique(ndcg_U)) == {0.0, *(1 / np.log2(np.arange(2, 12)))}


def test_what_two_models_have_in_common_makes_their_users_alike() -> None:
    rng = np.random.default_rng(0)
    alike = {}
    for share in (REFIT, ANOTHER):
        pair = simulated.candidacy(rng, 100_000, [MEAN], share).champion
        assert pair is not None
        alike[share] = np.corrcoef(pair.new.ndcg_U, pair.other.ndcg_U)[0, 1]
    assert 0.9 > alike[REFIT] > alike[ANOTHER] > 0.4


def share_of(night: simulated.Nights, trials: int, n_users: int = 300) -> float:
    return float(rate(Case("", "", n_users, night), trials).split("%")[0]) / 100


def test_rates_are_about_what_is_stated() -> None:
    """Borders are more than three standard errors of that many trials away from what is stated."""
    margin = visible_margin(300)
    assert 0.2 < margin < 0.3
    assert share_of(refit(300, MEAN), 150) > 0.82  # 90%
    assert share_of(refit(300, MEAN, MEAN), 150) > 0.82
    assert share_of(refit(300, MEAN * (1 - margin)), 150) < 0.11  # 5%
    assert share_of(another(300, MEAN), 150) < 0.07  # 2.5%
    assert share_of(another(300, MEAN * 2), 50) > 0.9
    assert share_of(every_night(100, 10, counted=True), 60, 100) < 0.14  # 5%
