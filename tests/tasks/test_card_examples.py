"""The examples of a run card: whom they show, and what."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pyarrow as pa

from models.base import FitSession, Ragged, TrainingData
from models.bundle import Bundle
from models.features import UserFeatures
from models.ids import IdMap
from models.registry import build, make_config
from tasks.cards.examples import Item, make_examples, spread_over
from tasks.cards.sections.users import users
from tasks.schema import TEST_ROWS

# Four users, four items. Counts: item 10 three times, 20 twice, 30 once, 40 never: the order by popularity.
HISTORIES: Sequence[Sequence[int]] = ([0], [0, 1], [0, 1, 2], [])
TITLES = pa.table({"item_id": [10, 20, 30, 40], "title": ["Ten", "Twenty", None, "Forty"]})


def popularity_bundle(histories: Sequence[Sequence[int]] = HISTORIES) -> Bundle:
    users = np.repeat(np.arange(len(histories)), [len(items) for items in histories])
    known = Ragged.from_pairs(users, np.array([item for items in histories for item in items]), len(histories))
    data = TrainingData(4, known)
    fitted = build("popularity", make_config("popularity"), data).fit(data, FitSession())
    ids = IdMap(np.array([f"u{user}" for user in range(len(histories))])), IdMap(np.array([10, 20, 30, 40]))
    return Bundle("films", fitted, *ids, known, known)


def held_out(*rows: tuple[int, int, str, str]) -> pa.Table:
    """Test rows of user index, item index, user id, item id."""
    names = TEST_ROWS.names[:4]
    return pa.Table.from_pylist([dict(zip(names, row, strict=True)) for row in rows], TEST_ROWS)


def test_examples_by_hand() -> None:
    bundle = popularity_bundle()
    test = held_out((0, 2, "u0", "30"), (1, -1, "u1", "99"), (0, 2, "u0", "30"), (-1, 0, "new", "10"))
    examples = {example.user_id: example for example in make_examples(bundle, TITLES, test, bundle.fitted)}
    first = examples["u0"]
    assert first.recent == (Item("10", "Ten"),)
    assert first.held_out == (Item("30", "30", hit=True),)
    assert first.shown == (Item("20", "Twenty"), Item("30", "30", hit=True), Item("40", "Forty"))
    assert (first.history_length, first.reason) == (1, "model")
    second = examples["u1"]
    assert [item.title for item in second.recent] == ["Twenty", "Ten"]
    assert second.held_out == (Item("99", "99"),)
    assert not any(item.hit for item in second.shown)
    stranger = examples["new"]
    assert stranger.reason == "fallback"
    assert (stranger.history_length, stranger.recent) == (0, ())
    assert stranger.shown[0] == Item("10", "Ten", hit=True)


def test_an_example_who_is_a_stranger_is_told_by_features() -> None:
    bundle = popularity_bundle()
    towns = UserFeatures({"town": IdMap(np.array(["Bonn", "Ulm"]))}, {"town": np.array([1, 1, 2, 0], dtype=np.int32)})
    strangers = pa.table({"user_id": ["other", "new"], "town": ["Bonn", "Ulm"]})
    test = held_out((-1, 0, "new", "10"))
    (example,) = make_examples(replace(bundle, features=towns), TITLES, test, bundle.fitted, False, strangers)
    assert example.reason == "segment"
    (example,) = make_examples(replace(bundle, features=towns), TITLES, test, bundle.fitted)
    assert example.reason == "fallback"


def test_examples_show_ids_where_there_are_no_titles() -> None:
    bundle = popularity_bundle()
    (example,) = make_examples(bundle, TITLES.select(["item_id"]), held_out((2, 3, "u2", "40")), bundle.fitted)
    assert example.shown == (Item("40", "40", hit=True),)


def test_repeats_stay_in_the_list_where_they_are_kept() -> None:
    bundle = popularity_bundle()
    test = held_out((1, 0, "u1", "10"))
    (example,) = make_examples(bundle, TITLES, test, bundle.fitted, keeps_repeats=True)
    assert example.shown[0] == Item("10", "Ten", hit=True)


def test_no_test_rows_give_no_examples() -> None:
    bundle = popularity_bundle()
    assert make_examples(bundle, TITLES, held_out(), bundle.fitted) == ()
    assert users((), "mind") == []


def test_examples_are_spread_over_the_length_of_history() -> None:
    lengths = np.array([9, 1, 5, 3, 7, 5])
    assert lengths[spread_over(lengths, 3)].tolist() == [1, 5, 9]
    assert spread_over(lengths, 3).tolist() == spread_over(lengths.copy(), 3).tolist()
    assert sorted(spread_over(lengths, 10).tolist()) == [0, 1, 2, 3, 4, 5]
    assert spread_over(np.array([4]), 5).tolist() == [0]


class Champion:
    """Shows everybody the same, and remembers what it was asked."""

    def __init__(self, shown: Sequence[int], features: UserFeatures | None = None) -> None:
        self.shown: Sequence[int] = shown
        self.asked: dict[str, Any] = {}
        if features is not None:
            self.features = features

    def recommend(self, user_ids, k, histories, exclude_seen, **more):
        self.asked = {"users": list(user_ids), "k": k, "histories": histories, "exclude": exclude_seen, **more}
        shown_UK = np.tile([*self.shown, 0], (len(user_ids), 1))  # the last place is empty
        score_UK = np.where(np.arange(shown_UK.shape[1]) < len(self.shown), np.ones(shown_UK.shape), -np.inf)
        return shown_UK, score_UK, np.array(["model"] * len(user_ids))


def test_the_champions_list_is_told_by_raw_ids() -> None:
    """An item that only the champion knows has no title here; what was held out is a hit there, too."""
    bundle, champion = popularity_bundle(), Champion([30, 99])
    test = held_out((0, 2, "u0", "30"), (1, 3, "u1", "40"))
    first, second = make_examples(bundle, TITLES, test, bundle.fitted, champion=champion)
    assert first.before == (Item("30", "30", hit=True), Item("99", "99"))
    assert second.before == (Item("30", "30"), Item("99", "99"))
    offsets, items = champion.asked["histories"]
    assert (champion.asked["users"], champion.asked["k"], champion.asked["exclude"]) == (["u0", "u1"], 10, True)
    assert (list(offsets), list(items)) == ([0, 1, 3], [10, 10, 20])  # of tonight, as raw ids
    assert "features" not in champion.asked  # of before there were any: it does not know the argument
    assert make_examples(bundle, TITLES, test, bundle.fitted)[0].before is None


def test_a_champion_that_knows_features_is_told_them() -> None:
    towns = UserFeatures({"town": IdMap(np.array(["Bonn", "Ulm"]))}, {"town": np.array([1, 0, 2, 0], dtype=np.int32)})
    bundle, champion = replace(popularity_bundle(), features=towns), Champion([10], towns)
    test = held_out((1, 2, "u1", "30"), (2, 3, "u2", "40"))
    make_examples(bundle, TITLES, test, bundle.fitted, keeps_repeats=True, champion=champion)
    assert champion.asked["features"] == {"town": [None, "Ulm"]}
    assert champion.asked["exclude"] is False
