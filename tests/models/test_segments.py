"""Popularity among users who share features, by numbers worked out by hand and by a loop over its equation."""

import numpy as np
import pytest

from models import segments
from models.base import Feature, Ragged
from models.segments import Segments


def ragged(*lists: list[int]) -> Ragged:
    offsets_U1 = np.cumsum([0, *map(len, lists)]).astype(np.int64)
    return Ragged(offsets_U1, np.array([item for one in lists for item in one], dtype=np.int32))


# Three items; users 0 and 1 are of age 1, user 2 of age 2, of user 3 only the town is known, and nobody is of age 3.
FITTED = ragged([0, 1], [0], [2, 2], [1])
FEATURES = {
    "age": Feature(np.array([1, 1, 2, 0]), 4),
    "town": Feature(np.array([2, 1, 1, 2]), 3),
}


def test_a_known_value_by_hand(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(segments, "PRIOR_ROWS", 3.0)
    # Of 6 rows each item has 2: every p(i) is 1/3, so each item is given one row.
    made = Segments(FITTED, 3, FEATURES).score({"age": np.array([1, 2, 3])})
    assert made.dtype == np.float32
    assert made[0] == pytest.approx([3 / 6, 2 / 6, 1 / 6])  # age 1 has rows 0 1 0
    assert made[1] == pytest.approx([1 / 5, 1 / 5, 3 / 5])  # age 2 has rows 2 2
    assert made[2] == pytest.approx([1 / 3, 1 / 3, 1 / 3])


def test_features_are_averaged_over_those_that_are_known(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(segments, "PRIOR_ROWS", 3.0)
    codes = {"age": np.array([1, 0, 1]), "town": np.array([2, 2, 0]), "shoe": np.array([5, 5, 5])}
    made = Segments(FITTED, 3, FEATURES).score(codes)
    town = np.array([2, 3, 1]) / 6  # town 2 has rows 0 1 1
    assert made[0] == pytest.approx((np.array([3, 2, 1]) / 6 + town) / 2)
    assert made[1] == pytest.approx(town)
    assert made[2] == pytest.approx([3 / 6, 2 / 6, 1 / 6])


def test_many_users_as_a_loop_has_them() -> None:
    rng = np.random.default_rng(0)
    fitted = Ragged.from_pairs(rng.integers(0, 40, 300), rng.integers(0, 17, 300) ** 2 // 16, 40)
    features = {name: Feature(rng.integers(0, size, 40), size) for name, size in (("a", 5), ("b", 2), ("c", 30))}
    codes = {name: rng.integers(0, feature.size, 50) for name, feature in features.items()}
    codes["b"] = np.maximum(codes["b"], codes["a"] == 0)  # of each user something is known
    made = Segments(fitted, 17, features).score(codes)
    share_I = np.bincount(fitted.items_R, minlength=17) / 300
    for user in range(50):
        shares = []
        for name, feature in features.items():
            if code := codes[name][user]:
                alike = np.flatnonzero(feature.codes_N == code)
                rows = np.concatenate([fitted.row(one) for one in alike.tolist()] or [np.empty(0, np.int32)])
                count_I = np.bincount(rows, minlength=17)
                shares.append((count_I + 100 * share_I) / (len(rows) + 100))
        assert made[user] == pytest.approx(np.mean(shares, axis=0), rel=1e-5)
    alone = Segments(fitted, 17, features).score({name: code_U[7:8] for name, code_U in codes.items()})
    assert np.array_equal(alone[0], made[7])  # whoever else is asked for


def test_items_that_are_equally_popular_stay_equal() -> None:
    made = Segments(ragged([0, 1, 2], [3, 4]), 6, {"f": Feature(np.array([1, 2]), 3)}).score({"f": np.array([1, 2])})
    assert len(set(made[0, :3].tolist())) == len(set(made[0, 3:5].tolist())) == 1
    assert made[0, 0] > made[0, 3] > made[0, 5] == 0  # also in general popularity
    assert made[1, 3] > made[1, 0]


def test_nothing_is_computed_before_it_is_needed() -> None:
    untouched = Segments(FITTED, 3, FEATURES)
    assert set(vars(untouched)) == {"names", "_fitted", "_n_items", "_features"}
