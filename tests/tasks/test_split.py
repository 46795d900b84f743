"""Every protocol on logs small enough to be split by hand, and the audit on leaks that are planted."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tasks.errors import ConfigError, DataRefused
from tasks.schema import SPLIT_ROWS, TEST_ROWS
from tasks.split.assemble import Split, drop_repeats
from tasks.split.audit import LeakFound, audit
from tasks.split.config import SplitConfig
from tasks.split.given import given as given_split
from tasks.split.leave_last_out import leave_last_out
from tasks.split.parts import Part, make_log
from tasks.split.random import random
from tasks.split.task import split, split_log
from tasks.split.temporal import temporal
from tasks.store.store import Store
from tests.factories import make_snapshot, tiny_log

Rows = list[tuple[str, str]]


def parts(*rows: tuple[object, ...], min_rating: float | None = None, **config: object) -> dict[str, Rows]:
    """Each part's rows as raw pairs of text, in their order."""
    _, made = split_log(make_log(tiny_log(*rows), min_rating), SplitConfig(**config))
    return raw(made)


def raw(made: Split) -> dict[str, Rows]:
    users, items = made.users["user_id"].to_pylist(), made.items["item_id"].to_pylist()
    coded = {
        name: [
            (str(users[user]), str(items[item]))
            for user, item in zip(rows["user_idx"].to_pylist(), rows["item_idx"].to_pylist(), strict=True)
        ]
        for name, rows in (("train", made.train), ("valid", made.valid))
    }
    return {**coded, "test": list(zip(made.test["user_id"].to_pylist(), made.test["item_id"].to_pylist(), strict=True))}


def pairs_file(path: Path, *pairs: tuple[object, ...], header: str = "user_id,item_id") -> str:
    path.write_text("\n".join([header, *(",".join(map(str, pair)) for pair in pairs)]) + "\n", encoding="utf-8")
    return str(path)


# leave_last_out


def test_each_users_last_row_judges_and_the_one_before_it_chooses() -> None:
    # in file order user 1's rows are c (9), a (1), b (5): by time a, b, c
    made = parts((1, "c", 9), (2, "x", 2), (1, "a", 1), (1, "b", 5), (2, "y", 3), protocol="leave_last_out")
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
    made = parts((1, "a", None), (1, "b", None), (1, "c", None), protocol="leave_last_out")
    assert (made["train"], made["valid"], made["test"]) == ([("1", "a")], [("1", "b")], [("1", "c")])


def test_a_repeat_is_dropped_from_the_later_part_or_kept() -> None:
    rows = ((1, "a", 1), (1, "b", 2), (1, "a", 3), (2, "a", 1), (2, "b", 2), (2, "c", 3))
    dropped = parts(*rows, protocol="leave_last_out")
    assert dropped["test"] == [("2", "c")]
    assert dropped["valid"] == [("1", "b"), ("2", "b")]
    kept = parts(*rows, protocol="leave_last_out", repeats="keep")
    assert sorted(kept["test"]) == [("1", "a"), ("2", "c")]


# id maps


def test_id_maps_hold_only_what_was_known_before_the_test() -> None:
    rows = [("u", "a", 1), ("u", "b", 2), ("u", "new", 3), ("v", "a", 1), ("v", "b", 2), ("v", "c", 3)]
    _, made = split_log(make_log(tiny_log(*rows), None), SplitConfig(protocol="leave_last_out"))
    assert made.items["item_id"].to_pylist() == ["a", "b"]
    assert made.test.select(["user_id", "user_idx", "item_id", "item_idx"]).to_pylist() == [
        {"user_id": "u", "user_idx": 0, "item_id": "new", "item_idx": -1},
        {"user_id": "v", "user_idx": 1, "item_id": "c", "item_idx": -1},
    ]


def test_a_user_who_comes_only_in_the_test_has_no_index() -> None:
    rows = [*((f"u{n}", f"i{n % 3}", n) for n in range(9)), ("late", "i0", 9)]
    _, made = split_log(make_log(tiny_log(*rows), None), SplitConfig(protocol="temporal", valid_share=0.2))
    assert "late" not in made.users["user_id"].to_pylist()
    assert made.test["user_idx"].to_pylist() == [-1]
    assert made.test["item_idx"].to_pylist() == [0]


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
    _, made = split_log(make_log(tiny_log(*rows), None), SplitConfig(protocol="leave_last_out", repeats="keep"))
    for table, name in ((made.users, "user_id"), (made.items, "item_id")):
        assert table[name].type == type_
        assert table[name].to_pylist() == order


def test_one_text_id_in_the_test_alone_makes_all_ids_text() -> None:
    rows = [(1, 10, 1), (1, 11, 2), (1, "x", 3), (2, 11, 1), (2, 10, 2), (2, 10, 3)]
    _, made = split_log(make_log(tiny_log(*rows), None), SplitConfig(protocol="leave_last_out"))
    assert made.items["item_id"].to_pylist() == ["10", "11"]
    assert made.users["user_id"].to_pylist() == [1, 2]


def test_features_stand_in_index_order_and_are_null_where_they_are_missing() -> None:
    items = pa.table({"item_id": ["c", "a", "zz"], "title": ["See", "Ay", "Never bought"]})
    log = make_log(tiny_log((1, "a", 1), (1, "b", 2), (1, "c", 3), (2, "c", 1)), None)
    _, made = split_log(log, SplitConfig(protocol="leave_last_out"), (None, items))
    assert made.items.to_pylist() == [
        {"item_id": "a", "title": "Ay"},
        {"item_id": "b", "title": None},
        {"item_id": "c", "title": "See"},
    ]


# min_rating


def test_rows_below_the_rating_or_without_one_are_no_positives() -> None:
    rows: list[tuple[object, ...]] = [
        (1, item, time, rating) for time, (item, rating) in enumerate([("a", 4), ("b", 5), ("c", 3.5), ("d", 4)])
    ]
    rows.append((1, "e", 9, None))
    made = parts(*rows, min_rating=4, protocol="leave_last_out")
    assert made == {"train": [("1", "a")], "valid": [("1", "b")], "test": [("1", "d")]}


def test_a_threshold_above_every_rating_is_refused() -> None:
    with pytest.raises(DataRefused, match="rated 9"):
        parts((1, "a", 1, 5), min_rating=9)


# temporal


def test_the_newest_tenth_judges_and_the_tenth_before_it_chooses() -> None:
    made = parts(*((n, f"i{n}", n) for n in range(10)), protocol="temporal")
    assert made["train"] == [(str(n), f"i{n}") for n in range(8)]
    assert made["valid"] == [("8", "i8")]
    assert made["test"] == [("9", "i9")]


def test_one_instant_is_never_split() -> None:
    # the cut for the test falls between two rows of second 7, the cut before it between two of second 4
    times = [0, 1, 2, 3, 4, 4, 6, 7, 7, 9]
    log = make_log(tiny_log(*((n, f"i{n}", time) for n, time in enumerate(times))), None)
    part_R = temporal(log, SplitConfig(test_share=0.2, valid_share=0.3))
    assert part_R.tolist() == [Part.TRAIN] * 4 + [Part.VALID] * 3 + [Part.TEST] * 3


@pytest.mark.parametrize(("test_share", "n_test"), [(0.1, 1), (0.5, 5), (0.7, 7), (0.85, 8)])
def test_shares_are_counted_exactly(test_share: float, n_test: int) -> None:
    log = make_log(tiny_log(*((n, f"i{n}", n) for n in range(10))), None)
    part_R = temporal(log, SplitConfig(test_share=test_share, valid_share=0.1))
    assert (part_R == Part.TEST).sum() == n_test


def test_a_log_of_one_instant_cannot_be_cut() -> None:
    with pytest.raises(DataRefused, match="train on"):
        parts(*((n, f"i{n}", 5) for n in range(10)), protocol="temporal")


def test_the_temporal_split_needs_timestamps_on_every_row() -> None:
    with pytest.raises(ConfigError, match="timestamps") as caught:
        parts((1, "a", 1), (1, "b", None), (2, "a", 3), protocol="temporal")
    assert "--split.protocol=" in caught.value.hint


# random


def test_random_shares_are_exact_and_follow_the_seed() -> None:
    rows = [(n % 7, f"i{n}", None) for n in range(50)]
    one, same, other = (
        parts(*rows, protocol="random", test_share=0.2, valid_share=0.1, seed=seed) for seed in (1, 1, 2)
    )
    assert {name: len(part) for name, part in one.items()} == {"train": 35, "valid": 5, "test": 10}
    assert one == same != other


@pytest.mark.parametrize(("time", "protocol"), [(1, "temporal"), (None, "random")])
def test_the_log_decides_where_no_protocol_is_set(time: int | None, protocol: str) -> None:
    rows = [(n % 3, f"i{n}", None if time is None else n) for n in range(20)]
    assert split_log(make_log(tiny_log(*rows), None), SplitConfig())[0] == protocol


# given


def test_given_rows_judge_and_the_last_row_of_three_or_more_chooses(tmp_path: Path) -> None:
    file = pairs_file(tmp_path / "test.csv", (1, "d"), (2, "a"), (9, "a"), (1, "never seen"))
    rows = [(1, "a", 3), (1, "b", 1), (1, "c", 2), (2, "b", 1), (2, "c", 2)]
    made = parts(*rows, protocol="given", test=file)
    assert made["valid"] == [("1", "a")]
    assert made["train"] == [("1", "b"), ("2", "b"), ("1", "c"), ("2", "c")]
    assert made["test"] == [("1", "d"), ("2", "a"), ("9", "a"), ("1", "never seen")]


def test_given_without_timestamps_holds_out_one_random_row_of_three_or_more(tmp_path: Path) -> None:
    file = pairs_file(tmp_path / "test.csv", (1, "z"))
    rows = [(user, f"i{n}", None) for user in range(30) for n in range(2 + user % 2)]
    made = parts(*rows, protocol="given", test=file)
    assert sorted(user for user, _ in made["valid"]) == sorted(str(user) for user in range(1, 30, 2))
    assert len({item for _, item in made["valid"]}) == 3  # not always the last one


def test_given_with_validation_rows_moves_every_such_pair(tmp_path: Path) -> None:
    test, valid = pairs_file(tmp_path / "test.csv", (1, "c")), pairs_file(tmp_path / "valid.csv", (1, "a"), (2, "b"))
    rows = [(1, "a", 1), (1, "b", 2), (1, "a", 3), (2, "a", 1), (2, "b", 2)]
    made = parts(*rows, protocol="given", test=test, valid=valid)
    assert sorted(made["valid"]) == [("1", "a"), ("1", "a"), ("2", "b")]
    assert sorted(made["train"]) == [("1", "b"), ("2", "a")]


def test_a_validation_row_that_was_not_ingested_is_named(tmp_path: Path) -> None:
    test, valid = pairs_file(tmp_path / "test.csv", (1, "c")), pairs_file(tmp_path / "valid.csv", (1, "a"), (2, "a"))
    with pytest.raises(ConfigError, match=r"1 rows of split.valid .* user 2, item a"):
        parts((1, "a", 1), (2, "b", 2), protocol="given", test=test, valid=valid)


@pytest.mark.parametrize("repeats", ["drop_from_test", "keep"])
def test_a_given_row_that_was_ingested_too_only_judges(repeats: str, tmp_path: Path) -> None:
    file = pairs_file(tmp_path / "test.csv", (1, "a"), (1, "c"))
    rows = [(1, "a", 1), (1, "b", 2)]
    made = parts(*rows, protocol="given", test=file, repeats=repeats)
    assert (made["train"], made["test"]) == ([("1", "b")], [("1", "a"), ("1", "c")])


def test_relevant_candidates_are_not_trained_on_beside_a_given_test(tmp_path: Path) -> None:
    test = pairs_file(tmp_path / "test.csv", (1, "c"))
    candidates = pairs_file(tmp_path / "cand.csv", (1, "a", 1), (1, "b", 0), header="user_id,item_id,relevant")
    log = make_log(tiny_log((1, "a", 1), (1, "b", 2), (2, "a", 3)), None)
    _, made = split_log(log, SplitConfig(protocol="given", test=test), candidates=candidates)
    assert raw(made)["train"] == [("1", "b"), ("2", "a")]
    assert raw(made)["test"] == [("1", "c")]


def test_the_relevant_candidates_are_the_test_rows_where_none_are_given(tmp_path: Path) -> None:
    file = pairs_file(
        tmp_path / "candidates.csv", (1, "c", 1), (1, "b", 0), (2, "c", "true"), header="user_id,item_id,relevant"
    )
    log = make_log(tiny_log((1, "a", 1), (2, "b", 2)), None)
    protocol, made = split_log(log, SplitConfig(protocol="given"), candidates=file)
    assert protocol == "given"
    assert raw(made)["test"] == [("1", "c"), ("2", "c")]


def test_a_test_that_leaves_nothing_to_train_on_is_refused(tmp_path: Path) -> None:
    file = pairs_file(tmp_path / "test.csv", (1, "a"), (1, "b"))
    with pytest.raises(DataRefused, match="train on"):
        parts((1, "a", 1), (1, "b", 2), protocol="given", test=file)


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
    _, made = split_log(make_log(tiny_log(*rows), None), SplitConfig(protocol="leave_last_out"))
    assert made.train.schema == SPLIT_ROWS
    assert made.test.schema == TEST_ROWS
    assert (made.train["place"].to_pylist(), made.valid["place"].to_pylist(), made.test["place"].to_pylist()) == (
        [0, 1],
        [2],
        [3],
    )


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


# the audit

LOGS = st.lists(st.tuples(st.integers(0, 5), st.integers(0, 5), st.integers(0, 8)), min_size=1, max_size=40)


@settings(max_examples=80, deadline=None)
@given(LOGS, st.sampled_from(["temporal", "leave_last_out", "random", "given"]), st.booleans(), st.booleans())
def test_every_protocol_passes_the_audit_and_loses_no_row(
    rows: list[tuple[int, int, int]], protocol: str, keeps: bool, timed: bool
) -> None:
    log = make_log(tiny_log(*((u, i, t if timed else None) for u, i, t in rows)), None)
    if protocol == "temporal" and not timed:
        return
    config = SplitConfig(test_share=0.2, valid_share=0.2)
    assign = {
        "temporal": lambda: temporal(log, config),
        "leave_last_out": lambda: leave_last_out(log),
        "random": lambda: random(log, config),
        "given": lambda: given_split(log, config, None),
    }
    part_R = assign[protocol]()
    assert set(part_R.tolist()) <= {Part.TRAIN, Part.VALID, Part.TEST}  # a row is in one part, and none is dropped yet
    cleaned_R = part_R if keeps else drop_repeats(log, part_R)
    audit(log, cleaned_R, protocol, keeps)
    dropped_R = cleaned_R == Part.DROPPED
    assert (cleaned_R[~dropped_R] == part_R[~dropped_R]).all()
    pair_R = log.pairs().tolist()
    for row in np.flatnonzero(dropped_R):  # only what an earlier part has is dropped
        assert any(pair_R[row] == pair_R[other] for other in np.flatnonzero(part_R < part_R[row]))
    if timed and protocol == "leave_last_out":
        for user in np.unique(log.users_R[part_R == Part.TEST]):
            own_R = log.users_R == user
            assert log.time_R is not None
            assert log.time_R[own_R & (part_R == Part.TEST)].min() >= log.time_R[own_R].max()


TINY = make_log(tiny_log((1, "a", 1), (1, "b", 2), (1, "c", 3), (1, "a", 4)), None)
TRAIN, VALID, TEST = Part.TRAIN, Part.VALID, Part.TEST


@pytest.mark.parametrize(
    ("protocol", "part", "message"),
    [
        ("random", [TRAIN, TRAIN, VALID, TEST], "both TRAIN and TEST"),
        ("random", [TRAIN, TRAIN, TEST, VALID], "both TRAIN and VALID"),
        ("random", [VALID, TRAIN, TRAIN, TEST], "both VALID and TEST"),
        ("temporal", [TRAIN, TEST, VALID, TRAIN], "VALID row is not later than every TRAIN"),
        ("temporal", [TRAIN, TEST, TRAIN, TRAIN], "TEST row is not later than every TRAIN"),
        ("temporal", [TRAIN, TEST, VALID, -1], "TEST row is not later than every VALID"),
        ("leave_last_out", [TRAIN, VALID, TEST, TRAIN], "not the user's last"),
        ("leave_last_out", [TRAIN, VALID, TRAIN, -1], "not the user's last"),
    ],
)
def test_a_planted_leak_is_found(protocol: str, part: list[int], message: str) -> None:
    with pytest.raises(LeakFound, match=message):
        audit(TINY, np.array(part, dtype=np.int8), protocol, keeps_repeats=False)


def test_one_instant_on_both_sides_is_a_leak() -> None:
    log = make_log(tiny_log((1, "a", 1), (2, "b", 1)), None)
    with pytest.raises(LeakFound, match="TEST row is not later"):
        audit(log, np.array([TRAIN, TEST], dtype=np.int8), "temporal", keeps_repeats=True)


def test_parquet_is_read_like_csv(tmp_path: Path) -> None:
    pq.write_table(pa.table({"user_id": [1], "item_id": [7]}), tmp_path / "test.parquet")
    made = parts((1, 5, 1), (1, 6, 2), protocol="given", test=str(tmp_path / "test.parquet"))
    assert made["test"] == [("1", "7")]
