"""Every user's list: complete, new to them, in their own ids, and switched in one step."""

from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from models.base import Ragged
from models.bundle import Bundle, Strangers
from models.features import UserFeatures
from models.fitting.config import TrainerConfig
from models.ids import IdMap
from models.registry import make_config
from tasks.errors import ConfigError, DataRefused
from tasks.publish import logic
from tasks.publish.config import RecommendConfig
from tasks.publish.logic import recommend_all, recommend_some
from tasks.publish.pointer import LISTS, published, switch
from tasks.publish.task import publish, recommend, recommend_champion, write_lists
from tasks.sample.task import sample
from tasks.schema import TEST_ROWS
from tasks.split.config import SplitConfig
from tasks.split.task import split
from tasks.store.refs import SampleRefs, TrainedRef
from tasks.store.store import Store
from tasks.train.task import strangers_of, train
from tests.factories import FixedScores, make_bundle, make_snapshot, tiny_log

COLUMNS = ["user_id", "rank", "item_id", "score", "model_version", "reason"]


def bundle_of(score_UI: object, served: list[list[int]], kind: str = "int") -> Bundle:
    """Users 10, 11, … and items 100, 101, …; fitted and served are one."""
    scores_UI = np.asarray(score_UI)
    offsets_U1 = np.cumsum([0, *map(len, served)]).astype(np.int64)
    had = Ragged(offsets_U1, np.array([item for one in served for item in one], dtype=np.int32))
    users, items = np.arange(len(served)) + 10, np.arange(scores_UI.shape[1]) + 100
    user_ids, item_ids = (IdMap(one if kind == "int" else np.char.add(kind, one.astype(str))) for one in (users, items))
    return Bundle("tiny", FixedScores(scores_UI), user_ids, item_ids, fitted=had, served=had)


# user 10 had item 100, user 11 had 101 and 102, user 12 had all
HAD = [[0], [2, 1], [0, 1, 2, 3]]
BUNDLE = bundle_of([[9, 1, 3, 3], [2, 9, 9, 5], [1, 2, 3, 4]], HAD)


def frame(tables: Iterable[pa.Table]) -> pd.DataFrame:
    made: pd.DataFrame = pa.concat_tables(tables).to_pandas()
    return made


def lists(table: pd.DataFrame) -> dict[Any, list[Any]]:
    return {user: rows["item_id"].tolist() for user, rows in table.groupby("user_id", sort=False)}


def test_lists_by_hand() -> None:
    made = frame(recommend_all(BUNDLE, 3, True, "7"))
    assert made.columns.tolist() == COLUMNS
    # 102 and 103 tie for user 10: the catalogue's order decides; user 12 has nothing left
    assert lists(made) == {10: [102, 103, 101], 11: [103, 100]}
    assert made["rank"].tolist() == [1, 2, 3, 1, 2]
    assert made["score"].tolist() == [3, 3, 1, 5, 2]
    assert made["model_version"].unique().tolist() == ["7"]
    assert made["reason"].unique().tolist() == ["model"]


def test_seen_items_may_be_shown() -> None:
    made = frame(recommend_all(BUNDLE, 2, False, "7"))
    assert lists(made) == {10: [100, 102], 11: [101, 102], 12: [103, 102]}


@pytest.mark.parametrize(("kind", "type_"), [("int", pa.int64()), ("é", pa.string())])
def test_ids_go_out_as_they_came(kind: str, type_: pa.DataType) -> None:
    (table,) = recommend_all(bundle_of([[1, 2]], [[0]], kind), 1, True, "1")
    assert (table.schema.field("user_id").type, table.schema.field("item_id").type) == (type_, type_)
    assert table["item_id"].to_pylist() == [101 if kind == "int" else "é101"]


@settings(max_examples=50, deadline=None)
@given(st.integers(0, 2**31), st.integers(1, 25), st.integers(1, 15), st.integers(1, 20), st.integers(1, 7))
def test_every_user_gets_k_new_items_or_all_that_are_left(
    seed: int, n_users: int, n_items: int, k: int, block: int
) -> None:
    rng = np.random.default_rng(seed)
    score_UI = rng.integers(0, 4, size=(n_users, n_items)).astype(np.float32)
    had = [rng.permutation(n_items)[: rng.integers(0, n_items + 1)].tolist() for _ in range(n_users)]
    before = logic.BLOCK
    logic.BLOCK = block
    try:
        made = frame(recommend_all(bundle_of(score_UI, had), k, True, "1"))
    finally:
        logic.BLOCK = before
    found = lists(made)
    for user in range(n_users):
        left = sorted(set(range(n_items)) - set(had[user]), key=lambda item: (-score_UI[user, item], item))
        assert found.get(user + 10, []) == [item + 100 for item in left[:k]]
    for _, rows in made.groupby("user_id"):
        assert rows["rank"].tolist() == list(range(1, len(rows) + 1))


# some users


def test_some_users_come_in_the_order_asked_and_an_unknown_one_gets_the_fallback() -> None:
    made = recommend_some(BUNDLE, ["99", "11"], 2, True, "7").to_pandas()
    # fitted rows: items 100, 101 and 102 two each, 103 one
    assert lists(made) == {99: [100, 101], 11: [103, 100]}
    assert made["reason"].tolist() == ["fallback", "fallback", "model", "model"]
    text = recommend_some(bundle_of([[1, 2]], [[0]], "u"), ["u10", "7"], 1, True, "7").to_pandas()
    assert lists(text) == {"u10": ["u101"], "7": ["u100"]}


@pytest.mark.parametrize("users", [["ten"], ["10", "x"], ["010"], ["1.0"]])
def test_ids_of_the_wrong_type_are_a_wrong_option(users: list[str]) -> None:
    with pytest.raises(ConfigError, match=r"recommend\.users: .* integers"):
        recommend_some(BUNDLE, users, 1, True, "7")


@pytest.mark.parametrize("given", ["10,11", " 10 , 11 ", ["10", "11"], ("10", "11")])
def test_users_are_named_by_commas_or_a_list(given: object) -> None:
    assert RecommendConfig(users=given).users == ("10", "11")


class Shipped:
    """A champion of before there were reasons: it says who gets the fallback, and takes no features."""

    users, items, model = BUNDLE.users, BUNDLE.items, BUNDLE.model

    def recommend(
        self, user_ids: Any, k: int, histories: Any = None, exclude_seen: bool = True, seen: Any = None
    ) -> tuple[Any, Any, Any]:
        items, score, reasons = BUNDLE.recommend(user_ids, k, histories, exclude_seen, seen)
        return items, score, reasons == "fallback"


def test_a_champion_of_before_there_were_reasons_still_serves() -> None:
    made = recommend_some(Shipped(), ["99", "11"], 2, True, "7")  # type: ignore[arg-type]
    assert made.equals(recommend_some(BUNDLE, ["99", "11"], 2, True, "7"))


# strangers


def test_strangers_follow_the_users_and_are_not_shown_what_they_had() -> None:
    strangers = Strangers(IdMap(np.array([7, 98])), Ragged(np.array([0, 0, 2]), np.array([0, 1], dtype=np.int32)), {})
    bundle = replace(BUNDLE, strangers=strangers)
    made = frame(recommend_all(bundle, 2, True, "7"))
    assert lists(made) == {10: [102, 103], 11: [103, 100], 7: [100, 101], 98: [102, 103]}
    assert made["reason"].tolist() == ["model"] * 4 + ["fallback"] * 4  # this model does not fold in
    assert lists(frame(recommend_all(bundle, 2, False, "7")))[98] == [100, 101]
    assert lists(recommend_some(bundle, ["98", "10"], 2, True, "7").to_pandas()) == {98: [102, 103], 10: [102, 103]}


TOWNS = UserFeatures({"town": IdMap(np.array(["Bonn", "Ulm"]))}, {"town": np.array([1, 0, 2], dtype=np.int32)})


class FoldsIn(FixedScores):
    folds_in = True


@pytest.mark.parametrize("block", [1, 2, 100])
def test_each_stranger_is_told_by_the_best_that_is_known(block: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(logic, "BLOCK", block)
    bundle = replace(BUNDLE, model=FoldsIn(np.array([[1, 2, 9, 4]] * 3)), features=TOWNS)
    rows = [
        (-1, 0, "98", "100"),
        (-1, -1, "97", "999"),
        (0, 1, "10", "101"),
        (-1, -1, "5", "999"),
        (-1, 3, "98", "103"),
    ]
    test = pa.Table.from_pylist([dict(zip(TEST_ROWS.names, row, strict=False)) for row in rows], TEST_ROWS)
    described = pa.table(
        {
            "user_id": ["98", "200", "9", "97", "201", "007", "x7"],
            "town": ["Bonn", "Ulm", "Bonn", "Bonn", None, "Ulm", "Ulm"],
            "pet": ["cat"] * 7,
        }
    )
    bundle = replace(bundle, strangers=strangers_of(test, described, bundle.users, TOWNS))
    made = frame(recommend_all(bundle, 4, True, "7"))
    made = made[~made["user_id"].isin([10, 11, 12])]
    reasons = made.groupby("user_id", sort=False)["reason"].unique().map(list).to_dict()
    assert list(reasons) == [5, 9, 97, 98, 200, 201]
    assert reasons == {
        5: ["fallback"], 9: ["segment"], 97: ["segment"], 98: ["fold-in"], 200: ["segment"], 201: ["fallback"],
    }  # fmt: skip
    found = lists(made)
    assert found[98] == [101, 102]  # the first row backwards is 4 9 2 1 over items 100 to 103, of which two are had
    assert found[9][0] == 100  # of user 10, who is of Bonn
    assert found[200] == found[5] == [100, 101, 102, 103]  # all that user 12, of Ulm, had equally
    assert found[201] == found[5]
    for user in reasons:  # the same from another call, for this one user
        some = recommend_some(bundle, [str(user)], 4, True, "7").to_pandas()
        assert (lists(some), some["reason"].unique().tolist()) == ({user: found[user]}, reasons[user])


def test_what_is_known_of_strangers() -> None:
    rows = [(-1, 0, "b", "i0", 9), (0, 1, "k", "i1", 1), (-1, 2, "b", "i2", 3), (-1, -1, "a", "new", 4)]
    columns = dict(zip(["user_idx", "item_idx", "user_id", "item_id", "place"], zip(*rows, strict=True), strict=True))
    columns["timestamp"] = (None,) * 4
    test = pa.table([pa.array(columns[field.name], field.type) for field in TEST_ROWS], TEST_ROWS)
    users = IdMap(np.array(["k", "l", "m"]))
    alone = strangers_of(test, None, users, UserFeatures.none())
    assert alone.ids.ids_N.tolist() == ["a", "b"]
    assert [alone.histories.row(one).tolist() for one in range(2)] == [[], [2, 0]]  # in the order of the log
    described = pa.table({"user_id": ["c", "007", "b"], "town": ["Ulm", None, "Bonn"]})
    both = strangers_of(test, described, users, TOWNS)
    assert both.ids.ids_N.tolist() == ["007", "a", "b", "c"]
    assert both.histories.lengths_U.tolist() == [0, 0, 2, 0]
    assert both.codes["town"].tolist() == [0, 0, 1, 2]
    nobody = strangers_of(TEST_ROWS.empty_table(), None, users, TOWNS)
    assert (len(nobody), nobody.codes["town"].tolist()) == (0, [])
    assert len(frame(recommend_all(replace(bundle_of([[1, 2]], [[0]], "u"), strangers=nobody), 1, True, "1"))) == 1


# the step


def night(store: Store, protocol: str = "temporal", **config: object) -> tuple[SampleRefs, TrainedRef]:
    rows = [(user, 100 + (user + n) % 12, 10 * n + user) for user in range(10) for n in range(8)]
    rows += [(50, 100, 1000), (50, 101, 1001)]
    snapshot = make_snapshot(store, tiny_log(*rows))
    parts = split.fn(store, snapshot, SplitConfig(protocol=protocol, **config))
    samples = sample.fn(store, parts)
    return samples, train.fn(store, samples, make_config("popularity"), TrainerConfig())


def test_everyone_is_served_and_nobody_is_shown_what_they_had(store: Store) -> None:
    samples, trained = night(store)
    folder = recommend.fn(store, samples, trained, "3", "abc", RecommendConfig(k=4))
    made = pd.read_parquet(store.path(folder))
    assert made.columns.tolist() == COLUMNS  # the folder's name, run=abc, is no column
    found = lists(made)
    assert sorted(found) == [*range(10), 50]
    for user in range(10):
        assert len(found[user]) == 4
        assert not set(found[user]) & {100 + (user + n) % 12 for n in range(8)}
    assert not set(found[50]) & {100, 101}
    assert made.loc[made["user_id"] == 50, "reason"].unique().tolist() == ["fallback"]
    bundle = Bundle.load(store.path(trained.path))
    assert bundle.strangers.ids.ids_N.tolist() == [50]
    assert bundle.items.ids_N[bundle.strangers.histories.row(0)].tolist() == [100, 101]
    again = recommend_champion(store, bundle, "3", "run=again", RecommendConfig(k=4))
    pd.testing.assert_frame_equal(pd.read_parquet(store.path(again)), made)


def test_kept_repeats_are_shown_and_given_strangers_are_not_ours(store: Store, tmp_path: Path) -> None:
    samples, trained = night(store, repeats="keep")
    kept = lists(pd.read_parquet(store.path(recommend.fn(store, samples, trained, "3", "a", RecommendConfig(k=12)))))
    assert {len(items) for items in kept.values()} == {12}
    (tmp_path / "test.csv").write_text("user_id,item_id\n0,109\n77,100\n")
    samples, trained = night(store, "given", test=str(tmp_path / "test.csv"))
    given_lists = lists(pd.read_parquet(store.path(recommend.fn(store, samples, trained, "3", "b", RecommendConfig()))))
    assert 77 not in given_lists
    assert 109 in given_lists[0]  # a test row that was not ingested is not masked


def test_users_of_the_users_table_are_ours_whatever_the_test_rows_do(store: Store, tmp_path: Path) -> None:
    (tmp_path / "test.csv").write_text("user_id,item_id\n0,109\n77,100\n")
    town = {user: "Bonn" if user % 2 else "Ulm" for user in range(10)} | {60: "Bonn", 61: "Rome"}
    users = pa.table({"user_id": [str(user) for user in town], "town": list(town.values())})
    rows = [(user, 100 + user % 2 + 2 * n, 10 * n + user) for user in range(10) for n in range(8)]
    snapshot = make_snapshot(store, tiny_log(*rows), users=users)
    parts = split.fn(store, snapshot, SplitConfig(protocol="given", test=str(tmp_path / "test.csv")))
    samples = sample.fn(store, parts)
    trained = train.fn(store, samples, make_config("popularity"), TrainerConfig())
    made = pd.read_parquet(store.path(recommend.fn(store, samples, trained, "3", "a", RecommendConfig(k=3))))
    reasons = made.groupby("user_id")["reason"].unique().map(list)
    assert (reasons[0], reasons[60], reasons[61]) == (["model"], ["segment"], ["fallback"])
    bundle = Bundle.load(store.path(trained.path))
    again = recommend_champion(store, bundle, "3", "run=again", RecommendConfig(k=3))
    pd.testing.assert_frame_equal(pd.read_parquet(store.path(again)), made)
    config = RecommendConfig(k=3, users=("60", "77"))
    some = pd.read_parquet(store.path(recommend_champion(store, bundle, "3", "run=some", config)))
    assert lists(some)[60] == lists(made)[60]
    assert some["reason"].tolist() == ["segment"] * 3 + ["fallback"] * 3
    assert 77 not in reasons
    assert all(item % 2 for item in lists(made)[60])  # those of Bonn take odd items


def test_nobody_left_to_show_anything_is_refused(store: Store) -> None:
    full = bundle_of([[1, 2]], [[0, 1]])
    with pytest.raises(DataRefused, match="no user has an item left"):
        write_lists(store, "recommendations/run=1", full, recommend_all(full, 3, True, "1"), "1")
    assert list(store.path("recommendations").iterdir()) == []


def test_the_champions_lists_come_from_the_bundle_alone(store: Store) -> None:
    bundle = make_bundle("bpr_mf", "u")
    every = recommend_champion(store, bundle, "2", "run=every", RecommendConfig(k=3))
    some = recommend_champion(store, bundle, "2", "run=some", RecommendConfig(k=3, users=("u11", "nobody")))
    table, few = pd.read_parquet(store.path(every)), pd.read_parquet(store.path(some))
    assert len(table) == 24 * 3
    assert lists(few)["u11"] == lists(table)["u11"]
    assert few["reason"].tolist() == ["model"] * 3 + ["fallback"] * 3
    assert store.manifest(every)["model_version"] == "2"


# the pointer


def lists_of(store: Store, run: str) -> str:
    return write_lists(store, f"recommendations/run={run}", BUNDLE, recommend_all(BUNDLE, 2, True, run), run)


def test_the_pointer_shows_the_last_lists_and_moves_with_the_data(store: Store, tmp_path: Path) -> None:
    assert published(store, "tiny") is None
    for run in ("1", "2"):
        path = publish.fn(store, "tiny", lists_of(store, run))
        assert path == published(store, "tiny") == f"published/tiny/{LISTS}"
        assert pd.read_parquet(store.path(path))["model_version"].unique().tolist() == [run]
        assert pd.read_parquet(store.path("published/tiny")).columns.tolist() == COLUMNS
    assert not store.path("published/tiny").readlink().is_absolute()
    assert [path.name for path in store.path("published").iterdir()] == ["tiny"]
    store.root.rename(tmp_path / "moved")
    moved = Store(tmp_path / "moved")
    assert pq.read_table(moved.path(f"published/tiny/{LISTS}"))["model_version"].to_pylist()[0] == "2"
    assert published(moved, "tiny") == f"published/tiny/{LISTS}"
    assert published(moved, "other") is None


def test_duckdb_reads_what_is_published(store: Store) -> None:
    import duckdb

    path = store.path(publish.fn(store, "tiny", lists_of(store, "1")))
    found = duckdb.sql(f"select count(*), min(rank) from '{path}'")
    assert found is not None
    assert found.fetchall() == [(4, 1)]


def test_a_reader_never_finds_nothing_while_the_pointer_moves(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    folders = [lists_of(store, run) for run in ("1", "2")]
    switch(store, "tiny", folders[0])
    pointer, replace_file, moves = store.path(f"published/tiny/{LISTS}"), Path.replace, []

    def watched(temporary: Path, target: Path) -> Path:
        moves.append(pointer.is_file())  # the old lists are there up to the one call that shows the new ones
        return replace_file(temporary, target)

    monkeypatch.setattr(Path, "replace", watched)
    switch(store, "tiny", folders[1])
    assert moves == [True]
    assert pq.read_table(pointer)["model_version"].to_pylist()[0] == "2"


def test_lists_that_are_gone_are_not_published(store: Store) -> None:
    switch(store, "tiny", lists_of(store, "1"))
    (store.path("recommendations/run=1") / LISTS).unlink()
    assert published(store, "tiny") is None


def test_history_length_hides_nothing_from_the_mask() -> None:
    short = replace(BUNDLE, history_length=1)
    assert lists(frame(recommend_all(short, 3, True, "1"))) == lists(frame(recommend_all(BUNDLE, 3, True, "1")))


def test_a_user_who_is_asked_for_twice_is_shown_once() -> None:
    table = recommend_some(BUNDLE, ["11", "10", "11"], 2, True, "1")
    assert lists(table.to_pandas()) == {11: [103, 100], 10: [102, 103]}
    assert table.num_rows == 4
