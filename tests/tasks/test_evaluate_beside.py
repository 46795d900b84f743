"""Scores of the champion beside a challenger, against slow and obviously right ones."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from math import log2
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from models.base import Ragged
from models.bundle import Bundle, Strangers
from models.fitting.config import TrainerConfig
from models.ids import IdMap
from models.registry import make_config
from tasks.evaluate.champion import Champion, champion_lists, duel
from tasks.evaluate.config import EvaluateConfig
from tasks.evaluate.fair import fair_rows, learned_rows
from tasks.evaluate.logic import evaluate_bundle, fitted_test_rows
from tasks.evaluate.task import evaluate, evaluate_beside
from tasks.judging import Judges, judge_lists, make_judges
from tasks.sample.task import sample
from tasks.split.config import SplitConfig
from tasks.split.task import split
from tasks.store.refs import ChampionRef
from tasks.store.store import Store
from tasks.train.task import train
from tests.factories import make_bundle, make_snapshot, tiny_log
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
    fair = fair_rows(CHAMPION, make_judges(rows, Ragged(np.array([0, 2, 2]), np.array([0, 1], dtype=np.int32)), True))
    kept, learned = (
        sorted(zip(part["user_id"].to_pylist(), part["item_id"].to_pylist(), strict=True))
        for part in (fair.rows, fair.learned)
    )
    assert kept == [("a", "i2"), ("b", "i1"), ("c", "i3")]
    assert learned == [("b", "i2"), ("c", "i1")]


@pytest.mark.parametrize("texts", [True, False])
def test_what_the_champion_has_learned_of_the_test_is_in_no_list_by_hand(texts: bool) -> None:
    def named(*ids: int) -> list[int] | list[str]:
        return [str(one) for one in ids] if texts else list(ids)

    champion = bundle_of([[1, 2, 9, 8], [1, 2, 9, 8]], [[1], [0, 2]], ["b", "c"], named(1, 2, 7, 9))
    ours = bundle_of([[9, 8, 1, 2], [1, 2, 9, 3]], [[0, 1], [2]], ["a", "b"], named(0, 1, 2, 3))
    rows = rows_of(("b", "0", 1, 0), ("c", "9", -1, -1))
    # b took 1 and 7 after the test began and before the champion was fitted, c took 7; that is new to the catalogue
    learned = rows_of(("b", "1", 1, 1), ("b", "7", 1, -1), ("c", "7", -1, -1), ("aa", "9", -1, -1), ("zz", "3", -1, 3))

    def lists(keeps_repeats: bool, learned: pa.Table | None) -> tuple[list[list[int]], list[float]]:
        """The champion's, where 7 and 9, as far as they come up, follow tonight's catalogue of four; and whether the
        challenger's are hits."""
        test = make_judges(rows, ours.fitted, keeps_repeats)
        made = duel(champion, ours, test, catalogue(ours), (2,), learned)
        items_UK, _ = champion_lists(champion, test, ours.items, 2, learned=learned)
        assert made.per_user["champion"]["hit_at_2"].tolist() == [0, 1]
        return items_UK.tolist(), made.per_user["challenger"]["hit_at_2"].tolist()

    assert lists(False, None) == ([[4, 5], [4, 5]], [0, 0])
    assert lists(False, learned) == ([[4, -1], [4, 2]], [1, 0])  # of b the challenger shows 3 and 0, not 3 and 1
    assert lists(True, learned) == lists(True, None) == ([[4, 5], [4, 5]], [0, 0])


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


@dataclass
class Fresher:
    """A champion that was fitted on these rows, of which some are tonight's test; it notes what its lists leave out."""

    fitted: pa.Table
    left_out: set[tuple[str, str]] = field(default_factory=set)

    def recommend(
        self, user_ids: np.ndarray, k: int, *arguments: Any, **more: Any
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        *_, (offsets_U1, ids_S) = arguments
        users = np.repeat(user_ids.astype(str), np.diff(offsets_U1)).tolist()
        self.left_out = set(zip(users, ids_S.astype(str).tolist(), strict=True))
        return np.tile(np.arange(100, 100 + k), (len(user_ids), 1)), np.zeros((len(user_ids), k)), user_ids

    def was_fitted_on(self, user_ids: np.ndarray, item_ids: np.ndarray) -> np.ndarray:
        known = set(zip(self.fitted["user_id"].to_pylist(), self.fitted["item_id"].to_pylist(), strict=True))
        return np.array([pair in known for pair in zip(user_ids, item_ids, strict=True)])


def test_what_the_champion_was_fitted_on_is_left_out_of_test_and_lists(store: Store) -> None:
    rows = [(user, 100 + (user + n * n) % 31, 30 * n + user) for n in range(6) for user in range(30)]
    parts = split.fn(store, make_snapshot(store, tiny_log(*rows)), SplitConfig(protocol="temporal", test_share=1 / 3))
    samples = sample.fn(store, parts, None)
    trained = train.fn(store, samples, make_config("popularity"), TrainerConfig())
    test = store.read(parts.test).select(["user_id", "item_id"])
    champion = Fresher(test.take(list(range(0, test.num_rows, 3))))
    made = evaluate_beside.fn(store, samples, trained, champion, REF, EvaluateConfig())
    judges = pa.parquet.read_table(store.path(f"{made.path}/challenger.parquet"))
    assert sum(judges["n_relevant"].to_pylist()) == test.num_rows - champion.fitted.num_rows
    learned = set(zip(champion.fitted["user_id"].to_pylist(), champion.fitted["item_id"].to_pylist(), strict=True))
    theirs = {pair for pair in learned if pair[0] in judges["user_id"].to_pylist()}
    assert len(theirs) > 10
    assert theirs <= champion.left_out


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
