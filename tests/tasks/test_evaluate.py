"""Scores of models, and of the champion beside them, against slow and obviously right ones."""

import json
from collections.abc import Mapping
from dataclasses import replace
from math import log2
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from models.base import Ragged
from models.bundle import Bundle, Strangers
from models.fitting.config import TrainerConfig
from models.ids import IdMap
from models.registry import make_config
from tasks.evaluate.config import EvaluateConfig
from tasks.evaluate.logic import Evaluation, evaluate_bundle, evaluate_champion, fair_rows, intervals
from tasks.evaluate.task import evaluate, evaluate_beside
from tasks.judging import Judges, make_judges
from tasks.sample.task import sample
from tasks.schema import CANDIDATES
from tasks.split.config import SplitConfig
from tasks.split.task import split
from tasks.store.refs import ChampionRef, SampleRefs, TrainedRef
from tasks.store.store import Store
from tasks.train.task import train
from tests.factories import FixedScores, make_bundle, make_snapshot, tiny_log

CUTOFFS = (1, 2, 3)


def rows_of(*rows: tuple[str, str, int, int]) -> pa.Table:
    names = ("user_id", "item_id", "user_idx", "item_idx")
    types = (pa.string(), pa.string(), pa.int32(), pa.int32())
    return pa.table(
        {n: pa.array([row[k] for row in rows], t) for k, (n, t) in enumerate(zip(names, types, strict=True))}
    )


def bundle_of(score_UI: object, fitted: list[list[int]], users: list[object], items: list[object]) -> Bundle:
    offsets_U1 = np.cumsum([0, *map(len, fitted)]).astype(np.int64)
    known = Ragged(offsets_U1, np.array([item for one in fitted for item in one], dtype=np.int32))
    return Bundle(
        "tiny", FixedScores(np.asarray(score_UI)), IdMap(np.array(users)), IdMap(np.array(items)), known, known
    )


# Tonight's world: users a b, items i0..i3; a had i0 and i1, b had i2. Fitted counts: i0 1, i1 1, i2 1, i3 0.
TONIGHT = bundle_of([[9, 8, 1, 2], [1, 2, 9, 3]], [[0, 1], [2]], ["a", "b"], ["i0", "i1", "i2", "i3"])
TEST = make_judges(
    rows_of(("a", "i2", 0, 2), ("b", "i1", 1, 1), ("b", "i9", 1, -1), ("c", "i1", -1, 1)), TONIGHT.fitted, False
)


def test_full_ranking_by_hand() -> None:
    # a is left with i3 (2), i2 (1): hit in place 2. b with i3 (3), i1 (2), i0 (1): hit in place 2, of two relevant.
    # c is a stranger: by popularity i0, i1 (equal counts, catalogue order): hit in place 2.
    made = evaluate_bundle(TONIGHT, TEST, None, TONIGHT.fitted, CUTOFFS)
    second = 1 / log2(3)
    assert made.per_user["test"]["ndcg_at_1"].tolist() == [0, 0, 0]
    assert made.per_user["test"]["ndcg_at_3"] == pytest.approx([second, second / (1 + second), second])
    assert made.per_user["test"]["recall_at_2"] == pytest.approx([1, 1 / 2, 1])
    assert made.means()["test/hit_at_2"] == 1
    assert made.means()["test/recall_at_3"] == pytest.approx(5 / 6)
    assert made.curves["recall"] == pytest.approx([0, 5 / 6, 5 / 6])


def test_sampled_candidates_agree_with_a_slow_oracle() -> None:
    rng = np.random.default_rng(0)
    n_users, n_items = 12, 30
    score_UI = rng.integers(0, 6, size=(n_users, n_items))
    fitted = [rng.choice(n_items, size=4, replace=False).tolist() for _ in range(n_users)]
    bundle = bundle_of(score_UI, fitted, [f"u{n:02d}" for n in range(n_users)], [f"i{n:02d}" for n in range(n_items)])
    rows, expected = [], []
    for user in range(n_users):
        chosen = rng.choice(n_items, size=10, replace=False).tolist()  # some of them were seen: nothing is masked
        relevant = {chosen[0], chosen[1], -1}
        rows += [(user, item, f"u{user:02d}", f"i{item:02d}", item in relevant) for item in chosen]
        rows += [(user, -1, f"u{user:02d}", "i99", True), (user, -1, f"u{user:02d}", "i98", False)]
        ranked = sorted(chosen, key=lambda item: (-score_UI[user, item], item))[:5]
        gains = [1 / log2(place + 2) for place, item in enumerate(ranked) if item in relevant]
        expected.append(sum(gains) / sum(1 / log2(place + 2) for place in range(3)))
    rows += [(0, 3, "nobody", "i03", False)]  # has no relevant candidate: not judged
    rng.shuffle(rows)
    columns = [[row[at] for row in rows] for at in range(5)]
    columns[4] = [row[4] in (True, "True") for row in rows]
    candidates = pa.table(
        [pa.array(column).cast(field.type) for column, field in zip(columns, CANDIDATES, strict=True)],
        schema=CANDIDATES,
    )
    made = evaluate_bundle(bundle, anyone(bundle), candidates, bundle.fitted, (5,))
    assert made.users["sampled"].user_ids.tolist() == [f"u{n:02d}" for n in range(n_users)]
    assert made.per_user["sampled"]["ndcg_at_5"] == pytest.approx(expected)
    assert (made.users["sampled"].n_relevant_U == 3).all()


def anyone(bundle: Bundle) -> Judges:
    return make_judges(rows_of(("u00", "i00", 0, 0)), bundle.fitted, True)


@pytest.mark.parametrize("kind", ["int", "user-"])
@pytest.mark.parametrize("name", ["popularity", "bpr_mf"])
@pytest.mark.parametrize("keeps_repeats", [False, True])
def test_a_champion_is_judged_like_a_bundle(name: str, kind: str, keeps_repeats: bool) -> None:
    bundle = make_bundle(name, kind, history_length=3)
    users, items = bundle.users.ids_N.astype(str), bundle.items.ids_N.astype(str)
    rng = np.random.default_rng(1)
    rows = [
        (users[u], items[i], int(u), int(i))
        for u, i in zip(rng.integers(24, size=40), rng.integers(20, size=40), strict=True)
    ]
    rows += [("99999", items[3], -1, 3), (users[4], "88888", 4, -1)]
    test = make_judges(rows_of(*rows), bundle.fitted, keeps_repeats)
    ours = evaluate_bundle(bundle, test, None, bundle.fitted, CUTOFFS).per_user["test"]
    theirs = evaluate_champion(bundle, test, bundle.items, CUTOFFS)
    assert ours.keys() == theirs.keys()
    for metric in ours:
        assert np.array_equal(ours[metric], theirs[metric]), metric


@pytest.mark.parametrize("keeps_repeats", [False, True])
def test_what_a_bundle_knows_of_strangers_never_judges_it(keeps_repeats: bool) -> None:
    plain = make_bundle("item_knn", "user-")
    users, items = plain.users.ids_N, plain.items.ids_N
    rows = [(users[4], items[7], 4, 7), ("late", items[3], -1, 3), ("late", items[5], -1, 5)]
    test = make_judges(rows_of(*rows), plain.fitted, keeps_repeats)
    its_own_rows = Ragged(np.array([0, 2]), np.array([3, 5], dtype=np.int32))
    bundle = replace(plain, strangers=Strangers(IdMap(np.array(["late"])), its_own_rows, {}))
    assert bundle.recommend(["late"], 5)[2].tolist() == ["fold-in"]  # it would tell
    for one in (bundle, plain):
        made = evaluate_bundle(one, test, None, one.fitted, CUTOFFS)
        assert [row["bucket"] for row in made.segments["reason"]] == ["model", "fallback"]
        ours, theirs = made.per_user["test"], evaluate_champion(one, test, one.items, CUTOFFS)
        expected = evaluate_bundle(plain, test, None, plain.fitted, CUTOFFS).per_user["test"]
        for metric in expected:
            assert np.array_equal(ours[metric], expected[metric]), metric
            assert np.array_equal(theirs[metric], expected[metric]), metric


# The champion knows users b c and items i1 i2 i7 i9; it likes i7 best, then i9, i2, i1 for everyone.
CHAMPION = bundle_of([[1, 2, 9, 8], [1, 2, 9, 8]], [[1], [0, 2]], ["b", "c"], ["i1", "i2", "i7", "i9"])


def test_a_champion_of_another_catalogue_by_hand() -> None:
    made = evaluate_champion(CHAMPION, TEST, TONIGHT.items, (1, 2, 3))
    # a, unknown to it: its fallback by popularity is i1 i2 i7 (one row each), i9, but a had i1 tonight: i2 comes first.
    # b had i2: i7, i9, i1, of which i9 (new to tonight's catalogue) and i1 are relevant, in places 2 and 3.
    # c had nothing by tonight's log: i7, i9, i2, i1 - no hit among three.
    gain = [1 / log2(place + 1) for place in (1, 2, 3)]
    assert made["ndcg_at_3"] == pytest.approx([1, (gain[1] + gain[2]) / (gain[0] + gain[1]), 0])
    assert made["hit_at_1"].tolist() == [1, 0, 0]


def test_items_unknown_to_the_champion_are_last_for_it() -> None:
    test = make_judges(rows_of(("b", "i3", 1, 3)), TONIGHT.fitted, False)
    assert evaluate_champion(CHAMPION, test, TONIGHT.items, (4,))["hit_at_4"].tolist() == [0]


def test_rows_that_the_champion_was_fitted_on_cannot_judge_it() -> None:
    test = make_judges(
        rows_of(("b", "i2", 1, 2), ("b", "i1", 1, 1), ("c", "i1", -1, 1), ("c", "i3", -1, 3), ("a", "i2", 0, 2)),
        TONIGHT.fitted,
        True,
    )
    kept = fair_rows(CHAMPION, test)
    assert sorted(zip(kept["user_id"].to_pylist(), kept["item_id"].to_pylist(), strict=True)) == [
        ("a", "i2"),
        ("b", "i1"),
        ("c", "i3"),
    ]


def test_intervals_hold_the_mean_and_are_the_same_every_time() -> None:
    per_user = {"test": {"ndcg_at_10": np.array([0.0, 1.0] * 50), "hit_at_10": np.ones(100)}}
    evaluation = Evaluation(per_user, {"test": TEST}, {})
    found = intervals(evaluation, EvaluateConfig())
    low, high = found["test/ndcg_at_10"]
    # one standard error of a mean of 100 coins is 0.05, and 95% lie within 1.96 of them
    assert (low, high) == pytest.approx((0.5 - 0.098, 0.5 + 0.098), abs=0.015)
    assert found["test/hit_at_10"] == (1, 1)
    assert intervals(evaluation, EvaluateConfig()) == found


@pytest.mark.parametrize(("given", "cutoffs"), [("5,20", (5, 10, 20)), ((20, 5, 20), (5, 10, 20)), ("10", (10,))])
def test_ten_is_always_among_the_cutoffs(given: object, cutoffs: tuple[int, ...]) -> None:
    assert EvaluateConfig(cutoffs=given).all_cutoffs == cutoffs


# the steps, on a stored night

ROWS = [(user, 100 + (user + n * n) % 31, n) for user in range(30) for n in range(6)]


def night(store: Store, candidates: Path | None = None) -> tuple[SampleRefs, TrainedRef]:
    parts = split.fn(
        store, make_snapshot(store, tiny_log(*ROWS)), SplitConfig(protocol="leave_last_out", repeats="keep")
    )
    samples = sample.fn(store, parts, str(candidates) if candidates else None)
    return samples, train.fn(store, samples, make_config("popularity"), TrainerConfig())


def test_the_step_keeps_every_users_figures(store: Store, tmp_path: Path) -> None:
    file = tmp_path / "candidates.csv"
    file.write_text("user_id,item_id,relevant\n1,100,1\n1,101,0\n2,103,1\n")
    samples, trained = night(store, file)
    first, second = (evaluate.fn(store, samples, trained, EvaluateConfig()) for _ in range(2))
    assert first == second
    assert (first.cached, second.cached) == (False, True)
    manifest = store.manifest(first.path)
    assert manifest["users"] == {"test": 30, "sampled": 2}
    for part in ("test", "sampled"):
        table = pa.parquet.read_table(store.path(f"{first.path}/{part}.parquet"))
        assert table.num_rows == manifest["users"][part]
        mean = float(np.mean(table["ndcg_at_10"].to_numpy()))
        low, high = manifest["intervals"][f"{part}/ndcg_at_10"]
        assert manifest["means"][f"{part}/ndcg_at_10"] == pytest.approx(mean)
        assert low <= mean <= high
        assert table["history_length"].to_pylist() == [5] * table.num_rows  # of six rows the last one judges
    (users,) = manifest["segments"]["history_length"]
    assert (users["bucket"], users["users"]) == ("5-9", 30)
    assert users["recall_at_10"] == pytest.approx(manifest["means"]["test/recall_at_10"])
    # rows are of seconds 0 to 5, so that no item is a day old
    assert [(row["bucket"], row["rows"]) for row in manifest["segments"]["item_age"]] == [("<7", 30)]
    assert [row["bucket"] for row in manifest["segments"]["reason"]] == ["model"]
    assert evaluate.fn(store, samples, trained, EvaluateConfig(cutoffs=(5,))).key != first.key


REF = ChampionRef("m", "1", "run", "hash", "configuration")


def test_champion_and_challenger_are_scored_on_the_same_rows(store: Store) -> None:
    samples, trained = night(store)
    champion = Bundle.load(store.path(trained.path))  # the same model: it was fitted on no test row of its own
    made = evaluate_beside.fn(store, samples, trained, champion, REF, EvaluateConfig())
    theirs, ours = (
        pa.parquet.read_table(store.path(f"{made.path}/{name}.parquet")) for name in ("champion", "challenger")
    )
    assert theirs.equals(ours)
    assert theirs.num_rows > 0
    alone = store.manifest(evaluate.fn(store, samples, trained, EvaluateConfig()).path)
    assert store.manifest(made.path)["test_fingerprint"] != alone["test_fingerprint"] or theirs.num_rows == 30


class KnowsAll:
    """A champion that was fitted on every row there is."""

    def recommend(self, *arguments: object, **more: object) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        return np.empty((0, 20), dtype=np.int64), np.empty((0, 20), dtype=np.float32), np.empty(0, dtype=bool)

    def was_fitted_on(self, user_ids: np.ndarray, item_ids: np.ndarray) -> np.ndarray:
        return np.ones(len(user_ids), dtype=bool)


def test_where_no_row_may_judge_there_are_no_scores(store: Store) -> None:
    samples, trained = night(store)
    made = evaluate_beside.fn(store, samples, trained, KnowsAll(), REF, EvaluateConfig())
    manifest: Mapping[str, dict[str, object]] = store.manifest(made.path)
    assert manifest["users"] == {"champion": 0}
    text = store.path(f"{made.path}/_manifest.json").read_text()
    json.loads(text, parse_constant=lambda name: pytest.fail(f"{name} is not JSON"))


def test_a_curve_ends_where_its_cost_would_grow_beyond_use() -> None:
    made = evaluate_bundle(TONIGHT, TEST, None, TONIGHT.fitted, (10, 1000))
    assert len(made.curves["ndcg"]) == 100
    assert made.means()["test/hit_at_1000"] == 1
