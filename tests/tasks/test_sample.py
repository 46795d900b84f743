"""The three histories by hand, candidates, and their way through Parquet."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from models.base import Ragged
from tasks.errors import ConfigError
from tasks.sample.task import code_candidates, make_histories, make_masks, sample
from tasks.schema import HISTORIES
from tasks.split.config import SplitConfig
from tasks.split.parts import make_log
from tasks.split.task import split, split_log
from tasks.store.histories import histories_table, read_histories
from tasks.store.store import Store
from tasks.store.tables import read_table, write_table
from tests.factories import make_snapshot, tiny_log


def histories(*rows: tuple[object, ...], ingested_test: bool = True, **config: object) -> dict[str, list[list[str]]]:
    """Each moment's lists, by raw item id, in the order of the id map of the users."""
    _, made = split_log(make_log(tiny_log(*rows), None), SplitConfig(**config))
    items = made.items["item_id"].to_pylist()
    moments = make_histories(made.train, made.valid, made.test, made.users.num_rows, ingested_test)
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
    made = histories(*rows, ingested_test=False, protocol="given", test=str(file))
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


@settings(max_examples=40, deadline=None)
@given(st.lists(st.lists(st.integers(0, 9), max_size=4), min_size=1, max_size=6), st.integers(0, 3))
def test_histories_survive_parquet(tmp_path_factory: pytest.TempPathFactory, lists: list[list[int]], cut: int) -> None:
    lists = [[], *lists, []]
    offsets_U1 = np.cumsum([0, *map(len, lists)]).astype(np.int64)
    before = Ragged(offsets_U1, np.array([i for one in lists for i in one], dtype=np.int32))
    file = tmp_path_factory.mktemp("histories") / "h.parquet"
    write_table(file, histories_table(before), HISTORIES)
    after = read_histories(read_table(file))
    assert [after.row(user).tolist() for user in range(len(after))] == lists
    assert after.items_R.dtype == np.int32
    assert after.offsets_U1.dtype == np.int64
    sliced = read_histories(read_table(file).slice(cut))  # offsets that do not begin at 0
    assert [sliced.row(user).tolist() for user in range(len(sliced))] == lists[cut:]


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
    known = read_histories(store.read(first.known))
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
    _, made = split_log(make_log(tiny_log(*rows), 4.0), SplitConfig(protocol="leave_last_out"))
    items = made.items["item_id"].to_pylist()
    assert items == ["a", "b", "c", "e"]
    moments = make_histories(made.train, made.valid, made.test, made.users.num_rows, ingested_test=True)
    masks = make_masks(moments, made.rated)
    named = {name: [items[item] for item in one.row(0).tolist()] for name, one in {**moments, **masks}.items()}
    assert named["known"] == ["a", "c"]
    assert named["served"] == ["a", "c"]  # d is in no map of ids: it is only in the test
    assert named["seen_known"] == ["a", "b", "c"]
    assert named["seen_served"] == ["a", "b", "c", "e"]


def test_given_test_rows_come_after_every_low_rating(tmp_path: Path) -> None:
    file = tmp_path / "test.csv"
    file.write_text("user_id,item_id\n1,c\n")
    rows = [(1, "a", 1, 5), (1, "b", 2, 1), (2, "b", 3, 5), (2, "c", 3, 5)]
    _, made = split_log(make_log(tiny_log(*rows), 4.0), SplitConfig(protocol="given", test=str(file)))
    assert made.rated.to_pylist() == [{"user_idx": 0, "item_idx": 1, "before_test": True}]
