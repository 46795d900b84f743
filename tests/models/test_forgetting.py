"""A bundle that has forgotten a user: only the weights may tell of them, and all others are served as before."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from safetensors.torch import load_file

from models.base import Ragged
from models.bundle import Bundle, BundleDamaged, Strangers
from models.features import UserFeatures
from models.forgetting import CATALOGUE, RECORD, forget, users_of
from models.ids import IdMap
from tests.factories import make_bundle

GONE, PLACE = 13, 3


def full_bundle(kind: str = "int") -> Bundle:
    """With a mask, strangers and features; user 13 alone is from Ulm, and stranger 1 has a past."""
    bundle = make_bundle("ials", kind)
    rows = Ragged.from_pairs(np.array([1, 1, 2]), np.array([2, 3, 4]), 3)
    raw = np.array([1, 2, 3])
    strangers = IdMap(raw if kind == "int" else np.char.add(kind, raw.astype(str)))
    towns = np.ones(len(bundle.users), dtype=np.int32)
    towns[PLACE] = 2
    values = {"town": IdMap(np.array(["Bonn", "Ulm"]))}
    return replace(
        bundle,
        masked=bundle.served,
        strangers=Strangers(strangers, rows, {"town": np.array([1, 1, 0], dtype=np.int32)}),
        features=UserFeatures(values, {"town": towns}),
    )


def saved(bundle: Bundle, folder: Path) -> Path:
    folder.mkdir(parents=True)
    bundle.save(folder)
    return folder


def put(made: Path, folder: Path, *names: str) -> None:
    for name in names:
        shutil.copy(made / name, folder / name)


@pytest.fixture
def into(tmp_path: Path) -> Path:
    (tmp_path / "into").mkdir()
    return tmp_path / "into"


@pytest.mark.parametrize("kind", ["int", "u"])
def test_the_user_is_a_stranger_now_and_nobody_else_is_served_otherwise(kind: str, tmp_path: Path, into: Path) -> None:
    before = full_bundle(kind)
    folder = saved(before, tmp_path / "bundle")
    gone = GONE if kind == "int" else f"u{GONE}"
    assert forget(folder, str(gone), into)
    put(into, folder, CATALOGUE, RECORD)
    after = Bundle.load(folder)  # checks every hash
    _, scores, reasons = after.recommend([gone], 5)
    assert reasons.tolist() == ["fallback"]
    assert scores[0, 0] == np.bincount(after.fitted.items_R).max()  # popularity
    others = np.delete(before.users.ids_N, PLACE)
    for mine, theirs in zip(before.recommend(others, 5), after.recommend(others, 5), strict=True):
        assert mine.tolist() == theirs.tolist()
    for lists in (after.fitted, after.served, after.masked):
        assert lists is not None
        assert len(lists.row(PLACE)) == 0
    assert len(after.fitted.items_R) == len(before.fitted.items_R) - len(before.fitted.row(PLACE))
    assert not after.was_fitted_on(np.array([gone] * 20), before.items.ids_N).any()
    assert users_of(folder) == [str(one) for one in others[:3]]


def test_what_only_this_user_was_goes_too(tmp_path: Path, into: Path) -> None:
    folder = saved(full_bundle("u"), tmp_path / "bundle")
    assert forget(folder, "u13", into)
    put(into, folder, CATALOGUE, RECORD)
    after = Bundle.load(folder)
    assert after.features.codes["town"].tolist() == [1] * 3 + [0] + [1] * 20
    assert after.features.encode({"town": ["Bonn", "Ulm"]})["town"].tolist() == [1, 0]
    for secret in (b"u13", b"Ulm"):
        assert secret not in (folder / CATALOGUE).read_bytes()
    assert b"u12" in (folder / CATALOGUE).read_bytes()


def test_a_value_that_somebody_shares_stays(tmp_path: Path, into: Path) -> None:
    bundle = full_bundle("u")
    codes = {"town": np.array([1, 2, 0], dtype=np.int32)}  # a stranger is from Ulm, too
    folder = saved(replace(bundle, strangers=replace(bundle.strangers, codes=codes)), tmp_path / "bundle")
    assert forget(folder, "u13", into)
    put(into, folder, CATALOGUE, RECORD)
    assert Bundle.load(folder).features.encode({"town": ["Ulm"]})["town"].tolist() == [2]


def test_a_stranger_leaves_no_place(tmp_path: Path, into: Path) -> None:
    before = full_bundle()
    folder = saved(before, tmp_path / "bundle")
    assert forget(folder, "2", into)
    put(into, folder, CATALOGUE, RECORD)
    after = Bundle.load(folder)
    assert after.strangers.ids.ids_N.tolist() == [1, 3]
    assert [after.strangers.histories.row(place).tolist() for place in (0, 1)] == [[], [4]]
    assert after.strangers.codes["town"].tolist() == [1, 0]
    assert after.users.ids_N.tolist() == before.users.ids_N.tolist()


def test_the_last_stranger_may_go(tmp_path: Path, into: Path) -> None:
    bundle = full_bundle()
    alone = Strangers(IdMap(np.array([2])), Ragged.from_pairs(np.array([0]), np.array([4]), 1), {})
    folder = saved(replace(bundle, strangers=alone), tmp_path / "bundle")
    assert forget(folder, "2", into)
    put(into, folder, CATALOGUE, RECORD)
    assert len(Bundle.load(folder).strangers) == 0


def test_weights_are_not_touched(tmp_path: Path, into: Path) -> None:
    folder = saved(full_bundle(), tmp_path / "bundle")
    weights, told = (folder / "weights.safetensors").read_bytes(), json.loads((folder / RECORD).read_text())
    assert forget(folder, "13", into)
    put(into, folder, CATALOGUE, RECORD)
    assert (folder / "weights.safetensors").read_bytes() == weights
    now = json.loads((folder / RECORD).read_text())
    assert {name for name in told if now[name] != told[name]} == {"files", "sha256"}
    assert now["files"]["weights.safetensors"] == told["files"]["weights.safetensors"]


@pytest.mark.parametrize("user", ["99", "x", "013"])
def test_a_bundle_that_does_not_know_the_user_is_left_alone(user: str, tmp_path: Path, into: Path) -> None:
    assert not forget(saved(full_bundle(), tmp_path / "bundle"), user, into)
    assert not list(into.iterdir())


def test_twice_changes_nothing(tmp_path: Path, into: Path) -> None:
    folder = saved(full_bundle(), tmp_path / "bundle")
    assert forget(folder, "13", into)
    put(into, folder, CATALOGUE, RECORD)
    assert not forget(folder, "13", into)


@pytest.mark.parametrize("then", ["13", "14"])
def test_a_replacement_that_was_cut_short_is_completed(then: str, tmp_path: Path, into: Path) -> None:
    folder = saved(full_bundle(), tmp_path / "bundle")
    assert forget(folder, "13", into)
    put(into, folder, CATALOGUE)
    with pytest.raises(BundleDamaged):
        Bundle.load(folder)
    for _ in range(2):  # cut short once more
        assert forget(folder, then, into)
        put(into, folder, CATALOGUE)
    put(into, folder, RECORD)
    found = Bundle.load(folder).users.index(["13", then, "15"])
    assert found.tolist() == [-1, -1, 5]


def test_a_damaged_bundle_is_not_made_to_look_whole(tmp_path: Path, into: Path) -> None:
    folder, other = saved(full_bundle(), tmp_path / "bundle"), saved(make_bundle(), tmp_path / "other")
    put(other, folder, CATALOGUE)
    with pytest.raises(BundleDamaged):
        forget(folder, "13", into)
    assert "users.ids" in load_file(folder / CATALOGUE)
