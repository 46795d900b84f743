"""Then and now: what counts as equal, and what is refused before anything is trained."""

from dataclasses import asdict
from pathlib import Path
from typing import Any

import numba
import numpy as np
import pytest

from flows.reproduced import about_code, cause
from tasks.errors import RunFailed
from tasks.record.environment import environment
from tasks.reproduce.compare import Difference, compare, differing, flat
from tasks.reproduce.kept import Kept, link_snapshot, refuse_changed_files, understood
from tasks.reproduce.threads import threads_as
from tasks.store.refs import ChampionRef
from tasks.store.store import Store
from tests.factories import make_snapshot, tiny_log

NAN = float("nan")
REF = ChampionRef("encore-tiny", "3", "run", "w", "c")
SAME: tuple[dict[str, Any], dict[str, Any]] = ({"python": "3", "code": "c"}, {"python": "3", "code": "c"})


def test_equal_means_equal_to_the_last_digit_and_nan_is_nan() -> None:
    then = {"a": 0.1, "b": NAN, "c": 0.3, "d": 1.0}
    now = {"a": 0.1, "b": float("nan"), "c": 0.1 + 0.2, "e": 2.0}
    assert list(differing(then, now)) == [
        Difference("c", 0.3, 0.30000000000000004),
        Difference("d", 1.0, None),
        Difference("e", None, 2.0),
    ]
    assert [one.name for one in differing({"a": NAN}, {"a": 0.0})] == ["a"]


def test_a_version_is_identical_where_all_that_was_repeated_is() -> None:
    then = {"test/a": 0.5, "champion/a": 0.4}
    same = compare(then, {"test/a": 0.5}, ("w", "w"), SAME)
    assert (same.is_identical, same.n_metrics, same.not_repeated) == (True, 1, ("champion/a",))
    assert not compare(then, {"test/a": 0.6}, ("w", "w"), SAME).is_identical
    assert not compare(then, {"test/a": 0.5}, ("w", "v"), SAME).is_identical
    assert not compare(then, {"test/a": 0.5, "test/b": 1.0}, ("w", "w"), SAME).is_identical  # the night has no such
    assert not compare(then, {}, ("w", "w"), SAME).is_identical  # nothing was compared
    lost = compare({**then, "valid/a": 0.3}, {"test/a": 0.5}, ("w", "w"), SAME)  # a figure of its own is gone
    assert (lost.is_identical, lost.metrics) == (False, (Difference("valid/a", 0.3, None),))
    assert lost.not_repeated == ("champion/a",)


def test_environments_are_told_apart_by_their_smallest_part() -> None:
    then = {"packages": {"numpy": "1", "torch": "2"}, "gpu": None, "code": "c", "revision": "r"}
    now = {"packages": {"numpy": "2", "torch": "2"}, "gpu": "H", "code": "d", "revision": None}
    found = compare({}, {}, ("w", "w"), (then, now))
    assert found.environment == (Difference("packages.numpy", "1", "2"), Difference("gpu", None, "H"))
    assert (found.code, found.revision) == (Difference("code", "c", "d"), Difference("revision", "r", None))
    assert flat({"a": {"b": {"c": 1}}, "d": {}}) == {"a.b.c": 1}


def told(then: dict[str, Any], now: dict[str, Any], deterministic: bool = True) -> dict[str, Any]:
    return {**asdict(compare({}, {}, ("w", "v"), (then, now))), "deterministic": deterministic, "identical": False}


def test_the_likeliest_cause_is_named() -> None:
    old = {"python": "3", "code": "c", "revision": "abc, with changes"}
    assert about_code(told(old, {**old, "revision": "def"})) is None  # the code that counts did not change
    line = "made by revision abc, with changes; this is def: git checkout abc"
    assert cause(told(old, {**old, "code": "d", "revision": "def", "python": "4"})) == line
    assert "this is not in git" in cause(told(old, {**old, "code": "d", "revision": None}))
    assert "was not in git" in cause(told({**old, "revision": None}, {**old, "code": "d"}))
    assert "environment above: python" in cause(told(old, {**old, "python": "4"}))
    assert "deterministic=false" in cause(told(old, old, deterministic=False))
    assert "please report it" in cause(told(old, old))


def test_what_a_night_kept_is_understood(store: Store) -> None:
    snapshot = make_snapshot(store, tiny_log(("u", "i", 1)))
    files = {
        "config": {},
        "snapshot": asdict(snapshot),
        "files": {},
        "result": {"metrics": {"a": 1.0}},
        "environment": {},
    }
    assert understood(REF, files) == Kept({}, snapshot, {}, {"metrics": {"a": 1.0}}, {})
    for name in files:
        with pytest.raises(RunFailed, match=rf"the night of encore-tiny version 3 kept no {name}\.json"):
            understood(REF, {key: value for key, value in files.items() if key != name})
    with pytest.raises(RunFailed, match="snapshot cannot be read"):
        understood(REF, files | {"snapshot": {"hash": "s"}})


def test_rows_lie_in_the_other_store_under_the_same_names(store: Store, tmp_path: Path) -> None:
    users = tiny_log(("u", "i", 1)).select(["user_id"])
    snapshot = make_snapshot(store, tiny_log(("u", "i", 1)), tiny_log(("v", "i", 2)), users=users)
    scratch = Store(tmp_path / "scratch")
    link_snapshot(store, snapshot, scratch)
    for part in (*snapshot.interactions, *snapshot.users):
        assert scratch.read(part).equals(store.read(part))
        store.path(part.path).unlink()  # by a gc meanwhile
        assert scratch.read(part).num_rows == part.rows
    with pytest.raises(RunFailed, match=snapshot.interactions[0].path):
        link_snapshot(store, snapshot, Store(tmp_path / "other"))


def test_a_file_of_the_configuration_must_be_the_one_that_was_read() -> None:
    files = {"split.test": {"path": "test.csv", "sha256": "a"}}
    refuse_changed_files(files, lambda path, option: {("test.csv", "split.test"): "a"}[path, option])
    with pytest.raises(RunFailed, match=r"split\.test: test\.csv is not the file that the night read"):
        refuse_changed_files(files, lambda path, option: "b")


def test_it_runs_with_as_many_threads_as_the_night_had() -> None:
    def threads() -> dict[str, int]:
        found: dict[str, int] = environment()["threads"]
        return found

    np.ones((2, 2)) @ np.ones((2, 2))  # loads its BLAS
    before = threads()
    other = {"torch": before["torch"] + 2, "numba": 1, "blas": 3 - min(before["blas"], 2)}
    with threads_as(other):
        assert threads() == other
    assert threads() == before
    with threads_as({**other, "numba": 10_000}):
        assert threads()["numba"] == numba.config.NUMBA_NUM_THREADS  # type: ignore[attr-defined]
    assert threads() == before
