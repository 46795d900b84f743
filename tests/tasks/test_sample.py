"""The three histories by hand, candidates, weights, and their way through Parquet."""

from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

import tasks.sample.histories as histories_module
from tasks.errors import ConfigError, DataRefused, RunFailed
from tasks.sample import audit as of_samples
from tasks.sample.histories import write_histories
from tasks.sample.task import code_candidates, sample
from tasks.schema import HISTORIES, HISTORY_WEIGHTS
from tasks.split.config import Positives, SplitConfig
from tasks.split.task import split
from tasks.store.histories import HistoryFile, read_histories, read_weights
from tasks.store.refs import DatasetRef, SplitRefs
from tasks.store.store import Store, Writer
from tests.factories import make_snapshot, tiny_log
from tests.tasks.splitting import write


def written(store: Store, refs: SplitRefs) -> dict[str, DatasetRef]:
    writer = Writer(store.path("prepared/samples"), "prepared/samples")
    writer.folder.mkdir(exist_ok=True)
    return write_histories(store, writer, refs)


def histories(*rows: tuple[object, ...], **options: Any) -> dict[str, list[list[str]]]:
    """Each moment's lists, by raw item id, in the order of the id map of the users."""
    with TemporaryDirectory() as folder:
        made = write(Store(Path(folder)), tiny_log(*rows), **options)
        items = made.tables["items"]["item_id"].to_pylist()
        files = written(made.store, made.refs())
        moments = {name: read_histories(made.store.path(ref.path)) for name, ref in files.items()}
    return {
        name: [[str(items[item]) for item in one.row(user).tolist()] for user in range(len(one))]
        for name, one in moments.items()
    }


def test_three_moments_by_hand() -> None:
    rows = [(1, "c", 3), (1, "a", 1), (1, "d", 4), (1, "b", 2), (2, "d", 1), (2, "a", 2)]
    made = histories(*rows, protocol="leave_last_out")
    assert made["fitted"] == [["a", "b"], ["d", "a"]]
    assert made["known"] == [["a", "b", "c"], ["d", "a"]]
    assert made["served"] == [["a", "b", "c", "d"], ["d", "a"]]


def test_test_rows_that_were_not_ingested_are_never_masked(tmp_path: Path) -> None:
    file = tmp_path / "test.csv"
    file.write_text("user_id,item_id\n1,d\n1,e\n2,a\n")
    rows = [(1, "a", 1), (1, "b", 2), (1, "c", 3), (2, "d", 1)]
    made = histories(*rows, protocol="given", test=str(file))
    assert made["served"] == made["known"] == [["a", "b", "c"], ["d"]]


@pytest.mark.parametrize("timed", [True, False])
def test_a_random_split_is_put_back_in_order(timed: bool) -> None:
    # every row of one instant, or of none: file order alone tells which came first
    rows = [(1, f"i{n:02d}", 5 if timed else None) for n in range(30)]
    made = histories(*rows, protocol="random", test_share=0.3, valid_share=0.3)
    (known,), (fitted,), (served,) = made["known"], made["fitted"], made["served"]
    assert len(fitted) == 12
    assert len(known) == 21
    assert known == sorted(known)
    assert fitted == sorted(fitted)
    assert served == sorted(served)
    assert served == known  # the nine test items are new: the model has no index for them


def test_users_and_items_of_the_test_alone_are_in_no_history() -> None:
    rows = [*((f"u{n % 4}", f"i{n % 3}", n) for n in range(16)), ("u0", "new", 20), ("new", "i0", 21), ("u1", "i9", 22)]
    made = histories(*rows, protocol="temporal", test_share=0.15, repeats="keep")
    assert len(made["served"]) == 4
    assert "new" not in {item for one in made["served"] for item in one}


def test_candidates_are_coded_and_unknown_ids_marked() -> None:
    rows = pa.table({"user_id": ["7", "8", "07"], "item_id": ["x", "y", "x"], "relevant": [True, False, True]})
    coded = code_candidates(rows, pa.table({"user_id": [5, 7]}), pa.table({"item_id": ["w", "x"]}))
    assert coded.select(["user_idx", "item_idx"]).to_pydict() == {"user_idx": [1, -1, -1], "item_idx": [1, -1, 1]}
    assert coded.select(["user_id", "item_id", "relevant"]).equals(rows.cast(coded.schema.remove(0).remove(0)))


LISTS = st.lists(st.lists(st.integers(0, 9), max_size=4), min_size=1, max_size=9)


def stored(folder: Path, name: str, lists: list[list[Any]], schema: pa.Schema = HISTORIES, size: int = 3) -> Path:
    with HistoryFile(Writer(folder, "here"), name, schema) as file:
        for start in range(0, len(lists), size):
            group = lists[start : start + size]
            values = np.array([one for lists in group for one in lists])
            file.add(np.cumsum([0, *map(len, group)]), values.astype(schema.types[1].value_type.to_pandas_dtype()))
    assert file.ref.rows == len(lists)
    return folder / f"{name}.parquet"


@settings(max_examples=40, deadline=None)
@given(LISTS)
def test_histories_survive_parquet(lists: list[list[int]]) -> None:
    lists = [[], *lists, []]
    with TemporaryDirectory() as folder:
        path = stored(Path(folder), "h", lists)
        after = read_histories(path)
        assert pq.read_table(path)["items"].to_pylist() == lists
        halves = [[one / 2 for one in each] for each in lists]
        weights_R = read_weights(stored(Path(folder), "w", halves, HISTORY_WEIGHTS))
    assert [after.row(user).tolist() for user in range(len(after))] == lists
    assert after.items_R.dtype == np.int32
    assert after.offsets_U1.dtype == np.int64
    assert after.items_R.flags.writeable  # torch warns of any other
    assert weights_R.tolist() == [one / 2 for each in lists for one in each]
    assert weights_R.dtype == np.float32


def test_a_damaged_file_says_what_to_delete(tmp_path: Path) -> None:
    path = stored(tmp_path, "h", [[1, 2], [3]])
    path.write_bytes(path.read_bytes()[:-9])
    with pytest.raises(RunFailed, match="delete the folder"):
        read_histories(path)


@settings(max_examples=30, deadline=None)
@given(
    st.lists(st.tuples(st.integers(0, 6), st.integers(0, 5), st.integers(1, 9), st.sampled_from([1, 5])), min_size=5),
    st.sampled_from(["temporal", "leave_last_out", "random"]),
    st.sampled_from(["drop_from_test", "keep"]),
    st.sampled_from([1, 2, 3, 100]),
)
def test_histories_are_what_plain_loops_make_in_groups_of_any_size(
    rows: list[tuple[int, int, int, int]], protocol: str, repeats: str, group: int
) -> None:
    rows += [*((7, n, 0, 5) for n in range(6)), *((7, n, n // 2 + 20, 5) for n in range(6, 10))]
    with TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patch:
        patch.setattr(histories_module, "GROUP_USERS", group)
        patch.setattr(of_samples, "GROUP_USERS", group)
        config: dict[str, Any] = {"protocol": protocol, "repeats": repeats, "min_user_rows": 2, "test_share": 0.2}
        try:
            made = write(Store(Path(folder)), tiny_log(*rows), positives=Positives(min_rating=3), **config)
        except DataRefused:
            assume(False)
        files = {name: made.store.path(ref.path) for name, ref in written(made.store, made.refs()).items()}
        assert not any(of_samples.violations(made.store, files, made.refs()).values())
        found = {name: pq.read_table(path)["items"].to_pylist() for name, path in files.items()}
    rows_of = {name: made.tables[name].to_pylist() for name in ("train", "valid", "test", "rated")}
    before = [row for row in rows_of["rated"] if row["before_test"]]
    known, served = rows_of["train"] + rows_of["valid"], rows_of["train"] + rows_of["valid"] + rows_of["test"]
    for user in range(made.tables["users"].num_rows):
        assert found["fitted"][user] == by_place(user, rows_of["train"])
        assert found["known"][user] == by_place(user, known)
        assert found["served"][user] == by_place(user, served)
        assert set(found["seen_known"][user]) == set(by_place(user, known + before))
        assert set(found["seen_served"][user]) == set(by_place(user, served + rows_of["rated"]))


def by_place(user: int, rows: list[dict[str, Any]]) -> list[int]:
    own = [row for row in rows if row["user_idx"] == user and row["item_idx"] >= 0]
    return [row["item_idx"] for row in sorted(own, key=lambda row: row["place"])]


def test_every_row_of_a_history_has_its_weight(store: Store) -> None:
    rows = [(1, "b", 1, None, "buy"), (1, "a", 2, None, "view"), (1, "b", 3, None, "view"), (1, "c", 4, None, "buy")]
    rows += [(2, "b", 1, None, "view")]
    made = write(store, tiny_log(*rows), positives=Positives(events={"buy": 3, "view": 0.5}), protocol="leave_last_out")
    files = {name: store.path(ref.path) for name, ref in written(store, made.refs()).items()}
    assert read_weights(files["fitted_weights"]).tolist() == [3, 0.5, 0.5]
    assert read_weights(files["known_weights"]).tolist() == [3, 0.5, 0.5]  # the view of b was a repeat
    assert read_histories(files["fitted"]).items_R.tolist() == [1, 0, 1]


def test_what_equals_another_file_is_that_file(store: Store, tmp_path: Path) -> None:
    rows = [(1, "a", 1, 5), (1, "b", 2, 5), (1, "c", 3, 5), (2, "a", 1, 1)]
    plain = written(store, write(store, tiny_log(*rows), protocol="leave_last_out").refs())
    assert (plain["seen_known"], plain["seen_served"]) == (plain["known"], plain["served"])
    assert plain["known"] != plain["served"]
    file = tmp_path / "test.csv"
    file.write_text("user_id,item_id\n2,c\n")
    given = written(store, write(store, tiny_log(*rows), protocol="given", test=str(file)).refs())
    assert given["served"] == given["known"]


def test_the_step_stores_what_it_made_and_finds_it_again(store: Store, tmp_path: Path) -> None:
    snapshot = make_snapshot(store, tiny_log((1, 30, 1), (1, 20, 2), (1, 10, 3), (2, 10, 1), (2, 30, 2)))
    parts = split.fn(store, snapshot, SplitConfig(protocol="leave_last_out"))
    file = tmp_path / "candidates.csv"
    file.write_text("user_id,item_id,relevant\n1,20,1\n1,99,0\n")
    plain, first, second = (sample.fn(store, parts, one) for one in (None, str(file), str(file)))
    assert plain.candidates is None
    assert plain.key != first.key
    assert first == second
    assert (first.cached, second.cached) == (False, True)
    assert first.candidates is not None
    assert store.read(first.candidates)["item_idx"].to_pylist() == [1, -1]
    known = read_histories(store.path(first.known.path))
    items = store.read(parts.items)["item_id"].to_pylist()
    assert [[items[item] for item in known.row(user)] for user in range(2)] == [[30, 20], [10, 30]]
    with pytest.raises(ConfigError, match=r"evaluate\.candidates"):
        sample.fn(store, parts, str(tmp_path / "no.csv"))


def test_low_ratings_are_masked_but_never_learned_from() -> None:
    """b came before the user's test row d, e after it: only b may be left out when d is judged, both afterwards."""
    rows = [
        (1, "a", 1, 5),
        (1, "b", 2, 1),
        (1, "c", 3, 5),
        (1, "d", 4, 5),
        (1, "e", 5, 1),
        (2, "b", 1, 5),
        (2, "e", 2, 5),
    ]
    made = histories(*rows, positives=Positives(min_rating=4), protocol="leave_last_out")
    named = {name: lists[0] for name, lists in made.items()}
    assert named["known"] == ["a", "c"]
    assert named["served"] == ["a", "c"]  # d is in no map of ids: it is only in the test
    assert named["seen_known"] == ["a", "b", "c"]
    assert named["seen_served"] == ["a", "b", "c", "e"]


def test_given_test_rows_come_after_every_low_rating(store: Store, tmp_path: Path) -> None:
    file = tmp_path / "test.csv"
    file.write_text("user_id,item_id\n1,c\n")
    rows = [(1, "a", 1, 5), (1, "b", 2, 1), (2, "b", 3, 5), (2, "c", 3, 5)]
    made = write(store, tiny_log(*rows), positives=Positives(min_rating=4), protocol="given", test=str(file))
    assert made.tables["rated"].to_pylist() == [{"user_idx": 0, "item_idx": 1, "before_test": True, "place": 1}]


def test_a_low_rating_of_a_given_pair_is_not_masked(store: Store, tmp_path: Path) -> None:
    """Rows that only judge are never masked: else the test row could not be found."""
    file = tmp_path / "test.csv"
    file.write_text("user_id,item_id\n1,b\n")
    rows = [(1, "a", 1, 5), (1, "b", 2, 1), (2, "b", 3, 5)]
    made = write(store, tiny_log(*rows), positives=Positives(min_rating=4), protocol="given", test=str(file))
    assert made.tables["rated"].num_rows == 0
