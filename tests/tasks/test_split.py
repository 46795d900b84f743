"""Every protocol on logs small enough to be split by hand, and all of them against plain loops."""

from collections import Counter, defaultdict
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import tasks.split.log as log_module
from tasks.errors import ConfigError, DataRefused
from tasks.schema import RATED_ROWS, SPLIT_ROWS, TEST_ROWS
from tasks.split.active import find_active
from tasks.split.config import Positives, SplitConfig
from tasks.split.parts import Part, drop_repeats
from tasks.split.random import make_draw, numbers_of
from tasks.split.task import split
from tasks.store.store import Store
from tests.factories import make_snapshot, tiny_log
from tests.tasks.splitting import parts_of, split_of, write


def pairs_file(path: Path, *pairs: tuple[object, ...], header: str = "user_id,item_id") -> str:
    path.write_text("\n".join([header, *(",".join(map(str, pair)) for pair in pairs)]) + "\n", encoding="utf-8")
    return str(path)


# leave_last_out


def test_each_users_last_row_judges_and_the_one_before_it_chooses() -> None:
    # in file order user 1's rows are c (9), a (1), b (5): by time a, b, c
    made = parts_of((1, "c", 9), (2, "x", 2), (1, "a", 1), (1, "b", 5), (2, "y", 3), protocol="leave_last_out")
    assert made == {
        "train": [("1", "a"), ("2", "x"), ("2", "y")],  # user 2 has two rows: they only train
        "valid": [("1", "b")],
        "test": [("1", "c")],
    }


def test_ties_in_time_are_broken_by_file_then_row(store: Store) -> None:
    first, second = tiny_log((1, "z", 5), (1, "m", 5)), tiny_log((1, "a", 5))
    for files, last in (((first, second), "a"), ((second, first), "m")):
        refs = split.fn(store, make_snapshot(store, *files), SplitConfig(protocol="leave_last_out"))
        assert store.read(refs.test)["item_id"].to_pylist() == [last]


def test_without_timestamps_the_last_row_is_the_last_in_the_file() -> None:
    made = parts_of((1, "a", None), (1, "b", None), (1, "c", None), protocol="leave_last_out")
    assert (made["train"], made["valid"], made["test"]) == ([("1", "a")], [("1", "b")], [("1", "c")])


def test_a_repeat_is_dropped_from_the_later_part_or_kept() -> None:
    rows = ((1, "a", 1), (1, "b", 2), (1, "a", 3), (2, "a", 1), (2, "b", 2), (2, "c", 3))
    dropped = parts_of(*rows, protocol="leave_last_out")
    assert dropped["test"] == [("2", "c")]
    assert dropped["valid"] == [("1", "b"), ("2", "b")]
    kept = parts_of(*rows, protocol="leave_last_out", repeats="keep")
    assert sorted(kept["test"]) == [("1", "a"), ("2", "c")]


# id maps


def test_id_maps_hold_only_what_was_known_before_the_test() -> None:
    rows = [("u", "a", 1), ("u", "b", 2), ("u", "new", 3), ("v", "a", 1), ("v", "b", 2), ("v", "c", 3)]
    made = split_of(*rows, protocol="leave_last_out")
    assert made.tables["items"]["item_id"].to_pylist() == ["a", "b"]
    assert made.tables["test"].select(["user_id", "user_idx", "item_id", "item_idx"]).to_pylist() == [
        {"user_id": "u", "user_idx": 0, "item_id": "new", "item_idx": -1},
        {"user_id": "v", "user_idx": 1, "item_id": "c", "item_idx": -1},
    ]


def test_a_user_who_comes_only_in_the_test_has_no_index() -> None:
    rows = [*((f"u{n}", f"i{n % 3}", n) for n in range(9)), ("late", "i0", 9)]
    made = split_of(*rows, protocol="temporal", valid_share=0.2)
    assert "late" not in made.tables["users"]["user_id"].to_pylist()
    assert made.tables["test"]["user_idx"].to_pylist() == [-1]
    assert made.tables["test"]["item_idx"].to_pylist() == [0]


@pytest.mark.parametrize(
    ("ids", "type_", "order"),
    [
        (["10", "9", "-1"], pa.int64(), [-1, 9, 10]),
        (["10", "9", "007"], pa.string(), ["007", "10", "9"]),
        (["10", "9", "1.0"], pa.string(), ["1.0", "10", "9"]),
        (["10", "9", "99999999999999999999"], pa.string(), ["10", "9", "99999999999999999999"]),
        (["b", "a", "B"], pa.string(), ["B", "a", "b"]),
    ],
)
def test_ids_become_integers_only_where_every_one_round_trips(
    ids: list[str], type_: pa.DataType, order: list[object]
) -> None:
    rows = [(user, user, time) for time in range(4) for user in ids]
    made = split_of(*rows, protocol="leave_last_out", repeats="keep")
    for table, name in ((made.tables["users"], "user_id"), (made.tables["items"], "item_id")):
        assert table[name].type == type_
        assert table[name].to_pylist() == order


def test_one_text_id_in_the_test_alone_makes_all_ids_text() -> None:
    rows = [(1, 10, 1), (1, 11, 2), (1, "x", 3), (2, 11, 1), (2, 10, 2), (2, 10, 3)]
    made = split_of(*rows, protocol="leave_last_out")
    assert made.tables["items"]["item_id"].to_pylist() == ["10", "11"]
    assert made.tables["users"]["user_id"].to_pylist() == [1, 2]


def test_features_stand_in_index_order_and_are_null_where_they_are_missing() -> None:
    items = pa.table({"item_id": ["c", "a", "zz"], "title": ["See", "Ay", "Never bought"]})
    rows = [(1, "a", 1), (1, "b", 2), (1, "c", 3), (2, "c", 1)]
    made = split_of(*rows, protocol="leave_last_out", features={"items": items})
    assert made.tables["items"].to_pylist() == [
        {"item_id": "a", "title": "Ay"},
        {"item_id": "b", "title": None},
        {"item_id": "c", "title": "See"},
    ]


def test_of_a_stranger_who_is_described_twice_the_first_row_counts() -> None:
    users = pa.table({"user_id": ["8", "1", "9", "8"], "town": ["Bath", "Ely", "York", "Wells"]})
    made = split_of((1, "a", 1), (1, "b", 2), (1, "c", 3), protocol="leave_last_out", features={"users": users})
    assert made.tables["strangers"].to_pylist() == [
        {"user_id": "8", "town": "Bath"},
        {"user_id": "9", "town": "York"},
    ]


# min_rating


def test_rows_below_the_rating_or_without_one_are_no_positives() -> None:
    rows: list[tuple[object, ...]] = [
        (1, item, time, rating) for time, (item, rating) in enumerate([("a", 4), ("b", 5), ("c", 3.5), ("d", 4)])
    ]
    rows.append((1, "e", 9, None))
    made = parts_of(*rows, positives=Positives(min_rating=4), protocol="leave_last_out")
    assert made == {"train": [("1", "a")], "valid": [("1", "b")], "test": [("1", "d")]}


def test_what_was_rated_low_precedes_the_users_first_test_row_or_does_not() -> None:
    rows: list[tuple[object, ...]] = [(user, item, n, 5) for n, item in enumerate("abcd") for user in (1, 2)]
    rows += [(1, "a", 8, 1), (1, "x", 9, 5), (1, "b", 10, 1), (1, "y", 11, 5), (1, "c", 12, 1), (2, "a", 20, 1)]
    made = split_of(*rows, positives=Positives(min_rating=4), protocol="temporal", test_share=0.2, valid_share=0.2)
    assert made.raw("test") == [("1", "x"), ("1", "y")]
    assert made.raw("rated") == [("1", "a"), ("1", "b"), ("1", "c"), ("2", "a")]
    assert made.tables["rated"]["before_test"].to_pylist() == [True, False, False, True]  # user 2 has no test row


def test_a_threshold_above_every_rating_is_refused() -> None:
    with pytest.raises(DataRefused, match="rated 9"):
        parts_of((1, "a", 1, 5), positives=Positives(min_rating=9))


# temporal


def test_the_newest_tenth_judges_and_the_tenth_before_it_chooses() -> None:
    made = parts_of(*((n, f"i{n}", n) for n in range(10)), protocol="temporal")
    assert made["train"] == [(str(n), f"i{n}") for n in range(8)]
    assert made["valid"] == [("8", "i8")]
    assert made["test"] == [("9", "i9")]


def test_one_instant_is_never_split() -> None:
    # the cut for the test falls between two rows of second 7, the cut before it between two of second 4
    times = [0, 1, 2, 3, 4, 4, 6, 7, 7, 9]
    rows = [(n, "i", time) for n, time in enumerate(times)]
    made = parts_of(*rows, protocol="temporal", test_share=0.2, valid_share=0.3)
    assert {name: [int(user) for user, _ in part] for name, part in made.items()} == {
        "train": [0, 1, 2, 3],
        "valid": [4, 5, 6],
        "test": [7, 8, 9],
    }


@pytest.mark.parametrize(("test_share", "n_test"), [(0.1, 1), (0.5, 5), (0.7, 7), (0.85, 8)])
def test_shares_are_counted_exactly(test_share: float, n_test: int) -> None:
    rows = [(n, "i", n) for n in range(10)]
    assert len(parts_of(*rows, protocol="temporal", test_share=test_share, valid_share=0.1)["test"]) == n_test


def test_a_log_of_one_instant_cannot_be_cut() -> None:
    with pytest.raises(DataRefused, match="train on"):
        parts_of(*((n, f"i{n}", 5) for n in range(10)), protocol="temporal")


def test_the_temporal_split_needs_timestamps_on_every_row() -> None:
    with pytest.raises(ConfigError, match="timestamps") as caught:
        parts_of((1, "a", 1), (1, "b", None), (2, "a", 3), protocol="temporal")
    assert "--split.protocol=" in caught.value.hint


# random


def test_random_shares_are_exact_and_follow_the_seed() -> None:
    rows = [(n % 7, f"i{n}", None) for n in range(50)]
    one, same, other = (
        parts_of(*rows, protocol="random", test_share=0.2, valid_share=0.1, seed=seed) for seed in (1, 1, 2)
    )
    assert {name: len(part) for name, part in one.items()} == {"train": 35, "valid": 5, "test": 10}
    assert one == same != other


@pytest.mark.parametrize(("time", "protocol"), [(1, "temporal"), (None, "random")])
def test_the_log_decides_where_no_protocol_is_set(time: int | None, protocol: str) -> None:
    rows = [(n % 3, f"i{n}", None if time is None else n) for n in range(20)]
    assert split_of(*rows).claim.protocol == protocol


# given


def test_given_rows_judge_and_the_last_row_of_three_or_more_chooses(tmp_path: Path) -> None:
    file = pairs_file(tmp_path / "test.csv", (1, "d"), (2, "a"), (9, "a"), (1, "never seen"))
    rows = [(1, "a", 3), (1, "b", 1), (1, "c", 2), (2, "b", 1), (2, "c", 2)]
    made = parts_of(*rows, protocol="given", test=file)
    assert made["valid"] == [("1", "a")]
    assert made["train"] == [("1", "b"), ("1", "c"), ("2", "b"), ("2", "c")]
    assert made["test"] == [("1", "d"), ("2", "a"), ("9", "a"), ("1", "never seen")]


def test_given_without_timestamps_holds_out_one_random_row_of_three_or_more(tmp_path: Path) -> None:
    file = pairs_file(tmp_path / "test.csv", (1, "z"))
    rows = [(user, f"i{n}", None) for user in range(30) for n in range(2 + user % 2)]
    made = parts_of(*rows, protocol="given", test=file)
    assert sorted(user for user, _ in made["valid"]) == sorted(str(user) for user in range(1, 30, 2))
    assert len({item for _, item in made["valid"]}) == 3  # not always the last one


def test_given_with_validation_rows_moves_every_such_pair(tmp_path: Path) -> None:
    test, valid = pairs_file(tmp_path / "test.csv", (1, "c")), pairs_file(tmp_path / "valid.csv", (1, "a"), (2, "b"))
    rows = [(1, "a", 1), (1, "b", 2), (1, "a", 3), (2, "a", 1), (2, "b", 2)]
    made = parts_of(*rows, protocol="given", test=test, valid=valid)
    assert sorted(made["valid"]) == [("1", "a"), ("1", "a"), ("2", "b")]
    assert sorted(made["train"]) == [("1", "b"), ("2", "a")]


def test_a_validation_row_that_was_not_ingested_is_named(tmp_path: Path) -> None:
    test, valid = pairs_file(tmp_path / "test.csv", (1, "c")), pairs_file(tmp_path / "valid.csv", (1, "a"), (2, "a"))
    with pytest.raises(ConfigError, match=r"1 rows of split.valid .* user 2, item a"):
        parts_of((1, "a", 1), (2, "b", 2), protocol="given", test=test, valid=valid)


@pytest.mark.parametrize("judged", [False, True])
def test_a_validation_row_that_was_rated_low_or_only_judges_is_named(judged: bool, tmp_path: Path) -> None:
    test = pairs_file(tmp_path / "test.csv", (2, "a") if judged else (1, "c"))
    valid = pairs_file(tmp_path / "valid.csv", (1, "a"), (2, "a"))
    rows = [(1, "a", 1, 5), (1, "b", 1, 5), (2, "b", 2, 5), (2, "a", 2, 5 if judged else 1)]
    with pytest.raises(ConfigError, match=r"1 rows of split.valid .* user 2, item a"):
        parts_of(*rows, positives=Positives(min_rating=4), protocol="given", test=test, valid=valid)


@pytest.mark.parametrize("repeats", ["drop_from_test", "keep"])
def test_a_given_row_that_was_ingested_too_only_judges(repeats: str, tmp_path: Path) -> None:
    file = pairs_file(tmp_path / "test.csv", (1, "a"), (1, "c"))
    rows = [(1, "a", 1), (1, "b", 2)]
    made = parts_of(*rows, protocol="given", test=file, repeats=repeats)
    assert (made["train"], made["test"]) == ([("1", "b")], [("1", "a"), ("1", "c")])


def test_relevant_candidates_are_not_trained_on_beside_a_given_test(tmp_path: Path) -> None:
    test = pairs_file(tmp_path / "test.csv", (1, "c"))
    candidates = pairs_file(tmp_path / "cand.csv", (1, "a", 1), (1, "b", 0), header="user_id,item_id,relevant")
    rows = [(1, "a", 1), (1, "b", 2), (2, "a", 3)]
    made = parts_of(*rows, protocol="given", test=test, candidates=candidates)
    assert made["train"] == [("1", "b"), ("2", "a")]
    assert made["test"] == [("1", "c")]


def test_the_relevant_candidates_are_the_test_rows_where_none_are_given(tmp_path: Path) -> None:
    file = pairs_file(
        tmp_path / "candidates.csv", (1, "c", 1), (1, "b", 0), (2, "c", "true"), header="user_id,item_id,relevant"
    )
    made = split_of((1, "a", 1), (2, "b", 2), protocol="given", candidates=file)
    assert made.claim.protocol == "given"
    assert made.raw("test") == [("1", "c"), ("2", "c")]


def test_a_test_that_leaves_nothing_to_train_on_is_refused(tmp_path: Path) -> None:
    file = pairs_file(tmp_path / "test.csv", (1, "a"), (1, "b"))
    with pytest.raises(DataRefused, match="train on"):
        parts_of((1, "a", 1), (1, "b", 2), protocol="given", test=file)


@pytest.mark.parametrize("protocol", ["temporal", "leave_last_out", "random"])
def test_files_go_with_given_alone(protocol: str) -> None:
    with pytest.raises(ValueError, match="given"):
        SplitConfig(protocol=protocol, test="test.csv")


def test_shares_must_leave_rows_to_train_on() -> None:
    with pytest.raises(ValueError, match="no rows to train"):
        SplitConfig(test_share=0.5, valid_share=0.5)


# what is stored


def test_rows_keep_their_place_in_the_log() -> None:
    rows = [(1, "a", 3), (1, "b", 1), (1, "c", 2), (2, "d", 0)]
    made = split_of(*rows, protocol="leave_last_out")
    assert made.tables["rated"].schema == RATED_ROWS
    assert made.tables["train"].schema == SPLIT_ROWS
    assert made.tables["test"].schema == TEST_ROWS
    places = {name: made.tables[name]["place"].to_pylist() for name in ("train", "valid", "test")}
    assert places == {"train": [0, 3], "valid": [1], "test": [2]}  # user 1's b, c, a, then user 2's d


def test_equal_input_is_split_once(store: Store, tmp_path: Path) -> None:
    snapshot = make_snapshot(store, tiny_log(*((n % 3, f"i{n}", n) for n in range(20))))
    file = pairs_file(tmp_path / "test.csv", (1, "z"))
    config = SplitConfig(protocol="given", test=file)
    first, second = split.fn(store, snapshot, config), split.fn(store, snapshot, config)
    assert first == second
    assert (first.cached, second.cached) == (False, True)
    pairs_file(tmp_path / "test.csv", (1, "y"))  # the name is the same, the content is not
    assert split.fn(store, snapshot, config).key != first.key
    assert split.fn(store, snapshot, SplitConfig(protocol="random")).key != first.key
    assert split.fn(store, replace(snapshot, hash="0"), config).key != first.key


def test_a_refused_split_leaves_nothing_behind(store: Store) -> None:
    snapshot = make_snapshot(store, tiny_log((1, "a", 1), (2, "b", 1)))
    with pytest.raises(DataRefused):
        split.fn(store, snapshot, SplitConfig(protocol="leave_last_out"))
    assert list((store.root / "prepared").iterdir()) == []


def test_a_missing_file_is_a_wrong_option(store: Store, tmp_path: Path) -> None:
    snapshot = make_snapshot(store, tiny_log((1, "a", 1), (2, "b", 1)))
    with pytest.raises(ConfigError, match=r"split\.test: no such file"):
        split.fn(store, snapshot, SplitConfig(protocol="given", test=str(tmp_path / "no.csv")))


def test_parquet_is_read_like_csv(tmp_path: Path) -> None:
    pq.write_table(pa.table({"user_id": [1], "item_id": [7]}), tmp_path / "test.parquet")
    made = parts_of((1, 5, 1), (1, 6, 2), protocol="given", test=str(tmp_path / "test.parquet"))
    assert made["test"] == [("1", "7")]


# events


def test_events_that_are_not_listed_are_not_there_and_the_others_weigh() -> None:
    rows = [
        (1, "a", 1, None, "buy"),
        (1, "b", 2, None, "view"),
        (1, "c", 3, None, "cart"),
        (1, "c", 4, None, "view"),
        (1, "d", 5, None, "buy"),
        (1, "e", 6, None, None),
    ]
    made = split_of(*rows, positives=Positives(events={"buy": 5, "cart": 2.5}), protocol="leave_last_out")
    assert [made.raw(name) for name in ("train", "valid", "test")] == [[("1", "a")], [("1", "c")], [("1", "d")]]
    assert made.tables["train"]["weight"].to_pylist() == [5]
    assert made.tables["valid"]["weight"].to_pylist() == [2.5]
    assert made.tables["rated"].num_rows == 0  # who only viewed an item may be shown it


def test_a_rating_too_low_is_known_where_its_event_is_listed() -> None:
    rows = [(1, item, n, 5, "buy") for n, item in enumerate("abcd")]
    rows += [(1, "b", 9, 1, "buy"), (1, "a", 9, 1, "view"), (2, "b", 1, 5, "buy")]
    positives = Positives(min_rating=3, events={"buy": 1})
    made = split_of(*rows, positives=positives, protocol="leave_last_out")
    assert made.raw("rated") == [("1", "b")]


def test_a_kind_of_event_that_no_row_has_is_told_with_what_is_left_out(store: Store) -> None:
    log = tiny_log(*((u, i, 9 * u + i, None, ("view", "purchase", None)[i % 3]) for u in range(4) for i in range(12)))
    snapshot = make_snapshot(store, log)

    def told(**events: float) -> list[str]:
        made = split.fn(store, snapshot, SplitConfig(protocol="leave_last_out"), Positives(events=events))
        notes: list[str] = store.manifest(f"prepared/{made.key}")["notes"]
        return notes

    assert told(view=1) == []
    assert told() == []
    (note,) = told(view=1, puchase=5)
    assert "no row is of the kind puchase" in note
    assert "purchase (16)" in note
    assert "none (16)" in note


def test_events_that_nobody_has_are_refused() -> None:
    with pytest.raises(DataRefused, match="kind bought"):
        parts_of((1, "a", 1, None, "buy"), positives=Positives(events={"bought": 1}))


# minimum activity


def test_a_core_is_found_step_by_step() -> None:
    """Item d has one training row; without it user 4 has one, and without user 4 item c has one, of user 3."""
    train = [(1, "a"), (1, "b"), (2, "a"), (2, "b"), (3, "a"), (3, "b"), (3, "c"), (4, "c"), (4, "d")]
    rows = [(user, item, n) for n, (user, item) in enumerate(train)]
    rows += [(user, f"v{n}", 100 + n) for n in range(2) for user in range(1, 5)]
    made = split_of(*rows, protocol="leave_last_out", k_core=2)
    assert made.raw("train") == [("1", "a"), ("1", "b"), ("2", "a"), ("2", "b"), ("3", "a"), ("3", "b")]
    assert made.raw("valid") == [(user, "v0") for user in "1234"]  # they judge as before
    assert made.raw("test") == [(user, "v1") for user in "1234"]
    assert made.tables["items"]["item_id"].to_pylist() == ["a", "b", "v0"]  # c and d are learned from by nobody
    assert made.raw("rated") == []


def test_what_a_random_split_leaves_out_is_known_at_the_test_wherever_it_stands() -> None:
    rows = [(user, f"i{n}", n) for user in range(6) for n in range(12)] + [(user, f"j{user}", 6) for user in range(6)]
    made = split_of(*rows, protocol="random", test_share=0.4, min_item_rows=3, seed=1)
    first = {
        user: min(r["place"] for r in made.tables["test"].to_pylist() if r["user_idx"] == user) for user in range(6)
    }
    left_out = made.tables["rated"].to_pylist()
    assert any(row["place"] > first[row["user_idx"]] for row in left_out)
    assert all(row["before_test"] for row in left_out)


def test_what_is_left_out_is_not_shown_again() -> None:
    rows = [(user, item, n) for user in (1, 2) for n, item in enumerate("abcde")]
    rows += [(3, "a", 0), (3, "b", 1), (3, "c", 2)]
    made = split_of(*rows, protocol="leave_last_out", min_user_rows=2)
    assert made.raw("valid")[-1] == ("3", "b")
    assert made.raw("rated") == [("3", "a")]
    assert made.tables["rated"]["before_test"].to_pylist() == [True]


@pytest.mark.parametrize("option", ["min_user_rows", "min_item_rows", "k_core"])
def test_a_limit_that_nobody_reaches_is_refused_by_its_name(option: str) -> None:
    rows = [(user, item, n) for user in (1, 2) for n, item in enumerate("abcde")]
    with pytest.raises(DataRefused, match=rf"split\.{option} leaves no row"):
        parts_of(*rows, protocol="leave_last_out", **{option: 9})


def test_repeats_of_a_pair_count_as_activity() -> None:
    rows = [(1, "a", 1), (1, "a", 2), (1, "a", 3), (1, "b", 4), (1, "c", 5), (2, "b", 1)]
    assert parts_of(*rows, protocol="leave_last_out", k_core=3)["train"] == [("1", "a")] * 3


# every protocol, held against plain loops

IDS = st.integers(0, 4)
RATINGS, EVENTS = st.sampled_from([None, 1.0, 4.0, 5.0]), st.sampled_from(["view", "buy", None])
ROWS = st.lists(st.tuples(IDS, IDS, st.integers(0, 8), RATINGS, EVENTS), min_size=1, max_size=40)
POSITIVES = st.sampled_from(
    [Positives(), Positives(min_rating=4), Positives(events={"buy": 3, "view": 0.5}), Positives(events={"buy": 2})]
)
CONFIGS = st.fixed_dictionaries(
    {
        "protocol": st.sampled_from(["temporal", "leave_last_out", "random", "given"]),
        "repeats": st.sampled_from(["drop_from_test", "keep"]),
        "min_user_rows": st.sampled_from([1, 1, 1, 2]),
        "min_item_rows": st.sampled_from([1, 1, 1, 2]),
        "k_core": st.sampled_from([0, 0, 0, 2]),
        "test_share": st.just(0.2),
        "valid_share": st.just(0.2),
        "seed": st.integers(0, 3),
    }
)


@settings(max_examples=60, deadline=None)
@given(ROWS, POSITIVES, CONFIGS, st.booleans())
def test_every_split_is_what_plain_loops_make_and_passes_its_audit(
    rows: list[tuple[Any, ...]], positives: Positives, config: dict[str, Any], timed: bool
) -> None:
    timed = timed or config["protocol"] == "temporal" or config["protocol"] == "given"
    rows = [(user, item, time if timed else None, *more) for user, item, time, *more in rows]
    with TemporaryDirectory() as folder:
        if config["protocol"] == "given":
            config = {**config, "test": pairs_file(Path(folder) / "test.csv", (1, 1), (2, 3), (9, 9))}
        judged = {(1, 1), (2, 3), (9, 9)} if config["protocol"] == "given" else set()
        parts, weights = by_loops(rows, positives, SplitConfig(**config), judged)
        try:
            made = write(Store(Path(folder)), tiny_log(*rows), positives=positives, **config)
        except DataRefused:
            assert not parts["train"] or (not parts["test"] and not judged)
            return
        assert not any(made.violations().values())
    for name in ("train", "valid", "rated", "test"):
        if name != "test" or not judged:
            assert made.tables[name]["place"].to_pylist() == sorted(parts[name])
            assert made.raw(name) == [(str(parts[name][n][0]), str(parts[name][n][1])) for n in sorted(parts[name])]
        if name in ("train", "valid"):
            assert made.tables[name]["weight"].to_pylist() == [weights[n] for n in sorted(parts[name])]
    first = {user: min(n for n in parts["test"] if parts["test"][n][0] == user) for user, *_ in parts["test"].values()}
    before = [
        place < first.get(row[0], 1000) or place in parts["left_out"] for place, row in sorted(parts["rated"].items())
    ]
    assert made.tables["rated"]["before_test"].to_pylist() == before


def by_loops(
    rows: list[tuple[Any, ...]], positives: Positives, config: SplitConfig, judged: set[tuple[int, int]]
) -> tuple[dict[str, dict[int, tuple[Any, ...]]], dict[int, float]]:
    """The rows of each part by their place, and every row's weight."""
    listed = [
        (user, item, time or 0, n, rating, event)
        for n, (user, item, time, rating, event) in enumerate(rows)
        if (user, item) not in judged and (not positives.events or event in positives.events)
    ]
    least = positives.min_rating
    liked = [row for row in listed if least is None or (row[4] is not None and row[4] >= least)]
    users, items = {row[0] for row in liked}, {row[1] for row in liked}
    stream = sorted((row for row in listed if row[0] in users and row[1] in items), key=lambda row: row[:1] + row[2:4])
    good = {place: row for place, row in enumerate(stream) if row in liked}
    part = assigned(good, config)
    if config.repeats != "keep":
        for later, earlier in (("valid", ("train",)), ("test", ("train", "valid"))):
            had = {good[n][:2] for n in good if part[n] in earlier}
            part.update({n: "dropped" for n in good if part[n] == later and good[n][:2] in had})
    train = {n: good[n] for n in good if part[n] == "train"}
    while True:  # one row after another, as long as there is one too many
        of_user, of_item = (Counter(row[at] for row in train.values()) for at in (0, 1))
        weak = [
            n
            for n, row in train.items()
            if of_user[row[0]] < max(config.min_user_rows, config.k_core)
            or of_item[row[1]] < max(config.min_item_rows, config.k_core)
        ]
        if not weak:
            break
        del train[weak[0]]
    parts = {name: {n: good[n] for n in good if part[n] == name} for name in ("train", "valid", "test")}
    left_out = {n: row for n, row in parts["train"].items() if n not in train}
    known = {**train, **parts["valid"]}.values()
    rated = {n: row for n, row in enumerate(stream) if n not in good} | left_out
    of_known = {
        n: r for n, r in rated.items() if r[0] in {one[0] for one in known} and r[1] in {one[1] for one in known}
    }
    weights = {n: positives.events.get(row[5], 1.0) if positives.events else 1.0 for n, row in enumerate(stream)}
    return {**parts, "train": train, "rated": of_known, "left_out": left_out}, weights


def assigned(good: dict[int, tuple[Any, ...]], config: SplitConfig) -> dict[int, str]:
    n, of_user = len(good), defaultdict(list)
    for place in sorted(good):
        of_user[good[place][0]].append(place)
    part = dict.fromkeys(good, "train")
    n_test, n_valid = round(n * 0.2), round(n * 0.2)
    if config.protocol == "temporal" and n:
        times = sorted(row[2] for row in good.values())
        test, valid = times[min(n - 1, n - n_test)], times[max(0, min(n - 1, n - n_test - n_valid))]
        part = {
            place: "test" if row[2] >= test else "valid" if row[2] >= valid else "train" for place, row in good.items()
        }
    if config.protocol == "random":
        number_N = numbers_of(np.uint64(make_draw(n, config).key), np.arange(n))
        drawn = [sorted(good)[at] for at in np.argsort(number_N)]
        part.update(dict.fromkeys(drawn[:n_test], "test") | dict.fromkeys(drawn[n_test : n_test + n_valid], "valid"))
    if config.protocol == "leave_last_out":
        part.update({places[-1]: "test" for places in of_user.values() if len(places) >= 3})
        part.update({places[-2]: "valid" for places in of_user.values() if len(places) >= 3})
    if config.protocol == "given":
        part.update({places[-1]: "valid" for places in of_user.values() if len(places) >= 3})
    return part


@pytest.mark.parametrize("protocol", ["temporal", "leave_last_out", "random"])
def test_blocks_and_memory_change_nothing(protocol: str, store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(0)
    draw = rng.integers([12, 9, 20, 6], size=(300, 4)).tolist()
    files = [tiny_log(*((u, i, t, r) for u, i, t, r in draw[half::2])) for half in range(2)]
    made = [
        write(
            replace(store, memory_bytes=memory), *files, positives=Positives(min_rating=2), protocol=protocol, k_core=2
        )
        for block, memory in ((1 << 20, 4 * 10**9), (1, 10**8), (7, 10**8))
        if monkeypatch.setattr(log_module, "BLOCK_ROWS", block) is None
    ]
    assert made[0].parts == made[1].parts == made[2].parts
    assert all(ref.rows for ref in made[0].parts.values())


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(IDS, IDS, st.integers(0, 2)), min_size=1, max_size=40))
def test_repeats_are_dropped_as_by_sets(rows: list[tuple[int, int, int]]) -> None:
    rows = sorted(rows, key=lambda row: row[0])
    users_R, items_R, part_R = np.array(rows, dtype=np.int32).T
    cleaned = drop_repeats(users_R.copy(), items_R.copy(), part_R.astype(np.int8), 5).tolist()
    for number, (user, item, part) in enumerate(rows):
        repeated = any((u, i) == (user, item) and p < part for u, i, p in rows)
        assert cleaned[number] == (Part.DROPPED if repeated else part)


@pytest.mark.parametrize(("n", "share"), [(1, 0.49), (2, 0.49), (1000, 0.1), (1000, 0.45), (70_000, 0.3)])
def test_the_draw_is_exact_at_any_size(n: int, share: float) -> None:
    draw = make_draw(n, SplitConfig(test_share=share, valid_share=share))
    number_N = numbers_of(np.uint64(draw.key), np.arange(n))
    assert len(np.unique(number_N)) == n
    counts = [0 if one is None else int((number_N <= np.uint64(one)).sum()) for one in (draw.test, draw.valid)]
    assert counts == [round(n * share), 2 * round(n * share)]


def test_the_log_is_read_until_the_core_stays() -> None:
    """A chain: each pair that goes takes the next along, so every reading finds only one more."""
    users_R = np.repeat(np.arange(9), 2).astype(np.int32)
    items_R = ((np.arange(18) + 1) // 2).astype(np.int32)  # user n has items n and n + 1; item 0 and item 9 one row
    part_R = np.zeros(18, dtype=np.int8)
    read: list[int] = []

    def pairs() -> Any:
        read.append(1)
        yield from ((users_R[:7], items_R[:7], part_R[:7]), (users_R[7:], items_R[7:], part_R[7:]))

    active = find_active(pairs, np.bincount(users_R), np.bincount(items_R), SplitConfig(k_core=2))
    assert active.rows == 0
    assert len(read) > 3
    assert find_active(pairs, np.bincount(users_R), np.bincount(items_R), SplitConfig()).rows == 18
