"""Scores of the champion beside a challenger, against slow and obviously right ones."""

import json
from collections.abc import Mapping
from dataclasses import replace
from math import log2

import numpy as np
import pyarrow as pa
import pytest

from models.base import Ragged
from models.bundle import Bundle, Strangers
from models.ids import IdMap
from tasks.evaluate.champion import Champion, champion_lists, duel
from tasks.evaluate.config import EvaluateConfig
from tasks.evaluate.fair import fair_rows, learned_rows
from tasks.evaluate.logic import evaluate_bundle, fitted_test_rows
from tasks.evaluate.task import evaluate, evaluate_beside
from tasks.judging import Judges, judge_lists, make_judges
from tasks.store.refs import ChampionRef
from tasks.store.store import Store
from tests.factories import make_bundle
from tests.tasks.judged import TEST, TONIGHT, bundle_of, catalogue, night, rows_of

CUTOFFS = (1, 2, 3)


def judge_champion(
    champion: Champion, test: Judges, items: IdMap, cutoffs: tuple[int, ...]
) -> Mapping[str, np.ndarray]:
    return judge_lists(*champion_lists(champion, test, items, max(cutoffs)), cutoffs)


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
    ours = evaluate_bundle(bundle, test, None, catalogue(bundle), CUTOFFS).per_user["test"]
    theirs = judge_champion(bundle, test, bundle.items, CUTOFFS)
    assert ours.keys() == theirs.keys() | {"auc"}
    for metric in theirs:
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
        made = evaluate_bundle(one, test, None, catalogue(one), CUTOFFS)
        assert [row["bucket"] for row in made.segments["reason"]] == ["model", "fallback"]
        ours, theirs = made.per_user["test"], judge_champion(one, test, one.items, CUTOFFS)
        expected = evaluate_bundle(plain, test, None, catalogue(plain), CUTOFFS).per_user["test"]
        for metric in expected:
            assert np.array_equal(ours[metric], expected[metric]), metric
        for metric in theirs:
            assert np.array_equal(theirs[metric], expected[metric]), metric


# The champion knows users b c and items i1 i2 i7 i9; it likes i7 best, then i9, i2, i1 for everyone.
CHAMPION = bundle_of([[1, 2, 9, 8], [1, 2, 9, 8]], [[1], [0, 2]], ["b", "c"], ["i1", "i2", "i7", "i9"])


def test_a_champion_of_another_catalogue_by_hand() -> None:
    made = judge_champion(CHAMPION, TEST, TONIGHT.items, (1, 2, 3))
    # a, unknown to it: its fallback by popularity is i1 i2 i7 (one row each), i9, but a had i1 tonight: i2 comes first.
    # b had i2: i7, i9, i1, of which i9 (new to tonight's catalogue) and i1 are relevant, in places 2 and 3.
    # c had nothing by tonight's log: i7, i9, i2, i1 - no hit among three.
    gain = [1 / log2(place + 1) for place in (1, 2, 3)]
    assert made["ndcg_at_3"] == pytest.approx([1, (gain[1] + gain[2]) / (gain[0] + gain[1]), 0])
    assert made["hit_at_1"].tolist() == [1, 0, 0]


def test_both_lists_are_told_what_they_are_like_by_hand() -> None:
    made = duel(CHAMPION, TONIGHT, TEST, catalogue(TONIGHT), (1, 2, 3))
    # The champion's lists: a i2 i7 i9, b i7 i9 i1, c i7 i9 i2; tonight's: a i3 i2, b i3 i1 i0, c i0 i1 i2.
    # Tonight i0, i1 and i2 have one of two users each, and i7 and i9 are not in the catalogue of four.
    assert made.overlap == pytest.approx({"overlap_at_10": 1 / 3})
    theirs, ours = made.beyond["champion"], made.beyond["challenger"]
    assert theirs == pytest.approx(
        {"coverage_at_10": 1 / 2, "novelty_at_10": 1, "popularity_at_10": 1 / 6, "gini_at_10": 7 / 12}
    )
    assert ours == evaluate_bundle(TONIGHT, TEST, None, catalogue(TONIGHT), (3,)).beyond["test"]
    assert made.per_user["champion"].keys() == made.per_user["challenger"].keys()
    second = 1 / log2(3)
    assert made.per_user["challenger"]["ndcg_at_3"] == pytest.approx([second, second / (1 + second), second])


def test_only_ten_places_count_for_the_overlap() -> None:
    ids = [f"i{n:02}" for n in range(30)]
    ours, theirs = (bundle_of([score_I], [[29]], ["u"], ids) for score_I in (np.arange(30), np.arange(30)[::-1]))
    test = make_judges(rows_of(("u", "i03", 0, 3)), ours.fitted, False)
    assert duel(theirs, ours, test, catalogue(ours), (20,)).overlap == {"overlap_at_10": 0}  # of twenty, 11 are shared


def test_items_unknown_to_the_champion_are_last_for_it() -> None:
    test = make_judges(rows_of(("b", "i3", 1, 3)), TONIGHT.fitted, False)
    assert judge_champion(CHAMPION, test, TONIGHT.items, (4,))["hit_at_4"].tolist() == [0]


def test_rows_that_the_champion_was_fitted_on_cannot_judge_it() -> None:
    rows = rows_of(("b", "i2", 1, 2), ("b", "i1", 1, 1), ("c", "i1", -1, 1), ("c", "i3", -1, 3), ("a", "i2", 0, 2))
    kept = fair_rows(CHAMPION, make_judges(rows, Ragged(np.array([0, 2, 2]), np.array([0, 1], dtype=np.int32)), True))
    assert sorted(zip(kept["user_id"].to_pylist(), kept["item_id"].to_pylist(), strict=True)) == [
        ("a", "i2"),
        ("b", "i1"),
        ("c", "i3"),
    ]


@pytest.mark.parametrize(
    ("fitted", "known", "learned"),
    [
        ([2], [2], False),  # what was fitted is the row from before the test: the user takes the item again
        ([2, 2], [2], True),  # one of the two must be the row that judges
        ([2, 2], [2, 2, 2], False),
        ([2], [], True),
        ([], [2], False),
        ([1], [2], False),
    ],
)
def test_a_pair_that_repeats_is_fair_where_no_later_row_was_fitted(
    fitted: list[int], known: list[int], learned: bool
) -> None:
    model = bundle_of([[0, 0, 0, 0]] * 2, [[0], fitted], ["a", "b"], ["i0", "i1", "i2", "i3"])
    histories = Ragged.from_pairs(np.array([0] + [1] * len(known)), np.array([3, *known]), 2)
    test = make_judges(rows_of(("a", "i9", 0, -1), ("b", "i2", 1, 2)), histories, True)
    assert learned_rows(model, test).tolist() == [False, learned]
    assert fitted_test_rows(model, test) == learned


# the step, on a stored night

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
    manifest = store.manifest(made.path)
    assert manifest["overlap_at_10"] == 1
    assert manifest["beyond"]["champion"] == manifest["beyond"]["challenger"]
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
    assert "overlap_at_10" not in manifest  # the gate takes what is missing for NaN
    assert manifest["beyond"] == {"champion": {}, "challenger": {}}
    text = store.path(f"{made.path}/_manifest.json").read_text()
    json.loads(text, parse_constant=lambda name: pytest.fail(f"{name} is not JSON"))
