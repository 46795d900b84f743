"""Whom a model is judged on, and figures worked out by hand."""

from math import log2
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from models.base import FitSession, Query, Ragged, TrainingData
from models.features import UserFeatures
from models.ids import IdMap
from models.registry import build, make_config
from models.serving import popularity
from tasks.judging import Judges, curve, judge_lists, make_judges, means, rank_all

# Known before the test: user 0 has items 0 and 1, user 1 has item 2, user 2 nothing that matters here.
KNOWN = Ragged(np.array([0, 2, 3, 3]), np.array([1, 0, 2], dtype=np.int32))
ROWS = [  # user, item, and their indices; out of order, as a test may be
    ("b", "i2", 0, 2),
    ("new", "i0", -1, 0),
    ("b", "i4", 0, 4),
    ("a", "i1", 1, 1),
    ("b", "i2", 0, 2),  # again: counts once
    ("b", "never seen", 0, -1),
    ("a", "gone", 1, -1),
]


def judges(keeps_repeats: bool = False, rows: list[tuple[str, str, int, int]] = ROWS, **more: Any) -> Judges:
    columns = [[row[at] for row in rows] for at in range(4)]
    types = (pa.string(), pa.string(), pa.int32(), pa.int32())
    names = ["user_id", "item_id", "user_idx", "item_idx"]
    return make_judges(
        pa.table([pa.array(c, t) for c, t in zip(columns, types, strict=True)], names), KNOWN, keeps_repeats, **more
    )


def test_rows_are_grouped_by_user_and_unknown_items_count_as_relevant() -> None:
    made = judges()
    assert made.user_ids.tolist() == ["a", "b", "new"]
    assert made.users_U.tolist() == [1, 0, -1]
    assert [made.relevant.row(user).tolist() for user in range(3)] == [[1], [2, 4], [0]]
    assert made.n_relevant_U.tolist() == [2, 3, 1]
    assert made.rows.num_rows == 6


def test_what_was_known_is_masked_and_shown_oldest_first() -> None:
    made = judges()
    assert [made.known.row(user).tolist() for user in range(3)] == [[2], [1, 0], []]
    assert made.seen is not None
    assert [made.seen.row(user).tolist() for user in range(3)] == [[2], [0, 1], []]
    assert judges(keeps_repeats=True).seen is None


def test_judges_bring_their_features_strangers_by_raw_id() -> None:
    codes_U = np.array([2, 1, 0], dtype=np.int32)
    features = UserFeatures({"town": IdMap(np.array(["Bonn", "Rome"]))}, {"town": codes_U})
    strangers = pa.table({"user_id": ["other", "new"], "town": ["Bonn", "Rome"]})
    made = judges(features=features, strangers=strangers)
    assert made.query.features["town"].tolist() == [1, 2, 2]  # a is user 1, b user 0, and `new` is from Rome
    assert judges(features=features).query.features["town"].tolist() == [1, 2, 0]
    assert judges().query.features == {}


def test_metrics_by_hand() -> None:
    # a: item 1 in place 2, of two relevant ones; b: 4 in place 1 and 2 in place 3, of three; new: nothing
    items_UN = np.array([[0, 1, 3], [4, 3, 2], [1, 2, 3]], dtype=np.int32)
    found = judge_lists(items_UN, judges(), [2, 3])
    gain = [1 / log2(place + 1) for place in (1, 2, 3)]
    assert found["ndcg_at_2"] == pytest.approx([gain[1] / (gain[0] + gain[1]), gain[0] / (gain[0] + gain[1]), 0])
    assert found["ndcg_at_3"] == pytest.approx([gain[1] / (gain[0] + gain[1]), (gain[0] + gain[2]) / sum(gain), 0])
    assert found["recall_at_3"] == pytest.approx([1 / 2, 2 / 3, 0])
    assert found["hit_at_2"].tolist() == [1, 1, 0]
    assert found["mrr_at_3"] == pytest.approx([1 / 2, 1, 0])
    assert means(found)["recall_at_3"] == pytest.approx((1 / 2 + 2 / 3) / 3)
    assert curve(items_UN, judges(), "recall", 3) == pytest.approx(
        [(0 + 1 / 3 + 0) / 3, (1 / 2 + 1 / 3) / 3, 7 / 6 / 3]
    )


def test_a_catalogue_shorter_than_the_cutoff_leaves_empty_places() -> None:
    items_UN = np.array([[1, -1], [-1, -1], [0, -1]], dtype=np.int32)
    found = judge_lists(items_UN, judges(), [10])
    assert found["hit_at_10"].tolist() == [1, 0, 1]
    assert found["precision_at_10"] == pytest.approx([0.1, 0, 0.1])


def test_nobody_to_judge_is_an_empty_result() -> None:
    made = judges(rows=[])
    assert len(made) == 0
    assert len(judge_lists(np.empty((0, 10), dtype=np.int32), made, [10])["ndcg_at_10"]) == 0


@pytest.mark.parametrize("keeps", [False, True])
def test_popularity_is_ranked_around_what_was_seen(keeps: bool) -> None:
    # counts 5 3 4 1 2 and items 0 and 1 seen by b, 2 by a; a stranger is shown them all
    rows = Ragged.from_pairs(np.zeros(15, dtype=np.int64), np.repeat(np.arange(5), [5, 3, 4, 1, 2]), 3)
    data = TrainingData(5, rows)
    model = build("popularity", make_config("popularity"), data).fit(data, FitSession())
    made = judges(keeps)
    items_UN = rank_all(model, popularity(rows, 5), made, Query(made.users_U, made.known), 5)
    order = [0, 2, 1, 4, 3]
    if keeps:
        assert items_UN.tolist() == [order] * 3
    else:
        assert items_UN.tolist() == [[0, 1, 4, 3, -1], [2, 4, 3, -1, -1], order]
