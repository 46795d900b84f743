"""Scores of models against slow and obviously right ones."""

import re
from math import log2
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from models.base import Ragged
from models.bundle import Bundle
from models.ranking.genres import Genres
from tasks.evaluate.beyond import Catalogue, read_genres
from tasks.evaluate.config import EvaluateConfig
from tasks.evaluate.logic import Evaluation, evaluate_bundle, fitted_test_rows, intervals
from tasks.evaluate.task import evaluate
from tasks.judging import Judges, make_judges
from tasks.schema import CANDIDATES
from tasks.store.store import Store
from tests.tasks.judged import TEST, TONIGHT, bundle_of, catalogue, night, rows_of

CUTOFFS = (1, 2, 3)


def test_full_ranking_by_hand() -> None:
    # a is left with i3 (2), i2 (1): hit in place 2. b with i3 (3), i1 (2), i0 (1): hit in place 2, of two relevant.
    # c is a stranger: by popularity i0, i1 (equal counts, catalogue order): hit in place 2.
    made = evaluate_bundle(TONIGHT, TEST, None, catalogue(TONIGHT), CUTOFFS)
    second = 1 / log2(3)
    assert made.per_user["test"]["ndcg_at_1"].tolist() == [0, 0, 0]
    assert made.per_user["test"]["ndcg_at_3"] == pytest.approx([second, second / (1 + second), second])
    assert made.per_user["test"]["recall_at_2"] == pytest.approx([1, 1 / 2, 1])
    assert made.means()["test/hit_at_2"] == 1
    assert made.means()["test/recall_at_3"] == pytest.approx(5 / 6)
    assert made.curves["recall"] == pytest.approx([0, 5 / 6, 5 / 6])


def test_auc_is_averaged_over_users_and_over_their_rows() -> None:
    made = evaluate_bundle(TONIGHT, TEST, None, catalogue(TONIGHT), CUTOFFS)
    # a: i2 is below i3, the only negative. b: i1 is above i0 and below i3, and i9, which is unknown, below both.
    # c, by popularity: i1 is level with i0 and i2 and above i3.
    auc_U = np.array([0, 1 / 4, (1 / 2 + 1 / 2 + 1) / 3])
    assert made.per_user["test"]["auc"] == pytest.approx(auc_U)
    assert made.means()["test/auc"] == pytest.approx(auc_U.mean())
    assert made.means()["test/gauc"] == pytest.approx(auc_U @ [1, 2, 1] / 4)  # b has two test rows
    assert "test/gauc" not in made.per_user["test"]
    (low, high), (low_g, high_g) = (intervals(made, EvaluateConfig())[f"test/{name}"] for name in ("auc", "gauc"))
    assert low < auc_U.mean() < high
    assert low_g < made.means()["test/gauc"] < high_g


def test_what_no_user_has_is_left_out() -> None:
    # a is asked for all that a has not seen: there are no negatives
    everything = make_judges(rows_of(("a", "i2", 0, 2), ("a", "i3", 0, 3)), TONIGHT.fitted, False)
    made = evaluate_bundle(TONIGHT, everything, None, catalogue(TONIGHT), (10,))
    assert made.means().keys() == intervals(made, EvaluateConfig()).keys()
    assert made.means()["test/ndcg_at_10"] == 1
    assert not {"test/auc", "test/gauc"} & made.means().keys()
    assert made.curves.keys() == {"ndcg", "recall", "precision_recall"}
    nobody = evaluate_bundle(TONIGHT, make_judges(rows_of(), TONIGHT.fitted, False), None, catalogue(TONIGHT), (10,))
    assert (nobody.means(), nobody.beyond) == ({}, {"test": {}})
    assert nobody.curves == {"ndcg": [], "recall": []}


def test_curves_of_the_whole_catalogue() -> None:
    curves = evaluate_bundle(TONIGHT, TEST, None, catalogue(TONIGHT), CUTOFFS).curves
    assert curves["precision_recall"]["cutoffs"] == [1, 2, 4]
    # each of the three users has one hit, in place 2, and b another row that nobody could find
    assert curves["precision_recall"]["recall"] == pytest.approx([0, 5 / 6, 5 / 6])
    assert curves["precision_recall"]["precision"] == pytest.approx([0, 1 / 2, 1 / 4])
    roc = dict(zip(curves["roc"]["negatives"], curves["roc"]["relevant"], strict=True))
    # a: after the last negative. b: half after one of two, half at the end. c: evenly over two of three.
    assert roc[0.5] == pytest.approx((0 + 1 / 2 + 3 / 4) / 3)
    assert (roc[0.0], roc[1.0]) == (0, 1)


def test_what_lists_are_like_by_hand() -> None:
    # lists: a i3 i2, b i3 i1 i0, c i0 i1 i2; i0, i1 and i2 have one of two users each. Genres: i0 A, i1 A, i2 B.
    genres = Genres(Ragged(np.array([0, 1, 2, 3, 3]), np.array([0, 0, 1], dtype=np.int32)), 2)
    made = evaluate_bundle(TONIGHT, TEST, None, Catalogue(TONIGHT.fitted, 4, genres), CUTOFFS).beyond["test"]
    assert made == pytest.approx(
        {
            "coverage_at_10": 1,
            "novelty_at_10": 1,  # one bit; what nobody has counts like what one has
            "popularity_at_10": (1 / 4 + 1 / 3 + 1 / 2) / 3,
            "gini_at_10": 0,
            "diversity_at_10": (0 + 2 / 3) / 2,  # of a's list only one has genres
            # a had A and is shown B, b had B and is shown A, c had nothing
            "miscalibration_at_10": -np.log(0.01),
        },
        rel=1e-6,
    )
    assert len(evaluate_bundle(TONIGHT, TEST, None, catalogue(TONIGHT), CUTOFFS).beyond["test"]) == 4


def test_only_ten_places_count_for_what_lists_are_like() -> None:
    bundle = bundle_of([np.arange(30)[::-1]], [[29]], ["u"], [f"i{n:02}" for n in range(30)])
    test = make_judges(rows_of(("u", "i03", 0, 3)), bundle.fitted, False)
    assert evaluate_bundle(bundle, test, None, catalogue(bundle), (20,)).beyond["test"]["coverage_at_10"] == 1 / 3


def test_genres_are_read_from_the_items_table() -> None:
    texts = ["Drama|Comedy", None, " Comedy ", "", "War||Drama|War"]
    found = read_genres(pa.table({"item_id": range(5), "genres": texts}))
    assert found is not None
    assert found.size == 3
    drama, comedy, war = 0, 1, 2  # in the order of their first item
    assert [found.of_I.row(item).tolist() for item in range(5)] == [[drama, comedy], [], [comedy], [], [drama, war]]
    assert read_genres(pa.table({"item_id": range(5)})) is None
    assert read_genres(pa.table({"item_id": [1], "genres": pa.array([None], pa.string())})) is None


def test_test_rows_that_were_fitted_are_counted_and_repeats_are_not() -> None:
    # the model was fitted on a's i0 and i1 and b's i2; before the test a had i1 and b i2
    known = Ragged(np.array([0, 1, 2]), np.array([1, 2], dtype=np.int32))
    rows = rows_of(("a", "i0", 0, 0), ("a", "i1", 0, 1), ("a", "i2", 0, 2), ("b", "i2", 1, 2), ("c", "i0", -1, 0))
    assert fitted_test_rows(TONIGHT, make_judges(rows, known, True)) == 1
    assert fitted_test_rows(TONIGHT, make_judges(rows, Ragged.empty(2), True)) == 3
    assert fitted_test_rows(TONIGHT, TEST) == 0


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
    made = evaluate_bundle(bundle, anyone(bundle), candidates, catalogue(bundle), (5,))
    assert made.users["sampled"].user_ids.tolist() == [f"u{n:02d}" for n in range(n_users)]
    assert made.per_user["sampled"]["ndcg_at_5"] == pytest.approx(expected)
    assert (made.users["sampled"].n_relevant_U == 3).all()


def anyone(bundle: Bundle) -> Judges:
    return make_judges(rows_of(("u00", "i00", 0, 0)), bundle.fitted, True)


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


# the step, on a stored night

ITEMS = pa.table({"item_id": [str(item) for item in range(100, 131)], "genres": ["A", "B|C"] * 15 + ["A"]})


def test_the_step_keeps_every_users_figures(store: Store, tmp_path: Path) -> None:
    file = tmp_path / "candidates.csv"
    file.write_text("user_id,item_id,relevant\n1,100,1\n1,101,0\n2,103,1\n")
    samples, trained = night(store, file, ITEMS)
    first, second = (evaluate.fn(store, samples, trained, EvaluateConfig()) for _ in range(2))
    assert first == second
    assert (first.cached, second.cached) == (False, True)
    manifest = store.manifest(first.path)
    assert manifest["users"] == {"test": 30, "sampled": 2}
    assert manifest["means"].keys() == manifest["intervals"].keys()
    assert {"test/auc", "test/gauc"} < manifest["means"].keys()
    assert manifest["fitted_test_rows"] == 0
    assert manifest["beyond"]["test"].keys() == {
        f"{name}_at_10" for name in ("coverage", "novelty", "popularity", "gini", "diversity", "miscalibration")
    }
    assert sum(row["rows"] for row in manifest["segments"]["item_popularity"]) == 30
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


def test_the_step_tells_that_a_model_was_fitted_on_test_rows(store: Store) -> None:
    samples, _ = night(store)
    _, of_the_next_night = night(store, n_rows=7)  # by then the test rows of the first are training rows
    assert (
        store.manifest(evaluate.fn(store, samples, of_the_next_night, EvaluateConfig()).path)["fitted_test_rows"] == 30
    )


def described(heading: str) -> set[str]:
    """The names in the table under a heading of the page about metrics."""
    page = (Path(__file__).parents[2] / "docs" / "metrics.md").read_text(encoding="utf-8")
    section = page.split(f"## {heading}\n", 1)[1].split("\n## ", 1)[0]
    return set(re.findall(r"^\| `(\w+)` \|", section, re.MULTILINE))


def test_the_page_about_metrics_describes_each_of_them(store: Store) -> None:
    manifest = store.manifest(evaluate.fn(store, *night(store, items=ITEMS), EvaluateConfig()).path)
    named = {re.sub(r"_at_\d+$", "_at_k", name.removeprefix("test/")) for name in manifest["means"]}
    assert described("Accuracy") == named
    assert described("Beyond accuracy") == manifest["beyond"]["test"].keys()
    assert described("Segments") == manifest["segments"].keys()


def test_a_curve_ends_where_its_cost_would_grow_beyond_use() -> None:
    made = evaluate_bundle(TONIGHT, TEST, None, catalogue(TONIGHT), (10, 1000))
    assert len(made.curves["ndcg"]) == 100
    assert made.means()["test/hit_at_1000"] == 1
