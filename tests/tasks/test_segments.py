"""Whom and what a model is good for, by numbers worked out by hand and a loop beside them."""

from math import log2
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from models.base import Ragged
from models.bundle import Bundle
from models.features import UserFeatures
from models.fitting.config import TrainerConfig
from models.ids import IdMap
from models.registry import make_config
from tasks.evaluate.beyond import Catalogue
from tasks.evaluate.champion import Champion, champion_lists
from tasks.evaluate.config import EvaluateConfig
from tasks.evaluate.logic import evaluate_bundle
from tasks.evaluate.segments import (
    by_history_length,
    by_item_age,
    by_item_popularity,
    by_reason,
    first_times,
    item_ages,
    places,
)
from tasks.evaluate.task import evaluate, evaluate_beside
from tasks.features import raw_features
from tasks.judging import Judges, judge_lists, make_judges
from tasks.sample.task import sample
from tasks.schema import TEST_ROWS
from tasks.split.config import SplitConfig
from tasks.split.task import split
from tasks.store.refs import ChampionRef, SampleRefs, TrainedRef
from tasks.store.store import Store
from tasks.store.tables import read_table
from tasks.train.task import train
from tests.factories import FixedScores, make_snapshot, tiny_log

DAY = 86_400_000_000


def rows_of(*rows: tuple[str, str, int, int, float | None]) -> pa.Table:
    """Test rows of user and item as raw ids and as indices, and a day."""
    columns = [pa.array([row[at] for row in rows], TEST_ROWS.types[place]) for place, at in enumerate((2, 3, 0, 1))]
    times = pa.array([None if row[4] is None else int(row[4] * DAY) for row in rows], TEST_ROWS.field("timestamp").type)
    return pa.table([*columns, times, pa.nulls(len(rows), pa.int64())], TEST_ROWS)


def before(*rows: tuple[int, float | None]) -> pa.Table:
    """Rows before the test, of item and day."""
    times = pa.array([None if day is None else int(day * DAY) for _, day in rows], TEST_ROWS.field("timestamp").type)
    return pa.table({"item_idx": pa.array([item for item, _ in rows], pa.int32()), "timestamp": times})


def test_users_by_length_of_history_by_hand() -> None:
    lengths_U = np.array([0, 1, 4, 5, 9, 10, 19, 20, 49, 50, 99, 100, 199, 200, 5000, 0])
    ndcg_U = np.arange(16.0)
    found = by_history_length({"ndcg_at_10": ndcg_U, "ndcg_at_20": -ndcg_U}, lengths_U)
    assert found == [
        {"bucket": "0", "users": 2, "ndcg_at_10": 7.5},
        {"bucket": "1-4", "users": 2, "ndcg_at_10": 1.5},
        {"bucket": "5-9", "users": 2, "ndcg_at_10": 3.5},
        {"bucket": "10-19", "users": 2, "ndcg_at_10": 5.5},
        {"bucket": "20-49", "users": 2, "ndcg_at_10": 7.5},
        {"bucket": "50-99", "users": 2, "ndcg_at_10": 9.5},
        {"bucket": "100-199", "users": 2, "ndcg_at_10": 11.5},
        {"bucket": "200+", "users": 2, "ndcg_at_10": 13.5},
    ]
    few = by_history_length({"recall_at_10": np.array([0.5, 1])}, np.array([7, 300]))
    assert [(row["bucket"], row["recall_at_10"]) for row in few] == [("5-9", 0.5), ("200+", 1)]


def test_users_by_reason_by_hand() -> None:
    found = by_reason({"hit_at_10": np.array([1.0, 0, 1, 0])}, np.array([4, 0, 0, 1], dtype=np.int8))
    assert found == [
        {"bucket": "model", "users": 2, "hit_at_10": 0.5},
        {"bucket": "fold-in", "users": 1, "hit_at_10": 0},
        {"bucket": "fallback", "users": 1, "hit_at_10": 1},
    ]


# Items 0 to 3 of the catalogue came on days 0, 100, 400 and 406; i9 is new. Raw ids ascend another way than indices.
BEFORE = (before((0, 200.0), (1, 100.0), (2, 400.0)), before((3, 406.5), (0, 0.0)))
TEST = rows_of(
    ("b", "w", 1, 3, 407), ("b", "i9", 1, -1, 407), ("a", "z", 0, 0, 365), ("a", "x", 0, 2, 407), ("a", "y", 0, 1, 130),
    ("a", "y", 0, 1, 500), ("c", "y", -1, 1, 99),
)  # fmt: skip
JUDGES = make_judges(TEST, Ragged.empty(2), keeps_repeats=True)


def test_the_age_of_an_item_is_counted_from_its_first_row_before_the_test() -> None:
    first_I = first_times(BEFORE, 4)
    assert first_I is not None
    assert (first_I / DAY).tolist() == [0, 100, 400, 406.5]
    age_R = item_ages(TEST, first_I)
    assert age_R is not None
    pairs = zip(JUDGES.rows["user_id"].to_pylist(), JUDGES.rows["item_id"].to_pylist(), strict=True)
    ages = dict(zip(pairs, age_R.tolist(), strict=True))
    # a's y counts from its first test row on day 130; for c it came a day before its first row: 0
    assert ages.pop(("b", "i9")) != ages.get(("b", "i9"))  # NaN
    assert ages == {("a", "x"): 7, ("a", "y"): 30, ("a", "z"): 365, ("b", "w"): 0.5, ("c", "y"): 0}


def test_without_timestamps_there_are_no_ages() -> None:
    assert first_times([before((0, 1.0)), before((1, None))], 2) is None
    assert item_ages(TEST, None) is None
    assert item_ages(rows_of(("a", "z", 0, 0, None)), np.zeros(4, dtype=np.int64)) is None


def test_test_rows_by_age_of_their_item_by_hand() -> None:
    items_UN = np.array([[3, 2, 0], [1, 0, 3], [1, 2, -1]])  # of a, b and c
    age_R = item_ages(TEST, first_times(BEFORE, 4))
    assert age_R is not None
    found = by_item_age(items_UN, JUDGES, age_R)
    assert [(row["bucket"], row["rows"], row["recall_at_10"]) for row in found] == [
        ("new", 1, 0),
        ("<7", 2, 1),  # b's w in place 3, c's y in place 1
        ("7-30", 1, 1),  # a's x in place 2
        ("30-90", 1, 0),  # a's y is not shown
        ("365+", 1, 1),  # a's z in place 3
    ]
    gains = [row["ndcg_at_10"] for row in found]
    assert gains == pytest.approx([0, (1 / log2(4) + 1) / 2, 1 / log2(3), 0, 1 / log2(4)])


def test_places_beyond_ten_are_not_shown() -> None:
    items_UN = np.array([[5, 6, 7, 8, 9, 10, 11, 12, 13, 0, 2], [4] * 11, [4] * 11])
    found = by_item_age(items_UN, JUDGES, np.full(len(JUDGES.rows), 1.0))
    assert found[0]["recall_at_10"] == pytest.approx(1 / 6)  # a's z in place 10, but not x in place 11
    assert found[0]["ndcg_at_10"] == pytest.approx(1 / log2(11) / 6)


def test_rows_by_the_popularity_of_their_item_by_hand() -> None:
    # Of 100 pairs the items have in order 30 | 20 15 10 10 10 | 5: the second begins after 30, the tens after 65, and
    # the last after 95.
    owners_I = np.array([15, 10, 10, 30, 20, 10, 0, 5])
    items = [3, 4, 0, 1, 5, 7, 6, -1]
    rows = rows_of(*(("a", f"i{n}", 0, item, 1) for n, item in enumerate(items)))
    judges = make_judges(rows, Ragged.empty(1), keeps_repeats=True)
    found = by_item_popularity(np.array([[7, 3, 1]], dtype=np.int32), judges, owners_I)
    assert [(row["bucket"], row["rows"], row["recall_at_10"]) for row in found] == [
        ("head", 1, 1),
        ("mid", 4, 1 / 4),
        ("tail", 1, 1),
        ("new", 2, 0),  # one is unknown, and one nobody has
    ]
    assert [row["ndcg_at_10"] for row in found] == pytest.approx([1 / log2(3), 1 / log2(4) / 4, 1, 0])


@pytest.mark.parametrize(
    ("owners", "buckets"),
    [
        ([20, 20, 20, 20, 20], ["head"] * 5),  # of equal popularity: all begin where the first does
        ([16, 16, 20, 16, 16, 16], ["mid", "mid", "head", "mid", "mid", "mid"]),  # after 20% the middle begins
        ([19, 20, 61], ["tail", "mid", "head"]),
        ([20, 80], ["tail", "head"]),  # after 80% the tail
        ([21, 79], ["mid", "head"]),
    ],
)
def test_where_head_and_tail_begin(owners: list[int], buckets: list[str]) -> None:
    for item, bucket in enumerate(buckets):
        judges = make_judges(rows_of(("a", "x", 0, item, 1)), Ragged.empty(1), keeps_repeats=True)
        (row,) = by_item_popularity(np.zeros((1, 1), dtype=np.int32), judges, np.array(owners))
        assert row["bucket"] == bucket, item


def test_places_as_a_loop_finds_them() -> None:
    rng = np.random.default_rng(0)
    rows = {(f"u{u}", f"i{i}"): (u, i) for u, i in rng.integers(0, 12, (60, 2)).tolist()}
    judges = make_judges(rows_of(*((*ids, *at, 1) for ids, at in rows.items())), Ragged.empty(12), keeps_repeats=True)
    items_UN = np.stack([rng.permutation(12)[:6] for _ in range(len(judges))]).astype(np.int32)
    place_R = places(items_UN, judges)
    users = judges.user_ids.tolist()
    for row, place in zip(judges.rows.to_pylist(), place_R.tolist(), strict=True):
        shown = items_UN[users.index(row["user_id"])].tolist()
        assert place == (shown.index(row["item_idx"]) if row["item_idx"] in shown else -1)


# Users a of Bonn and b of Ulm took item 0 and item 2; strangers come with and without a town.
TOWNS = UserFeatures({"town": IdMap(np.array(["Bonn", "Ulm"]))}, {"town": np.array([1, 2], dtype=np.int32)})
SERVED = Ragged(np.array([0, 2, 3]), np.array([0, 1, 2], dtype=np.int32))
STRANGERS = pa.table({"user_id": ["s", "t", "u"], "town": ["Ulm", None, "Köln"]})


def bundle(features: UserFeatures = TOWNS) -> Bundle:
    ids = IdMap(np.array(["a", "b"])), IdMap(np.array(["w", "x", "y", "z"]))
    return Bundle("tiny", FixedScores(np.array([[1, 2, 3, 4]] * 2)), *ids, SERVED, SERVED, features=features)


CATALOGUE = Catalogue(SERVED, 4)


def judge_champion(champion: Champion, test: Judges, features: UserFeatures | None = None) -> list[float]:
    """[U] whether the first item of each list is a hit."""
    items_UK, judges = champion_lists(champion, test, bundle().items, 1, features)
    hit_U: list[float] = judge_lists(items_UK, judges, (1,))["hit_at_1"].tolist()
    return hit_U


def judged(*users: str, features: UserFeatures = TOWNS) -> Any:
    index = {"a": 0, "b": 1}
    rows = rows_of(*((user, "y", index.get(user, -1), 2, 1) for user in users))
    return make_judges(rows, SERVED, False, None, features, STRANGERS)


def test_a_stranger_is_judged_by_the_list_that_would_be_served() -> None:
    made = evaluate_bundle(bundle(), judged("a", "s", "t"), None, CATALOGUE, (1, 10), STRANGERS, np.zeros(3))
    assert made.per_user["test"]["hit_at_1"].tolist() == [0, 1, 0]  # in Ulm they take y
    assert [(row["bucket"], row["users"]) for row in made.segments["reason"]] == [
        ("model", 1), ("segment", 1), ("fallback", 1),
    ]  # fmt: skip
    assert [(row["bucket"], row["users"]) for row in made.segments["history_length"]] == [("0", 2), ("1-4", 1)]
    assert [(row["bucket"], row["rows"]) for row in made.segments["item_age"]] == [("<7", 3)]
    assert "item_age" not in evaluate_bundle(bundle(), judged("a"), None, CATALOGUE, (1,)).segments


def test_candidates_of_a_stranger_are_ranked_as_they_would_be_served() -> None:
    rows = [("s", "y", 2, True), ("s", "w", 0, False), ("s", "x", 1, False), ("a", "z", 3, True)]
    candidates = pa.table(
        {
            "user_id": [row[0] for row in rows],
            "item_id": [row[1] for row in rows],
            "user_idx": pa.array([-1, -1, -1, 0], pa.int32()),
            "item_idx": pa.array([row[2] for row in rows], pa.int32()),
            "relevant": [row[3] for row in rows],
        }
    )
    made = evaluate_bundle(bundle(), judged("a"), candidates, CATALOGUE, (1,), STRANGERS)
    assert made.users["sampled"].user_ids.tolist() == ["a", "s"]
    assert made.per_user["sampled"]["hit_at_1"].tolist() == [1, 1]
    unknown = evaluate_bundle(bundle(), judged("a"), candidates, CATALOGUE, (1,))
    assert unknown.per_user["sampled"]["hit_at_1"].tolist() == [1, 0]  # by popularity w is before y


def test_codes_and_back() -> None:
    codes = {"town": np.array([0, 2, 1])}
    assert raw_features(TOWNS, codes) == {"town": [None, "Ulm", "Bonn"]}


def test_a_champion_is_told_of_strangers_in_its_own_words() -> None:
    swapped = UserFeatures(
        {"town": IdMap(np.array(["Aachen", "Ulm", "Worms"]))}, {"town": np.array([1, 2], dtype=np.int32)}
    )
    assert judge_champion(bundle(swapped), judged("s", "t"), TOWNS) == [1, 0]
    assert judge_champion(bundle(swapped), judged("s", "t")) == [0, 0]


def test_a_champion_of_before_there_were_features_still_answers() -> None:
    class Old:
        """As such a bundle is: five arguments, flags for reasons, and nothing called features."""

        def recommend(
            self, user_ids: Any, k: int, histories: Any = None, exclude_seen: bool = True, seen: Any = None
        ) -> tuple[Any, Any, Any]:
            n = len(user_ids)
            return np.full((n, k), "y"), np.ones((n, k), dtype=np.float32), np.zeros(n, dtype=bool)

    champion: Champion = Old()  # type: ignore[assignment]
    assert judge_champion(champion, judged("a", "s"), TOWNS) == [1, 1]


# the steps, on a stored night


def night(store: Store, candidates: str | None = None) -> tuple[SampleRefs, TrainedRef]:
    """Four users of Bonn take items i, then three of Ulm items j; item v comes with the validation rows, and with the
    test rows s, of Ulm, of whom only the users table knew."""
    fitted = [(f"b{user}", f"i{n}") for n in range(5) for user in range(4)]
    fitted += [(f"u{user}", f"j{n}") for n in range(5) for user in range(3)]
    valid = [("b0", "v"), ("b1", "v"), ("u0", "v"), ("u1", "i4")]
    test = [("s", "j0"), ("b2", "v"), ("b3", "v"), ("u0", "i0")]
    rows = [(*pair, 86_400 * (19_000 + day)) for day, pair in enumerate(fitted + valid + test)]
    users = pa.table({"user_id": ["b0", "b1", "b2", "b3", "u0", "u1", "u2", "s"], "town": ["Bonn"] * 4 + ["Ulm"] * 4})
    share = len(test) / len(rows)
    snapshot = make_snapshot(store, tiny_log(*rows), users=users)
    parts = split.fn(store, snapshot, SplitConfig(protocol="temporal", test_share=share, valid_share=share))
    assert (parts.valid.rows, parts.test.rows) == (4, 4)
    samples = sample.fn(store, parts, candidates)
    return samples, train.fn(store, samples, make_config("popularity"), TrainerConfig())


def test_the_step_reads_ages_from_validation_rows_too_and_knows_strangers_features(store: Store) -> None:
    samples, trained = night(store)
    found = store.manifest(evaluate.fn(store, samples, trained, EvaluateConfig()).path)["segments"]
    # v came 4 and 5 days before, i0 and j0 with the first rows of their town
    assert [(row["bucket"], row["rows"]) for row in found["item_age"]] == [("<7", 2), ("7-30", 1), ("30-90", 1)]
    assert [(row["bucket"], row["users"]) for row in found["reason"]] == [("model", 3), ("segment", 1)]
    assert found["reason"][1]["ndcg_at_10"] == pytest.approx(1 / log2(3))  # only i4, of five rows, is before j0 in Ulm


def test_the_step_ranks_candidates_of_strangers_by_their_features(store: Store, tmp_path: Path) -> None:
    (tmp_path / "candidates.csv").write_text("user_id,item_id,relevant\ns,i0,0\ns,i1,0\ns,j0,1\n")
    samples, trained = night(store, str(tmp_path / "candidates.csv"))
    means = store.manifest(evaluate.fn(store, samples, trained, EvaluateConfig()).path)["means"]
    assert means["sampled/ndcg_at_10"] == 1  # i0 and i1 have more rows, but none in Ulm


def test_champion_and_challenger_are_told_the_same_of_strangers(store: Store) -> None:
    samples, trained = night(store)
    champion = Bundle.load(store.path(trained.path))
    ref = ChampionRef("m", "1", "run", "hash", "configuration")
    made = evaluate_beside.fn(store, samples, trained, champion, ref, EvaluateConfig())
    theirs, ours = (read_table(store.path(f"{made.path}/{name}.parquet")) for name in ("champion", "challenger"))
    assert theirs.equals(ours)
    assert dict(zip(theirs["user_id"].to_pylist(), theirs["ndcg_at_10"].to_pylist(), strict=True))["s"] > 0.6
